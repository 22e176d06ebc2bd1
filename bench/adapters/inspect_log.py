"""Logs of inspect_ai, `.json` and `.eval`, to replies; and the folder that its task needs.

Convention: the layout is that of inspect_ai 0.3 logs: `eval` (model, task, packages), `samples` with `id`, `epoch`,
`output.choices[0].message.content` and `stop_reason`, `error`. An `.eval` file is a zip of `header.json` and
`samples/*.json`. A stop for length is `truncated`, a content filter `refused`, an error of a sample `api_error`.

Trap: newer inspect compresses `.eval` files with Zstandard (method 93 of zip), which the zip reader of Python below
3.14 lacks; such members are found by the zip's own directory and unpacked with pyarrow's codec.
"""

from __future__ import annotations

import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

from bench.adapters.replies import Heard, Reply
from bench.samples import SAMPLES_FILE
from spinemed.errors import ReadError, RecordError
from spinemed.records import Outcome, Sample
from spinemed.tables import parse_json

__all__ = ["TASK_FILE", "read_inspect", "write_inspect"]

TASK_FILE = "spinebench_task.py"
_STOPS: dict[str, Outcome] = {"max_tokens": "truncated", "model_length": "truncated", "content_filter": "refused"}
_ZSTANDARD = 93
CURE = "give a log of inspect_ai, as JSON (`inspect log convert LOG --to json --output-dir DIR`)"


def write_inspect(folder: Path, samples: list[Sample], target: Path) -> None:
    """Copy questions, pictures and the task file; the folder runs with inspect_ai alone."""
    from spinemed.tables import write_jsonl

    shutil.copyfile(Path(__file__).with_name("inspect_task.py"), target / TASK_FILE)
    write_jsonl(target / SAMPLES_FILE, samples)
    for path in sorted({path for sample in samples for path in sample.images}):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / path, target / path)


def read_inspect(path: Path) -> Heard:
    """Replies of one log.

    Raises:
        ReadError: The file is no finished log of inspect_ai.
        RecordError: A sample was asked more than once.
    """
    log = _load(path)
    try:
        about, rows = log["eval"], log["samples"]
        model = str(about["model"])
        version = str(about.get("packages", {}).get("inspect_ai", "unknown"))
        replies: dict[str, Reply] = {}
        for row in rows:
            # A task of the Hub numbers its samples; ours stands in what it carries along.
            name = str(row.get("metadata", {}).get("sample_id") or row["id"])
            if name in replies:
                raise RecordError(
                    f"sample {name} was asked more than once", file=path, field="epochs", cure="run with --epochs 1"
                )
            replies[name] = _reply(row)
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        raise ReadError(f"lacks a part of a log ({error!r})", file=path, cure=CURE) from error
    if not replies:
        raise ReadError("holds no sample", file=path, cure="run the task with log_samples, to its end")
    facts = {"task": str(about.get("task", "")), "generate": dict(about.get("model_generate_config") or {})}
    return Heard(f"inspect_ai {version}", model, replies, facts)


def _reply(row: dict[str, Any]) -> Reply:
    if row.get("error"):
        return Reply(outcome="api_error", detail=str(row["error"]["message"]))
    choices = row["output"]["choices"]
    if not choices:
        return Reply(outcome="api_error", detail=str(row["output"].get("error") or "no choice came back"))
    stop = choices[0].get("stop_reason", "stop")
    if stop in _STOPS:
        return Reply(outcome=_STOPS[stop], detail=f"stop reason {stop}")
    content = choices[0]["message"]["content"]
    if isinstance(content, list):
        # Reasoning is a part of its own there; only what was said is read.
        content = "\n".join(part["text"] for part in content if part["type"] == "text")
    return Reply(str(content))


def _load(path: Path) -> dict[str, Any]:
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                log = parse_json(_member(archive, "header.json"))
                names = sorted(name for name in archive.namelist() if name.startswith("samples/"))
                log["samples"] = [parse_json(_member(archive, name)) for name in names]
        else:
            log = parse_json(path.read_bytes())
    except (
        EOFError,
        KeyError,
        MemoryError,
        OSError,
        RuntimeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ReadError(f"cannot be read as a log ({error})", file=path, cure=CURE) from error
    if not isinstance(log, dict):
        raise ReadError("is JSON, but no log", file=path, cure=CURE)
    return log


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Bytes of a member, also where it is compressed with Zstandard."""
    about = archive.getinfo(name)
    if about.compress_type != _ZSTANDARD:
        return archive.read(name)
    import pyarrow as pa

    assert archive.fp is not None
    archive.fp.seek(about.header_offset)
    # The local header is 30 bytes, of which the last four are the lengths of the name and of the extra field.
    lengths = struct.unpack("<HH", archive.fp.read(30)[26:])
    archive.fp.seek(sum(lengths), 1)
    packed = archive.fp.read(about.compress_size)
    return pa.Codec("zstd").decompress(packed, about.file_size, asbytes=True)
