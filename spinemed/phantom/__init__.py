"""Procedural spines with exact truth: draw the parameters first, render them second.

Convention: `draw_phantom(seed, index, config)` gives a record, `render_phantom(record)` the image and its truth. Names
are loaded when first used, so that listing commands stays fast. The trap: a phantom is no patient; whatever was learned
or measured on phantoms has to say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.phantom.sagittal.draw import draw_phantom, healthy_twin
    from spinemed.phantom.sagittal.files import read_draws, write_phantoms
    from spinemed.phantom.sagittal.records import FractureDraw, PhantomConfig, PhantomDraw, PhantomImage, VertebraTruth
    from spinemed.phantom.sagittal.render import render_phantom

__all__ = [
    "FractureDraw",
    "PhantomConfig",
    "PhantomDraw",
    "PhantomImage",
    "VertebraTruth",
    "draw_phantom",
    "healthy_twin",
    "read_draws",
    "render_phantom",
    "write_phantoms",
]

__getattr__ = lazy_names(
    __name__,
    {
        "sagittal.draw": "draw_phantom healthy_twin",
        "sagittal.files": "read_draws write_phantoms",
        "sagittal.records": "FractureDraw PhantomConfig PhantomDraw PhantomImage VertebraTruth",
        "sagittal.render": "render_phantom",
    },
)
