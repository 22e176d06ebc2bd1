"""One shard: an HDF5 file of whole clips, written at once and read clip by clip.

Convention: datasets `q`, `angles_deg`, `keypoints_mm`, `centroids_mm`, and with views `pixels`, `detected`,
`confidence`; their rows are the frames of the shard's clips in order, views are the second axis. `cameras/` holds each
clip's cameras; `clips` holds the rows of the table as JSON. Equal clips give equal bytes: no times inside.

The trap: in a shard the axes are [frame, view, ...], in a `SimulatedClip` [view, frame, ...].
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError
from spinemed.motion.cameras import Camera
from spinemed.motion.dataset.records import ClipRow, SimulatedClip
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.tables import parse_json

if TYPE_CHECKING:
    import h5py

__all__ = ["VIEW_ARRAYS", "open_shard", "read_clip", "shard_path", "shard_rows", "write_shard"]

VIEW_ARRAYS = ("pixels", "detected", "confidence")
_POSE_ARRAYS = ("q", "angles_deg", "keypoints_mm", "centroids_mm")
# Frames of one HDF5 chunk: a clip of a few seconds touches a handful of chunks.
_CHUNK = 256
_LENS = 12


def shard_path(folder: str | os.PathLike[str], number: int) -> Path:
    """Where a shard lies in a data set's folder."""
    return Path(folder) / "shards" / f"shard_{number:05d}.h5"


def write_shard(
    path: str | os.PathLike[str],
    number: int,
    clips: Iterable[SimulatedClip],
    *,
    frames: int,
    views: int,
    detected: bool,
    key: str,
    compression: str = "none",
) -> list[ClipRow]:
    """Write a shard; the file takes its name only when it is whole.

    Args:
        path: The file.
        number: Of the shard, for the rows.
        clips: In order; only one is held in memory.
        frames: Of all clips together.
        views: Cameras of each clip.
        detected: Whether clips carry detections.
        key: Of the config: a shard with another key is not this data set's.
        compression: "none" or "gzip".
    """
    import h5py

    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.tmp")
    rows: list[ClipRow] = []
    rig: list[tuple[Camera, ...]] = []
    at = 0
    try:
        with h5py.File(partial, "w", track_order=False) as file:
            file.attrs["key"] = key
            for clip in clips:
                if not rows:
                    _create(file, clip, frames, views, detected, compression)
                end = at + clip.frames
                for name in _POSE_ARRAYS:
                    file[name][at:end] = getattr(clip, name)
                for name in VIEW_ARRAYS[: 3 if detected else 1] if views else ():
                    file[name][at:end] = np.swapaxes(getattr(clip, name), 0, 1)
                rows.append(clip.row(number, at))
                rig.append(clip.cameras)
                at = end
            if views:
                _write_cameras(file, rig)
            text = json.dumps([row.model_dump() for row in rows], separators=(",", ":")).encode()
            file.create_dataset("clips", data=np.frombuffer(text, dtype=np.uint8))
        with open(partial, "rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return rows


def _create(file: h5py.File, clip: SimulatedClip, frames: int, views: int, detected: bool, compression: str) -> None:
    extra: dict[str, Any] = (
        {"compression": "gzip", "compression_opts": 1, "shuffle": True} if compression == "gzip" else {}
    )
    points = len(SPINETRACK_37)
    shapes: dict[str, tuple[tuple[int, ...], str]] = {
        name: (getattr(clip, name).shape[1:], "f8" if name == "q" else "f4") for name in _POSE_ARRAYS
    }
    if views:
        shapes["pixels"] = ((views, points, 2), "f4")
        if detected:
            shapes |= {"detected": ((views, points, 2), "f4"), "confidence": ((views, points), "f4")}
    for name, (shape, dtype) in shapes.items():
        chunks = (min(_CHUNK, frames), *shape) if extra else None
        file.create_dataset(name, (frames, *shape), dtype, chunks=chunks, **extra)


def _write_cameras(file: h5py.File, rig: Sequence[tuple[Camera, ...]]) -> None:
    group = file.create_group("cameras")
    lens = np.zeros((len(rig), len(rig[0]), _LENS))
    for i, cameras in enumerate(rig):
        for j, camera in enumerate(cameras):
            lens[i, j, : camera.distortion.size] = camera.distortion
    arrays: dict[str, NDArray[Any]] = {
        "matrix": np.array([[c.matrix for c in cameras] for cameras in rig]),
        "distortion": lens,
        "distortion_count": np.array([[c.distortion.size for c in cameras] for cameras in rig], dtype=np.int64),
        "rotation": np.array([[c.rotation for c in cameras] for cameras in rig]),
        "translation_mm": np.array([[c.translation_mm for c in cameras] for cameras in rig]),
        "size_px": np.array([[c.size_px for c in cameras] for cameras in rig], dtype=np.int64),
        "fisheye": np.array([[c.fisheye for c in cameras] for cameras in rig], dtype=np.uint8),
    }
    for name, values in arrays.items():
        group.create_dataset(name, data=values)
    names = json.dumps([[c.name for c in cameras] for cameras in rig], separators=(",", ":")).encode()
    group.create_dataset("names", data=np.frombuffer(names, dtype=np.uint8))


def open_shard(path: str | os.PathLike[str]) -> h5py.File:
    """Open a shard for reading.

    Raises:
        ReadError: missing, or no whole shard.
    """
    import h5py

    if not Path(path).is_file():
        raise ReadError(
            "no such file", file=path, cure="run `spinemed motion simulate` again: it makes what is missing"
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _damaged(path) from error
    if "clips" not in file or any(name not in file for name in _POSE_ARRAYS):
        file.close()
        raise _damaged(path)
    return file


def _damaged(path: str | os.PathLike[str]) -> ReadError:
    return ReadError(
        "is no whole shard of simulated motion", file=path,
        cure="delete it and dataset.json, and run `spinemed motion simulate` again: only this shard is made anew",
    )  # fmt: skip


def shard_rows(file: h5py.File) -> list[ClipRow]:
    """The table's rows of an open shard."""
    return [ClipRow.model_validate(row) for row in parse_json(file["clips"][:].tobytes())]


def read_clip(file: h5py.File, row: ClipRow, place: int) -> SimulatedClip:
    """One clip of an open shard; `place` is its number among the shard's clips."""
    own = slice(row.first_row, row.first_row + row.frames)
    arrays: dict[str, Any] = {name: file[name][own] for name in _POSE_ARRAYS}
    for name in VIEW_ARRAYS:
        arrays[name] = np.ascontiguousarray(np.swapaxes(file[name][own], 0, 1)) if name in file else None
    scalars = {name: getattr(row, name) for name in ClipRow.model_fields}
    for name in ("shard", "first_row", "frames", "cameras"):
        scalars.pop(name)
    return SimulatedClip(**scalars, **arrays, cameras=_read_cameras(file, place) if row.cameras else ())


def _read_cameras(file: h5py.File, place: int) -> tuple[Camera, ...]:
    group = file["cameras"]
    names = parse_json(group["names"][:].tobytes())[place]
    values = {name: group[name][place] for name in group if name != "names"}
    return tuple(
        Camera(
            name,
            values["matrix"][v],
            values["distortion"][v, : int(values["distortion_count"][v])],
            values["rotation"][v],
            values["translation_mm"][v],
            (int(values["size_px"][v, 0]), int(values["size_px"][v, 1])),
            bool(values["fisheye"][v]),
        )
        for v, name in enumerate(names)
    )
