"""Grids: resampling onto another spacing or another volume's voxels, and the centroids of labels.

Convention: see the package docstring. Both resamplers read a value by pulling back each target voxel centre; within
half a voxel of the source's border the border value holds, beyond that the fill value does.

Trap: the fill value. -1024 is right for CT and ruins a mask, so it has no default, and a value that the data type of a
mask cannot hold is refused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.geometry.affine import voxel_spacing

__all__ = ["label_centroids_mm", "resample_to_grid", "resample_to_spacing"]

Array = NDArray[np.float64]

# A target centre on the outer face of the border voxel (index -0.5) belongs to the source; rounding must not decide.
_FACE = 0.5 + 1e-6
_MOST_VOXELS = 1 << 31  # more is a wrong spacing, and would exhaust the memory


def resample_to_spacing(
    data: NDArray[Any],
    affine: ArrayLike,
    spacing_mm: float | Sequence[float],
    *,
    order: int,
    fill: float,
) -> tuple[NDArray[Any], Array]:
    """Resample onto the same axes with other voxel sizes; the centre of the field of view stays where it is.

    The new size is the old extent divided by the new spacing, rounded, at least 1. There is no smoothing before a
    coarser grid: for images reduced by more than two, smooth first.

    Args:
        data: (I, J, K) array.
        affine: Its voxel-to-world matrix.
        spacing_mm: One spacing for all axes, or three.
        order: 0 for masks (data type kept), 1 for images (float32, or float64 for float64 data).
        fill: Value outside the source.

    Returns:
        The resampled array and its affine, whose spacing is exactly `spacing_mm`.

    Raises:
        VolumeError: a spacing that is not positive, another order, or a fill value that the mask cannot hold.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    wanted = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    if not np.isfinite(wanted).all() or (wanted <= 0).any():
        raise VolumeError(f"the spacing {spacing_mm} is not positive", field="spacing_mm", cure="give millimetres > 0")
    factors = wanted / np.array(voxel_spacing(matrix))
    # Half up after clearing rounding noise: 16.499999999 and 16.5 must not give different sizes.
    shape = [max(1, int(np.floor(round(n / float(f), 6) + 0.5))) for n, f in zip(data.shape, factors, strict=True)]
    if math.prod(shape) > _MOST_VOXELS:
        raise VolumeError(
            f"the grid would have {' x '.join(map(str, shape))} voxels",
            field="spacing_mm",
            cure="give a larger spacing",
        )
    target = matrix.copy()
    target[:3, :3] = matrix[:3, :3] * factors
    old_centre = matrix[:3, :3] @ ((np.array(data.shape) - 1) / 2)
    target[:3, 3] += old_centre - target[:3, :3] @ ((np.array(shape) - 1) / 2)
    return resample_to_grid(data, matrix, shape, target, order=order, fill=fill), target


def resample_to_grid(
    data: NDArray[Any],
    affine: ArrayLike,
    shape: Sequence[int],
    target_affine: ArrayLike,
    *,
    order: int,
    fill: float,
) -> NDArray[Any]:
    """Resample onto another grid, given by shape and affine (e.g. those of the image a mask belongs to).

    Args:
        data: (I, J, K) array.
        affine: Its voxel-to-world matrix.
        shape: Three sizes of the target grid.
        target_affine: The target's voxel-to-world matrix.
        order: 0 nearest voxel (data type kept), 1 trilinear (float32, or float64 for float64 data).
        fill: Value where the target lies outside the source.

    Raises:
        VolumeError: another order, or a fill value that the data type cannot hold at order 0.
    """
    from scipy.ndimage import affine_transform

    if order not in (0, 1):
        raise VolumeError(f"interpolation order {order}", field="order", cure="use 0 for masks and 1 for images")
    if order == 0:
        kind: np.dtype[Any] = data.dtype
        if kind.kind in "biu" and not _holds(kind, fill):
            raise VolumeError(
                f"the fill value {fill:g} does not fit into a mask of type {kind}",
                field="fill",
                cure="use fill=0 (background) for masks",
            )
    else:
        kind = np.dtype(np.float64 if data.dtype == np.float64 else np.float32)
    pull = np.linalg.solve(np.asarray(affine, dtype=np.float64), np.asarray(target_affine, dtype=np.float64))
    result = np.empty(tuple(shape), dtype=kind)
    affine_transform(
        data.astype(np.uint8) if kind.kind == "b" else data,
        pull[:3, :3],
        pull[:3, 3],
        output_shape=tuple(shape),
        output=result.view(np.uint8) if kind.kind == "b" else result,
        order=order,
        mode="nearest",
        prefilter=False,
    )
    result[_outside(pull, shape, data.shape)] = fill
    return result


def _holds(kind: np.dtype[Any], value: float) -> bool:
    if kind.kind == "b":
        return value in (0, 1)
    limits = np.iinfo(kind)
    return float(value).is_integer() and limits.min <= value <= limits.max


def _outside(pull: Array, shape: Sequence[int], source: Sequence[int]) -> NDArray[np.bool_]:
    """True where a target voxel centre falls outside the source's voxels."""
    out = np.zeros(tuple(shape), dtype=bool)
    steps = np.ogrid[: shape[0], : shape[1], : shape[2]]
    for axis in range(3):
        index = pull[axis, 3] + sum(pull[axis, t] * steps[t] for t in range(3))
        out |= (index < -_FACE) | (index > source[axis] - 1 + _FACE)
    return out


def label_centroids_mm(
    mask: NDArray[Any], affine: ArrayLike, labels: Collection[int] | None = None
) -> dict[int, NDArray[np.float64]]:
    """Centre of mass of each label in world millimetres.

    The whole label is weighed: for a vertebra with its arch this lies about 10 mm behind the centre of the body.

    Args:
        mask: (I, J, K) integers; 0 is background.
        affine: Its voxel-to-world matrix.
        labels: Labels to measure; all that occur if not given.

    Returns:
        Label → array (3,) of right, anterior, superior in mm, in ascending order of labels. A label without a voxel
        is not in it.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    wanted = mask != 0 if labels is None else np.isin(mask, [label for label in labels if label != 0])
    where = np.nonzero(wanted)
    found, inverse = np.unique(mask[where], return_inverse=True)
    if not len(found):
        return {}
    counts = np.bincount(inverse)
    means = np.stack([np.bincount(inverse, weights=axis) / counts for axis in where], axis=1)
    world = means @ matrix[:3, :3].T + matrix[:3, 3]
    return {int(label): world[row] for row, label in enumerate(found)}
