"""Questions of the axis "surgical planning": which levels a short-segment fixation spans.

Convention: the rule (one level above to one level below) is stated in the question, so the answer follows from the
level alone and no treatment is recommended. Where the numbering is not determinable, neither is the construct.
"""

from __future__ import annotations

import numpy as np

from spinemed.anatomy import Level, Spine
from spinemed.questions.columns import construct
from spinemed.questions.distractors import neighbouring_constructs
from spinemed.questions.draft import KEYS, QuestionDraft, as_options, compose
from spinemed.questions.templates import Template
from spinemed.records import NOT_DETERMINABLE, Study

__all__ = ["marked_construct_question", "span_text", "stated_construct_question"]


def span_text(first: Level, last: Level) -> str:
    """Canonical text of a range of levels: `T12-L2`."""
    return f"{first.value}-{last.value}"


def marked_construct_question(
    study: Study,
    mark: int,
    spine: Spine,
    *,
    fractured: bool,
    templates: dict[str, Template],
    rng: np.random.Generator,
) -> QuestionDraft | None:
    """Which levels does the fixation around the marked vertebra span? None where the column ends first.

    `fractured` picks the wording: a fracture that is there, or one that is supposed.
    """
    level = study.marks[mark].level if study.numbering_determinable else None
    answer = NOT_DETERMINABLE
    levels: tuple[Level, ...] = ()
    if level is not None:
        span = construct(spine, level)
        if span is None:
            return None
        answer, levels = span_text(*span), (level, *span)
    return compose(
        templates["construct_fracture" if fractured else "construct_supposed"],
        rng,
        axis="surgical_planning",
        task="construct",
        answer=answer,
        answer_kind="levels",
        levels=levels,
    )


def stated_construct_question(
    spine: Spine,
    level: Level,
    templates: dict[str, Template],
    rng: np.random.Generator,
    *,
    choices: bool = False,
) -> QuestionDraft | None:
    """The same for a level that is named in the text. With `choices`, four constructs are offered."""
    span = construct(spine, level)
    if span is None:
        return None
    values = {
        "level": level.value,
        "thoracic": str(spine.thoracic),
        "lumbar": str(spine.lumbar),
    }
    levels = (level, *span)
    if not choices:
        return compose(
            templates["construct_stated"],
            rng,
            axis="surgical_planning",
            task="construct",
            answer=span_text(*span),
            answer_kind="levels",
            values=values,
            levels=levels,
        )
    offered = sorted([span, *neighbouring_constructs(spine, level, 3, rng)])
    return compose(
        templates["construct_choice"],
        rng,
        axis="surgical_planning",
        task="multiple_choice",
        answer=KEYS[offered.index(span)],
        answer_kind="option",
        options=as_options([span_text(*offer) for offer in offered]),
        values=values,
        levels=levels,
    )
