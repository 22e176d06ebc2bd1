"""A release becomes benchmark samples: the held-out split, its answers taken out of the conversation, leakage counted.

Convention: a samples folder holds `samples.jsonl` (one :class:`~spinemed.records.Sample` a line, by id), `images/`
(named by SHA-256) and `manifest.json` (kind `samples`, naming the release by hash). It is all that answering and
scoring need.

Trap: a release row ends with the assistant's answer. It is cut off here, and only here; a row whose last turn is not
the answer is refused rather than asked with its answer in view.

What is checked against the training split: shared ids and shared groups (patient, phantom, document) are errors;
identical pictures, identical text questions and identical questions with the same answer are counted in the manifest
and shown on the board. A text question is compared by its letters and digits alone, so spacing, case and punctuation do
not hide a copy; an image question is the same only with the same pictures.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.folders import whole_folder
from spinemed.anatomy import REGULAR, Disc, Level, Spine
from spinemed.errors import LevelError, ReadError, RecordError
from spinemed.overlap import letters
from spinemed.records import NOT_DETERMINABLE, ReleaseRow, Sample, Split
from spinemed.tables import (
    MANIFEST,
    file_sha256,
    read_jsonl,
    read_manifest,
    read_records,
    write_bytes,
    write_jsonl,
    write_manifest,
)

__all__ = ["SAMPLES_FILE", "Contamination", "modality_of", "read_samples", "spine_of", "write_samples"]

SAMPLES_FILE = "samples.jsonl"
_SPINE_TAG = re.compile(r"spine:(\d+)T(\d+)L")


def modality_of(sample: Sample) -> str:
    """`image` for a question with a picture, else `text`."""
    return "image" if sample.images else "text"


def spine_of(sample: Sample) -> Spine:
    """The patient's column, as far as the sample tells.

    A tag `spine:13T5L` (13 thoracic, 5 lumbar vertebrae) states it. Without one it is the regular column, with T13 or
    L6 where the sample's own levels or answer name them. That T12 or L5 is missing is never inferred: a question may
    name T11 and L1 and leave out what lies between.

    Raises:
        RecordError: A `spine:` tag that states no possible column.
    """
    for tag in sample.tags:
        if tag.startswith("spine:"):
            match = _SPINE_TAG.fullmatch(tag)
            try:
                if match:
                    return Spine(int(match[1]), int(match[2]))
            except LevelError as error:
                raise RecordError(f"sample {sample.id}: {error.problem}", field="tags", cure=error.cure) from error
            raise RecordError(
                f"sample {sample.id}: unknown tag {tag!r}", field="tags", cure="write it like spine:12T5L"
            )
    named = set(sample.levels)
    if sample.answer_kind == "level" and sample.answer != NOT_DETERMINABLE:
        named.add(Level(sample.answer))
    if sample.answer_kind == "disc" and sample.answer != NOT_DETERMINABLE:
        disc = Disc.from_text(sample.answer)
        if disc not in REGULAR:
            return Spine.of({disc.upper, disc.lower})  # T11/L1 and L4/S1 do say what is missing
    return Spine(13 if Level.T13 in named else 12, 6 if Level.L6 in named else 5)


@dataclass
class Contamination:
    """What the held-out questions share with the training split, as counts of held-out questions."""

    train_rows: int = 0
    same_picture: list[str] = field(default_factory=list)
    """Ids of samples that show a picture which is also a training picture, byte for byte."""
    same_question: list[str] = field(default_factory=list)
    """Ids of text samples whose question is also a training question."""
    same_question_and_answer: list[str] = field(default_factory=list)
    """Ids of samples whose question, pictures and answer are all in one training row."""

    def as_dict(self) -> dict[str, Any]:
        """Counts, and the ids behind them."""
        return {
            "train_rows": self.train_rows,
            "same_picture": len(self.same_picture),
            "same_question": len(self.same_question),
            "same_question_and_answer": len(self.same_question_and_answer),
            "ids": sorted({*self.same_picture, *self.same_question, *self.same_question_and_answer}),
        }


def write_samples(
    release: str | os.PathLike[str], out: str | os.PathLike[str], *, split: Split = "test"
) -> dict[str, Any]:
    """Write the samples folder of one release.

    A folder that already holds the samples of this release and split is left as it is.

    Args:
        release: Release folder (`data/<split>.parquet`, `manifest.json`).
        out: Where `samples.jsonl`, `images/` and `manifest.json` go.
        split: Which split is asked.

    Returns:
        The manifest, with counts of what was taken, what was left out and why, and the overlap with the training split.

    Raises:
        ReadError: The release is incomplete, or `out` holds something else.
        RecordError: A row does not end with its answer, an id or group is also in training, or nothing can be asked.
    """
    root, target = Path(release), Path(out)
    source = read_manifest(root, "release")
    made_from = {"release_sha256": source["sha256"], "split": split}
    if (target / MANIFEST).is_file():
        known = read_manifest(target, "samples")
        if all(known.get(name) == value for name, value in made_from.items()):
            return known
        raise ReadError("holds samples of another release or split", file=target, cure="give another --out")
    table = root / "data" / f"{split}.parquet"
    samples, left_out = [], Counter[str]()
    asked: list[_Fingerprint] = []
    with whole_folder(target, "samples") as partial:
        for line, row in enumerate(read_records(table, ReleaseRow), 1):
            if row.answer_kind == "text":
                left_out["free-text answer, which no rule can score"] += 1
                continue
            samples.append(_sample(row, partial, table, line))
            asked.append(_fingerprint(row))
        if not samples:
            raise RecordError(
                f"holds no question that can be scored ({sum(left_out.values())} left out)",
                file=table,
                cure="release more sources, or another split",
            )
        overlap = _compare(asked, root / "data" / "train.parquet") if split != "train" else Contamination()
        samples.sort(key=lambda sample: sample.id)
        write_jsonl(partial / SAMPLES_FILE, samples)
        write_manifest(
            partial,
            "samples",
            **made_from,
            samples=len(samples),
            clusters=len({sample.cluster for sample in samples}),
            left_out=dict(sorted(left_out.items())),
            counts=_counts(samples),
            contamination=overlap.as_dict(),
        )
    return read_manifest(target, "samples")


def _sample(row: ReleaseRow, target: Path, table: Path, line: int) -> Sample:
    *asked, last = row.messages
    if last.role != "assistant" or not asked or asked[-1].role != "user":
        raise RecordError(
            f"row {row.id} must end with a user turn and the assistant's answer",
            file=table,
            line=line,
            field="messages",
            cure="make the release again",
        )
    paths = []
    for image in row.images:
        digest = hashlib.sha256(image.bytes).hexdigest()
        if not image.path.startswith(digest):
            raise RecordError(
                f"row {row.id} names {image.path} for a picture with the hash {digest}",
                file=table,
                line=line,
                field="images",
                cure="make the release again",
            )
        name = f"images/{digest}{Path(image.path).suffix}"
        if not (target / name).is_file():
            write_bytes(target / name, image.bytes)
        paths.append(name)
    return Sample(
        id=row.id,
        axis=row.axis,
        task=row.task,
        messages=tuple(asked),
        images=tuple(paths),
        answer=row.answer,
        answer_kind=row.answer_kind,
        options=row.options,
        categories=row.categories,
        levels=row.levels,
        cluster=row.group_id,
        origin=row.origin,
        source_id=row.source_id,
        tags=row.tags,
        licence=row.licence,
        evidence=row.evidence_ids,
        language=row.language,
    )


@dataclass(frozen=True)
class _Fingerprint:
    id: str
    group: str
    pictures: tuple[str, ...]
    question: str
    answer: str


def _fingerprint(row: ReleaseRow) -> _Fingerprint:
    question = " ".join(message.content for message in row.messages[:-1] if message.role == "user")
    pictures = tuple(hashlib.sha256(image.bytes).hexdigest() for image in row.images)
    return _Fingerprint(row.id, row.group_id, pictures, letters(question), letters(row.answer))


def _compare(asked: list[_Fingerprint], train: Path) -> Contamination:
    ids: set[str] = set()
    groups: set[str] = set()
    pictures: set[str] = set()
    questions: set[str] = set()
    whole: set[tuple[tuple[str, ...], str, str]] = set()
    rows = 0
    for row in read_records(train, ReleaseRow):
        rows += 1
        print_ = _fingerprint(row)
        ids.add(print_.id)
        groups.add(print_.group)
        pictures.update(print_.pictures)
        questions.add(print_.question)
        whole.add((print_.pictures, print_.question, print_.answer))
    for name, shared in (
        ("id", sorted(item.id for item in asked if item.id in ids)),
        ("group_id", sorted({item.group for item in asked if item.group in groups})),
    ):
        if shared:
            raise RecordError(
                f"{len(shared)} of the held-out rows are also in training ({', '.join(shared[:3])})",
                file=train,
                field=name,
                cure="make the release again: a connected component may never cross splits",
            )
    return Contamination(
        train_rows=rows,
        same_picture=[item.id for item in asked if pictures.intersection(item.pictures)],
        same_question=[item.id for item in asked if not item.pictures and item.question in questions],
        same_question_and_answer=[item.id for item in asked if (item.pictures, item.question, item.answer) in whole],
    )


def _counts(samples: Iterable[Sample]) -> dict[str, int]:
    counted = Counter(f"{sample.axis}/{modality_of(sample)}/{sample.origin}" for sample in samples)
    return dict(sorted(counted.items()))


def read_samples(folder: str | os.PathLike[str]) -> tuple[list[Sample], dict[str, Any]]:
    """The samples of a folder, by id, and its manifest.

    Raises:
        ReadError: The folder is incomplete, or `samples.jsonl` or a picture differs from the manifest.
        RecordError: A sample breaks its contract, an id repeats, or a picture is not in the folder.
    """
    root = Path(folder)
    manifest = read_manifest(root, "samples")
    file = root / SAMPLES_FILE
    if file_sha256(file) != manifest["files"][SAMPLES_FILE]["sha256"]:
        raise ReadError("differs from its manifest", file=file, cure="write the samples again")
    samples: dict[str, Sample] = {}
    for line, sample in enumerate(read_jsonl(file, Sample), 1):
        if sample.id in samples:
            raise RecordError(
                f"id {sample.id} repeats", file=file, line=line, field="id", cure="write the samples again"
            )
        absent = [path for path in sample.images if path not in manifest["files"]]
        if absent:
            raise RecordError(
                f"picture {absent[0]} is not in the folder",
                file=file,
                line=line,
                field="images",
                cure="write the samples again",
            )
        samples[sample.id] = sample
    return [samples[name] for name in sorted(samples)], manifest
