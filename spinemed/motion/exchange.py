"""Labels that two markers of one body exchange in some frames: found by distances within the body, and put back.

Convention: points in mm [T, K, 3]; the table says which of two markers lies farther from a third of the same body; a
frame that says the opposite, as clearly, is exchanged. Only pairs that do so in some frames and not in others are put
back; a pair that is exchanged throughout is a matter of names, which the fit flags (`sides_exchanged`).

The trap: two markers that lie equally far from all others of their body cannot be told apart this way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.checks import Flag
from spinemed.motion.model import MarkerSet

__all__ = ["mend_exchanges"]

_LEAST_MM = 15.0
"""By how much the table's two distances must differ to tell the markers apart."""
_CLEAR = 0.25
"""Share of the table's difference from which a frame says clearly which is which."""
_CLEAR_SD = 4.0
"""By how many standard deviations (of one distance over time) the two distances must differ."""


def mend_exchanges(points_mm: NDArray[np.float64], markers: MarkerSet) -> tuple[NDArray[np.float64], list[Flag]]:
    """Points [T, K, 3] with exchanged labels put back, and a flag "labels_exchanged" for each pair.

    A pair is put back only where at least nine in ten of the frames that show it say clearly which is which, and where
    the exchange makes the distances those of the other frames.
    """
    points = np.array(points_mm, dtype=np.float64)
    flags = []
    for a, b, third in _pairs(markers):
        expected = _difference(markers.local_mm[None], a, b, third)[0]
        found = _difference(points, a, b, third)
        shown = np.isfinite(found)
        with np.errstate(invalid="ignore"):
            right, wrong = found / expected > _CLEAR, found / expected < -_CLEAR
        if not wrong.any() or not right.any() or (right | wrong).sum() < 0.9 * shown.sum():
            continue
        rows = _fitting(points, a, b, third, right, wrong)
        if not len(rows):
            continue
        points[rows[:, None], [a, b]] = points[rows[:, None], [b, a]]
        names = (markers.names[a], markers.names[b])
        flags.append(
            Flag("labels_exchanged", f"{names[0]} and {names[1]} had each other's label in {len(rows)} frames", names)
        )
    return points, flags


def _fitting(
    points: NDArray[np.float64], a: int, b: int, third: int, right: NDArray[np.bool_], wrong: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Frames among `wrong` whose two distances, exchanged, are those of the frames that are right."""
    far = np.linalg.norm(points[:, [a, b]] - points[:, third, None], axis=-1)
    usual = np.median(far[right], axis=0)
    spread = max(2.0, 1.4826 * float(np.median(np.abs(far[right] - usual))))
    if abs(usual[0] - usual[1]) < _CLEAR_SD * spread:
        return np.zeros(0, dtype=np.int64)
    misfit, exchanged = np.abs(far - usual).sum(axis=1), np.abs(far[:, ::-1] - usual).sum(axis=1)
    return np.flatnonzero(wrong & (exchanged < 0.5 * misfit))


def _pairs(markers: MarkerSet) -> list[tuple[int, int, int]]:
    """Pairs of each body with the third marker that tells them apart best, the clearest pairs first."""
    found = []
    for body in np.unique(markers.body):
        own = np.flatnonzero(markers.body == body).tolist()
        for i, a in enumerate(own):
            for b in own[i + 1 :]:
                thirds = [
                    (abs(float(_difference(markers.local_mm[None], a, b, c)[0])), c) for c in own if c not in (a, b)
                ]
                if thirds and max(thirds)[0] >= _LEAST_MM:
                    found.append((*max(thirds), a, b))
    return [(a, b, third) for _, third, a, b in sorted(found, reverse=True)]


def _difference(points: NDArray[np.float64], a: int, b: int, third: int) -> NDArray[np.float64]:
    """[T] by how much `a` lies farther from the third than `b`."""
    near = np.linalg.norm(points[:, a] - points[:, third], axis=-1)
    return np.asarray(near - np.linalg.norm(points[:, b] - points[:, third], axis=-1))
