"""`Root`: a spinal nerve root, which is not a vertebra.

L5 radiculopathy is not vertebra L5, and C8 has no vertebra at all. A `Root` therefore never equals a `Level`: its value
is "L5 root", its `name` is "L5". Roots are C1-C8, T1-T12, L1-L5, S1-S5 and the coccygeal one.

The trap is the neck: C1-C7 leave above the vertebra of their name, C8 between C7 and T1, and every root further down
leaves below the vertebra of its name (Radiopaedia; SUNY Upstate neurosurgery tables). In a spine with T13 or L6 one
more pair of roots leaves than there are names; which root is which the bones do not decide then, and `exits` says so.
"""

from __future__ import annotations

from enum import StrEnum

from spinemed.anatomy.levels import Level, Region
from spinemed.anatomy.segments import Disc, Segment
from spinemed.anatomy.spine import REGULAR, Spine
from spinemed.errors import LevelError

__all__ = ["ROOTS", "Root"]


class Root(StrEnum):
    """A spinal nerve root. `name` is the short text ("L5"), the value "L5 root". `<` goes head to foot."""

    C1 = "C1 root"
    C2 = "C2 root"
    C3 = "C3 root"
    C4 = "C4 root"
    C5 = "C5 root"
    C6 = "C6 root"
    C7 = "C7 root"
    C8 = "C8 root"
    T1 = "T1 root"
    T2 = "T2 root"
    T3 = "T3 root"
    T4 = "T4 root"
    T5 = "T5 root"
    T6 = "T6 root"
    T7 = "T7 root"
    T8 = "T8 root"
    T9 = "T9 root"
    T10 = "T10 root"
    T11 = "T11 root"
    T12 = "T12 root"
    L1 = "L1 root"
    L2 = "L2 root"
    L3 = "L3 root"
    L4 = "L4 root"
    L5 = "L5 root"
    S1 = "S1 root"
    S2 = "S2 root"
    S3 = "S3 root"
    S4 = "S4 root"
    S5 = "S5 root"
    COCCYGEAL = "coccygeal root"

    @property
    def ordinal(self) -> int:
        """Position from the head: C1 is 0, C8 7, T1 8, the coccygeal root 30."""
        return _ORDINAL[self.value]

    @property
    def region(self) -> Region:
        """The region this root is named after."""
        return _REGION_OF_LETTER[self.name[:2] if self is Root.COCCYGEAL else self.name[0]]

    def exits(self, spine: Spine = REGULAR) -> Segment:
        """The segment whose foramen this root leaves through.

        S5 and the coccygeal root share the sacral hiatus, given as S5/coccyx.

        Args:
            spine: The patient's own column. The default has twelve thoracic and five lumbar vertebrae.

        Raises:
            LevelError: where the bones alone do not decide it: for roots T12 to L5 below an extra T13 or a missing T12,
                and for L5 beside an L6 or a missing L5, since roots and vertebrae then no longer pair by name.
        """
        if self is Root.COCCYGEAL:
            return Segment(Level.S5, Level.COCCYX)
        if self is Root.C8:
            return Segment(Level.C7, Level.T1)
        named = Level(self.name)
        if self.region is Region.CERVICAL:
            return Segment(_above(named), named)
        if self.region is not Region.SACRAL:
            _check_pairing(self, named, spine)
        below = spine.neighbours(named)[1]
        assert below is not None  # only the coccyx has nothing below
        return Segment(named, below)

    @classmethod
    def leaving(cls, segment: Segment | Disc, spine: Spine = REGULAR) -> Root:
        """The root that leaves through the foramen of a segment: the inverse of `exits`.

        S5/coccyx answers S5. A foraminal or far lateral disc herniation presses on this root: L4/5 on L4, C5/6 on C6.

        Raises:
            LevelError: where the bones alone do not decide it, or the segment is not in this spine.
        """
        for root in ROOTS:
            try:
                exit_ = root.exits(spine)
            except LevelError:
                continue
            if (exit_.upper, exit_.lower) == (segment.upper, segment.lower):
                return root
        raise LevelError(
            f"the root leaving at {segment} is not decided by the numbering of this spine",
            field="segment",
            cure="name the root from clinical findings, or check that the segment is in this spine",
        )

    @classmethod
    def traversing(cls, disc: Disc, spine: Spine = REGULAR) -> Root | None:
        """The root that crosses a thoracic or lumbar disc on its way down: L5 at L4/5, S1 at L5/S1.

        A central or subarticular herniation presses on this one. None in the neck (C2/3 to C7/T1), where roots leave
        almost level with the disc and none crosses it.

        Raises:
            LevelError: as `leaving`.
        """
        if disc.upper.region is Region.CERVICAL:
            return None
        return ROOTS[cls.leaving(disc, spine).ordinal + 1]

    def __lt__(self, other: object) -> bool:
        return self.ordinal < _other_ordinal(self, other)

    def __le__(self, other: object) -> bool:
        return self.ordinal <= _other_ordinal(self, other)

    def __gt__(self, other: object) -> bool:
        return self.ordinal > _other_ordinal(self, other)

    def __ge__(self, other: object) -> bool:
        return self.ordinal >= _other_ordinal(self, other)


def _other_ordinal(left: Root, right: object) -> int:
    # As for Level: NotImplemented would fall back to text order.
    if isinstance(right, Root):
        return right.ordinal
    raise TypeError(f"cannot order Root {left.name} against {type(right).__name__}; a root is no vertebra")


def _above(level: Level) -> Level:
    above = REGULAR.neighbours(level)[0]
    assert above is not None  # only C0 has nothing above, and no root is named after it
    return above


def _check_pairing(root: Root, named: Level, spine: Spine) -> None:
    """Refuse a thoracic or lumbar root at or below the first irregular vertebra of this spine."""
    irregular = [Level.COCCYX]
    if spine.thoracic != REGULAR.thoracic:
        irregular.append(Level.L1 if spine.thoracic > REGULAR.thoracic else Level.T12)
    if spine.lumbar != REGULAR.lumbar:
        irregular.append(Level.L5)
    if named >= min(irregular):
        raise LevelError(
            f"where the {root} leaves is not decided in a spine with {spine.thoracic} thoracic and {spine.lumbar} "
            "lumbar vertebrae",
            field="root",
            cure="ask for a root above the irregular vertebra, or name the root from clinical findings",
        )


ROOTS: tuple[Root, ...] = tuple(Root)
"""Every root, head to foot."""

_ORDINAL = {root.value: index for index, root in enumerate(ROOTS)}
_REGION_OF_LETTER = {
    "C": Region.CERVICAL,
    "T": Region.THORACIC,
    "L": Region.LUMBAR,
    "S": Region.SACRAL,
    "CO": Region.COCCYGEAL,
}
