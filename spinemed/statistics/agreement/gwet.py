"""Gwet's AC1 and AC2: agreement beyond chance that does not collapse where one category is rare.

Convention: chance agreement is that of raters who guess on hard units only, T / (q (q - 1)) * sum of p (1 - p), with T
the sum of the weights; AC1 has identity weights. Source: Gwet, Br J Math Stat Psychol 61:29, 2008; several raters,
missing ratings and weights (AC2): Handbook of Inter-Rater Reliability, 4th ed. 2014.

Trap: it depends on the number q of categories of the scale, used or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.statistics.agreement.estimate import RESAMPLES, Agreement, estimate
from spinemed.statistics.agreement.kappa import Weights, shares, weight_matrix
from spinemed.statistics.agreement.ratings import Ratings, Table
from spinemed.statistics.clusters import Clusters

__all__ = ["gwet_ac"]


def gwet_ac(
    table: Table,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    weights: Weights = "nominal",
    categories: Sequence[Any] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Agreement:
    """AC1 (`nominal`) or AC2 (`linear`, `quadratic`) of two or more raters.

    Defined where all ratings fall into one category of a scale of several (it is 1 there); undefined on a scale of one
    category (`one category`).

    Args:
        table: Units x raters, None where there is no rating.
        clusters: The case of each unit.
        rng: Generator of the bootstrap.
        weights: `nominal` for AC1, `linear` or `quadratic` for AC2.
        categories: The scale in its order; without it the values seen, which only AC1 allows.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.

    Raises:
        ValueError: Weights without a scale, or inputs that do not fit each other.
    """
    if weights != "nominal" and categories is None:
        raise ValueError("AC2 needs `categories`, the whole scale in its order")
    ratings = Ratings.of(table, categories)
    q = len(ratings.categories)
    credit = weight_matrix(q, weights)
    parts, kept = shares(ratings, clusters, credit)
    factor = credit.sum() / (q * (q - 1)) if q > 1 else np.nan

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        share = sums[..., 3:] / sums[..., 2:3]
        expected = factor * (share * (1 - share)).sum(axis=-1)
        chance_corrected: NDArray[np.float64] = (sums[..., 1] / sums[..., 0] - expected) / (1 - expected)
        return chance_corrected

    name = "Gwet's AC1" if weights == "nominal" else f"Gwet's AC2, {weights} weights"
    return estimate(
        name, parts, of, kept, rng, raters=ratings.raters, flaw=ratings.flaw(), confidence=confidence,
        resamples=resamples,
    )  # fmt: skip
