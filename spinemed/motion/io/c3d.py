"""C3D: the binary format of motion laboratories (c3d.org), read with ezc3d.

Convention: a point whose residual is negative is missing. The unit is POINT:UNITS; the upward axis is what
POINT:Y_SCREEN names, and z where it is absent. "Subject:LASI" loses its prefix unless two subjects share the name.

The trap: ezc3d reads what it can of a file that is cut off; the size that the header promises is checked first.
"""

from __future__ import annotations

import os
import struct

import numpy as np

from spinemed.errors import ReadError
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import UNITS_MM
from spinemed.motion.io.clips import MarkerClip, marker_clip

__all__ = ["read_c3d"]

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
    import ezc3d

    _check_size(path)
    try:
        file = ezc3d.c3d(os.fspath(path))
    except (OSError, RuntimeError, ValueError, IndexError, KeyError) as error:
        raise ReadError(f"cannot be read as C3D ({error})", file=path, cure="export the clip again") from error
    point = file["parameters"].get("POINT", {})
    labels = [str(label).strip() for key in _label_keys(point) for label in point[key]["value"]]
    points = np.moveaxis(file["data"]["points"][:3], -1, 0).transpose(0, 2, 1).astype(np.float64)
    if points.shape[1] == 0 or points.shape[0] == 0:
        raise ReadError("holds no marker", file=path, field="POINT:USED", cure="give a file with marker data")
    labels += [f"*{number}" for number in range(len(labels) + 1, points.shape[1] + 1)]
    labels = labels[: points.shape[1]]
    residual = np.asarray(file["data"]["meta_points"]["residuals"])
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
    stated = str((point.get("UNITS", {}).get("value") or [""])[0]).strip().lower()
    if unit is None and stated not in _UNITS:
        raise ReadError(
            f"the unit {stated!r} is unknown", file=path, field="POINT:UNITS",
            cure=f"give the unit yourself: {', '.join(UNITS_MM)}",
        )  # fmt: skip
    header = file["header"]["points"]
    rate = np.atleast_1d(point.get("RATE", {}).get("value", [0.0]))
    if up is None:
        screen = str((point.get("Y_SCREEN", {}).get("value") or [""])[0]).strip().upper()
        up = "y" if screen.endswith("Y") else "z"
    return marker_clip(
        names, points, float(rate[0]) if rate.size else 0.0, unit=unit or _UNITS[stated], up=up,
        declared_unit=unit is None, file=path, first_frame=int(header["first_frame"]) + 1, prefixes=tuple(prefixes),
        flags=flags,
    )  # fmt: skip


def _label_keys(point: dict[str, object]) -> list[str]:
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


def _check_size(path: str | os.PathLike[str]) -> None:
    try:
        size = os.path.getsize(path)
        with open(path, "rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=path, cure="check the path") from error
    if not head:
        raise ReadError("is empty", file=path, cure="export the clip again")
    if len(head) < 512 or head[1] != 0x50:
        raise ReadError("is no C3D file", file=path, cure="check the file's kind")
    parameters = (head[0] - 1) * 512
    with open(path, "rb") as stream:
        stream.seek(parameters)
        block = stream.read(4)
    if len(block) < 4:
        raise ReadError("is cut off before its parameters", file=path, cure="copy or export the file again")
    if block[3] not in (84, 85, 86):
        raise ReadError(f"names processor {block[3]}", file=path, cure="export the clip again")
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
