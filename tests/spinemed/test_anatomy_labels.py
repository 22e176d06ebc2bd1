"""Label maps: the numbers that segmentations use, both ways."""

from __future__ import annotations

import pickle

import pytest

from spinemed.anatomy import LABEL_MAPS, LabelMap, Level, Region
from spinemed.errors import LevelError

MAPS = list(LABEL_MAPS.values())


@pytest.mark.parametrize("labels", MAPS, ids=lambda each: each.name)
class TestEveryMap:
    def test_is_one_to_one(self, labels: LabelMap) -> None:
        assert [labels.to_level(labels.to_label(level)) for level in labels.levels] == list(labels.levels)
        assert len({labels.to_label(level) for level in labels.levels}) == len(labels.levels)

    def test_lists_its_levels_head_to_foot(self, labels: LabelMap) -> None:
        assert list(labels.levels) == sorted(labels.levels)

    def test_names_the_region_of_every_label(self, labels: LabelMap) -> None:
        for level in labels.levels:
            assert labels.to_region(labels.to_label(level)) is level.region

    @pytest.mark.parametrize("label", [0, -3, 255])
    def test_unknown_label_names_the_map_and_legal_ones(self, labels: LabelMap, label: int) -> None:
        with pytest.raises(LevelError) as caught:
            labels.to_level(label)
        assert labels.name in str(caught.value)
        assert "nearest legal labels" in str(caught.value)
        assert caught.value.field == "label"

    def test_level_without_label_is_refused(self, labels: LabelMap) -> None:
        with pytest.raises(LevelError, match="C0"):
            labels.to_label(Level.C0)

    def test_pickles_and_cannot_be_edited(self, labels: LabelMap) -> None:
        assert pickle.loads(pickle.dumps(labels)) == labels
        with pytest.raises(TypeError):
            labels.labels[Level.C1] = 99  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "label", "level"),
    [
        ("verse", 1, Level.C1),
        ("verse", 8, Level.T1),
        ("verse", 19, Level.T12),
        ("verse", 28, Level.T13),
        ("verse", 20, Level.L1),
        ("verse", 25, Level.L6),
        ("verse", 27, Level.COCCYX),
        ("tptbox", 26, Level.S1),
        ("tptbox", 28, Level.T13),
        ("tptbox", 29, Level.S2),
        ("tptbox", 32, Level.S5),
        ("totalsegmentator", 26, Level.S1),
        ("totalsegmentator", 27, Level.L5),
        ("totalsegmentator", 31, Level.L1),
        ("totalsegmentator", 32, Level.T12),
        ("totalsegmentator", 43, Level.T1),
        ("totalsegmentator", 44, Level.C7),
        ("totalsegmentator", 50, Level.C1),
        ("totalsegmentator_v3", 26, Level.L6),
        ("totalsegmentator_v3", 27, Level.L5),
    ],
)
def test_published_labels(name: str, label: int, level: Level) -> None:
    assert LABEL_MAPS[name].to_level(label) is level
    assert LABEL_MAPS[name].to_label(level) == label


@pytest.mark.parametrize(("name", "label"), [("verse", 26), ("totalsegmentator", 25), ("totalsegmentator_v3", 25)])
def test_a_whole_sacrum_is_a_region_and_never_one_level(name: str, label: int) -> None:
    labels = LABEL_MAPS[name]
    assert labels.to_region(label) is Region.SACRAL
    with pytest.raises(LevelError, match="whole sacral region"):
        labels.to_level(label)


def test_refusal_of_s2_points_to_the_label_of_the_sacrum() -> None:
    with pytest.raises(LevelError, match="26 stands for the whole sacral region"):
        LABEL_MAPS["verse"].to_label(Level.S2)


def test_verse_agrees_with_the_level_itself() -> None:
    for level in LABEL_MAPS["verse"].levels:
        assert LABEL_MAPS["verse"].to_label(level) == level.verse_label


def test_a_label_given_twice_is_refused() -> None:
    with pytest.raises(LevelError, match="twice"):
        LabelMap("mine", {Level.L1: 1, Level.L2: 1})
    with pytest.raises(LevelError, match="below 1"):
        LabelMap("mine", {Level.L1: 0})
