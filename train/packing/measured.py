"""Release rows measured, not laid out: lengths from text and picture headers, tensors only when a bin asks for them.

Convention: row numbers count the rows that are kept. A row is laid out by the same :class:`spinemed.vlm.Layout` that
measured it, in whichever process asks for it; planning a run of many pictures takes no pixel and no memory for any.

Trap: a header can be sound and the picture behind it broken. That row is found when its bin is made, and named then;
`spinemed train verify` decodes every picture and finds it before the start.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import torch

from spinemed.errors import ReadError, RecordError
from spinemed.records import Message, PackedImage
from spinemed.vlm.layout import Encoded, Layout, Measured, Refused, picture_size

__all__ = ["MeasuredRows", "Row"]

_Shown = tuple[tuple[bytes, tuple[int, int]], ...]
"""Bytes of each picture of a row, and the width and height to which it is brought."""


class Row(Protocol):
    """What a row needs: :class:`train.rows.TrainingRow` has it."""

    @property
    def id(self) -> str:
        """Names the row in errors."""

    @property
    def messages(self) -> tuple[Message, ...]:
        """Ends with the assistant's answer."""

    @property
    def images(self) -> tuple[PackedImage, ...]:
        """In the order of the placeholders."""


class MeasuredRows:
    """Rows whose lengths are known and whose tensors are made on request.

    Args:
        rows: From :func:`train.rows.read_release`.
        layout: The model's layout.
        cache_mb: Picture tensors kept in memory by each process that lays rows out, in MB.

    Attributes:
        kept: Rows that can be trained on.
        dropped: Rows left out, by reason.
        lengths: Tokens of each kept row.
        answers: Tokens of its answer.
        patches: Picture tokens of each kept row: the vision tower's work.
        lowered: Kept rows whose pictures had to be made smaller.
    """

    def __init__(self, rows: Iterable[Any], layout: Layout, *, cache_mb: int = 0) -> None:
        self.layout = layout
        self.kept: list[Any] = []
        self.dropped: Counter[str] = Counter()
        self.lengths: list[int] = []
        self.answers: list[int] = []
        self.patches: list[int] = []
        self.lowered = 0
        self._left = cache_mb * 1_000_000
        self._pictures: dict[_Shown, tuple[tuple[int, ...], dict[str, torch.Tensor]]] = {}
        self._measured: list[Measured] = []
        for row in rows:
            made = measure_row(row, layout)
            if isinstance(made, Refused):
                self.dropped[made.reason] += 1
                continue
            self.kept.append(row)
            self.lengths.append(made.length)
            self.answers.append(made.answer)
            self.patches.append(sum(made.tokens))
            self._measured.append(made)
            self.lowered += made.lowered

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, number: int) -> Encoded:
        """One row laid out.

        Raises:
            RecordError: Its picture is broken behind a sound header, or it is not as long as it was measured.
        """
        row = self.kept[number]
        # By content and size: two releases may use one name, and a lowered picture is another one.
        key = tuple(zip((image.bytes for image in row.images), self._measured[number].sizes, strict=True))
        known = self._pictures.get(key) if key else None
        if known is not None:
            counts, vision = known
            text = self.layout.encode_text(row.messages, counts)
            made: Encoded | Refused = Encoded(text.input_ids, text.labels, text.sequence, vision)
        else:
            made = self.layout.encode(row.messages, [image.bytes for image in row.images], training=True)
        if isinstance(made, Refused) or made.length != self.lengths[number]:
            found = (
                made.detail if isinstance(made, Refused) else f"{made.length} tokens, {self.lengths[number]} measured"
            )
            raise RecordError(
                f"cannot be laid out as measured ({found})", field=row.id,
                cure="run `spinemed train verify`, which decodes every picture",
            )  # fmt: skip
        if key and known is None:
            self._keep(key, self._measured[number].tokens, made.vision)
        return made

    def measured(self, number: int) -> Measured:
        """What was measured of one row."""
        return self._measured[number]

    def _keep(self, key: _Shown, tokens: tuple[int, ...], vision: dict[str, torch.Tensor]) -> None:
        size = sum(value.numel() * value.element_size() for value in vision.values())
        if size <= self._left and self.layout.rotary:
            self._left -= size
            self._pictures[key] = (tokens, vision)


def measure_row(row: Row, layout: Layout) -> Measured | Refused:
    """Length of one row from its text and the headers of its pictures."""
    try:
        sizes: Sequence[tuple[int, int]] = [picture_size(image.bytes) for image in row.images]
    except ReadError as error:
        return Refused("unreadable_picture", str(error))
    return layout.measure(row.messages, sizes)
