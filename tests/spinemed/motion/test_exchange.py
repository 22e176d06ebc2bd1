"""Labels exchanged now and then are put back and said; knees bend forward; keypoints without a spine find a start."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.motion import (
    FitOptions,
    MarkerSet,
    build_model,
    fit_motion,
    keypoint_markers,
    laboratory_markers,
    marker_points,
)
from spinemed.motion.exchange import mend_exchanges
from spinemed.motion.io.keypoints import LAYOUTS

FOOT = ("RCAL", "RTOE", "RMT5")


def test_labels_exchanged_now_and_then_are_put_back_and_named() -> None:
    model = build_model()
    markers = laboratory_markers(model, (*FOOT, "LCAL", "LTOE", "LMT5", "LASI", "RASI", "LPSI", "RPSI"))
    q = model.zero(30)
    q[:, 1] = 50.0 * np.arange(30)
    q[:, model.freedom("right_foot.dorsiflexion")] = np.linspace(0, 0.5, 30)
    true = marker_points(model, q, markers)
    seen = true + np.random.default_rng(0).normal(scale=2.0, size=true.shape)
    wrong = seen.copy()
    wrong[::3, [1, 2]] = wrong[::3, [2, 1]]
    mended, flags = mend_exchanges(wrong, markers)
    np.testing.assert_array_equal(mended, seen)
    assert [(flag.name, flag.markers) for flag in flags] == [("labels_exchanged", ("RTOE", "RMT5"))]
    assert "10 frames" in flags[0].message
    assert mend_exchanges(seen, markers)[1] == []
    all_wrong = seen.copy()
    all_wrong[:, [1, 2]] = all_wrong[:, [2, 1]]
    assert mend_exchanges(all_wrong, markers)[1] == [], "names that are wrong throughout are for the fit to flag"
    noisy = true + np.random.default_rng(0).normal(scale=40.0, size=true.shape)
    assert mend_exchanges(noisy, markers)[1] == [], "what is not clear is left alone"


def test_a_knee_seen_only_by_its_foot_bends_forward() -> None:
    model = build_model()
    names = ("C7", "CLAV", "RACR", "LACR", "LASI", "RASI", "LPSI", "RPSI", *FOOT)
    markers = laboratory_markers(model, names)
    q = model.zero(60)
    swing = 0.5 - 0.5 * np.cos(np.linspace(0, 2 * np.pi, 60))
    q[:, model.freedom("right_shank.flexion")] = 0.1 + 1.4 * swing
    q[:, model.freedom("right_thigh.flexion")] = 0.5 * swing
    fit = fit_motion(
        marker_points(model, q, markers), model, markers, rate_hz=100.0,
        options=FitOptions(sigma_mm=2.0, scale="none", posterior=False, iterations=40),
    )  # fmt: skip
    knee = model.freedom("right_shank.flexion")
    assert np.nanmax(fit.residual_mm) < 3.0
    assert np.abs(np.degrees(fit.q[:, knee] - q[:, knee])).max() < 3.0


@pytest.mark.parametrize("layout", ["coco17", "h36m17", "halpe26"])
def test_keypoints_without_a_spine_still_place_the_body(layout: str) -> None:
    """Hips and the point between them lie on one line: shoulders and head must tell how the pelvis turns about it."""
    model = build_model()
    everything = (*keypoint_markers(model).names, "hip_middle")
    names = [name for name in LAYOUTS[layout] if name in everything]
    placed = [
        laboratory_markers(model, [name]) if name == "hip_middle" else keypoint_markers(model, [name]) for name in names
    ]
    markers = MarkerSet(
        tuple(names), np.concatenate([m.body for m in placed]), np.concatenate([m.local_mm for m in placed])
    )
    q = model.zero(20)
    q[:, 2], q[:, 3] = 950.0, 0.8
    fit = fit_motion(marker_points(model, q, markers), model, markers, rate_hz=30.0, options=FitOptions(sigma_mm=5.0))
    assert np.nanmax(fit.residual_mm) < 15.0
    assert np.abs(np.degrees(fit.q[:, 3] - 0.8)).max() < 2.0
    assert fit.angle_sd_deg is not None
    assert fit.angle_sd_deg[10, 2, 0] > 1.0, "single levels stay unknown"
