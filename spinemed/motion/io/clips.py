"""What the readers return: a clip of markers, of angles, of a jointed skeleton, or of keypoints.

Convention: whatever a file declares, a clip holds millimetres on our axes (x right, y anterior, z up of a laboratory;
see `spinemed.motion.conventions`), NaN where a point is missing, frames first. `unit` and `up` keep what was declared;
`flags` say where the numbers contradict it. 2D keypoints stay in pixels, x right and y down from the corner of the
image.

The trap: "x right, y anterior" is only a turn about the vertical: a laboratory's x need not be the person's right. The
heading is a freedom of the fitted pelvis.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import UNITS_MM, MotionError, from_up_axis

__all__ = ["AngleClip", "KeypointClip", "MarkerClip", "SkeletonClip", "marker_clip", "read_text_lines"]

_ADULT_MM = (250.0, 5000.0)
"""Widest extent of a person's markers in one frame: a pelvis alone to a stretched body beside a box."""


@dataclass(frozen=True)
class MarkerClip:
    """Markers over time.

    Attributes:
        names: One per marker, without the subject's prefix; `prefixes` holds those ("" where there is none).
        points_mm: [T, K, 3] on our axes, NaN where missing.
        rate_hz: Frames per second.
        unit, up: What the numbers in the file are taken as: "mm", "cm" or "m"; "y" or "z".
        flags: Doubts; empty where there are none.
        file: Where it came from.
        first_frame: Number of the first frame in the file.
    """

    names: tuple[str, ...]
    points_mm: NDArray[np.float64]
    rate_hz: float
    unit: str = "mm"
    up: str = "z"
    flags: tuple[Flag, ...] = ()
    file: str | None = None
    first_frame: int = 1
    prefixes: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.points_mm)

    @property
    def time_s(self) -> NDArray[np.float64]:
        """[T] seconds from the first frame."""
        return np.arange(self.frames) / self.rate_hz

    def select(self, names: Sequence[str]) -> MarkerClip:
        """The named markers in the given order.

        Raises:
            MotionError: if one is not in the clip.
        """
        at = {name: i for i, name in enumerate(self.names)}
        missing = [name for name in names if name not in at]
        if missing:
            raise MotionError(
                f"no marker {', '.join(map(repr, missing))}", file=self.file, field="names",
                cure=f"use names among {', '.join(self.names)}",
            )  # fmt: skip
        index = [at[name] for name in names]
        prefixes = tuple(self.prefixes[i] for i in index) if self.prefixes else ()
        return replace(self, names=tuple(names), points_mm=self.points_mm[:, index], prefixes=prefixes)

    def missing_share(self) -> dict[str, float]:
        """Share of frames in which each marker is missing."""
        gone = ~np.isfinite(self.points_mm).all(axis=-1)
        return dict(zip(self.names, gone.mean(axis=0).tolist(), strict=True))


@dataclass(frozen=True)
class AngleClip:
    """Columns over time, as OpenSim writes them (MOT, STO).

    Attributes:
        names: One per column, without "time".
        values: [T, C] as in the file: rotations in degrees where `degrees`, else in radians; lengths in metres.
        time_s: [T] as in the file.
        degrees: What the header declares.
        flags, file: As in `MarkerClip`.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    time_s: NDArray[np.float64]
    degrees: bool
    flags: tuple[Flag, ...] = ()
    file: str | None = None

    @property
    def rate_hz(self) -> float:
        """Frames per second from the time column (NaN for a single row)."""
        return float(1.0 / np.median(np.diff(self.time_s))) if len(self.time_s) > 1 else float("nan")

    def column(self, name: str) -> NDArray[np.float64]:
        """[T] one column as it stands in the file.

        Raises:
            MotionError: if there is no such column.
        """
        if name not in self.names:
            raise MotionError(
                f"no column {name!r}", file=self.file, field=name, cure=f"use one of {', '.join(self.names)}"
            )
        return np.asarray(self.values[:, self.names.index(name)])

    def angle_deg(self, name: str) -> NDArray[np.float64]:
        """[T] a column of rotations in degrees, whatever the file declares."""
        values = self.column(name)
        return values if self.degrees else np.degrees(values)


@dataclass(frozen=True)
class SkeletonClip:
    """A skeleton of joints over time (BVH, ASF/AMC).

    Attributes:
        names: One per joint; ends of chains are named after their parent with "_end".
        parents: Number of each joint's parent, -1 for the root.
        points_mm: [T, J, 3] on our axes.
        rotations: [T, J, 3, 3] turning from the joint's axes to ours.
        rate_hz, unit, up, flags, file: As in `MarkerClip`.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    points_mm: NDArray[np.float64]
    rotations: NDArray[np.float64]
    rate_hz: float
    unit: str
    up: str
    flags: tuple[Flag, ...] = ()
    file: str | None = None

    def markers(self) -> MarkerClip:
        """The joints as markers."""
        return MarkerClip(self.names, self.points_mm, self.rate_hz, self.unit, self.up, self.flags, self.file)


