"""The samples and predictions behind scores, found by hash: the page never mixes folders that do not belong together.

Convention: a scores folder names its samples and each system's predictions by SHA-256. A given folder is used where a
scores folder names it; one that none names is an error.

Trap: a bare `predictions.jsonl` has no manifest; its hash is of the file alone, which is what scoring recorded for it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.runner.predict import Predictions, read_predictions
from bench.samples import read_samples
from bench.spinebench.score import SCORES_FILE, judge
from bench.submission.declare import Declaration, read_submission
from spinemed.errors import ReadError
from spinemed.records import Sample, Score
from spinemed.tables import read_jsonl

__all__ = ["Known", "Sources", "read_sources"]


@dataclass(frozen=True)
class Known:
    """What is known of one scores folder beyond its summary."""

    folder: Path
    samples: list[Sample]
    scores: dict[str, list[Score]]
    replies: dict[str, Predictions]
    about: dict[str, Any]
    """Manifest of the samples."""


@dataclass
class Sources:
    """All folders that were given."""

    samples: dict[str, tuple[Path, list[Sample], dict[str, Any]]]
    predictions: dict[str, Predictions]
    declared: list[Declaration]
    submitted: set[str] = field(default_factory=set)
    """Predictions that came with a submission: it may hold controls that the page does not show."""

    def of(self, summary: Mapping[str, Any], folder: Path) -> Known | None:
        """The questions, scores and replies of one scores folder; None where its samples were not given."""
        replies = {}
        for system in summary["systems"] + summary.get("control_systems", []):
            found = self.predictions.get(system["predictions_sha256"])
            if found is not None:
                replies[system["name"]] = found
        sha256 = summary["samples"]["sha256"]
        if sha256 not in self.samples:
            return None
        where, samples, about = self.samples[sha256]
        return Known(where, samples, _scores(summary, folder, samples, replies), replies, about)

    def refuse_strangers(self, summaries: Sequence[Mapping[str, Any]]) -> None:
        """Raise for a folder that no scores name, before anything is drawn.

        Raises:
            ReadError: There is one.
        """
        named = {summary["samples"]["sha256"] for summary in summaries}
        for summary in summaries:
            systems = summary["systems"] + summary.get("control_systems", [])
            named |= {system["predictions_sha256"] for system in systems}
        given = {sha256: where for sha256, (where, _, _) in self.samples.items()}
        given |= {sha256: one.folder for sha256, one in self.predictions.items() if sha256 not in self.submitted}
        for sha256, where in given.items():
            if sha256 not in named:
                raise ReadError(
                    "belongs to none of the scores on this page", file=where,
                    cure="give the very folders that were scored, or score again",
                )  # fmt: skip


def read_sources(
    samples: Sequence[str | os.PathLike[str]],
    predictions: Sequence[str | os.PathLike[str]],
    submissions: Sequence[str | os.PathLike[str]],
) -> Sources:
    """Read what was given.

    Raises:
        ReadError, RecordError, ConfigError: A folder is unfinished, damaged or wrong.
    """
    held = {}
    for path in samples:
        listed, about = read_samples(path)
        held[str(about["sha256"])] = (Path(path), listed, about)
    told = [read_submission(path) for path in submissions]
    replies = {str(one.manifest["sha256"]): one for one in map(read_predictions, predictions)}
    sources = Sources(held, replies, [one.declared for one in told])
    for submission in told:
        for system in submission.systems:
            sha256 = str(system.manifest["sha256"])
            sources.predictions.setdefault(sha256, system)
            sources.submitted.add(sha256)
    return sources


def _scores(
    summary: Mapping[str, Any], folder: Path, samples: Sequence[Sample], replies: Mapping[str, Predictions]
) -> dict[str, list[Score]]:
    """Scores by system in the order of the samples, from the scores folder."""
    by_key: dict[tuple[str, str], dict[str, Score]] = {}
    for score in read_jsonl(folder / SCORES_FILE, Score):
        by_key.setdefault((score.model, score.condition), {})[score.sample_id] = score
    found = {}
    for system in summary["systems"]:
        own = by_key.get((system["model"], system["condition"]), {})
        if len(own) < len(samples) and system["name"] in replies:
            answered = replies[system["name"]].by_sample
            own = {sample.id: judge(sample, answered[sample.id]) for sample in samples}
        try:
            found[system["name"]] = [own[sample.id] for sample in samples]
        except KeyError as error:
            raise ReadError(
                f"holds no score of {system['name']} for the sample {error.args[0]}", file=folder / SCORES_FILE,
                cure="score the predictions again",
            ) from error  # fmt: skip
    return found
