"""Replies with the verdict that each must get: written by hand, made by a grammar, and any text at all."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.extract import Extraction, Question, extract, question_of
from spinemed.records import NOT_DETERMINABLE, Message, Option, Sample

HERE = Path(__file__).parent / "extraction"
NAMES = sorted(json.loads((HERE / "forms.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def grammar(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    return load_script(HERE / "grammar.py")


@pytest.fixture(scope="module")
def questions(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    return load_script(HERE / "questions.py")


def test_replies_written_by_hand_get_the_verdict_that_stands_beside_them(questions: ModuleType) -> None:
    lines = questions.handwritten()
    assert len(lines) >= 300
    wrong = questions.wrong_by_hand(lines)
    assert not wrong, "\n".join(wrong)


def test_replies_of_a_grammar_get_the_verdict_of_the_specification(grammar: ModuleType, questions: ModuleType) -> None:
    wrong = questions.wrong_by_grammar(grammar.cases(800, seed=11))
    assert len(wrong) <= 4, "\n".join(wrong)  # 99.5 %


def verdict(found: Extraction) -> str:
    return found.answer or found.outcome


def legal(found: Extraction, form: Question) -> bool:
    if found.answer is None:
        return found.outcome in ("unparsed", "refused") and bool(found.reason)
    if form.kind == "option":
        return found.answer in {option.key for option in form.options} | {NOT_DETERMINABLE}
    if form.kind in ("category", "grade"):
        return found.answer in {*form.categories, NOT_DETERMINABLE}
    if form.kind == "number" and found.answer != NOT_DETERMINABLE:
        float(found.answer)
    return found.outcome == "parsed"


@given(
    reply=st.one_of(st.text(max_size=120), st.binary(max_size=120).map(lambda raw: raw.decode("utf-8", "replace"))),
    form=st.sampled_from(NAMES),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_no_text_raises_or_gives_an_answer_that_was_not_offered(questions: ModuleType, reply: str, form: str) -> None:
    assert legal(extract(reply, questions.FORMS[form]), questions.FORMS[form])


def test_scrambled_replies_raise_nothing(grammar: ModuleType, questions: ModuleType) -> None:
    rng = random.Random(5)
    replies = [case.reply for case in grammar.cases(150, seed=3)]
    for reply in replies:
        other = rng.choice(replies)
        cut = reply[: rng.randrange(len(reply) + 1)] + other[rng.randrange(len(other) + 1) :]
        for form in questions.FORMS.values():
            assert legal(extract(cut, form), form)


def test_the_scale_and_the_unit_of_a_sample_stand_in_its_tags() -> None:
    def sample(*tags: str) -> Sample:
        return Sample(
            id="q", axis="pathology", task="category", messages=(Message(role="user", content="?"),), images=(),
            answer="3", answer_kind="category", categories=("2", "3"), cluster="p", origin="real", source_id="s",
            tags=tags,
        )  # fmt: skip

    assert question_of(sample()).kind == "category"  # digits without a scale are counts
    assert question_of(sample("scale:pfirrmann")).kind == "grade"
    assert question_of(sample("unit:mm")).unit == "mm"
    assert verdict(extract("grade III", question_of(sample("scale:pfirrmann")))) == "3"


@pytest.mark.parametrize(
    ("kind", "more", "reply", "expected"),
    [
        ("level", {}, "from above: L3, mark at L4, then L5.", "unparsed"),
        ("level", {}, "from above: T8.", "T8"),
        ("disc", {}, "L1/3", "unparsed"),
        ("levels", {}, "from ab L3, mark L4; f L5.", "L3-L5"),
        ("category", {"categories": ("none", "1", "2", "3")}, "front 10, mark at 1", "1"),
        ("category", {"categories": ("none", "1", "2", "3")}, "L3/5", "unparsed"),
        ("option", {"options": "T12 T10 L1 L2"}, "6, mark at10, thenT8T1010, then 10, middle 10", "B"),
        ("option", {"options": "T12 T10 L1 L2"}, ", mark at T6, mark at T7, middle 6, back 6 tenths.", "unparsed"),
        ("option", {"options": "T12 T10 L1 L2"}, "95T9T8T8T697777777777777", "unparsed"),
    ],
)
def test_stammered_replies_of_small_models_keep_the_verdict_that_standing_figures_rest_on(
    kind: str, more: dict[str, object], reply: str, expected: str
) -> None:
    texts = str(more.pop("options", "")).split()
    options = tuple(Option(key=key, text=text) for key, text in zip("ABCD", texts))
    assert verdict(extract(reply, Question(kind, options, **more))) == expected  # type: ignore[arg-type]
