"""Levels put right: what each step renames, what is refused, and the version that is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.review.errors import RefusedError
from data_pipeline.review.viewer.corrections import (
    Labelling,
    check_labelling,
    labelling_of,
    move_centroid,
    write_version,
)
from data_pipeline.review.viewer.operations import apply_operations, describe, parse_operations
from spinemed.anatomy import Level, Spine
from spinemed.errors import LevelError, RunError, VolumeError
from spinemed.labelling import CentroidSet, LabelMask, read_centroids, read_label_mask, read_verse_folder

LUMBAR = ["T12", "L1", "L2", "L3", "L4", "L5"]


def column(names: list[str], *, sacrum: bool = False) -> Labelling:
    """Cubes one above the other, 30 mm apart, named from head to foot."""
    data = np.zeros((20, 20, 30 * (len(names) + 1)), np.uint8)
    affine = np.eye(4)
    affine[:3, 3] = (-10, -10, 0)
    for place, name in enumerate(names):
        foot = 30 * (len(names) - place)
        data[5:15, 5:15, foot + 5 : foot + 25] = Level(name).verse_label
    if sacrum:
        data[5:15, 5:15, 2:25] = 26
    return labelling_of(LabelMask(data, affine))


def after(labelling: Labelling, *steps: dict[str, Any]) -> list[str]:
    return [str(level) for level in apply_operations(labelling, parse_operations(list(steps))).levels]


def test_one_vertebra_is_renamed_in_mask_and_centroids() -> None:
    one = column(["L3"])
    done = apply_operations(one, parse_operations([{"kind": "rename", "old": "L3", "new": "L4"}]))
    assert done.levels == (Level.L4,)
    assert set(np.unique(done.mask.data)) == {0, Level.L4.verse_label}
    assert np.array_equal(done.mask.data == 23, one.mask.data == 22)
    assert np.allclose(done.centroids[Level.L4], one.centroids[Level.L3])
    assert one.levels == (Level.L3,)  # the old one stays as it was


@pytest.mark.parametrize(
    ("names", "sacrum", "step", "expected"),
    [
        (LUMBAR[:5], False, {"kind": "shift", "steps": 1}, ["L1", "L2", "L3", "L4", "L5"]),
        (LUMBAR, False, {"kind": "shift", "steps": -1}, ["T11", "T12", "L1", "L2", "L3", "L4"]),
        # on the sacrum a shift says that there are four or six lumbar vertebrae
        (LUMBAR, True, {"kind": "shift", "steps": 1}, ["L1", "L2", "L3", "L4", "L5", "L6"]),
        (LUMBAR, True, {"kind": "shift", "steps": -1}, ["T11", "T12", "L1", "L2", "L3", "L4"]),
        (["T12", "L1", "L2"], False, {"kind": "mark", "what": "T13", "level": "L1"}, ["T12", "T13", "L1"]),
        (LUMBAR, True, {"kind": "mark", "what": "T13", "level": "L1"}, ["T12", "T13", "L1", "L2", "L3", "L4"]),
        (LUMBAR[1:], True, {"kind": "mark", "what": "L6", "level": "L5"}, ["L2", "L3", "L4", "L5", "L6"]),
        (["T11", "T12", "L1"], False, {"kind": "mark", "what": "no_T12", "level": "L1"}, ["T10", "T11", "L1"]),
        (["T11", "T12", "L1"], False, {"kind": "mark", "what": "no_T12", "level": "T11"}, ["T11", "L1", "L2"]),
    ],
)  # fmt: skip
def test_renumbering_keeps_every_distance(
    names: list[str], sacrum: bool, step: dict[str, Any], expected: list[str]
) -> None:
    before = column(names, sacrum=sacrum)
    steps = parse_operations([step])
    done = apply_operations(before, steps)
    assert [str(level) for level in done.levels] == expected
    for old, new in zip(before.levels, done.levels, strict=True):
        assert np.array_equal(before.mask.data == old.verse_label, done.mask.data == new.verse_label)
        assert np.allclose(before.centroids[old], done.centroids[new])
    assert (done.mask.data == 26).sum() == (before.mask.data == 26).sum()
    assert describe(steps[0])


def test_the_column_that_was_stated_holds_for_the_next_step() -> None:
    before = column(["T11", "T12", "L1", "L2"])
    thirteen = {"kind": "mark", "what": "T13", "level": "L1"}
    assert after(before, thirteen, {"kind": "shift", "steps": -1}) == ["T10", "T11", "T12", "T13"]


@pytest.mark.parametrize(
    ("names", "sacrum", "step", "message"),
    [
        (LUMBAR, False, {"kind": "rename", "old": "L3", "new": "L4"}, "another vertebra"),
        (LUMBAR, False, {"kind": "rename", "old": "T9", "new": "T8"}, "not marked in this scan"),
        (LUMBAR, False, {"kind": "rename", "old": "L3", "new": "L3"}, "its name already"),
        (LUMBAR, False, {"kind": "rename", "old": "T12", "new": "T10"}, "follow each other in the scan"),
        (["L1", "L2"], False, {"kind": "rename", "old": "L1", "new": "L3"}, "lies below"),
        (["L4", "L5"], True, {"kind": "rename", "old": "L5", "new": "L6"}, "without L5"),
        ([*LUMBAR, "L6"], True, {"kind": "shift", "steps": 1}, "lies? on the sacrum|leaves|would be"),
        (LUMBAR, False, {"kind": "mark", "what": "no_T12", "level": "T12"}, "cannot keep its name"),
        (["C1", "C2"], False, {"kind": "shift", "steps": -1}, "no vertebra above the sacrum"),
    ],
)
def test_what_no_spine_has_is_refused(names: list[str], sacrum: bool, step: dict[str, Any], message: str) -> None:
    with pytest.raises(LevelError, match=message):
        after(column(names, sacrum=sacrum), step)


def test_a_centroid_moves_within_its_own_vertebra_only() -> None:
    before = column(["L3", "L4"])
    place = before.centroids[Level.L3] + [2, -3, 1]
    done = move_centroid(before, Level.L3, place)
    assert np.allclose(done.centroids[Level.L3], place)
    assert done.mask is before.mask
    for point, message in (
        ((0, 0, 500), "outside the volume"),
        (before.centroids[Level.L4] - [0, 0, 20], "lies \\d+ mm from|lies below"),
        ((0, 0, float("nan")), "three finite numbers"),
    ):
        with pytest.raises((VolumeError, LevelError), match=message):
            move_centroid(before, Level.L3, point)


@pytest.mark.parametrize(
    "value",
    [None, [], "shift", [{"kind": "delete"}], [{"kind": "shift", "steps": 2}],
     [{"kind": "rename", "old": "L9", "new": "L1"}],
     [{"kind": "move", "level": "L1", "point_mm": [1, 2]}], [{"kind": "shift", "steps": 1}] * 65,
     [{"kind": "shift", "steps": 1, "and": "more"}]],
)  # fmt: skip
def test_steps_that_are_none_are_refused(value: object) -> None:
    with pytest.raises(RefusedError):
        parse_operations(value)


def test_centroids_out_of_order_are_no_labelling() -> None:
    good = column(["L1", "L2"])
    places = {Level.L1: good.centroids[Level.L2], Level.L2: good.centroids[Level.L1]}
    with pytest.raises(LevelError, match="lies below"):
        check_labelling(Labelling(good.mask, CentroidSet.of(places)))
    assert check_labelling(good) == Spine()


def test_a_version_is_written_as_verse_lays_it_out_and_never_over_another(tmp_path: Path) -> None:
    done = apply_operations(
        column(["T12", "L1", "L2"]),
        parse_operations(
            [{"kind": "mark", "what": "T13", "level": "L1"}, {"kind": "move", "level": "L1", "point_mm": [0.5, 0, 44]}]
        ),
    )
    folder = tmp_path / "v0001"
    hashes = write_version(done, folder, "sub-abc123", {"starts_from": 0})
    (case,) = read_verse_folder(folder)
    assert case.name == "sub-abc123"
    assert case.mask is not None
    mask = read_label_mask(case.mask)
    assert np.array_equal(mask.data, done.mask.data)
    assert Level.T13.verse_label in mask.counts
    assert case.centroids is not None
    centroids = read_centroids(case.centroids, image_or_mask=mask)
    assert centroids.levels == (Level.T12, Level.T13, Level.L1)
    assert np.allclose(centroids[Level.L1], (0.5, 0, 44), atol=2e-3)
    told = json.loads((folder / "correction.json").read_text())
    assert told["column"] == {"thoracic": 13, "lumbar": 5}
    assert told["starts_from"] == 0
    bytes_before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(RunError, match="exists already"):
        write_version(done, folder, "sub-abc123", {})
    assert bytes_before == {file.name: file.read_bytes() for file in folder.iterdir()}
    assert set(hashes) == set(bytes_before)
    with pytest.raises(VolumeError, match="no case name"):
        write_version(done, tmp_path / "other", "../sub-abc", {})
    assert not (tmp_path / "other").exists()
