"""`VoxelGrid`: where the voxels of a rendering lie, and grids for the usual fields of view.

Convention: as `spinemed.geometry`: the affine leads from voxel indices to world RAS+ mm, voxel centres at integers. A
field of view is a box in world mm around the levels it names; a tilted grid covers that box turned about its centre.

The trap: a field cuts vertebrae at its ends, as a scan does. The lumbar field starts inside T11 and ends inside S2;
what is cut is no part of a VerSe mask (`spinemed.phantom.imaging.verse_folder`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level, Region
from spinemed.errors import VolumeError
from spinemed.geometry import axis_codes, check_affine, check_codes, voxel_spacing
from spinemed.phantom.shape.blobs import vec
from spinemed.phantom.shape.scene import Scene

__all__ = ["Field", "VoxelGrid", "field_grid", "sagittal_grid"]

Array = NDArray[np.float64]
Field = Literal["full", "cervical", "thoracic", "thoracolumbar", "lumbar", "level"]
"""Which part of the spine an image covers."""
_MOST_VOXELS = 1 << 29


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Shape and affine of a voxel grid.

    Raises:
        VolumeError: an unusable affine, or a shape that is not positive or too large.
    """

    shape: tuple[int, int, int]
    affine: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "affine", check_affine(self.affine))
        if min(self.shape) < 1 or math.prod(self.shape) > _MOST_VOXELS:
            raise VolumeError(
                f"a grid of {self.shape} voxels", field="shape", cure="use a coarser spacing or a smaller field of view"
            )

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel sizes along each array axis."""
        return voxel_spacing(self.affine)

    @property
    def codes(self) -> str:
        """Orientation codes, e.g. "PIR"."""
        return axis_codes(self.affine)

    def finer(self, factors: Sequence[int]) -> VoxelGrid:
        """The grid with each voxel split into so many along each axis, covering the same space."""
        f = np.asarray(factors, dtype=np.float64)
        affine = np.array(self.affine)
        affine[:3, :3] = self.affine[:3, :3] / f
        affine[:3, 3] = self.affine[:3, 3] + self.affine[:3, :3] @ ((1 / f - 1) / 2)
        shape = tuple(int(n * k) for n, k in zip(self.shape, factors, strict=True))
        return VoxelGrid((shape[0], shape[1], shape[2]), affine)


def field_grid(
    scene: Scene,
    field: Field = "lumbar",
    *,
    spacing_mm: float | Sequence[float] = 1.0,
    codes: str = "RAS",
    level: Level | None = None,
    margin_mm: float = 0.0,
    width_mm: float | None = None,
    tilt_deg: Sequence[float] = (0.0, 0.0, 0.0),
) -> VoxelGrid:
    """A grid over a field of view.

    Args:
        scene: The posed spine.
        field: "full" C1-S2 and above; "cervical" C1-T2; "thoracic" C7-L1; "thoracolumbar" T6-L3; "lumbar" T11-S2;
            "level" around one level.
        spacing_mm: One voxel size, or three, along the array axes in the order of `codes`.
        codes: Orientation of the array axes.
        level: For field "level".
        margin_mm: Added all round.
        width_mm: Extent from right to left instead of the field's own (body 180 mm, neck 130 mm, level 110 mm).
        tilt_deg: Turn of the grid about its centre, about the world's x, y and z: an oblique acquisition.

    Raises:
        VolumeError: an unknown field, no level where one is needed, a bad spacing or orientation.
        LevelError: a level that the spine lacks.
    """
    if field not in get_args(Field):
        raise VolumeError(f"unknown field '{field}'", field="field", cure=f"use one of {', '.join(get_args(Field))}")
    if field == "level" and level is None:
        raise VolumeError("no level is named", field="level", cure="name the level to crop around")
    low, high = _box(scene, field, level, width_mm)
    low, high = low - margin_mm, high + margin_mm
    spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        raise VolumeError(f"the spacing {spacing_mm} is not positive", field="spacing_mm", cure="give millimetres > 0")
    return _grid(low, high, spacing, check_codes(codes), tilt_deg)


def sagittal_grid(
    scene: Scene,
    field: Field = "full",
    *,
    spacing_mm: float = 1.0,
    x_mm: float | None = None,
    thickness_mm: float = 1.0,
    level: Level | None = None,
) -> VoxelGrid:
    """One sagittal slice (1, A, S) in RAS: through the mean of the canal's midline, or at `x_mm`."""
    grid = field_grid(scene, field, spacing_mm=(thickness_mm, spacing_mm, spacing_mm), codes="RAS", level=level)
    if x_mm is None:
        x_mm = float(np.mean([s.origin[0] for s in scene.stations]))
    affine = np.array(grid.affine)
    affine[0, 3] = x_mm
    return VoxelGrid((1, grid.shape[1], grid.shape[2]), affine)


