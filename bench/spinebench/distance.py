"""Mean distance in levels, and the exact share that guessing by the truth's own frequencies would earn.

Convention: the mean is over answers that have a distance from the truth (`offset_levels` is not None); how many have
none stands beside it. The chance level is the exact share expected of an answerer that draws from the frequencies of
the true levels, independently of the question: the sum of squared frequencies. `majority` is what always naming the
commonest level earns.

Degenerate cases: no answer with a distance gives None; no question gives a chance of None.

Trap: a mean distance without the count of answers that have none rewards silence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from spinemed.records import Sample, Score

__all__ = ["ChanceLevel", "LevelDistance", "chance_level", "level_distance"]


@dataclass(frozen=True)
class LevelDistance:
    """How far off, in levels."""

    mean_levels: float | None
    signed_mean_levels: float | None
    """Caudal positive; a bias up or down the spine."""
    n: int
    without: int
    """Answers and missing answers that have no distance."""


def level_distance(scores: Sequence[Score]) -> LevelDistance:
    """Mean absolute and signed distance of scores of level questions."""
    offsets = [score.offset_levels for score in scores if score.offset_levels is not None]
    n = len(offsets)
    return LevelDistance(
        sum(abs(offset) for offset in offsets) / n if n else None,
        sum(offsets) / n if n else None,
        n,
        len(scores) - n,
    )


@dataclass(frozen=True)
class ChanceLevel:
    """Exact share of two answerers that see nothing."""

    frequencies: float | None
    majority: float | None


def chance_level(samples: Sequence[Sample]) -> ChanceLevel:
    """What guessing earns on these level questions."""
    counts = Counter(sample.answer for sample in samples)
    n = counts.total()
    if n == 0:
        return ChanceLevel(None, None)
    return ChanceLevel(sum((count / n) ** 2 for count in counts.values()), max(counts.values()) / n)
