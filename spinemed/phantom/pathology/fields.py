"""Endplate offset fields: how a fracture, a pit or a variant moves the two endplates of a body.

Convention: a field is a float32 grid (33, 33) over the endplate, `grid[j, i]` at v = -1 + j/16 from the posterior (-1)
to the anterior (+1) rim and u = -1 + i/16 from the left (-1) to the right (+1) rim: v runs along +y and u along +x of
the vertebra's own frame, each endplate scaled by its own width and depth. Between nodes a field is bilinear. A value is
what is **added to z** of that endplate, in mm: a collapsed upper endplate has negative values, a collapsed lower one
positive values.

Height loss is stated, not fitted by eye: the mean height over a third of the depth falls by exactly the stated share of
the healthy mean (:func:`fracture_offsets`). Healthy heights include the endplates' concavity and both wedges.

The trap: the number belongs to the definition. Thirds are thirds of the depth between the rims (v in [-1, -1/3],
[-1/3, 1/3], [1/3, 1]), heights run along the own frame's z, and means are over area; a height read along the tilted
endplate normal, at the rim only or at the deepest point is another number.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import SpineMedError

if TYPE_CHECKING:
    from spinemed.phantom.spine.records import BodyShape

__all__ = [
    "GRID_SIZE",
    "THIRDS",
    "Grid",
    "band_mean",
    "bowl",
    "bump",
    "concavity_profile",
    "fracture_offsets",
    "healthy_height",
    "inside_outline",
    "node_uv",
    "retropulsion_profile",
    "zero_grid",
]

Array = NDArray[np.float64]
Grid = NDArray[np.float32]

GRID_SIZE = 33
THIRDS: tuple[tuple[str, float, float], ...] = (
    ("posterior", -1.0, -1 / 3),
    ("middle", -1 / 3, 1 / 3),
    ("anterior", 1 / 3, 1.0),
)
"""Name and v-range of each third of the depth."""
CENTRAL_BAND = 1 / 3
"""The central band is |u| up to this: the middle third of the width."""
OUTLINE_POWER = 2.5
"""The whole width is the inside of |u|^p + |v|^p = 1, a rounded outline between an ellipse and a rectangle."""
_LEAST_REMAINING = 0.08
"""A fracture leaves at least this share of the healthy height standing everywhere."""
_RAMPS = (1 / 3, 1 / 4, 1 / 6, 1 / 10, 1 / 16)


def node_uv() -> tuple[Array, Array]:
    """The nodes' coordinates (u, v), each (33, 33) with v along axis 0 and u along axis 1."""
    line = np.linspace(-1.0, 1.0, GRID_SIZE)
    v, u = np.meshgrid(line, line, indexing="ij")
    return u, v


def zero_grid() -> Grid:
    """A field that moves nothing, (33, 33) float32."""
    return np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.float32)


def inside_outline(u: ArrayLike, v: ArrayLike) -> NDArray[np.bool_]:
    """Whether points lie within the endplate's rounded outline |u|^2.5 + |v|^2.5 <= 1."""
    inside: NDArray[np.bool_] = np.abs(np.asarray(u)) ** OUTLINE_POWER + np.abs(np.asarray(v)) ** OUTLINE_POWER <= 1.0
    return inside


def concavity_profile(u: ArrayLike, v: ArrayLike) -> Array:
    """Depth of a healthy endplate below its rim plane as a share of its concavity: (1 - u²)(1 - v²), 0 outside.

    One at the centre, zero at all rims, so that rim heights are those of the record. The healthy height field that
    losses are taken from uses it; a body drawn with another bowl of the same depth moves the stated losses by the
    difference of the two means.
    """
    across, along = np.asarray(u, dtype=float), np.asarray(v, dtype=float)
    profile: Array = np.clip(1 - across**2, 0, None) * np.clip(1 - along**2, 0, None)
    return profile


