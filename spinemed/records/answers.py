"""What every question must hold: placeholders for its pictures, an answer of its kind, a last turn that says it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import StringConstraints

from spinemed.anatomy import Disc, Level, LevelRange
from spinemed.errors import LevelError
from spinemed.records.base import IMAGE_PLACEHOLDER, NOT_DETERMINABLE, AnswerKind, Record

__all__ = ["Message", "Option", "check_answer", "check_last_turn", "check_placeholders"]


class Message(Record):
    """One turn. `content` may hold `<image>` placeholders in user turns."""

    role: Literal["system", "user", "assistant"]
    """Who speaks; the assistant's turns are what is learned or scored."""
    content: str
    """The words; in user turns `<image>` stands where a picture belongs."""


class Option(Record):
    """One choice of a multiple-choice item."""

    key: Annotated[str, StringConstraints(pattern=r"^[A-H]$")]
    """Letter by which it is answered."""
    text: str
    """What it says, without its letter."""


def check_placeholders(messages: tuple[Message, ...], images: int) -> None:
    """Raise ValueError unless the user turns hold one placeholder per picture."""
    if not messages:
        raise ValueError("messages is empty")
    for message in messages:
        if message.role != "user" and IMAGE_PLACEHOLDER in message.content:
            raise ValueError(f"{IMAGE_PLACEHOLDER} may only stand in user turns")
    found = sum(message.content.count(IMAGE_PLACEHOLDER) for message in messages)
    if found != images:
        raise ValueError(f"{found} {IMAGE_PLACEHOLDER} placeholders for {images} images")


def check_last_turn(messages: tuple[Message, ...], answer: str) -> None:
    """Raise ValueError unless the last turn is the assistant's and says the answer."""
    # Training reads the turn and scoring reads the field: where they differ, a model is taught one and asked the other.
    if messages[-1].role != "assistant":
        raise ValueError("the last message must be the assistant's answer")
    if messages[-1].content != answer:
        raise ValueError(f"the last message says {messages[-1].content!r} and the answer is {answer!r}")


_LEVEL_EXAMPLES = {"level": "a vertebra like L3", "disc": "a disc like L4/5", "levels": "a range like T12-L2"}


def _is_level_text(kind: str, text: str) -> bool:
    """Whether a text is the canonical one of a vertebra, disc or range; scoring compares texts and measures levels."""
    try:
        if kind == "level":
            return Level(text).value == text
        if kind == "disc":
            return str(Disc.from_text(text)) == text
        first, _, last = text.partition("-")
        return str(LevelRange(Level(first), Level(last))) == text
    except (LevelError, ValueError):
        return False


def _is_number_text(text: str) -> bool:
    """Whether a text is a number as the extractor writes it, so that equal values are equal texts."""
    try:
        value = float(text)
    except ValueError:
        return False
    return math.isfinite(value) and f"{value:.10g}" == text


def check_answer(kind: AnswerKind, answer: str, options: tuple[Option, ...], categories: tuple[str, ...]) -> None:
    """Raise ValueError unless the answer is canonical for its kind."""
    if not answer:
        raise ValueError("answer is empty")
    if kind == "option":
        keys = [option.key for option in options]
        if answer not in keys:
            raise ValueError(f"answer '{answer}' is not among the option keys {keys}")
        if len(set(keys)) != len(keys):
            raise ValueError(f"option keys repeat: {keys}")
        texts = [option.text for option in options]
        if len(set(texts)) != len(texts):
            raise ValueError("two options have the same text")
    if kind in _LEVEL_EXAMPLES and answer != NOT_DETERMINABLE and not _is_level_text(kind, answer):
        raise ValueError(f"answer '{answer}' is neither {_LEVEL_EXAMPLES[kind]} nor '{NOT_DETERMINABLE}'")
    if kind == "number" and answer != NOT_DETERMINABLE and not _is_number_text(answer):
        raise ValueError(f"answer '{answer}' is neither a plain number like 12.5 nor '{NOT_DETERMINABLE}'")
    if kind == "category" and answer not in categories:
        raise ValueError(f"answer '{answer}' is not among the categories {list(categories)}")
