"""One stage of a training job, from rows to saved weights; every process of the training walks through it alike.

    mixture ─▶ rows measured ─▶ model with what trains ─▶ plan ─▶ fit ─▶ adapter or weights

Convention: what is computed here is the same in every process, so that no process has to send another more than
"train this stage". Files are written by the first process alone.

Trap: where the vision tower is asked by some processes and not by others, ZeRO-3 waits for ever. There a batch without
a picture gets a small one whose row carries no loss.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spinemed.errors import ConfigError, ModelError, RecordError, RunError
from spinemed.run import Run
from spinemed.tables import file_sha256, parse_json, write_json, write_text
from spinemed.vlm.layout import Encoded, Layout
from spinemed.vlm.load import load_model
from spinemed.vlm.processor import save_processor
from train.card import CARD, CardFacts, StageFacts, facts_after, model_card, writers
from train.config import PARTS, Schedule, Stage, TrainConfig
from train.engines import forget_engine, process_count, process_rank
from train.merge import save_checkpoint
from train.methods import build_model, liger_kernels
from train.parts import count_parameters, empty_tensors
from train.plan import Mixture, StagePlan, plan_stage
from train.rows import Planned, TrainingRow, TrainingRows, difficulty_of, draws, read_release

__all__ = ["StageRows", "about_stage", "read_mixture", "share_work", "stage_key", "train_stage"]


@dataclass(frozen=True)
class StageRows:
    """The rows that a stage's mixture names.

    Attributes:
        rows: Of all shares, one share after the other.
        share: (rows,) the share of each.
        counts: Rows read and drawn from, by release.
        releases: Hash of each release.
    """

    rows: list[TrainingRow]
    share: list[int]
    counts: dict[str, int]
    releases: dict[str, str]


def read_mixture(config: TrainConfig, stage: Stage) -> StageRows:
    """Read the releases of a stage's mixture and keep the rows that its shares name.

    Raises:
        ReadError, RecordError: A release cannot be read, or a share names no row.
    """
    read: dict[str, list[TrainingRow]] = {}
    found = StageRows([], [], {}, {})
    for number, share in enumerate(stage.mixture):
        if share.release not in read:
            read[share.release], found.releases[share.release] = read_release(
                config.releases[share.release], config.split
            )
        own = [row for row in read[share.release] if draws(share, row)]
        if not own:
            raise RecordError(
                f"share {number + 1} of stage {stage.name} names no row",
                file=config.releases[share.release],
                field="mixture",
                cure="widen its axes, tasks, languages or tags",
            )
        found.rows.extend(own)
        found.share.extend([number] * len(own))
        found.counts[share.release] = found.counts.get(share.release, 0) + len(own)
    return found


def stage_key(config: TrainConfig, stage: Stage, base_sha256: str, releases: dict[str, str]) -> dict[str, Any]:
    """Everything that shapes a stage's weights, whatever the paths, and whatever the number of processes."""
    said = stage.model_dump(mode="json", exclude={"deepspeed", "feature_cache"})
    engine = None if stage.deepspeed is None else file_sha256(stage.deepspeed)
    common = config.model_dump(mode="json", include={"seed", "threads", "weights", "attention", "liger", "precision"})
    return {"stage": said, "deepspeed": engine, "base": base_sha256, "releases": releases, **common}


