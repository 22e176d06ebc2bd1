"""Centroids measured on masks: of the vertebral body, and of the whole vertebra.

VerSe's centroids are those of the bodies. Where a mask of subregions is at hand (SPINEPS, TPTBox: labels 49 and 50) the
body is read from it; otherwise it is estimated from the shape alone:

1. the largest connected part of the label is taken (an island moves nothing);
2. a distance transform finds the places where large balls fit in; of those at least `_AS_LARGE` times as large as the
   largest and not farther than `_ONE_VERTEBRA_MM` from it (a label may lie on two vertebrae by mistake), the one
   farthest in front is in the body: in the neck the articular masses may be thicker than the body;
3. the part is opened with a ball of `_SHARE` times the body's largest. Pedicles, arch and processes mostly vanish;
4. the centroid of what remains connected to the body's largest ball is the answer.

C1 has no body; its estimate is the centroid of the whole ring.

Trap: the estimate is one: its error is stated in the tests and in the package's README. It supposes that the body is
the thickest part, which a body cut by the field of view, or a fragment, is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.geometry import label_centroids_mm
from spinemed.labelling.centroids import CentroidSet
from spinemed.labelling.masks import LabelMask, vertebra_of_label
from spinemed.volume import Volume, require_same_grid

__all__ = ["BODY_SUBREGIONS", "body_centroids", "whole_centroids"]

Array = NDArray[np.float64]

BODY_SUBREGIONS = (49, 50)
"""Labels of the vertebral body in TPTBox's and SPINEPS' subregion masks (corpus border, corpus)."""

_AS_LARGE = 0.8
_ONE_VERTEBRA_MM = 25.0
_SHARE = 0.65
_FINEST_MM = 1.0  # finer grids are thinned by whole voxels: it changes the centroid by less than 0.1 mm


def whole_centroids(mask: LabelMask) -> CentroidSet:
    """Centre of mass of every vertebra in the mask, arch and processes included; world mm.

    It lies 10-11.5 mm from VerSe's published body centroids (measured on four scans).
    """
    found = label_centroids_mm(mask.data, mask.affine, [level.verse_label for level in mask.levels])
    return CentroidSet.of(
        {level: found[level.verse_label] for level in mask.levels}, source="mask_whole", file=mask.source
    )


def body_centroids(mask: LabelMask, subregions: Volume | None = None) -> CentroidSet:
    """Centroid of the body of every vertebra in the mask, world mm; see the module docstring for the estimate.

    Args:
        mask: The vertebrae.
        subregions: A TPTBox subregion mask on the same grid, if there is one: its labels 49 and 50 are the body. A
            vertebra without such voxels is estimated, and flagged.

    Raises:
        VolumeError: the subregions lie on another grid.
    """
    from scipy import ndimage

    if subregions is not None:
        require_same_grid(mask.volume, subregions)
    # On the transpose, which for data from a file runs through memory in order: ten times faster.
    boxes = [box and tuple(reversed(box)) for box in ndimage.find_objects(mask.data.T)]
    found: dict[Level, Array] = {}
    flags: list[str] = []
    for label, box in enumerate(boxes, 1):
        level = vertebra_of_label(label)
        if level is None or box is None:
            continue
        index = None
        if subregions is not None:
            inside = (mask.data[box] == label) & np.isin(subregions.data[box], BODY_SUBREGIONS)
            if inside.any():
                index = np.array([axis.mean() for axis in np.nonzero(inside)])
            else:
                flags.append(f"{level}: no body in the subregions, estimated from the shape")
        if index is None:
            index = _body_index(mask.data[box] == label, mask.affine, whole=level is Level.C1)
        index = index + np.array([part.start for part in box])
        found[level] = mask.affine[:3, :3] @ index + mask.affine[:3, 3]
    return CentroidSet.of(found, source="mask_body", file=mask.source, flags=tuple(flags))


def _body_index(shape: NDArray[np.bool_], affine: Array, *, whole: bool) -> Array:
    """Array index (3,), continuous, of the body's centroid within the box of one label."""
    from scipy import ndimage

    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    step = np.maximum(1, np.round(_FINEST_MM / spacing)).astype(int)
    coarse: NDArray[Any] = shape[:: step[0], :: step[1], :: step[2]]
    if not coarse.any():  # thinner than the step
        coarse, step = shape, np.ones(3, dtype=int)
    parts, number = ndimage.label(coarse)
    if number > 1:
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        coarse = parts == int(sizes.argmax())
    if not whole:
        sampling = spacing * step
        # A rim of background, so that a label that fills its box is thin where the box ends.
        padded = np.pad(coarse, 1)
        depth = ndimage.distance_transform_edt(padded, sampling=sampling)
        seed = _most_anterior(depth, step, affine)
        radius = _SHARE * float(depth[seed])
        kept, _ = ndimage.label(depth >= radius)
        core = kept == kept[seed]
        # The opened body lies within one radius of its core: the second transform needs no more than that.
        reach = np.ceil(radius / sampling).astype(int)
        box = tuple(
            slice(max(0, part.start - far), part.stop + far)
            for part, far in zip(ndimage.find_objects(core.astype(np.uint8))[0], reach, strict=True)
        )
        opened = ndimage.distance_transform_edt(~core[box], sampling=sampling) < radius
        index = np.array([axis.mean() for axis in np.nonzero(opened & padded[box])])
        return np.asarray((index + [part.start for part in box] - 1.0) * step)  # 1: the rim
    middle: Array = np.array([axis.mean() for axis in np.nonzero(coarse)]) * step
    return middle


def _most_anterior(depth: Array, step: NDArray[np.int_], affine: Array) -> tuple[int, ...]:
    """Index of the deepest voxel of the most anterior of the deep places of one vertebra."""
    from scipy import ndimage

    places, number = ndimage.label(depth >= _AS_LARGE * float(depth.max()))
    where = np.nonzero(places)
    owner = places[where] - 1
    sizes = np.bincount(owner, minlength=number)
    indices = np.stack([np.bincount(owner, weights=axis) / sizes for axis in where], axis=1) * step
    centres = indices @ affine[:3, :3].T
    deepest = places[np.unravel_index(int(depth.argmax()), depth.shape)] - 1
    near = np.linalg.norm(centres - centres[deepest], axis=1) <= _ONE_VERTEBRA_MM
    front = int(np.argmax(np.where(near, centres[:, 1], -np.inf)))  # world y grows towards the front
    chosen = np.where(owner == front, depth[where], -1.0).argmax()
    return tuple(int(axis[chosen]) for axis in where)
