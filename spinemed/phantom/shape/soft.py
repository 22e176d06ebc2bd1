"""Soft tissue around a spine: canal, sac and cord, muscles, vessels, organs, and the outline of the trunk.

Convention: world RAS+ mm; everything is placed from the posed vertebrae, so that it follows the curve. Painting goes in
the order of `soft_blobs`, from outside in; bone comes last.

The trap: these tissues are a setting for bones, not an atlas: no size of an organ or a muscle is drawn from a table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Disc, Level, Region
from spinemed.phantom.shape.blobs import Blob, capsule, chain, ellipsoid, vec
from spinemed.phantom.shape.materials import Tissue

__all__ = ["TORSO_STEP_MM", "Station", "canal_blobs", "soft_blobs", "torso_table"]

Array = NDArray[np.float64]
TORSO_STEP_MM = 4.0


@dataclass(frozen=True, eq=False)
class Station:
    """One vertebra (or S1) as the soft tissue needs it: its frame and a few sizes."""

    level: Level
    origin: Array
    rotation: Array
    half_width: float
    half_depth: float
    half_height: float
    canal_width: float
    canal_depth: float
    spinous_tip: Array
    """In its own frame."""

    def at(self, x: float, y: float, z: float = 0.0) -> Array:
        """A world point of the station's frame."""
        return np.asarray(self.origin + self.rotation @ np.array([x, y, z]))


# Cord, width x depth mm at some levels (Frostell 2016: C5 13.3 x 7.4, T8 8.3 x 6.3, L3 segment 9.4 x 7.3, which lies at
# T11/T12); between them straight lines.
_CORD = (
    (Level.C1, 11.5, 8.0),
    (Level.C3, 12.4, 7.6),
    (Level.C5, 13.3, 7.4),
    (Level.T1, 11.0, 7.0),
    (Level.T4, 8.6, 6.4),
    (Level.T8, 8.3, 6.3),
    (Level.T11, 9.2, 7.0),
    (Level.T12, 9.0, 7.0),
)


def canal_blobs(
    stations: Sequence[Station], narrowing: Mapping[Disc, float], family: str
) -> tuple[list[Blob], list[Blob], list[Blob]]:
    """Canal, thecal sac and cord as chains from C1 to S2, each in world mm.

    Args:
        stations: Head to foot, the last one S1.
        narrowing: Share of the sac's area lost at stenotic discs.
        family: Family "b" has a wider epidural fat and a lower conus.

    Returns:
        Blobs of the canal (epidural fat), of the sac (CSF) and of the cord.
    """
    canal_points: list[Array] = []
    widths: list[float] = []
    depths: list[float] = []
    keep: list[float] = []
    order: list[float] = []
    for index, station in enumerate(stations):
        rear = -station.half_depth - station.canal_depth / 2
        for z in (0.7, -0.7):
            canal_points.append(station.at(0.0, rear, z * station.half_height))
            widths.append(station.canal_width / 2)
            depths.append(station.canal_depth / 2)
            keep.append(1.0)
            order.append(index - 0.25 * z)
        if index + 1 < len(stations):
            below = stations[index + 1]
            one = station.at(0.0, rear, -1.1 * station.half_height)
            other = below.at(0.0, -below.half_depth - below.canal_depth / 2, 1.1 * below.half_height)
            canal_points.append((one + other) / 2)
            widths.append((station.canal_width + below.canal_width) / 4)
            depths.append((station.canal_depth + below.canal_depth) / 4)
            lost = next(
                (
                    share
                    for disc, share in narrowing.items()
                    if disc.upper == station.level and disc.lower == below.level
                ),
                0.0,
            )
            keep.append(math.sqrt(max(1.0 - lost, 0.03)))
            order.append(index + 0.5)
    last = stations[-1]
    tail = [last.at(0.0, -last.half_depth - 0.45 * last.canal_depth - 4.0, -26.0)]
    tail.append(last.at(0.0, -last.half_depth - 0.45 * last.canal_depth - 9.0, -48.0))
    points = np.array(canal_points)
    size_w, size_d, kept = np.array(widths), np.array(depths), np.array(keep)
    place = np.array(order)
    side = stations[0].rotation[:, 0]
    canal = chain(
        np.vstack([points, tail]),
        [*(0.985 * size_w), 0.8 * size_w[-1], 0.5 * size_w[-1]],
        [*(0.985 * size_d), 0.7 * size_d[-1], 0.45 * size_d[-1]],
        side_axis=side,
        material=Tissue.EPIDURAL_FAT,
    )
    lumbar = np.array(
        [
            1.0 if stations[int(min(p, len(stations) - 1))].level.region in (Region.LUMBAR, Region.SACRAL) else 0.0
            for p in place
        ]
    )
    fill_w = np.where(lumbar > 0, 0.72, 0.80) - (0.05 if family == "b" else 0.0)
    fill_d = np.where(lumbar > 0, 0.84, 0.86) - (0.04 if family == "b" else 0.0)
    forward = np.array([(stations[int(min(p, len(stations) - 1))].rotation[:, 1]) for p in place])
    sac_points = points + forward * (size_d * (1 - fill_d) * 0.7)[:, None]
    sac = chain(
        np.vstack([sac_points, tail]),
        [*(size_w * fill_w * kept), 0.42 * size_w[-1], 2.0],
        [*(size_d * fill_d * kept), 0.40 * size_d[-1], 2.0],
        side_axis=side,
        material=Tissue.CSF,
    )
    levels = [station.level for station in stations]
    known = [(levels.index(level), w, d) for level, w, d in _CORD if level in levels]
    cord: list[Blob] = []
    if known:
        # The conus ends at L1/2, wherever twelve thoracic vertebrae would put it.
        end = levels.index(Level.L1) + (0.8 if family == "b" else 0.5) if Level.L1 in levels else len(levels) - 2.0
        inside = place <= end
        at = np.interp(place[inside], [k[0] for k in known], [k[1] for k in known])
        deep = np.interp(place[inside], [k[0] for k in known], [k[2] for k in known])
        taper = np.clip((end + 0.15 - place[inside]) / 1.3, 0.22, 1.0)
        cord = chain(
            sac_points[inside] + forward[inside] * 0.5,
            list(at / 2 * taper),
            list(deep / 2 * taper),
            side_axis=side,
            material=Tissue.CORD,
        )
    return canal, sac, cord


