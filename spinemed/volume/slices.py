"""Grey-value windows, and slices of a volume as a radiologist hangs them, with every pixel's place in the world.

Convention: rows run downwards. Sagittal: anterior left, head up. Coronal: the patient's right on the left, head up.
Axial: the patient's right on the left, anterior up. A slice is one layer of voxels of the volume, never a blend of
two; within it, pixels are made square.

Trap: "sagittal" is the array axis nearest to right-left. On an oblique volume the layer is tilted against the world's
plane, and `position_mm` is measured in the middle of the volume; the slice's own affine says where each pixel is.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.geometry import (
    VoxelPoints,
    WorldPoints,
    label_centroids_mm,
    reorient,
    resample_to_grid,
    voxel_spacing,
    voxel_to_world,
    world_to_voxel,
)
from spinemed.volume.core import Volume

__all__ = [
    "WINDOWS",
    "Plane",
    "SliceImage",
    "Window",
    "midsagittal_position_mm",
    "percentile_window",
    "slice_image",
    "to_uint8",
]

Plane = Literal["sagittal", "coronal", "axial"]

# Per plane: direction of growing rows, growing columns, and of the layers; and the world axis that the layers count on.
_HANGING: dict[str, tuple[str, int]] = {"sagittal": ("IPR", 0), "coronal": ("ILA", 1), "axial": ("PLS", 2)}


@dataclass(frozen=True)
class Window:
    """A grey-value window: `level - width/2` becomes black, `level + width/2` white.

    Args:
        level: Centre, in the unit of the volume.
        width: Full width, above 0.
    """

    level: float
    width: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.level) and np.isfinite(self.width) and self.width > 0):
            raise VolumeError(
                f"a window needs a finite level and a width above 0, found {self.level:g} and {self.width:g}",
                field="window",
                cure="give e.g. level 400 and width 1800 for bone",
            )


_MOST_PIXELS = 1 << 26  # 8192 x 8192: more is a wrong voxel or pixel size

# Customary display settings for CT in HU (no standard fixes them): bone; soft tissue of the trunk; the spine's soft
# parts (canal, discs).
WINDOWS = {"bone": Window(400, 1800), "soft_tissue": Window(50, 400), "spine": Window(50, 250)}
"""Usual windows by name: centre and width in HU."""


def percentile_window(values: NDArray[Any], low: float = 1.0, high: float = 99.5) -> Window:
    """The window between two percentiles of the finite values: for MR, whose grey values have no unit.

    A constant image gets a width of 1.

    Raises:
        VolumeError: no finite value, or percentiles not in order within 0 … 100.
    """
    if not 0 <= low < high <= 100:
        raise VolumeError(
            f"percentiles {low:g} and {high:g} are not in order", field="window", cure="give e.g. 1 and 99.5"
        )
    flat = values.ravel(order="K")
    if flat.dtype.kind == "f":
        flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        raise VolumeError("the image has no finite value", cure="export it again")
    dark, bright = (float(v) for v in np.percentile(flat, [low, high]))
    return Window((dark + bright) / 2, bright - dark if bright > dark else 1.0)


def to_uint8(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """Grey values 0 … 255 by the linear function of DICOM PS3.3 C.11.2.1.3.2 (LINEAR_EXACT), rounded half up.

    Values that are not finite become 0 (black).
    """
    scaled = (values.astype(np.float64) - (window.level - window.width / 2)) / window.width * 255
    scaled = np.nan_to_num(scaled, nan=0.0, posinf=0.0, neginf=0.0)
    return np.floor(np.clip(scaled, 0, 255) + 0.5).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class SliceImage:
    """One layer of a volume with square pixels.

    Args:
        pixels: (H, W), uint8 grey values; for a label volume its integer labels.
        affine: 4×4; (row, column, 0, 1) → world mm (RAS+) of the pixel's centre. The third column is the unit normal.
        plane: How it is hung.
        index: Layer along the volume's own array axis, from 0.
        position_mm: World coordinate of the layer (right, anterior or superior) in the middle of the volume.
        pixel_mm: Side of a pixel.
        window: Window applied; None for labels.
        source, sha256: Of the volume.
    """

    pixels: NDArray[Any]
    affine: NDArray[np.float64]
    plane: Plane
    index: int
    position_mm: float
    pixel_mm: float
    window: Window | None
    source: str
    sha256: str

    def to_world(self, pixels: ArrayLike) -> WorldPoints:
        """World points of (N, 2) rows and columns, fractions allowed."""
        places = np.atleast_2d(np.asarray(pixels, dtype=np.float64))
        return voxel_to_world(VoxelPoints(np.column_stack([places, np.zeros(len(places))])), self.affine)

    def to_pixels(self, points: WorldPoints) -> NDArray[np.float64]:
        """(N, 3): row, column, and distance from the layer in mm, of world points; may lie outside the image."""
        return world_to_voxel(points, self.affine).values

    def png(self) -> bytes:
        """The grey image as PNG.

        Raises:
            VolumeError: a label slice, which has no grey values.
        """
        from spinemed.marks import png_bytes

        if self.window is None:
            raise VolumeError("a slice of labels is no picture", file=self.source or None, cure="draw it on its image")
        return png_bytes(self.pixels)


def slice_image(
    volume: Volume,
    plane: Plane = "sagittal",
    *,
    index: int | None = None,
    position_mm: float | None = None,
    window: Window | None = None,
    pixel_mm: float | None = None,
) -> SliceImage:
    """One layer of a volume, hung as the module docstring says. Without `index` and `position_mm`: the middle layer.

    An image and its mask on one grid give slices that match pixel by pixel if called with the same arguments.

    Args:
        volume: Image or labels. Labels keep their integers (nearest voxel); images are interpolated linearly in the
            layer only where the pixels were not square already.
        plane: "sagittal", "coronal" or "axial".
        index: Layer along the volume's own array axis, from 0.
        position_mm: World coordinate (R, A or S) instead; the nearest layer is taken.
        window: Grey-value window; by default "bone" for HU, else the 1st to 99.5th percentile of the whole volume.
        pixel_mm: Side of the square pixels; by default the smaller voxel side in the layer.

    Raises:
        VolumeError: an unknown plane, a layer outside the volume, both or unusable arguments, a window for labels.
    """
    if plane not in _HANGING:
        raise VolumeError(f"unknown plane '{plane}'", field="plane", cure=f"use one of {', '.join(_HANGING)}")
    codes, world_axis = _HANGING[plane]
    file = volume.source or None
    if volume.unit == "label" and window is not None:
        raise VolumeError("a window for labels", file=file, field="window", cure="leave the window out for masks")
    axis = _layer_axis(volume, plane)
    index = _layer(volume, axis, world_axis, index, position_mm)
    middle = (np.array(volume.shape) - 1) / 2
    middle[axis] = index
    place = float(voxel_to_world(VoxelPoints(middle), volume.affine).values[0, world_axis])
    # Cut the layer out first (an affine of its own), then turn it: the order keeps the cost at one layer.
    cut = np.take(volume.data, [index], axis=axis)
    cut_affine = volume.affine.copy()
    cut_affine[:3, 3] += volume.affine[:3, axis] * index
    layer, layer_affine = reorient(cut, cut_affine, codes)
    pixels, affine, side = _square(layer, layer_affine, pixel_mm, labels=volume.unit == "label")
    if volume.unit != "label":
        if window is None:
            window = WINDOWS["bone"] if volume.unit == "HU" else percentile_window(volume.data)
        pixels = to_uint8(pixels, window)
    return SliceImage(
        np.ascontiguousarray(pixels), affine, plane, index, place, side, window, volume.source, volume.sha256
    )


def midsagittal_position_mm(mask: Volume, labels: Collection[int] | None = None) -> float:
    """Right-left position of the layer nearest to the middle of the spine, for `slice_image(position_mm=...)`.

    The mean over labels of each label's centre of mass: a vertebra is symmetric, and each counts once. In scoliosis no
    single layer is midsagittal at every level; this one is so on average.

    Args:
        mask: Labels on the grid of the image.
        labels: The vertebrae among them; all labels if not given. A mask with organs needs this.

    Raises:
        VolumeError: none of the labels occurs.
    """
    centroids = label_centroids_mm(mask.data, mask.affine, labels)
    if not centroids:
        raise VolumeError(
            "none of the labels occurs in the mask",
            file=mask.source or None,
            field="labels",
            cure="check the label map",
        )
    inside = world_to_voxel(WorldPoints(np.stack(list(centroids.values()))), mask.affine).values
    axis = _layer_axis(mask, "sagittal")
    middle = (np.array(mask.shape) - 1) / 2
    middle[axis] = inside[:, axis].mean()
    return float(voxel_to_world(VoxelPoints(middle), mask.affine).values[0, 0])


def _layer_axis(volume: Volume, plane: Plane) -> int:
    """The array axis across the plane."""
    pair = {"sagittal": "RL", "coronal": "AP", "axial": "SI"}[plane]
    return next(axis for axis, code in enumerate(volume.codes) if code in pair)


def _layer(volume: Volume, axis: int, world_axis: int, index: int | None, position_mm: float | None) -> int:
    count = volume.shape[axis]
    file = volume.source or None
    if index is not None and position_mm is not None:
        raise VolumeError("both an index and a position", file=file, field="index", cure="give one of the two")
    if position_mm is not None:
        middle = (np.array(volume.shape) - 1) / 2
        middle[axis] = 0
        start = float(voxel_to_world(VoxelPoints(middle), volume.affine).values[0, world_axis])
        step = float(volume.affine[world_axis, axis])
        place = (position_mm - start) / step if np.isfinite(position_mm) else np.inf
        if not -0.5 <= place <= count - 0.5:
            ends = sorted((start - step / 2, start + (count - 0.5) * step))
            raise VolumeError(
                f"the position {position_mm:g} mm lies outside the volume ({ends[0]:.1f} to {ends[1]:.1f} mm)",
                file=file,
                field="position_mm",
                cure="give a position inside it",
            )
        return min(max(int(np.floor(place + 0.5)), 0), count - 1)
    if index is None:
        return count // 2
    if not 0 <= index < count:
        raise VolumeError(
            f"there is no layer {index}, the volume has {count}",
            file=file,
            field="index",
            cure=f"give 0 to {count - 1}",
        )
    return index


def _square(
    layer: NDArray[Any], affine: NDArray[np.float64], pixel_mm: float | None, *, labels: bool
) -> tuple[NDArray[Any], NDArray[np.float64], float]:
    """A layer (H, W, 1) on square, perpendicular pixels: the picture (H, W), its affine, and the pixel side.

    The columns keep their direction; on a sheared grid the rows are made perpendicular to them and the picture is
    enlarged to hold the whole parallelogram.
    """
    down, right, _ = (affine[:3, a] for a in range(3))
    side = min(voxel_spacing(affine)[:2]) if pixel_mm is None else float(pixel_mm)
    if not (np.isfinite(side) and side > 0):
        raise VolumeError(f"the pixel side {pixel_mm} is not positive", field="pixel_mm", cure="give millimetres > 0")
    unit_right = right / np.linalg.norm(right)
    unit_down = down - (down @ unit_right) * unit_right
    unit_down = unit_down / np.linalg.norm(unit_down)
    height, width = layer.shape[:2]
    outline = np.array([[r, c] for r in (-0.5, height - 0.5) for c in (-0.5, width - 0.5)]) @ np.stack([down, right])
    spread = np.column_stack([outline @ unit_down, outline @ unit_right])
    low, high = spread.min(axis=0), spread.max(axis=0)
    # Half up after clearing rounding noise, so that an image and its mask get one size.
    rows, columns = (max(1, int(np.floor(round(float(extent) / side, 6) + 0.5))) for extent in high - low)
    if rows * columns > _MOST_PIXELS:
        raise VolumeError(
            f"the picture would have {rows}x{columns} pixels of {side:g} mm",
            field="pixel_mm",
            cure="give larger pixels",
        )
    # Centre the picture on the layer: rounding of its size then shifts nothing.
    corner = (low + high) / 2 - np.array([rows - 1, columns - 1]) / 2 * side
    target = np.eye(4)
    target[:3, 0], target[:3, 1] = unit_down * side, unit_right * side
    target[:3, 2] = np.cross(unit_down, unit_right)
    target[:3, 3] = affine[:3, 3] + corner[0] * unit_down + corner[1] * unit_right
    if (rows, columns) == (height, width) and np.allclose(
        target[:3, [0, 1, 3]], affine[:3, [0, 1, 3]], atol=1e-4 * side
    ):
        return layer[:, :, 0], target, side
    source = affine.copy()
    source[:3, 2] = target[:3, 2]
    picture = resample_to_grid(
        layer, source, (rows, columns, 1), target, order=0 if labels else 1, fill=0 if labels else _darkest(layer)
    )
    return picture[:, :, 0], target, side


def _darkest(layer: NDArray[Any]) -> float:
    finite = layer[np.isfinite(layer)]
    return float(finite.min()) if finite.size else 0.0
