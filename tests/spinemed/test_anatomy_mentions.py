"""Levels inside sentences: what counts, what it means there, and what only looks like a level."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinemed.anatomy import Ambiguous, Level, Spine, describe, find_levels


def found(text: str, spine: Spine | None = None) -> list[str]:
    """Mentions as text: "vertebra L3", "disc L4/5"; ambiguous ones with a question mark."""
    return [
        f"{describe(mention.reading)}?" if isinstance(mention.reading, Ambiguous) else describe(mention.reading)
        for mention in find_levels(text, spine=spine)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wedge fracture of L1, old.", ["vertebra L1"]),
        ("The fifth lumbar vertebra slips on the first sacral segment.", ["vertebra L5", "vertebra S1"]),
        ("fourth and fifth lumbar vertebrae", ["vertebra L4", "vertebra L5"]),
        ("L3, 4 and 5 vertebrae", ["vertebra L3", "vertebra L4", "vertebra L5"]),
        ("Fusion from T10 to L2.", ["vertebrae T10-L2"]),
        ("means of T11..L5 are given", ["vertebrae T11-L5"]),
        ("The atlas and axis articulate.", ["vertebra C1", "vertebra C2"]),
        ("L4 on L5 slip", ["vertebra L4", "vertebra L5"]),
        ("腰1椎体压缩骨折", ["vertebra L1"]),
        ("腰3、4椎体压缩骨折", ["vertebra L3", "vertebra L4"]),
        ("第五腰椎滑脱", ["vertebra L5"]),
        ("sacrum and coccyx", [f"{' or '.join(f'vertebra S{n}' for n in range(1, 6))}?", "vertebra coccyx"]),
        ("**L4**", ["vertebra L4"]),
        ("L4 loss of height", ["vertebra L4"]),
        ("The marked vertebra is L 3.", ["vertebra L3"]),
        ("The level is T1", ["vertebra T1"]),
        ("L-3.", ["vertebra L3"]),
        ("(axis)", ["vertebra C2"]),
        ("第3腰椎压缩性骨折", ["vertebra L3"]),
    ],
)
def test_vertebrae(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("L4/5 and L5/S1 are degenerated.", ["disc L4/5", "disc L5/S1"]),
        ("L4-5 and L5-S1 discs", ["disc L4/5", "disc L5/S1"]),
        ("L3-4, 4-5 discs", ["disc L3/4", "disc L4/5"]),
        ("disc herniation at C5-C6", ["disc C5/6"]),
        ("the disc between L4 and L5", ["disc L4/5"]),
        ("C4/5 foraminal stenosis", ["segment C4/5"]),
        ("L4-L5 facet joints", ["segment L4/5"]),
        ("the atlantoaxial joint", ["segment C1/2"]),
        ("腰4/5椎间盘突出", ["disc L4/5"]),
        ("stenosis at L4-L5", ["disc L4/5 or segment L4/5 or vertebrae L4-L5?"]),
        ("between L4 and L5", ["disc L4/5 or segment L4/5?"]),
        ("L3-S1 discs", ["disc L3/4 or disc L4/5 or disc L5/S1?"]),
        ("the L4 disc", ["disc L3/4 or disc L4/5?"]),
        ("C5-6-7", ["vertebrae C5-C7 or disc C5/6 or disc C6/7?"]),
    ],
)
def test_discs_and_segments(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It compresses the S1 root.", ["nerve root S1"]),
        ("L4, L5 and S1 nerve roots", ["nerve root L4", "nerve root L5", "nerve root S1"]),
        ("nerve roots L3, L4, L5", ["nerve root L3", "nerve root L4", "nerve root L5"]),
        ("L5 radiculopathy from the L4-5 disc", ["nerve root L5", "disc L4/5"]),
        ("C8 weakness", ["nerve root C8"]),
        ("the exiting L4 nerve", ["nerve root L4"]),
        ("L4 exiting nerve root and L5 vertebra", ["nerve root L4", "vertebra L5"]),
        ("压迫右侧腰5神经根", ["nerve root L5"]),
        ("T10 paraplegia", ["nerve root T10 or vertebra T10?"]),
        ("C5-C7 roots", ["nerve root C5 or nerve root C6 or nerve root C7?"]),
    ],
)
def test_roots_are_not_vertebrae(text: str, expected: list[str]) -> None:
    assert found(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "T2-weighted image",
        "T2 weighted",
        "T1- and T2-weighted images",
        "high T2 signal",
        "T1 image",
        "T2w, T1WI and T2* sequences",
        "sagittal T1, T2 and STIR",
        "axial T2",
        "fat-suppressed T2",
        "hyperintense on T2",
        "T2高信号, T1加权, 矢状位T2",
        "T2 FLAIR",
        "C3D",
        "Grade C2 evidence",
        "T2N0M0",
        "see Table S1 and Fig. S2",
        "free T4 and TSH were normal, T3 was not measured",
        "complement C3 and C4 levels",
        "C1 esterase inhibitor",
        "S1 and S2 heart sounds",
        "vitamin D3",
        "a first lumbar puncture",
        "5 lumbar vertebrae",
        "the long axis of the femur, an atlas of anatomy",
        "IL-4, HLA-C4, CD4, B12",
        "L1 norm",
        "腰一直痛, 胸一侧",
        "颈2厘米",
        "vitamin C 2-3 times a day",
        "C-3PO",
        "",
    ],
)
def test_what_only_looks_like_a_level(text: str) -> None:
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("T2-weighted images show high T2 signal at L4.", ["vertebra L4"]),
        ("fracture of T1 and T2", ["vertebra T1", "vertebra T2"]),
        ("T1 and T2 vertebral bodies", ["vertebra T1", "vertebra T2"]),
        ("lesion at T2", ["vertebra T2"]),
        ("T2 and T5", ["vertebra T2", "vertebra T5"]),
        ("C7/T1", ["disc C7/T1"]),
        ("T2/T3 stenosis", ["disc T2/3"]),
        ("T1/T2", ["disc T1/2 or segment T1/2 or vertebrae T1-T2?"]),
        ("thyroid nodule; T4 vertebral fracture", ["vertebra T4"]),
        ("T2", ["vertebra T2?"]),
        ("D5", ["vertebra T5?"]),
        ("D12 vertebra", ["vertebra T12"]),
        ("T2 tumour", ["vertebra T2?"]),
        ("L5 mass of 5 mm", ["vertebra L5"]),
        ("L4 and 5 mm", ["vertebra L4"]),
        ("L4-5 mm", ["vertebra L4"]),
        ("T10-L9", ["nothing?"]),
        ("fusion T10-pelvis", ["nothing?"]),
    ],
)
def test_words_beside_a_code_decide(text: str, expected: list[str]) -> None:
    assert found(text) == expected


def test_the_patients_column_decides_neighbours() -> None:
    assert found("T11/L1 disc", Spine(thoracic=11)) == ["disc T11/L1"]
    assert found("T12-L1", Spine(thoracic=13)) == ["vertebrae T12-L1"]


def test_spans_point_into_the_text_given() -> None:
    text = "病例：Ｌ４／５椎间盘突出；第3腰椎；S1 nerve root, the fourth and fifth lumbar vertebrae."
    mentions = find_levels(text)
    assert [mention.text for mention in mentions] == ["Ｌ４／５", "第3腰椎", "S1", "fourth", "fifth lumbar"]
    assert all(text[mention.start : mention.end] == mention.text for mention in mentions)


@given(
    st.text(alphabet=st.characters(), max_size=80) | st.text(alphabet="LTCSDh0159 /-–,.、第腰椎间和axis", max_size=80)
)
@settings(deadline=None, derandomize=True, max_examples=500)
def test_any_text_gives_ordered_spans_that_do_not_overlap(text: str) -> None:
    end = 0
    for mention in find_levels(text):
        assert end <= mention.start < mention.end <= len(text)
        assert text[mention.start : mention.end] == mention.text
        end = mention.end


@given(st.sampled_from(list(Level)), st.sampled_from(["see ", "在", "(", "the body of "]))
@settings(deadline=None, derandomize=True, max_examples=100)
def test_a_level_is_found_wherever_it_stands(level: Level, lead: str) -> None:
    text = f"{lead}{level} vertebra, not enlarged"
    assert [mention.reading for mention in find_levels(text)] == [level]


@pytest.mark.parametrize(
    "unit",
    ["L1-", "L1, ", "L1/2, ", "T1 and ", "1,", "first ", "between ", "L1 left right ", "第一、", " ", "L", "th "],
)
def test_time_grows_with_the_text_only(unit: str) -> None:
    """Ten times the text must not take a hundred times as long; a quadratic scan would."""

    def seconds(length: int) -> float:
        text = (unit * (length // len(unit) + 1))[:length]
        best = float("inf")
        for _ in range(2):
            start = time.process_time()
            find_levels(text)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(60_000) < 40 * seconds(6_000) + 0.05
