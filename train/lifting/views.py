"""Several cameras: triangulation, then the motion of an anatomical model that explains the points.

Convention: in comes a clip's cameras and detections, out a `MotionPrediction` of 61 points in the world, and of angles
with standard deviations where the model was fitted. "triangulate" answers keypoints only and leaves NaN where fewer
than two cameras agree; "views" fits `spinemed.motion.fit_motion` to them, weighted by the triangulation's covariance,
with a body of unknown proportions, and answers everything.

The trap: sex and stature of the subject are not used: the fit starts from a mean body and scales its parts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.predictions import MotionPrediction
from spinemed.motion.dataset.records import SEGMENTS, SimulatedClip
from spinemed.motion.fit import FitOptions, fit_motion
from spinemed.motion.keypoints import SPINETRACK_37, centroid_markers, keypoint_markers
from spinemed.motion.model import build_model
from spinemed.motion.triangulate import triangulate
from train.lifting.inputs import POINTS

__all__ = ["reconstruct"]

# What the model cannot follow: skin over moving bone and the limbs' simplified joints, per axis.
_MODEL_SD_MM = 3.0


def reconstruct(
    clip: SimulatedClip,
    pixels: NDArray[np.float64],
    confidence: NDArray[np.float64] | None,
    *,
    fitted: bool = True,
    options: FitOptions | None = None,
) -> MotionPrediction:
    """Points and angles of a clip from pixels [V, T, 37, 2].

    Raises:
        MotionError: fewer than two cameras, or what `triangulate` and `fit_motion` refuse.
    """
    if len(clip.cameras) < 2:
        raise MotionError(
            f"clip {clip.clip_id} has {len(clip.cameras)} cameras", field="cameras", cure="two or more tell depth"
        )
    found = triangulate(clip.cameras, pixels, confidence)
    if not fitted:
        points = np.full((found.points_mm.shape[0], len(POINTS), 3), np.nan)
        points[:, : len(SPINETRACK_37)] = found.points_mm
        return MotionPrediction(names=POINTS, points_mm=points)
    there = np.asarray(np.isfinite(found.points_mm).all(axis=-1))
    own = np.where(there[..., None, None], found.covariance_mm2, 0.0) + _MODEL_SD_MM**2 * np.eye(3)
    model = build_model()
    fit = fit_motion(
        found.points_mm, model, keypoint_markers(model), rate_hz=clip.rate_hz, covariance_mm2=own, options=options
    )
    centres = centroid_markers(fit.model).select(POINTS[len(SPINETRACK_37) :])
    return MotionPrediction(
        names=POINTS, points_mm=np.concatenate([fit.points_mm(), fit.points_mm(centres)], axis=1),
        angles_deg=fit.angles_deg, segments=SEGMENTS, angles_sd_deg=fit.angle_sd_deg,
    )  # fmt: skip
