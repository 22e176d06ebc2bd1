"""Blobs: tapered elliptic capsules, boxes and ellipsoids; everything but bodies and laminae is made of them.

Convention: a blob runs from `start` to `end` (mm, in the frame it is attached to); its cross-section has the half-axes
`side` along `side_axis` and `flat` across it, each given at both ends. `end_mm` is how far the rounded end reaches
beyond start and end. `power` 2 is round, 4 is boxy with rounded edges.

The trap: the tip of a capsule lies `end_mm` beyond `end`. `to_tip` takes that off, so that a stated length is reached
exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Blob", "PackedBlobs", "capsule", "chain", "ellipsoid", "mirrored", "pack", "to_tip", "vec"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Blob:
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
    x, y, z = (float(v) for v in np.asarray(value, dtype=float))
    return x, y, z


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
        _vector(start), _vector(end), sides, flats, reach, _vector(side_axis), power=power, part=part, material=material
    )


def to_tip(blob: Blob) -> Blob:
    """The blob with its far end drawn back so that its tip, not its axis, ends at `end`."""
    start, end = np.array(blob.start), np.array(blob.end)
    length = float(np.linalg.norm(end - start))
    share = max(0.05, (length - blob.end_mm) / length)
    return replace(blob, end=_vector(start + (end - start) * share))


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
    at = np.asarray(points, dtype=float)
    axes = np.broadcast_to(np.asarray(side_axis, dtype=float), (len(at) - 1, 3))
    return [
        capsule(
            at[k],
            at[k + 1],
            (float(side[k]), float(side[k + 1])),
            (float(flat[k]), float(flat[k + 1])),
            side_axis=axes[k],
            power=power,
            part=part,
            material=material,
        )
        for k in range(len(at) - 1)
    ]


def mirrored(blobs: Iterable[Blob], parts: dict[int, int] | None = None) -> list[Blob]:
    """The same blobs on the other side (x to -x), with part numbers exchanged."""
    table = parts or {}

    def flip(v: tuple[float, float, float]) -> tuple[float, float, float]:
        return (-v[0], v[1], v[2])

    return [
        replace(
            b,
            start=flip(b.start),
            end=flip(b.end),
            side_axis=flip(b.side_axis),
            axis=flip(b.axis),
            part=table.get(b.part, b.part),
        )
        for b in blobs
    ]


def pack(blobs: Sequence[Blob]) -> PackedBlobs:
    """Arrays of many blobs. A blob's own axes are (side, flat, axis) with the origin at `start`."""
    n = len(blobs)
    start = np.array([b.start for b in blobs], dtype=float).reshape(n, 3)
    axis = np.array([b.end for b in blobs], dtype=float).reshape(n, 3) - start
    length = np.linalg.norm(axis, axis=1)
    point = length < 1e-6
    axis = np.where(point[:, None], np.array([b.axis for b in blobs], dtype=float).reshape(n, 3), axis)
    axis = axis / np.maximum(np.linalg.norm(axis, axis=1), 1e-9)[:, None]
    side = np.array([b.side_axis for b in blobs], dtype=float).reshape(n, 3)
    side = side - (side * axis).sum(axis=1)[:, None] * axis
    size = np.linalg.norm(side, axis=1)
    bad = size < 1e-3  # the side direction runs along the axis: take any direction across it
    if bad.any():
        other = np.where(np.abs(axis[:, :1]) < 0.9, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
        other = other - (other * axis).sum(axis=1)[:, None] * axis
        side = np.where(bad[:, None], other, side)
        size = np.linalg.norm(side, axis=1)
    side = side / np.maximum(size, 1e-9)[:, None]
    flat = np.cross(axis, side)
    rows = np.stack([side, flat, axis], axis=1)
    pull = np.concatenate([rows, -np.einsum("nij,nj->ni", rows, start)[:, :, None]], axis=2)
    numbers = np.array(
        [
            (
                0.0,
                b.side[0],
                b.side[1],
                b.flat[0],
                b.flat[1],
                b.end_mm,
                float(b.power),
                float(b.part),
                float(b.material),
            )
            for b in blobs
        ],
        dtype=float,
    ).reshape(n, 9)
    numbers[:, 0] = np.where(point, 0.0, length)
    reach = np.stack([numbers[:, 1:3].max(axis=1), numbers[:, 3:5].max(axis=1)], axis=1) if n else np.zeros((0, 2))
    box = np.empty((n, 2, 3))
    box[:, 0, :2], box[:, 1, :2] = -reach, reach
    box[:, 0, 2], box[:, 1, 2] = -numbers[:, 5], numbers[:, 0] + numbers[:, 5]
    return PackedBlobs(numbers, pull, box)
