"""A case: one spine or one vignette, and the questions that are asked of it.

Convention: a recipe is given a `Case` and asks its questions through `Case.ask`; all its randomness comes from
`Case.rng` and `Case.phantom_seed`, which depend on the set's seed and the case's number alone. So any case can be made
by itself, by any process.

Trap: `Case.ask` writes the wording, never the truth, into the message; what a tag says (`injected:`, `hinted:`,
`side:`) is for scoring and is not sent.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from bench.live.config import LiveConfig
from bench.live.difficulty import Difficulty
from spinemed.anatomy import Level, Spine
from spinemed.marks import png_bytes
from spinemed.questions import QuestionDraft
from spinemed.questions.draft import question_messages
from spinemed.questions.templates import Template, load_templates
from spinemed.records import Sample, content_hash
from spinemed.volume import Volume

__all__ = ["COMPUTED_LICENCE", "SOURCE", "Case", "levels_of", "live_templates", "shared_templates", "spine_tag"]

SOURCE = "spinebench-live"
COMPUTED_LICENCE = "Apache-2.0"
"""Of phantoms, vignettes and wordings: this project's own."""
_TOPIC = 0x11FE
_FOLDER = Path(__file__).with_name("wordings")
Need = Literal["needed", "helpful", "unneeded"]


@cache
def live_templates() -> dict[str, Template]:
    """Wordings of this package."""
    return load_templates(_FOLDER)


@cache
def shared_templates() -> dict[str, Template]:
    """Wordings of `spinemed.questions`."""
    return load_templates()


def spine_tag(spine: Spine) -> str:
    """The tag that states a column."""
    return f"spine:{spine.thoracic}T{spine.lumbar}L"


@dataclass
class Case:
    """One case of a set."""

    config: LiveConfig
    number: int
    recipe: str
    samples: list[Sample] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    """By path below the samples folder."""
    volumes: dict[str, Volume] = field(default_factory=dict)
    """Masks for tools, by path below the samples folder: `volumes/CLUSTER/NAME.nii.gz`."""

    def __post_init__(self) -> None:
        root = np.random.SeedSequence([self.config.seed, _TOPIC, self.number])
        drawn, seeds = root.spawn(2)
        self.rng = np.random.default_rng(drawn)
        self.phantom_seed = int(seeds.generate_state(1, np.uint64)[0] >> 16)
        """48 bits: a set's phantoms are nobody else's."""

    @property
    def name(self) -> str:
        """Unique in the set."""
        return f"live-{self.config.seed}-{self.number:06d}"

    def pick(self, things: Sequence[str]) -> str:
        """One of several, drawn."""
        return things[int(self.rng.integers(len(things)))]

    def coin(self, share: float = 0.5) -> bool:
        """True in a share of draws."""
        return bool(self.rng.random() < share)

    def ask(
        self,
        draft: QuestionDraft,
        *,
        evidence: BaseModel | str,
        difficulty: Difficulty,
        need: Need = "needed",
        pictures: Sequence[NDArray[np.uint8]] = (),
        context: Sequence[str] = (),
        spine: Spine | None = None,
        unit: Literal["", "deg", "mm", "percent"] = "",
        tolerance: float | None = None,
        undecidable: bool = False,
        fact: str = "",
        variant: str = "",
        language: Literal["en", "zh"] = "en",
        cluster: str = "",
        licence: str = COMPUTED_LICENCE,
        origin: Literal["phantom", "real"] = "phantom",
        source: str = SOURCE,
        tags: Sequence[str] = (),
    ) -> Sample:
        """Add one question.

        Args:
            draft: Question and answer.
            evidence: The record that the truth rests on, or the hash of a file.
            difficulty: By the rules of `difficulty`.
            need: Whether the picture is needed.
            pictures: Shown before the question, in order.
            context: Lines before the question: what is known of the patient.
            spine: The patient's column, where levels matter.
            unit: Of a number.
            tolerance: Of a number.
            undecidable: Whether nobody can decide it.
            fact: Id of the fact that several questions share, within the case.
            variant: How this one asks for it.
            language: Of the question.
            cluster: Patient; the case's own phantom unless given.
            licence: SPDX of picture and text.
            origin: Phantom or real.
            source: Source id.
            tags: Further tags.
        """
        paths = []
        for picture in pictures:
            data = png_bytes(picture)
            path = f"images/{hashlib.sha256(data).hexdigest()}.png"
            self.pictures[path] = data
            paths.append(path)
        text = "\n".join([*context, draft.text])
        asked, _ = question_messages(text, draft.options, draft.answer, images=len(paths))
        found = [f"live:{self.recipe}", *draft.tags, *tags]
        if origin == "phantom" and pictures:
            found.append(f"family:{self.config.family}")
            if self.config.family == "a":
                found.append("practice")
        if spine is not None:
            found.append(spine_tag(spine))
        if unit:
            found.append(f"unit:{unit}")
        if undecidable:
            found.append("undecidable")
        sample = Sample(
            id=f"{self.name}-{len(self.samples):02d}",
            axis=draft.axis,
            task=draft.task,
            messages=(asked,),
            images=tuple(paths),
            answer=draft.answer,
            answer_kind=draft.answer_kind,
            options=draft.options,
            categories=draft.categories,
            levels=draft.levels,
            cluster=cluster or self.name,
            origin=origin,
            source_id=source,
            tags=tuple(dict.fromkeys(found)),
            unit=unit,
            tolerance=tolerance,
            licence=licence,
            evidence=(evidence if isinstance(evidence, str) else f"sha256:{content_hash(evidence)}",),
            difficulty=difficulty,
            image_need=need if paths else "unneeded",
            fact=f"{self.name}:{fact}" if fact else "",
            variant=variant,
            language=language,
        )
        self.samples.append(sample)
        return sample


def levels_of(*levels: Level | None) -> tuple[Level, ...]:
    """Those that are known, head to foot."""
    return tuple(sorted({level for level in levels if level is not None}))
