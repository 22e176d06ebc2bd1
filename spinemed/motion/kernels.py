"""Compiled loops of forward kinematics and its derivative.

Convention: bodies are numbered parents first; freedoms are numbered body by body, in the order in which they turn it;
`slide` marks a translation. Lengths in mm, angles in rad, float64 throughout, so every kernel has one specialisation.
The trap: a freedom's axis is returned on world axes at its place in the sequence, which is what the Jacobian needs.
"""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["forward_kernel", "jacobian_kernel", "points_kernel"]


@nb.njit(cache=True, nogil=True)
def forward_kernel(q, parent, offset, rest, first, count, axis, sign, slide, origins, rotations, axes):  # type: ignore[no-untyped-def]
    """Fill origins [T, B, 3], rotations [T, B, 3, 3] and axes [T, n, 3] for poses q [T, n]."""
    frames = q.shape[0]
    bodies = parent.shape[0]
    r = np.empty((3, 3))
    for t in range(frames):
        for b in range(bodies):
            p = parent[b]
            if p < 0:
                for i in range(3):
                    origins[t, b, i] = offset[b, i]
                    for j in range(3):
                        r[i, j] = rest[b, i, j]
            else:
                for i in range(3):
                    total = origins[t, p, i]
                    for k in range(3):
                        total += rotations[t, p, i, k] * offset[b, k]
                    origins[t, b, i] = total
                    for j in range(3):
                        total = 0.0
                        for k in range(3):
                            total += rotations[t, p, i, k] * rest[b, k, j]
                        r[i, j] = total
            for d in range(first[b], first[b] + count[b]):
                a = axis[d]
                for i in range(3):
                    axes[t, d, i] = sign[d] * r[i, a]
                if slide[d]:
                    for i in range(3):
                        origins[t, b, i] += axes[t, d, i] * q[t, d]
                else:
                    angle = sign[d] * q[t, d]
                    c = np.cos(angle)
                    s = np.sin(angle)
                    u = (a + 1) % 3
                    v = (a + 2) % 3
                    for i in range(3):
                        ru = r[i, u]
                        rv = r[i, v]
                        r[i, u] = c * ru + s * rv
                        r[i, v] = c * rv - s * ru
            for i in range(3):
                for j in range(3):
                    rotations[t, b, i, j] = r[i, j]


@nb.njit(cache=True, nogil=True)
def points_kernel(origins, rotations, body, local, points):  # type: ignore[no-untyped-def]
    """Fill points [T, K, 3] fixed at local [K, 3] in bodies [K]."""
    for t in range(points.shape[0]):
        for k in range(body.shape[0]):
            b = body[k]
            for i in range(3):
                points[t, k, i] = (
                    origins[t, b, i]
                    + rotations[t, b, i, 0] * local[k, 0]
                    + rotations[t, b, i, 1] * local[k, 1]
                    + rotations[t, b, i, 2] * local[k, 2]
                )


@nb.njit(cache=True, nogil=True)
def jacobian_kernel(origins, axes, parent, first, count, slide, body, points, jacobian):  # type: ignore[no-untyped-def]
    """Fill jacobian [T, K, 3, n], zero on entry: a x (x - o) for a rotation, a for a translation."""
    for t in range(points.shape[0]):
        for k in range(body.shape[0]):
            b = body[k]
            while b >= 0:
                x = points[t, k, 0] - origins[t, b, 0]
                y = points[t, k, 1] - origins[t, b, 1]
                z = points[t, k, 2] - origins[t, b, 2]
                for d in range(first[b], first[b] + count[b]):
                    ax = axes[t, d, 0]
                    ay = axes[t, d, 1]
                    az = axes[t, d, 2]
                    if slide[d]:
                        jacobian[t, k, 0, d] = ax
                        jacobian[t, k, 1, d] = ay
                        jacobian[t, k, 2, d] = az
                    else:
                        jacobian[t, k, 0, d] = ay * z - az * y
                        jacobian[t, k, 1, d] = az * x - ax * z
                        jacobian[t, k, 2, d] = ax * y - ay * x
                b = parent[b]
