"""Two systems on the same questions: difference, interval, test.

Convention: a difference is first minus second, question by question, so what both share cancels. A p value tests "no
difference" from two sides. Clusters are resampled and flipped as wholes.

The sign-flip test asks how often a difference at least as large arises when each cluster's total difference had its
sign tossed. Whole-number totals (right/wrong scores) are counted out exactly by adding up the distribution of the
signed sum; with one discordant question per cluster that is McNemar's exact test. Other values are sampled, with the
observed arrangement counted among them so that p is never 0 (Phipson and Smyth 2010, doi 10.2202/1544-6115.1585).

Degenerate cases:

- fewer than six clusters: no interval; the p value stands, but cannot fall below 0.05
- fewer than six clusters whose total difference is not zero (none, when both always agree), or fewer than six that are
  not wholly won, or not wholly lost: resampling cannot show what it never saw. Won and lost questions are then two
  shares of as many independent questions as there are clusters, each with Wilson's interval; the bounds are lowest won
  minus highest lost, and highest won minus lowest lost (`wilson on won and lost`). Wide by intention, never of width 0

Over 40 simulated settings (8 to 200 clusters of 1 or 4 questions, from rare to almost certain wins) the interval held
the truth in at least 92 of 100 trials.

Trap: a test over questions instead of clusters declares differences that come from one lucky spine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.statistics.clusters import Clusters
from spinemed.statistics.intervals import (
    FEWEST_CLUSTERS,
    RESAMPLES,
    bootstrap_means,
    percentile_bounds,
    too_few,
    wilson_interval,
)

__all__ = ["PairedResult", "holm", "mcnemar_exact", "paired_difference", "sign_flip_p_value"]


@dataclass(frozen=True)
class PairedResult:
    """The mean difference of two systems on the same questions."""

    difference: float | None
    """Mean of first minus second; None without a question."""
    low: float | None
    high: float | None
    p_value: float | None
    """Two-sided cluster sign-flip test; None without a question."""
    n: int
    clusters: int
    first_only: int
    """Questions that only the first has right (higher value)."""
    second_only: int
    """Questions that only the second has right."""
    method: str
    confidence: float = 0.95

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    fewest: int = FEWEST_CLUSTERS,
) -> PairedResult:
    """Mean difference with a cluster bootstrap interval and a cluster sign-flip p value.

    Args:
        first: Scores of one system, between 0 and 1, shape (n,).
        second: Scores of the other on the same questions, shape (n,).
        clusters: The grouping of these n questions.
        rng: Generator for bootstrap and test.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.
        fewest: Clusters below which there is no interval; the p value stands.

    Raises:
        ValueError: Not one finite score between 0 and 1 per question and system.
    """
    left, right = clusters.checked(first), clusters.checked(second)
    if min(left.min(initial=0), right.min(initial=0)) < 0 or max(left.max(initial=0), right.max(initial=0)) > 1:
        raise ValueError("scores must lie between 0 and 1")
    delta = left - right
    n, count = clusters.size, clusters.count
    if n == 0:
        return PairedResult(None, None, None, None, 0, 0, 0, 0, "empty", confidence)
    mean = float(delta.mean())
    won, lost = int((delta > 0).sum()), int((delta < 0).sum())
    p_value = sign_flip_p_value(clusters.sums(delta), rng, resamples=resamples)
    low, high, method = _bounds(delta, clusters, rng, confidence, resamples, fewest)
    return PairedResult(mean, low, high, p_value, n, count, won, lost, method, confidence)


def _bounds(
    delta: NDArray[np.float64],
    clusters: Clusters,
    rng: np.random.Generator,
    confidence: float,
    resamples: int,
    fewest: int,
) -> tuple[float | None, float | None, str]:
    count = clusters.count
    if count < fewest:
        return None, None, too_few(count, fewest)
    totals, sizes = clusters.sums(delta), clusters.sizes
    # Clusters that differ from "both alike", from "all won" and from "all lost": resampling needs some of each.
    seen = min(np.count_nonzero(totals), np.count_nonzero(totals < sizes), np.count_nonzero(totals > -sizes))
    if seen >= FEWEST_CLUSTERS:
        estimates = bootstrap_means(delta, clusters, rng, resamples=resamples)
        return *percentile_bounds(estimates, count, confidence=confidence), "cluster bootstrap"
    won, lost = float(np.maximum(delta, 0).mean()), float(np.maximum(-delta, 0).mean())
    won_low, won_high = wilson_interval(won * count, count, confidence=confidence)
    lost_low, lost_high = wilson_interval(lost * count, count, confidence=confidence)
    return won_low - lost_high, won_high - lost_low, "wilson on won and lost"


def sign_flip_p_value(cluster_differences: ArrayLike, rng: np.random.Generator, *, resamples: int = RESAMPLES) -> float:
    """Two-sided p value of "the clusters' differences are symmetric about zero".

    Args:
        cluster_differences: Total difference of each cluster, shape (k,). Whole numbers are counted out exactly.
        rng: Used only where the totals are not whole numbers.
        resamples: Sign patterns drawn in that case.
    """
    totals = np.abs(np.asarray(cluster_differences, dtype=np.float64))
    observed = abs(float(np.sum(cluster_differences)))
    totals = totals[totals > 0]
    if totals.size == 0:
        return 1.0
    if (totals == np.rint(totals)).all():
        return _exact_sign_flip(totals.astype(np.int64), round(observed))
    hits, slack = 0, 1e-12 * totals.sum()  # a tie that rounding broke is still a tie
    for start in range(0, resamples, 1_000):
        rows = min(1_000, resamples - start)
        signs = rng.integers(0, 2, size=(rows, totals.size)) * 2.0 - 1.0
        hits += int((np.abs(signs @ totals) >= observed - slack).sum())
    return (hits + 1) / (resamples + 1)


def _exact_sign_flip(totals: NDArray[np.int64], observed: int) -> float:
    # With t of the totals counted positive the signed sum is 2t - sum, so the distribution of t is enough.
    whole = int(totals.sum())
    chance = np.zeros(whole + 1)
    chance[0] = 1.0
    for total in totals:
        shifted = np.zeros_like(chance)
        shifted[total:] = chance[: whole + 1 - total]
        chance = 0.5 * (chance + shifted)
    signed = 2 * np.arange(whole + 1) - whole
    return float(min(1.0, chance[np.abs(signed) >= observed].sum()))


def mcnemar_exact(first: ArrayLike, second: ArrayLike, clusters: Clusters | None = None) -> float:
    """Exact McNemar test of two systems on independent questions, by statsmodels.

    Only for questions that share no spine; :func:`paired_difference` is the test for those that do.

    Args:
        first: 0 or 1 per question, shape (n,).
        second: 0 or 1 per question, shape (n,).
        clusters: Whose questions they are; without it the caller answers for their independence.

    Raises:
        ValueError: Shapes differ, a value is neither 0 nor 1, or two questions share a cluster.
    """
    from statsmodels.stats.contingency_tables import mcnemar

    if clusters is not None and not clusters.single:
        raise ValueError(
            f"{clusters.size} questions of {clusters.count} clusters are not independent; use paired_difference"
        )

    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if left.shape != right.shape or not (np.isin(left, (0, 1)).all() and np.isin(right, (0, 1)).all()):
        raise ValueError("McNemar's test needs two equally long sequences of 0 and 1")
    table = [[int(((left == a) & (right == b)).sum()) for b in (1, 0)] for a in (1, 0)]
    if table[0][1] + table[1][0] == 0:
        return 1.0
    return min(1.0, float(mcnemar(table, exact=True).pvalue))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for several tests at once, by statsmodels; None (no test) stays None and counts for nothing."""
    from statsmodels.stats.multitest import multipletests

    present = [value for value in p_values if value is not None]
    if not present:
        return [None] * len(p_values)
    adjusted = iter(multipletests(present, method="holm")[1].tolist())
    return [None if value is None else float(next(adjusted)) for value in p_values]
