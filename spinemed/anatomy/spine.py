"""`Spine`: one patient's own column, and the convention its vertebrae are counted by.

Seven cervical vertebrae are taken as given; the thorax has 11, 12 or 13 vertebrae and the lumbar part 4, 5 or 6. How
many pieces the sacrum is fused from is not modelled: every spine lists S1-S5 and the coccyx.

The same bones can carry other names. With 25 presacral vertebrae, the twentieth is T13 when it bears ribs and one
counts regions by ribs, and L1 when one counts down from C2; the last is then L5 or L6:

==================  ==================================  ============================================
convention          rule                                25 presacral vertebrae, 13 of them with ribs
==================  ==================================  ============================================
`FROM_C2`           T1-T12, then L1, whatever the ribs  T1-T12, L1-L6
`FROM_LAST_RIB`     L1 is the first without ribs        T1-T13, L1-L5
`FROM_SACRUM`       the last presacral is L5            T1-T13, L1-L5
==================  ==================================  ============================================

`FROM_LAST_RIB` is the rule of VerSe (a last thoracic vertebra bears a rib longer than 4 cm on at least one side).

The trap: distance. Between T11 and L1 there are two steps, but only one in a spine without T12. `Spine.distance` counts
in the patient's own column; differences of `Level.ordinal` do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise

from spinemed.anatomy.levels import Level, Region
from spinemed.anatomy.segments import Disc, Segment
from spinemed.errors import LevelError

__all__ = ["REGULAR", "CountingConvention", "Spine"]

_CERVICAL = 7
_THORACIC = (11, 12, 13)
_LUMBAR = (4, 5, 6)


class CountingConvention(StrEnum):
    """Where counting starts, and so which name a vertebra of an irregular column gets."""

    FROM_C2 = "from_c2"
    FROM_LAST_RIB = "from_last_rib"
    FROM_SACRUM = "from_sacrum"


@dataclass(frozen=True)
class Spine:
    """One patient's column.

    Attributes:
        thoracic: Number of vertebrae named T: 12, or 11 (no T12), or 13 (T13).
        lumbar: Number of vertebrae named L: 5, or 4 (no L5), or 6 (L6).
        convention: The rule these names follow.
        rib_bearing: Number of vertebrae that bear ribs below C7. None means that it equals `thoracic`, that is, ribs
            and names agree.

    Raises:
        LevelError: for numbers that do not occur, or that contradict the convention (`FROM_C2` always names twelve T,
            `FROM_SACRUM` five L, `FROM_LAST_RIB` as many T as there are ribs).
    """

    thoracic: int = 12
    lumbar: int = 5
    convention: CountingConvention = CountingConvention.FROM_LAST_RIB
    rib_bearing: int | None = None

    def __post_init__(self) -> None:
        _require(self.thoracic in _THORACIC, "thoracic", self.thoracic, "use 11, 12 or 13")
        _require(self.lumbar in _LUMBAR, "lumbar", self.lumbar, "use 4, 5 or 6")
        _require(
            self.convention in tuple(CountingConvention),
            "convention",
            self.convention,
            f"use one of {', '.join(CountingConvention)}",
        )
        _require(
            self.rib_bearing is None or self.rib_bearing in _THORACIC,
            "rib_bearing",
            self.rib_bearing,
            "use 11, 12 or 13",
        )
        if self.convention == CountingConvention.FROM_C2:
            _require(self.thoracic == 12, "thoracic", self.thoracic, "counting from C2 always names twelve T vertebrae")
        if self.convention == CountingConvention.FROM_SACRUM:
            _require(self.lumbar == 5, "lumbar", self.lumbar, "counting from the sacrum always names five L vertebrae")
        if self.convention == CountingConvention.FROM_LAST_RIB:
            _require(
                self.rib_bearing in (None, self.thoracic),
                "rib_bearing",
                self.rib_bearing,
                "counting from the last rib names as many T vertebrae as bear ribs",
            )

    @classmethod
    def of(cls, levels: Iterable[Level]) -> Spine:
        """The spine nearest to the regular one that explains a set of named levels, such as the labels of a mask.

        T13 and L6 are there if named; T12 is missing if T11 and L1 are named without it, L5 if L4 and S1 are. A mask
        that stops above such a gap gives the regular spine: what is out of view stays unknown.

        Raises:
            LevelError: if T13 is named where T12 is missing, or L6 where L5 is.
        """
        named = frozenset(levels)
        thoracic = 13 if Level.T13 in named else 12
        lumbar = 6 if Level.L6 in named else 5
        if Level.T12 not in named and {Level.T11, Level.L1} <= named:
            _require(thoracic == 12, "levels", "T11, T13 and L1 without T12", "name T12 as well")
            thoracic = 11
        if Level.L5 not in named and {Level.L4, Level.S1} <= named:
            _require(lumbar == 5, "levels", "L4, L6 and S1 without L5", "name L5 as well")
            lumbar = 4
        return cls(thoracic, lumbar)

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every level of this spine, C0 to coccyx, head to foot."""
        return _levels(self.thoracic, self.lumbar)

    @property
    def presacral(self) -> tuple[Level, ...]:
        """C1 down to the last lumbar vertebra; 24 in a regular spine."""
        return tuple(level for level in self.levels if Level.C1 <= level <= Level.L6)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Every neighbouring pair, C0/1 to S5/coccyx."""
        return tuple(Segment(*pair) for pair in pairwise(self.levels))

    @property
    def discs(self) -> tuple[Disc, ...]:
        """Every disc, C2/3 to the lumbosacral one; 23 in a regular spine."""
        return tuple(segment.disc for segment in self.segments if segment.disc is not None)

    @property
    def lumbosacral_disc(self) -> Disc:
        """The last disc: L5/S1, or L6/S1 or L4/S1."""
        return self.discs[-1]

    @property
    def is_regular(self) -> bool:
        """Whether this is the common column of twelve rib-bearing thoracic and five lumbar vertebrae."""
        return (self.thoracic, self.lumbar, self.ribs) == (12, 5, 12)

    @property
    def ribs(self) -> int:
        """How many vertebrae below C7 bear ribs."""
        return self.thoracic if self.rib_bearing is None else self.rib_bearing

    def __contains__(self, item: object) -> bool:
        if isinstance(item, Level):
            return item in self.levels
        if isinstance(item, Disc | Segment):
            return self.adjacent(item.upper, item.lower)
        return False

    def index(self, level: Level) -> int:
        """Position of a level in this spine; C0 is 0 and C1 is 1.

        Raises:
            LevelError: if this spine has no such level.
        """
        try:
            return self.levels.index(level)
        except ValueError:
            raise LevelError(
                f"{level} is not in a spine with {self.thoracic} thoracic and {self.lumbar} lumbar vertebrae",
                field="level",
                cure="use a level of this spine, or give the spine its T13, L6 or missing vertebra",
            ) from None

    def adjacent(self, one: Level, other: Level) -> bool:
        """Whether two levels of this spine are neighbours. False if it lacks one of them."""
        return one in self.levels and other in self.levels and self.distance(one, other) == 1

    def neighbours(self, level: Level) -> tuple[Level | None, Level | None]:
        """The level above and the level below; None beyond C0 and the coccyx."""
        at = self.index(level)
        above = self.levels[at - 1] if at > 0 else None
        below = self.levels[at + 1] if at + 1 < len(self.levels) else None
        return above, below

    def shift(self, level: Level, steps: int) -> Level:
        """The level so many steps towards the feet (negative: towards the head).

        Raises:
            LevelError: if that leaves the spine.
        """
        at = self.index(level) + steps
        if not 0 <= at < len(self.levels):
            raise LevelError(f"{steps:+d} levels from {level} leaves the spine", field="steps", cure="take fewer steps")
        return self.levels[at]

    def offset(self, one: Level | Disc | Segment, other: Level | Disc | Segment) -> int:
        """Steps from one to the other in this spine, positive towards the feet. Both must be of one type.

        A disc or segment stands where its upper vertebra stands.

        Raises:
            LevelError: if this spine lacks one of them.
            TypeError: if the types differ: a disc is no number of levels away from a vertebra.
        """
        if type(one) is not type(other):
            raise TypeError(f"no distance between a {type(one).__name__} and a {type(other).__name__}")
        return self._place(other) - self._place(one)

    def distance(self, one: Level | Disc | Segment, other: Level | Disc | Segment) -> int:
        """Steps between two of one type in this spine, see `offset`; 1 for T11 and L1 where T12 is missing."""
        return abs(self.offset(one, other))

    def between(self, first: Level, last: Level) -> tuple[Level, ...]:
        """Every level from the first to the last, both included, head to foot, in whichever order they are given."""
        low, high = sorted((self.index(first), self.index(last)))
        return self.levels[low : high + 1]

    def under(self, convention: CountingConvention) -> Spine:
        """The same bones, named by another convention.

        Raises:
            LevelError: if that convention would need a name that does not exist (L7, T14).
        """
        presacral = len(self.presacral)
        thoracic = {
            CountingConvention.FROM_C2: 12,
            CountingConvention.FROM_LAST_RIB: self.ribs,
            CountingConvention.FROM_SACRUM: presacral - _CERVICAL - 5,
        }[convention]
        lumbar = presacral - _CERVICAL - thoracic
        if thoracic not in _THORACIC or lumbar not in _LUMBAR:
            raise LevelError(
                f"{presacral} presacral vertebrae have no names when counted {convention.replace('_', ' ')}",
                field="convention",
                cure="count from the last rib, which names them T1-T13 and L1-L6",
            )
        return Spine(thoracic, lumbar, convention, self.ribs)

    def mapping(self, convention: CountingConvention) -> dict[Level, Level]:
        """From every name in this spine to the name of the same bone under another convention.

        Raises:
            LevelError: as `under`.
        """
        return dict(zip(self.levels, self.under(convention).levels))

    def rename(self, level: Level, convention: CountingConvention) -> Level:
        """The name of one bone under another convention.

        Raises:
            LevelError: if this spine lacks the level, or as `under`.
        """
        self.index(level)
        return self.mapping(convention)[level]

    def _place(self, item: Level | Disc | Segment) -> int:
        if isinstance(item, Level):
            return self.index(item)
        if item not in self:
            raise LevelError(
                f"{item} is not in a spine with {self.thoracic} thoracic and {self.lumbar} lumbar vertebrae",
                field=item.kind,
                cure=f"use a {item.kind} of this spine",
            )
        return self.index(item.upper)


@cache
def _levels(thoracic: int, lumbar: int) -> tuple[Level, ...]:
    return (
        *Region.CERVICAL.levels,
        *Region.THORACIC.levels[:thoracic],
        *Region.LUMBAR.levels[:lumbar],
        *Region.SACRAL.levels,
        Level.COCCYX,
    )


def _require(holds: bool, field: str, found: object, cure: str) -> None:
    if not holds:
        raise LevelError(f"no spine has {field} = {found}", field=field, cure=cure)


REGULAR = Spine()
"""The common column: 7 cervical, 12 thoracic, 5 lumbar vertebrae. Every convention names it alike."""