def soft_blobs(stations: Sequence[Station], hip_mm: Array, family: str) -> list[Blob]:
    """Muscles, vessels and organs in the order they are painted."""
    by = {station.level: station for station in stations}
    blobs: list[Blob] = []
    lumbar = [s for s in stations if s.level.region is Region.LUMBAR or s.level is Level.S1]
    thoracic = [s for s in stations if s.level.region is Region.THORACIC]
    cervical = [s for s in stations if s.level.region is Region.CERVICAL]
    grow = 1.08 if family == "b" else 1.0
    # Liver and kidneys first: muscles and vessels lie in front of their edges.
    if Level.L1 in by and thoracic:
        one = by[Level.L1]
        blobs.append(ellipsoid(one.at(88.0, 62.0, 46.0), 76.0, 84.0, 74.0, material=Tissue.LIVER))
        blobs.append(ellipsoid(one.at(-96.0, -2.0, 42.0), 30.0, 52.0, 48.0, material=Tissue.LIVER))
        for sign, drop in ((1.0, -34.0), (-1.0, -22.0)):
            blobs.append(
                ellipsoid(
                    one.at(sign * 64.0, -4.0, drop),
                    25.0,
                    27.0,
                    54.0,
                    axis=(0.22 * sign, -0.15, 1.0),
                    material=Tissue.KIDNEY,
                )
            )
            blobs.append(
                ellipsoid(
                    one.at(sign * 52.0, 2.0, drop),
                    12.0,
                    10.0,
                    26.0,
                    axis=(0.22 * sign, -0.15, 1.0),
                    material=Tissue.FAT,
                )
            )
    if lumbar and Level.L4 in by:
        s1 = lumbar[-1]
        blobs.append(ellipsoid(s1.at(0.0, 95.0, -60.0), 52.0, 40.0, 38.0, material=Tissue.CSF))  # bladder
    for sign in (1.0, -1.0):
        blobs += _column_muscles(lumbar, thoracic, cervical, sign, grow, hip_mm)
    blobs += _vessels(by, thoracic, lumbar)
    front_neck = [s for s in cervical if s.level >= Level.C4] + [s for s in thoracic if s.level <= Level.T4]
    if len(front_neck) > 1:
        ahead = [s.at(0.0, s.half_depth + (17.0 if s.level.region is Region.CERVICAL else 24.0)) for s in front_neck]
        n = len(ahead)
        blobs += chain(ahead, [11.0] * n, [10.0] * n, material=Tissue.VISCERA)
        blobs += chain(ahead, [8.0] * n, [7.5] * n, material=Tissue.AIR)
    # Ligaments along the bodies' front and behind the canal seal the surfaces that fat would outline too sharply.
    if len(stations) > 2:
        bodies = [s for s in stations if s.half_depth > 6.0]
        blobs += chain(
            [s.at(0.0, s.half_depth - 0.5) for s in bodies],
            [0.45 * s.half_width for s in bodies],
            [1.8] * len(bodies),
            material=Tissue.LIGAMENT,
        )
    return blobs


