"""Masks as smooth fields in a frame of their own, and the small numerics that measuring on them needs.

Convention: a :class:`Field` is 0 to 1 with the surface at 0.5; a :class:`BodyFrame` gives body coordinates (right,
anterior, up) in mm. The trap: a field is 0 beyond the voxels it was made of, so that a mask cut by the volume's edge
looks as if it ended there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.measure.endplates import unit

__all__ = [
    "BodyFrame",
    "Field",
    "crop",
    "field_of",
    "frame_from_hints",
    "heights_at_rims",
    "heights_of_thirds",
    "known_mean",
    "outlines",
    "rim",
    "robust_fit",
]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_LEAST_SPREAD = 0.3  # mm: how far an endplate may differ from plane and hollow before it counts as a spur or a node
_SMOOTH = 0.6  # voxels: takes the staircase off the surface, moves a wall of radius R by 0.18 voxel²/R
RIM_INSET, RIM_REACH = 0.10, 0.04  # share of the depth: where a rim height is taken, and over how much to each side


@dataclass(frozen=True, eq=False)
class BodyFrame:
    """Place and directions of a body.

    Attributes:
        centre_mm: (3,) World point in the middle of the body.
        axes: (3, 3) Unit vectors right, anterior, up as rows, right-handed.
    """

    centre_mm: Array
    axes: Array

    def to_local(self, world_mm: ArrayLike) -> Array:
        """(N, 3) body coordinates of world points, mm."""
        return (np.asarray(world_mm, dtype=np.float64) - self.centre_mm) @ self.axes.T

    def to_world(self, local_mm: ArrayLike) -> Array:
        """(N, 3) world points of body coordinates, mm."""
        return np.asarray(local_mm, dtype=np.float64) @ self.axes + self.centre_mm


@dataclass(frozen=True, eq=False)
class Field:
    """A cropped, lightly smoothed mask: values 0 to 1, the surface at 0.5, and how voxels lie in the world."""

    values: NDArray[np.float32]
    affine: Array
    spacing_mm: float

    def sample(self, frame: BodyFrame, start: Array, step: Array, shape: tuple[int, int, int]) -> NDArray[np.float32]:
        """Trilinear values on a grid in body coordinates: `start` + `step` times the index; 0 outside."""
        from scipy.ndimage import affine_transform

        pull = np.linalg.inv(self.affine[:3, :3])
        matrix = pull @ frame.axes.T * step
        offset = pull @ (frame.to_world(start) - self.affine[:3, 3])
        values: NDArray[np.float32] = affine_transform(
            self.values, matrix, offset, output_shape=shape, order=1, mode="constant", prefilter=False
        )
        return values

    def at(self, world_mm: Array) -> Array:
        """Trilinear values at world points (..., 3); 0 outside."""
        from scipy.ndimage import map_coordinates

        index = (world_mm - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T
        values: Array = map_coordinates(
            self.values, np.moveaxis(index, -1, 0), order=1, mode="constant", prefilter=False
        )
        return values


def field_of(mask: Mask, affine: Array) -> Field:
    """The field of a boolean mask (cropped by the caller, or whole)."""
    from scipy.ndimage import gaussian_filter

    pad = 3
    values = gaussian_filter(np.pad(mask, pad).astype(np.float32), _SMOOTH, truncate=4)
    moved = affine.copy()
    moved[:3, 3] -= affine[:3, :3] @ np.full(3, pad)
    return Field(values, moved, float(np.linalg.norm(affine[:3, :3], axis=0).min()))


def crop(mask: Mask, affine: Array) -> tuple[Mask, Array]:
    """The mask cut to its voxels, and the affine of the cut.

    Raises:
        VolumeError: no voxel is set.
    """
    box = []
    for axis in range(3):
        there = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(there):
            raise VolumeError("the mask is empty", field="mask", cure="measure only labels that occur")
        box.append(slice(int(there[0]), int(there[-1]) + 1))
    moved = np.array(affine, dtype=np.float64)
    moved[:3, 3] += moved[:3, :3] @ np.array([part.start for part in box])
    return mask[tuple(box)], moved


def frame_from_hints(centre_mm: Array, up: ArrayLike, anterior: ArrayLike) -> BodyFrame:
    """A right-handed frame with that up axis and the front direction made perpendicular to it.

    Raises:
        VolumeError: front and up are less than 10° apart.
    """
    z = unit(np.asarray(up, dtype=np.float64), "up_hint")
    y = np.asarray(anterior, dtype=np.float64)
    y = unit(y, "anterior_hint")
    y = y - (y @ z) * z
    if np.linalg.norm(y) < np.sin(np.radians(10)):
        raise VolumeError(
            "the front direction runs along the spine", field="anterior_hint", cure="give a direction across the spine"
        )
    y = y / np.linalg.norm(y)
    return BodyFrame(centre_mm, np.stack([np.cross(y, z), y, z]))


def robust_fit(design: Array, values: Array, penalty: Array | None = None) -> Array:
    """Least squares with Tukey's bisquare weights: beyond 4.7 robust deviations (at least 1.4 mm) nothing counts.

    Args:
        design: (N, M) Terms.
        values: (N,) What they should give.
        penalty: (P, M) Combinations of the coefficients that should be small, weighted.
    """
    weights: Array = np.ones(len(values))
    solution: Array = np.zeros(design.shape[1])
    small = np.zeros((design.shape[1],) * 2) if penalty is None else penalty.T @ penalty
    scales = np.maximum(np.abs(design).max(axis=0), 1e-9)  # normal equations: terms of one size
    scaled, small = design / scales, small / np.outer(scales, scales)
    ridge = 1e-9 * len(values) * np.eye(design.shape[1])  # terms that no value tells apart
    for _ in range(8):
        weighted = scaled * weights[:, None]
        solution = np.linalg.solve(weighted.T @ scaled + small + ridge, weighted.T @ values)
        rest = values - scaled @ solution
        scale = max(1.4826 * float(np.median(np.abs(rest))), _LEAST_SPREAD)
        before, weights = weights, np.clip(1.0 - (rest / (4.685 * scale)) ** 2, 0.0, None) ** 2
        if weights.sum() < 0.2 * len(values) or np.abs(weights - before).max() < 1e-3:
            break
    solution = solution / scales
    return solution


def outlines(values: Array, places: Array, direction: int, *, first: bool = False, anywhere: bool = False) -> Array:
    """Where lines of values leave the body: (N,) place of the outermost 0.5 level in a direction, NaN if there is none.

    Outermost, because a section just inside a concave endplate is a ring.

    Args:
        values: (P, N) values at P places along N lines.
        places: (P,) Equally spaced, rising; the middle of the body is near 0.
        direction: +1 towards larger places, -1 towards smaller ones.
        first: The first level going out from the middle instead, for a body that is joined to something outside.
        anywhere: Also levels on the other side of 0.
    """
    run, at = (values, places) if direction > 0 else (values[::-1], places[::-1])
    if first:
        begin = int(np.argmin(np.abs(at)))
        run, at = run[begin:], at[begin:]
    inside = run >= 0.5
    last = (np.argmax(~inside, axis=0) if first else len(run) - np.argmax(inside[::-1], axis=0)) - 1
    found = inside.any(axis=0) & (last >= 0) & (last < len(run) - 1)
    if first:
        found &= ~inside.all(axis=0)
    last = np.clip(last, 0, len(run) - 1)
    lines = np.arange(values.shape[1])
    inner = run[last, lines]
    outer = run[np.minimum(last + 1, len(run) - 1), lines]
    share = (inner - 0.5) / np.maximum(inner - outer, 1e-6)
    place = at[last] + share * (at[1] - at[0])
    if not anywhere:  # where this wall is missing, the other one is no answer
        found &= direction * place > 0.2 * np.ptp(places) / 2
    return np.where(found, place, np.nan)


def known_mean(values: Array) -> Array:
    """Mean over the first axis of the values that are known; NaN where fewer than half are."""
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count * 2 >= len(values), total / np.maximum(count, 1), np.nan)


def rim(depths: Array, edges: Array) -> float:
    """The rim out of the wall's places at several depths inside the endplate (outwards positive).

    Its outermost place; where it still moves outwards at the shallowest sections (a waisted body with sharp corners),
    the wall is carried on to the endplate in a straight line, at most 1 mm out.

    Raises:
        VolumeError: too few sections cut the body.
    """
    known = np.isfinite(edges)
    if known.sum() < 4:
        raise VolumeError("the endplate has no outline", field="mask", cure="check that the mask is one body")
    depths, edges = depths[known], edges[known]
    outermost = float(edges.max())
    near = slice(0, max(4, len(edges) // 2))
    carried = float(np.polynomial.polynomial.polyfit(depths[near], edges[near], 1)[0])
    return outermost + min(max(carried - outermost, 0.0), 1.0)


def heights_at_rims(y: Array, height: Array, back: float, front: float) -> tuple[float, float, float]:
    """Anterior, middle and posterior value of a height profile; see :meth:`Body.heights_at_rims_mm`. NaN if unknown.

    Args:
        y: (N,) Places, equally spaced, rising to the front.
        height: (N,) Heights there.
        back, front: Places of the two walls.
    """
    share = (y - back) / (front - back)

    def mean(at: float, reach: float) -> float:
        away = np.abs(share - at)
        if len(share) < 3 or away.min() > 2 * reach:
            return float("nan")
        use = away <= max(
            reach, float(np.sort(away)[1]) + 1e-9
        )  # at least two columns: one more or less must not count
        degree = 1 if use.sum() > 2 else 0
        line = np.polynomial.polynomial.polyfit(share[use], height[use], degree)
        return float(np.polynomial.polynomial.polyval(at, line))

    return mean(1.0 - RIM_INSET, RIM_REACH), mean(0.5, 2 * RIM_REACH), mean(RIM_INSET, RIM_REACH)


def heights_of_thirds(y: Array, height: Array, back: float, front: float) -> tuple[float, float, float]:
    """Means over the anterior, middle and posterior third of the depth. NaN for a third without a place.

    The outermost 5 % of the depth, where the wall rounds the corner off, are filled by the slope of their third.
    """
    share = (y - back) / (front - back)

    def mean(low: float, high: float) -> float:
        part = (share >= max(low, 0.05)) & (share < min(high, 0.95))
        if part.sum() < 3:
            return float(height[part].mean()) if part.any() else float("nan")
        slope = np.polynomial.polynomial.polyfit(share[part], height[part], 1)[1]
        return float(height[part].mean() + slope * ((low + high) / 2 - share[part].mean()))

    return mean(2 / 3, 1.0), mean(1 / 3, 2 / 3), mean(0.0, 1 / 3)
