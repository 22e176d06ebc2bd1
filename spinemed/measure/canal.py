"""Sections of the spinal canal: from a canal mask, or from the ring that a vertebra makes around it.

Convention: a section lies in the plane through a frame's origin across its up axis: at the middle of a body or of a
disc space. The trap: bony canal and dural sac are two different things; the record says which one was measured, and a
limit from the literature (10 mm, 12 mm) holds for one of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.measure.field import BodyFrame, Field, outlines

__all__ = ["Section", "canal_section", "foramen_section"]

Array = NDArray[np.float64]

_STEP_MM = 0.5
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
    (Spine 17:299), read on the projection.

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
    planes = [_plane(field, frame, x, y, float(up)) for up in np.linspace(-0.35, 0.45, 13) * height_mm]
    section = _measured(1.0 - np.max(planes, axis=0), x, y, closed=True)
    if section is None or not _AREA_MM2[0] <= section.area_mm2 <= _AREA_MM2[1]:
        return None
    return section


def _plane(field: Field, frame: BodyFrame, x: Array, y: Array, up: float) -> Array:
    gx, gy = np.meshgrid(x, y, indexing="ij")
    return field.at(frame.to_world(np.stack([gx, gy, np.full_like(gx, up)], axis=-1)))


def _measured(values: Array, x: Array, y: Array, *, closed: bool = False) -> Section | None:
    """Measure the largest region above 0.5; with `closed` the largest that does not touch the border of the plane."""
    from scipy.ndimage import label

    parts, count = label(values >= 0.5)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    if closed:
        sizes[np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))] = 0
    if not sizes.any():
        return None
    part = parts == int(np.argmax(sizes))
    values = np.where(part, values, np.minimum(values, 0.49))
    middle = float(x[np.nonzero(part)[0]].mean())
    rows = _extent(values[np.abs(x - middle) <= 1.5].T, y)
    widths = _extent(values, x)
    known = np.isfinite(widths)
    if not known.any() or not np.isfinite(rows).any():
        return None
    smooth = np.convolve(np.pad(np.where(known, widths, 0.0), 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    return Section(float(np.nanmean(rows)), float(smooth.max()), float(part.sum()) * _STEP_MM**2)


def _extent(values: Array, places: Array) -> Array:
    """Distance of the outermost 0.5 levels along lines (P, N)."""
    high = outlines(values, places, +1, anywhere=True)
    low = outlines(values, places, -1, anywhere=True)
    return high - low
