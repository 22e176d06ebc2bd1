"""False answers and needless refusals: answering what cannot be decided, and abstaining where it can.

Convention: a question is undecidable where its truth is "not determinable" (for options: where the right option says
so). The false-answer rate is the share of undecidable questions to which something else was answered; the
needless-refusal rate is the share of decidable ones where the model abstained or refused. Unreadable replies are
neither, and are counted elsewhere.

Degenerate cases: no undecidable (or no decidable) question gives None for its rate.

Trap: a model that always abstains has no false answer; both rates stand together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.extract.options import says_undecided
from spinemed.records import NOT_DETERMINABLE, Sample, Score

__all__ = ["AbstentionRates", "abstained", "abstaining_answers", "abstention_rates", "is_undecidable"]


@dataclass(frozen=True)
class AbstentionRates:
    """Both rates with what they rest on."""

    undecidable: int
    decidable: int
    false_answer: float | None
    needless_refusal: float | None


def is_undecidable(sample: Sample) -> bool:
    """Whether the right answer is that the question cannot be decided."""
    if sample.answer_kind == "option":
        return any(option.key == sample.answer and says_undecided(option.text) for option in sample.options)
    return sample.answer == NOT_DETERMINABLE


def abstaining_answers(sample: Sample) -> frozenset[str]:
    """The canonical answers to a sample that abstain: "not determinable", and the options that say so."""
    return frozenset(
        {NOT_DETERMINABLE, *(option.key for option in sample.options if says_undecided(option.text))}
    )  # fmt: skip


def abstained(sample: Sample, score: Score) -> bool:
    """Whether the reply said that the question cannot be decided, or declined to answer."""
    return score.outcome == "refused" or (score.parsed is not None and score.parsed in abstaining_answers(sample))


def abstention_rates(samples: Sequence[Sample], scores: Sequence[Score]) -> AbstentionRates:
    """Rates of one system over the questions whose request did not fail (`api_error` is nobody's answer).

    Args:
        samples: The questions.
        scores: One score each, in the same order.
    """
    false = needless = undecidable = decidable = 0
    for sample, score in zip(samples, scores, strict=True):
        if score.outcome == "api_error":
            continue
        gave_up = abstained(sample, score)
        if is_undecidable(sample):
            undecidable += 1
            false += score.outcome == "parsed" and not gave_up
        else:
            decidable += 1
            needless += gave_up
    return AbstentionRates(
        undecidable,
        decidable,
        false / undecidable if undecidable else None,
        needless / decidable if decidable else None,
    )
