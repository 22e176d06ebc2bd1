"""Which row stands where: the order of a whole training run, drawn before it starts.

Convention: a plan is an array of row numbers, one for each place of each step, from the seed alone. The trainer walks
through it front to back, so a resumed run continues at the same place by counting. A plan knows steps, not processes:
each step's rows are the same however many processes and passes share them.

Trap: rows of like length are put into one batch to save padding; batches are then shuffled, so that length does not
become a curriculum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spinemed.records import content_hash
from train.config import Packing, StageSchedule
from train.packing.bins import Bins, plan_bins

__all__ = ["Mixture", "StagePlan", "plan_order", "plan_stage"]


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
    return _grouped(order, np.asarray(lengths, dtype=np.int64), batch_size, window, rng)


def _grouped(order: np.ndarray, size: np.ndarray, batch_size: int, window: int, rng: np.random.Generator) -> np.ndarray:
    planned = np.empty_like(order)
    step = window * batch_size
    for start in range(0, len(order), step):
        part = order[start : start + step]
        part = part[np.argsort(size[part], kind="stable")].reshape(-1, batch_size)
        planned[start : start + step] = part[rng.permutation(len(part))].reshape(-1)
    return planned


@dataclass(frozen=True)
class Mixture:
    """Rows of several shares, each drawn so many times in a pass.

    Attributes:
        share: (rows,) which share each row belongs to.
        weights: How often the rows of each share are drawn in one pass.
        seed: Of the draws.
    """

    share: np.ndarray
    weights: tuple[float, ...]
    seed: int

    def draw(self, number: int) -> np.ndarray:
        """The rows of pass `number`, in the order of the releases.

        A weight of 1.5 takes every row once and half of them once more; the next pass takes the other half.

        Returns:
            int64 array; its length is the same for every pass.
        """
        if all(weight == 1.0 for weight in self.weights):
            return np.arange(len(self.share))
        picked: list[np.ndarray] = [np.empty(0, np.int64)]
        for place, weight in enumerate(self.weights):
            own = np.flatnonzero(self.share == place)
            whole = int(weight)
            picked += [own] * whole
            rest = round((weight - whole) * len(own))
            if not whole and len(own):
                rest = max(1, rest)  # a small share of few rows is drawn from, not rounded away
            picked.append(own[_endless(len(own), number * rest, rest, (self.seed, place))])
        return np.sort(np.concatenate(picked))


def _endless(count: int, start: int, wanted: int, key: tuple[int, ...]) -> np.ndarray:
    """Places `start` to `start + wanted` of an endless row of shuffled decks of `count` cards."""
    parts = [np.empty(0, np.int64)]
    while wanted:
        turn, offset = divmod(start, count)
        part = np.random.default_rng([*key, turn]).permutation(count)[offset : offset + wanted]
        parts.append(part)
        start, wanted = start + len(part), wanted - len(part)
    return np.concatenate(parts)


@dataclass(frozen=True)
class StagePlan:
    """What each step of a stage trains on.

    Attributes:
        steps: Optimiser steps.
        per_step: Rows (packed: bins) of each, over all processes.
        passes: Passes over the mixture, the last one perhaps begun only.
        order: (steps * per_step,) row numbers; None where bins are planned.
        bins: Bins of the whole stage; None where rows are planned.
        tokens: Input tokens of the stage, padding not counted.
    """

    steps: int
    per_step: int
    passes: int
    order: np.ndarray | None
    bins: Bins | None
    tokens: int

    def to_json(self) -> dict[str, Any]:
        """What is stored in the run."""
        plan = {"bins": self.bins.to_json()} if self.bins is not None else {"rows": _plain(self.order)}
        return {
            "steps": self.steps,
            "per_step": self.per_step,
            "passes": self.passes,
            "tokens": self.tokens,
            **plan,
        }

    @property
    def sha256(self) -> str:
        """Hash of all of it."""
        return content_hash(self.to_json())


def _plain(order: np.ndarray | None) -> list[int]:
    return [] if order is None else [int(row) for row in order]


def plan_stage(
    lengths: Sequence[int],
    mixture: Mixture,
    schedule: StageSchedule,
    *,
    packing: Packing,
    seed: int,
    capacity: int = 0,
    curriculum: Sequence[float] | None = None,
    window: int = 16,
) -> StagePlan:
    """Plan a stage.

    Args:
        lengths: Tokens of each row.
        mixture: Which rows a pass draws.
        schedule: Its length, and the rows (packed: bins) of a step.
        packing: How rows share batches.
        seed: Of the order.
        capacity: With `packed`: tokens of a bin.
        curriculum: With rows: a number for each row; within a pass rows stand in ascending order of it.
        window: With `grouped`: steps among which rows are sorted by length.

    Raises:
        ValueError: The mixture draws no rows.
    """
    size = np.asarray(lengths, dtype=np.int64)
    if not len(size) or not len(mixture.draw(0)):
        raise ValueError("the mixture draws no rows")
    if packing == "packed":
        return _plan_bins(size, mixture, schedule, seed, capacity)
    rng = np.random.default_rng(seed)

    def turn(number: int) -> np.ndarray:
        rows = mixture.draw(number)
        rows = rows[rng.permutation(len(rows))]
        return rows if curriculum is None else rows[np.argsort(np.asarray(curriculum)[rows], kind="stable")]

    passes = [turn(0)]
    while (wanted := _wanted(schedule, len(passes[0]), len(passes), np.concatenate(passes), size)) is None:
        passes.append(turn(len(passes)))
    order = np.concatenate(passes)[:wanted]
    if packing == "grouped" and curriculum is None:
        order = _grouped(order, size, schedule.per_step, window, rng)
    return StagePlan(wanted // schedule.per_step, schedule.per_step, len(passes), order, None, int(size[order].sum()))


def _wanted(schedule: StageSchedule, in_pass: float, passes: int, units: np.ndarray, tokens: np.ndarray) -> int | None:
    """Units (rows or bins) of a stage, in whole steps; None when more passes are needed to say or to fill it."""
    step = schedule.per_step
    if schedule.steps is not None:
        wanted = schedule.steps * step
    elif schedule.epochs is not None:
        if passes < schedule.epochs:
            return None
        # 1.1 passes of 10 rows are 11 rows; the product of the two numbers is a little more.
        wanted = -(-int(np.ceil(round(schedule.epochs * in_pass, 6))) // step) * step
    else:
        reached = np.flatnonzero(np.cumsum(tokens[units]) >= schedule.tokens)
        if not len(reached):
            return None
        wanted = -(-(int(reached[0]) + 1) // step) * step
    return wanted if wanted <= len(units) else None


def _plan_bins(size: np.ndarray, mixture: Mixture, schedule: StageSchedule, seed: int, capacity: int) -> StagePlan:
    rows: list[tuple[int, ...]] = []
    tokens: list[int] = []
    ends: list[int] = []
    wanted: int | None = None
    while wanted is None:
        drawn = mixture.draw(len(ends))
        made = plan_bins(size[drawn], capacity=capacity, seed=seed, epoch=len(ends))
        rows += [tuple(int(drawn[row]) for row in bin) for bin in made.rows]
        tokens += list(made.tokens)
        ends.append(len(rows))
        # Bins of a pass differ a little in number from pass to pass: a fraction of a pass counts from its own.
        whole = int(schedule.epochs or 0)
        if schedule.epochs is not None and len(ends) >= schedule.epochs:
            before = ends[whole - 1] if whole else 0
            part = (schedule.epochs - whole) * ((ends[whole] if whole < len(ends) else before) - before)
            in_pass = (before + part) / schedule.epochs
        else:
            in_pass = float(ends[0])
        wanted = _wanted(schedule, in_pass, len(ends), np.arange(len(rows)), np.asarray(tokens))
    bins = Bins(tuple(rows[:wanted]), capacity, seed, len(ends), tuple(tokens[:wanted]), content_hash(size.tolist()))
    return StagePlan(wanted // schedule.per_step, schedule.per_step, len(ends), None, bins, sum(bins.tokens))
