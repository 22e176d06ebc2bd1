"""Typed look-ups in the tables that phantoms are drawn from: `morphometry.csv`, `alignment.csv`, `density.csv`.

Convention: lengths in mm, angles in degrees, density in HU at 120 kV. Each cell carries its source and a mark:
`verified` (read in the source), `recalled` (commonly quoted, to be checked before it is published) or `derived`
(computed from other cells, the note says how); so does each standard deviation. Rows of `use` "draw" are drawn from;
rows of "compare" hold what another series found and why it was not taken.

The trap: cadaver and living tables disagree by 10-25 % on heights. Heights are living CT wherever a table of the living
exists, and dry bone scaled to it elsewhere. A size pooled over the sexes is split by the table's own male-to-female
ratio, so that the mean of both sexes is the cell.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple

from spinemed.anatomy import Level, Region
from spinemed.errors import RecordError

__all__ = ["FOLLOWS", "AlignmentCell", "Cell", "Size", "alignment", "morphometry", "size", "trabecular_hu"]

Mark = Literal["verified", "recalled", "derived"]
Sexes = Literal["female", "male", "both"]

_FOLDER = Path(__file__).resolve().parent
_MARKS = ("verified", "recalled", "derived")

FOLLOWS: Mapping[Level, Level] = {Level.T13: Level.T12, Level.L6: Level.L5}
"""A supernumerary vertebra takes the sizes of the one named here."""

_RATIO = {
    "anterior_height": "ratio_height",
    "posterior_height": "ratio_height",
    "dens_height": "ratio_height",
    "upper_width": "ratio_width",
    "lower_width": "ratio_width",
    "upper_depth": "ratio_depth",
    "lower_depth": "ratio_depth",
    "canal_width": "ratio_canal",
    "canal_depth": "ratio_canal",
    "pedicle_width": "ratio_pedicle",
    "pedicle_height": "ratio_pedicle",
    "lamina_thickness": "ratio_arch",
    "lamina_height": "ratio_arch",
    "spinous_length": "ratio_arch",
    "spinous_height": "ratio_arch",
    "transverse_span": "ratio_arch",
    "transverse_thickness": "ratio_arch",
    "facet_size": "ratio_arch",
    "rib_length": "ratio_arch",
    "disc_height": "ratio_disc",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of `morphometry.csv`."""

    level: Level | None
    """None: holds for no single level (stature, ratios)."""
    sex: Sexes
    quantity: str
    mean: float
    sd: float
    unit: str
    source: str
    mark: Mark
    sd_source: str
    sd_mark: Mark
    use: Literal["draw", "compare"]
    note: str


@dataclass(frozen=True, slots=True)
class AlignmentCell:
    """One cell of `alignment.csv`."""

    quantity: str
    posture: Literal["standing", "supine", "any"]
    mean: float
    sd: float
    unit: str
    source: str
    mark: Mark
    sd_mark: Mark
    note: str


class Size(NamedTuple):
    """Mean and standard deviation within one sex."""

    mean: float
    sd: float


def _rows(name: str) -> list[tuple[int, dict[str, str]]]:
    with (_FOLDER / name).open(encoding="utf-8", newline="") as stream:
        return [(line, row) for line, row in enumerate(csv.DictReader(stream), start=2)]


def _number(name: str, line: int, row: dict[str, str], field: str) -> float:
    try:
        return float(row[field])
    except (KeyError, TypeError, ValueError):
        raise RecordError(
            f"{row.get(field)!r} is no number", file=name, line=line, field=field, cure="restore the bundled table"
        ) from None


def _checked(name: str, line: int, row: dict[str, str], field: str, allowed: tuple[str, ...]) -> str:
    if row.get(field) not in allowed:
        raise RecordError(
            f"{row.get(field)!r} is none of {', '.join(allowed)}",
            file=name,
            line=line,
            field=field,
            cure="restore the bundled table",
        )
    return row[field]


@cache
def morphometry() -> tuple[Cell, ...]:
    """Every cell of `morphometry.csv`, in the order of the file.

    Raises:
        RecordError: a cell without number, source or mark, or two cells to draw one size from.
    """
    name = "morphometry.csv"
    cells: list[Cell] = []
    seen: set[tuple[str, str, str]] = set()
    for line, row in _rows(name):
        for field in ("source", "sd_source"):
            if not row[field]:
                raise RecordError("no source", file=name, line=line, field=field, cure="name where the number is from")
        use = _checked(name, line, row, "use", ("draw", "compare"))
        key = (row["level"], row["sex"], row["quantity"])
        if use == "draw":
            if key in seen:
                raise RecordError(f"a second cell for {key}", file=name, line=line, cure="mark one of them 'compare'")
            seen.add(key)
        cells.append(
            Cell(
                level=None if row["level"] == "all" else Level(row["level"]),
                sex=_checked(name, line, row, "sex", ("female", "male", "both")),  # type: ignore[arg-type]
                quantity=row["quantity"],
                mean=_number(name, line, row, "mean"),
                sd=_number(name, line, row, "sd"),
                unit=row["unit"],
                source=row["source"],
                mark=_checked(name, line, row, "mark", _MARKS),  # type: ignore[arg-type]
                sd_source=row["sd_source"],
                sd_mark=_checked(name, line, row, "sd_mark", _MARKS),  # type: ignore[arg-type]
                use=use,  # type: ignore[arg-type]
                note=row["note"],
            )
        )
    return tuple(cells)


