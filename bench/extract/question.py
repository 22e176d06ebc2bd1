"""What the extractor must know of a question: its kind and what may be answered. Never its truth.

Convention: kinds are those of :class:`spinemed.records.Sample` and `number`, `side` and `grade`. A number is answered
in one unit, `deg`, `mm` or `percent`; a grade as a digit text ("3"), whatever script the reply uses.

Trap: the categories of a grade scale are digits; "2" in it must not be found in "L2".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from bench.samples import spine_of
from spinemed.anatomy import REGULAR, Spine
from spinemed.records import Option, Sample

__all__ = ["SIDES", "UNITS", "Question", "question_of"]

SIDES = ("left", "right", "both", "midline")
UNITS = ("deg", "mm", "percent")


@dataclass(frozen=True)
class Question:
    """The form of an answer."""

    kind: str
    """level, disc, levels, category, option, text, number, side or grade."""
    options: tuple[Option, ...] = ()
    categories: tuple[str, ...] = ()
    """Of a category, or the digits of a grade scale."""
    unit: str | None = None
    """Of a number: one of `UNITS`; None for a plain count."""
    spine: Spine = field(default=REGULAR)
    """The patient's column, which decides what a list of levels leaves out."""

    @cached_property
    def _hash(self) -> int:
        return hash((self.kind, tuple(option.text for option in self.options), self.categories, self.unit))

    def __hash__(self) -> int:
        return self._hash  # the reader looks a question up once per reply


def question_of(sample: Sample) -> Question:
    """What may be answered to a sample; the answer itself is used only for the patient's column.

    A tag `scale:pfirrmann` or the like states that the categories are a grade scale; the unit of a number stands in its
    field or in a tag `unit:mm`, and digits without either are counts.
    """
    kind: str = sample.answer_kind
    if kind == "category" and any(tag.startswith("scale:") for tag in sample.tags):
        kind = "grade"
    named = (tag.removeprefix("unit:") for tag in sample.tags if tag.startswith("unit:"))
    unit: str | None = sample.unit or next(named, None)
    spine = spine_of(sample) if kind == "levels" else REGULAR
    return Question(kind, sample.options, sample.categories, unit, spine)
