"""A CT on the networks' own grids: isotropic, RAS+, cut into windows; and the way back onto the CT's grid.

Convention: world points are RAS+ mm; a window is given by its number of voxels, and what lies outside the CT is air.

The trap: an oblique CT keeps its directions: RAS+ here means "to the nearest axes", so use the affine, never the codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from spinemed.geometry import WorldPoints, resample_to_spacing, world_to_voxel
from spinemed.labelling.networks import normalise
from spinemed.volume import Volume, reorient_volume

__all__ = ["AIR_HU", "Grid", "box_on", "canonical", "canonical_grids", "crop_around", "hint_map"]

AIR_HU = -1000.0


class Grid(NamedTuple):
    """A CT on a network's grid.

    Attributes:
        hu: float32, RAS+.
        affine: 4x4.
    """

    hu: np.ndarray
    affine: np.ndarray


def canonical(volume: Volume, spacing_mm: float) -> Grid:
    """CT → (array, affine) in RAS+ at an isotropic spacing, smoothed first where voxels grow by more than half.

    Returns:
        float32 HU and the 4x4 affine. An oblique grid keeps its directions: RAS+ to the nearest axes.
    """
    from scipy.ndimage import gaussian_filter

    turned = reorient_volume(volume, "RAS")
    data = np.asarray(turned.data, dtype=np.float32)
    # A Gaussian of half the ratio less one half voxel keeps what the new grid can carry.
    sigma = [max(0.0, 0.5 * spacing_mm / old - 0.5) for old in turned.spacing_mm]
    if max(sigma) > 0.25:
        data = gaussian_filter(data, sigma, mode="nearest")
    out, affine = resample_to_spacing(data, turned.affine, spacing_mm, order=1, fill=AIR_HU)
    return Grid(out, affine)


def canonical_grids(volume: Volume, spacings_mm: Sequence[float]) -> list[Grid]:
    """The CT at several spacings, in their order. All but the finest are made from the finest, which is much faster."""
    finest = canonical(volume, min(spacings_mm))
    small = Volume(finest.hu, finest.affine, volume.unit, volume.source)
    return [finest if spacing == min(spacings_mm) else canonical(small, spacing) for spacing in spacings_mm]


def hint_map(shape: Sequence[int] | np.ndarray, centre_vox: np.ndarray, sigma_vox: float) -> np.ndarray:
    """A bump of height 1 at a voxel position. float32 of the given shape."""
    axes = [
        np.exp(-0.5 * ((np.arange(n, dtype=np.float32) - c) / sigma_vox) ** 2)
        for n, c in zip(shape, centre_vox, strict=True)
    ]
    weight: np.ndarray = (axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]).astype(np.float32)
    return weight


def crop_around(
    grid: np.ndarray, centre_vox: np.ndarray, window: Sequence[int] | np.ndarray, back_vox: float
) -> tuple[np.ndarray, np.ndarray]:
    """A window whose middle lies `back_vox` behind a centre, padded with air; and its first voxel's index."""
    middle = np.asarray(centre_vox, dtype=np.float64) - [0.0, back_vox, 0.0]
    start = np.round(middle - (np.asarray(window) - 1) / 2).astype(int)
    out = np.full(tuple(window), normalise(np.array(AIR_HU)), dtype=np.float32)
    low, high = np.maximum(start, 0), np.minimum(start + window, grid.shape)
    if (high > low).all():
        inner = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, start, strict=True))
        out[inner] = grid[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return out, start


def box_on(image: Volume, affine: np.ndarray, window: Sequence[int]) -> tuple[slice, slice, slice] | None:
    """The part of the image's grid that a window covers; None where it lies outside."""
    corners = np.array([[i, j, k] for i in (0, window[0] - 1) for j in (0, window[1] - 1) for k in (0, window[2] - 1)])
    world = corners @ affine[:3, :3].T + affine[:3, 3]
    inside = world_to_voxel(WorldPoints(world), image.affine).values
    low = np.maximum(np.floor(inside.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(inside.max(axis=0)).astype(int) + 1, image.shape)
    if (high <= low).any():
        return None
    a, b, c = (slice(int(x), int(y)) for x, y in zip(low, high, strict=True))
    return a, b, c
