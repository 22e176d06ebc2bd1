"""Artefacts that hide levels: starved bands in CT, an object over a radiograph, a void in MR.

Convention: what is hidden is a range of world z, given in mm; the artefact is drawn from the generator that is passed
and leaves masks alone, so that the truth stays what it is and only the image cannot show it.

The trap: an artefact does not end sharply. Levels beside the hidden ones are dimmed at their borders too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.phantom.imaging.filters import gaussian_weights

__all__ = ["band_weight", "starve_band", "void_band"]

Array = NDArray[np.float64]


def band_weight(z_mm: Array, low_mm: float, high_mm: float, edge_mm: float = 4.0) -> Array:
    """1 inside a range of z, falling to 0 over `edge_mm` beyond it."""
    outside = np.maximum(np.maximum(low_mm - z_mm, z_mm - high_mm), 0.0)
    return np.asarray(np.clip(1.0 - outside / edge_mm, 0.0, 1.0))


def _world(affine: Array, shape: tuple[int, ...], row: int) -> Array:
    i, j, k = (np.arange(n, dtype=np.float64) for n in shape)
    return np.asarray(
        affine[row, 0] * i[:, None, None]
        + affine[row, 1] * j[None, :, None]
        + affine[row, 2] * k[None, None, :]
        + affine[row, 3]
    )


def _smooth_along(noise: NDArray[np.float32], axis: int, cells: float) -> NDArray[np.float32]:
    from scipy.ndimage import correlate1d

    weights = gaussian_weights(cells)
    return np.asarray(correlate1d(noise, weights / np.sqrt((weights**2).sum()), axis=axis, mode="wrap"))


def starve_band(
    hu: NDArray[np.int16], affine: Array, z_range_mm: tuple[float, float], rng: np.random.Generator
) -> NDArray[np.int16]:
    """CT with a band in which too few photons came through: dark and bright lines from side to side, edges lost."""
    weight = band_weight(_world(affine, hu.shape, 2), *z_range_mm).astype(np.float32)
    axis = int(np.argmax(np.abs(affine[0, :3])))
    noise = rng.standard_normal(hu.shape, dtype=np.float32)
    noise = _smooth_along(noise, axis, 30.0) * 420.0
    flat = _smooth_along(hu.astype(np.float32), axis, 8.0)
    flat *= float(gaussian_weights(8.0).sum() / np.sqrt((gaussian_weights(8.0) ** 2).sum())) ** -1
    mixed = hu * (1 - weight) + (0.75 * flat + 0.25 * hu + noise) * weight
    whole: NDArray[np.int16] = np.rint(np.clip(mixed, -1024, 3071)).astype(np.int16)
    return whole


def void_band(
    signal: NDArray[np.float32], affine: Array, centre_mm: Array, radius_mm: float, rng: np.random.Generator
) -> None:
    """MR with the void of a metal object: dark inside, a bright and displaced rim, in place."""
    squared = np.zeros(signal.shape)
    for row in range(3):
        squared = squared + ((_world(affine, signal.shape, row) - centre_mm[row]) * (0.6 if row == 1 else 1.0)) ** 2
    ripple = 1.0 + 0.12 * np.sin(rng.uniform(0, 6.28) + _world(affine, signal.shape, 1) / 9.0)
    distance = np.sqrt(squared) / (radius_mm * ripple)
    rim = np.exp(-(((distance - 1.02) / 0.07) ** 2))
    signal *= np.clip((distance - 0.93) / 0.1, 0.0, 1.0).astype(np.float32)
    signal += (rim * 0.8 * float(np.percentile(signal, 98))).astype(np.float32)
