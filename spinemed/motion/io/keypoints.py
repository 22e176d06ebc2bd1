"""Keypoint arrays of detectors and pose data sets: COCO, Halpe, Human3.6M, SpineTrack; .npy, .npz, .json, .parquet.

Convention: a layout is a published order of names; where SpineTrack-37 has the same point, the name is SpineTrack's.
2D stays in pixels; 3D becomes mm on our axes. COCO's visibility 0 means missing; 1 (hidden) and 2 count with confidence
1 unless scores are given.

The traps: 17 keypoints are COCO's or Human3.6M's, and three columns are x, y, z or x, y, confidence; what is taken
without being told is flagged. Human3.6M's "spine", "thorax" and "hip" lie inside the body: they are no skin points, so
`to_spinetrack` does not pass them off as T8, C7 or the sacrum. Pickled arrays are refused, because reading one can run
any code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import UNITS_MM, MotionError, from_up_axis
from spinemed.motion.io.clips import KeypointClip, extent, read_text_lines
from spinemed.motion.keypoints import SIMSPINE_15, SPINETRACK_37
from spinemed.tables import parquet_damage, parse_json

__all__ = ["LAYOUTS", "keypoint_clip", "read_keypoints", "to_spinetrack"]

_COCO = SPINETRACK_37[:17]

LAYOUTS: dict[str, tuple[str, ...]] = {
    "coco17": _COCO,
    "halpe26": (
        *_COCO, "head", "neck_middle", "hip_middle", "left_big_toe", "right_big_toe", "left_small_toe",
        "right_small_toe", "left_heel", "right_heel",
    ),
    "h36m17": (
        "hip_middle", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "spine_middle",
        "thorax", "neck_nose", "head", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow",
        "right_wrist",
    ),
    "spinetrack37": SPINETRACK_37,
    "simspine15": SIMSPINE_15,
}  # fmt: skip
"""Names in the published order of each layout."""

_ARRAYS = ("keypoints", "points", "positions_3d", "joints_3d", "S", "part", "arr_0")
_SCORES = ("confidence", "scores", "keypoint_scores")


def read_keypoints(
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    kind: str | None = None,
    unit: str | None = None,
    up: str = "z",
    rate_hz: float | None = None,
) -> KeypointClip:
    """Read keypoints of one person over time.

    Args:
        path: .npy or .npz [T, K, 2 or 3 or 4], .json (COCO, AlphaPose, or OpenPose of one frame), .parquet (columns
            NAME_x, NAME_y, optional NAME_z and NAME_c), or a folder of OpenPose files, one per frame.
        layout: One of `LAYOUTS`; None takes the file's names or the one layout of that many keypoints.
        kind: "2d" or "3d"; None tells by the columns.
        unit: Of 3D points; None takes the unit that makes a person, flagged.
        up: Of 3D points.
        rate_hz: Frames per second where the file does not say.

    Raises:
        ReadError: missing, empty, damaged, pickled, an unknown kind of file, or several people in a frame.
        MotionError: shapes, names, units or layouts that do not fit.
    """
    source = Path(path)
    if source.is_dir():
        raw = _openpose_folder(source)
    elif source.suffix in (".npy", ".npz"):
        raw = _arrays(source)
    elif source.suffix == ".json":
        raw = _json(source)
    elif source.suffix == ".parquet":
        raw = _parquet(source)
    else:
        raise ReadError(
            f"{source.suffix or 'no suffix'} is no kind of keypoint file", file=path,
            cure="give .npy, .npz, .json, .parquet or a folder of .json",
        )  # fmt: skip
    if rate_hz is not None:
        raw["rate_hz"] = rate_hz
    return keypoint_clip(**raw, layout=layout, kind=kind, unit=unit, up=up, file=path)


def keypoint_clip(
    values: NDArray[np.float64],
    *,
    confidence: NDArray[np.float64] | None = None,
    names: Sequence[str] | None = None,
    boxes: NDArray[np.float64] | None = None,
    frame_ids: Sequence[int] = (),
    rate_hz: float | None = None,
    layout: str | None = None,
    kind: str | None = None,
    unit: str | None = None,
    up: str = "z",
    file: str | os.PathLike[str] | None = None,
) -> KeypointClip:
    """A clip from numbers [T, K, 2] (pixels), [T, K, 3] (x y z, or x y confidence) or [T, K, 4] (x y z confidence).

    Raises:
        MotionError: see `read_keypoints`.
    """
    where = None if file is None else os.fspath(file)
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[-1] not in (2, 3, 4) or 0 in array.shape:
        raise MotionError(
            f"an array of shape {array.shape} holds no keypoints", file=where, field="points",
            cure="give frames x keypoints x 2, 3 or 4",
        )  # fmt: skip
    if kind not in (None, "2d", "3d"):
        raise MotionError(f"{kind!r} is no kind", file=where, field="kind", cure='say "2d" or "3d"')
    flags: list[Flag] = []
    if kind is None:
        kind, flags = _kind(array, confidence)
    flat = kind == "2d"
    size = 2 if flat else 3
    if array.shape[-1] < size or array.shape[-1] > size + 1:
        raise MotionError(
            f"{array.shape[-1]} columns cannot be {kind}", file=where, field="kind", cure="say the other kind"
        )
    score = array[..., size] if array.shape[-1] > size else np.ones(array.shape[:2])
    if confidence is not None:
        score = np.asarray(confidence, dtype=np.float64)
        if score.shape != array.shape[:2]:
            raise MotionError(
                f"confidences of shape {score.shape} for keypoints of shape {array.shape[:2]}", file=where,
                field="confidence", cure="give one per keypoint",
            )  # fmt: skip
    chosen, found, doubt = _layout(array.shape[1], names, layout, flat, where)
    flags += doubt
    points = np.array(array[..., :size])
    gone = ~np.isfinite(points).all(axis=-1) | ~(score > 0)
    if gone.all():
        raise MotionError("no keypoint is visible in any frame", file=where, field="points", cure="give another clip")
    points[gone] = np.nan
    if not flat:
        points, doubt = _to_mm(points, unit, up, where)
        flags += doubt
    lost = tuple(name for name, share in zip(found, gone.mean(axis=0), strict=True) if share >= 0.5)
    if lost:
        flags.append(Flag("markers_missing", "missing in half of the frames or more", lost))
    if rate_hz is not None and not rate_hz > 0:
        raise MotionError(f"{rate_hz} frames per second", file=where, field="rate_hz", cure="give a positive number")
    return KeypointClip(
        found, points, np.where(gone, 0.0, score), chosen, rate_hz, boxes, tuple(int(i) for i in frame_ids),
        tuple(flags), where,
    )  # fmt: skip


def _kind(array: NDArray[np.float64], confidence: object) -> tuple[str, list[Flag]]:
    columns = array.shape[-1]
    if columns != 3:
        return ("2d" if columns == 2 else "3d"), []
    third = array[..., 2]
    third = third[np.isfinite(third)]
    wide = float(np.nanmax(np.abs(array[..., :2]), initial=0.0))
    like_score = confidence is None and third.size > 0 and third.min() >= 0 and third.max() <= 2 and wide > 4
    guess = "2d" if like_score else "3d"
    meaning = "x, y, confidence" if like_score else "x, y, z"
    return guess, [Flag("kind_assumed", f"three columns are taken as {meaning}; say kind to be sure")]


def _layout(
    count: int, names: Sequence[str] | None, layout: str | None, flat: bool, file: str | None
) -> tuple[str, tuple[str, ...], list[Flag]]:
    if layout is not None:
        if layout not in LAYOUTS:
            raise MotionError(
                f"the layout {layout!r} is unknown", file=file, field="layout", cure=f"use one of {', '.join(LAYOUTS)}"
            )
        if len(LAYOUTS[layout]) != count:
            raise MotionError(
                f"{count} keypoints are not the {len(LAYOUTS[layout])} of {layout}", file=file, field="layout",
                cure="give the layout that the file has",
            )  # fmt: skip
        return layout, LAYOUTS[layout], []
    if names is not None:
        found = tuple(str(name) for name in names)
        if len(found) != count or len(set(found)) != count:
            raise MotionError(
                f"{len(set(found))} distinct names for {count} keypoints", file=file, field="names",
                cure="name each keypoint once",
            )  # fmt: skip
        return next((key for key, own in LAYOUTS.items() if own == found), "named"), found, []
    fitting = [key for key, own in LAYOUTS.items() if len(own) == count]
    if not fitting:
        raise MotionError(
            f"no layout has {count} keypoints", file=file, field="layout",
            cure=f"name the keypoints, or use one of {', '.join(LAYOUTS)}",
        )  # fmt: skip
    if len(fitting) == 1:
        return fitting[0], LAYOUTS[fitting[0]], []
    chosen = "coco17" if flat else "h36m17"
    return chosen, LAYOUTS[chosen], [Flag("layout_assumed", f"{count} keypoints are taken as {chosen}")]


def _to_mm(
    points: NDArray[np.float64], unit: str | None, up: str, file: str | None
) -> tuple[NDArray[np.float64], list[Flag]]:
    if unit is not None:
        if unit not in UNITS_MM:
            raise MotionError(
                f"the unit {unit!r} is unknown", file=file, field="unit", cure=f"declare one of {', '.join(UNITS_MM)}"
            )
        return from_up_axis(points * UNITS_MM[unit], up), []
    size = extent(points)
    fitting = [name for name, mm in UNITS_MM.items() if 300 <= size * mm <= 3000]
    if not fitting:
        raise MotionError(
            f"the keypoints span {size:.4g}, which no unit turns into a person", file=file, field="unit",
            cure=f"declare one of {', '.join(UNITS_MM)}",
        )  # fmt: skip
    best = min(fitting, key=lambda name: abs(np.log(size * UNITS_MM[name] / 1600.0)))
    message = f"the file names no unit; {best} makes a person of {size * UNITS_MM[best]:.0f} mm"
    return from_up_axis(points * UNITS_MM[best], up), [Flag("unit_assumed", message)]


def to_spinetrack(clip: KeypointClip) -> KeypointClip:
    """The clip in SpineTrack's order of 37: points of the same name, NaN and confidence 0 for the others.

    Raises:
        MotionError: if no point is shared.
    """
    at = {name: i for i, name in enumerate(clip.names)}
    shared = [(k, at[name]) for k, name in enumerate(SPINETRACK_37) if name in at]
    if not shared:
        raise MotionError("shares no point with SpineTrack", file=clip.file, field="names", cure="name the keypoints")
    points = np.full((len(clip.points), len(SPINETRACK_37), clip.points.shape[-1]), np.nan)
    score = np.zeros(points.shape[:2])
    to, source = [k for k, _ in shared], [i for _, i in shared]
    points[:, to], score[:, to] = clip.points[:, source], clip.confidence[:, source]
    return KeypointClip(
        SPINETRACK_37, points, score, "spinetrack37", clip.rate_hz, clip.boxes, clip.frame_ids, clip.flags, clip.file
    )


# --- files -----------------------------------------------------------------------------------------------------------


def _damage() -> tuple[type[Exception], ...]:
    """What NumPy raises on damaged arrays: of the archive, of the header (which it reads as Python), of the sizes."""
    import tokenize
    import zipfile
    import zlib

    of_archive = (EOFError, KeyError, NotImplementedError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error)
    return (*of_archive, MemoryError, OverflowError, SyntaxError, TypeError, ValueError, tokenize.TokenError)


def _arrays(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ReadError("no such file", file=path, cure="check the path")
    if path.stat().st_size == 0:
        raise ReadError("is empty", file=path, cure="write it again")
    try:
        with open(path, "rb") as stream:
            loaded = np.load(stream, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"values": _numeric(loaded, path)}
            files = {name: loaded[name] for name in loaded.files}
    except _damage() as error:
        raise ReadError(
            f"cannot be read ({error})", file=path,
            cure="write plain numeric arrays: pickled objects are refused, and a cut-off file must be copied again",
        ) from error  # fmt: skip
    key = next((name for name in _ARRAYS if name in files), None)
    if key is None:
        raise ReadError(
            f"holds {', '.join(files) or 'nothing'}", file=path, field="keypoints",
            cure=f"name the array one of {', '.join(_ARRAYS)}",
        )  # fmt: skip
    raw: dict[str, Any] = {"values": _numeric(files[key], path)}
    score = next((name for name in _SCORES if name in files), None)
    if score is not None:
        raw["confidence"] = _numeric(files[score], path)
    if "names" in files:
        raw["names"] = [str(name) for name in np.atleast_1d(files["names"]).ravel().tolist()]
    if "rate_hz" in files:
        rate = _numeric(files["rate_hz"], path)
        if rate.size != 1:
            raise ReadError(f"{rate.size} rates", file=path, field="rate_hz", cure="write one number")
        raw["rate_hz"] = float(rate.ravel()[0])
    return raw


def _numeric(array: NDArray[Any], path: Path) -> NDArray[np.float64]:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ReadError(f"an array of {getattr(array, 'dtype', 'no numbers')}", file=path, cure="write plain numbers")
    return array.astype(np.float64)


def _json(path: Path) -> dict[str, Any]:
    text = "\n".join(read_text_lines(path, "JSON"))
    try:
        value = parse_json(text)
    except ValueError as error:
        raise ReadError(f"is not JSON, or cut off ({error})", file=path, cure="write it again") from error
    names: list[str] | None = None
    rate: float | None = None
    if isinstance(value, Mapping) and isinstance(value.get("people"), list):
        return _people([value], path)
    if isinstance(value, Mapping) and isinstance(value.get("annotations"), list):
        categories = value.get("categories") or [{}]
        if isinstance(categories[0], Mapping) and categories[0].get("keypoints"):
            names = list(categories[0]["keypoints"])
        info = value.get("info")
        if isinstance(info, Mapping) and isinstance(info.get("rate_hz"), int | float):
            rate = float(info["rate_hz"])
        rows = value["annotations"]
    elif isinstance(value, list):
        rows = value
    else:
        raise ReadError(
            "is neither COCO nor AlphaPose nor OpenPose", file=path, field="annotations",
            cure="give a COCO file, a list of detections, or one frame of OpenPose",
        )  # fmt: skip
    if not rows:
        raise ReadError("holds no annotation", file=path, field="annotations", cure="give a file with keypoints")
    frames, points, boxes, seen = [], [], [], set()
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping) or not isinstance(row.get("keypoints"), list) or len(row["keypoints"]) % 3:
            raise ReadError(
                f"annotation {number} holds no triples of keypoints", file=path,
                field=f"annotations[{number}].keypoints", cure="write x, y and visibility of each keypoint",
            )  # fmt: skip
        image = row.get("image_id", number)
        frame = _frame_number(image, number)
        if frame in seen:
            raise ReadError(
                f"image {image!r} shows two people", file=path, field=f"annotations[{number}].image_id",
                cure="keep one person per file: choose by track or box first",
            )  # fmt: skip
        seen.add(frame)
        frames.append(frame)
        points.append(row["keypoints"])
        boxes.append(row.get("bbox", row.get("box", [np.nan] * 4)))
    if len({len(p) for p in points}) > 1:
        raise ReadError("annotations differ in their number of keypoints", file=path, cure="keep one category")
    try:
        array = np.array(points, dtype=np.float64).reshape(len(points), -1, 3)
        box = np.array(boxes, dtype=np.float64).reshape(len(points), 4)
    except (TypeError, ValueError, OverflowError) as error:
        raise ReadError(f"holds what is no number ({error})", file=path, cure="write it again") from error
    order = np.argsort(frames, kind="stable")
    array, box = array[order], box[order]
    score = array[..., 2]
    if set(np.unique(score).tolist()) <= {0.0, 1.0, 2.0}:
        score = (score > 0).astype(np.float64)  # COCO's visibility
    raw: dict[str, Any] = {
        "values": array[..., :2], "confidence": score, "frame_ids": [frames[i] for i in order], "names": names,
    }  # fmt: skip
    if np.isfinite(box).all():
        raw["boxes"] = box
    if rate is not None:
        raw["rate_hz"] = rate
    return raw


def _frame_number(image: object, place: int) -> int:
    """The number of an image: itself, or the last digits of a file name ("cam1_000123.jpg"), or its place."""
    if isinstance(image, int):
        return image
    digits = "".join(c if c.isdigit() else " " for c in Path(str(image)).stem).split()
    return int(digits[-1]) if digits else place


def _openpose_folder(folder: Path) -> dict[str, Any]:
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ReadError("holds no .json", file=folder, cure="give a folder with one OpenPose file per frame")
    frames = []
    for file in files:
        try:
            value = parse_json("\n".join(read_text_lines(file, "OpenPose")))
        except ValueError as error:
            raise ReadError(f"is not JSON, or cut off ({error})", file=file, cure="detect this frame again") from error
        if not isinstance(value, Mapping) or not isinstance(value.get("people"), list):
            raise ReadError("holds no people", file=file, field="people", cure="give OpenPose files")
        frames.append(value)
    raw = _people(frames, folder, files)
    raw["frame_ids"] = [_frame_number(file.name.replace("_keypoints", ""), i) for i, file in enumerate(files)]
    return raw


def _people(frames: Sequence[Mapping[str, Any]], path: Path, files: Sequence[Path] = ()) -> dict[str, Any]:
    rows: list[list[float] | None] = []
    for number, frame in enumerate(frames):
        people = frame["people"]
        where = files[number] if files else path
        if len(people) > 1:
            raise ReadError(
                f"shows {len(people)} people", file=where, field="people",
                cure="keep one person per file by tracking first",
            )  # fmt: skip
        if people and not isinstance(people[0], Mapping):
            raise ReadError("holds no people of OpenPose", file=where, field="people", cure="give OpenPose files")
        found = people[0].get("pose_keypoints_2d") if people else None
        if found is not None and not isinstance(found, list):
            raise ReadError("holds no list of keypoints", file=where, field="pose_keypoints_2d", cure="detect again")
        rows.append(found)
    width = next((len(row) for row in rows if row), 0)
    if width == 0 or width % 3 or any(row and len(row) != width for row in rows):
        raise ReadError("no frame shows anyone, or their keypoints differ in number", file=path, field="people",
                        cure="check the detector's output")  # fmt: skip
    try:
        array = np.array([row or [0.0] * width for row in rows], dtype=np.float64).reshape(len(rows), -1, 3)
    except (TypeError, ValueError, OverflowError) as error:
        raise ReadError(f"holds what is no number ({error})", file=path, cure="detect again") from error
    return {"values": array[..., :2], "confidence": array[..., 2]}


def _parquet(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        columns = table.column_names
    except FileNotFoundError as error:
        raise ReadError("no such file", file=path, cure="check the path") from error
    except parquet_damage() as error:
        raise ReadError(f"is no complete Parquet file ({error})", file=path, cure="write it again") from error
    names = [name[:-2] for name in columns if name.endswith("_x") and f"{name[:-2]}_y" in columns]
    if not names or table.num_rows == 0:
        raise ReadError("has no rows, or no columns NAME_x, NAME_y", file=path, cure="write one column per coordinate")
    axes = "xyz" if all(f"{name}_z" in columns for name in names) else "xy"
    try:
        values = np.stack(
            [np.stack([table[f"{n}_{a}"].to_numpy().astype(np.float64) for a in axes], axis=-1) for n in names], axis=1
        )
        raw: dict[str, Any] = {"values": values, "names": names}
        if all(f"{name}_c" in columns for name in names):
            raw["confidence"] = np.stack([table[f"{n}_c"].to_numpy().astype(np.float64) for n in names], axis=1)
        elif axes == "xyz":
            raw["values"] = np.concatenate([values, np.ones((*values.shape[:2], 1))], axis=-1)
    except (TypeError, ValueError) as error:
        raise ReadError(f"holds what is no number ({error})", file=path, cure="write numbers") from error
    if "frame" in columns:
        raw["frame_ids"] = table["frame"].to_pylist()
    return raw
