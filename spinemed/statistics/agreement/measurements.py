"""Agreement of measurements: ICC(2,1) and Bland-Altman limits.

Convention: units x raters in one physical unit; differences are second minus first. Sources: Shrout and Fleiss, Psychol
Bull 86:420, 1979, case 2 (two-way random effects, absolute agreement, one rater); Bland and Altman, Lancet 327:307,
1986. Intervals of both come from the cluster bootstrap, because several discs of one spine are not independent; the
published closed forms assume that they are.

Trap: a high ICC says that units differ more than raters do, not that raters agree well enough: read the limits, which
stand in millimetres or degrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.statistics.agreement.estimate import RESAMPLES, Agreement, bootstrap, estimate
from spinemed.statistics.agreement.ratings import Table, flaw_of, numbers_of, subset
from spinemed.statistics.clusters import Clusters
from spinemed.statistics.intervals import FEWEST_CLUSTERS, Interval, percentile_bounds, too_few

__all__ = ["BlandAltman", "bland_altman", "icc"]

_LIMIT = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def icc(
    table: Table,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Agreement:
    """ICC(2,1): absolute agreement of single measurements by raters drawn from many.

    Units that a rater did not measure are left out (`n` says how many stayed). Undefined where all values are equal
    (`no variance`) or fewer than two units are whole (`fewer than 2 units`).

    Args:
        table: Units x raters, numbers, None where there is none.
        clusters: The case of each unit.
        rng: Generator of the bootstrap.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.

    Raises:
        ValueError: The table and the clusters do not fit each other, or a value is no finite number.
    """
    values = numbers_of(table)
    measured = np.isfinite(values)
    present = measured.any(axis=0)
    flaw, k = flaw_of(values), int(present.sum())
    values = values[:, present]
    whole = np.asarray(np.isfinite(values).all(axis=1))
    kept, values = subset(clusters, whole), values[whole]
    if not flaw:
        flaw = "no overlap" if len(values) == 0 else "fewer than 2 units" if len(values) < 2 else ""
    if not flaw and np.ptp(values) == 0:
        flaw = "no variance"
    centred = values - (values.mean() if values.size else 0.0)
    mean = centred.mean(axis=1) if k else np.zeros(len(values))
    parts = np.concatenate(
        [np.ones((len(values), 1)), (centred**2).sum(axis=1)[:, None], (mean**2)[:, None], centred], axis=1
    )

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        n, columns = sums[..., 0], sums[..., 3:] / sums[..., 0:1]
        grand = columns.mean(axis=-1)
        between = k * (sums[..., 2] - n * grand**2)
        raters = n * ((columns - grand[..., None]) ** 2).sum(axis=-1)
        rest = np.maximum(sums[..., 1] - n * k * grand**2 - between - raters, 0.0)
        bms, jms, ems = between / (n - 1), raters / (k - 1), rest / ((n - 1) * (k - 1))
        below = bms + (k - 1) * ems + k * (jms - ems) / n
        return np.where(below > 1e-12, (bms - ems) / np.where(below > 1e-12, below, 1.0), np.nan)

    return estimate(
        "ICC(2,1)", parts, of, kept, rng, raters=k, flaw=flaw, undefined="no variance", confidence=confidence,
        resamples=resamples,
    )  # fmt: skip


@dataclass(frozen=True)
class BlandAltman:
    """Bias and 95 % limits of agreement of two raters, each with its interval, in the unit of the measurements."""

    bias: Interval
    lower: Interval
    upper: Interval
    sd: float | None
    """Standard deviation of the differences, n - 1 in the denominator."""
    reason: str = ""
    """Why there is no value (`no unit`, `one rater`, `no overlap`, `fewer than 2 units`); empty otherwise."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def bland_altman(
    first: Sequence[float | None],
    second: Sequence[float | None],
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> BlandAltman:
    """Bias (mean of second minus first) and limits (bias -/+ 1.96 SD), over units that both measured.

    Two raters who differ by the same amount everywhere have limits equal to the bias, and no interval (`no variance`).

    Args:
        first: Measurements of one rater, None where there is none, shape (units,).
        second: Measurements of the other, shape (units,).
        clusters: The case of each unit.
        rng: Generator of the bootstrap.
        confidence: Of the intervals around bias and limits, e.g. 0.95; the limits themselves are always those of 95 %.
        resamples: Bootstrap samples.

    Raises:
        ValueError: Inputs that do not fit each other, or a value that is no finite number.
    """
    values = numbers_of(list(zip(first, second, strict=True))).reshape(-1, 2)
    both = np.asarray(np.isfinite(values).all(axis=1))
    kept = subset(clusters, both)
    n, count = kept.size, kept.count
    flaw = flaw_of(values) or ("fewer than 2 units" if n < 2 else "")
    if flaw:
        none = Interval(None, None, None, n, count, flaw, confidence)
        return BlandAltman(none, none, none, None, flaw)
    differences = values[both, 1] - values[both, 0]
    origin = float(differences.mean())
    centred = differences - origin
    parts = np.stack([np.ones(n), centred, centred**2], axis=1)

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        size, mean = sums[..., 0], sums[..., 1] / sums[..., 0]
        sd = np.sqrt(np.maximum(sums[..., 2] - size * mean**2, 0.0) / np.maximum(size - 1, 1))
        return np.stack([mean, mean - _LIMIT * sd, mean + _LIMIT * sd], axis=-1)

    bias, lower, upper = (float(value) + origin for value in of(parts.sum(axis=0)))
    why = too_few(count) if count < FEWEST_CLUSTERS else "no variance" if np.ptp(differences) < 1e-12 else ""
    bounds: list[tuple[float | None, float | None]] = [(None, None)] * 3
    if not why:
        drawn = bootstrap(parts, of, kept, rng, resamples) + origin
        bounds = [percentile_bounds(column, count, confidence=confidence) for column in drawn.T]
    first_bound, second_bound, third_bound = bounds
    method = why or "cluster bootstrap"
    return BlandAltman(
        Interval(bias, *first_bound, n, count, method, confidence),
        Interval(lower, *second_bound, n, count, method, confidence),
        Interval(upper, *third_bound, n, count, method, confidence),
        float(differences.std(ddof=1)),
    )
