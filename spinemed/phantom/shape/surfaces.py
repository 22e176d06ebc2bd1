"""Distance functions of a phantom's solids, compiled: vertebral body, blobs (tapered elliptic capsules), neural arch.

Convention: millimetres in the solid's own frame; a distance is negative inside, zero on the surface. The sign is exact,
the size is right to first order near the surface (value over gradient), which is what partial volume and a cortical
shell need.

The trap: far from a surface the size is only monotone. Do not read a distance of several centimetres from it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.compiled import njit

__all__ = [
    "ARCH_PARAMETERS",
    "BLOB_PARAMETERS",
    "BODY_PARAMETERS",
    "arch_distance",
    "arch_edge",
    "blob_distance",
    "blob_level",
    "blob_limit",
    "blob_reach",
    "body_distance",
    "body_norms",
    "body_outline",
    "body_surfaces",
    "canal_distance",
    "superellipse_distance",
]

BODY_PARAMETERS = (
    "upper_width",
    "upper_depth",
    "lower_width",
    "lower_depth",
    "upper_centre",  # z of the upper rim plane on the z axis
    "upper_slope",  # dz/dy
    "upper_lateral",  # dz/dx
    "lower_centre",
    "lower_slope",
    "lower_lateral",
    "upper_concavity",
    "lower_concavity",
    "waist",
    "front_power",
    "back_power",
    "kidney",  # how far the posterolateral corners reach behind the midline, as a share of half the depth
    "uncinate",  # height of the cervical lips above the rim plane
    "retropulsion",
    "retropulsion_upper",  # 1 or 0
    "has_offsets",  # 1 or 0
)
BLOB_PARAMETERS = ("length", "p0", "p1", "q0", "q1", "end", "power", "part", "material")
ARCH_PARAMETERS = (
    "half_width",  # of the canal
    "half_depth",
    "centre_y",  # at back_z
    "front_power",
    "back_power",
    "thickness",
    "front_z",  # where the arch leaves the pedicle
    "back_z",  # at the midline
    "front_half_height",
    "back_half_height",
    "lean",  # dy/dz of the lamina, positive: the lower edge lies further back
    "front_dy",  # the shell is cut off this far in front of the canal's centre
    "enabled",
)


Numbers = NDArray[Any]
_FAR_ENOUGH_MM = 4.5


@njit(cache=True, inline="always")
def superellipse_distance(x: float, y: float, a: float, b: float, power: float) -> float:
    """First-order distance to |x/a|^p + |y/b|^p = 1."""
    u, v = abs(x) / a, abs(y) / b
    un = u ** (power - 1.0)
    vn = v ** (power - 1.0)
    s = un * u + vn * v
    if s < 0.05:
        return -min(a, b)
    # s - 1 over its gradient: no root is needed, and far away only the size suffers, not the sign.
    distance: float = max((s - 1.0) / (power * math.sqrt((un / a) ** 2 + (vn / b) ** 2)), -min(a, b))
    return distance


@njit(cache=True, inline="always")
def _bilinear(grid: Numbers, u: float, v: float) -> float:
    """The (33, 33) field at (u, v), v along axis 0; beyond the rim the rim's value."""
    n = grid.shape[0] - 1
    fu = (min(max(u, -1.0), 1.0) + 1.0) * 0.5 * n
    fv = (min(max(v, -1.0), 1.0) + 1.0) * 0.5 * n
    iu, iv = min(int(fu), n - 1), min(int(fv), n - 1)
    du, dv = fu - iu, fv - iv
    low = grid[iv, iu] * (1 - du) + grid[iv, iu + 1] * du
    high = grid[iv + 1, iu] * (1 - du) + grid[iv + 1, iu + 1] * du
    value: float = low * (1 - dv) + high * dv
    return value


@njit(cache=True, inline="always")
def _concavity(u: float, v: float) -> float:
    a, b = 1.0 - u * u, 1.0 - v * v
    if a <= 0.0 or b <= 0.0:
        return 0.0
    return a * b


@njit(cache=True, inline="always")
def _uncinate_lip(u: float, v: float, height: float) -> float:
    """How far the lips along both sides stand above the rim plane."""
    lip = min(max((abs(u) - 0.62) / 0.3, 0.0), 1.0)
    side = min(max((0.85 - abs(v + 0.15)) / 0.3, 0.0), 1.0)
    return height * lip * lip * (3.0 - 2.0 * lip) * side


@njit(cache=True, inline="always")
def body_surfaces(x: float, y: float, p: Numbers, upper: Numbers, lower: Numbers) -> tuple[float, float]:
    """z of the lower and the upper endplate above (x, y)."""
    uu, vu = 2.0 * x / p[0], 2.0 * y / p[1]
    ul, vl = 2.0 * x / p[2], 2.0 * y / p[3]
    top = p[4] + p[5] * y + p[6] * x - p[10] * _concavity(uu, vu)
    bottom = p[7] + p[8] * y + p[9] * x + p[11] * _concavity(ul, vl)
    if p[16] > 0.0:
        top += _uncinate_lip(uu, vu, p[16])
    if p[19] > 0.0:
        top += _bilinear(upper, uu, vu)
        bottom += _bilinear(lower, ul, vl)
    return bottom, top


