"""Questions without their truth, for contestants who answer on machines of their own, and the way back.

Convention: a folder of kind `questions` holds `questions.jsonl` (one :class:`~spinemed.records.Question` a line, by
id), `images/` (named by hash) and a manifest. The key (`key.jsonl`, one :class:`KeyLine` a line) stays with the
operator. An id is `q-` and the first 32 digits of an HMAC-SHA256 of the sample's id, keyed with the hash of the samples
folder: it tells neither id nor seed to whoever lacks the folder, and the same samples always give the same ids.

Traps: pictures are published as they are, with the place of a slice that every model is told. The hash of the samples
folder must stay private until the reveal as well, as predictions folders that were made here name it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
from pathlib import Path
from typing import Any

from bench.folders import whole_folder
from bench.runner.conditions import is_partial
from bench.runner.predict import PREDICTIONS_FILE, read_predictions, refuse_gaps
from bench.samples import read_samples
from spinemed.errors import ReadError, RecordError
from spinemed.records import Question, Record, Sample
from spinemed.run import make_folder
from spinemed.tables import atomic_write, file_sha256, read_jsonl, write_jsonl, write_manifest

__all__ = ["KEY_FILE", "QUESTIONS_FILE", "KeyLine", "collect_answers", "publish_questions"]

QUESTIONS_FILE, KEY_FILE = "questions.jsonl", "key.jsonl"
_ID_DIGITS = 32


class KeyLine(Record):
    """One line of the key."""

    question_id: str
    """As the contestant sees it."""
    sample_id: str
    """The sample that it stands for."""


def publish_questions(
    samples: str | os.PathLike[str], out: str | os.PathLike[str], *, key: str | os.PathLike[str] | None = None
) -> dict[str, Any]:
    """Write the questions that a contestant may have, and beside the samples the key that maps their ids back.

    Args:
        samples: Samples folder; it stays with the operator.
        out: Folder of questions, to be published.
        key: The key; `key.jsonl` beside the samples folder unless given.

    Returns:
        The manifest of the questions.

    Raises:
        ReadError: The samples are damaged, the key would be published, or another key stands where this one goes.
        RecordError: A consultation, whose patient answers in turns, so that it cannot be handed out.
    """
    source, target = Path(samples), Path(out)
    private = _key_of(source, key)
    listed, about = read_samples(source)
    if private.resolve().is_relative_to(target.resolve()):
        raise ReadError("would be published with the questions", file=private, cure="give another --key or --out")
    if target.resolve().is_relative_to(source.resolve()) or source.resolve().is_relative_to(target.resolve()):
        raise ReadError("lies in the folder of the samples, or they in it", file=target, cure="give another --out")
    talks = next((sample for sample in listed if sample.task == "consultation"), None)
    if talks is not None:
        raise RecordError(
            f"sample {talks.id} is a consultation, whose patient has to answer", file=source, field="task",
            cure="ask consultations here, and publish the other questions",
        )  # fmt: skip
    lines = _key_lines(listed, about["sha256"])
    if private.exists() and list(read_jsonl(private, KeyLine)) != lines:
        raise ReadError("is the key of other samples", file=private, cure="give another --key")
    by_id = {sample.id: sample for sample in listed}
    # The key first: questions that nobody can map back are worse than none.
    if not private.exists():
        _write_key(private, lines)
    with whole_folder(target, "questions") as partial:
        write_jsonl(partial / QUESTIONS_FILE, [_question(line.question_id, by_id[line.sample_id]) for line in lines])
        for path in sorted({path for sample in listed for path in sample.images}):
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / path, partial / path)
        # Nothing of the samples' manifest: it names seed and generator.
        return write_manifest(partial, "questions", questions=len(lines))


def collect_answers(
    predictions: str | os.PathLike[str],
    samples: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    key: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Turn a contestant's answers to the questions into a predictions folder on the samples.

    Args:
        predictions: `predictions.jsonl` on ids of questions, or a folder that holds it with a manifest.
        samples: Samples folder that the questions were published from.
        out: Predictions folder to write; an earlier one is replaced.
        key: The key; `key.jsonl` beside the samples folder unless given.

    Returns:
        The manifest of the predictions.

    Raises:
        ReadError: A file is missing or damaged.
        RecordError: The key is of other samples, a question is unanswered or unknown, or the answers are to a control.
    """
    source = Path(samples)
    private = _key_of(source, key)
    listed, about = read_samples(source)
    if list(read_jsonl(private, KeyLine)) != _key_lines(listed, about["sha256"]):
        raise RecordError(
            "is not the key of these samples", file=private, cure="give the key that was written with them"
        )
    answered = read_predictions(predictions)
    condition = str(answered.manifest["condition"])
    if is_partial(condition):
        raise RecordError(
            f"answers under {condition}, and the questions were given as they are", file=answered.folder,
            field="condition", cure="answer under `full`, `tools` or `blind`",
        )  # fmt: skip
    by_question = {line.question_id: line.sample_id for line in read_jsonl(private, KeyLine)}
    by_id = {sample.id: sample for sample in listed}
    asked = [by_id[sample].model_copy(update={"id": question}) for question, sample in by_question.items()]
    refuse_gaps(answered, asked, what="questions", cure="answer each question once, under its id")
    made = {
        by_question[question]: one.model_copy(update={"sample_id": by_question[question]})
        for question, one in answered.by_sample.items()
    }
    file = answered.folder if answered.folder.is_file() else answered.folder / PREDICTIONS_FILE
    with whole_folder(Path(out), "predictions") as partial:
        write_jsonl(partial / PREDICTIONS_FILE, [made[name] for name in sorted(made)])
        return write_manifest(
            partial, "predictions", name=answered.name, model=answered.manifest["model"], answerer="external",
            identity={}, versions={}, condition=condition, samples_sha256=about["sha256"],
            release_sha256=about["release_sha256"], predictions=len(made), collected_sha256=file_sha256(file),
        )  # fmt: skip


def _key_of(samples: Path, key: str | os.PathLike[str] | None) -> Path:
    return Path(key) if key is not None else Path(os.path.abspath(samples)).parent / KEY_FILE


def _key_lines(samples: list[Sample], samples_sha256: str) -> list[KeyLine]:
    """In the order of the questions' ids, which tells nothing of the order of the samples."""
    lines = [
        KeyLine(
            question_id="q-"
            + hmac.new(samples_sha256.encode(), one.id.encode(), hashlib.sha256).hexdigest()[:_ID_DIGITS],
            sample_id=one.id,
        )
        for one in samples
    ]
    return sorted(lines, key=lambda line: line.question_id)


def _write_key(path: Path, lines: list[KeyLine]) -> None:
    """Whole or not at all, and closed to others from its first byte."""
    make_folder(path.parent)
    with atomic_write(path, private=True) as stream:
        stream.writelines(line.model_dump_json().encode() + b"\n" for line in lines)


def _question(name: str, sample: Sample) -> Question:
    """Field by field: what joins the samples later stays out until somebody puts it in here."""
    return Question(
        id=name, axis=sample.axis, task=sample.task, messages=sample.messages, images=sample.images,
        answer_kind=sample.answer_kind, options=sample.options, categories=sample.categories, unit=sample.unit,
        language=sample.language,
    )  # fmt: skip
