"""Written criteria: sentences in YAML, each beside the deterministic check that holds it.

Purpose: `apply.py` reads the sentences and applies them; a sentence without a check of its name is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from data_pipeline.criteria.apply import (
        Criterion,
        LetterShares,
        criteria_sha256,
        letter_shares,
        load_criteria,
        verify,
    )
    from data_pipeline.criteria.checks import answer_text, kind_of, name_pattern, passage_of
    from data_pipeline.criteria.checks_written import levels_in
    from data_pipeline.criteria.lookup import Lookup

__all__ = [
    "Criterion",
    "LetterShares",
    "Lookup",
    "answer_text",
    "criteria_sha256",
    "kind_of",
    "letter_shares",
    "levels_in",
    "load_criteria",
    "name_pattern",
    "passage_of",
    "verify",
]

__getattr__ = lazy_names(
    __name__,
    {
        "apply": "Criterion LetterShares criteria_sha256 letter_shares load_criteria verify",
        "checks": "answer_text kind_of name_pattern passage_of",
        "checks_written": "levels_in",
        "lookup": "Lookup",
    },
)
