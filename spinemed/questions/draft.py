"""The noun of this package: a question with its canonical answer, before it has evidence and a place in a data set.

Convention: everything is decided here but the picture bytes and the source: axis, task, wording, answer, options,
levels. Options keep the order they were given in; balancing letters is a job for a whole set.

Trap: an answer of kind `option` is a letter; the text it stands for is in `options`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from spinemed.anatomy import Level
from spinemed.questions.templates import Template
from spinemed.records import IMAGE_PLACEHOLDER, AnswerKind, Axis, Message, Option, Task, escape_placeholder

__all__ = ["KEYS", "QuestionDraft", "as_options", "compose", "question_messages"]

KEYS = "ABCDEFGH"


@dataclass(frozen=True)
class QuestionDraft:
    """A question and its answer."""

    axis: Axis
    task: Task
    text: str
    """What the user turn says, without pictures and options."""
    answer: str
    answer_kind: AnswerKind
    template: Template
    wording: int
    values: Mapping[str, str] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    categories: tuple[str, ...] = ()
    levels: tuple[Level, ...] = ()
    tags: tuple[str, ...] = ()


def compose(
    template: Template,
    rng: np.random.Generator,
    *,
    axis: Axis,
    task: Task,
    answer: str,
    answer_kind: AnswerKind,
    values: Mapping[str, str] | None = None,
    options: tuple[Option, ...] = (),
    categories: Sequence[str] = (),
    levels: Sequence[Level] = (),
    tags: Sequence[str] = (),
) -> QuestionDraft:
    """A draft with one wording of the template, drawn with `rng`."""
    wording = int(rng.integers(len(template.wordings)))
    filled = dict(values or {})
    if categories:
        filled["categories"] = ", ".join(categories)
    return QuestionDraft(
        axis=axis,
        task=task,
        text=template.fill(wording, filled),
        answer=answer,
        answer_kind=answer_kind,
        template=template,
        wording=wording,
        values=filled,
        options=options,
        categories=tuple(categories),
        levels=tuple(levels),
        tags=(template.name, *tags),
    )


def as_options(texts: Sequence[str]) -> tuple[Option, ...]:
    """Texts as options A, B, ... in the order given; `<image>` inside a text is escaped."""
    return tuple(Option(key=key, text=escape_placeholder(text)) for key, text in zip(KEYS, texts, strict=False))


def question_messages(text: str, options: Sequence[Option], answer: str, *, images: int) -> tuple[Message, ...]:
    """User turn (pictures first, then the question, then the options) and the assistant's answer."""
    lines = [IMAGE_PLACEHOLDER] * images + [text] + [f"{option.key}. {option.text}" for option in options]
    return (Message(role="user", content="\n".join(lines)), Message(role="assistant", content=answer))
