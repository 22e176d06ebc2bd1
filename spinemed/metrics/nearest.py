"""Exact distances from border voxels to the nearest border voxel of another set.

Convention: points are integer voxel indices (n, 3); distances are millimetres between voxel centres,
sqrt((Δ0·s0)² + (Δ1·s1)² + (Δ2·s2)²). Near pairs are found by probing a bitmap at offsets sorted by length, so the first
hit is the nearest; the rest by cells with bounding boxes. Neighbouring queries help: the distance to a set cannot
change by more than the step between two queries, so offsets nearer than that are skipped, and the point found last
bounds the next search. Every shortcut is a proven bound: nothing is approximated.

Trap: the bitmap says "border of some label", so a hit must be checked against the label volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import njit

__all__ = ["distances_to_border", "largest_distance", "near_offsets"]

# Probing more offsets than this is slower than the search by cells.
_PROBES = 1024
_CELL_MM = 9.0
# Offsets probed before earlier queries are asked, and how many of these.
_FIRST_PROBES = 96
_MEMORY = 4
# Far below any distance between voxels, far above the rounding of a sum of three squares.
_SLACK_MM = 1e-9


def near_offsets(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], float]:
    """All voxel offsets within a radius that holds about a thousand, sorted by length.

    Returns:
        Offsets (k, 3); their lengths in mm (k,); for each hundredth of the radius the first offset at least so long
        (101,); the radius in mm.
    """
    s = np.asarray(spacing_mm)
    radius = float((_PROBES * s.prod() * 3 / (4 * np.pi)) ** (1 / 3))
    # A set within these sides holds no pair further apart along an axis.
    reach = [min(int(radius / side), n - 1) for side, n in zip(spacing_mm, shape, strict=True)]
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = np.sqrt(((grid * s) ** 2).sum(axis=1))
    within = lengths <= radius
    grid, lengths = grid[within], lengths[within]
    # Very flat voxels put many more into the radius, all in one plane; what is cut off is left to the cells.
    order = np.argsort(lengths, kind="stable")[: 4 * _PROBES]
    lengths = lengths[order]
    if within.sum() > order.size:
        radius = float(lengths[-1])
    starts = np.searchsorted(lengths, np.arange(101) * (radius / 100), side="left")
    return grid[order].astype(np.int32), lengths, starts.astype(np.int32), radius


@njit(cache=True, nogil=True)
def _cells(
    points: NDArray[np.int32], s0: float, s1: float, s2: float
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.float64]]:
    """Points sorted by cell, the start of each cell that holds any, and its tight bounding box in mm (low, high)."""
    low = points[0].copy()
    high = points[0].copy()
    for i in range(points.shape[0]):
        for axis in range(3):
            low[axis] = min(low[axis], points[i, axis])
            high[axis] = max(high[axis], points[i, axis])
    side = np.empty(3, np.int64)
    side[0] = max(1, int(_CELL_MM / s0))
    side[1] = max(1, int(_CELL_MM / s1))
    side[2] = max(1, int(_CELL_MM / s2))
    m1 = (high[1] - low[1]) // side[1] + 1
    m2 = (high[2] - low[2]) // side[2] + 1
    total = ((high[0] - low[0]) // side[0] + 1) * m1 * m2
    place = np.zeros(total + 1, np.int64)
    key = np.empty(points.shape[0], np.int64)
    for i in range(points.shape[0]):
        c0 = (points[i, 0] - low[0]) // side[0]
        c1 = (points[i, 1] - low[1]) // side[1]
        c2 = (points[i, 2] - low[2]) // side[2]
        key[i] = (c0 * m1 + c1) * m2 + c2
        place[key[i] + 1] += 1
    used = 0
    for c in range(total):
        if place[c + 1] > 0:
            used += 1
        place[c + 1] += place[c]
    first = np.empty(used + 1, np.int64)
    k = 0
    for c in range(total):
        if place[c + 1] > place[c]:
            first[k] = place[c]
            k += 1
    first[used] = points.shape[0]
    ordered = np.empty_like(points)
    for i in range(points.shape[0]):
        at = place[key[i]]
        place[key[i]] += 1
        ordered[at, 0] = points[i, 0]
        ordered[at, 1] = points[i, 1]
        ordered[at, 2] = points[i, 2]
    spacing = (s0, s1, s2)
    boxes = np.empty((used, 6), np.float64)
    for c in range(used):
        for axis in range(3):
            least = ordered[first[c], axis]
            most = least
            for i in range(first[c], first[c + 1]):
                least = min(least, ordered[i, axis])
                most = max(most, ordered[i, axis])
            boxes[c, axis] = least * spacing[axis]
            boxes[c, 3 + axis] = most * spacing[axis]
    return ordered, first, boxes


@njit(cache=True, nogil=True)
def _gap2(boxes: NDArray[np.float64], c: int, x0: float, x1: float, x2: float) -> float:
    """Squared distance from a point in mm to a cell's box; 0 inside."""
    d0 = max(boxes[c, 0] - x0, x0 - boxes[c, 3], 0.0)
    d1 = max(boxes[c, 1] - x1, x1 - boxes[c, 4], 0.0)
    d2 = max(boxes[c, 2] - x2, x2 - boxes[c, 5], 0.0)
    squared: float = d0 * d0 + d1 * d1 + d2 * d2
    return squared


