"""Height loss of a vertebral body against its reference (the vertebra before, or a pseudo-healthy one), in one frame.

A broken body's own axis is no axis to compare along: a wedge tilts it by half its angle, and lengths along a tilted
axis are not those along the healthy one (a loss of 38 % reads as 41 %). Both bodies are therefore read along the
reference's axis, over the thirds of the reference's depth, in the same midsagittal band.

The trap: the two have to lie on each other. A pseudo-healthy vertebra that was made in place does; one from another
scan, or from another posture, has to be moved there first (`motion`), by what did not break.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.measure.body import Body
from spinemed.measure.field import BodyFrame, Field, crop, field_of, heights_of_thirds

__all__ = ["HeightLosses", "body_field", "height_losses"]

Array = NDArray[np.float64]

_BAND = 0.15  # half-width of the midsagittal band, share of the width, as for heights
_SPUR_MM = 2.5  # a column that differs by more from its neighbours across shows a rim alone, or a spur
_LEAST_SHARE = 0.7  # of the depth must show both endplates of the broken body


@dataclass(frozen=True)
class HeightLosses:
    """Loss of mean height over each third of the depth, in percent of the reference, and both heights in mm.

    Each tuple is (anterior, middle, posterior).
    """

    percent: tuple[float, float, float]
    height_mm: tuple[float, float, float]
    reference_mm: tuple[float, float, float]

    @property
    def largest_percent(self) -> float:
        """The largest of the three, from which a grade is read."""
        return max(self.percent)


def body_field(mask: ArrayLike, affine: ArrayLike) -> Field:
    """The surface of a body mask without a fit of its endplates, which a crushed body may not allow.

    Args:
        mask: (I, J, K) True in one body.
        affine: (4, 4) Voxel to world, RAS+ mm.

    Raises:
        VolumeError: no voxel is set.
    """
    return field_of(*crop(np.asarray(mask, dtype=bool), np.asarray(affine, dtype=np.float64)))


def height_losses(body: Body | Field, reference: Body, *, motion: ArrayLike | None = None) -> HeightLosses:
    """Losses of a body against its reference, both read along the reference's axis.

    Thirds of the depth as in Genant 1993 (J Bone Miner Res 8:1137): anterior, middle, posterior; the depth is that of
    the reference, the height of a third the mean distance of the two endplates over the midsagittal band of 30 % of the
    width.

    Args:
        body: The fitted body, broken or not; or its surface alone (`body_field`), where no endplate can be fitted.
        reference: The same vertebra as it was (healthy twin, earlier scan) or should be (pseudo-healthy).
        motion: (4, 4) rigid world transform that brings the reference on to the body; none if it lies there already.

    Raises:
        VolumeError: the motion is not rigid, or the two do not lie on each other.
    """
    turn, shift = _rigid(motion)
    frame = BodyFrame(turn @ reference.frame.centre_mm + shift, reference.frame.axes @ turn.T)
    back, front = reference.wall_mm
    half = _BAND * reference.width_mm
    height = float(np.linalg.norm(reference.upper.centre_mm - reference.lower.centre_mm))
    y, before = _profile(reference.field_, reference.frame, half, back, front, height)
    _, now = _profile(body.field_ if isinstance(body, Body) else body, frame, half, back, front, height)
    share = (y - back) / (front - back)
    inner = (share > 0.05) & (share < 0.95)
    there = np.isfinite(before) & np.isfinite(now)
    if there[inner].mean() < _LEAST_SHARE:
        raise VolumeError(
            "the body and its reference do not lie on each other",
            field="motion",
            cure="give the rigid motion that brings the reference to the body",
        )
    old = heights_of_thirds(y[there], before[there], back, front)
    new = heights_of_thirds(y[there], now[there], back, front)
    percent = [100.0 * (1.0 - b / a) for a, b in zip(old, new, strict=True)]
    return HeightLosses((percent[0], percent[1], percent[2]), new, old)


def _rigid(motion: ArrayLike | None) -> tuple[Array, Array]:
    matrix = np.eye(4) if motion is None else np.asarray(motion, dtype=np.float64)
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise VolumeError(f"a motion of shape {matrix.shape}", field="motion", cure="give a finite (4, 4) matrix")
    turn: Array = matrix[:3, :3]
    if np.abs(turn @ turn.T - np.eye(3)).max() > 1e-3 or np.linalg.det(turn) < 0:
        raise VolumeError("the motion is not rigid", field="motion", cure="give a rotation and a shift only")
    return turn, matrix[:3, 3]


def _profile(
    field: Field, frame: BodyFrame, half: float, back: float, front: float, height: float
) -> tuple[Array, Array]:
    """Height over y in the band: outermost 0.5 levels along the up axis; NaN where too few columns have one."""
    step = np.array([1.0, 0.5, 0.25])
    across, along = max(int(half / step[0]), 1), int((front - back) / step[1])
    start = np.array([-across * step[0], back + step[1] / 2, -0.9 * height])
    size = (2 * across + 1, along, int(1.8 * height / step[2]) + 1)
    values = field.sample(frame, start, step, size)
    solid = values >= 0.5
    found = solid.any(axis=2) & ~solid[:, :, 0] & ~solid[:, :, -1]
    top = size[2] - 1 - np.argmax(solid[:, :, ::-1], axis=2)
    bottom = np.argmax(solid, axis=2)
    tall = step[2] * (top - bottom + _share(values, top, 1) + _share(values, bottom, -1))
    tall = np.where(found, tall, np.nan)
    with np.errstate(all="ignore"):
        usual = np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in tall.T])
        found &= ~(np.abs(tall - usual) > _SPUR_MM)  # passes one rim only, or a spur
    tall = np.where(found, tall, np.nan)
    enough = 2 * found.sum(axis=0) >= size[0]
    profile = np.where(enough, np.nansum(tall, axis=0) / np.maximum(found.sum(axis=0), 1), np.nan)
    return start[1] + step[1] * np.arange(along), profile


def _share(values: NDArray[np.float32], inner: NDArray[np.int64], direction: int) -> Array:
    """How far the 0.5 level lies beyond the outermost sample inside, 0 to 1."""
    outer = np.clip(inner + direction, 0, values.shape[2] - 1)
    a = np.take_along_axis(values, inner[..., None], axis=2)[..., 0].astype(np.float64)
    b = np.take_along_axis(values, outer[..., None], axis=2)[..., 0].astype(np.float64)
    return np.clip((a - 0.5) / np.maximum(a - b, 1e-6), 0.0, 1.0)
