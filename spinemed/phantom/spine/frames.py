"""Frames of vertebrae and the way they are stacked: S1's endplate first, then disc, body, disc … up to C2.

Convention: a frame's rotation has the own axes (+x right, +y anterior, +z cranial) as its columns, in world RAS+ mm. A
rim plane is z = centre + tan(tilt)·y + tan(lateral)·x in its vertebra's frame. A disc turns the body above it by its
sagittal wedge, lateral wedge and axial rotation, half before and half after its height; in the midsagittal plane the
turn is the wedge exactly.

The trap: neighbouring endplates have different depths. Bodies are stacked with their posterior walls in line (the
posterior lower corner above projects onto the posterior upper corner below), not with their centres in line: only so is
a spine without a slip measured as one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Frame", "Link", "RimPlane", "axial_turn", "endplate_frame", "plane_turn", "sacral_frame", "stack"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frame:
    """Where a vertebra stands.

    Attributes:
        origin_mm: (3,) world point of the own frame's origin.
        rotation: (3, 3) own axes as columns; orthonormal, right-handed.
    """

    origin_mm: Array
    rotation: Array

    def to_world(self, points_mm: ArrayLike) -> Array:
        """Own points (..., 3) in world mm."""
        result: Array = np.asarray(points_mm, dtype=np.float64) @ self.rotation.T + self.origin_mm
        return result

    def to_own(self, points_mm: ArrayLike) -> Array:
        """World points (..., 3) in the own frame, mm."""
        result: Array = (np.asarray(points_mm, dtype=np.float64) - self.origin_mm) @ self.rotation
        return result


class RimPlane(NamedTuple):
    """An endplate's rim plane in its vertebra's own frame."""

    centre_mm: float
    tilt_deg: float
    lateral_deg: float


class Link(NamedTuple):
    """One disc and the body that stands on it."""

    height_mm: float
    wedge_deg: float
    lateral_deg: float
    axial_deg: float
    below_depth_mm: float
    """Depth of the endplate below the disc."""
    lower_depth_mm: float
    """Depth of the body's lower endplate."""
    lower: RimPlane
    upper: RimPlane
    moved_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """A slip, in the frame of the endplate below the disc."""


def plane_turn(tilt_deg: float, lateral_deg: float) -> Array:
    """(3, 3) frame of the plane z = tan(tilt)·y + tan(lateral)·x: its columns lie in the plane, in it, and across it.

    The first column has no y, so that without a lateral tilt this is the turn about +x by `tilt_deg`.
    """
    across, along = math.tan(math.radians(lateral_deg)), math.tan(math.radians(tilt_deg))
    to_x = 1.0 / math.sqrt(1.0 + across * across)
    to_z = 1.0 / math.sqrt(1.0 + across * across + along * along)
    x = (to_x, 0.0, across * to_x)
    n = (-across * to_z, -along * to_z, to_z)
    y = (n[1] * x[2] - n[2] * x[1], n[2] * x[0] - n[0] * x[2], n[0] * x[1] - n[1] * x[0])
    return np.array(((x[0], y[0], n[0]), (x[1], y[1], n[1]), (x[2], y[2], n[2])))


def axial_turn(angle_deg: float) -> Array:
    """(3, 3) turn about +z, counter-clockwise seen from above."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    return np.array(((cos, -sin, 0.0), (sin, cos, 0.0), (0.0, 0.0, 1.0)))


def sacral_frame(sacral_slope_deg: float) -> Frame:
    """S1's frame: origin at the world's origin, its endplate falling to the front by the sacral slope."""
    return Frame(np.zeros(3), plane_turn(-sacral_slope_deg, 0.0))


def endplate_frame(frame: Frame, plane: RimPlane) -> Frame:
    """The frame of an endplate: origin in its centre, +z along its normal (cranial)."""
    return Frame(
        frame.origin_mm + plane.centre_mm * frame.rotation[:, 2],
        frame.rotation @ plane_turn(plane.tilt_deg, plane.lateral_deg),
    )


def stack(sacrum: Frame, links: Iterable[Link]) -> list[Frame]:
    """Frames of the bodies, from the one on the sacrum upwards.

    Args:
        sacrum: S1's frame, the upper endplate of S1 being its z = 0 plane.
        links: Caudal to cranial.
    """
    centre, turn = sacrum.origin_mm, sacrum.rotation
    frames: list[Frame] = []
    for link in links:
        half = plane_turn(link.wedge_deg / 2, link.lateral_deg / 2)
        lean = math.radians(link.wedge_deg / 2)
        # Brings the posterior lower corner above onto the normal through the posterior upper corner below.
        forward = (
            link.height_mm * math.sin(lean) + link.lower_depth_mm / 2 * math.cos(2 * lean) - link.below_depth_mm / 2
        ) / math.cos(lean)
        middle = turn @ half
        point = centre + turn @ np.array(link.moved_mm) if any(link.moved_mm) else centre
        point = point + middle @ np.array((0.0, forward, link.height_mm))
        plate = middle @ axial_turn(link.axial_deg) @ half if link.axial_deg else middle @ half
        own = plate @ plane_turn(link.lower.tilt_deg, link.lower.lateral_deg).T
        frame = Frame(point - link.lower.centre_mm * own[:, 2], own)
        frames.append(frame)
        top = endplate_frame(frame, link.upper)
        centre, turn = top.origin_mm, top.rotation
    return frames
