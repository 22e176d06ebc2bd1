"""What is wrong with a clip: errors for what cannot be fitted, flags for what is doubtful.

Convention: an error names the field and the cure; a flag is a `Flag` with a short name, a sentence, and the markers it
concerns. The trap: a flagged fit is still a fit; whoever shows its angles shows its flags first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.conventions import UNITS_MM, MotionError

__all__ = ["Flag", "check_shape", "check_size", "missing_flags", "opposite", "swap_order", "upright_flags"]

_GAP_SHARE = 0.5
_FARTHEST = 1e9  # in whatever unit: no laboratory is that wide, and the squares of larger numbers lose the others


@dataclass(frozen=True)
class Flag:
    """One doubt about a fit: its name, a sentence, and the markers concerned (none: the whole clip)."""

    name: str
    message: str
    markers: tuple[str, ...] = ()


def check_shape(points: NDArray[np.float64], names: Sequence[str]) -> None:
    """Raise where an array of markers cannot be fitted at all.

    Raises:
        MotionError: not [T, K, 3]; names that do not match or repeat; empty; nothing, infinities or absurdly far
            points seen; fewer than
            three markers.
    """
    if points.ndim != 3 or points.shape[-1] != 3:
        raise MotionError(
            f"an array of shape {points.shape}, expected frames x markers x 3", field="points", cure="reorder the axes"
        )
    if points.shape[0] == 0 or points.shape[1] == 0:
        raise MotionError("the clip is empty", field="points", cure="give at least one frame and three markers")
    if len(names) != points.shape[1]:
        raise MotionError(
            f"{len(names)} names for {points.shape[1]} markers", field="names", cure="name each marker once, in order"
        )
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise MotionError(f"marker {twice[0]!r} is named twice", field="names", cure="name each marker once")
    if np.isinf(points).any():
        raise MotionError("points hold infinities", field="points", cure="mark missing points as NaN")
    if (np.abs(points) > _FARTHEST).any():
        raise MotionError(
            f"points hold coordinates beyond {_FARTHEST:g}", field="points", cure="mark missing points as NaN"
        )
    seen = np.isfinite(points).all(axis=-1)
    if not seen.any():
        raise MotionError("no marker is seen in any frame: all are NaN", field="points", cure="check the reader")
    if len(names) < 3 or seen.any(axis=0).sum() < 3:
        raise MotionError(
            f"{int(seen.any(axis=0).sum())} marker is not enough to place a body", field="points",
            cure="give three markers or more on pelvis and spine",
        )  # fmt: skip


def check_size(factor: float, unit: str) -> list[Flag]:
    """Judge the size of the seen body against the model's.

    Raises:
        MotionError: if another unit explains it.
    """
    for other, millimetres in UNITS_MM.items():
        ratio = factor * millimetres / UNITS_MM[unit]
        if other != unit and 0.5 < ratio < 2.0 and not 0.4 < factor < 2.5:
            raise MotionError(
                f"the body would be {factor:.3g} times an adult's size: points are declared in {unit} but look like "
                f"{other}", field="unit", cure=f'declare unit="{other}"',
            )  # fmt: skip
    if not 0.2 < factor < 5.0:
        raise MotionError(
            f"the body would be {factor:.3g} times an adult's size", field="unit", cure="check units and marker names"
        )
    if not 0.7 < factor < 1.4:
        return [Flag("unusual_size", f"the body is {factor:.2f} times the model's size")]
    return []


def missing_flags(seen: NDArray[np.bool_], names: Sequence[str]) -> list[Flag]:
    """Markers [T, K] missing in half of the frames or more, and frames with too few markers."""
    gone = 1.0 - seen.mean(axis=0)
    flags = []
    lost = tuple(name for name, share in zip(names, gone, strict=True) if share >= _GAP_SHARE)
    if lost:
        worst = float(gone.max())
        flags.append(Flag("markers_missing", f"missing in half of the frames or more (at most {worst:.0%})", lost))
    thin = float((seen.sum(axis=1) < max(3, 0.5 * np.median(seen.sum(axis=1)))).mean())
    if thin > 0:
        flags.append(Flag("frames_thin", f"{thin:.1%} of the frames show less than half of the usual markers"))
    return flags


def opposite(name: str) -> str | None:
    """The name of the other side's marker, or None: left_hip/right_hip, LASI/RASI."""
    for one, other in (("left_", "right_"), ("right_", "left_"), ("L", "R"), ("R", "L")):
        if name.startswith(one) and (len(one) > 1 or name[1:2].isupper()):
            return other + name[len(one) :]
    return None


def swap_order(names: Sequence[str]) -> NDArray[np.int64]:
    """[K] numbers that exchange the two sides; a marker without partner stays."""
    at = {name: i for i, name in enumerate(names)}
    return np.array([at.get(opposite(name) or "", i) for i, name in enumerate(names)], dtype=np.int64)


def upright_flags(up: NDArray[np.float64]) -> list[Flag]:
    """Judge the trunk's long axis [T, 3]: a body that lies all the time may be a wrong upward axis."""
    mean = np.nanmedian(up[:, 2])
    if mean < 0.3:
        return [Flag("not_upright", "the trunk lies or hangs in most frames: check the declared upward axis")]
    return []
