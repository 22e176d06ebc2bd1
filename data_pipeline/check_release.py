"""A finished release examined from its files alone: is it whole, and does anything stand in two of its splits.

Convention: what ties rows is read again from the rows themselves (patient or phantom, cited documents, studies and
figures, picture bytes and decoded pixels, copies of texts), never from what the pipeline noted; the component that it
noted is examined as well. A leak names what is shared and one row in each split.

Trap: no leak of these kinds does not mean that train and test are alike in nothing: phantoms are drawn by one program,
and questions of one template share their wording.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
from PIL import Image, UnidentifiedImageError

from data_pipeline.drafting.tasks import load_words
from data_pipeline.release import IndexRow
from data_pipeline.unique.decontaminate import OVERLAP_FILE, OverlapRow, Picture, Text, find_overlap, open_benchmarks
from data_pipeline.unique.texts import DUPLICATES_FILE, DuplicateRow, TextKey, find_duplicates
from spinemed.overlap import compared_text
from spinemed.questions import SOLVABLE_FROM_TEXT, load_templates
from spinemed.records import ReleaseRow, Split
from spinemed.tables import read_jsonl, read_manifest, read_records

__all__ = ["Leak", "ReleaseCheck", "check_release", "release_rows", "wordings"]

SPLITS: tuple[Split, ...] = get_args(Split)
KINDS = (
    "patient or phantom", "document, study or figure", "picture bytes", "picture pixels", "copy of a text",
    "component", "benchmark",
)  # fmt: skip
"""What may tie rows of different splits, in the order in which it is printed."""


@dataclass(frozen=True)
class Leak:
    """Something that stands in two splits, or in a training split and a benchmark."""

    kind: str
    shared: str
    """The patient, document, hash, cluster or held-out question."""
    rows: tuple[tuple[str, str], ...]
    """Split and id of one row in each."""


@dataclass
class ReleaseCheck:
    """What was found."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Rows by split, task, form and so on."""
    examined: dict[str, int] = field(default_factory=dict)
    """How many different patients, documents, pictures were followed through the splits, by kind."""
    faults: list[str] = field(default_factory=list)
    """What is broken besides: an id that stands twice, a picture that is not what its name says."""
    leaks: list[Leak] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.faults and not self.leaks


def release_rows(release: Path) -> Iterator[ReleaseRow]:
    """All rows of a release, split after split, each validated.

    Raises:
        ReadError, RecordError: A file is missing or truncated, or a row breaks its contract.
    """
    for split in SPLITS:
        yield from read_records(release / "data" / f"{split}.parquet", ReleaseRow)


def wordings() -> list[str]:
    """All wordings that the rule writer may use: what rows share without sharing content."""
    texts = [wording for template in load_templates().values() for wording in (*template.wordings, template.ask)]
    for task in ("multiple_choice", "open", "consultation", "report"):
        for language in ("en", "zh"):
            words = load_words(task, language)
            texts += [wording for wordings_ in words.phrases.values() for wording in wordings_]
    return texts


class _Ties:
    """First row of each split that a key was met in."""

    def __init__(self) -> None:
        self.met: dict[str, dict[bytes, dict[str, str]]] = {kind: {} for kind in KINDS}
        self.names: dict[bytes, str] = {}

    def add(self, kind: str, name: str, row: ReleaseRow) -> None:
        key = hashlib.blake2b(name.encode(), digest_size=12).digest()
        splits = self.met[kind].setdefault(key, {})
        if row.split not in splits:
            splits[row.split] = row.id
            if len(splits) == 2:
                self.names[key] = name

    def leaks(self) -> Iterator[Leak]:
        for kind, met in self.met.items():
            found = [(self.names[key], splits) for key, splits in met.items() if len(splits) > 1]
            for name, splits in sorted(found, key=lambda one: one[0]):
                yield Leak(kind, name, tuple((split, splits[split]) for split in SPLITS if split in splits))


def check_release(release: Path, benchmarks: Sequence[Path] = ()) -> ReleaseCheck:
    """Examine a release. Texts and pictures are streamed; hashes of 12 bytes and ids stay in memory.

    Args:
        release: The folder with `manifest.json`, `index.jsonl` and `data/`.
        benchmarks: Samples folders or releases whose questions may not be trained on.

    Raises:
        ReadError: A file is missing or differs from the manifest, or a benchmark is none.
        RecordError: A row breaks its contract.
    """
    read_manifest(release, "release", verify=True)
    found, ties = ReleaseCheck(), _Ties()
    listed = read_jsonl(release / "index.jsonl", IndexRow)
    index = {row.id: (row.split, row.instance_sha256, row.component) for row in listed}
    counts: dict[str, Counter[str]] = {}
    split_of: dict[str, str] = {}
    for split in SPLITS:
        for row in read_records(release / "data" / f"{split}.parquet", ReleaseRow):
            if row.split != split:
                found.faults.append(f"{row.id} says that it belongs to {row.split} and stands in {split}.parquet")
            if row.id in split_of:
                found.faults.append(f"{row.id} stands twice")
            split_of[row.id] = split
            entry = index.pop(row.id, None)
            if entry is None or entry[:2] != (row.split, row.instance_sha256):
                found.faults.append(f"{row.id} is not what index.jsonl says")
            else:
                ties.add("component", entry[2], row)
            _tie(row, ties, found)
            _count(row, counts)
    found.faults += [f"{name} is in index.jsonl and in no split" for name in index]
    found.leaks += ties.leaks()
    found.examined = {kind: len(met) for kind, met in ties.met.items() if met}
    with tempfile.TemporaryDirectory() as scratch:
        found.leaks += _copies(release, Path(scratch), split_of, found.examined)
        if benchmarks:
            found.leaks += _overlap(release, Path(scratch), benchmarks, split_of, found.examined)
    found.counts = {name: dict(sorted(numbers.items())) for name, numbers in counts.items()}
    return found


