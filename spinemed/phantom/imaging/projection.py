"""Rays through a posed phantom: where a radiograph's source and picture are, and the attenuation summed along each ray.

Convention: the ray runs along a world axis (`depth`) from a source at its positive end, the patient's right side or
front, to the detector. The column is painted in fine voxels and the trunk around it in coarse ones, both long along the
ray; each slice is magnified by its distance from the source and added.

Attenuation: mass coefficients of NIST's tables (liquid water, ICRU-44 cortical bone) at an effective energy; a voxel is
water with a share of bone by its Hounsfield units at 70 keV.

The trap: the obliquity of rays is left out (a path is at most 2 % longer at the picture's corners), and soft tissue is
blurred by a slice's thickness.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.phantom.imaging.ct import CtLook, ct_palette, look_of
from spinemed.phantom.imaging.grid import VoxelGrid
from spinemed.phantom.shape.scene import Scene

__all__ = ["RayGeometry", "attenuation_per_cm", "line_integrals"]

Array = NDArray[np.float64]
Picture = NDArray[np.float32]

_KEV = np.array([40.0, 50.0, 60.0, 80.0, 100.0])
_WATER = np.array([0.2683, 0.2269, 0.2059, 0.1837, 0.1707])
_BONE = np.array([0.6655, 0.4242, 0.3148, 0.2229, 0.1855])
_BONE_DENSITY = 1.92
_CT_KEV, _MUSCLE_HU = 70.0, 45.0
_FINE_STEP_MM, _COARSE_STEP_MM = 2.0, 4.0
_SOFT_BLUR_MM = 5.0
"""Soft tissue is blurred by a slice: its borders are sampled in slices and would show as rings."""
_FEATHER = 6


def attenuation_per_cm(energy_kev: float) -> tuple[float, float]:
    """Linear attenuation of water and of cortical bone (1.92 g/cm3), per cm.

    Source: NIST XCOM-based tables of mass attenuation, log-log interpolated between 40 and 100 keV.
    """
    at = math.log(energy_kev)
    water = math.exp(float(np.interp(at, np.log(_KEV), np.log(_WATER))))
    bone = math.exp(float(np.interp(at, np.log(_KEV), np.log(_BONE)))) * _BONE_DENSITY
    return water, bone


@dataclass(frozen=True)
class RayGeometry:
    """Where the source, the plane through the spine and the picture are."""

    depth: int
    across: int
    turn: float
    """Sign of the picture's columns along `across`."""
    plane_mm: float
    """World coordinate of the plane through the spine along the ray."""
    source_mm: float | None
    centre: tuple[float, float]
    """World coordinates (across, z) of the central ray."""
    pixel_mm: float
    shape: tuple[int, int]

    def scale(self, depth_mm: Array) -> Array:
        """Magnification against the plane through the spine. The source is at the right side, or in front."""
        if self.source_mm is None:
            return np.ones_like(depth_mm)
        return np.asarray(self.source_mm / (self.source_mm - (depth_mm - self.plane_mm)))

    def project(self, world_mm: Array) -> Array:
        """(N, 2) columns and rows of world points (N, 3)."""
        points = np.atleast_2d(world_mm)
        s = self.scale(points[:, self.depth])
        u = self.turn * (points[:, self.across] - self.centre[0]) * s / self.pixel_mm + (self.shape[1] - 1) / 2
        v = -(points[:, 2] - self.centre[1]) * s / self.pixel_mm + (self.shape[0] - 1) / 2
        return np.stack([u, v], axis=1)


