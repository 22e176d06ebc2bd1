"""Image volumes: NIfTI and DICOM series in, slices out, always with their place in the world.

Convention: a :class:`Volume` holds an array (I, J, K), its affine (RAS+ mm, see :mod:`spinemed.geometry`) and a unit:
"HU", "a.u." or "label". DICOM's LPS frame is turned into RAS on reading. Slices are shown as a radiologist hangs them:
sagittal with anterior left and the head up, coronal and axial with the patient's right on the left.

The trap: two arrays of one shape need not lie on one grid. Use :func:`require_same_grid` before an image and a mask are
combined.
"""

from spinemed.volume.core import (
    Unit,
    Volume,
    grid_difference,
    reorient_volume,
    require_same_grid,
    resample_like,
    same_grid,
)
from spinemed.volume.dicom import read_dicom_series
from spinemed.volume.nifti import read_mask, read_nifti, write_nifti
from spinemed.volume.slices import (
    WINDOWS,
    SliceImage,
    Window,
    midsagittal_position_mm,
    percentile_window,
    slice_image,
    to_uint8,
)

__all__ = [
    "WINDOWS",
    "SliceImage",
    "Unit",
    "Volume",
    "Window",
    "grid_difference",
    "midsagittal_position_mm",
    "percentile_window",
    "read_dicom_series",
    "read_mask",
    "read_nifti",
    "reorient_volume",
    "require_same_grid",
    "resample_like",
    "same_grid",
    "slice_image",
    "to_uint8",
    "write_nifti",
]
