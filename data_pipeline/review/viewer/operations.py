"""Correction steps as a reviewer states them: parsed from JSON, applied in order, told back in words.

Convention: a step names levels by their canonical text. Several steps make one correction, which becomes one version;
a step that breaks a rule refuses the whole correction.

Trap: T13, L6 and a missing T12 change the column, so all vertebrae on one side of the marked one are renumbered. Where
the sacrum is in the mask, the number of lumbar vertebrae follows from what lies between (a shift by one then says that
there are four or six); where it is not, it stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from data_pipeline.review.errors import RefusedError
from data_pipeline.review.viewer.corrections import Labelling, move_centroid, rename_level, renumber, spine_of
from spinemed.anatomy import Level, Region, Spine
from spinemed.errors import LevelError
from spinemed.labelling.masks import SACRUM

__all__ = ["Mark", "Move", "Operation", "Rename", "Shift", "apply_operations", "describe", "parse_operations"]

_MOST = 64


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rename(_Step):
    """One vertebra gets another name."""

    kind: Literal["rename"]
    old: Level
    new: Level


class Shift(_Step):
    """All names move: +1 gives every vertebra the name of the one below it."""

    kind: Literal["shift"]
    steps: Literal[-1, 1]


class Mark(_Step):
    """What is irregular in the column: this vertebra is T13, is L6, or keeps its name where T12 does not exist."""

    kind: Literal["mark"]
    what: Literal["T13", "L6", "no_T12"]
    level: Level


class Move(_Step):
    """The centroid of a body lies elsewhere."""

    kind: Literal["move"]
    level: Level
    point_mm: tuple[float, float, float]


Operation = Annotated[Rename | Shift | Mark | Move, Field(discriminator="kind")]
_STEPS: TypeAdapter[list[Operation]] = TypeAdapter(Annotated[list[Operation], Field(min_length=1, max_length=_MOST)])


def parse_operations(value: Any) -> list[Operation]:
    """Steps from plain JSON values.

    Raises:
        RefusedError: no step, more than 64, or one that is none of the four kinds.
    """
    try:
        return _STEPS.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "operations"
        raise RefusedError(
            first["msg"], field=place, cure="rename, shift by one, mark T13, L6 or no T12, or move"
        ) from None


def apply_operations(labelling: Labelling, steps: Sequence[Operation]) -> Labelling:
    """The labelling after all steps, in their order.

    Raises:
        LevelError, VolumeError: a step breaks a rule; see :mod:`data_pipeline.review.viewer.corrections`.
    """
    for step in steps:
        if isinstance(step, Rename):
            labelling = rename_level(labelling, step.old, step.new)
        elif isinstance(step, Shift):
            labelling = _shift(labelling, step.steps)
        elif isinstance(step, Mark):
            labelling = _mark(labelling, step)
        else:
            labelling = move_centroid(labelling, step.level, step.point_mm)
    return labelling


def describe(step: Operation) -> str:
    """A step in words, for the record."""
    if isinstance(step, Rename):
        return f"{step.old} renamed {step.new}"
    if isinstance(step, Shift):
        return f"all names shifted by one {'down' if step.steps > 0 else 'up'}"
    if isinstance(step, Mark):
        return f"no T12, {step.level} keeps its name" if step.what == "no_T12" else f"{step.level} is {step.what}"
    return f"centroid of {step.level} moved to {', '.join(f'{value:.1f}' for value in step.point_mm)} mm"


def _shift(labelling: Labelling, steps: int) -> Labelling:
    present, first = spine_of(labelling), labelling.levels[0]
    if not _on_sacrum(labelling):
        return renumber(labelling, first, present.shift(first, steps), present)
    name = Spine(present.thoracic, 6).shift(first, steps)
    return renumber(
        labelling,
        first,
        name,
        Spine(present.thoracic, _lumbar_above_sacrum(labelling, first, name, present.thoracic, present)),
    )


def _on_sacrum(labelling: Labelling) -> bool:
    return bool(labelling.mask.counts.get(SACRUM)) and labelling.levels[-1].region is Region.LUMBAR


def _mark(labelling: Labelling, step: Mark) -> Labelling:
    present = spine_of(labelling)
    if step.what == "no_T12":
        if step.level is Level.T12:
            raise LevelError(
                "T12 cannot keep its name where it does not exist",
                field="level",
                cure="choose the vertebra above or below that keeps its name",
            )
        name, thoracic, lumbar = step.level, 11, present.lumbar
    elif step.what == "T13":
        name, thoracic, lumbar = Level.T13, 13, present.lumbar
    else:
        name, thoracic, lumbar = Level.L6, present.thoracic, 6
    if step.what != "L6" and _on_sacrum(labelling):
        lumbar = _lumbar_above_sacrum(labelling, step.level, name, thoracic, present)
    return renumber(labelling, step.level, name, Spine(thoracic, lumbar))


def _lumbar_above_sacrum(labelling: Labelling, anchor: Level, name: Level, thoracic: int, present: Spine) -> int:
    """How many lumbar vertebrae the new column has, counted down to the one that lies on the sacrum.

    Raises:
        LevelError: the lowest vertebra would not be L4, L5 or L6.
    """
    last = labelling.levels[-1]
    longest = Spine(thoracic, 6)
    lowest = longest.shift(name, present.offset(anchor, last))
    if lowest not in (Level.L4, Level.L5, Level.L6):
        raise LevelError(
            f"the vertebra on the sacrum would be {lowest}", field="level", cure="choose another vertebra as certain"
        )
    return lowest.number
