"""Revised instances to a release: one Parquet file per split, credits, a datasheet, and an index of ids and hashes.

Convention: rows stand in the order of their ids; pictures travel inside the rows. Every row names licence, credit,
evidence and the hash of the instance it was made from.

Trap: a release holds copies of the sources' content; a source that may not be handed on makes the whole release one
for local use, and the manifest says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict

from data_pipeline.components import assign_splits, components
from data_pipeline.config import ReleaseConfig
from data_pipeline.corpus import Corpus
from data_pipeline.credits import terms_of
from data_pipeline.items import Item
from data_pipeline.metadata import gather, write_metadata
from data_pipeline.records import Derivation
from spinemed.records import Axis, ImageBlob, Instance, Origin, PackedImage, ReleaseRow, Split, content_hash
from spinemed.tables import read_manifest, read_records, write_jsonl, write_records, write_text

__all__ = ["IndexRow", "keys_of", "write_release"]

SPLITS: tuple[Split, ...] = get_args(Split)


class IndexRow(BaseModel):
    """One line of `index.jsonl`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    split: Split
    component: str
    axis: Axis
    origin: Origin
    source_id: str
    licence: str
    instance_sha256: str


def keys_of(instance: Instance, corpus: Corpus, derivations: dict[str, Derivation]) -> list[str]:
    """Everything that ties an instance to others: its group, its pictures and where they came from, its documents."""
    keys = [f"group:{instance.group_id}"]
    for digest in instance.image_sha256:
        keys.append(f"image:{digest}")
        if digest in derivations:
            keys.append(f"image:{derivations[digest].from_sha256}")
    for part in instance.evidence:
        if part.kind == "study":
            keys.append(f"group:{corpus.studies[part.id].group_id}")
        elif part.kind == "figure":
            keys.append(f"group:{corpus.documents[corpus.figures[part.id].document_id].group_id}")
        elif part.kind == "document":
            keys.append(f"group:{corpus.documents[part.id].group_id}")
        else:
            keys.append(f"group:{corpus.documents[corpus.spans[part.id].document_id].group_id}")
    return keys


def write_release(
    folder: Path, items: list[Item], corpus: Corpus, drafts: Path, config: ReleaseConfig, seed: int
) -> dict[str, Any]:
    """Write the release and return the facts for its manifest.

    Raises:
        SourceError: The sources' pins or allowed uses contradict each other.
    """
    derivations = {row.sha256: row for row in read_records(drafts / "derivations.parquet", Derivation)}
    instances = sorted((item.instance for item in items), key=lambda instance: instance.id)
    component_of = components({i.id: keys_of(i, corpus, derivations) for i in instances})
    source_of = {i.id: corpus.sources[i.source_id] for i in instances}
    split_of = assign_splits(component_of, source_of, config.fractions, seed)
    pictures = {blob.sha256: blob.bytes for blob in read_records(drafts / "images.parquet", ImageBlob)}
    pictures |= {sha: blob.bytes for sha, blob in corpus.images.items() if sha not in pictures}
    index: list[IndexRow] = []

    def rows(split: Split) -> Iterator[ReleaseRow]:
        for instance in instances:
            if split_of[component_of[instance.id]] == split:
                row = _row(instance, split, corpus, pictures)
                index.append(
                    IndexRow(
                        id=row.id,
                        split=split,
                        component=component_of[row.id],
                        axis=row.axis,
                        origin=row.origin,
                        source_id=row.source_id,
                        licence=row.licence,
                        instance_sha256=row.instance_sha256,
                    )
                )
                yield row

    for split in SPLITS:
        write_records(folder / "data" / f"{split}.parquet", ReleaseRow, rows(split), batch=256)
    if len(index) != len(instances):
        raise AssertionError(f"{len(instances)} instances, {len(index)} released")
    index.sort(key=lambda row: row.id)
    write_jsonl(folder / "index.jsonl", index)
    facts = _facts(index, corpus)
    write_text(folder / "ATTRIBUTION.md", _credits(corpus, {row.source_id for row in index}))
    write_text(folder / "README.md", _datasheet(facts))
    stages = {name: read_manifest(drafts.parent / name, name)["sha256"] for name in ("corpus", "drafts", "revised")}
    write_metadata(folder, gather(corpus, instances, stages), facts)
    return facts


def _row(instance: Instance, split: Split, corpus: Corpus, pictures: dict[str, bytes]) -> ReleaseRow:
    licence, credit = terms_of(instance, corpus)
    return ReleaseRow(
        id=instance.id,
        split=split,
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
        tags=instance.tags,
    )


def _facts(index: list[IndexRow], corpus: Corpus) -> dict[str, Any]:
    counts: dict[str, Any] = {"total": len(index)}
    for name in ("split", "axis", "origin", "source_id"):
        counts[name] = dict(sorted(Counter(getattr(row, name) for row in index).items()))
    crossed = Counter((row.split, row.axis, row.origin) for row in index)
    counts["split_axis_origin"] = {" / ".join(key): number for key, number in sorted(crossed.items())}
    used = sorted({row.source_id for row in index})
    kept_home = [name for name in used if "redistribute" not in corpus.sources[name].allowed_use]
    return {
        "counts": counts,
        "components": len({row.component for row in index}),
        "licences": dict(sorted(Counter(row.licence for row in index).items())),
        "redistributable": not kept_home,
        "not_redistributable_sources": kept_home,
    }


def _credits(corpus: Corpus, used: set[str]) -> str:
    lines = ["# Credits", "", "| source | licence | credit | allowed use |", "|---|---|---|---|"]
    for source in corpus.sources.values():
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
