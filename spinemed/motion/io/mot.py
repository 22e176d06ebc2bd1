"""MOT and STO: OpenSim's tables of coordinates over time.

Convention: a header that ends with "endheader" (version, nRows, nColumns, inDegrees), a line of column names that
starts with "time", then numbers. Values stay as in the file; `AngleClip.angle_deg` converts. The trap: "inDegrees"
speaks of rotations only; lengths are metres either way, and headers lie (flags say so).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from spinemed.errors import ReadError
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import MotionError
from spinemed.motion.io.clips import AngleClip, read_text_lines
from spinemed.tables import write_text

__all__ = ["read_mot", "write_mot"]


def read_mot(path: str | os.PathLike[str], *, degrees: bool | None = None) -> AngleClip:
    """Read a MOT or STO file.

    Args:
        path: The file.
        degrees: Overrides the header.

    Raises:
        ReadError: missing, empty, no end of the header, no time, a damaged row, fewer rows than declared, or no
            statement of degrees where none is given.
        MotionError: time that does not grow.
    """
    lines = read_text_lines(path, "MOT or STO")
    end = next((i for i, line in enumerate(lines) if line.strip().lower() == "endheader"), None)
    if end is None:
        raise ReadError("has no 'endheader'", file=path, cure="give a MOT or STO file of OpenSim")
    header = {}
    for line in lines[:end]:
        key, equals, value = line.partition("=")
        if equals:
            header[key.strip().lower()] = value.strip()
    body = [(number, line) for number, line in enumerate(lines[end + 1 :], end + 2) if line.strip()]
    if len(body) < 2:
        raise ReadError("holds no row", file=path, cure="export it again")
    columns = body[0][1].split()
    if columns[0].lower() != "time":
        raise ReadError(f"its first column is {columns[0]!r}", file=path, line=body[0][0], cure="put time first")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ReadError(f"the column {twice[0]!r} stands in it twice", file=path, line=body[0][0], cure="rename one")
    rows = []
    for number, line in body[1:]:
        cells = line.split()
        if len(cells) != len(columns):
            raise ReadError(
                f"{len(cells)} values, expected {len(columns)}", file=path, line=number,
                cure="the file is cut off or damaged here: export it again",
            )  # fmt: skip
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError as error:
            raise ReadError(f"holds what is no number ({error})", file=path, line=number, cure="mend it") from error
    flags = []
    stated = header.get("nrows", header.get("datarows", ""))
    if stated.isdecimal() and int(stated.lstrip("0")[:16] or 0) > len(rows):
        raise ReadError(
            f"declares {stated} rows and holds {len(rows)}", file=path, field="nRows",
            cure="the file is cut off: export it again",
        )  # fmt: skip
    if stated.isdecimal() and int(stated.lstrip("0")[:16] or 0) < len(rows):
        flags.append(Flag("frames_differ", f"the header declares {stated} rows, the file holds {len(rows)}"))
    said = header.get("indegrees", "").lower()
    if degrees is None and said not in ("yes", "no"):
        raise ReadError(
            "does not say whether angles are degrees", file=path, field="inDegrees",
            cure="write inDegrees=yes or no, or give degrees yourself",
        )  # fmt: skip
    unit = said == "yes" if degrees is None else degrees
    table = np.array(rows)
    time = table[:, 0]
    if len(time) > 1 and not (np.diff(time) > 0).all():
        raise MotionError("time does not grow", file=path, field="time", cure="sort the rows and remove repeats")
    names = tuple(columns[1:])
    flags += _angle_flags(names, table[:, 1:], unit)
    return AngleClip(names, table[:, 1:], time, unit, tuple(flags), os.fspath(path))


def _angle_flags(names: Sequence[str], values: np.ndarray, degrees: bool) -> list[Flag]:
    flags = []
    gone = tuple(name for name, column in zip(names, values.T, strict=True) if not np.isfinite(column).all())
    if gone:
        flags.append(Flag("values_missing", "hold NaN or infinity", gone))
    turns = [i for i, name in enumerate(names) if name[-3:] not in ("_tx", "_ty", "_tz")]
    largest = float(np.nanmax(np.abs(values[:, turns]), initial=0.0)) if turns else 0.0
    if degrees and 0 < largest < 3.2 and len(turns) > 5:
        flags.append(Flag("degrees_doubtful", f"no angle exceeds {largest:.2f}, declared as degrees: radians?"))
    if not degrees and largest > 4 * np.pi:
        flags.append(Flag("radians_doubtful", f"an angle of {largest:.0f}, declared as radians: degrees?"))
    return flags


def write_mot(
    path: str | os.PathLike[str],
    names: Sequence[str],
    values: ArrayLike,
    time_s: ArrayLike,
    *,
    degrees: bool = True,
    title: str = "Coordinates",
) -> None:
    """Write columns [T, C] (rotations in degrees or radians as stated, lengths in metres) as MOT.

    Raises:
        MotionError: shapes that do not match, or a name with white space.
    """
    table, time = np.asarray(values, dtype=np.float64), np.asarray(time_s, dtype=np.float64)
    if table.ndim != 2 or table.shape != (len(time), len(names)):
        raise MotionError(
            f"values of shape {table.shape} for {len(time)} times and {len(names)} names", field="values",
            cure="give one row per time and one column per name",
        )  # fmt: skip
    for name in names:
        if not name or name.split() != [name]:
            raise MotionError(f"{name!r} cannot name a column", field="names", cure="use names without white space")
    text = [
        title, "version=1", f"nRows={len(time)}", f"nColumns={len(names) + 1}",
        f"inDegrees={'yes' if degrees else 'no'}", "endheader", "\t".join(("time", *names)),
    ]  # fmt: skip
    for moment, row in zip(time, table, strict=True):
        text.append("\t".join([f"{moment:.8f}", *(f"{value:.10f}" for value in row)]))
    write_text(path, "\n".join(text) + "\n")
