"""The stage between revision and release: copies found, conditions filed, benchmarks kept apart; one verdict an item.

Convention: revised items come shard by shard, and for each shard a file of verdicts is written with a row for every
item in the same order, so that the release reads both side by side. Besides these, `duplicates.parquet`,
`duplicate_images.parquet` and `overlap.parquet` say why. Nothing is removed here: a verdict says what is to be left
out, with what an item must share its split, and which tags it gets.

Trap: an item that overlaps a benchmark is kept out of training and validation alone. That the next release's own test
split holds last release's test questions is as it should be.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from data_pipeline.classify import UNCLASSIFIED, Classes, Classifier, load_vocabulary
from data_pipeline.decontaminate import (
    OVERLAP_FILE,
    OverlapConfig,
    OverlapRow,
    Picture,
    Text,
    benchmark_sha256,
    open_benchmarks,
    picture_row,
    text_rows,
)
from data_pipeline.duplicate_images import (
    DUPLICATE_IMAGES_FILE,
    DuplicateImageConfig,
    DuplicateImageRow,
    ImageKey,
    find_duplicate_images,
)
from data_pipeline.duplicates import DUPLICATES_FILE, DuplicateConfig, DuplicateRow, TextKey, find_duplicates
from data_pipeline.items import Item
from spinemed.config import Config, ConfigPath
from spinemed.overlap import HeldOut, letters, tokens
from spinemed.questions import Template
from spinemed.records import IMAGE_PLACEHOLDER, Instance, Record
from spinemed.tables import read_records, write_records

__all__ = ["UniqueConfig", "Verdict", "read_verdicts", "text_key", "unique_key", "wordings_of", "write_unique"]

_REASONS = {"first": "", "exact": "same text as another", "near": "near copy of another"}
_SHORT_ANSWER = 4
"""Words of an answer up to which two copies must have the same one."""


class UniqueConfig(Config):
    """How copies are found, what they are held against, and which vocabulary they are filed under."""

    duplicates: DuplicateConfig = DuplicateConfig()
    """When two texts are copies."""
    pictures: DuplicateImageConfig = DuplicateImageConfig()
    """When two pictures are alike."""
    benchmarks: tuple[ConfigPath, ...] = ()
    """Samples folders and releases whose questions stay out of training, relative to this file."""
    overlap: OverlapConfig = OverlapConfig()
    """When an item overlaps a benchmark."""
    vocabulary: ConfigPath | None = Field(default=None)
    """Folder with `conditions.yaml` and `subfields.yaml`; the bundled ones unless given."""


class Verdict(Record):
    """What the stage says of one item."""

    id: str
    copy_of: str = ""
    """The item of the same group that stands for it; empty for what is kept."""
    reason: str = ""
    """Why it is left out: `same text as another`, `near copy of another`; empty for what is kept."""
    ties: tuple[str, ...] = ()
    """Keys that it shares with its copies in other groups: all of them belong into one split."""
    held_out: str = ""
    """`benchmark/id` that it overlaps, which keeps it out of training and validation; empty where it does not."""
    held_out_reason: str = ""
    conditions: tuple[str, ...] = ()
    subfields: tuple[str, ...] = ()

    @property
    def tags(self) -> tuple[str, ...]:
        """Its classes as tags."""
        return Classes(subfields=self.subfields, conditions=self.conditions).tags


def unique_key(config: UniqueConfig) -> dict[str, Any]:
    """What the outcome depends on besides the items: settings, the bytes of benchmarks and vocabulary."""
    plain = config.model_dump(mode="json", exclude={"benchmarks", "vocabulary"})
    return {
        **plain,
        "benchmarks": [[folder.name, benchmark_sha256(folder)] for folder in config.benchmarks],
        "vocabulary": load_vocabulary(config.vocabulary).sha256,
    }


def wordings_of(templates: Mapping[str, Template]) -> list[str]:
    """What templates say whatever they are filled with: a benchmark and items share it without sharing content."""
    return [f"{wording} {template.ask}" for template in templates.values() for wording in template.wordings]


def text_key(instance: Instance) -> TextKey:
    """What an item is compared by: all it says; apart by pictures, task, language and a short answer."""
    said = "\n".join(message.content.replace(IMAGE_PLACEHOLDER, " ") for message in instance.messages)
    answer = tokens(_right(instance))
    short = letters(" ".join(answer)) if len(answer) <= _SHORT_ANSWER else ""
    apart = "\x1f".join([instance.task, instance.language, short, *instance.image_sha256])
    return TextKey(instance.id, said, instance.group_id, apart)


def _right(instance: Instance) -> str:
    """The answer in words."""
    if instance.answer_kind != "option":
        return instance.answer
    return next(option.text for option in instance.options if option.key == instance.answer)


def _about(instance: Instance) -> list[str]:
    """What says which condition an item is about: its turns, without wrong options."""
    wrong = {f"{option.key}. {option.text}" for option in instance.options if option.key != instance.answer}
    lines = [line for line in instance.messages[0].content.split("\n") if line not in wrong]
    return ["\n".join(lines), *(message.content for message in instance.messages[1:-1]), _right(instance)]


class _ItemRow(Record):
    """What the pass over the items keeps of one until it is judged."""

    id: str
    pictures: tuple[str, ...]
    origins: tuple[str, ...]
    conditions: tuple[str, ...]
    subfields: tuple[str, ...]


@dataclass
class _Pass:
    """One pass over the items: what it leaves in memory are ids, hashes of pictures and counts."""

    scratch: Path
    held: HeldOut
    classifier: Classifier
    origin_of: Mapping[str, str]
    shards: list[str] = field(default_factory=list)
    items: int = 0
    groups_of: dict[str, set[str]] = field(default_factory=dict)
    """Groups in which each origin is shown."""
    used: set[str] = field(default_factory=set)
    overlap: list[OverlapRow] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {"conditions": Counter(), "subfields": Counter()})

    def keys(self, shards: Iterable[tuple[str, Sequence[Item]]]) -> Iterator[TextKey]:
        """Take in each shard, write down what is needed later, and hand on what is compared."""
        for name, items in shards:
            self.shards.append(name)
            self.items += len(items)
            rows = [self._row(item.instance) for item in items]
            write_records(self.scratch / f"{name}.parquet", _ItemRow, rows)
            keys = [text_key(item.instance) for item in items]
            if self.held.names:
                for found in text_rows(self.held, [_text(item.instance) for item in items]):
                    self.overlap += found
            yield from keys

    def _row(self, instance: Instance) -> _ItemRow:
        origins = tuple(dict.fromkeys(self.origin_of.get(digest, digest) for digest in instance.image_sha256))
        for digest in origins:
            self.groups_of.setdefault(digest, set()).add(instance.group_id)
        self.used.update(instance.image_sha256)
        classes = self.classifier.classify(_about(instance))
        self.counts["conditions"].update(classes.conditions or (UNCLASSIFIED,))
        self.counts["subfields"].update(classes.subfields or (UNCLASSIFIED,))
        return _ItemRow(
            id=instance.id,
            pictures=instance.image_sha256,
            origins=origins,
            conditions=classes.conditions,
            subfields=classes.subfields,
        )


def _text(instance: Instance) -> Text:
    said = "\n".join([*(message.content.replace(IMAGE_PLACEHOLDER, " ") for message in instance.messages)])
    sources = (instance.group_id, *(part.id for part in instance.evidence))
    return Text(instance.id, said, sources, len(instance.image_sha256))


def write_unique(
    folder: Path,
    shards: Iterable[tuple[str, Sequence[Item]]],
    pictures: Callable[[], Iterable[tuple[str, bytes]]],
    origin_of: Mapping[str, str],
    config: UniqueConfig,
    *,
    wordings: Iterable[str] = (),
) -> dict[str, Any]:
    """Compare, file and judge all items; write `verdicts/NAME.parquet` for each shard.

    Args:
        folder: An existing folder.
        shards: Name and items of each shard, read once; one is in memory at a time.
        pictures: Gives hash and bytes of every picture, of the corpus and derived ones; asked at most twice. Pictures
            of no item are passed over.
        origin_of: For a derived picture (a mark drawn, a figure shrunk) the hash of the one it was made from. Derived
            pictures share a split with their origin anyway; likeness is looked for among the origins.
        config: The stage's settings.
        wordings: Of :func:`wordings_of`.

    Returns:
        Counts for the manifest: items in, kept and dropped with reasons, copies, pictures, overlap, classes.

    Raises:
        SpineMedError: A benchmark or the vocabulary is wrong, an id stands twice, or a picture cannot be decoded.
    """
    scratch = folder / ".items"
    held = open_benchmarks(config.benchmarks, config.overlap, ignore=wordings)
    seen = _Pass(scratch, held, Classifier(load_vocabulary(config.vocabulary)), origin_of)
    try:
        copies = find_duplicates(folder, seen.keys(shards), config.duplicates)
        keys = (
            ImageKey(digest, data, group)
            for digest, data in _once(pictures(), seen.groups_of)
            for group in sorted(seen.groups_of[digest])
        )
        alike = find_duplicate_images(folder, keys, config.pictures)
        if held.names:
            for digest, data in _once(pictures(), seen.used):
                row = picture_row(held, Picture(digest, data))
                seen.overlap += [] if row is None else [row]
        write_records(folder / OVERLAP_FILE, OverlapRow, seen.overlap)
        outcome = _judge(folder, seen)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return {
        "items": {"in": seen.items, **outcome},
        "texts": copies,
        "pictures": alike,
        "benchmarks": {
            "held_out": len(held.names),
            "common_runs": held.common_grams,
            "rows": dict(sorted(Counter(row.reason for row in seen.overlap).items())),
        },
        "classes": {name: dict(sorted(found.items())) for name, found in seen.counts.items()},
    }


def _once(pictures: Iterable[tuple[str, bytes]], wanted: Container[str]) -> Iterator[tuple[str, bytes]]:
    """Each wanted picture once: the corpus and the drafts may both hold it."""
    given: set[str] = set()
    for digest, data in pictures:
        if digest in wanted and digest not in given:
            given.add(digest)
            yield digest, data


def _judge(folder: Path, seen: _Pass) -> dict[str, Any]:
    """Write the verdicts, from the tables on disk: their rows are copies alone, and fit into memory."""
    copies = {row.id: row for row in read_records(folder / DUPLICATES_FILE, DuplicateRow)}
    across = {
        alike.sha256: alike.cluster
        for alike in read_records(folder / DUPLICATE_IMAGES_FILE, DuplicateImageRow)
        if alike.crosses_groups
    }
    overlap: dict[tuple[str, str], OverlapRow] = {}
    for broken in seen.overlap:
        overlap.setdefault((broken.what, broken.id), broken)
    counts, held_out = Counter[str](), 0
    for name in seen.shards:
        verdicts = []
        for row in read_records(seen.scratch / f"{name}.parquet", _ItemRow):
            copy = copies.get(row.id)
            ties = [f"text:{copy.cluster}"] if copy is not None and copy.crosses_groups else []
            ties += [f"picture:{across[digest]}" for digest in row.origins if digest in across]
            hits = [overlap.get(("item", row.id)), *(overlap.get(("picture", digest)) for digest in row.pictures)]
            hit = next((found for found in hits if found is not None), None)
            dropped = copy is not None and copy.representative != row.id
            verdict = Verdict(
                id=row.id,
                copy_of=copy.representative if copy is not None and dropped else "",
                reason=_REASONS[copy.kind] if copy is not None and dropped else "",
                ties=tuple(dict.fromkeys(ties)),
                held_out=hit.held_out if hit is not None else "",
                held_out_reason=hit.reason if hit is not None else "",
                conditions=row.conditions,
                subfields=row.subfields,
            )
            verdicts.append(verdict)
            counts[verdict.reason or "kept"] += 1
            held_out += hit is not None
        write_records(folder / "verdicts" / f"{name}.parquet", Verdict, verdicts)
    if sum(counts.values()) != seen.items:
        raise AssertionError(f"{seen.items} items, {sum(counts.values())} verdicts")
    kept = counts.pop("kept", 0)
    return {"kept": kept, "dropped": dict(sorted(counts.items())), "held_out": held_out}


def read_verdicts(folder: Path, shard: str) -> list[Verdict]:
    """The verdicts of one shard, in the order of its items.

    Raises:
        ReadError, RecordError: The file is missing, truncated or breaks its contract.
    """
    return list(read_records(folder / "verdicts" / f"{shard}.parquet", Verdict))
