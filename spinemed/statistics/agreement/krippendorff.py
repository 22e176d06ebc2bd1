"""Krippendorff's alpha: any number of raters, missing ratings, one formula for three kinds of difference.

Convention: alpha = 1 - observed / expected disagreement, over the values of units that two or more raters rated.
Source: Krippendorff, Content Analysis, 3rd ed. 2013, and Computing Krippendorff's Alpha-Reliability, 2011
(repository.upenn.edu/asc_papers/43), whose worked example the tests carry. Interval differences are summed in closed
form: a unit of m values adds 2 (m sum x^2 - (sum x)^2) / (m - 1).

Trap: the ordinal metric measures distance by how often the grades between were used, so it changes with the sample and
not only with the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.statistics.agreement.estimate import RESAMPLES, Agreement, estimate
from spinemed.statistics.agreement.ratings import Ratings, Table, flaw_of, numbers_of, subset
from spinemed.statistics.clusters import Clusters

__all__ = ["Metric", "krippendorff_alpha"]

Metric = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    table: Table,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    metric: Metric = "nominal",
    categories: Sequence[Any] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Krippendorff's alpha with a cluster bootstrap interval.

    Undefined where all values are equal: `one category`, and for the interval metric `no variance`.

    Args:
        table: Units x raters, None where there is no rating.
        clusters: The case of each unit.
        rng: Generator of the bootstrap.
        metric: `nominal`, `ordinal` (values sorted, or in the order of `categories`) or `interval` (numbers).
        categories: The scale in its order, for values that do not sort by themselves.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.

    Raises:
        ValueError: Another metric, or inputs that do not fit each other.
    """
    name = f"Krippendorff's alpha, {metric}"
    if metric == "interval":
        values = numbers_of(table)
        return _interval(name, values, clusters, rng, confidence=confidence, resamples=resamples)
    if metric not in ("nominal", "ordinal"):
        raise ValueError(f"metric {metric!r} is none of nominal, ordinal, interval")
    ratings = Ratings.of(table, categories)
    counts = ratings.counts
    m = counts.sum(axis=1)
    kept = subset(clusters, m >= 2)
    counts, m, q = counts[m >= 2], m[m >= 2], len(ratings.categories)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(q)
    coincidences = pairs / (m - 1)[:, None, None]
    parts = coincidences.reshape(len(m), q * q)

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        observed = sums.reshape(*sums.shape[:-1], q, q)
        used = observed.sum(axis=-1)
        far = _apart(used, metric)
        expected = (used[..., :, None] * used[..., None, :] * far).sum(axis=(-2, -1))
        return _alpha((observed * far).sum(axis=(-2, -1)), expected, used.sum(axis=-1))

    return estimate(
        name, parts, of, kept, rng, raters=ratings.raters, flaw=ratings.flaw(), confidence=confidence,
        resamples=resamples,
    )  # fmt: skip


def _apart(used: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Squared difference of each pair of categories, shape (..., q, q)."""
    q = used.shape[-1]
    if metric == "nominal":
        return np.broadcast_to(1 - np.eye(q), (*used.shape, q))
    # Ranks in the middle of each category: the sum from c to k less half of both ends is their difference.
    middle = np.cumsum(used, axis=-1) - used / 2
    return (middle[..., :, None] - middle[..., None, :]) ** 2


def _interval(
    name: str,
    values: NDArray[np.float64],
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float,
    resamples: int,
) -> Agreement:
    rated = np.isfinite(values)
    several = rated.sum(axis=1) >= 2
    kept = subset(clusters, several)
    flaw, raters = flaw_of(values), int(rated.any(axis=0).sum())
    values, m = values[several], rated[several].sum(axis=1)
    if not flaw and np.nanmax(values) == np.nanmin(values):
        flaw = "no variance"
    # Squares of values far from zero would cancel: alpha does not change with the origin, so the mean is taken off.
    centred = np.nan_to_num(values - (np.nanmean(values) if values.size else 0.0))
    total, squares = centred.sum(axis=1), (centred**2).sum(axis=1)
    parts = np.stack([m, total, squares, 2 * (m * squares - total**2) / (m - 1)], axis=1)

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        n = sums[..., 0]
        return _alpha(sums[..., 3], 2 * (n * sums[..., 2] - sums[..., 1] ** 2), n)

    return estimate(
        name, parts, of, kept, rng, raters=raters, flaw=flaw, undefined="no variance", confidence=confidence,
        resamples=resamples,
    )  # fmt: skip


def _alpha(observed: NDArray[np.float64], expected: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
    some = expected > 1e-12
    return np.where(some, 1 - (n - 1) * observed / np.where(some, expected, 1.0), np.nan)
