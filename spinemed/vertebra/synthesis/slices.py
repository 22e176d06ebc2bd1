"""Crops as the slice generator sees them: one spacing, the target hidden in a band, slices across and back.

Convention: a :class:`NetCrop` is (right, anterior, along) at the generator's spacing, the crop's middle in its middle.
Its target spans the rows from `low` to `high` (fractional), where the body's area passes a share of its largest.
:func:`hide_target` takes those rows out and puts a band of fixed height in their place, which moves the neighbours to
where they would lie beside a target of the band's height: how high the target was cannot be seen.

The trap: what lies more than the crop's half length beyond the target is not there; at the ends of the band picture the
last known row is repeated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.vertebra.straighten import StraightCrop, Straightened

if TYPE_CHECKING:
    from spinemed.vertebra.synthesis.generator_net import GeneratorConfig

__all__ = ["ROW_SHARE", "NetCrop", "Piece", "extent", "hide_target", "net_crop", "rows_at", "to_net", "to_patient_crop"]

Array = NDArray[np.float64]
Picture = NDArray[np.float32]

ROW_SHARE = 0.15  # of the largest area: where a body begins and ends along the spine
_SIDE_SHARE = 0.10  # and across it


@dataclass(frozen=True, eq=False)
class NetCrop:
    """One vertebra and its surroundings at the generator's spacing.

    Attributes:
        level: The target.
        image: (R, A, S) HU.
        body: (R, A, S) share of each voxel in the target's body.
        others: The same for its neighbours, by level.
        low, high: Rows between which the target lies, fractional.
        sides: (2, 2) first and last place of the target across: right, then anterior.
    """

    level: Level
    image: Picture
    body: Picture
    others: dict[Level, Picture]
    low: float
    high: float
    sides: Array


def extent(body: Picture, axis: int, share: float) -> tuple[float, float]:
    """Where a body's area across an axis passes a share of its largest: first and last place, between voxels.

    Raises:
        VolumeError: an empty body.
    """
    area = body.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64)
    if area.max() <= 0:
        raise VolumeError("the crop holds no body", field="mask", cure="give a mask with whole bodies")
    level = share * area.max()
    inside = np.flatnonzero(area >= level)
    first, last = int(inside[0]), int(inside[-1])
    low = first - (area[first] - level) / (area[first] - area[first - 1]) if first > 0 else 0.0
    high = last + (area[last] - level) / (area[last] - area[last + 1]) if last + 1 < len(area) else float(last)
    return float(low), float(high)


def to_net(values: Picture, spacing_mm: float, config: GeneratorConfig, beyond: float | None) -> Picture:
    """A crop's values at the generator's spacing, about the same middle; `beyond` outside, or the nearest value."""
    from scipy.ndimage import affine_transform

    across, along = config.slice_vox
    shape = np.array([across, across, along])
    step = config.spacing_mm / spacing_mm
    offset = (np.array(values.shape) - 1) / 2 - step * (shape - 1) / 2
    return np.asarray(
        affine_transform(
            values.astype(np.float32), np.full(3, step), offset, output_shape=tuple(shape), order=1, prefilter=False,
            mode="nearest" if beyond is None else "constant", cval=beyond or 0.0,
        ),
        dtype=np.float32,
    )  # fmt: skip


def to_patient_crop(values: Picture, crop: StraightCrop, spacing_mm: float, config: GeneratorConfig) -> Picture:
    """The generator's voxels on a crop's own; 0 outside."""
    from scipy.ndimage import affine_transform

    step = spacing_mm / config.spacing_mm
    shape = crop.body.shape
    offset = (np.array(values.shape) - 1) / 2 - step * (np.array(shape) - 1) / 2
    return np.asarray(
        affine_transform(values, np.full(3, step), offset, output_shape=shape, order=1, prefilter=False, cval=0.0),
        dtype=np.float32,
    )


def net_crop(straight: Straightened, level: Level, config: GeneratorConfig) -> NetCrop:
    """A crop at the generator's spacing, with the neighbours' bodies moved into it.

    Raises:
        VolumeError: no image, or no body.
    """
    crop = straight.crops[level]
    if crop.image is None:
        raise VolumeError(f"the crop of {level} has no image", field="image", cure="straighten with the CT")
    spacing = straight.spacing_mm
    body = to_net(crop.body, spacing, config, 0.0)
    others = {}
    for other, theirs in straight.crops.items():
        shift = round(float(theirs.start[2] - crop.start[2]) / spacing)
        length = crop.body.shape[2]
        if other is level or abs(shift) >= length:
            continue
        moved = np.zeros_like(crop.body)
        a, b = max(0, shift), min(length, length + shift)
        moved[:, :, a:b] = theirs.body[:, :, a - shift : b - shift]
        if (moved >= 0.5).any():
            others[other] = to_net(moved, spacing, config, 0.0)
    low, high = extent(body, 2, ROW_SHARE)
    sides = np.array([extent(body, axis, _SIDE_SHARE) for axis in (0, 1)])
    return NetCrop(level, to_net(crop.image, spacing, config, None), body, others, low, high, sides)


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of a volume, from one fractional row to another, upwards or downwards."""

    values: Picture
    start: float
    stop: float


def rows_at(values: Picture, rows: NDArray[np.floating]) -> Picture:
    """(R, A, len(rows)) values at fractional rows, linear between rows, the last known row beyond the ends."""
    last = values.shape[2] - 1
    inside = np.clip(rows, 0, last)
    below = np.minimum(inside.astype(int), max(last - 1, 0))
    part = (inside - below).astype(np.float32)
    picture: Picture = values[:, :, below] * (1 - part) + values[:, :, np.minimum(below + 1, last)] * part
    return picture


def _laid(pieces: list[Piece], distances: NDArray[np.floating]) -> Picture:
    """Values at distances (rows, from 0) along pieces laid end to end; beyond the last piece its course goes on."""
    shape = pieces[0].values.shape[:2]
    out = np.zeros((*shape, len(distances)), dtype=np.float32)
    begin = 0.0
    for number, piece in enumerate(pieces):
        length = abs(piece.stop - piece.start)
        final = number == len(pieces) - 1
        here = (distances >= begin) & ((distances < begin + length) | final)
        sign = 1.0 if piece.stop >= piece.start else -1.0
        out[:, :, here] = rows_at(piece.values, piece.start + sign * (distances[here] - begin))
        begin += length
    return out


def hide_target(above: list[Piece], below: list[Piece], config: GeneratorConfig) -> Picture:
    """(R, A, along) the surroundings with a band between them, 0 in the band.

    Args:
        above: What lies above the target, from its upper end upwards.
        below: What lies below it, from its lower end downwards.
        config: For the band.
    """
    along, band = config.slice_vox[1], config.band_vox
    first = (along - band) // 2
    # Pixel centres lie half a pixel beyond the band's edge.
    upper = _laid(above, np.arange(along - first - band) + 0.5)
    lower = _laid(below, np.arange(first) + 0.5)[:, :, ::-1]
    middle = np.zeros((*upper.shape[:2], band), dtype=np.float32)
    return np.concatenate([lower, middle, upper], axis=2)
