"""What a piece of text can mean: one level, disc, segment, root, a range, or several of these.

`Ambiguous` is an answer, not a failure: "L4-L5" may be the disc, the segment or the two vertebrae, and whoever needs
one of them asks for it by type with `resolve`.

The trap: an `Ambiguous` with a single candidate is still doubtful ("T2" without a word beside it may be an MR
weighting). `resolve` accepts it, because its caller has said what kind of thing the text must be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from spinemed.anatomy.levels import Level
from spinemed.anatomy.roots import Root
from spinemed.anatomy.segments import Disc, Segment
from spinemed.anatomy.spine import Spine
from spinemed.errors import LevelError

__all__ = ["Ambiguous", "LevelRange", "Mention", "Reading", "resolve"]


@dataclass(frozen=True, slots=True)
class LevelRange:
    """All vertebrae from `first` to `last`, both included, `first` nearer the head. Text: "T10-L2".

    Raises:
        LevelError: if `first` is not above `last`.
    """

    first: Level
    last: Level

    def __post_init__(self) -> None:
        if not self.first < self.last:
            raise LevelError(
                f"{self.first}-{self.last} is no range",
                field="range",
                cure="name two different levels, the upper first",
            )

    def levels(self, spine: Spine | None = None) -> tuple[Level, ...]:
        """Every level of the range in one spine, head to foot.

        Args:
            spine: The patient's column; without it, the regular one with T13 or L6 added if the range ends there.

        Raises:
            LevelError: if the spine lacks an end of the range.
        """
        return (spine or named_spine(self.first, self.last)).between(self.first, self.last)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A text that may mean several things, or nothing certain.

    Attributes:
        candidates: What it may mean, most usual first; empty if it looks like a level but can be none ("T10-L9").
        why: One clause for people.
    """

    candidates: tuple[Level | Disc | Segment | Root | LevelRange, ...]
    why: str

    def __str__(self) -> str:
        return " or ".join(describe(candidate) for candidate in self.candidates) or "nothing"


Reading = Level | Disc | Segment | Root | LevelRange | Ambiguous
"""Everything a mention can be read as."""

Kind = TypeVar("Kind", Level, Disc, Segment, Root, LevelRange)


@dataclass(frozen=True, slots=True)
class Mention:
    """One place in a text that names a part of the spine.

    Attributes:
        start: Offset of its first character in the text given, in code points.
        end: Offset behind its last character.
        text: The characters themselves.
        reading: What they mean.
    """

    start: int
    end: int
    text: str
    reading: Reading


def resolve(reading: Reading, kind: type[Kind]) -> Kind | None:
    """The reading as one kind, if it can be exactly one thing of that kind; else None."""
    candidates = reading.candidates if isinstance(reading, Ambiguous) else (reading,)
    fitting = [candidate for candidate in candidates if isinstance(candidate, kind)]
    return fitting[0] if len(fitting) == 1 else None


def describe(reading: Reading) -> str:
    """A reading in words that keep the kinds apart: "disc L4/5", "vertebrae L4-L5", "nerve root L5"."""
    match reading:
        case Level():
            return f"vertebra {reading}"
        case Root():
            return f"nerve root {reading.value.removesuffix(' root')}"
        case LevelRange():
            return f"vertebrae {reading}"
        case Disc() | Segment():
            return f"{reading.kind} {reading}"
        case _:
            return str(reading)


def named_spine(*levels: Level) -> Spine:
    """The regular spine, with T13 or L6 added if one of the levels is one of these."""
    return Spine(13 if Level.T13 in levels else 12, 6 if Level.L6 in levels else 5)
