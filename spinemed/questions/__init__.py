"""Typed findings to questions: answer, options and wording, decided by rule.

Purpose: the same functions serve the data pipeline and anything else that needs a question with a known answer. They
are pure: templates and a random generator come in, a `QuestionDraft` goes out, no file is touched.
"""

from spinemed.questions.columns import construct, disc_text, neighbour
from spinemed.questions.counting import COLUMN_COUNTS, column_question, count_question
from spinemed.questions.distractors import (
    neighbouring_constructs,
    neighbouring_levels,
    other_texts,
    overlapping,
    significant_words,
)
from spinemed.questions.draft import QuestionDraft, as_options, question_messages
from spinemed.questions.level import disc_question, edge_question, neighbour_question, vertebra_question
from spinemed.questions.pathology import (
    FRACTURE_SHAPES,
    NOT_ASSESSABLE,
    SOLVABLE_FROM_TEXT,
    fracture_question,
    modic_question,
    pfirrmann_question,
)
from spinemed.questions.planning import marked_construct_question, span_text, stated_construct_question
from spinemed.questions.templates import Template, load_templates
from spinemed.questions.text import choice_question

__all__ = [
    "COLUMN_COUNTS",
    "FRACTURE_SHAPES",
    "NOT_ASSESSABLE",
    "SOLVABLE_FROM_TEXT",
    "QuestionDraft",
    "Template",
    "as_options",
    "choice_question",
    "column_question",
    "construct",
    "count_question",
    "disc_question",
    "disc_text",
    "edge_question",
    "fracture_question",
    "load_templates",
    "marked_construct_question",
    "modic_question",
    "neighbour",
    "neighbour_question",
    "neighbouring_constructs",
    "neighbouring_levels",
    "other_texts",
    "overlapping",
    "pfirrmann_question",
    "question_messages",
    "significant_words",
    "span_text",
    "stated_construct_question",
    "vertebra_question",
]
