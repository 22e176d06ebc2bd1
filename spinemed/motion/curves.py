"""Angles that people quote, over time: lordosis, kyphosis, and the thorax against the pelvis as if it were one body.

Convention: degrees; lordosis L1-S1 and C2-C7 and kyphosis T4-T12 positive as usually given; trunk angles in the order
and signs of `conventions`. The trap: gait software treats the thorax as one rigid body, so its "lumbar" angle holds
thoracic motion too. `trunk_angles_deg` is what compares with it, not the sum of lumbar levels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.anatomy import Level
from spinemed.motion.keypoints import laboratory_markers
from spinemed.motion.kinematics import forward, place_points
from spinemed.motion.model import BodyModel
from spinemed.motion.rotations import rigid_fit, xyz_angles

__all__ = ["CURVES", "sagittal_curves_deg", "trunk_angles_deg"]

CURVES = {
    "lordosis_l1_s1": (Level.L1, Level.S1, 1.0),
    "kyphosis_t4_t12": (Level.T4, Level.T12, -1.0),
    "lordosis_c2_c7": (Level.C2, Level.C7, 1.0),
}
"""Upper end, lower end, and the sign that makes the usual value positive."""


def sagittal_curves_deg(model: BodyModel, q: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Lordosis and kyphosis [T] of poses [T, n]: resting angles less flexion, summed between the ends.

    With lateral bending or rotation this sum is the curve along the spine, not its projection on a film.
    """
    flexion = model.spine_angles_deg(np.atleast_2d(np.asarray(q, dtype=np.float64)))[..., 0]
    rest = np.array(list(model.alignment.segment_angles().values()))
    found = {}
    for name, (upper, lower, sign) in CURVES.items():
        own = np.array([upper <= s.upper < lower and s.lower <= lower for s in model.segments])
        found[name] = sign * (rest[own].sum() - flexion[:, own].sum(axis=1))
    return found


def trunk_angles_deg(model: BodyModel, q: ArrayLike) -> NDArray[np.float64]:
    """Thorax against pelvis [T, 3] from rest: flexion, lateral bending, axial rotation.

    The thorax is the rigid body that fits C7, the breastbone and both acromia best (C7, CLAV, RSHO, LSHO), as gait
    models have it. The model must have limbs.

    Raises:
        MotionError: if it has none.
    """
    markers = laboratory_markers(model, ("C7", "CLAV", "RSHO", "LSHO"))
    rest = place_points(forward(model, model.zero()), markers)[0]
    placement = forward(model, q)
    points = place_points(placement, markers)
    turn, _, _ = rigid_fit(rest, points, np.ones(len(markers)))
    relative = np.swapaxes(placement.rotations[:, 0], 1, 2) @ turn
    return np.asarray(np.degrees(xyz_angles(relative)) * np.array([-1.0, 1.0, 1.0]))