@dataclass(frozen=True)
class KeypointClip:
    """Keypoints over time, in an image or in space.

    Attributes:
        names: One per keypoint.
        points: [T, K, 2] pixels, or [T, K, 3] mm on our axes; NaN where missing.
        confidence: [T, K]; 1 where the file gives none, 0 where missing.
        layout: Which published order they stood in.
        rate_hz: Frames per second, or None where the file does not say.
        boxes: [T, 4] x, y, width, height in pixels where the file gives them.
        frame_ids: [T] image or frame numbers as in the file.
        flags, file: As in `MarkerClip`.
    """

    names: tuple[str, ...]
    points: NDArray[np.float64]
    confidence: NDArray[np.float64]
    layout: str
    rate_hz: float | None = None
    boxes: NDArray[np.float64] | None = None
    frame_ids: tuple[int, ...] = ()
    flags: tuple[Flag, ...] = ()
    file: str | None = None

    @property
    def flat(self) -> bool:
        """Whether these are pixels."""
        axes: int = self.points.shape[-1]
        return axes == 2


def marker_clip(
    names: Sequence[str],
    points: NDArray[np.float64],
    rate_hz: float,
    *,
    unit: str,
    up: str,
    declared_unit: bool = True,
    file: str | os.PathLike[str] | None = None,
    first_frame: int = 1,
    prefixes: tuple[str, ...] = (),
    flags: Sequence[Flag] = (),
) -> MarkerClip:
    """A clip from numbers [T, K, 3] as they stand in a file, checked.

    Where the unit that the header declares would make a body of impossible size and exactly one other unit would not,
    that one is taken and flagged "unit_mismatch". A unit that the user gave (`declared_unit=False`) is kept.

    Raises:
        MotionError: nothing in it, nothing visible, infinities, names that repeat, an unknown unit or axis, a rate
            that is none, or a size that no unit explains.
    """
    where = None if file is None else os.fspath(file)
    if points.ndim != 3 or points.shape[-1] != 3 or 0 in points.shape:
        raise MotionError(
            f"an array of shape {points.shape} holds no markers", file=where, field="points",
            cure="give a clip of at least one frame and one marker",
        )  # fmt: skip
    if len(names) != points.shape[1]:
        raise MotionError(
            f"{len(names)} names for {points.shape[1]} markers", file=where, field="names", cure="mend the header"
        )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise MotionError(
            f"the marker {twice[0]!r} stands in it twice", file=where, field="names", cure="rename one of them"
        )
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise MotionError(f"{rate_hz} frames per second", file=where, field="rate", cure="mend the header's rate")
    if np.isinf(points).any():
        raise MotionError("holds infinite coordinates", file=where, field="points", cure="write gaps as NaN or empty")
    if unit not in UNITS_MM:
        raise MotionError(
            f"the unit {unit!r} is unknown", file=where, field="unit", cure=f"declare one of {', '.join(UNITS_MM)}"
        )
    gone = np.asarray(~np.isfinite(points).all(axis=-1))
    if gone.all():
        raise MotionError("no marker is visible in any frame", file=where, field="points", cure="give another clip")
    points = np.where(gone[..., None], np.nan, points)
    doubts = list(flags)
    if declared_unit:
        unit, doubt = _plausible_unit(points, unit, where)
        doubts += doubt
    points_mm = from_up_axis(points * UNITS_MM[unit], up)
    doubts += _gap_flags(gone, names) + _upright_flags(points_mm, up)
    return MarkerClip(
        tuple(names), points_mm, float(rate_hz), unit, up, tuple(doubts), where, first_frame, prefixes
    )  # fmt: skip


