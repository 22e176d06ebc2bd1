"""The file that a reader study is made from, and the control that is doctored for it.

Convention: one line of `study.jsonl` is one case: a question, its pictures (paths beside the file), and outputs, each
with the system that wrote it, its arm (`model`, `reference`, `doctored`) and, if doctored, the errors planted in it.

Trap: a doctored control must be wrong in one thing and a match for the reference in all others; a control that reads
worse is found by its style and measures nothing.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from spinemed.anatomy import Level, Mention, find_levels
from spinemed.errors import RecordError
from spinemed.records import SPINE_ERRORS, Prediction, Record, Sample
from spinemed.statistics import generator_for
from spinemed.tables import read_jsonl

__all__ = ["StudyCase", "StudyOutput", "doctor_text", "plan_cases", "read_cases"]

_SIDES = {"left": "right", "right": "left", "Left": "Right", "Right": "Left", "左": "右", "右": "左"}
_SIDE = re.compile(r"\b(left|right|Left|Right)\b|[左右]")


class StudyOutput(Record):
    """One text to be read."""

    text: str = Field(min_length=1, max_length=40_000)
    """What is read."""
    system: str = Field(min_length=1, max_length=200)
    """Who wrote it; hidden from readers."""
    arm: Literal["model", "reference", "doctored"] = "model"
    """A model's output, a reference, or a control with a planted error."""
    planted: tuple[str, ...] = ()
    """Kinds of `SPINE_ERRORS`; of a doctored control and of no other."""

    @model_validator(mode="after")
    def _planted_where_doctored(self) -> StudyOutput:
        if (self.arm == "doctored") != bool(self.planted):
            raise ValueError("a doctored output, and no other, names its planted errors")
        unknown = sorted(set(self.planted) - set(SPINE_ERRORS))
        if unknown:
            raise ValueError(f"unknown kinds {unknown}; known are {list(SPINE_ERRORS)}")
        return self


class StudyCase(Record):
    """One question with the outputs to be read for it."""

    case_id: str = Field(min_length=1, max_length=200)
    """Unique in the study."""
    question: str = Field(min_length=1, max_length=40_000)
    """What was asked."""
    images: tuple[str, ...] = ()
    """Paths relative to the folder of the file."""
    outputs: tuple[StudyOutput, ...] = Field(min_length=1)
    """Texts to be read for it."""

    @model_validator(mode="after")
    def _texts_differ(self) -> StudyCase:
        if len({output.text for output in self.outputs}) != len(self.outputs):
            raise ValueError("two outputs of a case are the same text: a reader would judge it twice")
        return self


def read_cases(file: str | os.PathLike[str]) -> list[StudyCase]:
    """Read a study's cases.

    Raises:
        RecordError: A line breaks the contract, there is none, or a case stands twice.
    """
    cases = list(read_jsonl(Path(file), StudyCase))
    if not cases:
        raise RecordError("holds no case", file=file, cure="write one case per line")
    seen: set[str] = set()
    for number, case in enumerate(cases, start=1):
        if case.case_id in seen:
            raise RecordError(f"'{case.case_id}' stands twice", file=file, line=number, field="case_id")
        seen.add(case.case_id)
    return cases


def doctor_text(text: str, rng: np.random.Generator) -> tuple[str, str] | None:
    """Plant one error: the other side, or the neighbouring vertebra, everywhere in the text.

    Discs (`L4/5`) and ranges stay as they are. A text that names both sides, or no side and no single vertebra, cannot
    be doctored this way.

    Args:
        text: The reference.
        rng: Chooses among what is possible.

    Returns:
        The text and the kind of `SPINE_ERRORS` (`wrong_side`, `wrong_level`), or None.
    """
    choices: list[tuple[str, str]] = []
    sides = {_SIDES[found.group()] for found in _SIDE.finditer(text)}
    if sides and len({side.lower() for side in sides}) == 1:
        choices.append((_SIDE.sub(lambda found: _SIDES[found.group()], text), "wrong_side"))
    vertebrae: dict[Level, list[Mention]] = defaultdict(list)
    for mention in find_levels(text):
        if isinstance(mention.reading, Level) and mention.text == str(mention.reading):
            vertebrae[mention.reading].append(mention)
    if vertebrae:
        wrong = sorted(vertebrae)[int(rng.integers(len(vertebrae)))]
        column = [level for level in Level if level not in (Level.T13, Level.L6)]
        beside = [
            level
            for level in column
            if level not in vertebrae and wrong in column and abs(column.index(level) - column.index(wrong)) == 1
        ]
        if beside:
            other = str(beside[int(rng.integers(len(beside)))])
            moved = text
            for mention in reversed(vertebrae[wrong]):
                moved = moved[: mention.start] + other + moved[mention.end :]
            choices.append((moved, "wrong_level"))
    return choices[int(rng.integers(len(choices)))] if choices else None


def plan_cases(
    samples: Iterable[Sample], predictions: Iterable[Prediction], *, seed: int, systems: Sequence[str] = ()
) -> tuple[list[StudyCase], dict[str, int]]:
    """Cases from a benchmark's samples and what systems answered, each with its reference and a doctored control.

    Args:
        samples: Reports and open questions; others are left out and counted.
        predictions: Of any systems; those under a control condition are passed over.
        seed: Of the doctoring.
        systems: Which to take; all by default.

    Returns:
        Cases in the order of the samples, and how many were left out by reason: `closed question`, `no prediction`,
        `nothing to doctor`.
    """
    said: dict[str, dict[str, str]] = {}
    for one in predictions:
        name = one.model
        if one.text and one.condition == "full" and (not systems or name in systems):
            said.setdefault(one.sample_id, {}).setdefault(name, one.text)
    left_out = {"closed question": 0, "no prediction": 0, "nothing to doctor": 0}
    cases = []
    for sample in samples:
        if sample.answer_kind != "text":
            left_out["closed question"] += 1
            continue
        answers = said.get(sample.id, {})
        if not answers:
            left_out["no prediction"] += 1
            continue
        doctored = doctor_text(sample.answer, generator_for(seed, "doctor", sample.id))
        if doctored is None:
            left_out["nothing to doctor"] += 1
            continue
        outputs = [
            StudyOutput(text=sample.answer, system="reference", arm="reference"),
            StudyOutput(text=doctored[0], system="reference, doctored", arm="doctored", planted=(doctored[1],)),
        ]
        seen = {output.text for output in outputs}
        for name, text in sorted(answers.items()):
            if text not in seen:
                outputs.append(StudyOutput(text=text, system=name))
                seen.add(text)
        question = "\n\n".join(message.content for message in sample.messages if message.role == "user")
        cases.append(StudyCase(case_id=sample.id, question=question, images=sample.images, outputs=tuple(outputs)))
    return cases, {why: number for why, number in left_out.items() if number}
