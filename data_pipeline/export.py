"""A release in the layouts that other trainers read: ShareGPT and LLaVA as JSON, ms-swift as JSON lines.

Convention: one file for each split beside `images/`, where each picture stands once under its hash; `<image>` stands in
a turn where its picture belongs. Id, origin, source, licence and credit travel with every row, under keys that these
trainers leave alone. :func:`read_export` turns a folder back into the turns and pictures of the release.

Trap: LLaVA's layout names one picture, or several as a list; a row without pictures has no `image` key, because an
empty one is opened as a file.

Layouts: ShareGPT as `conversations` of `from`/`value` with `images`; LLaVA's `conversations` with `image`; ms-swift's
`messages` with `images` (https://swift.readthedocs.io, "Custom dataset").
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from data_pipeline.check_release import SPLITS
from spinemed.errors import ReadError, RecordError
from spinemed.records import Message, ReleaseRow
from spinemed.tables import (
    atomic_folder,
    atomic_write,
    parse_json,
    read_manifest,
    read_records,
    write_bytes,
    write_manifest,
)

__all__ = ["ExportFormat", "ExportedRow", "export_release", "read_export"]

ExportFormat = Literal["sharegpt", "llava", "msswift"]
_FROM = {"user": "human", "assistant": "gpt", "system": "system"}
_ROLE = {name: role for role, name in _FROM.items()}


@dataclass(frozen=True)
class ExportedRow:
    """One row as it stands in an export."""

    id: str
    split: str
    messages: tuple[Message, ...]
    images: tuple[bytes, ...]


def export_release(release: Path, out: Path, layout: ExportFormat) -> dict[str, Any]:
    """Write a release in another layout.

    Args:
        release: The folder of a release.
        out: The folder to write; it appears whole or not at all.
        layout: Whose.

    Returns:
        The manifest of the export.

    Raises:
        ReadError: The release is incomplete, or `out` is a folder that is no export.
        RecordError: A row breaks its contract, or a picture is not what its name says.
    """
    facts = read_manifest(release, "release")
    if out.exists():  # replaced if it is an export, never otherwise
        read_manifest(out, "export")
    counts: Counter[str] = Counter()
    pictures: set[str] = set()
    with atomic_folder(out) as folder:
        for split in SPLITS:
            suffix = "jsonl" if layout == "msswift" else "json"
            rows = read_records(release / "data" / f"{split}.parquet", ReleaseRow)
            counts[split] = _write(folder / f"{split}.{suffix}", _rows(folder, rows, layout, pictures), layout)
        shutil.copyfile(release / "ATTRIBUTION.md", folder / "ATTRIBUTION.md")
        return write_manifest(
            folder, "export", format=layout, release_sha256=facts["sha256"], rows=dict(counts), pictures=len(pictures),
            redistributable=facts["redistributable"],
        )  # fmt: skip


def _rows(
    folder: Path, rows: Iterator[ReleaseRow], layout: ExportFormat, pictures: set[str]
) -> Iterator[dict[str, Any]]:
    for row in rows:
        paths = []
        for image in row.images:
            digest = hashlib.sha256(image.bytes).hexdigest()
            if image.path != f"{digest}.png":
                raise RecordError(
                    f"the picture {image.path} of {row.id} has the hash {digest}", field="images",
                    cure="write the release again",
                )  # fmt: skip
            path = f"images/{digest[:2]}/{digest}.png"
            if digest not in pictures:
                write_bytes(folder / path, image.bytes)
                pictures.add(digest)
            paths.append(path)
        yield _row(row, paths, layout)


def _row(row: ReleaseRow, paths: list[str], layout: ExportFormat) -> dict[str, Any]:
    values: dict[str, Any] = {"id": row.id}
    if layout == "msswift":
        values["messages"] = [{"role": message.role, "content": message.content} for message in row.messages]
    else:
        values["conversations"] = [{"from": _FROM[message.role], "value": message.content} for message in row.messages]
    if layout != "llava":
        values["images"] = paths
    elif paths:
        values["image"] = paths[0] if len(paths) == 1 else paths
    names = ("task", "language", "origin", "source_id", "licence", "attribution")
    return {**values, **{name: getattr(row, name) for name in names}}


def _write(file: Path, rows: Iterator[dict[str, Any]], layout: ExportFormat) -> int:
    """Stream rows as JSON lines, or as one list with a row a line."""
    number = 0
    with atomic_write(file) as stream:
        stream.write(b"" if layout == "msswift" else b"[")
        for row in rows:
            text = json.dumps(row, ensure_ascii=False)
            stream.write((text if layout == "msswift" else f"{',' if number else ''}\n{text}").encode())
            stream.write(b"\n" if layout == "msswift" else b"")
            number += 1
        stream.write(b"" if layout == "msswift" else b"\n]\n")
    return number


def read_export(folder: Path) -> Iterator[ExportedRow]:
    """The rows of an export, split after split, as turns and picture bytes.

    Raises:
        ReadError: The folder is no finished export, or a picture is missing.
    """
    manifest = read_manifest(folder, "export")
    layout = manifest["format"]
    if layout not in get_args(ExportFormat):
        raise ReadError(f"is of the unknown layout '{layout}'", file=folder, cure="export the release again")
    for split in SPLITS:
        file = folder / f"{split}.{'jsonl' if layout == 'msswift' else 'json'}"
        text = file.read_text(encoding="utf-8")
        rows = [parse_json(line) for line in text.split("\n") if line] if layout == "msswift" else json.loads(text)
        for row in rows:
            if layout == "msswift":
                turns = [Message(role=turn["role"], content=turn["content"]) for turn in row["messages"]]
            else:
                turns = [
                    Message.model_validate({"role": _ROLE[turn["from"]], "content": turn["value"]})
                    for turn in row["conversations"]
                ]
            paths = row.get("images", row.get("image", []))
            paths = [paths] if isinstance(paths, str) else paths
            yield ExportedRow(row["id"], split, tuple(turns), tuple(_picture(folder / path) for path in paths))


def _picture(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ReadError("cannot be read", file=path, cure="export the release again") from error
