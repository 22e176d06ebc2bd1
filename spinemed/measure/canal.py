"""Sections of the spinal canal: from a canal mask, or from the ring that a vertebra makes around it.

Convention: a section lies in the plane through a frame's origin across its up axis: at the middle of a body or of a
disc space. The trap: bony canal and dural sac are two different things; the record says which one was measured, and a
limit from the literature (10 mm, 12 mm) holds for one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.measure.field import BodyFrame, Field, outlines, robust_fit

__all__ = ["Section", "canal_section", "foramen_section"]

Array = NDArray[np.float64]

_STEP_MM = 0.5
_MIDLINE_MM = 4.0  # half width of the band in which front and back wall are read
_NEAR_MM = 1.5  # how far a plane's wall may lie from the projected one
_AREA_MM2 = (40.0, 1500.0)  # what a vertebral foramen can be; a vessel hole is smaller, a leak larger


@dataclass(frozen=True)
class Section:
    """A section of the canal: midline depth, largest width, area."""

    ap_mm: float
    transverse_mm: float
    area_mm2: float


def canal_section(field: Field, frame: BodyFrame, *, reach_mm: float = 45.0) -> Section | None:
    """Depth, width and area of the canal where the plane through the frame's origin across its up axis cuts it.

    AP: front to back in the midline of the section (±1.5 mm about its middle). Transverse: the widest row. Area: the
    section itself. Source: midsagittal and transverse diameter and cross-sectional area as in Steurer 2011 (BMC
    Musculoskelet Disord 12:175). A dural sac and a bony canal differ: say which the mask holds.

    Args:
        field: The canal mask.
        frame: Frame of a body or a disc space.
        reach_mm: How far behind the origin the canal is sought.

    Returns:
        None where the plane meets no canal.
    """
    x = np.arange(-30.0, 30.0 + _STEP_MM, _STEP_MM)
    y = np.arange(-reach_mm, 10.0, _STEP_MM)
    return _measured(_plane(field, frame, x, y, 0.0), x, y)


def foramen_section(field: Field, frame: BodyFrame, wall_mm: float, height_mm: float) -> Section | None:
    """The bony canal as the ring of a vertebra leaves it open: the hole one sees looking down through the vertebra.

    The vertebra is projected along its own up axis, from 35 % of the body's height below its middle to 45 % above, and
    the hole between body, pedicles and laminae is measured, as the canal of a dry vertebra is with calipers. One plane
    would not do: the laminae stand lower than the pedicles. Source: spinal canal depth and width of Panjabi 1992
    (Spine 17:299), read on the projection. What every plane shows of the hole's walls is then fitted by a smooth wall,
    because the projection of many planes keeps the innermost step of each: 0.3 mm a wall on a 1 mm mask.

    Args:
        field: The whole vertebra.
        frame: Frame of its body.
        wall_mm: Place of the posterior wall (y in body coordinates).
        height_mm: Height of the body.

    Returns:
        None where the ring is not closed (a cut, thin or open arch, a laminectomy).
    """
    x = np.arange(-28.0, 28.0 + _STEP_MM, _STEP_MM)
    y = np.arange(wall_mm - 45.0, wall_mm + 8.0, _STEP_MM)
    heights = np.linspace(-0.35, 0.45, 13) * height_mm
    planes = np.stack([_plane(field, frame, x, y, float(up)) for up in heights])
    hole = 1.0 - planes.max(axis=0)
    section = _measured(hole, x, y, closed=True)
    if section is None or not _AREA_MM2[0] <= section.area_mm2 <= _AREA_MM2[1]:
        return None
    part = _largest(hole, closed=True)
    assert part is not None  # there is a section
    ap, transverse = _fitted(planes, heights, part, x, y)
    return Section(ap or section.ap_mm, transverse or section.transverse_mm, section.area_mm2)


def _fitted(planes: Array, heights: Array, part: NDArray[np.bool_], x: Array, y: Array) -> tuple[float, float]:
    """Depth and width of the hole between walls fitted to all planes; 0 where a wall is seen in too few places.

    Args:
        planes: (Z, X, Y) Bone, 0 to 1.
        heights: (Z,) Their heights.
        part: (X, Y) The hole.
    """
    at = np.argwhere(part)
    middle = np.array([x[at[:, 0]].mean(), y[at[:, 1]].mean()])
    width, depth = np.ptp(x[at[:, 0]]), np.ptp(y[at[:, 1]])
    lines = np.abs(x - middle[0]) <= min(_MIDLINE_MM, 0.25 * width)
    ends = []
    for direction in (+1, -1):  # front, back
        first = _border(part[lines].T, y, direction)
        edges = np.stack([outlines(1.0 - plane[lines].T, y - middle[1], direction, first=True) for plane in planes])
        ends.append(_wall(edges + middle[1], first, heights, x[lines] - middle[0], direction, 2))
    rows = np.abs(y - middle[1]) <= 0.3 * depth
    sides = []
    for direction in (+1, -1):
        first = _border(part[:, rows], x, direction)
        edges = np.stack([outlines(1.0 - plane[:, rows], x - middle[0], direction, first=True) for plane in planes])
        sides.append(_wall(edges + middle[0], first, heights, y[rows] - middle[1], direction, 0))
    ap = float((ends[0] - ends[1])[np.argmin(np.abs(x[lines] - middle[0]))])
    transverse = float((sides[0] - sides[1]).max())
    return (ap if np.isfinite(ap) else 0.0), (transverse if np.isfinite(transverse) else 0.0)


def _border(part: NDArray[np.bool_], places: Array, direction: int) -> Array:
    """(N,) Outermost place of a region (P, N) along its first axis; NaN where a line misses it."""
    there = part.any(axis=0)
    run = part[::-1] if direction > 0 else part
    first = np.argmax(run, axis=0)
    place = (places[::-1] if direction > 0 else places)[first] + direction * _STEP_MM / 2
    return np.where(there, place, np.nan)


def _wall(edges: Array, first: Array, heights: Array, across: Array, direction: int, bend: int) -> Array:
    """(N,) Innermost place of a wall over the heights it is seen at, from its places (Z, N) in the planes.

    Only places near the projected wall count: elsewhere a plane passes above or below the ring. The wall is a
    parabola across and over the height upright (`bend` 0, the pedicles' inner sides) or a parabola (2).
    """
    degree = 2
    near = np.abs(edges - first) <= _NEAR_MM
    if near.sum() < 3 * (2 + degree + bend):
        return np.full(len(across), np.nan)
    along = np.broadcast_to(across, near.shape)
    reach = max(float(np.abs(across).max()), 1e-6)
    powers = [(along[near] / reach) ** n for n in range(degree + 1)]
    scaled = heights / float(np.abs(heights).max())
    seen = np.broadcast_to(scaled[:, None], near.shape)[near]
    design = np.stack([*powers, *(seen ** (n + 1) for n in range(bend))], axis=1)
    solution = robust_fit(design, edges[near])
    there = scaled[near.sum(axis=1) * 2 >= near.sum(axis=1).max()]
    rise = sum((solution[degree + 1 + n] * there ** (n + 1) for n in range(bend)), np.zeros(len(there)))
    shape = np.stack([(across / reach) ** n for n in range(degree + 1)], axis=1) @ solution[: degree + 1]
    innermost: Array = shape + (rise.min() if direction > 0 else rise.max())
    return innermost


def _plane(field: Field, frame: BodyFrame, x: Array, y: Array, up: float) -> Array:
    gx, gy = np.meshgrid(x, y, indexing="ij")
    return field.at(frame.to_world(np.stack([gx, gy, np.full_like(gx, up)], axis=-1)))


def _measured(values: Array, x: Array, y: Array, *, closed: bool = False) -> Section | None:
    """Measure the largest region above 0.5; with `closed` the largest that does not touch the border of the plane."""
    part = _largest(values, closed=closed)
    if part is None:
        return None
    values = np.where(part, values, np.minimum(values, 0.49))
    middle = float(x[np.nonzero(part)[0]].mean())
    rows = _extent(values[np.abs(x - middle) <= 1.5].T, y)
    widths = _extent(values, x)
    known = np.isfinite(widths)
    if not known.any() or not np.isfinite(rows).any():
        return None
    smooth = np.convolve(np.pad(np.where(known, widths, 0.0), 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    return Section(float(np.nanmean(rows)), float(smooth.max()), float(part.sum()) * _STEP_MM**2)


def _largest(values: Array, *, closed: bool) -> NDArray[np.bool_] | None:
    """The largest region above 0.5; with `closed` the largest that does not touch the border."""
    from scipy.ndimage import label

    parts, count = label(values >= 0.5)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    if closed:
        sizes[np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))] = 0
    return np.asarray(parts == int(np.argmax(sizes))) if sizes.any() else None


def _extent(values: Array, places: Array) -> Array:
    """Distance of the outermost 0.5 levels along lines (P, N)."""
    high = outlines(values, places, +1, anywhere=True)
    low = outlines(values, places, -1, anywhere=True)
    return high - low
