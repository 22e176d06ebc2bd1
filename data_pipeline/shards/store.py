"""Tables on disk by id, and the part of a corpus that a shard needs: what lets every stage work on a shard at a time.

Convention: of a table only the hashes of its keys are in memory (8 bytes a row and column); rows are read when asked
for, row group by row group. A part of a corpus is a :class:`~data_pipeline.corpus.Corpus` like any other, in the
corpus's order, with just the records that the shard's items rest on.

Trap: a check may look further than the evidence of its item: the passage of a condition is searched for the names of
all documents on that condition, so a part holds the whole group of such a document.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from data_pipeline.corpus import Corpus
from data_pipeline.criteria.checks import kind_of
from data_pipeline.items import Item
from data_pipeline.records import Derivation, Parts
from spinemed.errors import RecordError
from spinemed.records import Document, Figure, ImageBlob, Instance, Source, Span, Study
from spinemed.tables import read_jsonl, read_manifest

__all__ = [
    "CorpusStore",
    "TableStore",
    "derivations_of",
    "group_sizes",
    "hash64",
    "open_corpus",
    "open_table",
    "read_item_shard",
]

R = TypeVar("R", bound=BaseModel)


def hash64(text: str) -> int:
    """Eight bytes of a text's hash."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _hashes(texts: Iterable[str]) -> np.ndarray:
    return np.fromiter((hash64(text) for text in texts), dtype=np.uint64)


def _column_hashes(table: pa.Table, name: str) -> np.ndarray:
    known: dict[str, int] = {}  # ids of documents and sources repeat
    found = np.empty(table.num_rows, np.uint64)
    for place, text in enumerate(table[name].to_pylist()):
        if text not in known:
            known[text] = hash64(text)
        found[place] = known[text]
    return found


class TableStore(Generic[R]):
    """One Parquet table, rows found by key.

    Args:
        file: The table.
        model: Its contract; rows are validated when they are read.
        key: The column of unique texts.
        also: Further text columns that rows are found by.
    """

    def __init__(self, file: Path, model: type[R], key: str, also: Sequence[str] = ()) -> None:
        self.file, self.model = file, model
        self._stream = pq.ParquetFile(file)
        names = self._stream.read(columns=[key, *also])
        self._by = {name: _column_hashes(names, name) for name in (key, *also)}
        self._order = np.argsort(self._by[key], kind="stable")
        self._sorted = self._by[key][self._order]
        self._starts = np.concatenate([[0], np.cumsum(group_sizes(file))]).astype(np.int64)
        self._held: tuple[int, pa.Table] | None = None

    def __len__(self) -> int:
        return int(self._starts[-1])

    def find(self, keys: Iterable[str]) -> np.ndarray:
        """Places of rows with these keys, ascending; keys that are not there are left out."""
        wanted = np.unique(_hashes(keys))
        if not len(wanted) or not len(self._sorted):
            return np.zeros(0, np.int64)
        at = np.minimum(np.searchsorted(self._sorted, wanted), len(self._sorted) - 1)
        return np.sort(self._order[at[self._sorted[at] == wanted]])

    def where(self, column: str, values: Iterable[str]) -> np.ndarray:
        """Places of rows whose column holds one of the values, ascending."""
        return np.flatnonzero(np.isin(self._by[column], _hashes(values)))

    def take(self, places: np.ndarray) -> list[R]:
        """The rows at these places, ascending.

        Raises:
            RecordError: A row breaks its contract.
        """
        found: list[R] = []
        groups = np.searchsorted(self._starts, places, side="right") - 1
        for group in np.unique(groups):
            if self._held is None or self._held[0] != group:
                self._held = (int(group), self._stream.read_row_group(int(group)))
            inside = places[groups == group]
            rows = self._held[1].take(pa.array(inside - self._starts[group])).to_pylist()
            found += [_validated(self.model, values, self.file, int(place)) for place, values in zip(inside, rows)]
        return found


