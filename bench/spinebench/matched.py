"""A second reading of unparsed replies by a language model, counted apart from the score.

Convention, layout of one system::

    {unparsed: replies that the rules could not read, matched: of these read by the matcher, correct: of the matched,
     value, value_with_matched: share right of all questions by the rules alone, and with the matched ones}

Requests that failed (`api_error`) are left out of both shares. The matcher's identity stands beside, in `matcher`.

Trap: ranks, intervals and comparisons rest on the rules alone. `value_with_matched` says how much the form of the
replies cost, and is another score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.extract.matcher import match_unparsed
from bench.extract.question import question_of
from bench.spinebench.exact import is_exact
from spinemed.chat import LOCAL, Egress
from spinemed.chat.client import Chat
from spinemed.records import Prediction, Sample, Score

__all__ = ["matched_lines", "summarise_matched"]


def matched_lines(summary: Mapping[str, Any]) -> list[str]:
    """A line for each system of a summary that a matcher read; none where none was asked."""
    if "matched" not in summary:
        return []
    return [
        f"{name}: the matcher {summary['matched']['matcher']['model']} read {one['matched']} of {one['unparsed']} "
        f"unparsed replies, {one['correct']} of them right; no score or rank rests on it"
        for name, one in summary["matched"]["systems"].items()
        if one["unparsed"]
    ]


def summarise_matched(
    samples: Sequence[Sample],
    scores: Mapping[str, Sequence[Score]],
    replies: Mapping[str, Mapping[str, Prediction]],
    matcher: Chat,
    *,
    egress: Egress = LOCAL,
) -> dict[str, Any]:
    """What a matcher reads in the replies that the rules left unparsed; the layout stands in the module's docstring.

    Args:
        samples: All samples, by id.
        scores: For each system its scores, in the order of the samples.
        replies: For each system its predictions by sample.
        matcher: The language model.
        egress: Where replies may be sent.

    Raises:
        ChatError, EgressError, BudgetError: As `Chat.ask`.
    """
    systems = {}
    for name, own in scores.items():
        known = sum(score.outcome != "api_error" for score in own)
        open_ = [place for place, score in enumerate(own) if score.outcome == "unparsed"]
        asked = [(replies[name][samples[place].id].text, question_of(samples[place])) for place in open_]
        read = match_unparsed(asked, matcher, egress=egress)
        found = [(samples[place], one.answer) for place, one in zip(open_, read, strict=True) if one.by == "matcher"]
        correct = sum(is_exact(sample, answer) for sample, answer in found)
        right = sum(score.correct for score in own)
        systems[name] = {
            "unparsed": len(open_),
            "matched": len(found),
            "correct": correct,
            "value": right / known if known else None,
            "value_with_matched": (right + correct) / known if known else None,
        }
    return {"matcher": {"model": matcher.model, "identity": matcher.identity}, "systems": systems}
