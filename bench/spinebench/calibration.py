"""Calibration error with adaptive bins: how far stated confidence is from the share of right answers.

Convention: answers are sorted by confidence and cut into bins of equal numbers; the error is the mean over bins,
weighted by their answers, of |mean confidence - share right|. Answers of equal confidence are never parted, so bins may
differ in size (Nguyen and O'Connor 2015; Nixon et al. 2019, arXiv 1904.01685).

Degenerate cases: no answer with a confidence gives None and no bins; one distinct confidence gives one bin; fewer
answers than bins give a bin each.

Trap: with few answers per bin chance alone makes an error: at 20 right-or-wrong answers a bin is off by about 0.09.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["CalibrationBin", "calibration_bins", "calibration_error"]


@dataclass(frozen=True)
class CalibrationBin:
    """Answers of like confidence."""

    n: int
    confidence: float
    """Mean stated confidence."""
    correct: float
    """Share of right answers."""


def calibration_bins(correct: ArrayLike, confidence: ArrayLike, *, bins: int = 10) -> list[CalibrationBin]:
    """Bins of about equal numbers of answers, least confident first.

    Args:
        correct: Right or not, shape (n,).
        confidence: From 0 to 1, NaN where none was stated, shape (n,).
        bins: How many at most.

    Raises:
        ValueError: Shapes differ, or fewer than one bin.
    """
    right, sure = np.asarray(correct, np.float64), np.asarray(confidence, np.float64)
    if right.shape != sure.shape or bins < 1:
        raise ValueError("calibration needs one confidence per answer and at least one bin")
    stated = ~np.isnan(sure)
    order = np.argsort(sure[stated], kind="stable")
    sure, right = sure[stated][order], right[stated][order]
    if sure.size == 0:
        return []
    wanted = np.linspace(0, sure.size, min(bins, sure.size) + 1).round().astype(int)[1:-1]
    # A cut inside a run of equal confidences moves to the run's start.
    cuts = np.unique(np.searchsorted(sure, sure[wanted], side="left")) if wanted.size else np.empty(0, int)
    edges = [0, *(int(cut) for cut in cuts if cut > 0), sure.size]
    return [
        CalibrationBin(stop - start, float(sure[start:stop].mean()), float(right[start:stop].mean()))
        for start, stop in pairwise(edges)
        if stop > start
    ]


def calibration_error(correct: ArrayLike, confidence: ArrayLike, *, bins: int = 10) -> float | None:
    """Weighted mean gap between confidence and share right over adaptive bins; None without a stated confidence."""
    found = calibration_bins(correct, confidence, bins=bins)
    total = sum(one.n for one in found)
    return sum(one.n * abs(one.confidence - one.correct) for one in found) / total if total else None
