"""The rule writer: a corpus to draft items on three axes and in four tasks, answered from labels and source sentences.

Purpose: `rules.py` walks a corpus and calls the rest; nothing here asks a model (`data_pipeline.writers` does).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.drafting.captions import caption_level, caption_region, caption_technique
    from data_pipeline.drafting.images import spine_of
    from data_pipeline.drafting.rules import draft_corpus, join_drafts, join_exchanges, write_drafts
    from data_pipeline.drafting.texts import axis_of, first_sentence

__all__ = [
    "axis_of",
    "caption_level",
    "caption_region",
    "caption_technique",
    "draft_corpus",
    "first_sentence",
    "join_drafts",
    "join_exchanges",
    "spine_of",
    "write_drafts",
]

__getattr__ = lazy_names(
    __name__,
    {
        "captions": "caption_level caption_region caption_technique",
        "images": "spine_of",
        "rules": "draft_corpus join_drafts join_exchanges write_drafts",
        "texts": "axis_of first_sentence",
    },
)
