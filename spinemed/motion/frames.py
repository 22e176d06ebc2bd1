"""Frames one by one, compiled: a damped Gauss-Newton start for the chain, without any belief about motion.

Convention: as in `solver`, but the state is [p, m] only, and each place and mode has its own prior of one unit (the
pelvis next to none). A frame starts from the frame before; where that leaves markers far off, from rest as well, and
the better end is kept. Damping follows Levenberg and Marquardt (Nocedal and Wright 2006, ch. 10).

The trap: a stretched limb does not show how it is turned about its long axis; undamped steps then leap, which is why
the chain must not start from rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import fresh, njit
from spinemed.motion.kernels import place_kernel
from spinemed.motion.linear import invert
from spinemed.motion.solver import barrier_kernel, columns_kernel, compose, gather_kernel, normal_kernel
from spinemed.motion.tiles import SIDE, padded

__all__ = ["solve_frames"]

_F = NDArray[np.float64]
_I = NDArray[np.int64]
_B = NDArray[np.bool_]

_ROOT_PRECISION = 1e-4
_GOOD = 4.5  # cost per seen marker below which a start counts as found: three axes at 1.7 standard deviations


_fast = fresh(
    njit(cache=True, nogil=True, fastmath={"contract"}),
    "spinemed.motion.kernels",
    "spinemed.motion.solver",
    "spinemed.motion.linear",
    "spinemed.motion.tiles",
)


@_fast
def solve_frames(
    start: _F, seen: _F, weight: _F, huber: float, body: _I, local: _F, parent: _I, offset: _F, rest: _F, first: _I,
    count: _I, axis: _I, sign: _F, slide: _B, single: _I, unit: _F, dense: _F, spine_start: int, dense_column: int,
    low: _F, high: _F, stiff: float, iterations: int, x: _F, costs: _F,
) -> None:  # fmt: skip
    """Fill x [T, nx] and costs [T], frame by frame; start [T, nx] holds the pelvis' first guess and zeros."""
    frames, nx = x.shape
    bodies = parent.shape[0]
    freedoms = axis.shape[0]
    q = np.empty(freedoms)
    sine = np.empty(freedoms)
    cosine = np.empty(freedoms)
    origin = np.empty((bodies, 3))
    rotation = np.empty((bodies, 3, 3))
    axes = np.empty((freedoms, 3))
    side = padded(nx)
    twist = np.zeros((bodies, 6, side))
    pull = np.empty((bodies, 6, 6))
    load = np.empty((bodies, 6))
    used = np.zeros(bodies, dtype=np.bool_)
    room = np.empty((6 * bodies, side))
    row = np.empty(nx)
    pivots = np.empty((SIDE, side))
    swept = np.empty((SIDE, side))
    a = np.empty((nx, nx))
    damped = np.empty((side, side))
    g = np.empty(nx)
    kept = np.empty(nx)
    here = np.empty(nx)
    trial = np.empty(nx)
    best = np.empty(nx)
    for t in range(frames):
        w = weight[t if weight.shape[0] > 1 else 0]
        visible = 0
        for k in range(body.shape[0]):
            if np.isfinite(seen[t, k, 0]) and np.isfinite(seen[t, k, 1]) and np.isfinite(seen[t, k, 2]):
                visible += 1
        least = np.inf
        for attempt in range(2):
            if attempt == 0:
                if t == 0:
                    continue
                here[:] = x[t - 1]
                here[:6] = start[t, :6]
            else:
                if least < _GOOD * visible:
                    continue
                here[:] = start[t]
            damp = 1e-3
            cost = np.inf
            limit = 1e6 if attempt == 1 else huber
            trial[:] = here
            for turn in range(iterations):
                if turn == iterations // 3 and limit != huber:
                    limit = huber
                    trial[:] = here
                    cost = np.inf
                compose(trial, single, unit, dense, spine_start, dense_column, q)
                place_kernel(
                    q, parent, offset, rest, first, count, axis, sign, slide, sine, cosine, origin, rotation, axes
                )
                g[:] = 0.0
                damped[:] = 0.0
                found = gather_kernel(body, local, seen[t], w, limit, 1e9, origin, rotation, pull, load, used)
                columns_kernel(
                    parent, first, count, slide, origin, axes, single, unit, dense, spine_start, dense_column, twist
                )
                found += barrier_kernel(
                    q, low, high, stiff, single, unit, dense, spine_start, dense_column, damped, g, row
                )
                for i in range(nx):
                    p = _ROOT_PRECISION if i < 6 else 1.0
                    away = trial[i] - (start[t, i] if i < 6 else 0.0)
                    found += 0.5 * p * away * away
                    damped[i, i] += p
                    g[i] -= p * away
                if found < cost:
                    drop = cost - found
                    normal_kernel(pull, load, used, twist, damped, g, room)
                    for i in range(nx):
                        here[i] = trial[i]
                        kept[i] = g[i]
                        for j in range(i + 1):
                            a[i, j] = damped[i, j]
                    cost = found
                    damp = max(damp / 5, 1e-9)
                    if limit == huber and drop < 1e-3 * (1.0 + cost):
                        break
                else:
                    damp *= 8
                    if damp > 1e6:
                        break
                for i in range(nx):
                    for j in range(i + 1):
                        damped[i, j] = a[i, j]
                    damped[i, i] = a[i, i] * (1.0 + damp) + damp
                for i in range(nx, side):
                    damped[i, :nx] = 0.0
                    damped[i, i] = 1.0
                if not invert(damped, pivots, swept):
                    break
                trial[:] = here
                for i in range(nx):
                    f = kept[i]
                    for j in range(nx):
                        trial[j] += f * damped[i, j]
            if cost < least:
                least = cost
                best[:] = here
        x[t] = best
        costs[t] = least
