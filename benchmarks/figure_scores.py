"""How well matched figures agree with a gold set: pairs that are right, found and invented, with intervals by document.

Convention: a matched pair is right when its box is that of a gold figure (intersection over union at least 0.7 with the
box around its panels, or of one panel group where a caption is shared) and its caption's letters are the gold caption's
(at least 95 of 100 alike, blanks aside). A gold figure is found when right pairs cover all its panels. Pairs that wait
for a person count as not given. Intervals resample documents, because the figures of one document share its looks.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

Box = tuple[float, float, float, float]

__all__ = ["Given", "Truth", "Verdict", "judge"]


@dataclass(frozen=True)
class Given:
    """One pair that the matcher gave: page, box and caption."""

    page: int
    box: Box
    caption: str


@dataclass(frozen=True)
class Truth:
    """One gold figure."""

    label: str
    caption: str
    panels: tuple[tuple[int, Box], ...]
    what: str = ""


@dataclass
class Verdict:
    """One document's account."""

    right: int = 0
    given: int = 0
    found: int = 0
    figures: int = 0
    failures: list[str] = field(default_factory=list)


def judge(truths: Sequence[Truth], given: Sequence[Given], waiting: Sequence[Given] = ()) -> Verdict:
    """Compare the pairs given for one document with its gold figures.

    Args:
        truths: All of its figures.
        given: The pairs that were given.
        waiting: Pairs that wait for a person: named in failures, counted nowhere.
    """
    verdict = Verdict(given=len(given), figures=len(truths))
    covered: dict[int, set[int]] = {number: set() for number in range(len(truths))}
    for pair in given:
        fits = _fits(pair, truths)
        verdict.right += bool(fits)
        if not fits:
            verdict.failures.append(f"wrong: page {pair.page} {_short(pair.box)} '{pair.caption[:60]}'")
        for number in fits:
            for place, (page, box) in enumerate(truths[number].panels):
                if page == pair.page and _shared(pair.box, box) > 0.8 * _area(box):
                    covered[number].add(place)
    for number, truth in enumerate(truths):
        if len(covered[number]) == len(truth.panels):
            verdict.found += 1
            continue
        held = any(_alike(pair.caption, truth.caption) for pair in waiting)
        page, box = truth.panels[0]
        verdict.failures.append(
            f"{'waits for a person' if held else 'missed'}: {truth.label} ({truth.what}) page {page} {_short(box)}"
        )
    return verdict


def _fits(pair: Given, truths: Sequence[Truth]) -> list[int]:
    """Gold figures that a pair is right for: one, or several that share the caption and lie inside its box."""
    same = [number for number, truth in enumerate(truths) if _alike(pair.caption, truth.caption)]
    boxes = {n: _around([box for page, box in truths[n].panels if page == pair.page]) for n in same}
    single = [n for n in same if (box := boxes[n]) is not None and _iou(box, pair.box) >= 0.7]
    if single:
        return single[:1]
    whole = _around([box for box in boxes.values() if box is not None])
    if len(same) > 1 and whole is not None and _iou(whole, pair.box) >= 0.7:
        return same
    # Panels that were kept apart: each is a right pair of its own.
    return [n for n in same if any(page == pair.page and _iou(box, pair.box) >= 0.7 for page, box in truths[n].panels)]


def _alike(one: str, other: str) -> bool:
    left, right = "".join(one.split()), "".join(other.split())
    return left == right or difflib.SequenceMatcher(None, left, right, autojunk=False).ratio() >= 0.95


def _around(boxes: Sequence[Box]) -> Box | None:
    if not boxes:
        return None
    return min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _shared(one: Box, other: Box) -> float:
    return _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))


def _iou(one: Box, other: Box) -> float:
    shared = _shared(one, other)
    return shared / max(_area(one) + _area(other) - shared, 1e-9)


def _short(box: Box) -> str:
    return "(" + ", ".join(f"{value:.0f}" for value in box) + ")"
