"""A training job looked through before its first step: config, base, every row, lengths, memory, hours.

Convention: faults are collected, not met one by one, and are raised together. With `dry_run` neither base nor releases
need to be there: sizes come from the table of known bases (:mod:`train.shapes`), and what only rows can tell is left
out and said to be.

Trap: whether packed rows stay apart is measured here for small bases alone; for others the run measures it first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from spinemed.errors import ConfigError, RecordError
from train.config import Stage, TrainConfig
from train.estimate import deepspeed_facts
from train.shapes import ModelShape, known_shape
from train.verify.facts import stage_facts
from train.verify.rows import RowFault, RowFaults
from train.verify.survey import Survey, survey

__all__ = ["Verified", "check_settings", "verify"]

_GUARDED_HERE = 5e8
"""Parameters of a base that is loaded for the guard."""


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
        stages = [stage_facts(config, stage, shape, None, processes) for stage in config.stages]
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
    stages = [stage_facts(config, stage, shape, found.stages[stage.name], processes) for stage in config.stages]
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
