"""Published grading rules that need one number: Genant's height loss and Meyerding's slip.

Convention: losses and slips are given in percent. A border value belongs where the rule's docstring says; each border
is a named constant, because the literature leaves most of them open. The trap: a grade is only as good as the number
it is given. A loss needs a healthy reference height, and the two usual ones (an adjacent vertebra, the vertebra's own
posterior wall) give different grades for one bone; say which was used.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from spinemed.errors import SpineMedError

__all__ = [
    "GENANT_BORDERS",
    "MEYERDING_BORDERS",
    "GenantGrade",
    "GenantShape",
    "MeyerdingGrade",
    "SlipDirection",
    "genant_grade",
    "genant_shape",
    "height_loss_percent",
    "meyerding_grade",
    "slip_direction",
]

GenantGrade = Literal[0, 1, 2, 3]
"""0 none, 1 mild, 2 moderate, 3 severe."""
GenantShape = Literal["none", "wedge", "biconcave", "crush"]
"""Shape of a fracture after Genant; `none` below grade 1."""
MeyerdingGrade = Literal["0", "I", "II", "III", "IV", "V"]
"""Quarters of the endplate that a vertebra has slipped; `V` has slipped off it, `0` has not slipped."""
SlipDirection = Literal["none", "anterior", "posterior"]
"""Where the upper vertebra has gone against the lower one."""

GENANT_BORDERS = (20.0, 25.0, 40.0)
"""Least loss in percent of grades 1, 2 and 3: [20, 25) is 1, [25, 40) is 2, from 40 on 3."""

MEYERDING_BORDERS = (25.0, 50.0, 75.0, 100.0)
"""Largest slip in percent of grades I, II, III and IV: exactly 25 % is still I."""


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise SpineMedError(
            f"{value} is no percentage", field=name, cure="leave out what could not be measured; it has no grade"
        )
    return float(value)


def height_loss_percent(height_mm: float, reference_mm: float) -> float:
    """Relative loss of a body height, 100·(reference − height) / reference; negative where the body is taller.

    Source: Genant 1993 (J Bone Miner Res 8:1137); the reference is the height of an adjacent unfractured vertebra at
    the same place (anterior, middle or posterior), preferably the cranial one.

    Raises:
        SpineMedError: the reference is not a positive length, or the height not a length.
    """
    if not (math.isfinite(reference_mm) and reference_mm > 0):
        raise SpineMedError(
            f"the reference height {reference_mm} mm is not positive",
            field="reference_mm",
            cure="take the height of an unfractured neighbour",
        )
    if not (math.isfinite(height_mm) and height_mm >= 0):
        raise SpineMedError(f"{height_mm} mm is no height", field="height_mm", cure="give a length in mm")
    return 100.0 * (reference_mm - height_mm) / reference_mm


def genant_grade(*loss_percent: float) -> GenantGrade:
    """Genant's semiquantitative grade of the largest of the given height losses (anterior, middle, posterior).

    0 below 20 %, 1 (mild) from 20 %, 2 (moderate) from 25 %, 3 (severe) from 40 %. Source: Genant 1993 (J Bone Miner
    Res 8:1137), read as half-open bands as in the VerSe grading (Löffler 2020) because the printed bands overlap at
    25 % and 40 %. A gain in height (negative loss) is grade 0.

    Raises:
        SpineMedError: no loss is given, or one is not finite: what was not measured has no grade.
    """
    if not loss_percent:
        raise SpineMedError("no height loss is given", field="loss_percent", cure="give at least one loss in percent")
    worst = max(_finite(loss, "loss_percent") for loss in loss_percent)
    grade = sum(worst >= border for border in GENANT_BORDERS)
    return (0, 1, 2, 3)[grade]


def genant_shape(losses_percent: Sequence[float]) -> GenantShape:
    """Shape of a fracture from its (anterior, middle, posterior) losses.

    "none" below 20 %; "crush" if the posterior height has lost 20 % or more; else "wedge" where the anterior loss is
    at least the middle one, and "biconcave" otherwise. Source: Genant 1993, shapes as named there; that the posterior
    wall decides first follows his definition of crush (all heights reduced).

    Raises:
        SpineMedError: not three losses, or one that is not finite.
    """
    if len(losses_percent) != 3:
        raise SpineMedError(
            f"{len(losses_percent)} losses instead of three",
            field="losses_percent",
            cure="give the anterior, the middle and the posterior loss in percent",
        )
    anterior, middle, posterior = (_finite(loss, "losses_percent") for loss in losses_percent)
    if max(anterior, middle, posterior) < GENANT_BORDERS[0]:
        return "none"
    if posterior >= GENANT_BORDERS[0]:
        return "crush"
    return "wedge" if anterior >= middle else "biconcave"


def meyerding_grade(slip_percent: float, *, least_percent: float = 0.0) -> MeyerdingGrade:
    """Meyerding grade of an anterior slip in percent of the caudal vertebra's superior endplate length.

    I up to 25 %, II up to 50 %, III up to 75 %, IV up to 100 %, V above (spondyloptosis, a later addition). "0" where
    there is no anterior slip: a posterior slip (negative) has a direction and a size but is not graded.
    Source: Meyerding 1932; borders as in `MEYERDING_BORDERS`.

    Args:
        slip_percent: Anterior slip positive, posterior negative.
        least_percent: Anterior slips up to this size are measurement noise and graded "0".

    Raises:
        SpineMedError: a value that is not finite.
    """
    slip = _finite(slip_percent, "slip_percent")
    if slip <= max(0.0, least_percent):
        return "0"
    grades: tuple[MeyerdingGrade, ...] = ("I", "II", "III", "IV", "V")
    return grades[sum(slip > border for border in MEYERDING_BORDERS)]


def slip_direction(slip_mm: float, *, least_mm: float = 0.0) -> SlipDirection:
    """ "anterior" for a slip above `least_mm`, "posterior" below `-least_mm`, else "none".

    Raises:
        SpineMedError: a value that is not finite.
    """
    slip = _finite(slip_mm, "slip_mm")
    if abs(slip) <= least_mm:
        return "none"
    return "anterior" if slip > 0 else "posterior"
