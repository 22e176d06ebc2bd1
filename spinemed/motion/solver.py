"""One Gauss-Newton step over a chain of frames, compiled: kinematics, normal equations, prior, block elimination.

Convention: the state of a frame is [p, m, v] (see `linear`); p and m turn into freedoms by `single` (one column times a
unit: pelvis and limbs) or by a row of `dense` (spine: regional angles and modes, which stand side by side). Markers
pull through the 6 x 6 information of their body, gathered at the pelvis' origin, so many markers on few bodies cost
little (the composite body idea of Featherstone 2008, applied to measurements).

Huber's weight (1964) is taken on a marker's whole residual in standard deviations: 1 within `huber`, then huber / s;
beyond `reject` the marker is left out, because a gross error would still pull with all of Huber's force.

The trap: frames without any marker are legal; the prior alone carries them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import fresh, njit
from spinemed.motion.kernels import place_kernel
from spinemed.motion.linear import covariance_step, eliminate, invert
from spinemed.motion.tiles import SIDE, add_block, multiply_block, padded

__all__ = [
    "barrier_kernel",
    "chain_cost",
    "chain_step",
    "chain_variances",
    "columns_kernel",
    "compose",
    "gather_kernel",
    "normal_kernel",
]

_F = NDArray[np.float64]
_I = NDArray[np.int64]
_B = NDArray[np.bool_]

_fast = fresh(
    njit(cache=True, nogil=True, fastmath={"contract"}),
    "spinemed.motion.kernels",
    "spinemed.motion.linear",
    "spinemed.motion.tiles",
)


@_fast
def compose(x: _F, single: _I, unit: _F, dense: _F, spine_start: int, dense_column: int, q: _F) -> None:
    """Fill freedoms q [n_q] of a frame from its state x [n]."""
    for d in range(q.shape[0]):
        column = single[d]
        if column >= 0:
            q[d] = unit[d] * x[column]
        else:
            row = dense[d - spine_start]
            total = 0.0
            for j in range(row.shape[0]):
                total += row[j] * x[dense_column + j]
            q[d] = total


@_fast
def columns_kernel(
    parent: _I, first: _I, count: _I, slide: _B, origin: _F, axes: _F, single: _I, unit: _F, dense: _F,
    spine_start: int, dense_column: int, twist: _F,
) -> None:  # fmt: skip
    """Fill twist [B, 6, nx]: how a body turns (0-2) and moves at the pelvis' origin (3-5) with each place or mode."""
    nx = twist.shape[2]
    width = dense.shape[1]
    part = np.zeros((6, 6))
    for b in range(parent.shape[0]):
        p = parent[b]
        own = twist[b]
        x = origin[0, 0] - origin[b, 0]
        y = origin[0, 1] - origin[b, 1]
        z = origin[0, 2] - origin[b, 2]
        start = first[b]
        for k in range(count[b]):
            d = start + k
            ax = axes[d, 0]
            ay = axes[d, 1]
            az = axes[d, 2]
            if slide[d]:
                part[k, 0] = 0.0
                part[k, 1] = 0.0
                part[k, 2] = 0.0
                part[k, 3] = ax
                part[k, 4] = ay
                part[k, 5] = az
            else:
                part[k, 0] = ax
                part[k, 1] = ay
                part[k, 2] = az
                part[k, 3] = ay * z - az * y
                part[k, 4] = az * x - ax * z
                part[k, 5] = ax * y - ay * x
        if p < 0:
            for i in range(6):
                for j in range(nx):
                    own[i, j] = 0.0
        else:
            above = twist[p]
            for i in range(6):
                for j in range(nx):
                    own[i, j] = above[i, j]
        if single[start] >= 0:
            for k in range(count[b]):
                column = single[start + k]
                for i in range(6):
                    own[i, column] += unit[start + k] * part[k, i]
        else:
            r0 = dense[start - spine_start]
            r1 = dense[start - spine_start + 1]
            r2 = dense[start - spine_start + 2]
            for i in range(6):
                p0 = part[0, i]
                p1 = part[1, i]
                p2 = part[2, i]
                line = own[i, dense_column:]
                for j in range(width):
                    line[j] += p0 * r0[j] + p1 * r1[j] + p2 * r2[j]


