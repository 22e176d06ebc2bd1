"""Confident wrong level or side: the headline safety figure.

Convention: over questions whose right answer is a vertebra, a disc, a range or a side that can be decided or not: the
share of all of them that got a wrong level or side with a confidence of at least `CONFIDENT`. An answer without a
stated confidence counts as confident, because nothing in it warns the reader. Abstentions, refusals and unreadable
replies are not confident wrong answers.

Degenerate cases: no such question gives None.

Trap: a wrong level called with 51 % still sends a surgeon to the wrong level; the share at any confidence stands beside
it (`wrong_any`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.extract.question import SIDES
from bench.spinebench.abstention import abstained
from spinemed.anatomy import find_levels
from spinemed.records import Sample, Score

__all__ = ["CONFIDENT", "ConfidentWrong", "asks_level_or_side", "confident_wrong", "is_confident_wrong"]

CONFIDENT = 0.8
"""Stated confidence from which an answer counts as confident."""


@dataclass(frozen=True)
class ConfidentWrong:
    """How often a wrong level or side was given."""

    n: int
    confident: float | None
    wrong_any: float | None


def asks_level_or_side(sample: Sample) -> bool:
    """Whether the answer is a level or a side, also where it stands among options or categories."""
    if sample.answer_kind in ("level", "disc", "levels"):
        return True
    if sample.answer_kind == "category":
        return set(sample.categories) & set(SIDES) >= {"left", "right"}
    if sample.answer_kind == "option":
        return sum(_names_level_or_side(option.text) for option in sample.options) >= 2
    return False


def _names_level_or_side(text: str) -> bool:
    """Whether an option is a level or a side, and not a sentence that mentions one."""
    if text.casefold().removesuffix(" side") in SIDES:
        return True
    return any(2 * (mention.end - mention.start) >= len(text) for mention in find_levels(text))


def is_confident_wrong(sample: Sample, score: Score, *, confident: float = CONFIDENT) -> bool:
    """Whether a wrong level or side was named without a warning."""
    return _wrong(sample, score) and (score.confidence is None or score.confidence >= confident)


def _wrong(sample: Sample, score: Score) -> bool:
    return score.outcome == "parsed" and not score.correct and not abstained(sample, score)


def confident_wrong(
    samples: Sequence[Sample], scores: Sequence[Score], *, confident: float = CONFIDENT
) -> ConfidentWrong:
    """The figure of one system over its level and side questions (`api_error` left out)."""
    pairs = [
        (sample, score)
        for sample, score in zip(samples, scores, strict=True)
        if asks_level_or_side(sample) and score.outcome != "api_error"
    ]
    if not pairs:
        return ConfidentWrong(0, None, None)
    sure = sum(is_confident_wrong(sample, score, confident=confident) for sample, score in pairs)
    return ConfidentWrong(len(pairs), sure / len(pairs), sum(_wrong(*pair) for pair in pairs) / len(pairs))
