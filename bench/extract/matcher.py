"""Optional second reading of unparsed replies by a language model, counted apart and never mixed with the rules.

Convention: only replies that the rules left `unparsed` are shown; refused, truncated and failed ones never. The model
sees the form of the question and the reply as a JSON string, not the question, not the picture and not the truth; it
answers in a closed schema. What it gives goes through the same rules as any reply and must be one legal answer that
the reply's own letters hold, so it can point at an answer and cannot invent one. Found answers carry `by` = "matcher".

Trap: a score with matched replies is another score; both are reported, and ranks rest on the rules alone.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from pydantic import BaseModel, ConfigDict, Field

from bench.extract.plain import plain_text
from bench.extract.question import SIDES, Question
from bench.extract.read import Extraction, extract
from spinemed.chat import LOCAL, ChatRequest, Schema
from spinemed.chat.client import Chat
from spinemed.chat.egress import Egress
from spinemed.config import Config, load_config
from spinemed.records import Message

__all__ = ["Stated", "match_unparsed"]


class Stated(BaseModel):
    """What the model says of one reply."""

    model_config = ConfigDict(extra="forbid")
    states_one_answer: bool
    """Whether the reply states exactly one of the choices."""
    answer: str = Field(max_length=80)
    """That choice; empty where it does not."""


class _Words(Config):
    system: str
    """What the matching model is told first."""
    user: str
    """How reply and choices are laid before it."""


@cache
def _words() -> _Words:
    return load_config(str(files("bench.extract").joinpath("matcher.yaml")), _Words)


def match_unparsed(replies: Sequence[tuple[str, Question]], chat: Chat, *, egress: Egress = LOCAL) -> list[Extraction]:
    """Read replies by the rules, and show those that stay unparsed to a language model.

    Args:
        replies: Verbatim replies with the form of their questions.
        chat: The language model.
        egress: Where replies may be sent.

    Returns:
        One extraction for each reply, in order; `by` tells who read it.

    Raises:
        ChatError, EgressError, BudgetError: As `Chat.ask`.
    """
    found = [extract(text, question) for text, question in replies]
    open_ = [place for place, one in enumerate(found) if one.outcome == "unparsed" and plain_text(replies[place][0])]
    requests = [_request(*replies[place], egress) for place in open_]
    for place, answer in zip(open_, chat.ask(requests), strict=True):
        text, question = replies[place]
        said = answer.value
        if not isinstance(said, Stated) or not said.states_one_answer:
            continue
        read = extract(said.answer, question)
        if read.outcome == "parsed" and read.answer is not None and _stands_in(said.answer, text):
            found[place] = replace(read, confidence=found[place].confidence, by="matcher")
    return found


def _request(text: str, question: Question, egress: Egress) -> ChatRequest:
    words = _words()
    values = {"form": json.dumps(_form(question), ensure_ascii=False), "reply": json.dumps(text, ensure_ascii=False)}
    user = re.sub(r"\{(form|reply)\}", lambda field: values[field[1]], words.user)
    return ChatRequest(
        (Message(role="system", content=words.system), Message(role="user", content=user)),
        schema=Schema(Stated),
        egress=egress,
        tag="match",
    )


def _form(question: Question) -> dict[str, object]:
    if question.options:
        return {"one option's letter": {option.key: option.text for option in question.options}}
    if question.kind in ("category", "grade"):
        return {"one of": list(question.categories)}
    if question.kind == "side":
        return {"one of": list(SIDES)}
    names = {
        "level": "one vertebra, like L3",
        "disc": "one disc, like L4/5",
        "levels": "one range of vertebrae, like T12-L2",
        "number": f"one number in {question.unit}",
    }
    return {"form": names.get(question.kind, "text")}


def _stands_in(answer: str, reply: str) -> bool:
    """Whether the reply holds what the model points at: its letters and digits in a row, spacing and case apart."""

    def bare(text: str) -> str:
        return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).casefold()

    wanted = bare(answer)
    if len(wanted) == 1 and wanted.isalpha():  # a lone letter must stand alone
        return re.search(rf"(?<![A-Za-z0-9]){wanted}(?![A-Za-z0-9])", reply, re.IGNORECASE) is not None
    return bool(wanted) and wanted in bare(reply)
