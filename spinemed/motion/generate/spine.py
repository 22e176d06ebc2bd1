"""From regional angles to every level: the subject's shares, its own slow wobble, and limits met gently.

Convention: degrees; regional angles [T, 9] in the order of `Rhythm.columns`. Up to 80 % of its limit a level turns as
told; beyond, it approaches the limit as tanh does, and what it could not give the other levels of the region take over
in proportion to what they have left. The trap: so at the ends of range the shares are not the rhythm's any more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.conventions import DIRECTIONS
from spinemed.motion.generate.subjects import Subject
from spinemed.motion.generate.timing import wobble
from spinemed.motion.joints import segment_ranges
from spinemed.motion.model import BodyModel
from spinemed.motion.rhythm import REGIONS

__all__ = ["soft_limit", "spine_angles_deg"]

_FREE = 0.8
# The last hundredth stays unused, so that rounding to float32 cannot step over a limit.
_USED = 0.99


def soft_limit(
    value: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], free: float = _FREE
) -> NDArray[np.float64]:
    """Values [..., n] within limits [n] (low < 0 < high): unchanged up to a share, then as tanh; C2."""
    limit = np.where(value < 0, -low, high) * _USED
    size = np.abs(value)
    start = free * limit
    beyond = np.maximum(size - start, 0.0)
    room = limit - start
    return np.asarray(np.sign(value) * (np.minimum(size, start) + room * np.tanh(beyond / room)))


def spine_angles_deg(
    subject: Subject,
    model: BodyModel,
    regional_deg: NDArray[np.float64],
    t: NDArray[np.float64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Angles [T, 25, 3] in degrees of regional angles [T, 9] for a subject."""
    low, high = (np.degrees(limit[model.spine]) for limit in model.limits_rad)
    ranges = np.array([segment_ranges()[s].whole(d) for s in model.segments for d in DIRECTIONS])
    told = np.einsum("tj,nj->tn", regional_deg, subject.shares)
    told += wobble(rng, t, subject.wobble_factor * ranges / 6.0, 0.1, 0.9)
    angles = soft_limit(told, low, high)
    for region in REGIONS:
        for d in range(len(DIRECTIONS)):
            own = np.array([3 * i + d for i, s in enumerate(model.segments) if s.region is region])
            short = (told[:, own] - angles[:, own]).sum(axis=1)
            end = np.where(short[:, None] < 0, low[own], high[own])
            room = np.abs(end) - np.where(short[:, None] < 0, -angles[:, own], angles[:, own])
            room = np.maximum(room, 0.0) ** 2
            angles[:, own] += short[:, None] * room / np.maximum(room.sum(axis=1, keepdims=True), 1e-9)
    return soft_limit(angles, low, high).reshape(len(t), len(model.segments), len(DIRECTIONS))
