"""Every row of a job measured once: what each stage draws on, how long it is, and what is wrong.

Convention: :func:`survey` goes once through every release and gives each row to the stages that draw on it; nothing is
decided here that the run would decide otherwise, because lengths come from the same :meth:`Layout.measure`.

Trap: a row in two stages may fit the one and not the other; lengths and "too long" are therefore counted by stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from train.config import Stage, TrainConfig
from train.estimate import Load
from train.rows import difficulty_of, draws
from train.verify.rows import Benchmark, CheckedRow, PictureCheck, RowFault, check_release, read_benchmark

__all__ = ["StageSurvey", "Survey", "survey"]


@dataclass
class StageSurvey:
    """What one stage draws on: one entry a row and share."""

    lengths: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    picture_tokens: list[int] = field(default_factory=list)
    pictures: list[int] = field(default_factory=list)
    picture_squares: list[int] = field(default_factory=list)
    """Sum over a row's pictures of their tokens squared."""
    difficulties: list[float] = field(default_factory=list)
    """By their `difficulty:N` tags, where the stage is ordered by them; 0 otherwise."""
    shares: list[int] = field(default_factory=list)
    """Which share of the mixture each row belongs to."""
    seen_shares: set[int] = field(default_factory=set)
    """Shares that named any row, also one that was left out."""
    lowered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    shown: set[str] = field(default_factory=set)
    """Hashes of the pictures."""
    shown_tokens: int = 0
    """Tokens of the different pictures together."""
    shown_squares: int = 0
    """Sum of their tokens squared."""

    def load(self, drawn: np.ndarray, merge: int) -> Load:
        """What goes through the model where each row is drawn so many times."""

        def total(values: Sequence[int], power: int = 1) -> int:
            return int((drawn * np.asarray(values, dtype=np.int64) ** power).sum())

        return Load(
            rows=int(drawn.sum()),
            tokens=total(self.lengths),
            answers=total(self.answers),
            squares=total(self.lengths, 2),
            images=total(self.pictures),
            patches=total(self.picture_tokens) * merge**2,
            patch_squares=total(self.picture_squares) * merge**4,
        )


@dataclass
class Survey:
    """What all rows of a job have shown."""

    stages: dict[str, StageSurvey]
    faults: list[RowFault] = field(default_factory=list)
    notes: list[RowFault] = field(default_factory=list)
    read: Counter[str] = field(default_factory=Counter)
    """Rows by release."""
    pictures: int = 0
    """Different pictures looked at."""
    prompt: str = ""
    """One row as the model will see it."""


def survey(
    config: TrainConfig,
    layouts: dict[str, Any],
    *,
    pixels: bool = True,
    check: bool = True,
    advance: Callable[[int], Any] | None = None,
) -> Survey:
    """Go through all rows once.

    Args:
        config: The job.
        layouts: A :class:`spinemed.vlm.Layout` for each stage, by its name.
        pixels: Decode every picture; headers and end marks only otherwise.
        check: Compare with the benchmarks; lengths alone otherwise.
        advance: Called with the number of rows done.

    Raises:
        ReadError, RecordError: A release or benchmark as a whole cannot be read.
    """
    found = Survey({stage.name: StageSurvey() for stage in config.stages})
    pictures, seen = PictureCheck(pixels=pixels, looks=check and bool(config.benchmarks)), set[str]()
    benchmark = read_benchmark(config.benchmarks) if check else Benchmark()
    for name, release in config.releases.items():
        # A release that no stage names is looked at all the same: it was named for a reason.
        using = [
            (stage, number, share)
            for stage in config.stages
            for number, share in enumerate(stage.mixture)
            if share.release == name
        ]
        file = release / "data" / f"{config.split}.parquet"
        line = 0
        for made in check_release(release, config.split, pictures=pictures, benchmark=benchmark, seen=seen):
            if made.line > line:
                line = made.line
                found.read[name] += 1
                if advance is not None:
                    advance(1)
            if isinstance(made, RowFault):
                (found.notes if made.is_note else found.faults).append(made)
                continue
            for stage, number, share in using:
                if draws(share, made):
                    _measure(found, stage, number, made, layouts[stage.name], file)
    found.pictures = len(pictures)
    for own in found.stages.values():
        _in_order_of_shares(own)
    return found


def _in_order_of_shares(found: StageSurvey) -> None:
    """Rows as the run lays them out: one share after the other, so that both draw the same plan."""
    order = np.argsort(found.shares, kind="stable").tolist()
    for name in ("lengths", "answers", "picture_tokens", "pictures", "picture_squares", "difficulties", "shares"):
        values = getattr(found, name)
        setattr(found, name, [values[place] for place in order])


def _measure(found: Survey, stage: Stage, share: int, row: CheckedRow, layout: Any, file: Path) -> None:
    from spinemed.vlm.layout import Refused

    into = found.stages[stage.name]
    into.seen_shares.add(share)
    difficulty = difficulty_of(row.tags) if stage.curriculum == "difficulty" else 0.0
    if difficulty is None:
        missing = f"stage {stage.name} is ordered by difficulty, and row {row.id} has no tag difficulty:N"
        found.faults.append(RowFault(file, row.line, "schema", missing))
    made = _length(layout, row)
    if isinstance(made, Refused):
        into.dropped[made.reason] += 1
        reason = "control_token" if made.reason == "control_token" else "too_long"
        found.notes.append(RowFault(file, row.line, reason, f"stage {stage.name}: {made.detail}"))  # type: ignore[arg-type]
        return
    into.lengths.append(made.length)
    into.answers.append(made.answer)
    into.picture_tokens.append(sum(made.tokens))
    into.picture_squares.append(sum(count * count for count in made.tokens))
    into.pictures.append(len(row.sizes))
    into.difficulties.append(difficulty or 0.0)
    into.shares.append(share)
    into.lowered += made.lowered
    for digest, count in zip(row.pictures, made.tokens, strict=True):
        if digest not in into.shown:
            into.shown.add(digest)
            into.shown_tokens += count
            into.shown_squares += count * count


def _length(layout: Any, row: CheckedRow) -> Any:
    """What the run will make of a row: measured by headers where the family allows it, else laid out, as it does."""
    from spinemed.vlm.layout import Measured, Refused

    if hasattr(layout.processor, "_get_num_multimodal_tokens") and layout.rotary:
        return layout.measure(row.messages, row.sizes, training=True)
    made = layout.encode(row.messages, row.images, training=True)
    if isinstance(made, Refused):
        return made
    token = getattr(layout.processor, "image_token_id", None)
    shown = int((made.input_ids == token).sum()) // max(1, len(row.images)) if token is not None else 0
    return Measured(made.length, made.answer_tokens, row.sizes, (shown,) * len(row.images))