@njit(cache=True, inline="always")
def body_outline(x: float, y: float, t: float, p: Numbers) -> float:
    """First-order distance to the outline at the share t of the height (0 lower, 1 upper endplate)."""
    shrink = 1.0 - (1.0 - p[12]) * 4.0 * t * (1.0 - t)
    a = 0.5 * (p[2] + (p[0] - p[2]) * t) * shrink
    b = 0.5 * (p[3] + (p[1] - p[3]) * t) * shrink
    if y >= 0.0:
        return superellipse_distance(x, y, a, b, p[13])
    u2 = min((x / a) ** 2, 1.0)
    back = b * (1.0 + p[15] * 4.0 * u2 * (1.0 - u2))
    if p[17] > 0.0:  # the fragment bulges backwards
        w = 2.0 * t - 1.0
        peak = 0.6 if p[18] > 0.5 else -0.6
        d2 = u2 / 0.49 + ((w - peak) / 0.9) ** 2
        if d2 < 1.0:
            back += p[17] * (1.0 - d2) ** 2
    return superellipse_distance(x, y, a, back, p[14])


@njit(cache=True, inline="always")
def body_norms(p: Numbers) -> tuple[float, float, float, float, float, float]:
    """What `body_distance` needs of a body as a whole.

    Length of the normals (dz/dx, dz/dy, 1) of the upper and the lower rim plane; 1/a² and 1/b² of an ellipse that lies
    inside the outline at every height (powers are 2 or more); its smaller half axis; that over the larger power.
    """
    upper, lower = math.sqrt(1.0 + p[5] * p[5] + p[6] * p[6]), math.sqrt(1.0 + p[8] * p[8] + p[9] * p[9])
    a, b = 0.5 * min(p[0], p[2]) * p[12], 0.5 * min(p[1], p[3]) * p[12]
    if a <= 0.0 or b <= 0.0 or p[12] > 1.0 or min(p[13], p[14]) < 2.0 or p[15] < 0.0 or p[17] < 0.0:
        return upper, lower, 1e12, 1e12, 0.0, 0.0  # nothing is known without the outline
    return upper, lower, 1.0 / (a * a), 1.0 / (b * b), min(a, b), 0.999 * min(a, b) / max(p[13], p[14])


@njit(cache=True, inline="always")
def body_distance(
    x: float,
    y: float,
    z: float,
    p: Numbers,
    upper: Numbers,
    lower: Numbers,
    norms: tuple[float, float, float, float, float, float],
) -> float:
    """Distance to a vertebral body: between two endplate surfaces and inside the outline. `norms`: `body_norms`.

    The outline needs two powers, which take most of the time. They are left out where it cannot be the larger of the
    two distances: with r the radius in units of the inner ellipse, and m the smaller of its half axes, the outline's
    value is at most -(1 - r²) m / (power · r).
    """
    bottom, top = body_surfaces(x, y, p, upper, lower)
    above = (z - top) / norms[0]
    below = (bottom - z) / norms[1]
    ends = max(above, below)
    if ends > _FAR_ENOUGH_MM:  # the outline could only add to it
        return ends
    u, v = 2.0 * x / min(p[0], p[2]), 2.0 * y / min(p[1], p[3])
    if u * u + v * v < 0.4 and ends > -_FAR_ENOUGH_MM:  # well inside the outline, whatever its shape
        return ends
    r2 = x * x * norms[2] + y * y * norms[3]
    if r2 < 1.0:
        room = (1.0 - r2) * norms[5]
        if ends >= 0.0 or (-ends < norms[4] and ends * ends * r2 < room * room):
            return ends
    if p[16] > 0.0:  # the outline is as wide at the rim as stated; lips stand on it
        top -= _uncinate_lip(2.0 * x / p[0], 2.0 * y / p[1], p[16])
    height = max(top - bottom, 0.1)
    t = min(max((z - bottom) / height, 0.0), 1.0)
    return max(body_outline(x, y, t, p), ends)


