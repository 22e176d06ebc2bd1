"""Spine motion: a body whose every vertebra moves, where its points are, and which motion explains measured points.

Open `conventions` first (axes, signs, units), then `model` and `kinematics`, then `fit`.
"""

from spinemed.motion.alignment import Alignment
from spinemed.motion.conventions import MotionError
from spinemed.motion.curves import sagittal_curves_deg, trunk_angles_deg
from spinemed.motion.dynamics import Dynamics
from spinemed.motion.fit import FitOptions, MotionFit, fit_motion
from spinemed.motion.keypoints import centroid_markers, keypoint_markers, laboratory_markers
from spinemed.motion.kinematics import forward, marker_jacobian, marker_points
from spinemed.motion.model import BodyModel, MarkerSet, build_model
from spinemed.motion.posterior import identifiability
from spinemed.motion.rhythm import Rhythm, build_rhythm, custom_rhythm

__all__ = [
    "Alignment",
    "BodyModel",
    "Dynamics",
    "FitOptions",
    "MarkerSet",
    "MotionError",
    "MotionFit",
    "Rhythm",
    "build_model",
    "build_rhythm",
    "centroid_markers",
    "custom_rhythm",
    "fit_motion",
    "forward",
    "identifiability",
    "keypoint_markers",
    "laboratory_markers",
    "marker_jacobian",
    "marker_points",
    "sagittal_curves_deg",
    "trunk_angles_deg",
]
