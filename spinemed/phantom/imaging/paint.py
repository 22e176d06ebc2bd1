"""Compiled loops that paint soft tissue on a voxel grid: trunk, discs, vessels and cord, and what a disease adds.

Convention: as in :mod:`spinemed.phantom.imaging.raster`, which puts the bones.

The trap: what is painted later covers what was painted before; bones are composed over all of it at the end.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import fresh, njit
from spinemed.phantom.imaging.raster import BODY, BODY_RIM, span
from spinemed.phantom.shape.surfaces import (
    blob_distance,
    blob_level,
    blob_limit,
    blob_reach,
    body_outline,
    body_surfaces,
)

__all__ = ["mark_blobs", "paint_blobs", "paint_discs", "paint_extra", "paint_torso"]

Numbers = NDArray[Any]

# What these loops call is built into them: they are compiled again when it changes.
_fast = fresh(njit(cache=True), "spinemed.phantom.shape.surfaces", "spinemed.phantom.imaging.raster")


@njit(cache=True, inline="always")
def _cell(n: int, at: float) -> tuple[int, int, float]:
    """Cell of a periodic row of `n`, the next one, and the share of the way between them."""
    whole = math.floor(at)
    # The remainder by a division of floats, which is exact here and faster than one of integers.
    i = int(whole - n * math.floor(whole / n))
    return i, (i + 1 if i + 1 < n else 0), at - whole


@njit(cache=True, inline="always")
def _between(tile: Numbers, a: tuple[int, int, float], b: tuple[int, int, float], c: tuple[int, int, float]) -> float:
    """Trilinear value of `tile` between three pairs of cells."""
    i, i1, dx = a
    j, j1, dy = b
    k, k1, dz = c
    c00 = tile[i, j, k] * (1 - dx) + tile[i1, j, k] * dx
    c01 = tile[i, j, k1] * (1 - dx) + tile[i1, j, k1] * dx
    c10 = tile[i, j1, k] * (1 - dx) + tile[i1, j1, k] * dx
    c11 = tile[i, j1, k1] * (1 - dx) + tile[i1, j1, k1] * dx
    between: float = (c00 * (1 - dy) + c10 * dy) * (1 - dz) + (c01 * (1 - dy) + c11 * dy) * dz
    return between


@_fast
def paint_torso(
    value: Numbers,
    tissue: Numbers,
    affine: Numbers,
    table: Numbers,
    z_first: float,
    z_step: float,
    palette: Numbers,
    spread: Numbers,
    tile: Numbers,
) -> None:
    """Fill the grid with trunk, neck and air.

    `table` (rows, 12) over world z: centre x, centre y, half width, half depth, fat mm, wall mm, height below the
    lungs' apex mm, height above the diaphragm's edge mm, half width of the mediastinum, spine x, spine y, spine radius.
    Tissues: 0 air, 1 fat, 2 muscle, 3 viscera, 4 lung.
    """
    ni, nj, nk = value.shape
    rows = table.shape[0]
    # World z along the innermost axis: the outline there, anew only where the next line of voxels lies elsewhere.
    lines = nk if affine[2, 2] != 0.0 else 1
    line = np.empty((lines, 12))
    last = math.nan
    cells = tile.shape[0]
    # Along a line of voxels most coordinates stay: their place in the noise is kept.
    xa, ya, za = math.nan, math.nan, math.nan
    cell_x, cell_y, cell_z = _cell(cells, 0.0), _cell(cells, 0.0), _cell(cells, 0.0)
    xf, yf, zf = math.nan, math.nan, math.nan
    fine_x, fine_y, fine_z = _cell(cells, 0.0), _cell(cells, 0.0), _cell(cells, 0.0)
    for i in range(ni):
        for j in range(nj):
            x0 = affine[0, 0] * i + affine[0, 1] * j + affine[0, 3]
            y0 = affine[1, 0] * i + affine[1, 1] * j + affine[1, 3]
            z0 = affine[2, 0] * i + affine[2, 1] * j + affine[2, 3]
            if z0 != last:
                last = z0
                for k in range(lines):
                    f = min(max((z0 + affine[2, 2] * k - z_first) / z_step, 0.0), rows - 1.001)
                    r = int(f)
                    w = f - r
                    for c in range(12):
                        line[k, c] = table[r, c] * (1 - w) + table[r + 1, c] * w
            for k in range(nk):
                x, y, z = x0 + affine[0, 2] * k, y0 + affine[1, 2] * k, z0 + affine[2, 2] * k
                r = k if lines > 1 else 0  # no view of the row: making one takes longer than the ellipse
                cx, cy, a, b, fat, wall = line[r, 0], line[r, 1], line[r, 2], line[r, 3], line[r, 4], line[r, 5]
                u, v = (x - cx) / a, (y - cy) / b
                s = u * u + v * v
                # Between an ellipse and a box: s - 0.35 u²v² bulges the corners.
                rho = math.sqrt(max(s - 0.35 * u * u * v * v, 1e-9))
                depth = (1.0 - rho) * (b if abs(v) > abs(u) else a)
                if depth < 0.0:
                    t = 0
                elif depth < fat:
                    t = 1
                elif depth < fat + wall:
                    t = 2
                else:
                    t = 3
                    apex, base = line[r, 6], line[r, 7]
                    if apex > 0.0 and base > 0.0:
                        # Each lung around its own middle: under a dome above, over the diaphragm's dome below.
                        side = (abs(x - cx) / a - 0.42) / 0.42
                        front = (v + 0.05) / 0.72
                        near = side * side + front * front
                        middle, sx, sy, clear = line[r, 8], x - line[r, 9], y - line[r, 10], line[r, 11]
                        heart = (x - cx) / middle
                        ahead = (v - 0.15) / 0.85
                        if (
                            apex > 26.0 * near
                            and base > 52.0 * max(1.0 - near, 0.0)
                            and heart * heart + ahead * ahead > 1.0
                            and sx * sx + sy * sy > clear * clear
                            and not (abs(sx) < 0.62 * clear and sy < 0.0)
                        ):
                            t = 4
                g = palette[t]
                if t == 3:
                    if x != xa:
                        xa, cell_x = x, _cell(cells, x / 13.0)
                    if y != ya:
                        ya, cell_y = y, _cell(cells, y / 13.0)
                    if z != za:
                        za, cell_z = z, _cell(cells, z / 13.0)
                    n = _between(tile, cell_x, cell_y, cell_z)
                    if n < -0.12:
                        t = 1
                        g = palette[1]
                    else:
                        g += spread[3] * min(n, 1.0)
                elif t == 2 or t == 4:
                    if x != xf:
                        xf, fine_x = x, _cell(cells, x / 3.5)
                    if y != yf:
                        yf, fine_y = y, _cell(cells, y / 3.5)
                    if z != zf:
                        zf, fine_z = z, _cell(cells, z / 5.0)
                    g += spread[t] * _between(tile, fine_x, fine_y, fine_z)
                value[i, j, k] = g
                tissue[i, j, k] = t


@_fast
def paint_blobs(
    value: Numbers,
    tissue: Numbers,
    affine: Numbers,
    numbers: Numbers,
    blob_pull: Numbers,
    blob_box: Numbers,
    palette: Numbers,
    spread: Numbers,
    tile: Numbers,
    width_mm: float,
) -> None:
    """Paint soft-tissue blobs in their order: value mixed at the edge, tissue by the voxel's centre."""
    cells = tile.shape[0]  # places in the noise are kept as in the trunk
    for n in range(numbers.shape[0]):
        m, blob, b = blob_pull[n], numbers[n], blob_box[n]
        t = int(blob[8])
        g0, amp = palette[t], spread[t]
        most, least = blob_limit(blob, 0.5 * width_mm), blob_limit(blob, -0.5 * width_mm)
        pm, qm, em = blob_reach(blob, 0.5 * width_mm)
        xa, ya, za = math.nan, math.nan, math.nan
        cell_x, cell_y, cell_z = _cell(cells, 0.0), _cell(cells, 0.0), _cell(cells, 0.0)
        for i in range(b[0], b[1]):
            for j in range(b[2], b[3]):
                p0 = m[0, 0] * i + m[0, 1] * j + m[0, 3]
                q0 = m[1, 0] * i + m[1, 1] * j + m[1, 3]
                t0 = m[2, 0] * i + m[2, 1] * j + m[2, 3]
                ka, kb = span(b[4], b[5], p0, m[0, 2], -pm, pm)
                ka, kb = span(ka, kb, q0, m[1, 2], -qm, qm)
                ka, kb = span(ka, kb, t0, m[2, 2], -em, blob[0] + em)
                for k in range(ka, kb):
                    p, q, s = p0 + m[0, 2] * k, q0 + m[1, 2] * k, t0 + m[2, 2] * k
                    level = blob_level(p, q, s, blob)
                    if level > most:
                        continue
                    d = -width_mm
                    c = 1.0
                    if level > least:
                        d = blob_distance(p, q, s, blob)
                        c = 0.5 - d / width_mm
                        if c <= 0.0:
                            continue
                    g = g0
                    if amp > 0.0:
                        x = affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3]
                        y = affine[1, 0] * i + affine[1, 1] * j + affine[1, 2] * k + affine[1, 3]
                        z = affine[2, 0] * i + affine[2, 1] * j + affine[2, 2] * k + affine[2, 3]
                        if x != xa:
                            xa, cell_x = x, _cell(cells, x / 3.0)
                        if y != ya:
                            ya, cell_y = y, _cell(cells, y / 3.0)
                        if z != za:
                            za, cell_z = z, _cell(cells, z / 6.0)
                        n0 = _between(tile, cell_x, cell_y, cell_z)
                        # Streaks of fat: only the dark tail of the noise.
                        g += amp * (n0 if n0 > -0.35 else 4.0 * (n0 + 0.35) - 0.35)
                    c = min(c, 1.0)
                    value[i, j, k] = value[i, j, k] * (1.0 - c) + g * c
                    if d < 0.0:
                        tissue[i, j, k] = t


