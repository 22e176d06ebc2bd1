"""Extraction at full size: the table written by hand, ten thousand replies of a grammar, and any text at all."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bench.extract import extract
from spinemed.records import NOT_DETERMINABLE

pytestmark = pytest.mark.acceptance

ISSUE = "SpineBench"
COMMAND = "pytest -m acceptance tests/acceptance/test_extraction.py"
TABLES = Path(__file__).resolve().parents[1] / "bench" / "extraction"
Record = Callable[..., None]


@pytest.fixture(scope="module")
def grammar(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    return load_script(TABLES / "grammar.py")


@pytest.fixture(scope="module")
def questions(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    return load_script(TABLES / "questions.py")


def report(failures: list[str], n: int) -> str:
    print("\n".join(failures))
    return f"{n - len(failures)} of {n} ({100 * (1 - len(failures) / n):.2f} %)"


def test_replies_written_by_hand(record: Record, questions: ModuleType) -> None:
    lines = questions.handwritten()
    failures = questions.wrong_by_hand(lines)
    share = 1 - len(failures) / len(lines)
    record(
        ISSUE, 1, "model outputs written by hand get the verdict beside them", asked="≥ 300 outputs, ≥ 99.5 %",
        measured=report(failures, len(lines)), met=len(lines) >= 300 and share >= 0.995, command=COMMAND,
        note="written before the extractor was tuned on it; the first run on its first 458 gave 454 (99.1 %), one by a "
        "wrong line of the table (a range named from below)",
    )  # fmt: skip
    assert share >= 0.995


@pytest.mark.parametrize(("order", "seed"), [(2, 31), (3, 4242)])
def test_replies_of_a_grammar(
    record: Record, grammar: ModuleType, questions: ModuleType, order: int, seed: int
) -> None:
    failures = questions.wrong_by_grammar(grammar.cases(10_000, seed))
    share = 1 - len(failures) / 10_000
    record(
        ISSUE, order, f"replies of a grammar kept apart from the extractor, seed {seed}", asked="10,000, ≥ 99.5 %",
        measured=report(failures, 10_000), met=share >= 0.995, command=COMMAND,
        note="this seed was never looked at while the extractor was mended; the first run on another seed gave 98.1 %",
    )  # fmt: skip
    assert share >= 0.995


def test_no_text_raises(record: Record, grammar: ModuleType, questions: ModuleType) -> None:
    rng = random.Random(4)
    replies = [case.reply for case in grammar.cases(4_000, seed=8)]
    signs = "ABCDL345/-.,:;()[]{}<>\\\"'*`$°%0123456789 \n椎腰是不或答案选级think answerboxed"
    asked = 0
    for number in range(30_000):
        kind = number % 3
        if kind == 0:
            text = rng.randbytes(rng.randrange(200)).decode("utf-8", "replace")
        elif kind == 1:
            text = "".join(rng.choice(signs) for _ in range(rng.randrange(120)))
        else:
            one, other = rng.choice(replies), rng.choice(replies)
            text = one[: rng.randrange(len(one) + 1)] + other[rng.randrange(len(other) + 1) :]
        for form in questions.FORMS.values():
            found = extract(text, form)
            asked += 1
            assert (found.answer is None) == (found.outcome != "parsed")
            if form.kind == "option" and found.answer is not None:
                assert found.answer in {option.key for option in form.options} | {NOT_DETERMINABLE}
            if form.kind in ("category", "grade") and found.answer is not None:
                assert found.answer in {*form.categories, NOT_DETERMINABLE}
    record(
        ISSUE, 4, "random bytes, random signs, spliced replies: none raises or gives an answer that was not offered",
        asked="no output ever raises", measured=f"0 of {asked:,} readings", met=True, command=COMMAND,
    )  # fmt: skip
