"""A smooth curve through the spine, and the straightened space along it.

A :class:`Curve` runs through points (vertebral body centres, say) as a natural cubic spline over the chord length and
is addressed by arc length in mm. At each place it carries a frame of three unit vectors:

- `along`: the tangent, in the order of the points;
- `anterior`: the world's anterior direction made perpendicular to the tangent. A fixed anatomical reference, so that
  left, right and front keep their meaning from end to end;
- `right`: anterior × along. On a curve that runs upwards it points to the patient's right.

Curve-local points are (right_mm, anterior_mm, along_mm); beyond its ends the curve goes on straight.

Trap: a place on the inner side of a bend, farther from the curve than its radius of curvature, has several foot points;
the inverse refuses it instead of choosing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.geometry.affine import WorldPoints

__all__ = ["Curve", "CurvePoints", "polyline_length_mm"]

Array = NDArray[np.float64]

_ANTERIOR = np.array([0.0, 1.0, 0.0])
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_PIECES = 64  # integration pieces per segment: the arc length is then exact to about 1e-9 mm
_NEWTON = 60
_NO_FOOT = 1e6  # mm
_BLOCK = 4096  # points per block: 4096 x (64 samples per segment) distances at a time


def polyline_length_mm(points: WorldPoints) -> float:
    """Length of the straight pieces that join the points in their order. One point: 0."""
    return float(np.linalg.norm(np.diff(points.values, axis=0), axis=1).sum())


@dataclass(frozen=True, eq=False)
class CurvePoints:
    """Points in the space along a curve, mm.

    Args:
        values: (N, 3): right, anterior, along (arc length from the first point of the curve).
    """

    values: Array

    def __post_init__(self) -> None:
        checked = WorldPoints(self.values).values  # the same demands on shape and finiteness
        object.__setattr__(self, "values", checked)


@dataclass(frozen=True, eq=False)
class Curve:
    """A natural cubic spline through at least two world points, addressed by arc length.

    Args:
        points: The points in order, caudal to cranial or the reverse. Two points give a straight line.

    Raises:
        VolumeError: fewer than two points, or neighbours closer than 0.001 mm.
    """

    points: WorldPoints
    length_mm: float = field(init=False)
    _spline: Any = field(init=False, repr=False)
    _parameter: Array = field(init=False, repr=False)
    _arc: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from scipy.interpolate import CubicSpline

        knots = self.points.values
        if len(knots) < 2:
            raise VolumeError("a curve needs at least two points", cure="give the centres of two or more vertebrae")
        chords = np.linalg.norm(np.diff(knots, axis=0), axis=1)
        if (chords < 1e-3).any():
            raise VolumeError("two neighbouring points of a curve coincide", cure="give each point once")
        places = np.concatenate([[0.0], np.cumsum(chords)])
        spline = CubicSpline(places, knots, bc_type="natural")
        edges = np.concatenate(
            [np.linspace(a, b, _PIECES, endpoint=False) for a, b in pairwise(places)] + [places[-1:]]
        )
        half = np.diff(edges) / 2
        inner = (edges[:-1] + half)[:, None] + half[:, None] * _NODES
        speed = np.linalg.norm(spline(inner, 1), axis=-1)
        arc = np.concatenate([[0.0], np.cumsum((speed * _WEIGHTS).sum(axis=1) * half)])
        object.__setattr__(self, "_spline", spline)
        object.__setattr__(self, "_parameter", edges)
        object.__setattr__(self, "_arc", arc)
        object.__setattr__(self, "length_mm", float(arc[-1]))

    def _at(self, along_mm: ArrayLike) -> tuple[Array, Array]:
        """Spline parameter within the curve, and the straight rest beyond its ends (mm), for each arc length."""
        along = np.atleast_1d(np.asarray(along_mm, dtype=np.float64))
        inside = np.clip(along, 0.0, self.length_mm)
        parameter = np.interp(inside, self._arc, self._parameter)
        for _ in range(3):  # Newton on arc(parameter) = inside; the table alone is exact to about 1e-5 mm
            parameter = np.clip(
                parameter - (self._arc_at(parameter) - inside) / np.linalg.norm(self._spline(parameter, 1), axis=-1),
                self._parameter[0],
                self._parameter[-1],
            )
        return parameter, along - inside

    def _arc_at(self, parameter: Array) -> Array:
        piece = np.clip(np.searchsorted(self._parameter, parameter, side="right") - 1, 0, len(self._parameter) - 2)
        start = self._parameter[piece]
        half = (parameter - start) / 2
        speed = np.linalg.norm(self._spline((start + half)[:, None] + half[:, None] * _NODES, 1), axis=-1)
        arc_mm: Array = self._arc[piece] + (speed * _WEIGHTS).sum(axis=1) * half
        return arc_mm

    def positions(self, along_mm: ArrayLike) -> WorldPoints:
        """World points at arc lengths (mm); below 0 and above `length_mm` on the straight continuation."""
        parameter, rest = self._at(along_mm)
        return WorldPoints(self._spline(parameter) + rest[:, None] * self._tangent(parameter))

    def tangents(self, along_mm: ArrayLike) -> Array:
        """Unit tangents (N, 3) at arc lengths (mm)."""
        return self._tangent(self._at(along_mm)[0])

    def _tangent(self, parameter: Array) -> Array:
        slope = self._spline(parameter, 1)
        return np.asarray(slope / np.linalg.norm(slope, axis=-1, keepdims=True))

    def frames(self, along_mm: ArrayLike) -> Array:
        """Frames (N, 3, 3) at arc lengths: the rows are the unit vectors right, anterior, along.

        Raises:
            VolumeError: the curve runs within 10 degrees of the antero-posterior direction, where "anterior" has no
                meaning across it.
        """
        along = self.tangents(along_mm)
        anterior = _ANTERIOR - (along @ _ANTERIOR)[:, None] * along
        size = np.linalg.norm(anterior, axis=-1, keepdims=True)
        if (size < np.sin(np.radians(10))).any():
            raise VolumeError(
                "the curve runs front to back somewhere, so that it has no anterior side there",
                cure="check the points and their order; a spine runs head to foot",
            )
        anterior = anterior / size
        return np.stack([np.cross(anterior, along), anterior, along], axis=1)

    def to_world(self, points: CurvePoints) -> WorldPoints:
        """World points of curve-local points."""
        if not isinstance(points, CurvePoints):
            raise TypeError(f"CurvePoints expected, found {type(points).__name__}")
        across, along = points.values[:, :2], points.values[:, 2]
        frames = self.frames(along)
        return WorldPoints(self.positions(along).values + np.einsum("nc,ncw->nw", across, frames[:, :2]))

    def to_local(self, points: WorldPoints) -> CurvePoints:
        """Curve-local points of world points: the foot of the perpendicular on the curve, and the offsets there.

        Raises:
            VolumeError: a point has more than one foot on the curve and its straight continuations.
        """
        if not isinstance(points, WorldPoints):
            raise TypeError(f"WorldPoints expected, found {type(points).__name__}")
        world = points.values
        blocks = [self._only_foot(world[start : start + _BLOCK]) for start in range(0, len(world), _BLOCK)]
        along = np.concatenate([np.zeros(0), *blocks])
        for _ in range(_NEWTON):
            miss, slope = self._foot(world, along)
            step = miss / np.maximum(slope, 1e-2)
            along = along + step
            if np.abs(step).max(initial=0.0) < 1e-10:
                break
        miss, _ = self._foot(world, along)
        if np.abs(miss).max(initial=0.0) > 1e-6:
            raise VolumeError("the foot point on the curve was not found", cure="map only points near the spine")
        offset = world - self.positions(along).values
        across = np.einsum("nw,ncw->nc", offset, self.frames(along)[:, :2])
        return CurvePoints(np.column_stack([across, along]))

    def to_local_near(self, points: WorldPoints, along_mm: ArrayLike) -> CurvePoints:
        """Curve-local points of world points from a first guess of their place along the curve.

        For places beside a known stretch of a bent curve, where a far point may have several feet: each point gets the
        foot that Newton's method reaches from its guess, and where it reaches none, far beside the curve.

        Args:
            points: (N, 3) places.
            along_mm: (N,) Guesses.
        """
        world = points.values
        along = np.array(along_mm, dtype=np.float64)
        todo = np.arange(len(world))
        for _ in range(_NEWTON):
            miss, slope = self._foot(world[todo], along[todo])
            step = np.clip(miss / np.maximum(slope, 0.1), -10.0, 10.0)
            along[todo] += step
            todo = todo[np.abs(step) > 1e-9]
            if not len(todo):
                break
        offset = world - self.positions(along).values
        across = np.einsum("nw,ncw->nc", offset, self.frames(along)[:, :2])
        across[todo] = _NO_FOOT
        return CurvePoints(np.column_stack([across, along]))

    def spread(self, local: CurvePoints) -> Array:
        """(N,) mm that a place beside the curve moves per mm along it; at 0 and below, planes across the curve meet."""
        return self._foot(self.to_world(local).values, local.values[:, 2])[1]

    def _foot(self, world: Array, along: Array) -> tuple[Array, Array]:
        """How far (mm) each point lies ahead of the plane across the curve, and how that falls per mm of advance."""
        parameter, rest = self._at(along)
        tangent = self._tangent(parameter)
        offset = world - self._spline(parameter) - rest[:, None] * tangent
        first, second = self._spline(parameter, 1), self._spline(parameter, 2)
        speed2 = (first * first).sum(axis=-1, keepdims=True)
        bend = (second - (second * tangent).sum(axis=-1, keepdims=True) * tangent) / speed2  # curvature vector, 1/mm
        bend[rest != 0] = 0.0
        return (offset * tangent).sum(axis=-1), 1.0 - (offset * bend).sum(axis=-1)

    def _only_foot(self, world: Array) -> Array:
        """About the arc length of the foot of each point, after it was found to be the only one.

        `ahead` is how far the point lies in front of the plane across the curve at each sample. A foot is where it
        changes sign; on the straight continuations it changes by 1 per mm, so that its sign at the ends tells.
        """
        samples, tangents = self._spline(self._parameter), self._tangent(self._parameter)
        ahead = world @ tangents.T - (samples * tangents).sum(axis=-1)
        front = ahead > 0
        feet = (front[:, 1:] != front[:, :-1]).sum(axis=1) + ~front[:, 0] + front[:, -1]
        if (feet != 1).any():
            raise VolumeError(
                f"{int((feet != 1).sum())} of {len(world)} points have more than one foot on the curve",
                cure="map only points nearer to the spine than its radius of curvature",
            )
        rows, last = np.arange(len(world)), front.sum(axis=1) - 1
        low, high = np.clip(last, 0, None), np.clip(last + 1, None, len(samples) - 1)
        fall = ahead[rows, low] - ahead[rows, high]
        share = np.divide(ahead[rows, low], fall, out=np.zeros(len(world)), where=fall > 0)
        inside = self._arc[low] + share * (self._arc[high] - self._arc[low])
        before, behind = last < 0, last == len(samples) - 1
        arc_mm: Array = np.where(before, ahead[:, 0], np.where(behind, self.length_mm + ahead[:, -1], inside))
        return arc_mm
