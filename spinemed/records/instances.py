"""Instances and the release: one question with its answer and evidence, as written and as trainers read it."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from spinemed.anatomy import Level
from spinemed.records.answers import Message, Option, check_answer, check_last_turn, check_placeholders
from spinemed.records.base import AnswerKind, Axis, Origin, Record, Sha256, Split, Task

__all__ = ["CriterionResult", "Evidence", "Instance", "PackedImage", "ReleaseRow", "Writer"]


class Evidence(Record):
    """What an answer rests on. Following `id` and `sha256` leads to bytes."""

    kind: Literal["span", "figure", "study", "document"]
    id: str
    sha256: Sha256
    """Hash of the span text, the picture, the study record or the document file."""
    quote: str = ""
    """The words relied on, verbatim, for spans."""


class Writer(Record):
    """Who wrote a version: a rule set or a language model, to the byte."""

    name: str
    version: str
    prompt_sha256: Sha256
    """Hash of the template or prompt file."""
    request_sha256: Sha256
    """Hash of everything that went in: template, evidence, parameters."""
    model: str = "rules"


class CriterionResult(Record):
    """One written criterion applied to one version."""

    criterion: str
    passed: bool
    note: str = ""


class Instance(Record):
    """One question with its answer and evidence. A revised instance names the draft it came from."""

    id: str
    stage: Literal["draft", "revised"]
    parent_id: str | None = None
    """The draft's id, for a revised version."""
    source_id: str
    group_id: str
    origin: Origin
    axis: Axis
    task: Task
    language: Literal["en", "zh"] = "en"
    messages: tuple[Message, ...]
    """System and user turns, then the assistant's answer as the last turn."""
    image_sha256: tuple[Sha256, ...] = ()
    """Pictures in the order of their placeholders."""
    answer: str
    """Canonical: `L3`, `L4/5`, `T12-L2`, `wedge`, `B`, or the text itself. Equals the last turn."""
    answer_kind: AnswerKind
    options: tuple[Option, ...] = ()
    categories: tuple[str, ...] = ()
    """The closed set for `answer_kind: category`."""
    levels: tuple[Level, ...] = ()
    """Levels that the question or answer is about."""
    evidence: tuple[Evidence, ...]
    writer: Writer
    criteria: tuple[CriterionResult, ...] = ()
    """Result of each written criterion on this version."""
    changes: tuple[str, ...] = ()
    """For a revised version: what was changed and which criterion asked for it."""
    tags: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _coherent(self) -> Instance:
        check_placeholders(self.messages, len(self.image_sha256))
        if self.stage == "revised" and self.parent_id is None:
            raise ValueError("a revised instance needs parent_id")
        check_answer(self.answer_kind, self.answer, self.options, self.categories)
        check_last_turn(self.messages, self.answer)
        return self


class PackedImage(Record):
    """A picture in a release row, in the layout that `datasets` decodes as an Image."""

    bytes: bytes
    path: str
    """File name made of the hash: `<sha256>.png`."""


class ReleaseRow(Record):
    """One released instance: what trainers read."""

    id: str
    split: Split
    messages: tuple[Message, ...]
    images: tuple[PackedImage, ...]
    axis: Axis
    task: Task
    language: Literal["en", "zh"]
    answer: str
    answer_kind: AnswerKind
    options: tuple[Option, ...]
    categories: tuple[str, ...]
    levels: tuple[Level, ...]
    origin: Origin
    source_id: str
    group_id: str
    licence: str
    attribution: str
    evidence_ids: tuple[str, ...]
    instance_sha256: Sha256
    """Hash of the revised instance record."""
    tags: tuple[str, ...]

    @model_validator(mode="after")
    def _coherent(self) -> ReleaseRow:
        check_placeholders(self.messages, len(self.images))
        check_answer(self.answer_kind, self.answer, self.options, self.categories)
        check_last_turn(self.messages, self.answer)
        return self
