"""The shape of a vertebral body as a vector of fixed length, and back again: the space in which bodies are completed.

A body is described in its own frame (:func:`spinemed.measure.fit_body`), in millimetres, by 15 rings of 24 directions:
the heights of its upper endplate on four rings at growing shares of the way to the wall, those of its lower endplate on
the same rings, and the distance of the wall on seven levels between the endplates. Two places of the same number in two
bodies are the same place anatomically, so that vectors may be averaged, regressed and scaled.

The trap: the wall is seen from the middle, one distance per direction; what lies behind a fold (the root of a pedicle
left on the body) is cut off. And a height belongs to a place relative to the wall, so a wider body of the same heights
has another vector only in its wall.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import VolumeError
from spinemed.measure import Body
from spinemed.measure.field import BodyFrame

__all__ = [
    "DIRECTIONS",
    "LENGTH",
    "LEVELS",
    "RINGS",
    "describe_body",
    "draw_shape",
    "heights_of_shape",
    "set_heights",
    "shape_walls",
    "split_shape",
]

Array = NDArray[np.float64]

DIRECTIONS = 24
RINGS = (0.2, 0.5, 0.75, 0.92)
"""Shares of the way from the middle to the wall at which endplates are read."""
LEVELS = (-0.92, -0.7, -0.35, 0.0, 0.35, 0.7, 0.92)
"""Places of the wall between the lower (-1) and the upper (1) endplate."""
LENGTH = DIRECTIONS * (2 * len(RINGS) + len(LEVELS))

_ANGLES = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS  # from the front, turning to the right
_STEP = 0.5
_FARTHEST_MM = 45.0


def split_shape(vector: NDArray[np.floating]) -> tuple[Array, Array, Array]:
    """Upper (4, 24) and lower (4, 24) endplate heights, and wall (7, 24), mm, of one vector.

    Raises:
        VolumeError: another length.
    """
    values = np.asarray(vector, dtype=np.float64)
    if values.shape != (LENGTH,):
        raise VolumeError(
            f"a shape of {values.shape} numbers", field="shape", cure=f"give {LENGTH}, as describe_body does"
        )
    rings = values.reshape(-1, DIRECTIONS)
    k = len(RINGS)
    return rings[:k], rings[k : 2 * k], rings[2 * k :]


def describe_body(body: Body) -> NDArray[np.float32]:
    """(LENGTH,) float32, mm: the shape of a fitted body.

    Raises:
        VolumeError: no wall is met in some direction.
    """
    y, upper, lower = body.profile()
    if len(y) < 2:
        raise VolumeError("the body has no midsagittal profile", field="mask", cure="use a whole body's mask")
    ways = np.arange(2.0, _FARTHEST_MM, _STEP)
    x_of, y_of = ways[None] * np.sin(_ANGLES)[:, None], ways[None] * np.cos(_ANGLES)[:, None]
    over, under = np.interp(y_of, y, upper), np.interp(y_of, y, lower)
    wall = _walls(body, x_of, y_of, over, under, ways)
    reach = wall.max(axis=0)
    shares = np.array(RINGS)[:, None] * reach[None]
    plates = [_plate(body, plate, shares) for plate in (body.upper_mm, body.lower_mm)]
    return np.concatenate([plates[0].ravel(), plates[1].ravel(), wall.ravel()]).astype(np.float32)


def _walls(body: Body, x: Array, y: Array, over: Array, under: Array, ways: Array) -> Array:
    """(levels, directions) first distance at which a ray leaves the body."""
    found = np.empty((len(LEVELS), DIRECTIONS))
    middle, half = (over + under) / 2, (over - under) / 2
    for row, level in enumerate(LEVELS):
        local = np.stack([x, y, middle + level * half], axis=-1)
        values = body.field_.at(body.frame.to_world(local.reshape(-1, 3)).reshape(local.shape))
        outside = values < 0.5
        if not outside.any(axis=1).all():
            raise VolumeError("the body has no wall on one side", field="mask", cure="use a mask of one body")
        first = np.maximum(outside.argmax(axis=1), 1)
        rows = np.arange(DIRECTIONS)
        inner, outer = values[rows, first - 1], values[rows, first]
        part = np.clip((inner - 0.5) / np.maximum(inner - outer, 1e-6), 0.0, 1.0)
        found[row] = ways[first - 1] + _STEP * part
    return found


def _plate(body: Body, heights: Array, reach: Array) -> Array:
    """(rings, directions) heights of an endplate; beyond its known part the nearest known height."""
    from scipy.ndimage import distance_transform_edt, map_coordinates

    unknown = ~np.isfinite(heights)
    if unknown.all():
        raise VolumeError("the body has no endplate", field="mask", cure="use a whole body's mask")
    nearest = distance_transform_edt(unknown, return_distances=False, return_indices=True)
    filled = heights[tuple(nearest)]
    i = (reach * np.sin(_ANGLES) - body.x_mm[0]) / (body.x_mm[1] - body.x_mm[0])
    j = (reach * np.cos(_ANGLES) - body.y_mm[0]) / (body.y_mm[1] - body.y_mm[0])
    return np.asarray(map_coordinates(filled, [i, j], order=1, mode="nearest"))


def _rings(values: Array, share: Array, angle: Array, places: tuple[float, ...]) -> Array:
    """Values of rings at shares (clamped to the rings) and angles (closed round)."""
    from scipy.ndimage import map_coordinates

    row = np.interp(share, places, np.arange(len(places)))
    turned = np.concatenate([values, values[:, :1]], axis=1)
    column = np.mod(angle, 2 * np.pi) * DIRECTIONS / (2 * np.pi)
    return np.asarray(map_coordinates(turned, [row, column], order=1, mode="nearest"))


def draw_shape(
    vector: NDArray[np.floating], frame: BodyFrame, affine: Array, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Share of each voxel of a grid in a body, the surface at 0.5.

    Args:
        vector: (LENGTH,) the shape, mm.
        frame: Where the body lies.
        affine: (4, 4) voxel to world of the grid.
        shape: Of the grid.

    Raises:
        VolumeError: a vector of another length.
    """
    upper, lower, wall = split_shape(vector)
    reach = wall.max(axis=0, keepdims=True)
    spacing = float(np.linalg.norm(affine[:3, :3], axis=0).mean())
    out = np.zeros(shape, dtype=np.float32)
    farthest = float(np.hypot(reach.max(), max(np.abs(upper).max(), np.abs(lower).max()))) + 2 * spacing
    centre = np.linalg.solve(affine[:3, :3], frame.centre_mm - affine[:3, 3])
    first = np.clip(np.floor(centre - farthest / spacing).astype(int), 0, None)
    last = np.minimum(np.ceil(centre + farthest / spacing).astype(int) + 1, shape)
    if (last <= first).any():
        return out
    box = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in box), indexing="ij"), -1)
    local = frame.to_local(index @ affine[:3, :3].T + affine[:3, 3])
    x, y, z = local[..., 0], local[..., 1], local[..., 2]
    away, angle = np.hypot(x, y), np.arctan2(x, y)
    share = away / _rings(reach, np.zeros_like(away), angle, (0.0,))
    over, under = _rings(upper, share, angle, RINGS), _rings(lower, share, angle, RINGS)
    between = (z - (over + under) / 2) / np.maximum((over - under) / 2, 1e-3)
    inside = np.minimum(np.minimum(over - z, z - under), _rings(wall, between, angle, LEVELS) - away)
    out[box] = np.clip(0.5 + inside / spacing, 0.0, 1.0)
    return out