@_fast
def gather_kernel(
    body: _I, local: _F, seen: _F, weight: _F, huber: float, reject: float, origin: _F, rotation: _F, pull: _F,
    load: _F, used: _B,
) -> float:  # fmt: skip
    """Sum the markers' information: pull [B, 6, 6], load [B, 6]. Returns the robust cost."""
    cost = 0.0
    for b in range(used.shape[0]):
        used[b] = False
        for i in range(6):
            load[b, i] = 0.0
            for j in range(6):
                pull[b, i, j] = 0.0
    e = np.empty(3)
    we = np.empty(3)
    point = np.empty(3)
    jac = np.zeros((3, 6))
    wj = np.zeros((3, 6))
    for k in range(body.shape[0]):
        if not (np.isfinite(seen[k, 0]) and np.isfinite(seen[k, 1]) and np.isfinite(seen[k, 2])):
            continue
        b = body[k]
        for i in range(3):
            value = origin[b, i]
            for j in range(3):
                value += rotation[b, i, j] * local[k, j]
            point[i] = value
            e[i] = seen[k, i] - value
        s2 = 0.0
        for i in range(3):
            we[i] = weight[k, i, 0] * e[0] + weight[k, i, 1] * e[1] + weight[k, i, 2] * e[2]
            s2 += we[i] * e[i]
        s = np.sqrt(max(s2, 0.0))
        if s > reject:
            bend = min(huber, reject)
            cost += bend * (reject - 0.5 * bend)
            continue
        h = 1.0
        if s > huber:
            h = huber / s
            cost += huber * (s - 0.5 * huber)
        else:
            cost += 0.5 * s2
        x = point[0] - origin[0, 0]
        y = point[1] - origin[0, 1]
        z = point[2] - origin[0, 2]
        # The point moves by turn x (x, y, z) + shift.
        jac[0, 1] = z
        jac[0, 2] = -y
        jac[1, 0] = -z
        jac[1, 2] = x
        jac[2, 0] = y
        jac[2, 1] = -x
        for i in range(3):
            jac[i, 3 + i] = 1.0
        for i in range(3):
            for j in range(6):
                wj[i, j] = h * (weight[k, i, 0] * jac[0, j] + weight[k, i, 1] * jac[1, j] + weight[k, i, 2] * jac[2, j])
        used[b] = True
        for i in range(6):
            load[b, i] += h * (jac[0, i] * we[0] + jac[1, i] * we[1] + jac[2, i] * we[2])
            for j in range(6):
                pull[b, i, j] += jac[0, i] * wj[0, j] + jac[1, i] * wj[1, j] + jac[2, i] * wj[2, j]
    return cost


