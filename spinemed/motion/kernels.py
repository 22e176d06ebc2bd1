"""Compiled loops of forward kinematics and its derivative.

Convention: bodies are numbered parents first; freedoms are numbered body by body, in the order in which they turn it;
`slide` marks a translation. Lengths in mm, angles in rad, float64 throughout, so every kernel has one specialisation.
Multiply and add may be contracted, so results can differ in the last bit between processors.

The trap: a freedom's axis is returned on world axes at its place in the sequence, which is what the Jacobian needs.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import njit

__all__ = ["forward_kernel", "jacobian_kernel", "place_kernel", "points_kernel", "sines"]

_F = NDArray[np.float64]
_I = NDArray[np.int64]
_B = NDArray[np.bool_]

_fast = njit(cache=True, nogil=True, fastmath={"contract"})

# Cody and Waite's two-part pi/2: the first part has 33 bits, so its product with a small whole number is exact.
_HALF_PI_HEAD = float.fromhex("0x1.921fb544p+0")
_HALF_PI_TAIL = float.fromhex("0x1.0b4611a626331p-34")
_TWO_OVER_PI = 2.0 / np.pi
# Taylor's series are exact to 2e-18 within pi/4 with so many terms.
_SINE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
_COSINE = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(9))


@_fast
def sines(angle: _F, sine: _F, cosine: _F) -> None:
    """Fill sine and cosine of angles [n] in rad, to 4e-16 for some thousand turns; NaN stays NaN.

    No branch and no call, so that compilers take eight at a time: the quadrant is chosen by arithmetic.
    """
    for d in range(angle.shape[0]):
        k = np.rint(angle[d] * _TWO_OVER_PI)
        r = angle[d] - k * _HALF_PI_HEAD - k * _HALF_PI_TAIL
        z = r * r
        s = _SINE[8]
        c = _COSINE[8]
        for i in range(7, -1, -1):
            s = s * z + _SINE[i]
            c = c * z + _COSINE[i]
        s *= r
        odd = k - 2.0 * np.floor(0.5 * k)
        far = np.floor(0.5 * k) - 2.0 * np.floor(0.25 * k)
        other = far + odd - 2.0 * far * odd
        sine[d] = (1.0 - 2.0 * far) * ((1.0 - odd) * s + odd * c)
        cosine[d] = (1.0 - 2.0 * other) * ((1.0 - odd) * c + odd * s)


@_fast
def place_kernel(
    q: _F, parent: _I, offset: _F, rest: _F, first: _I, count: _I, axis: _I, sign: _F, slide: _B, sine: _F, cosine: _F,
    origin: _F, rotation: _F, axes: _F,
) -> None:  # fmt: skip
    """Forward kinematics of one frame: origin [B, 3], rotation [B, 3, 3], axes [n, 3]; sine, cosine [n] are room."""
    sines(q, sine, cosine)
    for b in range(parent.shape[0]):
        p = parent[b]
        m = rest[b]
        if p < 0:
            x, y, z = offset[b, 0], offset[b, 1], offset[b, 2]
            r00, r01, r02 = m[0, 0], m[0, 1], m[0, 2]
            r10, r11, r12 = m[1, 0], m[1, 1], m[1, 2]
            r20, r21, r22 = m[2, 0], m[2, 1], m[2, 2]
        else:
            o = rotation[p]
            o00, o01, o02 = o[0, 0], o[0, 1], o[0, 2]
            o10, o11, o12 = o[1, 0], o[1, 1], o[1, 2]
            o20, o21, o22 = o[2, 0], o[2, 1], o[2, 2]
            x = origin[p, 0] + o00 * offset[b, 0] + o01 * offset[b, 1] + o02 * offset[b, 2]
            y = origin[p, 1] + o10 * offset[b, 0] + o11 * offset[b, 1] + o12 * offset[b, 2]
            z = origin[p, 2] + o20 * offset[b, 0] + o21 * offset[b, 1] + o22 * offset[b, 2]
            m0, m1, m2 = m[0, 0], m[1, 0], m[2, 0]
            r00 = o00 * m0 + o01 * m1 + o02 * m2
            r10 = o10 * m0 + o11 * m1 + o12 * m2
            r20 = o20 * m0 + o21 * m1 + o22 * m2
            m0, m1, m2 = m[0, 1], m[1, 1], m[2, 1]
            r01 = o00 * m0 + o01 * m1 + o02 * m2
            r11 = o10 * m0 + o11 * m1 + o12 * m2
            r21 = o20 * m0 + o21 * m1 + o22 * m2
            m0, m1, m2 = m[0, 2], m[1, 2], m[2, 2]
            r02 = o00 * m0 + o01 * m1 + o02 * m2
            r12 = o10 * m0 + o11 * m1 + o12 * m2
            r22 = o20 * m0 + o21 * m1 + o22 * m2
        for d in range(first[b], first[b] + count[b]):
            f = sign[d]
            c = cosine[d]
            s = f * sine[d]
            # Scalars rather than a matrix, so that a frame stays in registers while its freedoms turn it.
            if axis[d] == 0:
                ax, ay, az = f * r00, f * r10, f * r20
                if not slide[d]:
                    r01, r02 = c * r01 + s * r02, c * r02 - s * r01
                    r11, r12 = c * r11 + s * r12, c * r12 - s * r11
                    r21, r22 = c * r21 + s * r22, c * r22 - s * r21
            elif axis[d] == 1:
                ax, ay, az = f * r01, f * r11, f * r21
                if not slide[d]:
                    r02, r00 = c * r02 + s * r00, c * r00 - s * r02
                    r12, r10 = c * r12 + s * r10, c * r10 - s * r12
                    r22, r20 = c * r22 + s * r20, c * r20 - s * r22
            else:
                ax, ay, az = f * r02, f * r12, f * r22
                if not slide[d]:
                    r00, r01 = c * r00 + s * r01, c * r01 - s * r00
                    r10, r11 = c * r10 + s * r11, c * r11 - s * r10
                    r20, r21 = c * r20 + s * r21, c * r21 - s * r20
            axes[d, 0] = ax
            axes[d, 1] = ay
            axes[d, 2] = az
            if slide[d]:
                x += ax * q[d]
                y += ay * q[d]
                z += az * q[d]
        origin[b, 0] = x
        origin[b, 1] = y
        origin[b, 2] = z
        m = rotation[b]
        m[0, 0], m[0, 1], m[0, 2] = r00, r01, r02
        m[1, 0], m[1, 1], m[1, 2] = r10, r11, r12
        m[2, 0], m[2, 1], m[2, 2] = r20, r21, r22


@_fast
def forward_kernel(
    q: _F, parent: _I, offset: _F, rest: _F, first: _I, count: _I, axis: _I, sign: _F, slide: _B, origins: _F,
    rotations: _F, axes: _F,
) -> None:  # fmt: skip
    """Fill origins [T, B, 3], rotations [T, B, 3, 3] and axes [T, n, 3] for poses q [T, n]."""
    sine = np.empty(q.shape[1])
    cosine = np.empty(q.shape[1])
    for t in range(q.shape[0]):
        place_kernel(
            q[t], parent, offset, rest, first, count, axis, sign, slide, sine, cosine, origins[t], rotations[t], axes[t]
        )


@njit(cache=True, nogil=True)
def points_kernel(origins: _F, rotations: _F, body: _I, local: _F, points: _F) -> None:
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


@njit(cache=True, nogil=True)
def jacobian_kernel(
    origins: _F, axes: _F, parent: _I, first: _I, count: _I, slide: _B, body: _I, points: _F, jacobian: _F,
) -> None:  # fmt: skip
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
