"""Straightening as HealthiVert-GAN publishes it: the whole spine along a broken line, 1 mm, then one crop per vertebra.

Convention: arrays run inferior, posterior, left, 1 mm. The curve joins the centres of mass of the *whole* vertebrae by
straight lines and goes on 20 mm at both ends; planes of 128 x 128 across it are stacked every millimetre; of each
label everything behind the first row without it on the midline is taken off (the arch); a crop of 256 x 256 x 64 is cut
around each vertebra. Facts: HealthiVert-GAN (Zhang 2025, doi 10.1109/JBHI.2025.3572458), its published code and results
of one patient, which this reproduces voxel for voxel.

The traps, kept because the results depend on them: the crop is laid out by its own size, so that a vertebra near an end
of the stack is not in its middle; the outermost vertebrae count only from 6,000 (lowest label) and 8,000 voxels
(highest); sideways the crop follows the front-to-back coordinate of the centre (both are 64 on the curve). For a
measurement use :mod:`spinemed.vertebra.straighten`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import VolumeError
from spinemed.geometry import VoxelPoints, resample_to_spacing, voxel_to_world
from spinemed.volume import Volume, reorient_volume, require_same_grid

__all__ = ["CROP_SHAPE", "PaperCrop", "paper_centroids", "paper_straighten"]

Array = NDArray[np.float64]

CROP_SHAPE = (256, 256, 64)
"""Voxels of a crop: inferior, posterior, left."""
_WIDE = 128
_BEYOND_MM = 20.0
_LEAST_FIRST, _LEAST_LAST = 6000, 8000
_WINDOW_HU = (-300.0, 800.0)


@dataclass(frozen=True, eq=False)
class PaperCrop:
    """One straightened vertebra with its surroundings.

    Attributes:
        label: Its number in the mask.
        labels: CROP_SHAPE uint8: all labels, arches taken off.
        image: CROP_SHAPE float32, CT windowed to 0 … 255; None without a CT.
        affine: (4, 4) to world millimetres *in the straightened space laid at this vertebra*: right in its centre,
            and off the further a voxel lies from it along a bent spine.
    """

    label: int
    labels: NDArray[np.uint8]
    image: NDArray[np.float32] | None
    affine: Array


def _prepared(volume: Volume, *, order: int) -> Volume:
    """Axes inferior, posterior, left, at 1 mm."""
    turned = reorient_volume(volume, "IPL")
    if np.allclose(turned.spacing_mm, 1.0, atol=1e-3):
        return turned
    data, affine = resample_to_spacing(turned.data, turned.affine, 1.0, order=order, fill=0 if order == 0 else -1024)
    return Volume(data, affine, volume.unit, volume.source, volume.sha256, volume.meta)


def paper_centroids(mask: Volume) -> dict[int, Array]:
    """Centres of mass of the whole vertebrae in voxels of the prepared mask (inferior, posterior, left; 1 mm).

    The lowest label counts from 6,000 voxels, the highest from 8,000: smaller ones are taken to be cut.

    Raises:
        VolumeError: the mask is empty, or its labels do not fit into 1 … 255.
    """
    return _centroids(_checked(mask))


def _checked(mask: Volume) -> NDArray[np.uint8]:
    data = _prepared(mask, order=0).data
    if data.min() < 0 or data.max() > 255:
        raise VolumeError(
            f"labels run from {int(data.min())} to {int(data.max())}", file=mask.source or None, field="label",
            cure="give vertebra labels of 1 to 255",
        )  # fmt: skip
    if not data.any():
        raise VolumeError("the mask is empty", file=mask.source or None, cure="give a mask with vertebra labels")
    return np.ascontiguousarray(data, dtype=np.uint8)


def _centroids(data: NDArray[np.uint8]) -> dict[int, Array]:
    where = np.nonzero(data)
    labels = data[where]
    counts = np.bincount(labels)
    present = np.nonzero(counts)[0]
    sums = [np.bincount(labels, weights=axis) for axis in where]
    least = {int(present[0]): _LEAST_FIRST}
    least[int(present[-1])] = max(_LEAST_LAST, least.get(int(present[-1]), 0))
    return {
        int(label): np.array([axis[label] for axis in sums]) / counts[label]
        for label in present
        if counts[label] >= least.get(int(label), 0)
    }


def paper_straighten(
    mask: Volume,
    labels: Sequence[int] | None = None,
    *,
    image: Volume | None = None,
    centroids: Mapping[int, Array] | None = None,
) -> dict[int, PaperCrop]:
    """Straighten a spine and cut out vertebrae by the published rule.

    Args:
        mask: Vertebra labels in any orientation; brought to inferior-posterior-left at 1 mm.
        labels: Which vertebrae; all that have a centre if not given.
        image: The CT on the same grid, HU.
        centroids: Label to centre in voxels of the prepared mask; computed if not given.

    Returns:
        Label to crop. With a single centre nothing is straightened, as published.

    Raises:
        VolumeError: the mask is empty, image and mask lie on different grids, or a wanted label has no centre (absent,
            or small at an end of the mask).
    """
    if image is not None:
        require_same_grid(image, mask)
    data = _checked(mask)
    grid = _prepared(mask, order=0).affine
    centres = dict(centroids) if centroids is not None else _centroids(data)
    wanted = sorted(centres) if labels is None else list(labels)
    for label in wanted:
        if label not in centres:
            raise VolumeError(
                f"label {label} has no centre", file=mask.source or None, field="labels",
                cure="give a label that is in the mask and, at its ends, not cut "
                f"(at least {_LEAST_FIRST} and {_LEAST_LAST} voxels); here: {', '.join(map(str, sorted(centres)))}",
            )  # fmt: skip
    if not wanted:
        raise VolumeError(
            "no vertebra has a centre", file=mask.source or None, cure="give a mask with a vertebra that is not cut"
        )
    values = None if image is None else _windowed(_prepared(image, order=1).data)
    if len(centres) == 1:
        stack, pictures = data.copy(), values
        local = {label: centres[label] for label in wanted}
    else:
        line = _extended(np.array([centres[label] for label in sorted(centres)]), data.shape)
        knots, basis = _planes(line)
        from spinemed.vertebra.kernels import sample_labels, sample_values

        # A plane's rows run backwards, its columns to the left.
        steps = np.ascontiguousarray(basis[:, :, [2, 1]].transpose(0, 2, 1))
        middle, plane = np.full(2, _WIDE / 2), (_WIDE, _WIDE)
        stack = sample_labels(data, knots, steps, middle, plane)
        pictures = None if values is None else sample_values(values, knots, steps, middle, plane, 0.0)
        local = {label: _local(centres[label], knots, basis) for label in wanted}
    _take_arches_off(stack)
    found = {}
    for label in wanted:
        crop, first = _crop(stack, local[label])
        picture = None if pictures is None else _crop(pictures, local[label])[0]
        middle = voxel_to_world(VoxelPoints(centres[label][None]), grid).values[0]
        found[label] = PaperCrop(label, crop, picture, _laid_at(middle, grid, local[label] - first))
    return found


def _windowed(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """-300 … 800 HU to 0 … 255. (The original skips this when all values lie inside the window; a fault, not kept.)"""
    low, high = _WINDOW_HU
    grey = 255.0 * (np.asarray(hu, np.float32) - low) / (high - low)
    cut: NDArray[np.float32] = np.clip(grey, 0, 255).astype(np.float32)
    return cut


def _extended(points: Array, shape: tuple[int, ...]) -> Array:
    """The line of centres, 20 mm longer at both ends, within the volume."""

    def beyond(end: Array, before: Array) -> Array:
        step = (end - before) / np.linalg.norm(end - before)
        return np.asarray(np.clip(end + _BEYOND_MM * step, 0, shape))

    return np.vstack([beyond(points[0], points[1]), points, beyond(points[-1], points[-2])])


def _planes(line: Array) -> tuple[Array, Array]:
    """Places every millimetre along a broken line, and the axes there (columns: along, to the left, backwards).

    The direction is that of central differences between the line's points, interpolated along it; the second axis lies
    in the coronal plane, so that the planes do not turn about the curve.
    """
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    places = np.arange(0, length[-1], 1.0)
    slopes = np.gradient(line, axis=0)
    at = np.clip(np.searchsorted(length, places, side="left"), 1, len(length) - 1)
    low, high = length[at - 1, None], length[at, None]

    def between(values: Array) -> Array:
        rise = (values[at] - values[at - 1]) / (high - low)
        return np.asarray(rise * (places[:, None] - low) + values[at - 1])

    along = between(slopes)
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    left = np.stack([-along[:, 2], np.zeros(len(along)), along[:, 0]], axis=1)
    left = left / np.linalg.norm(left, axis=1, keepdims=True)
    return between(line), np.stack([along, left, np.cross(left, along)], axis=-1)


def _local(point: Array, knots: Array, basis: Array) -> Array:
    """A point in the stack: millimetres along, then on the second and third axis, the curve running through 64, 64.

    Between the planes before and behind the point its coordinates in either are interpolated to where it lies in one.
    """
    offset = point - knots
    inside = np.einsum("nji,nj->ni", basis, offset)
    ahead = inside[:, 0]
    nearest = int(np.linalg.norm(offset, axis=1).argmin())
    turns = np.nonzero(np.diff(np.sign(ahead)))[0]
    if len(turns):
        nearest = int(turns[np.abs(turns - nearest).argmin()])
    part = slice(max(0, nearest - 2), nearest + 2)
    walked = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    inside = inside + np.column_stack([walked, np.full((len(knots), 2), _WIDE / 2)])
    order = np.argsort(ahead[part])
    x, y = ahead[part][order], inside[part][order]
    high = int(np.clip(np.searchsorted(x, 0.0), 1, len(x) - 1))
    rise = (y[high] - y[high - 1]) / (x[high] - x[high - 1])
    return np.asarray(rise * (0.0 - x[high - 1]) + y[high - 1])


def _take_arches_off(stack: NDArray[np.uint8]) -> None:
    """Of each label delete what lies behind the first row (from the middle backwards) that lacks it on the midline."""
    middle, rows = stack[:, :, stack.shape[2] // 2], stack.shape[1]
    first = rows // 2
    cut = np.full(256, rows)
    for label in np.unique(stack):
        if label:
            absent = np.nonzero(~(middle[:, first:] == label).any(axis=0))[0]
            if len(absent):
                cut[label] = first + absent[0]
    behind = stack[:, first:]
    behind[np.arange(first, rows)[None, :, None] >= cut[behind]] = 0


def _crop(stack: NDArray[Any], centre: Array) -> tuple[NDArray[Any], Array]:
    """CROP_SHAPE around a centre, padded with 0; and where in the stack its first voxel lies."""
    out = np.zeros(CROP_SHAPE, stack.dtype)
    source, target, first = [], [], np.zeros(3)
    for axis, (size, at) in enumerate(zip(CROP_SHAPE, centre, strict=True)):
        low, high = max(0, int(at - size // 2)), min(stack.shape[axis], int(at + size // 2))
        start = (size - (high - low)) // 2
        source.append(slice(low, high))
        target.append(slice(start, start + high - low))
        first[axis] = low - start
    out[tuple(target)] = stack[tuple(source)]
    return out, first


def _laid_at(middle: Array, grid: Array, place: Array) -> Array:
    """An affine with the grid's directions that puts voxel `place` of a crop at a world point."""
    affine = np.eye(4)
    affine[:3, :3] = grid[:3, :3] / np.linalg.norm(grid[:3, :3], axis=0)
    affine[:3, 3] = middle - affine[:3, :3] @ place
    return affine
