"""What a judge is asked and what it says: yes or no to one criterion, or ten scores, in closed schemas.

Convention: one request for each criterion, so that a verdict leans on no other; one request for the ten dimensions. The
candidate's words stand in a JSON string. A reply that keeps no schema, after one repair turn, is a missing verdict with
the reason; it is never counted as yes, no or a middle score.

Trap: another prompt is another judge. The hash of the prompts stands in every result, and an examination holds for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bench.extract.plain import without_reasoning
from spinemed.chat import ChatRequest, Schema
from spinemed.chat.client import Chat
from spinemed.chat.egress import Egress
from spinemed.chat.request import Decoding
from spinemed.config import Config, load_config
from spinemed.records import DIMENSIONS, CaseFact, Message, Record, content_hash, escape_placeholder

__all__ = ["Asked", "CriterionVerdict", "DimensionScores", "Said", "ask_judge", "prompts_sha256"]

Grade = Annotated[int, Field(ge=1, le=5)]


class CriterionVerdict(BaseModel):
    """Yes or no to one criterion."""

    model_config = ConfigDict(extra="forbid")
    explanation: str = Field(max_length=600)
    """In the judge's words."""
    met: bool
    """Whether the criterion is met."""


class DimensionScores(BaseModel):
    """The ten dimensions."""

    model_config = ConfigDict(extra="forbid")
    explanation: str = Field(max_length=600)
    """In the judge's words."""
    imaging_report: Grade
    """Whether findings are complete and rightly described."""
    diagnosis: Grade
    """Whether the diagnosis follows from them."""
    patient_guidance: Grade
    """Whether the patient is told what matters, in plain words."""
    evidence_based_treatment: Grade
    """Whether treatment rests on evidence."""
    technical_feasibility: Grade
    """Whether what is planned can be done."""
    risk_prognosis: Grade
    """Whether risks and course are told."""
    coverage: Grade
    """Whether all parts are there."""
    relevance: Grade
    """Whether it keeps to the case."""
    granularity: Grade
    """Whether it is as detailed as the case needs."""
    interpretability: Grade
    """Whether its reasons can be followed."""


class _Prompt(Config):
    system: str
    """What the judge is told first."""
    user: str
    """How case, report and criterion are laid before it."""


class _Prompts(Config):
    rubric: _Prompt
    """For one yes/no criterion."""
    dimensions: _Prompt
    """For the ten dimensions."""


@cache
def _prompts() -> _Prompts:
    return load_config(str(files("bench.judges").joinpath("prompts.yaml")), _Prompts)


@cache
def prompts_sha256() -> str:
    """Hash of all words and schemas that a judge is shown."""
    schemas = [Schema(CriterionVerdict).sha256, Schema(DimensionScores).sha256]
    return content_hash([_prompts().model_dump(mode="json"), schemas])


class Asked(Record):
    """One question to a judge: a criterion, or the dimensions where it is empty."""

    key: str
    """The asker's own name for it."""
    report: str
    """The text that is judged."""
    criterion: str = ""
    """The criterion; empty where the dimensions are asked."""
    facts: tuple[CaseFact, ...] = ()
    """For the dimensions those that a report must hold; for a criterion about errors all."""


class Said(Record):
    """What a judge said to one question."""

    met: bool | None = None
    """To a criterion; None where the verdict is missing."""
    dimensions: dict[str, int] = {}
    """To the dimensions; empty where the scores are missing."""
    missing: str = ""
    """Why there is no verdict, by the client's reasons."""


def _filled(template: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(criterion|report|facts)\}", lambda field: values[field[1]], template)


def _request(asked: Asked, decoding: Decoding, egress: Egress) -> ChatRequest:
    # A judge sees the answer, not the thinking before it; a report whose thinking has no end is empty.
    report = json.dumps(escape_placeholder(without_reasoning(asked.report) or ""), ensure_ascii=False)
    prompt = _prompts().rubric if asked.criterion else _prompts().dimensions
    facts = [" ".join(part for part in (fact.text, fact.side or "", fact.grade or "") if part) for fact in asked.facts]
    values = {"criterion": asked.criterion, "report": report, "facts": json.dumps(facts, ensure_ascii=False)}
    return ChatRequest(
        (
            Message(role="system", content=prompt.system),
            Message(role="user", content=_filled(prompt.user, values)),
        ),
        decoding=decoding,
        schema=Schema(CriterionVerdict if asked.criterion else DimensionScores),
        egress=egress,
        tag=asked.key,
    )


def ask_judge(
    questions: Sequence[Asked],
    chat: Chat,
    *,
    decoding: Decoding,
    egress: Egress,
    advance: Callable[[int], None] = lambda number: None,
) -> list[Said]:
    """Ask one judge; one verdict for each question, in order. What its log holds is not asked again.

    Raises:
        ChatError, EgressError, BudgetError: As `Chat.ask`.
    """
    requests: Iterable[ChatRequest] = (_request(one, decoding, egress) for one in questions)
    said = []
    for one, reply in zip(questions, chat.ask(requests, advance), strict=True):
        if isinstance(reply.value, CriterionVerdict) and one.criterion:
            said.append(Said(met=reply.value.met))
        elif isinstance(reply.value, DimensionScores) and not one.criterion:
            said.append(Said(dimensions={name: getattr(reply.value, name) for name in DIMENSIONS}))
        else:
            said.append(Said(missing=reply.reason or "no verdict"))
    return said
