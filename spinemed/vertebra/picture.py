"""The midsagittal picture of a graded spine: the picture or the mask behind, and every fitted body's outline in front.

Convention: rows run downwards, the front is on the left, as a sagittal slice is hung. The layer follows the spine from
side to side: at each height it passes through the middle of the bodies there (:func:`midsagittal`), so that a scoliotic
spine is cut in its middle at every level, while lengths along the front and upwards stay the patient's.

The trap: in a spine bent strongly to the side the picture is therefore no plane slice, and it says nothing about the
bend; the outlines are those of the fits, between the voxels, and so may differ from the mask behind by a voxel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.measure import Body
from spinemed.vertebra.files import Loaded
from spinemed.volume import WINDOWS, Volume, percentile_window, to_uint8

__all__ = ["Midsagittal", "Outline", "midsagittal"]

Array = NDArray[np.float64]

_PIXEL_MM = 0.75
_FRONT_MM, _BACK_MM, _BEYOND_MM = 45.0, 75.0, 37.0
"""Drawn beyond the middles of the bodies: ahead, behind, and above and below."""
_BONE, _PALE = (226, 224, 216), (250, 250, 248)


@dataclass(frozen=True)
class Outline:
    """One body in the picture: its outline and its middle, pixels (x, y)."""

    level: Level
    points: tuple[tuple[float, float], ...]
    middle: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Midsagittal:
    """The picture.

    Attributes:
        pixels: (H, W, 3) uint8.
        pixel_mm: Side of a pixel.
        outlines: Of the bodies, head to foot.
        behind: What is shown: "image" or "mask".
        sideways_mm: How far the layer moves from side to side.
    """

    pixels: NDArray[np.uint8]
    pixel_mm: float
    outlines: tuple[Outline, ...]
    behind: str
    sideways_mm: float


def midsagittal(loaded: Loaded, bodies: dict[Level, Body]) -> Midsagittal:
    """Draw a scan.

    Args:
        loaded: The mask, and the image if there is one.
        bodies: Fitted bodies, head to foot.

    Raises:
        VolumeError: no body was fitted.
    """
    if not bodies:
        raise VolumeError("no body to draw", file=loaded.mask.source or None, cure="give a mask with whole vertebrae")
    points = np.array([body.frame.centre_mm for body in bodies.values()])
    points = points[np.argsort(points[:, 2])]
    low, high = _extent(loaded, points)
    count = int((high[2] - low[2]) / _PIXEL_MM) + 1
    wide = int((high[1] - low[1]) / _PIXEL_MM) + 1
    z = high[2] - _PIXEL_MM * np.arange(count)
    y = high[1] - _PIXEL_MM * np.arange(wide)
    x = np.interp(z, points[:, 2], points[:, 0])
    world = np.stack(np.broadcast_arrays(x[:, None], y[None, :], z[:, None]), axis=-1)
    if loaded.image is not None:
        pixels, behind = _grey(loaded.image, world), "image"
    else:
        pixels, behind = _silhouette(loaded.mask.volume, world), "mask"
    outlines = tuple(_outline(level, body, high) for level, body in bodies.items())
    return Midsagittal(pixels, _PIXEL_MM, outlines, behind, float(np.ptp(x)))


def _extent(loaded: Loaded, points: Array) -> tuple[Array, Array]:
    """The box to draw, world mm: around the bodies, within the volume but for the front, where the names stand."""
    mask = loaded.mask
    corners = np.array([[i, j, k] for i in (0, mask.shape[0]) for j in (0, mask.shape[1]) for k in (0, mask.shape[2])])
    edges = (corners - 0.5) @ mask.affine[:3, :3].T + mask.affine[:3, 3]
    low = np.maximum(points.min(axis=0) - np.array([0, _BACK_MM, _BEYOND_MM]), edges.min(axis=0))
    high = np.minimum(points.max(axis=0) + np.array([0, _FRONT_MM, _BEYOND_MM]), edges.max(axis=0))
    high[1] = points[:, 1].max() + _FRONT_MM
    return low, high


def _sampled(volume: Volume, world: Array, order: int, beyond: float) -> Array:
    from scipy.ndimage import map_coordinates

    index = (world - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    data = np.asarray(volume.data)
    if order:
        data = data.astype(np.float32)
    return np.asarray(map_coordinates(data, np.moveaxis(index, -1, 0), order=order, mode="constant", cval=beyond))


def _grey(image: Volume, world: Array) -> NDArray[np.uint8]:
    window = WINDOWS["bone"] if image.unit == "HU" else percentile_window(image.data)
    grey = to_uint8(_sampled(image, world, 1, float(image.data.min())), window)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _silhouette(mask: Volume, world: Array) -> NDArray[np.uint8]:
    labels = _sampled(mask, world, 0, 0)
    pixels = np.full((*labels.shape, 3), _PALE, np.uint8)
    pixels[labels != 0] = _BONE
    # Where two vertebrae meet, a line between them.
    change = np.zeros(labels.shape, bool)
    change[:-1] |= (labels[:-1] != labels[1:]) & (labels[:-1] != 0) & (labels[1:] != 0)
    pixels[change] = _PALE
    return pixels


def _outline(level: Level, body: Body, corner: Array) -> Outline:
    """The midsagittal profile of a fit, round the body."""
    y, upper, lower = body.profile()
    local = np.concatenate(
        [np.stack([np.zeros_like(y), y, upper], 1), np.stack([np.zeros_like(y), y, lower], 1)[::-1]], axis=0
    )
    world = body.frame.to_world(local)
    pixels = np.stack([(corner[1] - world[:, 1]) / _PIXEL_MM, (corner[2] - world[:, 2]) / _PIXEL_MM], axis=1)
    centre = body.frame.centre_mm
    middle = (float((corner[1] - centre[1]) / _PIXEL_MM), float((corner[2] - centre[2]) / _PIXEL_MM))
    return Outline(level, tuple((round(float(a), 1), round(float(b), 1)) for a, b in pixels), middle)
