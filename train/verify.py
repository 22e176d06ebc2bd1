"""A training job looked through before its first step: config, base, every row, lengths, memory, hours.

Convention: :func:`survey` goes once through every release and gives each row to the stages that draw on it; nothing is
decided there that the run would decide otherwise, because lengths come from the same :meth:`Layout.measure`. Faults are
collected, not met one by one, and are raised together.

With `dry_run` neither base nor releases need to be there: sizes come from the table of known bases
(:mod:`train.shapes`), and what only rows can tell is left out and said to be.

Trap: a row in two stages may fit the one and not the other; lengths and "too long" are therefore counted by stage.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from spinemed.errors import ConfigError, RecordError
from train.config import Share, Stage, TrainConfig
from train.estimate import GPUS, Load, deepspeed_facts, disk_bytes, feature_bytes, hours, memory_bytes
from train.plan import Mixture, StagePlan, plan_stage
from train.rowcheck import (
    Benchmark,
    CheckedRow,
    PictureCheck,
    RowFault,
    RowFaults,
    check_release,
    read_benchmark,
)
from train.rows import difficulty_of
from train.shapes import ModelShape, known_shape

__all__ = ["StageSurvey", "Survey", "Verified", "check_settings", "draws", "survey", "verify"]

_ASSUMED_PICTURES = 0.5
"""Part of the places that pictures take, where no row tells."""
_GUARDED_HERE = 5e8
"""Parameters of a base that is loaded for the guard."""
_ASSUMED_ANSWERS = 0.25
"""Part of the places that answers take, where no row tells."""
_MARGIN = 0.9
"""Part of a GPU's memory that a prediction may fill."""


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


@dataclass(frozen=True)
class Verified:
    """The result of :func:`verify`: plain values for the terminal, a file, or a test."""

    stages: list[dict[str, Any]]
    notes: list[RowFault]
    read: dict[str, int]
    pictures: int
    prompt: str
    said: list[str]
    """What could not be looked at, and why."""


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


def check_settings(config: TrainConfig, shape: ModelShape | None) -> None:
    """What the schema cannot see: DeepSpeed files, lengths beyond the base, choices that exclude each other.

    Raises:
        ReadError, ConfigError: A setting cannot work.
    """
    for number, stage in enumerate(config.stages):
        zero = deepspeed_facts(stage.deepspeed)
        at = f"stages.{number}"
        if shape is not None and stage.max_tokens > shape.text.max_tokens:
            raise ConfigError(
                f"{stage.max_tokens} tokens are more than the base has positions for ({shape.text.max_tokens})",
                field=f"{at}.max_tokens", cure="lower it",
            )  # fmt: skip
        if stage.method == "qlora" and zero.stage == 3:
            raise ConfigError(
                "a 4-bit base cannot be split over processes by ZeRO-3",
                field=f"{at}.deepspeed", cure="use zero2.json, or method: lora",
            )  # fmt: skip
        if zero.offload_weights and zero.stage != 3:
            raise ConfigError(
                "offload_param needs ZeRO stage 3", file=stage.deepspeed, field="zero_optimization",
                cure="set stage to 3, or remove offload_param",
            )  # fmt: skip


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


def verify(
    config: TrainConfig,
    *,
    processes: int = 8,
    dry_run: bool = False,
    pixels: bool = True,
    check: bool = True,
    advance: Callable[[int], Any] | None = None,
) -> Verified:
    """Look a whole job through.

    Args:
        config: The job.
        processes: GPUs that will train together, for memory and hours.
        dry_run: Look at the config alone; base and releases need not be there.
        pixels: Decode every picture.
        check: Look for the benchmark's questions among the rows.
        advance: Called with the number of rows done.

    Raises:
        RowFaults: Rows that must be mended, all of them.
        ConfigError, ModelError, ReadError, RecordError: The job cannot start for another reason.
    """
    said: list[str] = []
    shape = _shape(config, dry_run, said)
    check_settings(config, shape)
    said += _shared(config, processes)
    if dry_run:
        said.append("rows were not looked at (dry run): no lengths, no fill rate, no total of hours")
        stages = [_facts(config, stage, shape, None, processes) for stage in config.stages]
        return Verified(stages, [], {}, 0, "", said)
    layouts = _layouts(config)
    if check and not config.benchmarks:
        said.append("no benchmark was compared with: `benchmarks` names none")
    found = survey(config, layouts, pixels=pixels, check=check, advance=advance)
    if found.faults:
        raise RowFaults(found.faults)
    for stage in config.stages:
        _check_shares(config, stage, found)
        if not found.stages[stage.name].lengths:
            why = dict(found.stages[stage.name].dropped) or "its shares draw none"
            raise RecordError(
                f"stage {stage.name} has no row to train on: {why}",
                field="mixture", cure="raise max_tokens, or draw on other rows",
            )  # fmt: skip
    said += _guard(config, layouts, shape)
    stages = [_facts(config, stage, shape, found.stages[stage.name], processes) for stage in config.stages]
    return Verified(stages, found.notes, dict(found.read), found.pictures, _prompt(config, layouts), said)


