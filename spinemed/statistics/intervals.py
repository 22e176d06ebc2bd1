"""Confidence intervals for proportions and means whose questions are grouped by spine.

Convention: `low` and `high` are None where no interval exists, with `method` saying why; values are shares in [0, 1]
for proportions. A number without an interval is never given one of width zero.

The cluster bootstrap draws whole clusters with replacement and takes sum of values over sum of sizes (the ratio
estimator). Its percentiles are widened for few clusters by the t quantile, the "expanded percentile interval" of
Hesterberg, What Teachers Should Know About the Bootstrap, section 4.2 (arXiv 1411.5279): with k clusters the tail is
Phi(-sqrt(k / (k - 1)) t_{1 - alpha/2, k - 1}) instead of alpha/2.

Degenerate cases, all of them:

- no question: no interval (`empty`)
- one cluster: no interval (`one cluster`), whatever its size: nothing is known about another spine
- every cluster of one question, values 0 or 1: Wilson's interval, no bootstrap (`wilson`)
- fewer than six clusters, fewer than five that hold a right answer, or fewer than five that hold a wrong one (among
  these 0 and n right): resampling cannot show what it never saw, so Wilson's interval for as many independent
  questions as there are clusters (`wilson on clusters`); wide by intention, because it assumes that questions of one
  spine go together
- a mean or macro mean of fewer than six clusters: no interval (`fewer than 6 clusters`)
- all values equal for a mean, or within every class for a macro mean: no interval (`no variance`, `no variance within
  classes`)

A benchmark that ranks models asks for more: `fewest` = :data:`FEWEST_RANKED` clusters, below which there is no
interval, whatever the method.

Trap: a percentile interval from a handful of clusters looks precise and is not; read `clusters` beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.statistics.clusters import Clusters

__all__ = [
    "FEW",
    "FEWEST_CLUSTERS",
    "FEWEST_RANKED",
    "RESAMPLES",
    "Interval",
    "bootstrap_means",
    "cluster_draws",
    "macro_interval",
    "mean_interval",
    "percentile_bounds",
    "proportion_interval",
    "too_few",
    "wilson_interval",
    "wilson_of",
]

RESAMPLES = 10_000
FEWEST_CLUSTERS = 6
"""Below this a bootstrap has too few distinct samples, and no sign-flip test can reach p < 0.05 (2 / 2^5 = 0.0625)."""
FEWEST_RANKED = 20
"""Below this a benchmark prints no interval."""
_BLOCK = 1_000
FEW = 5
"""Clusters that must hold a right answer, and as many a wrong one, for a bootstrap of a share."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval and what it rests on."""

    value: float | None
    """The estimate; None without a single question."""
    low: float | None
    high: float | None
    n: int
    """Questions."""
    clusters: int
    """Independent spines, documents or patients among them."""
    method: str
    """How the bounds were made, or why there are none."""
    confidence: float = 0.95

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def wilson_interval(successes: float, n: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval for a proportion of independent questions, by statsmodels.

    Args:
        successes: Number of successes; may be fractional where `n` is an effective number.
        n: Number of questions, above 0.
        confidence: E.g. 0.95.

    Raises:
        ValueError: `n` is not above 0, or successes lie outside 0 to n.
    """
    from statsmodels.stats.proportion import proportion_confint

    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"{successes} successes of {n} questions is impossible")
    low, high = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
    # At 0 and n the formula is exact up to rounding; a bound of -1e-18 would be an eyesore and an impossible share.
    return (0.0 if successes == 0 else float(low)), (1.0 if successes == n else float(high))


def wilson_of(values: ArrayLike, clusters: Clusters, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of ones, for clusters that hold one question each.

    Raises:
        ValueError: Two questions share a cluster, there is none, or a value is neither 0 nor 1.
    """
    array = clusters.checked(values)
    if not clusters.single:
        raise ValueError(
            f"{clusters.size} questions of {clusters.count} clusters are not independent; use proportion_interval"
        )
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError("a proportion needs values 0 and 1")
    return wilson_interval(float(array.sum()), clusters.size, confidence=confidence)


def too_few(clusters: int, fewest: int = FEWEST_CLUSTERS) -> str:
    """Why there is no interval with so few clusters."""
    return "one cluster" if clusters == 1 else f"fewer than {fewest} clusters"


def cluster_draws(clusters: int, rng: np.random.Generator, resamples: int) -> Iterator[NDArray[np.int64]]:
    """How often each cluster is drawn in each bootstrap sample, in blocks of shape (up to 1000, clusters)."""
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        drawn = rng.integers(0, clusters, size=(rows, clusters))
        drawn += np.arange(rows)[:, None] * clusters
        yield np.bincount(drawn.ravel(), minlength=rows * clusters).reshape(rows, clusters)


def bootstrap_means(
    values: ArrayLike, clusters: Clusters, rng: np.random.Generator, *, resamples: int = RESAMPLES
) -> NDArray[np.float64]:
    """Means of bootstrap samples of whole clusters, shape (resamples,).

    Clusters with the same sum and the same size are interchangeable; where there are few kinds of them the number
    drawn of each kind is multinomial, which has the same distribution and is much faster.

    Raises:
        ValueError: No cluster, or not one finite value per question.
    """
    if clusters.count == 0:
        raise ValueError("no cluster to draw from")
    table = np.stack([clusters.sums(values), clusters.sizes.astype(np.float64)], axis=1)
    kinds, members = np.unique(table, axis=0, return_counts=True)
    if len(kinds) <= 32:
        counts = rng.multinomial(clusters.count, members / clusters.count, size=resamples)
        totals = counts @ kinds
    else:
        totals = np.concatenate([draws @ table for draws in cluster_draws(clusters.count, rng, resamples)])
    return totals[:, 0] / totals[:, 1]


def percentile_bounds(
    estimates: NDArray[np.float64], clusters: int, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Expanded percentile bounds of bootstrap estimates (source in the module docstring).

    Args:
        estimates: Bootstrap estimates, shape (resamples,).
        clusters: Number of clusters they were drawn from, 2 or more.
        confidence: E.g. 0.95.
    """
    from scipy.stats import norm, t

    tail = norm.cdf(-math.sqrt(clusters / (clusters - 1)) * t.ppf((1 + confidence) / 2, clusters - 1))
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return float(low), float(high)


def proportion_interval(
    values: ArrayLike,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    fewest: int = FEWEST_CLUSTERS,
) -> Interval:
    """Share of ones among 0/1 values, with a cluster-aware interval (rules in the module docstring).

    Args:
        values: 0 or 1 per question, shape (n,).
        clusters: The grouping of the same n questions.
        rng: Generator for the bootstrap.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.
        fewest: Clusters below which there is no interval at all; the default leaves Wilson's on clusters below six.

    Raises:
        ValueError: A value other than 0 and 1, or not one per question.
    """
    array = clusters.checked(values)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError("a proportion needs values 0 and 1; use mean_interval for others")
    n, count = clusters.size, clusters.count
    if n == 0:
        return Interval(None, None, None, 0, 0, "empty", confidence)
    share = float(array.mean())
    if count == 1:
        return Interval(share, None, None, n, 1, "one cluster", confidence)
    if fewest > FEWEST_CLUSTERS and count < fewest:
        return Interval(share, None, None, n, count, too_few(count, fewest), confidence)
    if clusters.single:
        low, high = wilson_interval(float(array.sum()), n, confidence=confidence)
        return Interval(share, low, high, n, count, "wilson", confidence)
    right = clusters.sums(array)
    seldom = min(int((right > 0).sum()), int((right < clusters.sizes).sum()))
    if count < FEWEST_CLUSTERS or seldom < FEW:
        low, high = wilson_interval(share * count, count, confidence=confidence)
        return Interval(share, low, high, n, count, "wilson on clusters", confidence)
    estimates = bootstrap_means(array, clusters, rng, resamples=resamples)
    low, high = percentile_bounds(estimates, count, confidence=confidence)
    return Interval(share, low, high, n, count, "cluster bootstrap", confidence)


def mean_interval(
    values: ArrayLike,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    fewest: int = FEWEST_CLUSTERS,
) -> Interval:
    """Mean of any finite values, with a cluster bootstrap interval (rules in the module docstring).

    Raises:
        ValueError: Not one finite value per question.
    """
    array = clusters.checked(values)
    n, count = clusters.size, clusters.count
    if n == 0:
        return Interval(None, None, None, 0, 0, "empty", confidence)
    mean = float(array.mean())
    if count < fewest:
        return Interval(mean, None, None, n, count, too_few(count, fewest), confidence)
    if np.ptp(array) == 0:
        return Interval(mean, None, None, n, count, "no variance", confidence)
    estimates = bootstrap_means(array, clusters, rng, resamples=resamples)
    low, high = percentile_bounds(estimates, count, confidence=confidence)
    return Interval(mean, low, high, n, count, "cluster bootstrap", confidence)


def macro_interval(
    values: ArrayLike,
    classes: ArrayLike,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    fewest: int = FEWEST_CLUSTERS,
) -> Interval:
    """Mean over classes of the mean within each class, so that a common class weighs no more than a rare one.

    A class that a bootstrap sample did not draw is left out of that sample's mean.

    Args:
        values: One value per question, shape (n,).
        classes: The true class of each question as a whole number from 0, shape (n,).
        clusters: The grouping of the same n questions.
        rng: Generator for the bootstrap.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.

    Raises:
        ValueError: Not one value and one class per question.
    """
    array, labels = clusters.checked(values), clusters.checked(classes).astype(np.int64)
    n, count = clusters.size, clusters.count
    if n == 0:
        return Interval(None, None, None, 0, 0, "empty", confidence)
    present = np.unique(labels)
    member = labels[:, None] == present[None, :]
    macro = float(np.mean([array[member[:, column]].mean() for column in range(present.size)]))
    if count < fewest:
        return Interval(macro, None, None, n, count, too_few(count, fewest), confidence)
    if all(np.ptp(array[member[:, column]]) == 0 for column in range(present.size)):
        # A constant answer has its own class all right and the others all wrong: every resample says the same.
        return Interval(macro, None, None, n, count, "no variance within classes", confidence)
    sums = np.stack([clusters.sums(array * column) for column in member.T], axis=1)
    sizes = np.stack([clusters.sums(column.astype(float)) for column in member.T], axis=1)
    estimates = []
    for draws in cluster_draws(count, rng, resamples):
        drawn, total = draws @ sizes, draws @ sums
        means = np.divide(total, drawn, out=np.zeros_like(total), where=drawn > 0)
        estimates.append(means.sum(axis=1) / (drawn > 0).sum(axis=1))
    low, high = percentile_bounds(np.concatenate(estimates), count, confidence=confidence)
    return Interval(macro, low, high, n, count, "cluster bootstrap", confidence)
