"""Solids with known measures as voxel masks: single bodies; a lumbar spine with arches, discs, canal and sacrum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from spinemed.anatomy import Level
from spinemed.volume import Volume

Array = np.ndarray


def turn_x(degrees: float) -> Array:
    """Rotation that lifts the front edge."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def turn_y(degrees: float) -> Array:
    """Rotation that lifts the right side."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])


@dataclass(frozen=True)
class Solid:
    """A vertebral body: elliptic (or boxed) cylinder, wedged, waisted, with endplates hollowed like a bowl."""

    width: float = 44.0
    depth: float = 33.0
    anterior: float = 28.0
    posterior: float = 27.0
    hollow: float = 1.0
    waist: float = 2.0
    boxed: bool = False

    @property
    def wedge_deg(self) -> float:
        return float(2 * np.degrees(np.arctan((self.anterior - self.posterior) / 2 / self.depth)))

    @property
    def height(self) -> float:
        return (self.anterior + self.posterior) / 2

    def bowl(self, x: Array, y: Array) -> Array:
        r = (2 * x / self.width) ** 2 + (2 * y / self.depth) ** 2
        return self.hollow * np.clip(1 - r, 0, 1)

    def half(self, y: Array) -> Array:
        share = y / self.depth
        return (self.anterior * (0.5 + share) + self.posterior * (0.5 - share)) / 2

    def inside(self, x: Array, y: Array, z: Array) -> Array:
        half = self.half(y)
        waist = self.waist * (1 - np.clip(np.abs(z) / np.maximum(half, 1e-6), 0, 1) ** 2)
        flat = np.abs(z) <= half - self.bowl(x, y)
        across, along = np.abs(x) / (self.width / 2 - waist), np.abs(y) / (self.depth / 2 - waist)
        return flat & (np.maximum(across, along) <= 1 if self.boxed else across**2 + along**2 <= 1)

    def height_at(self, share: float, reach: float, band: float = 0.15) -> float:
        """True mean height over a part of the depth (share from back to front) in the midsagittal band."""
        y = (np.linspace(share - reach, share + reach, 41) - 0.5) * self.depth
        x = np.linspace(-band, band, 41) * self.width
        gx, gy = np.meshgrid(x, y)
        return float((2 * (self.half(gy) - self.bowl(gx, gy))).mean())

    def rims(self) -> tuple[float, float, float]:
        return self.height_at(0.9, 0.04), self.height_at(0.5, 0.08), self.height_at(0.1, 0.04)

    def thirds(self) -> tuple[float, float, float]:
        return self.height_at(5 / 6, 1 / 6), self.height_at(0.5, 1 / 6), self.height_at(1 / 6, 1 / 6)


def grid(size_mm: Any, spacing: Any, turn: Array, shift: Any = (0, 0, 0)) -> tuple[tuple[int, ...], Array]:
    """Shape and affine of a grid centred at `shift`, turned in the world."""
    step = np.array(spacing, float)
    shape = tuple(int(n) for n in np.ceil(np.array(size_mm, float) / step))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(step)
    affine[:3, 3] = np.array(shift, float) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


def paint(
    data: Array, affine: Array, label: int, centre: Array, axes: Array, reach: float, inside: Callable[..., Array]
) -> None:
    """Set the voxels whose centres lie inside; `axes` has right, anterior, up as columns."""
    pull = np.linalg.inv(affine[:3, :3])
    middle = pull @ (centre - affine[:3, 3])
    far = reach * np.linalg.norm(pull, axis=1)
    low = np.maximum(np.floor(middle - far).astype(int), 0)
    high = np.minimum(np.ceil(middle + far).astype(int) + 1, data.shape)
    if (high <= low).any():
        return
    axis = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    world = np.stack(np.meshgrid(*axis, indexing="ij"), axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    local = (world - centre) @ axes
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    part = data[box]
    part[inside(local[..., 0], local[..., 1], local[..., 2]) & (part == 0)] = label


CANAL_HALF = (12.0, 8.0)


def arch(depth: float, height: float) -> Callable[..., Array]:
    """Pedicles, ring, transverse and spinous processes behind a body of that depth."""
    wall = -depth / 2
    middle = wall - 9.0

    def inside(x: Array, y: Array, z: Array) -> Array:
        pedicle = (np.abs(np.abs(x) - 16) < 4.5) & (y < wall + 4) & (y > wall - 12) & (np.abs(z - 5) < 7)
        ring = (x / 18) ** 2 + ((y - middle) / 15) ** 2 <= 1
        ring &= ((x / CANAL_HALF[0]) ** 2 + ((y - middle) / CANAL_HALF[1]) ** 2 > 1) & (y < wall - 8)
        ring &= np.abs(z) < 0.32 * height
        side = (np.abs(x) > 17) & (np.abs(x) < 38) & (y < wall - 4) & (y > wall - 13) & (np.abs(z - 5) < 4)
        spine = (np.abs(x) < 3.5) & (y < wall - 21) & (y > wall - 50) & (np.abs(z + 4) < 8)
        return pedicle | ring | side | spine

    return inside


@dataclass
class Truth:
    """What was built: per level frame and solid, endplate inclinations, slips, disc heights."""

    solids: dict[Level, Solid] = field(default_factory=dict)
    axes: dict[Level, Array] = field(default_factory=dict)
    centres: dict[Level, Array] = field(default_factory=dict)
    upper: dict[Level, Array] = field(default_factory=dict)
    lower: dict[Level, Array] = field(default_factory=dict)
    whole: Volume | None = None
    bodies: Volume | None = None
    canal: Volume | None = None
    discs: Volume | None = None

    def sagittal(self, normal: Array) -> float:
        return float(np.degrees(np.arctan2(-normal[1], normal[2])))

    def coronal(self, normal: Array) -> float:
        return float(np.degrees(np.arctan2(-normal[0], normal[2])))


def build_spine(
    *,
    spacing: Any = (1.0, 1.0, 1.0),
    turn: Array | None = None,
    levels: tuple[str, ...] = ("L5", "L4", "L3", "L2", "L1"),
    solids: dict[str, Solid] | None = None,
    side_deg: dict[str, float] | None = None,
    slip_mm: dict[str, float] | None = None,
    size_mm: Any = (100.0, 150.0, 230.0),
    shift: Any = (0.0, 5.0, 65.0),
    disc: tuple[float, float] = (9.0, 10.0),
    slope_deg: float = 40.0,
    arches: bool = True,
) -> Truth:
    """A spine from the sacrum up: discs of one height (mm at the middle) and wedge (degrees), slips above a level."""
    shape, affine = grid(size_mm, spacing, np.eye(3) if turn is None else turn, shift)
    whole, bodies = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    canal, discs = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    truth = Truth()
    sacrum = Solid(50, 33, 28, 26, 0.0, 0.0)
    s1 = Level("S1")
    plate_axes, plate = turn_x(-slope_deg), np.zeros(3)
    truth.upper[s1], truth.centres[s1] = plate_axes[:, 2], plate
    axes = plate_axes @ turn_x(-sacrum.wedge_deg / 2)
    centre = plate - axes @ np.array([0, 0, sacrum.height / 2])

    def sacral(x: Array, y: Array, z: Array) -> Array:
        body = sacrum.inside(x, y, z)
        below = (np.abs(x) < 22) & (np.abs(y) < 12) & (z < -12) & (z > -45)
        alae = (np.abs(x) > 18) & (np.abs(x) < 48) & (y > -20) & (y < 8) & (z < 9 - 0.35 * (np.abs(x) - 18)) & (z > -40)
        return body | below | alae

    paint(whole, affine, 26, centre, axes, 75, sacral)
    paint(bodies, affine, 26, centre, axes, 50, sacrum.inside)
    depth_below = sacrum.depth
    for name in levels:
        level = Level(name)
        solid = (solids or {}).get(name, Solid())
        height, wedge = disc
        middle_axes = plate_axes @ turn_x(wedge / 2) @ turn_y((side_deg or {}).get(name, 0.0) / 2)
        low_axes = plate_axes @ turn_x(wedge) @ turn_y((side_deg or {}).get(name, 0.0))
        push = (slip_mm or {}).get(name, 0.0)
        low = plate + middle_axes @ np.array([0, 0, height]) + plate_axes @ np.array([0, push, 0])
        axes = low_axes @ turn_x(solid.wedge_deg / 2)
        centre = low + axes @ np.array([0, 0, solid.height / 2])
        label = level.verse_label
        disc_centre = (plate + low) / 2

        def between(
            x: Array,
            y: Array,
            z: Array,
            w: float = solid.width,
            d: float = min(solid.depth, depth_below),
            h: float = height,
        ) -> Array:
            return ((2 * x / w) ** 2 + (2 * y / d) ** 2 < 1) & (np.abs(z) < h / 2 + 4)

        paint(bodies, affine, label, centre, axes, 45, solid.inside)
        paint(whole, affine, label, centre, axes, 45, solid.inside)
        if arches:
            paint(whole, affine, label, centre, axes, 75, arch(solid.depth, solid.height))
        back = -solid.depth / 2 - 9.0
        reach = solid.height / 2 + height / 2 + 3

        def tube(x: Array, y: Array, z: Array, back: float = back, reach: float = reach) -> Array:
            oval = (x / CANAL_HALF[0]) ** 2 + ((y - back) / CANAL_HALF[1]) ** 2 <= 1
            return oval & (np.abs(z) < reach)

        paint(canal, affine, 1, centre, axes, 60, tube)
        blocked = np.where(whole > 0, 255, discs).astype(np.uint8)
        paint(blocked, affine, label, disc_centre, middle_axes, 40, between)
        discs[blocked == label] = label
        truth.solids[level], truth.axes[level], truth.centres[level] = solid, axes, centre
        truth.lower[level] = low_axes[:, 2]
        plate_axes = axes @ turn_x(solid.wedge_deg / 2)
        plate = centre + axes @ np.array([0, 0, solid.height / 2])
        truth.upper[level] = plate_axes[:, 2]
        depth_below = solid.depth
    truth.whole = Volume(whole, affine, "label")
    truth.bodies = Volume(bodies, affine, "label")
    truth.canal = Volume(canal, affine, "label")
    truth.discs = Volume(discs, affine, "label")
    return truth


@pytest.fixture(scope="session")
def solid() -> type[Solid]:
    return Solid


@pytest.fixture(scope="session")
def spine() -> Callable[..., Truth]:
    return build_spine


@pytest.fixture(scope="session")
def body_mask() -> Callable[..., tuple[Array, Array]]:
    """`body_mask(solid, axes, spacing, turn, shift)`: the mask of one body and its affine."""

    def make(
        shape: Solid, axes: Array, spacing: Any, turn: Array | None = None, shift: Any = (0, 0, 0)
    ) -> tuple[Array, Array]:
        size, affine = grid((76, 76, 76), spacing, np.eye(3) if turn is None else turn, shift)
        data = np.zeros(size, np.uint8)
        paint(data, affine, 1, np.zeros(3), axes, 45, shape.inside)
        return data == 1, affine

    return make