def heights_of_shape(vector: NDArray[np.floating]) -> tuple[float, float, float]:
    """Anterior, middle and posterior height (mm) of a shape: means over the thirds of its depth near the midplane.

    Read from the vector alone; :meth:`spinemed.measure.Body.heights_of_thirds_mm` of the drawn body differs by some
    tenths of a millimetre.
    """
    upper, lower, wall = split_shape(vector)
    reach = wall.max(axis=0, keepdims=True)
    front, back = float(reach[0, 0]), -float(reach[0, DIRECTIONS // 2])
    y = np.linspace(back, front, 62)[1:-1]
    x = np.array([-3.0, 0.0, 3.0])
    across, along = np.meshgrid(x, y, indexing="ij")
    away, angle = np.hypot(across, along), np.arctan2(across, along)
    share = away / _rings(reach, np.zeros_like(away), angle, (0.0,))
    tall = (_rings(upper, share, angle, RINGS) - _rings(lower, share, angle, RINGS)).mean(axis=0)
    part = np.clip(((y - back) / (front - back) * 3).astype(int), 0, 2)
    thirds = [float(tall[part == k].mean()) for k in (2, 1, 0)]
    return thirds[0], thirds[1], thirds[2]


def shape_walls(vector: NDArray[np.floating]) -> tuple[float, float]:
    """Back and front (mm, in body coordinates) of the depth that both ends of the wall share at the midplane."""
    _, _, wall = split_shape(vector)
    ends = wall[[0, -1]]
    return -float(ends[:, DIRECTIONS // 2].min()), float(ends[:, 0].min())


def set_heights(vector: NDArray[np.floating], thirds_mm: tuple[float, float, float]) -> NDArray[np.float32]:
    """The shape with its endplates moved apart or together until its thirds have these heights.

    The factor runs linearly from the middle of one third to that of the next, and stays the same beyond and across.

    Raises:
        VolumeError: a height that is not positive.
    """
    if not all(np.isfinite(height) and height > 0 for height in thirds_mm):
        raise VolumeError(f"heights of {thirds_mm} mm", field="thirds", cure="give positive heights")
    values = np.array(vector, dtype=np.float64)
    _, _, wall = split_shape(values)
    reach = wall.max(axis=0)
    front, back = float(reach[0]), -float(reach[DIRECTIONS // 2])
    places = back + (front - back) * np.array([1, 3, 5]) / 6
    y = np.array(RINGS)[:, None] * reach[None] * np.cos(_ANGLES)[None]
    size = len(RINGS) * DIRECTIONS
    for _ in range(3):  # thirds are means over sloping factors: a few rounds meet them
        now = heights_of_shape(values)
        factors = np.array(thirds_mm) / np.array(now)
        grown = np.interp(y, places, factors[::-1]).ravel()
        middle = (values[:size] + values[size : 2 * size]) / 2
        half = (values[:size] - values[size : 2 * size]) / 2 * grown
        values[:size], values[size : 2 * size] = middle + half, middle - half
    return values.astype(np.float32)
