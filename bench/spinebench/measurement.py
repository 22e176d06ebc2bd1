"""Measured numbers: the error in units is the main figure, the share within tolerance stands beside it.

Convention, layout of one measure (see `numbers.measure_of`)::

    {unit, n, clusters, tolerance: [all that occur],
     systems: {name: {answered, without_number, undecidable: {n, correct},
                      mean_absolute_error, median_absolute_error, bias, within_tolerance}}}

The four figures are intervals (value, low, high, n, clusters, method), clustered; the first three over the questions
that got a number, in the unit, and `bias` is answered minus true. `within_tolerance` is over all questions with a true
number, where a missing one is not within. `without_number` counts those; `undecidable` the questions whose truth is
"not determinable". Requests that failed (`api_error`) are left out.

Degenerate cases: nobody answered gives None; below `FEWEST_RANKED` clusters there is no interval.

Trap: a model that answers only where it is easy has a small error; read `answered` first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.spinebench.numbers import measure_of
from spinemed.records import NOT_DETERMINABLE, Sample, Score
from spinemed.statistics import FEWEST_RANKED, Clusters, Interval, generator_for, mean_interval, proportion_interval
from spinemed.statistics.intervals import cluster_draws, percentile_bounds, too_few

__all__ = ["median_interval", "summarise_measurement"]


def summarise_measurement(
    samples: Sequence[Sample], scores: dict[str, list[Score]], *, seed: int, resamples: int
) -> dict[str, Any]:
    """All measures of all systems; the layout stands in the module's docstring.

    Args:
        samples: All samples, by id.
        scores: For each system its scores in the order of `samples`.
        seed: Seed of the bootstrap.
        resamples: Bootstrap samples.
    """
    measures: dict[tuple[str, str], list[int]] = {}
    for place, sample in enumerate(samples):
        if sample.answer_kind == "number":
            measures.setdefault((measure_of(sample), sample.unit), []).append(place)
    twice = [measure for measure, _ in measures]
    found = {}
    for (measure, unit), places in sorted(measures.items()):
        key = measure if twice.count(measure) == 1 else f"{measure} ({unit or 'count'})"
        found[key] = {
            "unit": unit,
            "n": len(places),
            "clusters": len({samples[place].cluster for place in places}),
            "tolerance": sorted({tol for place in places if (tol := samples[place].tolerance) is not None}),
            "systems": {
                name: _system(samples, own, places, seed, ("measurement", key, name), resamples)
                for name, own in scores.items()
            },
        }
    return found


def _system(
    samples: Sequence[Sample],
    scores: Sequence[Score],
    places: Sequence[int],
    seed: int,
    key: tuple[str, ...],
    resamples: int,
) -> dict[str, Any]:
    known = [place for place in places if scores[place].outcome != "api_error"]
    told = [place for place in known if samples[place].answer != NOT_DETERMINABLE]
    open_ = [place for place in known if samples[place].answer == NOT_DETERMINABLE]
    numbers = [place for place in told if scores[place].error is not None]
    errors = np.array([scores[place].error for place in numbers], dtype=np.float64)
    clusters = Clusters.of([samples[place].cluster for place in numbers])

    def stream(name: str) -> np.random.Generator:
        return generator_for(seed, *key, name)

    fewest = {"resamples": resamples, "fewest": FEWEST_RANKED}
    within = [float(scores[place].correct) for place in told]
    every = Clusters.of([samples[place].cluster for place in told])
    return {
        "answered": len(numbers),
        "without_number": len(told) - len(numbers),
        "undecidable": {"n": len(open_), "correct": sum(scores[place].correct for place in open_)},
        "mean_absolute_error": mean_interval(np.abs(errors), clusters, stream("mean"), **fewest).as_dict(),
        "median_absolute_error": median_interval(np.abs(errors), clusters, stream("median"), **fewest).as_dict(),
        "bias": mean_interval(errors, clusters, stream("bias"), **fewest).as_dict(),
        "within_tolerance": proportion_interval(within, every, stream("within"), **fewest).as_dict(),
    }


def median_interval(
    values: NDArray[np.float64],
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    resamples: int,
    fewest: int,
) -> Interval:
    """Median with a cluster bootstrap interval: each draw's median counts a question as often as its cluster was drawn.

    Args:
        values: One finite number a question, shape (n,).
        clusters: The grouping of the same n questions.
        rng: Generator for the bootstrap.
        resamples: Bootstrap samples.
        fewest: Clusters below which there is no interval.
    """
    array, count = clusters.checked(values), clusters.count
    if not array.size:
        return Interval(None, None, None, 0, 0, "empty", 0.95)
    median = float(np.median(array))
    if count < fewest:
        return Interval(median, None, None, array.size, count, too_few(count, fewest), 0.95)
    if np.ptp(array) == 0:
        return Interval(median, None, None, array.size, count, "no variance", 0.95)
    order = np.argsort(array, kind="stable")
    ordered, index = array[order], clusters.index[order]
    medians = []
    for draws in cluster_draws(count, rng, resamples):
        reached = np.cumsum(draws[:, index], axis=1)
        total = reached[:, -1:]
        # The middle one, or the two around the middle, of the drawn questions in order.
        low = (reached * 2 < total).sum(axis=1)
        high = (reached * 2 <= total).sum(axis=1)
        medians.append((ordered[low] + ordered[np.minimum(high, array.size - 1)]) / 2)
    low_bound, high_bound = percentile_bounds(np.concatenate(medians), count)
    return Interval(median, low_bound, high_bound, array.size, count, "cluster bootstrap", 0.95)
