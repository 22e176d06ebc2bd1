"""Procedural spines with exact truth: draw the parameters first, render them second.

Convention: `draw_phantom(seed, index, config)` gives a record, `render_phantom(record)` the image and its truth. The
trap: a phantom is no patient; whatever was learned or measured on phantoms has to say so.
"""

from spinemed.phantom.draw import draw_phantom, healthy_twin
from spinemed.phantom.records import (
    FractureDraw,
    PhantomConfig,
    PhantomDraw,
    PhantomImage,
    VertebraTruth,
    genant_grade,
)
from spinemed.phantom.render import render_phantom

__all__ = [
    "FractureDraw",
    "PhantomConfig",
    "PhantomDraw",
    "PhantomImage",
    "VertebraTruth",
    "draw_phantom",
    "genant_grade",
    "healthy_twin",
    "render_phantom",
]