@njit(cache=True, nogil=True)
def _length2(points: NDArray[np.int32], j: int, q0: int, q1: int, q2: int, s0: float, s1: float, s2: float) -> float:
    d0 = (points[j, 0] - q0) * s0
    d1 = (points[j, 1] - q1) * s1
    d2 = (points[j, 2] - q2) * s2
    squared: float = d0 * d0 + d1 * d1 + d2 * d2
    return squared


@njit(cache=True, nogil=True)
def _search(
    points: NDArray[np.int32],
    first: NDArray[np.int64],
    boxes: NDArray[np.float64],
    q0: int,
    q1: int,
    q2: int,
    s0: float,
    s1: float,
    s2: float,
    known: int,
    enough2: float,
) -> tuple[float, int]:
    """Squared distance to the nearest point and its index, starting from the point `known` (-1: none).

    The search ends early once a point within sqrt(`enough2`) is found; the result is then only an upper bound.
    """
    x0 = q0 * s0
    x1 = q1 * s1
    x2 = q2 * s2
    used = boxes.shape[0]
    best = np.inf
    if known >= 0:
        best = _length2(points, known, q0, q1, q2, s0, s1, s2)
        if best <= enough2:
            return best, known
    if known < 0 or enough2 > 0.0:  # from the nearest box first: it may be enough
        least = np.inf
        start = 0
        for c in range(used):
            gap = _gap2(boxes, c, x0, x1, x2)
            if gap < least:
                least = gap
                start = c
        for j in range(first[start], first[start + 1]):
            length2 = _length2(points, j, q0, q1, q2, s0, s1, s2)
            if length2 < best:
                best = length2
                known = j
        if best <= enough2:
            return best, known
    for c in range(used):
        if _gap2(boxes, c, x0, x1, x2) < best:
            for j in range(first[c], first[c + 1]):
                length2 = _length2(points, j, q0, q1, q2, s0, s1, s2)
                if length2 < best:
                    best = length2
                    known = j
            if best <= enough2:
                return best, known
    return best, known


@njit(cache=True, nogil=True)
def _recent(
    points: NDArray[np.int32],
    found: NDArray[np.int32],
    i: int,
    q0: int,
    q1: int,
    q2: int,
    s0: float,
    s1: float,
    s2: float,
) -> int:
    """Of the points found for the last few queries the nearest to query `i`; -1 if there is none.

    A few, because memory order jumps between the two sides of a vertebra.
    """
    best = np.inf
    known = -1
    for j in range(max(0, i - _MEMORY), i):
        if found[j] >= 0:
            length2 = _length2(points, found[j], q0, q1, q2, s0, s1, s2)
            if length2 < best:
                best = length2
                known = found[j]
    return known


