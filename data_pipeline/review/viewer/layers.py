"""Layers of a volume as a radiologist hangs them, at full depth, with the place of every pixel.

Convention: a plane is an order of the volume's axes (rows, columns, layers). Sagittal: rows run to the feet, columns to
the back, layers to the right. Coronal: rows to the feet, columns to the left, layers to the front. Axial: rows to the
back, columns to the left, layers to the head. So anterior, or the patient's right, is on the left of the picture, as in
:mod:`spinemed.volume.slices`. One matrix for each plane leads from (row, column, layer) to world mm, and every number
that the viewer shows (distance, angle, place of a name) goes through it. Values are sent as they are stored, 16 bits
each; the window is applied in the browser.

Trap: pixels need not be square and the grid may be oblique. Letters name the direction that an edge really points to,
computed from the matrix and never from the name of the plane; an edge that points in between carries two letters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.geometry import reorient
from spinemed.volume import WINDOWS, Volume, percentile_window

__all__ = ["PLANES", "Held", "Plane", "PlaneGeometry", "direction_letters", "hold", "layer_bytes", "plane_geometry"]

Array = NDArray[np.float64]
Plane = Literal["sagittal", "coronal", "axial"]

PLANES: Mapping[Plane, str] = {"sagittal": "IPR", "coronal": "ILA", "axial": "PLS"}
"""Directions in which rows, columns and layers grow."""
_LETTERS = (("R", "L"), ("A", "P"), ("H", "F"))
_SECOND = 0.35
"""Share of a direction (its cosine) from which an edge carries a second letter: about 20 degrees off the axis."""
_STEPS = 65535


@dataclass(frozen=True, eq=False)
class Held:
    """A volume ready to be shown: its values in 16 bits and the line that leads back to its unit.

    Args:
        volume: As read.
        stored: (I, J, K) int16 or uint16.
        slope, intercept: value = stored * slope + intercept; 1 and 0 where the file's own values fit into 16 bits.
        windows: Preset name to (level, width), in the unit of the volume.
    """

    volume: Volume
    stored: NDArray[Any]
    slope: float
    intercept: float
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Whether every value is sent as it is stored in the file."""
        return self.slope == 1.0 and self.intercept == 0.0

    @property
    def size_bytes(self) -> int:
        """Memory taken by both arrays."""
        shared = self.stored is self.volume.data or self.stored.base is self.volume.data
        return int(self.stored.nbytes + (0 if shared else self.volume.data.nbytes))


@dataclass(frozen=True, eq=False)
class PlaneGeometry:
    """One plane through a volume.

    Args:
        plane: Its name.
        shape: Rows, columns, layers.
        affine: 4x4, (row, column, layer, 1) to world mm (RAS+).
        letters: Edge of the picture (`left`, `right`, `top`, `bottom`) to the letters of where it points.
    """

    plane: Plane
    shape: tuple[int, int, int]
    affine: Array
    letters: Mapping[str, str]

    def told(self) -> dict[str, Any]:
        """As plain data for the browser."""
        return {
            "plane": self.plane,
            "shape": list(self.shape),
            "affine": [[round(float(value), 9) for value in row] for row in self.affine],
            "letters": dict(self.letters),
        }


