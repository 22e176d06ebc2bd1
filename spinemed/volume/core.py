"""The volume: an array with its affine, unit and origin, and the question whether two volumes share a grid.

Convention: the array is (I, J, K) and read-only; a changed volume is a new one. `sha256` is the hash of the bytes that
were read, so that a finding can be traced to them; a reoriented or resampled volume keeps it.

Trap: equal shapes do not mean one grid; see :func:`require_same_grid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import VolumeError
from spinemed.geometry import axis_codes, check_affine, reorient, resample_to_grid, voxel_spacing

__all__ = [
    "Unit",
    "Volume",
    "grid_difference",
    "reorient_volume",
    "require_same_grid",
    "resample_like",
    "same_grid",
]

Unit = Literal["HU", "a.u.", "label"]
"""What the numbers of a volume are: Hounsfield units, arbitrary units, or labels."""

# Grids are one if no voxel centre is displaced by more than this share of the smallest voxel side. Affines pass through
# single precision and through text in DICOM, which moves a centre by up to some 0.001 mm; half a voxel is an error.
_SAME = 0.05


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional image or mask in its place.

    Args:
        data: (I, J, K) array of numbers; held as a read-only view.
        affine: 4×4 voxel-to-world matrix, RAS+ mm.
        unit: "HU" (CT), "a.u." (MR and everything without a scale) or "label" (integers, 0 is background).
        source: File or folder it was read from, "" if it was computed.
        sha256: Hash of the bytes read; "" if it was computed.
        meta: What else the source said; `meta["flags"]` is a tuple of sentences about doubtful things.

    Raises:
        VolumeError: not three-dimensional, empty, not numbers, an unusable affine, or labels that are not integers.
    """

    data: NDArray[Any]
    affine: NDArray[np.float64]
    unit: Unit = "a.u."
    source: str = ""
    sha256: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        file = self.source or None
        if self.data.ndim != 3:
            raise VolumeError(
                f"the volume has {self.data.ndim} dimensions ({_times(self.data.shape)}), not 3",
                file=file,
                field="shape",
                cure="split a time series or a multi-channel image into one file per volume",
            )
        if self.data.size == 0:
            raise VolumeError(
                f"the volume is empty ({_times(self.data.shape)})", file=file, field="shape", cure="export it again"
            )
        if self.data.dtype.kind not in "biuf":
            raise VolumeError(
                f"the voxels are of type {self.data.dtype}, not numbers",
                file=file,
                field="datatype",
                cure="convert colour or complex images to one grey value per voxel",
            )
        if self.unit not in get_args(Unit):
            raise VolumeError(
                f"unknown unit '{self.unit}'", file=file, field="unit", cure="use 'HU', 'a.u.' or 'label'"
            )
        if self.unit == "label" and self.data.dtype.kind == "f":
            raise VolumeError(
                f"a mask holds integers, found {self.data.dtype}", file=file, cure="read masks with read_mask"
            )
        view = self.data.view()
        view.setflags(write=False)
        object.__setattr__(self, "data", view)
        object.__setattr__(self, "affine", check_affine(self.affine, file=file))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel sizes in mm along each array axis."""
        return voxel_spacing(self.affine)

    @property
    def codes(self) -> str:
        """Orientation codes of the array axes, e.g. "PIR"."""
        return axis_codes(self.affine)

    @property
    def flags(self) -> tuple[str, ...]:
        """Sentences about what is doubtful in the source; to be shown beside anything derived from it."""
        return tuple(self.meta.get("flags", ()))


def reorient_volume(volume: Volume, target: str) -> Volume:
    """The same volume with its axes permuted and flipped to the codes `target`; no value and no place changes.

    Raises:
        VolumeError: `target` is no orientation.
    """
    data, affine = reorient(volume.data, volume.affine, target)
    return replace(volume, data=data, affine=affine)


def resample_like(volume: Volume, grid: Volume, *, fill: float) -> Volume:
    """The volume on the voxels of `grid`: nearest voxel for labels, trilinear otherwise, `fill` outside.

    Raises:
        VolumeError: `fill` does not fit into a mask.
    """
    order = 0 if volume.unit == "label" else 1
    data = resample_to_grid(volume.data, volume.affine, grid.shape, grid.affine, order=order, fill=fill)
    return replace(volume, data=data, affine=grid.affine)


def grid_difference(a: Volume, b: Volume) -> str | None:
    """What differs between two grids, in words; None if they are one.

    They are one if the shapes are equal and no voxel centre is displaced by more than 5 % of the smallest voxel side.
    """
    if a.shape != b.shape:
        return f"shape {_times(a.shape)} against {_times(b.shape)}"
    corners = np.array(
        [[i, j, k, 1.0] for i in (0, a.shape[0] - 1) for j in (0, a.shape[1] - 1) for k in (0, a.shape[2] - 1)]
    )
    shift_mm = float(np.linalg.norm(corners @ (a.affine - b.affine).T, axis=1).max())
    if shift_mm <= _SAME * min(a.spacing_mm + b.spacing_mm):
        return None
    if a.codes != b.codes:
        return f"orientation {a.codes} against {b.codes}"
    if not np.allclose(a.spacing_mm, b.spacing_mm, rtol=1e-3, atol=0):
        return f"voxels {_mm(a.spacing_mm)} against {_mm(b.spacing_mm)}"
    if np.allclose(a.affine[:3, :3], b.affine[:3, :3], atol=1e-4 * max(a.spacing_mm)):
        return f"origin shifted by {shift_mm:.3g} mm"
    return f"axes rotated, voxels up to {shift_mm:.3g} mm apart"


def same_grid(a: Volume, b: Volume) -> bool:
    """Whether voxel (i, j, k) of both lies at the same place; see :func:`grid_difference` for the tolerance."""
    return grid_difference(a, b) is None


def require_same_grid(image: Volume, mask: Volume) -> None:
    """Do nothing if the two share a grid.

    Raises:
        VolumeError: they do not; both files and the difference are named.
    """
    difference = grid_difference(image, mask)
    if difference is not None:
        raise VolumeError(
            f"the mask is on another grid than the image {image.source or 'in memory'}: "
            f"mask and image differ, {grid_difference(mask, image)}",
            file=mask.source or None,
            field="affine",
            cure="use the mask that was drawn on this image, or resample it onto the image (nearest voxel, fill 0)",
        )


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


def _mm(spacing: tuple[float, ...]) -> str:
    return "x".join(f"{size:.4g}" for size in spacing) + " mm"
