"""The body of a vertebra out of a mask of the whole vertebra, and the front direction that the arch gives.

How: in the midsagittal band one walks back from the body until the mask ends; behind a body there is always the canal.
A smooth wall through these places separates the body from pedicles and arch, and what is thinner than a third of the
body (costal and transverse processes, rib heads left in the mask) is cut off at the sides.

What it costs against a true body mask is stated in the package's README. The trap: where the canal is closed (a whole
block of bone, metal, a mask grown together) there is no way back to walk, and the body is refused, not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.measure.field import BodyFrame, Field, crop, field_of, frame_from_hints

__all__ = ["Separated", "front_direction", "separate_body"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

_BAND_MM = 8.0  # half-width of the band in which the way back is walked
_LEAST_GAP_MM = 3.0  # a canal is wider than this; a hole in a mask is not
_LEAST_SHARE = 0.5  # of the body's height must show the canal behind it
_LEAST_BEHIND = 0.1  # of the columns that reach the canal must meet bone again behind it: else there is no arch


@dataclass(frozen=True, eq=False)
class Separated:
    """The body of one vertebra.

    Attributes:
        mask: (I, J, K) True in the body, on the grid given by `affine` (a cut of the vertebra's own).
        affine: Its voxel-to-world matrix.
        anterior: (3,) Unit vector to the front, from arch to body.
    """

    mask: Mask
    affine: Array
    anterior: Array


def front_direction(body_mm: ArrayLike, behind_mm: ArrayLike, up: ArrayLike) -> Array:
    """Unit vector from what lies behind (arch or canal) to the body, across the up axis.

    Args:
        body_mm: (3,) Centre of the body.
        behind_mm: (3,) Centre of the arch or of the canal at this level.
        up: (3,) Up axis.
    """
    frame = frame_from_hints(np.zeros(3), up, np.asarray(body_mm, float) - np.asarray(behind_mm, float))
    direction: Array = frame.axes[1]
    return direction


def separate_body(
    mask: NDArray[np.bool_],
    affine: ArrayLike,
    *,
    anterior_hint: ArrayLike = (0.0, 1.0, 0.0),
    up_hint: ArrayLike = (0.0, 0.0, 1.0),
) -> Separated:
    """Cut the arch off a vertebra.

    Args:
        mask: (I, J, K) True in the whole vertebra.
        affine: Its voxel-to-world matrix.
        anterior_hint: Front direction, within about 40° of the vertebra's own.
        up_hint: Cranial direction, within about 30°.

    Raises:
        VolumeError: no canal is found behind the body, or nothing remains in front of it.
    """
    solid, matrix = crop(np.asarray(mask, dtype=bool), np.array(affine, dtype=np.float64))
    index = np.argwhere(solid)
    world = index @ matrix[:3, :3].T + matrix[:3, 3]
    frame = frame_from_hints(world.mean(axis=0), up_hint, anterior_hint)
    for _ in range(4):  # the body is what lies in front of the middle of the whole; the arch what lies behind
        local = frame.to_local(world)
        ahead = local[:, 1] > 0
        if ahead.all() or not ahead.any():
            raise _inseparable("the mask has no front and back")
        centre = world[ahead].mean(axis=0)
        direction = front_direction(centre, world[~ahead].mean(axis=0), frame.axes[2])
        frame = frame_from_hints(frame.centre_mm, frame.axes[2], direction)
    start = frame.to_local(centre)
    field = field_of(solid, matrix)
    wall = _wall(field, frame, local, start)
    local = frame.to_local(world)
    keep = local[:, 1] > wall(local[:, 0] - start[0], local[:, 2] - start[2])
    body = np.zeros_like(solid)
    body[tuple(index[keep].T)] = True
    body = _trimmed(body, matrix, frame, start)
    body, matrix = crop(body, matrix)
    return Separated(body, matrix, frame.axes[1])


def _inseparable(why: str) -> VolumeError:
    return VolumeError(
        f"the body cannot be told from the arch: {why}",
        field="mask",
        cure="give a mask of the bodies, or check that the mask is one whole vertebra",
    )


class _Wall:
    """y of the posterior wall over (x, z), a quadratic that stays level beyond the band it was seen in."""

    def __init__(self, weights: Array, reach: tuple[float, float, float, float]) -> None:
        self.weights, self.reach = weights, reach

    def __call__(self, x: Array, z: Array) -> Array:
        low_x, high_x, low_z, high_z = self.reach
        return _terms(np.clip(x, low_x, high_x), np.clip(z, low_z, high_z)) @ self.weights


def _terms(x: Array, z: Array) -> Array:
    return np.stack([np.ones_like(x), x, z, x * x, z * z], axis=-1)


def _wall(field: Field, frame: BodyFrame, local: Array, start: Array) -> _Wall:
    """Walk back from the body in every column of the band, and fit the places where the mask ends."""
    low, high = local.min(axis=0) - 2, local.max(axis=0) + 2
    step = 1.0
    origin = np.array([start[0] - _BAND_MM, low[1], low[2]])
    shape = (int(2 * _BAND_MM / step) + 1, int((high[1] - low[1]) / step) + 1, int((high[2] - low[2]) / step) + 1)
    solid = field.sample(frame, origin, np.full(3, step), shape) >= 0.5
    y = origin[1] + step * np.arange(shape[1])
    x = origin[0] + step * np.arange(shape[0]) - start[0]
    z = origin[2] + step * np.arange(shape[2]) - start[2]
    from_row = int(np.argmin(np.abs(y - start[1])))
    back = solid[:, from_row::-1, :]  # along axis 1 one walks to the back
    leaves = np.argmax(~back, axis=1)
    gap = int(np.ceil(_LEAST_GAP_MM / step))
    starts = back[:, 0, :] & (leaves > 0)
    free = np.ones(starts.shape, dtype=bool)
    for further in range(gap):
        at = np.minimum(leaves + further, back.shape[1] - 1)
        free &= ~np.take_along_axis(back, at[:, None, :], axis=1)[:, 0, :]
    seen = starts & free
    body_rows = back[:, 0, :].any(axis=0)
    central = np.abs(x) <= 3.0
    share = float(seen[central].any(axis=0)[body_rows].mean()) if body_rows.any() else 0.0
    if share < _LEAST_SHARE:
        raise _inseparable("no canal shows behind it in the midline")
    walked = np.arange(back.shape[1])[None, :, None] > leaves[:, None, :]
    if float((back & walked).any(axis=1)[seen].mean()) < _LEAST_BEHIND:
        raise _inseparable("no arch shows behind it; a mask of bodies alone is to be given as one")
    grid_x, grid_z = np.meshgrid(x, z, indexing="ij")
    px, pz = grid_x[seen], grid_z[seen]
    # The last sample inside and the first outside: the surface lies midway on average.
    py = y[from_row] - step * (leaves[seen] - 0.5)
    # Columns that ran on through a pedicle ended far behind: start from the wall's typical place in the midline.
    typical = float(np.median(py[np.abs(px) <= 3.0]))  # there are some: the share above is of these columns
    weights = (np.abs(py - typical) < 6.0).astype(np.float64)
    design = _terms(px, pz)
    solution = np.zeros(design.shape[1])
    for _ in range(8):
        root = np.sqrt(weights)
        solution = np.linalg.lstsq(design * root[:, None], py * root, rcond=None)[0]
        rest = py - design @ solution
        scale = max(1.4826 * float(np.median(np.abs(rest[weights > 0]))), 0.4)
        weights = np.clip(1.0 - (rest / (4.685 * scale)) ** 2, 0.0, None) ** 2
    used = weights > 0.1
    return _Wall(
        np.asarray(solution),
        (float(px[used].min()), float(px[used].max()), float(pz[used].min()), float(pz[used].max())),
    )


def _side(x: Array, middle: float, direction: int, spacing: float) -> float:
    """Side of the body: going outwards, its section falls below a third of the full one, and on until it falls no more.

    In the neck the transverse processes stand beside the body: where they begin the section stays level or grows.

    Args:
        x: Places of the body's voxels.
        middle: Place of its midline.
        direction: +1 to the right, -1 to the left.
        spacing: Distance of the voxels from right to left; the section is taken over two of them.
    """
    fine = 0.5
    away = direction * (x - middle)
    wide = max(3, round(2 * spacing / fine))
    counts = np.bincount(np.maximum((away + 8.0) / fine, 0.0).astype(int)).astype(np.float64)
    section = np.convolve(np.concatenate([counts, np.zeros(wide)]), np.full(wide, 1.0 / wide), mode="same")
    section = section[round(8.0 / fine) :]
    if len(section) < 12:
        return middle + direction * float(away.max())
    full, ahead = float(np.median(section[:8])), max(2, wide // 2)
    for at in range(8, len(section) - ahead):
        level_off = section[at] < 0.35 * full and section[at + ahead] >= 0.9 * section[at]
        if section[at] < 0.05 * full or level_off:
            return middle + direction * (at + 1.0) * fine
    return middle + direction * float(away.max())


def _trimmed(body: Mask, affine: Array, frame: BodyFrame, start: Array) -> Mask:
    """Cut off what sticks out of the body: thin processes, and what is wider than the body's front part."""
    from scipy.ndimage import distance_transform_edt, label

    cut, moved = crop(body, affine)
    spacing = tuple(float(size) for size in np.linalg.norm(moved[:3, :3], axis=0))
    padded = np.pad(cut, 1)
    inner = distance_transform_edt(padded, sampling=spacing)
    radius = 0.35 * float(inner.max())
    core = inner > radius
    parts, count = label(core)
    if count > 1:
        core = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    near = distance_transform_edt(~core, sampling=spacing) <= 1.6 * radius + max(spacing)
    kept = (padded & near)[1:-1, 1:-1, 1:-1]
    index = np.argwhere(kept)
    local = frame.to_local(index @ moved[:3, :3].T + moved[:3, 3])
    y = local[:, 1]
    low, high = np.quantile(y, (0.02, 0.98))
    ahead = (y > low + 0.45 * (high - low)) & (y < low + 0.85 * (high - low))
    if ahead.sum() < 30:
        raise _inseparable("too little lies in front of the canal")
    left, right = np.quantile(local[ahead, 0], (0.003, 0.997))
    across = 1.0 / float(np.linalg.norm(np.linalg.inv(moved[:3, :3]) @ frame.axes[0]))
    left = max(left - 1.0, _side(local[:, 0], start[0], -1, across))
    right = min(right + 1.0, _side(local[:, 0], start[0], +1, across))
    inside = (local[:, 0] >= left) & (local[:, 0] <= right)
    result = np.zeros_like(cut)
    result[tuple(index[inside].T)] = True
    parts, count = label(result)
    if count > 1:
        result = parts == np.argmax(np.bincount(parts.ravel())[1:]) + 1
    whole = np.zeros_like(body)
    corner = np.rint(np.linalg.inv(affine[:3, :3]) @ (moved[:3, 3] - affine[:3, 3])).astype(int)
    whole[tuple(slice(int(c), int(c) + n) for c, n in zip(corner, result.shape, strict=True))] = result
    return whole
