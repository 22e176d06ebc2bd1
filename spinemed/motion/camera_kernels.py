"""Kernels of cameras and triangulation: projection, undistortion, direct and robust triangulation.

Convention: all arrays float64 and C-contiguous, missing values NaN; formulas in `cameras` and `triangulate`. The trap:
these kernels check nothing; the callers do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import njit

__all__ = ["project_kernel", "triangulate_kernel", "undistort_kernel"]

_F = NDArray[np.float64]


@njit(cache=True)
def _distort(x: float, y: float, lens: _F, fisheye: float) -> tuple[float, float]:
    """Distorted normalised coordinates."""
    if fisheye > 0.5:
        r = np.sqrt(x * x + y * y)
        if r < 1e-12:
            return x, y
        a = np.arctan(r)
        a2 = a * a
        scale = a * (1.0 + a2 * (lens[0] + a2 * (lens[1] + a2 * (lens[2] + a2 * lens[3])))) / r
        return x * scale, y * scale
    r2 = x * x + y * y
    radial = 1.0 + r2 * (lens[0] + r2 * (lens[1] + r2 * lens[4]))
    radial /= 1.0 + r2 * (lens[5] + r2 * (lens[6] + r2 * lens[7]))
    dx = 2.0 * lens[2] * x * y + lens[3] * (r2 + 2.0 * x * x) + r2 * (lens[8] + r2 * lens[9])
    dy = lens[2] * (r2 + 2.0 * y * y) + 2.0 * lens[3] * x * y + r2 * (lens[10] + r2 * lens[11])
    return x * radial + dx, y * radial + dy


@njit(cache=True)
def _undistort(u: float, v: float, lens: _F, fisheye: float) -> tuple[float, float]:
    """Inverse of `_distort` by Newton's method; NaN where it does not settle."""
    x, y = u, v
    if fisheye > 0.5:
        # The fisheye model turns the angle into the radius: a better start than the identity.
        r = np.sqrt(u * u + v * v)
        if r > 1e-12:
            scale = np.tan(min(r, 1.5)) / r
            x, y = u * scale, v * scale
    step = 1e-6
    for _ in range(50):
        a, b = _distort(x, y, lens, fisheye)
        ex, ey = a - u, b - v
        if ex * ex + ey * ey < 1e-26:
            return x, y
        if fisheye > 0.5:
            ax, bx = _distort(x + step, y, lens, fisheye)
            cx, dx = _distort(x - step, y, lens, fisheye)
            ay, by = _distort(x, y + step, lens, fisheye)
            cy, dy = _distort(x, y - step, lens, fisheye)
            j00, j10 = (ax - cx) / (2 * step), (bx - dx) / (2 * step)
            j01, j11 = (ay - cy) / (2 * step), (by - dy) / (2 * step)
        else:
            r2 = x * x + y * y
            above = 1.0 + r2 * (lens[0] + r2 * (lens[1] + r2 * lens[4]))
            below = 1.0 + r2 * (lens[5] + r2 * (lens[6] + r2 * lens[7]))
            radial = above / below
            slope = lens[0] + r2 * (2.0 * lens[1] + 3.0 * r2 * lens[4])
            slope = (slope - radial * (lens[5] + r2 * (2.0 * lens[6] + 3.0 * r2 * lens[7]))) / below
            mixed = 2.0 * x * y * slope + 2.0 * (lens[2] * x + lens[3] * y)
            prism_x, prism_y = 2.0 * (lens[8] + 2.0 * lens[9] * r2), 2.0 * (lens[10] + 2.0 * lens[11] * r2)
            j00 = radial + 2.0 * x * x * slope + 2.0 * lens[2] * y + 6.0 * lens[3] * x + x * prism_x
            j01 = mixed + y * prism_x
            j10 = mixed + x * prism_y
            j11 = radial + 2.0 * y * y * slope + 6.0 * lens[2] * y + 2.0 * lens[3] * x + y * prism_y
        det = j00 * j11 - j01 * j10
        if not det > 1e-6:
            return np.nan, np.nan
        x -= (j11 * ex - j01 * ey) / det
        y -= (j00 * ey - j10 * ex) / det
        if not (abs(x) < 1e3 and abs(y) < 1e3):
            return np.nan, np.nan
    a, b = _distort(x, y, lens, fisheye)
    if (a - u) ** 2 + (b - v) ** 2 < 1e-18:
        return x, y
    return np.nan, np.nan


