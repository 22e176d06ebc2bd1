"""Which row stands where: the order of a whole training run, drawn before it starts.

Convention: a plan is an array of row numbers, one for each place of each batch, from the seed alone. The trainer walks
through it front to back, so a resumed run continues at the same place by counting.

Trap: rows of like length are put into one batch to save padding; batches are then shuffled, so that length does not
become a curriculum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["plan_order"]


def plan_order(lengths: Sequence[int], *, batch_size: int, batches: int, seed: int, window: int = 16) -> np.ndarray:
    """Row numbers for `batches` batches of `batch_size` rows.

    Every row is used equally often, up to one: the rows are gone through in passes, each in a new random order.

    Args:
        lengths: Tokens of each row.
        batch_size: Rows in one batch.
        batches: Batches in the whole run, accumulation steps counted.
        seed: Of the order.
        window: Batches among which rows are sorted by length.

    Returns:
        int64 array (batches * batch_size,).

    Raises:
        ValueError: There are no rows.
    """
    if not len(lengths):
        raise ValueError("no rows to plan")
    rng = np.random.default_rng(seed)
    wanted = batches * batch_size
    passes = -(-wanted // len(lengths))
    order = np.concatenate([rng.permutation(len(lengths)) for _ in range(passes)])[:wanted]
    size = np.asarray(lengths, dtype=np.int64)
    planned = np.empty_like(order)
    step = window * batch_size
    for start in range(0, wanted, step):
        part = order[start : start + step]
        part = part[np.argsort(size[part], kind="stable")].reshape(-1, batch_size)
        planned[start : start + step] = part[rng.permutation(len(part))].reshape(-1)
    return planned
