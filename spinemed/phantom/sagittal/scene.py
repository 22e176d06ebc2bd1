"""The shapes of a scene in pixels: bodies, discs, canal, arches, sacrum, skin, from one draw.

Convention: column millimetres become pixels by origin and spacing, mirrored about the image's middle where the draw
says so; pixel centres are whole numbers. Everything here is geometry; grey values are given in `render`. The trap:
soft tissue is laid around the *healthy* column, so that a fracture changes nothing away from its neighbourhood.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spinemed.phantom.sagittal.records import PhantomDraw
from spinemed.phantom.sagittal.shape import (
    Column,
    body_outlines,
    build_column,
    place_sacrum,
    sacrum_outline,
)

__all__ = ["Scene"]


def _smoothed(values: np.ndarray, reach: int) -> np.ndarray:
    """Running mean over `reach` neighbours on either side, the ends held."""
    padded = np.concatenate([np.full(reach, values[0]), values, np.full(reach, values[-1])])
    return np.convolve(padded, np.full(2 * reach + 1, 1.0 / (2 * reach + 1)), mode="valid")


@dataclass
class Scene:
    """All outlines of one draw, in pixel coordinates (x, y) unless the name ends in `_mm`."""

    draw: PhantomDraw

    def __post_init__(self) -> None:
        tilt = self.draw.sacrum.tilts_deg[0]
        self.healthy: Column = build_column(self.draw.vertebrae, tilt)
        self.column: Column = (
            build_column(self.draw.vertebrae, tilt, self.draw.fractures) if self.draw.fractures else self.healthy
        )
        self.sacrum_front, self.sacrum_back = place_sacrum(self.draw.sacrum)

    def to_px(self, points_mm: np.ndarray) -> np.ndarray:
        """Column coordinates (..., 2) in mm as pixels."""
        points: np.ndarray = (points_mm - np.asarray(self.draw.origin_mm)) / self.draw.spacing_mm
        if self.draw.mirrored:
            points[..., 0] = self.draw.size_px[1] - 1 - points[..., 0]
        return points

    @cached_property
    def in_view(self) -> list[int]:
        """Which vertebrae lie in the field or within 40 mm above or below it."""
        reach = 40.0 / self.draw.spacing_mm
        y = self.bodies[..., 1]
        return np.flatnonzero((y.max(axis=1) > -reach) & (y.min(axis=1) < self.draw.size_px[0] + reach)).tolist()

    @cached_property
    def bodies(self) -> np.ndarray:
        """Outlines of the bodies (n, 24, 2)."""
        return self.to_px(body_outlines(self.column))

    @cached_property
    def corners(self) -> np.ndarray:
        """Front upper, back upper, back lower, front lower corner of each body (n, 4, 2)."""
        upper, lower = self.column.endplates
        local = np.stack([upper[:, 0], upper[:, -1], lower[:, -1], lower[:, 0]], axis=1)
        return self.to_px(self.column.place(local[..., 0], local[..., 1]))

    @cached_property
    def sacrum(self) -> np.ndarray:
        """Outline of S1 to S5 in one piece."""
        return self.to_px(sacrum_outline(self.sacrum_front, self.sacrum_back))

    @cached_property
    def sacral_borders(self) -> tuple[np.ndarray, np.ndarray]:
        """Front and back ends of the borders between sacral parts, and of the tip of the coccyx (7, 2) each."""
        return self.to_px(self.sacrum_front), self.to_px(self.sacrum_back)

    @cached_property
    def coccyx(self) -> np.ndarray:
        """Outline of the coccyx."""
        return self.to_px(sacrum_outline(self.sacrum_front, self.sacrum_back, 5, 6)[:4])

    @cached_property
    def discs(self) -> np.ndarray:
        """Outlines of the discs (n, 20, 2); disc i lies below vertebra i. The front and the back bulge a little."""
        upper, lower = self.column.endplates
        above = self.column.place(lower[..., 0], lower[..., 1])
        below = np.empty_like(above)
        below[:-1] = self.column.place(upper[..., 0], upper[..., 1])[1:]
        share = ((1.0 - np.linspace(1.0, -1.0, 9)) / 2.0)[:, None]
        below[-1] = self.sacrum_front[0] * (1 - share) + self.sacrum_back[0] * share
        front = (above[:, :1] + below[:, :1]) / 2.0 + 1.4 * self.column.front[:, None]
        back = (above[:, -1:] + below[:, -1:]) / 2.0 - 1.0 * self.column.front[:, None]
        return self.to_px(np.concatenate([above, back, below[:, ::-1], front], axis=1))

    def wall(self, offset_mm: np.ndarray | float, column: Column | None = None) -> np.ndarray:
        """A line down the column, `offset_mm` behind the centre of each endplate, on to the sacrum (2n + 4, 2)."""
        column = column or self.column
        upper, lower = column.endplates
        offset = np.broadcast_to(np.asarray(offset_mm, dtype=float), column.tilt.shape)
        v = np.stack([upper[:, 4, 1], lower[:, 4, 1]], axis=1)
        line = column.place(np.stack([-offset, -offset], axis=1), v).reshape(-1, 2)
        return self.to_px(line)

    @cached_property
    def back_walls(self) -> np.ndarray:
        """The line down the back walls and the back of the sacrum to S4."""
        line = self.wall(self.column.depth / 2.0)
        return np.concatenate([line, self.sacral_borders[1][:5]])

    @cached_property
    def canal_back(self) -> np.ndarray:
        """The line down the back of the canal, narrowing in the sacrum; same stations as `back_walls`."""
        line = self.wall(self.column.depth / 2.0 + self.column.canal)
        front, back = self.sacrum_front[:5], self.sacrum_back[:5]
        across = back - front
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        width = np.array([0.9, 0.75, 0.55, 0.4, 0.25])[:, None] * self.column.canal[-1]
        return np.concatenate([line, self.to_px(back + across * width)])

    @cached_property
    def spinous(self) -> np.ndarray:
        """Outlines of the spinous processes (n, 8, 2)."""
        draw, column = self.draw.vertebrae, self.column
        length = np.array([v.spinous_length_mm for v in draw])
        high = np.array([v.spinous_height_mm for v in draw])
        droop = np.radians([v.spinous_droop_deg for v in draw])
        # along the process and across it, as shares of length and height
        along = np.array([0.0, 0.25, 0.6, 0.92, 1.0, 0.9, 0.55, 0.1])
        across = np.array([0.42, 0.30, 0.36, 0.5, 0.0, -0.5, -0.44, -0.42])
        reach, rise = along * length[:, None], across * high[:, None]
        u = -(column.depth / 2.0 + column.canal)[:, None] - reach * np.cos(droop)[:, None]
        u = u - rise * np.sin(droop)[:, None] * 0.5
        v = (-0.30 * column.healthy[:, 2])[:, None] - reach * np.sin(droop)[:, None] + rise * np.cos(droop)[:, None]
        return self.to_px(column.place(u, v))

    @cached_property
    def sacral_crest(self) -> np.ndarray:
        """Outline of the arches behind the sacral canal, S1 to S3."""
        back, front = self.sacrum_back[:4], self.sacrum_front[:4]
        across = back - front
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        width = np.array([0.9, 0.75, 0.55, 0.4])[:, None] * self.column.canal[-1]
        inner = back + across * (width + 1.0)
        outer = back + across * (width + np.array([3.0, 13.0, 9.0, 3.0])[:, None])
        inner[0] += 0.35 * (inner[1] - inner[0])
        outer[0] = inner[0]
        return self.to_px(np.concatenate([inner, outer[::-1]]))

    @cached_property
    def skin_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """Front and back skin lines (k, 2) each in column coordinates, from above the column to below the field."""
        column, around = self.healthy, self.draw.surround
        length = np.array([v.spinous_length_mm for v in self.draw.vertebrae])
        behind = column.depth / 2.0 + column.canal + length * 0.9
        back = column.centre - behind[:, None] * column.front
        back[:, 0] += around.back_mm
        smooth = _smoothed(back[:, 0], 3)
        back = np.stack([smooth, back[:, 1]], axis=1)
        end = self.sacrum_back
        low = end[1:] + np.array([[32.0, 0.0], [27.0, 0.0], [22.0, 0.0], [22.0, 0.0], [28.0, 10.0], [36.0, 30.0]])
        low[:, 0] += around.back_mm
        y = np.linspace(column.centre[0, 1] - 40.0, 400.0, 46)
        behind = np.interp(y, back[:, 1], back[:, 0])
        behind = np.maximum(behind, np.interp(y, low[:, 1], low[:, 0], left=-np.inf))
        widest = np.maximum(np.maximum(behind[:-2], behind[1:-1]), behind[2:])  # smoothing must not bare a process
        behind = _smoothed(np.concatenate([behind[:1], widest, behind[-1:]]), 2)
        belly = around.front_mm * (0.80 + 0.20 * np.exp(-(((y + 70.0) / 130.0) ** 2)))
        spine = np.append(column.centre[:, 1], self.sacrum_front[5, 1])
        trunk = _smoothed(np.interp(y, spine, np.append(smooth, smooth[-1])), 6)
        return np.stack([trunk - 75.0 - belly, y], axis=1), np.stack([behind, y], axis=1)

    def before_column(self, share: np.ndarray, y_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points between the front of the column (share 0) and the fat (share 1) at height y, and the room in mm."""
        front, _ = self.skin_mm
        column = self.healthy
        near = np.interp(y_mm, column.centre[:, 1], column.centre[:, 0] - column.depth / 2.0)
        far = np.interp(y_mm, front[:, 1], front[:, 0]) + self.draw.surround.fat_mm[0]
        room = near - far
        return self.to_px(np.stack([near - share * room, y_mm], axis=1)), room

    @cached_property
    def lung(self) -> np.ndarray:
        """Outline of the lung in front of the column, above the diaphragm."""
        dome = self.draw.surround.dome_mm
        share = np.array([-0.35, -0.2, 0.05, 0.35, 0.65, 0.88, 0.97, 0.97, 0.6, -0.2, -0.4])
        drop = np.array([30.0, 16.0, 2.0, -8.0, -4.0, 14.0, 34.0, -700.0, -700.0, -700.0, -700.0])
        return self.before_column(share, dome + drop)[0]

    @cached_property
    def vessel(self) -> np.ndarray | None:
        """Outline of the great vessel in front of the column down to L4, or None."""
        around = self.draw.surround
        if around.vessel_mm <= 0.0:
            return None
        column = self.healthy
        near = column.depth / 2.0 + around.vessel_gap_mm
        level = np.zeros((len(near), 1))
        inner, outer = (column.place(u[:, None], level)[:, 0] for u in (near, near + around.vessel_mm))
        place = np.arange(len(near)) + 0.5
        middle = (inner + outer) / 2.0
        tip = np.array([[np.interp(around.vessel_end, place, middle[:, k]) for k in (0, 1)]])
        kept = place < around.vessel_end
        return self.to_px(np.concatenate([inner[kept], tip, outer[kept][::-1]]))
