"""Compiled linear algebra of the fit: the inverse of a small symmetric matrix, and the chain of frames.

Convention: the information matrix over a clip is block tridiagonal, one block per frame. A frame's state is
[p (P), m (k), v (P)]: places, residual modes, and the places' velocities; neighbouring frames are coupled only place by
place (2 x 2) and mode by mode, so eliminating a frame costs one inverse. With D_0 = A_0 and S = D^-1::

    D_t+1 = A_t+1 - C S_t C'       y_t+1 = g_t+1 - C S_t y_t          forward
    x_t   = S_t (y_t - C' x_t+1)                                      backward
    Cov_t = S_t + S_t C' Cov_t+1 C S_t                                diagonal blocks of the inverse

(block elimination; the last line is the Rauch-Tung-Striebel covariance in information form). Multiply and add may
be contracted, so results can differ in the last bit between processors.

The trap: `invert` reads the lower triangle only, and needs a positive definite matrix; it returns False otherwise.
"""

from __future__ import annotations

import numba as nb
import numpy as np

__all__ = ["backward", "couple", "covariance_step", "eliminate", "invert"]

_fast = nb.njit(cache=True, nogil=True, fastmath={"contract"})


@_fast
def invert(a, w):  # type: ignore[no-untyped-def]
    """Replace a [n, n] by its inverse, by symmetric sweeps of four pivots at a time (n^3 steps). w [4, n] is room."""
    n = a.shape[0]
    b = np.zeros((4, 4))
    u = np.zeros(4)
    k = 0
    while k < n:
        m = min(4, n - k)
        for p in range(4):
            for j in range(n):
                w[p, j] = 0.0
        for p in range(m):
            for j in range(k + p + 1):
                w[p, j] = a[k + p, j]
            for j in range(k + p + 1, n):
                w[p, j] = a[j, k + p]
        for i in range(m):
            for j in range(m):
                b[i, j] = w[i, k + j]
        for p in range(m):
            pivot = b[p, p]
            if not pivot > 0.0:
                return False
            inverse = 1.0 / pivot
            b[p, p] = 1.0
            for j in range(m):
                b[p, j] *= inverse
            for i in range(m):
                if i != p:
                    f = b[i, p]
                    b[i, p] = 0.0
                    for j in range(m):
                        b[i, j] -= f * b[p, j]
        for i in range(n):
            if k <= i < k + m:
                continue
            for p in range(4):
                total = 0.0
                if p < m:
                    for r in range(m):
                        total += w[r, i] * b[r, p]
                u[p] = total
            u0 = u[0]
            u1 = u[1]
            u2 = u[2]
            u3 = u[3]
            row = a[i]
            w0 = w[0]
            w1 = w[1]
            w2 = w[2]
            w3 = w[3]
            for j in range(i + 1):
                row[j] -= u0 * w0[j] + u1 * w1[j] + u2 * w2[j] + u3 * w3[j]
            if i > k:
                for p in range(m):
                    a[i, k + p] = u[p]
            else:
                for p in range(m):
                    a[k + p, i] = u[p]
        for i in range(m):
            for j in range(i + 1):
                a[k + i, k + j] = -b[i, j]
        k += m
    for i in range(n):
        for j in range(i + 1):
            value = -a[i, j]
            a[i, j] = value
            a[j, i] = value
    return True


@_fast
def couple(c, rho, s, z, r):  # type: ignore[no-untyped-def]
    """r = C S C' for the coupling c [P, 2, 2] of places and velocities and rho [k] of modes; z [n, n] is room."""
    n = s.shape[0]
    places = c.shape[0]
    modes = rho.shape[0]
    v = places + modes
    for i in range(places):
        c00 = c[i, 0, 0]
        c01 = c[i, 0, 1]
        c10 = c[i, 1, 0]
        c11 = c[i, 1, 1]
        for j in range(n):
            sp = s[i, j]
            sv = s[v + i, j]
            z[i, j] = c00 * sp + c01 * sv
            z[v + i, j] = c10 * sp + c11 * sv
    for i in range(modes):
        f = rho[i]
        for j in range(n):
            z[places + i, j] = f * s[places + i, j]
    for i in range(n):
        for j in range(places):
            zp = z[i, j]
            zv = z[i, v + j]
            r[i, j] = c[j, 0, 0] * zp + c[j, 0, 1] * zv
            r[i, v + j] = c[j, 1, 0] * zp + c[j, 1, 1] * zv
        for j in range(modes):
            r[i, places + j] = rho[j] * z[i, places + j]


