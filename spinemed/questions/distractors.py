"""Wrong answers that are near enough to be tempting and far enough to be wrong.

Convention: level distractors are neighbours of the answer in the same spine; constructs are the answer shifted or
widened by one level; texts come from a pool, those that overlap with the answer left out.

Trap: two names of one condition ("scoliosis", "idiopathic scoliosis") are both right; :func:`overlapping` compares
significant words, so neither is offered against the other.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import numpy as np

from spinemed.anatomy import Level, Spine
from spinemed.questions.columns import construct, neighbour

__all__ = ["neighbouring_constructs", "neighbouring_levels", "other_texts", "overlapping", "significant_words"]

_WORD = re.compile(r"[a-z0-9]+")
_EMPTY = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be by for from in into is it its of on or the their this to with disease disorder "
        "disorders syndrome condition injury injuries type form acute chronic adult idiopathic",
    )
)
_SAME = {"disk": "disc", "disks": "disc", "discs": "disc", "vertebrae": "vertebra", "vertebral": "vertebra"}


def neighbouring_levels(
    spine: Spine, answer: Level, number: int, rng: np.random.Generator, *, without: Collection[Level] = ()
) -> list[Level]:
    """`number` levels nearest to the answer in the spine, those in `without` left out; equal distances are drawn."""
    found: list[Level] = []
    for distance in range(1, len(spine.levels)):
        pair = [neighbour(spine, answer, step) for step in (-distance, distance)]
        near = [level for level in pair if level is not None and level not in without]
        if rng.integers(2):
            near.reverse()
        found += near
        if len(found) >= number:
            break
    return found[:number]


def neighbouring_constructs(
    spine: Spine, level: Level, number: int, rng: np.random.Generator
) -> list[tuple[Level, Level]]:
    """Constructs that a wrong count would give: shifted by one, too short or too long by one."""
    answer = construct(spine, level)
    tried = [construct(spine, level, above, below) for above, below in ((0, 2), (2, 0), (0, 1), (1, 0), (1, 2), (2, 1))]
    pool = [span for span in tried if span is not None and span != answer]
    order = rng.permutation(len(pool))
    return [pool[place] for place in order[:number]]


def significant_words(text: str) -> frozenset[str]:
    """Lower-case words that carry meaning, spelling variants joined, a plural s cut."""
    words = (_SAME.get(word, word) for word in _WORD.findall(text.casefold()) if word not in _EMPTY)
    return frozenset(
        word[:-1] if len(word) > 4 and word.endswith("s") and word[-2] not in "is" else word for word in words
    )


def overlapping(one: str, other: str) -> bool:
    """Whether two names share a significant word, or one is contained in the other."""
    left, right = one.casefold(), other.casefold()
    return left in right or right in left or bool(significant_words(one) & significant_words(other))


def other_texts(answer: str, pool: Sequence[str], number: int, rng: np.random.Generator) -> list[str]:
    """`number` texts of the pool, drawn without repeats (by case-folded text), never the answer itself."""
    distinct: dict[str, str] = {}
    for text in sorted(pool):
        distinct.setdefault(text.casefold(), text)
    distinct.pop(answer.casefold(), None)
    choices = list(distinct.values())
    order = rng.permutation(len(choices))
    return [choices[place] for place in order[:number]]
