"""Affines and orientations: voxel to world and back, reorientation without resampling.

Convention: see the package docstring (world is RAS+ mm, voxel indices count from voxel centres).

Trap: flipping an axis of `n` voxels sends index `c` to `n - 1 - c`, not to `n - c`; the second form, found in public
code, moves every point by one voxel per flipped axis.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError

__all__ = [
    "VoxelPoints",
    "WorldPoints",
    "axis_codes",
    "check_affine",
    "check_codes",
    "reorient",
    "reorient_points",
    "voxel_spacing",
    "voxel_to_world",
    "world_to_voxel",
]

Array = NDArray[np.float64]

_POSITIVE = "RAS"
_NEGATIVE = "LPI"


def _as_points(values: ArrayLike, kind: str) -> Array:
    points = np.array(values, dtype=np.float64)
    if points.ndim == 1 and points.size == 3:
        points = points[None]
    if points.ndim != 2 or points.shape[1] != 3:
        raise VolumeError(
            f"{kind} need the shape (N, 3), found {points.shape}", cure="give one row of three numbers per point"
        )
    if not np.isfinite(points).all():
        raise VolumeError(
            f"{kind} hold values that are not finite", cure="drop absent points (NaN) before computing with them"
        )
    points.setflags(write=False)
    return points


@dataclass(frozen=True, eq=False)
class VoxelPoints:
    """Points as continuous array indices of one grid.

    Args:
        values: (N, 3) indices i, j, k, or one point of shape (3,). Finite.

    Raises:
        VolumeError: another shape, or values that are not finite.
    """

    values: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _as_points(self.values, "voxel points"))

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class WorldPoints:
    """Points in RAS+ millimetres.

    Args:
        values: (N, 3) coordinates right, anterior, superior in mm, or one point of shape (3,). Finite.

    Raises:
        VolumeError: another shape, or values that are not finite.
    """

    values: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _as_points(self.values, "world points"))

    def __len__(self) -> int:
        return len(self.values)


def check_affine(affine: ArrayLike, *, file: str | os.PathLike[str] | None = None) -> Array:
    """Return the affine as a read-only 4×4 float64 matrix.

    Raises:
        VolumeError: wrong shape, values that are not finite, a last row other than 0 0 0 1, or axes that do not span
            space (a voxel size of zero, two parallel axes).
    """
    cure = "write the volume again with a valid orientation (qform or sform)"
    try:
        matrix = np.array(affine, dtype=np.float64)
    except (TypeError, ValueError):
        raise VolumeError("the affine is not a matrix of numbers", file=file, field="affine", cure=cure) from None
    if matrix.shape != (4, 4):
        raise VolumeError(f"the affine has the shape {matrix.shape}, not (4, 4)", file=file, field="affine", cure=cure)
    if not np.isfinite(matrix).all():
        raise VolumeError("the affine holds values that are not finite", file=file, field="affine", cure=cure)
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise VolumeError("the last row of the affine is not 0 0 0 1", file=file, field="affine", cure=cure)
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    if (lengths <= 0).any() or abs(np.linalg.det(matrix[:3, :3] / lengths)) < 1e-3:
        sizes = " x ".join(f"{size:g}" for size in lengths)
        raise VolumeError(
            f"the axes of the affine do not span space (voxel {sizes} mm)", file=file, field="affine", cure=cure
        )
    matrix.setflags(write=False)
    return matrix


def voxel_spacing(affine: ArrayLike) -> tuple[float, float, float]:
    """Distance in mm between the centres of neighbouring voxels along each array axis, oblique or not."""
    lengths = np.linalg.norm(np.asarray(affine, dtype=np.float64)[:3, :3], axis=0)
    return float(lengths[0]), float(lengths[1]), float(lengths[2])


def _nearest_axes(affine: ArrayLike) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """World axis (0, 1, 2 for R, A, S) of each array axis, and its sign.

    Of the six assignments the one with the largest sum of |cosine| is taken, so that two array axes never share a
    world axis however oblique the grid is. An exact tie goes to the first in lexicographic order.
    """
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    cosines = matrix / np.linalg.norm(matrix, axis=0)
    best = max(permutations(range(3)), key=lambda order: round(sum(abs(cosines[w, a]) for a, w in enumerate(order)), 9))
    signs = tuple(1 if cosines[world, axis] >= 0 else -1 for axis, world in enumerate(best))
    return (best[0], best[1], best[2]), (signs[0], signs[1], signs[2])


def axis_codes(affine: ArrayLike) -> str:
    """Orientation codes such as "RAS" or "PIR": the body direction nearest to which each array axis grows."""
    worlds, signs = _nearest_axes(affine)
    return "".join((_POSITIVE if sign > 0 else _NEGATIVE)[world] for world, sign in zip(worlds, signs, strict=True))


def check_codes(codes: str) -> str:
    """Return the codes in capitals.

    Raises:
        VolumeError: they are not three letters with one of each pair L/R, P/A and I/S.
    """
    letters = codes.upper()
    if len(letters) != 3 or any(sum(c in pair for c in letters) != 1 for pair in ("LR", "PA", "IS")):
        raise VolumeError(
            f"'{codes}' is no orientation",
            field="orientation",
            cure="give three letters with one of each pair L/R, P/A, I/S, such as RAS or PIR",
        )
    return letters


def _moves(affine: ArrayLike, target: str) -> tuple[list[int], list[bool]]:
    """For each target axis: the array axis that it comes from, and whether that is flipped."""
    present = axis_codes(affine)
    sources, flips = [], []
    for letter in check_codes(target):
        world = _POSITIVE.find(letter) if letter in _POSITIVE else _NEGATIVE.find(letter)
        axis = next(a for a, c in enumerate(present) if c in (_POSITIVE[world], _NEGATIVE[world]))
        sources.append(axis)
        flips.append(present[axis] != letter)
    return sources, flips


def reorient(data: NDArray[Any], affine: ArrayLike, target: str) -> tuple[NDArray[Any], Array]:
    """Permute and flip the axes until the codes are `target`. No value is changed, no point moves in the world.

    Args:
        data: (I, J, K) array.
        affine: Its voxel-to-world matrix.
        target: Orientation codes, e.g. "PIR".

    Returns:
        A view of the data with permuted, flipped axes, and its affine. An oblique grid stays as oblique as it was.

    Raises:
        VolumeError: `target` is no orientation.
    """
    matrix = np.asarray(affine, dtype=np.float64)
    sources, flips = _moves(matrix, target)
    view = data.transpose(sources)[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    change = _change(sources, flips, data.shape)
    return view, matrix @ change


def reorient_points(points: VoxelPoints, shape: Sequence[int], affine: ArrayLike, target: str) -> VoxelPoints:
    """Indices of the same points after :func:`reorient` of a volume of that shape and affine: c becomes n - 1 - c."""
    _require(points, VoxelPoints)
    sources, flips = _moves(affine, target)
    present = points.values[:, sources]
    last = np.array([shape[source] - 1 for source in sources], dtype=np.float64)
    return VoxelPoints(np.where(flips, last - present, present).astype(np.float64))


def _change(sources: list[int], flips: list[bool], shape: Sequence[int]) -> Array:
    """The 4×4 matrix from indices of the reoriented array to indices of the original one."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for axis, (source, flip) in enumerate(zip(sources, flips, strict=True)):
        matrix[source, axis] = -1 if flip else 1
        matrix[source, 3] = shape[source] - 1 if flip else 0
    return matrix


def voxel_to_world(points: VoxelPoints, affine: ArrayLike) -> WorldPoints:
    """World points (mm) of voxel points. A TypeError if the points are not voxel points: that is a bug."""
    _require(points, VoxelPoints)
    matrix = np.asarray(affine, dtype=np.float64)
    return WorldPoints(points.values @ matrix[:3, :3].T + matrix[:3, 3])


def world_to_voxel(points: WorldPoints, affine: ArrayLike) -> VoxelPoints:
    """Voxel points of world points (mm). A TypeError if the points are not world points: that is a bug."""
    _require(points, WorldPoints)
    matrix = np.asarray(affine, dtype=np.float64)
    indices = np.linalg.solve(matrix[:3, :3], (points.values - matrix[:3, 3]).T).T
    return VoxelPoints(indices.astype(np.float64))


def _require(points: object, kind: type) -> None:
    if not isinstance(points, kind):
        raise TypeError(f"{kind.__name__} expected, found {type(points).__name__}")