def hold(volume: Volume) -> Held:
    """Bring a volume's values into 16 bits: unchanged where they are whole numbers that fit, else in 65,535 steps.

    Presets: `bone` and `soft_tissue` for HU; for MR, whose values have no unit, `t1` runs from the 2nd to the 98th
    percentile (fat saturates, marrow keeps its contrast) and `t2` from the 1st to the 99.5th (fluid does not saturate).
    `full` is the whole range. The percentiles are display settings of this viewer, no standard.

    Raises:
        VolumeError: no finite value.
    """
    data = volume.data
    finite = data if data.dtype.kind in "iub" else data[np.isfinite(data)]
    if finite.size == 0:
        raise VolumeError("the image has no finite value", file=volume.source or None, cure="export it again")
    low, high = float(finite.min()), float(finite.max())
    slope, intercept = 1.0, 0.0
    whole = data.dtype.kind in "iub" or (finite.size == data.size and bool((data == np.rint(data)).all()))
    if whole and low >= -32768 and high <= 32767:
        stored = data if data.dtype == np.int16 else data.astype(np.int16)
    elif whole and low >= 0 and high <= _STEPS:
        stored = data if data.dtype == np.uint16 else data.astype(np.uint16)
    else:
        slope = (high - low) / _STEPS if high > low else 1.0
        intercept = low
        filled = np.nan_to_num(data.astype(np.float64), nan=low, posinf=high, neginf=low)
        stored = np.floor((filled - intercept) / slope + 0.5).astype(np.uint16)
    windows: dict[str, tuple[float, float]] = {}
    if volume.unit == "HU":
        windows = {name: (WINDOWS[name].level, WINDOWS[name].width) for name in ("bone", "soft_tissue")}
    elif volume.unit == "a.u.":
        for name, ends in (("t1", (2.0, 98.0)), ("t2", (1.0, 99.5))):
            window = percentile_window(data, *ends)
            windows[name] = (round(window.level, 3), round(window.width, 3))
    windows["full"] = ((low + high) / 2, max(high - low, 1.0))
    return Held(volume, stored, slope, intercept, windows)


def direction_letters(direction: ArrayLike) -> str:
    """Where a world direction points: R or L, A or P, H or F, the strongest first; two if it lies in between.

    Args:
        direction: (3,) RAS; any length above 0.

    Raises:
        VolumeError: a direction without length.
    """
    vector = np.asarray(direction, dtype=np.float64)
    size = float(np.linalg.norm(vector))
    if vector.shape != (3,) or not np.isfinite(size) or size == 0:
        raise VolumeError("a direction without length", field="direction", cure="check the affine")
    cosines = vector / size
    order = sorted(range(3), key=lambda axis: -abs(round(float(cosines[axis]), 9)))
    chosen = [axis for place, axis in enumerate(order[:2]) if place == 0 or abs(cosines[axis]) >= _SECOND]
    return "".join(_LETTERS[axis][0 if cosines[axis] > 0 else 1] for axis in chosen)


def plane_geometry(volume: Volume, plane: Plane) -> PlaneGeometry:
    """Shape, matrix and edge letters of a plane.

    Raises:
        VolumeError: an unknown plane.
    """
    blank = np.broadcast_to(np.uint8(0), volume.shape)
    turned, affine = reorient(blank, volume.affine, _codes(plane))
    rows, columns, layers = turned.shape
    down, right = affine[:3, 0], affine[:3, 1]
    letters = {
        "left": direction_letters(-right),
        "right": direction_letters(right),
        "top": direction_letters(-down),
        "bottom": direction_letters(down),
    }
    return PlaneGeometry(plane, (rows, columns, layers), affine, letters)


def layer_bytes(held: Held, plane: Plane, layer: int) -> bytes:
    """The 16-bit values of one layer, little endian, row by row.

    Raises:
        VolumeError: an unknown plane, or a layer outside the volume.
    """
    turned, _ = reorient(held.stored, held.volume.affine, _codes(plane))
    count = turned.shape[2]
    if not 0 <= layer < count:
        raise VolumeError(
            f"there is no layer {layer}, the volume has {count}", field="layer", cure=f"give 0 to {count - 1}"
        )
    kind = "<i2" if held.stored.dtype.kind == "i" else "<u2"
    return np.ascontiguousarray(turned[:, :, layer]).astype(kind, copy=False).tobytes()


def _codes(plane: str) -> str:
    if plane not in get_args(Plane):
        raise VolumeError(f"unknown plane '{plane}'", field="plane", cure=f"use one of {', '.join(PLANES)}")
    return PLANES[plane]  # type: ignore[index]
