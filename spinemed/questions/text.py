"""Multiple-choice questions on quoted text and figures.

Convention: the passage is quoted verbatim; hiding what gives the answer away is the reviser's job, who keeps both
versions. The right option stands where its text sorts, so the draft has no hand-picked order;
options that stand in print keep the order they have there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spinemed.questions.draft import KEYS, QuestionDraft, as_options, compose
from spinemed.questions.templates import Template
from spinemed.records import Axis

__all__ = ["choice_question"]


def choice_question(
    template: Template,
    *,
    axis: Axis,
    answer: str,
    distractors: Sequence[str],
    rng: np.random.Generator,
    passage: str = "",
    order: Sequence[str] = (),
) -> QuestionDraft | None:
    """A question with the answer among distractors; None when fewer than two distractors differ from it.

    Args:
        template: The wording.
        axis: What the question is about.
        answer: Text of the right option.
        distractors: Texts of the wrong ones.
        rng: Draws the wording.
        passage: Quoted text the question is about; empty for figures.
        order: All texts in the order in which they stand in print; empty to sort by text.
    """
    wrong = [text for text in dict.fromkeys(distractors) if text.casefold() != answer.casefold()]
    if len(wrong) < 2:
        return None
    texts = [answer, *wrong]
    if order:
        texts.sort(key=list(order).index)
    else:
        texts.sort(key=str.casefold)
    return compose(
        template,
        rng,
        axis=axis,
        task="multiple_choice",
        answer=KEYS[texts.index(answer)],
        answer_kind="option",
        options=as_options(texts),
        values={"passage": passage} if passage else {},
    )
