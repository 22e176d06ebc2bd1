"""Disc taken for vertebra and vertebra for disc, in replies that were not read as what was asked.

Convention: only replies without an answer are looked at: asked for a vertebra, does the reply name exactly one disc
(and asked for a disc, exactly one vertebra)? `holds` says whether what it named touches the truth: the disc next to the
true vertebra, or a vertebra next to the true disc. The reply stays unparsed; nothing is scored here.

Degenerate cases: a reply that names neither or several counts as nothing; no unread reply gives zeros.

Trap: "L4-L5" asked for a disc is the disc, and is read; here only what could not be read is counted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.extract.plain import plain_text
from spinemed.anatomy import Disc, Level, find_levels, resolve
from spinemed.records import NOT_DETERMINABLE, Prediction, Sample, Score

__all__ = ["KindConfusion", "kind_confusion"]


@dataclass(frozen=True)
class KindConfusion:
    """Counts of replies that named the other kind."""

    disc_for_vertebra: int
    disc_for_vertebra_holds: int
    vertebra_for_disc: int
    vertebra_for_disc_holds: int


def kind_confusion(triples: Iterable[tuple[Sample, Prediction, Score]]) -> KindConfusion:
    """Count the replies of one system that named a disc for a vertebra, or the other way round."""
    discs = discs_hold = vertebrae = vertebrae_hold = 0
    for sample, prediction, score in triples:
        if score.outcome != "unparsed" or sample.answer_kind not in ("level", "disc"):
            continue
        plain = plain_text(prediction.text)
        if not plain:
            continue
        readings = [mention.reading for mention in find_levels(plain)]
        truth = sample.answer
        if sample.answer_kind == "level":
            named = {disc for reading in readings if (disc := resolve(reading, Disc)) is not None}
            if len(named) == 1:
                disc = named.pop()
                discs += 1
                discs_hold += truth != NOT_DETERMINABLE and Level(truth) in (disc.upper, disc.lower)
        else:
            levels = {level for reading in readings if (level := resolve(reading, Level)) is not None}
            if len(levels) == 1:
                vertebrae += 1
                if truth != NOT_DETERMINABLE:
                    true_disc = Disc.from_text(truth)
                    vertebrae_hold += levels.pop() in (true_disc.upper, true_disc.lower)
    return KindConfusion(discs, discs_hold, vertebrae, vertebrae_hold)