def share_work(stage: Stage) -> Schedule:
    """A stage's schedule as each process walks it, its length still to be planned.

    Raises:
        ConfigError: A step's rows cannot be shared among the processes.
    """
    given, world = stage.schedule, process_count()
    if given.per_step % (given.batch_size * world):
        raise ConfigError(
            f"{given.per_step} rows of a step cannot be shared by {world} processes in batches of {given.batch_size}",
            field=f"stages.{stage.name}.schedule.global_batch_size",
            cure="make it a multiple of batch_size times the number of processes",
        )
    common = {name: value for name, value in given.model_dump().items() if name in Schedule.model_fields}
    return Schedule.model_validate(
        {**common, "steps": given.steps or 1, "accumulation": given.per_step // (given.batch_size * world)}
    )


def train_stage(
    config: TrainConfig,
    stage: Stage,
    base: Path,
    run: Run,
    key: str,
    folder: Path | None,
    before: CardFacts | None = None,
) -> dict[str, Any]:
    """Train one stage and save what it learned.

    Args:
        config: The job.
        stage: Of it.
        base: Folder of the model that the stage starts from.
        run: The run; silent in all processes but the first.
        key: Hash of everything that goes in.
        folder: Where the first process writes adapter or model; None in the others.
        before: What the card says before this stage; None in the others.

    Returns:
        Facts for the manifest, free of times and of the number of processes.
    """
    from spinemed.vlm.processor import load_processor
    from train.trainer import fit, set_determinism

    set_determinism(config.seed, config.threads)
    schedule = share_work(stage)
    processor = load_processor(_processor_folder(base))
    layout = Layout(processor, max_tokens=stage.max_tokens, min_pixels=stage.min_pixels, max_pixels=stage.max_pixels)
    found = read_mixture(config, stage)
    data = _lay_out(found.rows, layout, config.cache_mb)
    dropped = dict(sorted(data.dropped.items()))
    lowered = int(getattr(data, "lowered", 0))
    run.journal(
        "rows", stage=stage.name, read=len(found.rows), kept=len(data), dropped=dropped, lowered=lowered,
        releases=found.counts,
    )  # fmt: skip
    if not len(data):
        raise RecordError(
            f"no row can be trained on: {dropped}",
            file=config.releases[stage.mixture[0].release] / "data" / f"{config.split}.parquet",
            field="messages",
            cure="raise max_tokens, or release other rows",
        )
    model = build_model(config, stage, base, run)
    parameters = count_parameters(model)
    dummy = layout.dummy() if _needs_dummy(stage) else None
    collate, packing = _batches(config, stage, layout, model, dummy, run)
    plan = _plan(config, stage, found, data, packing)
    if process_rank() == 0:
        write_json(run.folder / "plans" / f"{stage.name}.json", plan.to_json())
    rows, collate = _with_features(config, stage, run, model, processor, data, collate)
    ordered: Any = Planned(rows, plan.order if plan.order is not None else ())
    if plan.bins is not None:
        from train.packing import PackedRows

        ordered = PackedRows(rows, plan.bins)
    run.journal(
        "planned", stage=stage.name, steps=plan.steps, passes=plan.passes, tokens=plan.tokens, packing=packing,
        processes=process_count(), sha256=plan.sha256,
        parameters={part: {"trained": trained, "all": total} for part, (trained, total) in parameters.items()},
    )  # fmt: skip

    def save(trainer: Any) -> None:
        state = _gathered(trainer)
        if folder is not None:
            kept = {"read": len(found.rows), "dropped": dropped}
            about = about_stage(config, stage, before or CardFacts(made=""), steps=plan.steps, rows=kept, key=key)
            _save(config, stage, base, run, trainer.model, state, processor, folder, about)

    facts = fit(
        run,
        stage.name,
        model=model,
        data=ordered,
        collate=collate,
        schedule=schedule.model_copy(update={"steps": plan.steps, "warmup_steps": _warmup(stage, plan.steps)}),
        seed=config.seed,
        key=key,
        parts=stage.parts,
        deepspeed=stage.deepspeed,
        workers=config.workers,
        checkpointing=stage.gradient_checkpointing,
        liger=liger_kernels(config, run),
        meter=_meter(config, stage, base, run, packing),
        save=save,
    )
    return {
        "rows": {"read": len(found.rows), "kept": len(data), "dropped": dropped, "lowered": lowered},
        "steps": plan.steps,
        "tokens": plan.tokens,
        "packing": packing,
        "plan_sha256": plan.sha256,
        **facts,
    }


def about_stage(
    config: TrainConfig, stage: Stage, before: CardFacts, *, steps: int, rows: Mapping[str, Any], key: str
) -> CardFacts:
    """What the card of a stage's model says.

    Args:
        config: The job.
        stage: Of it.
        before: What was known when it began.
        steps: Optimiser steps.
        rows: `read`, and `dropped` by reason.
        key: Hash of everything that shapes the stage's weights.
    """
    made = (
        f"`{config.base.name}`, stage {stage.name} of training on SpineMed releases ({stage.method}, {steps} steps of "
        f"{stage.schedule.per_step} {'bins' if stage.packing == 'packed' else 'rows'}, seed {config.seed})."
    )
    facts = StageFacts(
        name=stage.name,
        method=stage.method,
        steps=steps,
        rows_per_step=stage.schedule.per_step,
        rows_read=rows["read"],
        rows_left_out=rows["dropped"],
        seed=config.seed,
        settings_sha256=key,
    )
    return facts_after(before, made, facts)


# --- rows ------------------------------------------------------------------------------------------------------------


def _processor_folder(base: Path) -> Path:
    from spinemed.vlm.load import base_of, is_adapter

    return base_of(base) if is_adapter(base) and not (base / "processor_config.json").is_file() else base


def _lay_out(rows: Iterable[TrainingRow], layout: Layout, cache_mb: int) -> Any:
    """Rows measured by their headers where the processor can say what a picture comes to, else laid out at once."""
    if hasattr(layout.processor, "_get_num_multimodal_tokens") and layout.rotary:
        from train.packing import MeasuredRows

        return MeasuredRows(rows, layout, cache_mb=cache_mb)
    return TrainingRows(rows, layout, cache_mb=cache_mb)


def _needs_dummy(stage: Stage) -> bool:
    """Under ZeRO, and where the language model is frozen, so that a batch of text would have nothing to learn from.

    Not under DDP: it leaves weights that no process asked without a gradient, as one process does, and with a small
    picture Adam's memory would move them in a step that has no picture. Not with a feature cache either: no process
    then calls the tower, so one that did would wait for the others for ever.
    """
    if stage.feature_cache is not None:
        return False
    return (process_count() > 1 and stage.deepspeed is not None) or stage.parts.language == "frozen"


def _batches(
    config: TrainConfig, stage: Stage, layout: Layout, model: Any, dummy: Encoded | None, run: Run
) -> tuple[Callable[[list[Any]], dict[str, Any]], Any]:
    """How rows become batches, and the packing that is used in the end."""

    def pad(items: list[Encoded]) -> dict[str, Any]:
        seen = any(item.vision for item in items)
        return layout.collate(items if seen or dummy is None else [*items, dummy], training=True)

    if stage.packing != "packed":
        return pad, stage.packing
    from train.packing import choose_call, collate_packed, probe_rows

    _onto_gpu(model)
    isolation = choose_call(model, probe_rows(layout), attention=config.attention)
    run.journal("packing", stage=stage.name, attention=isolation.attention, reason=isolation.reason)
    if isolation.call is None:
        return pad, "grouped"
    call = replace(isolation.call, dummy=dummy)
    return lambda bins: collate_packed(bins, call), "packed"


def _onto_gpu(model: Any) -> None:
    """For what is asked of a model before the trainer moves it: on a CPU that could take longer than the training."""
    if torch.cuda.is_available():
        model.to(torch.cuda.current_device())


def _plan(config: TrainConfig, stage: Stage, found: StageRows, data: Any, packing: Any) -> StagePlan:
    place, share = 0, []
    for row in data.kept:  # rows that were left out are stepped over
        while found.rows[place] is not row:
            place += 1
        share.append(found.share[place])
        place += 1
    mixture = Mixture(np.asarray(share), tuple(one.weight for one in stage.mixture), config.seed)
    curriculum: Sequence[float] | None = None
    if stage.curriculum == "length":
        curriculum = data.lengths
    elif stage.curriculum == "difficulty":
        curriculum = [_difficulty(row, config, stage) for row in data.kept]
    return plan_stage(
        data.lengths, mixture, stage.schedule, packing=packing, seed=config.seed,
        capacity=stage.bin_tokens or stage.max_tokens, curriculum=curriculum,
    )  # fmt: skip


def _difficulty(row: TrainingRow, config: TrainConfig, stage: Stage) -> float:
    found = difficulty_of(row.tags)
    if found is not None:
        return found
    raise RecordError(
        f"row {row.id} has no tag difficulty:N",
        file=config.releases[stage.mixture[0].release],
        field="tags",
        cure="tag every row, or choose another curriculum",
    )


def _with_features(
    config: TrainConfig, stage: Stage, run: Run, model: Any, processor: Any, data: Any, collate: Any
) -> tuple[Any, Callable[[list[Any]], dict[str, Any]]]:
    if stage.feature_cache is None:
        return data, collate
    from train.features import FeatureRows, FeatureStore, FrozenTower, feature_call, pictures_of

    _onto_gpu(model)
    tower = FrozenTower(model, processor)
    store = FeatureStore(stage.feature_cache.folder or run.scratch / "features", tower.sha256)
    pictures = list(pictures_of(data).values())
    size = sum(tower.bytes_for(picture.tokens) for picture in pictures)
    limit = int(stage.feature_cache.limit_gb * 1e9)
    if size > limit:
        store.fill(tower, pictures, limit_bytes=limit)  # names what is needed, and refuses
    made = store.fill(tower, pictures[process_rank() :: process_count()], limit_bytes=limit)
    if process_count() > 1:
        torch.distributed.barrier()
    store.refresh()
    run.journal("features", stage=stage.name, pictures=len(pictures), bytes=size, computed=made["computed"])
    output = tower.output
    return FeatureRows(data, store), lambda items: feature_call(collate(items), output)


# --- trainer ----------------------------------------------------------------------------------------------------------


def _warmup(stage: Stage, steps: int) -> int:
    ratio = stage.schedule.warmup_ratio
    return stage.schedule.warmup_steps if ratio is None else round(ratio * steps)


def _meter(config: TrainConfig, stage: Stage, base: Path, run: Run, packing: str) -> Any:
    from train.metrics import TrainingMeter
    from train.shapes import read_shape

    try:
        shape = read_shape(_processor_folder(base))
    except ModelError as error:
        shape = None
        run.journal("absent", stage=stage.name, package="shape", reason=str(error), effect="no operations are counted")
    return TrainingMeter(
        run,
        stage.name,
        shape=shape,
        trained=frozenset(part for part in PARTS if stage.parts.rate(part, 1.0) is not None),
        full=stage.method == "full",
        capacity=(stage.bin_tokens or stage.max_tokens) if packing == "packed" else None,
        recompute=stage.gradient_checkpointing,
        tensorboard=config.logs.tensorboard,
        wandb_project=config.logs.wandb_project,
    )


# --- saving ----------------------------------------------------------------------------------------------------------


def _gathered(trainer: Any) -> dict[str, torch.Tensor] | None:
    """The trained weights, whole, in the first process; None where every process holds them whole anyway."""
    if trainer.zero != 3:
        return None
    import deepspeed

    state: dict[str, torch.Tensor] = {}
    for name, weight in trainer.model.named_parameters():
        if not weight.requires_grad:
            continue
        with deepspeed.zero.GatheredParameters([weight], modifier_rank=0):
            if process_rank() == 0:
                state[name] = weight.detach().cpu().clone()
    return state


def _save(
    config: TrainConfig,
    stage: Stage,
    base: Path,
    run: Run,
    model: Any,
    state: dict[str, torch.Tensor] | None,
    processor: Any,
    folder: Path,
    about: CardFacts,
) -> None:
    if stage.method == "full":
        if state is not None:
            forget_engine()  # or the model would be sharded again as it is loaded
            model = load_model(base, revision=config.base_revision if base == config.base else None)
            strange = set(model.load_state_dict(state, strict=False).unexpected_keys)
            if strange:
                raise RunError(
                    f"gathered weights do not fit the model, e.g. {min(strange)}", cure="report this with the journal"
                )
        save_checkpoint(model, processor, folder, precision=config.precision, about=about)
        return
    _save_adapter(model, state, processor, folder, base, run.outputs)
    write_text(folder / CARD, model_card(about.model_copy(update={"versions": writers()}), adapter=True))
    for path in folder.iterdir():
        path.chmod(0o644)


def _save_adapter(
    model: Any, state: dict[str, torch.Tensor] | None, processor: Any, folder: Path, base: Path, outputs: Path
) -> None:
    from safetensors.torch import load_file

    model.save_pretrained(folder, **({} if state is None else {"state_dict": state}))
    saved = load_file(folder / "adapter_model.safetensors")
    empty = empty_tensors(saved)
    second = [name for name in saved if "lora_B" in name]
    if any(saved[name].numel() == 0 for name in empty) or set(second) <= set(empty):
        raise RunError(
            f"the adapter that was to be saved holds nothing ({len(empty)} of {len(saved)} tensors are empty or zero)",
            cure="raise the learning rate if it is tiny; otherwise report this with the journal",
        )
    file = folder / "adapter_config.json"
    settings = parse_json(file.read_bytes())
    # A relative path keeps the run folder free of machine names and movable together with its base.
    settings["base_model_name_or_path"] = os.path.relpath(base, outputs / "adapter")
    write_json(file, settings)
    save_processor(processor, folder)
