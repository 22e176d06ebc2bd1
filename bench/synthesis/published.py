"""Published results on pseudo-healthy vertebrae, to be printed beside a user's own and never ranked with them.

Convention: the numbers stand in `published.yaml` with source and mark (:mod:`bench.published`).

Trap: the paper's numbers are second-hand here, and whether they are of the whole slice or of the target is not stated.
"""

from __future__ import annotations

from pathlib import Path

from bench.published import Published, published_tables
from bench.synthesis.records import Scores

__all__ = ["own_values", "synthesis_tables"]


def synthesis_tables() -> Published:
    """The tables as packaged."""
    return published_tables(Path(__file__).with_name("published.yaml"))


def own_values(scores: Scores) -> dict[str, float | None]:
    """The user's values by quantity."""
    return {name: one.value for name, one in scores.row().values.items()} if scores.summary else {}