@_fast
def paint_discs(
    value: Numbers,
    tissue: Numbers,
    discs: Numbers,
    boxes: Numbers,
    limits: Numbers,
    upper_pull: Numbers,
    lower_pull: Numbers,
    bodies: Numbers,
    offsets: Numbers,
    pairs: Numbers,
    labels: Numbers,
    extra: Numbers,
    values: Numbers,
    width_mm: float,
) -> None:
    """Paint discs between neighbouring endplates.

    `limits` (D, 2, 3): low and high corner of what a disc can reach, in the frame of the vertebra above, within which
    its voxel box lies askew; `pairs` (D, 2) rows of `bodies` above and below; `extra` (D, 4): bulge mm, vacuum 0/1,
    share of bone that fuses it, nucleus share of the radius; `values` (D, 3): annulus, nucleus and gas.
    """
    for n in range(pairs.shape[0]):
        b, mu, ml = boxes[n], upper_pull[n], lower_pull[n]
        up, low = bodies[pairs[n, 0]], bodies[pairs[n, 1]]
        up_top, up_bottom = offsets[pairs[n, 0], 0], offsets[pairs[n, 0], 1]
        low_top, low_bottom = offsets[pairs[n, 1], 0], offsets[pairs[n, 1], 1]
        lo, hi = limits[n, 0], limits[n, 1]
        for i in range(b[0], b[1]):
            for j in range(b[2], b[3]):
                ka, kb = b[4], b[5]
                for axis in range(3):
                    start = mu[axis, 0] * i + mu[axis, 1] * j + mu[axis, 3]
                    ka, kb = span(ka, kb, start, mu[axis, 2], lo[axis], hi[axis])
                for k in range(ka, kb):
                    xu = mu[0, 0] * i + mu[0, 1] * j + mu[0, 2] * k + mu[0, 3]
                    yu = mu[1, 0] * i + mu[1, 1] * j + mu[1, 2] * k + mu[1, 3]
                    zu = mu[2, 0] * i + mu[2, 1] * j + mu[2, 2] * k + mu[2, 3]
                    bottom, top = body_surfaces(xu, yu, up, up_top, up_bottom)
                    over = bottom - zu  # positive below the upper vertebra
                    if over <= -0.5 * width_mm:
                        continue
                    xl = ml[0, 0] * i + ml[0, 1] * j + ml[0, 2] * k + ml[0, 3]
                    yl = ml[1, 0] * i + ml[1, 1] * j + ml[1, 2] * k + ml[1, 3]
                    zl = ml[2, 0] * i + ml[2, 1] * j + ml[2, 2] * k + ml[2, 3]
                    bottom, top = body_surfaces(xl, yl, low, low_top, low_bottom)
                    under = zl - top
                    if under <= -0.5 * width_mm or over + under < 0.05:
                        continue
                    t = min(max(over / (over + under), 0.0), 1.0)
                    side = (1.0 - t) * body_outline(xu, yu, 0.0, up) + t * body_outline(xl, yl, 1.0, low)
                    side -= (0.6 + extra[n, 0]) * 4.0 * t * (1.0 - t)
                    d = max(side, max(-over, -under))
                    c = min(max(0.5 - d / width_mm, 0.0), 1.0)
                    if c <= 0.0:
                        continue
                    half = 0.25 * (up[2] + low[0])
                    inner = min(max((-side / half - (1.0 - extra[n, 3])) / 0.12 + 0.5, 0.0), 1.0)
                    g = values[n, 0] + (values[n, 1] - values[n, 0]) * inner
                    kind = 10 if inner > 0.5 else 9
                    if extra[n, 1] > 0.5:  # gas in the middle of a worn disc
                        cleft = abs(over - under) - 0.35 * (over + under)
                        if -side > 0.35 * half and cleft < 0.0:
                            g = values[n, 2]
                            kind = 19
                    value[i, j, k] = value[i, j, k] * (1.0 - c) + g * c
                    if d < 0.0:
                        tissue[i, j, k] = kind
                        discs[i, j, k] = labels[n]


