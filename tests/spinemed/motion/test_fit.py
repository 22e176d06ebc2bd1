"""Inverse kinematics: what a user would complain about if the fitted motion were wrong, or its doubts unsaid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from spinemed.motion import (
    BodyModel,
    FitOptions,
    MarkerSet,
    MotionError,
    MotionFit,
    build_model,
    build_rhythm,
    centroid_markers,
    custom_rhythm,
    fit_motion,
    identifiability,
    keypoint_markers,
    marker_points,
)
from spinemed.motion.conventions import to_up_axis
from spinemed.motion.limits import excess_deg, violations

RATE = 50.0


@pytest.fixture(scope="module")
def spine() -> BodyModel:
    return build_model(limbs=False)


@pytest.fixture(scope="module")
def keypoints(spine: BodyModel) -> MarkerSet:
    return keypoint_markers(spine)


def bending(model: BodyModel, frames: int = 150, rhythm: str = "rom") -> np.ndarray:
    """Forward bending and back with a turn of the neck, while walking along."""
    t = np.arange(frames) / RATE
    regional = np.zeros((frames, 9))
    regional[:, 0] = 22 - 22 * np.cos(2 * np.pi * 0.4 * t)
    regional[:, 3] = 5 * np.sin(2 * np.pi * 0.3 * t)
    regional[:, 6] = 15 * np.sin(2 * np.pi * 0.5 * t)
    regional[:, 8] = 30 * np.sin(2 * np.pi * 0.25 * t)
    q = model.with_spine_angles(build_rhythm(rhythm).angles_deg(regional), model.zero(frames))
    q[:, 1] = 900 * t
    q[:, 3] = 0.4 * t
    q[:, 5] = 0.2 * np.sin(t)
    return q


def fitted(points: np.ndarray, model: BodyModel, names: tuple[str, ...], **options: object) -> MotionFit:
    settings = {"sigma_mm": 1.0, "scale": "none", "posterior": False, **options}
    return fit_motion(points, model, names, rate_hz=RATE, options=FitOptions(**settings))  # type: ignore[arg-type]


def test_noise_free_bending_is_recovered(spine: BodyModel, keypoints: MarkerSet) -> None:
    q = bending(spine)
    points = marker_points(spine, q, keypoints)
    fit = fitted(points, spine, keypoints.names)
    assert fit.flags == ()
    assert fit.converged
    assert np.nanmax(fit.residual_mm) < 0.1
    true = spine.spine_angles_deg(q)[:, :5, 0].sum(axis=1)
    slope = np.polyfit(true, fit.regional_deg[:, 0, 0], 1)[0]
    assert slope == pytest.approx(1.0, abs=0.02)
    top = keypoints.names.index("neck_03")
    assert np.abs(fit.points_mm()[:, top] - points[:, top]).max() < 2.0
    assert np.ptp(points[:, top, 1] - points[:, keypoints.names.index("spine_05"), 1]) > 20, "C1 does move"


def test_noise_of_ten_millimetres_leaves_lumbar_points_within_five(spine: BodyModel, keypoints: MarkerSet) -> None:
    q = bending(spine, 250)
    true = marker_points(spine, q, keypoints)
    seen = true + np.random.default_rng(0).normal(scale=10.0, size=true.shape)
    fit = fitted(seen, spine, keypoints.names, sigma_mm=10.0, scale="all", posterior=True)
    lumbar = [keypoints.names.index(name) for name in ("spine_01", "spine_02", "spine_03")]
    error = np.linalg.norm(fit.points_mm() - true, axis=-1)
    assert error[:, lumbar].mean() <= 5.0
    assert fit.scaling is not None
    assert fit.scaling.factors["trunk"] == pytest.approx(1.0, abs=0.03)
    own = fit.points_mm(centroid_markers(fit.model))
    assert np.linalg.norm(own - marker_points(spine, q, centroid_markers(spine)), axis=-1).mean() < 6.0
    assert fit.angle_sd_deg is not None
    assert fit.angle_sd_deg.shape == (250, 25, 3)
    inside = np.abs(fit.angles_deg - spine.spine_angles_deg(q)) < 1.645 * fit.angle_sd_deg
    assert inside.mean() > 0.85


def test_proportions_follow_the_subject() -> None:
    model = build_model()
    subject = model.scaled({"trunk": 1.07, "thigh": 1.05, "head": 0.95, "pelvis": 1.03})
    q = np.zeros((60, model.size))
    q[:, : model.spine.stop] = bending(build_model(limbs=False), 60)
    q[:, model.freedom("left_thigh.flexion")] = np.linspace(0, 1, 60)
    q[:, model.freedom("right_forearm.flexion")] = np.linspace(0.2, 1.5, 60)
    q[:, model.freedom("right_upper_arm.abduction")] = np.linspace(0, 2.5, 60)
    markers = keypoint_markers(subject)
    points = marker_points(subject, q, markers)
    fit = fitted(points, model, markers.names, scale="all")
    assert fit.scaling is not None
    for part, factor in (("trunk", 1.07), ("thigh", 1.05), ("head", 0.95), ("shank", 1.0)):
        assert fit.scaling.factors[part] == pytest.approx(factor, abs=0.005)
    assert np.nanmax(fit.residual_mm) < 0.5
    pelvis = fit.points_mm(keypoint_markers(fit.model, ["left_hip", "right_hip", "hip"]))
    lengths = np.linalg.norm(pelvis[:, 1:] - pelvis[:, :1], axis=-1)
    assert np.ptp(lengths, axis=0).max() < 1e-9, "rigid parts do not change length"


def test_metres_y_up_and_markers_of_a_laboratory(spine: BodyModel, keypoints: MarkerSet) -> None:
    q = bending(spine, 40)
    points = to_up_axis(marker_points(spine, q, keypoints), "y") / 1000
    fit = fit_motion(
        points, spine, keypoints.names, rate_hz=RATE, unit="m", up="y",
        options=FitOptions(sigma_mm=1.0, scale="none", posterior=False),
    )  # fmt: skip
    assert np.abs(fit.angles_deg - spine.spine_angles_deg(q)).max() < 0.5


def test_stretches_join_without_a_seam(spine: BodyModel, keypoints: MarkerSet) -> None:
    q = bending(spine, 200)
    seen = marker_points(spine, q, keypoints)
    seen += np.random.default_rng(1).normal(scale=5.0, size=seen.shape)
    whole = fitted(seen, spine, keypoints.names, sigma_mm=5.0, stretch_frames=1000, tolerance=1e-4)
    parts = fitted(seen, spine, keypoints.names, sigma_mm=5.0, stretch_frames=60, tolerance=1e-4, threads=2)
    assert np.abs(whole.angles_deg - parts.angles_deg).max() < 0.3
    again = fitted(seen, spine, keypoints.names, sigma_mm=5.0, stretch_frames=60, tolerance=1e-4)
    assert np.array_equal(again.q, parts.q), "threads do not change the answer"


def test_limits_hold_where_the_markers_pull_beyond(spine: BodyModel, keypoints: MarkerSet) -> None:
    free = build_model(limbs=False, limit_factor=100.0)
    q = bending(free)
    q[:, free.spine] *= 2.5
    assert violations(spine, q) > 0.3
    fit = fitted(marker_points(free, q, keypoints), spine, keypoints.names)
    assert fit.beyond_limit <= 0.001
    assert excess_deg(fit.model, fit.q).max() <= 0.5 + 1e-9


def test_an_outlier_pulls_little_and_a_wide_covariance_less(spine: BodyModel, keypoints: MarkerSet) -> None:
    q = bending(spine, 80)
    true = marker_points(spine, q, keypoints)
    seen = true.copy()
    at = keypoints.names.index("spine_04")
    seen[20:40, at] += 200.0
    robust = fitted(seen, spine, keypoints.names, sigma_mm=3.0)
    plain = fitted(seen, spine, keypoints.names, sigma_mm=3.0, huber=1e6, reject=1e9)
    truth = spine.spine_angles_deg(q)
    assert np.abs(robust.angles_deg - truth).max() < 0.4 * np.abs(plain.angles_deg - truth).max()
    covariance = np.broadcast_to(np.eye(3) * 9.0, (80, len(keypoints), 3, 3)).copy()
    covariance[20:40, at] *= 1e6
    told = fit_motion(
        seen, spine, keypoints.names, rate_hz=RATE, covariance_mm2=covariance,
        options=FitOptions(scale="none", posterior=False),
    )  # fmt: skip
    assert np.abs(told.angles_deg - truth).max() < 1.5


def test_half_missing_markers_are_carried_and_said(spine: BodyModel, keypoints: MarkerSet) -> None:
    q = bending(spine)
    seen = marker_points(spine, q, keypoints)
    gone = [keypoints.names.index(name) for name in ("spine_02", "spine_05")]
    seen[75:, gone] = np.nan
    fit = fitted(seen, spine, keypoints.names, posterior=True)
    flag = next(flag for flag in fit.flags if flag.name == "markers_missing")
    assert flag.markers == ("spine_02", "spine_05")
    assert np.abs(fit.angles_deg - spine.spine_angles_deg(q)).max() < 6
    assert fit.angle_sd_deg is not None
    assert fit.angle_sd_deg[100, 2, 0] > 1.1 * fit.angle_sd_deg[40, 2, 0], "less seen, less known"


def test_exchanged_sides_are_said(spine: BodyModel, keypoints: MarkerSet) -> None:
    names = list(keypoints.names)
    seen = marker_points(spine, bending(spine, 60), keypoints)
    everything = [name.replace("left_", "x_").replace("right_", "left_").replace("x_", "right_") for name in names]
    flags = {flag.name for flag in fitted(seen, spine, tuple(everything)).flags}
    assert flags & {"left_right_swapped", "sides_exchanged"}
    some = seen.copy()
    left, right = names.index("left_latissimus"), names.index("right_latissimus")
    some[:, [left, right]] = some[:, [right, left]]
    flag = next(f for f in fitted(some, spine, keypoints.names).flags if f.name == "sides_exchanged")
    assert flag.markers == ("left_latissimus", "right_latissimus")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: p / 1000, "look like m"),
        (lambda p: p * 1000, "adult's size"),
        (lambda p: p[:0], "empty"),
        (lambda p: p[:, :0], "empty"),
        (lambda p: np.full_like(p, np.nan), "all are NaN"),
        (lambda p: np.where(np.arange(p.shape[1])[:, None] == 3, p, np.nan), "1 marker is not enough"),
        (lambda p: p + np.inf, "infinities"),
        (lambda p: p[..., :2], "frames x markers x 3"),
        (lambda p: p[:, :5], "names for 5 markers"),
    ],
)
def test_unusable_clips_are_refused(
    spine: BodyModel, keypoints: MarkerSet, spoil: Callable[[np.ndarray], np.ndarray], words: str
) -> None:
    points = marker_points(spine, bending(spine, 20), keypoints)
    with pytest.raises(MotionError, match=words) as caught:
        fitted(spoil(points), spine, keypoints.names)
    assert caught.value.cure


def test_unusable_settings_are_refused(spine: BodyModel, keypoints: MarkerSet) -> None:
    points = marker_points(spine, bending(spine, 20), keypoints)
    names = keypoints.names
    for call in (
        lambda: fit_motion(points, spine, names, rate_hz=0),
        lambda: fit_motion(points, spine, names, rate_hz=RATE, unit="ft"),
        lambda: fit_motion(points, spine, names, rate_hz=RATE, covariance_mm2=np.zeros((len(names), 3, 3))),
        lambda: fit_motion(points, spine, names, rate_hz=RATE, covariance_mm2=np.eye(3)),
        lambda: fitted(points, spine, names, sigma_mm=0.0),
        lambda: fitted(points, spine, names, scale="trunk"),
        lambda: fitted(points, spine, (names[0], names[0], *names[2:])),
        lambda: build_rhythm("other"),
        lambda: custom_rhythm("own", {"twist": {}}),
    ):
        with pytest.raises(MotionError):
            call()


def test_a_single_frame_is_a_clip(spine: BodyModel, keypoints: MarkerSet) -> None:
    q = bending(spine, 30)[29:]
    fit = fitted(marker_points(spine, q, keypoints), spine, keypoints.names, posterior=True)
    assert np.abs(fit.angles_deg - spine.spine_angles_deg(q)).max() < 1.0


def test_what_surface_points_cannot_tell_is_said(spine: BodyModel, keypoints: MarkerSet) -> None:
    table = {(str(row.segment), row.direction): row for row in identifiability(spine, keypoints, 10.0)}
    assert len(table) == 75
    assert table["L4/5", "axial_rotation"].verdict == "not identifiable"
    assert table["L4/5", "axial_rotation"].own_share < 0.1
    sharp = {(str(row.segment), row.direction): row for row in identifiability(spine, keypoints, 0.1)}
    for key, row in table.items():
        assert sharp[key].posterior_sd_deg <= row.posterior_sd_deg + 1e-9 <= row.prior_sd_deg + 1e-6
        assert 0 <= row.own_share <= 1
    assert table["L4/5", "flexion"].own_share > 3 * table["L4/5", "axial_rotation"].own_share
    with pytest.raises(MotionError):
        identifiability(spine, keypoints, 0.0)
