"""Many systems judged on the same samples, as arrays: what a leaderboard needs and no more.

Convention: one row of `VERDICT` per sample, in the order of the samples; NaN where there is no confidence or no error
in units, `NONE` where a level measure is undefined. A predictions file is read line by line, so memory holds one line
and the rows.

Trap: the verdicts are those of `judge`, not a second scorer: both read a reply with `bench.extract` and measure with
the same metric files, and a test holds them equal.
"""

from __future__ import annotations

import math
import os
import typing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.extract import extract, question_of
from bench.runner.conditions import is_partial
from bench.runner.predict import PREDICTIONS_FILE
from bench.samples import read_samples
from bench.spinebench.abstention import abstaining_answers
from bench.spinebench.exact import is_exact
from bench.spinebench.numbers import number_error
from bench.spinebench.offsets import offset_levels
from bench.spinebench.region import is_region_right
from bench.spinebench.within_one import is_within_one
from spinemed.errors import RecordError
from spinemed.records import Prediction, Sample, ScoreOutcome
from spinemed.tables import read_jsonl, read_manifest

__all__ = ["NONE", "OUTCOMES", "VERDICT", "Judge", "System", "judge_file", "judge_files"]

OUTCOMES: tuple[str, ...] = typing.get_args(ScoreOutcome)
NONE = -128
"""Level measures that are undefined."""
VERDICT = np.dtype(
    [
        ("outcome", "u1"),
        ("correct", "?"),
        ("abstained", "?"),
        ("within_one", "i1"),
        ("region", "i1"),
        ("offset", "i1"),
        ("confidence", "f4"),
        ("error", "f8"),
    ]
)


@dataclass(frozen=True, eq=False)
class System:
    """One system's verdicts."""

    name: str
    model: str
    condition: str
    verdicts: NDArray[np.void]
    answerer: str = "external"
    """Kind of answerer; a bare file does not tell."""


_Measured = tuple[bool, bool, int, int, int, float]
"""Correct, abstained, within one, region, offset, error."""


