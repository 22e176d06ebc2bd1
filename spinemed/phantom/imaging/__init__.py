"""Images of a phantom spine: the grid, the tissues on it, CT in Hounsfield units, and folders in VerSe's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.phantom.imaging.ct import CtPhantom, render_ct, render_ct_slice
    from spinemed.phantom.imaging.grid import Field, VoxelGrid, field_grid, sagittal_grid
    from spinemed.phantom.imaging.mr import MrPhantom, axial_grid, levels_inside, render_mr, sagittal_stack
    from spinemed.phantom.imaging.tissues import TissueVolume, render_tissues
    from spinemed.phantom.imaging.verse_folder import write_verse_case
    from spinemed.phantom.imaging.xray import render_xray

__all__ = [
    "CtPhantom",
    "Field",
    "MrPhantom",
    "TissueVolume",
    "VoxelGrid",
    "axial_grid",
    "field_grid",
    "levels_inside",
    "render_ct",
    "render_ct_slice",
    "render_mr",
    "render_tissues",
    "render_xray",
    "sagittal_grid",
    "sagittal_stack",
    "write_verse_case",
]

__getattr__ = lazy_names(
    __name__,
    {
        "ct": "CtPhantom render_ct render_ct_slice",
        "grid": "Field VoxelGrid field_grid sagittal_grid",
        "mr": "MrPhantom axial_grid levels_inside render_mr sagittal_stack",
        "tissues": "TissueVolume render_tissues",
        "verse_folder": "write_verse_case",
        "xray": "render_xray",
    },
)
