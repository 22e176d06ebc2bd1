"""What all importers share: tables with named columns, pictures, the questions, and the samples folder of them.

Convention: an importer adds questions to a :class:`Gathered`, which checks each by the contract, keeps pictures by
hash and counts what is dropped by reason. Ids are `KIND:` and what the data set calls the row.

Trap: `release_sha256` of such a folder is the hash of the files that were given, so that the same files make the same
folder; overlap with a training split is unknown here and counted as nothing, which the manifest says.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.folders import whole_folder
from bench.samples import SAMPLES_FILE, modality_of
from spinemed.errors import ReadError, RecordError
from spinemed.records import Message, Sample, content_hash, escape_placeholder
from spinemed.tables import file_sha256, parse_json, write_bytes, write_jsonl, write_manifest

__all__ = ["Gathered", "below", "question", "read_lines", "read_table", "required", "write_questions"]

PICTURES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}


@dataclass
class Gathered:
    """What an importer has found so far."""

    kind: str
    licence: str
    """SPDX identifier, or `LicenseRef-...`, or `NOASSERTION` where the data set states none."""
    source: str
    """Where the data set is published."""
    samples: list[Sample] = field(default_factory=list)
    pictures: dict[str, bytes] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)
    files: list[Path] = field(default_factory=list)

    def keep_picture(self, data: bytes, where: Path) -> str:
        """Path of a picture in the folder, by its hash.

        Raises:
            ReadError: It is neither PNG nor JPEG.
        """
        suffix = next((ending for start, ending in PICTURES.items() if data.startswith(start)), None)
        if suffix is None:
            raise ReadError("is neither PNG nor JPEG", file=where, cure="convert it to PNG")
        path = f"images/{hashlib.sha256(data).hexdigest()}{suffix}"
        self.pictures[path] = data
        return path

    def add(self, name: str, *, file: Path, line: int | None = None, **values: Any) -> None:
        """Add one question.

        Raises:
            RecordError: It breaks the contract of a sample; file, line and field are named.
        """
        facts = {"origin": "real", "source_id": self.kind, "licence": self.licence, "language": "en", **values}
        try:
            self.samples.append(Sample(id=f"{self.kind}:{name}", **facts))
        except ValidationError as error:
            first = error.errors()[0]
            raise RecordError(
                f"makes no question: {first['msg']}", file=file, line=line,
                field=".".join(str(part) for part in first["loc"]) or None, cure="mend or remove this row",
            ) from error  # fmt: skip


def below(images: Path, *parts: str, file: Path, line: int) -> Path:
    """The path of a picture that a table names.

    Raises:
        ReadError: The name leads out of the folder of pictures: a table must not fetch other files of this machine.
    """
    path = images.joinpath(*parts)
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(images)):
        raise ReadError(
            f"names a picture outside of the folder of pictures ({'/'.join(parts)})", file=file, line=line,
            cure="name pictures by their place below --images",
        )  # fmt: skip
    return path


def question(text: str, pictures: int) -> tuple[Message, ...]:
    """One user turn: the pictures first, then the text, whose own `<image>` means nothing."""
    return (Message(role="user", content="<image>" * pictures + ("\n" if pictures else "") + escape_placeholder(text)),)


def required(columns: Sequence[str], found: Sequence[str], file: Path) -> None:
    """Refuse a table that lacks a column.

    Raises:
        ReadError: All missing columns are named.
    """
    missing = [column for column in columns if column not in found]
    if missing:
        raise ReadError(
            f"lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} (it has {', '.join(found)})", file=file,
            field=missing[0], cure="give the file as it was published",
        )  # fmt: skip


def read_table(file: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV with their line numbers; names of columns lose spaces around them.

    Raises:
        ReadError: It cannot be read, lacks a column, or a row has more or fewer cells than the heading.
    """
    text = _text(file)
    reader = csv.reader(io.StringIO(text))
    try:
        heading = [name.strip() for name in next(reader, [])]
        required(columns, heading, file)
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(heading):
                raise ReadError(
                    f"has {len(cells)} cells under {len(heading)} columns", file=file, line=reader.line_num,
                    cure="mend this row",
                )  # fmt: skip
            yield reader.line_num, dict(zip(heading, (cell.strip() for cell in cells), strict=True))
    except csv.Error as error:
        raise ReadError(f"is no CSV ({error})", file=file, line=reader.line_num, cure="mend the quotes") from error


def read_lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects of a JSON list or of a file with one JSON object a line, with their line or place.

    Raises:
        ReadError: It cannot be read, or a row is no object.
    """
    text = _text(file)
    try:
        whole = parse_json(text) if text.lstrip().startswith("[") else None
        rows = list(enumerate(whole, 1)) if whole is not None else []
        if whole is None:
            rows = [(number, parse_json(line)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    except ValueError as error:
        raise ReadError(f"is neither a JSON list nor JSON lines ({error})", file=file, cure="give the published file") \
            from error  # fmt: skip
    for number, row in rows:
        if not isinstance(row, dict):
            raise ReadError("is no object", file=file, line=number, cure="give the published file")
        yield number, row


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"cannot be read ({error})", file=file, cure="give the published file, in UTF-8") from error


def write_questions(gathered: Gathered, out: str | os.PathLike[str]) -> dict[str, Any]:
    """Write the samples folder.

    Raises:
        RecordError: There is no question, or an id repeats.
        ReadError: `out` holds something else.
    """
    if not gathered.samples:
        reasons = "; ".join(f"{count} {reason}" for reason, count in sorted(gathered.left_out.items()))
        raise RecordError(
            f"holds no question about the spine that can be scored ({reasons or 'no row at all'})",
            file=gathered.files[0] if gathered.files else None, cure="give the files that hold them",
        )  # fmt: skip
    samples = sorted(gathered.samples, key=lambda sample: sample.id)
    repeated = [name for name, count in Counter(sample.id for sample in samples).items() if count > 1]
    if repeated:
        raise RecordError(
            f"{len(repeated)} ids repeat: {', '.join(sorted(repeated)[:3])}", file=gathered.files[0], field="id",
            cure="give each file once",
        )  # fmt: skip
    used = {path for sample in samples for path in sample.images}
    counts = Counter(f"{sample.axis}/{modality_of(sample)}/{sample.origin}" for sample in samples)
    with whole_folder(out, "samples") as partial:
        write_jsonl(partial / SAMPLES_FILE, samples)
        for path in sorted(used):
            write_bytes(partial / path, gathered.pictures[path])
        return write_manifest(
            partial,
            "samples",
            release_sha256=content_hash([gathered.kind, *sorted(file_sha256(file) for file in gathered.files)]),
            split="test",
            samples=len(samples),
            clusters=len({sample.cluster for sample in samples}),
            left_out=dict(sorted(gathered.left_out.items())),
            counts=dict(sorted(counts.items())),
            contamination={
                "train_rows": 0, "same_picture": 0, "same_question": 0, "same_question_and_answer": 0, "ids": [],
            },
            imported={"kind": gathered.kind, "source": gathered.source, "licence": gathered.licence,
                      "training_overlap": "not known"},
        )  # fmt: skip
