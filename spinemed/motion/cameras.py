"""Cameras: intrinsic and extrinsic parameters, lens distortion, projection and its inverse.

Convention: OpenCV's models (docs.opencv.org, "Camera Calibration and 3D Reconstruction"): camera coordinates are
R X + t with x right, y down, z into the scene; pixels have their origin in the centre of the first pixel. The lens is
the Brown-Conrady model with 4, 5, 8 (rational) or 12 (thin prism) coefficients, or the fisheye model with 4. World
points and translations are millimetres on our axes.

The traps: t is not the camera's place (that is -R' t), and R (X - t) is not a camera coordinate. Distortion polynomials
fold back far outside the image; a point there has no inverse and becomes NaN.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.motion.conventions import UNITS_MM, MotionError, from_up_axis

__all__ = [
    "Camera",
    "camera_arrays",
    "camera_ring",
    "look_at",
    "project",
    "read_calibration",
    "rodrigues",
    "rotation_vector",
    "undistort",
    "write_calibration",
]

_LENGTHS = {False: (0, 4, 5, 8, 12), True: (0, 4)}


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        name: Unique among the cameras of a rig.
        matrix: [3, 3] intrinsic matrix in pixels.
        distortion: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1 s2 s3 s4]]], or fisheye k1..k4; empty for a perfect lens.
        rotation: [3, 3] world to camera.
        translation_mm: [3] of R X + t.
        size_px: Width and height.
        fisheye: Which lens model.
    """

    name: str
    matrix: NDArray[np.float64]
    distortion: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation_mm: NDArray[np.float64]
    size_px: tuple[int, int]
    fisheye: bool = False

    def __post_init__(self) -> None:
        for field, shape in (("matrix", (3, 3)), ("rotation", (3, 3)), ("translation_mm", (3,))):
            value = np.asarray(getattr(self, field), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise MotionError(
                    f"camera {self.name!r}: {field} of shape {value.shape}, expected finite {shape}", field=field,
                    cure="mend the calibration",
                )  # fmt: skip
            object.__setattr__(self, field, value)
        lens = np.atleast_1d(np.asarray(self.distortion, dtype=np.float64)).ravel()
        if lens.size not in _LENGTHS[self.fisheye] or not np.isfinite(lens).all():
            raise MotionError(
                f"camera {self.name!r}: {lens.size} distortion coefficients", field="distortions",
                cure=f"give one of {_LENGTHS[self.fisheye]} finite numbers",
            )  # fmt: skip
        object.__setattr__(self, "distortion", lens)
        if self.matrix[0, 0] <= 0 or self.matrix[1, 1] <= 0 or not np.allclose(self.matrix[2], (0, 0, 1)):
            raise MotionError(
                f"camera {self.name!r}: the matrix is no intrinsic matrix", field="matrix",
                cure="give [[fx, skew, cx], [0, fy, cy], [0, 0, 1]]",
            )  # fmt: skip
        if np.abs(self.rotation @ self.rotation.T - np.eye(3)).max() > 1e-5 or np.linalg.det(self.rotation) < 0:
            raise MotionError(
                f"camera {self.name!r}: the rotation is none", field="rotation",
                cure="give an orthonormal matrix without reflection, or a Rodrigues vector in the TOML file",
            )  # fmt: skip

    @property
    def place_mm(self) -> NDArray[np.float64]:
        """[3] where the camera stands in the world."""
        return np.asarray(-self.rotation.T @ self.translation_mm)

    def to_camera(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """World points [..., 3] in camera coordinates: R X + t."""
        return np.asarray(points_mm, dtype=np.float64) @ self.rotation.T + self.translation_mm

    def to_world(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Camera coordinates [..., 3] in the world: R' (X - t)."""
        return (np.asarray(points_mm, dtype=np.float64) - self.translation_mm) @ self.rotation

    def project(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Pixels [..., 2] of world points [..., 3], with distortion. NaN behind the camera and for missing points."""
        pixels: NDArray[np.float64] = project([self], points_mm)[0]
        return pixels

    def inside(self, pixels: ArrayLike) -> NDArray[np.bool_]:
        """Whether pixels [..., 2] lie in the image; False for NaN."""
        at = np.asarray(pixels, dtype=np.float64)
        high = np.array(self.size_px, dtype=np.float64) - 0.5
        return np.asarray(((at >= -0.5) & (at <= high)).all(axis=-1))


def camera_arrays(cameras: Sequence[Camera]) -> tuple[NDArray[np.float64], ...]:
    """For kernels: matrices [V, 3, 3], lenses [V, 12], rotations [V, 3, 3], translations [V, 3], fisheye [V] (0, 1)."""
    lens = np.zeros((len(cameras), 12))
    for row, camera in zip(lens, cameras, strict=True):
        row[: camera.distortion.size] = camera.distortion
    return (
        np.ascontiguousarray([c.matrix for c in cameras], dtype=np.float64).reshape(-1, 3, 3),
        lens,
        np.ascontiguousarray([c.rotation for c in cameras], dtype=np.float64).reshape(-1, 3, 3),
        np.ascontiguousarray([c.translation_mm for c in cameras], dtype=np.float64).reshape(-1, 3),
        np.array([float(c.fisheye) for c in cameras]),
    )


def project(cameras: Sequence[Camera], points_mm: ArrayLike) -> NDArray[np.float64]:
    """Pixels [V, ..., 2] of world points [..., 3] in each camera, with distortion.

    NaN behind a camera (z <= 0) and for points that are NaN. Whether a pixel lies in the image says `Camera.inside`.

    Raises:
        MotionError: no camera, or points that are not [..., 3].
    """
    from spinemed.motion.camera_kernels import project_kernel

    points = np.ascontiguousarray(points_mm, dtype=np.float64)
    if points.shape[-1:] != (3,) or not cameras:
        raise MotionError(
            f"points of shape {points.shape} for {len(cameras)} cameras", field="points_mm",
            cure="give an array whose last axis is x, y, z, and at least one camera",
        )  # fmt: skip
    flat = points.reshape(-1, 3)
    pixels = np.empty((len(cameras), len(flat), 2))
    matrix, lens, rotation, translation, fisheye = camera_arrays(cameras)
    project_kernel(flat, matrix, lens, rotation, translation, fisheye, pixels)
    return pixels.reshape(len(cameras), *points.shape[:-1], 2)


def undistort(cameras: Sequence[Camera], pixels: ArrayLike) -> NDArray[np.float64]:
    """Normalised coordinates [V, ..., 2] (x/z, y/z) that a perfect lens would have seen for pixels [V, ..., 2].

    Newton's method on the distortion, to 1e-12; NaN where the lens model has no inverse.

    Raises:
        MotionError: if the first axis does not count the cameras.
    """
    from spinemed.motion.camera_kernels import undistort_kernel

    at = np.ascontiguousarray(pixels, dtype=np.float64)
    if at.ndim < 2 or len(at) != len(cameras) or at.shape[-1] != 2:
        raise MotionError(
            f"pixels of shape {at.shape} for {len(cameras)} cameras", field="pixels",
            cure="give cameras first and x, y last",
        )  # fmt: skip
    flat = at.reshape(len(cameras), -1, 2)
    found = np.empty_like(flat)
    matrix, lens, _, _, fisheye = camera_arrays(cameras)
    undistort_kernel(flat, matrix, lens, fisheye, found)
    return found.reshape(at.shape)


def rodrigues(vector: ArrayLike) -> NDArray[np.float64]:
    """Rotation matrix [3, 3] of a rotation vector [3] in rad: Rodrigues' formula."""
    v = np.asarray(vector, dtype=np.float64).reshape(3)
    angle = float(np.linalg.norm(v))
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]], dtype=np.float64)
    if angle < 1e-8:
        return np.eye(3) + cross + 0.5 * cross @ cross
    rotation: NDArray[np.float64] = (
        np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
    )
    return rotation


def rotation_vector(rotation: ArrayLike) -> NDArray[np.float64]:
    """Rotation vector [3] in rad of a matrix [3, 3]: the inverse of `rodrigues`."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(np.asarray(rotation, dtype=np.float64)).as_rotvec())


def look_at(place_mm: ArrayLike, target_mm: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Rotation and translation of an upright camera at a place that looks at a target.

    Raises:
        MotionError: if it would look straight up or down, or stands in its target.
    """
    place = np.asarray(place_mm, dtype=np.float64)
    forward = np.asarray(target_mm, dtype=np.float64) - place
    right = np.cross(forward, [0.0, 0.0, 1.0])
    if np.linalg.norm(right) < 1e-9 * max(1.0, float(np.linalg.norm(forward))):
        raise MotionError("the camera looks along the vertical", field="target_mm", cure="move it aside")
    forward, right = forward / np.linalg.norm(forward), right / np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    return rotation, -rotation @ place


def camera_ring(
    count: int = 4,
    *,
    radius_mm: float = 4500.0,
    height_mm: float = 1500.0,
    target_mm: ArrayLike = (0.0, 0.0, 950.0),
    focal_px: float = 1145.0,
    size_px: tuple[int, int] = (1000, 1002),
    distortion: ArrayLike = (-0.2, 0.24, -0.002, -0.0009, -0.19),
    first_deg: float = 45.0,
) -> tuple[Camera, ...]:
    """Cameras evenly on a circle, all looking at one point: a synthetic studio of Human3.6M's size and lenses."""
    centre = np.asarray(target_mm, dtype=np.float64)
    cameras = []
    for number in range(count):
        angle = np.radians(first_deg + 360.0 * number / count)
        place = np.array([centre[0] + radius_mm * np.cos(angle), centre[1] + radius_mm * np.sin(angle), height_mm])
        rotation, translation = look_at(place, centre)
        matrix = np.array([[focal_px, 0, (size_px[0] - 1) / 2], [0, focal_px, (size_px[1] - 1) / 2], [0, 0, 1]])
        cameras.append(Camera(f"cam_{number + 1:02d}", matrix, np.asarray(distortion), rotation, translation, size_px))
    return tuple(cameras)


def read_calibration(path: str | os.PathLike[str], *, unit: str = "m", up: str = "z") -> tuple[Camera, ...]:
    """Cameras of a calibration file as Pose2Sim writes it: one TOML table per camera.

    A table counts as a camera if it has matrix, distortions, rotation (Rodrigues vector or matrix), translation and
    size; [metadata] and others are passed over. `up` says which axis of the calibrated world points up.

    Raises:
        ReadError: missing, empty or no TOML.
        MotionError: a camera's field is missing or unusable, or there is no camera.
    """
    import tomllib

    from spinemed.errors import ReadError
    from spinemed.motion.io.clips import read_text_lines

    lines = read_text_lines(path, "calibration TOML")
    if unit not in UNITS_MM:
        raise MotionError(f"the unit {unit!r} is unknown", field="unit", cure=f"declare one of {', '.join(UNITS_MM)}")
    try:
        tables = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError as error:
        raise ReadError(f"is not TOML ({error})", file=path, cure="mend or export the calibration again") from error
    turn = from_up_axis(np.eye(3), up).T  # file axes to ours, as a matrix on columns
    fields = ("matrix", "distortions", "rotation", "translation", "size")
    cameras = []
    for key, table in tables.items():
        if not isinstance(table, dict) or not any(field in table for field in fields):
            continue
        missing = [field for field in fields if field not in table]
        if missing:
            raise MotionError(
                f"camera {key!r} has no {', '.join(missing)}", file=path, field=f"{key}.{missing[0]}",
                cure="calibrate it, or remove its table",
            )  # fmt: skip
        try:
            values = {field: np.asarray(table[field], dtype=np.float64) for field in fields}
        except (TypeError, ValueError) as error:
            raise MotionError(
                f"camera {key!r} holds what is no number ({error})", file=path, field=key, cure="mend its table"
            ) from error
        turned = values["rotation"]
        if turned.size not in (3, 9) or values["translation"].size != 3 or values["size"].size != 2:
            raise MotionError(
                f"camera {key!r}: rotation, translation or size has the wrong length", file=path, field=key,
                cure="give 3 (or 3x3), 3 and 2 numbers",
            )  # fmt: skip
        rotation = rodrigues(turned) if turned.size == 3 else turned.reshape(3, 3)
        width, height = values["size"].round().astype(int).tolist()
        try:
            cameras.append(
                Camera(
                    str(table.get("name", key)),
                    values["matrix"],
                    values["distortions"],
                    rotation @ turn.T,
                    values["translation"].reshape(3) * UNITS_MM[unit],
                    (width, height),
                    bool(table.get("fisheye", False)),
                )
            )
        except MotionError as error:
            raise MotionError(error.problem, file=path, field=f"{key}.{error.field}", cure=error.cure) from error
    if not cameras:
        raise MotionError("names no camera", file=path, field="cameras", cure="give a calibration of Pose2Sim's layout")
    names = [camera.name for camera in cameras]
    if len(set(names)) < len(names):
        raise MotionError("two cameras share a name", file=path, field="name", cure="rename one of them")
    return tuple(cameras)


def write_calibration(path: str | os.PathLike[str], cameras: Sequence[Camera]) -> None:
    """Write a calibration that Pose2Sim and `read_calibration` read: metres, z up, Rodrigues vectors."""
    from spinemed.tables import write_text

    def numbers(values: ArrayLike) -> str:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim == 1:
            return "[" + ", ".join(repr(float(value)) for value in array) + "]"
        return "[" + ", ".join(numbers(row) for row in array) + "]"

    parts = []
    for camera in cameras:
        name = camera.name.replace("\\", "\\\\").replace('"', '\\"')
        parts.append(
            f'["{name}"]\nname = "{name}"\nsize = {numbers(camera.size_px)}\nmatrix = {numbers(camera.matrix)}\n'
            f"distortions = {numbers(camera.distortion)}\nrotation = {numbers(rotation_vector(camera.rotation))}\n"
            f"translation = {numbers(camera.translation_mm / 1000.0)}\nfisheye = {str(camera.fisheye).lower()}\n"
        )
    parts.append("[metadata]\nadjusted = false\nerror = 0.0\n")
    write_text(path, "\n".join(parts))