def extent(points: NDArray[np.float64]) -> float:
    """Median over frames of the largest side of the box around all points [T, K, 3], in the points' unit."""
    seen = np.isfinite(points).all(axis=-1)
    some = points[seen.sum(axis=1) > 1]
    if not len(some):
        return float("nan")
    sides = np.nanmax(some, axis=1) - np.nanmin(some, axis=1)
    return float(np.median(sides.max(axis=1)))


def _plausible_unit(points: NDArray[np.float64], unit: str, file: str | None) -> tuple[str, list[Flag]]:
    size = extent(points)
    if points.shape[1] < 4 or not np.isfinite(size) or size == 0:
        return unit, []
    low, high = _ADULT_MM
    if low <= size * UNITS_MM[unit] <= high:
        return unit, []
    fitting = [other for other, mm in UNITS_MM.items() if other != unit and low <= size * mm <= high]
    if not fitting:
        raise MotionError(
            f"the markers span {size:.4g} {unit}, which no unit turns into a person", file=file, field="unit",
            cure="check the file, or give the unit yourself",
        )  # fmt: skip
    # Metres and centimetres both fit only a body between 25 and 50 of the smaller one; a person is metres tall.
    best = min(fitting, key=lambda other: abs(np.log(size * UNITS_MM[other] / 1700.0)))
    message = (
        f"the header declares {unit}, which would make a person of {size * UNITS_MM[unit]:.3g} mm; read as {best}, "
        f"{size * UNITS_MM[best]:.0f} mm"
    )
    return best, [Flag("unit_mismatch", message)]


def _gap_flags(gone: NDArray[np.bool_], names: Sequence[str]) -> list[Flag]:
    share = gone.mean(axis=0)
    lost = tuple(name for name, value in zip(names, share, strict=True) if value >= 0.5)
    if not lost:
        return []
    return [Flag("markers_missing", f"missing in half of the frames or more (at most {share.max():.0%})", lost)]


def _upright_flags(points_mm: NDArray[np.float64], up: str) -> list[Flag]:
    """Walking and standing people are tallest along the vertical; where another axis wins by far, the axis is doubtful.

    Lying people look the same, so it is a doubt and no error.
    """
    if points_mm.shape[1] < 8:
        return []
    seen = np.isfinite(points_mm).all(axis=-1)
    some = points_mm[seen.sum(axis=1) > 7]
    if not len(some):
        return []
    sides = np.median(np.nanmax(some, axis=1) - np.nanmin(some, axis=1), axis=0)
    if sides[2] < 0.5 * sides.max():
        return [Flag("not_upright", f"the markers span {sides.max():.0f} mm across and {sides[2]:.0f} mm along {up}")]
    return []


def read_text_lines(path: str | os.PathLike[str], what: str) -> list[str]:
    """The lines of a text file, without their ends.

    Raises:
        ReadError: missing, unreadable, empty, or binary.
    """
    try:
        with open(path, "rb") as stream:
            data = stream.read()
    except OSError as error:
        raise ReadError(f"cannot be read ({error.strerror})", file=path, cure="check the path") from error
    if not data.strip():
        raise ReadError("is empty", file=path, cure=f"give a {what} file")
    if b"\0" in data[:4096]:
        raise ReadError(f"is binary, not a {what} file", file=path, cure="check the file's kind")
    return data.decode("utf-8", errors="replace").splitlines()