@njit(cache=True, inline="always")
def blob_distance(p: float, q: float, t: float, blob: Numbers) -> float:
    """Distance to a tapered elliptic capsule: axis t from 0 to length, half-axes p and q, rounded or boxy ends."""
    length = blob[0]
    s = min(max(t, 0.0), length)
    share = s / length if length > 0.0 else 0.0
    rp: float = blob[1] + (blob[2] - blob[1]) * share
    rq: float = blob[3] + (blob[4] - blob[3]) * share
    re = blob[5]
    a, b, c = p / rp, q / rq, (t - s) / re
    if blob[6] > 3.0:
        a3, b3, c3 = a * a * a, b * b * b, c * c * c
        k = a3 * a + b3 * b + c3 * c
        if k < 1e-12:
            return -min(rp, rq)
        rho = math.sqrt(math.sqrt(k))
        gradient = rho / k * math.sqrt((a3 / rp) ** 2 + (b3 / rq) ** 2 + (c3 / re) ** 2)
    else:
        k = a * a + b * b + c * c
        if k < 1e-12:
            return -min(rp, rq)
        rho = math.sqrt(k)
        gradient = math.sqrt((a / rp) ** 2 + (b / rq) ** 2 + (c / re) ** 2) / rho
    distance: float = (rho - 1.0) / gradient
    return distance


@njit(cache=True, inline="always")
def canal_distance(x: float, y: float, z: float, a: Numbers) -> float:
    """Distance to the wall of a vertebra's own canal, negative inside; (x, y, z) in the vertebra's frame."""
    dy = y - a[2] - a[10] * (z - a[7])
    return superellipse_distance(x, dy, a[0], a[1], a[3] if dy >= 0.0 else a[4])


@njit(cache=True, inline="always")
def arch_distance(x: float, y: float, z: float, a: Numbers, canal: float) -> float:
    """Distance to the laminae: a shell behind the canal, its upper and lower edge running down to the midline.

    `canal` is :func:`canal_distance` at the same point, the shell's inner wall.
    """
    dy = y - a[2] - a[10] * (z - a[7])
    outer = superellipse_distance(x, dy, a[0] + a[5], a[1] + a[5], a[3] if dy >= 0.0 else a[4])
    shell = max(outer, -canal)
    share = min(max(-dy / a[1], 0.0), 1.0)
    share = share * share * (3.0 - 2.0 * share)
    z_mid = a[6] + (a[7] - a[6]) * share
    edge = abs(z - z_mid) - (a[8] + (a[9] - a[8]) * share)
    front = dy - a[11]
    round_mm = 0.4 * a[5]
    e0, e1 = max(shell + round_mm, 0.0), max(edge + round_mm, 0.0)
    rounded = math.sqrt(e0 * e0 + e1 * e1) - round_mm + min(max(shell, edge) + round_mm, 0.0)
    distance: float = max(rounded, front)
    return distance


@njit(cache=True, inline="always")
def blob_level(p: float, q: float, t: float, blob: Numbers) -> float:
    """Squared radius in units of the blob's own (fourth power for boxy ones): below 1 inside. Cheap, no root."""
    length = blob[0]
    s = min(max(t, 0.0), length)
    share = s / length if length > 0.0 else 0.0
    a = p / (blob[1] + (blob[2] - blob[1]) * share)
    b = q / (blob[3] + (blob[4] - blob[3]) * share)
    c = (t - s) / blob[5]
    a, b, c = a * a, b * b, c * c
    level: float = a * a + b * b + c * c if blob[6] > 3.0 else a + b + c
    return level


@njit(cache=True, inline="always")
def blob_limit(blob: Numbers, distance_mm: float) -> float:
    """`blob_level` beyond which a point is further than `distance_mm` outside (or, negative, deeper inside)."""
    least = min(min(blob[1], blob[2]), min(min(blob[3], blob[4]), blob[5]))
    rho = max(1.0 + distance_mm / least, 0.0)
    limit: float = rho**4 if blob[6] > 3.0 else rho * rho
    return limit


@njit(cache=True, inline="always")
def blob_reach(blob: Numbers, distance_mm: float) -> tuple[float, float, float]:
    """How far from its axis (along p and q) and beyond its ends `blob_limit` of a distance can be met at all."""
    least = min(min(blob[1], blob[2]), min(min(blob[3], blob[4]), blob[5]))
    rho = max(1.0 + distance_mm / least, 0.0) * (1.0 + 1e-9)
    return max(blob[1], blob[2]) * rho, max(blob[3], blob[4]) * rho, blob[5] * rho


@njit(cache=True, inline="always")
def arch_edge(y: float, z: float, a: Numbers) -> float:
    """A bound that needs no root: `arch_distance` is at least this where this is positive."""
    dy = y - a[2] - a[10] * (z - a[7])
    share = min(max(-dy / a[1], 0.0), 1.0)
    share = share * share * (3.0 - 2.0 * share)
    z_mid = a[6] + (a[7] - a[6]) * share
    distance: float = max(abs(z - z_mid) - (a[8] + (a[9] - a[8]) * share), dy - a[11])
    return distance


def empty_offsets() -> np.ndarray:
    """Two zero fields (2, 33, 33) float32, for bodies without offsets."""
    return np.zeros((2, 33, 33), dtype=np.float32)
