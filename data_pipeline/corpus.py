"""Sources to one corpus folder: documents, spans, figures, studies and pictures as Parquet, in a fixed order.

Convention: sources in the order of `sources.yaml`, records in the order of reading, pictures once each by hash. Each
source (phantoms: each 250 of one) is read as a shard of its own, and the shards are joined on disk. The manifest says
for every source and unit how many were found, kept, dropped and failed; `dropped.jsonl` names each.

Trap: the corpus copies picture bytes, so it stands alone; documents keep only text, and their files are re-hashed by
`spinemed data trace`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from data_pipeline.readers import read_source
from data_pipeline.records import FigurePair
from data_pipeline.shards.engines import Crew
from data_pipeline.shards.shard import facts_of, job, join_lines, join_tables
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
    home: Path,
    crew: Crew | None = None,
    advance: Callable[[int], None] = lambda number: None,
) -> dict[str, Any]:
    """Read all sources into `folder` and return the account for its manifest.

    Args:
        folder: Where the corpus goes.
        sources_file: The `sources.yaml`.
        sources: Its entries, resolved.
        home: Where the shards lie until the corpus is whole; kept when the reading is interrupted.
        crew: Who reads; this process unless given.
        advance: Called with 1 for each shard read.

    Raises:
        SpineMedError: A source is refused or unreadable.
        RecordError: Two records have one id.
    """
    for source in sources:
        verify_hashes(sources_file, source)
    shards = [shard for source in sources for shard in _shards(source)]
    jobs = [
        job(home, number, 1, read_shard, (shard, source_path(sources_file, shard)), shard.model_dump(mode="json"))
        for number, shard in enumerate(shards)
    ]
    made = (crew or Crew()).make(jobs, advance)
    _refuse_twins(made, shards)
    for name, (model, rows) in _TABLES.items():
        once = "sha256" if name == "images" else None
        files = [path / f"{name}.parquet" for path in made]
        written = join_tables(folder / f"{name}.parquet", model, files, rows=rows, once=once)
    write_jsonl(folder / "sources.jsonl", sources)
    join_lines(folder / "dropped.jsonl", (path / "dropped.jsonl" for path in made))
    accounts = {source.id: _Account(source.id) for source in sources}
    for shard, path in zip(shards, made):
        accounts[shard.id].add(facts_of(path))
    return {"sources": [account.as_dict() for account in accounts.values()], "images": written}


_TABLES: dict[str, tuple[type[Record], int]] = {
    "documents": (Document, 64),
    "spans": (Span, 1024),
    "figures": (Figure, 1024),
    "studies": (Study, 512),
    "cases": (Case, 256),
    "figure_pairs": (FigurePair, 1024),
    "images": (ImageBlob, 64),
}
"""Tables of a corpus, with the rows of a row group: what is in memory when one of them is looked up. Pictures last."""


def read_shard(work: tuple[Source, Path], folder: Path) -> dict[str, Any]:
    """Read one piece of a source into a folder of tables, and check that its parts fit together."""
    source, path = work
    reading = read_source(source, path)
    reading.check()
    tables = {
        "documents": reading.documents, "spans": reading.spans, "figures": reading.figures,
        "studies": reading.studies, "cases": reading.cases,
        "figure_pairs": reading.figure_pairs,
        "images": list({blob.sha256: blob for blob in reading.images}.values()),
    }  # fmt: skip
    corpus = Corpus(
        folder, {source.id: source}, {record.id: record for record in reading.documents},
        {record.id: record for record in reading.spans}, {record.id: record for record in reading.figures},
        {record.id: record for record in reading.studies}, {record.id: record for record in reading.cases},
    )  # fmt: skip
    _check(corpus, {blob.sha256 for blob in reading.images})
    for name, (model, _) in _TABLES.items():
        write_records(folder / f"{name}.parquet", model, tables[name])  # type: ignore[arg-type]
    write_jsonl(folder / "dropped.jsonl", reading.drops)
    drops = Counter((drop.outcome, drop.unit, drop.reason) for drop in reading.drops)
    return {
        "found": dict(reading.found), "kept": dict(reading.kept),
        "drops": [[*key, number] for key, number in sorted(drops.items())],
    }  # fmt: skip


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


def _refuse_twins(made: Sequence[Path], shards: Sequence[Source]) -> None:
    """Ids of all shards are in memory here, and nothing else of them."""
    seen: set[str] = set()
    for path, shard in zip(made, shards):
        for table in ("documents", "spans", "figures", "studies"):
            for row in read_records(path / f"{table}.parquet", _Id, columns=["id"]):
                if row.id in seen:
                    raise RecordError(
                        f"two records of source '{shard.id}' have the id {row.id}",
                        field="id",
                        cure="list the file or the volume only once in the sources",
                    )
                seen.add(row.id)


class _Account:
    """What was found, kept and left out of one source, added up over its shards."""

    def __init__(self, source_id: str) -> None:
        self.source_id = source_id
        self.found: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()
        self.drops: Counter[tuple[str, str, str]] = Counter()

    def add(self, facts: dict[str, Any]) -> None:
        """Take over one shard's."""
        self.found.update(facts["found"])
        self.kept.update(facts["kept"])
        self.drops.update({(outcome, unit, reason): number for outcome, unit, reason, number in facts["drops"]})

    def as_dict(self) -> dict[str, Any]:
        """For the manifest."""
        reasons: dict[str, Counter[str]] = {"dropped": Counter(), "failed": Counter()}
        outcomes: dict[str, Counter[str]] = {"dropped": Counter(), "failed": Counter()}
        for (outcome, unit, reason), number in self.drops.items():
            reasons[outcome][f"{unit}: {reason}"] += number
            outcomes[outcome][unit] += number
        return {
            "source_id": self.source_id,
            "units": {
                unit: {
                    "found": number,
                    "kept": self.kept[unit],
                    "dropped": outcomes["dropped"][unit],
                    "failed": outcomes["failed"][unit],
                }
                for unit, number in sorted(self.found.items())
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
    _check(corpus, _picture_hashes(folder))
    return corpus


def _check(corpus: Corpus, held: set[str]) -> None:
    """Spans are what their documents hold, patients have a case, pictures are there."""
    for span in corpus.spans.values():
        document = corpus.documents.get(span.document_id)
        if document is None or document.text[span.start : span.end] != span.text:
            raise RecordError(
                f"span {span.id} is not what its document {span.document_id} holds at {span.start}:{span.end}",
                file=corpus.folder / "spans.parquet",
                field="text",
                cure="build the corpus again",
            )
    _require_cases(corpus)
    pictured: list[Figure | Study] = [*corpus.figures.values(), *corpus.studies.values()]
    for record in pictured:
        if record.image_sha256 not in held:
            raise ReadError(
                f"the picture {record.image_sha256} of {record.id} is missing",
                file=corpus.folder / "images.parquet",
                field="image_sha256",
                cure="build the corpus again",
            )


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


class _Id(Record):
    """Just the id column of a table."""

    id: str


class _Hash(Record):
    """Just the hash column of the picture table."""

    sha256: str


def _picture_hashes(folder: Path) -> set[str]:
    return {row.sha256 for row in read_records(folder / "images.parquet", _Hash, columns=["sha256"])}
