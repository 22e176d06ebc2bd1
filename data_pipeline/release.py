"""Revised instances to a release: one Parquet file per split, credits, a datasheet, and an index of ids and hashes.

Convention: rows stand in the order of their ids; pictures travel inside the rows. Every row names licence, credit,
evidence and the hash of the instance it was made from.

Trap: a release holds copies of the sources' content; a source that may not be handed on makes the whole release one
for local use, and the manifest says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from data_pipeline.components import assign_splits, joined
from data_pipeline.config import ReleaseConfig
from data_pipeline.corpus import Corpus
from data_pipeline.credits import terms_of
from data_pipeline.items import Item
from data_pipeline.metadata import gather, lineage_of, plain_lineage, write_metadata
from data_pipeline.records import Ties
from data_pipeline.shards.shard import facts_of, rechunked
from data_pipeline.unique.stage import Verdict, read_verdicts
from spinemed.records import Axis, Instance, Origin, PackedImage, ReleaseRow, Source, Split, content_hash
from spinemed.tables import arrow_schema, atomic_write, plain, read_records, write_text

__all__ = ["IndexRow", "Place", "assign_places", "join_release", "place_items", "write_rows"]

SPLITS: tuple[Split, ...] = get_args(Split)
_ROWS = 256
"""Of a row group in a release."""
_WINDOW = 2048
"""Rows that are merged at a time."""
_BATCH = 64


class IndexRow(BaseModel):
    """One line of `index.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    """The instance's id."""
    split: Split
    """Where it stands."""
    component: str
    """Connected component that it belongs to; one component stands in one split."""
    axis: Axis
    """What it is about."""
    origin: Origin
    """Whether a patient's (`real`) or computed (`phantom`)."""
    source_id: str
    """Source that it came from."""
    licence: str
    """SPDX identifier of picture and text."""
    instance_sha256: str
    """Hash of the revised instance record."""


# --- one shard -------------------------------------------------------------------------------------------------------


def write_rows(
    folder: Path, items: Sequence[Item], corpus: Corpus, pictures: dict[str, bytes], places: Mapping[str, Place]
) -> dict[str, Any]:
    """Release rows of one shard, in the order of their ids, with their pictures.

    Args:
        folder: Where `rows.arrow` goes: a file that any row can be taken from without reading the others.
        items: The shard.
        corpus: Its sources are looked up here.
        pictures: Bytes by hash.
        places: Component and split of each item.
    """
    schema = _spilled()
    rows = []
    for item in sorted(items, key=lambda item: item.instance.id):
        place = places[item.instance.id]
        row = _row(item.instance, place, corpus, pictures)
        rows.append({**plain(row), "component": place.component})
    with atomic_write(folder / "rows.arrow") as stream, pa.ipc.new_file(stream, schema) as writer:
        for start in range(0, len(rows), _BATCH):
            writer.write_table(pa.Table.from_pylist(rows[start : start + _BATCH], schema=schema))
    return {"rows": len(rows), "lineage": plain_lineage(gather(corpus, (item.instance for item in items), {}))}


def _spilled() -> pa.Schema:
    return arrow_schema(ReleaseRow).append(pa.field("component", pa.string(), nullable=False))


def _row(instance: Instance, place: Place, corpus: Corpus, pictures: dict[str, bytes]) -> ReleaseRow:
    licence, credit = terms_of(instance, corpus)
    return ReleaseRow(
        id=instance.id,
        split=place.split,
        messages=instance.messages,
        images=tuple(PackedImage(bytes=pictures[digest], path=f"{digest}.png") for digest in instance.image_sha256),
        axis=instance.axis,
        task=instance.task,
        language=instance.language,
        answer=instance.answer,
        answer_kind=instance.answer_kind,
        options=instance.options,
        categories=instance.categories,
        levels=instance.levels,
        origin=instance.origin,
        source_id=instance.source_id,
        group_id=instance.group_id,
        licence=licence,
        attribution=credit,
        evidence_ids=tuple(part.id for part in instance.evidence),
        instance_sha256=content_hash(instance),
        tags=(*instance.tags, *place.tags),
    )


# --- the whole set ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where an item goes."""

    component: str
    """Connected component that it belongs to."""
    split: Split
    """Where that stands."""
    tags: tuple[str, ...] = ()
    """Its classes, which the row has besides the tags of its instance."""


def assign_places(
    ties: Iterable[Ties],
    sources: Mapping[str, Source],
    config: ReleaseConfig,
    seed: int,
    pairs: Iterable[tuple[str, str]] = (),
) -> dict[str, Place]:
    """Component and split of every item; in memory are ids and keys.

    Args:
        ties: What ties items to each other, streamed.
        sources: By id.
        config: Fractions of the splits.
        seed: Of the hash.
        pairs: Items that belong together besides, such as near duplicates.

    Raises:
        SourceError: The sources' pins or allowed uses contradict each other.
    """
    source_of: dict[str, Source] = {}

    def tied() -> Iterator[tuple[str, Iterable[str]]]:
        for row in ties:
            source_of[row.id] = sources[row.source_id]
            yield row.id, row.keys

    component_of = joined(tied(), pairs)
    split_of = assign_splits(component_of, source_of, config.fractions, seed)
    places = {component: Place(component, split) for component, split in split_of.items()}
    return {name: places[component] for name, component in component_of.items()}


def place_items(
    items: Path, unique: Path, sources: Mapping[str, Source], config: ReleaseConfig, seed: int
) -> Iterator[tuple[Verdict, Place | None, str]]:
    """What becomes of every revised item: its verdict, its place with its tags, and else why it is left out.

    Args:
        items: The revised folder.
        unique: The folder of verdicts on its items.
        sources: By id.
        config: Fractions of the splits.
        seed: Of the hash.

    Raises:
        SourceError: The sources' pins or allowed uses contradict each other.
    """
    verdicts = zip(read_records(items / "ties.parquet", Ties), read_verdicts(unique), strict=True)
    kept = (ties.model_copy(update={"keys": (*ties.keys, *v.ties)}) for ties, v in verdicts if not v.reason)
    places = assign_places(kept, sources, config, seed)
    for verdict in read_verdicts(unique):
        place = places.get(verdict.id)
        asked = verdict.held_out if place is not None and place.split != "test" else ""
        if place is None or asked:
            yield verdict, None, verdict.reason or f"{verdict.held_out_reason} as a benchmark"
        else:
            yield verdict, dataclasses.replace(place, tags=verdict.tags), ""


def join_release(
    folder: Path,
    shards: Sequence[Path],
    sources: Mapping[str, Source],
    cases: Path,
    stages: Mapping[str, str],
    reviewed: Mapping[str, Any] | None = None,
    account: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Merge the rows of all shards into one file per split, in the order of ids, and write what describes them.

    In memory are ids, and the rows that are being written.

    Args:
        folder: The release.
        shards: What :func:`write_rows` wrote.
        sources: By id.
        cases: The corpus's table of patients.
        stages: Hash of each folder on the road, by name.
        reviewed: Further facts for the manifest and the datasheet, where people reviewed the items.
        account: Counts of the stages before, for the datasheet.
    """
    tables = [pa.ipc.open_file(pa.memory_map(str(shard / "rows.arrow"))).read_all() for shard in shards]
    tables = [table for table in tables if table.num_rows]
    ids = np.array([name for table in tables for name in table["id"].to_pylist()], dtype=object)
    which = np.repeat(np.arange(len(tables)), [table.num_rows for table in tables])
    start = np.concatenate([[0], np.cumsum([table.num_rows for table in tables])]).astype(np.int64)
    order = np.argsort(ids, kind="stable")
    schema, facts, total = arrow_schema(ReleaseRow), _Facts(), 0
    with contextlib.ExitStack() as stack:
        index = stack.enter_context(atomic_write(folder / "index.jsonl"))
        files = {split: _SplitFile(stack, folder / "data" / f"{split}.parquet", schema) for split in SPLITS}
        for at in range(0, len(order), _WINDOW):
            window = order[at : at + _WINDOW]
            parts = []
            for number in np.unique(which[window]):
                rows = window[which[window] == number] - start[number]
                parts.append(tables[number].take(pa.array(np.sort(rows))))
            merged = pa.concat_tables(parts).sort_by("id").combine_chunks()
            for row in merged.select([*IndexRow.model_fields]).to_pylist():
                index.write(IndexRow.model_validate(row).model_dump_json().encode() + b"\n")
                facts.add(row)
            total += merged.num_rows
            for split, file in files.items():
                file.add(merged.filter(pc.equal(merged["split"], split)).drop_columns(["component"]))
        for file in files.values():
            file.end()
    if total != len(ids):
        raise AssertionError(f"{len(ids)} instances, {total} released")
    told = {**facts.as_dict(sources), **(reviewed or {})}
    write_text(folder / "ATTRIBUTION.md", _credits(sources, set(facts.counts["source_id"])))
    write_text(folder / "README.md", _datasheet(told))
    groups = {name for table in tables for name in table["group_id"].unique().to_pylist()}
    patients = sum(name in groups for name in pq.read_table(cases, columns=["group_id"])["group_id"].to_pylist())
    told_by_shard = [facts_of(shard)["lineage"] for shard in shards]
    write_metadata(folder, lineage_of(told_by_shard, sources, patients, stages), told, account)
    return told


class _SplitFile:
    """A growing file of one split, 256 rows to a row group."""

    def __init__(self, stack: contextlib.ExitStack, path: Path, schema: pa.Schema) -> None:
        stream = stack.enter_context(atomic_write(path))
        self.schema = schema
        self.writer = stack.enter_context(pq.ParquetWriter(stream, schema, compression="zstd"))
        self.held: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Take over rows."""
        self.held = [*self.held, table]
        if sum(held.num_rows for held in self.held) < _ROWS:
            return
        chunks = list(rechunked(self.held, _ROWS))
        self.held = [chunks.pop()] if chunks[-1].num_rows < _ROWS else []
        for chunk in chunks:
            self._write(chunk)

    def _write(self, table: pa.Table) -> None:
        self.writer.write_table(table.replace_schema_metadata(self.schema.metadata))

    def end(self) -> None:
        """Write the last, shorter row group."""
        for table in rechunked(self.held, _ROWS):
            self._write(table)


class _Facts:
    """Counts of released rows."""

    def __init__(self) -> None:
        self.total = 0
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in ("split", "axis", "origin", "source_id")}
        self.crossed: Counter[str] = Counter()
        self.licences: Counter[str] = Counter()
        self.components: set[str] = set()

    def add(self, row: Mapping[str, str]) -> None:
        """Count one row of the index."""
        self.total += 1
        for name, counts in self.counts.items():
            counts[row[name]] += 1
        self.crossed[f"{row['split']} / {row['axis']} / {row['origin']}"] += 1
        self.licences[row["licence"]] += 1
        self.components.add(row["component"])

    def as_dict(self, sources: Mapping[str, Source]) -> dict[str, Any]:
        """Facts for the manifest."""
        used = sorted(self.counts["source_id"])
        kept_home = [name for name in used if "redistribute" not in sources[name].allowed_use]
        return {
            "counts": {
                "total": self.total,
                **{name: dict(sorted(counts.items())) for name, counts in self.counts.items()},
                "split_axis_origin": dict(sorted(self.crossed.items())),
            },
            "components": len(self.components),
            "licences": dict(sorted(self.licences.items())),
            "redistributable": not kept_home,
            "not_redistributable_sources": kept_home,
        }


def _credits(sources: Mapping[str, Source], used: set[str]) -> str:
    lines = ["# Credits", "", "| source | licence | credit | allowed use |", "|---|---|---|---|"]
    for source in sources.values():
        if source.id in used:
            credit = source.attribution or "(none required)"
            lines.append(f"| {source.id} | {source.licence} | {credit} | {', '.join(source.allowed_use)} |")
    return "\n".join(lines) + "\n"


def _datasheet(facts: dict[str, Any]) -> str:
    counts = facts["counts"]
    lines = [
        "---",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *(f'  - {{split: {split}, path: "data/{split}.parquet"}}' for split in SPLITS),
        "---",
        "",
        "# SpineMed release",
        "",
        "Research use only. Not a medical device; no answer here is advice for a patient.",
        "",
        f"{counts['total']} questions with answers in {facts['components']} connected components; nothing that shares "
        "a patient, a phantom, a document group or a picture crosses splits.",
        "Rows of origin `phantom` are computed pictures, not patients. Rows tagged `truth:model_mask` rest on the "
        "output of a segmentation model, not on an expert's reading.",
        "Wrong options are texts of other documents of the same source, whatever their split.",
        "",
        "| split / axis / origin | rows |",
        "|---|---|",
        *(f"| {name} | {number} |" for name, number in counts["split_axis_origin"].items()),
        "",
        "Licences by row: " + ", ".join(f"{name} {number}" for name, number in facts["licences"].items()) + ".",
        "Credits: `ATTRIBUTION.md`. Ids, splits and hashes: `index.jsonl`. What it is and is not for: `DATASHEET.md`.",
        "For machines: `croissant.json`, `prov.jsonld`.",
    ]
    if not facts["redistributable"]:
        lines += ["", f"Not to be handed on: holds content of {', '.join(facts['not_redistributable_sources'])}."]
    return "\n".join(lines) + "\n"
