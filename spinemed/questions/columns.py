"""Who stands beside whom in one spine, for questions: neighbours and the levels that a fixation spans.

Convention: everything is asked of a `Spine`, so a spine with L6 or four lumbar vertebrae answers for itself; questions
stay between C1 and S1.

Trap: the neighbour below L5 is S1 in most spines and L6 in some; without a spine the question has no answer.
"""

from __future__ import annotations

from spinemed.anatomy import Level, Segment, Spine
from spinemed.errors import LevelError

__all__ = ["construct", "disc_text", "neighbour"]


def neighbour(spine: Spine, level: Level, steps: int) -> Level | None:
    """The vertebra `steps` further down (negative: up), or None beyond C1 and S1 or for a level not in the spine."""
    if level not in spine.levels:
        return None
    place = spine.index(level) + steps
    found = spine.levels[place] if 0 <= place < len(spine.levels) else None
    return found if found is not None and Level.C1 <= found <= Level.S1 else None


def construct(spine: Spine, level: Level, above: int = 1, below: int = 1) -> tuple[Level, Level] | None:
    """First and last vertebra of a fixation around `level`, or None where the column ends first."""
    first, last = neighbour(spine, level, -above), neighbour(spine, level, below)
    return None if first is None or last is None else (first, last)


def disc_text(upper: Level, lower: Level) -> str | None:
    """Canonical text of the disc between two levels, or None where there is no disc between them."""
    try:
        disc = Segment(upper, lower).disc
    except LevelError:
        return None
    return None if disc is None else str(disc)
