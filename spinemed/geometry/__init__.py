"""Where things are: affines, orientations, grids, labels and curves, in millimetres.

Convention, for the whole project:

- **World** points are RAS+ millimetres: +x is the patient's Right, +y is
  Anterior, +z is Superior (the NIfTI frame; DICOM's LPS is turned into it on reading, once).
- **Voxel** points are continuous array indices (i, j, k); the centre of the first voxel is (0, 0, 0), so an axis of
  `n` voxels covers -0.5 … n - 0.5.
- An **affine** is a 4×4 float64 matrix from voxel to world: `world = affine @ [i, j, k, 1]`.
- **Orientation codes** name the direction in which an array axis *grows*: "RAS", "PIR", "LPS".

The trap: a voxel point and a world point are both three floats. :class:`VoxelPoints` and :class:`WorldPoints` are
types of their own, and a function that wants one refuses the other.
"""

from spinemed.geometry.affine import (
    VoxelPoints,
    WorldPoints,
    axis_codes,
    check_affine,
    check_codes,
    reorient,
    reorient_points,
    voxel_spacing,
    voxel_to_world,
    world_to_voxel,
)
from spinemed.geometry.curve import Curve, CurvePoints, polyline_length_mm
from spinemed.geometry.grid import (
    label_centroids_mm,
    resample_to_grid,
    resample_to_spacing,
)

__all__ = [
    "Curve",
    "CurvePoints",
    "VoxelPoints",
    "WorldPoints",
    "axis_codes",
    "check_affine",
    "check_codes",
    "label_centroids_mm",
    "polyline_length_mm",
    "reorient",
    "reorient_points",
    "resample_to_grid",
    "resample_to_spacing",
    "voxel_spacing",
    "voxel_to_world",
    "world_to_voxel",
]
