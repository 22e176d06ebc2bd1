"""Axes, units, angle signs, and the way to OpenSim's axes and back.

Convention: points are millimetres on RAS-like axes of a standing person who faces +y: **x right, y anterior, z up**.
Every vertebra carries the same axes (z along its own long axis), so at rest they are tilted only in the sagittal plane.
A joint turns the cranial body in the frame of the caudal one, caudal to cranial, in the ISB order *flexion - lateral
bending - axial rotation* (Wu 2002: first axis fixed in the lower body, third in the upper one)::

    R(upper in lower) = R_rest  Rx(-flexion)  Ry(lateral bending)  Rz(axial rotation)

========================  ========================  ==================  ===================
motion of the spine       positive means            axis here (RAS)     OpenSim coordinate
========================  ========================  ==================  ===================
flexion                   forward                   -x                  rotation about z, sign turned
lateral bending           to the right              +y                  rotation about x, same sign
axial rotation            to the left               +z                  rotation about y, same sign
========================  ========================  ==================  ===================

The picture, seen from the right, from behind and from above::

      flexion +            lateral bending +           axial rotation +
     up |  ) forward         up | (  to the right        anterior | ( nose to the left
        o----> anterior         o----> right                      o----> right

The pelvis turns as *rotation - obliquity - tilt* (Baker 2001): heading about z, then Ry, then Rx. Because R_rest is a
sagittal rotation, flexion simply adds to the resting tilt: lordosis over time is resting lordosis minus flexion.

The trap: OpenSim counts flexion of the trunk negative and works in metres on x anterior, y up, z right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import SpineMedError

__all__ = [
    "DIRECTIONS",
    "SIGNS",
    "UNITS_MM",
    "MotionError",
    "from_opensim",
    "from_up_axis",
    "opensim_rotation",
    "spine_angles_from_opensim",
    "spine_angles_to_opensim",
    "to_millimetres",
    "to_opensim",
    "to_up_axis",
]

DIRECTIONS = ("flexion", "lateral_bending", "axial_rotation")
"""The three rotations of a spinal joint, in the order in which they are applied."""

SIGNS = {
    "flexion": ("x", -1.0, "forward"),
    "lateral_bending": ("y", 1.0, "to the right"),
    "axial_rotation": ("z", 1.0, "to the left"),
}
"""Axis, sign and meaning of a positive angle."""

UNITS_MM = {"mm": 1.0, "cm": 10.0, "m": 1000.0}

# Columns (y, z, x) of a RAS point are OpenSim's (x anterior, y up, z right).
_TO_OPENSIM = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
_FROM_UP = {
    "z": np.eye(3),
    # Motion laboratories and OpenSim write y up, x forward, z right.
    "y": _TO_OPENSIM.T,
}


class MotionError(SpineMedError):
    """Markers, angles or a model of motion are unusable: shapes, names, units, nothing visible."""


def to_millimetres(points: ArrayLike, unit: str) -> NDArray[np.float64]:
    """Points in millimetres from a declared unit, one of `UNITS_MM`.

    Raises:
        MotionError: for any other unit.
    """
    if unit not in UNITS_MM:
        raise MotionError(f"the unit {unit!r} is unknown", field="unit", cure=f"declare one of {', '.join(UNITS_MM)}")
    return np.asarray(points, dtype=np.float64) * UNITS_MM[unit]


def to_opensim(points_mm: ArrayLike) -> NDArray[np.float64]:
    """Points [..., 3] from RAS millimetres to OpenSim: metres, x anterior, y up, z right."""
    return np.asarray(points_mm, dtype=np.float64)[..., [1, 2, 0]] / 1000.0


def from_opensim(points_m: ArrayLike) -> NDArray[np.float64]:
    """Points [..., 3] from OpenSim metres to RAS millimetres: the inverse of `to_opensim`."""
    return np.asarray(points_m, dtype=np.float64)[..., [2, 0, 1]] * 1000.0


def opensim_rotation(rotation: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrices [..., 3, 3] re-expressed on OpenSim's axes: P R P^T."""
    turned: NDArray[np.float64] = _TO_OPENSIM @ np.asarray(rotation, dtype=np.float64) @ _TO_OPENSIM.T
    return turned


def spine_angles_to_opensim(angles_deg: ArrayLike) -> NDArray[np.float64]:
    """Angles [..., 3] (flexion, lateral bending, axial rotation) as OpenSim's Flex_Ext, Lat_Bending, axial_rotation.

    OpenSim turns about z (right), then x (anterior), then y (up), all by the right hand, so only flexion changes sign.
    """
    turned: NDArray[np.float64] = np.asarray(angles_deg, dtype=np.float64) * np.array([-1.0, 1.0, 1.0])
    return turned


def spine_angles_from_opensim(angles_deg: ArrayLike) -> NDArray[np.float64]:
    """The inverse of `spine_angles_to_opensim`; the map is its own inverse."""
    return spine_angles_to_opensim(angles_deg)


def from_up_axis(points: ArrayLike, up: str) -> NDArray[np.float64]:
    """Points [..., 3] of a laboratory with `up` "y" (x forward, z right) or "z", on our axes (z up).

    Raises:
        MotionError: for any other axis.
    """
    return np.asarray(points, dtype=np.float64) @ _up(up).T


def to_up_axis(points: ArrayLike, up: str) -> NDArray[np.float64]:
    """The inverse of `from_up_axis`."""
    return np.asarray(points, dtype=np.float64) @ _up(up)


def _up(up: str) -> NDArray[np.float64]:
    if up not in _FROM_UP:
        raise MotionError(f"the upward axis {up!r} is unknown", field="up", cure='declare "y" or "z"')
    return _FROM_UP[up]
