"""Reports of several systems to fact-level scores: rates with intervals, errors by kind and finding, pairs compared.

Convention: a scores folder of kind `reports` holds `reports.jsonl` (one :class:`ReportScored` a line, by system and
sample), `scores.jsonl` (the contract's form), `summary.json` and `manifest.json`::

    {"kind": "reports", "samples", "clusters", "seed", "lexicon_sha256", "rubric_sha256",
     "systems": [{"name", "model", "answerer", "outcomes", "asked",
                  "rates": {points|found|side_right|grade_right|clean|unsafe|parts|wrong_level|wrong_side|wrong_grade|
                            missed|invented: {value, low, high, n, clusters, method}},
                  "errors": {error: total}, "findings": {topic: {"facts", "found", "side_right", "grade_right"}},
                  "languages": {language: {"reports", "points"}}, "moved": {"L4/5>L3/4": count}}],
     "pairs": [...as in a consultation's summary]}

`clean` is the share of reports without any error; rates named after errors are counts a report.

Trap: a reply that is none scores 0 and misses every fact; one that the provider failed (`api_error`) is left out.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.estimates import estimate_columns
from bench.folders import whole_folder
from bench.points import pairs_of_points, pointed
from bench.reports.lexicon import load_lexicon
from bench.reports.scoring import PART_NAMES, RUBRIC_SHA256, ReportRead, score_report
from bench.runner import Predictions, read_systems, refuse_gaps
from bench.samples import read_samples
from spinemed.errors import RecordError
from spinemed.records import SPINE_ERRORS, Record, Sample, Score, ScoreOutcome
from spinemed.statistics import FEWEST_RANKED
from spinemed.tables import write_json, write_jsonl, write_manifest

__all__ = ["REPORTS_FILE", "ReportScored", "reports_of", "score_reports"]

REPORTS_FILE = "reports.jsonl"


class ReportScored(Record):
    """One report of one system."""

    sample_id: str
    """The sample that was asked."""
    cluster: str
    """The phantom: intervals resample these."""
    system: str
    """Name of the system."""
    language: str
    """Of the report."""
    outcome: ScoreOutcome
    """What became of the reply."""
    read: ReportRead
    """The report as it was read; of an empty one where there is no reply."""

    @property
    def points(self) -> float:
        """From 0 to 1; 0 where there is no reply."""
        return self.read.points if self.outcome == "parsed" else 0.0


def reports_of(samples: Sequence[Sample], system: Predictions) -> list[ReportScored]:
    """All reports of a system, scored by their facts.

    Raises:
        RecordError: A sample is no report, was not answered, or is unknown.
    """
    refuse_gaps(system, samples, what="reports", cure="answer all samples of this folder")
    made = []
    for sample in samples:
        if sample.task != "report":
            raise RecordError(f"sample {sample.id} is a {sample.task}", field="task", cure="give reports alone")
        prediction = system.by_sample[sample.id]
        outcome: ScoreOutcome = "parsed" if prediction.outcome == "answered" else prediction.outcome
        made.append(
            ReportScored(
                sample_id=sample.id,
                cluster=sample.cluster,
                system=system.name,
                language=sample.language or "en",
                outcome=outcome,
                read=score_report(sample, prediction.text),
            )
        )
    return made


def score_reports(
    samples: str | os.PathLike[str],
    predictions: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    resamples: int = 10_000,
) -> dict[str, Any]:
    """Score reports by their facts and write a scores folder of kind `reports`.

    Raises:
        RecordError: As :func:`reports_of`, or two systems share a name, or one answered another samples folder or under
            another condition than `full`.
    """
    listed, about = read_samples(samples)
    systems = read_systems(predictions, about["sha256"], condition="full")
    names = [system.name for system in systems]
    done = {system.name: reports_of(listed, system) for system in systems}
    summary = {
        "kind": "reports",
        "samples": len(listed),
        "samples_sha256": about["sha256"],
        "clusters": len({sample.cluster for sample in listed}),
        "seed": seed,
        "lexicon_sha256": load_lexicon().sha256,
        "rubric_sha256": RUBRIC_SHA256,
        "systems": [_system(system, done[system.name], listed, seed, resamples) for system in systems],
        "pairs": pairs_of_points(
            {name: pointed(reports) for name, reports in done.items()}, seed=seed, resamples=resamples, topic="reports"
        ),
    }
    with whole_folder(Path(out), "reports") as partial:
        write_jsonl(partial / REPORTS_FILE, [one for name in sorted(done) for one in done[name]])
        models = {system.name: system for system in systems}
        write_jsonl(
            partial / "scores.jsonl",
            [_as_score(one, models[name]) for name in sorted(done) for one in done[name]],
        )
        write_json(partial / "summary.json", summary)
        write_manifest(partial, "reports", samples_sha256=about["sha256"], systems=sorted(names))
    return summary


def _as_score(one: ReportScored, system: Predictions) -> Score:
    return Score(
        sample_id=one.sample_id,
        model=str(system.manifest["model"]),
        condition=system.manifest["condition"],
        outcome=one.outcome,
        parsed=None,
        correct=one.outcome == "parsed" and _clean(one),
        points=one.points,
    )


def _clean(one: ReportScored) -> bool:
    return not any(one.read.matched.errors.values()) and not one.read.unsafe


def _share(values: Sequence[bool]) -> float | None:
    return fmean(values) if values else None


def _columns(reports: Sequence[ReportScored]) -> dict[str, list[float | None]]:
    columns: dict[str, list[float | None]] = {
        "points": [one.points for one in reports],
        "found": [_share([fact.found for fact in one.read.matched.facts]) for one in reports],
        "clean": [float(_clean(one)) for one in reports],
        "unsafe": [float(bool(one.read.unsafe)) for one in reports],
        "parts": [len(one.read.parts) / len(PART_NAMES) for one in reports],
    }
    for name in ("side", "grade"):
        told = [[getattr(fact, name) for fact in one.read.matched.facts] for one in reports]
        columns[f"{name}_right"] = [_share([value == "right" for value in row if value is not None]) for row in told]
    for error in SPINE_ERRORS:
        if error != "unsafe":
            columns[error] = [float(one.read.matched.errors[error]) for one in reports]
    return columns


def _system(
    system: Predictions, reports: list[ReportScored], samples: Sequence[Sample], seed: int, resamples: int
) -> dict[str, Any]:
    asked = [one for one in reports if one.outcome != "api_error"]
    estimates = estimate_columns(
        _columns(asked),
        [one.cluster for one in asked],
        key=("reports", system.name),
        seed=seed,
        shares=("clean", "unsafe"),
        resamples=resamples,
        fewest=FEWEST_RANKED,
        unit="spines",
    )
    verdicts = [fact for one in asked for fact in one.read.matched.facts]
    findings = {}
    for topic in sorted({fact.topic for fact in verdicts}):
        own = [fact for fact in verdicts if fact.topic == topic]
        findings[topic] = {
            "facts": len(own),
            "found": _share([fact.found for fact in own]),
            "side_right": _share([fact.side == "right" for fact in own if fact.side is not None]),
            "grade_right": _share([fact.grade == "right" for fact in own if fact.grade is not None]),
        }
    errors: Counter[str] = Counter(dict.fromkeys(SPINE_ERRORS, 0))
    moved: Counter[str] = Counter()
    for one in asked:
        errors.update(one.read.matched.errors)
        errors["unsafe"] += bool(one.read.unsafe)
        moved.update(text.partition("@")[2] for text in one.read.matched.moved)
    languages = sorted({one.language for one in asked})
    return {
        "name": system.name,
        "model": system.manifest["model"],
        "answerer": system.manifest["answerer"],
        "outcomes": dict(sorted(Counter(one.outcome for one in reports).items())),
        "asked": len(asked),
        "rates": {name: estimate.model_dump() for name, estimate in sorted(estimates.items())},
        "errors": dict(sorted(errors.items())),
        "findings": findings,
        "languages": {
            name: {
                "reports": sum(one.language == name for one in asked),
                "points": fmean(one.points for one in asked if one.language == name),
            }
            for name in languages
        },
        "moved": dict(sorted(moved.items())),
    }
