"""From encoded rows to one packed row: the call shape that keeps samples apart.

Convention: all rows of a bin are joined into one, without padding. Position ids have four rows for models with
multimodal rotary positions (text, time, height, width: the text row starts at 0 in every segment and tells the model
where segments begin) and one row for others. There is no attention mask and no cache; `cu_seq_lens_*` and
`max_length_*` are what FlashAttention's varlen kernel and :mod:`train.packing.attention` take. Labels stand beside the
positions that are scored, and only those go through the output layer.

Trap: of the shapes that a Qwen-VL model accepts without complaint, only this one isolates. Three-row positions, an
all-ones mask or a cache each let samples see their neighbours, with logits off by 0.5 and no warning. The guard in
:mod:`train.packing.isolation` measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from spinemed.vlm.layout import IGNORE, Encoded
from train.packing.bins import Bins

__all__ = ["PackedCall", "PackedRows", "call_of", "collate_packed", "rotary_positions"]


@dataclass(frozen=True)
class PackedCall:
    """How a model is called with a packed row.

    Attributes:
        positions: `rotary`: four rows with multimodal rotary positions. `plain`: one row.
        image_token: Id of the token that stands for one merged patch.
        merge: Patches per edge that become one token; for `rotary`.
        segments: Whether segment edges are passed along, for kernels that take them.
        answer_logits: Whether only scored positions go through the output layer.
        dummy: A picture row without labels, put into bins without pictures so that every process of a ZeRO-3 run
            calls the vision tower in every step; None where that is not needed.
    """

    positions: Literal["rotary", "plain"]
    image_token: int
    merge: int = 1
    segments: bool = True
    answer_logits: bool = True
    dummy: Encoded | None = None


def call_of(
    model: Any, *, segments: bool = True, answer_logits: bool = True, dummy: Encoded | None = None
) -> PackedCall:
    """The call for a model, from its config."""
    config = model.config
    rotary = hasattr(getattr(model, "base_model", model), "get_rope_index") or _rotary_sections(config) is not None
    token: Any = getattr(config, "image_token_id", getattr(config, "image_token_index", -1))
    vision = getattr(config, "vision_config", None)
    return PackedCall(
        positions="rotary" if rotary else "plain",
        image_token=int(token),
        merge=int(getattr(vision, "spatial_merge_size", 1)),
        segments=segments,
        answer_logits=answer_logits,
        dummy=dummy,
    )


def _rotary_sections(config: Any) -> Any:
    text = config.get_text_config()
    return (getattr(text, "rope_parameters", None) or {}).get("mrope_section")


def rotary_positions(ids: np.ndarray, grids: np.ndarray | None, *, image_token: int, merge: int) -> np.ndarray:
    """Time, height and width positions of one row (Wang et al. 2024, Qwen2-VL, section 2.1).

    Text counts up in all three. A picture's tokens share the time of their start and count height and width from it;
    the text behind goes on at the largest position so far plus 1.

    Args:
        ids: (length,) token ids.
        grids: (pictures, 3) patches in time, height and width; None without pictures.
        image_token: Id of picture tokens.
        merge: Patches per edge that become one token.

    Returns:
        int64 (3, length).

    Raises:
        ValueError: Picture tokens and grids do not agree.
    """
    length = len(ids)
    positions = np.empty((3, length), np.int64)
    pictures = np.flatnonzero(ids == image_token)
    wanted = 0 if grids is None else int((grids.prod(1) // merge**2).sum())
    if len(pictures) != wanted:
        raise ValueError(f"{len(pictures)} picture tokens for grids of {wanted}")
    at, place = 0, 0
    first = 0
    for _, high, wide in () if grids is None else grids.tolist():
        start = int(pictures[first])
        positions[:, at:start] = np.arange(place, place + start - at)
        place += start - at
        rows, columns = high // merge, wide // merge
        count = rows * columns
        block = positions[:, start : start + count]
        block[0] = place
        block[1] = place + np.repeat(np.arange(rows), columns)
        block[2] = place + np.tile(np.arange(columns), rows)
        place += max(rows, columns)
        at = start + count
        first += count
    positions[:, at:] = np.arange(place, place + length - at)
    return positions


def collate_packed(bins: Sequence[Sequence[Encoded]], call: PackedCall) -> dict[str, Any]:
    """Bins of encoded rows as one packed row; several bins simply follow each other.

    Returns:
        `input_ids` (1, length); `position_ids` (4, 1, length) or (1, length); `use_cache` False; further per-token
        tensors of the processor that the model still needs with positions given; picture tensors joined along their
        first axis; with `call.segments`, `cu_seq_lens_q/k` (segments + 1,) int32 and `max_length_q/k`. Labels are
        (1, length), or with `call.answer_logits` (1, scored + 1) beside `logits_to_keep` (scored + 1,): the scored
        positions and one more, so that a loss that shifts by one meets each logit with its label.

    Raises:
        ValueError: There are no rows, or one has no labels.
    """
    rows = [row for rows in bins for row in rows]
    if not rows:
        raise ValueError("an empty bin")
    if call.dummy is not None and not any(row.vision for row in rows):
        rows.append(call.dummy)
    labels = []
    for row in rows:
        if row.labels is None:
            raise ValueError("a row without labels")
        # The token before a segment's first belongs to another sample and must not be asked to foresee it.
        labels.append(torch.cat([row.labels.new_full((1,), IGNORE), row.labels[1:]]))
    lengths = [row.length for row in rows]
    edges = np.concatenate([[0], np.cumsum(lengths)])
    batch: dict[str, Any] = {
        "input_ids": torch.cat([row.input_ids for row in rows])[None],
        "position_ids": _positions(rows, call),
        "use_cache": False,
    }
    joined = torch.cat(labels)
    if call.answer_logits:
        scored = torch.nonzero(joined[1:] != IGNORE).flatten()
        batch["logits_to_keep"] = torch.cat([scored, scored.new_full((1,), len(joined) - 1)])
        batch["labels"] = torch.cat([joined.new_full((1,), IGNORE), joined[scored + 1]])[None]
    else:
        batch["labels"] = joined[None]
    if call.segments:
        batch["cu_seq_lens_q"] = batch["cu_seq_lens_k"] = torch.from_numpy(edges.astype(np.int32))
        batch["max_length_q"] = batch["max_length_k"] = max(lengths)
    if call.positions == "plain":
        for name in sorted({name for row in rows for name in row.sequence}):
            batch[name] = torch.cat([row.sequence.get(name, torch.zeros_like(row.input_ids)) for row in rows])[None]
    for name in sorted({name for row in rows for name in row.vision}):
        batch[name] = torch.cat([row.vision[name] for row in rows if name in row.vision])
    return batch


def _positions(rows: Sequence[Encoded], call: PackedCall) -> torch.Tensor:
    text = np.concatenate([np.arange(row.length) for row in rows])
    if call.positions == "plain":
        return torch.from_numpy(text)[None]
    spatial = np.concatenate(
        [
            rotary_positions(
                row.input_ids.numpy(),
                row.vision["image_grid_thw"].numpy() if "image_grid_thw" in row.vision else None,
                image_token=call.image_token,
                merge=call.merge,
            )
            for row in rows
        ],
        axis=1,
    )
    return torch.from_numpy(np.concatenate([text[None], spatial]))[:, None]


class PackedRows(Dataset[Any]):
    """A view of indexable rows as bins: item k is the encoded rows of bin k, made when it is asked for.

    Args:
        rows: `rows[number]` is the :class:`~spinemed.vlm.layout.Encoded` row of that number.
        bins: From :func:`train.packing.plan_bins` or :func:`train.packing.plan_run`.

    Raises:
        ValueError: (on access) A bin turns out longer than planned, so the rows are not those that were measured.
    """

    def __init__(self, rows: Any, bins: Bins) -> None:
        self.rows, self.bins = rows, bins

    def __len__(self) -> int:
        return len(self.bins)

    def __getitem__(self, place: int) -> list[Encoded]:
        made = [self.rows[row] for row in self.bins.rows[place]]
        found = sum(row.length for row in made)
        if found != self.bins.tokens[place]:
            raise ValueError(f"bin {place} holds {found} tokens, {self.bins.tokens[place]} were planned")
        return made
