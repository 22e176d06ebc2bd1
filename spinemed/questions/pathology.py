"""Questions of the axis "pathology": the shape of a fracture, and grades that a picture may not be able to show.

Convention: a grade that the picture cannot show is :data:`NOT_ASSESSABLE`, never a label. A Pfirrmann grade needs a
T2-weighted MR (Pfirrmann 2001, doi 10.1097/00007632-200109010-00011); a Modic type needs T1 and T2 of the same
end-plate (Modic 1988, doi 10.1148/radiology.166.1.3336678), so no single picture decides it.

Trap: `none` is a finding made by construction or reading; a study without a statement about a vertebra yields no
question about it.
"""

from __future__ import annotations

import numpy as np

from spinemed.questions.draft import QuestionDraft, compose
from spinemed.questions.templates import Template
from spinemed.records import Study

__all__ = [
    "FRACTURE_SHAPES",
    "MODIC_TYPES",
    "NOT_ASSESSABLE",
    "PFIRRMANN_GRADES",
    "SOLVABLE_FROM_TEXT",
    "fracture_question",
    "modic_question",
    "pfirrmann_question",
]

NOT_ASSESSABLE = "not assessable"
"""The answer where the picture cannot show a grade."""
SOLVABLE_FROM_TEXT = "solvable:text"
"""Tag of a question with a picture whose answer is the same whatever the picture shows."""
FRACTURE_SHAPES = ("none", "wedge", "crush", "biconcave")
"""The closed answers to a question about the shape of a fracture."""
PFIRRMANN_GRADES = ("1", "2", "3", "4", "5", NOT_ASSESSABLE)
MODIC_TYPES = ("none", "1", "2", "3", NOT_ASSESSABLE)


def fracture_question(
    study: Study, mark: int, shape: str, templates: dict[str, Template], rng: np.random.Generator
) -> QuestionDraft:
    """Which fracture shape does the marked vertebra show? `shape` is what the study's findings state."""
    level = study.marks[mark].level
    return compose(
        templates["fracture_shape"],
        rng,
        axis="pathology",
        task="category",
        answer=shape,
        answer_kind="category",
        categories=FRACTURE_SHAPES,
        levels=() if level is None else (level,),
    )


def pfirrmann_question(
    study: Study, upper: int, templates: dict[str, Template], rng: np.random.Generator
) -> QuestionDraft | None:
    """The Pfirrmann grade of a marked disc, for pictures that cannot show one; None for MR (no truth here)."""
    if study.modality == "MR":
        return None
    levels = tuple(mark.level for mark in study.marks[upper : upper + 2] if mark.level is not None)
    return compose(
        templates["pfirrmann_grade"],
        rng,
        axis="pathology",
        task="category",
        answer=NOT_ASSESSABLE,
        answer_kind="category",
        categories=PFIRRMANN_GRADES,
        levels=levels,
        tags=(SOLVABLE_FROM_TEXT,),
    )


def modic_question(templates: dict[str, Template], rng: np.random.Generator) -> QuestionDraft:
    """The Modic type in a single picture, which no single picture decides."""
    return compose(
        templates["modic_type"],
        rng,
        axis="pathology",
        task="category",
        answer=NOT_ASSESSABLE,
        answer_kind="category",
        categories=MODIC_TYPES,
        tags=(SOLVABLE_FROM_TEXT,),
    )
