"""Means of several quantities with intervals that resample whole clusters: patients, subjects, phantoms.

Convention: quantities of the same rows share their bootstrap draws. Below `fewest` clusters there is no interval, and
`method` says so; see :mod:`spinemed.statistics` for the method and its degenerate cases.

Trap: a quantity without a value in a row has its own, smaller n; it never shares draws with one that has all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import numpy as np

from spinemed.records import Record
from spinemed.statistics import Clusters, generator_for, proportion_interval
from spinemed.statistics.intervals import cluster_draws, percentile_bounds

__all__ = ["Estimate", "estimate_columns", "estimate_means"]


class Estimate(Record):
    """A mean with its interval; see :class:`spinemed.statistics.Interval`."""

    value: float | None
    """The mean; None where nothing has a value."""
    low: float | None
    """Lower bound of the 95 % interval; None where there is none."""
    high: float | None
    """Upper bound of the 95 % interval; None where there is none."""
    n: int
    """How many values it is the mean of."""
    clusters: int
    """Patients or subjects."""
    method: str
    """How the interval was made, or why there is none."""


def estimate_columns(
    columns: Mapping[str, Sequence[float | None]],
    owners: Sequence[str],
    *,
    key: tuple[str, ...],
    seed: int,
    shares: Collection[str] = (),
    resamples: int = 10_000,
    fewest: int,
    unit: str,
) -> dict[str, Estimate]:
    """Means of quantities by row, where each may lack values.

    Args:
        columns: For each quantity one number or None per row.
        owners: Whose each row is.
        key: Names the draws; see `generator_for`.
        seed: Of the bootstrap.
        shares: Quantities that are 0 or 1.
        resamples: Bootstrap samples.
        fewest: Clusters below which there is no interval.
        unit: What a cluster is, in the plural.
    """
    together: dict[tuple[bool, ...], list[str]] = {}
    for name, column in columns.items():
        together.setdefault(tuple(value is not None for value in column), []).append(name)
    found: dict[str, Estimate] = {}
    for present, names in together.items():
        kept = Clusters.of([owner for owner, there in zip(owners, present, strict=True) if there])
        rng = generator_for(seed, *key, names[0])
        values = {name: [value for value in columns[name] if value is not None] for name in names}
        found |= estimate_means(values, kept, rng, shares=shares, resamples=resamples, fewest=fewest, unit=unit)
    return {name: found[name] for name in columns}


def estimate_means(
    values: Mapping[str, Sequence[float]],
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    shares: Collection[str] = (),
    resamples: int = 10_000,
    fewest: int,
    unit: str,
) -> dict[str, Estimate]:
    """Means of several quantities of the same rows, with cluster bootstrap intervals.

    Args:
        values: For each quantity one number per row.
        clusters: Whose they are.
        rng: Generator of the bootstrap.
        shares: Quantities that are 0 or 1. Where one of the two is rare their interval is Wilson's (see
            :func:`spinemed.statistics.proportion_interval`), because resampling cannot show what it never saw.
        resamples: Bootstrap samples.
        fewest: Clusters below which there is no interval.
        unit: What a cluster is, in the plural.
    """
    n, count = clusters.size, clusters.count
    means = {name: fmean(column) if n else None for name, column in values.items()}

    def plain(name: str, method: str) -> Estimate:
        return Estimate(value=means[name], low=None, high=None, n=n, clusters=count, method=method)

    if n == 0:
        return {name: plain(name, "empty") for name in values}
    if count < fewest:
        return {name: plain(name, f"fewer than {fewest} {unit}") for name in values}
    found: dict[str, Estimate] = {}
    drawn: list[str] = []
    for name, column in values.items():
        if name in shares:
            one = proportion_interval(column, clusters, rng, resamples=resamples)
            found[name] = Estimate(
                value=means[name], low=one.low, high=one.high, n=n, clusters=count, method=one.method
            )
        elif max(column) == min(column):
            found[name] = plain(name, "no variance")
        else:
            drawn.append(name)
    if drawn:
        table = np.stack([*(clusters.sums(values[name]) for name in drawn), clusters.sizes.astype(np.float64)], axis=1)
        totals = np.concatenate([draws @ table for draws in cluster_draws(count, rng, resamples)])
        for place, name in enumerate(drawn):
            low, high = percentile_bounds(totals[:, place] / totals[:, -1], count)
            found[name] = Estimate(
                value=means[name], low=low, high=high, n=n, clusters=count, method="cluster bootstrap"
            )
    return found
