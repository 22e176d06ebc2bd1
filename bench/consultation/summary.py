"""Consultations of several systems to scores: rates with intervals, by red flag and language, pairs compared.

Convention: a scores folder of kind `consultation` holds `cases.jsonl` (one :class:`~bench.consultation.score.Consulted`
a line, by system and sample), `scores.jsonl` (the contract's form), `summary.json` and `manifest.json`::

    {"kind": "consultation", "samples", "clusters", "seed", "rules_sha256", "weights",
     "systems": [{"name", "model", "answerer", "outcomes": {outcome: count}, "asked",
                  "rates": {points|elicited|flags_before_advice|urgency_right|under_triaged|over_triaged|contradicted|
                            turns: {value, low, high, n, clusters, method}},
                  "flags": {flag: {"cases", "points", "flags_before_advice", "urgency_right"}},
                  "languages": {language: {"cases", "points", "urgency_right"}},
                  "confusion": {accepted: {emergency|urgent|routine|none: count}}}],
     "pairs": [{"first", "second", "difference", "low", "high", "p_value", "p_holm", ...}]}

Trap: a case whose provider failed (`api_error`) is left out of the rates and counted; all other outcomes stay in.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.consultation.rules import URGENCIES, load_rules
from bench.consultation.score import Consulted, score_consultation
from bench.estimates import estimate_columns
from bench.folders import whole_folder
from bench.points import pairs_of_points, pointed
from bench.runner import Predictions, read_systems, refuse_gaps
from bench.samples import read_samples
from spinemed.records import Sample
from spinemed.statistics import FEWEST_RANKED
from spinemed.tables import write_json, write_jsonl, write_manifest

__all__ = ["CASES_FILE", "score_consultations"]

CASES_FILE = "cases.jsonl"
_SHARES = ("flags_before_advice", "urgency_right", "under_triaged", "over_triaged", "contradicted")


def score_consultations(
    samples: str | os.PathLike[str],
    predictions: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    seed: int = 0,
    resamples: int = 10_000,
) -> dict[str, Any]:
    """Score transcripts and write a scores folder of kind `consultation`.

    Args:
        samples: The cases.
        predictions: A predictions folder or file for each system.
        out: Scores folder.
        seed: Of bootstrap and tests.
        resamples: Bootstrap samples.

    Raises:
        RecordError: A case was not held or is unknown, two systems share a name, one was held on
            other cases, or a transcript is not the rules'.
    """
    listed, about = read_samples(samples)
    systems = read_systems(predictions, about["sha256"])
    names = [system.name for system in systems]
    done = {system.name: _score(listed, system) for system in systems}
    summary = {
        "kind": "consultation",
        "samples": len(listed),
        "samples_sha256": about["sha256"],
        "clusters": len({sample.cluster for sample in listed}),
        "seed": seed,
        "rules_sha256": load_rules().sha256,
        "weights": dict(load_rules().points),
        "systems": [_system(system, done[system.name], seed, resamples) for system in systems],
        "pairs": pairs_of_points(
            {name: pointed(cases) for name, cases in done.items()},
            seed=seed,
            resamples=resamples,
            topic="consultation",
        ),
    }
    with whole_folder(Path(out), "consultation") as partial:
        by_name = {system.name: system for system in systems}
        write_jsonl(partial / CASES_FILE, [case for name in sorted(done) for case in done[name]])
        scores = [
            case.as_score(by_name[name].by_sample[case.sample_id]) for name in sorted(done) for case in done[name]
        ]
        write_jsonl(partial / "scores.jsonl", scores)
        write_json(partial / "summary.json", summary)
        write_manifest(partial, "consultation", samples_sha256=about["sha256"], systems=sorted(names))
    return summary


def _score(samples: Sequence[Sample], system: Predictions) -> list[Consulted]:
    refuse_gaps(system, samples, what="cases", cure="hold all consultations of this folder")
    rules = load_rules()
    return [score_consultation(sample, system.by_sample[sample.id], rules) for sample in samples]


def _columns(cases: Sequence[Consulted]) -> dict[str, list[float | None]]:
    columns: dict[str, list[float | None]] = {
        "points": [case.points for case in cases],
        "elicited": [len(case.elicited) / case.needed if case.needed else None for case in cases],
        "turns": [float(case.turns) for case in cases],
        "contradicted": [float(bool(case.contradictions)) for case in cases],
    }
    for name in _SHARES[:-1]:
        columns[name] = [float(getattr(case, name)) for case in cases]
    return columns


def _system(system: Predictions, cases: list[Consulted], seed: int, resamples: int) -> dict[str, Any]:
    asked = [case for case in cases if case.outcome != "api_error"]
    estimates = estimate_columns(
        _columns(asked),
        [case.cluster for case in asked],
        key=("consultation", system.name),
        seed=seed,
        shares=_SHARES,
        resamples=resamples,
        fewest=FEWEST_RANKED,
        unit="cases",
    )
    confusion: dict[str, Counter[str]] = {}
    for case in asked:
        confusion.setdefault("|".join(case.accepted), Counter())[case.declared or "none"] += 1
    return {
        "name": system.name,
        "model": system.manifest["model"],
        "answerer": system.manifest["answerer"],
        "outcomes": dict(sorted(Counter(case.outcome for case in cases).items())),
        "asked": len(asked),
        "rates": {name: estimate.model_dump() for name, estimate in sorted(estimates.items())},
        "flags": {flag: _part(asked, "flag", flag) for flag in sorted({case.flag for case in asked})},
        "languages": {one: _part(asked, "language", one) for one in sorted({case.language for case in asked})},
        "confusion": {
            name: {declared: counts[declared] for declared in (*URGENCIES, "none")}
            for name, counts in sorted(confusion.items())
        },
    }


def _part(cases: Sequence[Consulted], field: str, value: str) -> dict[str, Any]:
    chosen = [case for case in cases if getattr(case, field) == value]
    return {
        "cases": len(chosen),
        "points": round(fmean(case.points for case in chosen), 6),
        "flags_before_advice": round(fmean(case.flags_before_advice for case in chosen), 6),
        "urgency_right": round(fmean(case.urgency_right for case in chosen), 6),
    }