def healthy_height(shape: BodyShape, u: ArrayLike, v: ArrayLike) -> Array:
    """Height of a healthy body at (u, v), from the lower to the upper endplate along z, in mm.

    Rim planes that fall linearly from the anterior to the posterior height, tilted sideways by the coronal wedge, less
    the two concavities.
    """
    across, along = np.asarray(u, dtype=float), np.asarray(v, dtype=float)
    half_width = (shape.upper_width_mm + shape.lower_width_mm) / 4
    plane = (
        shape.height_mm
        + (shape.anterior_height_mm - shape.posterior_height_mm) / 2 * along
        + np.tan(np.radians(shape.lateral_wedge_deg)) * half_width * across
    )
    height: Array = plane - (shape.upper_concavity_mm + shape.lower_concavity_mm) * concavity_profile(across, along)
    return height


def bump(u0: float, v0: float, radius_u: float, radius_v: float) -> Grid:
    """A smooth bump of height 1 at (u0, v0), (1 - d²)² inside an ellipse of the given radii and zero outside."""
    u, v = node_uv()
    squared = ((u - u0) / radius_u) ** 2 + ((v - v0) / radius_v) ** 2
    grid: Grid = (np.clip(1 - squared, 0, None) ** 2).astype(np.float32)
    return grid


def bowl(u0: float, v0: float, radius_u: float, radius_v: float) -> Grid:
    """A pit with steep walls and a round floor, depth 1: sqrt(1 - d²) inside an ellipse, zero outside."""
    u, v = node_uv()
    squared = ((u - u0) / radius_u) ** 2 + ((v - v0) / radius_v) ** 2
    grid: Grid = np.sqrt(np.clip(1 - squared, 0, None)).astype(np.float32)
    return grid


# --- means over regions ----------------------------------------------------------------------------------------------


@cache
def _fine(refine: int = 8) -> tuple[Array, Array, Array]:
    """Midpoint quadrature: u and v of the points (n, n), and the matrix (n, 33) of linear interpolation along one axis.

    768 cells per axis: divisible by three, so that the borders of the thirds fall between cells.
    """
    count = 96 * refine
    line = -1 + (np.arange(count) + 0.5) * 2 / count
    v, u = np.meshgrid(line, line, indexing="ij")
    position = (line + 1) / 2 * (GRID_SIZE - 1)
    low = np.minimum(position.astype(int), GRID_SIZE - 2)
    share = position - low
    matrix = np.zeros((count, GRID_SIZE))
    matrix[np.arange(count), low] = 1 - share
    matrix[np.arange(count), low + 1] = share
    for array in (u, v, matrix):
        array.setflags(write=False)
    return u, v, matrix


@cache
def _weights(low: float, high: float, *, band: bool) -> Array:
    """(33, 33) weights w with sum(w * grid) = mean of the bilinear field over a third: central band or whole width."""
    u, v, matrix = _fine()
    inside = (v > low) & (v < high) & ((np.abs(u) < CENTRAL_BAND) if band else inside_outline(u, v))
    weights: Array = matrix.T @ (inside / inside.sum()) @ matrix
    weights.setflags(write=False)
    return weights


def band_mean(grid: ArrayLike, third: str, *, band: bool = True) -> float:
    """Mean of a bilinear field over one third of the depth.

    Args:
        grid: (33, 33) values at the nodes.
        third: "anterior", "middle" or "posterior".
        band: Over the central band |u| <= 1/3; False: over the whole width inside the outline.

    Raises:
        SpineMedError: an unknown third or another shape of grid.
    """
    values = np.asarray(grid, dtype=float)
    if values.shape != (GRID_SIZE, GRID_SIZE):
        raise SpineMedError(f"a field of shape {values.shape}", field="grid", cure="give a (33, 33) grid")
    for name, low, high in THIRDS:
        if name == third:
            return float((_weights(low, high, band=band) * values).sum())
    raise SpineMedError(f"{third!r} is no third", field="third", cure="use anterior, middle or posterior")


# --- fracture --------------------------------------------------------------------------------------------------------


def _smoothstep(x: Array) -> Array:
    t = np.clip(x, 0, 1)
    result: Array = t * t * (3 - 2 * t)
    return result


def _plateaus(losses: tuple[float, float, float], v: Array, ramp: float) -> Array:
    """(3, ...) partition of unity over v: posterior, middle, anterior plateaus with smooth steps of width `ramp`.

    A step lies wholly in the third that loses more, beside the border: the third that loses less keeps a constant
    value, which is then its own stated loss, so that no height is ever gained to reach a mean.
    """
    posterior, middle, anterior = losses
    border = 1 / 3
    start_back = -border - ramp if posterior > middle else -border
    start_front = border - ramp if middle > anterior else border
    past_back = _smoothstep((v - start_back) / ramp)
    past_front = _smoothstep((v - start_front) / ramp)
    return np.stack([1 - past_back, past_back - past_front, past_front])


