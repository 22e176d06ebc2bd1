"""Kernels of the motion metrics: errors of all frames of a clip after each kind of alignment, in one reading.

Convention: arrays of float64, [T, K, 3]; a point counts in a frame if it is finite in both arrays; what cannot be
measured is NaN in the result.

Similarity alignment is Horn's closed form by unit quaternions (J. Opt. Soc. Am. A 4:629, 1987): the largest eigenvalue
of a symmetric 4 x 4 matrix is the best trace, its eigenvector the best proper rotation, so that a mirrored body never
fits. The scale is the one that minimises the squared distances from prediction to reference.

Trap: with fewer than three common points every pose "fits"; such frames are not aligned but NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import njit

__all__ = ["pose_kernel"]

_SWEEPS = 30


@njit(cache=True)
def _largest_eigenvector(a: NDArray[np.float64], v: NDArray[np.float64]) -> int:
    """Jacobi's rotations on a symmetric 4 x 4 matrix in place; column of `v` that belongs to the largest eigenvalue."""
    for i in range(4):
        for j in range(4):
            v[i, j] = 1.0 if i == j else 0.0
    size = 0.0
    for i in range(4):
        for j in range(4):
            size += a[i, j] * a[i, j]
    for _ in range(_SWEEPS):
        off = 0.0
        for i in range(3):
            for j in range(i + 1, 4):
                off += a[i, j] * a[i, j]
        if off <= 1e-32 * size:
            break
        for p in range(3):
            for q in range(p + 1, 4):
                if a[p, q] == 0.0:
                    continue
                theta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
                t = 1.0 / (abs(theta) + np.sqrt(theta * theta + 1.0))
                if theta < 0.0:
                    t = -t
                c = 1.0 / np.sqrt(t * t + 1.0)
                s = t * c
                for k in range(4):
                    left, right = a[k, p], a[k, q]
                    a[k, p], a[k, q] = c * left - s * right, s * left + c * right
                for k in range(4):
                    left, right = a[p, k], a[q, k]
                    a[p, k], a[q, k] = c * left - s * right, s * left + c * right
                for k in range(4):
                    left, right = v[k, p], v[k, q]
                    v[k, p], v[k, q] = c * left - s * right, s * left + c * right
    best = 0
    for i in range(1, 4):
        if a[i, i] > a[best, best]:
            best = i
    return best


@njit(cache=True)
def pose_kernel(
    predicted: NDArray[np.float64],
    reference: NDArray[np.float64],
    root: int,
    plain: NDArray[np.float64],
    rooted: NDArray[np.float64],
    scaled: NDArray[np.float64],
    aligned: NDArray[np.float64],
) -> None:
    """Distances [T, K] as given, after moving the root, after root and scale, after similarity; written in place."""
    frames, points, _ = predicted.shape
    both = np.empty(points, dtype=np.bool_)
    n = np.empty((4, 4))
    v = np.empty((4, 4))
    h = np.empty((3, 3))
    mean_p = np.empty(3)
    mean_r = np.empty(3)
    turn = np.empty((3, 3))
    for t in range(frames):
        count = 0
        for k in range(points):
            seen = True
            square = 0.0
            for d in range(3):
                step = predicted[t, k, d] - reference[t, k, d]
                if not np.isfinite(step):
                    seen = False
                square += step * step
            both[k] = seen
            plain[t, k] = np.sqrt(square) if seen else np.nan
            rooted[t, k] = np.nan
            scaled[t, k] = np.nan
            aligned[t, k] = np.nan
            if seen:
                count += 1
        if root >= 0 and both[root]:
            product = 0.0
            square_p = 0.0
            for k in range(points):
                if not both[k]:
                    continue
                square = 0.0
                for d in range(3):
                    p = predicted[t, k, d] - predicted[t, root, d]
                    r = reference[t, k, d] - reference[t, root, d]
                    square += (p - r) * (p - r)
                    product += p * r
                    square_p += p * p
                rooted[t, k] = np.sqrt(square)
            if square_p > 0.0:
                factor = product / square_p
                for k in range(points):
                    if not both[k]:
                        continue
                    square = 0.0
                    for d in range(3):
                        step = factor * (predicted[t, k, d] - predicted[t, root, d]) - (
                            reference[t, k, d] - reference[t, root, d]
                        )
                        square += step * step
                    scaled[t, k] = np.sqrt(square)
        if count < 3:
            continue
        for d in range(3):
            mean_p[d] = 0.0
            mean_r[d] = 0.0
            for k in range(points):
                if both[k]:
                    mean_p[d] += predicted[t, k, d]
                    mean_r[d] += reference[t, k, d]
            mean_p[d] /= count
            mean_r[d] /= count
        square_p = 0.0
        for i in range(3):
            for j in range(3):
                h[i, j] = 0.0
        for k in range(points):
            if both[k]:
                for i in range(3):
                    p = predicted[t, k, i] - mean_p[i]
                    square_p += p * p
                    for j in range(3):
                        h[i, j] += p * (reference[t, k, j] - mean_r[j])
        if square_p <= 0.0:
            continue
        # Horn's matrix of the sums of products h[i, j] = sum p_i r_j.
        n[0, 0] = h[0, 0] + h[1, 1] + h[2, 2]
        n[0, 1] = h[1, 2] - h[2, 1]
        n[0, 2] = h[2, 0] - h[0, 2]
        n[0, 3] = h[0, 1] - h[1, 0]
        n[1, 1] = h[0, 0] - h[1, 1] - h[2, 2]
        n[1, 2] = h[0, 1] + h[1, 0]
        n[1, 3] = h[2, 0] + h[0, 2]
        n[2, 2] = -h[0, 0] + h[1, 1] - h[2, 2]
        n[2, 3] = h[1, 2] + h[2, 1]
        n[3, 3] = -h[0, 0] - h[1, 1] + h[2, 2]
        for i in range(4):
            for j in range(i):
                n[i, j] = n[j, i]
        best = _largest_eigenvector(n, v)
        w, x, y, z = v[0, best], v[1, best], v[2, best], v[3, best]
        turn[0, 0] = w * w + x * x - y * y - z * z
        turn[0, 1] = 2.0 * (x * y - w * z)
        turn[0, 2] = 2.0 * (x * z + w * y)
        turn[1, 0] = 2.0 * (x * y + w * z)
        turn[1, 1] = w * w - x * x + y * y - z * z
        turn[1, 2] = 2.0 * (y * z - w * x)
        turn[2, 0] = 2.0 * (x * z - w * y)
        turn[2, 1] = 2.0 * (y * z + w * x)
        turn[2, 2] = w * w - x * x - y * y + z * z
        trace = 0.0
        for i in range(3):
            for j in range(3):
                trace += turn[i, j] * h[j, i]
        factor = trace / square_p
        for k in range(points):
            if not both[k]:
                continue
            square = 0.0
            for i in range(3):
                moved = 0.0
                for j in range(3):
                    moved += turn[i, j] * (predicted[t, k, j] - mean_p[j])
                step = factor * moved - (reference[t, k, i] - mean_r[i])
                square += step * step
            aligned[t, k] = np.sqrt(square)