def line_integrals(scene: Scene, geometry: RayGeometry, energy_kev: float) -> Picture:
    """Line integral of attenuation (rows, columns), float32, without noise."""
    hu = look_of(scene.spine.family).model_copy(update={"streaks": 0.0, "texture_sd": 60.0})
    import cv2

    path = np.zeros((2, *geometry.shape), dtype=np.float32)  # soft tissue, and what bone adds to it
    low, high = _column_box(scene, geometry)
    first = math.floor(low[0] / _COARSE_STEP_MM)
    last = math.ceil(high[0] / _COARSE_STEP_MM)
    near, far = first * _COARSE_STEP_MM, last * _COARSE_STEP_MM
    begin, end = _trunk_range(scene, geometry)
    begin, end = min(begin, near), max(end, far)
    before = math.ceil((near - begin) / _COARSE_STEP_MM)
    after = math.ceil((end - far) / _COARSE_STEP_MM)
    rows, columns = geometry.shape
    window = _window(geometry, low[1:], high[1:])
    weight = np.zeros((rows, columns), dtype=np.float32)
    v0, v1, u0, u1 = window
    fine = np.minimum(1.0, (1.0 + np.arange(v1 - v0)) / _FEATHER)
    side = np.minimum(1.0, (1.0 + np.arange(u1 - u0)) / _FEATHER)
    top = fine if v0 > 0 else np.ones_like(fine)
    bottom = fine[::-1] if v1 < rows else np.ones_like(fine)
    left = side if u0 > 0 else np.ones_like(side)
    right = side[::-1] if u1 < columns else np.ones_like(side)
    weight[v0:v1, u0:u1] = np.outer(np.minimum(top, bottom), np.minimum(left, right))
    step = 2 * geometry.pixel_mm if geometry.pixel_mm < 1.3 else geometry.pixel_mm
    margin = 1.0 if geometry.source_mm is None else 1.12
    size = (math.ceil(rows * geometry.pixel_mm * margin / step), math.ceil(columns * geometry.pixel_mm * margin / step))
    start = near - before * _COARSE_STEP_MM
    count = before + (last - first) + after
    coarse = _grid(geometry, start, _COARSE_STEP_MM, count, step, size, (0.0, 0.0))
    _add_slices(path, scene, geometry, energy_kev, hu, coarse, 1.0 - weight, (near, far))
    middle = ((u0 + u1 - 1) / 2 - (columns - 1) / 2, (v0 + v1 - 1) / 2 - (rows - 1) / 2)
    slices = round((far - near) / _FINE_STEP_MM)
    part = _grid(
        geometry, near, _FINE_STEP_MM, slices, geometry.pixel_mm, (v1 - v0, u1 - u0),
        (middle[0] * geometry.pixel_mm, middle[1] * geometry.pixel_mm),
    )  # fmt: skip
    _add_slices(path, scene, geometry, energy_kev, hu, part, weight, None)
    soft = cv2.GaussianBlur(path[0], (0, 0), _SOFT_BLUR_MM / geometry.pixel_mm, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(soft + path[1], dtype=np.float32)


def _column_box(scene: Scene, geometry: RayGeometry) -> tuple[Array, Array]:
    """Box of the column in (depth, across, z): bodies, arches and spinous processes."""
    half_z = geometry.shape[0] * geometry.pixel_mm / 2 + 30.0
    stations = [s for s in scene.stations if abs(s.origin[2] - geometry.centre[1]) < half_z] or list(scene.stations)
    points = []
    for station in stations:
        tip = station.at(*station.spinous_tip)
        front = station.at(0.0, station.half_depth)
        wide = 46.0 if station.origin[2] < scene.posed.sacrum.origin_mm[2] + 260.0 else 40.0
        across = np.array([wide, 0.0, 0.0])
        above = np.array([5.0, 7.0, 10.0])
        points += [tip - 5.0, tip - 2 * above, front + above, station.origin + across, station.origin - across]
    cloud = np.array(points)[:, [geometry.depth, geometry.across, 2]]
    return cloud.min(axis=0), cloud.max(axis=0)


def _trunk_range(scene: Scene, geometry: RayGeometry) -> tuple[float, float]:
    half = geometry.shape[0] * geometry.pixel_mm / 2
    z = scene.torso_z_mm + 4.0 * np.arange(len(scene.torso))
    rows = scene.torso[np.abs(z - geometry.centre[1]) <= half + 8.0]
    rows = rows if len(rows) else scene.torso
    middle, reach = rows[:, geometry.depth], rows[:, 2 + geometry.depth]
    return float((middle - reach).min()) - 2.0, float((middle + reach).max()) + 2.0


def _window(geometry: RayGeometry, low: Array, high: Array) -> tuple[int, int, int, int]:
    """Rows and columns (first, one past the last) that hold a box given in (across, z), with room for perspective."""
    rows, columns = geometry.shape
    u = geometry.turn * (np.array([low[0], high[0]]) - geometry.centre[0]) / geometry.pixel_mm + (columns - 1) / 2
    v = -(np.array([low[1], high[1]]) - geometry.centre[1]) / geometry.pixel_mm + (rows - 1) / 2
    wide = _FEATHER + 2
    u0, u1 = max(0, math.floor(u.min()) - wide), min(columns, math.ceil(u.max()) + wide)
    v0, v1 = max(0, math.floor(v.min()) - wide), min(rows, math.ceil(v.max()) + wide)
    return v0, max(v1, v0 + 1), u0, max(u1, u0 + 1)


def _grid(
    geometry: RayGeometry,
    start_mm: float,
    step_mm: float,
    count: int,
    size_mm: float,
    shape: tuple[int, int],
    offset_mm: tuple[float, float],
) -> VoxelGrid:
    """Voxels (depth, row, column) in the picture's own directions; `offset_mm` moves their centre (right, down)."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1.0
    affine[geometry.depth, 0] = step_mm
    affine[2, 1] = -size_mm
    affine[geometry.across, 2] = geometry.turn * size_mm
    affine[geometry.depth, 3] = start_mm + step_mm / 2
    affine[2, 3] = geometry.centre[1] - offset_mm[1] + size_mm * (shape[0] - 1) / 2
    affine[geometry.across, 3] = geometry.centre[0] + geometry.turn * (offset_mm[0] - size_mm * (shape[1] - 1) / 2)
    return VoxelGrid((count, shape[0], shape[1]), affine)


def _add_slices(
    path: Picture,
    scene: Scene,
    geometry: RayGeometry,
    energy_kev: float,
    hu: CtLook,
    grid: VoxelGrid,
    weight: Picture,
    shared: tuple[float, float] | None,
) -> None:
    """Add the line integral of a grid's slices, each magnified by its distance from the source.

    `weight` applies everywhere, or only to slices within `shared`.
    """
    import cv2

    from spinemed.phantom.imaging import tissues

    # Long voxels along the ray are wanted here: `paint` would render them finer and average.
    painted = tissues._paint(scene, grid, ct_palette(scene, hu), (0, 0, 0), tidy=False)
    values = painted.value
    water, bone = attenuation_per_cm(energy_kev)
    at_water, at_bone = attenuation_per_cm(_CT_KEV)
    dense = 1000.0 * (at_bone / at_water - 1.0)
    np.maximum(values, -1000.0, out=values)
    # Above water a share of bone replaces water; below, water thins out. Bone is counted as what it adds to muscle.
    mu = np.where(values > 0, water + (bone - water) * values / dense, water * (1.0 + values / 1000.0))
    solid = (painted.bone > 0) | (values > 400.0)
    muscle = water + (bone - water) * _MUSCLE_HU / dense
    layers = (np.where(solid, muscle, mu).astype(np.float32), np.where(solid, mu - muscle, 0.0).astype(np.float32))
    step_cm = float(grid.spacing_mm[0]) / 10.0
    depth = grid.affine[geometry.depth, 3] + grid.affine[geometry.depth, 0] * np.arange(grid.shape[0])
    scales = geometry.scale(depth)
    size = grid.spacing_mm[1]
    rows, columns = geometry.shape
    origin = np.array([grid.affine[geometry.across, 3] - geometry.centre[0], grid.affine[2, 3] - geometry.centre[1]])
    first = np.array([geometry.turn * origin[0], -origin[1]])  # of voxel (0, 0) right of and below the central ray, mm
    target, how = (columns, rows), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for number, s in enumerate(map(float, scales)):
        back = geometry.pixel_mm / (s * size)
        matrix = np.array(
            [
                [back, 0.0, (-(columns - 1) / 2 * geometry.pixel_mm / s - first[0]) / size],
                [0.0, back, (-(rows - 1) / 2 * geometry.pixel_mm / s - first[1]) / size],
            ]
        )
        inside = shared is None or shared[0] <= depth[number] <= shared[1]
        for layer, planes in zip(path, layers):
            seen = cv2.warpAffine(planes[number], matrix, target, flags=how, borderMode=cv2.BORDER_REPLICATE)
            layer += seen * weight * step_cm if inside else seen * step_cm
