"""Sources to one corpus folder: documents, spans, figures, studies and pictures as Parquet, in a fixed order.

Convention: sources in the order of `sources.yaml`, records in the order of reading, pictures once each by hash. The
manifest says for every source and unit how many were found, kept, dropped and failed; `dropped.jsonl` names each.

Trap: the corpus copies picture bytes, so it stands alone; documents keep only text, and their files are re-hashed by
`spinemed data trace`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from data_pipeline.pool import map_in_order
from data_pipeline.readers import Reading, read_source
from data_pipeline.sources import source_path, verify_hashes
from spinemed.errors import ReadError, RecordError
from spinemed.records import Case, Document, Figure, ImageBlob, Record, Source, Span, Study
from spinemed.tables import read_jsonl, read_manifest, read_records, write_jsonl, write_records

__all__ = ["Corpus", "read_corpus", "shard_count", "write_corpus"]

_PHANTOM_SHARD = 250


def write_corpus(
    folder: Path,
    sources_file: Path,
    sources: list[Source],
    *,
    workers: int = 1,
    advance: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Read all sources into `folder` and return the account for its manifest.

    Raises:
        SpineMedError: A source is refused or unreadable.
        RecordError: Two records have one id.
    """
    for source in sources:
        verify_hashes(sources_file, source)
    readings = [Reading(source.id) for source in sources]
    place = {source.id: number for number, source in enumerate(sources)}
    shards = [(shard, source_path(sources_file, source)) for source in sources for shard in _shards(source)]
    for reading in map_in_order(_read_shard, shards, min(workers, len(shards))):
        readings[place[reading.source_id]].add(reading)
        advance(1)
    for reading in readings:
        reading.check()
    _refuse_twins(readings)
    write_records(folder / "documents.parquet", Document, (r for each in readings for r in each.documents))
    write_records(folder / "spans.parquet", Span, (r for each in readings for r in each.spans))
    write_records(folder / "figures.parquet", Figure, (r for each in readings for r in each.figures))
    write_records(folder / "studies.parquet", Study, (r for each in readings for r in each.studies))
    write_records(folder / "cases.parquet", Case, (r for each in readings for r in each.cases))
    pictures = {blob.sha256: blob for each in readings for blob in each.images}
    write_records(folder / "images.parquet", ImageBlob, pictures.values())
    write_jsonl(folder / "sources.jsonl", sources)
    write_jsonl(folder / "dropped.jsonl", (drop for each in readings for drop in each.drops))
    return {"sources": [_account(reading) for reading in readings], "images": len(pictures)}


def shard_count(sources: list[Source]) -> int:
    """How many pieces of work a corpus is: what a progress bar counts."""
    return sum(len(_shards(source)) for source in sources)


def _shards(source: Source) -> list[Source]:
    """A source in pieces that can be read apart. Pieces depend on the source alone, never on the workers."""
    if source.kind != "phantom" or not isinstance(source.options.get("count"), int):
        return [source]
    count, first = source.options["count"], source.options.get("first_index", 0)
    return [
        source.model_copy(
            update={
                "options": {
                    **source.options,
                    "first_index": first + start,
                    "count": min(_PHANTOM_SHARD, count - start),
                }
            }
        )
        for start in range(0, max(count, 1), _PHANTOM_SHARD)
    ]


def _read_shard(work: tuple[Source, Path]) -> Reading:
    return read_source(*work)


def _refuse_twins(readings: list[Reading]) -> None:
    seen: set[str] = set()
    for reading in readings:
        records: list[Any] = [*reading.documents, *reading.spans, *reading.figures, *reading.studies]
        for record in records:
            if record.id in seen:
                raise RecordError(
                    f"two records of source '{reading.source_id}' have the id {record.id}",
                    field="id",
                    cure="list the file or the volume only once in the sources",
                )
            seen.add(record.id)


