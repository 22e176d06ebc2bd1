"""Many systems on the same questions at once: shared draws, rank intervals, all differences from one.

Convention: `values` has one row per question and one column per system. The clusters of a bootstrap sample are drawn
once for all systems, so every difference and every rank is paired. Estimates are ratios of sums (as in `intervals`),
bounds expanded percentiles.

Memory: cluster sums of all systems (k x m) and their estimates (resamples x m); draws come in blocks.

Degenerate cases: no question gives NaN estimates and no bounds; below `fewest` clusters bounds are NaN; systems with
equal shares share a rank (the lowest number); a system that all resamples rank alike has an interval of one rank, which
says nothing about spines that were never drawn when clusters are few, so ranks too have no interval below `fewest`.

Trap: overlapping rank intervals do not mean that two systems are equal, nor do intervals of shares that overlap; the
paired difference tests that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.statistics.clusters import Clusters
from spinemed.statistics.intervals import FEW, FEWEST_RANKED, RESAMPLES, too_few

__all__ = [
    "ManyEstimates",
    "Ranks",
    "bootstrap_macro",
    "bootstrap_many",
    "proportion_bounds",
    "rank_systems",
    "sign_flip_many",
]

_BLOCK = 500


@dataclass(frozen=True, eq=False)
class ManyEstimates:
    """Shares of several systems with their bootstrap estimates."""

    values: NDArray[np.float64]
    """Shape (systems,)."""
    estimates: NDArray[np.float64]
    """Shape (resamples, systems)."""
    sums: NDArray[np.float64]
    """Sum of the values in each cluster, shape (clusters, systems)."""
    clusters: Clusters
    fewest: int = FEWEST_RANKED

    def bounds(self, confidence: float = 0.95) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper bound of each share; NaN below `fewest` clusters."""
        return self._percentiles(self.estimates, confidence)

    def difference_bounds(
        self, reference: int, confidence: float = 0.95
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bounds of each system's share minus that of the system in column `reference`."""
        return self._percentiles(self.estimates - self.estimates[:, [reference]], confidence)

    def _percentiles(
        self, estimates: NDArray[np.float64], confidence: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from scipy.stats import norm, t

        count = self.clusters.count
        if count < max(2, self.fewest):
            nothing = np.full(estimates.shape[1], np.nan)
            return nothing, nothing.copy()
        tail = norm.cdf(-math.sqrt(count / (count - 1)) * t.ppf((1 + confidence) / 2, count - 1))
        low, high = np.quantile(estimates, [tail, 1 - tail], axis=0)
        return low, high


def bootstrap_many(
    values: ArrayLike,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    fewest: int = FEWEST_RANKED,
) -> ManyEstimates:
    """Means of every column with bootstrap estimates over the same resampled clusters.

    Args:
        values: Finite numbers, shape (questions, systems).
        clusters: The grouping of the questions.
        rng: Generator of the bootstrap.
        resamples: Bootstrap samples.
        fewest: Clusters below which there are no bounds.

    Raises:
        ValueError: Another shape, or a value that is not finite.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != clusters.size:
        raise ValueError(f"{clusters.size} questions need values of shape ({clusters.size}, systems)")
    if not np.isfinite(table).all():
        raise ValueError("values must be finite; leave a question out and count it instead")
    systems, count = table.shape[1], clusters.count
    if count == 0:
        return ManyEstimates(np.full(systems, np.nan), np.empty((0, systems)), np.empty((0, systems)), clusters, fewest)
    sums = cluster_sums(table, clusters)
    whole = np.concatenate([sums, clusters.sizes[:, None].astype(np.float64)], axis=1)
    estimates = np.empty((resamples, systems))
    # Whole numbers below 2^24 add up exactly in single precision, which multiplies twice as fast.
    exact = bool((whole == np.rint(whole)).all()) and count * float(np.abs(whole).max()) < 2**24
    kind: type[np.floating[Any]] = np.float32 if exact else np.float64
    whole = whole.astype(kind)
    for start, draws in _draws(count, rng, resamples):
        totals = (draws.astype(kind) @ whole).astype(np.float64)
        estimates[start : start + len(draws)] = totals[:, :-1] / totals[:, -1:]
    return ManyEstimates(table.mean(axis=0), estimates, sums, clusters, fewest)


def bootstrap_macro(
    values: ArrayLike,
    classes: ArrayLike,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    resamples: int = RESAMPLES,
    fewest: int = FEWEST_RANKED,
) -> ManyEstimates:
    """Mean over classes of every column's mean within the class, over the same resampled clusters.

    A class that a bootstrap sample did not draw is left out of that sample's mean, as in `macro_interval`.

    Args:
        values: 0 or 1, shape (questions, systems).
        classes: The true class of each question as a whole number from 0, shape (questions,).
        clusters: The grouping of the questions.
        rng: Generator of the bootstrap.
        resamples: Bootstrap samples.
        fewest: Clusters below which there are no bounds.

    Raises:
        ValueError: Not one row of finite values and one class per question, or no question.
    """
    table, labels = np.asarray(values, dtype=np.float64), clusters.checked(classes).astype(np.int64)
    if table.ndim != 2 or table.shape[0] != clusters.size or clusters.size == 0 or not np.isfinite(table).all():
        raise ValueError(f"{clusters.size} questions need finite values of shape ({clusters.size}, systems)")
    present, place = np.unique(labels, return_inverse=True)
    count, systems = clusters.count, table.shape[1]
    # Sums and sizes of every cluster within every class: the rows of a table by cluster and class.
    cell = clusters.index * present.size + place
    whole = np.zeros((count * present.size, systems + 1), dtype=np.float32)
    np.add.at(whole, cell, np.concatenate([table, np.ones((clusters.size, 1))], axis=1))
    flat = whole.reshape(count, present.size * (systems + 1))
    estimates = np.empty((resamples, systems))
    for start, draws in _draws(count, rng, resamples):
        totals = (draws.astype(np.float32) @ flat).reshape(len(draws), present.size, systems + 1).astype(np.float64)
        drawn = totals[:, :, -1:]
        means = np.divide(totals[:, :, :-1], drawn, out=np.zeros_like(totals[:, :, :-1]), where=drawn > 0)
        estimates[start : start + len(draws)] = means.sum(axis=1) / (drawn > 0).sum(axis=1)
    macro = np.mean([table[place == number].mean(axis=0) for number in range(present.size)], axis=0)
    return ManyEstimates(macro, estimates, cluster_sums(table, clusters), clusters, fewest)


def proportion_bounds(
    values: ArrayLike, many: ManyEstimates, *, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Bounds of shares by the rules of `proportion_interval`, for all systems at once, and how each was made.

    Args:
        values: 0 or 1, shape (questions, systems): those that `many` was made of.
        many: From `bootstrap_many`.
        confidence: E.g. 0.95.
    """
    from statsmodels.stats.proportion import proportion_confint

    table, clusters = np.asarray(values, dtype=np.float64), many.clusters
    systems, count = table.shape[1], clusters.count
    low, high = many.bounds(confidence)
    if count < max(2, many.fewest):
        return low, high, [too_few(count, many.fewest) if count else "empty"] * systems
    seldom = np.minimum((many.sums > 0).sum(axis=0), (many.sums < clusters.sizes[:, None]).sum(axis=0)) < FEW
    methods = ["wilson on clusters" if few else "cluster bootstrap" for few in seldom]
    trials = clusters.size if clusters.single else count
    if clusters.single:
        methods, seldom = ["wilson"] * systems, np.ones(systems, dtype=bool)
    wilson_low, wilson_high = proportion_confint(many.values * trials, trials, alpha=1 - confidence, method="wilson")
    low = np.where(seldom, np.where(many.values == 0, 0.0, wilson_low), low)
    high = np.where(seldom, np.where(many.values == 1, 1.0, wilson_high), high)
    return low, high, methods


def _draws(count: int, rng: np.random.Generator, resamples: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """How often each cluster is drawn, in blocks with the number of their first sample."""
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        drawn = rng.integers(0, count, size=(rows, count), dtype=np.int32)
        drawn += np.arange(rows, dtype=np.int32)[:, None] * count
        yield start, np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)


def cluster_sums(table: NDArray[np.float64], clusters: Clusters) -> NDArray[np.float64]:
    """Sum of every column in each cluster, shape (clusters, systems)."""
    order = np.argsort(clusters.index, kind="stable")
    starts = np.concatenate([[0], np.cumsum(clusters.sizes)[:-1]])
    return np.add.reduceat(table[order], starts, axis=0)


@dataclass(frozen=True, eq=False)
class Ranks:
    """Places of several systems, 1 the best."""

    rank: NDArray[np.int64]
    low: NDArray[np.float64]
    """Best place within the interval; NaN where there is none."""
    high: NDArray[np.float64]
    """Worst place within the interval."""
    best: NDArray[np.float64]
    """Share of the bootstrap samples in which a system is first or shares the first place."""


def rank_systems(many: ManyEstimates, *, confidence: float = 0.95) -> Ranks:
    """Ranks with percentile intervals of the bootstrapped ranks (higher is better; equal shares share a rank).

    Source: the bootstrap of ranks, Hall and Miller 2009, doi 10.1214/09-AOS699; it is cautious between near equals.

    Args:
        many: From `bootstrap_many`.
        confidence: E.g. 0.95.
    """
    ranks = _places(many.values[None, :])[0] if many.values.size else np.empty(0, dtype=np.int64)
    nothing = np.full(many.values.shape, np.nan)
    if many.clusters.count < max(2, many.fewest):
        return Ranks(ranks, nothing, nothing.copy(), nothing.copy())
    drawn = _places(many.estimates)
    tail = (1 - confidence) / 2
    low = np.quantile(drawn, tail, axis=0, method="lower")
    high = np.quantile(drawn, 1 - tail, axis=0, method="higher")
    # The observed rank belongs to its own interval, also where resampling breaks a tie that was observed.
    return Ranks(ranks, np.minimum(low, ranks), np.maximum(high, ranks), (drawn == 1).mean(axis=0))


def _places(estimates: NDArray[np.float64]) -> NDArray[np.int64]:
    """Rank in each row: one more than the number of systems that are better."""
    rounded = np.round(estimates, 12)
    order = np.argsort(-rounded, axis=1, kind="stable")
    ordered = np.take_along_axis(rounded, order, axis=1)
    places = np.tile(np.arange(1, estimates.shape[1] + 1), (estimates.shape[0], 1))
    tied = np.zeros_like(places, dtype=bool)
    tied[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    places[tied] = 0
    places = np.maximum.accumulate(places, axis=1)
    ranks = np.empty_like(places)
    np.put_along_axis(ranks, order, places, axis=1)
    return ranks


def sign_flip_many(
    cluster_differences: ArrayLike, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Two-sided sign-flip p values of several differences, with shared sign patterns, by sampling.

    The observed arrangement counts among the sampled ones, so that p is never 0 (Phipson and Smyth 2010, doi
    10.2202/1544-6115.1585). For one comparison of right/wrong scores `sign_flip_p_value` counts exactly.

    Args:
        cluster_differences: Total difference of each cluster and comparison, shape (clusters, comparisons).
        rng: Generator of the signs.
        resamples: Sign patterns.

    Returns:
        p values, shape (comparisons,); 1 where all differences are zero.
    """
    totals = np.asarray(cluster_differences, dtype=np.float64)
    observed = np.abs(totals.sum(axis=0))
    whole = bool((totals == np.rint(totals)).all()) and float(np.abs(totals).sum(axis=0).max(initial=0)) < 2**24
    kind: type[np.floating[Any]] = np.float32 if whole else np.float64
    slack = 0.0 if whole else 1e-12 * np.abs(totals).sum(axis=0)
    table = totals.astype(kind)
    hits = np.zeros(totals.shape[1], dtype=np.int64)
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        signs = (rng.integers(0, 2, size=(rows, totals.shape[0]), dtype=np.int8) * 2 - 1).astype(kind)
        hits += (np.abs(signs @ table) >= observed - slack).sum(axis=0)
    return np.where(np.abs(totals).sum(axis=0) == 0, 1.0, (hits + 1) / (resamples + 1))
