"""C3D: the binary format of motion laboratories (c3d.org), read with ezc3d.

Convention: a point whose residual is negative is missing. The unit is POINT:UNITS; the upward axis is what
POINT:Y_SCREEN names, and z where it is absent. "Subject:LASI" loses its prefix unless two subjects share the name.

The trap: ezc3d reads what it can of a file that is cut off, and ends the process on parameters that do not fit
together: what the header and the parameters promise is checked first, and a child process reads the rest.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from spinemed.errors import ReadError
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import UNITS_MM
from spinemed.motion.io.clips import MarkerClip, marker_clip
from spinemed.native import Told, run_native

__all__ = ["parse_c3d", "read_c3d"]

_LONGEST_PARAMETERS = 256 * 512
"""The section says its length in one byte of blocks; many writers say less than they write."""
_NUMBERS = frozenset(
    {"USED", "FRAMES", "SCALE", "RATE", "DATA_START", "GEN_SCALE", "OFFSET", "ZERO", "TYPE", "CORNERS", "ORIGIN"}
    | {"CHANNEL", "BITS", "LONG_FRAMES", "ACTUAL_START_FIELD", "ACTUAL_END_FIELD", "CAL_MATRIX", "RATIO"}
)
"""Parameters that hold numbers; as text they would be read out of bounds."""
_UNITS = {"mm": "mm", "millimeters": "mm", "cm": "cm", "m": "m", "meters": "m", "metres": "m"}


def read_c3d(
    path: str | os.PathLike[str], *, unit: str | None = None, up: str | None = None, subject: str | None = None
) -> MarkerClip:
    """Read the markers of a C3D file.

    Args:
        path: The file.
        unit: "mm", "cm" or "m" overrides the file's.
        up: "y" or "z" overrides the file's.
        subject: Keep only markers with this prefix; unlabelled ones ("*12") go with none.

    Raises:
        ReadError: missing, empty, no C3D, cut off, or without an intelligible unit.
        MotionError: see `clips.marker_clip`; also if the subject has no marker.
    """
    _check_size(path)
    try:
        told, (measured, residual) = run_native("spinemed.motion.io.c3d:parse_c3d", os.fsencode(os.path.abspath(path)))
    except RuntimeError as error:
        raise ReadError(f"cannot be read as C3D ({error})", file=path, cure="export the clip again") from error
    point: dict[str, list[Any]] = told["point"]
    labels = [str(label).strip() for key in _label_keys(point) for label in point[key]]
    points = np.moveaxis(measured, -1, 0).transpose(0, 2, 1).astype(np.float64)
    if points.shape[1] == 0 or points.shape[0] == 0:
        raise ReadError("holds no marker", file=path, field="POINT:USED", cure="give a file with marker data")
    labels += [f"*{number}" for number in range(len(labels) + 1, points.shape[1] + 1)]
    labels = labels[: points.shape[1]]
    if residual.size == points.shape[0] * points.shape[1]:
        points[residual.reshape(points.shape[1], points.shape[0]).T < 0] = np.nan
    flags: list[Flag] = []
    zero = (points == 0).all(axis=-1)
    if zero.any():
        points[zero] = np.nan
        flags.append(Flag("zeros_as_missing", f"{int(zero.sum())} points at exactly 0, 0, 0 count as missing"))
    names, prefixes = _split(labels)
    if subject is not None:
        from spinemed.motion.conventions import MotionError

        keep = [i for i, prefix in enumerate(prefixes) if prefix == subject]
        if not keep:
            raise MotionError(
                f"no marker of {subject!r}", file=path, field="subject",
                cure=f"use one of {', '.join(sorted(set(prefixes) - {''})) or 'none: the labels have no prefix'}",
            )  # fmt: skip
        points = points[:, keep]
        names, prefixes = [labels[i].partition(":")[2] for i in keep], [prefixes[i] for i in keep]
    stated = _word(point, "UNITS").lower()
    if unit is None and stated not in _UNITS:
        raise ReadError(
            f"the unit {stated!r} is unknown", file=path, field="POINT:UNITS",
            cure=f"give the unit yourself: {', '.join(UNITS_MM)}",
        )  # fmt: skip
    rate = point.get("RATE", [])
    if up is None:
        screen = _word(point, "Y_SCREEN").upper()
        up = "y" if screen.endswith("Y") else "z"
    return marker_clip(
        names, points, _rate(rate), unit=unit or _UNITS[stated], up=up,
        declared_unit=unit is None, file=path, first_frame=int(told["first_frame"]) + 1, prefixes=tuple(prefixes),
        flags=flags,
    )  # fmt: skip


def parse_c3d(content: bytes) -> Told:
    """What ezc3d reads of a file; runs in a child process, which ezc3d ends on files that are damaged in new ways.

    Args:
        content: The file's path.

    Returns:
        Values of the group POINT, the first frame; points [3, K, T] and their residuals.

    Raises:
        RuntimeError: ezc3d refuses it.
    """
    import ezc3d

    try:
        file = ezc3d.c3d(os.fsdecode(content))
        point = {
            name: np.atleast_1d(one["value"]).ravel().tolist()
            for name, one in file["parameters"].get("POINT", {}).items()
            if name.startswith("LABELS") or name in ("UNITS", "RATE", "Y_SCREEN")
        }
        told = {"point": point, "first_frame": int(file["header"]["points"]["first_frame"])}
        residuals = np.asarray(file["data"]["meta_points"]["residuals"])
        return told, [np.asarray(file["data"]["points"][:3]), residuals]
    except (OSError, ValueError, IndexError, KeyError, TypeError, UnicodeError) as error:
        raise RuntimeError(str(error) or type(error).__name__) from error


def _word(point: dict[str, list[Any]], name: str) -> str:
    """The first text of a parameter; empty where it is absent or holds nothing."""
    return str((point.get(name) or [""])[0]).strip()


def _rate(values: list[Any]) -> float:
    return float(values[0]) if values and isinstance(values[0], int | float) else 0.0


def _label_keys(point: Mapping[str, object]) -> list[str]:
    """LABELS, LABELS2, ...: a parameter holds at most 255 names."""
    numbered = (key for key in point if key.startswith("LABELS") and key[6:].isdigit())
    more = sorted(numbered, key=lambda key: int(key[6:]))
    return [key for key in ("LABELS", *more) if key in point]


def _split(labels: list[str]) -> tuple[list[str], list[str]]:
    """Names without prefixes where that leaves them distinct, and the prefixes."""
    parts = [label.rpartition(":") for label in labels]
    short = [part[2] for part in parts]
    names = [name if short.count(name) == 1 else label for name, label in zip(short, labels, strict=True)]
    return names, [part[0] for part in parts]


def _check_parameters(path: str | os.PathLike[str], start: int, processor: int) -> None:
    """Walk the parameter section: every name, dimension and offset must stay inside the file and lead forward."""
    with open(path, "rb") as stream:
        stream.seek(start)
        data = stream.read(_LONGEST_PARAMETERS)
    order = ">" if processor == 86 else "<"
    cure = "copy or export the file again"
    place = 0
    while place + 2 <= len(data):
        letters, group = struct.unpack_from("bb", data, place)
        if letters == 0 or group == 0:
            return
        at = place + 2 + abs(letters)
        name = data[place + 2 : at].decode("latin-1")
        offset = struct.unpack_from(order + "H", data, at)[0] if at + 2 <= len(data) else 0
        end = at + 2
        if group > 0 and end + 2 <= len(data):
            kind, dimensions = struct.unpack_from("bB", data, end)
            sizes = data[end + 2 : end + 2 + dimensions]
            if kind not in (-1, 1, 2, 4) or dimensions > 7 or (kind == -1 and name.upper() in _NUMBERS):
                raise ReadError(
                    f"holds a parameter of type {kind} with {dimensions} dimensions", file=path, field=name, cure=cure
                )
            end += 2 + dimensions + abs(kind) * math.prod(sizes)
        end += 1 + (data[end] if end < len(data) else 0)  # the description
        if end > len(data) or (offset and at + offset < end):
            raise ReadError("has damaged parameters: their lengths do not fit", file=path, field=name, cure=cure)
        if offset == 0:
            return
        place = at + offset
    raise ReadError("is cut off in its parameters", file=path, cure=cure)


def _check_size(path: str | os.PathLike[str]) -> None:
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=path, cure="check the path") from error
    if not head:
        raise ReadError("is empty", file=path, cure="export the clip again")
    if len(head) < 512 or head[1] != 0x50 or head[0] == 0:
        raise ReadError("is no C3D file", file=path, cure="check the file's kind")
    parameters = (head[0] - 1) * 512
    with open(path, "rb") as stream:
        stream.seek(parameters)
        block = stream.read(4)
    if len(block) < 4:
        raise ReadError("is cut off before its parameters", file=path, cure="copy or export the file again")
    if block[3] not in (84, 85, 86):
        raise ReadError(f"names processor {block[3]}", file=path, cure="export the clip again")
    _check_parameters(path, parameters + 4, block[3])
    if block[3] != 84:
        return  # other byte orders are rare; ezc3d judges them
    points, analog, first, last = struct.unpack("<4H", head[2:10])
    scale = struct.unpack("<f", head[12:16])[0]
    start = struct.unpack("<H", head[16:18])[0]
    if last == 0xFFFF or last < first:
        return  # longer clips keep their length in parameters
    word = 4 if scale < 0 else 2
    needed = (start - 1) * 512 + (last - first + 1) * (4 * points + analog) * word
    if size < needed:
        raise ReadError(
            f"is cut off: {size} bytes, its header promises {needed}", file=path, cure="copy or export the file again"
        )