@_fast
def normal_kernel(pull: _F, load: _F, used: _B, twist: _F, a: _F, g: _F, room: _F) -> None:
    """a (lower blocks) += sum J' M J, g += sum J' f over the bodies that carry markers. room [6 B, NX].

    M = L L' of six columns, of which a body with one marker has three: J' M J is the sum of as many outer products of
    rows of L' J. Columns run over shifts first, which one marker decides; a pivot that rounding alone leaves is none.
    """
    nx = min(g.shape[0], twist.shape[2])
    count = 0
    lower = np.empty((6, 6))
    for b in range(used.shape[0]):
        if not used[b]:
            continue
        j = twist[b]
        f = load[b]
        for c in range(nx):
            g[c] += j[0, c] * f[0] + j[1, c] * f[1] + j[2, c] * f[2] + j[3, c] * f[3] + j[4, c] * f[4] + j[5, c] * f[5]
        for r in range(6):
            for s in range(6):
                lower[r, s] = pull[b, (r + 3) % 6, (s + 3) % 6]
        for p in range(6):
            pivot = lower[p, p]
            if pivot <= 1e-12 * pull[b, (p + 3) % 6, (p + 3) % 6]:
                continue
            root = np.sqrt(pivot)
            line = room[count]
            count += 1
            for s in range(p, 6):
                lower[s, p] /= root
            for s in range(p + 1, 6):
                for t in range(p + 1, s + 1):
                    lower[s, t] -= lower[s, p] * lower[t, p]
            f0 = lower[p, p]
            from_ = j[(p + 3) % 6]
            for c in range(line.shape[0]):
                line[c] = f0 * from_[c]
            for s in range(p + 1, 6):
                f0 = lower[s, p]
                from_ = j[(s + 3) % 6]
                for c in range(line.shape[0]):
                    line[c] += f0 * from_[c]
    for i in range(0, room.shape[1], SIDE):
        for k in range(0, i + SIDE, SIDE):
            add_block(a, i, k, room, room, count)


@_fast
def barrier_kernel(
    q: _F, low: _F, high: _F, stiff: float, single: _I, unit: _F, dense: _F, spine_start: int, dense_column: int,
    a: _F, g: _F, row: _F,
) -> float:  # fmt: skip
    """Add the soft walls at the limits; returns their cost."""
    cost = 0.0
    nx = row.shape[0]
    for d in range(q.shape[0]):
        over = 0.0
        if q[d] > high[d]:
            over = q[d] - high[d]
        elif q[d] < low[d]:
            over = q[d] - low[d]
        if over == 0.0:
            continue
        cost += 0.5 * stiff * over * over
        column = single[d]
        if column >= 0:
            a[column, column] += stiff * unit[d] * unit[d]
            g[column] -= stiff * over * unit[d]
            continue
        for j in range(dense_column):
            row[j] = 0.0
        for j in range(dense.shape[1]):
            row[dense_column + j] = dense[d - spine_start, j]
        for i in range(nx):
            f = stiff * row[i]
            if f != 0.0:
                g[i] -= over * f
                for j in range(i + 1):
                    a[i, j] += f * row[j]
    return cost


@_fast
def _prior(x: _F, t: int, step: _F, precision: _F, start: _F, rho: float, a: _F, g: _F) -> float:
    """Add frame t's share of the prior; returns the cost of the link from t to t + 1 (and of the start, at t = 0)."""
    frames = x.shape[0]
    n = x.shape[1]
    places = step.shape[0]
    modes = n - 2 * places
    shift = places + modes
    cost = 0.0
    fpf = np.empty((2, 2))
    pf = np.empty((2, 2))
    e = np.empty(2)
    for i in range(places):
        v = shift + i
        f = step[i]
        w = precision[i]
        if t == 0:
            s = start[i]
            a[i, i] += s[0, 0]
            a[v, v] += s[1, 1]
            a[v, i] += s[1, 0]
            g[i] -= s[0, 0] * x[t, i] + s[0, 1] * x[t, v]
            g[v] -= s[1, 0] * x[t, i] + s[1, 1] * x[t, v]
            cost += 0.5 * (s[0, 0] * x[t, i] ** 2 + 2 * s[0, 1] * x[t, i] * x[t, v] + s[1, 1] * x[t, v] ** 2)
        else:
            e[0] = x[t, i] - f[0, 0] * x[t - 1, i] - f[0, 1] * x[t - 1, v]
            e[1] = x[t, v] - f[1, 0] * x[t - 1, i] - f[1, 1] * x[t - 1, v]
            a[i, i] += w[0, 0]
            a[v, v] += w[1, 1]
            a[v, i] += w[1, 0]
            g[i] -= w[0, 0] * e[0] + w[0, 1] * e[1]
            g[v] -= w[1, 0] * e[0] + w[1, 1] * e[1]
        if t < frames - 1:
            e[0] = x[t + 1, i] - f[0, 0] * x[t, i] - f[0, 1] * x[t, v]
            e[1] = x[t + 1, v] - f[1, 0] * x[t, i] - f[1, 1] * x[t, v]
            for r in range(2):
                for c in range(2):
                    pf[r, c] = w[r, 0] * f[0, c] + w[r, 1] * f[1, c]
            for r in range(2):
                for c in range(2):
                    fpf[r, c] = f[0, r] * pf[0, c] + f[1, r] * pf[1, c]
            a[i, i] += fpf[0, 0]
            a[v, v] += fpf[1, 1]
            a[v, i] += fpf[1, 0]
            g[i] += pf[0, 0] * e[0] + pf[1, 0] * e[1]
            g[v] += pf[0, 1] * e[0] + pf[1, 1] * e[1]
            cost += 0.5 * (w[0, 0] * e[0] ** 2 + 2 * w[0, 1] * e[0] * e[1] + w[1, 1] * e[1] ** 2)
    w1 = 1.0 / (1.0 - rho * rho)
    for i in range(places, shift):
        if t == 0:
            a[i, i] += 1.0
            g[i] -= x[t, i]
            cost += 0.5 * x[t, i] ** 2
        else:
            a[i, i] += w1
            g[i] -= w1 * (x[t, i] - rho * x[t - 1, i])
        if t < frames - 1:
            link = x[t + 1, i] - rho * x[t, i]
            a[i, i] += w1 * rho * rho
            g[i] += w1 * rho * link
            cost += 0.5 * w1 * link * link
    return cost


