"""What a lifter sees and what it answers: keypoints of one camera, freed from lens, place in the image and size.

Convention: 61 points (`POINTS`): the 37 of SpineTrack, then the centroids C1 ... L5; root is the sacral keypoint
(`ROOT`). A frame's keypoints are undistorted to rays, turned into a virtual camera that looks at their mean direction,
and divided by their spread. Its 114 features are x and y (37 each, interleaved), 37 confidences, the mean direction
(x, y) and the logarithm of the spread. Answers are mm relative to the root on the virtual camera's axes (x right,
y down, z into the scene). Intrinsics go in; where the camera stands and which way is up does not.

The trap: a missing keypoint is 0 with confidence 0, so a network must never see coordinates without confidences. A
frame with fewer than `FEWEST` keypoints is not answered at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.motion.cameras import Camera, undistort
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.records import LEVELS, SimulatedClip
from spinemed.motion.keypoints import SPINE_CHAIN, SPINETRACK_37

__all__ = [
    "FEATURES",
    "FEWEST",
    "POINTS",
    "ROOT",
    "SPINE_CENTROIDS",
    "SPINE_KEYPOINTS",
    "Look",
    "Material",
    "clip_points",
    "flip_features",
    "flip_points",
    "gather",
    "normalise",
    "spread_rays",
    "to_answer",
    "to_world",
]

KEYPOINTS = len(SPINETRACK_37)

POINTS = (*SPINETRACK_37, *(str(level) for level in LEVELS))
"""Names of the 61 points a lifter answers."""

ROOT = SPINETRACK_37.index("hip")
"""The sacral keypoint, which all answers are relative to."""

SPINE_KEYPOINTS = tuple(number for number in SPINE_CHAIN if number != ROOT)
"""The eight spine keypoints whose error can differ from 0."""

SPINE_CENTROIDS = tuple(range(KEYPOINTS, len(POINTS)))
"""The 24 vertebral centroids."""

FEATURES = 3 * KEYPOINTS + 3
FEWEST = 6


def _mirror(names: Sequence[str]) -> NDArray[np.int64]:
    """For each point the one on the other side."""
    other = {"left": "right", "right": "left"}
    at = {name: number for number, name in enumerate(names)}
    swapped = []
    for name in names:
        side, _, rest = name.partition("_")
        swapped.append(at[f"{other[side]}_{rest}"] if side in other else at[name])
    return np.array(swapped, dtype=np.int64)


_SWAP = _mirror(POINTS)


@dataclass(frozen=True, eq=False)
class Look:
    """Keypoints of one camera over T frames, normalised.

    Attributes:
        features: [T, 114] float32.
        turn: [T, 3, 3] rotation from the camera to the virtual camera.
        rays: [T, 37, 2] x/z and y/z in the virtual camera, NaN where not seen.
        confidence: [T, 37], 0 where not seen.
        spread: [T] root mean square distance of the rays from the virtual camera's axis.
        usable: [T] whether enough keypoints were seen.
    """

    features: NDArray[np.float32]
    turn: NDArray[np.float64]
    rays: NDArray[np.float64]
    confidence: NDArray[np.float64]
    spread: NDArray[np.float64]
    usable: NDArray[np.bool_]


def normalise(camera: Camera, pixels: ArrayLike, confidence: ArrayLike | None = None) -> Look:
    """Normalise what one camera saw.

    Args:
        camera: Its lens and intrinsic matrix.
        pixels: [T, 37, 2] in SpineTrack's order; NaN where not seen.
        confidence: [T, 37]; None counts every pixel fully. Above 1 counts as 1; 0 is not seen.

    Raises:
        MotionError: other shapes (other keypoints), a confidence that is negative or not finite where a pixel is, or
            no frame with `FEWEST` keypoints.
    """
    at = np.asarray(pixels, dtype=np.float64)
    if at.ndim != 3 or at.shape[1:] != (KEYPOINTS, 2):
        raise MotionError(
            f"keypoints of shape {at.shape} are not the {KEYPOINTS} of SpineTrack", field="pixels",
            cure="give frames x 37 x 2 in SpineTrack's order",
        )  # fmt: skip
    sure = np.ones(at.shape[:2]) if confidence is None else np.asarray(confidence, dtype=np.float64)
    if sure.shape != at.shape[:2]:
        raise MotionError(
            f"confidences of shape {sure.shape} for keypoints of shape {at.shape[:2]}", field="confidence",
            cure="give one per keypoint",
        )  # fmt: skip
    seen = np.asarray(np.isfinite(at).all(axis=-1))
    if not (np.isfinite(sure[seen]).all() and (sure[seen] >= 0).all()):
        raise MotionError("a confidence is negative or no number", field="confidence", cure="give 0 to 1")
    flat = undistort([camera], np.where(seen[..., None], at, np.nan)[None])[0]
    seen &= np.isfinite(flat).all(axis=-1) & (sure > 0)
    usable = seen.sum(axis=1) >= FEWEST
    if not usable.any():
        raise MotionError(
            f"no frame shows {FEWEST} keypoints", field="pixels", cure="check the detections and the calibration"
        )
    sure = np.where(seen, np.minimum(sure, 1.0), 0.0)
    rays = np.concatenate([np.where(seen[..., None], flat, 0.0), np.ones((*seen.shape, 1))], axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    middle = np.where(seen[..., None], rays, 0.0).sum(axis=1)
    middle[~usable] = (0.0, 0.0, 1.0)
    middle /= np.linalg.norm(middle, axis=-1, keepdims=True)
    turn = _onto_axis(middle)
    turned = np.einsum("tij,tkj->tki", turn, rays)
    ahead = turned[..., 2] > 0.1  # a keypoint further than 84 degrees from the person's middle is no keypoint
    seen &= ahead
    sure = np.where(seen, sure, 0.0)
    plane = np.where(seen[..., None], turned[..., :2] / np.where(ahead, turned[..., 2], 1.0)[..., None], np.nan)
    spread = np.sqrt(
        np.where(seen, (np.nan_to_num(plane) ** 2).sum(axis=-1), 0.0).sum(axis=1) / seen.sum(axis=1).clip(1)
    )
    usable &= (seen.sum(axis=1) >= FEWEST) & (spread > 1e-6)
    spread = np.where(usable, spread, 1.0)
    features = np.concatenate(
        [
            np.nan_to_num(plane / spread[:, None, None]).reshape(len(at), -1), sure, middle[:, :2] / middle[:, 2:],
            np.log(spread)[:, None],
        ],
        axis=1,
    )  # fmt: skip
    features[~usable] = 0.0
    return Look(features.astype(np.float32), turn, plane, sure, spread, usable)


def spread_rays(look: Look, camera: Camera, pixels: ArrayLike) -> NDArray[np.float64]:
    """Other pixels [T, 37, 2] of the same camera on the scale of a look's features; NaN where not seen."""
    flat = undistort([camera], np.asarray(pixels, dtype=np.float64)[None])[0]
    rays = np.concatenate([flat, np.ones((*flat.shape[:2], 1))], axis=-1)
    turned = np.einsum("tij,tkj->tki", look.turn, rays)
    behind = turned[..., 2] <= 0.1 * np.linalg.norm(rays, axis=-1)
    turned[behind] = np.nan
    return np.asarray(turned[..., :2] / turned[..., 2:] / look.spread[:, None, None])


