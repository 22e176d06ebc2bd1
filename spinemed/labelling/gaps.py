"""What the distances in a row of detections say: was a vertebra missed between two, is one of them none.

Convention: body centres in world millimetres, from head to foot; weights are natural logarithms, as
:func:`spinemed.labelling.assignment.assign_levels` takes them.

The trap: the usual distance is read from the row itself. A row of two or three tells nothing, and one in which every
other vertebra was missed would look sound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from spinemed.labelling.assignment import Kind

__all__ = ["gap_weights"]

_MISSED = 0.003  # how often a vertebra is missed; on 44 phantoms none was
_LEAST = 1e-8  # smallest weight


def gap_weights(
    centres_mm: np.ndarray,
    kinds: Sequence[Mapping[Kind, float]] = (),
    *,
    sure: Sequence[bool] | np.ndarray = (),
    spread: float = 0.14,
    error_mm: float = 2.0,
    missed: float = _MISSED,
    stray: float = 0.005,
) -> np.ndarray:
    """Log-weights for 0, 1, 2 or 3 vertebrae missed between any two detections, those between them being false.

    A gap with k missed vertebrae is expected to be (k + 1) times the usual one there; it is normally distributed around
    that, save for a small share of any width above half. The usual one is the mean of two medians, of up to three gaps
    above and below: gaps grow from head to foot, so that one side alone would be off by a third at the ends of a long
    row. Between C1 and C2 nothing can be missed, however far apart they are.

    Weights are densities times the usual gap, to be set against a false detection, which lies anywhere: two gaps half
    as wide as usual speak for one vertebra between them that is none.

    Args:
        centres_mm: (n, 3), head to foot.
        kinds: What was seen of each detection; empty where that is not known.
        sure: Which detections are vertebrae without doubt: the usual gap is read from them. All when empty.
        spread: Standard deviation of a gap relative to its expectation.
        error_mm: Standard deviation that the error of the centres adds.
        missed: How often a vertebra is missed, before looking at the distance.
        stray: Share of gaps of any width from 0.6 to 4 times the usual one.

    Returns:
        (n, n, 4); of use above the diagonal, [i, j] with i < j.
    """
    n = len(centres_mm)
    certain = np.asarray(sure, dtype=bool) if len(sure) else np.ones(n, dtype=bool)
    atlas = [bool(kinds) and _is(kinds[at], Kind.C1) and _is(kinds[at + 1], Kind.C2) for at in range(n - 1)]
    out = np.full((n, n, 4), np.log(_LEAST))
    steps = np.arange(1, 5)
    above = [_usual(centres_mm, certain, atlas, range(i + 1))[-3:] for i in range(n)]
    below = [_usual(centres_mm, certain, atlas, range(j, n))[:3] for j in range(n)]
    for i in range(n):
        for j in range(i + 1, n):
            gap = float(np.linalg.norm(centres_mm[j] - centres_mm[i]))
            sides = [side for side in (above[i], below[j]) if side]
            usual = max(float(np.mean([np.median(side) for side in sides])) if sides else gap, 1.0)
            deviation = np.hypot(spread * steps * usual, error_mm)
            density = np.exp(-0.5 * ((gap - steps * usual) / deviation) ** 2) / (np.sqrt(2 * np.pi) * deviation)
            wild = stray / 4 if gap > 0.6 * usual else 0.0
            weights = ((1 - stray) * density * usual + wild) * missed ** (steps - 1.0)
            if j == i + 1 and atlas[i]:
                weights = np.array([1.0, 0.0, 0.0, 0.0]) * usual / (np.sqrt(2 * np.pi) * deviation[0])
            out[i, j] = np.log(np.maximum(weights, _LEAST))
    return out


def _is(kinds: Mapping[Kind, float], kind: Kind) -> bool:
    return kinds.get(kind, 0.0) > 0.5


def _usual(centres_mm: np.ndarray, certain: np.ndarray, atlas: Sequence[bool], part: range) -> list[float]:
    """The gaps between neighbours of a part of the row, in order, without what is not certain and without C1 to C2."""
    kept = [at for at in part if certain[at] or at in (part[0], part[-1])]
    return [
        float(np.linalg.norm(centres_mm[j] - centres_mm[i])) for i, j in pairwise(kept) if not (j == i + 1 and atlas[i])
    ]
