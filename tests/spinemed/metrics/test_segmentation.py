"""Label comparison: equal to scipy's exact distance transform, and defined where a label or a volume is empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from spinemed.errors import MetricError
from spinemed.metrics import DISTANCES, OVERLAPS, LabelComparison, compare_labels
from spinemed.metrics.pairs import paired_views

ONE_MM = (1.0, 1.0, 1.0)
FULL = np.ones((3, 3, 3), bool)
Mask = NDArray[Any]


def border(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask)


def expected(a: Mask, b: Mask, spacing: tuple[float, float, float], tolerance: float = 1.0) -> dict[str, float]:
    """Straight from the definitions, over the whole volume."""
    rim_a, rim_b = border(a), border(b)
    there = ndimage.distance_transform_edt(~rim_b, sampling=spacing)[rim_a]
    back = ndimage.distance_transform_edt(~rim_a, sampling=spacing)[rim_b]
    pooled = np.concatenate([there, back])
    return {
        "dice": 2 * (a & b).sum() / (a.sum() + b.sum()),
        "iou": (a & b).sum() / (a | b).sum(),
        "surface_dice": (pooled <= tolerance + 1e-9).mean(),
        "hd_mm": pooled.max(),
        "hd95_pooled_mm": np.percentile(pooled, 95),
        "hd95_max_mm": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd_mm": pooled.mean(),
        "masd_mm": (there.mean() + back.mean()) / 2,
    }


def largest(mask: Mask) -> tuple[Mask | None, int, float]:
    """Largest component (None if several are as large), number of components, share of the largest."""
    parts, count = ndimage.label(mask, FULL)
    sizes = np.bincount(parts.ravel())[1:]
    single = (sizes == sizes.max()).sum() == 1
    return (parts == sizes.argmax() + 1 if single else None), count, sizes.max() / sizes.sum()


def blobs(shape: tuple[int, ...], labels: int, rng: np.random.Generator, smooth: float) -> Mask:
    """Labels that touch each other, the edges, and fall into pieces."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), smooth)
    cuts = np.quantile(field, np.linspace(0.5, 1, labels + 1))[:-1]
    return np.digitize(field, cuts).astype(np.uint8)


def check_against_scipy(a: Mask, b: Mask, spacing: tuple[float, float, float]) -> int:
    found = compare_labels(a, b, spacing)
    scored = 0
    for label, score in found.per_label.items():
        ours, theirs = a == label, b == label
        assert score.reference_voxels == ours.sum()
        assert score.prediction_voxels == theirs.sum()
        if score.status != "scored":
            continue
        scored += 1
        for metric, value in expected(ours, theirs, spacing).items():
            assert getattr(score, metric) == pytest.approx(value, abs=1e-9), (label, metric)
        main, count, share = largest(ours)
        other_main, other_count, other_share = largest(theirs)
        assert (score.reference_components, score.prediction_components) == (count, other_count)
        assert score.reference_largest_share == pytest.approx(share)
        assert score.prediction_largest_share == pytest.approx(other_share)
        assert score.reference_centroid == pytest.approx(ndimage.center_of_mass(ours))
        assert score.prediction_centroid == pytest.approx(ndimage.center_of_mass(theirs))
        assert score.reference_border_voxels == border(ours).sum()
        if main is not None and other_main is not None:
            assert score.hd_largest_mm == pytest.approx(expected(main, other_main, spacing)["hd_mm"], abs=1e-9)
    return scored


