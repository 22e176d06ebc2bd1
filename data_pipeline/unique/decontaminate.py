"""What a benchmark asks is kept out of what is released for training: by runs of 13 words, by picture, by source.

Convention: the benchmark's questions are indexed (8 bytes for each run of words, some 50 for each picture); items are
streamed past in batches and forgotten. The rules are those of :mod:`spinemed.overlap`. Each hit is a row that names
item, rule and held-out question; what has a row is to be left out of the training split, and counted by its reason.

Trap: an item may have several rows, one for each rule that it breaks, so rows are not items.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from spinemed.config import Config
from spinemed.errors import ReadError
from spinemed.overlap import GRAM, HeldOut, look_of, read_held_out
from spinemed.records import Record
from spinemed.tables import MANIFEST, file_sha256, write_records

__all__ = [
    "OVERLAP_FILE",
    "OverlapConfig",
    "OverlapRow",
    "Picture",
    "Text",
    "benchmark_sha256",
    "find_overlap",
    "open_benchmarks",
    "picture_row",
    "text_rows",
]

OVERLAP_FILE = "overlap.parquet"
_BATCH = 1024

Reason = Literal["same words", "same text", "same picture", "similar picture", "same source"]


@dataclass(frozen=True)
class Text:
    """One item to be compared."""

    id: str
    text: str
    """Question, options and answer."""
    sources: tuple[str, ...] = ()
    """Its group, documents, studies, figures: a held-out question that rests on one of them is of the same source."""
    pictures: int = 0
    """How many pictures belong to it. A short text is compared as a whole only where there is none."""


@dataclass(frozen=True)
class Picture:
    """One picture to be compared."""

    sha256: str
    bytes: bytes


class OverlapConfig(Config):
    """How a release is kept apart from benchmarks."""

    gram: int = Field(default=GRAM, ge=5, le=50)
    """Words (or Chinese characters) of a run that may not be shared."""
    picture_bits: int = Field(default=3, ge=0, le=15)
    """Most bits in which both perceptual hashes of two similar pictures differ, of 64."""


class OverlapRow(Record):
    """One rule that an item or a picture breaks."""

    what: Literal["item", "picture"]
    """Whether the item or one of its pictures is at fault."""
    id: str
    """Of the item; the hash of the picture."""
    reason: Reason
    """Which rule is broken."""
    held_out: str
    """`benchmark/id` of the held-out question; of several the one that shares most."""
    shared: int
    """Runs of words in common; bits that differ, for pictures; else 0."""
    share: float
    """Of the held-out question's runs that the item holds; 1 for the other rules."""
    detail: str = ""
    """The source in common."""


def open_benchmarks(
    folders: Sequence[str | os.PathLike[str]], config: OverlapConfig | None = None, *, ignore: Iterable[str] = ()
) -> HeldOut:
    """Index the questions of samples folders and of releases' test splits.

    Args:
        folders: What `spinemed bench samples` or `spinemed data run` wrote.
        config: How items are kept apart.
        ignore: Wordings of templates, which items and benchmark share without sharing content.

    Raises:
        ReadError: A folder is no benchmark, or two have one name.
    """
    config = config or OverlapConfig()
    held = HeldOut(gram=config.gram, picture_bits=config.picture_bits, ignore=tuple(ignore))
    names: dict[str, Path] = {}
    for folder in map(Path, folders):
        name = os.path.basename(os.path.abspath(folder))
        if name in names:
            raise ReadError(
                f"has the same name as {names[name]}, and rows name a benchmark by its folder",
                file=folder,
                field="benchmarks",
                cure="rename one of them, or list it once",
            )
        names[name] = folder
        held.add(name, read_held_out(folder))
    return held


def benchmark_sha256(folder: str | os.PathLike[str]) -> str:
    """Hash that changes when a benchmark does: of its manifest."""
    return file_sha256(Path(folder) / MANIFEST)


def find_overlap(
    out: Path, held: HeldOut | Sequence[str | os.PathLike[str]], texts: Iterable[Text], pictures: Iterable[Picture] = ()
) -> dict[str, Any]:
    """Write `overlap.parquet` into a folder.

    Args:
        out: An existing folder.
        held: The index of :func:`open_benchmarks`, or the benchmark folders.
        texts: Items, streamed once.
        pictures: Their pictures, each once, streamed once.

    Returns:
        Counts: `held_out` questions, `texts` and `pictures` compared, `items_hit`, `pictures_hit`, rows by `reasons`,
        and `common_runs` (of words, left out because ten or more held-out questions share them).

    Raises:
        ReadError: A benchmark is incomplete, or a picture cannot be decoded.
    """
    index = held if isinstance(held, HeldOut) else open_benchmarks(held)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()

    def rows() -> Iterator[OverlapRow]:
        for batch in _batches(texts):
            counts["texts"] += len(batch)
            for found in text_rows(index, batch):
                counts["items_hit"] += len(found) > 0
                reasons.update(row.reason for row in found)
                yield from found
        for picture in pictures:
            counts["pictures"] += 1
            row = picture_row(index, picture)
            if row is not None:
                counts["pictures_hit"] += 1
                reasons[row.reason] += 1
                yield row

    write_records(out / OVERLAP_FILE, OverlapRow, rows())
    names = ("texts", "pictures", "items_hit", "pictures_hit")
    return {
        "held_out": len(index.names),
        "common_runs": index.common_grams,
        **{name: counts[name] for name in names},
        "reasons": dict(sorted(reasons.items())),
    }


def _batches(texts: Iterable[Text]) -> Iterator[list[Text]]:
    batch: list[Text] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def text_rows(index: HeldOut, batch: Sequence[Text]) -> Iterator[list[OverlapRow]]:
    """For each item of a batch the rules that it breaks."""
    hits = index.texts([text.text for text in batch], [text.pictures > 0 for text in batch])
    for text, hit in zip(batch, hits):
        found: list[OverlapRow] = []
        if hit is not None:
            reason: Reason = "same words" if hit.shared else "same text"
            found.append(
                OverlapRow(
                    what="item", id=text.id, reason=reason, held_out=hit.held_out, shared=hit.shared, share=hit.share
                )
            )
        source = index.source(text.sources)
        if source is not None:
            found.append(
                OverlapRow(
                    what="item", id=text.id, reason="same source", held_out=source[1], shared=0, share=1.0,
                    detail=source[0],
                )
            )  # fmt: skip
        yield found


def picture_row(index: HeldOut, picture: Picture) -> OverlapRow | None:
    """The rule that a picture breaks, or None.

    Raises:
        ReadError: It cannot be decoded.
    """
    hit = index.picture(look_of(picture.bytes))
    if hit is None:
        return None
    return OverlapRow(
        what="picture",
        id=picture.sha256,
        reason="same picture" if hit.exact else "similar picture",
        held_out=hit.held_out,
        shared=hit.bits,
        share=1.0,
    )