@njit(cache=True)
def project_kernel(points: _F, matrix: _F, lens: _F, rotation: _F, translation: _F, fisheye: _F, pixels: _F) -> None:
    """Pixels [V, N, 2] of points [N, 3]."""
    for v in range(matrix.shape[0]):
        for n in range(points.shape[0]):
            p = points[n]
            r, t = rotation[v], translation[v]
            z = r[2, 0] * p[0] + r[2, 1] * p[1] + r[2, 2] * p[2] + t[2]
            if not z > 0.0:
                pixels[v, n, 0] = pixels[v, n, 1] = np.nan
                continue
            x = (r[0, 0] * p[0] + r[0, 1] * p[1] + r[0, 2] * p[2] + t[0]) / z
            y = (r[1, 0] * p[0] + r[1, 1] * p[1] + r[1, 2] * p[2] + t[1]) / z
            x, y = _distort(x, y, lens[v], fisheye[v])
            pixels[v, n, 0] = matrix[v, 0, 0] * x + matrix[v, 0, 1] * y + matrix[v, 0, 2]
            pixels[v, n, 1] = matrix[v, 1, 1] * y + matrix[v, 1, 2]


@njit(cache=True)
def undistort_kernel(pixels: _F, matrix: _F, lens: _F, fisheye: _F, found: _F) -> None:
    """Normalised coordinates [V, N, 2] of pixels [V, N, 2]."""
    for v in range(pixels.shape[0]):
        k = matrix[v]
        perfect = fisheye[v] < 0.5 and not np.any(lens[v] != 0.0)
        for n in range(pixels.shape[1]):
            y = (pixels[v, n, 1] - k[1, 2]) / k[1, 1]
            x = (pixels[v, n, 0] - k[0, 2] - k[0, 1] * y) / k[0, 0]
            if perfect or not (np.isfinite(x) and np.isfinite(y)):
                found[v, n, 0], found[v, n, 1] = x, y
            else:
                found[v, n, 0], found[v, n, 1] = _undistort(x, y, lens[v], fisheye[v])


@njit(cache=True)
def _solve3(a: _F, b: _F, out: _F) -> bool:
    """Solve the symmetric 3x3 system a x = b by cofactors; False where it is singular."""
    c00 = a[1, 1] * a[2, 2] - a[1, 2] * a[1, 2]
    c01 = a[0, 2] * a[1, 2] - a[0, 1] * a[2, 2]
    c02 = a[0, 1] * a[1, 2] - a[0, 2] * a[1, 1]
    det = a[0, 0] * c00 + a[0, 1] * c01 + a[0, 2] * c02
    scale = a[0, 0] + a[1, 1] + a[2, 2]
    if not det > 1e-12 * scale * scale * scale:
        return False
    c11 = a[0, 0] * a[2, 2] - a[0, 2] * a[0, 2]
    c12 = a[0, 1] * a[0, 2] - a[0, 0] * a[1, 2]
    c22 = a[0, 0] * a[1, 1] - a[0, 1] * a[0, 1]
    out[0] = (c00 * b[0] + c01 * b[1] + c02 * b[2]) / det
    out[1] = (c01 * b[0] + c11 * b[1] + c12 * b[2]) / det
    out[2] = (c02 * b[0] + c12 * b[1] + c22 * b[2]) / det
    return True


