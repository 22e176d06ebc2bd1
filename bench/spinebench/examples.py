"""A few questions to look at: right, wrong and unread replies of the subject, with what the other systems said.

Convention: the choice is drawn from the seed, not picked; picture questions come first and the rows of the table take
turns, so that one axis cannot fill the page.

Trap: replies are untrusted text; they are stored verbatim here and escaped by whatever shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.samples import modality_of
from spinemed.records import Prediction, Sample, Score
from spinemed.statistics import generator_for

__all__ = ["choose_examples"]

_VERDICTS = ("right", "wrong", "unread")


def _verdict(score: Score) -> str:
    if score.outcome != "parsed":
        return "unread"
    return "right" if score.correct else "wrong"


def choose_examples(
    samples: Sequence[Sample],
    scores: dict[str, list[Score]],
    replies: dict[str, dict[str, Prediction]],
    subject: str,
    *,
    seed: int,
    each: int = 6,
) -> list[dict[str, Any]]:
    """Up to `each` questions per verdict of the subject.

    Args:
        samples: All samples, by id.
        scores: For each system its scores in the order of `samples`.
        replies: For each system its predictions by sample id.
        subject: Whose verdicts are shown.
        seed: Seed of the draw.
        each: How many per verdict.

    Returns:
        Plain dicts: verdict, sample_id, axis, modality, origin, question, images, answer, tags, replies.
    """
    order = generator_for(seed, "examples").permutation(len(samples)).tolist()
    chosen = []
    for verdict in _VERDICTS:
        queues: dict[tuple[bool, str, str], list[int]] = {}
        for place in order:
            if _verdict(scores[subject][place]) == verdict:
                sample = samples[place]
                queues.setdefault((not sample.images, sample.axis, sample.origin), []).append(place)
        taken: list[int] = []
        while len(taken) < each and any(queues.values()):
            for name in sorted(queues):
                if queues[name] and len(taken) < each:
                    taken.append(queues[name].pop(0))
        chosen += [_example(verdict, place, samples, scores, replies) for place in taken]
    return chosen


def _example(
    verdict: str,
    place: int,
    samples: Sequence[Sample],
    scores: dict[str, list[Score]],
    replies: dict[str, dict[str, Prediction]],
) -> dict[str, Any]:
    sample = samples[place]
    return {
        "verdict": verdict,
        "sample_id": sample.id,
        "source_id": sample.source_id,
        "axis": sample.axis,
        "modality": modality_of(sample),
        "origin": sample.origin,
        "question": [message.model_dump() for message in sample.messages],
        "images": list(sample.images),
        "answer": sample.answer,
        "tags": list(sample.tags),
        "replies": [
            {
                "system": name,
                "outcome": scores[name][place].outcome,
                "text": replies[name][sample.id].text,
                "detail": replies[name][sample.id].detail,
                "parsed": scores[name][place].parsed,
                "correct": scores[name][place].correct,
            }
            for name in scores
        ],
    }
