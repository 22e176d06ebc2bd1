"""Two-dimensional phantoms: midsagittal slices and lateral projections drawn in a few milliseconds each.

Convention: `draw` gives a record, `render` the image and its truth; the public names stand in `spinemed.phantom`.
The trap: these have no third dimension, so no side, no width and no scoliosis; `spinemed.phantom.spine` has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.phantom.sagittal.draw import draw_phantom, healthy_twin
    from spinemed.phantom.sagittal.files import read_draws, write_phantoms
    from spinemed.phantom.sagittal.records import (
        FractureDraw,
        PhantomConfig,
        PhantomDraw,
        PhantomImage,
        VertebraTruth,
    )
    from spinemed.phantom.sagittal.render import render_phantom
    from spinemed.phantom.sagittal.sheet import contact_sheet

__all__ = [
    "FractureDraw",
    "PhantomConfig",
    "PhantomDraw",
    "PhantomImage",
    "VertebraTruth",
    "contact_sheet",
    "draw_phantom",
    "healthy_twin",
    "read_draws",
    "render_phantom",
    "write_phantoms",
]

__getattr__ = lazy_names(
    __name__,
    {
        "draw": "draw_phantom healthy_twin",
        "files": "read_draws write_phantoms",
        "records": "FractureDraw PhantomConfig PhantomDraw PhantomImage VertebraTruth",
        "render": "render_phantom",
        "sheet": "contact_sheet",
    },
)
