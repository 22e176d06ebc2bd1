"""Sampling of planes stacked along a curve, compiled.

Convention: a plane is a place (its middle) and two steps, all in voxels of the volume; sample (i, j) lies at
`place + (i - middle[0]) * steps[0] + (j - middle[1]) * steps[1]`.

Trap: nearest means floor(x + 1/2), and whatever lies outside 0 … n - 1, by however little, is outside: so SciPy's
`map_coordinates` reads with a constant border, which the published results of HealthiVert-GAN were made with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import njit

__all__ = ["sample_labels", "sample_values"]


@njit(cache=True, nogil=True)
def sample_labels(
    volume: NDArray[np.uint8],
    places: NDArray[np.float64],
    steps: NDArray[np.float64],
    middle: NDArray[np.float64],
    shape: tuple[int, int],
) -> NDArray[np.uint8]:
    """(N, *shape) labels of the nearest voxel, 0 outside.

    Args:
        volume: (I, J, K).
        places: (N, 3) Middle of each plane, in voxels.
        steps: (N, 2, 3) Steps along a plane's two axes, in voxels.
        middle: (2,) Index that lies on the middle.
        shape: Samples along a plane's two axes.
    """
    last = (volume.shape[0] - 1, volume.shape[1] - 1, volume.shape[2] - 1)
    out = np.zeros((len(places), shape[0], shape[1]), np.uint8)
    for n in range(len(places)):
        for i in range(shape[0]):
            for j in range(shape[1]):
                a, b = i - middle[0], j - middle[1]
                x = b * steps[n, 1, 0] + a * steps[n, 0, 0] + places[n, 0]
                if x < 0 or x > last[0]:
                    continue
                y = b * steps[n, 1, 1] + a * steps[n, 0, 1] + places[n, 1]
                if y < 0 or y > last[1]:
                    continue
                z = b * steps[n, 1, 2] + a * steps[n, 0, 2] + places[n, 2]
                if z < 0 or z > last[2]:
                    continue
                out[n, i, j] = volume[int(np.floor(x + 0.5)), int(np.floor(y + 0.5)), int(np.floor(z + 0.5))]
    return out


@njit(cache=True, nogil=True)
def sample_values(
    volume: NDArray[np.float32],
    places: NDArray[np.float64],
    steps: NDArray[np.float64],
    middle: NDArray[np.float64],
    shape: tuple[int, int],
    fill: float,
) -> NDArray[np.float32]:
    """(N, *shape) trilinear values, `fill` outside. Other arguments as :func:`sample_labels`."""
    sizes = volume.shape
    out = np.full((len(places), shape[0], shape[1]), fill, np.float32)
    low = np.empty(3, np.int64)
    share = np.empty(3)
    for n in range(len(places)):
        for i in range(shape[0]):
            for j in range(shape[1]):
                a, b = i - middle[0], j - middle[1]
                inside = True
                for axis in range(3):
                    at = b * steps[n, 1, axis] + a * steps[n, 0, axis] + places[n, axis]
                    if at < 0 or at > sizes[axis] - 1:
                        inside = False
                        break
                    low[axis] = min(int(np.floor(at)), max(sizes[axis] - 2, 0))
                    share[axis] = at - low[axis]
                if not inside:
                    continue
                total = 0.0
                for c in range(8):
                    weight, x, y, z = 1.0, low[0], low[1], low[2]
                    if c & 1:
                        weight *= share[0]
                        x += 1
                    else:
                        weight *= 1 - share[0]
                    if c & 2:
                        weight *= share[1]
                        y += 1
                    else:
                        weight *= 1 - share[1]
                    if c & 4:
                        weight *= share[2]
                        z += 1
                    else:
                        weight *= 1 - share[2]
                    if weight != 0.0:
                        total += weight * volume[x, y, z]
                out[n, i, j] = total
    return out
