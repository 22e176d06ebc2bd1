"""What cameras see: exact projections, and a plain model of a detector's errors.

Convention: pixels [V, T, K, 2]; NaN behind a camera or outside its image. A detector errs by a Gaussian whose standard
deviation is `factor` times 2 sigma s (sigma of object keypoint similarity, s the square root of the person's box),
correlated over `memory_s`; a share of points is far off, another is not found at all. Confidence falls with the error
and is itself noisy.

The trap: bodies do not hide their own points here, and errors do not depend on pose. Real detectors err otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from spinemed.config import Config
from spinemed.motion.cameras import Camera, camera_ring, look_at, project
from spinemed.motion.keypoints import OKS_SIGMAS

__all__ = ["DetectorNoise", "detect", "draw_camera", "studio", "view"]

Array = NDArray[np.float64]


class DetectorNoise(Config):
    """Errors of a 2D detector. The defaults give about 4 px per axis on a person of 600 px, as detectors of the
    published spine table (AUC .80 at a norm of 30 px)."""

    factor: float = Field(default=0.08, ge=0, le=2)
    """Standard deviation per axis in units of 2 sigma s."""
    memory_s: float = Field(default=0.1, ge=0, le=10)
    """Time after which errors are independent by 1/e."""
    outliers: float = Field(default=0.005, ge=0, le=1)
    """Share of points that are eight times farther off."""
    missed: float = Field(default=0.01, ge=0, le=1)
    """Share of visible points that are not found."""


def view(cameras: Sequence[Camera], points_mm: Array) -> Array:
    """Exact pixels [V, T, K, 2] of points [T, K, 3]; NaN behind a camera or outside its image."""
    pixels = project(cameras, points_mm)
    for number, camera in enumerate(cameras):
        pixels[number] = np.where(camera.inside(pixels[number])[..., None], pixels[number], np.nan)
    return pixels


def detect(
    pixels: Array, cameras: Sequence[Camera], noise: DetectorNoise, rng: np.random.Generator, rate_hz: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Detected pixels [V, T, K, 2] and confidence [V, T, K] (0 where nothing was found)."""
    views, frames, points, _ = pixels.shape
    exact = pixels.astype(np.float32)
    seen = np.isfinite(exact[..., 0])
    high = np.where(seen[..., None], exact, np.float32(-np.inf)).max(axis=2)
    low = np.where(seen[..., None], exact, np.float32(np.inf)).min(axis=2)
    box = np.where(high > low, high - low, np.float32(0.0))
    scale = np.sqrt(np.maximum(box[..., 0] * box[..., 1], 1.0))
    sd = np.float32(noise.factor * 2.0) * np.array(OKS_SIGMAS, dtype=np.float32) * scale[..., None]
    keep = float(np.exp(-1.0 / (noise.memory_s * rate_hz))) if noise.memory_s > 0 else 0.0
    errors = rng.standard_normal((frames, views, points, 2), dtype=np.float32)
    errors[1:] *= np.float32(np.sqrt(1.0 - keep**2))
    for k in range(1, frames):
        errors[k] += np.float32(keep) * errors[k - 1]
    off = np.swapaxes(errors, 0, 1)
    far = rng.random(sd.shape, dtype=np.float32) < noise.outliers
    off[far] *= np.float32(8.0)
    found = seen & (rng.random(sd.shape, dtype=np.float32) >= noise.missed)
    at = exact + off * sd[..., None]
    at[~found] = np.nan
    square = (off[..., 0] ** 2 + off[..., 1] ** 2) * np.float32(0.5 * (noise.factor / 0.08) ** 2)
    sure = np.float32(0.95) * np.exp(np.float32(-0.06) * square)
    sure += np.float32(0.05) * rng.standard_normal(sd.shape, dtype=np.float32)
    return at, np.where(found, np.clip(sure, np.float32(0.02), np.float32(1.0)), np.float32(0.0))


def studio(count: int, rng: np.random.Generator | None = None, *, spread: float = 1.0) -> tuple[Camera, ...]:
    """Cameras on a ring of Human3.6M's size; with random numbers each stands a little elsewhere.

    `spread` scales how far: half a metre along and across, a quarter of a metre up and down.
    """
    ring = camera_ring(count, target_mm=(0.0, 0.0, 950.0))
    if rng is None:
        return ring
    found = []
    for camera in ring:
        place = camera.place_mm + spread * rng.normal(0.0, [500.0, 500.0, 250.0])
        target = np.array([0.0, 0.0, 950.0]) + spread * rng.normal(0.0, 60.0, 3)
        found.append(_aimed(camera, place, target, float(rng.uniform(0.92, 1.05))))
    return tuple(found)


def draw_camera(name: str, rng: np.random.Generator) -> Camera:
    """One camera anywhere around the studio: 3 to 7 m away, at 0.4 to 2.6 m, focal length to keep a person in view."""
    angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(3200.0, 6800.0)
    place = np.array([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(400.0, 2600.0)])
    (model,) = camera_ring(1)
    target = np.array([0.0, 0.0, 950.0]) + rng.normal(0.0, 80.0, 3)
    camera = _aimed(model, place, target, radius / 4500.0 * float(rng.uniform(0.85, 1.1)))
    return Camera(
        name, camera.matrix, camera.distortion * float(rng.uniform(0.0, 1.2)), camera.rotation, camera.translation_mm,
        camera.size_px,
    )  # fmt: skip


def _aimed(camera: Camera, place: Array, target: Array, zoom: float) -> Camera:
    rotation, translation = look_at(place, target)
    matrix = camera.matrix.copy()
    matrix[0, 0] *= zoom
    matrix[1, 1] *= zoom
    return Camera(camera.name, matrix, camera.distortion, rotation, translation, camera.size_px)
