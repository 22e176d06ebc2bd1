"""Release rows as encoded training examples, in the order of a plan.

Convention: every row is laid out by :class:`spinemed.vlm.Layout`, the same code that lays out questions for answering.
Rows that the layout refuses are counted by reason and left out; nothing is cut to fit.

Trap: three questions about one spine often share one picture. Its tensor is kept once, and only while the cache limit
lasts; beyond it, pictures are laid out again when their batch comes. Two releases may call two pictures by one name,
so a picture is known by its bytes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from spinemed.errors import ReadError, RecordError
from spinemed.records import Message, PackedImage, Record
from spinemed.tables import read_manifest, read_records
from spinemed.vlm.layout import Encoded, Layout, Refused
from spinemed.vlm.series import captioned
from train.config import Share

__all__ = ["Planned", "TrainingRow", "TrainingRows", "difficulty_of", "draws", "read_release"]


class TrainingRow(Record):
    """The columns of a release row that training needs."""

    id: str
    """The instance's id."""
    messages: tuple[Message, ...]
    """System and user turns, then the answer."""
    images: tuple[PackedImage, ...]
    """Pictures in the order of their placeholders."""
    axis: str = ""
    """What the row is about."""
    task: str = ""
    """Form in which it is asked."""
    language: str = ""
    """Of question and answer."""
    tags: tuple[str, ...] = ()
    """Free marks of the row."""


def difficulty_of(tags: Iterable[str]) -> float | None:
    """The number of a row's tag `difficulty:N`; None where it has none that is a number."""
    for tag in tags:
        name, _, value = tag.partition(":")
        if name == "difficulty":
            try:
                number = float(value)
            except ValueError:
                return None
            return number if math.isfinite(number) else None
    return None


class _Tagged(Protocol):
    """What a share chooses by."""

    @property
    def axis(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def tags(self) -> tuple[str, ...]: ...


def draws(share: Share, row: _Tagged) -> bool:
    """Whether a stage's share takes a row."""
    return (
        (not share.axes or row.axis in share.axes)
        and (not share.tasks or row.task in share.tasks)
        and (not share.languages or row.language in share.languages)
        and (not share.tags or bool(set(share.tags) & set(row.tags)))
        and not set(share.without_tags) & set(row.tags)
    )


def read_release(release: Path, split: str) -> tuple[list[TrainingRow], str]:
    """The rows of one split, and the hash of the whole release.

    Raises:
        ReadError: The folder is no release, or its file is missing, changed or truncated.
        RecordError: A row breaks the contract, or the split is empty.
    """
    manifest = read_manifest(release, "release")
    file = release / "data" / f"{split}.parquet"
    if not file.is_file():
        raise ReadError("no such file", file=file, cure="check the split's name and the release")
    rows = list(read_records(file, TrainingRow, columns=list(TrainingRow.model_fields)))
    if not rows:
        raise RecordError("holds no rows", file=file, cure="give another split, or release again")
    for number, row in enumerate(rows, 1):
        if row.messages[-1].role != "assistant":
            raise RecordError(
                "the last turn is not the assistant's answer",
                file=file,
                line=number,
                field="messages",
                cure="release again with complete conversations",
            )
    return [_worded(row) for row in rows], str(manifest["sha256"])


def _worded(row: TrainingRow) -> TrainingRow:
    """The row with the places of its slices written out, as for answering."""
    said = captioned(row.messages, [image.bytes for image in row.images])
    return row if said == row.messages else row.model_copy(update={"messages": said})


class TrainingRows:
    """Rows laid out once.

    Args:
        rows: From :func:`read_release`.
        layout: The model's layout.
        cache_mb: Picture tensors kept in memory, in MB.

    Attributes:
        kept: Rows that can be trained on.
        dropped: Rows left out, by reason.
        lengths: Tokens of each kept row.
    """

    def __init__(self, rows: Iterable[TrainingRow], layout: Layout, *, cache_mb: int = 1200) -> None:
        self.layout = layout
        self.kept: list[TrainingRow] = []
        self.dropped: Counter[str] = Counter()
        self.lengths: list[int] = []
        self._texts: list[Encoded] = []
        self._pictures: dict[tuple[bytes, ...], dict[str, torch.Tensor]] = {}
        # With a floor, one picture may be laid out at another size in another row: then none is kept.
        left = cache_mb * 1_000_000 if layout.min_pixels is None else 0
        for row in rows:
            made = self._encode(row)
            if isinstance(made, Refused):
                self.dropped[made.reason] += 1
                continue
            self.kept.append(row)
            self.lengths.append(made.length)
            self._texts.append(Encoded(made.input_ids, made.labels, made.sequence))
            key = tuple(image.bytes for image in row.images)
            if key and key not in self._pictures:
                size = sum(value.numel() * value.element_size() for value in made.vision.values())
                if size <= left:
                    left -= size
                    self._pictures[key] = made.vision

    def _encode(self, row: TrainingRow) -> Encoded | Refused:
        return self.layout.encode(row.messages, [image.bytes for image in row.images], training=True)

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, number: int) -> Encoded:
        text, key = self._texts[number], tuple(image.bytes for image in self.kept[number].images)
        if not key:
            return text
        vision = self._pictures.get(key)
        if vision is None:
            made = self._encode(self.kept[number])
            assert isinstance(made, Encoded)  # it was laid out before, from the same bytes
            vision = made.vision
        return Encoded(text.input_ids, text.labels, text.sequence, vision)


class Planned(Dataset[Any]):
    """A view of indexable rows in the order of a plan."""

    def __init__(self, rows: Any, order: Sequence[int] | np.ndarray) -> None:
        self.rows, self.order = rows, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int) -> Any:
        return self.rows[int(self.order[place])]