@njit(cache=True)
def _direct(x: _F, rotation: _F, translation: _F, weight: _F, a: _F, b: _F, point: _F) -> bool:
    """Linear triangulation: rows (x r3 - r1) X = t1 - x t3, scaled by the weight; then once more scaled by depth."""
    views = x.shape[0]
    for turn in range(2):
        a[:] = 0.0
        b[:] = 0.0
        for v in range(views):
            if weight[v] <= 0.0:
                continue
            r, t = rotation[v], translation[v]
            w = weight[v]
            if turn == 1:
                z = r[2, 0] * point[0] + r[2, 1] * point[1] + r[2, 2] * point[2] + t[2]
                if not z > 1e-6:
                    return turn == 1
                w /= z * z
            for axis in range(2):
                q0 = x[v, axis] * r[2, 0] - r[axis, 0]
                q1 = x[v, axis] * r[2, 1] - r[axis, 1]
                q2 = x[v, axis] * r[2, 2] - r[axis, 2]
                q3 = t[axis] - x[v, axis] * t[2]
                a[0, 0] += w * q0 * q0
                a[0, 1] += w * q0 * q1
                a[0, 2] += w * q0 * q2
                a[1, 1] += w * q1 * q1
                a[1, 2] += w * q1 * q2
                a[2, 2] += w * q2 * q2
                b[0] += w * q0 * q3
                b[1] += w * q1 * q3
                b[2] += w * q2 * q3
        if not _solve3(a, b, point):
            return False
    return True


@njit(cache=True)
def _residuals(x: _F, rotation: _F, translation: _F, focal: _F, point: _F, out: _F) -> None:
    """Reprojection residuals [V, 2] in pixels of the perfect lens; NaN behind a camera."""
    for v in range(x.shape[0]):
        r, t = rotation[v], translation[v]
        z = r[2, 0] * point[0] + r[2, 1] * point[1] + r[2, 2] * point[2] + t[2]
        if not z > 1e-6:
            out[v, 0] = out[v, 1] = 1e9
            continue
        out[v, 0] = focal[v, 0] * ((r[0, 0] * point[0] + r[0, 1] * point[1] + r[0, 2] * point[2] + t[0]) / z - x[v, 0])
        out[v, 1] = focal[v, 1] * ((r[1, 0] * point[0] + r[1, 1] * point[1] + r[1, 2] * point[2] + t[1]) / z - x[v, 1])


@njit(cache=True)
def _refine(
    x: _F, rotation: _F, translation: _F, focal: _F, weight: _F, huber: float, steps: int,
    a: _F, b: _F, move: _F, res: _F, point: _F,
) -> None:  # fmt: skip
    """Gauss-Newton on Huber's cost of the reprojection; leaves the information matrix of the last step in `a`."""
    for step in range(steps + 1):
        _residuals(x, rotation, translation, focal, point, res)
        a[:] = 0.0
        b[:] = 0.0
        for v in range(x.shape[0]):
            if weight[v] <= 0.0 or res[v, 0] > 1e8:
                continue
            r, t = rotation[v], translation[v]
            z = r[2, 0] * point[0] + r[2, 1] * point[1] + r[2, 2] * point[2] + t[2]
            length = np.sqrt(res[v, 0] ** 2 + res[v, 1] ** 2)
            w = weight[v]
            if length > huber:
                w *= huber / length
            for axis in range(2):
                f = focal[v, axis] / z
                u = res[v, axis] / focal[v, axis] + x[v, axis]
                j0 = f * (r[axis, 0] - u * r[2, 0])
                j1 = f * (r[axis, 1] - u * r[2, 1])
                j2 = f * (r[axis, 2] - u * r[2, 2])
                e = res[v, axis]
                a[0, 0] += w * j0 * j0
                a[0, 1] += w * j0 * j1
                a[0, 2] += w * j0 * j2
                a[1, 1] += w * j1 * j1
                a[1, 2] += w * j1 * j2
                a[2, 2] += w * j2 * j2
                b[0] -= w * j0 * e
                b[1] -= w * j1 * e
                b[2] -= w * j2 * e
        if step == steps or not _solve3(a, b, move):
            return
        for k in range(3):
            point[k] += move[k]
        if move[0] ** 2 + move[1] ** 2 + move[2] ** 2 < 1e-14:
            # Settled: `a` is the information at this point to rounding.
            return


