"""Ranges of motion: how often they are exceeded, and setting angles back.

Convention: limits are those of the model (`joints`: representative range times a factor). Limits are imposed by the
fit, so keeping them is a sanity check and no evidence of validity. The trap: half a degree of tolerance is part of the
definition of a violation.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.model import BodyModel

__all__ = ["TOLERANCE_DEG", "clamp", "excess_deg", "violations"]

TOLERANCE_DEG = 0.5


def excess_deg(model: BodyModel, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T, n] by how much each freedom of poses [T, n] lies beyond its limit, in degrees; 0 within."""
    low, high = model.limits_rad
    over = np.maximum(q - high, low - q)
    return np.asarray(np.degrees(np.maximum(np.where(np.isfinite(over), over, 0.0), 0.0)))


def violations(model: BodyModel, q: NDArray[np.float64], tolerance_deg: float = TOLERANCE_DEG) -> float:
    """Share of frames in which any angle of the spine lies more than the tolerance beyond its limit."""
    spine = excess_deg(model, q)[:, model.spine]
    # What was clamped lies at the tolerance itself, to rounding.
    return float((spine > tolerance_deg + 1e-9).any(axis=1).mean()) if len(q) else 0.0


def clamp(
    model: BodyModel, q: NDArray[np.float64], tolerance_deg: float = TOLERANCE_DEG
) -> tuple[NDArray[np.float64], int]:
    """Poses with every angle at most the tolerance beyond its limit, and the number of frames that were changed."""
    low, high = model.limits_rad
    slack = np.radians(tolerance_deg)
    kept = np.clip(q, low - slack, high + slack)
    return kept, int((kept != q).any(axis=1).sum())
