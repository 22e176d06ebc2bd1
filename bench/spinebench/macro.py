"""Exact share per true level, and their plain mean: a model that knows only common levels scores low here.

Convention: a row of the per-level table holds n, clusters, right answers and an interval; the macro value is the mean
of the per-level shares over the levels that occur.

Trap: with few questions per level the macro value is noisy; its interval resamples spines, not questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.spinebench.confusion import anatomical
from spinemed.records import Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, generator_for, macro_interval, proportion_interval

__all__ = ["macro_over_levels", "per_level"]


def per_level(
    pairs: Sequence[tuple[Sample, Score]], *, seed: int, key: tuple[str, ...], resamples: int
) -> list[dict[str, Any]]:
    """Share of right answers for each true level, head to foot."""
    rows = []
    for level in anatomical({sample.answer for sample, _ in pairs}):
        own = [(sample, score) for sample, score in pairs if sample.answer == level]
        interval = proportion_interval(
            [float(score.correct) for _, score in own],
            Clusters.of([sample.cluster for sample, _ in own]),
            generator_for(seed, *key, "level", level),
            resamples=resamples,
            fewest=FEWEST_RANKED,
        )
        rows.append({"level": level, "correct": sum(score.correct for _, score in own), **interval.as_dict()})
    return rows


def macro_over_levels(
    pairs: Sequence[tuple[Sample, Score]], *, seed: int, key: tuple[str, ...], resamples: int
) -> dict[str, Any]:
    """Mean of the per-level shares with its interval."""
    levels = anatomical({sample.answer for sample, _ in pairs})
    return macro_interval(
        [float(score.correct) for _, score in pairs],
        [levels.index(sample.answer) for sample, _ in pairs],
        Clusters.of([sample.cluster for sample, _ in pairs]),
        generator_for(seed, *key, "macro"),
        resamples=resamples,
        fewest=FEWEST_RANKED,
    ).as_dict()
