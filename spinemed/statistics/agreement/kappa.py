"""Cohen's kappa, plain and weighted, for one pair of raters; Fleiss' kappa for several.

Convention: kappa = (observed - expected) / (1 - expected) agreement. Sources: Cohen, Educ Psychol Meas 20:37, 1960;
weighted, Cohen, Psychol Bull 70:213, 1968; Fleiss, Psychol Bull 76:378, 1971, with units of unequal numbers of raters
as in Gwet, Handbook of Inter-Rater Reliability, 4th ed. 2014 (mean over units of the shares within each).

Trap: a weighted kappa depends on the scale and not only on what was seen, so the scale must be handed over; and the two
columns of Cohen's kappa are two persons. Where pairs change from item to item use Fleiss, AC1 or alpha.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.statistics.agreement.estimate import RESAMPLES, Agreement, estimate
from spinemed.statistics.agreement.ratings import Ratings, Table, subset
from spinemed.statistics.clusters import Clusters

__all__ = ["Weights", "cohen_kappa", "fleiss_kappa", "shares", "weight_matrix"]

Weights = Literal["nominal", "linear", "quadratic"]


def weight_matrix(categories: int, weights: Weights) -> NDArray[np.float64]:
    """Credit for each pair of categories, 1 on the diagonal, shape (categories, categories).

    `nominal` gives nothing off the diagonal; `linear` 1 - |i - j| / (q - 1); `quadratic` 1 - (i - j)^2 / (q - 1)^2.

    Raises:
        ValueError: Another name.
    """
    if weights not in ("nominal", "linear", "quadratic"):
        raise ValueError(f"weights {weights!r} are none of nominal, linear, quadratic")
    if weights == "nominal" or categories < 2:
        return np.eye(categories)
    apart = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories))) / (categories - 1)
    return 1 - (apart if weights == "linear" else apart**2)


def cohen_kappa(
    first: Sequence[Any],
    second: Sequence[Any],
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    weights: Weights = "nominal",
    categories: Sequence[Any] | None = None,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Cohen's kappa of two raters over the units that both rated.

    Args:
        first: Ratings of one rater, None where there is none, shape (units,).
        second: Ratings of the other, shape (units,).
        clusters: The case of each unit.
        rng: Generator of the bootstrap.
        weights: `nominal`, or `linear` or `quadratic` for an ordered scale.
        categories: The scale in its order; needed for weights.
        confidence: E.g. 0.95.
        resamples: Bootstrap samples.

    Raises:
        ValueError: Weights without a scale, or inputs that do not fit each other.
    """
    if weights != "nominal" and categories is None:
        raise ValueError("weights need `categories`, the whole scale in its order")
    ratings = Ratings.of(list(zip(first, second, strict=True)), categories)
    name = "Cohen's kappa" if weights == "nominal" else f"Cohen's kappa, {weights} weights"
    codes = ratings.codes.reshape(-1, 2)
    both = np.asarray((codes >= 0).all(axis=1))
    kept, codes = subset(clusters, both), codes[both]
    q = len(ratings.categories)
    credit = weight_matrix(q, weights)
    left, right = np.eye(q)[codes[:, 0]], np.eye(q)[codes[:, 1]]
    parts = np.concatenate([np.ones((len(codes), 1)), credit[codes[:, 0], codes[:, 1]][:, None], left, right], axis=1)

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        n = sums[..., 0]
        expected = np.einsum("...i,ij,...j->...", sums[..., 2 : 2 + q], credit, sums[..., 2 + q :]) / n**2
        return _beyond(sums[..., 1] / n, expected)

    return estimate(
        name, parts, of, kept, rng, raters=ratings.raters, flaw=ratings.flaw(), confidence=confidence,
        resamples=resamples,
    )  # fmt: skip


def fleiss_kappa(
    table: Table,
    clusters: Clusters,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
) -> Agreement:
    """Fleiss' kappa: raters are exchangeable, so pairs may change from unit to unit.

    Units that one rater rated enter the shares of the categories only. Scott's pi for two raters.

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
    parts, kept = shares(ratings, clusters, np.eye(len(ratings.categories)))

    def of(sums: NDArray[np.float64]) -> NDArray[np.float64]:
        share = sums[..., 3:] / sums[..., 2:3]
        return _beyond(sums[..., 1] / sums[..., 0], (share**2).sum(axis=-1))

    return estimate(
        "Fleiss' kappa", parts, of, kept, rng, raters=ratings.raters, flaw=ratings.flaw(), confidence=confidence,
        resamples=resamples,
    )  # fmt: skip


def shares(ratings: Ratings, clusters: Clusters, credit: NDArray[np.float64]) -> tuple[NDArray[np.float64], Clusters]:
    """Additive numbers of each rated unit for coefficients of exchangeable raters.

    Columns: 1 where two or more rated, their credited agreement, 1, then the share of each category within the unit
    (Gwet 2014).
    """
    counts = ratings.counts
    m = counts.sum(axis=1)
    kept = subset(clusters, m >= 1)
    counts, m = counts[m >= 1], m[m >= 1]
    several = m >= 2
    pairs = np.where(several, m * (m - 1), 1.0)
    agreeing = (counts * (counts @ credit - 1)).sum(axis=1) / pairs
    columns = [several.astype(float), np.where(several, agreeing, 0.0), np.ones(len(m))]
    return np.concatenate([np.stack(columns, axis=1), counts / m[:, None]], axis=1), kept


def _beyond(observed: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Agreement beyond chance; NaN where chance alone gives all of it."""
    room = 1 - expected
    return np.where(room > 1e-12, (observed - expected) / np.where(room > 1e-12, room, 1.0), np.nan)
