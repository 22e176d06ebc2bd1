"""Between two vertebrae: the disc space, and the sacral endplate below the last of them.

Convention: the disc space has a frame of its own, whose up axis bisects the two endplates that face each other; heights
are distances of the two bone surfaces along it. The trap: this is the distance from bone to bone, which includes both
cartilage endplates; a disc mask drawn on MR is 1 to 2 mm thinner.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.measure.body import Body
from spinemed.measure.endplates import Endplate
from spinemed.measure.field import (
    BodyFrame,
    Field,
    crop,
    field_of,
    frame_from_hints,
    heights_at_rims,
    heights_of_thirds,
    known_mean,
    outlines,
    rim,
    robust_fit,
)

__all__ = ["DiscSpace", "Sacrum", "fit_sacrum", "mask_thickness", "measure_disc_space"]

Array = NDArray[np.float64]

_REACH_MM = 30.0  # how far from the middle of a disc space its endplates are sought
_STEP_MM = 1.0


@dataclass(frozen=True, eq=False)
class Sacrum:
    """The upper endplate of S1, and the field it was found in.

    Attributes:
        upper: The endplate; its width is where the ala falls off, less exact than the width of a vertebra.
        anterior: (3,) Front direction along the endplate.
        resolution_mm: As for :class:`Body`.
    """

    upper: Endplate
    anterior: Array
    resolution_mm: float
    field_: Field


def fit_sacrum(mask: NDArray[np.bool_], affine: ArrayLike, above: Body) -> Sacrum:
    """Find the sacral endplate under the lowest free vertebra.

    Columns are cast down from the vertebra's lower endplate; the robust plane through where they meet the sacrum is the
    endplate, and the frame is turned to it until it settles. Front and back edge: where the midsagittal section just
    below the plane leaves the bone, at the promontory and at the sacral canal.

    Args:
        mask: (I, J, K) True in the sacrum (whole, or S1 alone).
        affine: Its voxel-to-world matrix.
        above: The fitted body above.

    Raises:
        VolumeError: the sacrum does not lie below that vertebra, or shows no endplate.
    """
    solid, matrix = crop(np.asarray(mask, dtype=bool), np.array(affine, dtype=np.float64))
    field = field_of(solid, matrix)
    if above.lower.width_mm is None or above.lower.depth_mm is None:
        raise VolumeError("the vertebra above has no lower endplate", field="above", cure="fit its body first")
    half = np.array([above.lower.width_mm, above.lower.depth_mm]) / 2
    anterior = above.frame.axes[1]
    frame = frame_from_hints(above.lower.centre_mm, above.lower.normal, anterior)
    above_mm, below_mm = 8.0, 45.0
    plane = np.zeros(3)
    for turn in range(8):
        reach = 0.55 if turn < 3 else 0.8
        x, y, top = _surface(field, frame, reach * half, above_mm, below_mm)
        gx, gy = np.meshgrid(x, y, indexing="ij")
        oval = (gx / (reach * half[0])) ** 2 + (gy / (reach * half[1])) ** 2 <= 1.0
        use = oval & np.isfinite(top)
        if use.sum() < 0.5 * oval.sum():
            raise VolumeError("the sacrum does not lie below the lowest vertebra", field="sacrum", cure="check labels")
        terms = [np.ones(int(use.sum())), gx[use], gy[use]]
        if turn >= 3:
            share = (gx[use] / half[0]) ** 2 + (gy[use] / half[1]) ** 2
            terms.append(1.0 - share)
        plane = robust_fit(np.stack(terms, axis=1), top[use])[:3]
        normal = np.array([-plane[1], -plane[2], 1.0])
        up = normal / np.linalg.norm(normal) @ frame.axes
        turned = float(np.degrees(np.arccos(min(1.0, up @ frame.axes[2]))))
        frame = frame_from_hints(frame.to_world(np.array([0.0, 0.0, plane[0]])), up, anterior)
        above_mm, below_mm = 6.0, 12.0
        front, back = _midline_edges(field, frame, half[1])
        frame = BodyFrame(frame.to_world(np.array([0.0, (front + back) / 2, 0.0])), frame.axes)
        half = np.array([half[0], max((front - back) / 2, 5.0)])
        if turn > 4 and turned < 0.05:
            break
    front, back = _midline_edges(field, frame, half[1])
    right, left = _side_edges(field, frame, half[0])

    def world(px: float, py: float) -> Array:
        return frame.to_world(np.array([px, py, 0.0]))

    middle = (front + back) / 2
    endplate = Endplate(
        world(0.0, middle),
        frame.axes[2],
        world(0.0, front),
        world(0.0, back),
        world(right, middle),
        world(left, middle),
    )
    resolution = 1.0 / float(np.linalg.norm(np.linalg.inv(matrix[:3, :3]) @ frame.axes[2]))
    return Sacrum(endplate, frame.axes[1], resolution, field)


def _surface(field: Field, frame: BodyFrame, half: Array, above: float, below: float) -> tuple[Array, Array, Array]:
    """Upper surface of a field over columns |x|, |y| up to `half`, sought from `above` to `-below`; NaN if none."""
    step = np.array([_STEP_MM, _STEP_MM, 0.5])
    start = np.array([-half[0], -half[1], -below])
    size = [int(2 * half[0] / step[0]) + 1, int(2 * half[1] / step[1]) + 1, int((above + below) / step[2]) + 1]
    values = field.sample(frame, start, step, (size[0], size[1], size[2]))
    solid = values >= 0.5
    last = solid.shape[2] - 1 - np.argmax(solid[:, :, ::-1], axis=2)
    found = solid.any(axis=2) & (last < solid.shape[2] - 1)
    inner = np.take_along_axis(values, last[..., None], axis=2)[..., 0]
    outer = np.take_along_axis(values, np.minimum(last + 1, solid.shape[2] - 1)[..., None], axis=2)[..., 0]
    share = np.clip((inner - 0.5) / np.maximum(inner - outer, 1e-6), 0, 1)
    top = np.where(found, start[2] + step[2] * (last + share), np.nan)
    return start[0] + step[0] * np.arange(size[0]), start[1] + step[1] * np.arange(size[1]), top


def _midline_edges(field: Field, frame: BodyFrame, half_depth: float) -> tuple[float, float]:
    """Front and back edge of the sacral endplate: first way out of the bone from its middle, in sections below it."""
    depths = np.linspace(1.5, 6.0, 7)
    x = np.arange(-3.0, 3.5, 1.0)
    y = np.arange(-half_depth - 15, half_depth + 15.5, 0.5)
    gx, gy, gz = np.meshgrid(x, y, -depths, indexing="ij")
    values = field.at(frame.to_world(np.stack([gx, gy, gz], axis=-1)))
    found = []
    for direction in (+1, -1):
        edges = np.array([outlines(values[:, :, d].T, y, direction, first=True) for d in range(len(depths))])
        found.append(direction * rim(depths, direction * known_mean(edges.T)))
    return found[0], found[1]


def _side_edges(field: Field, frame: BodyFrame, half_width: float) -> tuple[float, float]:
    """Right and left edge: where a section 2 to 3 mm below the endplate leaves the bone."""
    x = np.arange(-half_width - 15, half_width + 15.5, 0.5)
    y = np.arange(-3.0, 3.5, 1.0)
    gx, gy, gz = np.meshgrid(x, y, np.array([-2.0, -2.5, -3.0]), indexing="ij")
    values = field.at(frame.to_world(np.stack([gx, gy, gz], axis=-1))).reshape(len(x), -1)
    found = []
    for direction in (+1, -1):
        edges = outlines(values, x, direction, first=True)
        edge = float(np.nanmedian(edges)) if np.isfinite(edges).any() else direction * half_width
        found.append(edge)
    return found[0], found[1]


@dataclass(frozen=True, eq=False)
class DiscSpace:
    """The space between two endplates.

    Attributes:
        frame: Its frame: up bisects the endplates, the origin lies in the middle of the space.
        rims_mm, thirds_mm: Anterior, middle and posterior height, two ways (see :class:`Body`); NaN if unknown.
        mean_mm: Mean height over the area that both endplates share.
        share: Share of that area in which both surfaces were found.
        half_mm: Half width and half depth of the shared area.
    """

    frame: BodyFrame
    rims_mm: tuple[float, float, float]
    thirds_mm: tuple[float, float, float]
    mean_mm: float
    share: float
    half_mm: tuple[float, float]


def measure_disc_space(upper: Body, lower: Body | Sacrum) -> DiscSpace:
    """Heights of the space between the lower endplate of one body and the upper endplate of the next.

    Source: anterior, middle and posterior disc height along the disc's own mid-plane as in Frobin 1997 (Clin Biomech
    12:S1), here as means over a surface instead of between corner points.

    Raises:
        VolumeError: the two endplates do not face each other.
    """
    over, under = upper.lower, lower.upper
    anterior = upper.frame.axes[1] + (lower.frame.axes[1] if isinstance(lower, Body) else lower.anterior)
    corners = [over.anterior_mm, over.posterior_mm, under.anterior_mm, under.posterior_mm]
    if any(corner is None for corner in corners):
        raise VolumeError("an endplate has no edges", field="disc", cure="check that the masks are whole")
    centre = (over.centre_mm + under.centre_mm) / 2
    frame = frame_from_hints(centre, over.normal + under.normal, anterior)
    y = frame.to_local(np.array(corners, dtype=np.float64))[:, 1]
    front, back = float(min(y[0], y[2])), float(max(y[1], y[3]))
    width = min(float(over.width_mm or 0), float(under.width_mm or 0))
    if front - back < 5.0:
        raise VolumeError(
            "the endplates share less than 5 mm of depth", field="disc", cure="check the labels of both vertebrae"
        )
    x_middle = float(frame.to_local(((over.centre_mm + under.centre_mm) / 2)[None])[0, 0])
    step = np.array([_STEP_MM, 0.5, 0.5])
    start = np.array([x_middle - width / 2, back - 1.0, -_REACH_MM])
    size = (int(width / step[0]) + 1, int((front - back + 2.0) / step[1]) + 1, int(2 * _REACH_MM / step[2]) + 1)
    z = start[2] + step[2] * np.arange(size[2])
    floor = _last(lower.field_.sample(frame, start, step, size), z)
    roof = -_last(upper.field_.sample(frame, start, step, size)[:, :, ::-1], -z[::-1])
    gap = roof - floor
    x = start[0] + step[0] * np.arange(size[0]) - x_middle
    y = start[1] + step[1] * np.arange(size[1])
    gx, gy = np.meshgrid(x / (width / 2), (y - (front + back) / 2) / ((front - back) / 2), indexing="ij")
    oval = gx**2 + gy**2 <= 0.9**2
    known = oval & np.isfinite(gap)
    band = np.abs(x) <= max(0.15 * width, 1.0)
    profile = known_mean(gap[band])
    there = np.isfinite(profile)
    if there.sum() < 6:
        raise VolumeError("the endplates do not face each other", field="disc", cure="check the labels")
    return DiscSpace(
        frame,
        heights_at_rims(y[there], profile[there], back, front),
        heights_of_thirds(y[there], profile[there], back, front),
        float(gap[known].mean()) if known.any() else float("nan"),
        float(known.sum() / max(1, oval.sum())),
        (width / 2, (front - back) / 2),
    )


def _last(values: NDArray[np.float32], z: Array) -> Array:
    """Place of the last 0.5 level along the third axis; NaN where there is none, or where the field ends in it."""
    solid = values >= 0.5
    last = solid.shape[2] - 1 - np.argmax(solid[:, :, ::-1], axis=2)
    found = solid.any(axis=2) & (last < solid.shape[2] - 1)
    inner = np.take_along_axis(values, last[..., None], axis=2)[..., 0]
    outer = np.take_along_axis(values, np.minimum(last + 1, solid.shape[2] - 1)[..., None], axis=2)[..., 0]
    share = np.clip((inner - 0.5) / np.maximum(inner - outer, 1e-6), 0, 1)
    return np.where(found, z[last] + (z[1] - z[0]) * share, np.nan)


def mask_thickness(mask: NDArray[Any], affine: Array, frame: BodyFrame, half_mm: tuple[float, float]) -> float | None:
    """Mean thickness of a disc mask along the disc's up axis, over the columns in the shared area that cross it."""
    solid, matrix = crop(np.asarray(mask, dtype=bool), affine)
    field = field_of(solid, matrix)
    step = np.array([1.0, 1.0, 0.5])
    start = np.array([-half_mm[0], -half_mm[1], -_REACH_MM])
    size = (int(2 * half_mm[0]) + 1, int(2 * half_mm[1]) + 1, int(2 * _REACH_MM / 0.5) + 1)
    values = field.sample(frame, start, step, size)
    z = start[2] + 0.5 * np.arange(size[2])
    thick = _last(values, z) + _last(values[:, :, ::-1], -z[::-1])
    gx, gy = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]), indexing="ij")
    known = (gx**2 + gy**2 <= 0.8**2) & np.isfinite(thick)
    return float(thick[known].mean()) if known.any() else None
