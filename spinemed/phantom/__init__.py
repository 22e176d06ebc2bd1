"""Procedural spines with exact truth: draw the parameters first, render them second.

Convention: `draw_phantom(seed, index, config)` gives a record, `render_phantom(record)` the image and its truth. Names
are loaded when first used, so that listing commands stays fast. The trap: a phantom is no patient; whatever was learned
or measured on phantoms has to say so.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOME = {
    "draw_phantom": "sagittal.draw",
    "healthy_twin": "sagittal.draw",
    "read_draws": "sagittal.files",
    "render_phantom": "sagittal.render",
    "write_phantoms": "sagittal.files",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME.get(name, "sagittal.records")
    return getattr(import_module(f"{__name__}.{home}"), name)
