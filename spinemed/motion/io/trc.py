"""TRC: marker coordinates as tab-separated text (Motion Analysis, OpenSim).

Convention: five header lines (file type, keys, values, names, X1 Y1 Z1 ...), then frame number, time, and three
coordinates per marker; y points up and x forward in OpenSim's files. A missing marker is three empty cells; three exact
zeros are taken as missing too, and flagged.

The trap: headers lie about the unit (a published pipeline writes metres under "mm"); see `clips.marker_clip`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import ReadError
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import UNITS_MM, MotionError, to_up_axis
from spinemed.motion.io.clips import MarkerClip, marker_clip, read_text_lines
from spinemed.tables import write_text

__all__ = ["read_trc", "write_trc"]


def read_trc(path: str | os.PathLike[str], *, unit: str | None = None, up: str = "y") -> MarkerClip:
    """Read a TRC file.

    Args:
        path: The file.
        unit: "mm", "cm" or "m" overrides the header; None takes the header's and checks it.
        up: Which axis points up.

    Raises:
        ReadError: missing, empty, no TRC, a row that is cut off or holds what is no number.
        MotionError: see `clips.marker_clip`.
    """
    lines = read_text_lines(path, "TRC")
    if len(lines) < 6 or not lines[0].startswith("PathFileType"):
        raise ReadError("is no TRC file, or ends in its header", file=path, cure="export the clip again")
    header = dict(zip(lines[1].split("\t"), (cell.strip() for cell in lines[2].split("\t"))))
    rate = _number(header, "DataRate", path)
    names = [cell.strip() for cell in lines[3].split("\t")[2:] if cell.strip()]
    declared = int(_number(header, "NumMarkers", path))
    if declared != len(names):
        raise ReadError(
            f"declares {declared} markers and names {len(names)}", file=path, line=4, field="NumMarkers",
            cure="mend the header",
        )  # fmt: skip
    first = 1
    times: list[float] = []
    rows: list[list[float]] = []
    width = 2 + 3 * len(names)
    for number, line in enumerate(lines[5:], 6):
        if not line.strip():
            continue
        cells = line.split("\t")
        if len(cells) < width or any(cell.strip() for cell in cells[width:]):
            raise ReadError(
                f"{len(cells)} cells, expected {width}", file=path, line=number,
                cure="the file is cut off or damaged here: export it again, or remove the line",
            )  # fmt: skip
        try:
            values = [float(cell) if cell.strip() else np.nan for cell in cells[:width]]
        except ValueError as error:
            raise ReadError(f"holds what is no number ({error})", file=path, line=number, cure="mend it") from error
        if not np.isfinite(values[:2]).all():
            raise ReadError("has no frame number or no time", file=path, line=number, cure="mend it")
        if not rows:
            first = int(values[0])
        times.append(values[1])
        rows.append(values[2:])
    if not rows:
        raise ReadError("holds no frame", file=path, cure="export the clip again")
    flags = _header_flags(header, rate, times, len(rows))
    points = np.array(rows).reshape(len(rows), len(names), 3)
    zero = (points == 0).all(axis=-1)
    if zero.any():
        points[zero] = np.nan
        lost = tuple(name for name, any_zero in zip(names, zero.any(axis=0), strict=True) if any_zero)
        flags.append(Flag("zeros_as_missing", f"{int(zero.sum())} points at exactly 0, 0, 0 count as missing", lost))
    stated = header.get("Units", "")
    if unit is None and stated not in UNITS_MM:
        raise ReadError(
            f"the unit {stated!r} is unknown", file=path, line=3, field="Units",
            cure=f"write one of {', '.join(UNITS_MM)}, or give the unit yourself",
        )  # fmt: skip
    return marker_clip(
        names, points, rate, unit=unit or stated, up=up, declared_unit=unit is None, file=path, first_frame=first,
        flags=flags,
    )  # fmt: skip


def _number(header: dict[str, str], key: str, path: str | os.PathLike[str]) -> float:
    try:
        value = float(header[key])
        if not np.isfinite(value):
            raise ValueError
        return value
    except KeyError as error:
        raise ReadError(f"has no {key}", file=path, line=2, field=key, cure="mend the header") from error
    except ValueError as error:
        raise ReadError(
            f"{header[key]!r} is no number", file=path, line=3, field=key, cure="mend the header"
        ) from error


def _header_flags(header: dict[str, str], rate: float, times: Sequence[float], rows: int) -> list[Flag]:
    flags = []
    stated = header.get("NumFrames", "")
    if stated.isdecimal() and int(stated.lstrip("0")[:16] or 0) != rows:
        flags.append(Flag("frames_differ", f"the header declares {stated} frames, the file holds {rows}"))
    # Over the whole clip, because many files round time to milliseconds.
    step = (times[-1] - times[0]) / max(1, rows - 1)
    if rows > 1 and not abs(step * rate - 1.0) < 0.01:
        flags.append(Flag("rate_differs", f"the header declares {rate:g} Hz, the time column steps {step:.4g} s"))
    back = int((np.diff(times) < 0).sum())
    if back:
        flags.append(Flag("time_goes_back", f"the time column goes back at {back} frames; rows are taken in order"))
    return flags


def write_trc(
    path: str | os.PathLike[str],
    names: Sequence[str],
    points_mm: ArrayLike,
    rate_hz: float,
    *,
    unit: str = "m",
    up: str = "y",
    first_frame: int = 1,
) -> None:
    """Write markers [T, K, 3] in mm on our axes as TRC in the unit that its header declares, NaN as empty cells.

    Raises:
        MotionError: names that do not match, an unknown unit or axis.
    """
    points = np.asarray(points_mm, dtype=np.float64)
    if points.ndim != 3 or points.shape[1:] != (len(names), 3):
        raise MotionError(
            f"points of shape {points.shape} for {len(names)} names", field="points_mm", cure="give [T, K, 3]"
        )
    if unit not in UNITS_MM:
        raise MotionError(f"the unit {unit!r} is unknown", field="unit", cure=f"use one of {', '.join(UNITS_MM)}")
    digits = {"mm": 5, "cm": 6, "m": 8}[unit]
    turned: NDArray[np.float64] = to_up_axis(points, up) / UNITS_MM[unit]
    frames, last = len(points), first_frame
    text = [
        "PathFileType\t4\t(X/Y/Z)\t" + os.path.basename(os.fspath(path)),
        "DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames",
        f"{rate_hz:.10g}\t{rate_hz:.10g}\t{frames}\t{len(names)}\t{unit}\t{rate_hz:.10g}\t{first_frame}\t{frames}",
        "Frame#\tTime\t" + "\t".join(f"{name}\t\t" for name in names),
        "\t\t" + "\t".join(f"X{k}\tY{k}\tZ{k}" for k in range(1, len(names) + 1)),
        "",
    ]
    for number, frame in enumerate(turned):
        cells = [f"{value:.{digits}f}" if np.isfinite(value) else "" for value in frame.ravel()]
        text.append(f"{last + number}\t{number / rate_hz:.8f}\t" + "\t".join(cells))
    write_text(path, "\n".join(text) + "\n")