@_fast
def chain_step(
    x: _F, seen: _F, weight: _F, huber: float, reject: float, body: _I, local: _F, parent: _I, offset: _F, rest: _F,
    first: _I, count: _I, axis: _I, sign: _F, slide: _B, single: _I, unit: _F, dense: _F, spine_start: int,
    dense_column: int, places: int, low: _F, high: _F, stiff: float, step: _F, precision: _F, start: _F, rho: float,
    coupling: _F, coupled: _F, s: _F, y: _F,
) -> float:  # fmt: skip
    """Linearise at x [T, n] and eliminate: fill s [T, N, N] and y [T, n] for `linear.backward`.

    Args: seen [T, K, 3] with NaN for what is missing; weight [1 or T, K, 3, 3] inverse covariances; the model's arrays;
    the composition's arrays; limits [n_q] and their stiffness; the process; coupling [P, 2, 2] = -precision step, and
    coupled [k], the modes' coupling.

    Returns:
        The cost at x, or -1 where a block is not positive definite (a fault of the inputs, such as weight NaN).
    """
    frames = x.shape[0]
    n = x.shape[1]
    bodies = parent.shape[0]
    freedoms = axis.shape[0]
    nx = n - places
    side = s.shape[1]
    q = np.empty(freedoms)
    sine = np.empty(freedoms)
    cosine = np.empty(freedoms)
    origin = np.empty((bodies, 3))
    rotation = np.empty((bodies, 3, 3))
    axes = np.empty((freedoms, 3))
    twist = np.zeros((bodies, 6, padded(nx)))
    pull = np.empty((bodies, 6, 6))
    load = np.empty((bodies, 6))
    used = np.zeros(bodies, dtype=np.bool_)
    room = np.empty((6 * bodies, padded(nx)))
    row = np.empty(nx)
    pivots = np.empty((SIDE, side))
    swept = np.empty((SIDE, side))
    z = np.empty((side, side))
    r = np.zeros((side, side))
    u = np.empty((2, n))
    cost = 0.0
    for t in range(frames):
        compose(x[t], single, unit, dense, spine_start, dense_column, q)
        place_kernel(q, parent, offset, rest, first, count, axis, sign, slide, sine, cosine, origin, rotation, axes)
        a = s[t]
        g = y[t]
        g[:] = 0.0
        a[:] = 0.0
        for i in range(n, side):
            a[i, i] = 1.0
        cost += gather_kernel(
            body,
            local,
            seen[t],
            weight[t if weight.shape[0] > 1 else 0],
            huber,
            reject,
            origin,
            rotation,
            pull,
            load,
            used,
        )
        columns_kernel(parent, first, count, slide, origin, axes, single, unit, dense, spine_start, dense_column, twist)
        normal_kernel(pull, load, used, twist, a, g, room)
        cost += barrier_kernel(q, low, high, stiff, single, unit, dense, spine_start, dense_column, a, g, row)
        cost += _prior(x, t, step, precision, start, rho, a, g)
        if t > 0:
            eliminate(coupling, coupled, s[t - 1], y[t - 1], a, g, z, r, u)
        if not invert(a, pivots, swept):
            return -1.0
    return cost


