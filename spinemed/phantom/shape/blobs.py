"""Blobs: tapered elliptic capsules, boxes and ellipsoids; everything but bodies and laminae is made of them.

Convention: a blob runs from `start` to `end` (mm, in the frame it is attached to); its cross-section has the half-axes
`side` along `side_axis` and `flat` across it, each given at both ends. `end_mm` is how far the rounded end reaches
beyond start and end. `power` 2 is round, 4 is boxy with rounded edges.

The trap: the tip of a capsule lies `end_mm` beyond `end`. `to_tip` takes that off, so that a stated length is reached
exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Blob", "PackedBlobs", "capsule", "chain", "ellipsoid", "mirrored", "pack", "pack_groups", "to_tip", "vec"]

Array = NDArray[np.float64]


class Blob(NamedTuple):
    """One tapered elliptic capsule.

    Args:
        start, end: Ends of the axis, mm; equal for an ellipsoid.
        side: Half-axis along `side_axis` at start and end, mm.
        flat: Half-axis across `side_axis` and the axis at start and end, mm.
        end_mm: Reach beyond the ends.
        side_axis: Direction of `side`; made perpendicular to the axis.
        axis: Direction of the axis where start and end coincide.
        power: 2 round, 4 boxy.
        part: Sub-region number (`spinemed.phantom.imaging.tissues`), 0 for none.
        material: Row of the palette that soft tissue is painted with.
    """

    start: tuple[float, float, float]
    end: tuple[float, float, float]
    side: tuple[float, float]
    flat: tuple[float, float]
    end_mm: float
    side_axis: tuple[float, float, float] = (1.0, 0.0, 0.0)
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    power: int = 2
    part: int = 0
    material: int = 0


@dataclass(frozen=True, eq=False)
class PackedBlobs:
    """Blobs as arrays for the kernels: numbers (N, 9), frame to blob (N, 3, 4), and boxes (N, 2, 3) in the blob's own
    axes."""

    numbers: Array
    pull: Array
    box: Array

    def __len__(self) -> int:
        return len(self.numbers)


def vec(x: float, y: float, z: float) -> Array:
    """A point or direction as an array (3,)."""
    return np.array([x, y, z], dtype=np.float64)


def _vector(value: ArrayLike) -> tuple[float, float, float]:
    if isinstance(value, tuple):
        return value
    x, y, z = value.tolist() if isinstance(value, np.ndarray) else np.asarray(value, dtype=np.float64).tolist()
    return float(x), float(y), float(z)


def capsule(
    start: ArrayLike,
    end: ArrayLike,
    side: float | tuple[float, float],
    flat: float | tuple[float, float] | None = None,
    *,
    end_mm: float | None = None,
    side_axis: ArrayLike = (1.0, 0.0, 0.0),
    power: int = 2,
    part: int = 0,
    material: int = 0,
) -> Blob:
    """A capsule from start to end; one radius, or two half-axes, each constant or (at start, at end)."""
    sides = (side, side) if isinstance(side, (int, float)) else side
    flats = sides if flat is None else ((flat, flat) if isinstance(flat, (int, float)) else flat)
    reach = min(*sides, *flats) if end_mm is None else end_mm
    return Blob(
        _vector(start), _vector(end), sides, flats, reach, _vector(side_axis), (0.0, 0.0, 1.0), power, part, material
    )


def to_tip(blob: Blob) -> Blob:
    """The blob with its far end drawn back so that its tip, not its axis, ends at `end`."""
    (ax, ay, az), (bx, by, bz) = blob.start, blob.end
    length = math.dist(blob.start, blob.end)
    share = max(0.05, (length - blob.end_mm) / length)
    return blob._replace(end=(ax + (bx - ax) * share, ay + (by - ay) * share, az + (bz - az) * share))


def ellipsoid(
    centre: ArrayLike,
    side: float,
    flat: float,
    along: float,
    *,
    side_axis: ArrayLike = (1.0, 0.0, 0.0),
    axis: ArrayLike = (0.0, 0.0, 1.0),
    power: int = 2,
    part: int = 0,
    material: int = 0,
) -> Blob:
    """An ellipsoid with half-axis `along` along `axis`, `side` along `side_axis` and `flat` across both."""
    at = _vector(centre)
    return Blob(at, at, (side, side), (flat, flat), along, _vector(side_axis), _vector(axis), power, part, material)


def chain(
    points: ArrayLike,
    side: Sequence[float],
    flat: Sequence[float],
    *,
    side_axis: ArrayLike = (1.0, 0.0, 0.0),
    power: int = 2,
    part: int = 0,
    material: int = 0,
) -> list[Blob]:
    """Capsules through points, with half-axes at each point. `side_axis` may be one direction or one per piece."""
    at = [_vector(point) for point in np.asarray(points, dtype=np.float64)]
    axes = [_vector(axis) for axis in np.broadcast_to(np.asarray(side_axis, dtype=np.float64), (len(at) - 1, 3))]
    sides, flats = [float(one) for one in side], [float(one) for one in flat]
    return [  # `capsule` takes three times as long, and a scene's chains have five hundred pieces
        Blob(
            at[k],
            at[k + 1],
            (sides[k], sides[k + 1]),
            (flats[k], flats[k + 1]),
            min(sides[k], sides[k + 1], flats[k], flats[k + 1]),
            axes[k],
            (0.0, 0.0, 1.0),
            power,
            part,
            material,
        )
        for k in range(len(at) - 1)
    ]


def mirrored(blobs: Iterable[Blob], parts: dict[int, int] | None = None) -> list[Blob]:
    """The same blobs on the other side (x to -x), with part numbers exchanged."""
    table = parts or {}

    def flip(v: tuple[float, float, float]) -> tuple[float, float, float]:
        return (-v[0], v[1], v[2])

    return [
        Blob(  # in their order; `_replace` takes four times as long, and ribs alone are hundreds
            flip(b.start),
            flip(b.end),
            b.side,
            b.flat,
            b.end_mm,
            flip(b.side_axis),
            flip(b.axis),
            b.power,
            table.get(b.part, b.part),
            b.material,
        )
        for b in blobs
    ]


def pack(blobs: Sequence[Blob]) -> PackedBlobs:
    """Arrays of many blobs. A blob's own axes are (side, flat, axis) with the origin at `start`."""
    n = len(blobs)
    flat: list[float] = []  # one list of numbers, not a tuple per blob: a scene has a thousand blobs
    for b in blobs:
        flat += b.start
        flat += b.end
        flat += b.axis
        flat += b.side_axis
        flat.append(0.0)
        flat += b.side
        flat += b.flat
        flat += (b.end_mm, b.power, b.part, b.material)
    rows = np.array(flat, dtype=np.float64).reshape(n, 21)
    start, axis, side = rows[:, 0:3], rows[:, 3:6] - rows[:, 0:3], rows[:, 9:12]
    length = np.sqrt(np.einsum("ij,ij->i", axis, axis))
    point = length < 1e-6
    if point.any():
        axis = np.where(point[:, None], rows[:, 6:9], axis)
    axis = axis / np.sqrt(np.einsum("ij,ij->i", axis, axis))[:, None]
    side = side - np.einsum("ij,ij->i", side, axis)[:, None] * axis
    size = np.sqrt(np.einsum("ij,ij->i", side, side))
    bad = size < 1e-3  # the side direction runs along the axis: take any direction across it
    if bad.any():
        other = np.where(np.abs(axis[:, :1]) < 0.9, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
        other = other - np.einsum("ij,ij->i", other, axis)[:, None] * axis
        side = np.where(bad[:, None], other, side)
        size = np.sqrt(np.einsum("ij,ij->i", side, side))
    side = side / size[:, None]
    pull = np.empty((n, 3, 4))
    pull[:, 0, :3], pull[:, 2, :3] = side, axis
    for k in range(3):  # flat = axis x side
        one, two = (k + 1) % 3, (k + 2) % 3
        pull[:, 1, k] = axis[:, one] * side[:, two] - axis[:, two] * side[:, one]
    pull[:, :, 3] = -np.einsum("nij,nj->ni", pull[:, :, :3], start)
    numbers = np.ascontiguousarray(rows[:, 12:21])
    numbers[:, 0] = np.where(point, 0.0, length)
    box = np.empty((n, 2, 3))
    box[:, 1, 0] = np.maximum(numbers[:, 1], numbers[:, 2])
    box[:, 1, 1] = np.maximum(numbers[:, 3], numbers[:, 4])
    box[:, 0, :2] = -box[:, 1, :2]
    box[:, 0, 2], box[:, 1, 2] = -numbers[:, 5], numbers[:, 0] + numbers[:, 5]
    return PackedBlobs(numbers, pull, box)


def pack_groups(groups: Sequence[Sequence[Blob]]) -> list[PackedBlobs]:
    """`pack` of each group, in one go: much faster than one call per group."""
    packed = pack([blob for group in groups for blob in group])
    ends = np.cumsum([0, *(len(group) for group in groups)]).tolist()
    return [
        PackedBlobs(packed.numbers[first:last], packed.pull[first:last], packed.box[first:last])
        for first, last in pairwise(ends)
    ]
