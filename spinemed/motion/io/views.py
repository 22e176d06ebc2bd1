"""2D keypoints of several cameras, brought to one array for triangulation.

Convention: one keypoint file (or OpenPose folder) per camera, found by the camera's name; frames are matched by their
numbers where all files give them, and by place where none does. A frame that a camera lacks is NaN there.

The trap: numbers must mean the same instant. Cameras that were not synchronised give small, plausible, wrong points.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError
from spinemed.motion.cameras import Camera
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import MotionError
from spinemed.motion.io.keypoints import read_keypoints

__all__ = ["Views", "find_views", "read_views"]


@dataclass(frozen=True)
class Views:
    """What several cameras saw.

    Attributes:
        cameras: V of them, in the order of the arrays.
        names: K keypoints.
        pixels: [V, T, K, 2], NaN where not seen.
        confidence: [V, T, K], 0 where not seen.
        frame_ids: [T].
        flags: Doubts.
        rate_hz: Frames per second where all files that say it agree, else None.
    """

    cameras: tuple[Camera, ...]
    names: tuple[str, ...]
    pixels: NDArray[np.float64]
    confidence: NDArray[np.float64]
    frame_ids: tuple[int, ...]
    flags: tuple[Flag, ...]
    rate_hz: float | None = None


def find_views(folder: str | os.PathLike[str], cameras: Sequence[Camera]) -> dict[str, Path]:
    """The keypoint file or folder of each camera: NAME.json, .npz, .npy, .parquet, NAME/, or Pose2Sim's NAME_json/.

    Raises:
        ReadError: no such folder, or a camera with no file.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReadError("is no folder", file=root, cure="give the folder with one keypoint file per camera")
    found = {}
    for camera in cameras:
        tries = [root / f"{camera.name}{end}" for end in (".json", ".npz", ".npy", ".parquet", "", "_json")]
        hit = next((path for path in tries if path.exists()), None)
        if hit is None:
            raise ReadError(
                f"holds no keypoints of camera {camera.name!r}", file=root, field=camera.name,
                cure=f"name its file {camera.name}.json, or leave the camera out of the calibration",
            )  # fmt: skip
        found[camera.name] = hit
    return found


def read_views(
    files: Mapping[str, str | os.PathLike[str]], cameras: Sequence[Camera], *, layout: str | None = None
) -> Views:
    """Read and align the keypoints of all cameras.

    Args:
        files: By camera name; see `find_views`.
        cameras: The calibration. Cameras without a file are left out, and flagged.
        layout: As for `keypoints.read_keypoints`.

    Raises:
        ReadError: see `keypoints.read_keypoints`.
        MotionError: a file of an unknown camera, fewer than two cameras, other keypoints or another rate in one camera,
            or no common numbering of frames.
    """
    unknown = sorted(set(files) - {camera.name for camera in cameras})
    if unknown:
        raise MotionError(
            f"camera {unknown[0]!r} is not calibrated", field=unknown[0],
            cure=f"use names among {', '.join(camera.name for camera in cameras)}",
        )  # fmt: skip
    used = tuple(camera for camera in cameras if camera.name in files)
    if len(used) < 2:
        raise MotionError(
            f"{len(used)} camera with keypoints cannot tell depth", field="cameras",
            cure="give the keypoints of two or more calibrated cameras",
        )  # fmt: skip
    clips = [read_keypoints(files[camera.name], layout=layout, kind="2d") for camera in used]
    flags = [
        Flag(flag.name, f"{camera.name}: {flag.message}", flag.markers)
        for camera, clip in zip(used, clips, strict=True) for flag in clip.flags
    ]  # fmt: skip
    left = [camera.name for camera in cameras if camera.name not in files]
    if left:
        flags.append(Flag("cameras_unused", f"calibrated but without keypoints: {', '.join(left)}"))
    names = clips[0].names
    for camera, clip in zip(used, clips, strict=True):
        if clip.names != names:
            raise MotionError(
                f"camera {camera.name!r} has other keypoints than {used[0].name!r}", file=clip.file, field="names",
                cure="detect all cameras with one model",
            )  # fmt: skip
    numbered = [bool(clip.frame_ids) for clip in clips]
    if any(numbered) and not all(numbered):
        raise MotionError(
            "some cameras number their frames and others do not", field="frame_ids", cure="write all files alike"
        )
    ids = [clip.frame_ids or tuple(range(len(clip.points))) for clip in clips]
    frames = sorted(set().union(*ids))
    at = {frame: i for i, frame in enumerate(frames)}
    pixels = np.full((len(used), len(frames), len(names), 2), np.nan)
    confidence = np.zeros((len(used), len(frames), len(names)))
    for view, (clip, own) in enumerate(zip(clips, ids, strict=True)):
        rows = [at[frame] for frame in own]
        pixels[view, rows], confidence[view, rows] = clip.points, clip.confidence
    if any(len(own) != len(frames) for own in ids):
        counts = ", ".join(f"{camera.name} {len(own)}" for camera, own in zip(used, ids, strict=True))
        flags.append(Flag("frames_differ", f"cameras show different frames ({counts} of {len(frames)})"))
    rates = {clip.rate_hz for clip in clips if clip.rate_hz is not None}
    if len(rates) > 1:
        raise MotionError(
            f"cameras of {', '.join(f'{rate:g}' for rate in sorted(rates))} frames per second", field="rate_hz",
            cure="bring all cameras to one rate first",
        )  # fmt: skip
    rate = rates.pop() if rates else None
    return Views(used, names, pixels, confidence, tuple(frames), tuple(flags), rate)
