"""How many levels off: predicted minus true in the patient's own column, caudal positive.

Convention: vertebrae are measured against vertebrae and discs against discs, in the patient's own column as
:func:`bench.samples.spine_of` tells it.

No distance is defined, and None is returned, when the truth is not determinable, the reply names no level, or it names
one that this patient does not have (T13 in a regular spine): that answer is wrong, but not by a number of levels.

Trap: from T12 to L1 is one step, and in a spine with T13 it is two.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bench.samples import spine_of
from spinemed.anatomy import Disc, Level
from spinemed.errors import LevelError
from spinemed.records import NOT_DETERMINABLE, Sample, Score

__all__ = ["has_level_truth", "offset_histogram", "offset_levels"]


def has_level_truth(sample: Sample) -> bool:
    """Whether the answer is a vertebra or a disc, so that a distance from it exists."""
    return sample.answer_kind in ("level", "disc") and sample.answer != NOT_DETERMINABLE


def offset_levels(sample: Sample, parsed: str | None) -> int | None:
    """Predicted minus true in levels, caudal positive; None where no distance is defined."""
    if parsed is None or parsed == NOT_DETERMINABLE or not has_level_truth(sample):
        return None
    try:
        if sample.answer_kind == "disc":
            return spine_of(sample).offset(Disc.from_text(sample.answer), Disc.from_text(parsed))
        return spine_of(sample).offset(Level(sample.answer), Level(parsed))
    except LevelError:
        return None


def offset_histogram(scores: Iterable[Score]) -> dict[str, int]:
    """How many scores lie how far off, by offset as text from most cranial to most caudal; `none` comes last."""
    counted = Counter(score.offset_levels for score in scores)
    undefined = counted.pop(None, 0)
    numbers = sorted(number for number in counted if number is not None)
    histogram = {str(number): counted[number] for number in numbers}
    if undefined:
        histogram["none"] = undefined
    return histogram
