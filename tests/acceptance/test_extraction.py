"""Extraction at full size: the table written by hand, ten thousand replies of a grammar, and any text at all."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from bench.extract import Extraction, Question, extract
from spinemed.records import NOT_DETERMINABLE, Option

pytestmark = pytest.mark.acceptance

ISSUE = "SpineBench"
COMMAND = "pytest -m acceptance tests/acceptance/test_extraction.py"
TABLES = Path(__file__).resolve().parents[1] / "bench" / "extraction"
Record = Callable[..., None]


def forms() -> dict[str, Question]:
    made = {}
    for name, form in json.loads((TABLES / "forms.json").read_text(encoding="utf-8")).items():
        options = tuple(Option(key=key, text=text) for key, text in zip("ABCDEFGH", form.get("options", [])))
        made[name] = Question(form["kind"], options, tuple(form.get("categories", [])), form.get("unit"))
    return made


FORMS = forms()


@pytest.fixture(scope="module")
def grammar() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reply_grammar", TABLES / "grammar.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def verdict(found: Extraction) -> str:
    return found.answer or found.outcome


def report(failures: list[str], n: int) -> str:
    print("\n".join(failures))
    return f"{n - len(failures)} of {n} ({100 * (1 - len(failures) / n):.2f} %)"


def test_replies_written_by_hand(record: Record) -> None:
    lines = [json.loads(line) for line in (TABLES / "handwritten.jsonl").read_text(encoding="utf-8").splitlines()]
    failures = []
    for form, reply, expected, why, *confidence in lines:
        found = extract(reply, FORMS[form])
        if verdict(found) != expected or (confidence and found.confidence != confidence[0]):
            failures.append(f"{form} {reply!r} ({why}): {expected} expected, {found}")
    share = 1 - len(failures) / len(lines)
    record(
        ISSUE, 1, "model outputs written by hand get the verdict beside them", asked="≥ 300 outputs, ≥ 99.5 %",
        measured=report(failures, len(lines)), met=len(lines) >= 300 and share >= 0.995, command=COMMAND,
        note="written before the extractor was tuned on it; the first run on its first 458 gave 454 (99.1 %), one by a "
        "wrong line of the table (a range named from below)",
    )  # fmt: skip
    assert share >= 0.995


@pytest.mark.parametrize(("order", "seed"), [(2, 31), (3, 4242)])
def test_replies_of_a_grammar(record: Record, grammar: ModuleType, order: int, seed: int) -> None:
    failures = []
    for case in grammar.cases(10_000, seed):
        form = FORMS.get(case.kind)
        if case.kind == "option":
            form = Question("option", tuple(Option(key=key, text=text) for key, text in zip("ABCD", case.options)))
        assert form is not None
        found = extract(case.reply, form)
        if verdict(found) != case.verdict or (case.confidence is not None and found.confidence != case.confidence):
            failures.append(f"{case}: {found}")
    share = 1 - len(failures) / 10_000
    record(
        ISSUE, order, f"replies of a grammar kept apart from the extractor, seed {seed}", asked="10,000, ≥ 99.5 %",
        measured=report(failures, 10_000), met=share >= 0.995, command=COMMAND,
        note="this seed was never looked at while the extractor was mended; the first run on another seed gave 98.1 %",
    )  # fmt: skip
    assert share >= 0.995


def test_no_text_raises(record: Record, grammar: ModuleType) -> None:
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
        for form in FORMS.values():
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
