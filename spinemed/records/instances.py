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
    """What kind of record it is."""
    id: str
    """Id of that record in the corpus."""
    sha256: Sha256
    """Hash of the span text, the picture, the study record or the document file."""
    quote: str = ""
    """The words relied on, verbatim, for spans."""


class Writer(Record):
    """Who wrote a version: a rule set or a language model, to the byte."""

    name: str
    """Name of the rule set or of the writing stage."""
    version: str
    """Its version; another version gives another hash."""
    prompt_sha256: Sha256
    """Hash of the template or prompt file."""
    request_sha256: Sha256
    """Hash of everything that went in: template, evidence, parameters."""
    model: str = "rules"
    """The language model that wrote, or `rules`."""


class CriterionResult(Record):
    """One written criterion applied to one version."""

    criterion: str
    """Name of the criterion."""
    passed: bool
    """Whether the version meets it."""
    note: str = ""
    """Why it does not, in words."""


class Instance(Record):
    """One question with its answer and evidence. A revised instance names the draft it came from."""

    id: str
    """Unique in the run."""
    stage: Literal["draft", "revised"]
    """First writing, or the version after the criteria were applied."""
    parent_id: str | None = None
    """The draft's id, for a revised version."""
    source_id: str
    """Source of its evidence, as named in the sources file."""
    group_id: str
    """Patient, phantom or document group; what shares it never crosses a split."""
    origin: Origin
    """Whether its picture or text is a patient's (`real`) or computed (`phantom`)."""
    axis: Axis
    """What it is about: level identification, pathology or surgical planning."""
    task: Task
    """Form in which it is asked."""
    language: Literal["en", "zh"] = "en"
    """Of question and answer."""
    messages: tuple[Message, ...]
    """System and user turns, then the assistant's answer as the last turn."""
    image_sha256: tuple[Sha256, ...] = ()
    """Pictures in the order of their placeholders."""
    answer: str
    """Canonical: `L3`, `L4/5`, `T12-L2`, `wedge`, `B`, or the text itself. Equals the last turn."""
    answer_kind: AnswerKind
    """How an answer is read and compared."""
    options: tuple[Option, ...] = ()
    """Choices of a multiple-choice item, in the order shown."""
    categories: tuple[str, ...] = ()
    """The closed set for `answer_kind: category`."""
    levels: tuple[Level, ...] = ()
    """Levels that the question or answer is about."""
    evidence: tuple[Evidence, ...]
    """Everything that the answer rests on."""
    writer: Writer
    """Who wrote this version."""
    criteria: tuple[CriterionResult, ...] = ()
    """Result of each written criterion on this version."""
    changes: tuple[str, ...] = ()
    """For a revised version: what was changed and which criterion asked for it."""
    tags: tuple[str, ...] = ()
    """Free marks, such as `solvable:text`."""

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
    """The PNG file."""
    path: str
    """File name made of the hash: `<sha256>.png`."""


class ReleaseRow(Record):
    """One released instance: what trainers read."""

    id: str
    """The instance's id."""
    split: Split
    """Train, validation or test; whole connected components stand in one."""
    messages: tuple[Message, ...]
    """System and user turns, then the assistant's answer as the last turn."""
    images: tuple[PackedImage, ...]
    """Pictures in the order of their placeholders."""
    axis: Axis
    """What it is about: level identification, pathology or surgical planning."""
    task: Task
    """Form in which it is asked."""
    language: Literal["en", "zh"]
    """Of question and answer."""
    answer: str
    """Canonical answer; equals the last turn."""
    answer_kind: AnswerKind
    """How an answer is read and compared."""
    options: tuple[Option, ...]
    """Choices of a multiple-choice item, in the order shown."""
    categories: tuple[str, ...]
    """The closed set of answers for `answer_kind: category`."""
    levels: tuple[Level, ...]
    """Vertebrae that the question or answer is about."""
    origin: Origin
    """Whether its picture or text is a patient's (`real`) or computed (`phantom`)."""
    source_id: str
    """Source of its evidence, as named in the sources file."""
    group_id: str
    """Patient, phantom or document group; what shares it never crosses a split."""
    licence: str
    """SPDX identifier of the picture and text."""
    attribution: str
    """Credit line that must travel with the row."""
    evidence_ids: tuple[str, ...]
    """Ids of what the answer rests on; `spinemed data trace` follows them to bytes."""
    instance_sha256: Sha256
    """Hash of the revised instance record."""
    tags: tuple[str, ...]
    """Free marks, such as `solvable:text`."""

    @model_validator(mode="after")
    def _coherent(self) -> ReleaseRow:
        check_placeholders(self.messages, len(self.images))
        check_answer(self.answer_kind, self.answer, self.options, self.categories)
        check_last_turn(self.messages, self.answer)
        return self
