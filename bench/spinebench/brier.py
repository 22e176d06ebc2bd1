"""Brier score: mean squared distance between stated confidence and being right.

Convention: over the answers that state a confidence; `n` stands beside the value. 0 is best, 0.25 is what "50 %" always
earns, 1 is certain and always wrong (Brier 1950, doi 10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2).

Degenerate cases: no answer with a confidence gives None.

Trap: a model that states its confidence only where it is sure scores well; read the share of answers that state one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["brier_score"]


def brier_score(correct: ArrayLike, confidence: ArrayLike) -> float | None:
    """Mean of (confidence - right)^2.

    Args:
        correct: Right or not, shape (n,).
        confidence: From 0 to 1, NaN where none was stated, shape (n,).

    Raises:
        ValueError: Shapes differ, or a confidence outside 0 to 1.
    """
    right, sure = np.asarray(correct, np.float64), np.asarray(confidence, np.float64)
    if right.shape != sure.shape:
        raise ValueError("correct and confidence need one value per question")
    stated = ~np.isnan(sure)
    if ((sure[stated] < 0) | (sure[stated] > 1)).any():
        raise ValueError("a confidence lies between 0 and 1")
    return float(((sure[stated] - right[stated]) ** 2).mean()) if stated.any() else None