def _check_shares(config: TrainConfig, stage: Stage, found: Survey) -> None:
    """Every share of a mixture draws some row, as the run will ask."""
    own = found.stages[stage.name]
    for number, share in enumerate(stage.mixture):
        if number not in own.seen_shares:
            raise RecordError(
                f"share {number + 1} of stage {stage.name} names no row",
                file=config.releases[share.release], field="mixture", cure="widen its axes, tasks, languages or tags",
            )  # fmt: skip


def _shared(config: TrainConfig, processes: int) -> Iterator[str]:
    """Stages whose steps cannot be split over so many processes."""
    for stage in config.stages:
        given = stage.schedule
        if given.per_step % (given.batch_size * processes):
            yield (
                f"stage {stage.name} cannot be trained by {processes} processes: {given.per_step} rows or bins a step "
                f"are no multiple of {given.batch_size} times {processes}"
            )


def _shape(config: TrainConfig, dry_run: bool, said: list[str]) -> ModelShape | None:
    from spinemed.errors import ModelError

    if not dry_run and not config.base.is_dir():
        raise ModelError("no such checkpoint folder", file=config.base, field="base", cure="check the path of the base")
    try:
        return known_shape(config.base)
    except ModelError as error:
        if dry_run:
            raise
        said.append(f"memory and hours are not predicted: {error}")
        return None


def _layouts(config: TrainConfig) -> dict[str, Any]:
    from spinemed.vlm.layout import Layout
    from spinemed.vlm.load import base_of, is_adapter
    from spinemed.vlm.processor import load_processor

    folder = config.base
    if is_adapter(folder) and not (folder / "processor_config.json").is_file():
        folder = base_of(folder)
    processor = load_processor(folder)
    return {
        stage.name: Layout(
            processor, max_tokens=stage.max_tokens, min_pixels=stage.min_pixels, max_pixels=stage.max_pixels
        )
        for stage in config.stages
    }


def _guard(config: TrainConfig, layouts: dict[str, Any], shape: ModelShape | None) -> Iterator[str]:
    """Whether packed rows stay apart, measured where the base is small enough to be run here and now."""
    packed = next((stage for stage in config.stages if stage.packing == "packed"), None)
    if packed is None:
        return
    if shape is None or shape.parameters() > _GUARDED_HERE:
        yield "packed = alone was not measured here (a base of this size takes a GPU); the run measures it first of all"
        return
    from spinemed.vlm.load import load_model
    from train.packing import choose_call, probe_rows

    model = load_model(config.base, revision=config.base_revision)
    yield choose_call(model, probe_rows(layouts[packed.name]), attention=config.attention).reason


def _facts(
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


def _prompt(config: TrainConfig, layouts: dict[str, Any]) -> str:
    """The first row that fits, as the model sees it; runs of picture tokens are written as a count."""
    import re

    from spinemed.records import ReleaseRow
    from spinemed.tables import read_records
    from spinemed.vlm.layout import Encoded
    from spinemed.vlm.series import captioned

    stage = config.stages[0]
    layout = layouts[stage.name]
    release = config.releases[stage.mixture[0].release]
    for row in read_records(release / "data" / f"{config.split}.parquet", ReleaseRow, batch=8):
        shown = [image.bytes for image in row.images]
        made = layout.encode(captioned(row.messages, shown), shown, training=True)
        if isinstance(made, Encoded):
            ids = made.input_ids.tolist()
            text = layout.tokenizer.decode(ids[: made.length - made.answer_tokens])
            text = re.sub(r"(<\|image_pad\|>)+", lambda run: f"[{run[0].count('<|image_pad|>')} picture tokens]", text)
            answer = layout.tokenizer.decode(ids[made.length - made.answer_tokens :])
            return f"{text}[[answer, {made.answer_tokens} tokens with loss:]]{answer}"
    return ""
