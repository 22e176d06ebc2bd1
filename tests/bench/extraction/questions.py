"""The questions that the tables of replies ask, and which replies get another verdict than the one beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.extract import Extraction, Question, extract
from spinemed.records import Option

__all__ = ["FORMS", "handwritten", "wrong_by_grammar", "wrong_by_hand"]

HERE = Path(__file__).parent


def _forms() -> dict[str, Question]:
    made = {}
    for name, form in json.loads((HERE / "forms.json").read_text(encoding="utf-8")).items():
        options = tuple(Option(key=key, text=text) for key, text in zip("ABCDEFGH", form.get("options", [])))
        made[name] = Question(form["kind"], options, tuple(form.get("categories", [])), form.get("unit"))
    return made


FORMS = _forms()
"""By name."""


def _differs(found: Extraction, verdict: str, confidence: float | None) -> bool:
    return (found.answer or found.outcome) != verdict or (confidence is not None and found.confidence != confidence)


def handwritten() -> list[list[Any]]:
    """Form, reply, verdict, why, and perhaps the confidence."""
    lines = (HERE / "handwritten.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def wrong_by_hand(lines: Iterable[list[Any]]) -> list[str]:
    """Lines of the table written by hand that get another verdict."""
    wrong = []
    for number, (form, reply, expected, why, *confidence) in enumerate(lines, 1):
        found = extract(reply, FORMS[form])
        if _differs(found, expected, confidence[0] if confidence else None):
            wrong.append(f"line {number}: {form} {reply!r} ({why}): {expected} expected, {found}")
    return wrong


def wrong_by_grammar(cases: Iterable[Any]) -> list[str]:
    """Cases of `grammar.py` that get another verdict."""
    wrong = []
    for case in cases:
        form = FORMS.get(case.kind)
        if case.kind == "option":
            form = Question("option", tuple(Option(key=key, text=text) for key, text in zip("ABCD", case.options)))
        assert form is not None
        found = extract(case.reply, form)
        if _differs(found, case.verdict, case.confidence):
            wrong.append(f"{case}: {found}")
    return wrong
