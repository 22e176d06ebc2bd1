"""Raw agreement and prevalence: what every chance-corrected coefficient is read beside.

Convention: raw agreement is the share of pairs of raters of one unit who chose the same category, averaged over units
that two or more raters rated (Fleiss, Psychol Bull 76:378, 1971, its P-bar).

Trap: kappa falls as one category becomes rare even while raw agreement stays (Feinstein and Cicchetti, J Clin Epidemiol
43:543, 1990); without the prevalence beside it a low kappa is read as bad raters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spinemed.statistics.agreement.estimate import RESAMPLES, Agreement
from spinemed.statistics.agreement.ratings import Ratings, Table, subset
from spinemed.statistics.clusters import Clusters
from spinemed.statistics.intervals import mean_interval, proportion_interval

__all__ = ["prevalence", "raw_agreement"]


def raw_agreement(
    table: Table,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Share of agreeing pairs of raters, with Wilson's or a cluster bootstrap interval.

    Args:
        table: Units x raters, None where there is no rating.
        clusters: The case of each unit.
        rng: Generator of the bootstrap.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.

    Raises:
        ValueError: The table and the clusters do not fit each other.
    """
    ratings = Ratings.of(table)
    number = (ratings.codes >= 0).sum(axis=1)
    kept = subset(clusters, number >= 2)
    if flaw := ratings.flaw():
        return Agreement("raw agreement", None, None, None, 0, ratings.raters, 0, "none", flaw, confidence)
    counts, m = ratings.counts[number >= 2], number[number >= 2]
    shares = (counts * (counts - 1)).sum(axis=1) / (m * (m - 1))
    share_of = proportion_interval if np.isin(shares, (0.0, 1.0)).all() else mean_interval
    found = share_of(shares, kept, rng, confidence=confidence, resamples=resamples)
    bounded = found.low is not None
    return Agreement(
        "raw agreement",
        found.value,
        found.low,
        found.high,
        found.n,
        ratings.raters,
        found.clusters,
        found.method if bounded else "none",
        "" if bounded else found.method,
        confidence,
    )


def prevalence(table: Table, categories: Sequence[Any] | None = None) -> dict[Any, float]:
    """Share of each category among all ratings, in the order of the scale; empty without a rating."""
    ratings = Ratings.of(table, categories)
    totals = ratings.counts.sum(axis=0)
    whole = totals.sum()
    return {name: float(total / whole) for name, total in zip(ratings.categories, totals, strict=True) if whole}
