"""Samples and predictions become scores: pure, so that it can be done again tomorrow without a model, byte for byte.

Convention: a scores folder holds `scores.jsonl` (one :class:`~spinemed.records.Score` a line, by system and sample),
`summary.json` (layout in :mod:`bench.spinebench.summary`), `examples.json` with the pictures it shows, and
`manifest.json` (kind `scores`). Nothing in it depends on a path, a clock or the order of the files.

Trap: a sample without a prediction, or a prediction without a sample, stops scoring and is named. A score over the
questions that happen to be answered is not a score.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.extract import extract_answer
from bench.folders import whole_folder
from bench.runner.conditions import Questions, is_partial
from bench.runner.predict import PREDICTIONS_FILE, Predictions, read_predictions
from bench.samples import read_samples
from bench.spinebench.controls import Control, summarise_controls
from bench.spinebench.exact import is_exact
from bench.spinebench.examples import choose_examples
from bench.spinebench.kinds import kind_confusion
from bench.spinebench.matched import summarise_matched
from bench.spinebench.numbers import number_error
from bench.spinebench.offsets import offset_levels
from bench.spinebench.region import is_region_right
from bench.spinebench.summary import LOST, is_reference, summarise, summarise_views
from bench.spinebench.within_one import is_within_one
from spinemed.chat.client import Chat
from spinemed.chat.egress import LOCAL, Egress
from spinemed.errors import RecordError
from spinemed.records import Condition, Prediction, Sample, Score, ScoreOutcome
from spinemed.tables import write_json, write_jsonl, write_manifest

__all__ = ["EXAMPLES_FILE", "SCORES_FILE", "SUMMARY_FILE", "check_predictions", "judge", "score_predictions"]

SCORES_FILE, SUMMARY_FILE, EXAMPLES_FILE = "scores.jsonl", "summary.json", "examples.json"
"""Names of the files in a folder of scores: each judged reply, all numbers, replies to look at."""


def judge(sample: Sample, prediction: Prediction) -> Score:
    """Score one reply to one sample."""
    parsed: str | None = None
    confidence: float | None = None
    outcome: ScoreOutcome
    if prediction.outcome == "answered":
        extraction = extract_answer(prediction.text, sample)
        parsed, outcome, confidence = extraction.answer, extraction.outcome, extraction.confidence
    else:
        outcome = prediction.outcome
    return Score(
        sample_id=sample.id,
        model=prediction.model,
        condition=prediction.condition,
        outcome=outcome,
        parsed=parsed,
        correct=is_exact(sample, parsed),
        within_one=is_within_one(sample, parsed),
        region_correct=is_region_right(sample, parsed),
        offset_levels=offset_levels(sample, parsed),
        confidence=confidence,
        error=number_error(sample, parsed),
    )


def score_predictions(
    samples: str | os.PathLike[str],
    predictions: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    subject: str | None = None,
    seed: int = 0,
    resamples: int = 10_000,
    matcher: Chat | None = None,
    egress: Egress = LOCAL,
) -> dict[str, Any]:
    """Score predictions folders against one samples folder and write the scores folder.

    Args:
        samples: Samples folder.
        predictions: Predictions folders, or bare `predictions.jsonl` files made elsewhere; their order is the table's.
        out: Scores folder; an earlier one is replaced.
        subject: Name of the system that is compared with all others. Unless given it is the one whose model also
            answered blind, or the only model.
        seed: Seed of bootstrap, tests and examples.
        resamples: Bootstrap samples.
        matcher: A language model that reads what the rules left unparsed; counted apart, in `matched`.
        egress: Where replies may be sent for that.

    Returns:
        The summary.

    Raises:
        ReadError: A folder is unfinished or damaged, or `out` holds something else.
        RecordError: Predictions are missing, are too many, belong to other samples, or systems cannot be told apart.
    """
    listed, about = read_samples(samples)
    systems = [read_predictions(path) for path in predictions]
    questions = Questions(listed, samples)
    check_predictions(systems, questions, about)
    controls = _controls([system for system in systems if _condition(system) not in ("full", "tools")], questions)
    partial = [system for system in systems if is_partial(_condition(system))]
    systems = [system for system in systems if not is_partial(_condition(system))]
    if not systems:
        raise RecordError(
            "controls alone are no score",
            field="--predictions",
            cure="give the replies to the questions, too",
        )
    scores = {system.name: [judge(sample, system.by_sample[sample.id]) for sample in listed] for system in systems}
    chosen = _subject(systems, subject)
    compared = next((system for system in systems if system.name == chosen), None)
    blind = frozenset(system.name for system in systems if _role(system, compared) == "blind")
    references = frozenset(
        system.name for system in systems if is_reference(str(system.manifest["answerer"]), _condition(system))
    )
    full = {
        system.name: (str(system.manifest["model"]), scores[system.name])
        for system in systems
        if _condition(system) == "full"
    }
    conditions = {system.name: _condition(system) for system in systems}
    judged = {control.name: [score for _, score in control.asked.values()] for control in controls}
    summary = {
        "samples": _describe_samples(listed, about),
        "systems": [_describe(system, compared, scores[system.name]) for system in systems],
        "control_systems": [_describe(system, compared, judged[system.name]) for system in partial],
        **summarise(listed, scores, subject=chosen, blind=blind, references=references, seed=seed, resamples=resamples),
        **summarise_views(listed, scores, conditions, seed=seed, resamples=resamples),
        **summarise_controls(listed, full, controls, seed=seed, resamples=resamples),
    }
    if about.get("limited"):
        for row in summary["rows"]:
            row["ranks"] = {}  # a part of a benchmark ranks nobody
    replies = {system.name: system.by_sample for system in systems}
    summary["other_kind"] = {
        name: asdict(kind_confusion(zip(listed, (own[sample.id] for sample in listed), scores[name], strict=True)))
        for name, own in replies.items()
    }
    if matcher is not None:
        summary["matched"] = summarise_matched(listed, scores, replies, matcher, egress=egress)
    examples = [] if chosen is None else choose_examples(listed, scores, replies, chosen, seed=seed)
    every = [*scores.values(), *(judged[system.name] for system in partial)]
    _write(Path(out), Path(samples), [score for own in every for score in own], summary, examples)
    return summary


def _write(
    out: Path, samples: Path, scores: list[Score], summary: dict[str, Any], examples: list[dict[str, Any]]
) -> None:
    with whole_folder(out, "scores") as partial:
        write_jsonl(partial / SCORES_FILE, scores)
        write_json(partial / SUMMARY_FILE, summary)
        write_json(partial / EXAMPLES_FILE, examples)
        for path in sorted({path for example in examples for path in example["images"]}):
            (partial / path).parent.mkdir(exist_ok=True)
            shutil.copyfile(samples / path, partial / path)
        write_manifest(partial, "scores", samples_sha256=summary["samples"]["sha256"])


def _condition(system: Predictions) -> Condition:
    condition: Condition = system.manifest["condition"]
    return condition


def _controls(systems: Sequence[Predictions], questions: Questions) -> list[Control]:
    """Each control judged against its questions as they were asked."""
    found = []
    for system in systems:
        asked = questions.under(_condition(system))
        pairs = {sample.id: (sample, judge(sample, system.by_sample[sample.id])) for sample in asked.samples}
        model = str(system.manifest["model"])
        found.append(Control(system.name, model, _condition(system), pairs, asked.left_out))
    return found


def check_predictions(systems: Sequence[Predictions], questions: Questions, about: dict[str, Any]) -> None:
    """Refuse predictions that are not one reply of each system to every question of its condition.

    Raises:
        RecordError: Predictions are missing, are too many, belong to other samples, or systems cannot be told apart.
    """
    _tell_apart(systems)
    for system in systems:
        _check_complete(system, questions.under(_condition(system)).by_id, about)


def _tell_apart(systems: Sequence[Predictions]) -> None:
    if not systems:
        raise RecordError(
            "no predictions are given", field="--predictions", cure="name at least one predictions folder"
        )
    for what, keys in (
        ("name", [system.name for system in systems]),
        ("model and condition", [f"{system.manifest['model']} ({system.manifest['condition']})" for system in systems]),
    ):
        repeated = [key for key, count in Counter(keys).items() if count > 1]
        if repeated:
            raise RecordError(
                f"two systems have the same {what}: {repeated[0]}",
                field="--predictions",
                cure="give each system once, with a name of its own (spinemed bench predict --name)",
            )


def _check_complete(system: Predictions, samples: dict[str, Sample], about: dict[str, Any]) -> None:
    file = system.folder / PREDICTIONS_FILE if system.folder.is_dir() else system.folder
    asked = system.manifest.get("samples_sha256")
    missing = sorted(set(samples) - set(system.by_sample))
    extra = sorted(set(system.by_sample) - set(samples))
    for what, ids in (("have no prediction", missing), ("are predicted but unknown", extra)):
        if ids:
            more = f" and {len(ids) - 5} more" if len(ids) > 5 else ""
            raise RecordError(
                f"{len(ids)} samples {what}: {', '.join(ids[:5])}{more}",
                file=file,
                field="sample_id",
                cure="predict on this very samples folder, to the end",
            )
    if asked is not None and asked != about["sha256"]:
        raise RecordError(
            "was made on another samples folder (same ids, other content)",
            file=file,
            field="samples_sha256",
            cure="predict again on this samples folder",
        )


def _subject(systems: Sequence[Predictions], wanted: str | None) -> str | None:
    if wanted is not None:
        if wanted not in {system.name for system in systems}:
            raise RecordError(
                f"no system is called {wanted!r}",
                field="--subject",
                cure=f"use one of {', '.join(system.name for system in systems)}",
            )
        return wanted
    models = [
        system
        for system in systems
        if system.manifest["condition"] == "full" and system.manifest["answerer"] not in ("majority", "random")
    ]
    blind = {system.manifest["model"] for system in systems if system.manifest["condition"] == "blind"}
    twins = [system for system in models if system.manifest["model"] in blind]
    for candidates in (twins, models):
        if len(candidates) == 1:
            return candidates[0].name
    if not models:
        return None
    raise RecordError(
        f"several models could be the subject: {', '.join(system.name for system in models)}",
        field="--subject",
        cure="name the one that is compared with the others",
    )


def _role(system: Predictions, subject: Predictions | None) -> str:
    kind, condition = system.manifest["answerer"], system.manifest["condition"]
    if subject is not None and system.name == subject.name:
        return "subject"
    if kind in ("majority", "random"):
        return str(kind)
    if condition == "tools":
        return "with tools"
    if condition == "blind":
        own = subject is not None and system.manifest["model"] == subject.manifest["model"]
        return "blind" if own else "blind of another model"
    return "base"


def _describe(system: Predictions, subject: Predictions | None, scores: Sequence[Score]) -> dict[str, Any]:
    manifest = system.manifest
    outcomes = Counter[str](score.outcome for score in scores)
    return {
        "name": system.name,
        "role": _role(system, subject),
        "model": manifest["model"],
        "condition": manifest["condition"],
        "answerer": manifest["answerer"],
        "identity": manifest["identity"],
        "predictions_sha256": manifest["sha256"],
        "versions": manifest["versions"],
        "outcomes": {name: outcomes[name] for name in ("parsed", *LOST)},
    }


def _describe_samples(samples: Sequence[Sample], about: dict[str, Any]) -> dict[str, Any]:
    truth = Counter(tag for sample in samples for tag in sample.tags if tag.startswith(("truth:", "caveat:")))
    return {
        "n": len(samples),
        "clusters": len({sample.cluster for sample in samples}),
        "sha256": about["sha256"],
        "release_sha256": about["release_sha256"],
        "split": about["split"],
        "counts": about["counts"],
        "left_out": about["left_out"],
        "contamination": about["contamination"],
        "truth": dict(sorted(truth.items())),
        **({"limited": about["limited"]} if about.get("limited") else {}),
    }
