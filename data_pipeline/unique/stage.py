"""The stage between revision and release: copies found, conditions filed, benchmarks kept apart; one verdict an item.

Convention: revised items come shard by shard, and `verdicts.parquet` has a row for every item in the same order, so
that the release reads both side by side; `duplicates.parquet`, `duplicate_images.parquet` and `overlap.parquet` say
why. Nothing is removed here: a verdict says what is to be left out, with what an item must share its split, and which
tags it gets. Copies whose sources are pinned to different splits cannot share one: those of the split that is trained
on are left out, by name.

Trap: an item that overlaps a benchmark is kept out of training and validation alone. That the next release's own test
split holds last release's test questions is as it should be.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from data_pipeline.criteria.checks_written import levels_in
from data_pipeline.items import Item
from data_pipeline.readers.reading import Drop
from data_pipeline.unique.classify import UNCLASSIFIED, Classes, Classifier, load_vocabulary
from data_pipeline.unique.decontaminate import (
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
from data_pipeline.unique.pictures import (
    DUPLICATE_IMAGES_FILE,
    DuplicateImageConfig,
    DuplicateImageRow,
    ImageKey,
    find_duplicate_images,
)
from data_pipeline.unique.texts import DUPLICATES_FILE, DuplicateConfig, DuplicateRow, TextKey, find_duplicates
from spinemed.config import Config, ConfigPath
from spinemed.overlap import HeldOut, compared_text, letters, tokens
from spinemed.questions import Template
from spinemed.records import IMAGE_PLACEHOLDER, Instance, Record, Split
from spinemed.tables import read_records, write_jsonl, write_records

__all__ = [
    "VERDICTS_FILE",
    "Ask",
    "UniqueConfig",
    "Verdict",
    "read_verdicts",
    "text_key",
    "unique_key",
    "wordings_of",
    "write_unique",
]

VERDICTS_FILE = "verdicts.parquet"
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n")
_RANK: dict[Split | None, int] = {None: -1, "train": 0, "validation": 1, "test": 2}
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
    """The item."""
    copy_of: str = ""
    """The item of the same group that stands for it, or the tie to those that are pinned; empty for what is kept."""
    reason: str = ""
    """Why it is left out: `same text as another`, `near copy of another`, `copy of an item that is pinned to test`;
    empty for what is kept."""
    ties: tuple[str, ...] = ()
    """Keys that it shares with its copies in other groups: all of them belong into one split."""
    held_out: str = ""
    """`benchmark/id` that it overlaps, which keeps it out of training and validation; empty where it does not."""
    held_out_reason: str = ""
    """Why it may only be asked, never trained on; empty where it may be."""
    conditions: tuple[str, ...] = ()
    """Conditions that it is about, of the vocabulary."""
    subfields: tuple[str, ...] = ()
    """Sub-fields that it is about, of the vocabulary."""

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
    told = ["\n".join(lines), *(message.content for message in instance.messages[1:-1]), _right(instance)]
    if {"ruled", "study"} <= set(instance.tags):
        # Advice and limits, the same in every report, name conditions that the study has not; findings have a place.
        sentences = [sentence for text in told for sentence in _SENTENCE_END.split(text)]
        return [sentence for sentence in sentences if levels_in(sentence)]
    return told


class _ItemRow(Record):
    """What the pass over the items keeps of one until it is judged."""

    id: str
    source_id: str
    pictures: tuple[str, ...]
    origins: tuple[str, ...]
    conditions: tuple[str, ...]
    subfields: tuple[str, ...]


Ask = Callable[[Sequence[tuple[str, Sequence[str], str]]], Iterable[tuple[str, Classes, str]]]
"""From id, texts and source of items to id, classes and why there are none, in the same order."""


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
    ask: Ask | None = None
    asked: Counter[str] = field(default_factory=Counter)
    """What came of the items that a model was asked about."""
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {"conditions": Counter(), "subfields": Counter()})

    def keys(self, shards: Iterable[tuple[str, Sequence[Item]]]) -> Iterator[TextKey]:
        """Take in each shard, write down what is needed later, and hand on what is compared."""
        for name, items in shards:
            self.shards.append(name)
            self.items += len(items)
            rows = self._rows([item.instance for item in items])
            write_records(self.scratch / f"{name}.parquet", _ItemRow, rows)
            keys = [text_key(item.instance) for item in items]
            if self.held.names:
                for found in text_rows(self.held, [_text(item.instance) for item in items]):
                    self.overlap += found
            yield from keys

    def _rows(self, instances: Sequence[Instance]) -> list[_ItemRow]:
        classes = [self.classifier.classify(_about(instance)) for instance in instances]
        if self.ask is not None:
            rest = [place for place, found in enumerate(classes) if not found.conditions]
            texts = [(instances[place].id, _about(instances[place]), instances[place].source_id) for place in rest]
            for place, (_, found, why) in zip(rest, self.ask(texts), strict=True):
                self.asked[why or "filed"] += 1
                classes[place] = classes[place] if why else found
        return [self._row(instance, found) for instance, found in zip(instances, classes, strict=True)]

    def _row(self, instance: Instance, classes: Classes) -> _ItemRow:
        origins = tuple(dict.fromkeys(self.origin_of.get(digest, digest) for digest in instance.image_sha256))
        for digest in origins:
            self.groups_of.setdefault(digest, set()).add(instance.group_id)
        self.used.update(instance.image_sha256)
        self.counts["conditions"].update(classes.conditions or (UNCLASSIFIED,))
        self.counts["subfields"].update(classes.subfields or (UNCLASSIFIED,))
        return _ItemRow(
            id=instance.id,
            source_id=instance.source_id,
            pictures=instance.image_sha256,
            origins=origins,
            conditions=classes.conditions,
            subfields=classes.subfields,
        )


def _text(instance: Instance) -> Text:
    said = compared_text(instance.messages[:-1], instance.answer_kind, instance.answer)
    sources = (instance.group_id, *(part.id for part in instance.evidence))
    return Text(instance.id, said, sources, len(instance.image_sha256))


def write_unique(
    folder: Path,
    shards: Iterable[tuple[str, Sequence[Item]]],
    pictures: Callable[[], Iterable[tuple[str, bytes]]],
    origin_of: Mapping[str, str],
    config: UniqueConfig,
    *,
    pins: Mapping[str, Split] | None = None,
    wordings: Iterable[str] = (),
    ask: Ask | None = None,
) -> dict[str, Any]:
    """Compare, file and judge all items; write `verdicts.parquet` and, of what is left out, `dropped.jsonl`.

    Args:
        folder: An existing folder.
        shards: Name and items of each shard, read once; one is in memory at a time.
        pictures: Gives hash and bytes of every picture, of the corpus and derived ones; asked at most twice. Pictures
            of no item are passed over.
        origin_of: For a derived picture (a mark drawn, a figure shrunk) the hash of the one it was made from. Derived
            pictures share a split with their origin anyway; likeness is looked for among the origins.
        config: The stage's settings.
        pins: Splits of the sources that are pinned to one.
        wordings: Of :func:`wordings_of`.
        ask: Asks a model about items that the rules file under no condition.

    Returns:
        Counts for the manifest: items in, kept and dropped with reasons, copies, pictures, overlap, classes.

    Raises:
        SpineMedError: A benchmark or the vocabulary is wrong, an id stands twice, or a picture cannot be decoded.
    """
    scratch = folder / ".items"
    held = open_benchmarks(config.benchmarks, config.overlap, ignore=wordings)
    seen = _Pass(scratch, held, Classifier(load_vocabulary(config.vocabulary)), origin_of, ask=ask)
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
        outcome = _judge(folder, seen, pins or {})
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
        **({} if ask is None else {"asked": dict(sorted(seen.asked.items()))}),
    }


def _once(pictures: Iterable[tuple[str, bytes]], wanted: Container[str]) -> Iterator[tuple[str, bytes]]:
    """Each wanted picture once: the corpus and the drafts may both hold it."""
    given: set[str] = set()
    for digest, data in pictures:
        if digest in wanted and digest not in given:
            given.add(digest)
            yield digest, data


@dataclass
class _Judge:
    """Verdicts from the tables on disk: their rows are copies alone, and fit into memory."""

    seen: _Pass
    pins: Mapping[str, Split]
    copies: dict[str, DuplicateRow]
    alike: dict[str, str]
    """Cluster of each picture that is shown in several groups."""
    overlap: dict[tuple[str, str], OverlapRow]
    pinned: dict[str, set[Split]] = field(default_factory=dict)
    """Splits that the members of a tie are pinned to."""
    counts: Counter[str] = field(default_factory=Counter)
    drops: list[Drop] = field(default_factory=list)
    held_out: int = 0

    def rows(self) -> Iterator[_ItemRow]:
        """All items in their order."""
        for name in self.seen.shards:
            yield from read_records(self.seen.scratch / f"{name}.parquet", _ItemRow)

    def ties(self, row: _ItemRow) -> tuple[str, ...]:
        """Keys that an item shares with its copies in other groups."""
        copy = self.copies.get(row.id)
        found = [f"text:{copy.cluster}"] if copy is not None and copy.crosses_groups else []
        found += [f"picture:{self.alike[digest]}" for digest in row.origins if digest in self.alike]
        return tuple(dict.fromkeys(found))

    def verdicts(self) -> Iterator[Verdict]:
        """One verdict an item, counted."""
        for row in self.rows():
            if row.source_id in self.pins:
                for tie in self.ties(row):
                    self.pinned.setdefault(tie, set()).add(self.pins[row.source_id])
        for row in self.rows():
            verdict = self._of(row)
            self.counts[verdict.reason or "kept"] += 1
            self.held_out += bool(verdict.held_out)
            if verdict.reason:
                self.drops.append(
                    Drop(
                        stage="release", source_id=row.source_id, unit="instance", item=row.id, reason=verdict.reason,
                        note=verdict.copy_of,
                    )
                )  # fmt: skip
            yield verdict

    def _of(self, row: _ItemRow) -> Verdict:
        copy, ties = self.copies.get(row.id), self.ties(row)
        hits = [self.overlap.get(("item", row.id)), *(self.overlap.get(("picture", each)) for each in row.pictures)]
        hit = next((found for found in hits if found is not None), None)
        copy_of = reason = ""
        if copy is not None and copy.representative != row.id:
            copy_of, reason = copy.representative, _REASONS[copy.kind]
        for tie in ties:
            own = self.pins.get(row.source_id)
            rival = max(self.pinned.get(tie, {own}), key=_RANK.__getitem__)
            if not reason and own is not None and _RANK[own] < _RANK[rival]:
                copy_of, reason = tie, f"copy of an item that is pinned to {rival}"
        return Verdict(
            id=row.id,
            copy_of=copy_of,
            reason=reason,
            ties=ties,
            held_out=hit.held_out if hit is not None else "",
            held_out_reason=hit.reason if hit is not None else "",
            conditions=row.conditions,
            subfields=row.subfields,
        )


def _judge(folder: Path, seen: _Pass, pins: Mapping[str, Split]) -> dict[str, Any]:
    """Write the verdicts."""
    overlap: dict[tuple[str, str], OverlapRow] = {}
    for broken in seen.overlap:
        overlap.setdefault((broken.what, broken.id), broken)
    judge = _Judge(
        seen=seen,
        pins=pins,
        copies={row.id: row for row in read_records(folder / DUPLICATES_FILE, DuplicateRow)},
        alike={
            row.sha256: row.cluster
            for row in read_records(folder / DUPLICATE_IMAGES_FILE, DuplicateImageRow)
            if row.crosses_groups
        },
        overlap=overlap,
    )
    write_records(folder / VERDICTS_FILE, Verdict, judge.verdicts())
    write_jsonl(folder / "dropped.jsonl", judge.drops)
    if sum(judge.counts.values()) != seen.items:
        raise AssertionError(f"{seen.items} items, {sum(judge.counts.values())} verdicts")
    kept = judge.counts.pop("kept", 0)
    return {"kept": kept, "dropped": dict(sorted(judge.counts.items())), "held_out": judge.held_out}


def read_verdicts(folder: Path) -> Iterator[Verdict]:
    """The verdicts in the order of the items.

    Raises:
        ReadError, RecordError: The file is missing, truncated or breaks its contract.
    """
    return read_records(folder / VERDICTS_FILE, Verdict, batch=1024)
