"""Points in space from several cameras: direct and robust triangulation, with what it leaves unknown.

Convention: pixels [V, T, K, 2] of V cameras as the detector saw them (distorted), confidences [V, T, K] in 0..1 that
weigh squared residuals; the answer is mm in the cameras' world. Distortion is taken out first, so residuals are pixels
of a perfect lens with the same focal length.

"dlt" solves the linear equations (Hartley and Zisserman, Multiple View Geometry, 12.2, inhomogeneous, weighted once by
depth). "robust" goes on with Gauss-Newton on Huber's cost of the reprojection error; while a camera stays off by more
than `reject_px`, the camera whose absence lets the others agree best is left out, down to two. A point whose last two
cameras still disagree is NaN: no guess.

The trap: two cameras agree on any point of a common epipolar line, so with two views an outlier along that line is not
noticed. The covariance says how far noise carries; it knows nothing of a wrong calibration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.motion.cameras import Camera, camera_arrays
from spinemed.motion.conventions import MotionError

__all__ = ["Triangulation", "triangulate"]


@dataclass(frozen=True)
class Triangulation:
    """Triangulated points.

    Attributes:
        points_mm: [T, K, 3], NaN where fewer than two cameras see a point or no two agree.
        covariance_mm2: [T, K, 3, 3] for the stated noise; NaN with the point.
        used: [V, T, K] whether a camera counted.
        residual_px: [V, T, K] reprojection error, also of cameras left out; NaN where not seen.
        sigma_px: Noise per axis at confidence 1 that the covariance rests on.
        unseen, disagreeing: Numbers of points seen by fewer than two cameras, and of points on which no two agree.
    """

    points_mm: NDArray[np.float64]
    covariance_mm2: NDArray[np.float64]
    used: NDArray[np.bool_]
    residual_px: NDArray[np.float64]
    sigma_px: float
    unseen: int
    disagreeing: int


def triangulate(
    cameras: Sequence[Camera],
    pixels: ArrayLike,
    confidence: ArrayLike | None = None,
    *,
    method: str = "robust",
    sigma_px: float | None = None,
    huber_px: float = 5.0,
    reject_px: float = 15.0,
    min_confidence: float = 0.0,
    steps: int = 10,
) -> Triangulation:
    """Triangulate.

    Args:
        cameras: V cameras.
        pixels: [V, T, K, 2]; NaN where not seen.
        confidence: [V, T, K]; None counts every pixel fully.
        method: "robust" or "dlt".
        sigma_px: Noise per axis of a pixel of confidence 1. None estimates it from the residuals of the points that
            three or more cameras agree on (root of weighted squares over degrees of freedom, 2 V - 3 each); where
            there is no such point, or the residuals are zero, 1 px is taken.
        huber_px: From which residual on a camera pulls less.
        reject_px: Beyond which a camera counts as wrong.
        min_confidence: Below which a pixel counts as not seen.
        steps: Gauss-Newton steps at most.

    Raises:
        MotionError: fewer than two cameras, cameras in one place, shapes that do not fit, infinities, negative
            confidences, an unknown method, or nothing that two cameras see.
    """
    from spinemed.motion.camera_kernels import triangulate_kernel, undistort_kernel

    at = np.ascontiguousarray(pixels, dtype=np.float64)
    if len(cameras) < 2:
        raise MotionError(
            f"{len(cameras)} camera cannot tell depth", field="cameras",
            cure="give two or more calibrated cameras, or use a lifter for a single view",
        )  # fmt: skip
    if at.ndim != 4 or at.shape[0] != len(cameras) or at.shape[-1] != 2:
        raise MotionError(
            f"pixels of shape {at.shape} for {len(cameras)} cameras", field="pixels",
            cure="give cameras x frames x keypoints x 2, as many cameras as calibrated",
        )  # fmt: skip
    if np.isinf(at).any():
        raise MotionError("infinite pixels", field="pixels", cure="write what was not seen as NaN")
    weight = np.ones(at.shape[:-1]) if confidence is None else np.array(confidence, dtype=np.float64)
    if weight.shape != at.shape[:-1]:
        raise MotionError(
            f"confidences of shape {weight.shape} for pixels of shape {at.shape}", field="confidence",
            cure="give one per pixel",
        )  # fmt: skip
    weight = np.where(np.isfinite(weight), weight, 0.0)
    if (weight < 0).any():
        raise MotionError("negative confidences", field="confidence", cure="give 0 to 1")
    if method not in ("robust", "dlt"):
        raise MotionError(f"{method!r} is no method", field="method", cure='use "robust" or "dlt"')
    if sigma_px is not None and not sigma_px > 0:
        raise MotionError(f"{sigma_px} px of noise", field="sigma_px", cure="give a positive number, or None")
    places = np.array([camera.place_mm for camera in cameras])
    if np.ptp(places, axis=0).max() < 1.0:
        raise MotionError(
            "all cameras stand in one place, so depth is unknown", field="cameras", cure="check their translations"
        )
    weight[weight < min_confidence] = 0.0
    views, frames, keypoints = weight.shape
    matrix, lens, rotation, translation, fisheye = camera_arrays(cameras)
    normal = np.empty((views, frames * keypoints, 2))
    undistort_kernel(at.reshape(views, -1, 2), matrix, lens, fisheye, normal)
    focal = np.ascontiguousarray(matrix[:, [0, 1], [0, 1]])
    count = frames * keypoints
    points, covariance = np.empty((count, 3)), np.empty((count, 3, 3))
    used, residual = np.empty((views, count), dtype=np.bool_), np.empty((views, count))
    flat = np.ascontiguousarray(weight.reshape(views, -1))
    triangulate_kernel(
        normal, flat, rotation, translation, focal, method == "robust", float(huber_px), float(reject_px), int(steps),
        points, covariance, used, residual,
    )  # fmt: skip
    seen = ((flat > 0) & np.isfinite(normal).all(axis=-1)).sum(axis=0)
    if not (seen >= 2).any():
        raise MotionError(
            "no point is seen by two cameras", field="pixels",
            cure="check that the cameras are in the same order as the pixels, and the least confidence",
        )  # fmt: skip
    good = np.isfinite(points[:, 0])
    sigma = float(sigma_px) if sigma_px is not None else _noise(residual, flat, used, good)
    return Triangulation(
        points_mm=points.reshape(frames, keypoints, 3),
        covariance_mm2=covariance.reshape(frames, keypoints, 3, 3) * sigma**2,
        used=used.reshape(views, frames, keypoints),
        residual_px=residual.reshape(views, frames, keypoints),
        sigma_px=sigma,
        unseen=int((seen < 2).sum()),
        disagreeing=int(((seen >= 2) & ~good).sum()),
    )


def _noise(
    residual: NDArray[np.float64], weight: NDArray[np.float64], used: NDArray[np.bool_], good: NDArray[np.bool_]
) -> float:
    """Standard deviation per axis in px at confidence 1, from points that more than two cameras share."""
    views = used.sum(axis=0)
    some = good & (views >= 3)
    if not some.any():
        return 1.0
    squares = np.where(used[:, some], weight[:, some] * residual[:, some] ** 2, 0.0).sum()
    sigma = float(np.sqrt(squares / (2 * views[some] - 3).sum()))
    return sigma if sigma > 1e-6 else 1.0