class Judge:
    """Everything about the samples that judging needs, worked out once for all systems."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.questions = [question_of(sample) for sample in samples]
        self.places = {sample.id: place for place, sample in enumerate(samples)}
        self.abstaining = [abstaining_answers(sample) for sample in samples]
        # Samples of one truth in columns of one make, with the same ways to abstain, have one verdict on an answer.
        kinds: dict[Any, int] = {}
        self.alike = [
            kinds.setdefault((s.answer_kind, s.answer, s.levels, s.tags, s.tolerance, own), len(kinds))
            for s, own in zip(samples, self.abstaining, strict=True)
        ]
        self.measures: dict[tuple[int, str | None], _Measured] = {}

    def verdict(self, place: int, prediction: Prediction) -> tuple[Any, ...]:
        """One row of `VERDICT`."""
        parsed, confidence, outcome = None, math.nan, str(prediction.outcome)
        if outcome == "answered":
            read = extract(prediction.text, self.questions[place])
            parsed, outcome = read.answer, read.outcome
            confidence = math.nan if read.confidence is None else read.confidence
        key = self.alike[place], parsed
        correct, abstained, within_one, region, offset, error = self.measures.get(key) or self._measured(place, parsed)
        return (
            _NUMBER[outcome],
            correct,
            abstained or outcome == "refused",
            within_one,
            region,
            offset,
            confidence,
            error,
        )

    def _measured(self, place: int, parsed: str | None) -> _Measured:
        sample = self.samples[place]
        error = number_error(sample, parsed)
        found = self.measures[self.alike[place], parsed] = (
            is_exact(sample, parsed),
            parsed in self.abstaining[place],
            _small(is_within_one(sample, parsed)),
            _small(is_region_right(sample, parsed)),
            _small(offset_levels(sample, parsed)),
            math.nan if error is None else error,
        )
        return found


def _small(value: int | None) -> int:
    return NONE if value is None else int(value)


_NUMBER = {outcome: number for number, outcome in enumerate(OUTCOMES)}


def judge_file(path: str | os.PathLike[str], judge: Judge, samples_sha256: str) -> System:
    """Judge one predictions folder, or a bare `predictions.jsonl`.

    Args:
        path: The folder or file.
        judge: Of the samples.
        samples_sha256: Of the samples folder, which a predictions folder names.

    Raises:
        ReadError: The folder is unfinished or damaged.
        RecordError: A sample is unknown, answered twice or not at all, the file holds several systems, or it was made
            on another samples folder.
    """
    root = Path(path)
    name, file, answerer = root.stem, root, "external"
    if root.is_dir():
        manifest = read_manifest(root, "predictions", verify=True)
        name, file = str(manifest["name"]), root / PREDICTIONS_FILE
        answerer = str(manifest["answerer"])
        if manifest.get("samples_sha256") not in (None, samples_sha256):
            raise RecordError(
                "was made on another samples folder", file=file, field="samples_sha256",
                cure="predict again on this samples folder",
            )  # fmt: skip
    rows: list[tuple[Any, ...] | None] = [None] * len(judge.samples)
    owner: tuple[str, str] | None = None
    for line, prediction in enumerate(read_jsonl(file, Prediction), 1):
        if owner is None and is_partial(prediction.condition):
            raise RecordError(
                f"holds the control {prediction.condition}, which takes no rank", file=file, field="condition",
                cure="give controls to `spinemed bench score`, beside the replies to the questions themselves",
            )  # fmt: skip
        place = judge.places.get(prediction.sample_id)
        if place is None or rows[place] is not None:
            what = "unknown" if place is None else "answered twice"
            raise RecordError(
                f"sample {prediction.sample_id} is {what}", file=file, line=line, field="sample_id",
                cure="give one prediction for each sample of this folder",
            )  # fmt: skip
        owner = owner or (prediction.model, prediction.condition)
        if (prediction.model, prediction.condition) != owner:
            raise RecordError(
                f"{prediction.model} ({prediction.condition}) stands in a file of {owner[0]} ({owner[1]})",
                file=file, line=line, field="model", cure="one file holds one model under one condition",
            )  # fmt: skip
        rows[place] = judge.verdict(place, prediction)
    missing = [judge.samples[place].id for place, row in enumerate(rows) if row is None]
    if owner is None or missing:
        raise RecordError(
            f"{len(missing)} samples have no prediction: {', '.join(missing[:5])}", file=file, field="sample_id",
            cure="predict on this very samples folder, to the end",
        )  # fmt: skip
    return System(name, *owner, np.array(rows, dtype=VERDICT), answerer)


_judge: tuple[Judge, str] | None = None


def _prepare(samples: str) -> None:
    global _judge
    listed, about = read_samples(samples)
    _judge = Judge(listed), about["sha256"]


def _work(path: str) -> System:
    assert _judge is not None
    return judge_file(path, *_judge)


def judge_files(
    samples: str | os.PathLike[str], paths: Sequence[str | os.PathLike[str]], *, workers: int = 1
) -> list[System]:
    """Judge several systems, in processes of their own if `workers` is above 1; the order is that of `paths`.

    Raises:
        ReadError, RecordError: As `judge_file`; also two systems of one name.
    """
    names = [os.fspath(path) for path in paths]
    if workers > 1 and len(names) > 1:
        with ProcessPoolExecutor(
            min(workers, len(names)), mp_context=get_context("spawn"), initializer=_prepare, initargs=(str(samples),)
        ) as pool:
            found = list(pool.map(_work, names))
    else:
        listed, about = read_samples(samples)
        judge = Judge(listed)
        found = [judge_file(path, judge, about["sha256"]) for path in names]
    seen: set[str] = set()
    for system in found:
        if system.name in seen:
            raise RecordError(
                f"two systems have the same name: {system.name}", field="--predictions",
                cure="give each system once, with a name of its own (spinemed bench predict --name)",
            )  # fmt: skip
        seen.add(system.name)
    return found
