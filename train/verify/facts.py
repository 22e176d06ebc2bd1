"""What is known of a stage before it starts, as plain values: rows, lengths, steps, memory, hours, disk.

Convention: the plan is the run's own (:func:`train.plan.plan_stage`); memory and hours are the published formulas of
:mod:`train.estimate`. Where no row tells, the assumption is a constant at the top of this file.

Trap: hours are those of the operations a step needs, at an assumed MFU; they know nothing of a slow node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from train.config import Stage, TrainConfig
from train.estimate import GPUS, Load, disk_bytes, feature_bytes, hours, memory_bytes
from train.plan import Mixture, StagePlan, plan_stage
from train.shapes import ModelShape
from train.verify.survey import StageSurvey

__all__ = ["stage_facts"]

_ASSUMED_PICTURES = 0.5
"""Part of the places that pictures take, where no row tells."""
_ASSUMED_ANSWERS = 0.25
"""Part of the places that answers take, where no row tells."""
_MARGIN = 0.9
"""Part of a GPU's memory that a prediction may fill."""


def stage_facts(
    config: TrainConfig, stage: Stage, shape: ModelShape | None, found: StageSurvey | None, processes: int
) -> dict[str, Any]:
    """Everything that is known of a stage, as plain values."""
    facts: dict[str, Any] = {"name": stage.name, "processes": processes}
    load, share, answers = None, _ASSUMED_PICTURES, _ASSUMED_ANSWERS
    if found is not None:
        merge = shape.vision.merge if shape is not None else 2
        lengths = np.array(found.lengths)
        plan, drawn, padding = _plan(config, stage, found)
        first = found.load(np.bincount(_mixture(config, stage, found).draw(0), minlength=len(lengths)), merge)
        load = found.load(drawn, merge)
        if stage.feature_cache is not None:  # the tower sees each picture once, however often it is shown
            load = replace(load, patches=found.shown_tokens * merge**2, patch_squares=found.shown_squares * merge**4)
        share = sum(found.picture_tokens) / max(1, int(lengths.sum()))
        answers = sum(found.answers) / max(1, int(lengths.sum()))
        facts |= {
            "rows": len(lengths),
            "rows_a_pass": first.rows,
            "dropped": dict(sorted(found.dropped.items())),
            "left_out": sum(found.dropped.values()),
            "lowered": found.lowered,
            "tokens_a_pass": first.tokens,
            "answer_tokens_a_pass": first.answers,
            "pictures": len(found.shown),
            "histogram": list(_histogram(lengths)),
            "longest": int(lengths.max()),
            "median": int(np.median(lengths)),
            "batches": plan.steps * plan.per_step,
            "fill_percent": round(100 * (plan.bins.fill if plan.bins is not None else 1 - padding), 1),
            "padding_percent": round(100 * padding, 1),
            "steps": plan.steps,
            "passes": plan.passes,
            "tokens": plan.tokens,
        }
    if shape is None:
        return facts
    needed = memory_bytes(shape, config, stage, processes=processes, picture_share=share, answer_share=answers)
    facts["memory_gb"] = {name: round(value / 1e9, 1) for name, value in needed.items()}
    total = sum(needed.values()) / 1e9
    facts["memory_total_gb"] = round(total, 1)
    # Where no row tells: conversations a quarter as long as may be, pictures of 1024 tokens.
    patches = int(4e9 * share)
    per = Load(tokens=10**9, squares=10**9 * stage.max_tokens // 4, patches=patches, patch_squares=patches * 4096)
    facts["gpus"] = {
        gpu.name: {
            "fits": total <= _MARGIN * gpu.memory_gb,
            "hours": None if load is None else round(hours(shape, stage, load, gpu, processes=processes), 2),
            "hours_a_billion_tokens": round(hours(shape, stage, per, gpu, processes=processes), 1),
        }
        for gpu in GPUS
    }
    tokens = found.shown_tokens if found is not None else 0
    disk = disk_bytes(shape, config, stage, image_tokens=tokens, distinct=found is not None)
    facts["disk_gb"] = {name: round(value / 1e9, 2) for name, value in disk.items()}
    if found is not None and found.shown:
        facts["features_mb_an_image"] = round(feature_bytes(shape, tokens) / len(found.shown) / 1e6, 2)
    return facts


def _mixture(config: TrainConfig, stage: Stage, found: StageSurvey) -> Mixture:
    return Mixture(np.asarray(found.shares), tuple(one.weight for one in stage.mixture), config.seed)


def _plan(config: TrainConfig, stage: Stage, found: StageSurvey) -> tuple[StagePlan, np.ndarray, float]:
    """The run's own plan, how often it draws each row, and the part of its places that is padding."""
    lengths = np.asarray(found.lengths)
    orders: dict[str, Sequence[float]] = {"length": found.lengths, "difficulty": found.difficulties}
    plan = plan_stage(
        found.lengths, _mixture(config, stage, found), stage.schedule, packing=stage.packing, seed=config.seed,
        capacity=stage.bin_tokens or stage.max_tokens, curriculum=orders.get(stage.curriculum),
    )  # fmt: skip
    if plan.bins is not None:
        drawn = np.bincount([row for rows in plan.bins.rows for row in rows], minlength=len(lengths))
        return plan, drawn, 0.0
    assert plan.order is not None
    batches = lengths[plan.order].reshape(-1, stage.schedule.batch_size)
    padding = 1 - float(batches.sum() / (batches.max(axis=1) * batches.shape[1]).sum())
    return plan, np.bincount(plan.order, minlength=len(lengths)), padding


def _histogram(lengths: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(from, below, rows) in powers of two, as far as there are rows."""
    low = 1 << max(0, int(lengths.min()).bit_length() - 1)
    while low <= int(lengths.max()):
        yield low, 2 * low, int(((lengths >= low) & (lengths < 2 * low)).sum())
        low *= 2
