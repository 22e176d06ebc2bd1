"""What a benchmark of a size can see: design effect, effective number of questions, smallest detectable gap.

Convention: gaps and shares lie in [0, 1]. The design effect is the variance of a mean over clustered questions divided
by that over as many independent ones; n divided by it is the effective number of questions.

Formulas:

- design effect from the intra-cluster correlation: 1 + (m - 1) icc, with m = sum of m_i^2 / sum of m_i where clusters
  differ in size (Kish 1965; Donner and Klar 2000, section 5)
- design effect from answers: linearised variance of the ratio estimator over p (1 - p) / n
- paired gap g at a share d of discordant questions: n = (z_a sqrt(d) + z_b sqrt(d - g^2))^2 / g^2 (Connor 1987, doi
  10.2307/2531961), solved for g; g cannot exceed d
- unpaired gap: (z_a + z_b) sqrt(2 p (1 - p) / n), both systems near p

Degenerate cases: no question, or a gap that would have to exceed what is possible (d, or 1), gives None; all answers
right or all wrong gives a design effect of None, since nothing varies.

Trap: a gap that cannot be seen is not a gap that is not there.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spinemed.statistics.clusters import Clusters

__all__ = ["PowerRow", "design_effect", "kish_design_effect", "paired_gap", "power_table", "unpaired_gap"]

DISCORDANT = (0.1, 0.2, 0.3)
"""Shares of questions on which exactly one of two systems is right, as in the published power figures."""


def kish_design_effect(clusters: Clusters, icc: float) -> float:
    """Design effect of a grouping at an intra-cluster correlation.

    Raises:
        ValueError: No question, or a correlation outside 0 to 1.
    """
    if clusters.size == 0 or not 0 <= icc <= 1:
        raise ValueError(f"{clusters.size} questions and a correlation of {icc} have no design effect")
    sizes = clusters.sizes.astype(np.float64)
    return float(1 + ((sizes**2).sum() / sizes.sum() - 1) * icc)


def design_effect(values: ArrayLike, clusters: Clusters) -> float | None:
    """Design effect of 0/1 answers; None where all are alike or there are fewer than two clusters.

    Raises:
        ValueError: Not one value of 0 or 1 per question.
    """
    array = clusters.checked(values)
    if not np.isin(array, (0.0, 1.0)).all():
        raise ValueError("a design effect is taken of 0/1 answers")
    count, n = clusters.count, clusters.size
    share = float(array.mean()) if n else 0.0
    if count < 2 or share in (0.0, 1.0):
        return None
    residual = clusters.sums(array) - share * clusters.sizes
    variance = count / (count - 1) * float((residual**2).sum()) / n**2
    return variance / (share * (1 - share) / n)


def _quantiles(power: float, alpha: float) -> tuple[float, float]:
    from scipy.stats import norm

    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError(f"power {power} and alpha {alpha} must lie between 0 and 1")
    return float(norm.ppf(1 - alpha / 2)), float(norm.ppf(power))


def paired_gap(n: float, discordant: float, *, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """Smallest difference that a paired comparison of n (effective) questions sees.

    Args:
        n: Questions, after division by the design effect.
        discordant: Share of questions on which exactly one of the two is right, in (0, 1].
        power: Chance to see it.
        alpha: Two-sided level of the test.

    Raises:
        ValueError: `discordant`, `power` or `alpha` outside of their range.
    """
    if not 0 < discordant <= 1:
        raise ValueError(f"a share of {discordant} discordant questions is impossible")
    first, second = _quantiles(power, alpha)
    if n <= 0:
        return None

    def needed(gap: float) -> float:
        return (first * math.sqrt(discordant) + second * math.sqrt(max(0.0, discordant - gap**2))) ** 2 / gap**2

    low, high = 1e-9, min(discordant, math.sqrt(discordant))
    if needed(high) > n:
        return None
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if needed(middle) > n else (low, middle)
    return high


def unpaired_gap(n: float, share: float, *, power: float = 0.8, alpha: float = 0.05) -> float | None:
    """Smallest difference that two separate samples of n (effective) questions each see, both systems near `share`.

    Raises:
        ValueError: `share`, `power` or `alpha` outside of their range.
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of {share} has no spread")
    first, second = _quantiles(power, alpha)
    gap = (first + second) * math.sqrt(2 * share * (1 - share) / n) if n > 0 else math.inf
    return gap if gap <= 1 else None


@dataclass(frozen=True)
class PowerRow:
    """With n questions of k clusters one sees a gap of this size."""

    n: int
    clusters: int
    design_effect: float
    effective_n: float
    discordant: float
    paired_gap: float | None
    unpaired_gap: float | None
    """For two systems near `share`, each on questions of its own."""
    share: float
    power: float
    alpha: float

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def power_table(
    n: int,
    clusters: int,
    effect: float,
    *,
    share: float = 0.7,
    discordant: tuple[float, ...] = DISCORDANT,
    power: float = 0.8,
    alpha: float = 0.05,
) -> list[PowerRow]:
    """One row for each share of discordant questions.

    Args:
        n: Questions.
        clusters: Patients or phantoms they come from.
        effect: Design effect, e.g. from `design_effect` of a real answerer; below 1 is taken as it is.
        share: Share of right answers of both systems, for the unpaired gap.
        discordant: Shares of questions on which exactly one of two systems is right.
        power, alpha: Of the test.

    Raises:
        ValueError: A design effect that is not above 0, or a number outside of its range.
    """
    if effect <= 0:
        raise ValueError(f"a design effect of {effect} is impossible")
    effective = n / effect
    unpaired = unpaired_gap(effective, share, power=power, alpha=alpha)
    fixed: dict[str, Any] = {
        "n": n,
        "clusters": clusters,
        "design_effect": effect,
        "effective_n": effective,
        "share": share,
    }
    return [
        PowerRow(
            **fixed,
            discordant=part,
            paired_gap=paired_gap(effective, part, power=power, alpha=alpha),
            unpaired_gap=unpaired,
            power=power,
            alpha=alpha,
        )
        for part in discordant
    ]
