"""`Level` and `Region`: the names of vertebrae, in anatomical order.

The order runs head to foot and is held in `Level.ordinal`. The trap: neither the text order ("L10" sorts
before "L2", "coccyx" after "T1") nor the VerSe label order (T13 is 28, after the coccyx) is the anatomical one,
so comparing a `Level` with a plain string by `<` raises `TypeError` instead of answering.
"""

from __future__ import annotations

from enum import StrEnum

from spinemed.errors import LevelError

__all__ = ["LEVELS", "Level", "Region"]


class Region(StrEnum):
    """A region of the column, head to foot. C0 (the occiput) counts as cervical.

    Text order and anatomical order differ, so `<` is by anatomy and refuses plain strings.
    """

    CERVICAL = "cervical"
    THORACIC = "thoracic"
    LUMBAR = "lumbar"
    SACRAL = "sacral"
    COCCYGEAL = "coccygeal"

    @property
    def ordinal(self) -> int:
        """Position from the head, starting at 0."""
        return _REGION_ORDINAL[self.value]

    @property
    def levels(self) -> tuple[Level, ...]:
        """Every level of this region that any spine can have, head to foot."""
        return tuple(level for level in LEVELS if level.region is self)

    def __lt__(self, other: object) -> bool:
        return self.ordinal < _region_ordinal(self, other)

    def __le__(self, other: object) -> bool:
        return self.ordinal <= _region_ordinal(self, other)

    def __gt__(self, other: object) -> bool:
        return self.ordinal > _region_ordinal(self, other)

    def __ge__(self, other: object) -> bool:
        return self.ordinal >= _region_ordinal(self, other)


class Level(StrEnum):
    """One vertebra (C0 is the occiput; S1-S5 are the pieces of the sacrum). The value is its canonical text.

    `<`, `sorted`, `min` and `max` go by anatomy. T13 and L6 exist only in some spines; see `Spine`.
    """

    C0 = "C0"
    C1 = "C1"
    C2 = "C2"
    C3 = "C3"
    C4 = "C4"
    C5 = "C5"
    C6 = "C6"
    C7 = "C7"
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"
    T4 = "T4"
    T5 = "T5"
    T6 = "T6"
    T7 = "T7"
    T8 = "T8"
    T9 = "T9"
    T10 = "T10"
    T11 = "T11"
    T12 = "T12"
    T13 = "T13"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"
    L5 = "L5"
    L6 = "L6"
    S1 = "S1"
    S2 = "S2"
    S3 = "S3"
    S4 = "S4"
    S5 = "S5"
    COCCYX = "coccyx"

    @property
    def ordinal(self) -> int:
        """Position among all possible levels from the head: C0 is 0, T13 20, L1 21, L6 26, coccyx 32.

        Differences of ordinals are NOT distances in a patient (T12 to L1 would be 2): use `Spine.distance`.
        """
        return _ORDINAL[self.value]

    @property
    def region(self) -> Region:
        """The region this level is named after. A lumbarised S1 is named L6 and is lumbar."""
        return _REGION_OF_LETTER[self.value[0]]

    @property
    def number(self) -> int:
        """The number within the region: 3 for L3, 0 for C0; the coccyx counts as 1."""
        return 1 if self is Level.COCCYX else int(self.value[1:])

    @property
    def verse_label(self) -> int:
        """The label that this vertebra's voxels carry in a VerSe mask.

        S1-S5 all carry 26 (VerSe labels the sacrum as one), so the way back from 26 is a region, not a level.

        Raises:
            LevelError: for C0, which VerSe does not label.
        """
        if self is Level.C0:
            raise LevelError(
                "C0 (occiput) has no VerSe label",
                field="level",
                cure="leave C0 out of a VerSe mask; labels start at C1",
            )
        if self.region is Region.SACRAL:
            return _VERSE_SACRUM
        return _VERSE_LABEL[self.value]

    @classmethod
    def from_verse(cls, label: int) -> Level:
        """The level of a VerSe label: 1-7 C1-C7, 8-19 T1-T12, 20-25 L1-L6, 27 coccyx, 28 T13.

        Source: VerSe data description (Liebl 2021, doi 10.1038/s41597-021-01060-0; label 28 added in 2020).

        Raises:
            LevelError: for 26 (the sacrum as a whole, which is no single level) and any other number.
        """
        level = _LEVEL_OF_VERSE.get(int(label))
        if level is not None and int(label) == label:
            return level
        if label == _VERSE_SACRUM:
            raise LevelError(
                "VerSe label 26 is the whole sacrum, which is five levels",
                field="label",
                cure="use LABEL_MAPS['verse'].to_region(26), or the 'tptbox' map if your masks use 26 for S1",
            )
        raise LevelError(
            f"{label!r} is no VerSe vertebra label",
            field="label",
            cure="use 1-25, 27 or 28 (28 is T13, between 19 and 20)",
        )

    def __lt__(self, other: object) -> bool:
        return self.ordinal < _level_ordinal(self, other)

    def __le__(self, other: object) -> bool:
        return self.ordinal <= _level_ordinal(self, other)

    def __gt__(self, other: object) -> bool:
        return self.ordinal > _level_ordinal(self, other)

    def __ge__(self, other: object) -> bool:
        return self.ordinal >= _level_ordinal(self, other)


def _level_ordinal(left: Level, right: object) -> int:
    # NotImplemented would let Python fall back to str's own comparison, which answers wrongly.
    if isinstance(right, Level):
        return right.ordinal
    raise TypeError(f"cannot order Level {left.value} against {type(right).__name__}; parse it into a Level first")


def _region_ordinal(left: Region, right: object) -> int:
    if isinstance(right, Region):
        return right.ordinal
    raise TypeError(f"cannot order Region {left.value} against {type(right).__name__}")


LEVELS: tuple[Level, ...] = tuple(Level)
"""Every level that any spine can have, head to foot."""

_ORDINAL = {level.value: index for index, level in enumerate(LEVELS)}
_REGION_ORDINAL = {region.value: index for index, region in enumerate(Region)}
_REGION_OF_LETTER = {
    "C": Region.CERVICAL,
    "T": Region.THORACIC,
    "L": Region.LUMBAR,
    "S": Region.SACRAL,
    "c": Region.COCCYGEAL,
}

_VERSE_SACRUM = 26
_VERSE_LABEL = {
    **{f"C{number}": number for number in range(1, 8)},
    **{f"T{number}": 7 + number for number in range(1, 13)},
    **{f"L{number}": 19 + number for number in range(1, 7)},
    "coccyx": 27,
    "T13": 28,
}
_LEVEL_OF_VERSE = {label: Level(name) for name, label in _VERSE_LABEL.items()}
