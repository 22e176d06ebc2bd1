"""`Agreement`: a coefficient with its interval, or the named reason why there is none.

Convention: every coefficient here is a function of sums over units. A unit contributes one row of numbers; a bootstrap
sample is a weighted sum of the clusters' rows, so ten thousand samples cost one matrix product. The interval is the
expanded percentile interval of :mod:`spinemed.statistics.intervals`, over whole clusters.

Degenerate cases, all of them; none is a NaN and none is an interval of width zero:

- `no unit`, `one rater`, `no overlap` (no unit was rated by two): no value
- `one category`: chance agreement is complete, so kappa and alpha are 0 / 0: no value
- `no variance` (measurements that are all equal), `fewer than 2 units` (ICC, Bland-Altman): no value
- `one cluster`, `fewer than 6 clusters`: a value without interval
- `same in every resample`, e.g. perfect agreement: a value without interval
- `undefined in N of M resamples`, above one in twenty: a value without interval

Trap: resamples in which a coefficient is undefined (all drawn units of one category) are left out of the percentiles;
up to one in twenty this is harmless, above it would pass off a rare category as a known one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.statistics.clusters import Clusters
from spinemed.statistics.intervals import (
    FEWEST_CLUSTERS,
    RESAMPLES,
    cluster_draws,
    percentile_bounds,
    too_few,
)

__all__ = ["RESAMPLES", "Agreement", "bootstrap", "estimate"]

_LOST = 0.05
"""Share of resamples in which a coefficient may be undefined before there is no interval."""


@dataclass(frozen=True)
class Agreement:
    """One coefficient of agreement and what it rests on."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    """Units that entered."""
    raters: int
    clusters: int
    """Independent cases among them."""
    method: str
    """How the bounds were made; `none` where there are none."""
    reason: str = ""
    """Why there is no value, or no interval; empty where both exist."""
    confidence: float = 0.95

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def bootstrap(
    parts: NDArray[np.float64],
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    clusters: Clusters,
    rng: np.random.Generator,
    resamples: int,
) -> NDArray[np.float64]:
    """Values of a coefficient on bootstrap samples of whole clusters, NaN where undefined.

    Args:
        parts: Additive numbers of each unit, shape (units, parts).
        of: The coefficient of summed numbers, (..., parts) to (...) or (..., values).
        clusters: The grouping of the same units, two clusters or more.
        rng: Generator of the draws.
        resamples: Bootstrap samples.
    """
    table = np.stack([clusters.sums(column) for column in parts.T], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.concatenate([of(draws @ table) for draws in cluster_draws(clusters.count, rng, resamples)])


def estimate(
    name: str,
    parts: NDArray[np.float64],
    of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    raters: int,
    flaw: str = "",
    undefined: str = "one category",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Agreement:
    """A coefficient of summed numbers with its cluster bootstrap interval (rules in the module docstring).

    Args:
        name: The coefficient, e.g. `Cohen's kappa`.
        parts: Additive numbers of each unit, shape (units, parts).
        of: The coefficient, (..., parts) to (...), NaN where it is undefined.
        clusters: The grouping of the same units.
        rng: Generator of the draws.
        raters: How many raters there are.
        flaw: A reason found before, for which there is no value.
        undefined: The reason to give where the coefficient is undefined on the whole data.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.
    """
    n, count = clusters.size, clusters.count

    def bare(value: float | None, reason: str) -> Agreement:
        return Agreement(name, value, None, None, n, raters, count, "none", reason, confidence)

    if flaw:
        return bare(None, flaw)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(of(parts.sum(axis=0)))
    if not np.isfinite(value):
        return bare(None, undefined)
    if count < FEWEST_CLUSTERS:
        return bare(value, too_few(count))
    drawn = bootstrap(parts, of, clusters, rng, resamples)
    kept = drawn[np.isfinite(drawn)]
    if len(kept) < (1 - _LOST) * resamples:
        return bare(value, f"undefined in {resamples - len(kept)} of {resamples} resamples")
    if np.ptp(kept) < 1e-12:
        return bare(value, "same in every resample")
    low, high = percentile_bounds(kept, count, confidence=confidence)
    return Agreement(name, value, low, high, n, raters, count, "cluster bootstrap", "", confidence)
