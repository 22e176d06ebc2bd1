"""`Disc` and `Segment`: neighbouring vertebrae, as one value with one canonical text.

A `Segment` is any two neighbouring vertebrae (a motion segment, or two pieces of the sacrum). A `Disc` is the
intervertebral disc between two of them: the first is C2/3 and the last is the lumbosacral one, so there is no disc at
C0/1 or C1/2 and none inside the sacrum. Canonical text: "L4/5" inside a region, "C7/T1" across a border.

The trap: which vertebrae are neighbours depends on the patient. T12/L1, T12/13 and T11/L1 are all possible discs, but
never in the same spine; `Spine.discs` tells which of them a patient has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import total_ordering
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, Self

from spinemed.anatomy.levels import Level, Region
from spinemed.errors import LevelError

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["DISCS", "SEGMENTS", "Disc", "Segment"]

# The last presacral and first sacral vertebra meet in three ways; so do the last thoracic and L1.
_VARIANT_PAIRS = (
    (Level.T11, Level.L1),
    (Level.T12, Level.L1),
    (Level.T13, Level.L1),
    (Level.L4, Level.S1),
    (Level.L5, Level.S1),
    (Level.L6, Level.S1),
)


def _neighbour_pairs() -> tuple[tuple[Level, Level], ...]:
    pairs = set(_VARIANT_PAIRS)
    for region in Region:
        pairs.update(pairwise(region.levels))
    pairs.add((Level.C7, Level.T1))
    pairs.add((Level.S5, Level.COCCYX))
    return tuple(sorted(pairs))


def _text(upper: Level, lower: Level) -> str:
    if upper.region is lower.region:
        return f"{upper}/{lower.number}"
    return f"{upper}/{lower}"


@total_ordering
@dataclass(frozen=True, slots=True)
class _Pair:
    """Two neighbouring levels, the upper one first. Equality needs the same type: a disc is no segment."""

    upper: Level
    lower: Level

    kind: ClassVar[str] = "pair"

    def __post_init__(self) -> None:
        if self._key() in self._table().values():
            return
        raise LevelError(
            f"{self.upper}-{self.lower} is no {self.kind}",
            field=self.kind,
            cure=f"name two neighbouring vertebrae, the upper one first, that have a {self.kind}",
        )

    @classmethod
    def _table(cls) -> dict[str, tuple[Level, Level]]:
        raise TypeError(f"{cls.__name__} is not a public type")

    def _key(self) -> tuple[Level, Level]:
        return (self.upper, self.lower)

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The value of a canonical text, exactly ("L4/5", "C7/T1"). For what people write use `parse_disc` and kin.

        Raises:
            LevelError: if the text is not canonical.
        """
        pair = cls._table().get(text)
        if pair is None:
            raise LevelError(
                f"{text!r} is no canonical {cls.kind}",
                field=cls.kind,
                cure=f"write it like L4/5 or C7/T1, or read free text with parse_{cls.kind}",
            )
        return cls(*pair)

    @property
    def region(self) -> Region:
        """The region of the upper vertebra: L5/S1 is lumbar, C7/T1 cervical, T12/L1 thoracic."""
        return self.upper.region

    def __str__(self) -> str:
        return _text(self.upper, self.lower)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __lt__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, _Pair)
        return (self.upper.ordinal, self.lower.ordinal) < (other.upper.ordinal, other.lower.ordinal)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema  # only who validates records pays for the import

        def read(value: object) -> _Pair:
            if isinstance(value, cls):
                return value
            if not isinstance(value, str):
                raise ValueError(f"a {cls.kind} is written as text like L4/5, found {type(value).__name__}")
            try:
                return cls.from_text(value)
            except LevelError as error:
                raise ValueError(str(error)) from error

        lax = core_schema.no_info_plain_validator_function(read)
        return core_schema.json_or_python_schema(
            json_schema=lax,
            python_schema=core_schema.lax_or_strict_schema(lax, core_schema.is_instance_schema(cls)),
            serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=core_schema.str_schema()),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "enum": list(cls._table())}


@dataclass(frozen=True, slots=True, repr=False)
class Segment(_Pair):
    """Two neighbouring vertebrae, from C0/1 down to S5/coccyx."""

    kind: ClassVar[str] = "segment"

    @classmethod
    def _table(cls) -> dict[str, tuple[Level, Level]]:
        return _SEGMENT_TABLE

    @property
    def disc(self) -> Disc | None:
        """The disc between the two, or None where there is none (C0/1, C1/2, inside the sacrum)."""
        return Disc(self.upper, self.lower) if str(self) in _DISC_TABLE else None


@dataclass(frozen=True, slots=True, repr=False)
class Disc(_Pair):
    """An intervertebral disc, from C2/3 to the lumbosacral disc (L5/S1; L6/S1 or L4/S1 in some spines)."""

    kind: ClassVar[str] = "disc"

    @classmethod
    def _table(cls) -> dict[str, tuple[Level, Level]]:
        return _DISC_TABLE

    @property
    def segment(self) -> Segment:
        """The segment this disc belongs to."""
        return Segment(self.upper, self.lower)


_SEGMENT_TABLE = {_text(*pair): pair for pair in _neighbour_pairs()}
_DISC_TABLE = {
    text: (upper, lower) for text, (upper, lower) in _SEGMENT_TABLE.items() if upper >= Level.C2 and upper <= Level.L6
}

SEGMENTS: tuple[Segment, ...] = tuple(Segment(*pair) for pair in _SEGMENT_TABLE.values())
"""Every segment that any spine can have, head to foot."""

DISCS: tuple[Disc, ...] = tuple(Disc(*pair) for pair in _DISC_TABLE.values())
"""Every disc that any spine can have, head to foot."""
