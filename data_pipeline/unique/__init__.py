"""The stage between revision and release: copies found, conditions filed, benchmarks kept apart; one verdict an item.

Purpose: `stage.py` is the stage; every other file decides one of its questions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.unique.classify import load_vocabulary
    from data_pipeline.unique.classify_rest import rest_key
    from data_pipeline.unique.decontaminate import find_overlap
    from data_pipeline.unique.stage import UniqueConfig, Verdict, read_verdicts, unique_key, write_unique
    from data_pipeline.unique.texts import find_duplicates

__all__ = [
    "UniqueConfig",
    "Verdict",
    "find_duplicates",
    "find_overlap",
    "load_vocabulary",
    "read_verdicts",
    "rest_key",
    "unique_key",
    "write_unique",
]

__getattr__ = lazy_names(
    __name__,
    {
        "classify": "load_vocabulary",
        "classify_rest": "rest_key",
        "decontaminate": "find_overlap",
        "stage": "UniqueConfig Verdict read_verdicts unique_key write_unique",
        "texts": "find_duplicates",
    },
)
