"""Vision-language models: loading, processors, chat layout and answering, shared by training and evaluation.

Convention: names are resolved on first use, because torch and transformers take seconds to import.
The trap: import from here, never from the modules at import time of a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

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

__getattr__ = lazy_names(
    __name__,
    {
        "answer": "Reply Request VlmAnswerer",
        "layout": "Encoded IGNORE Layout Refused",
        "load": "base_of is_adapter load_model load_pair",
        "processor": "load_processor save_processor",
        "series": "SeriesSlice captioned series_turn slices_of within_budget",
    },
)
