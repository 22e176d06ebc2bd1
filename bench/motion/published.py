"""Published results on spine motion, to be printed beside a user's own and never ranked with them.

Convention: the numbers stand in `published.yaml` (:mod:`bench.published`), all of them read in their source. A column
takes the user's "group/quantity", or "pictures/group/ap". Angles per level have no published row: nobody has
benchmarked them.

Trap: other data, other labels, other code, and for some tables an unstated norm factor or root. Nearness to a row is no
proof of anything.
"""

from __future__ import annotations

from pathlib import Path

from bench.motion.records import Scores
from bench.published import Published, published_tables

__all__ = ["motion_tables", "own_values"]


def motion_tables() -> Published:
    """The tables as packaged."""
    return published_tables(Path(__file__).with_name("published.yaml"))


def own_values(scores: Scores) -> dict[str, float | None]:
    """The user's values by the keys of the tables' columns, as far as there are any."""
    means = scores.row().values if scores.summary else {}
    found: dict[str, float | None] = {key: one.value for key, one in means.items()}
    for one in scores.pictures:
        found |= {f"pictures/{one.group}/{name}": getattr(one, name) for name in ("ap", "ap50", "ap75", "ar")}
    return found
