"""Motion metrics against plain loops written from the papers, and every way in which something can be missing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spinemed.errors import MetricError
from spinemed.metrics.keypoints import average_precision, oks, picture_area_px2
from spinemed.metrics.motion import (
    angle_errors,
    auc,
    capped_mean,
    coverage,
    jitter,
    mean_of,
    pck,
    pose_errors,
    range_violations,
    segment_variation_percent,
)


def aligned_by_svd(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Procrustes of one frame by Umeyama's formulas (1991), which use another decomposition than the kernel."""
    mean_p, mean_r = predicted.mean(axis=0), reference.mean(axis=0)
    p, r = predicted - mean_p, reference - mean_r
    left, spread, right = np.linalg.svd(r.T @ p)
    keep = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = left @ keep @ right
    factor = float((spread * np.diag(keep)).sum() / (p**2).sum())
    return np.linalg.norm(factor * p @ turn.T - r, axis=1)


def clip(frames: int = 12, points: int = 9, noise: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    reference = rng.normal(scale=300.0, size=(frames, points, 3))
    return reference + rng.normal(scale=noise, size=reference.shape), reference


def test_alignments_equal_plain_loops() -> None:
    predicted, reference = clip()
    predicted[2, 4] = np.nan
    reference[3, 1] = np.nan
    found = pose_errors(predicted, reference, root=0)
    for t in range(len(predicted)):
        both = np.isfinite(predicted[t]).all(axis=1) & np.isfinite(reference[t]).all(axis=1)
        p, r = predicted[t, both], reference[t, both]
        p0, r0 = p - p[0], r - r[0]
        scale = sum(float(a @ b) for a, b in zip(p0, r0)) / sum(float(a @ a) for a in p0)
        wanted = {
            "plain_mm": [math.dist(a, b) for a, b in zip(p, r)],
            "rooted_mm": [math.dist(a, b) for a, b in zip(p0, r0)],
            "scaled_mm": [math.dist(scale * a, b) for a, b in zip(p0, r0)],
            "aligned_mm": aligned_by_svd(p, r),
        }
        for name, values in wanted.items():
            np.testing.assert_allclose(getattr(found, name)[t, both], values, atol=1e-9)
            assert np.isnan(getattr(found, name)[t, ~both]).all()
    assert (found.mpjpe.n, found.mpjpe.missed) == (12 * 9 - 2, 1)
    assert found.p_mpjpe.value is not None
    assert found.p_mpjpe.value < found.mpjpe.value  # type: ignore[operator]


def test_a_similarity_costs_nothing_after_alignment_and_a_mirror_does() -> None:
    _, reference = clip()
    turn = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    moved = 0.7 * reference @ turn.T + np.array([1000.0, -50.0, 3.0])
    found = pose_errors(moved, reference, root=0)
    assert found.p_mpjpe.value == pytest.approx(0.0, abs=1e-9)
    assert pose_errors(2.5 * reference + 7.0, reference, root=0).n_mpjpe.value == pytest.approx(0.0, abs=1e-9)
    mirrored = pose_errors(reference * np.array([-1.0, 1.0, 1.0]), reference, root=0)
    np.testing.assert_allclose(
        mirrored.aligned_mm[0], aligned_by_svd(reference[0] * np.array([-1.0, 1.0, 1.0]), reference[0]), atol=1e-9
    )
    assert mirrored.p_mpjpe.value > 50.0  # type: ignore[operator]


def test_frames_that_cannot_be_aligned_are_counted() -> None:
    predicted, reference = clip(frames=4)
    predicted[0, 2:] = np.nan  # two points are left: any pose fits
    predicted[1] = 5.0  # all in one place: no scale
    predicted[2, 0] = np.nan  # no root
    found = pose_errors(predicted, reference, root=0)
    assert np.isnan(found.aligned_mm[:2]).all()
    assert np.isfinite(found.plain_mm[1]).all()
    assert np.isnan(found.rooted_mm[2]).all()
    assert found.root_mpjpe.missed == 7 + 8
    assert (found.root_mpjpe.n, found.p_mpjpe.n, found.p_mpjpe.missed) == (1 + 8 + 8, 8 + 9, 2 * 9 + 1)


def test_nothing_predicted_and_nothing_labelled() -> None:
    _, reference = clip(frames=3)
    found = pose_errors(np.full_like(reference, np.nan), reference, root=0)
    assert found.mpjpe.value is None
    assert found.mpjpe.missed == 27
    assert found.capped.value == 500.0
    assert pck(found.plain_mm, found.labelled, 50.0) == 0.0
    unlabelled = pose_errors(reference, np.full_like(reference, np.nan))
    assert (unlabelled.mpjpe.value, unlabelled.mpjpe.n, unlabelled.mpjpe.missed) == (None, 0, 0)
    assert auc(unlabelled.plain_mm, unlabelled.labelled, 30.0) is None
    assert unlabelled.capped.value is None


def test_capped_mean_never_rewards_leaving_out() -> None:
    errors, labelled = np.array([[10.0, 2000.0]]), np.array([[True, True]])
    left_out = np.array([[10.0, np.nan]])
    assert mean_of(errors, labelled).value == 1005.0
    assert capped_mean(errors, labelled).value == capped_mean(left_out, labelled).value == 255.0


def test_pck_and_auc_follow_the_published_functions() -> None:
    rng = np.random.default_rng(0)
    errors = rng.exponential(12.0, size=(40, 5))
    labelled = rng.random((40, 5)) < 0.8
    labelled[:, 4] = False
    found = []
    for step in range(20):
        shares = []
        for k in range(5):
            own = [errors[i, k] / 30.0 for i in range(40) if labelled[i, k]]
            if own:
                shares.append(sum(value < step / 20 for value in own) / len(own))
        found.append(sum(shares) / len(shares))
    assert auc(errors, labelled, 30.0) == pytest.approx(sum(found) / 20, abs=1e-12)
    assert pck(errors, labelled, 15.0) == pytest.approx(found[10], abs=1e-12)
    assert auc(np.zeros((3, 2)), np.ones((3, 2), dtype=bool), 30.0) == pytest.approx(0.95)  # the grid's ceiling
    assert pck(np.array([[50.0]]), np.array([[True]]), 50.0) == 0.0  # strictly below
    with pytest.raises(MetricError, match="norm_factor"):
        auc(errors, labelled, 0.0)


def coco_loop(likeness: list[float], scores: list[float], detected: list[bool]) -> tuple[float, float]:
    """COCO's evaluation of one person per picture, picture by picture and threshold by threshold."""
    order = sorted((i for i in range(len(scores)) if detected[i]), key=lambda i: -scores[i])
    precision_means, recalls = [], []
    for step in range(10):
        threshold = 0.5 + 0.05 * step
        hits, curve = 0, []
        for seen, i in enumerate(order, 1):
            hits += likeness[i] >= threshold - 1e-12
            curve.append((hits / len(likeness), hits / seen))
        taken = []
        for wanted in range(101):
            later = [precision for recall, precision in curve if recall >= wanted / 100 - 1e-12]
            taken.append(max(later, default=0.0))
        precision_means.append(sum(taken) / 101)
        recalls.append(curve[-1][0] if curve else 0.0)
    return sum(precision_means) / 10, sum(recalls) / 10


def test_average_precision_equals_a_plain_loop() -> None:
    rng = np.random.default_rng(5)
    likeness, scores = rng.random(61) ** 0.3, rng.random(61)  # 61: no recall of k / 61 ties with one of the 101
    detected = rng.random(61) < 0.9
    found = average_precision(likeness, scores, detected)
    ap, ar = coco_loop(likeness.tolist(), scores.tolist(), detected.tolist())
    assert (found.ap, found.ar) == (pytest.approx(ap, abs=1e-12), pytest.approx(ar, abs=1e-12))
    assert found.undetected == int((~detected).sum())
    perfect = average_precision(np.ones(3), np.ones(3), np.ones(3, dtype=bool))
    assert (perfect.ap, perfect.ar) == (pytest.approx(1.0), 1.0)
    silent = average_precision(np.zeros(3), np.full(3, np.nan), np.zeros(3, dtype=bool))
    assert (silent.ap, silent.ar, silent.undetected) == (0.0, 0.0, 3)
    nobody = average_precision([np.nan], [1.0], [True])
    assert (nobody.ap, nobody.pictures, nobody.left_out) == (None, 0, 1)
    with pytest.raises(MetricError, match="score"):
        average_precision([0.9], [np.nan], [True])


def test_keypoint_similarity_follows_cocos_formula() -> None:
    rng = np.random.default_rng(2)
    reference = rng.uniform(0, 400, size=(4, 3, 2))
    predicted = reference + rng.normal(scale=6.0, size=reference.shape)
    predicted[1, 2] = np.nan
    reference[2, 0] = np.nan
    reference[3] = np.nan
    area, sigmas = picture_area_px2(reference), (0.026, 0.1, 0.07)
    found = oks(predicted, reference, area, sigmas)
    for i in range(3):
        there = [k for k in range(3) if np.isfinite(reference[i, k]).all()]
        box = reference[i, there]
        own_area = 0.53 * np.prod(box.max(axis=0) - box.min(axis=0))
        terms = [
            math.exp(-(math.dist(predicted[i, k], reference[i, k]) ** 2) / (2 * own_area * (2 * sigmas[k]) ** 2))
            if np.isfinite(predicted[i, k]).all()
            else 0.0
            for k in there
        ]
        assert found[i] == pytest.approx(sum(terms) / len(terms), abs=1e-12)
    assert np.isnan(found[3])


def test_angles_are_compared_per_segment_and_direction() -> None:
    t = np.linspace(0, 1, 50)
    reference = np.zeros((50, 2, 3))
    reference[:, 0, 0] = 30 * t
    reference[:, 1, 2] = 5.0
    predicted = 0.5 * reference + 1.0
    predicted[:10, 1] = np.nan
    found = angle_errors(predicted, reference)
    assert found.followed[0, 0] / found.moved[0, 0] == pytest.approx(0.5)
    assert found.mean_abs_deg[0, 0] == pytest.approx(np.abs(1 - 15 * t).mean())
    assert (found.n[1, 2], found.missed[1, 2]) == (40, 10)
    assert found.bias_deg[1, 2] == pytest.approx(-1.5)
    assert found.moved[1, 2] == pytest.approx(0.0)
    with pytest.raises(MetricError, match="shape"):
        angle_errors(predicted[:, :1], reference)


def test_range_violations_have_half_a_degree_of_tolerance() -> None:
    low, high = np.full((2, 3), -10.0), np.full((2, 3), 10.0)
    angles = np.zeros((4, 2, 3))
    angles[0, 0, 0], angles[1, 1, 2], angles[2, 0, 1] = 10.4, -12.0, np.nan
    found = range_violations(angles, low, high)
    assert (found.frames, found.frames_beyond, found.angles, found.angles_beyond) == (4, 1, 23, 1)
    assert (found.share, found.worst_deg) == (0.25, 2.0)
    assert range_violations(np.full((2, 2, 3), np.nan), low, high).share is None


def test_coverage_of_stated_deviations() -> None:
    rng = np.random.default_rng(1)
    errors = rng.normal(scale=2.0, size=(4000, 3))
    assert coverage(errors, np.full_like(errors, 2.0), 0.9).value == pytest.approx(0.9, abs=0.01)
    assert coverage(errors, np.full_like(errors, 2.0), 0.5).value == pytest.approx(0.5, abs=0.02)
    assert coverage(errors, np.full_like(errors, 1.0), 0.9).value < 0.7  # type: ignore[operator]  # too sure of itself
    stated = np.full_like(errors, np.nan)
    stated[0] = 0.0
    found = coverage(errors, stated, 0.9)
    assert (found.value, found.n, found.missed) == (0.0, 3, 3999 * 3)
    with pytest.raises(MetricError, match="deviations"):
        coverage(errors, -stated, 1.5)


def test_rigid_parts_and_smoothness() -> None:
    t = np.arange(40) / 50.0
    points = np.zeros((40, 3, 3))
    points[:, 1, 0] = 100.0
    points[:, 2, 0] = 100.0 * (1 + 0.1 * np.sin(40 * t))
    points[:5, 2] = np.nan
    found = segment_variation_percent(points, [(0, 1), (0, 2), (1, 2)])
    own = 100.0 * (1 + 0.1 * np.sin(40 * t[5:]))
    assert found[0] == 0.0
    assert found[1] == pytest.approx(100 * own.std() / own.mean())
    assert np.isnan(segment_variation_percent(points[:1], [(0, 1)])).all()
    reference = np.zeros((40, 1, 3))
    predicted = reference.copy()
    predicted[:, 0, 0] = 5.0 * t**2 + 3.0  # an offset and constant acceleration of 10 mm/s^2, no jerk
    one = jitter(predicted, reference, 50.0)
    assert one.acceleration.value == pytest.approx(10.0, rel=1e-6)
    assert one.jerk.value == pytest.approx(0.0, abs=1e-6)
    predicted[20] = np.nan
    broken = jitter(predicted, reference, 50.0)
    assert (broken.acceleration.n, broken.acceleration.missed) == (35, 3)
    assert jitter(predicted[:2], reference[:2], 50.0).acceleration == type(one.acceleration)(None, 0, 0)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2), (5, 3, 3)])
def test_shapes_that_do_not_belong_together_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MetricError, match="Cure"):
        pose_errors(np.zeros(shape), np.zeros((4, 3, 3)))
    with pytest.raises(MetricError, match="root"):
        pose_errors(np.zeros((4, 3, 3)), np.zeros((4, 3, 3)), root=3)


def test_pairs_of_unlabelled_points_do_not_move_the_rest() -> None:
    """Adding points that are labelled nowhere changes no number."""
    predicted, reference = clip()
    wider = [
        np.concatenate([each, np.full((12, 2, 3), fill)], axis=1)
        for each, fill in ((predicted, 1.0), (reference, np.nan))
    ]
    narrow, wide = pose_errors(predicted, reference, root=0), pose_errors(*wider, root=0)
    for name in ("mpjpe", "capped", "root_mpjpe", "n_mpjpe", "p_mpjpe"):
        assert getattr(narrow, name) == getattr(wide, name)
