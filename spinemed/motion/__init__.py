"""Spine motion: a body whose every vertebra moves, where its points are, and which motion explains measured points.

Open `conventions` first (axes, signs, units), then `model` and `kinematics`, then `fit`.
"""

from spinemed.motion.alignment import Alignment
from spinemed.motion.conventions import MotionError
from spinemed.motion.keypoints import centroid_markers, keypoint_markers, laboratory_markers
from spinemed.motion.kinematics import forward, marker_jacobian, marker_points
from spinemed.motion.model import BodyModel, MarkerSet, build_model

__all__ = [
    "Alignment",
    "BodyModel",
    "MarkerSet",
    "MotionError",
    "build_model",
    "centroid_markers",
    "forward",
    "keypoint_markers",
    "laboratory_markers",
    "marker_jacobian",
    "marker_points",
]
