"""Exact rasterising of polygons: a pixel belongs to a shape when its centre lies inside.

Convention: coordinates are (x, y) in pixels with pixel centres at whole numbers; inside is decided by the even-odd
rule, and a border counts as inside on the left and top only, so that two polygons sharing an edge never share a pixel.
The trap: drawing libraries fill borders generously, which adds half a pixel all round; masks must not use them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["fill_polygon", "fill_polygons", "polygon_area"]


def polygon_area(points: np.ndarray) -> float:
    """Area of a simple polygon given as (n, 2), in squared units of its coordinates (shoelace formula)."""
    x, y = points[:, 0], points[:, 1]
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))


def fill_polygons(mask: np.ndarray, outlines: np.ndarray, labels: Sequence[int]) -> None:
    """Write each label into `mask` (H, W), in place, wherever a pixel centre lies inside its outline.

    Args:
        mask: Integer array; what lies outside it is left out.
        outlines: Polygons of k points each (n, k, 2); one without any pixel centre inside writes nothing.
        labels: One per polygon; later ones win.
    """
    height, width = mask.shape
    x, y = outlines[..., 0], outlines[..., 1]
    first = np.ceil(outlines.min(axis=1)).astype(int)  # left, top of each
    last = np.floor(outlines.max(axis=1)).astype(int)
    reach = np.maximum((last - first).max(axis=0) + 1, 0)
    rows = first[:, 1, None] + np.arange(reach[1])
    columns = first[:, 0, None] + np.arange(reach[0])
    x2, y2 = np.concatenate([x[:, 1:], x[:, :1]], axis=1), np.concatenate([y[:, 1:], y[:, :1]], axis=1)
    level = rows[:, :, None].astype(np.float64)
    crosses = (y[:, None] <= level) != (y2[:, None] <= level)
    slope = (x2 - x) / np.where(y2 == y, 1.0, y2 - y)
    at = np.where(crosses, x[:, None] + (level - y[:, None]) * slope[:, None], np.inf)
    at.sort(axis=2)
    at = at[:, :, : int(crosses.sum(axis=2).max(initial=0))]
    inside = (columns[:, None, :, None] >= at[:, :, None, :]).sum(axis=3) % 2 == 1
    inside &= ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    which, row, column = np.nonzero(inside)
    mask[rows[which, row], columns[which, column]] = np.asarray(labels, dtype=mask.dtype)[which]


def fill_polygon(mask: np.ndarray, points: np.ndarray, label: int) -> None:
    """`fill_polygons` for a single polygon (k, 2)."""
    fill_polygons(mask, points[None], [label])
