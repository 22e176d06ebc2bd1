"""What a submission declares, and whether its predictions are one whole answer to the samples.

Convention: a submission folder holds `submission.yaml` (:class:`Declaration`) and, named in it, one predictions folder
or bare `predictions.jsonl` for each condition that was run. A system that was trained on a phantom generator says which
families; where the asked samples come from one of these (tag `family:NAME`), the board ranks it apart. `families:
[any]` means all of them.

Trap: a declaration is a statement, not a measurement. The board prints it beside the rank, and overlap of training data
with the questions is for the submitter to search.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from bench.runner.conditions import Questions
from bench.runner.predict import Predictions, read_predictions
from bench.samples import read_samples
from bench.spinebench.score import check_predictions
from spinemed.config import Config, load_config
from spinemed.errors import ConfigError, ReadError, RecordError
from spinemed.records import Sample

__all__ = [
    "SUBMISSION_FILE", "Declaration", "PhantomUse", "Submission", "TrainingSource", "families_of", "read_submission",
    "same_generator", "validate_submission",
]  # fmt: skip

SUBMISSION_FILE = "submission.yaml"
"""Name of the declaration in the folder of a submission."""
ANY = "any"
_SPDX = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) [A-Za-z0-9.+-]+)*|proprietary")


class TrainingSource(Config):
    """One thing that the system learned from."""

    name: str = Field(min_length=1)
    """Data set, corpus or `not disclosed`."""
    kind: Literal["real", "phantom", "text", "synthetic_text", "not_disclosed"]
    """`real`: pictures of patients; `synthetic_text`: written by a model."""
    licence: str = ""
    """SPDX identifier, where there is one."""


class PhantomUse(Config):
    """Whether computed spines were trained on."""

    used: bool
    """Also of another stage, or of the model that it was tuned from, as far as is known."""
    families: tuple[str, ...] = ()
    """Generator families of SpineMed's phantoms that were seen, or `any`."""

    @model_validator(mode="after")
    def _coherent(self) -> PhantomUse:
        if self.used and not self.families:
            raise ValueError("phantoms were used, so families must name the generators, or say [any]")
        if not self.used and self.families:
            raise ValueError("families are named though no phantom was used")
        return self


class Declaration(Config):
    """`submission.yaml`."""

    name: str = Field(min_length=1, max_length=80)
    """The system's name on the board."""
    model: str = Field(min_length=1)
    """As it stands in the predictions."""
    revision: str = Field(min_length=1)
    """Commit, version or date of the weights or the service."""
    organisation: str = Field(min_length=1)
    """Who submits."""
    contact: str = Field(min_length=3)
    """An address for questions; it is not printed on the board."""
    licence: str
    """SPDX identifier of the weights, or `proprietary`."""
    training_data: tuple[TrainingSource, ...] = Field(min_length=1)
    """All of it; one entry may be of the kind `not_disclosed`."""
    phantoms: PhantomUse
    """Use of computed spines."""
    draft_models: tuple[str, ...] = ()
    """Families of models that wrote or revised training text."""
    seen_questions: bool
    """Whether these questions, or rewordings of them, were trained on; such a system is not ranked."""
    predictions: tuple[Path, ...] = Field(min_length=1)
    """Folders or `predictions.jsonl` files, below this folder."""
    notes: str = ""
    """Anything else that a reader of the rank should know."""

    @field_validator("licence")
    @classmethod
    def _spdx(cls, value: str) -> str:
        if not _SPDX.fullmatch(value):
            raise ValueError("must be an SPDX identifier like Apache-2.0, or `proprietary`")
        return value

    @field_validator("predictions")
    @classmethod
    def _inside(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in value:
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{path} leaves the submission folder")
        return value


@dataclass(frozen=True)
class Submission:
    """A submission that was read."""

    folder: Path
    declared: Declaration
    systems: tuple[Predictions, ...]


def read_submission(folder: str | os.PathLike[str]) -> Submission:
    """Read declaration and predictions.

    Raises:
        ReadError: A file is missing or damaged.
        ConfigError: The declaration is wrong; all faults are listed with file, line, field and cure.
        RecordError: A prediction breaks its contract, or is of another model than declared.
    """
    root = Path(folder)
    if not root.is_dir():
        raise ReadError("is no folder", file=root, cure=f"give the folder that holds {SUBMISSION_FILE}")
    declared = load_config(root / SUBMISSION_FILE, Declaration)
    systems = []
    for path in declared.predictions:
        if not (root / path).resolve().is_relative_to(root.resolve()):
            raise ConfigError(
                f"{path} is a link that leaves the submission", file=root / SUBMISSION_FILE, field="predictions",
                cure="put the files themselves into the folder",
            )  # fmt: skip
        found = read_predictions(root / path)
        if found.manifest["model"] != declared.model:
            raise RecordError(
                f"answers of {found.manifest['model']!r}, and {declared.model!r} is declared", file=root / path,
                field="model", cure=f"mend `model` in {SUBMISSION_FILE}, or give the right predictions",
            )  # fmt: skip
        systems.append(found)
    return Submission(root, declared, tuple(systems))


def validate_submission(folder: str | os.PathLike[str], samples: str | os.PathLike[str]) -> dict[str, Any]:
    """Whether a submission can stand on the board of these samples.

    Returns:
        What was found: system, conditions, questions, `apart` (families it shares with the questions), `unrankable`
        (reasons, empty if there are none).

    Raises:
        ReadError, ConfigError, RecordError: As `read_submission`; also a sample without a prediction, or the reverse.
    """
    listed, about = read_samples(samples)
    submission = read_submission(folder)
    conditions = [str(one.manifest["condition"]) for one in submission.systems]
    if len(set(conditions)) < len(conditions):
        raise RecordError(
            f"two files answer under one condition ({', '.join(conditions)})",
            file=submission.folder / SUBMISSION_FILE, field="predictions", cure="give one for each condition",
        )  # fmt: skip
    questions = Questions(listed, samples)
    for system in submission.systems:
        check_predictions([system], questions, about)
    reasons = []
    if "full" not in conditions:
        reasons.append("no predictions under the condition `full`")
    if submission.declared.seen_questions:
        reasons.append("the questions were trained on")
    if about.get("limited"):
        reasons.append("the samples are a part of a benchmark (--limit)")
    return {
        "system": submission.declared.name,
        "model": submission.declared.model,
        "conditions": conditions,
        "questions": len(listed),
        "apart": list(same_generator(submission.declared, families_of(listed))),
        "unrankable": reasons,
    }


def families_of(samples: Iterable[Sample]) -> frozenset[str]:
    """Generator families that the questions come from, by their tags `family:NAME`."""
    return frozenset(
        tag.removeprefix("family:") for sample in samples for tag in sample.tags if tag.startswith("family:")
    )


def same_generator(declared: Declaration, families: Iterable[str]) -> Sequence[str]:
    """The families that the system was trained on and that the questions come from; empty if it ranks with all."""
    asked = sorted(families)
    if not declared.phantoms.used:
        return []
    return asked if ANY in declared.phantoms.families else [one for one in asked if one in declared.phantoms.families]