def _tie(row: ReleaseRow, ties: _Ties, found: ReleaseCheck) -> None:
    ties.add("patient or phantom", row.group_id, row)
    for name in row.evidence_ids:
        ties.add("document, study or figure", name, row)
    for image in row.images:
        digest = hashlib.sha256(image.bytes).hexdigest()
        if image.path != f"{digest}.png":
            found.faults.append(f"{row.id}: the picture {image.path} has the hash {digest}")
        ties.add("picture bytes", digest, row)
        try:
            with Image.open(io.BytesIO(image.bytes)) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        except (UnidentifiedImageError, OSError, ValueError) as error:
            found.faults.append(f"{row.id}: the picture {image.path} cannot be decoded ({error})")
            continue
        shape = "x".join(map(str, pixels.shape))
        ties.add("picture pixels", f"{shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}", row)


def _count(row: ReleaseRow, counts: dict[str, Counter[str]]) -> None:
    form = "image" if row.images else "text"
    facts = {
        "split": row.split,
        "task": row.task,
        "form": form,
        "language": row.language,
        "axis": row.axis,
        "origin": row.origin,
        "source": row.source_id,
        "licence": row.licence,
        "task / form / language": f"{row.task} / {form} / {row.language}",
        "task / form / language / source": f"{row.task} / {form} / {row.language} / {row.source_id}",
    }
    if row.options:
        facts["key of the right option"] = f"{row.answer} of {len(row.options)}"
    if row.images:
        facts["picture needed"] = "no" if SOLVABLE_FROM_TEXT in row.tags else "yes"
    for name, value in facts.items():
        counts.setdefault(name, Counter())[value] += 1


def _said(row: ReleaseRow) -> str:
    told = [message.content for message in row.messages[:-1]]
    answer = next((option.text for option in row.options if option.key == row.answer), row.answer)
    return "\n".join([*told, answer])


def _copies(release: Path, scratch: Path, split_of: dict[str, str], examined: dict[str, int]) -> Iterator[Leak]:
    """Clusters of exact and near copies that reach into two splits."""

    def keys() -> Iterator[TextKey]:
        for row in release_rows(release):
            pictures = " ".join(image.path for image in row.images)
            yield TextKey(row.id, _said(row), row.split, f"{pictures} {row.task} {row.language}")

    examined["copy of a text"] = find_duplicates(scratch, keys())["texts"]
    clusters: dict[str, dict[str, str]] = {}
    for member in read_records(scratch / DUPLICATES_FILE, DuplicateRow):
        if member.crosses_groups:  # groups are splits here
            clusters.setdefault(member.cluster, {}).setdefault(split_of[member.id], member.id)
    for name, splits in sorted(clusters.items()):
        yield Leak("copy of a text", name, tuple((split, splits[split]) for split in SPLITS if split in splits))


def _overlap(
    release: Path, scratch: Path, benchmarks: Sequence[Path], split_of: dict[str, str], examined: dict[str, int]
) -> Iterator[Leak]:
    """Rows of the training and validation splits that a benchmark asks about as well."""
    learned = ("train", "validation")
    owner: dict[str, str] = {}

    def texts() -> Iterator[Text]:
        for row in release_rows(release):
            if row.split in learned:
                said = compared_text(row.messages[:-1], row.answer_kind, row.answer)
                yield Text(row.id, said, (row.group_id, *row.evidence_ids), len(row.images))

    def pictures() -> Iterator[Picture]:
        for row in release_rows(release):
            for image in row.images if row.split in learned else ():
                digest = image.path.removesuffix(".png")
                if digest not in owner:
                    owner[digest] = row.id
                    yield Picture(digest, image.bytes)

    held = open_benchmarks(benchmarks, ignore=wordings())
    facts: dict[str, Any] = find_overlap(scratch, held, texts(), pictures())
    examined["benchmark"] = facts["held_out"]
    for hit in read_records(scratch / OVERLAP_FILE, OverlapRow):
        row_id = owner[hit.id] if hit.what == "picture" else hit.id
        shared = f"{hit.reason}: {hit.detail}".removesuffix(": ")
        yield Leak("benchmark", shared, ((split_of[row_id], row_id), ("benchmark", hit.held_out)))
