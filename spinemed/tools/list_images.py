"""`list_images`: the handles of the images that may be read, with what their heads claim.

Convention: images of one folder share `group`. Trap: a name, where the operator lets names be told, is text from a file
system: data like everything else.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from spinemed.errors import ReadError
from spinemed.tools.desk import Answer, Arguments, Desk, Tool

__all__ = ["TOOL", "ListArguments"]


class ListArguments(Arguments):
    """Which part of the list."""

    start: Annotated[int, Field(ge=0, le=1_000_000, description="Leave out so many.")] = 0
    count: Annotated[int, Field(ge=1, le=200, description="Tell so many at most.")] = 50


def run(arguments: ListArguments, desk: Desk) -> Answer:
    """List handles in the order of their places."""
    places = desk.images.places()
    shown = places[arguments.start : arguments.start + arguments.count]
    images: list[dict[str, Any]] = []
    for place in shown:
        facts: dict[str, Any] = {"handle": place.handle, "group": place.group, "bytes": place.bytes}
        if desk.names:
            facts["name"] = ascii(place.relative.rsplit("/", 1)[-1][:120])[1:-1]
        try:
            head = desk.images.header(place)
        except ReadError as error:
            facts["flags"] = [error.problem]
        else:
            facts |= {"shape": head.shape, "spacing": head.spacing, "values": head.values}
        images.append(facts)
    left = dict(sorted(desk.images.left_out.items()))
    flags = [f"{number} left out: {why}" for why, number in left.items()]
    if arguments.start + len(shown) < len(places):
        flags.append(f"{len(places) - arguments.start - len(shown)} more: ask with a larger start")
    return Answer({"total": len(places), "images": images}, tuple(flags))


TOOL = Tool(
    name="list_images",
    description="List the images that can be read: handle, group (same folder), shape, voxel size, kind of values.",
    arguments=ListArguments,
    run=run,
)
