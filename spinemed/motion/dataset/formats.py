"""A data set in the formats of others: NPZ, COCO keypoints, Parquet, TRC and MOT under OpenSim's names.

Convention: `FOLDER/<format>/`, one file per clip (npz, trc, mot), per shard (parquet) or per split (coco). Files follow
from the shards alone and are written whole; one that is there is not written again. TRC and MOT are metres on OpenSim's
axes (x anterior, y up, z right), angles in degrees by `io.osim`.

The trap: COCO takes every n-th frame (`coco_every` of the config, said in the file's info), because its text is forty
times the size of the numbers.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any

import numpy as np

from spinemed.errors import ConfigError
from spinemed.motion.conventions import DIRECTIONS
from spinemed.motion.dataset.read import MotionDataset, read_dataset
from spinemed.motion.dataset.records import LEVELS, SEGMENTS, SPLITS, SimulatedClip
from spinemed.motion.keypoints import OKS_SIGMAS, SKELETON, SPINETRACK_37
from spinemed.tables import atomic_write

__all__ = ["FORMATS", "parse_formats", "write_formats"]

FORMATS = ("npz", "coco", "parquet", "trc", "mot")


def parse_formats(text: str | None) -> tuple[str, ...]:
    """Formats named in a list with commas.

    Raises:
        ConfigError: one is unknown.
    """
    names = tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise ConfigError(f"{unknown[0]!r} is unknown", field="--format", cure=f"use {', '.join(FORMATS)}")
    return names


def write_formats(folder: str | os.PathLike[str], formats: tuple[str, ...], *, workers: int = 1) -> dict[str, int]:
    """Write further formats of a finished data set.

    Returns:
        The number of files of each format.

    Raises:
        ReadError: the folder holds no finished data set.
        ConfigError: COCO of a data set without views.
    """
    data = read_dataset(folder)
    if "coco" in formats and not any(row.cameras for row in data.rows):
        raise ConfigError("COCO needs views, and the data set has none", field="--format", cure="simulate with cameras")
    per_shard = tuple(name for name in formats if name != "coco")
    if per_shard:
        jobs = [(str(folder), shard, per_shard) for shard in sorted({row.shard for row in data.rows})]
        if workers == 1:
            for job in jobs:
                _write_shard_formats(job)
        else:
            with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
                for _ in pool.map(_write_shard_formats, jobs):
                    pass
    if "coco" in formats:
        for split in SPLITS:
            path = Path(folder) / "coco" / f"{split}.json"
            if any(row.split == split for row in data.rows) and not path.is_file():
                _write_coco(path, data, split)
    return {name: len([p for p in (Path(folder) / name).iterdir() if not p.name.startswith(".")]) for name in formats}


def _write_shard_formats(job: tuple[str, int, tuple[str, ...]]) -> None:
    folder, shard, formats = job
    data, root = read_dataset(folder), Path(folder)
    writers: dict[str, Callable[[Path, SimulatedClip], None]] = {
        "npz": _write_npz,
        "trc": _write_trc,
        "mot": _write_mot,
    }
    for row in data.rows:
        if row.shard != shard:
            continue
        wanted = {
            name: path
            for name in formats
            if name in writers and not (path := root / name / f"{row.clip_id}.{name}").is_file()
        }
        if wanted:
            clip = data.clip(row.clip_id)
            for name, path in wanted.items():
                writers[name](path, clip)
    parquet = root / "parquet" / f"shard_{shard:05d}.parquet"
    if "parquet" in formats and not parquet.is_file():
        _write_parquet(parquet, (data.clip(row.clip_id) for row in data.rows if row.shard == shard))


def _write_npz(path: Path, clip: SimulatedClip) -> None:
    """Everything of one clip, cameras included, under the names of `SimulatedClip`."""
    arrays: dict[str, Any] = {
        "q": clip.q, "angles_deg": clip.angles_deg, "keypoints_mm": clip.keypoints_mm,
        "centroids_mm": clip.centroids_mm, "keypoints": np.array(SPINETRACK_37), "segments": np.array(SEGMENTS),
        "levels": np.array([str(level) for level in LEVELS]), "freedoms": np.array(clip.model().names),
        "rate_hz": np.array(clip.rate_hz), "split": np.array(clip.split),
    }  # fmt: skip
    if clip.cameras:
        arrays |= {
            "cameras": np.array([c.name for c in clip.cameras]),
            "camera_matrix": np.array([c.matrix for c in clip.cameras]),
            "camera_distortion": np.array([np.pad(c.distortion, (0, 12 - c.distortion.size)) for c in clip.cameras]),
            "camera_rotation": np.array([c.rotation for c in clip.cameras]),
            "camera_translation_mm": np.array([c.translation_mm for c in clip.cameras]),
            "camera_size_px": np.array([c.size_px for c in clip.cameras]),
        }
    for name in ("pixels", "detected", "confidence"):
        value = getattr(clip, name)
        if value is not None:
            arrays[name] = value
    with atomic_write(path) as stream:
        np.savez_compressed(stream, **arrays)


def _write_trc(path: Path, clip: SimulatedClip) -> None:
    from spinemed.motion.io.trc import write_trc

    names = (*SPINETRACK_37, *(str(level) for level in LEVELS))
    write_trc(path, names, np.concatenate([clip.keypoints_mm, clip.centroids_mm], axis=1), clip.rate_hz)


def _write_mot(path: Path, clip: SimulatedClip) -> None:
    from spinemed.motion.io.mot import write_mot
    from spinemed.motion.io.osim import osim_names, osim_values

    model = clip.model()
    time_s = np.arange(clip.frames) / clip.rate_hz
    write_mot(path, osim_names(model), osim_values(model, clip.q), time_s, title=clip.clip_id)


def _write_parquet(path: Path, clips: Iterator[SimulatedClip]) -> None:
    """One row per frame: clip, frame, time, and a float32 column per angle and coordinate."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    groups = (
        ("angles_deg", [f"{segment}.{direction}_deg" for segment in SEGMENTS for direction in DIRECTIONS]),
        ("keypoints_mm", [f"{name}.{axis}_mm" for name in SPINETRACK_37 for axis in "xyz"]),
        ("centroids_mm", [f"{level}.{axis}_mm" for level in LEVELS for axis in "xyz"]),
    )
    schema = pa.schema(
        [("clip_id", pa.string()), ("frame", pa.int32()), ("time_s", pa.float64())]
        + [(name, pa.float32()) for _, names in groups for name in names]
    )
    with atomic_write(path) as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for clip in clips:
            frame = np.arange(clip.frames, dtype=np.int32)
            columns: list[Any] = [
                pa.array([clip.clip_id] * clip.frames),
                pa.array(frame),
                pa.array(frame / clip.rate_hz),
            ]
            for name, _ in groups:
                columns += [pa.array(column) for column in getattr(clip, name).reshape(clip.frames, -1).T]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _write_coco(path: Path, data: MotionDataset, split: str) -> None:
    """COCO person keypoints: an image per view and frame, one person in it, written piece by piece."""
    every = int(data.info["config"]["coco_every"])
    head = {
        "info": {
            "description": f"{data.info['note']}; every {every}. frame; exact projections, no images",
            "version": data.info["schema"],
        },
        "categories": [
            {
                "id": 1, "name": "person", "supercategory": "person", "keypoints": list(SPINETRACK_37),
                "skeleton": [[a + 1, b + 1] for a, b in SKELETON], "sigmas": list(OKS_SIGMAS),
            }
        ],
    }  # fmt: skip
    with atomic_write(path) as stream:
        stream.write(_json(head)[:-1])
        for part in ("images", "annotations"):
            stream.write(f',"{part}":['.encode())
            _write_items(stream, data, split, every, part)
            stream.write(b"]")
        stream.write(b"}\n")


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _write_items(stream: IO[bytes], data: MotionDataset, split: str, every: int, part: str) -> None:
    number = 0
    for clip in data.iterate(split):
        if clip.pixels is None:
            continue
        for view, camera in enumerate(clip.cameras):
            for frame in range(0, clip.frames, every):
                number += 1
                if part == "images":
                    item: dict[str, Any] = {
                        "id": number, "file_name": f"{clip.clip_id}/{camera.name}/{frame:06d}.png",
                        "width": camera.size_px[0], "height": camera.size_px[1], "clip_id": clip.clip_id,
                        "frame": frame, "camera": camera.name,
                    }  # fmt: skip
                else:
                    item = {"id": number, "image_id": number, **_annotation(clip.pixels[view, frame])}
                stream.write((b"," if number > 1 else b"") + _json(item))


def _annotation(pixels: np.ndarray) -> dict[str, Any]:
    """Keypoints x, y, v (2 in the image, 0 outside it) and their box; two decimals."""
    seen = np.isfinite(pixels).all(axis=-1)
    at = np.round(np.where(seen[:, None], pixels, 0.0).astype(np.float64), 2)
    low, high = (at[seen].min(axis=0), at[seen].max(axis=0)) if seen.any() else (np.zeros(2), np.zeros(2))
    size = np.round(high - low, 2)
    flat = [value for (x, y), v in zip(at.tolist(), seen.tolist(), strict=True) for value in (x, y, 2 if v else 0)]
    return {
        "category_id": 1, "iscrowd": 0, "keypoints": flat, "num_keypoints": int(seen.sum()),
        "bbox": [*low.tolist(), *size.tolist()], "area": round(float(size[0] * size[1]), 2),
    }  # fmt: skip
