"""Which level is taken for which: true levels in rows, answers in columns, both head to foot.

Convention: the last columns are no levels: `not determinable`, then `no answer` (unparsed, refused, timed out or
failed), so that every row adds up to its number of questions.

Trap: text order is not anatomical order; labels are sorted by the column, never by their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from spinemed.anatomy import DISCS, LEVELS
from spinemed.records import NOT_DETERMINABLE, Sample, Score

__all__ = ["NO_ANSWER", "anatomical", "confusion_matrix"]

NO_ANSWER = "no answer"
_ORDER = {name: place for place, name in enumerate([*map(str, LEVELS), *map(str, DISCS), NOT_DETERMINABLE, NO_ANSWER])}


def anatomical(names: Iterable[str]) -> list[str]:
    """Canonical level or disc texts head to foot; `not determinable` and `no answer` last."""
    return sorted(names, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))


def confusion_matrix(pairs: Sequence[tuple[Sample, Score]]) -> dict[str, Any]:
    """Counts of true level against answer.

    Returns:
        `truth` (row labels), `answers` (column labels), `counts` (one list per row).
    """
    said = [NO_ANSWER if score.parsed is None else score.parsed for _, score in pairs]
    rows = anatomical({sample.answer for sample, _ in pairs})
    columns = anatomical({*rows, *said})
    place = {name: number for number, name in enumerate(columns)}
    counts = [[0] * len(columns) for _ in rows]
    for (sample, _), answer in zip(pairs, said):
        counts[rows.index(sample.answer)][place[answer]] += 1
    return {"truth": rows, "answers": columns, "counts": counts}
