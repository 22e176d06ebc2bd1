"""Replies as models really write them, and the one answer each of them gives, or none."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.extract import extract_answer
from spinemed.anatomy import Disc, Level
from spinemed.records import NOT_DETERMINABLE, Message, Option, Sample

UNPARSED, REFUSED = "unparsed", "refused"
CATEGORIES = ("none", "wedge", "crush", "biconcave")
PIECES = [
    "L3",
    "T12-L2",
    "L4/5",
    "wedge",
    "not",
    "Answer:",
    "B",
    "(C)",
    "or",
    "above",
    "none",
    "<think>",
    "</think>",
    "not determinable",
    "腰3",
    "。",
    "disc",
    "\\boxed{",
    "}",
    "答案：",
    "the marked vertebra is",
]
OPTIONS = ("Disc herniation", "L4", "Disc", "The sacrum, which is fused")


def ask(kind: str, *, tags: tuple[str, ...] = (), **more: object) -> Sample:
    answer = {"level": "L3", "disc": "L4/5", "levels": "T12-L2", "category": "wedge", "option": "B", "text": "x"}[kind]
    if kind == "category":
        more["categories"] = CATEGORIES
    if kind == "option":
        more["options"] = tuple(Option(key=key, text=text) for key, text in zip("ABCD", OPTIONS))
    return Sample(
        id="q",
        axis="level_identification",
        task="level",
        messages=(Message(role="user", content="?"),),
        images=(),
        answer=answer,
        answer_kind=kind,  # type: ignore[arg-type]
        cluster="p",
        origin="real",
        source_id="s",
        tags=tags,
        **more,  # type: ignore[arg-type]
    )


def read(reply: str, sample: Sample) -> str | None:
    """The canonical answer, or the outcome where there is none."""
    found = extract_answer(reply, sample)
    assert (found.answer is None) == (found.outcome != "parsed")
    assert found.outcome == "parsed" or found.reason
    return found.answer or found.outcome


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("L3", "L3"),
        ("l3.", "L3"),
        ("The marked vertebra is L3.", "L3"),
        ("**L3**", "L3"),
        ("level: L 3", "L3"),
        ("third lumbar vertebra", "L3"),
        ("The answer is the third lumbar vertebral body", "L3"),
        ("Th7", "T7"),
        ("D12", "T12"),
        ("腰3椎体", "L3"),
        ("第三腰椎", "L3"),
        ("标记的椎体是腰3。", "L3"),
        ("答案：L3", "L3"),
        ("\\boxed{L3}", "L3"),
        ("<answer>L3</answer>", "L3"),
        ("<think>Counting up from S1: L5, L4, L3.</think>L3", "L3"),
        ("Counting from the sacrum: L5, L4, L3. Answer: L3", "L3"),
        ("Answer: L3. The vertebra L4 is intact.", "L3"),
        ("Answer:\nL3", "L3"),
        ("The marked vertebra is L3, just above L4.", "L3"),
        ("It is L4, not L3", "L4"),
        ("not L3 but L4", "L4"),
        ("On this T2-weighted image it is L3", "L3"),
        ("T2", "T2"),
        ("Probably L3, with good confidence.", "L3"),
        ("L3. L3!", "L3"),
        ("not determinable", "not determinable"),
        ("The level cannot be determined from this field of view.", "not determinable"),
        ("无法确定", "not determinable"),
        ("I am unable to determine the level.", "not determinable"),
        ("L3 or L4", UNPARSED),
        ("L3/L4", UNPARSED),
        ("It is either T12 or L1", UNPARSED),
        ("L3-L5", UNPARSED),
        ("between L2 and L4", UNPARSED),
        ("the vertebra above L4", UNPARSED),
        ("one level below T12", UNPARSED),
        ("L4上方的椎体", UNPARSED),
        ("not L3", UNPARSED),
        ("L4/5", UNPARSED),
        ("the L5 nerve root", UNPARSED),
        ("C8", UNPARSED),
        ("L7", UNPARSED),
        ("L3, but this cannot be determined", UNPARSED),
        ("Answer: L3\nAnswer: L4", "L4"),
        ("Answer: I see no vertebra. L3", UNPARSED),
        ("<think>L3", UNPARSED),
        ("<think>L3</think>", UNPARSED),
        ("so it is L4 </think> L3", "L3"),
        ("", UNPARSED),
        ("   \n", UNPARSED),
        ("a vertebra of the lumbar spine", UNPARSED),
        ("3", UNPARSED),
        ("I'm sorry, I can't help with medical images.", REFUSED),
        ("抱歉，我无法提供诊断。", REFUSED),
    ],
)
def test_vertebra(reply: str, expected: str) -> None:
    assert read(reply, ask("level")) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("L4/5", "L4/5"),
        ("L4-L5", "L4/5"),
        ("the L4-5 disc", "L4/5"),
        ("Answer: L5/S1.", "L5/S1"),
        ("腰4/5椎间盘", "L4/5"),
        ("The disc between L4 and L5.", "L4/5"),
        ("It lies between T12 and L1", "T12/L1"),
        ("between L4/5 and L5/S1", UNPARSED),
        ("below the disc between L4 and L5", UNPARSED),
        ("L4 and L5", UNPARSED),
        ("L4", UNPARSED),
        ("L3/4 or L4/5", UNPARSED),
        ("L4/L6", UNPARSED),
    ],
)
def test_disc(reply: str, expected: str) -> None:
    assert read(reply, ask("disc")) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("T12-L2", "T12-L2"),
        ("Answer: T12–L2", "T12-L2"),
        ("T12 to L2", "T12-L2"),
        ("from T12 to L2", "T12-L2"),
        ("T12, L1 and L2", "T12-L2"),
        ("The construct spans T12-L2 (T12, L1 and L2).", "T12-L2"),
        ("胸12-腰2", "T12-L2"),
        ("T12-L2 (one above, one below L1)", "T12-L2"),
        ("one above and one below L1", UNPARSED),
        ("L3-L4", "L3-L4"),
        ("T12 and L2", UNPARSED),
        ("L1", UNPARSED),
        ("T12-L2 or T11-L3", UNPARSED),
        ("T12-L2, and also L4", UNPARSED),
        ("", UNPARSED),
    ],
)
def test_range(reply: str, expected: str) -> None:
    assert read(reply, ask("levels")) == expected


def test_a_list_is_a_range_only_in_the_patients_own_spine() -> None:
    assert read("T12, L1", ask("levels")) == "T12-L1"
    assert read("T12, L1", ask("levels", tags=("spine:13T5L",))) == UNPARSED
    assert read("T12, T13, L1", ask("levels", tags=("spine:13T5L",))) == "T12-L1"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("wedge", "wedge"),
        ("Wedge fracture.", "wedge"),
        ("a wedge-shaped deformity", "wedge"),
        ("none", "none"),
        ("No fracture is visible.", "none"),
        ("no evidence of a vertebral fracture", "none"),
        ("normal", "none"),
        ("无骨折", "none"),
        ("not a wedge but a crush fracture", "crush"),
        ("Answer: wedge. There is no retropulsion as in a crush fracture.", "wedge"),
        ("Answer: wedge. No, crush.", UNPARSED),
        ("Biconcave", "biconcave"),
        ("楔形", "wedge"),
        ("wedge or crush", UNPARSED),
        ("not wedge", UNPARSED),
        ("wedging", UNPARSED),
        ("a fracture", UNPARSED),
        ("concave", UNPARSED),
        ("I cannot assess this.", REFUSED),
    ],
)
def test_category(reply: str, expected: str) -> None:
    assert read(reply, ask("category")) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Extra-foraminal", "extraforaminal"),
        ("extra foraminal, on the left", "extraforaminal"),
        ("the sub-articular zone", "subarticular"),
        ("foraminal", "foraminal"),
        ("extraforaminal or foraminal", UNPARSED),
    ],
)
def test_a_zone_is_not_its_second_half(reply: str, expected: str) -> None:
    update = {"categories": ("central", "subarticular", "foraminal", "extraforaminal", NOT_DETERMINABLE)}
    assert read(reply, ask("category").model_copy(update=update)) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("To the right.", "right"),
        ("The side cannot be determined because there is no left or right marker.", NOT_DETERMINABLE),
        ("Without a letter, left or right cannot be determined.", NOT_DETERMINABLE),
        ("It is not possible to tell whether the herniation is on the right.", NOT_DETERMINABLE),
        ("The answer is not determinable, since there is no left/right marker.", NOT_DETERMINABLE),
        ("图中没有左右标记，无法确定。", NOT_DETERMINABLE),
        ("Convex to the right, but the side cannot be determined without a letter.", UNPARSED),
        ("I cannot tell whether it protrudes, but it is on the right.", UNPARSED),
        ("left or right", UNPARSED),
        ("There is a left/right marker; the curve is convex to the left.", "left"),
    ],
)
def test_a_side_that_cannot_be_told_is_no_side(reply: str, expected: str) -> None:
    update = {"categories": ("left", "right", NOT_DETERMINABLE)}
    assert read(reply, ask("category").model_copy(update=update)) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("B", "B"),
        ("b", "B"),
        ("(B)", "B"),
        ("B.", "B"),
        ("B. L4", "B"),
        ("B) L4", "B"),
        ("**B**", "B"),
        ("Answer: B. L4", "B"),
        ("Answer: (B) L4 because the sacrum is below", "B"),
        ("The correct option is B.", "B"),
        ("I choose option B", "B"),
        ("选B", "B"),
        ("答案是B", "B"),
        ("The answer is A because the disc bulges", "A"),
        ("B is correct", "B"),
        ("B - L4", "B"),
        ("L4", "B"),
        ("The level is L4.", "B"),
        ("disc   HERNIATION", "A"),
        ("the sacrum, which is fused.", "D"),
        ("Disc", "C"),
        ("not the disc herniation but L4", "B"),
        ("A vertebra is marked", UNPARSED),
        ("B or C", UNPARSED),
        ("A. L4", UNPARSED),
        ("L4 or disc herniation", UNPARSED),
        ("L5", UNPARSED),
        ("sacrum", UNPARSED),
        ("H", UNPARSED),
        ("Disc hernia", UNPARSED),
        ("L4 is degenerated", UNPARSED),
        ("L4 is the correct answer", "B"),
        ("L45", UNPARSED),
        ("", UNPARSED),
    ],
)
def test_option(reply: str, expected: str) -> None:
    assert read(reply, ask("option")) == expected


@given(
    reply=st.one_of(
        st.text(max_size=80),
        st.lists(
            st.sampled_from(PIECES),
            max_size=8,
        ).map(" ".join),
    ),
    kind=st.sampled_from(["level", "disc", "levels", "category", "option"]),
)
@settings(max_examples=400, deadline=None, derandomize=True)
def test_whatever_is_said_the_answer_is_legal_or_none(reply: str, kind: str) -> None:
    found = extract_answer(reply, ask(kind))
    if found.answer is None:
        assert found.outcome in ("unparsed", "refused")
        assert found.reason
    elif found.answer == NOT_DETERMINABLE:
        pass  # abstaining is an answer to any question
    elif kind == "option":
        assert found.answer in "ABCD"
    elif kind == "category":
        assert found.answer in CATEGORIES
    else:
        if kind == "disc":
            assert str(Disc.from_text(found.answer)) == found.answer
        else:
            ends = [Level(end) for end in found.answer.split("-")]
            assert len(ends) == (1 if kind == "level" else 2)
            assert ends == sorted(set(ends))


def test_the_truth_is_never_consulted() -> None:
    for reply in ("L3", "L4", "nonsense"):
        sample = ask("level")
        assert read(reply, sample) == read(reply, sample.model_copy(update={"answer": "C2"}))


@pytest.mark.parametrize(
    "piece", ["L3 ", "A, ", "<think>", "Answer: ", "not ", "(A) ", "no evidence of ", "\\boxed{", "L3-"]
)
def test_a_very_long_reply_is_read_in_reasonable_time(piece: str) -> None:
    reply = piece * (20_000 // len(piece))
    for kind in ("level", "levels", "category", "option"):
        started = time.perf_counter()
        extract_answer(reply, ask(kind))
        assert time.perf_counter() - started < 2.0
