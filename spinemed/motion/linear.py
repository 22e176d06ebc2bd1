"""Compiled linear algebra of the fit: the inverse of a small symmetric matrix, and the chain of frames.

Convention: the information matrix over a clip is block tridiagonal, one block per frame. A frame's state is
[p (P), m (k), v (P)]: places, residual modes, and the places' velocities; neighbouring frames are coupled only place by
place (2 x 2) and mode by mode, so eliminating a frame costs one inverse. With D_0 = A_0 and S = D^-1::

    D_t+1 = A_t+1 - C S_t C'       y_t+1 = g_t+1 - C S_t y_t          forward
    x_t   = S_t (y_t - C' x_t+1)                                      backward
    Cov_t = S_t + S_t C' Cov_t+1 C S_t                                diagonal blocks of the inverse

(block elimination; the last line is the Rauch-Tung-Striebel covariance in information form). Matrices are stored with
sides N padded to a multiple of eight (`tiles`): one on the diagonal of what is added, zero elsewhere; vectors are not
padded. Multiply and add may be contracted, so results can differ in the last bit between processors.

The trap: `invert` reads the lower triangle only, and needs a positive definite matrix; it returns False otherwise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import fresh, njit
from spinemed.motion.tiles import SIDE, invert_block, multiply_block, subtract_block

__all__ = ["backward", "couple", "covariance_step", "eliminate", "invert"]

_F = NDArray[np.float64]

_fast = fresh(njit(cache=True, nogil=True, fastmath={"contract"}), "spinemed.motion.tiles")


@_fast
def invert(a: _F, w: _F, u: _F) -> bool:
    """Replace a [N, N] by its inverse, by symmetric sweeps of eight pivots at a time (N^3 / 2 products).

    w and u [8, N] are room. Source: the sweep operator (Goodnight 1979, The American Statistician 33:149), by blocks.
    """
    n = a.shape[0]
    b = np.empty((SIDE, SIDE))
    for k in range(0, n, SIDE):
        for p in range(SIDE):
            for q in range(p):
                a[k + q, k + p] = a[k + p, k + q]
    for k in range(0, n, SIDE):
        for p in range(SIDE):
            for j in range(k + SIDE):
                w[p, j] = a[k + p, j]
        for j in range(k + SIDE, n):
            for p in range(SIDE):
                w[p, j] = a[j, k + p]
        for p in range(SIDE):
            for q in range(SIDE):
                b[p, q] = w[p, k + q]
        if not invert_block(b):
            return False
        for j in range(0, n, SIDE):
            multiply_block(u, 0, j, b, 0, w, 0, SIDE)
        for i in range(0, n, SIDE):
            if i != k:
                for j in range(0, i + SIDE, SIDE):
                    if j != k:
                        subtract_block(a, i, j, u, w, SIDE)
        for p in range(SIDE):
            for j in range(k):
                a[k + p, j] = u[p, j]
            for q in range(SIDE):
                a[k + p, k + q] = -b[p, q]
        for i in range(k + SIDE, n):
            for p in range(SIDE):
                a[i, k + p] = u[p, i]
    for i in range(n):
        for j in range(i + 1):
            value = -a[i, j]
            a[i, j] = value
            a[j, i] = value
    return True


@_fast
def couple(c: _F, rho: _F, s: _F, z: _F, r: _F) -> None:
    """r = C S C' for the coupling c [P, 2, 2] of places and velocities and rho [k] of modes; z [N, N] is room.

    What is padded in r is left as it was.
    """
    places = c.shape[0]
    modes = rho.shape[0]
    n = 2 * places + modes
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
def _apply(c: _F, rho: _F, x: _F, out: _F, transposed: bool) -> None:
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
def eliminate(c: _F, rho: _F, s: _F, y: _F, below: _F, g: _F, z: _F, r: _F, u: _F) -> None:
    """Fold a finished frame (s, y) into the next one: below -= C S C', g -= C S y. z, r [N, N], u [2, n] are room."""
    n = y.shape[0]
    couple(c, rho, s, z, r)
    for j in range(n):
        u[0, j] = 0.0
    for i in range(n):
        # S is symmetric: adding its rows, times y, needs no sum along a row.
        f = y[i]
        for j in range(n):
            u[0, j] += f * s[i, j]
            below[i, j] -= r[i, j]
    _apply(c, rho, u[0], u[1], False)
    for i in range(n):
        g[i] -= u[1, i]


@_fast
def backward(c: _F, rho: _F, s: _F, y: _F, x: _F) -> float:
    """Fill x [T, n] from the last frame to the first; s [T, n, n], y [T, n] as eliminated.

    Returns the gain of cost that the step promises: half of g' A^-1 g, which is half the sum of y' S y over frames.
    """
    frames, n = x.shape
    u = np.empty(n)
    own = np.empty(n)
    gain = 0.0
    for t in range(frames - 1, -1, -1):
        if t < frames - 1:
            _apply(c, rho, x[t + 1], u, True)
        else:
            u[:] = 0.0
        for j in range(n):
            u[j] = y[t, j] - u[j]
            own[j] = 0.0
            x[t, j] = 0.0
        for i in range(n):
            f = u[i]
            g = y[t, i]
            for j in range(n):
                x[t, j] += f * s[t, i, j]
                own[j] += g * s[t, i, j]
        for j in range(n):
            gain += 0.5 * y[t, j] * own[j]
    return gain


@_fast
def covariance_step(ct: _F, rho: _F, s: _F, later: _F, w: _F, z: _F, r: _F) -> None:
    """Replace `later`, the covariance of frame t + 1, by that of frame t: S + S C' Cov C S.

    ct is the transposed coupling; w, z, r [N, N] are room, r with zeros where it is padded.
    """
    n = s.shape[0]
    couple(ct, rho, later, z, r)
    for i in range(0, n, SIDE):
        for j in range(0, n, SIDE):
            multiply_block(w, i, j, s, i, r, 0, n)
    for i in range(0, n, SIDE):
        for j in range(0, i + SIDE, SIDE):
            multiply_block(z, i, j, w, i, s, 0, n)
    for i in range(n):
        for j in range(i + 1):
            value = s[i, j] + z[i, j]
            later[i, j] = value
            later[j, i] = value
