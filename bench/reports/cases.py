"""Report samples from phantoms: facts, question, rubric and a reference report by rule, in English and Chinese.

Convention: the question holds the record of one study in words (findings by code, losses and shares in percent; where a
scheme grades what is listed, the grade itself is left out for fractures and slips, to be derived). Facts are everything
that is visible; `needed` are those a report must hold. The cluster is the phantom; its two languages share it.

Trap: these are computed spines, and the reference is written by rule. It is right in every fact and no model of style.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.folders import whole_folder
from bench.reports.lexicon import SCHEME_NAMES, load_lexicon
from bench.reports.scoring import RUBRIC_SHA256, derive_rubric
from bench.samples import SAMPLES_FILE
from spinemed.config import Config, load_config
from spinemed.records import CaseFact, Message, Sample, content_hash
from spinemed.tables import read_manifest, write_jsonl, write_manifest

__all__ = ["reference_report", "report_samples", "write_reports"]

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
_TOPIC = 0x5E90
_NOT_NEEDED_GRADES = {"disc_degeneration": ("I", "II", "III"), "fracture": ("0",), "canal_stenosis": ("A",)}
_NEVER_NEEDED = frozenset({"osteophyte", "disc_height"})
_DERIVED = frozenset({"fracture", "slip"})
"""Findings whose grade follows from what is listed."""


class _Words(Config):
    ask: str
    study: str
    headings: tuple[str, ...]
    finding: str
    side: str
    sides: dict[str, str]
    grade: str
    healthy: str
    none: str
    advice: str
    risk: str
    after: str
    basis: str


class _Wording(Config):
    en: _Words
    zh: _Words


@cache
def _wording() -> _Wording:
    return load_config(str(files("bench.reports").joinpath("wording.yaml")), _Wording)


def report_samples(*, seed: int = 0, spines: int = 50, family: Literal["a", "b"] = "b") -> list[Sample]:
    """Samples of so many phantom spines, each in both languages.

    Args:
        seed: Of the phantoms.
        spines: How many.
        family: Generator family; `b` is the one that nothing trains on.
    """
    samples = []
    for number in range(spines):
        samples += _of_spine(seed, number, family)
    return sorted(samples, key=lambda sample: sample.id)


def _of_spine(seed: int, number: int, family: Literal["a", "b"]) -> list[Sample]:
    from spinemed.phantom.pathology.config import healthy_config
    from spinemed.phantom.pathology.describe import describe
    from spinemed.phantom.pathology.draw import draw_pathologies
    from spinemed.phantom.spine import SpineConfig, draw_spine

    wrong = healthy_config(
        fracture_share=0.6,
        herniation_share=0.7,
        canal_stenosis_share=0.5,
        foraminal_stenosis_share=0.6,
        slip_share=0.4,
        modic_share=0.3,
        schmorl_share=0.2,
        lesion_share=0.2,
        degeneration=1.0,
    )
    root = int(np.random.SeedSequence([seed, _TOPIC]).generate_state(1, np.uint64)[0] >> 16)
    drawn = draw_spine(root, number, SpineConfig(family=family))
    rng = np.random.default_rng(np.random.SeedSequence([seed, _TOPIC, number]))
    spine = draw_pathologies(drawn, wrong, rng)
    description = describe(spine, modality="MR", sequences=("T1", "T2"))
    lexicon = load_lexicon()
    facts: list[CaseFact] = []
    lines = []
    for finding in description.visible:
        words = lexicon.findings.get(finding.kind)
        if words is None or finding.category == "bulge" or not finding.numbered:
            continue
        grade = finding.grade
        if finding.disc is None and len(finding.levels) != 1:
            continue
        fact = CaseFact(
            id=f"{finding.kind}-{len(facts)}",
            kind="imaging",
            text=f"{finding.disc or finding.levels[0]}: {words.name['en']}.",
            text_zh=f"{finding.disc or finding.levels[0]}：{words.name['zh']}。",
            topic=finding.kind,
            level=None if finding.disc else finding.levels[0],
            disc=finding.disc,
            side=finding.side if words.sided else None,
            grade=f"{SCHEME_NAMES[words.scheme]} {grade}" if grade and words.scheme else None,
            needed=finding.kind not in _NEVER_NEEDED and grade not in _NOT_NEEDED_GRADES.get(finding.kind, ()),
        )
        if any(
            (one.topic, one.level, one.disc, one.side) == (fact.topic, fact.level, fact.disc, fact.side)
            for one in facts
        ):
            continue  # spurs at both edges of one body are one finding of a report
        facts.append(fact)
        told = [str(fact.disc or fact.level), finding.kind, finding.category, fact.side or ""]
        told += [fact.grade or ""] if finding.kind not in _DERIVED else []
        told += [f"{one.name} {one.value:g} {one.unit}" for one in finding.measurements]
        lines.append(" | ".join(part for part in told if part))
    rubric = derive_rubric(facts)
    name = f"report-{seed}-{family}-{number:04d}"
    made = []
    for language in LANGUAGES:
        words_ = getattr(_wording(), language)
        study = words_.study.format(thoracic=description.thoracic, lumbar=description.lumbar)
        made.append(
            Sample(
                id=f"{name}-{language}",
                axis="pathology",
                task="report",
                messages=(Message(role="user", content="\n".join([study, *lines, "", words_.ask])),),
                images=(),
                answer=reference_report(facts, language),
                answer_kind="text",
                levels=tuple(sorted({fact.level for fact in facts if fact.level is not None})),
                cluster=name,
                origin="phantom",
                source_id="phantoms",
                tags=(f"family:{family}", f"spine:{description.thoracic}T{description.lumbar}L"),
                licence="Apache-2.0",
                evidence=(content_hash(spine),),
                fact=name,
                variant="base" if language == "en" else "zh",
                image_need="unneeded",
                language=language,
                facts=tuple(facts),
                rubric=rubric,
            )
        )
    return made


def reference_report(facts: list[CaseFact] | tuple[CaseFact, ...], language: Language) -> str:
    """The six parts by rule: all facts under findings, the needed ones under diagnosis."""
    words, lexicon = getattr(_wording(), language), load_lexicon()

    def told(fact: CaseFact, *, graded: bool) -> str:
        scheme, _, value = (fact.grade or "").rpartition(" ")
        return str(
            words.finding.format(
                place=fact.disc or fact.level,
                name=lexicon.findings[fact.topic].name[language],
                side=words.side.format(side=words.sides[fact.side]) if fact.side else "",
                grade=words.grade.format(scheme=scheme, value=value) if graded and fact.grade else "",
            )
        )

    parts = (
        "\n".join(told(fact, graded=True) for fact in facts) or words.healthy,
        "\n".join(told(fact, graded=False) for fact in facts if fact.needed) or words.none,
        words.advice,
        words.risk,
        words.after,
        words.basis,
    )
    return "\n".join(f"{heading}\n{part}" for heading, part in zip(words.headings, parts, strict=True))


def write_reports(
    out: str | os.PathLike[str], *, seed: int = 0, spines: int = 50, family: Literal["a", "b"] = "b"
) -> dict[str, Any]:
    """Write a samples folder of reports and return its manifest.

    Raises:
        ReadError: `out` holds something else.
    """
    samples = report_samples(seed=seed, spines=spines, family=family)
    made_from = {"release_sha256": content_hash([sample.model_dump(mode="json") for sample in samples])}
    target = Path(out)
    with whole_folder(target, "samples") as partial:
        write_jsonl(partial / SAMPLES_FILE, samples)
        counts = Counter(fact.topic for sample in samples for fact in sample.facts if fact.needed)
        write_manifest(
            partial,
            "samples",
            **made_from,
            seed=seed,
            family=family,
            task="report",
            rubric_sha256=RUBRIC_SHA256,
            samples=len(samples),
            clusters=len({sample.cluster for sample in samples}),
            counts=dict(sorted(counts.items())),
        )
    return read_manifest(target, "samples")
