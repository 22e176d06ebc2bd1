"""`rhlv`: height loss of one vertebra against a mask of its healthy twin on the same grid.

Convention: percent of the twin's height, by thirds, with 95 % intervals (robust mode), or the published numbers (paper
mode, voxels of 1 mm). Trap: a loss is no better than the twin it is measured against.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from spinemed.tools.desk import Answer, Arguments, Desk, Handle, LevelText, Tool

__all__ = ["TOOL", "RhlvArguments"]


class RhlvArguments(Arguments):
    """A vertebra, its twin, and its level (VerSe's numbers in both masks, or 0 and 1)."""

    mask: Handle
    """Handle of the patient's mask."""
    synthetic: Annotated[str, Field(max_length=64, description="Handle of the twin's mask.")]
    level: LevelText
    """Which vertebra."""
    mode: Literal["robust", "paper"] = "robust"
    """Ours with intervals, or the published rule."""


def run(arguments: RhlvArguments, desk: Desk) -> Answer:
    """Measure the pair."""
    from spinemed.anatomy import LABEL_MAPS
    from spinemed.vertebra.verbs import measure_pair

    mask, twin = desk.fetch(arguments.mask, "mask"), desk.fetch(arguments.synthetic, "synthetic")
    found = measure_pair(mask, twin, LABEL_MAPS["verse"].to_label(arguments.level), mode=arguments.mode)
    return Answer(found.model_dump(mode="json", exclude={"flags", "inputs", "case"}), found.flags)


TOOL = Tool(
    name="rhlv",
    description="Relative height loss of one vertebra against a mask of its synthetic healthy twin on the same grid.",
    arguments=RhlvArguments,
    run=run,
)
