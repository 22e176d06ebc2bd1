"""Texts that must be a level as a whole: every notation, refusals with a cure, ambiguity returned."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinemed.anatomy import (
    DISCS,
    LEVELS,
    REGULAR,
    ROOTS,
    SEGMENTS,
    Ambiguous,
    Disc,
    Level,
    LevelRange,
    Region,
    Root,
    Segment,
    Spine,
    parse_disc,
    parse_level,
    parse_levels,
    parse_root,
    parse_segment,
    read,
    resolve,
)
from spinemed.errors import LevelError

steady = settings(deadline=None, derandomize=True, max_examples=200)

_ENGLISH = {Region.CERVICAL: "cervical", Region.THORACIC: "thoracic", Region.LUMBAR: "lumbar", Region.SACRAL: "sacral"}
_CHINESE = {Region.CERVICAL: "颈", Region.THORACIC: "胸", Region.LUMBAR: "腰", Region.SACRAL: "骶"}
_ORDINALS = (
    *("zeroth", "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"),
    *("eleventh", "twelfth", "thirteenth"),
)
_DIGITS = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二", "十三")
_ROMANS = ("0", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII")
_SUFFIX = {1: "st", 2: "nd", 3: "rd"}


def notations(level: Level) -> list[str]:
    """Ways in which people write one numbered level."""
    letter, number = level.value[0], level.number
    english, chinese = _ENGLISH[level.region], _CHINESE[level.region]
    forms = [
        f"{letter}{number}",
        f"{letter.lower()}{number}",
        f"{letter} {number}",
        f"{letter}-{number}",
        f"{letter}{number} vertebral body",
        f"the {letter}{number} vertebra",
        f"{letter}{number} level",
        f"**{letter}{number}**.",
        f"({letter}{number})",
        "".join(chr(ord(sign) + 0xFEE0) for sign in f"{letter}{number}"),
        f"{chinese}{number}",
        f"{chinese}{number}椎体",
        f"{letter}{number}椎体",
    ]
    if number > 0:
        forms += [
            f"{_ORDINALS[number]} {english}",
            f"{number}{_SUFFIX.get(number, 'th')} {english} vertebra",
            f"{english} vertebra {number}",
            f"{english} {_ROMANS[number]}",
            f"第{number}{chinese}椎",
            f"第{_DIGITS[number]}{chinese}椎",
            f"{chinese}{_DIGITS[number]}椎",
        ]
    if letter == "T":
        forms += [f"Th{number}", f"TH {number}", f"D{number}", f"Th. {number}"]
    return forms


class TestOneLevel:
    @pytest.mark.parametrize("level", [level for level in LEVELS if level is not Level.COCCYX])
    def test_every_notation(self, level: Level) -> None:
        assert {form: parse_level(form) for form in notations(level)} == dict.fromkeys(notations(level), level)

    @pytest.mark.parametrize(
        ("text", "level"),
        [
            ("atlas", Level.C1),
            ("the axis", Level.C2),
            ("C1 (atlas)", Level.C1),
            ("寰椎", Level.C1),
            ("枢椎", Level.C2),
            ("occiput", Level.C0),
            ("coccyx", Level.COCCYX),
            ("Coccyx.", Level.COCCYX),
            ("尾骨", Level.COCCYX),
            ("lumbar L3", Level.L3),
            ("L₃", Level.L3),
            ("  L3\n", Level.L3),
            ("fifth lumbar vertebra (L5)", Level.L5),
            ("first sacral segment", Level.S1),
        ],
    )
    def test_names_and_repetitions(self, text: str, level: Level) -> None:
        assert parse_level(text) is level

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("", "names no level"),
            ("spine", "names no level"),
            ("L9", "L1 to L6"),
            ("L0", "L1 to L6"),
            ("T14", "T1 to T13"),
            ("S6", "S1 to S5"),
            ("C8", "nerve root C8"),
            ("C8 vertebra", "there is no vertebra C8"),
            ("L4/5", "disc L4/5"),
            ("L4-L5", "disc L4/5 or segment L4/5 or vertebrae L4-L5"),
            ("L3 or L4", "vertebra L3 or vertebra L4"),
            ("T10-L2", "vertebrae T10-L2"),
            ("T10-L9", "L9 is no vertebra"),
            ("T10-pelvis", "pelvis"),
            ("S1 root", "nerve root S1"),
            ("S1 nerve root", "nerve root S1"),
            ("L5 radiculopathy", "'radiculopathy'"),
            ("L4 disc", "disc L3/4 or disc L4/5"),
            ("sacrum", "S1 or vertebra S2"),
            ("骶骨", "five levels"),
            ("thoracic L3", "says thoracic"),
            ("not L3", "'not'"),
            ("L3, wedge 20 %", "holds more than a level"),
            ("T2-weighted", "MR weighting"),
            ("T1 image", "MR weighting"),
            ("Grade C2 evidence", "no vertebra"),
            ("C3D", "names no level"),
            ("L4.5", "names no level"),
            ("L45", "names no level"),
        ],
    )
    def test_what_is_no_single_vertebra_is_refused_with_a_cure(self, text: str, part: str) -> None:
        with pytest.raises(LevelError) as caught:
            parse_level(text)
        assert part in str(caught.value)
        assert caught.value.field == "level"
        assert caught.value.cure
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("value", [None, 5, ["L3"]])
    def test_what_is_no_text_is_refused(self, value: object) -> None:
        with pytest.raises(LevelError, match="expected text"):
            parse_level(value)  # type: ignore[arg-type]

    def test_a_long_text_is_quoted_short(self) -> None:
        with pytest.raises(LevelError) as caught:
            parse_level("L3 " + "and so on " * 1000)
        assert len(str(caught.value)) < 400


class TestDisc:
    @pytest.mark.parametrize(
        ("text", "disc"),
        [
            ("L4/5", "L4/5"),
            ("L4-L5", "L4/5"),
            ("L4–5", "L4/5"),
            ("L4 — L5", "L4/5"),
            ("L4/L5 disc", "L4/5"),
            ("l4/5", "L4/5"),
            ("L4-L5 level", "L4/5"),
            ("the L4-5 intervertebral disc", "L4/5"),
            ("disc space between L4 and L5", "L4/5"),
            ("T12–L1", "T12/L1"),
            ("T12L1", "T12/L1"),
            ("L5S1", "L5/S1"),
            ("L5/S1", "L5/S1"),
            ("S1/L5", "L5/S1"),
            ("C7-T1", "C7/T1"),
            ("D11/12", "T11/12"),
            ("腰4/5", "L4/5"),
            ("腰4-5椎间盘", "L4/5"),
            ("腰5骶1", "L5/S1"),
            ("腰5/骶1椎间盘", "L5/S1"),
            ("Ｌ４／５", "L4/5"),
            ("T12/13", "T12/13"),
            ("L6/S1", "L6/S1"),
            ("fourth lumbar to fifth lumbar disc", "L4/5"),
        ],
    )
    def test_notations(self, text: str, disc: str) -> None:
        assert parse_disc(text) == Disc.from_text(disc)

    @pytest.mark.parametrize(
        ("text", "part"),
        [
            ("C1/2", "segment C1/2"),
            ("S1/2", "segment S1/2"),
            ("L4", "vertebra L4"),
            ("L3-L5", "vertebrae L3-L5"),
            ("L4-L5 vertebrae", "vertebrae L4-L5"),
            ("L4/5 facet joints", "joints"),
            ("L4/7", "L7 is no vertebra"),
            ("L4-L5-S1", "disc L4/5 or disc L5/S1"),
            ("L3-L5 discs", "disc L3/4 or disc L4/5"),
            ("L4-L5 roots", "nerve root L4 or nerve root L5"),
        ],
    )
    def test_refusals_name_the_candidates(self, text: str, part: str) -> None:
        with pytest.raises(LevelError) as caught:
            parse_disc(text)
        assert part in str(caught.value)

    def test_the_patients_own_column_decides_who_are_neighbours(self) -> None:
        assert parse_disc("T11-L1", spine=Spine(thoracic=11)) == Disc(Level.T11, Level.L1)
        assert parse_disc("L4-S1", spine=Spine(lumbar=4)) == Disc(Level.L4, Level.S1)
        with pytest.raises(LevelError):
            parse_disc("L5/S1", spine=Spine(lumbar=6))
        with pytest.raises(LevelError):
            parse_disc("T12-L1", spine=Spine(thoracic=13))
        with pytest.raises(LevelError):
            parse_disc("T11/12", spine=Spine(thoracic=11))
        with pytest.raises(LevelError):
            parse_segment("L5/S1", spine=Spine(lumbar=4))


class TestSegmentAndRoot:
    @pytest.mark.parametrize(
        ("text", "segment"),
        [
            ("C0-C1", "C0/1"),
            ("C1/2", "C1/2"),
            ("atlantoaxial", "C1/2"),
            ("atlanto-occipital joint", "C0/1"),
            ("L4-L5", "L4/5"),
            ("L4-5 motion segment", "L4/5"),
            ("S1/2", "S1/2"),
            ("occiput-C1", "C0/1"),
        ],
    )
    def test_segments(self, text: str, segment: str) -> None:
        assert parse_segment(text) == Segment.from_text(segment)

    @pytest.mark.parametrize(
        ("text", "root"),
        [
            ("S1 nerve root", Root.S1),
            ("S1 root", Root.S1),
            ("nerve root L5", Root.L5),
            ("root of S1", Root.S1),
            ("the L5 root", Root.L5),
            ("C8", Root.C8),
            ("L5", Root.L5),
            ("fifth lumbar nerve", Root.L5),
            ("骶1神经根", Root.S1),
            ("coccygeal nerve", Root.COCCYGEAL),
        ],
    )
    def test_roots(self, text: str, root: Root) -> None:
        assert parse_root(text) is root

    @pytest.mark.parametrize("text", ["L5 vertebra", "L5 vertebral body", "T13", "L6 root", "L4-L5 roots", "L4/5", ""])
    def test_no_root(self, text: str) -> None:
        with pytest.raises(LevelError):
            parse_root(text)


class TestSeveralLevels:
    @pytest.mark.parametrize(
        ("text", "levels"),
        [
            ("T10-L2", "T10 T11 T12 L1 L2"),
            ("L2-T10", "T10 T11 T12 L1 L2"),
            ("L2 to L4", "L2 L3 L4"),
            ("from L4 to L5", "L4 L5"),
            ("L4-L5 vertebrae", "L4 L5"),
            ("L1, L3 and L5", "L1 L3 L5"),
            ("L3, 4 and 5", "L3 L4 L5"),
            ("C3-7", "C3 C4 C5 C6 C7"),
            ("L5, L1, L5", "L1 L5"),
            ("T12, L2-L4", "T12 L2 L3 L4"),
            ("third to fifth lumbar vertebrae", "L3 L4 L5"),
            ("fourth and fifth lumbar", "L4 L5"),
            ("tenth thoracic to first lumbar vertebra", "T10 T11 T12 L1"),
            ("腰3-5", "L3 L4 L5"),
            ("腰3、4椎体", "L3 L4"),
            ("第三、四腰椎", "L3 L4"),
            ("第3-5腰椎", "L3 L4 L5"),
            ("胸11至腰1", "T11 T12 L1"),
            ("T12-T13, L1", "?"),
            ("L4-L6", "L4 L5 L6"),
            ("T1 and T2", "T1 T2"),
        ],
    )
    def test_lists_and_ranges(self, text: str, levels: str) -> None:
        if levels == "?":
            with pytest.raises(LevelError, match="T12/13"):
                parse_levels(text)
        else:
            assert parse_levels(text) == tuple(Level(name) for name in levels.split())

    @pytest.mark.parametrize("text", ["L4-L5", "L4/5", "L4-L5-S1", "L5 root", "sacrum", "", "none", "L4, L9", "T10-L9"])
    def test_refuses_what_may_be_something_else(self, text: str) -> None:
        with pytest.raises(LevelError) as caught:
            parse_levels(text)
        assert caught.value.field == "levels"

    def test_ranges_run_through_the_patients_own_column(self) -> None:
        assert Level.T12 not in parse_levels("T10-L2", spine=Spine(thoracic=11))
        assert Level.T13 in parse_levels("T10-L2", spine=Spine(thoracic=13))
        with pytest.raises(LevelError, match="L6"):
            parse_levels("L4-L6", spine=REGULAR)

    @given(st.sampled_from(REGULAR.presacral), st.sampled_from(REGULAR.presacral))
    @steady
    def test_a_written_range_holds_what_lies_between(self, one: Level, other: Level) -> None:
        levels = parse_levels(f"{one} to {other}" if one is not other else str(one))
        assert levels == REGULAR.between(one, other)


class TestRoundTrip:
    @given(st.sampled_from(LEVELS))
    @steady
    def test_level(self, level: Level) -> None:
        assert parse_level(str(level)) is level
        assert read(str(level)) is level

    @given(st.sampled_from(DISCS))
    @steady
    def test_disc(self, disc: Disc) -> None:
        assert parse_disc(str(disc)) == disc

    @given(st.sampled_from(SEGMENTS))
    @steady
    def test_segment(self, segment: Segment) -> None:
        assert parse_segment(str(segment)) == segment

    @given(st.sampled_from(ROOTS))
    @steady
    def test_root(self, root: Root) -> None:
        assert parse_root(root.value) is root
        assert read(root.value) is root

    @given(st.sampled_from(REGULAR.presacral), st.sampled_from(REGULAR.presacral))
    @steady
    def test_range(self, one: Level, other: Level) -> None:
        if REGULAR.distance(one, other) > 1:
            span = LevelRange(min(one, other), max(one, other))
            assert read(str(span)) == span


class TestAmbiguity:
    def test_is_returned_with_its_candidates(self) -> None:
        reading = read("L4-L5")
        assert isinstance(reading, Ambiguous)
        pair = (Level.L4, Level.L5)
        assert reading.candidates == (Disc(*pair), Segment(*pair), LevelRange(*pair))

    def test_is_settled_by_the_kind_asked_for(self) -> None:
        reading = read("L4-L5")
        assert resolve(reading, Disc) == Disc(Level.L4, Level.L5)
        assert resolve(reading, Segment) == Segment(Level.L4, Level.L5)
        assert resolve(reading, LevelRange) == LevelRange(Level.L4, Level.L5)
        assert resolve(reading, Level) is None

    def test_several_of_one_kind_settle_nothing(self) -> None:
        assert resolve(read("sacrum"), Level) is None
        assert resolve(read("L3 or L4"), Level) is None

    def test_words_settle_it(self) -> None:
        assert read("L4-L5 disc") == Disc(Level.L4, Level.L5)
        assert read("L4-L5 motion segment") == Segment(Level.L4, Level.L5)
        assert read("L4-L5 vertebral bodies") == LevelRange(Level.L4, Level.L5)

    def test_variant_only_pairs_stay_open(self) -> None:
        reading = read("L4/S1")
        assert isinstance(reading, Ambiguous)
        assert resolve(reading, Disc) == Disc(Level.L4, Level.S1)
        assert read("L4-S1") == LevelRange(Level.L4, Level.S1)

    def test_range_of_one_level_is_none(self) -> None:
        with pytest.raises(LevelError):
            LevelRange(Level.L4, Level.L4)


@given(st.text(max_size=60))
@settings(deadline=None, derandomize=True, max_examples=500)
def test_any_text_gives_a_value_or_a_level_error(text: str) -> None:
    for parse in (parse_level, parse_disc, parse_segment, parse_root, parse_levels, read):
        try:
            parse(text)
        except LevelError as error:
            assert error.cure  # noqa: PT017
