"""Consultations as samples, drawn from the templates of `cases.yaml` with a seed, each in English and in Chinese.

Convention: a case's facts are what the template states, a truthful "no" for every screening topic that it leaves open,
and one fact of kind `urgency` for each urgency that its source accepts (`grade` names it). The cluster is the template:
its draws and both languages are one story.

Trap: cases are made up. Nobody's history stands behind them, and no clinician has signed them; urgencies rest on the
source that each sample names in `evidence`.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from bench.consultation.rules import URGENCIES, Rules, Urgency, load_rules
from bench.folders import whole_folder
from bench.samples import SAMPLES_FILE
from spinemed.config import Config, load_config
from spinemed.records import CaseFact, Message, Sample, content_hash
from spinemed.statistics import generator_for
from spinemed.tables import read_manifest, write_jsonl, write_manifest

__all__ = ["LANGUAGES", "consultation_samples", "write_consultations"]

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_HIDDEN_SHARE = 0.7
_NOT_NEEDED = frozenset({"age", "medication"})


class _Fact(Config):
    topic: str
    """What a physician has to ask for, one of the topics of `rules.yaml`."""
    en: str
    """What the patient says, in English; fields in braces are drawn."""
    zh: str
    """The same in Chinese."""
    flag: bool = False
    """Whether it is the red flag of the case."""
    side: str = ""
    """The side that it tells, as a field to be drawn."""


class _Template(Config):
    id: str
    """Unique among the templates."""
    flag: str
    """Red flag of the case; empty for a decoy."""
    urgency: tuple[Urgency, ...] = Field(min_length=1)
    """Urgencies that count as right; several where sources leave a range."""
    source: str
    """Where the urgency is published, and how far that was read."""
    complaint: dict[Language, str]
    """What the patient says first, by language."""
    facts: tuple[_Fact, ...]
    """What the patient tells when asked."""


class _Cases(Config):
    draws: dict[str, list[int] | list[str]]
    """Values that a field in braces may take."""
    words: dict[str, dict[str, str]]
    """The same values in Chinese, by field."""
    templates: tuple[_Template, ...]
    """The cases."""


@cache
def _cases() -> _Cases:
    return load_config(str(files("bench.consultation").joinpath("cases.yaml")), _Cases)


def consultation_samples(*, seed: int = 0, draws: int = 2) -> list[Sample]:
    """All templates, each drawn several times, each draw in both languages.

    Args:
        seed: Of what is drawn: durations, ages, sides, what is hidden.
        draws: Cases of one template.
    """
    rules = load_rules()
    samples = []
    for template in _cases().templates:
        for number in range(draws):
            rng = generator_for(seed, "consultation", template.id, str(number))
            drawn = {name: values[int(rng.integers(len(values)))] for name, values in _cases().draws.items()}
            facts = _facts(template, drawn, rng, rules)
            samples += [_sample(template, number, language, drawn, facts, rules) for language in LANGUAGES]
    return sorted(samples, key=lambda sample: sample.id)


def _filled(text: str, drawn: dict[str, Any], language: Language) -> str:
    words = _cases().words
    told = {name: words[name][value] if language == "zh" and name in words else value for name, value in drawn.items()}
    return text.format(**told)


def _facts(template: _Template, drawn: dict[str, Any], rng: np.random.Generator, rules: Rules) -> tuple[CaseFact, ...]:
    facts = []
    for number, fact in enumerate(template.facts):
        facts.append(
            CaseFact(
                id=f"{fact.topic}-{number}",
                kind="red_flag" if fact.flag else "complaint",
                text=_filled(fact.en, drawn, "en"),
                text_zh=_filled(fact.zh, drawn, "zh"),
                topic=fact.topic,
                side=_filled(fact.side, drawn, "en") or None,  # type: ignore[arg-type]
                needed=fact.flag or fact.topic not in _NOT_NEEDED,
                hidden=bool(fact.flag and rng.random() < _HIDDEN_SHARE),
            )
        )
    told = {fact.topic for fact in template.facts}
    for name, topic in rules.topics.items():
        if topic.screen and name not in told:
            no = topic.absent
            facts.append(
                CaseFact(id=f"{name}-no", kind="history", text=no["en"], text_zh=no["zh"], topic=name, needed=True)
            )
    for urgency in template.urgency:
        facts.append(CaseFact(id=f"urgency-{urgency}", kind="urgency", text=template.source, grade=urgency))
    return tuple(facts)


def _sample(
    template: _Template,
    number: int,
    language: Language,
    drawn: dict[str, Any],
    facts: tuple[CaseFact, ...],
    rules: Rules,
) -> Sample:
    case = f"{template.id}-{number}"
    return Sample(
        id=f"consult-{case}-{language}",
        axis="surgical_planning",
        task="consultation",
        messages=(
            Message(role="system", content=rules.system[language]),
            Message(role="user", content=_filled(template.complaint[language], drawn, language)),
        ),
        images=(),
        answer=template.urgency[0],
        answer_kind="category",
        categories=URGENCIES,
        cluster=template.id,
        origin="phantom",
        source_id="consultation-rules",
        tags=(f"flag:{template.flag or 'none'}", "made-up"),
        licence="Apache-2.0",
        evidence=(template.source,),
        fact=case,
        variant="base" if language == "en" else "zh",
        language=language,
        facts=facts,
    )


def write_consultations(out: str | os.PathLike[str], *, seed: int = 0, draws: int = 2) -> dict[str, Any]:
    """Write a samples folder of consultations and return its manifest.

    Raises:
        ReadError: `out` holds something else.
    """
    samples = consultation_samples(seed=seed, draws=draws)
    made_from = {
        "release_sha256": content_hash([sample.model_dump(mode="json") for sample in samples]),
        "seed": seed,
        "draws": draws,
        "rules_sha256": load_rules().sha256,
    }
    target = Path(out)
    with whole_folder(target, "samples") as partial:
        write_jsonl(partial / SAMPLES_FILE, samples)
        counts = Counter(f"{sample.tags[0]}/{sample.language}/{sample.answer}" for sample in samples)
        write_manifest(
            partial,
            "samples",
            **made_from,
            task="consultation",
            samples=len(samples),
            clusters=len({sample.cluster for sample in samples}),
            counts=dict(sorted(counts.items())),
        )
    return read_manifest(target, "samples")
