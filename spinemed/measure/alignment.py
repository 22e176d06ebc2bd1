"""Alignment of a measured spine: named sagittal angles, coronal curves, sagittal vertical axis.

Convention: which endplates an angle lies between is in :data:`ANGLES`; the formulas are in
:mod:`spinemed.measure.endplates`. The trap: an angle of which one end is missing is not the angle to the next level
that happens to be there; it has no value and says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

from spinemed.anatomy import Level
from spinemed.measure.endplates import cobb_deg, kyphosis_deg, lordosis_deg, sva_mm
from spinemed.measure.records import AlignmentAngle, CoronalCurve, Flag, VertebraMeasurement, rounded

__all__ = ["ANGLES", "LEAST_CURVE_DEG", "NamedAngle", "angles_of", "curves_of", "sva_of"]


class NamedAngle(NamedTuple):
    """An angle by name: between which endplate of which vertebrae."""

    name: str
    kind: Literal["lordosis", "kyphosis"]
    upper: Level
    upper_end: Literal["upper", "lower"]
    lower: Level
    lower_end: Literal["upper", "lower"]


ANGLES: tuple[NamedAngle, ...] = (
    NamedAngle("C2-C7", "lordosis", Level.C2, "lower", Level.C7, "lower"),
    NamedAngle("T1-T12", "kyphosis", Level.T1, "upper", Level.T12, "lower"),
    NamedAngle("T2-T5", "kyphosis", Level.T2, "upper", Level.T5, "lower"),
    NamedAngle("T2-T12", "kyphosis", Level.T2, "upper", Level.T12, "lower"),
    NamedAngle("T4-T12", "kyphosis", Level.T4, "upper", Level.T12, "lower"),
    NamedAngle("T5-T12", "kyphosis", Level.T5, "upper", Level.T12, "lower"),
    NamedAngle("T10-L2", "kyphosis", Level.T10, "upper", Level.L2, "lower"),
    NamedAngle("T12-S1", "lordosis", Level.T12, "upper", Level.S1, "upper"),
    NamedAngle("L1-S1", "lordosis", Level.L1, "upper", Level.S1, "upper"),
    NamedAngle("L4-S1", "lordosis", Level.L4, "upper", Level.S1, "upper"),
)
"""T4-T12, L1-S1, L4-S1 and T12-S1 as in Schwab 2012 (Spine 37:1077) and Yilgor 2017 (JBJS 99:1661); T5-T12, T2-T5 and
T10-L2 as in Lenke 2001 (JBJS 83-A:1169); C2-C7 between the lower endplates."""

_DOUBTS = ("estimated_body", "unsettled")
"""Flags of an end vertebra that make an angle doubtful too: an estimated body was seen to tilt an endplate by 9°."""

LEAST_CURVE_DEG = 10.0
"""Least Cobb angle of a scoliotic curve (10° and more)."""


def _flag(record: VertebraMeasurement | None, level: Level, end: str) -> Flag:
    if record is None:
        return Flag(code="missing_neighbour", text=f"{level} is not in the masks")
    why = "; ".join(flag.text for flag in record.flags if flag.code != "estimated_body") or "it has none"
    return Flag(code="not_measurable", text=f"the {end} endplate of {level} was not measured: {why}")


def angles_of(vertebrae: Sequence[VertebraMeasurement]) -> tuple[AlignmentAngle, ...]:
    """Every named angle of which at least one end is in the masks; without a value where the other end is missing."""
    by_level = {each.level: each for each in vertebrae}
    result = []
    for angle in ANGLES:
        if angle.upper not in by_level and angle.lower not in by_level:
            continue
        ends, flags = [], []
        for level, end in ((angle.upper, angle.upper_end), (angle.lower, angle.lower_end)):
            record = by_level.get(level)
            found = None if record is None else (record.upper if end == "upper" else record.lower)
            if found is None:
                flags.append(_flag(record, level, end))
            else:
                ends.append(found.endplate())
                doubts = [flag for flag in record.flags if flag.code in _DOUBTS] if record is not None else []
                flags += [Flag(code=flag.code, text=f"{level}: {flag.text}") for flag in doubts]
        formula = lordosis_deg if angle.kind == "lordosis" else kyphosis_deg
        value = rounded(formula(*ends)) if len(ends) == 2 else None
        result.append(
            AlignmentAngle(
                name=angle.name,
                kind=angle.kind,
                upper=angle.upper,
                lower=angle.lower,
                angle_deg=value,
                flags=tuple(flags),
            )
        )
    return tuple(result)


def curves_of(vertebrae: Sequence[VertebraMeasurement]) -> tuple[CoronalCurve, ...]:
    """Coronal curves of at least 10°, head to foot, between the most tilted vertebrae.

    The tilt of a vertebra is the mean coronal inclination of its endplates. Going down the spine, end vertebrae are the
    turning points of the tilt; the Cobb angle of a curve lies between the upper endplate of its upper and the lower
    endplate of its lower end vertebra (Cobb 1948). A vertebra that was not measured is passed over.
    """
    known = [each for each in vertebrae if each.upper is not None and each.lower is not None]
    if len(known) < 3:
        return ()
    tilts = [(each.upper.coronal_deg + each.lower.coronal_deg) / 2 for each in known if each.upper and each.lower]
    ends = _turning_points(tilts, 0.6 * LEAST_CURVE_DEG)
    result = []
    for first, last in pairwise(ends):
        upper, lower = known[first], known[last]
        assert upper.upper is not None
        assert lower.lower is not None
        angle = cobb_deg(upper.upper.endplate(), lower.lower.endplate(), "coronal")
        if abs(angle) >= LEAST_CURVE_DEG:
            result.append(
                CoronalCurve(
                    upper=upper.level,
                    lower=lower.level,
                    cobb_deg=rounded(abs(angle)),
                    convex="right" if angle > 0 else "left",
                )
            )
    return tuple(result)


def _turning_points(values: Sequence[float], least: float) -> list[int]:
    """Indices of alternating highs and lows that differ by at least `least`, both ends' extremes included."""
    high = low = 0
    direction = 0
    points: list[int] = []
    for i, value in enumerate(values):
        if direction >= 0 and value > values[high]:
            high = i
        if direction <= 0 and value < values[low]:
            low = i
        if direction == 0 and values[high] - values[low] >= least:
            direction = 1 if high > low else -1
            points.append(low if direction > 0 else high)
        elif direction > 0 and values[high] - value >= least:
            points.append(high)
            direction, low = -1, i
        elif direction < 0 and value - values[low] >= least:
            points.append(low)
            direction, high = 1, i
    if direction:
        points.append(high if direction > 0 else low)
    return points


def sva_of(vertebrae: Sequence[VertebraMeasurement]) -> float | None:
    """Sagittal vertical axis from the middle of the C7 body; None if C7 or the sacral endplate was not measured."""
    by_level = {each.level: each for each in vertebrae}
    top, bottom = by_level.get(Level.C7), by_level.get(Level.S1)
    if top is None or top.frame is None or bottom is None or bottom.upper is None or bottom.upper.posterior_mm is None:
        return None
    return rounded(sva_mm(top.frame.centre_mm, bottom.upper.endplate()))