def _column_muscles(
    lumbar: Sequence[Station],
    thoracic: Sequence[Station],
    cervical: Sequence[Station],
    sign: float,
    grow: float,
    hip: Array,
) -> list[Blob]:
    blobs: list[Blob] = []
    rows: list[tuple[Sequence[Station], float, float, float, float]] = [
        (lumbar, 27.0, 16.0, 25.0, 19.0),
        (thoracic, 22.0, 12.0, 20.0, 12.5),
        (cervical, 19.0, 13.0, 19.0, 17.0),
    ]
    # Erector spinae and neck extensors beside the spinous processes, multifidus in the angle of lamina and spine.
    points, sides, flats, deep, deep_side, deep_flat = [], [], [], [], [], []
    for stations, x, back, side, flat in reversed(rows):
        for s in stations:
            rear = -s.half_depth - s.canal_depth
            points.append(s.at(sign * x, rear - back))
            sides.append(side * grow)
            flats.append(flat * grow)
            deep.append(s.at(sign * 0.42 * x, rear - 0.75 * back))
            deep_side.append(0.45 * side)
            deep_flat.append(0.9 * flat)
    if len(points) > 1:
        blobs += chain(points, sides, flats, material=Tissue.PARASPINAL)
        blobs += chain(deep, deep_side, deep_flat, material=Tissue.PARASPINAL)
    if len(lumbar) > 2:
        bodies = lumbar[:-1]
        n = len(bodies)
        radius = np.interp(np.linspace(0, 1, n), [0.0, 0.35, 0.8, 1.0], [7.0, 12.0, 18.0, 19.0]) * grow
        at = [s.at(sign * (s.half_width + 0.55 * r), -0.15 * s.half_depth) for s, r in zip(bodies, radius, strict=True)]
        front = np.array(hip) + vec(sign * 84.0, 24.0, 20.0)
        at += [lumbar[-1].at(sign * 58.0, 26.0, -8.0), front]
        blobs += chain(at, [*(0.85 * radius), 18.0, 15.0], [*(1.05 * radius), 19.0, 16.0], material=Tissue.MUSCLE)
        quad = [s.at(sign * (s.half_width + 36.0), -s.half_depth - 2.0) for s in bodies]
        blobs += chain(quad, [15.0] * n, [9.0] * n, material=Tissue.MUSCLE)
        s1 = lumbar[-1]
        blobs += chain(  # gluteal and iliacus muscle on both faces of the wing
            [s1.at(sign * 92.0, -48.0, 10.0), s1.at(sign * 100.0, -40.0, -80.0)],
            [36.0, 42.0],
            [34.0, 40.0],
            material=Tissue.MUSCLE,
        )
        blobs += chain(
            [s1.at(sign * 92.0, 22.0, 18.0), s1.at(sign * 84.0, 44.0, -50.0)],
            [14.0, 16.0],
            [24.0, 20.0],
            material=Tissue.MUSCLE,
        )
    if len(cervical) > 2:
        ahead = [s.at(sign * 9.0, s.half_depth + 4.0) for s in cervical]
        n = len(ahead)
        blobs += chain(ahead, [8.0] * n, [4.0] * n, material=Tissue.MUSCLE)
        blobs += chain([s.at(sign * 44.0, -4.0) for s in cervical], [15.0] * n, [20.0] * n, material=Tissue.MUSCLE)
    return blobs


def _vessels(by: Mapping[Level, Station], thoracic: Sequence[Station], lumbar: Sequence[Station]) -> list[Blob]:
    blobs: list[Blob] = []
    path = [s for s in thoracic if s.level >= Level.T5] + [
        s for s in lumbar if s.level <= Level.L4 and s.level is not Level.S1
    ]
    if len(path) > 1:
        share = np.linspace(0.0, 1.0, len(path))
        x = np.interp(share, [0.0, 0.6, 1.0], [-21.0, -10.0, -4.0])
        at = [s.at(float(dx), s.half_depth + (4.0 + 9.0 * t)) for s, dx, t in zip(path, x, share, strict=True)]
        radius = np.interp(share, [0.0, 1.0], [12.5, 9.0])
        blobs += chain(at, list(radius), list(radius), material=Tissue.VESSEL)
    veins = [s for s in lumbar if s.level <= Level.L5 and s.level is not Level.S1]
    if len(veins) > 1:
        at = [s.at(17.0, s.half_depth + 8.0) for s in veins]
        blobs += chain(at, [11.0] * len(at), [8.5] * len(at), material=Tissue.VESSEL)
    if Level.L4 in by and lumbar and lumbar[-1].level is Level.S1:
        fork, s1 = by[Level.L4], lumbar[-1]
        for sign in (1.0, -1.0):
            start = fork.at(-4.0, fork.half_depth + 13.0)
            blobs.append(capsule(start, s1.at(sign * 34.0, s1.half_depth + 8.0, -6.0), 5.5, material=Tissue.VESSEL))
            blobs.append(
                capsule(
                    start + vec(10.0, -5.0, -14.0),
                    s1.at(sign * 36.0, s1.half_depth - 2.0, -10.0),
                    6.5,
                    material=Tissue.VESSEL,
                )
            )
    return blobs