@cache
def _drawn() -> dict[tuple[str, Level | None, str], Cell]:
    return {(cell.quantity, cell.level, cell.sex): cell for cell in morphometry() if cell.use == "draw"}


@cache
def size(quantity: str, level: Level | None, sex: Literal["female", "male"]) -> Size:
    """Mean and standard deviation of a size in one sex.

    A cell of the sex itself is taken first; a cell pooled over the sexes with mean M is split by the ratio r of male to
    female into 2 M r / (1 + r) and 2 M / (1 + r), whose mean is M. T13 takes T12's sizes, L6 those of L5.

    Args:
        quantity: As in the table: "upper_width", "disc_height" (of the disc below the level), "stature" …
        level: The vertebra, S1 for sacrum and pelvis, or None for what belongs to the whole person.
        sex: "female" or "male".

    Raises:
        RecordError: the table has no such cell.
    """
    at = FOLLOWS.get(level, level) if level is not None else None
    table = _drawn()
    own = table.get((quantity, at, sex))
    if own is not None:
        return Size(own.mean, own.sd)
    pooled = table.get((quantity, at, "both"))
    if pooled is None:
        raise RecordError(
            f"no cell for {quantity} of {'a person' if level is None else level}, {sex}",
            file="morphometry.csv",
            field="quantity",
            cure="ask for a quantity and level that the table lists",
        )
    name = _RATIO.get(quantity)
    if name is None:
        return Size(pooled.mean, pooled.sd)
    if name == "ratio_width" and at is not None and at.region is Region.CERVICAL:
        name = "ratio_width_cervical"
    ratio = table[(name, None, "both")].mean
    share = 2.0 * (ratio if sex == "male" else 1.0) / (1.0 + ratio)
    return Size(pooled.mean * share, pooled.sd * share)


@cache
def _alignment() -> dict[tuple[str, str], AlignmentCell]:
    name = "alignment.csv"
    cells: dict[tuple[str, str], AlignmentCell] = {}
    for line, row in _rows(name):
        if not row["source"]:
            raise RecordError("no source", file=name, line=line, field="source", cure="name where the number is from")
        posture = _checked(name, line, row, "posture", ("standing", "supine", "any"))
        cells[(row["quantity"], posture)] = AlignmentCell(
            quantity=row["quantity"],
            posture=posture,  # type: ignore[arg-type]
            mean=_number(name, line, row, "mean"),
            sd=_number(name, line, row, "sd"),
            unit=row["unit"],
            source=row["source"],
            mark=_checked(name, line, row, "mark", _MARKS),  # type: ignore[arg-type]
            sd_mark=_checked(name, line, row, "sd_mark", _MARKS),  # type: ignore[arg-type]
            note=row["note"],
        )
    return cells


def alignment(quantity: str, posture: Literal["standing", "supine", "any"] = "any") -> AlignmentCell:
    """A cell of `alignment.csv`.

    Raises:
        RecordError: the table has no such cell.
    """
    cell = _alignment().get((quantity, posture))
    if cell is None:
        raise RecordError(
            f"no cell for {quantity}, {posture}",
            file="alignment.csv",
            field="quantity",
            cure="ask for a quantity and posture that the table lists",
        )
    return cell


@cache
def _density(sex: str) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    rows = [(line, row) for line, row in _rows("density.csv") if row["sex"] == sex]
    columns = [
        tuple(_number("density.csv", line, row, field) for line, row in rows)
        for field in ("age_years", "mean_hu", "sd_hu")
    ]
    if not rows:
        raise RecordError(f"no rows for {sex!r}", file="density.csv", field="sex", cure="use 'female' or 'male'")
    return columns[0], columns[1], columns[2]


def trabecular_hu(sex: Literal["female", "male"], age_years: float) -> Size:
    """Mean and standard deviation of lumbar trabecular density at an age, HU; linear between the twenties and eighties.

    Source: ISCL review of opportunistic CT; 59 HU of spread at age 60 (n=100). Ages beyond are taken as the nearest.

    Raises:
        RecordError: the table has no such sex.
    """
    ages, means, sds = _density(sex)
    share = min(1.0, max(0.0, (age_years - ages[0]) / (ages[-1] - ages[0])))
    return Size(means[0] + share * (means[-1] - means[0]), sds[0] + share * (sds[-1] - sds[0]))