@njit(cache=True)
def triangulate_kernel(
    normal: _F, confidence: _F, rotation: _F, translation: _F, focal: _F,
    robust: bool, huber: float, reject: float, steps: int,
    points: _F, covariance: _F, used: NDArray[np.bool_], residual: _F,
) -> None:  # fmt: skip
    """Triangulate N points from normalised coordinates [V, N, 2] with confidences [V, N]; see `triangulate`.

    Writes points [N, 3], covariance [N, 3, 3] for noise of 1 px, used [V, N], residual [V, N] in px.
    """
    views, count = normal.shape[0], normal.shape[1]
    x = np.empty((views, 2))
    weight = np.empty(views)
    trial = np.empty(views)
    best = np.empty(views)
    a, b, move = np.empty((3, 3)), np.empty(3), np.empty(3)
    res = np.empty((views, 2))
    point, kept = np.empty(3), np.empty(3)
    for n in range(count):
        seen = 0
        for v in range(views):
            x[v, 0], x[v, 1] = normal[v, n, 0], normal[v, n, 1]
            weight[v] = confidence[v, n]
            if not (np.isfinite(x[v, 0]) and np.isfinite(x[v, 1]) and weight[v] > 0.0):
                weight[v] = 0.0
                x[v, 0] = x[v, 1] = 0.0
            else:
                seen += 1
        points[n, :] = np.nan
        covariance[n, :, :] = np.nan
        ok = seen >= 2
        if ok:
            for v in range(views):
                # Weights stand on squared pixels so that cameras of different focal length agree.
                trial[v] = weight[v] * focal[v, 0] * focal[v, 1]
            ok = _direct(x, rotation, translation, trial, a, b, point)
        if ok:
            _refine(x, rotation, translation, focal, weight, huber, steps if robust else 0, a, b, move, res, point)
            _residuals(x, rotation, translation, focal, point, res)
        while ok and robust:
            worst = 0.0
            for v in range(views):
                if weight[v] > 0.0:
                    worst = max(worst, res[v, 0] ** 2 + res[v, 1] ** 2)
            if worst <= reject * reject:
                break
            if seen <= 2:
                ok = False
                break
            # Leave out each camera in turn; keep the choice whose others agree best.
            lowest, chosen = np.inf, -1
            for out in range(views):
                if weight[out] <= 0.0:
                    continue
                for v in range(views):
                    best[v] = 0.0 if v == out else weight[v]
                    trial[v] = best[v] * focal[v, 0] * focal[v, 1]
                if not _direct(x, rotation, translation, trial, a, b, move):
                    continue
                _residuals(x, rotation, translation, focal, move, res)
                total = 0.0
                for v in range(views):
                    if best[v] > 0.0:
                        total += best[v] * min(np.sqrt(res[v, 0] ** 2 + res[v, 1] ** 2), 10.0 * reject)
                if total < lowest:
                    lowest, chosen = total, out
                    kept[:] = move
            if chosen < 0:
                ok = False
                break
            weight[chosen] = 0.0
            seen -= 1
            point[:] = kept
            _refine(x, rotation, translation, focal, weight, huber, steps, a, b, move, res, point)
            _residuals(x, rotation, translation, focal, point, res)
        for v in range(views):
            used[v, n] = ok and weight[v] > 0.0
            there = np.isfinite(normal[v, n, 0]) and confidence[v, n] > 0.0
            residual[v, n] = np.sqrt(res[v, 0] ** 2 + res[v, 1] ** 2) if ok and there else np.nan
        if ok:
            points[n] = point
            for i in range(3):
                b[:] = 0.0
                b[i] = 1.0
                if _solve3(a, b, move):
                    covariance[n, i, :] = move
