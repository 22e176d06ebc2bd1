"""Heights of thirds that a level has in a healthy adult, from the published morphometry that the project carries.

Convention: mm, as (anterior, middle, posterior) means over the thirds of the depth, T1 to L6. The table gives heights
at the rims and the depths of the endplates' hollows; with the height linear from wall to wall and each hollow a
paraboloid of depth c, the thirds are::

    anterior  = (5 A + P) / 6 - 0.5185 (c_upper + c_lower)
    middle    = (A + P) / 2   - 0.9630 (c_upper + c_lower)
    posterior = (A + 5 P) / 6 - 0.5185 (c_upper + c_lower)

(the means of 1 - y² over y in [1/3, 1] and [-1/3, 1/3]). Sources stand in the table's cells.

The trap: published tables disagree by 10 to 25 % on heights. A norm is used here only for its course from level to
level, never as the height of a patient.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import LevelError

__all__ = ["NORM_LEVELS", "Sex", "norm_thirds_mm"]

Sex = Literal["female", "male"]

NORM_LEVELS = tuple(level for level in Level if Level.T1 <= level <= Level.L6)
"""Levels that have a norm: above T1 the bodies' shape is another."""

_OUTER, _INNER = 0.5185, 0.9630


def norm_thirds_mm(level: Level, sex: Sex | None = None) -> NDArray[np.float64]:
    """(3,) Norm of the heights of the anterior, middle and posterior third; the mean of both sexes if none is given.

    T13 has T12's, L6 has L5's. From T11 down the published ratio of anterior to posterior height splits their mean.

    Raises:
        LevelError: a level above T1 or below L6.
    """
    if level not in NORM_LEVELS:
        raise LevelError(f"{level} has no norm of its heights", field="level", cure="use a level from T1 to L6")
    return np.array(_thirds(level, sex) if sex else np.mean([_thirds(level, each) for each in ("female", "male")], 0))


@cache
def _thirds(level: Level, sex: Sex) -> tuple[float, float, float]:
    from spinemed.phantom.tables.morphometry import size

    ahead, behind = size("anterior_height", level, sex).mean, size("posterior_height", level, sex).mean
    if level >= Level.T11:
        ratio, mean = size("wedge_ratio", level, sex).mean, (ahead + behind) / 2
        ahead, behind = 2 * mean * ratio / (1 + ratio), 2 * mean / (1 + ratio)
    hollow = size("upper_concavity", level, sex).mean + size("lower_concavity", level, sex).mean
    return (
        (5 * ahead + behind) / 6 - _OUTER * hollow,
        (ahead + behind) / 2 - _INNER * hollow,
        (ahead + 5 * behind) / 6 - _OUTER * hollow,
    )