def torso_table(stations: Sequence[Station], hip_mm: Array, stature_mm: float, fat_mm: float) -> tuple[Array, float]:
    """Outline of the trunk over world z: (rows, 12) as `paint.paint_torso` reads them, and z of the first row."""
    scale = stature_mm / 1700.0
    rows: list[tuple[float, ...]] = []
    column: list[tuple[float, ...]] = []
    thoracic = [s.level for s in stations if s.level.region is Region.THORACIC]
    for s in stations:
        tip = s.at(*s.spinous_tip)
        centre = s.origin
        region = s.level.region
        if region is Region.CERVICAL:
            a = 66.0 if s.level > Level.C2 else 76.0
            ahead = 52.0 if s.level > Level.C3 else 82.0
            fat, wall = 0.45 * fat_mm, 40.0
            if s.level >= Level.C6:
                a, ahead = (95.0, 58.0) if s.level is Level.C6 else (140.0, 68.0)
        elif region is Region.THORACIC:
            share = thoracic.index(s.level) / max(len(thoracic) - 1, 1)
            a = float(np.interp(share, [0, 0.15, 0.5, 1], [185.0, 188.0, 172.0, 162.0]))
            ahead = float(np.interp(share, [0, 0.3, 0.7, 1], [85.0, 128.0, 150.0, 150.0]))
            fat, wall = 0.75 * fat_mm, 17.0
        else:
            a = 160.0 if s.level < Level.L5 else 176.0
            ahead, fat, wall = 132.0, fat_mm, 13.0
        back = min(tip[1], centre[1] - s.half_depth - s.canal_depth - 14.0) - 9.0 - 0.55 * fat_mm
        front = centre[1] + ahead * scale
        rows.append((centre[2], 0.25 * centre[0], (back + front) / 2, a * scale, (front - back) / 2, fat, wall))
        column.append((centre[2], centre[0], centre[1], s.half_width + 7.0))
    rows.append((hip_mm[2], 0.0, hip_mm[1] - 10.0, 190.0 * scale, 118.0, 1.2 * fat_mm, 14.0))
    rows.append((hip_mm[2] - 200.0, 0.0, hip_mm[1] - 10.0, 185.0 * scale, 105.0, 1.2 * fat_mm, 60.0))
    top = rows[0]
    rows.insert(0, (top[0] + 40.0, top[1], top[2] + 6.0, 80.0, 98.0, 5.0, 30.0))
    rows.insert(0, (top[0] + 160.0, top[1], top[2] + 6.0, 60.0, 80.0, 5.0, 30.0))
    data = np.array(sorted(rows, key=lambda row: row[0]))
    z = np.arange(data[0, 0], data[-1, 0] + TORSO_STEP_MM, TORSO_STEP_MM)
    table = np.zeros((len(z), 12))
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 3.5) ** 2)
    kernel /= kernel.sum()
    for item in range(6):
        line = np.interp(z, data[:, 0], data[:, item + 1])
        table[:, item] = np.convolve(np.pad(line, 8, mode="edge"), kernel, mode="valid")
    spine = np.array(sorted(column))
    for item in (1, 2, 3):
        table[:, 8 + item] = np.interp(z, spine[:, 0], spine[:, item])
    chest = [s for s in stations if s.level.region is Region.THORACIC]
    if len(chest) > 4:
        apex, edge = chest[0].origin[2] + 6.0, chest[-1].origin[2] - 6.0
        table[:, 6] = apex - z
        table[:, 7] = z - edge
        table[:, 8] = np.interp((apex - z) / (apex - edge), [0.0, 0.35, 0.7, 1.0], [30.0, 38.0, 62.0, 66.0])
    else:
        table[:, 6:9] = (-1.0, -1.0, 1.0)
    return table, float(z[0])
