"""Two methods on the same things (clips, vertebrae): the mean difference of one quantity, clustered by their owners.

Convention: a difference is first minus second over the things in which both have a value. Its interval resamples whole
clusters, its p value tosses the sign of whole clusters (:mod:`spinemed.statistics`).

Trap: things that only one method has a value in are in no difference; `unpaired` counts them. A quantity that leaves
misses out can be won by leaving out what is hard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spinemed.statistics import Clusters, mean_interval, sign_flip_p_value

__all__ = ["PairedMeans", "paired_means", "winner_of"]


@dataclass(frozen=True)
class PairedMeans:
    """What one comparison found; None where there is nothing to compare, or no interval."""

    n: int
    """Things that both have a value in."""
    unpaired: int
    """Things that only one of the two has a value in."""
    clusters: int
    first_mean: float | None
    second_mean: float | None
    difference: float | None
    low: float | None
    high: float | None
    method: str
    p: float | None


def paired_means(
    first: Mapping[str, float],
    second: Mapping[str, float],
    owners: Mapping[str, str],
    rng: np.random.Generator,
    *,
    resamples: int,
) -> PairedMeans:
    """The mean difference of two methods.

    Args:
        first, second: Values by thing, each of those that have one.
        owners: Whose a thing is.
        rng: Of bootstrap and test.
        resamples: Bootstrap samples and sign patterns.
    """
    both = sorted(set(first) & set(second))
    left, right = (np.array([values[key] for key in both], dtype=np.float64) for values in (first, second))
    clusters = Clusters.of([owners[key] for key in both])
    whole = mean_interval(left - right, clusters, rng, resamples=resamples)
    p = sign_flip_p_value(clusters.sums(left - right), rng, resamples=resamples) if both else None
    return PairedMeans(
        n=len(both), unpaired=len(set(first) ^ set(second)), clusters=clusters.count,
        first_mean=float(left.mean()) if both else None, second_mean=float(right.mean()) if both else None,
        difference=whole.value, low=whole.low, high=whole.high, method=whole.method, p=p,
    )  # fmt: skip


def winner_of(
    first: str, second: str, difference: float | None, p: float | None, *, better: str, alpha: float
) -> str | None:
    """Who is better by a test, or None: it takes a difference, and a corrected p below `alpha`.

    Args:
        first, second: Names of the methods.
        difference: First minus second.
        p: Corrected over all tests of the comparison.
        better: "higher" or "lower" values.
    """
    if p is None or p >= alpha or not difference:
        return None
    return first if (difference > 0) == (better == "higher") else second
