"""Predictions of motion as files: one NPZ per clip, written by fits and lifters, read by the benchmark.

Convention: `PRED/<clip_id>.npz` holds `names` [K] (SpineTrack keypoints and levels C1 ... L5 for centroids, in any
order) and at least one of `points_mm` [T, K, 3], `pixels` [V, T, K, 2] (with `confidence` [V, T, K]) and `angles_deg`
[T, S, 3] with `segments` [S] (`angles_sd_deg` of the same shape beside it). Millimetres, degrees (flexion, lateral
bending, axial rotation), pixels. T is the clip's number of frames. Equal arrays give equal bytes.

The trap: NaN means "not predicted" and is counted as such; a zero is a prediction of zero.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.records import LEVELS, SEGMENTS
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.tables import atomic_write

__all__ = ["POINT_NAMES", "MotionPrediction", "prediction_file", "read_prediction", "write_prediction"]

POINT_NAMES = (*SPINETRACK_37, *(level.value for level in LEVELS))
"""Every name a predicted point may have: 37 keypoints, then the centroids C1 ... L5."""

_ARRAYS = ("points_mm", "angles_deg", "angles_sd_deg", "pixels", "confidence")
_TEXTS = ("names", "segments")


@dataclass(frozen=True, eq=False)
class MotionPrediction:
    """What a method says of one clip; whatever it does not say is None or NaN.

    Attributes:
        names: [K] names of the points, each at most once.
        points_mm: [T, K, 3] places in the world.
        angles_deg: [T, S, 3] flexion, lateral bending, axial rotation of `segments`.
        segments: [S] names such as "L5/S1".
        angles_sd_deg: [T, S, 3] standard deviations of the angles.
        pixels: [V, T, K, 2] places in the views of the clip, distortion included.
        confidence: [V, T, K] of the pixels; any scale, only its order counts.

    Raises:
        MotionError: On making one: nothing predicted, unknown or repeated names, shapes that do not belong together,
            infinities, negative standard deviations.
    """

    names: tuple[str, ...] = ()
    points_mm: NDArray[np.float64] | None = None
    angles_deg: NDArray[np.float64] | None = None
    segments: tuple[str, ...] = ()
    angles_sd_deg: NDArray[np.float64] | None = None
    pixels: NDArray[np.float64] | None = None
    confidence: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _numbers(value, name))
        if self.points_mm is None and self.angles_deg is None and self.pixels is None:
            raise MotionError(
                "predicts nothing", field="points_mm", cure="give points_mm, pixels or angles_deg with their names"
            )
        for name, other in (("angles_sd_deg", "angles_deg"), ("confidence", "pixels")):
            if getattr(self, name) is not None and getattr(self, other) is None:
                raise MotionError(f"stands without {other}", field=name, cure=f"give {other} as well, or leave it out")
        _check_names(self.names, POINT_NAMES, "names")
        _check_names(self.segments, SEGMENTS, "segments")
        frames, points, segments = self.frames, len(self.names), len(self.segments)
        views = -1 if self.pixels is None else len(self.pixels)
        wanted = {
            "points_mm": (frames, points, 3),
            "angles_deg": (frames, segments, 3),
            "angles_sd_deg": (frames, segments, 3),
            "pixels": (views, frames, points, 2),
            "confidence": (views, frames, points),
        }
        for name, shape in wanted.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise MotionError(
                    f"an array of shape {value.shape}, expected {_shape_words(shape)}", field=name,
                    cure="give frames x points (or segments) x values, with one name per point or segment",
                )  # fmt: skip
        if frames == 0:
            raise MotionError("holds no frame", field="points_mm", cure="write one row per frame of the clip")
        if self.angles_sd_deg is not None and (self.angles_sd_deg < 0).any():
            raise MotionError(
                "holds a negative standard deviation", field="angles_sd_deg", cure="give NaN where none is known"
            )

    @property
    def frames(self) -> int:
        """T."""
        if self.points_mm is not None:
            return int(self.points_mm.shape[0])
        if self.angles_deg is not None:
            return int(self.angles_deg.shape[0])
        assert self.pixels is not None
        return int(self.pixels.shape[1]) if self.pixels.ndim > 1 else 0


def _shape_words(shape: tuple[int, ...]) -> str:
    return f"({', '.join('views' if size < 0 else str(size) for size in shape)})"


def _numbers(value: Any, name: str) -> NDArray[np.float64]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise MotionError(f"an array of type {array.dtype}, expected numbers", field=name, cure="write floats")
    array = array.astype(np.float64)
    if np.isinf(array).any():
        raise MotionError("holds infinities", field=name, cure="write NaN where nothing is predicted")
    return array


def _check_names(names: Sequence[str], known: Sequence[str], field: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise MotionError(
            f"unknown: {', '.join(map(repr, unknown[:3]))}" + (f" and {len(unknown) - 3} more" * (len(unknown) > 3)),
            field=field,
            cure=f"use names among {known[0]}, {known[1]} ... {known[-1]} (spinemed.motion.dataset.predictions)",
        )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise MotionError(f"{twice[0]!r} is named twice", field=field, cure="name each once")


def prediction_file(folder: str | os.PathLike[str], clip_id: str) -> Path:
    """Where the prediction of a clip stands in a folder of predictions.

    Raises:
        MotionError: The clip's name cannot be a file's.
    """
    if not clip_id or clip_id.startswith(".") or any(sign in clip_id for sign in "/\\\0"):
        raise MotionError(f"{clip_id!r} cannot name a file", field="clip_id", cure="use letters, digits, _ and -")
    return Path(folder) / f"{clip_id}.npz"


def write_prediction(folder: str | os.PathLike[str], clip_id: str, prediction: MotionPrediction) -> Path:
    """Write `folder/<clip_id>.npz`, whole or not at all. Points and pixels as float32, angles as float32.

    float32 resolves 0.0005 mm at ten metres, well below what is scored.
    """
    path = prediction_file(folder, clip_id)
    arrays: dict[str, Any] = {name: np.array(getattr(prediction, name), dtype=np.str_) for name in _TEXTS}
    for name in _ARRAYS:
        value = getattr(prediction, name)
        if value is not None:
            arrays[name] = value.astype(np.float32)
    with atomic_write(path) as stream:
        np.savez(stream, **{name: value for name, value in arrays.items() if value.size or name not in _TEXTS})
    return path


def read_prediction(path: str | os.PathLike[str]) -> MotionPrediction:
    """Read one prediction and check it.

    Raises:
        ReadError: The file is missing, empty, damaged, holds objects, or arrays that no prediction has.
        MotionError: See `MotionPrediction`; the file is named.
    """
    file = Path(path)
    if not file.is_file():
        raise ReadError("no such file", file=file, cure="write one NPZ per clip, named after it")
    if file.stat().st_size == 0:
        raise ReadError("is empty (0 bytes)", file=file, cure="write the prediction again")
    try:
        with open(file, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            if not isinstance(stored, np.lib.npyio.NpzFile):
                raise ReadError("is a single array, expected an NPZ", file=file, cure="write it with write_prediction")
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ReadError(f"is no readable NPZ ({reason})", file=file, cure="write it with write_prediction") from error
    unknown = sorted(set(arrays) - {*_ARRAYS, *_TEXTS})
    if unknown:
        raise ReadError(
            f"holds unknown arrays: {', '.join(unknown[:4])}", file=file, cure=f"use {', '.join((*_TEXTS, *_ARRAYS))}"
        )
    given: dict[str, Any] = {name: arrays[name] for name in _ARRAYS if name in arrays}
    for name in _TEXTS:
        value = arrays.get(name, np.array([], dtype=np.str_))
        if value.dtype.kind not in "US" or value.ndim != 1:
            raise ReadError(
                f"is of type {value.dtype} and {value.ndim} axes", file=file, field=name,
                cure="write a flat array of texts",
            )  # fmt: skip
        given[name] = tuple(str(each) for each in value.astype(np.str_))
    try:
        return MotionPrediction(**given)
    except MotionError as error:
        raise MotionError(error.problem, file=file, field=error.field, cure=error.cure) from error