@njit(cache=True, nogil=True)
def distances_to_border(
    queries: NDArray[np.int32],
    targets: NDArray[np.int32],
    label: int,
    flat: NDArray[np.uint8],
    bits: NDArray[np.uint8],
    n0: int,
    n1: int,
    n2: int,
    offsets: NDArray[np.int32],
    lengths: NDArray[np.float64],
    starts: NDArray[np.int32],
    radius: float,
    s0: float,
    s1: float,
    s2: float,
) -> NDArray[np.float64]:
    """Distance in mm from each query voxel to the nearest border voxel of `label` in the other volume.

    Args:
        queries: (q, 3) voxels, best in memory order.
        targets: (t, 3) border voxels of the label in the other volume, t ≥ 1; the same as the bits say.
        label: The label.
        flat: The other volume.
        bits: Its border bitmap (:func:`spinemed.metrics.runs.read_runs`).
        n0, n1, n2: Shape.
        offsets, lengths, starts, radius: From :func:`near_offsets`.
        s0, s1, s2: Voxel sizes in mm.
    """
    count = queries.shape[0]
    result = np.empty(count, np.float64)
    probes = lengths.size
    steps = np.empty(probes, np.int64)
    r0 = 0
    r1 = 0
    r2 = 0
    for k in range(probes):
        steps[k] = (offsets[k, 0] * n1 + offsets[k, 1]) * n2 + offsets[k, 2]
        r0 = max(r0, offsets[k, 0])
        r1 = max(r1, offsets[k, 1])
        r2 = max(r2, offsets[k, 2])
    per_mm = 100.0 / radius
    built = False
    points = targets
    first = np.empty(0, np.int64)
    boxes = np.empty((0, 6), np.float64)
    found = np.full(count, -1, np.int32)
    for i in range(count):
        q0 = queries[i, 0]
        q1 = queries[i, 1]
        q2 = queries[i, 2]
        at = (np.int64(q0) * n1 + q1) * n2 + q2
        inside = r0 <= q0 < n0 - r0 and r1 <= q1 < n1 - r1 and r2 <= q2 < n2 - r2
        k = 0
        end = min(_FIRST_PROBES, probes)
        hit = -1
        while True:
            while k < end:
                if inside or (
                    0 <= q0 + offsets[k, 0] < n0 and 0 <= q1 + offsets[k, 1] < n1 and 0 <= q2 + offsets[k, 2] < n2
                ):
                    there = at + steps[k]
                    if (bits[there >> 3] >> (there & 7)) & 1 != 0 and flat[there] == label:
                        hit = k
                        break
                k += 1
            if hit >= 0 or end == probes:
                break
            end = probes
            at_least = 0.0
            for j in range(max(0, i - _MEMORY), i):
                step = np.sqrt(_length2(queries, j, q0, q1, q2, s0, s1, s2))
                at_least = max(at_least, result[j] - step - _SLACK_MM)
            k = probes if at_least >= radius else max(k, starts[int(at_least * per_mm)])
        if hit >= 0:
            result[i] = lengths[hit]
            continue
        if not built:
            points, first, boxes = _cells(targets, s0, s1, s2)
            built = True
        known = _recent(points, found, i, q0, q1, q2, s0, s1, s2)
        best, known = _search(points, first, boxes, q0, q1, q2, s0, s1, s2, known, -1.0)
        found[i] = known
        result[i] = np.sqrt(best)
    return result


@njit(cache=True, nogil=True)
def largest_distance(
    queries: NDArray[np.int32],
    distances: NDArray[np.float64],
    part: NDArray[np.int32],
    rest: NDArray[np.int32],
    s0: float,
    s1: float,
    s2: float,
) -> float:
    """The largest distance in mm from a query voxel to its nearest voxel of a part of a set (directed Hausdorff).

    The distance to the whole set stands for the one to the part unless the rest is as near; and a query is left as soon
    as it is known not to raise the maximum.

    Args:
        queries: (q, 3) voxels, q ≥ 1.
        distances: (q,) distance in mm of each to the whole set, from :func:`distances_to_border`.
        part: (t, 3) voxels of the part, t ≥ 1.
        rest: (u, 3) voxels of the set that are not of the part, u ≥ 1.
        s0, s1, s2: Voxel sizes in mm.
    """
    count = queries.shape[0]
    result = 0.0
    for i in range(count):
        result = max(result, distances[i])  # a lower bound: a part is never nearer than the whole
    boxes_rest = _cells(rest, s0, s1, s2)[2]
    points, first, boxes = _cells(part, s0, s1, s2)
    many = boxes_rest.shape[0] > boxes.shape[0]  # scattered islands: asking for them costs more than the search
    found = np.full(count, -1, np.int32)
    for i in range(count):
        q0 = queries[i, 0]
        q1 = queries[i, 1]
        q2 = queries[i, 2]
        reach = distances[i] + _SLACK_MM
        near = many
        for c in range(0 if many else boxes_rest.shape[0]):
            if _gap2(boxes_rest, c, q0 * s0, q1 * s1, q2 * s2) <= reach * reach:
                near = True
                break
        if not near:
            continue
        known = _recent(points, found, i, q0, q1, q2, s0, s1, s2)
        best, found[i] = _search(points, first, boxes, q0, q1, q2, s0, s1, s2, known, result * result)
        if best > result * result:
            result = np.sqrt(best)
    return result
