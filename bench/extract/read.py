"""One reply read: from text to canonical answer (rules in the package's docstring).

Convention: `extract` knows only the form of the question; `extract_answer` takes a sample and never looks at its
answer. Equal replies to questions of equal form are read once.

Trap: a declaration that holds nothing ("the answer is clear") is passed over; but where anything was declared, the rest
of the reply is never searched for an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from bench.extract.declared import CONDITIONAL, declarations, statements, taken_back
from bench.extract.doubt import REFUSAL, UNDECIDED, UNDECIDED_VALUE, UNSURE, Doubt
from bench.extract.levels import read_levels, read_range
from bench.extract.options import read_option, says_undecided
from bench.extract.plain import plain_text, take_confidence
from bench.extract.quantities import read_number
from bench.extract.question import Question, question_of
from bench.extract.words import read_category, read_grade, read_side
from spinemed.records import NOT_DETERMINABLE, Sample

__all__ = ["Extraction", "extract", "extract_answer"]


@dataclass(frozen=True)
class Extraction:
    """What was read from one reply."""

    answer: str | None
    """Canonical answer, or None."""
    outcome: Literal["parsed", "unparsed", "refused"]
    reason: str = ""
    """Why nothing was read."""
    confidence: float | None = None
    """From 0 to 1, where the reply states a number."""
    by: Literal["rules", "matcher"] = "rules"
    """Who read it; `matcher` is the optional language model, counted apart."""


def extract_answer(text: str, sample: Sample) -> Extraction:
    """Read the answer to one sample from a reply.

    Args:
        text: The reply, verbatim.
        sample: The question; its answer is never looked at.

    Returns:
        The canonical answer with outcome `parsed`, or None with `unparsed` or `refused` and the reason.
    """
    return extract(text, question_of(sample))


def extract(text: str, question: Question) -> Extraction:
    """As `extract_answer`, for a question of which only the form is known."""
    return _read_short(text, question) if len(text) <= 200 else _read_reply(text, question)


def _read_reply(text: str, question: Question) -> Extraction:
    plain = plain_text(text)
    if plain is None:
        return Extraction(None, "unparsed", "the reasoning never ends")
    plain, confidence = take_confidence(plain)
    if not plain.strip():
        return Extraction(None, "unparsed", "empty reply", confidence)
    try:
        answer = _answer(plain.strip(), question)
    except Doubt as doubt:
        return Extraction(None, "unparsed", str(doubt), confidence)
    if answer is not None:
        return Extraction(answer, "parsed", "", confidence)
    if REFUSAL.search(plain):
        return Extraction(None, "refused", "the reply declines to answer", confidence)
    return Extraction(None, "unparsed", f"no {question.kind} in the reply", confidence)


_read_short = lru_cache(maxsize=65_536)(_read_reply)


def _answer(text: str, question: Question) -> str | None:
    declared = declarations(text, letters=question.kind == "option")
    if declared:
        for stretch, end in reversed(declared):
            if stretch.startswith(CONDITIONAL):
                raise Doubt("declared under a condition")
            found = _only(_read(stretch, question, declared=True))
            if found is not None:
                _check_stands(found, taken_back(text, end), question)
                return found
        return None
    for stretches in [statements(text)] if question.kind in ("level", "disc", "option") else []:
        found = _only({one for stretch in stretches for one in _read(stretch, question, declared=True)})
        if found is not None:
            return found
    return _only(_read(text, question, declared=False))


def _only(found: set[str]) -> str | None:
    if len(found) > 1:
        raise Doubt(f"several answers: {', '.join(sorted(found))}")
    return next(iter(found), None)


def _check_stands(found: str, rest: str, question: Question) -> None:
    """Refuse an answer that a "wait" or "no" behind it replaces by another."""
    if rest:
        try:
            later = _read(rest, question, declared=True)
        except Doubt:
            return
        if later - {found, NOT_DETERMINABLE}:
            raise Doubt(f"{found} is taken back")


_READERS: dict[str, Callable[[str, Question], set[str]]] = {
    "level": read_levels,
    "disc": read_levels,
    "levels": read_range,
    "category": read_category,
    "grade": read_grade,
    "side": read_side,
    "number": read_number,
}


def _read(stretch: str, question: Question, *, declared: bool) -> set[str]:
    """Every answer that a stretch of text gives; empty where it gives none.

    Raises:
        Doubt: It gives an answer that cannot be taken at its word.
    """
    if question.kind == "option":
        found = read_option(stretch, question, declared=declared)
    elif question.kind in _READERS:
        found = _READERS[question.kind](stretch, question)
    else:
        return {stretch.strip()}  # free text is its own canonical answer; equality is all that scoring can ask
    undecided = UNDECIDED if question.kind in ("level", "disc", "levels") else UNDECIDED_VALUE
    if not found and (undecided.search(stretch) or UNSURE.search(stretch)):
        for option in question.options:
            if says_undecided(option.text):
                return {option.key}
        for category in question.categories:
            if says_undecided(category):
                return {category}
        return {NOT_DETERMINABLE}
    return found