@_fast
def _apply(c, rho, x, out, transposed):  # type: ignore[no-untyped-def]
    """out = C x, or C' x."""
    places = c.shape[0]
    modes = rho.shape[0]
    v = places + modes
    for i in range(places):
        if transposed:
            out[i] = c[i, 0, 0] * x[i] + c[i, 1, 0] * x[v + i]
            out[v + i] = c[i, 0, 1] * x[i] + c[i, 1, 1] * x[v + i]
        else:
            out[i] = c[i, 0, 0] * x[i] + c[i, 0, 1] * x[v + i]
            out[v + i] = c[i, 1, 0] * x[i] + c[i, 1, 1] * x[v + i]
    for i in range(modes):
        out[places + i] = rho[i] * x[places + i]


@_fast
def eliminate(c, rho, s, y, below, g, z, r, u):  # type: ignore[no-untyped-def]
    """Fold a finished frame (s, y) into the next one: below -= C S C', g -= C S y. z, r [n, n], u [2, n] are room."""
    n = s.shape[0]
    couple(c, rho, s, z, r)
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += s[i, j] * y[j]
        u[0, i] = total
        for j in range(i + 1):
            below[i, j] -= r[i, j]
    _apply(c, rho, u[0], u[1], False)
    for i in range(n):
        g[i] -= u[1, i]


@_fast
def backward(c, rho, s, y, x):  # type: ignore[no-untyped-def]
    """Fill x [T, n] from the last frame to the first; s [T, n, n], y [T, n] as eliminated.

    Returns the gain of cost that the step promises: half of g' A^-1 g, which is half the sum of y' S y over frames.
    """
    frames = s.shape[0]
    n = s.shape[1]
    u = np.empty(n)
    gain = 0.0
    for t in range(frames - 1, -1, -1):
        if t < frames - 1:
            _apply(c, rho, x[t + 1], u, True)
        for i in range(n):
            u[i] = y[t, i] - (u[i] if t < frames - 1 else 0.0)
        for i in range(n):
            total = 0.0
            own = 0.0
            for j in range(n):
                total += s[t, i, j] * u[j]
                own += s[t, i, j] * y[t, j]
            x[t, i] = total
            gain += 0.5 * y[t, i] * own
    return gain


@_fast
def _product(a, b, out, lower):  # type: ignore[no-untyped-def]
    """out = a b, four rows of b at a time; where `lower`, only up to the diagonal."""
    n = a.shape[0]
    for i in range(n):
        end = i + 1 if lower else n
        row = out[i]
        for j in range(end):
            row[j] = 0.0
        k = 0
        while k + 4 <= n:
            a0 = a[i, k]
            a1 = a[i, k + 1]
            a2 = a[i, k + 2]
            a3 = a[i, k + 3]
            b0 = b[k]
            b1 = b[k + 1]
            b2 = b[k + 2]
            b3 = b[k + 3]
            for j in range(end):
                row[j] += a0 * b0[j] + a1 * b1[j] + a2 * b2[j] + a3 * b3[j]
            k += 4
        while k < n:
            a0 = a[i, k]
            b0 = b[k]
            for j in range(end):
                row[j] += a0 * b0[j]
            k += 1


@_fast
def covariance_step(ct, rho, s, later, w, z, r):  # type: ignore[no-untyped-def]
    """Replace `later`, the covariance of frame t + 1, by that of frame t: S + S C' Cov C S.

    ct is the transposed coupling; w, z, r [n, n] are room.
    """
    n = s.shape[0]
    couple(ct, rho, later, z, r)
    _product(s, r, w, False)
    _product(w, s, z, True)
    for i in range(n):
        for j in range(i + 1):
            value = s[i, j] + z[i, j]
            later[i, j] = value
            later[j, i] = value
