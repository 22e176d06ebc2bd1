"""A training loop for synthesis: several networks and optimisers, validation on the way, an exact resume.

Convention: a step draws all its randomness from (seed, step), so that nothing but weights and optimisers has to be
kept. Checkpoints lie in the run's scratch folder and count only with their completion mark (:mod:`train.trainer`). The
weights that did best on the validation split, by a score of which less is better, are kept there and returned.

Trap: a score on the spines that are trained on, or on the test split, would select what remembers best; the caller
gives the validation split's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from spinemed.config import Config
from spinemed.errors import RunError
from spinemed.run import Run
from spinemed.tables import atomic_write, write_json
from train.trainer import COMPLETE, claim_checkpoints, newest_checkpoint

__all__ = ["Arrays", "Pace", "Trained", "load_arrays", "train_loop"]

Arrays = dict[str, NDArray[Any]]
"""Samples by name, one row a sample."""


class Pace(Config):
    """How long a network trains. Counted in steps, never in seconds, so that a run can be repeated."""

    steps: int = Field(ge=1)
    """Optimiser steps."""
    batch_size: int = Field(default=16, ge=1)
    """Samples per process and step."""
    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate; rises over the first 5 % of the steps and falls along a cosine."""
    weight_decay: float = Field(default=0.01, ge=0)
    """AdamW weight decay."""
    evaluate_every: int = Field(default=500, ge=1)
    """Steps between looks at the validation split."""
    save_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""
    log_every: int = Field(default=50, ge=1)
    """Steps between journalled losses."""

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warm = max(1, round(0.05 * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        part = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * part)))


@dataclass
class Trained:
    """What a loop leaves.

    Attributes:
        best: State of the selected network.
        step: When it was best.
        scores: What the validation split said then.
        history: Every look at the validation split, in order.
    """

    best: dict[str, torch.Tensor]
    step: int
    scores: dict[str, float]
    history: list[dict[str, float]] = field(default_factory=list)


def load_arrays(folder: Path, names: Sequence[str], *, mark: str, lacking: str) -> Arrays:
    """All prepared samples of a folder, in the order of their files.

    Args:
        folder: Of `.npz` files.
        names: Of the arrays.
        mark: The array that a file has if it holds samples at all.
        lacking: What to say where none does.

    Raises:
        RunError: There is none.
    """
    parts = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            if mark in file:
                parts.append({name: file[name] for name in names})
    if not parts:
        raise RunError(lacking, file=folder, cure="give more data")
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def train_loop(
    run: Run,
    stage: str,
    *,
    parts: dict[str, Any],
    chosen: torch.nn.Module,
    pace: Pace,
    key: str,
    step: Callable[[int, float], dict[str, float]],
    evaluate: Callable[[], dict[str, float]],
    score: str,
    first: bool = True,
) -> Trained:
    """Train, from the start or from the newest checkpoint.

    Args:
        run: Where checkpoints and metrics go.
        stage: Names the checkpoints' folder and the metrics.
        parts: Networks and optimisers by name: everything that a resume needs.
        chosen: The network whose best state is kept.
        pace: Steps and rates.
        key: Hash of everything that goes in; checkpoints made under another key are removed.
        step: Does one step (number, learning rate) and returns its losses.
        evaluate: Scores on the validation split.
        score: Which of them selects; less is better.
        first: Whether this process writes; the others only keep step.

    Raises:
        RunError: training has left the numbers: there is no score to select by.
    """
    folder = claim_checkpoints(run, stage, key) if first else run.scratch / stage
    begin, trained = 0, Trained({}, 0, {})
    newest = newest_checkpoint(folder) if folder.is_dir() else None
    if newest is not None:
        begin, trained = _load(newest, parts)
        run.journal("resumed", stage=stage, checkpoint=newest.name)
    sums: dict[str, float] = {}
    seen = 0
    with run.progress(stage, pace.steps) as advance:
        advance(begin)
        for number in range(begin, pace.steps):
            for name, value in step(number, pace.rate(number)).items():
                sums[name] = sums.get(name, 0.0) + value
            seen += 1
            done = number + 1
            if done % pace.log_every == 0 or done == pace.steps:
                run.journal("metrics", stage=stage, step=done, **{k: _plain(v / seen) for k, v in sums.items()})
                sums, seen = {}, 0
            if done % pace.evaluate_every == 0 or done == pace.steps:
                scores = {name: float(value) for name, value in evaluate().items()}
                run.journal("validation", stage=stage, step=done, **{k: _plain(v) for k, v in scores.items()})
                if not math.isfinite(scores.get(score, math.nan)):
                    raise RunError(
                        f"{stage}: the validation score is no number after step {done}", file=run.folder, field=score,
                        cure="lower the learning rate, or look into what it trains on",
                    )  # fmt: skip
                trained.history.append({"step": float(done), **scores})
                if not trained.best or scores[score] < trained.scores[score]:
                    best = {name: value.detach().cpu().clone() for name, value in chosen.state_dict().items()}
                    trained.best, trained.step, trained.scores = best, done, scores
            if first and (done % pace.save_every == 0 or done == pace.steps):
                _save(folder / f"checkpoint-{done}", done, parts, trained)
            advance(1)
    return trained


def _plain(value: float) -> float | str:
    return value if value == value and abs(value) != float("inf") else str(value)


def _save(place: Path, done: int, parts: dict[str, Any], trained: Trained) -> None:
    import shutil

    place.mkdir(parents=True, exist_ok=True)
    state = {
        "step": done,
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "best": trained.best,
        "best_step": trained.step,
        "scores": trained.scores,
        "history": trained.history,
    }
    with atomic_write(place / "state.pt") as stream:
        torch.save(state, stream)
    write_json(place / COMPLETE, {"step": done, "bytes": {"state.pt": (place / "state.pt").stat().st_size}})
    for old in place.parent.glob("checkpoint-*"):
        if old != place:
            shutil.rmtree(old)


def _load(place: Path, parts: dict[str, Any]) -> tuple[int, Trained]:
    state = torch.load(place / "state.pt", map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state["parts"][name])
    return int(state["step"]), Trained(state["best"], state["best_step"], state["scores"], state["history"])