@_fast
def mark_blobs(mask: Numbers, numbers: Numbers, blob_pull: Numbers, blob_box: Numbers, label: int) -> None:
    """Write a label wherever a voxel's centre lies in one of the blobs."""
    for n in range(numbers.shape[0]):
        m, b = blob_pull[n], blob_box[n]
        pm, qm, em = blob_reach(numbers[n], 0.0)
        for i in range(b[0], b[1]):
            for j in range(b[2], b[3]):
                ka, kb = span(b[4], b[5], m[0, 0] * i + m[0, 1] * j + m[0, 3], m[0, 2], -pm, pm)
                ka, kb = span(ka, kb, m[1, 0] * i + m[1, 1] * j + m[1, 3], m[1, 2], -qm, qm)
                ka, kb = span(ka, kb, m[2, 0] * i + m[2, 1] * j + m[2, 3], m[2, 2], -em, numbers[n][0] + em)
                for k in range(ka, kb):
                    level = blob_level(
                        m[0, 0] * i + m[0, 1] * j + m[0, 2] * k + m[0, 3],
                        m[1, 0] * i + m[1, 1] * j + m[1, 2] * k + m[1, 3],
                        m[2, 0] * i + m[2, 1] * j + m[2, 2] * k + m[2, 3],
                        numbers[n],
                    )
                    if level < 1.0:
                        mask[i, j, k] = label


