"""Levels, discs, segments and roots: order, identity, storage."""

from __future__ import annotations

import json
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

import spinemed.anatomy
from spinemed.anatomy import (
    DISCS,
    LEVELS,
    REGULAR,
    ROOTS,
    SEGMENTS,
    Disc,
    Level,
    Region,
    Root,
    Segment,
    Spine,
)
from spinemed.errors import LevelError

steady = settings(deadline=None, derandomize=True, max_examples=100)


class Finding(BaseModel):
    model_config = ConfigDict(extra="forbid")

    level: Level
    disc: Disc
    segment: Segment
    root: Root
    by_disc: dict[Disc, int] = {}


class TestOrder:
    def test_runs_head_to_foot_with_t13_and_l6_in_their_place(self) -> None:
        shuffled = list(Level)
        random.Random(0).shuffle(shuffled)
        names = [str(level) for level in sorted(shuffled)]
        assert names[:9] == ["C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "T1"]
        assert names[18:28] == ["T11", "T12", "T13", "L1", "L2", "L3", "L4", "L5", "L6", "S1"]
        assert names[-1] == "coccyx"

    @given(st.sampled_from(LEVELS), st.sampled_from(LEVELS))
    @steady
    def test_is_total(self, one: Level, other: Level) -> None:
        assert (one < other) + (one == other) + (one > other) == 1
        assert (one <= other) == (not one > other)
        assert (one >= other) == (not one < other)

    def test_differs_from_text_order(self) -> None:
        assert Level.T2 < Level.T10
        assert Level.COCCYX > Level.L5
        assert Region.SACRAL < Region.COCCYGEAL
        assert Region.THORACIC < Region.LUMBAR

    @pytest.mark.parametrize("value", [Level.L3, Root.L3, Region.LUMBAR])
    def test_refuses_to_compare_with_text(self, value: Level | Root | Region) -> None:
        for compare in (lambda: value < "L2", lambda: value > "L2", lambda: value <= "L2", lambda: value >= "L2"):
            with pytest.raises(TypeError):
                compare()

    def test_discs_sort_by_anatomy(self) -> None:
        texts = [str(disc) for disc in sorted(set(REGULAR.discs))]
        assert texts[0] == "C2/3"
        assert texts[-2:] == ["L4/5", "L5/S1"]
        assert texts.index("T9/10") < texts.index("T10/11") < texts.index("T12/L1")

    def test_disc_and_level_have_no_common_order(self) -> None:
        with pytest.raises(TypeError):
            assert Disc(Level.L4, Level.L5) < Level.L5  # type: ignore[operator]


class TestLevel:
    def test_knows_its_region_and_number(self) -> None:
        assert (Level.L6.region, Level.L6.number) == (Region.LUMBAR, 6)
        assert (Level.COCCYX.region, Level.COCCYX.number) == (Region.COCCYGEAL, 1)
        assert Region.THORACIC.levels[-1] is Level.T13

    def test_prints_as_its_name(self) -> None:
        assert f"{Level.T13} {Level.COCCYX}" == "T13 coccyx"

    def test_verse_28_is_t13_and_20_is_l1(self) -> None:
        assert Level.from_verse(28) is Level.T13
        assert Level.from_verse(20) is Level.L1
        assert Level.T13.verse_label == 28

    def test_verse_sacrum_is_no_single_level(self) -> None:
        assert Level.S3.verse_label == 26
        with pytest.raises(LevelError, match="whole sacrum"):
            Level.from_verse(26)

    @pytest.mark.parametrize("label", [0, -1, 29, 1000, 19.5])
    def test_unknown_verse_label_is_refused(self, label: int) -> None:
        with pytest.raises(LevelError, match="no VerSe"):
            Level.from_verse(label)

    def test_occiput_has_no_verse_label(self) -> None:
        with pytest.raises(LevelError, match="C0"):
            _ = Level.C0.verse_label


class TestDiscAndSegment:
    @pytest.mark.parametrize(
        ("upper", "lower", "text"),
        [
            (Level.L4, Level.L5, "L4/5"),
            (Level.C7, Level.T1, "C7/T1"),
            (Level.L5, Level.S1, "L5/S1"),
            (Level.L6, Level.S1, "L6/S1"),
            (Level.L4, Level.S1, "L4/S1"),
            (Level.T12, Level.T13, "T12/13"),
            (Level.T13, Level.L1, "T13/L1"),
            (Level.T11, Level.L1, "T11/L1"),
        ],
    )
    def test_canonical_text(self, upper: Level, lower: Level, text: str) -> None:
        assert str(Disc(upper, lower)) == text
        assert Disc.from_text(text) == Disc(upper, lower)

    @pytest.mark.parametrize("pair", ["C0/1", "C1/2", "S1/2", "S5/coccyx"])
    def test_no_disc_where_there_is_none(self, pair: str) -> None:
        segment = Segment.from_text(pair)
        assert segment.disc is None
        with pytest.raises(LevelError, match="no disc"):
            Disc(segment.upper, segment.lower)

    @pytest.mark.parametrize(("upper", "lower"), [(Level.L5, Level.L4), (Level.L3, Level.L5), (Level.L4, Level.L4)])
    def test_only_neighbours_upper_first(self, upper: Level, lower: Level) -> None:
        with pytest.raises(LevelError):
            Segment(upper, lower)

    def test_disc_is_no_segment(self) -> None:
        disc = Disc.from_text("L4/5")
        assert disc != disc.segment
        assert disc.segment.disc == disc
        assert len({disc, disc.segment, Disc(Level.L4, Level.L5)}) == 2

    def test_every_possible_one_belongs_to_some_spine(self) -> None:
        spines = [Spine(thoracic, lumbar) for thoracic in (11, 12, 13) for lumbar in (4, 5, 6)]
        assert {disc for spine in spines for disc in spine.discs} == set(DISCS)
        assert {segment for spine in spines for segment in spine.segments} == set(SEGMENTS)

    def test_cannot_be_changed(self) -> None:
        disc = Disc.from_text("L4/5")
        with pytest.raises(AttributeError):
            disc.upper = Level.L1  # type: ignore[misc]


class TestRoot:
    def test_is_never_a_level(self) -> None:
        assert Root.L5 != Level.L5
        assert Root.L5 != "L5"
        assert len({Root.L5, Level.L5}) == 2

    @pytest.mark.parametrize(
        ("root", "segment"),
        [
            (Root.C1, "C0/1"),
            (Root.C6, "C5/6"),
            (Root.C7, "C6/7"),
            (Root.C8, "C7/T1"),
            (Root.T1, "T1/2"),
            (Root.T12, "T12/L1"),
            (Root.L4, "L4/5"),
            (Root.L5, "L5/S1"),
            (Root.S1, "S1/2"),
            (Root.COCCYGEAL, "S5/coccyx"),
        ],
    )
    def test_leaves_above_in_the_neck_and_below_elsewhere(self, root: Root, segment: str) -> None:
        assert str(root.exits()) == segment

    def test_leaving_is_the_inverse_of_exits(self) -> None:
        for root in ROOTS[:-1]:  # the coccygeal root shares its exit with S5
            assert Root.leaving(root.exits()) is root

    def test_disc_at_l4_5_meets_l4_in_the_foramen_and_l5_on_its_way(self) -> None:
        disc = Disc.from_text("L4/5")
        assert (Root.leaving(disc), Root.traversing(disc)) == (Root.L4, Root.L5)
        assert Root.traversing(Disc.from_text("L5/S1")) is Root.S1
        neck = Disc.from_text("C5/6")
        assert (Root.leaving(neck), Root.traversing(neck)) == (Root.C6, None)

    @pytest.mark.parametrize(
        ("root", "spine"),
        [
            (Root.L5, Spine(lumbar=6)),
            (Root.L5, Spine(lumbar=4)),
            (Root.L1, Spine(thoracic=13)),
            (Root.T12, Spine(thoracic=11)),
        ],
    )
    def test_is_not_guessed_beside_an_irregular_vertebra(self, root: Root, spine: Spine) -> None:
        with pytest.raises(LevelError, match="not decided"):
            root.exits(spine)

    def test_above_the_irregular_vertebra_it_is_known(self) -> None:
        assert str(Root.L4.exits(Spine(lumbar=6))) == "L4/5"
        assert str(Root.T12.exits(Spine(thoracic=13))) == "T12/13"
        with pytest.raises(LevelError, match="not decided"):
            Root.leaving(Segment.from_text("L6/S1"), Spine(lumbar=6))


class TestStorage:
    found = Finding(
        level=Level.T13,
        disc=Disc(Level.L4, Level.L5),
        segment=Segment(Level.C0, Level.C1),
        root=Root.C8,
        by_disc={Disc(Level.L5, Level.S1): 2},
    )

    def test_json_holds_canonical_texts_and_reads_back(self) -> None:
        text = self.found.model_dump_json()
        assert json.loads(text) == {
            "level": "T13",
            "disc": "L4/5",
            "segment": "C0/1",
            "root": "C8 root",
            "by_disc": {"L5/S1": 2},
        }
        assert Finding.model_validate_json(text) == self.found

    def test_pickles(self) -> None:
        assert pickle.loads(pickle.dumps(self.found)) == self.found

    @given(st.sampled_from((*LEVELS, *DISCS, *SEGMENTS, *ROOTS)))
    @steady
    def test_every_value_survives_json_and_pickle(self, value: Level | Disc | Segment | Root) -> None:
        adapter: TypeAdapter[object] = TypeAdapter(type(value))
        assert adapter.validate_json(adapter.dump_json(value)) == value
        copy = pickle.loads(pickle.dumps(value))
        assert copy == value
        assert hash(copy) == hash(value)

    @pytest.mark.parametrize(
        "change",
        [
            {"level": "L9"},
            {"level": "l3"},
            {"level": "L5 root"},
            {"disc": "L4-L5"},
            {"disc": "C1/2"},
            {"disc": 5},
            {"segment": "L3/5"},
            {"root": "L5"},
        ],
    )
    def test_a_record_takes_canonical_values_only(self, change: dict[str, object]) -> None:
        record = json.loads(self.found.model_dump_json()) | change
        with pytest.raises(ValidationError, match=next(iter(change))):
            Finding.model_validate(record)

    def test_strict_python_validation_wants_the_type_itself(self) -> None:
        adapter: TypeAdapter[Disc] = TypeAdapter(Disc)
        assert adapter.validate_python("L4/5") == Disc(Level.L4, Level.L5)
        with pytest.raises(ValidationError):
            adapter.validate_python("L4/5", strict=True)

    def test_schema_lists_the_legal_discs(self) -> None:
        schema = TypeAdapter(Disc).json_schema()
        assert schema["enum"] == [str(disc) for disc in DISCS]


def test_public_names_exist() -> None:
    assert all(hasattr(spinemed.anatomy, name) for name in spinemed.anatomy.__all__)