def _box(scene: Scene, field: str, level: Level | None, width_mm: float | None) -> tuple[Array, Array]:
    by = {station.level: station for station in scene.stations}
    order = [station.level for station in scene.stations]

    def near(wanted: Level) -> Level:
        """The level, or its nearest neighbour where the spine lacks it."""
        return wanted if wanted in by else min(order, key=lambda other: abs(other.ordinal - wanted.ordinal))

    if field == "level":
        assert level is not None
        scene.posed.frame(level)
        ends = (level, level)
        reach_up, reach_down, wide = 34.0, 34.0, 110.0
    else:
        upper, lower, reach_up, reach_down, wide = {
            "full": (Level.C1, Level.S1, 24.0, 62.0, 190.0),
            "cervical": (Level.C1, Level.T2, 24.0, 4.0, 130.0),
            "thoracic": (Level.C7, Level.L1, 12.0, 8.0, 180.0),
            "thoracolumbar": (Level.T6, Level.L3, 2.0, 6.0, 180.0),
            "lumbar": (Level.T11, Level.S1, 2.0, 62.0, 180.0),
        }[field]
        ends = (near(upper), near(lower))
    inside = [by[one] for one in order[order.index(ends[0]) : order.index(ends[1]) + 1]]
    points = np.array([s.at(0.0, s.half_depth) for s in inside] + [s.at(*s.spinous_tip) for s in inside])
    bodies = np.array([s.origin for s in inside])
    wide = wide if width_mm is None else width_mm
    low = points.min(axis=0) - vec(0.0, 22.0, 0.0)
    high = points.max(axis=0) + vec(0.0, 34.0, 0.0)
    low[0], high[0] = bodies[:, 0].mean() - wide / 2, bodies[:, 0].mean() + wide / 2
    low[2], high[2] = bodies[-1, 2] - reach_down, bodies[0, 2] + reach_up
    if field == "full":
        low[1], high[1] = low[1] - 8.0, high[1] + 16.0
    if field == "lumbar" and by[ends[1]].level.region is not Region.SACRAL:
        low[2] -= 10.0
    return low, high


def _grid(low: Array, high: Array, spacing: Array, codes: str, tilt_deg: Sequence[float]) -> VoxelGrid:
    directions = np.zeros((3, 3))
    for axis, letter in enumerate(codes):
        world = "RAS".find(letter) if letter in "RAS" else "LPI".find(letter)
        directions[world, axis] = 1.0 if letter in "RAS" else -1.0
    extent = np.abs(directions).T @ (high - low)
    shape = np.maximum(np.round(extent / spacing).astype(int), 1)
    turn = np.eye(3)
    for axis, degrees in enumerate(tilt_deg):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        step = np.eye(3)
        step[a, a], step[a, b], step[b, a], step[b, b] = c, -s, s, c
        turn = step @ turn
    affine = np.eye(4)
    affine[:3, :3] = turn @ directions * spacing
    affine[:3, 3] = (low + high) / 2 - affine[:3, :3] @ ((shape - 1) / 2)
    return VoxelGrid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
