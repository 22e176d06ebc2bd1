"""Compiled loops that put bones on a voxel grid: which bone owns a voxel, and what part of it a cortex fills.

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
from numpy.typing import NDArray

from spinemed.compiled import fresh, njit
from spinemed.phantom.shape.surfaces import (
    arch_distance,
    arch_edge,
    blob_distance,
    blob_level,
    blob_limit,
    blob_reach,
    body_distance,
    body_norms,
    canal_distance,
)

__all__ = ["BODY", "BODY_RIM", "FAR_MM", "clear_where_bone", "compose_bone", "raster_bone", "span"]

FAR_MM = 1000.0
BODY, BODY_RIM, _RIM_MM = 50, 49, 2.5


Numbers = NDArray[Any]

# What these loops call is built into them: they are compiled again when it changes.
_fast = fresh(njit(cache=True), "spinemed.phantom.shape.surfaces")


@njit(cache=True, inline="always")
def span(first: int, last: int, start: float, step: float, low: float, high: float) -> tuple[int, int]:
    """The part of [first, last) in which `start + step * k` can lie in [low, high]; a voxel too many at each end."""
    if abs(step) < 1e-9:
        return (first, last) if low <= start <= high else (first, first)
    a, b = (low - start) / step, (high - start) / step
    if a > b:
        a, b = b, a
    return max(first, math.floor(max(a, -1e9))), min(last, math.ceil(min(b, 1e9)) + 1)


@_fast
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
    # Of each line of voxels the part that something reached: of a bone's box most is empty.
    start, stop = np.full((ni, nj), k1, dtype=np.int64), np.full((ni, nj), k0, dtype=np.int64)
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
                ka, kb = span(max(b[4], k0), min(b[5], k1), p0, m[0, 2], -pm, pm)
                ka, kb = span(ka, kb, q0, m[1, 2], -qm, qm)
                ka, kb = span(ka, kb, t0, m[2, 2], -em, blob[0] + em)
                if kb > ka:
                    start[i - i0, j - j0] = min(start[i - i0, j - j0], ka)
                    stop[i - i0, j - j0] = max(stop[i - i0, j - j0], kb)
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
                ka, kb = span(k0, k1, x0, pull[0, 2], -side, side)
                ka, kb = span(ka, kb, y0, pull[1, 2], y_low, y_high)
                ka, kb = span(ka, kb, z0, pull[2, 2], lowest, highest)
                if kb > ka:
                    start[i - i0, j - j0] = min(start[i - i0, j - j0], ka)
                    stop[i - i0, j - j0] = max(stop[i - i0, j - j0], kb)
                for k in range(start[i - i0, j - j0], stop[i - i0, j - j0]):
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
                        # In the middle of the canal its wall alone is farther away than counts.
                        d = arch_distance(x, y, z, shell, wall) if -wall < skip else skip
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
    top_offsets, bottom_offsets = offsets[0], offsets[1]
    for i in range(i0, i1):
        for j in range(j0, j1):
            x0 = pull[0, 0] * i + pull[0, 1] * j + pull[0, 3]
            y0 = pull[1, 0] * i + pull[1, 1] * j + pull[1, 3]
            z0 = pull[2, 0] * i + pull[2, 1] * j + pull[2, 3]
            first, last = start[i - i0, j - j0], stop[i - i0, j - j0]
            if has_body:
                ka, kb = span(k0, k1, x0, pull[0, 2], -wide, wide)
                ka, kb = span(ka, kb, y0, pull[1, 2], -deep, deep)
                ka, kb = span(ka, kb, z0, pull[2, 2], floor, ceiling)
                if kb > ka:
                    first, last = min(first, ka), max(last, kb)
            for k in range(first, last):
                d = float(arch[i - i0, j - j0, k - k0])
                label = which[i - i0, j - j0, k - k0]
                if has_body:
                    x, y, z = x0 + pull[0, 2] * k, y0 + pull[1, 2] * k, z0 + pull[2, 2] * k
                    # Only near the body: the box of the bone is much larger.
                    if abs(x) < wide and abs(y) < deep and z > floor and z < ceiling:
                        e = body_distance(x, y, z, body, top_offsets, bottom_offsets, norms)
                        if e <= 0.0 or e < d:
                            label = np.uint8(BODY if e < -_RIM_MM else BODY_RIM)
                        d = min(d, e)
                if d < best[i, j, k]:
                    second[i, j, k] = best[i, j, k]
                    best[i, j, k] = d
                    owner[i, j, k] = bone
                    part[i, j, k] = label
                elif d < second[i, j, k]:
                    second[i, j, k] = d


@_fast
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
                in_body = p in (BODY, BODY_RIM)
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


@_fast
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
