"""Questions that count: vertebrae wholly in the picture, and the presacral vertebrae of a column.

Convention: the answers are the study's findings, as :mod:`spinemed.labelling.facts` reads them off a mask. What the
picture does not decide is :data:`NOT_DETERMINABLE`.

Trap: all vertebral bodies in a picture can be counted, whatever they are called; those of one region only where the
picture decides every name.
"""

from __future__ import annotations

import numpy as np

from spinemed.questions.draft import QuestionDraft, compose
from spinemed.questions.templates import Template
from spinemed.records import NOT_DETERMINABLE, Study

__all__ = ["COLUMN_COUNTS", "VIEW_COUNTS", "column_question", "count_question"]

VIEW_COUNTS = tuple(str(number) for number in range(26))
"""What may be answered about a picture: none to the whole column."""
COLUMN_COUNTS = ("22", "23", "24", "25", "26", NOT_DETERMINABLE)
"""Presacral vertebrae that a column may have; 24 is usual."""


def count_question(
    study: Study, part: str, templates: dict[str, Template], rng: np.random.Generator
) -> QuestionDraft | None:
    """How many vertebrae of a part are wholly in the picture? None where the study does not state it.

    Args:
        study: A study with findings of the kind `level_count`.
        part: "all", or a region.
        templates: The wordings.
        rng: Draws the wording.
    """
    number = next(
        (finding.amount for finding in study.findings if finding.kind == "level_count" and finding.value == part), None
    )
    if number is None:
        return None
    return compose(
        templates["vertebra_count"],
        rng,
        axis="level_identification",
        task="category",
        answer=str(int(number)),
        answer_kind="category",
        categories=VIEW_COUNTS,
        values={"part": "vertebrae" if part == "all" else f"{part} vertebrae"},
    )


def column_question(study: Study, templates: dict[str, Template], rng: np.random.Generator) -> QuestionDraft | None:
    """How many presacral vertebrae does the column have? None where the study does not state it."""
    found = next((finding.value for finding in study.findings if finding.kind == "presacral_count"), None)
    if found is None:
        return None
    return compose(
        templates["presacral_count"],
        rng,
        axis="level_identification",
        task="category",
        answer=found,
        answer_kind="category",
        categories=COLUMN_COUNTS,
    )
