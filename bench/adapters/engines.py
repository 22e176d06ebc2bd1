"""Which engines there are, and the two ways: questions out, replies in.

Convention: an exported folder holds the engine's own files and `manifest.json` (kind `export`: format, samples by hash,
counts of what was left out and why). On the way back, a question that the engine cannot ask is `failed` and counts as
wrong, never missing in silence; how many there are stands in the export's manifest.

Trap: letters. An engine that shuffles options answers about its own letters; export keeps ours, so run it unshuffled.
"""

from __future__ import annotations

import os
import typing
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bench.adapters.hub import write_hub
from bench.adapters.inspect_log import read_inspect, write_inspect
from bench.adapters.lmms_eval import read_lmms_eval, write_lmms_eval
from bench.adapters.questions import askable
from bench.adapters.replies import Heard, write_replies
from bench.adapters.vlmevalkit import read_vlmevalkit, way, write_vlmevalkit
from bench.folders import whole_folder
from bench.samples import read_samples
from spinemed.errors import ConfigError, RecordError
from spinemed.records import Sample
from spinemed.tables import write_manifest

__all__ = ["FORMATS", "Format", "export_samples", "import_replies"]

Format = Literal["inspect", "lmms-eval", "vlmevalkit", "hub"]
FORMATS: tuple[str, ...] = typing.get_args(Format)
"""The layouts that questions can be exported to."""
_TURNS = {"inspect": True, "lmms-eval": False, "vlmevalkit": False, "hub": False}


def export_samples(samples: str | os.PathLike[str], out: str | os.PathLike[str], *, form: str) -> dict[str, Any]:
    """Write the questions of a samples folder in an engine's layout.

    Args:
        samples: Samples folder.
        out: Folder to write; an earlier export there is replaced.
        form: One of `FORMATS`.

    Returns:
        The export's manifest: `exported`, and `left_out` by reason.

    Raises:
        ConfigError: There is no such format.
        ReadError, RecordError: The samples folder is damaged, or `out` holds something else.
        RecordError: The engine can ask none of these questions.
    """
    _known(form)
    listed, about = read_samples(samples)
    folder, reasons = Path(samples), Counter[str]()
    kept = askable(listed, turns=_TURNS[form], reasons=reasons)
    with whole_folder(out, "export") as partial:
        if form == "inspect":
            write_inspect(folder, kept, partial)
        elif form == "lmms-eval":
            write_lmms_eval(folder, kept, partial, Path(out).resolve())
        elif form == "vlmevalkit":
            write_vlmevalkit(folder, kept, partial, reasons)
        else:
            write_hub(folder, kept, partial, reasons)
        exported = len(listed) - sum(reasons.values())
        if not exported:
            raise RecordError(
                f"{form} can ask none of the {len(listed)} questions: {'; '.join(sorted(reasons))}", file=folder,
                cure="take another format",
            )  # fmt: skip
        return write_manifest(
            partial, "export", format=form, samples_sha256=about["sha256"], exported=exported,
            left_out=dict(sorted(reasons.items())),
        )  # fmt: skip


def import_replies(
    paths: Sequence[str | os.PathLike[str]],
    samples: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    form: str,
    name: str | None = None,
    model: str | None = None,
) -> dict[str, Any]:
    """Read what an engine recorded and write a predictions folder.

    Args:
        paths: The engine's logs: one, or one for each exported TSV of VLMEvalKit.
        samples: Samples folder that was exported.
        out: Predictions folder to write.
        form: One of `FORMATS`; `hub` logs are inspect's.
        name: The system's name in tables; the model's unless given.
        model: For engines whose files do not name the model.

    Returns:
        The manifest of the predictions folder.

    Raises:
        ConfigError: There is no such format, or several logs are given to an engine that writes one.
        ReadError, RecordError, MissingPartError: As the engine's reader, and `write_replies`.
    """
    _known(form)
    files = [Path(path) for path in paths]
    heard: Heard
    if form == "vlmevalkit":
        heard = read_vlmevalkit(files, model=model)
    elif form == "hub":
        heard = _together([read_inspect(file) for file in files])
    elif len(files) != 1:
        raise ConfigError(f"{form} writes one log for a run, not {len(files)}", field="--path", cure="give one")
    else:
        heard = read_inspect(files[0]) if form == "inspect" else read_lmms_eval(files[0], model=model)
    listed, _ = read_samples(samples)
    asked = frozenset(sample.id for sample in _asked(listed, form))
    return write_replies(heard, files, samples, out, name=name or heard.model, asked=asked)


def _asked(samples: Sequence[Sample], form: str) -> list[Sample]:
    kept = askable(samples, turns=_TURNS[form])
    if form == "vlmevalkit":
        return [sample for sample in kept if way(sample) is not None]
    if form == "hub":
        return [sample for sample in kept if len(sample.images) < 2]
    return kept


def _together(logs: Sequence[Heard]) -> Heard:
    if len({(log.engine, log.model) for log in logs}) != 1:
        raise RecordError(
            "the logs are of several models or versions", field="--path", cure="give the logs of one model's run"
        )
    replies = {name: reply for log in logs for name, reply in log.replies.items()}
    if len(replies) != sum(len(log.replies) for log in logs):
        raise RecordError("a sample stands in two logs", field="--path", cure="give each log once")
    return Heard(logs[0].engine, logs[0].model, replies, {"tasks": [log.facts.get("task", "") for log in logs]})


def _known(form: str) -> None:
    if form not in FORMATS:
        raise ConfigError(f"{form!r} is no format", field="--format", cure=f"use one of {', '.join(FORMATS)}")
