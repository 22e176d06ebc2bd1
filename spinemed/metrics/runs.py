"""Label volumes as runs: one reading of a volume gives its runs, borders, sizes, centroid sums and components.

Convention: a volume is C-contiguous uint8 (n0, n1, n2), 0 is background, the last axis is the fast one. A run is a
maximal stretch of one label along the last axis, held as (row, start, stop, label) with row = i0·n1 + i1 and stop
excluded; runs are in memory order. A border voxel has at least one of its 6 neighbours outside its label, and outside
the volume counts as background. Components are joined over 26 neighbours.

Trap: numba compiles once per argument type. Callers pass read-only arrays (`setflags(write=False)`) always, so that a
read-only and a writable volume do not cost two compilations.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import njit

__all__ = ["border_points", "joint_counts", "read_runs", "run_components"]


@njit(cache=True, nogil=True)
def _next_foreground(flat: NDArray[np.uint8], words: NDArray[np.uint64], p: int) -> int:
    """First position at or after `p` that is not background; the size if there is none."""
    n = flat.size
    while p < n and (p & 7) != 0:
        if flat[p] != 0:
            return p
        p += 1
    if p >= n:
        return n
    w = p >> 3
    last = words.size
    while w + 4 <= last and (words[w] | words[w + 1] | words[w + 2] | words[w + 3]) == 0:
        w += 4
    while w < last and words[w] == 0:
        w += 1
    p = w << 3
    while p < n and flat[p] == 0:
        p += 1
    return p


@njit(cache=True, nogil=True)
def _grown(rows: NDArray[np.int32]) -> NDArray[np.int32]:
    larger = np.empty((2 * rows.shape[0], rows.shape[1]), np.int32)
    larger[: rows.shape[0]] = rows
    return larger


@njit(cache=True, nogil=True)
def read_runs(
    flat: NDArray[np.uint8], words: NDArray[np.uint64], n0: int, n1: int, n2: int, bits: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Read a volume once.

    Args:
        flat: All voxels in memory order.
        words: The same bytes, eight at a time, as far as whole words go.
        n0, n1, n2: Shape.
        bits: One bit per voxel, all 0; set where a voxel is a border voxel.

    Returns:
        Runs (r, 4): row, start, stop, label; border voxels (b, 2): index of the run, position along the last axis.
    """
    runs = np.empty((4096, 4), np.int32)
    border = np.empty((16384, 2), np.int32)
    run_count = 0
    border_count = 0
    n = flat.size
    plane = n1 * n2
    p = _next_foreground(flat, words, 0)
    while p < n:
        row = p // n2
        base = row * n2
        start = p - base
        label = flat[p]
        stop = start + 1
        while stop < n2 and flat[base + stop] == label:
            stop += 1
        if run_count == runs.shape[0]:
            runs = _grown(runs)
        runs[run_count, 0] = row
        runs[run_count, 1] = start
        runs[run_count, 2] = stop
        runs[run_count, 3] = label
        while border_count + stop - start > border.shape[0]:
            border = _grown(border)
        i0 = row // n1
        i1 = row - i0 * n1
        rim = i0 == 0 or i0 == n0 - 1 or i1 == 0 or i1 == n1 - 1
        for x in range(start, stop):
            at = base + x
            if (
                rim
                or x == start
                or x == stop - 1
                or flat[at - n2] != label
                or flat[at + n2] != label
                or flat[at - plane] != label
                or flat[at + plane] != label
            ):
                border[border_count, 0] = run_count
                border[border_count, 1] = x
                border_count += 1
                bits[at >> 3] |= np.uint8(1 << (at & 7))
        run_count += 1
        p = _next_foreground(flat, words, base + stop)
    return runs[:run_count], border[:border_count]