def _validated(model: type[R], values: Any, file: Path, place: int) -> R:
    """A row as its record; `place` counts from the first row of the file."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise RecordError(
            first["msg"], file=file, line=place + 1, field=".".join(map(str, first["loc"])),
            cure="run the stage that writes it again",
        ) from error  # fmt: skip


class CorpusStore:
    """A corpus folder; parts of it are read into memory one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources = {source.id: source for source in read_jsonl(folder / "sources.jsonl", Source)}
        self.documents = TableStore(folder / "documents.parquet", Document, "id", ("source_id", "group_id"))
        self.spans = TableStore(folder / "spans.parquet", Span, "id", ("document_id",))
        self.figures = TableStore(folder / "figures.parquet", Figure, "id", ("document_id",))
        self.studies = TableStore(folder / "studies.parquet", Study, "id")
        self.images = TableStore(folder / "images.parquet", ImageBlob, "sha256")

    def of_source(self, source_id: str) -> Corpus:
        """All documents of a source with their spans, figures and pictures."""
        return self.of_documents(self.documents.where("source_id", [source_id]))

    def of_documents(self, places: np.ndarray, *, pictures: bool = True) -> Corpus:
        """Documents with all their spans, figures and pictures."""
        documents = self.documents.take(places)
        names = [document.id for document in documents]
        spans = self.spans.take(self.spans.where("document_id", names))
        figures = self.figures.take(self.figures.where("document_id", names))
        return self._part(documents, spans, figures, (), pictures)

    def of_figures(self, places: np.ndarray, *, pictures: bool = True) -> Corpus:
        """Figures with their documents, and of these the spans that caption and mention them."""
        figures = self.figures.take(places)
        documents = self.documents.take(self.documents.find(figure.document_id for figure in figures))
        told = (name for figure in figures for name in (figure.caption_span_id, *figure.mention_span_ids))
        spans = self.spans.take(self.spans.find(name for name in told if name is not None))
        return self._part(documents, spans, figures, (), pictures)

    def of_studies(self, places: np.ndarray, *, pictures: bool = True) -> Corpus:
        """Studies with their pictures."""
        return self._part((), (), (), self.studies.take(places), pictures)

    def of_items(self, items: Sequence[Item], *, whole_documents: bool = False, pictures: bool = False) -> Corpus:
        """What items rest on.

        Args:
            items: The shard.
            whole_documents: All spans and figures of each document, not just those that are cited.
            pictures: With the pictures of figures and studies.
        """
        cited: dict[str, set[str]] = {"span": set(), "figure": set(), "study": set(), "document": set()}
        grouped: set[str] = set()
        for item in items:
            for part in item.instance.evidence:
                cited[part.kind].add(part.id)
                if part.kind == "document" and kind_of(item) == "condition":
                    grouped.add(part.id)
        span_places = self.spans.find(cited["span"])
        spans, figures = self.spans.take(span_places), self.figures.take(self.figures.find(cited["figure"]))
        names = cited["document"] | {span.document_id for span in spans} | {figure.document_id for figure in figures}
        places = self.documents.find(names)
        documents = self.documents.take(places)
        groups = {document.group_id for document in documents if document.id in grouped}
        if groups:
            documents = self.documents.take(np.union1d(places, self.documents.where("group_id", groups)))
        full = names if whole_documents else {d.id for d in documents if d.group_id in groups}
        if full:
            spans = self.spans.take(np.union1d(span_places, self.spans.where("document_id", full)))
        if whole_documents:
            figures = self.figures.take(self.figures.where("document_id", names))
        studies = self.studies.take(self.studies.find(cited["study"]))
        return self._part(documents, spans, figures, studies, pictures)

    def pictures(self, digests: Iterable[str]) -> dict[str, bytes]:
        """Bytes of pictures by hash; those that are not here are left out."""
        return {blob.sha256: blob.bytes for blob in self.images.take(self.images.find(digests))}

    def _part(
        self, documents: Sequence[Document], spans: Sequence[Span], figures: Sequence[Figure],
        studies: Sequence[Study], pictures: bool,
    ) -> Corpus:  # fmt: skip
        part = Corpus(
            folder=self.folder,
            sources=self.sources,
            documents={record.id: record for record in documents},
            spans={record.id: record for record in spans},
            figures={record.id: record for record in figures},
            studies={record.id: record for record in studies},
        )
        pictured: list[Figure | Study] = [*figures, *studies] if pictures else []
        part.images = {
            blob.sha256: blob for blob in self.images.take(self.images.find(r.image_sha256 for r in pictured))
        }
        return part


def open_corpus(folder: Path) -> CorpusStore:
    """The store of a corpus folder, kept open in this process for the next shard.

    Raises:
        ReadError: The folder holds no finished corpus.
    """
    return _open_corpus(folder, read_manifest(folder, "corpus")["sha256"])


@functools.lru_cache(maxsize=1)
def _open_corpus(folder: Path, sha256: str) -> CorpusStore:
    return CorpusStore(folder)


def open_table(file: Path, model: type[R], key: str, sha256: str) -> TableStore[R]:
    """A table kept open in this process; `sha256` is that of its folder, so that a rewritten file is opened anew."""
    found: TableStore[R] = _open_table(file, model, key, sha256)
    return found


@functools.lru_cache(maxsize=4)
def _open_table(file: Path, model: Any, key: str, sha256: str) -> TableStore[Any]:
    return TableStore(file, model, key)


def group_sizes(file: Path) -> list[int]:
    """Rows of each row group of a Parquet file: the shards of the stage that reads it."""
    with pq.ParquetFile(file) as stream:
        return [stream.metadata.row_group(place).num_rows for place in range(stream.num_row_groups)]


def read_item_shard(folder: Path, number: int) -> list[Item]:
    """The items of one row group of `instances.parquet` and `parts.parquet`, which are cut alike.

    Raises:
        RecordError: A row breaks its contract, or the two tables differ.
    """
    files = [folder / f"{name}.parquet" for name in ("instances", "parts")]
    values: list[list[Any]] = []
    for file in files:
        with pq.ParquetFile(file) as stream:
            before = sum(stream.metadata.row_group(place).num_rows for place in range(number))
            values.append(stream.read_row_group(number).to_pylist())
    items = []
    for place, (one, other) in enumerate(zip(*values, strict=True), start=before):
        item = Item(_validated(Instance, one, files[0], place), _validated(Parts, other, files[1], place))
        if item.instance.id != item.parts.instance_id:
            raise RecordError(
                f"stands beside the parts of {item.parts.instance_id}", file=folder / "instances.parquet",
                field=item.instance.id, cure="run the stage that writes it again",
            )  # fmt: skip
        items.append(item)
    return items


def derivations_of(store: TableStore[Derivation], items: Iterable[Item]) -> dict[str, Derivation]:
    """How the pictures of items were made, where they were made here."""
    digests = (digest for item in items for digest in item.instance.image_sha256)
    return {row.sha256: row for row in store.take(store.find(digests))}
