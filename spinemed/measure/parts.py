"""The labels of a mask one by one: box, voxels, middle, and whether the edge of the volume cuts them.

The trap: a structure that the volume cuts looks whole to every fit, because the cut is as flat as an endplate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.measure.body import Body
from spinemed.measure.discs import Sacrum
from spinemed.measure.records import Flag
from spinemed.volume import Volume

__all__ = ["EDGE_MM", "Found", "Part", "cut_sides", "others", "part_of", "parts_of", "touches", "union_of"]

Array = NDArray[np.float64]
Box = tuple[slice, slice, slice]

_LARGEST = 65535
EDGE_MM = 1.0
"""A body that ends this near to the edge of the volume is taken for cut: networks often leave out the last layer."""


@dataclass(frozen=True)
class Part:
    """One label: its box in the volume, voxels, and where its middle lies."""

    label: int
    box: Box
    mask: NDArray[np.bool_]
    affine: Array
    centre: Array

    @property
    def volume_mm3(self) -> float:
        """Number of voxels times their volume."""
        return float(np.count_nonzero(self.mask)) * abs(float(np.linalg.det(self.affine[:3, :3])))


@dataclass
class Found:
    """What is known of one level while measuring."""

    level: Level
    whole: Part
    body_part: Part | None
    flags: list[Flag]
    body: Body | None = None
    sacrum: Sacrum | None = None
    source: Literal["mask", "estimated"] | None = None
    cut: frozenset[str] = frozenset()
    whole_cut: bool = False


def parts_of(volume: Volume) -> dict[int, Part]:
    """Every label of a mask with its box, in one pass over the volume.

    Raises:
        VolumeError: a label is negative, or so large that it is no label.
    """
    from scipy.ndimage import find_objects

    data = volume.data.view(np.uint8) if volume.data.dtype.kind == "b" else volume.data
    low, high = int(data.min()), int(data.max())
    if low < 0 or high > _LARGEST:
        raise VolumeError(
            f"the mask holds the value {low if low < 0 else high}, which is no label",
            file=volume.source or None,
            field="labels",
            cure=f"use labels from 1 to {_LARGEST}; 0 is background",
        )
    return {
        number + 1: part_of(number + 1, data[box] == number + 1, box, volume)
        for number, box in enumerate(find_objects(np.asarray(data)))
        if box is not None
    }


def part_of(label: int, mask: NDArray[np.bool_], box: tuple[Any, ...], volume: Volume) -> Part:
    """One label as a part: its mask in its box, the affine of the box, its middle in the world."""
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([part.start for part in box])
    places = [np.average(np.arange(n), weights=mask.sum(axis=others(a))) for a, n in enumerate(mask.shape)]
    centre = affine[:3, :3] @ np.array(places) + affine[:3, 3]
    return Part(label, (box[0], box[1], box[2]), mask, affine, centre)


def union_of(volume: Volume) -> Part | None:
    """Everything above 0 as one part; None if there is nothing."""
    solid = volume.data != 0
    box = []
    for axis in range(3):
        there = np.flatnonzero(solid.any(axis=others(axis)))
        if not len(there):
            return None
        box.append(slice(int(there[0]), int(there[-1]) + 1))
    return part_of(0, solid[tuple(box)], tuple(box), volume)


def others(axis: int) -> tuple[int, int]:
    """The other two of three axes."""
    return ((1, 2), (0, 2), (0, 1))[axis]


def touches(box: Box, volume: Volume) -> bool:
    """Whether a box reaches the first or last voxel of the volume along any axis."""
    return any(part.start == 0 or part.stop == n for part, n in zip(box, volume.shape, strict=True))


def cut_sides(mask: NDArray[np.bool_], affine: Array, body: Body, volume: Volume) -> frozenset[str]:
    """Sides on which the body ends within 1 mm of the volume's edge: "height", "depth", "width"."""
    pull = np.linalg.inv(volume.affine[:3, :3])
    corner = np.rint(pull @ (affine[:3, 3] - volume.affine[:3, 3])).astype(int)
    sides = set()
    for axis in range(3):
        there = np.flatnonzero(mask.any(axis=others(axis))) + corner[axis]
        margin = int(EDGE_MM / volume.spacing_mm[axis])
        if there[0] > margin and there[-1] < volume.shape[axis] - 1 - margin:
            continue
        share = np.abs(body.frame.axes @ (pull[axis] / np.linalg.norm(pull[axis])))
        sides |= {name for name, size in zip(("width", "depth", "height"), share, strict=True) if size > 0.5}
    return frozenset(sides)
