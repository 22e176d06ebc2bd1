"""`grade`: height loss and Genant grade of vertebrae against what the rest of the spine leads to expect.

Convention: losses in percent of the expected height with 95 % intervals. Trap: a grade is a rule on losses; height loss
alone is no fracture, and where the reference is unreliable there is no grade.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spinemed.tools.desk import Answer, Arguments, Desk, Handle, LevelText, Scheme, Tool

__all__ = ["TOOL", "GradeArguments"]


class GradeArguments(Arguments):
    """A mask of vertebrae, and of their bodies if there is one."""

    mask: Handle
    """Handle of the mask of vertebrae."""
    body_mask: Handle | None = None
    """Handle of the mask of their bodies."""
    levels: Annotated[
        tuple[LevelText, ...], Field(max_length=30, description="Vertebrae to report; all if left out.")
    ] = ()
    scheme: Scheme = "verse"
    """Numbering of the mask."""
    sex: Literal["female", "male"] | None = None
    """Decides the norms of heights; None takes both."""


def run(arguments: GradeArguments, desk: Desk) -> Answer:
    """Grade the whole spine and report what was asked for."""
    from spinemed.labelling import read_label_mask
    from spinemed.vertebra.spine import grade_spine

    mask = read_label_mask(desk.fetch(arguments.mask, "mask"), scheme=arguments.scheme)
    bodies = None
    if arguments.body_mask is not None:
        bodies = read_label_mask(desk.fetch(arguments.body_mask, "body_mask"), scheme=arguments.scheme)
    report = grade_spine(mask, bodies, sex=arguments.sex)
    wanted = arguments.levels or tuple(each.level for each in report.vertebrae)
    held = {each.level: each for each in report.vertebrae}
    absent = [str(level) for level in wanted if level not in held]
    flags = [*mask.flags, *report.flags]
    if absent:
        flags.insert(0, f"not gradable in this mask: {', '.join(absent)}; it holds {', '.join(map(str, held))}")
    result = {
        "note": report.note,
        "rule": report.rule,
        "reference_set_on": report.trained_on,
        "units": {"percent": "of the expected height, with a 95 % interval", "height_mm": "mm"},
        "vertebrae": [held[level].model_dump(mode="json") for level in wanted if level in held],
    }
    return Answer(result, tuple(flags))


TOOL = Tool(
    name="grade",
    description=(
        "Height loss by thirds and Genant grade of vertebrae T1 to L6 on a mask, against heights expected from the "
        "same spine, with intervals, doubt and flags. Height loss alone is not a fracture."
    ),
    arguments=GradeArguments,
    run=run,
)