@lru_cache(maxsize=256)
def _drop(shape: BodyShape, losses: tuple[float, float, float]) -> Array:
    """The fall of height (33, 33) in mm for (posterior, middle, anterior) losses in percent."""
    u, v = node_uv()
    height = healthy_height(shape, u, v)
    for ramp in _RAMPS:
        steps = _plateaus(losses, v, ramp)
        basis = [step * height * factor for factor in (1.0, u**2) for step in steps]
        rows, wanted = [], []
        for band in (True, False):
            for (_, low, high), loss in zip(THIRDS, losses):
                weights = _weights(low, high, band=band)
                rows.append([float((weights * field).sum()) for field in basis])
                wanted.append(loss / 100 * float((weights * height).sum()))
        drop: Array = np.tensordot(np.linalg.solve(np.array(rows), np.array(wanted)), np.array(basis), axes=1)
        if (height - drop).min() >= _LEAST_REMAINING * height.min():
            drop.setflags(write=False)
            return drop
    raise SpineMedError(
        f"losses of {losses[2]:g}, {losses[1]:g} and {losses[0]:g} % (front, middle, back) leave no bone between",
        field="losses",
        cure="bring the thirds closer together or the largest loss down",
    )


def fracture_offsets(
    shape: BodyShape,
    anterior_loss_percent: float,
    middle_loss_percent: float,
    posterior_loss_percent: float,
    upper_share: float,
) -> tuple[Grid, Grid]:
    """Offsets of the upper and lower endplate of a compression fracture with the stated losses.

    Definition: for each third of the depth, the mean over its area of the fractured height (upper minus lower endplate
    along z) is (1 - loss/100) times the mean of :func:`healthy_height` over the same area. It holds twice: over the
    central band |u| <= 1/3 and over the whole width inside the outline. The field is the healthy height times smooth
    steps along v, bent slightly along u; its six coefficients solve the six conditions exactly on the bilinear grid.
    Each endplate takes its share of the fall at every point. Thirds as in Genant 1993 (anterior, middle, posterior).

    Args:
        shape: The healthy body.
        anterior_loss_percent, middle_loss_percent, posterior_loss_percent: 0 to 70.
        upper_share: Share of the fall borne by the upper endplate, 0 to 1.

    Raises:
        SpineMedError: a loss outside 0-70 %, a share outside 0-1, or losses so unlike that a third would vanish.
    """
    losses = (float(posterior_loss_percent), float(middle_loss_percent), float(anterior_loss_percent))
    if not all(0 <= loss <= 70 for loss in losses):
        raise SpineMedError(f"losses of {losses} %", field="losses", cure="use 0 to 70 % for each third")
    if not 0 <= upper_share <= 1:
        raise SpineMedError(f"a share of {upper_share}", field="upper_share", cure="use 0 to 1")
    drop = _drop(shape, losses)
    return (-upper_share * drop).astype(np.float32), ((1 - upper_share) * drop).astype(np.float32)


def retropulsion_profile(u: ArrayLike, w: ArrayLike, *, upper: bool = True) -> Array:
    """How far the posterior wall bulges backwards, as a share of the stated retropulsion.

    Args:
        u: -1 left to +1 right along the wall.
        w: -1 at the lower to +1 at the upper rim.
        upper: Whether the fragment is the upper corner (the usual place, beside the endplate that broke).

    Returns:
        1 in the midline two thirds up (or down), falling smoothly to 0 at |u| = 0.7 and at 0.9 above or below the
        peak: the wall stays closed, and the stated amount is its largest value.
    """
    across, up = np.asarray(u, dtype=float), np.asarray(w, dtype=float)
    peak = 0.6 if upper else -0.6
    squared = (across / 0.7) ** 2 + ((up - peak) / 0.9) ** 2
    profile: Array = np.clip(1 - squared, 0, None) ** 2
    return profile
