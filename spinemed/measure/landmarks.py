"""Lengths and areas from marked points: body heights, disc heights, widths, canal.

Convention: points are world millimetres (RAS+); on a plain lateral film give 0 for the right-left coordinate. Angles,
slip and alignment from landmarks are in :mod:`spinemed.measure.endplates`. The trap: a projected film magnifies; its
millimetres are millimetres only after calibration, its ratios and angles always are.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import SpineMedError
from spinemed.measure.endplates import Endplate, point, unit
from spinemed.measure.records import CanalSection, Heights, rounded

__all__ = [
    "body_heights",
    "canal_from_points",
    "disc_heights",
    "distance_mm",
]

Array = NDArray[np.float64]


def distance_mm(one: ArrayLike, other: ArrayLike) -> float:
    """Distance of two points: an endplate's width or depth, a canal diameter.

    Raises:
        SpineMedError: not two points.
    """
    return float(np.linalg.norm(point(one, "one") - point(other, "other")))


def body_heights(upper: ArrayLike, lower: ArrayLike) -> Heights:
    """Six-point morphometry: the distances of the marked points of the upper from those of the lower endplate.

    Source: Genant 1993 (J Bone Miner Res 8:1137); points at the anterior and posterior corners and in the middle of
    each endplate. Spurs and the uncinate processes are left out when marking.

    Args:
        upper: (3, 3) Anterior, middle and posterior point of the upper endplate.
        lower: (3, 3) The same of the lower endplate.

    Raises:
        SpineMedError: not three points each.
    """
    tops, bottoms = _rows(upper, "upper"), _rows(lower, "lower")
    anterior, middle, posterior = (
        rounded(float(np.linalg.norm(top - bottom))) for top, bottom in zip(tops, bottoms, strict=True)
    )
    return Heights(anterior_mm=anterior, middle_mm=middle, posterior_mm=posterior)


def disc_heights(above: Endplate, below: Endplate) -> Heights:
    """Anterior, middle and posterior disc height from the corners of the two endplates that face each other.

    Each height is the distance along the perpendicular of the disc's mid-plane (the bisector of the two endplates): of
    the anterior corners, of the two midpoints, of the posterior corners. Source: Frobin 1997 (Clin Biomech 12:S1),
    whose heights are likewise taken across the bisector, so that tilt and slip do not count.

    Args:
        above: Lower endplate of the vertebra above, with both corners.
        below: Upper endplate of the vertebra below, with both corners.

    Raises:
        SpineMedError: a corner is missing.
    """
    corners = [above.anterior_mm, above.posterior_mm, below.anterior_mm, below.posterior_mm]
    if any(corner is None for corner in corners):
        raise SpineMedError(
            "a disc height needs both corners of both endplates", field="endplates", cure="mark all four corners"
        )
    front_above, back_above, front_below, back_below = (np.asarray(corner, dtype=np.float64) for corner in corners)
    across = unit(above.normal + below.normal, "endplates")
    anterior = float((front_above - front_below) @ across)
    posterior = float((back_above - back_below) @ across)
    return Heights(
        anterior_mm=rounded(anterior), middle_mm=rounded((anterior + posterior) / 2), posterior_mm=rounded(posterior)
    )


def canal_from_points(outline: ArrayLike, anterior: ArrayLike, posterior: ArrayLike) -> CanalSection:
    """Canal diameters and area from an outline in one plane and the two midline points.

    AP: between the midline points. Transverse: the extent of the outline across the line that joins them. Area: of the
    polygon (shoelace formula in the plane that fits the outline best). Source: diameters and area as in Steurer 2011
    (BMC Musculoskelet Disord 12:175); whether the outline is bony canal or dural sac is for the caller to say.

    Args:
        outline: (N, 3) Corners of the outline in order, at least three.
        anterior, posterior: (3,) Front and back of the canal in the midline.

    Raises:
        SpineMedError: fewer than three corners, or points that coincide.
    """
    corners = np.array(outline, dtype=np.float64)
    if corners.ndim != 2 or corners.shape[1] != 3 or len(corners) < 3 or not np.isfinite(corners).all():
        raise SpineMedError(
            "an outline needs at least three points of three finite numbers", field="outline", cure="mark the outline"
        )
    front, back = point(anterior, "anterior"), point(posterior, "posterior")
    along = unit(front - back, "anterior")
    local = corners - corners.mean(axis=0)
    normal = np.linalg.svd(local, full_matrices=False)[2][2]
    area = 0.5 * abs(float(np.cross(local, np.roll(local, -1, axis=0)).sum(axis=0) @ normal))
    side = unit(np.cross(normal, along), "outline")
    return CanalSection(
        ap_mm=rounded(distance_mm(front, back)),
        transverse_mm=rounded(float(np.ptp(local @ side))),
        area_mm2=rounded(area),
        source="points",
    )


def _rows(points: ArrayLike, name: str) -> Array:
    array = np.array(points, dtype=np.float64)
    if array.shape != (3, 3) or not np.isfinite(array).all():
        raise SpineMedError(
            f"three points are needed, found the shape {array.shape}",
            field=name,
            cure="give anterior, middle and posterior point in mm",
        )
    return array
