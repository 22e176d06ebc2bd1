"""Which rows share one packed row: bins planned from lengths alone, before anything is read or decoded.

Convention: best-fit decreasing (Johnson 1973) inside windows of rows drawn at random; the bins are then shuffled, so
that fullness and length do not become a curriculum. Rows, seed and epoch decide everything: the same three give the
same bins on any machine and for any number of processes. Every row stands in exactly one bin of an epoch.

Trap: a row longer than a bin is an error here. Rows are lowered or dropped, with a counted reason, where they are
measured; nothing is cut to fit.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinemed.records import content_hash

__all__ = ["Bins", "plan_bins", "plan_run"]

WINDOW = 4096


@dataclass(frozen=True)
class Bins:
    """Row numbers of each bin, in the order in which bins are trained on.

    Attributes:
        rows: Row numbers per bin.
        capacity: Tokens that a bin may hold.
        seed: Of the order.
        epochs: How many epochs, counted from 0 and the last one perhaps begun only, the bins come from.
        tokens: Tokens of each bin.
        lengths_sha256: Hash of the lengths that were planned with.
    """

    rows: tuple[tuple[int, ...], ...]
    capacity: int
    seed: int
    epochs: int
    tokens: tuple[int, ...]
    lengths_sha256: str

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def fill(self) -> float:
        """Share of the bins' places that hold a token; 0 without bins."""
        return sum(self.tokens) / (self.capacity * len(self.rows)) if self.rows else 0.0

    def to_json(self) -> dict[str, Any]:
        """What is stored in the run."""
        return {
            "capacity": self.capacity,
            "seed": self.seed,
            "epochs": self.epochs,
            "fill": round(self.fill, 6),
            "lengths_sha256": self.lengths_sha256,
            "tokens": list(self.tokens),
            "rows": [list(bin) for bin in self.rows],
        }

    @classmethod
    def from_json(cls, facts: dict[str, Any]) -> Bins:
        """Bins as they were stored.

        Raises:
            KeyError: A field is missing.
        """
        return cls(
            rows=tuple(tuple(int(row) for row in bin) for bin in facts["rows"]),
            capacity=int(facts["capacity"]),
            seed=int(facts["seed"]),
            epochs=int(facts["epochs"]),
            tokens=tuple(int(count) for count in facts["tokens"]),
            lengths_sha256=str(facts["lengths_sha256"]),
        )

    @property
    def sha256(self) -> str:
        """Hash of all of it."""
        return content_hash(self.to_json())


def plan_bins(
    lengths: Sequence[int] | np.ndarray,
    *,
    capacity: int,
    seed: int,
    epoch: int = 0,
    patches: Sequence[int] | np.ndarray | None = None,
    patch_capacity: int | None = None,
    window: int = WINDOW,
) -> Bins:
    """One epoch of bins.

    Args:
        lengths: Tokens of each row, pictures counted.
        capacity: Tokens that a bin may hold.
        seed: Of the order.
        epoch: Each epoch has other bins.
        patches: Picture patches of each row, the vision tower's work; for `patch_capacity`.
        patch_capacity: Patches that a bin may hold, which bounds the tower's memory.
        window: Rows that are packed together. More fill bins better; fewer keep the order nearer to random.

    Raises:
        ValueError: There are no rows, or one is empty or larger than a bin.
    """
    size = np.asarray(lengths, dtype=np.int64)
    seen = np.zeros_like(size) if patches is None or patch_capacity is None else np.asarray(patches, dtype=np.int64)
    room = int(patch_capacity) if patch_capacity is not None else 0
    if not len(size):
        raise ValueError("no rows to pack")
    if size.min() < 1:
        raise ValueError(f"row {int(size.argmin())} has no tokens")
    if size.max() > capacity:
        raise ValueError(f"row {int(size.argmax())} has {int(size.max())} tokens, a bin {capacity}")
    if seen.max() > room:
        raise ValueError(f"row {int(seen.argmax())} has {int(seen.max())} patches, a bin {room}")
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(size))
    bins: list[list[int]] = []
    for start in range(0, len(order), window):
        part = order[start : start + window]
        bins.extend(_best_fit(part[np.argsort(-size[part], kind="stable")], size, seen, capacity, room))
    chosen = [bins[place] for place in rng.permutation(len(bins))]
    return Bins(
        rows=tuple(tuple(rows) for rows in chosen),
        capacity=capacity,
        seed=seed,
        epochs=epoch + 1,
        tokens=tuple(int(size[rows].sum()) for rows in chosen),
        lengths_sha256=content_hash(size.tolist()),
    )


def _best_fit(order: np.ndarray, size: np.ndarray, seen: np.ndarray, capacity: int, room: int) -> list[list[int]]:
    """Each row, longest first, goes into the fullest bin that still takes it."""
    bins: list[list[int]] = []
    left_patches: list[int] = []
    free: list[tuple[int, int]] = []  # (tokens left, bin), ascending
    for row in order.tolist():
        need, looks = int(size[row]), int(seen[row])
        place = bisect.bisect_left(free, (need, -1))
        while place < len(free) and left_patches[free[place][1]] < looks:
            place += 1
        if place == len(free):
            bins.append([row])
            left_patches.append(room - looks)
            bisect.insort(free, (capacity - need, len(bins) - 1))
            continue
        left, number = free.pop(place)
        bins[number].append(row)
        left_patches[number] -= looks
        if left > need:
            bisect.insort(free, (left - need, number))
    return bins


def plan_run(
    lengths: Sequence[int] | np.ndarray,
    *,
    capacity: int,
    seed: int,
    bins: int,
    patches: Sequence[int] | np.ndarray | None = None,
    patch_capacity: int | None = None,
    window: int = WINDOW,
) -> Bins:
    """Exactly `bins` bins: epoch after epoch, the last one perhaps begun only.

    Args:
        lengths, capacity, seed, patches, patch_capacity, window: As for :func:`plan_bins`.
        bins: Bins of the whole run: steps times accumulation times processes.

    Raises:
        ValueError: As :func:`plan_bins`, or fewer than one bin is asked for.
    """
    if bins < 1:
        raise ValueError("a run has at least one bin")
    rows: list[tuple[int, ...]] = []
    tokens: list[int] = []
    epoch = 0
    while len(rows) < bins:
        made = plan_bins(
            lengths, capacity=capacity, seed=seed, epoch=epoch, patches=patches, patch_capacity=patch_capacity,
            window=window,
        )  # fmt: skip
        rows.extend(made.rows)
        tokens.extend(made.tokens)
        epoch += 1
    return Bins(tuple(rows[:bins]), capacity, seed, epoch, tuple(tokens[:bins]), made.lengths_sha256)
