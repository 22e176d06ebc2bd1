"""Two label volumes brought into the form that the kernels read: uint8, C-contiguous, without a copy where possible.

Convention: the axes are put into the order of the reference's memory, and axes that run backwards there are flipped,
in both volumes alike. No distance, overlap or component changes by that; centroids are mapped back. So an array in
Fortran order, as nibabel returns, or a flipped view is read in place.

Trap: a copy is made where the prediction's memory is ordered otherwise than the reference's, or where a type other
than uint8 must be cast. Values are checked before they are cast, since a cast would wrap -1024 to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import MetricError

__all__ = ["Layout", "check_spacing", "paired_views"]

_FIX = "fix the mask; labels are whole numbers from 0 (background) to 255"


@dataclass(frozen=True)
class Layout:
    """How the inner axes lie in the volumes as given."""

    axes: tuple[int, int, int]
    """Outer axis of each inner axis."""
    flipped: tuple[bool, bool, bool]
    """Whether an inner axis runs against its outer axis."""
    shape: tuple[int, int, int]
    """Inner shape."""

    def inner_view(self, volume: NDArray[Any]) -> NDArray[Any]:
        """The volume on the inner axes; a view."""
        turned = volume.transpose(self.axes)
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)]

    def outer_point(self, point: NDArray[np.float64]) -> tuple[float, float, float]:
        """A voxel index on the inner axes, on the axes as given."""
        outer = [0.0, 0.0, 0.0]
        for inner, axis in enumerate(self.axes):
            value = float(point[inner])
            outer[axis] = self.shape[inner] - 1 - value if self.flipped[inner] else value
        return outer[0], outer[1], outer[2]


def check_spacing(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
    """Three voxel sizes in mm as floats.

    Raises:
        MetricError: not three numbers above 0.
    """
    sides = tuple(float(side) for side in spacing_mm)
    if len(sides) != 3 or not all(np.isfinite(side) and side > 0 for side in sides):
        raise MetricError(
            f"spacing is {spacing_mm!r}, not three sizes in mm", field="spacing_mm", cure="take it from the affine"
        )
    return sides[0], sides[1], sides[2]


def paired_views(
    reference: NDArray[Any], prediction: NDArray[Any]
) -> tuple[Layout, tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Both volumes as read-only, C-contiguous uint8 (n0, n1, n2), and how to come back.

    Raises:
        MetricError: shapes differ, are empty or not three-dimensional; a value is no label.
    """
    for name, volume in (("reference", reference), ("prediction", prediction)):
        if not isinstance(volume, np.ndarray) or volume.ndim != 3 or volume.size == 0:
            found = f"shape {volume.shape}" if isinstance(volume, np.ndarray) else type(volume).__name__
            raise MetricError(f"not a three-dimensional array ({found})", field=name, cure="pass one mask per volume")
        if volume.dtype.kind not in "biuf":
            raise MetricError(f"the voxels are {volume.dtype}, not labels", field=name, cure=_FIX)
    if reference.shape != prediction.shape:
        raise MetricError(
            f"reference {reference.shape} and prediction {prediction.shape} have different shapes",
            field="prediction",
            cure="bring both on one grid first; labels are resampled to the nearest voxel only",
        )
    order = sorted(range(3), key=lambda axis: -abs(reference.strides[axis]))
    axes = (order[0], order[1], order[2])
    layout = Layout(
        axes=axes,
        flipped=(reference.strides[axes[0]] < 0, reference.strides[axes[1]] < 0, reference.strides[axes[2]] < 0),
        shape=(reference.shape[axes[0]], reference.shape[axes[1]], reference.shape[axes[2]]),
    )
    return layout, (
        _inner_bytes(layout.inner_view(reference), "reference"),
        _inner_bytes(layout.inner_view(prediction), "prediction"),
    )


def _inner_bytes(volume: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """A checked, contiguous, word-aligned, read-only uint8 array."""
    if volume.dtype == np.bool_:
        volume = volume.view(np.uint8)
    if volume.dtype != np.uint8:
        checked = np.empty(volume.shape, np.uint8)
        for slab, out in zip(volume, checked, strict=True):  # slab by slab: no second copy of a wide type
            _check_values(slab, name)
            out[...] = slab
        volume = checked
    if not volume.flags.c_contiguous or volume.ctypes.data % 8 != 0:
        volume = volume.copy(order="C")
    view = volume.view()
    view.setflags(write=False)
    return view


def _check_values(slab: NDArray[Any], name: str) -> None:
    if slab.dtype.kind == "f":
        if not np.isfinite(slab).all():
            raise MetricError("holds voxels that are NaN or infinite", field=name, cure=_FIX)
        whole = slab == np.rint(slab)
        if not whole.all():
            raise MetricError(f"holds the value {slab[~whole][0]}, which is not whole", field=name, cure=_FIX)
    low, high = slab.min(), slab.max()
    if low < 0:
        raise MetricError(f"holds the negative value {low}", field=name, cure=_FIX)
    if high > 255:
        raise MetricError(f"holds the label {high}, above 255", field=name, cure=_FIX)
