"""Measured beside true: one row per value of a rendered phantom, and the table over many of them.

Bounds are those of a 1 mm mask: lengths within one voxel, angles within 2°, volumes within 3 %, height losses within 3
points. The trap: a value that is withheld or flagged is counted, but is no error; the share withheld stands beside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from spinemed.measure import SpineMeasurements
from spinemed.measure.records import Heights
from spinemed.phantom.agreement.truth import TrueValue

__all__ = ["BOUNDS", "Row", "Summary", "agreement_text", "compare", "measured_values", "summarise"]

BOUNDS = {"mm": 1.0, "deg": 2.0, "mm3": 3.0, "points": 3.0}
"""Largest error allowed at 1 mm; of volumes in percent of the true one, of losses in points."""

_LIMITING = frozenset({"cut", "coarse", "unsettled", "several_parts", "estimated_body", "not_measurable"})


class Row(NamedTuple):
    """One value, true and as measured."""

    case: str
    group: str
    quantity: str
    place: str
    true: float
    measured: float | None
    unit: str
    flags: tuple[str, ...] = ()

    @property
    def error(self) -> float:
        """Measured minus true; percent of the true value for volumes. NaN where nothing was measured."""
        if self.measured is None:
            return float("nan")
        difference = self.measured - self.true
        return 100.0 * difference / self.true if self.unit == "mm3" else difference

    @property
    def clear(self) -> bool:
        """Measured and without a flag that limits the value."""
        return self.measured is not None and not self.flags


def measured_values(found: SpineMeasurements) -> Iterator[tuple[str, str, float | None, tuple[str, ...]]]:
    """Quantity, place, value and limiting flags of everything measured, named as in `TrueValue`."""
    for vertebra in found.vertebrae:
        place = str(vertebra.level)
        flags = tuple(sorted({flag.code for flag in vertebra.flags} & _LIMITING))
        if vertebra.heights_at_corners is not None:
            yield "corner_height_anterior", place, vertebra.heights_at_corners.anterior_mm, flags
            yield "corner_height_posterior", place, vertebra.heights_at_corners.posterior_mm, flags
        yield from _heights("height", place, vertebra.heights_of_thirds, vertebra.heights_at_rims, flags)
        yield "wedge", place, vertebra.wedge_deg, flags
        yield "body_volume", place, vertebra.body_volume_mm3, flags
        if vertebra.canal is not None:
            yield "canal_width", place, vertebra.canal.transverse_mm, flags
            yield "canal_depth", place, vertebra.canal.ap_mm, flags
        for name, plate in (("upper", vertebra.upper), ("lower", vertebra.lower)):
            if plate is not None:
                yield f"{name}_width", place, plate.width_mm, flags
                yield f"{name}_depth", place, plate.depth_mm, flags
                yield f"{name}_sagittal_inclination", place, plate.sagittal_deg, flags
                yield f"{name}_coronal_inclination", place, plate.coronal_deg, flags
    for disc in found.discs:
        place = f"{disc.disc.upper}-{disc.disc.lower}"
        flags = tuple(sorted({flag.code for flag in disc.flags} & _LIMITING))
        yield from _heights("disc_height", place, disc.heights_of_thirds, disc.heights_at_rims, flags)
        yield "disc_wedge", place, disc.wedge_deg, flags
        yield "slip", place, None if disc.slip is None else disc.slip.slip_mm, flags
    for angle in found.angles:
        yield angle.kind, angle.name, angle.angle_deg, tuple(flag.code for flag in angle.flags)


def _heights(
    name: str, place: str, thirds: Heights | None, rims: Heights | None, flags: tuple[str, ...]
) -> Iterator[tuple[str, str, float | None, tuple[str, ...]]]:
    for kind, heights in (("third", thirds), ("rim", rims)):
        for part in ("anterior", "middle", "posterior"):
            value = None if heights is None else getattr(heights, f"{part}_mm")
            yield f"{name}_{part}_{kind}", place, value, flags


def compare(
    case: str, group: str, true: Sequence[TrueValue], found: SpineMeasurements, spine_curves: Iterable[str] = ()
) -> list[Row]:
    """One row per true value of a level that is in the masks.

    Args:
        case, group: Name of the phantom, and of the kind of phantom.
        true: Its true values in the posture it was rendered in.
        found: What was measured on its masks.
        spine_curves: Places ("T5-T11") of its coronal curves, measured between the same end vertebrae.
    """
    measured = {(quantity, place): (value, flags) for quantity, place, value, flags in measured_values(found)}
    for place in spine_curves:
        measured[("cobb", place)] = _cobb(found, place)
    rows = []
    for each in true:
        if (each.quantity, each.place) in measured:
            value, flags = measured[(each.quantity, each.place)]
            rows.append(Row(case, group, each.quantity, each.place, each.value, value, each.unit, flags))
    return rows


def _cobb(found: SpineMeasurements, place: str) -> tuple[float | None, tuple[str, ...]]:
    from spinemed.anatomy import Level
    from spinemed.errors import SpineMedError

    upper, lower = (Level(name) for name in place.split("-"))
    try:
        return found.cobb_deg(upper, lower, "coronal"), ()
    except SpineMedError:
        return None, ("missing_neighbour",)


class Summary(NamedTuple):
    """Errors of one quantity."""

    quantity: str
    unit: str
    bound: float
    measured: int
    withheld: int
    bias: float
    mean: float
    p95: float
    worst: float
    within: float
    worst_at: str


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """One line per quantity, over values without a flag; flagged and missing ones are counted as withheld."""
    result = []
    nan = float("nan")
    for quantity in dict.fromkeys(row.quantity for row in rows):
        own = [row for row in rows if row.quantity == quantity]
        clear = [row for row in own if row.clear]
        unit = own[0].unit
        if not clear:
            result.append(Summary(quantity, unit, BOUNDS[unit], 0, len(own), nan, nan, nan, nan, nan, ""))
            continue
        errors = np.array([row.error for row in clear])
        size = np.abs(errors)
        at = clear[int(size.argmax())]
        result.append(
            Summary(
                quantity,
                unit,
                BOUNDS[unit],
                len(clear),
                len(own) - len(clear),
                float(errors.mean()),
                float(size.mean()),
                float(np.percentile(size, 95)),
                float(size.max()),
                float((size <= BOUNDS[unit]).mean()),
                f"{at.case} {at.place}",
            )
        )
    return result


def agreement_text(rows: Sequence[Row], title: str) -> str:
    """The table as text."""
    out = [
        f"{title}. Phantoms, no patients; volumes in percent, losses in points.",
        f"{'quantity':28} {'unit':6} {'bound':>5} {'n':>6} {'held back':>9} {'bias':>7} {'|error|':>7} {'95 %':>6} "
        f"{'worst':>6} {'within':>7}  worst at",
    ]
    for each in summarise(rows):
        out.append(
            f"{each.quantity:28} {each.unit:6} {each.bound:5.1f} {each.measured:6d} {each.withheld:9d} "
            f"{each.bias:7.2f} {each.mean:7.2f} {each.p95:6.2f} {each.worst:6.2f} "
            f"{100 * each.within:6.2f}%  {each.worst_at}"
        )
    return "\n".join(out)
