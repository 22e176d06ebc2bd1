"""Figures of documents: which caption belongs to which picture, and where texts mention it.

Purpose: `matching.py` assigns captions to regions of PDF pages; `labels.py` is one grammar of numbers for every reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.figures.captions import Candidate
    from data_pipeline.figures.labels import Mentioned, caption_head, link_mentions, without_label
    from data_pipeline.figures.matching import Match, MatchedFigure, match_figures
    from data_pipeline.figures.second_look import check_corpus, check_key

__all__ = [
    "Candidate",
    "Match",
    "MatchedFigure",
    "Mentioned",
    "caption_head",
    "check_corpus",
    "check_key",
    "link_mentions",
    "match_figures",
    "without_label",
]

__getattr__ = lazy_names(
    __name__,
    {
        "captions": "Candidate",
        "labels": "Mentioned caption_head link_mentions without_label",
        "matching": "Match MatchedFigure match_figures",
        "second_look": "check_corpus check_key",
    },
)
