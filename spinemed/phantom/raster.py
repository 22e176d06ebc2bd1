"""Exact rasterising of polygons: a pixel belongs to a shape when its centre lies inside.

Convention: coordinates are (x, y) in pixels with pixel centres at whole numbers; inside is decided by the even-odd
rule, and a border counts as inside on the left and top only, so that two polygons sharing an edge never share a pixel.
The trap: drawing libraries fill borders generously, which adds half a pixel all round; masks must not use them.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["fill_polygon", "polygon_area"]


def polygon_area(points: np.ndarray) -> float:
    """Area of a simple polygon given as (n, 2), in squared units of its coordinates (shoelace formula)."""
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def fill_polygon(mask: np.ndarray, points: np.ndarray, label: int) -> None:
    """Write `label` into `mask` (H, W) wherever a pixel centre lies inside the polygon `points` (n, 2), in place.

    What lies outside the mask is left out. A polygon without any pixel centre inside writes nothing.
    """
    height, width = mask.shape
    x, y = points[:, 0], points[:, 1]
    top, bottom = max(math.ceil(y.min()), 0), min(math.floor(y.max()), height - 1)
    left, right = max(math.ceil(x.min()), 0), min(math.floor(x.max()), width - 1)
    if top > bottom or left > right:
        return
    x2, y2 = np.roll(x, -1), np.roll(y, -1)
    rows = np.arange(top, bottom + 1, dtype=np.float64)[:, None]
    crosses = (y <= rows) != (y2 <= rows)
    run = np.where(y2 == y, 1.0, y2 - y)
    at = np.where(crosses, x + (rows - y) * ((x2 - x) / run), np.inf)
    at.sort(axis=1)
    at = at[:, : int(crosses.sum(axis=1).max(initial=0))]
    columns = np.arange(left, right + 1, dtype=np.float64)
    inside = (columns[None, :, None] >= at[:, None, :]).sum(axis=2) % 2 == 1
    mask[top : bottom + 1, left : right + 1][inside] = label
