"""Compiled loops that put solids on a voxel grid: bones, soft tissue, discs, and the partial volume between them.

Convention: arrays are C-ordered (I, J, K); `pull` matrices (3, 4) lead from voxel indices to a solid's own frame in mm;
boxes hold the first voxel and one past the last along each axis. A label belongs to a voxel whose centre is inside. A
value at a surface is mixed by how much of the voxel the surface covers: distance over the voxel's width across it.

Neighbouring bones never share a voxel: each voxel belongs to the bone whose surface encloses it deepest, and a joint
space `gap_mm` wide is left along the surface midway between two bones that touch.

The trap: `best` and `second` hold distances only near bone (within the margin of the boxes); elsewhere they hold
`FAR_MM`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from spinemed.phantom.shape.surfaces import (
    arch_distance,
    arch_edge,
    blob_distance,
    blob_level,
    blob_limit,
    blob_reach,
    body_distance,
    body_norms,
    body_outline,
    body_surfaces,
    canal_distance,
)

__all__ = [
    "FAR_MM",
    "clear_where_bone",
    "compose_bone",
    "mark_blobs",
    "paint_blobs",
    "paint_discs",
    "paint_extra",
    "paint_torso",
    "raster_bone",
    "smooth_noise",
]

FAR_MM = 1000.0
_BODY, _BODY_RIM, _RIM_MM = 50, 49, 2.5


Numbers = NDArray[Any]


@njit(cache=True, inline="always")
def _span(first: int, last: int, start: float, step: float, low: float, high: float) -> tuple[int, int]:
    """The part of [first, last) in which `start + step * k` can lie in [low, high]; a voxel too many at each end."""
    if abs(step) < 1e-9:
        return (first, last) if low <= start <= high else (first, first)
    a, b = (low - start) / step, (high - start) / step
    if a > b:
        a, b = b, a
    return max(first, math.floor(max(a, -1e9))), min(last, math.ceil(min(b, 1e9)) + 1)


@njit(cache=True)
def raster_bone(
    best: Numbers,
    second: Numbers,
    owner: Numbers,
    part: Numbers,
    bone: int,
    box: Numbers,
    pull: Numbers,
    body: Numbers,
    has_body: bool,
    offsets: Numbers,
    shell: Numbers,
    numbers: Numbers,
    blob_pull: Numbers,
    blob_box: Numbers,
    holes: Numbers,
    hole_pull: Numbers,
    hole_box: Numbers,
    blend_mm: float,
    far_mm: float,
) -> None:
    """Put one bone into the distance fields of all bones. Beyond `far_mm` no distance to its body is needed."""
    i0, i1, j0, j1, k0, k1 = box[0], box[1], box[2], box[3], box[4], box[5]
    ni, nj, nk = i1 - i0, j1 - j0, k1 - k0
    if ni <= 0 or nj <= 0 or nk <= 0:
        return
    arch = np.full((ni, nj, nk), np.float32(1000.0), dtype=np.float32)
    which = np.zeros((ni, nj, nk), dtype=np.uint8)
    for n in range(numbers.shape[0]):
        m, blob, b = blob_pull[n], numbers[n], blob_box[n]
        label = np.uint8(blob[7])
        most = blob_limit(blob, 5.0)
        pm, qm, em = blob_reach(blob, 5.0)
        for i in range(max(b[0], i0), min(b[1], i1)):
            for j in range(max(b[2], j0), min(b[3], j1)):
                p0 = m[0, 0] * i + m[0, 1] * j + m[0, 3]
                q0 = m[1, 0] * i + m[1, 1] * j + m[1, 3]
                t0 = m[2, 0] * i + m[2, 1] * j + m[2, 3]
                ka, kb = _span(max(b[4], k0), min(b[5], k1), p0, m[0, 2], -pm, pm)
                ka, kb = _span(ka, kb, q0, m[1, 2], -qm, qm)
                ka, kb = _span(ka, kb, t0, m[2, 2], -em, blob[0] + em)
                for k in range(ka, kb):
                    p, q, t = p0 + m[0, 2] * k, q0 + m[1, 2] * k, t0 + m[2, 2] * k
                    if blob_level(p, q, t, blob) > most:
                        continue
                    d = blob_distance(p, q, t, blob)
                    old = arch[i - i0, j - j0, k - k0]
                    low = min(d, old)
                    h = blend_mm - abs(d - old)
                    if h > 0.0:
                        low -= h * h / (4.0 * blend_mm)
                    arch[i - i0, j - j0, k - k0] = low
                    if d < old:
                        which[i - i0, j - j0, k - k0] = label
    if shell[12] > 0.5:
        highest = max(shell[6] + shell[8], shell[7] + shell[9]) + 4.0
        lowest = min(shell[6] - shell[8], shell[7] - shell[9]) - 4.0
        side = shell[0] + shell[5] + 4.0
        y_low, y_high = shell[2] - shell[1] - shell[5] - 14.0, shell[2] + shell[1] + 8.0
        skip = far_mm + blend_mm  # further away than this the laminae change nothing
        for i in range(i0, i1):
            for j in range(j0, j1):
                x0 = pull[0, 0] * i + pull[0, 1] * j + pull[0, 3]
                y0 = pull[1, 0] * i + pull[1, 1] * j + pull[1, 3]
                z0 = pull[2, 0] * i + pull[2, 1] * j + pull[2, 3]
                for k in range(k0, k1):
                    x, y, z = x0 + pull[0, 2] * k, y0 + pull[1, 2] * k, z0 + pull[2, 2] * k
                    a = float(arch[i - i0, j - j0, k - k0])
                    wall = 1000.0
                    if a < 5.0:
                        wall = canal_distance(x, y, z, shell)
                    if (
                        y < y_high
                        and y > y_low
                        and abs(x) < side
                        and z < highest
                        and z > lowest
                        and arch_edge(y, z, shell) < skip
                    ):
                        if wall == 1000.0:
                            wall = canal_distance(x, y, z, shell)
                        d = arch_distance(x, y, z, shell, wall)
                        low = min(d, a)
                        h = blend_mm - abs(d - a)
                        if h > 0.0:
                            low -= h * h / (4.0 * blend_mm)
                        if d < a:
                            which[i - i0, j - j0, k - k0] = 41
                        a = low
                    if a < 5.0:
                        a = max(a, -wall)
                    arch[i - i0, j - j0, k - k0] = a
    for n in range(holes.shape[0]):
        m, blob, b = hole_pull[n], holes[n], hole_box[n]
        for i in range(max(b[0], i0), min(b[1], i1)):
            for j in range(max(b[2], j0), min(b[3], j1)):
                for k in range(max(b[4], k0), min(b[5], k1)):
                    d = blob_distance(
                        m[0, 0] * i + m[0, 1] * j + m[0, 2] * k + m[0, 3],
                        m[1, 0] * i + m[1, 1] * j + m[1, 2] * k + m[1, 3],
                        m[2, 0] * i + m[2, 1] * j + m[2, 2] * k + m[2, 3],
                        blob,
                    )
                    if -d > arch[i - i0, j - j0, k - k0]:
                        arch[i - i0, j - j0, k - k0] = -d
    # The body's endplates cannot reach beyond these; their slopes, lips and offsets are counted in full.
    beside = min(6.0, far_mm)
    wide, deep = 0.5 * max(body[0], body[2]) + beside, 0.5 * max(body[1], body[3]) * 1.15 + beside + body[17]
    lean = max(abs(body[5]), abs(body[8])) * deep + max(abs(body[6]), abs(body[9])) * wide
    ceiling, floor = body[4] + lean + body[16], body[7] - lean
    if has_body and body[19] > 0.0:
        ceiling += max(0.0, float(offsets[0].max()))
        floor += min(0.0, float(offsets[1].min()))
    steep = 1.0 + max(abs(body[5]), abs(body[8])) + max(abs(body[6]), abs(body[9]))
    ceiling, floor = ceiling + far_mm * steep, floor - far_mm * steep
    norms = body_norms(body)
    for i in range(i0, i1):
        for j in range(j0, j1):
            x0 = pull[0, 0] * i + pull[0, 1] * j + pull[0, 3]
            y0 = pull[1, 0] * i + pull[1, 1] * j + pull[1, 3]
            z0 = pull[2, 0] * i + pull[2, 1] * j + pull[2, 3]
            for k in range(k0, k1):
                d = float(arch[i - i0, j - j0, k - k0])
                label = which[i - i0, j - j0, k - k0]
                if has_body:
                    x, y, z = x0 + pull[0, 2] * k, y0 + pull[1, 2] * k, z0 + pull[2, 2] * k
                    # Only near the body: the box of the bone is much larger.
                    if abs(x) < wide and abs(y) < deep and z > floor and z < ceiling:
                        e = body_distance(x, y, z, body, offsets[0], offsets[1], norms)
                        if e <= 0.0 or e < d:
                            label = np.uint8(_BODY if e < -_RIM_MM else _BODY_RIM)
                        d = min(d, e)
                if d < best[i, j, k]:
                    second[i, j, k] = best[i, j, k]
                    best[i, j, k] = d
                    owner[i, j, k] = bone
                    part[i, j, k] = label
                elif d < second[i, j, k]:
                    second[i, j, k] = d


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
    return (c00 * (1 - dy) + c10 * dy) * (1 - dz) + (c01 * (1 - dy) + c11 * dy) * dz


@njit(cache=True, inline="always")
def smooth_noise(tile: Numbers, x: float, y: float, z: float) -> float:
    """Trilinear, periodic noise: `tile` (n, n, n) float32, coordinates in tile cells."""
    n = tile.shape[0]
    return _between(tile, _cell(n, x), _cell(n, y), _cell(n, z))


@njit(cache=True)
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
                at = line[k if lines > 1 else 0]
                cx, cy, a, b, fat, wall = at[0], at[1], at[2], at[3], at[4], at[5]
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
                    apex, base = at[6], at[7]
                    if apex > 0.0 and base > 0.0:
                        # Each lung around its own middle: under a dome above, over the diaphragm's dome below.
                        side = (abs(x - cx) / a - 0.42) / 0.42
                        front = (v + 0.05) / 0.72
                        near = side * side + front * front
                        middle, sx, sy, clear = at[8], x - at[9], y - at[10], at[11]
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
                    g += spread[t] * smooth_noise(tile, x / 3.5, y / 3.5, z / 5.0)
                value[i, j, k] = g
                tissue[i, j, k] = t


@njit(cache=True)
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
    for n in range(numbers.shape[0]):
        m, blob, b = blob_pull[n], numbers[n], blob_box[n]
        t = int(blob[8])
        g0, amp = palette[t], spread[t]
        most, least = blob_limit(blob, 0.5 * width_mm), blob_limit(blob, -0.5 * width_mm)
        pm, qm, em = blob_reach(blob, 0.5 * width_mm)
        for i in range(b[0], b[1]):
            for j in range(b[2], b[3]):
                p0 = m[0, 0] * i + m[0, 1] * j + m[0, 3]
                q0 = m[1, 0] * i + m[1, 1] * j + m[1, 3]
                t0 = m[2, 0] * i + m[2, 1] * j + m[2, 3]
                ka, kb = _span(b[4], b[5], p0, m[0, 2], -pm, pm)
                ka, kb = _span(ka, kb, q0, m[1, 2], -qm, qm)
                ka, kb = _span(ka, kb, t0, m[2, 2], -em, blob[0] + em)
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
                        n0 = smooth_noise(tile, x / 3.0, y / 3.0, z / 6.0)
                        # Streaks of fat: only the dark tail of the noise.
                        g += amp * (n0 if n0 > -0.35 else 4.0 * (n0 + 0.35) - 0.35)
                    c = min(c, 1.0)
                    value[i, j, k] = value[i, j, k] * (1.0 - c) + g * c
                    if d < 0.0:
                        tissue[i, j, k] = t


@njit(cache=True)
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
        upo, lowo = offsets[pairs[n, 0]], offsets[pairs[n, 1]]
        lo, hi = limits[n, 0], limits[n, 1]
        for i in range(b[0], b[1]):
            for j in range(b[2], b[3]):
                ka, kb = b[4], b[5]
                for axis in range(3):
                    start = mu[axis, 0] * i + mu[axis, 1] * j + mu[axis, 3]
                    ka, kb = _span(ka, kb, start, mu[axis, 2], lo[axis], hi[axis])
                for k in range(ka, kb):
                    xu = mu[0, 0] * i + mu[0, 1] * j + mu[0, 2] * k + mu[0, 3]
                    yu = mu[1, 0] * i + mu[1, 1] * j + mu[1, 2] * k + mu[1, 3]
                    zu = mu[2, 0] * i + mu[2, 1] * j + mu[2, 2] * k + mu[2, 3]
                    bottom, top = body_surfaces(xu, yu, up, upo[0], upo[1])
                    over = bottom - zu  # positive below the upper vertebra
                    if over < -width_mm:
                        continue
                    xl = ml[0, 0] * i + ml[0, 1] * j + ml[0, 2] * k + ml[0, 3]
                    yl = ml[1, 0] * i + ml[1, 1] * j + ml[1, 2] * k + ml[1, 3]
                    zl = ml[2, 0] * i + ml[2, 1] * j + ml[2, 2] * k + ml[2, 3]
                    bottom, top = body_surfaces(xl, yl, low, lowo[0], lowo[1])
                    under = zl - top
                    if under < -width_mm or over + under < 0.05:
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


@njit(cache=True)
def compose_bone(
    value: Numbers,
    tissue: Numbers,
    bone: Numbers,
    best: Numbers,
    second: Numbers,
    owner: Numbers,
    part: Numbers,
    labels: Numbers,
    trabecular: Numbers,
    cortical: Numbers,
    thickness: Numbers,
    part_cortex: Numbers,
    gap_mm: float,
    front: Numbers,
    gradient: float,
    texture: Numbers,
    shift: Numbers,
    texture_gain: float,
    spacing: Numbers,
    vertebrae: Numbers,
    subregions: Numbers,
) -> None:
    """Mix bone into the values and write its labels.

    `labels` of each bone: its number in the vertebra mask, 0 for bones that are none. `thickness` (N, 2) and `cortical`
    (N, 2): of the body and of the rest; `part_cortex` (64,): thickness of each sub-region's cortex as a share of that.
    `front` (N, 4): row from voxel indices to the own frame's y as a share of half the body's depth, for the fall of
    density towards the front. `shift` (3,): cell of the periodic `texture` at voxel (0, 0, 0), none negative.
    """
    ni, nj, nk = value.shape
    n = texture.shape[0]
    mean_mm = (spacing[0] + spacing[1] + spacing[2]) / 3.0
    even = max(spacing[0], max(spacing[1], spacing[2])) < 1.3 * min(spacing[0], min(spacing[1], spacing[2]))
    reach = 0.6 * (spacing[0] + spacing[1] + spacing[2])
    for i in range(ni):
        for j in range(nj):
            for k in range(nk):
                d = float(best[i, j, k])
                if d > reach:
                    continue
                p = part[i, j, k]
                in_body = p in (_BODY, _BODY_RIM)
                if not in_body:  # a disc parts bodies, however thin it is
                    d = max(d, (d - second[i, j, k] + gap_mm) * 0.5)
                    if d > reach:
                        continue
                o = owner[i, j, k]
                width = mean_mm
                if not even:
                    # How wide the voxel is across the surface: the box projected on the normal.
                    gi = gj = gk = 0.0
                    if ni > 1:
                        a, b = max(i - 1, 0), min(i + 1, ni - 1)
                        gi = abs(best[b, j, k] - best[a, j, k]) / ((b - a) * spacing[0])
                    if nj > 1:
                        a, b = max(j - 1, 0), min(j + 1, nj - 1)
                        gj = abs(best[i, b, k] - best[i, a, k]) / ((b - a) * spacing[1])
                    if nk > 1:
                        a, b = max(k - 1, 0), min(k + 1, nk - 1)
                        gk = abs(best[i, j, b] - best[i, j, a]) / ((b - a) * spacing[2])
                    size = math.sqrt(gi * gi + gj * gj + gk * gk)
                    if size > 1e-3 and size < 50.0:
                        width = (gi * spacing[0] + gj * spacing[1] + gk * spacing[2]) / size
                        width = max(width, 0.5 * mean_mm)
                outer = min(max(0.5 - d / width, 0.0), 1.0)
                if outer > 0.0:
                    thick = (thickness[o, 0] if in_body else thickness[o, 1]) * part_cortex[p]
                    shell = cortical[o, 0] if in_body else cortical[o, 1]
                    inner = min(max(0.5 - (d + thick) / width, 0.0), 1.0)
                    g = trabecular[o, 0] if in_body else trabecular[o, 1]
                    if inner > 0.0:
                        if in_body:
                            y = front[o, 0] * i + front[o, 1] * j + front[o, 2] * k + front[o, 3]
                            g *= 1.0 - gradient * min(max(y, -1.0), 1.0)
                        g += (
                            texture[(i + shift[0]) % n, (j + shift[1]) % n, (k + shift[2]) % n]
                            * texture_gain
                            * (0.35 + 0.65 * min(g / 150.0, 1.6))
                        )
                    value[i, j, k] = value[i, j, k] * (1.0 - outer) + shell * (outer - inner) + g * inner
                    bone[i, j, k] = np.uint8(255.0 * outer + 0.5)
                if d < 0.0:
                    tissue[i, j, k] = 13 if d < -thickness[o, 0] else 12
                    vertebrae[i, j, k] = labels[o]
                    if labels[o] > 0:
                        subregions[i, j, k] = part[i, j, k]


@njit(cache=True)
def mark_blobs(mask: Numbers, numbers: Numbers, blob_pull: Numbers, blob_box: Numbers, label: int) -> None:
    """Write a label wherever a voxel's centre lies in one of the blobs."""
    for n in range(numbers.shape[0]):
        m, b = blob_pull[n], blob_box[n]
        pm, qm, em = blob_reach(numbers[n], 0.0)
        for i in range(b[0], b[1]):
            for j in range(b[2], b[3]):
                ka, kb = _span(b[4], b[5], m[0, 0] * i + m[0, 1] * j + m[0, 3], m[0, 2], -pm, pm)
                ka, kb = _span(ka, kb, m[1, 0] * i + m[1, 1] * j + m[1, 3], m[1, 2], -qm, qm)
                ka, kb = _span(ka, kb, m[2, 0] * i + m[2, 1] * j + m[2, 3], m[2, 2], -em, numbers[n][0] + em)
                for k in range(ka, kb):
                    level = blob_level(
                        m[0, 0] * i + m[0, 1] * j + m[0, 2] * k + m[0, 3],
                        m[1, 0] * i + m[1, 1] * j + m[1, 2] * k + m[1, 3],
                        m[2, 0] * i + m[2, 1] * j + m[2, 2] * k + m[2, 3],
                        numbers[n],
                    )
                    if level < 1.0:
                        mask[i, j, k] = label


@njit(cache=True)
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
                        if owner[i, j, k] != host or (part[i, j, k] != _BODY and part[i, j, k] != _BODY_RIM):
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


@njit(cache=True)
def clear_where_bone(discs: Numbers, canal: Numbers, bone: Numbers) -> None:
    """Discs and canal end where bone covers more than half of a voxel; a disc takes from the canal."""
    for i in range(discs.shape[0]):
        for j in range(discs.shape[1]):
            for k in range(discs.shape[2]):
                if bone[i, j, k] > 127:
                    discs[i, j, k] = 0
                    canal[i, j, k] = 0
                elif discs[i, j, k] > 0:
                    canal[i, j, k] = 0
