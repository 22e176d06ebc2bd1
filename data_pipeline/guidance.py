"""What reviewers want the next revision to be told: other sentences for criteria, other words in a reviser's prompt.

Convention: `spinemed review export` writes `guidance.yaml`, the config of a run names it. A criterion keeps its
id and its check; a prompt keeps its heading and its `# user` part with the data, and gets another `# system` part.

Trap: only a model reads sentences. A run whose writer is the rules refuses guidance instead of ignoring it. `PROV` and
datasheet name the bundled prompt; the exchanges and the revised folder's manifest hold the hashes of what was sent.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from data_pipeline.criteria.apply import Criterion, load_criteria
from data_pipeline.writers.prompts import Prompt, load_prompts
from spinemed.config import load_config
from spinemed.errors import ConfigError
from spinemed.records import content_hash

__all__ = ["Guidance", "read_guidance"]


class Guidance(BaseModel):
    """Changed sentences and prompts; empty: nothing is changed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    criteria: dict[str, str] = Field(default_factory=dict)
    """Sentence by the id of the criterion."""
    prompts: dict[str, str] = Field(default_factory=dict)
    """System part by the name of the prompt file, e.g. `revise_report.en`."""

    def criterion(self, given: Criterion) -> Criterion:
        """The criterion with the sentence that reviewers gave it."""
        sentence = self.criteria.get(given.id)
        return given if sentence is None else given.model_copy(update={"sentence": sentence})

    def prompt(self, given: Prompt) -> Prompt:
        """The prompt with the system part that reviewers gave it, and a hash of its own."""
        heading = given.heading
        system = self.prompts.get(f"{heading.stage}_{heading.task}.{heading.language}")
        if system is None:
            return given
        return dataclasses.replace(given, system=system, sha256=content_hash([given.sha256, system]))

    def told(self) -> dict[str, Any]:
        """For the manifest: what was changed, and the hash of all of it."""
        return {"sha256": content_hash(self), "criteria": sorted(self.criteria), "prompts": sorted(self.prompts)}


def read_guidance(path: Path | None) -> Guidance:
    """Read a guidance file; without one nothing is changed.

    Raises:
        ReadError: There is no such file.
        ConfigError: It is no guidance, or names a criterion or prompt that does not exist.
    """
    if path is None:
        return Guidance()
    found = load_config(path, Guidance)
    criteria = set(load_criteria())
    prompts = {f"{stage}_{task}.{language}" for stage, task, language in load_prompts() if stage == "revise"}
    for part, names, known in (("criteria", found.criteria, criteria), ("prompts", found.prompts, prompts)):
        unknown = sorted(set(names) - known)
        if unknown:
            raise ConfigError(
                f"'{unknown[0]}' does not exist", file=path, field=part, cure=f"use {', '.join(sorted(known))}"
            )
    return found