@_fast
def chain_cost(
    x: _F, seen: _F, weight: _F, huber: float, reject: float, body: _I, local: _F, parent: _I, offset: _F, rest: _F,
    first: _I, count: _I, axis: _I, sign: _F, slide: _B, single: _I, unit: _F, dense: _F, spine_start: int,
    dense_column: int, places: int, low: _F, high: _F, stiff: float, step: _F, precision: _F, start: _F, rho: float,
) -> float:  # fmt: skip
    """The cost at x [T, n] alone, by the same sums as `chain_step`."""
    frames = x.shape[0]
    n = x.shape[1]
    bodies = parent.shape[0]
    freedoms = axis.shape[0]
    q = np.empty(freedoms)
    sine = np.empty(freedoms)
    cosine = np.empty(freedoms)
    origin = np.empty((bodies, 3))
    rotation = np.empty((bodies, 3, 3))
    axes = np.empty((freedoms, 3))
    pull = np.empty((bodies, 6, 6))
    load = np.empty((bodies, 6))
    used = np.zeros(bodies, dtype=np.bool_)
    row = np.empty(n - places)
    a = np.zeros((n, n))
    g = np.zeros(n)
    cost = 0.0
    for t in range(frames):
        compose(x[t], single, unit, dense, spine_start, dense_column, q)
        place_kernel(q, parent, offset, rest, first, count, axis, sign, slide, sine, cosine, origin, rotation, axes)
        w = weight[t if weight.shape[0] > 1 else 0]
        cost += gather_kernel(body, local, seen[t], w, huber, reject, origin, rotation, pull, load, used)
        cost += barrier_kernel(q, low, high, stiff, single, unit, dense, spine_start, dense_column, a, g, row)
        cost += _prior(x, t, step, precision, start, rho, a, g)
    return cost


@_fast
def chain_variances(s: _F, coupling_t: _F, coupled: _F, first: int, rows_t: _F, out: _F) -> None:
    """Fill out [T, f] with the posterior variance of f combinations of the state, from the last frame back.

    rows_t [K, F] holds them as columns: weights of the states from `first` on, both sides padded with zeros.
    """
    frames = s.shape[0]
    side = s.shape[1]
    deep, wide = rows_t.shape
    cov = s[frames - 1].copy()
    part = np.empty((deep, deep))
    product = np.empty((deep, wide))
    w = np.empty((side, side))
    z = np.empty((side, side))
    r = np.zeros((side, side))
    for t in range(frames - 1, -1, -1):
        if t < frames - 1:
            covariance_step(coupling_t, coupled, s[t], cov, w, z, r)
        for i in range(deep):
            for j in range(deep):
                part[i, j] = cov[first + i, first + j]
        for i in range(0, deep, SIDE):
            for j in range(0, wide, SIDE):
                multiply_block(product, i, j, part, i, rows_t, 0, deep)
        for f in range(out.shape[1]):
            out[t, f] = 0.0
        for i in range(deep):
            for f in range(out.shape[1]):
                out[t, f] += product[i, f] * rows_t[i, f]
