"""`level`: what a text names of the spine, kind by kind, with its doubts.

Convention: offsets count code points of the text given. Trap: L5 alone may be a vertebra or a root; doubts are told.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from spinemed.anatomy import Ambiguous, describe, find_levels
from spinemed.anatomy.readings import Reading
from spinemed.tools.desk import Answer, Arguments, Desk, Tool

__all__ = ["TOOL", "LevelArguments"]


class LevelArguments(Arguments):
    """A text to read."""

    text: Annotated[
        str, Field(min_length=1, max_length=20_000, description="English or Chinese text, e.g. 'L4/5', 'Th7'.")
    ]


def _kind(reading: Reading) -> str:
    return type(reading).__name__.lower()


def run(arguments: LevelArguments, desk: Desk) -> Answer:
    """Every mention of a vertebra, disc, segment, root or range."""
    mentions: list[dict[str, Any]] = []
    for mention in find_levels(arguments.text):
        reading = mention.reading
        doubt = reading.why if isinstance(reading, Ambiguous) else None
        mentions.append(
            {
                "in_doubt": doubt,
                "text": mention.text,
                "start": mention.start,
                "end": mention.end,
                "kind": _kind(reading),
                "means": describe(reading),
                "candidates": [describe(each) for each in reading.candidates] if isinstance(reading, Ambiguous) else [],
            }
        )
    flags = [f"'{each['text']}' is in doubt: {each['in_doubt']}" for each in mentions if each["in_doubt"]]
    if not mentions:
        flags.append("the text names no level")
    return Answer({"mentions": mentions}, tuple(flags))


TOOL = Tool(
    name="level",
    description="Read which vertebrae, discs, motion segments, roots or ranges a text names, with offsets and doubts.",
    arguments=LevelArguments,
    run=run,
)
