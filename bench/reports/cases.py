"""Report samples from phantoms: facts, question, rubric and a reference report by rule, in English and Chinese.

Convention: the question holds either the record of one study in words (findings by code, losses and shares in percent;
the grade of fractures and slips is left out, to be derived) or two midsagittal MR slices, T2 and T1. Facts are all that
the study shows; `needed` are those a report must hold. The cluster is the phantom; its two languages share it.

Trap: these are computed spines, and the reference is written by rule. It is right in every fact and no model of style.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.folders import whole_folder
from bench.reports.lexicon import SCHEME_NAMES, load_lexicon
from bench.reports.scoring import RUBRIC_SHA256, derive_rubric
from bench.samples import SAMPLES_FILE
from spinemed.config import Config, load_config
from spinemed.records import IMAGE_PLACEHOLDER, CaseFact, Message, Sample, content_hash
from spinemed.tables import read_manifest, write_bytes, write_jsonl, write_manifest

if TYPE_CHECKING:
    from spinemed.phantom.pathology.findings import SpineDescription
    from spinemed.phantom.spine.records import SpinePhantom

__all__ = ["reference_report", "report_samples", "write_reports"]

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = ("en", "zh")
Form = Literal["record", "pictures"]
_TOPIC = 0x5E90
_PIXEL_MM = 0.8
_MIDLINE = frozenset({"fracture", "slip", "disc_degeneration", "disc_height", "canal_stenosis", "modic", "herniation"})
"""What a midsagittal slice shows; of herniations the central ones."""
_NOT_NEEDED_GRADES = {"disc_degeneration": ("I", "II", "III"), "fracture": ("0",), "canal_stenosis": ("A",)}
_NEVER_NEEDED = frozenset({"osteophyte", "disc_height"})
_DERIVED = frozenset({"fracture", "slip"})
"""Findings whose grade follows from what is listed."""


class _Words(Config):
    ask: str
    """The request for a report."""
    study: str
    """How a study is introduced."""
    pictures: str
    """How pictures are introduced."""
    headings: tuple[str, ...]
    """Headings of the six parts."""
    finding: str
    """How one finding is worded in the record that is shown."""
    side: str
    """How its side is added."""
    sides: dict[str, str]
    """Names of the sides."""
    grade: str
    """How its grade is added."""
    healthy: str
    """What is said of a spine without a finding."""
    none: str
    """What is said in the part on diagnosis where there is none."""
    advice: str
    """Text of the part on treatment in the reference."""
    risk: str
    """Text of the part on risk and prognosis in the reference."""
    after: str
    """Text of the part on care after surgery in the reference."""
    basis: str
    """Text of the part on basis and disclaimer in the reference."""


class _Wording(Config):
    en: _Words
    """English."""
    zh: _Words
    """Chinese."""


@cache
def _wording() -> _Wording:
    return load_config(str(files("bench.reports").joinpath("wording.yaml")), _Wording)


def report_samples(
    *, seed: int = 0, spines: int = 50, family: Literal["a", "b"] = "b", form: Form = "record"
) -> list[Sample]:
    """Samples of so many phantom spines, each in both languages.

    Args:
        seed: Of the phantoms.
        spines: How many.
        family: Generator family; `b` is the one that nothing trains on.
        form: The study's record in words, or two midsagittal MR slices.
    """
    return [sample for sample, _ in _made(seed, spines, family, form)]


def _made(seed: int, spines: int, family: Literal["a", "b"], form: Form) -> list[tuple[Sample, dict[str, bytes]]]:
    """Samples by id, each with its pictures by path."""
    made = [one for number in range(spines) for one in _of_spine(seed, number, family, form)]
    return sorted(made, key=lambda one: one[0].id)


def _of_spine(seed: int, number: int, family: Literal["a", "b"], form: Form) -> list[tuple[Sample, dict[str, bytes]]]:
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
    # A midsagittal slice shows a straight column; a curve would leave it.
    config = SpineConfig(family=family) if form == "record" else SpineConfig(family=family, scoliosis_share=0.0)
    drawn = draw_spine(root, number, config)
    rng = np.random.default_rng(np.random.SeedSequence([seed, _TOPIC, number]))
    spine = draw_pathologies(drawn, wrong, rng)
    pictures: list[bytes] = []
    if form == "record":
        description = describe(spine, modality="MR", sequences=("T1", "T2"))
    else:
        description, pictures = _pictures(spine)
    facts, lines = _facts(description, form)
    rubric = derive_rubric(facts)
    name = f"report-{seed}-{family}-{'p' if pictures else ''}{number:04d}"
    paths = tuple(f"images/{hashlib.sha256(data).hexdigest()}.png" for data in pictures)
    made = []
    for language in LANGUAGES:
        words: _Words = getattr(_wording(), language)
        study = words.study if form == "record" else words.pictures
        told = study.format(thoracic=description.thoracic, lumbar=description.lumbar)
        asked = "\n".join([*[IMAGE_PLACEHOLDER] * len(pictures), told, *lines, "", words.ask])
        sample = Sample(
            id=f"{name}-{language}",
            axis="pathology",
            task="report",
            messages=(Message(role="user", content=asked),),
            images=paths,
            answer=reference_report([fact for fact in facts if not fact.hidden], language),
            answer_kind="text",
            levels=tuple(sorted({fact.level for fact in facts if fact.level is not None})),
            cluster=name,
            origin="phantom",
            source_id="phantoms",
            tags=(f"family:{family}", f"spine:{description.thoracic}T{description.lumbar}L", f"form:{form}"),
            licence="Apache-2.0",
            evidence=(content_hash(spine),),
            fact=name,
            variant="base" if language == "en" else "zh",
            image_need="needed" if pictures else "unneeded",
            language=language,
            facts=facts,
            rubric=rubric,
        )
        made.append((sample, dict(zip(paths, pictures, strict=True))))
    return made


def _pictures(spine: SpinePhantom) -> tuple[SpineDescription, list[bytes]]:
    """The lumbar column as T2 and T1 midsagittal slices, and what they show."""
    from bench.live.solid import Solid
    from spinemed.marks import png_bytes

    solid = Solid(spine, _PIXEL_MM, _PIXEL_MM)
    shown = solid.mr("T2"), solid.mr("T1")
    return shown[0].description, [png_bytes(view.picture) for view in shown]


def _facts(description: SpineDescription, form: Form) -> tuple[tuple[CaseFact, ...], list[str]]:
    """Facts of a study, and the lines of its record; none for pictures.

    What lies beside the plane of a midsagittal slice is `hidden`: it is true, so stating it invents nothing, but no
    report needs it.
    """
    lexicon = load_lexicon()
    facts: list[CaseFact] = []
    lines: list[str] = []
    for finding in description.visible:
        words = lexicon.findings.get(finding.kind)
        if words is None or finding.category == "bulge" or not finding.numbered:
            continue
        if finding.disc is None and len(finding.levels) != 1:
            continue
        grade = finding.grade
        beside = form == "pictures" and (finding.kind not in _MIDLINE or finding.zone not in (None, "central"))
        needed = finding.kind not in _NEVER_NEEDED and grade not in _NOT_NEEDED_GRADES.get(finding.kind, ())
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
            needed=needed and not beside,
            hidden=beside or None,
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
    return tuple(facts), lines if form == "record" else []


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
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    spines: int = 50,
    family: Literal["a", "b"] = "b",
    form: Form = "record",
) -> dict[str, Any]:
    """Write a samples folder of reports and return its manifest.

    Raises:
        ReadError: `out` holds something else.
    """
    made = _made(seed, spines, family, form)
    samples = [sample for sample, _ in made]
    made_from = {"release_sha256": content_hash([sample.model_dump(mode="json") for sample in samples])}
    target = Path(out)
    with whole_folder(target, "samples") as partial:
        for path, data in sorted({path: data for _, held in made for path, data in held.items()}.items()):
            write_bytes(partial / path, data)
        write_jsonl(partial / SAMPLES_FILE, samples)
        counts = Counter(fact.topic for sample in samples for fact in sample.facts if fact.needed)
        write_manifest(
            partial,
            "samples",
            **made_from,
            seed=seed,
            family=family,
            form=form,
            task="report",
            rubric_sha256=RUBRIC_SHA256,
            samples=len(samples),
            clusters=len({sample.cluster for sample in samples}),
            counts=dict(sorted(counts.items())),
        )
    return read_manifest(target, "samples")
