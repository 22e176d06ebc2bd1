"""Conversations between an answerer and the patient by rule: several at once, resumable, ending with a file.

Convention: the result is an ordinary predictions folder. `turns` of a prediction is the transcript from the
physician's first words on, `text` its last turn. A conversation ends with a turn that declares an urgency, at the limit
of turns, or with a reply that is none (`outcome` says which kind). Cases are cut into blocks by id; the conversations
of a block go on together, and a finished block is one line of the journal, forced to disk. So a killed run repeats at
most one block, and the finished folder equals that of an uninterrupted run byte for byte.

Trap: `{turns}` in the first message is the limit; another limit is another job.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from bench.consultation.patient import Patient
from bench.consultation.rules import Rules, load_rules
from bench.runner import PREDICTIONS_FILE, Predictions, read_predictions
from bench.runner.answerers import Answerer, Reply, Request
from bench.samples import read_samples
from spinemed.errors import RecordError, RunError
from spinemed.records import Message, Prediction, Record, Sample, Sha256, content_hash
from spinemed.run import LOCK, alone_in, make_folder, versions
from spinemed.tables import MANIFEST, read_jsonl, write_jsonl, write_manifest

__all__ = ["hold_consultations", "opening"]

_JOURNAL = ".journal.jsonl"


class _Block(Record):
    """One line of the journal."""

    plan_sha256: Sha256
    block: int
    predictions: tuple[Prediction, ...]


def opening(sample: Sample, turns: int) -> tuple[Message, ...]:
    """The messages before the physician's first words."""
    filled = [message.content.replace("{turns}", str(turns)) for message in sample.messages]
    return tuple(Message(role=old.role, content=new) for old, new in zip(sample.messages, filled, strict=True))


def hold_consultations(
    samples: str | os.PathLike[str],
    answerer: Answerer,
    out: str | os.PathLike[str],
    *,
    name: str,
    turns: int = 8,
    block_size: int = 16,
    advance: Callable[[int], None] | None = None,
) -> Predictions:
    """Hold every consultation of a samples folder once; the same call resumes.

    Args:
        samples: Samples folder of consultations.
        answerer: The physician.
        out: Predictions folder.
        name: The system's name in tables.
        turns: Most turns of the physician.
        block_size: Conversations that go on together.
        advance: Called with the number of further cases that are done.

    Raises:
        RecordError: A sample is no consultation.
        RunError: The folder belongs to another job, or another process is working in it.
    """
    listed, about = read_samples(samples)
    for sample in listed:
        if sample.task != "consultation":
            raise RecordError(
                f"sample {sample.id} is a {sample.task}", field="task", cure="give a folder of consultations alone"
            )
    if turns < 1 or block_size < 1:
        raise ValueError("at least one turn and one conversation")
    rules, folder = load_rules(), Path(out)
    who = {
        "name": name,
        "model": answerer.model,
        "answerer": answerer.kind,
        "identity": answerer.identity,
        "condition": "full",
        "samples_sha256": about["sha256"],
        "rules_sha256": rules.sha256,
        "turns": turns,
        "block_size": block_size,
    }
    plan = content_hash(who)
    _refuse_strangers(folder)
    make_folder(folder)
    with alone_in(folder, "answering into this folder"):
        if (folder / MANIFEST).is_file():
            finished = read_predictions(folder)
            if finished.manifest.get("plan_sha256") != plan:
                raise _another_job(folder)
            return finished
        done = _resume(folder, plan)
        blocks = [listed[start : start + block_size] for start in range(0, len(listed), block_size)]
        with open(folder / _JOURNAL, "ab") as journal:
            if not done:
                _append(journal, _Block(plan_sha256=plan, block=-1, predictions=()))
            for number, block in enumerate(blocks):
                if number not in done:
                    done[number] = _hold(block, answerer, rules, turns)
                    _append(journal, _Block(plan_sha256=plan, block=number, predictions=done[number]))
                if advance:
                    advance(len(block))
        made = sorted((one for number in range(len(blocks)) for one in done[number]), key=lambda one: one.sample_id)
        write_jsonl(folder / PREDICTIONS_FILE, made)
        write_manifest(
            folder,
            "predictions",
            plan_sha256=plan,
            versions=versions(),
            predictions=len(made),
            task="consultation",
            **who,
        )
        return read_predictions(folder)


def _hold(block: Sequence[Sample], answerer: Answerer, rules: Rules, turns: int) -> tuple[Prediction, ...]:
    """The conversations of a block, turn by turn."""
    patients = [Patient(sample, rules) for sample in block]
    said: list[list[Message]] = [[] for _ in block]
    ended: list[Reply | None] = [None for _ in block]
    for turn in range(turns):
        open_ = [place for place, reply in enumerate(ended) if reply is None]
        if not open_:
            break
        requests = [Request(block[place].id, (*opening(block[place], turns), *said[place])) for place in open_]
        for place, reply in zip(open_, answerer.answer(requests), strict=True):
            if reply.outcome != "answered":
                ended[place] = reply
                continue
            said[place].append(Message(role="assistant", content=reply.text))
            if turn + 1 == turns or rules.declared(reply.text) is not None:
                ended[place] = reply
            else:
                said[place].append(Message(role="user", content=patients[place].reply(reply.text)))
    identity = {"model": answerer.model, **answerer.identity}
    made = []
    for sample, transcript, last in zip(block, said, ended, strict=True):
        assert last is not None
        answered = last.outcome == "answered"
        sent = {"identity": identity, "opening": [turn.model_dump() for turn in opening(sample, turns)], "turns": turns}
        made.append(
            Prediction(
                sample_id=sample.id,
                model=answerer.model,
                condition="full",
                outcome=last.outcome,
                text=last.text if answered else "",
                detail=last.detail,
                request_sha256=content_hash({**sent, "rules": rules.sha256}),
                turns=tuple(transcript),
            )
        )
    return tuple(made)


def _refuse_strangers(folder: Path) -> None:
    if not folder.is_dir() or (folder / MANIFEST).is_file() or (folder / _JOURNAL).is_file():
        return
    strangers = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    if strangers:
        raise RunError(
            f"holds files that are no predictions ({', '.join(strangers[:3])})", file=folder, cure="give another --out"
        )


def _another_job(folder: Path) -> RunError:
    return RunError(
        "holds the consultations of another model, limit of turns, rules or samples folder",
        file=folder,
        cure="give another --out, or delete this folder to ask again",
    )


def _resume(folder: Path, plan: str) -> dict[int, tuple[Prediction, ...]]:
    path = folder / _JOURNAL
    if not path.is_file():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        os.truncate(path, len(whole))
    done = {}
    for line in read_jsonl(path, _Block, torn_tail=True):
        if line.plan_sha256 != plan:
            raise _another_job(folder)
        done[line.block] = line.predictions
    return done


def _append(journal: IO[bytes], line: _Block) -> None:
    journal.write(json.dumps(line.model_dump(mode="json"), ensure_ascii=False).encode() + b"\n")
    journal.flush()
    os.fsync(journal.fileno())
