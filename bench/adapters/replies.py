"""Replies that another engine wrote down become a predictions folder.

Convention: a reader gives :class:`Heard`, one reply for each sample id with an outcome of our own
(`answered`, `refused`, `truncated`, `api_error`, ...). The folder is written like one of the runner's, with the
answerer `external` and the engine, its version and the hash of the file in `identity`.

Trap: a sample that the engine never asked stops the import and is named; a reply is never guessed and none is empty
without an outcome.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.folders import whole_folder
from bench.runner.predict import PREDICTIONS_FILE
from bench.samples import read_samples
from spinemed.errors import RecordError
from spinemed.records import Outcome, Prediction, Sample, content_hash
from spinemed.tables import file_sha256, write_jsonl, write_manifest

__all__ = ["Heard", "Reply", "write_replies"]


@dataclass(frozen=True)
class Reply:
    """What came back to one question."""

    text: str = ""
    outcome: Outcome = "answered"
    detail: str = ""


@dataclass(frozen=True)
class Heard:
    """All replies in one file of an engine."""

    engine: str
    """Name and version, as the file says."""
    model: str
    replies: Mapping[str, Reply]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What else the file says that the replies depend on, e.g. the temperature."""


def write_replies(
    heard: Heard,
    files: list[Path],
    samples: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    name: str,
    asked: frozenset[str] | None = None,
) -> dict[str, Any]:
    """Write the predictions folder of replies that an engine recorded.

    Args:
        heard: The replies.
        files: Where they were read; hashed into the identity.
        samples: Samples folder that was exported.
        out: Predictions folder to write.
        name: The system's name in tables.
        asked: Ids that the engine could ask; the others become `failed` and say so. All of them unless given.

    Returns:
        The manifest.

    Raises:
        ReadError: `out` holds something else, or the samples folder is damaged.
        RecordError: A reply belongs to no sample, or a sample has none.
    """
    listed, about = read_samples(samples)
    ids = {sample.id for sample in listed}
    wanted = ids if asked is None else ids & asked
    where = files[0] if files else None
    unknown, missing = sorted(set(heard.replies) - ids), sorted(wanted - set(heard.replies))
    for what, names, cure in (
        ("replies belong to no sample of the folder", unknown, "give the samples folder that was exported"),
        ("samples have no reply", missing, f"let {heard.engine} ask all of them; a limited run cannot be scored"),
    ):
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            raise RecordError(f"{len(names)} {what}: {', '.join(names[:5])}{more}", file=where, cure=cure)
    identity = {"engine": heard.engine, "log_sha256": [file_sha256(file) for file in files], **heard.facts}
    made = [_prediction(sample, heard, identity) for sample in listed]
    with whole_folder(Path(out), "predictions") as partial:
        write_jsonl(partial / PREDICTIONS_FILE, made)
        return write_manifest(
            partial, "predictions", name=name, model=heard.model, answerer="external", identity=identity,
            condition="full", samples_sha256=about["sha256"], release_sha256=about["release_sha256"], versions={},
            predictions=len(made),
        )  # fmt: skip


def _prediction(sample: Sample, heard: Heard, identity: dict[str, Any]) -> Prediction:
    reply = heard.replies.get(sample.id) or Reply(outcome="failed", detail=f"{heard.engine} cannot ask this question")
    sent = {
        "identity": {"model": heard.model, **identity},
        "messages": [message.model_dump() for message in sample.messages],
        "images": [Path(path).stem for path in sample.images],
    }
    return Prediction(
        sample_id=sample.id, model=heard.model, condition="full", outcome=reply.outcome,
        text=reply.text if reply.outcome == "answered" else "", detail=reply.detail, request_sha256=content_hash(sent),
    )  # fmt: skip