def _account(reading: Reading) -> dict[str, Any]:
    reasons: dict[str, Counter[str]] = {"dropped": Counter(), "failed": Counter()}
    outcome: dict[str, Counter[str]] = {"dropped": Counter(), "failed": Counter()}
    for drop in reading.drops:
        reasons[drop.outcome][f"{drop.unit}: {drop.reason}"] += 1
        outcome[drop.outcome][drop.unit] += 1
    return {
        "source_id": reading.source_id,
        "units": {
            unit: {
                "found": number,
                "kept": reading.kept[unit],
                "dropped": outcome["dropped"][unit],
                "failed": outcome["failed"][unit],
            }
            for unit, number in sorted(reading.found.items())
        },
        "reasons": {name: dict(sorted(counts.items())) for name, counts in reasons.items() if counts},
    }


@dataclass
class Corpus:
    """A corpus folder in memory, looked up by id. Picture bytes are read when first asked for."""

    folder: Path
    sources: dict[str, Source]
    documents: dict[str, Document]
    spans: dict[str, Span]
    figures: dict[str, Figure]
    studies: dict[str, Study]
    cases: dict[str, Case] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def spans_of(self) -> dict[str, list[Span]]:
        """Spans of each document, in reading order."""
        found: dict[str, list[Span]] = {}
        for span in self.spans.values():
            found.setdefault(span.document_id, []).append(span)
        return found

    @cached_property
    def images(self) -> dict[str, ImageBlob]:
        """All pictures by hash."""
        return {blob.sha256: blob for blob in read_records(self.folder / "images.parquet", ImageBlob)}

    def source_of(self, record: Document | Study) -> Source:
        """The source of a document or study."""
        return self.sources[record.source_id]


def read_corpus(folder: Path) -> Corpus:
    """Read a corpus folder and check that its parts fit together.

    Raises:
        ReadError: The folder is incomplete, or a table is truncated.
        RecordError: A row breaks its contract, or a span does not match its document.
    """
    manifest = read_manifest(folder, "corpus")
    corpus = Corpus(
        folder=folder,
        sources={source.id: source for source in read_jsonl(folder / "sources.jsonl", Source)},
        documents={record.id: record for record in read_records(folder / "documents.parquet", Document)},
        spans={record.id: record for record in read_records(folder / "spans.parquet", Span)},
        figures={record.id: record for record in read_records(folder / "figures.parquet", Figure)},
        studies={record.id: record for record in read_records(folder / "studies.parquet", Study)},
        cases={record.id: record for record in read_records(folder / "cases.parquet", Case)},
        manifest=manifest,
    )
    for span in corpus.spans.values():
        document = corpus.documents.get(span.document_id)
        if document is None or document.text[span.start : span.end] != span.text:
            raise RecordError(
                f"span {span.id} is not what its document {span.document_id} holds at {span.start}:{span.end}",
                file=folder / "spans.parquet",
                field="text",
                cure="build the corpus again",
            )
    _require_cases(corpus)
    held = _picture_hashes(folder)
    pictured: list[Figure | Study] = [*corpus.figures.values(), *corpus.studies.values()]
    for record in pictured:
        if record.image_sha256 not in held:
            raise ReadError(
                f"the picture {record.image_sha256} of {record.id} is missing",
                file=folder / "images.parquet",
                field="image_sha256",
                cure="build the corpus again",
            )
    return corpus


def _require_cases(corpus: Corpus) -> None:
    """Nothing of a patient without a case, and no case without what was cleared of it."""
    cleared = {case.group_id for case in corpus.cases.values() if case.cleared}
    records: list[Document | Study] = [*corpus.documents.values(), *corpus.studies.values()]
    for record in records:
        if corpus.sources[record.source_id].kind == "hospital" and record.group_id not in cleared:
            raise RecordError(
                f"{record.id} is of a patient, and no case says that it was cleared",
                file=corpus.folder / "cases.parquet",
                field="cleared",
                cure="build the corpus again from what `spinemed data deidentify` wrote",
            )


class _Hash(Record):
    """Just the hash column of the picture table."""

    sha256: str


def _picture_hashes(folder: Path) -> set[str]:
    return {row.sha256 for row in read_records(folder / "images.parquet", _Hash, columns=["sha256"])}