def _onto_axis(direction: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T, 3, 3] shortest rotations that take unit directions [T, 3] with z > -1 to (0, 0, 1): Rodrigues' formula."""
    x, y, z = direction.T
    scale = 1.0 / (1.0 + z)
    rows = [1 - scale * x * x, -scale * x * y, -x, -scale * x * y, 1 - scale * y * y, -y, x, y, z]
    return np.stack(rows, axis=-1).reshape(-1, 3, 3)


def clip_points(clip: SimulatedClip) -> NDArray[np.float64]:
    """World points [T, 61, 3] of a clip.

    Raises:
        MotionError: a point that is not finite.
    """
    points = np.concatenate([clip.keypoints_mm, clip.centroids_mm], axis=1).astype(np.float64)
    if not np.isfinite(points).all():
        raise MotionError(
            f"clip {clip.clip_id} holds points that are no numbers", field="keypoints_mm", cure="simulate it again"
        )
    return points


def to_answer(camera: Camera, look: Look, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """World points [T, 61, 3] as a perfect lifter would answer them: root-relative on the virtual camera's axes."""
    apart = points_mm - points_mm[:, ROOT : ROOT + 1]
    return np.einsum("tij,jl,tkl->tki", look.turn, camera.rotation, apart)


def to_world(camera: Camera, look: Look, answer: NDArray[np.float64]) -> NDArray[np.float64]:
    """World points [T, 61, 3] of answers; NaN for frames that are not usable.

    The root is put where the keypoints best meet their rays: least squares on x (Z + t_z) = X + t_x, and y alike,
    weighted by confidence. So its depth is as good as the answer's size.
    """
    body = np.einsum("tji,tkj->tki", look.turn, answer)  # the camera's axes
    rays = np.concatenate([np.nan_to_num(look.rays), np.ones((*look.rays.shape[:2], 1))], axis=-1)
    rays = np.einsum("tji,tkj->tki", look.turn, rays)
    plane = rays[..., :2] / np.where(np.abs(rays[..., 2:]) < 1e-9, np.nan, rays[..., 2:])
    seen = (look.confidence > 0) & np.isfinite(plane).all(axis=-1)
    weight = np.where(seen, look.confidence, 0.0)
    plane = np.where(seen[..., None], plane, 0.0)
    part = body[:, :KEYPOINTS]
    left = np.zeros((len(answer), 3, 3))
    right = np.zeros((len(answer), 3))
    for axis in range(2):
        row = np.zeros((*plane.shape[:2], 3))
        row[..., axis], row[..., 2] = 1.0, -plane[..., axis]
        value = plane[..., axis] * part[..., 2] - part[..., axis]
        left += np.einsum("tk,tki,tkj->tij", weight, row, row)
        right += np.einsum("tk,tki,tk->ti", weight, row, value)
    left[~look.usable] = np.eye(3)
    place = np.linalg.solve(left, right[..., None])[..., 0]
    world = camera.to_world(body + place[:, None])
    world[~look.usable] = np.nan
    return np.asarray(world)


def flip_features(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features [..., 114] of the mirrored person before the mirrored camera."""
    swap = _SWAP[:KEYPOINTS]
    out = features.copy()
    plane = features[..., : 2 * KEYPOINTS].reshape(*features.shape[:-1], KEYPOINTS, 2)[..., swap, :]
    out[..., : 2 * KEYPOINTS] = (plane * np.array([-1, 1], dtype=np.float32)).reshape(
        *features.shape[:-1], 2 * KEYPOINTS
    )
    out[..., 2 * KEYPOINTS : 3 * KEYPOINTS] = features[..., 2 * KEYPOINTS : 3 * KEYPOINTS][..., swap]
    out[..., 3 * KEYPOINTS] *= -1
    return out


def flip_points(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Answers [..., 61, 3] of the mirrored person."""
    return points[..., _SWAP, :] * np.array([-1, 1, 1], dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Material:
    """Frames of many sequences, one after the other; a sequence is one clip in one view.

    Attributes:
        features: [N, 114]; `targets` [N, 61, 3] mm; `usable` [N].
        bounds: [S + 1] where sequences begin.
        clips, subjects, motions, views: One per sequence.
    """

    features: NDArray[np.float32]
    targets: NDArray[np.float32]
    usable: NDArray[np.bool_]
    bounds: NDArray[np.int64]
    clips: tuple[str, ...]
    subjects: tuple[str, ...]
    motions: tuple[str, ...]
    views: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.features)

    @property
    def sequence(self) -> NDArray[np.int64]:
        """[N] number of each frame's sequence."""
        return np.repeat(np.arange(len(self.clips)), np.diff(self.bounds))


def seen_by(clip: SimulatedClip, source: str) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """A clip's pixels [V, T, 37, 2] and confidences: "detected", or "exact" projections.

    Raises:
        MotionError: the clip has no cameras or no such pixels.
    """
    if not clip.cameras or clip.pixels is None:
        raise MotionError(
            f"clip {clip.clip_id} has no cameras, so nothing to lift", field="cameras",
            cure="simulate the data set with cameras",
        )  # fmt: skip
    if source == "exact":
        return np.asarray(clip.pixels, dtype=np.float64), None
    if clip.detected is None:
        raise MotionError(
            f"clip {clip.clip_id} has no detections", field="detected",
            cure="simulate with a detector's noise, or lift the exact projections",
        )  # fmt: skip
    return np.asarray(clip.detected, dtype=np.float64), (
        None if clip.confidence is None else np.asarray(clip.confidence, dtype=np.float64)
    )


def gather(clips: Iterable[SimulatedClip], *, source: str = "detected") -> Material:
    """All views of all clips.

    Raises:
        MotionError: no clip, a clip without cameras, points that are no numbers, or a view of no use (see `normalise`).
    """
    features, targets, usable, bounds = [], [], [], [0]
    about: list[tuple[str, str, str, int]] = []
    for clip in clips:
        points = clip_points(clip)
        pixels, confidence = seen_by(clip, source)
        for view, camera in enumerate(clip.cameras):
            try:
                look = normalise(camera, pixels[view], None if confidence is None else confidence[view])
            except MotionError as error:
                raise MotionError(
                    f"clip {clip.clip_id}, camera {camera.name}: {error.problem}", field=error.field, cure=error.cure
                ) from error
            features.append(look.features)
            targets.append(to_answer(camera, look, points).astype(np.float32))
            usable.append(look.usable)
            bounds.append(bounds[-1] + len(points))
            about.append((clip.clip_id, clip.subject, clip.motion, view))
    if not about:
        raise MotionError("no clip to learn from or to judge by", field="data", cure="check splits and motions")
    names, subjects, motions, views = zip(*about, strict=True)
    return Material(
        np.concatenate(features), np.concatenate(targets), np.concatenate(usable), np.array(bounds, dtype=np.int64),
        names, subjects, motions, views,
    )  # fmt: skip
