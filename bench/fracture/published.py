"""Published results on fracture grading, to be printed beside a user's own and never ranked with them.

Convention: the numbers stand in `published.yaml` with source and mark (:mod:`bench.published`).

Trap: macro F1 moves with the mix of grades and with what is done about vertebrae without a prediction.
"""

from __future__ import annotations

from pathlib import Path

from bench.fracture.records import Scores
from bench.published import Published, published_tables

__all__ = ["fracture_tables", "own_values"]


def fracture_tables() -> Published:
    """The tables as packaged."""
    return published_tables(Path(__file__).with_name("published.yaml"))


def own_values(scores: Scores) -> dict[str, float | None]:
    """The user's values by quantity."""
    return {name: one.value for name, one in scores.row().values.items()}
