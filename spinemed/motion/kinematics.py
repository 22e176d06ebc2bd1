"""Forward kinematics: where bodies and points are in each pose, and how points move with each freedom.

Convention: poses q [T, n] hold millimetres for the pelvis' place and radians for angles, in the order of
`BodyModel.freedoms`; points are RAS-like mm in the world. float64 throughout.

The trap: derivatives are per radian; multiply by pi/180 for degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.motion.conventions import MotionError
from spinemed.motion.model import BodyModel, MarkerSet

__all__ = ["Placement", "forward", "marker_jacobian", "marker_points", "place_points"]


@dataclass(frozen=True)
class Placement:
    """Where the bodies are: origins_mm [T, B, 3], rotations [T, B, 3, 3], and the freedoms' world axes [T, n, 3]."""

    origins_mm: NDArray[np.float64]
    rotations: NDArray[np.float64]
    axes: NDArray[np.float64]


def _poses(model: BodyModel, q: ArrayLike) -> NDArray[np.float64]:
    poses = np.ascontiguousarray(q, dtype=np.float64)
    if poses.ndim == 1:
        poses = poses[None]
    if poses.ndim != 2 or poses.shape[1] != model.size:
        raise MotionError(
            f"poses of shape {np.shape(q)} do not fit a model of {model.size} freedoms", field="q",
            cure=f"give an array of frames by {model.size}; BodyModel.zero makes one",
        )  # fmt: skip
    return poses


def forward(model: BodyModel, q: ArrayLike) -> Placement:
    """Place all bodies for poses [T, n] (or one pose [n], as T = 1).

    Raises:
        MotionError: if the poses do not fit the model.
    """
    from spinemed.motion.kernels import forward_kernel

    poses = _poses(model, q)
    frames, bodies = poses.shape[0], len(model.bodies)
    origins = np.empty((frames, bodies, 3))
    rotations = np.empty((frames, bodies, 3, 3))
    axes = np.empty((frames, model.size, 3))
    forward_kernel(
        poses, model.parent, model.offset_mm, model.rest, model.first, model.count, model.axis, model.sign, model.slide,
        origins, rotations, axes,
    )  # fmt: skip
    return Placement(origins, rotations, axes)


def place_points(placement: Placement, markers: MarkerSet) -> NDArray[np.float64]:
    """World points [T, K, 3] of markers on placed bodies."""
    from spinemed.motion.kernels import points_kernel

    points = np.empty((placement.origins_mm.shape[0], len(markers), 3))
    points_kernel(placement.origins_mm, placement.rotations, markers.body, markers.local_mm, points)
    return points


def marker_points(model: BodyModel, q: ArrayLike, markers: MarkerSet) -> NDArray[np.float64]:
    """World points [T, K, 3] in mm of markers for poses [T, n]."""
    return place_points(forward(model, q), markers)


def marker_jacobian(
    model: BodyModel, q: ArrayLike, markers: MarkerSet
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """World points [T, K, 3] and their derivatives [T, K, 3, n] by each freedom (mm per mm, mm per rad).

    A rotation about axis a through o moves x by a x (x - o) (Craig 2005, chapter 5).
    """
    from spinemed.motion.kernels import jacobian_kernel

    placement = forward(model, q)
    points = place_points(placement, markers)
    jacobian = np.zeros((*points.shape, model.size))
    jacobian_kernel(
        placement.origins_mm, placement.axes, model.parent, model.first, model.count, model.slide, markers.body, points,
        jacobian,
    )  # fmt: skip
    return points, jacobian
