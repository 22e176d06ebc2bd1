"""Published amplitudes and timing of natural motions, and values drawn from them.

Convention: `tables/natural_motions.csv` gives mean, standard deviation and bounds per motion and quantity with source
and mark; a draw is normal, repeated until it lies within the bounds. The trap: most rows are quoted from memory of the
literature (mark b): motions are plausible, not measured.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.tables import read_table

__all__ = ["Norm", "draw", "gait_curves", "norm"]

Norm = tuple[float, float, float, float]
"""Mean, standard deviation, lowest and highest value."""


@cache
def _norms() -> dict[tuple[str, str], Norm]:
    return {
        (row["motion"], row["quantity"]): (float(row["mean"]), float(row["sd"]), float(row["low"]), float(row["high"]))
        for row in read_table("natural_motions")
    }


def norm(motion: str, quantity: str) -> Norm:
    """Mean, standard deviation and bounds of a quantity, in the table's unit."""
    return _norms()[motion, quantity]


def draw(rng: np.random.Generator, motion: str, quantity: str) -> float:
    """One value of a quantity: normal, within its bounds."""
    mean, sd, low, high = norm(motion, quantity)
    while True:
        value = float(rng.normal(mean, sd))
        if low <= value <= high:
            return value


@cache
def gait_curves(points: int) -> NDArray[np.float64]:
    """Hip, knee and ankle [points, 3] in degrees over one stride from foot contact, without the repeated last point.

    Source: `tables/gait_curves.csv`, periodic cubic splines.
    """
    from scipy.interpolate import CubicSpline

    rows = read_table("gait_curves")
    at = np.array([float(row["percent"]) / 100 for row in rows])
    values = np.array([[float(row[f"{name}_deg"]) for name in ("hip", "knee", "ankle")] for row in rows])
    spline = CubicSpline(np.append(at, 1.0), np.vstack([values, values[:1]]), bc_type="periodic")
    return np.asarray(spline(np.arange(points) / points))
