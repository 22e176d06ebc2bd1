"""Vertebrae one by one: straightened, compared with what they should be, and graded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.vertebra.estimated import estimated_loss
    from spinemed.vertebra.grading import GradedVertebra, GradeReport
    from spinemed.vertebra.norms import NORM_LEVELS
    from spinemed.vertebra.reference import LevelCurve, NeighbourMean, ReferenceEstimator
    from spinemed.vertebra.rhlv import HeightLoss, height_loss
    from spinemed.vertebra.spine import grade_spine, spine_bodies
    from spinemed.vertebra.straighten import StraightCrop, Straightened, straighten_spine

__all__ = [
    "NORM_LEVELS",
    "GradeReport",
    "GradedVertebra",
    "HeightLoss",
    "LevelCurve",
    "NeighbourMean",
    "ReferenceEstimator",
    "StraightCrop",
    "Straightened",
    "estimated_loss",
    "grade_spine",
    "height_loss",
    "spine_bodies",
    "straighten_spine",
]

__getattr__ = lazy_names(
    __name__,
    {
        "estimated": "estimated_loss",
        "grading": "GradeReport GradedVertebra",
        "norms": "NORM_LEVELS",
        "reference": "LevelCurve NeighbourMean ReferenceEstimator",
        "rhlv": "HeightLoss height_loss",
        "spine": "grade_spine spine_bodies",
        "straighten": "StraightCrop Straightened straighten_spine",
    },
)
