"""Vision-language models: loading, processors, chat layout and answering, shared by training and evaluation.

Convention: names are resolved on first use, because torch and transformers take seconds to import.
The trap: import from here, never from the modules at import time of a command.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spinemed.vlm.answer import Reply, Request, VlmAnswerer
    from spinemed.vlm.layout import IGNORE, Encoded, Layout, Refused
    from spinemed.vlm.load import base_of, is_adapter, load_model, load_pair
    from spinemed.vlm.processor import load_processor, save_processor
    from spinemed.vlm.series import SeriesSlice, captioned, series_turn, slices_of, within_budget

__all__ = [
    "IGNORE",
    "Encoded",
    "Layout",
    "Refused",
    "Reply",
    "Request",
    "SeriesSlice",
    "VlmAnswerer",
    "base_of",
    "captioned",
    "is_adapter",
    "load_model",
    "load_pair",
    "load_processor",
    "save_processor",
    "series_turn",
    "slices_of",
    "within_budget",
]

_HOME = {
    "Reply": "answer",
    "Request": "answer",
    "VlmAnswerer": "answer",
    "IGNORE": "layout",
    "Encoded": "layout",
    "Layout": "layout",
    "Refused": "layout",
    "base_of": "load",
    "is_adapter": "load",
    "load_model": "load",
    "load_pair": "load",
    "load_processor": "processor",
    "save_processor": "processor",
    "SeriesSlice": "series",
    "captioned": "series",
    "series_turn": "series",
    "slices_of": "series",
    "within_budget": "series",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
