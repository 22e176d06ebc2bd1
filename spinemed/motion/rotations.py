"""Small rotations: elementary matrices, angles back from a matrix, and the best rigid fit of two point sets.

Convention: right-handed, column vectors, radians. The trap: three angles in sequence lose one freedom where the middle
one reaches 90 degrees; `yxz`-like names here always read from the outermost (first applied, fixed axis) to the inmost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["elementary", "rigid_fit", "rotation_xyz", "rotation_zyx", "xyz_angles", "zyx_angles"]


def elementary(axis: int, angle_rad: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrices [..., 3, 3] about coordinate axis 0, 1 or 2 by angles [...] in radians."""
    angle = np.asarray(angle_rad, dtype=np.float64)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.zeros((*angle.shape, 3, 3))
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix[..., axis, axis] = 1.0
    matrix[..., first, first] = cosine
    matrix[..., second, second] = cosine
    matrix[..., first, second] = -sine
    matrix[..., second, first] = sine
    return matrix


def rotation_xyz(angles_rad: ArrayLike) -> NDArray[np.float64]:
    """Rx(a) Ry(b) Rz(c) for angles [..., 3]: the order of the spine's joints (with a = -flexion)."""
    a = np.asarray(angles_rad, dtype=np.float64)
    return elementary(0, a[..., 0]) @ elementary(1, a[..., 1]) @ elementary(2, a[..., 2])


def xyz_angles(rotation: ArrayLike) -> NDArray[np.float64]:
    """Angles [..., 3] in radians with Rx Ry Rz = rotation; the middle one lies within +-90 degrees."""
    r = np.asarray(rotation, dtype=np.float64)
    second = np.arctan2(r[..., 0, 2], np.hypot(r[..., 1, 2], r[..., 2, 2]))
    return np.stack([np.arctan2(-r[..., 1, 2], r[..., 2, 2]), second, np.arctan2(-r[..., 0, 1], r[..., 0, 0])], axis=-1)


def rotation_zyx(angles_rad: ArrayLike) -> NDArray[np.float64]:
    """Rz(a) Ry(b) Rx(c) for angles [..., 3]: the order of the pelvis (rotation, obliquity, tilt)."""
    a = np.asarray(angles_rad, dtype=np.float64)
    return elementary(2, a[..., 0]) @ elementary(1, a[..., 1]) @ elementary(0, a[..., 2])


def zyx_angles(rotation: ArrayLike) -> NDArray[np.float64]:
    """Angles [..., 3] in radians with Rz Ry Rx = rotation; the middle one lies within +-90 degrees."""
    r = np.asarray(rotation, dtype=np.float64)
    second = np.arctan2(-r[..., 2, 0], np.hypot(r[..., 2, 1], r[..., 2, 2]))
    return np.stack([np.arctan2(r[..., 1, 0], r[..., 0, 0]), second, np.arctan2(r[..., 2, 1], r[..., 2, 2])], axis=-1)


def rigid_fit(
    model: ArrayLike, seen: ArrayLike, weights: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """The rotation and translation that carry model points onto seen points best, in each frame.

    Weighted least squares by singular values (Kabsch 1976, Umeyama 1991), reflections excluded.

    Args:
        model: [K, 3] or [T, K, 3].
        seen: [T, K, 3]; NaN where nothing was seen.
        weights: [K], not negative.

    Returns:
        Rotations [T, 3, 3], translations [T, 3] with seen = R model + t, and a mask [T] of the frames that hold three
        points or more (the others carry the identity and NaN).
    """
    seen = np.asarray(seen, dtype=np.float64)
    model = np.broadcast_to(np.asarray(model, dtype=np.float64), seen.shape)
    there = np.isfinite(seen).all(axis=-1)
    w = np.where(there, np.asarray(weights, dtype=np.float64), 0.0)[..., None]
    total = np.maximum(w.sum(axis=1), 1e-12)
    clean = np.where(there[..., None], seen, 0.0)
    centre_model, centre_seen = (w * model).sum(axis=1) / total, (w * clean).sum(axis=1) / total
    moment = np.einsum("tki,tkj->tij", w * (clean - centre_seen[:, None]), model - centre_model[:, None])
    left, _, right = np.linalg.svd(moment)
    sign = np.sign(np.linalg.det(left @ right))
    left[..., :, 2] *= sign[:, None]
    rotation = left @ right
    enough = (there & (np.asarray(weights) > 0)).sum(axis=1) >= 3
    rotation[~enough] = np.eye(3)
    translation = centre_seen - np.einsum("tij,tj->ti", rotation, centre_model)
    translation[~enough] = np.nan
    return rotation, translation, enough