@njit(cache=True, nogil=True)
def _root(parent: NDArray[np.int32], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def run_components(
    runs: NDArray[np.int32], n0: int, n1: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Connected components (26 neighbours, same label) over runs, and the sums per label.

    Returns:
        Component of each run (r,), named by its first run; counts (256, 4): voxels, components, voxels of the largest
        component, its name (the first in memory order of several equally large ones); index sums (256, 3).
    """
    count = runs.shape[0]
    first = np.zeros(n0 * n1 + 1, np.int32)
    for i in range(count):
        first[runs[i, 0] + 1] += 1
    for row in range(n0 * n1):
        first[row + 1] += first[row]
    parent = np.arange(count).astype(np.int32)
    low = 0
    while low < count:
        row = runs[low, 0]
        high = first[row + 1]
        i0 = row // n1
        i1 = row - i0 * n1
        for d0, d1 in ((-1, -1), (-1, 0), (-1, 1), (0, -1)):
            if i0 + d0 < 0 or i1 + d1 < 0 or i1 + d1 >= n1:
                continue
            other = row + d0 * n1 + d1
            j = first[other]
            end = first[other + 1]
            for i in range(low, high):
                while j < end and runs[j, 2] < runs[i, 1]:
                    j += 1
                k = j
                while k < end and runs[k, 1] <= runs[i, 2]:
                    if runs[k, 3] == runs[i, 3]:
                        a = _root(parent, i)
                        b = _root(parent, k)
                        if a < b:
                            parent[b] = a
                        elif b < a:
                            parent[a] = b
                    k += 1
        low = high
    sizes = np.zeros(count, np.int64)
    counts = np.zeros((256, 4), np.int64)
    sums = np.zeros((256, 3), np.int64)
    for i in range(count):
        parent[i] = _root(parent, i)
        row = runs[i, 0]
        start = np.int64(runs[i, 1])
        stop = np.int64(runs[i, 2])
        label = runs[i, 3]
        length = stop - start
        sizes[parent[i]] += length
        counts[label, 0] += length
        sums[label, 0] += length * (row // n1)
        sums[label, 1] += length * (row % n1)
        sums[label, 2] += (start + stop - 1) * length // 2
    for i in range(count):
        if parent[i] == i:
            label = runs[i, 3]
            counts[label, 1] += 1
            if sizes[i] > counts[label, 2]:
                counts[label, 2] = sizes[i]
                counts[label, 3] = i
    return parent, counts, sums


@njit(cache=True, nogil=True)
def joint_counts(a: NDArray[np.int32], b: NDArray[np.int32]) -> NDArray[np.int64]:
    """Voxels (256, 256) that carry label i in the runs `a` and label j in the runs `b`; background left at 0."""
    joint = np.zeros((256, 256), np.int64)
    i = 0
    j = 0
    while i < a.shape[0] and j < b.shape[0]:
        if a[i, 0] < b[j, 0]:
            i += 1
        elif b[j, 0] < a[i, 0]:
            j += 1
        else:
            shared = min(a[i, 2], b[j, 2]) - max(a[i, 1], b[j, 1])
            if shared > 0:
                joint[a[i, 3], b[j, 3]] += shared
            if a[i, 2] < b[j, 2]:
                i += 1
            else:
                j += 1
    return joint


@njit(cache=True, nogil=True)
def border_points(
    runs: NDArray[np.int32],
    border: NDArray[np.int32],
    component: NDArray[np.int32],
    counts: NDArray[np.int64],
    n1: int,
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]:
    """Border voxels sorted by label, in memory order within a label.

    Returns:
        Indices (b, 3); 1 where the voxel belongs to its label's largest component (b,); start of each label (257,).
    """
    first = np.zeros(257, np.int64)
    for i in range(border.shape[0]):
        first[runs[border[i, 0], 3] + 1] += 1
    for label in range(256):
        first[label + 1] += first[label]
    place = first[:256].copy()
    points = np.empty((border.shape[0], 3), np.int32)
    largest = np.empty(border.shape[0], np.uint8)
    for i in range(border.shape[0]):
        run = border[i, 0]
        row = runs[run, 0]
        label = runs[run, 3]
        at = place[label]
        place[label] += 1
        i0 = row // n1
        points[at, 0] = i0
        points[at, 1] = row - i0 * n1
        points[at, 2] = border[i, 1]
        largest[at] = 1 if component[run] == counts[label, 3] else 0
    return points, largest, first