@_fast
def paint_extra(
    value: Numbers,
    tissue: Numbers,
    numbers: Numbers,
    blob_pull: Numbers,
    blob_box: Numbers,
    number: float,
    added: bool,
    inside: bool,
    host: int,
    owner: Numbers,
    part: Numbers,
    width_mm: float,
    best: Numbers,
) -> None:
    """Paint a solid of pathology: everywhere, or (`inside`) only within the host's body and under its surface."""
    for n in range(numbers.shape[0]):
        m, b = blob_pull[n], blob_box[n]
        kind = int(numbers[n, 8])
        for i in range(b[0], b[1]):
            for j in range(b[2], b[3]):
                for k in range(b[4], b[5]):
                    d = blob_distance(
                        m[0, 0] * i + m[0, 1] * j + m[0, 2] * k + m[0, 3],
                        m[1, 0] * i + m[1, 1] * j + m[1, 2] * k + m[1, 3],
                        m[2, 0] * i + m[2, 1] * j + m[2, 2] * k + m[2, 3],
                        numbers[n],
                    )
                    c = min(max(0.5 - d / width_mm, 0.0), 1.0)
                    if c <= 0.0:
                        continue
                    if inside:
                        if owner[i, j, k] != host or (part[i, j, k] != BODY and part[i, j, k] != BODY_RIM):
                            continue
                        # The cortex stays.
                        c *= min(max(0.5 - (best[i, j, k] + 0.5) / width_mm, 0.0), 1.0)
                        if c <= 0.0:
                            continue
                    if added:
                        value[i, j, k] += c * number
                    else:
                        value[i, j, k] = value[i, j, k] * (1.0 - c) + number * c
                    if d < 0.0 and c > 0.5:
                        tissue[i, j, k] = kind
