"""The table of expected outcomes: what is done to a mask, and what the report must say of it.

The reference is a real lumbar mask (bundled CT, T12 to L5, 3 mm); each row changes a copy of it and scores the copy.
Real trouble is bundled too: a pair of real masks whose labels are all shifted by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from bench.verse.evaluate import evaluate_case, evaluate_folder
from bench.verse.records import CaseResult, Settings
from spinemed.anatomy import REGULAR, Level
from spinemed.errors import VolumeError
from spinemed.labelling import LabelMask, body_centroids, read_label_mask, write_centroids
from spinemed.metrics import compare_labels
from spinemed.volume import Volume, reorient_volume, resample_like

LEVELS = REGULAR.between(Level.T12, Level.L5)
L2, L3, L4, T12 = (level.verse_label for level in (Level.L2, Level.L3, Level.L4, Level.T12))
PAIR = "masks/panoptica_spine/unmatched_instance"
Change = Callable[[np.ndarray], None]


@pytest.fixture(scope="module")
def reference(samples: Path) -> LabelMask:
    """T12 to L5 and the sacrum of the bundled CT; the sliver of T11 is cleared, as VerSe leaves cut vertebrae out."""
    mask = read_label_mask(
        samples / "ct/totalsegmentator_lumbar/example_seg_fast_force_split.nii.gz", scheme="totalsegmentator"
    )
    data = np.array(mask.data, order="F")
    data[data == Level.T11.verse_label] = 0
    return LabelMask(data, mask.affine)


def changed(mask: LabelMask, change: Change) -> LabelMask:
    data = np.array(mask.data, order="F")
    change(data)
    return LabelMask(data, mask.affine)


def nothing(data: np.ndarray) -> None:
    """Leave it as it is."""


def empty(data: np.ndarray) -> None:
    data[:] = 0


def shift(steps: int) -> Change:
    def change(data: np.ndarray) -> None:
        spine = (*REGULAR.between(Level.C1, Level.L5), Level.L6)
        moved = np.zeros(256, np.uint8)
        for place, level in enumerate(spine):
            if 0 <= place + steps < len(spine):
                moved[level.verse_label] = spine[place + steps].verse_label
        data[:] = moved[data]

    return change


def swap(data: np.ndarray) -> None:
    second, third = data == L2, data == L3
    data[second], data[third] = L3, L2


def duplicate(data: np.ndarray) -> None:
    data[data == L4] = L3


def drop(data: np.ndarray) -> None:
    data[data == L4] = 0


def cut(data: np.ndarray) -> None:
    """The lower 40 % of L3 is gone."""
    rows = np.nonzero((data == L3).any(axis=(0, 1)))[0]
    below = np.arange(data.shape[2]) < rows.min() + 0.4 * (rows.max() + 1 - rows.min())
    data[(data == L3) & below] = 0


def island(data: np.ndarray) -> None:
    """48 voxels of L3 in a far corner."""
    assert not data[1:5, 1:5, 1:4].any()
    data[1:5, 1:5, 1:4] = L3


def upside_down(data: np.ndarray) -> None:
    """The array flipped head to foot while the header stays."""
    data[:] = data[:, :, ::-1].copy()


def merge(data: np.ndarray) -> None:
    """Every vertebra is called L3."""
    data[(data >= T12) & (data <= 24)] = L3


@dataclass(frozen=True)
class Row:
    """One row of the table. Dice per level are those that are not 1."""

    name: str
    change: Change
    identified: float
    precision: float
    shift: int | None = None
    runs: tuple[tuple[str, str, int], ...] = ()
    missed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    dice: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Level → interval; every other level has exactly 1."""
    hd_mm: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Level → interval; every other matched level has exactly 0."""
    components: dict[str, int] = field(default_factory=dict)


ZERO = (0.0, 0.0)
ALL_ZERO = dict.fromkeys(map(str, LEVELS), ZERO)
FAR = dict.fromkeys(map(str, LEVELS), (20.0, 60.0))
TABLE = (
    Row("the truth", nothing, 1.0, 1.0),
    Row("an empty prediction", empty, 0.0, 0.0, missed=tuple(map(str, LEVELS)), dice=ALL_ZERO),
    Row(
        "all one level too low",
        shift(1),
        0.0,
        0.0,
        shift=1,
        runs=(("T12", "L5", 1),),
        dice=dict.fromkeys(map(str, LEVELS), (0.0, 0.01)),
        hd_mm=FAR,
    ),
    Row(
        "all one level too high",
        shift(-1),
        0.0,
        0.0,
        shift=-1,
        runs=(("T12", "L5", -1),),
        dice=dict.fromkeys(map(str, LEVELS), (0.0, 0.01)),
        hd_mm=FAR,
    ),
    Row(
        "two levels swapped",
        swap,
        4 / 6,
        4 / 6,
        runs=(("L2", "L2", 1), ("L3", "L3", -1)),
        dice={"L2": (0.0, 0.01), "L3": (0.0, 0.01)},
        hd_mm={"L2": (20.0, 60.0), "L3": (20.0, 60.0)},
    ),
    Row(
        "one level twice",
        duplicate,
        5 / 6,
        1.0,
        missed=("L4",),
        dice={"L4": ZERO, "L3": (0.6, 0.75)},
        hd_mm={"L3": (30.0, 60.0)},
    ),
    Row("one level missing", drop, 5 / 6, 1.0, missed=("L4",), dice={"L4": ZERO}),
    Row("one level cut", cut, 1.0, 1.0, dice={"L3": (0.6, 0.9)}, hd_mm={"L3": (9.0, 30.0)}),
    Row(
        "an island",
        island,
        1.0,
        1.0,
        dice={"L3": (0.985, 0.995)},
        hd_mm={"L3": (150.0, 400.0)},
        components={"L3": 2},
    ),
    Row(
        "upside down",
        upside_down,
        0.0,
        0.0,
        runs=(("L4", "L4", 1), ("L5", "L5", -1)),
        missed=("T12", "L1", "L2", "L3"),
        extra=("T12", "L1", "L2", "L3"),
        dice=dict.fromkeys(map(str, LEVELS), (0.0, 0.2)),
        hd_mm=dict.fromkeys(map(str, LEVELS), (20.0, 300.0)),
    ),
    Row(
        "one name for all",
        merge,
        1 / 6,
        1.0,
        missed=("T12", "L1", "L2", "L4", "L5"),
        dice={**ALL_ZERO, "L3": (0.2, 0.4)},
        hd_mm={"L3": (60.0, 150.0)},
    ),
)


def outcome(reference: LabelMask, prediction: LabelMask, **settings: Any) -> CaseResult:
    return evaluate_case(reference, prediction, settings=Settings(**settings))


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_expected_outcome(row: Row, reference: LabelMask) -> None:
    result = outcome(reference, changed(reference, row.change))
    case, by_level = result.case, {one.level.value: one for one in result.vertebrae}
    assert case.recall == pytest.approx(row.identified)
    assert case.precision == pytest.approx(row.precision)
    assert case.shift == row.shift
    assert tuple((run.first, run.last, run.offset) for run in case.runs) == row.runs
    assert case.missed == row.missed
    assert tuple(one.level for one in case.extra) == row.extra
    assert set(by_level) == set(map(str, LEVELS))
    for level, one in by_level.items():
        low, high = row.dice.get(level, (1.0, 1.0))
        assert one.dice is not None
        assert low <= one.dice <= high, level
        assert one.iou == pytest.approx(one.dice / (2 - one.dice))
        if one.outcome == "missed":
            assert (one.dice, one.nsd, one.hd_mm, one.hd_penalised_mm) == (0.0, 0.0, None, 100.0)
        else:
            low, high = row.hd_mm.get(level, ZERO)
            assert one.hd_mm is not None
            assert low <= one.hd_mm <= high, level
            assert one.components == row.components.get(level, one.components)


def test_an_empty_prediction_scores_zero_everywhere(reference: LabelMask) -> None:
    """The published code gives an empty prediction a Dice of 0.31 on its own sample."""
    result = outcome(reference, changed(reference, empty))
    assert (result.case.hits, result.case.recall, result.case.precision, result.case.f1) == (0, 0.0, 0.0, 0.0)
    for metric in ("identified", "dice", "iou", "nsd", "dice_any_name"):
        assert result.case.means[metric] == 0.0
    assert result.case.means["hd_penalised_mm"] == 100.0
    assert result.case.means["localisation_penalised_mm"] == 1000.0
    assert "hd_mm" not in result.case.means  # over matches, of which there are none
    assert outcome(reference, changed(reference, empty), mode="compat").case.official_dice == 0.0


def test_the_bundled_pair_whose_labels_are_all_shifted_by_one(samples: Path) -> None:
    result = evaluate_case(
        samples / PAIR / "ref.nii.gz",
        samples / PAIR / "pred.nii.gz",
        settings=Settings(labels="tptbox", reference_labels="tptbox"),
    )
    case = result.case
    assert (case.hits, case.recall, case.precision) == (0, 0.0, 0.0)
    assert case.shift == 1
    assert [(run.vertebrae, run.offset) for run in case.runs] == [(7, 1)]
    assert (case.missed, case.extra) == ((), ())
    assert case.means["dice"] < 0.001
    assert case.means["dice_any_name"] > 0.94  # well outlined, and every name wrong
    assert all(one.offset == 1 for one in result.vertebrae)


def test_an_island_moves_the_largest_distance_and_nothing_else(reference: LabelMask) -> None:
    one = next(v for v in outcome(reference, changed(reference, island)).vertebrae if v.level == Level.L3)
    assert one.hd_mm is not None
    assert one.hd_mm > 150
    assert (one.hd_largest_mm, one.components) == (0.0, 2)
    assert one.localisation_mm == pytest.approx(0.0, abs=1e-9)


def test_a_vertebra_cut_by_the_edge_is_excused_where_the_reference_leaves_it_out(
    reference: LabelMask, samples: Path
) -> None:
    whole = read_label_mask(
        samples / "ct/totalsegmentator_lumbar/example_seg_fast_force_split.nii.gz", scheme="totalsegmentator"
    )
    case = outcome(reference, whole).case
    assert [(one.level, one.excuse) for one in case.extra] == [(Level.T11, "cut at the edge")]
    assert (case.recall, case.precision) == (1.0, 1.0)


@pytest.mark.parametrize("codes", ["LPS", "PIR", "SRA", "ASL"])
def test_a_flipped_orientation_changes_nothing(reference: LabelMask, codes: str) -> None:
    plain = outcome(reference, changed(reference, cut))
    turned = reorient_volume(changed(reference, cut).volume, codes)
    result = outcome(reference, LabelMask(np.asarray(turned.data), turned.affine))
    assert result.case.reoriented
    for one, other in zip(result.vertebrae, plain.vertebrae, strict=True):
        for name, value in one.model_dump().items():
            expected = getattr(other, name)
            assert value == (pytest.approx(expected, abs=1e-9) if isinstance(expected, float) else expected), name


def test_a_different_grid_is_refused_and_scored_on_request(reference: LabelMask) -> None:
    affine = reference.affine @ np.diag([2 / 3, 2 / 3, 2 / 3, 1.0])
    grid = Volume(np.zeros(tuple(int(n * 1.5) for n in reference.shape), np.uint8), affine, "label")
    finer = LabelMask(np.asarray(resample_like(reference.volume, grid, fill=0).data), affine)
    with pytest.raises(VolumeError, match="another grid"):
        outcome(reference, finer)
    result = outcome(reference, finer, resample=True)
    assert result.case.resampled
    assert (result.case.recall, result.case.precision) == (1.0, 1.0)
    assert 0.9 < result.case.means["dice"] <= 1.0


def test_the_same_shape_is_not_the_same_grid(reference: LabelMask) -> None:
    affine = np.array(reference.affine)
    affine[2, 3] += 3.0
    with pytest.raises(VolumeError, match="origin shifted by 3 mm"):
        outcome(reference, LabelMask(np.asarray(reference.data), affine))


def test_reversed_spacing_in_the_file_is_refused(samples: Path, tmp_path: Path) -> None:
    """Real MR mask, 0.59 x 0.59 x 3.3 mm, saved as 3.3 x 0.59 x 0.59 mm: one shape, another grid."""
    truth = samples / PAIR / "ref.nii.gz"
    mask = read_label_mask(truth, scheme="tptbox")
    sizes = np.array(mask.spacing_mm)
    affine = np.array(mask.affine)
    affine[:3, :3] = affine[:3, :3] / sizes * sizes[::-1]
    nib.save(nib.Nifti1Image(np.asarray(mask.data), affine), tmp_path / "reversed.nii.gz")
    with pytest.raises(VolumeError, match="voxels 3.3x0.5859x0.5859 mm against 0.5859x0.5859x3.3 mm"):
        evaluate_case(truth, tmp_path / "reversed.nii.gz", settings=Settings(reference_labels="tptbox"))


def test_spacing_goes_with_its_axis(samples: Path) -> None:
    """Distances of the real pair are those of its transpose with reversed spacing, and not those of a mix-up."""
    ref, pred = (read_label_mask(samples / PAIR / f"{name}.nii.gz", scheme="tptbox") for name in ("ref", "pred"))
    moved = np.zeros(256, np.uint8)
    moved[2:10] = np.arange(1, 9)  # the prediction under the names of the reference
    guess = moved[pred.data]
    labels = list(range(2, 9))
    plain = compare_labels(ref.data, guess, ref.spacing_mm, labels=labels)
    turned = compare_labels(ref.data.T, guess.T, ref.spacing_mm[::-1], labels=labels)
    mixed = compare_labels(ref.data, guess, ref.spacing_mm[::-1], labels=labels)
    for label in labels:
        assert plain.per_label[label].hd_mm == pytest.approx(turned.per_label[label].hd_mm, abs=1e-12)
        assert plain.per_label[label].assd_mm == pytest.approx(turned.per_label[label].assd_mm, abs=1e-12)
    assert any(abs(plain.per_label[n].hd_mm - mixed.per_label[n].hd_mm) > 1.0 for n in labels)  # type: ignore[operator]


def test_one_bad_case_of_each_kind_and_the_others_are_scored(reference: LabelMask, tmp_path: Path) -> None:
    """Grids, unknown labels, negative and NaN voxels, a gzip cut short, a missing centroid file: one error each."""

    def save(name: str, data: np.ndarray, affine: np.ndarray = reference.affine, *, folder: str) -> Path:
        path = tmp_path / folder / f"{name}_seg-vert_msk.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(data, affine), path)
        return path

    bad = {
        "sub-grid": (np.asarray(reference.data[:, :, 5:]), "another grid"),
        "sub-unknown": (np.where(reference.data == L3, 99, reference.data), "label 99"),
        "sub-negative": (np.where(reference.data == 0, -1024, reference.data.astype(np.int16)), "negative"),
        "sub-nan": (np.where(reference.data == L3, np.nan, reference.data.astype(np.float32)), "nan"),
        "sub-short": (np.asarray(reference.data), "truncated or damaged gzip"),
        "sub-good": (np.asarray(reference.data), ""),
    }
    for name, (data, _) in bad.items():
        save(name, np.asarray(reference.data), folder="reference")
        path = save(name, data, folder="prediction")
        if name == "sub-short":
            path.write_bytes(path.read_bytes()[:2000])
    scores = evaluate_folder(
        tmp_path / "reference", tmp_path / "prediction", settings=Settings(centroids="mask"), resamples=10
    )
    assert {case.case for case in scores.failed} == set(bad) - {"sub-good"}
    for case in scores.cases:
        expected = bad[case.case][1]
        if expected:
            (error,) = case.errors
            assert expected in error.text
            assert (case.status, case.recall) == ("unusable prediction", 0.0)
        else:
            assert (case.errors, case.recall, case.means["dice"]) == ((), 1.0, 1.0)

    # The same folders judged by centroid files, which all but one case have.
    for name in set(bad) - {"sub-unknown"}:
        write_centroids(tmp_path / "reference" / f"{name}_seg-subreg_ctd.json", body_centroids(reference), reference)
    scores = evaluate_folder(tmp_path / "reference", tmp_path / "prediction", resamples=10)
    by_name = {case.case: case for case in scores.cases}
    assert "sub-unknown has no centroid file" in by_name["sub-unknown"].errors[0].text
    assert (by_name["sub-good"].errors, by_name["sub-good"].recall) == ((), 1.0)
    assert {case.case for case in scores.failed} == set(bad) - {"sub-good"}
