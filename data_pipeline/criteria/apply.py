"""Written criteria applied to instances: every rule is a sentence in `criteria/*.yaml` and a deterministic check.

Convention: a check answers None where it does not apply, an empty text where it holds, and a note where it fails. The
sentences are the contract with clinicians; the functions in `checks.py` are how a machine holds it.

Trap: a criterion in YAML without a check of its name is an error at load time, so no rule is written and never applied.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from data_pipeline.criteria.checks import CHECKS, letters_balanced
from data_pipeline.criteria.lookup import Lookup
from data_pipeline.items import Item
from spinemed.errors import ConfigError
from spinemed.records import CriterionResult

__all__ = ["Criterion", "LetterShares", "criteria_sha256", "letter_shares", "load_criteria", "verify"]

_FOLDER = Path(__file__).parent


class Criterion(BaseModel):
    """One written rule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """Unique among the criteria."""
    sentence: str
    """The rule, in one sentence."""
    check: str
    """Name of the check that applies it."""
    on_failure: Literal["revise", "drop"]
    """Whether a row that fails is mended or dropped."""
    note: str = ""
    """What the reviser adds, for rules that ask for a sentence."""


def load_criteria(folder: Path = _FOLDER, *, whole_set: bool = False) -> dict[str, Criterion]:
    """All criteria of a folder by id: those for single instances, or with `whole_set` those for the set.

    Raises:
        ConfigError: A file is no list of criteria, an id stands twice, or a check does not exist.
    """
    found: dict[str, Criterion] = {}
    for file in sorted(folder.glob("*.yaml")):
        if (file.stem == "set") is not whole_set:
            continue
        try:
            entries = [Criterion.model_validate(entry) for entry in yaml.safe_load(file.read_text(encoding="utf-8"))]
        except (yaml.YAMLError, ValidationError, TypeError) as error:
            first = str(error).splitlines()[0]
            raise ConfigError(f"is no list of criteria ({first})", file=file, cure="see the other files") from error
        for entry in entries:
            if entry.id in found or (entry.check not in CHECKS and not whole_set):
                raise ConfigError(
                    f"criterion '{entry.id}' stands twice or names the unknown check '{entry.check}'",
                    file=file,
                    field=entry.id,
                    cure=f"use one of {', '.join(CHECKS)}",
                )
            found[entry.id] = entry
    return found


def criteria_sha256(folder: Path = _FOLDER) -> str:
    """Hash of all criteria files together."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.yaml")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def verify(item: Item, lookup: Lookup, criteria: dict[str, Criterion]) -> tuple[CriterionResult, ...]:
    """The result of every criterion that applies to an item, in the order of the criteria."""
    results = []
    for criterion in criteria.values():
        note = CHECKS[criterion.check](item, lookup)
        if note is not None:
            results.append(CriterionResult(criterion=criterion.id, passed=not note, note=note))
    return tuple(results)


@dataclass(frozen=True)
class LetterShares:
    """Where the right answers stand, by number of options."""

    counts: dict[int, dict[str, int]]

    @property
    def balanced(self) -> bool:
        """Whether no letter holds more than its share by more than one answer."""
        return all(letters_balanced(letters) for letters in self.counts.values())


def letter_shares(items: list[Item]) -> LetterShares:
    """Count the letters of the right answers over a set."""
    counts: dict[int, dict[str, int]] = {}
    for item in items:
        instance = item.instance
        if instance.answer_kind == "option":
            letters = counts.setdefault(len(instance.options), {option.key: 0 for option in instance.options})
            letters[instance.answer] += 1
    return LetterShares({number: counts[number] for number in sorted(counts)})
