"""Compiled image filters of a scanner: separable Gaussian blur, and streaks from metal.

Convention: float32 arrays (I, J, K), changed in place. At the border the edge voxel is repeated.

The trap: blurring also shrinks noise; `blur_gain` says by how much, so that a stated noise is the noise after it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import njit

__all__ = ["add_streaks", "blur", "blur_gain", "gaussian_weights"]

Array = NDArray[np.float64]


def gaussian_weights(sigma_cells: float) -> NDArray[np.float32]:
    """Odd number of weights of a sampled Gaussian, sum 1; one weight for (nearly) no blur."""
    if sigma_cells < 0.15:
        return np.ones(1, dtype=np.float32)
    radius = max(1, math.ceil(2.6 * sigma_cells))
    line = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_cells) ** 2)
    weights: NDArray[np.float32] = (line / line.sum()).astype(np.float32)
    return weights


def _axis_weights(shape: Sequence[int], spacing_mm: Sequence[float], sigma_mm: float) -> list[NDArray[np.float32]]:
    return [
        gaussian_weights(sigma_mm / size) if n > 1 else np.ones(1, dtype=np.float32)
        for n, size in zip(shape, spacing_mm, strict=True)
    ]


def blur_gain(shape: Sequence[int], spacing_mm: Sequence[float], sigma_mm: float) -> float:
    """Standard deviation of white noise after `blur`, as a share of that before."""
    gain = 1.0
    for weights in _axis_weights(shape, spacing_mm, sigma_mm):
        gain *= float(np.sqrt((weights.astype(np.float64) ** 2).sum()))
    return gain


def blur(value: NDArray[np.float32], spacing_mm: Sequence[float], sigma_mm: float) -> None:
    """Blur in place with a Gaussian of `sigma_mm` along every axis longer than one voxel."""
    for axis, weights in enumerate(_axis_weights(value.shape, spacing_mm, sigma_mm)):
        if len(weights) > 1:
            _blur_axis(value, weights, axis)


Numbers = NDArray[Any]


@njit(cache=True)
def _blur_axis(value: Numbers, weights: Numbers, axis: int) -> None:
    ni, nj, nk = value.shape
    r = weights.shape[0] // 2
    if axis == 2:
        line = np.empty(nk + 2 * r, dtype=np.float32)
        for i in range(ni):
            for j in range(nj):
                for k in range(r):
                    line[k] = value[i, j, 0]
                    line[nk + r + k] = value[i, j, nk - 1]
                for k in range(nk):
                    line[k + r] = value[i, j, k]
                for k in range(nk):
                    value[i, j, k] = weights[r] * line[k + r]
                for t in range(1, r + 1):
                    w = weights[r + t]
                    for k in range(nk):
                        value[i, j, k] += w * (line[k + r - t] + line[k + r + t])
        return
    n = ni if axis == 0 else nj
    other = nj if axis == 0 else ni
    plane = np.empty((n + 2 * r, nk), dtype=np.float32)
    for o in range(other):
        for a in range(n + 2 * r):
            b = min(max(a - r, 0), n - 1)
            for k in range(nk):
                plane[a, k] = value[b, o, k] if axis == 0 else value[o, b, k]
        for a in range(n):
            row = value[a, o] if axis == 0 else value[o, a]
            for k in range(nk):
                row[k] = weights[r] * plane[a + r, k]
            for t in range(1, r + 1):
                w = weights[r + t]
                low, high = plane[a + r - t], plane[a + r + t]
                for k in range(nk):
                    row[k] += w * (low[k] + high[k])


@njit(cache=True)
def add_streaks(value: Numbers, world: Numbers, sources: Numbers, phases: Numbers, strength: float) -> None:
    """Dark and bright rays from metal in each transverse plane.

    `world` (3, 4) voxel to world; `sources` (N, 4): world x, y, z and half height of each piece of metal; `phases`
    (N, 3): random angles. Rays fall off with the distance in the plane and stop above and below the metal.
    """
    ni, nj, nk = value.shape
    for n in range(sources.shape[0]):
        for i in range(ni):
            for j in range(nj):
                for k in range(nk):
                    dz = world[2, 0] * i + world[2, 1] * j + world[2, 2] * k + world[2, 3] - sources[n, 2]
                    if abs(dz) > sources[n, 3] + 2.0:
                        continue
                    dx = world[0, 0] * i + world[0, 1] * j + world[0, 2] * k + world[0, 3] - sources[n, 0]
                    dy = world[1, 0] * i + world[1, 1] * j + world[1, 2] * k + world[1, 3] - sources[n, 1]
                    r = math.sqrt(dx * dx + dy * dy)
                    if r < 2.0 or r > 130.0:
                        continue
                    a = math.atan2(dy, dx)
                    ray = math.cos(9.0 * a + phases[n, 0]) * math.cos(4.0 * a + phases[n, 1]) + 0.6 * math.cos(
                        23.0 * a + phases[n, 2]
                    )
                    edge = min(1.0, (sources[n, 3] + 2.0 - abs(dz)) / 2.0)
                    value[i, j, k] += strength * edge * ray * 8.0 / (r + 8.0)
