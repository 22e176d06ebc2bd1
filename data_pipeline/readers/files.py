"""The files of a source, each parsed in a sandbox, and what came back checked and counted.

Convention: a parser takes `path`, `name` and `source` (JSON) and answers :func:`pack` of a `Reading`;
:func:`read_files` runs it on every file of the source, in the order of their names. A file that breaks, hangs, grows
or crashes the parser is one `document` that failed, with the reason; the rest is read.

Trap: a link inside a source may lead out of it. Such a file is dropped, not followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from data_pipeline.readers.reading import Drop, Reading
from data_pipeline.records import FigurePair
from data_pipeline.sandbox import Answer, Limits, Rejection, run_limited
from spinemed.errors import ReadError
from spinemed.records import Document, Figure, ImageBlob, Source, Span, Study

__all__ = ["FileOptions", "overflows", "pack", "parse", "read_files", "unpack", "utf8_text"]


class FileOptions(BaseModel):
    """Options that every reader of untrusted files shares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: str = "*"
    """Which files of the folder are documents."""
    cpu_s: float = 20.0
    """Processor time a file may take."""
    wall_s: float = 60.0
    """Time a file may take."""
    memory_mib: int = 1024
    """Memory the parser may take on top of eight times the file."""

    @property
    def limits(self) -> Limits:
        """For the sandbox."""
        return Limits(cpu_s=self.cpu_s, wall_s=self.wall_s, memory_mib=self.memory_mib)


class _Packed(BaseModel):
    """The JSON side of a reading."""

    model_config = ConfigDict(extra="forbid")

    documents: list[Document]
    spans: list[Span]
    figures: list[Figure]
    studies: list[Study]
    figure_pairs: list[FigurePair]
    found: dict[str, int]
    kept: dict[str, int]
    drops: list[Drop]
    images: list[dict[str, Any]]


def pack(reading: Reading) -> Answer:
    """A reading as JSON and the bytes of its pictures."""
    packed = _Packed(
        documents=reading.documents,
        spans=reading.spans,
        figures=reading.figures,
        studies=reading.studies,
        figure_pairs=reading.figure_pairs,
        found=dict(reading.found),
        kept=dict(reading.kept),
        drops=reading.drops,
        images=[blob.model_dump(exclude={"bytes"}) for blob in reading.images],
    )
    return packed.model_dump(mode="json"), [blob.bytes for blob in reading.images]


def unpack(source_id: str, answer: Answer) -> Reading:
    """A reading from what a child answered, every record validated again.

    Raises:
        ReadError: It breaks a contract.
    """
    values, parts = answer
    try:
        packed = _Packed.model_validate(values)
        images = [ImageBlob(bytes=data, **facts) for facts, data in zip(packed.images, parts, strict=True)]
    except (ValidationError, ValueError, TypeError) as error:
        raise ReadError("the parser answered what is no reading", cure="report this file") from error
    reading = Reading(source_id, packed.documents, packed.spans, packed.figures, packed.studies, images)
    reading.found, reading.kept = Counter(packed.found), Counter(packed.kept)
    reading.drops, reading.figure_pairs = packed.drops, packed.figure_pairs
    return reading


def read_files(
    source: Source, root: Path, job: str, options: FileOptions, *, unit: str = "document", **arguments: Any
) -> Reading:
    """Parse all files of a source in the sandbox.

    Args:
        source: The entry of `sources.yaml`.
        root: Its file or folder.
        job: `package.module:function` of the parser.
        options: Pattern and limits.
        unit: What a file counts as when it is refused.
        arguments: More JSON arguments for the parser.

    Raises:
        ReadError: No file fits the pattern.
    """
    home = root if root.is_dir() else root.parent
    files = sorted(p for p in root.rglob(options.pattern) if p.is_file()) if root.is_dir() else [root]
    if not files:
        raise ReadError(f"holds no file like '{options.pattern}'", file=root, cure="check `path` and `pattern`")
    reading = Reading(source.id)
    facts = source.model_dump(mode="json")
    for file in files:
        name = file.relative_to(home).as_posix()
        if not file.resolve().is_relative_to(home.resolve()):
            reading.drop(unit, name, "leads out of the source")
            continue
        values = {"path": str(file), "name": name, "source": facts, **arguments}
        answer = run_limited(job, values, options.limits.for_file(file))
        if isinstance(answer, Rejection):
            reading.drop(unit, name, answer.reason, answer.note, failed=True)
            continue
        try:
            reading.add(unpack(source.id, answer))
        except ReadError as error:
            reading.drop(unit, name, "crashed the parser", error.problem, failed=True)
    return reading


def parse(source: Source, job: str, arguments: dict[str, Any], limits: Limits, file: Path) -> Reading:
    """Run a parser in the sandbox, for readers that end with the first file that cannot be read.

    Args:
        source: The entry of `sources.yaml`; the parser is given it as `source`.
        job: `package.module:function`.
        arguments: More JSON arguments.
        limits: What it may use.
        file: The file at fault, where the parser cannot name one.

    Raises:
        SpineMedError: The parser's own error, or that it was stopped.
    """
    answer = run_limited(job, {"source": source.model_dump(mode="json"), **arguments}, limits)
    if isinstance(answer, Rejection):
        raise answer.fault(file)
    return unpack(source.id, answer)


def overflows(row: Mapping[Any, Any]) -> bool:
    """Whether a row of a CSV table has more filled cells than the table has columns: an unquoted comma has moved what
    follows it into other columns."""
    return any(str(cell).strip() for cell in row.get(None) or ())


def utf8_text(data: bytes, name: str) -> str:
    """The text of a file, with or without a byte order mark.

    Raises:
        ReadError: It is no UTF-8; `name` is the file's.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadError("is no UTF-8 text", file=name, cure="save it as UTF-8") from error
