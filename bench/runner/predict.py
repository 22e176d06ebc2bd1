"""Ask an answerer every sample, and survive being killed.

Convention: a predictions folder holds `predictions.jsonl` (by sample id) and `manifest.json` (kind `predictions`: who
answered, under which condition, on which samples, with which versions). While it is being made, a hidden journal holds
what was answered so far.

The samples are cut into blocks by a rule that depends on nothing but the samples: of like shape, so that batches are
padded little, or by picture, so that a server that keeps prefixes reads each picture once. A block is asked in one call
and journalled in one line that is forced to disk before the next block is asked. So a killed run repeats at most the
block in flight, no half block is ever asked, and the finished file equals that of an uninterrupted run byte for byte
whenever the answerer answers the same.

Trap: an answerer's reply may depend on what it was batched with; that is why blocks, not samples, are resumed.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.runner.answerers import Answerer, Reply, Request
from bench.runner.conditions import Questions, is_partial
from bench.runner.journal import Journal, another_job, refuse_strangers, together_in
from bench.runner.lock import LOCK_FILE, lock_of
from bench.runner.withhold import grey_picture
from bench.samples import read_samples
from spinemed.errors import ReadError, RecordError
from spinemed.records import Condition, Prediction, Sample, content_hash
from spinemed.run import make_folder, versions
from spinemed.tables import MANIFEST, file_sha256, read_jsonl, read_manifest, write_json, write_jsonl, write_manifest

__all__ = [
    "PREDICTIONS_FILE", "Predictions", "Stopped", "predict_samples", "read_predictions", "read_systems", "refuse_gaps",
    "request_of",
]  # fmt: skip

PREDICTIONS_FILE = "predictions.jsonl"
"""Name of the file of replies in a predictions folder."""
_LOOK_S = 0.05
"""Between two looks at what other workers did."""


class Stopped(Exception):
    """A worker was told to stop before all was answered; what it answered is kept."""


@dataclass(frozen=True)
class Predictions:
    """A finished predictions folder."""

    folder: Path
    name: str
    by_sample: dict[str, Prediction]
    manifest: dict[str, Any]


def predict_samples(
    samples: str | os.PathLike[str],
    answerer: Answerer,
    out: str | os.PathLike[str],
    *,
    name: str,
    condition: Condition = "full",
    block_size: int = 64,
    order: Literal["shape", "picture"] = "shape",
    advance: Callable[[int], None] | None = None,
    worker: str | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Predictions:
    """Ask every question of a condition once and write the predictions folder; resumes what an earlier call left.

    Args:
        samples: Samples folder.
        answerer: Who is asked.
        out: Predictions folder.
        name: The system's name in tables.
        condition: What is asked; see :mod:`bench.runner.conditions`.
        block_size: Samples asked in one call and journalled together.
        order: Which samples stand together: those of like shape, or those about one picture.
        advance: Called with the number of samples that are now answered, resumed ones first.
        worker: A name, where several processes or machines make the same call at once on one folder: each takes blocks
            that no other has, and all return when all are answered. None works alone.
        stop: Asked before each block; True ends this call with `Stopped`.

    Raises:
        RunError: The folder belongs to another job or holds other files, or another process is working in it.
        ReadError, RecordError: The samples folder is damaged, or the condition leaves no question.
    """
    listed, about = read_samples(samples)
    asked = Questions(listed, samples).under(condition)
    if not asked.samples:
        reasons = ", ".join(f"{count} with {reason}" for reason, count in asked.left_out.items())
        raise RecordError(
            f"condition {condition} leaves no question ({reasons})", field="--condition", cure="leave this one out"
        )
    folder = Path(out)
    who = {
        "name": name,
        "model": answerer.model,
        "answerer": answerer.kind,
        "identity": answerer.identity,
        "condition": condition,
        "samples_sha256": about["sha256"],
        "release_sha256": about["release_sha256"],
        "block_size": block_size,
    }
    if order != "shape":
        who["order"] = order
    if is_partial(condition):
        who["left_out"] = asked.left_out
    plan = content_hash(who)
    refuse_strangers(folder)
    make_folder(folder)
    told = 0

    def tell(answered: int) -> None:
        nonlocal told
        if advance and answered > told:
            advance(answered - told)
            told = answered

    with together_in(folder, worker):
        if (folder / MANIFEST).is_file():
            return _finished(folder, plan, tell)
        blocks = _blocks(asked.samples, block_size, order)
        with Journal(folder, plan, worker) as journal:

            def count() -> None:
                tell(sum(len(blocks[number]) for number in journal.done))

            count()
            while len(journal.done) < len(blocks):
                taken = False
                for number, block in enumerate(blocks):
                    if stop():
                        raise Stopped
                    if journal.claim(number):
                        journal.append(number, _ask(block, Path(samples), answerer, condition))
                        count()
                        taken = True
                if not taken:  # others have the rest: what one of them leaves unanswered is free again
                    time.sleep(_LOOK_S)
                    journal.refresh()
                    count()
            with journal.finishing():
                if (folder / MANIFEST).is_file():
                    return _finished(folder, plan, tell)
                made = journal.predictions()
                write_jsonl(folder / PREDICTIONS_FILE, made)
                lock = lock_of(
                    asked.samples,
                    samples,
                    kind=answerer.kind,
                    model=answerer.model,
                    identity=answerer.identity,
                    condition=condition,
                )
                write_json(folder / LOCK_FILE, lock)
                write_manifest(
                    folder, "predictions", plan_sha256=plan, versions=versions(), predictions=len(made), **who
                )
        return read_predictions(folder)


def _finished(folder: Path, plan: str, tell: Callable[[int], None]) -> Predictions:
    finished = read_predictions(folder)
    if finished.manifest.get("plan_sha256") != plan:
        raise another_job(folder)
    tell(len(finished.by_sample))
    return finished


def _blocks(samples: Sequence[Sample], size: int, order: Literal["shape", "picture"] = "shape") -> list[list[Sample]]:
    """Samples of like shape or of one picture together; the same cut every time."""
    if size < 1:
        raise ValueError(f"a block holds at least one sample, not {size}")

    def shape(sample: Sample) -> tuple[int, int, str]:
        return len(sample.images), sum(len(message.content) for message in sample.messages), sample.id

    def picture(sample: Sample) -> tuple[tuple[str, ...], tuple[int, int, str]]:
        return sample.images, shape(sample)

    ordered = sorted(samples, key=picture) if order == "picture" else sorted(samples, key=shape)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _ask(block: Sequence[Sample], folder: Path, answerer: Answerer, condition: Condition) -> tuple[Prediction, ...]:
    requests = [request_of(sample, folder, condition) for sample in block]
    replies = answerer.answer(requests)
    if len(replies) != len(requests):
        raise RuntimeError(f"{answerer.model} gave {len(replies)} replies to {len(requests)} requests")
    identity = {"model": answerer.model, **answerer.identity}
    return tuple(_prediction(*pair, answerer.model, condition, identity) for pair in zip(requests, replies))


def request_of(sample: Sample, folder: Path, condition: Condition) -> Request:
    """A question, as :class:`~bench.runner.conditions.Questions` has it under a condition, ready to be sent.

    Raises:
        ReadError: A picture is missing, or is not the one it is named after.
    """
    pictures = []
    for path in sample.images:
        try:
            data = (folder / path).read_bytes()
        except OSError as error:
            raise ReadError(
                f"cannot be read ({error.strerror})", file=folder / path, cure="write the samples again"
            ) from error
        if hashlib.sha256(data).hexdigest() != Path(path).stem:
            raise ReadError("is not the picture it is named after", file=folder / path, cure="write the samples again")
        pictures.append(grey_picture(data) if condition == "blind" else data)
    return Request(sample.id, sample.messages, tuple(pictures))


def _prediction(
    request: Request, reply: Reply, model: str, condition: Condition, identity: dict[str, Any]
) -> Prediction:
    sent = {
        "identity": identity,
        "messages": [message.model_dump() for message in request.messages],
        "images": [hashlib.sha256(data).hexdigest() for data in request.images],
    }
    return Prediction(
        sample_id=request.sample_id,
        model=model,
        condition=condition,
        outcome=reply.outcome,
        text=reply.text if reply.outcome == "answered" else "",
        detail=reply.detail,
        request_sha256=content_hash(sent),
        calls=reply.calls,
    )


def read_predictions(path: str | os.PathLike[str]) -> Predictions:
    """A finished predictions folder, or a bare `predictions.jsonl` that was made elsewhere.

    A bare file names its system by its file name, and what answered is `external`.

    Raises:
        ReadError: The run was not finished, or the file was cut or changed.
        RecordError: A line breaks the contract, a sample was answered twice, or model and condition are not one.
    """
    root = Path(path)
    if root.is_file():
        file, manifest = root, _external_manifest(root)
    else:
        file, manifest = root / PREDICTIONS_FILE, read_manifest(root, "predictions", verify=True)
    answered: dict[str, Prediction] = {}
    for line, prediction in enumerate(read_jsonl(file, Prediction), 1):
        if prediction.sample_id in answered:
            raise RecordError(
                f"sample {prediction.sample_id} is answered twice",
                file=file,
                line=line,
                field="sample_id",
                cure="keep one prediction per sample",
            )
        if (prediction.model, prediction.condition) != (manifest["model"], manifest["condition"]):
            raise RecordError(
                f"{prediction.model} ({prediction.condition}) stands in a file of "
                f"{manifest['model']} ({manifest['condition']})",
                file=file,
                line=line,
                field="model",
                cure="one file holds one model under one condition",
            )
        answered[prediction.sample_id] = prediction
    return Predictions(root, str(manifest["name"]), answered, manifest)


def _refuse_other_samples(system: Predictions, samples_sha256: str) -> None:
    """Ids repeat from set to set; the hash of the samples tells whether these very questions were answered.

    Raises:
        RecordError: The predictions name another samples folder. A bare file names none.
    """
    if system.manifest.get("samples_sha256") not in (None, samples_sha256):
        raise RecordError(
            f"{system.name} was made on another samples folder (same ids, other content)",
            file=system.folder,
            field="samples_sha256",
            cure="predict again on this samples folder",
        )


def read_systems(
    paths: Sequence[str | os.PathLike[str]], samples_sha256: str, *, condition: Condition | None = None
) -> list[Predictions]:
    """Predictions of several systems that answered the same samples folder.

    Args:
        paths: A predictions folder or file for each system.
        samples_sha256: Of the samples, as their manifest says.
        condition: The only condition that is compared here; any unless given.

    Raises:
        ReadError, RecordError: As :func:`read_predictions`, another samples folder was answered, under another
            condition, or two systems share a name.
    """
    systems = [read_predictions(path) for path in paths]
    for system in systems:
        _refuse_other_samples(system, samples_sha256)
        if condition is not None and system.manifest["condition"] != condition:
            raise RecordError(
                f"{system.name} answered under {system.manifest['condition']}, and only {condition} is compared here",
                file=system.folder,
                field="condition",
                cure=f"predict again with --condition {condition}, or leave this system out",
            )
    names = [system.name for system in systems]
    if len(set(names)) != len(names):
        raise RecordError(f"two systems are called {max(names, key=names.count)}", field="name", cure="rename one")
    return systems


def refuse_gaps(system: Predictions, samples: Sequence[Sample], *, what: str, cure: str) -> None:
    """One prediction for each sample, and no other.

    Args:
        system: The predictions.
        samples: All that were to be answered.
        what: What a sample is called, in the plural.
        cure: What to do.

    Raises:
        RecordError: A sample was not answered, or is unknown.
    """
    known, answered = {sample.id for sample in samples}, set(system.by_sample)
    missing, strange = sorted(known - answered), sorted(answered - known)
    if missing or strange:
        told = f"lacks {len(missing)} {what} ({missing[0]})" if missing else f"holds unknown {what} ({strange[0]})"
        raise RecordError(f"{system.name} {told}", file=system.folder, cure=cure)


def _external_manifest(file: Path) -> dict[str, Any]:
    first = next(read_jsonl(file, Prediction), None)
    if first is None:
        raise ReadError("holds no prediction", file=file, cure="give the file of a finished run")
    return {
        "name": file.stem if file.name != PREDICTIONS_FILE else file.resolve().parent.name,
        "model": first.model,
        "condition": first.condition,
        "answerer": "external",
        "identity": {},
        "versions": {},
        "sha256": file_sha256(file),
    }
