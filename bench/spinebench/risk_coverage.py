"""Risk against coverage: how wrong a model is on the questions it is most sure of.

Convention: answers are sorted by falling confidence; coverage is the share of all questions answered so far, risk the
share of wrong ones among them. Answers of equal confidence enter together, so the order of the file changes nothing.
An abstention ("not determinable" where it is not the truth) or a reply that gave no answer covers nothing. A missing
confidence is the lowest one: such answers enter last, together.

Degenerate cases: no question, or none answered, gives an empty curve and no area; without any confidence the curve is
the single point of all answers.

Trap: a model that answers little has a short curve; compare at the same coverage, and print the coverage reached.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["RiskCoverage", "accuracy_at_coverage", "risk_coverage"]


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The curve, one point for each distinct confidence, most confident first."""

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    threshold: NDArray[np.float64]
    """Lowest confidence among the covered answers; -inf where it is missing."""
    area: float | None
    """Mean risk over the coverage that is reached (trapezoid from the first point; 0 is best)."""

    @property
    def reached(self) -> float:
        """Largest coverage: the share of questions that were answered."""
        return float(self.coverage[-1]) if self.coverage.size else 0.0


def risk_coverage(correct: ArrayLike, answered: ArrayLike, confidence: ArrayLike) -> RiskCoverage:
    """The risk-coverage curve (El-Yaniv and Wiener 2010, JMLR 11:1605).

    Args:
        correct: Right or not, shape (n,).
        answered: Whether an answer was given, shape (n,).
        confidence: From 0 to 1, NaN where none was stated, shape (n,).

    Raises:
        ValueError: Shapes differ.
    """
    right, given, sure = np.asarray(correct, bool), np.asarray(answered, bool), np.asarray(confidence, np.float64)
    if not right.shape == given.shape == sure.shape or right.ndim != 1:
        raise ValueError("correct, answered and confidence need one value per question")
    score = np.where(np.isnan(sure), -np.inf, sure)[given]
    if score.size == 0:
        empty = np.empty(0)
        return RiskCoverage(empty, empty.copy(), empty.copy(), None)
    order = np.argsort(-score, kind="stable")
    score, wrong = score[order], ~right[given][order]
    last = np.append(np.flatnonzero(score[1:] != score[:-1]), score.size - 1)
    covered = last + 1
    coverage, risk = covered / right.size, np.cumsum(wrong)[last] / covered
    span = coverage[-1] - coverage[0]
    area = float(np.trapezoid(risk, coverage) / span) if span > 0 else float(risk[-1])
    return RiskCoverage(coverage, risk, score[last], area)


def accuracy_at_coverage(curve: RiskCoverage, coverage: float = 0.9) -> float | None:
    """Share of right answers among the most confident ones that cover at least this share of all questions.

    None where the model answered fewer questions than that, or none at all.

    Raises:
        ValueError: A coverage outside 0 to 1.
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"a coverage of {coverage} is impossible")
    enough = np.flatnonzero(curve.coverage >= coverage - 1e-12)
    return float(1 - curve.risk[enough[0]]) if enough.size else None