@pytest.mark.parametrize("seed", range(12))
def test_values_equal_scipys_exact_distance_transform(seed: int) -> None:
    """Anisotropic voxels, touching labels, islands, masks on the edge, shifted and unrelated predictions."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(4, 46, 3))
    spacing = tuple(float(s) for s in rng.uniform(0.2, 4.0, 3))
    a = blobs(shape, 3, rng, 2.0)
    b = np.where(rng.random(shape) < 0.97, np.roll(a, int(rng.integers(-4, 5)), int(rng.integers(3))), a[::-1])
    check_against_scipy(a, b.astype(np.uint8), (spacing[0], spacing[1], spacing[2]))


def test_values_equal_scipys_on_pure_noise_and_on_distant_masks() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 4, (2, 20, 33, 27)).astype(np.uint8)
    assert check_against_scipy(noise[0], noise[1], (0.7, 1.3, 2.1)) == 3
    # Beyond the radius that is probed voxel by voxel, on both sides of it, with islands near the other mask.
    for gap in (4, 11, 40, 90):
        a, b = np.zeros((2, 22, 24, 130), np.uint8)
        a[6:15, 6:15, 5:18] = 7
        b[5:14, 8:17, 18 + gap : 31 + gap] = 7
        assert check_against_scipy(a, b, (0.8, 0.8, 1.0)) == 1
        b[3:5, 2:6, 20:22] = 7
        assert check_against_scipy(a, b, (0.8, 0.8, 1.0)) == 1
        a[18:20, 18:20, 100:103] = 7
        assert check_against_scipy(a, b, (0.29, 0.29, 1.25)) == 1


def test_values_equal_scipys_on_very_flat_voxels() -> None:
    rng = np.random.default_rng(1)
    a, b = blobs((90, 80, 3), 2, rng, 4), blobs((90, 80, 3), 2, rng, 4)
    for spacing in ((0.02, 0.02, 20.0), (0.3, 0.3, 5.0), (30.0, 0.2, 0.2)):
        assert check_against_scipy(a, b, spacing) == 2


def test_island_far_away_shows_in_hd_but_not_in_hd_of_the_largest_component() -> None:
    a = np.zeros((40, 40, 160), np.uint8)
    a[10:25, 10:25, 10:25] = 20
    b = a.copy()
    b[30:34, 30:34, 150:153] = 20
    score = compare_labels(a, b, ONE_MM).per_label[20]
    assert score.dice is not None
    assert score.dice > 0.99
    assert score.hd_mm is not None
    assert score.hd_mm > 120
    assert score.hd_largest_mm == 0.0
    assert (score.reference_components, score.prediction_components) == (1, 2)


def test_two_definitions_of_hd95_and_of_the_mean_on_a_case_done_by_hand() -> None:
    """Reference: one voxel. Prediction: that voxel, and one 3 mm away. So d(r, P) = [0] and d(p, R) = [0, 3]."""
    a = np.zeros((1, 1, 4), np.uint8)
    b = a.copy()
    a[0, 0, 0] = b[0, 0, 0] = b[0, 0, 3] = 1
    score = compare_labels(a, b, (1.0, 1.0, 1.0)).per_label[1]
    assert score.hd_mm == 3.0
    assert score.hd95_pooled_mm == pytest.approx(2.7)  # of 0, 0, 3
    assert score.hd95_max_mm == pytest.approx(2.85)  # of 0, 3
    assert score.assd_mm == pytest.approx(1.0)
    assert score.masd_mm == pytest.approx(0.75)
    assert score.surface_dice == pytest.approx(2 / 3)
    assert score.dice == pytest.approx(2 / 3)
    assert score.iou == pytest.approx(1 / 2)
    assert (score.volume_error_mm3, score.relative_volume_error) == (1.0, 1.0)


def test_distance_equal_to_the_tolerance_is_inside() -> None:
    a, b = np.zeros((2, 12, 3, 3), np.uint8)
    a[2, 1, 1] = b[9, 1, 1] = 1
    for side, tolerance, share in ((0.1, 0.7, 1.0), (0.1, 0.69, 0.0), (0.3, 2.1, 1.0)):
        found = compare_labels(a, b, (side, 1, 1), tolerance_mm=tolerance)
        assert found.per_label[1].surface_dice == share


def three_labels() -> tuple[Mask, Mask]:
    """1 in both, 2 missed, 3 invented."""
    a, b = np.zeros((2, 12, 12, 30), np.uint8)
    a[2:8, 2:8, 2:8] = 1
    b[2:8, 2:8, 3:9] = 1
    a[2:8, 2:8, 12:18] = 2
    b[2:8, 2:8, 22:28] = 3
    return a, b


def no_nan(found: LabelComparison) -> bool:
    values = [value for score in found.per_label.values() for value in vars(score).values()]
    return not any(isinstance(value, float) and not np.isfinite(value) for value in values)


def test_missing_extra_and_absent_labels_are_named_and_counted() -> None:
    found = compare_labels(*three_labels(), ONE_MM, labels=[1, 2, 3, 9], penalty_mm=50)
    assert {label: score.status for label, score in found.per_label.items()} == {
        1: "scored", 2: "missing", 3: "extra", 9: "absent",
    }  # fmt: skip
    assert found.counts == {"scored": 1, "missing": 1, "extra": 1, "absent": 1}
    assert no_nan(found)
    missing, extra, absent = (found.per_label[label] for label in (2, 3, 9))
    for score in (missing, extra):
        assert score.reason == score.status
        assert [getattr(score, metric) for metric in OVERLAPS] == [0.0, 0.0, 0.0]
        assert [getattr(score, metric) for metric in DISTANCES] == [None] * len(DISTANCES)
        assert score.penalised("hd_mm") == 50.0
    assert missing.relative_volume_error == -1.0
    assert missing.prediction_centroid is None
    assert extra.relative_volume_error is None
    assert absent.dice is None
    assert absent.penalised("hd_mm") is None
    assert absent.reason == "absent"


def test_a_missed_label_makes_every_mean_worse() -> None:
    """A distance that is dropped from the mean would improve as a model finds fewer vertebrae."""
    a, b = three_labels()
    whole = compare_labels(a, np.where(a == 2, 2, b), ONE_MM)
    missed = compare_labels(a, b, ONE_MM)
    for metric in OVERLAPS:
        assert missed.mean(metric).value < whole.mean(metric).value  # type: ignore[operator]
    for metric in DISTANCES:
        mean = missed.mean(metric)
        assert mean.value > whole.mean(metric).value  # type: ignore[operator]
        assert mean.value == pytest.approx((missed.per_label[1].penalised(metric) + 100) / 2)  # type: ignore[operator]
        assert mean.matched_only == getattr(missed.per_label[1], metric)
        assert (mean.scored, mean.missing, mean.extra) == (1, 1, 1)
    assert missed.mean("dice", extras=True).value == pytest.approx(missed.per_label[1].dice / 3)  # type: ignore[operator]


def test_empty_prediction_scores_zero_everywhere() -> None:
    a, _ = three_labels()
    found = compare_labels(a, np.zeros_like(a), ONE_MM)
    assert found.counts == {"scored": 0, "missing": 2, "extra": 0, "absent": 0}
    assert found.mean("dice").value == 0.0
    assert found.mean("hd_mm").value == 100.0
    assert found.mean("hd_mm").matched_only is None


def test_two_empty_volumes_give_no_score_and_no_nan() -> None:
    empty = np.zeros((5, 6, 7), np.uint8)
    found = compare_labels(empty, empty, ONE_MM)
    assert found.per_label == {}
    assert found.mean("dice").value is None
    assert found.confusion.tolist() == [[210]]


def test_distances_in_a_mean_are_capped_at_the_penalty() -> None:
    a, b = np.zeros((2, 4, 4, 300), np.uint8)
    a[1, 1, 1] = b[1, 1, 290] = 1
    found = compare_labels(a, b, ONE_MM)
    assert found.per_label[1].hd_mm == 289.0
    assert found.mean("hd_mm").value == 100.0
    assert found.mean("hd_mm").matched_only == 289.0


def test_confusion_counts_every_voxel_and_shows_what_a_vertebra_was_called() -> None:
    rng = np.random.default_rng(3)
    a, b = blobs((20, 21, 22), 4, rng, 2), blobs((20, 21, 22), 4, rng, 2)
    b[b == 4] = 255
    found = compare_labels(a, b, ONE_MM, labels=[2, 200])
    assert found.confusion_labels == (0, 1, 2, 3, 4, 200, 255)
    direct = [[int(((a == i) & (b == j)).sum()) for j in found.confusion_labels] for i in found.confusion_labels]
    assert found.confusion.tolist() == direct
    shifted = compare_labels(a, np.where(a > 0, a + 1, 0), ONE_MM)
    assert {label: shifted.called(label) for label in (1, 2, 3, 4)} == {1: 2, 2: 3, 3: 4, 4: 5}
    assert shifted.called(5) is None
    assert compare_labels(a, np.zeros_like(a), ONE_MM).called(1) == 0


def test_order_of_memory_and_type_change_nothing() -> None:
    rng = np.random.default_rng(4)
    a, b = blobs((23, 17, 30), 3, rng, 2), blobs((23, 17, 30), 3, rng, 2)
    spacing = (0.5, 1.1, 2.0)
    plain = compare_labels(a, b, spacing)
    wide = np.zeros((46, 17, 61), np.uint8)
    wide[::2, :, 1::2] = a
    unaligned = np.zeros(a.size + 1, np.uint8)[1:].reshape(a.shape)
    unaligned[...] = a
    locked = a.copy()
    locked.setflags(write=False)
    for reference, prediction in (
        (np.asfortranarray(a), np.asfortranarray(b)),
        (np.asfortranarray(a), b),
        (a[::-1, :, ::-1].copy()[::-1, :, ::-1], b),
        (wide[::2, :, 1::2], b),
        (unaligned, b),
        (locked, b),
        (a.astype(np.int16), b.astype(np.uint16)),
        (a.astype(np.int64, order="F"), b.astype(">i4")),
        (a.astype(np.float64), b.astype(np.float32)),
    ):
        found = compare_labels(reference, prediction, spacing)
        assert found.confusion.tolist() == plain.confusion.tolist()
        for label, score in found.per_label.items():
            for name, value in vars(plain.per_label[label]).items():
                approximate = pytest.approx(value) if isinstance(value, float | tuple) else value
                assert getattr(score, name) == approximate, (label, name)
    assert compare_labels(a > 0, b > 0, spacing).per_label[1].reference_voxels == (a > 0).sum()


def test_fortran_order_and_flipped_views_are_read_without_a_copy() -> None:
    a, b = np.zeros((2, 8, 9, 16), np.uint8)
    fortran = np.asfortranarray(a), np.asfortranarray(b)
    for pair in ((a, b), fortran, (a[::-1, :, ::-1], b[::-1, :, ::-1]), (a.transpose(1, 2, 0), b.transpose(1, 2, 0))):
        _, views = paired_views(*pair)
        assert all(np.shares_memory(view, given) for view, given in zip(views, pair, strict=True))


def test_spacing_belongs_to_the_axes_as_passed() -> None:
    a, b = np.zeros((2, 10, 10, 10), np.uint8)
    a[2, 5, 5] = b[8, 5, 5] = 1
    assert compare_labels(a, b, (3.0, 1.0, 0.5)).per_label[1].hd_mm == 18.0
    assert compare_labels(a, b, (0.5, 1.0, 3.0)).per_label[1].hd_mm == 3.0
    assert compare_labels(a.transpose(2, 0, 1), b.transpose(2, 0, 1), (0.5, 3.0, 1.0)).per_label[1].hd_mm == 18.0


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(5)
    a, b = blobs((30, 31, 32), 5, rng, 2), blobs((30, 31, 32), 5, rng, 2)
    one, many = compare_labels(a, b, ONE_MM), compare_labels(a, b, ONE_MM, threads=3)
    assert one.per_label == many.per_label
    assert list(one.per_label) == list(many.per_label)


def with_value(value: float, kind: type) -> Mask:
    volume = np.zeros((4, 4, 4), kind)
    volume[1, 2, 3] = value
    return volume


@pytest.mark.parametrize(
    ("reference", "prediction", "message"),
    [
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8), "different shapes"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint8), "not a three-dimensional array"),
        (np.zeros((0, 4, 4), np.uint8), np.zeros((0, 4, 4), np.uint8), "not a three-dimensional array"),
        (with_value(-1024, np.int16), with_value(1, np.uint8), "field 'reference': holds the negative value -1024"),
        (with_value(1, np.uint8), with_value(-1, np.float64), "field 'prediction': holds the negative value"),
        (with_value(256, np.uint16), with_value(1, np.uint8), "label 256, above 255"),
        (with_value(1, np.uint8), with_value(2**40, np.int64), "above 255"),
        (with_value(np.nan, np.float32), with_value(1, np.uint8), "NaN or infinite"),
        (with_value(np.inf, np.float64), with_value(1, np.uint8), "NaN or infinite"),
        (with_value(0.5, np.float64), with_value(1, np.uint8), "0.5, which is not whole"),
        (with_value(1, np.complex128), with_value(1, np.uint8), "complex128, not labels"),
    ],
)
def test_what_is_no_pair_of_masks_is_refused_by_name(reference: Mask, prediction: Mask, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        compare_labels(reference, prediction, ONE_MM)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"spacing_mm": (1.0, 1.0, 0.0)}, "spacing_mm"),
        ({"spacing_mm": (1.0, float("nan"), 1.0)}, "spacing_mm"),
        ({"spacing_mm": (1.0, 1.0)}, "spacing_mm"),
        ({"labels": [0]}, "labels"),
        ({"labels": [256]}, "labels"),
        ({"labels": [1.5]}, "labels"),
        ({"tolerance_mm": -1.0}, "tolerance_mm"),
        ({"penalty_mm": float("inf")}, "penalty_mm"),
        ({"threads": 0}, "threads"),
    ],
)
def test_impossible_options_are_refused_by_name(options: dict[str, Any], field: str) -> None:
    mask = with_value(1, np.uint8)
    with pytest.raises(MetricError, match=f"field '{field}'"):
        compare_labels(mask, mask, **{"spacing_mm": ONE_MM, **options})


def test_unknown_metric_is_refused_by_name() -> None:
    found = compare_labels(with_value(1, np.uint8), with_value(1, np.uint8), ONE_MM)
    with pytest.raises(MetricError, match="no metric 'hd95'"):
        found.mean("hd95")
