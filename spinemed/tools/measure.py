"""`measure`: heights, wedge, discs, slip, canal and Cobb angles of named levels on a mask, each with its flags.

Convention: millimetres, degrees, percent; heights are means over thirds of the depth. A value that could not be
measured is null and a flag beside it says why. Trap: angles of a supine scan are not standing ones; say the posture.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from spinemed.anatomy import LABEL_MAPS, Disc, Level
from spinemed.errors import LevelError, SpineMedError
from spinemed.tools.desk import Answer, Arguments, Desk, DiscText, Handle, LevelText, Tool

if TYPE_CHECKING:
    from spinemed.measure import CanalSection, Flag, Heights, SpineMeasurements

__all__ = ["TOOL", "Angle", "MeasureArguments"]

_DEFINITIONS = {
    "heights_mm": "mean heights of the anterior, middle and posterior third of the depth",
    "wedge_deg": "angle between the endplates, positive where taller in front",
    "slip": "upper vertebra against the lower one, mm and percent of the lower endplate; up to 3 mm counts as none",
    "cobb": "upper endplate of the upper and lower endplate of the lower vertebra, in the scanner's plane",
    "canal": "front-to-back, side-to-side and area of the canal; source 'arch' is the bony ring at the pedicles",
}


class Angle(Arguments):
    """An angle by Cobb between two vertebrae."""

    upper: LevelText
    """Vertebra of the upper endplate."""
    lower: LevelText
    """Vertebra of the lower endplate."""
    plane: Literal["coronal", "sagittal"] = "coronal"
    """In which the angle is measured."""


class MeasureArguments(Arguments):
    """A mask and the levels to measure."""

    mask: Handle
    """Handle of the mask of vertebrae."""
    levels: Annotated[tuple[LevelText, ...], Field(min_length=1, max_length=30, description="Vertebrae to report.")]
    discs: Annotated[
        tuple[DiscText, ...], Field(max_length=30, description="Discs; by default those between named vertebrae.")
    ] = ()
    cobb: Annotated[tuple[Angle, ...], Field(max_length=20)] = ()
    """Angles to measure."""
    body_mask: Handle | None = None
    """Handle of the mask of bodies."""
    canal_mask: Handle | None = None
    """Handle of the mask of the canal."""
    disc_mask: Handle | None = None
    """Handle of the mask of discs."""
    canal_holds: Literal["bony canal", "dural sac"] = "bony canal"
    """What the canal mask holds."""
    scheme: Annotated[Literal[tuple(LABEL_MAPS)], Field(description="Numbering of the masks.")] = "verse"  # type: ignore[valid-type]
    posture: Literal["standing", "supine", "unknown"] = "unknown"
    """How the patient was placed; decides which alignment may be stated."""


def run(arguments: MeasureArguments, desk: Desk) -> Answer:
    """Measure the whole mask and report what was asked for."""
    from spinemed.measure import measure_masks
    from spinemed.volume import read_mask

    given = {
        field: read_mask(desk.fetch(handle, field))
        for field in ("mask", "body_mask", "canal_mask", "disc_mask")
        if (handle := getattr(arguments, field)) is not None
    }
    found = measure_masks(
        given["mask"],
        bodies=given.get("body_mask"),
        canal=given.get("canal_mask"),
        discs=given.get("disc_mask"),
        label_map=LABEL_MAPS[arguments.scheme],
        posture=arguments.posture,
        canal_kind=arguments.canal_holds,
    )
    flags = _texts(found.flags)
    discs = arguments.discs or _between(arguments.levels)
    present = ", ".join(str(each.level) for each in found.vertebrae)
    absent = [str(level) for level in arguments.levels if found.vertebra(level) is None]
    absent += [str(disc) for disc in discs if found.disc(disc) is None]
    if absent:
        flags.insert(0, f"not in the mask: {', '.join(absent)}; it holds {present}")
    result = {
        "definitions": _DEFINITIONS,
        "spacing_mm": found.spacing_mm,
        "posture": found.posture,
        "vertebrae": [_vertebra(found, level) for level in arguments.levels if found.vertebra(level)],
        "discs": [_disc(found, disc) for disc in discs if found.disc(disc)],
        "cobb": [_cobb(found, angle) for angle in arguments.cobb],
    }
    return Answer(result, tuple(flags))


def _between(levels: tuple[Level, ...]) -> tuple[Disc, ...]:
    """Discs between named vertebrae that follow each other; L4/S1 and the like only where no L5 is named."""
    found = []
    ordered = sorted(set(levels))
    for upper, lower in itertools.pairwise(ordered):
        try:
            found.append(Disc(upper, lower))
        except LevelError:
            continue  # two vertebrae that share no disc
    return tuple(found)


def _texts(flags: tuple[Flag, ...]) -> list[str]:
    return [f"{flag.code}: {flag.text}" for flag in flags]


def _heights(heights: Heights | None) -> dict[str, float | None] | None:
    if heights is None:
        return None
    return {"anterior": heights.anterior_mm, "middle": heights.middle_mm, "posterior": heights.posterior_mm}


def _canal(canal: CanalSection | None) -> dict[str, Any] | None:
    return None if canal is None else canal.model_dump(mode="json")


def _vertebra(found: SpineMeasurements, level: Level) -> dict[str, Any]:
    record = found.vertebra(level)
    assert record is not None
    return {
        "level": str(level),
        "flags": _texts(record.flags),
        "heights_mm": _heights(record.heights_of_thirds),
        "wedge_deg": record.wedge_deg,
        "canal": _canal(record.canal),
        "layer_mm": record.resolution_mm,
        "body_from": record.body_source,
    }


def _disc(found: SpineMeasurements, disc: Disc) -> dict[str, Any]:
    record = found.disc(disc)
    assert record is not None
    return {
        "disc": str(disc),
        "flags": _texts(record.flags),
        "heights_mm": _heights(record.heights_of_thirds),
        "mean_height_mm": record.mean_mm,
        "wedge_deg": record.wedge_deg,
        "slip": None if record.slip is None else record.slip.model_dump(mode="json"),
        "canal": _canal(record.canal),
    }


def _cobb(found: SpineMeasurements, angle: Angle) -> dict[str, Any]:
    flags = []
    value: float | None = None
    try:
        value = round(found.cobb_deg(angle.upper, angle.lower, angle.plane), 4)
    except SpineMedError as error:
        flags.append(error.problem)
    if found.posture != "standing":
        flags.append(f"posture: {found.posture}, not standing")
    ends = {"upper": str(angle.upper), "lower": str(angle.lower), "plane": angle.plane}
    return {**ends, "flags": flags, "angle_deg": value}


TOOL = Tool(
    name="measure",
    description=(
        "Measure named levels on a mask of vertebrae: heights, wedge, disc heights, slip, canal, Cobb angles, in mm "
        "and degrees, each with quality flags. Read the flags before the values."
    ),
    arguments=MeasureArguments,
    run=run,
)
