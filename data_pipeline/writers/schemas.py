"""The closed forms that a language model answers in, one for each task, and the form of a revision.

Convention: every text and list has a largest length, every object is closed; what a form cannot say (that the right
option stands among the options) it checks itself, so that the one repair turn hears of it.

Trap: a citation is a claim. Whether its id was given and its quote stands in the span is for the criteria to find.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from spinemed.chat import Schema
from spinemed.records import Axis

__all__ = [
    "REPORT_PARTS",
    "Citation",
    "Consultation",
    "Edit",
    "Language",
    "MultipleChoice",
    "Open",
    "Report",
    "Revised",
    "TaskName",
    "Verdict",
    "Written",
    "apply_edits",
    "schema_of",
]

Language = Literal["en", "zh"]
"""What is asked and answered in."""
TaskName = Literal["multiple_choice", "open", "consultation", "report"]
"""The tasks that a language model writes."""
Short = Annotated[str, Field(min_length=1, max_length=300)]
Long = Annotated[str, Field(min_length=1, max_length=2000)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Citation(_Closed):
    """One piece of evidence relied on."""

    id: Annotated[str, Field(min_length=1, max_length=200)]
    """As given in the evidence."""
    quote: Annotated[str, Field(max_length=1000)]
    """Of a span: the words relied on, verbatim. Else empty."""


class Written(_Closed):
    """What all tasks share."""

    axis: Axis
    cited: Annotated[list[Citation], Field(min_length=1, max_length=12)]


class MultipleChoice(Written):
    """A question with four options."""

    question: Annotated[str, Field(min_length=1, max_length=600)]
    options: Annotated[list[Short], Field(min_length=3, max_length=5)]
    right: Short

    @model_validator(mode="after")
    def _one_key(self) -> MultipleChoice:
        if self.options.count(self.right) != 1:
            raise ValueError("`right` must stand among `options` exactly once, in the same words")
        return self


class Open(Written):
    """A question and its answer."""

    question: Annotated[str, Field(min_length=1, max_length=600)]
    answer: Long


class Turn(_Closed):
    """One turn of a conversation."""

    speaker: Literal["patient", "physician"]
    text: Annotated[str, Field(min_length=1, max_length=1200)]


class Consultation(Written):
    """A conversation that the patient begins and the physician ends."""

    turns: Annotated[list[Turn], Field(min_length=4, max_length=10)]

    @model_validator(mode="after")
    def _in_turns(self) -> Consultation:
        expected = ["patient", "physician"] * (len(self.turns) // 2)
        if [turn.speaker for turn in self.turns] != expected:
            raise ValueError("the turns must alternate, begin with the patient and end with the physician")
        return self


class Report(Written):
    """A report in six parts; the third has a version for the patient and one for the physician."""

    findings: Long
    diagnosis: Long
    advice_patient: Long
    advice_clinician: Long
    risk_and_prognosis: Long
    after_surgery: Long
    basis: Long


REPORT_PARTS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "1": (("findings",), "Imaging findings", "影像所见"),
    "2": (("diagnosis",), "Suggested diagnosis", "辅助诊断"),
    "3": (("advice_patient", "advice_clinician"), "Treatment advice (patient; physician)", "治疗建议（患者；医生）"),
    "4": (("risk_and_prognosis",), "Risk and prognosis", "风险与预后"),
    "5": (("after_surgery",), "After surgery", "术后管理"),
    "6": (("basis",), "Basis and disclaimer", "诊断依据与声明"),
}
"""Fields and headings (English, Chinese) of the six parts."""


class Edit(_Closed):
    """One field replaced."""

    field: Annotated[str, Field(min_length=1, max_length=60)]
    after: Long
    reason: Short
    criterion: Annotated[str, Field(min_length=1, max_length=60)]
    cited: Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=8)]


class Verdict(_Closed):
    """What the reviser says of one draft."""

    verdict: Literal["accept", "edit", "reject"]
    edits: Annotated[list[Edit], Field(max_length=12)]
    reason: Annotated[str, Field(max_length=600)]

    @model_validator(mode="after")
    def _agrees(self) -> Verdict:
        if (self.verdict == "edit") != bool(self.edits):
            raise ValueError("`edit` comes with edits, `accept` and `reject` with none")
        return self


_FORMS: dict[TaskName, type[Written]] = {
    "multiple_choice": MultipleChoice,
    "open": Open,
    "consultation": Consultation,
    "report": Report,
}
_SCHEMAS: dict[str, Schema] = {}


def schema_of(name: TaskName | Literal["verdict"]) -> Schema:
    """The schema of a task, or of a revision."""
    if name not in _SCHEMAS:
        _SCHEMAS[name] = Schema(Verdict if name == "verdict" else _FORMS[name])
    return _SCHEMAS[name]


class Revised(BaseModel):
    """A draft with edits applied, or what was wrong with them."""

    value: Any = None
    fault: str = ""


def apply_edits(written: Written, edits: list[Edit]) -> Revised:
    """Replace the fields that the edits name.

    An edit that names no text field of the form, or a form that no longer holds, is a fault, not a guess.
    """
    plain = written.model_dump(mode="json")
    for edit in edits:
        *path, last = edit.field.split(".")
        place: Any = plain
        for step in path:
            place = _step(place, step)
        if not isinstance(_step(place, last), str) or edit.field == "axis":
            return Revised(fault=f"an edit names '{edit.field}', which is no text of this form")
        place[int(last) if isinstance(place, list) else last] = edit.after
    try:
        return Revised(value=type(written).model_validate(plain))
    except ValidationError as error:
        return Revised(fault=error.errors(include_input=False)[0]["msg"])


def _step(place: Any, name: str) -> Any:
    if isinstance(place, dict):
        return place.get(name)
    if isinstance(place, list) and name.isascii() and name.isdigit() and int(name) < len(place):
        return place[int(name)]
    return None
