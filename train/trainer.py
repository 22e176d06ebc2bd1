"""One trainer for every stage: a thin `transformers.Trainer` with an exact loss and an exact resume.

Convention: the loss is the sum over answer tokens divided by the number of answer tokens in the whole optimiser step,
over its accumulation steps and processes, so that 4 x 1, 1 x 4 and two processes give one gradient. Checkpoints lie
in the run's scratch folder and count only with their completion mark, which is written last; a run that was killed goes
on from the newest complete one and ends with the same bytes.

Trap: Qwen-VL classes say `accepts_loss_kwargs = False`, for which Trainer averages the means of the accumulated
batches; passing `compute_loss_func` is what turns the exact count on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from spinemed.errors import RunError, SpineMedError
from spinemed.run import Run
from spinemed.vlm.layout import IGNORE
from train.checkpoints import (
    COMPLETE,
    check_world,
    claim_checkpoints,
    mark_complete,
    newest_checkpoint,
)
from train.config import PartRates, Schedule
from train.engines import check_engine, engine_arguments, forget_engine, one_gpu, process_count, process_rank

__all__ = [
    "COMPLETE",
    "Schedule",
    "SpineTrainer",
    "answer_loss",
    "claim_checkpoints",
    "fit",
    "multiplies_bfloat16",
    "newest_checkpoint",
    "set_determinism",
]


def set_determinism(seed: int, threads: int) -> None:
    """Seed every generator, fix the thread count and forbid algorithms that do not repeat.

    Trap: sums are split by thread, so another thread count gives other last digits.
    """
    from transformers import set_seed

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory would only serve to show reads of unset values, at the cost of a pass over every buffer.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    set_seed(seed)


def multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the GPU, or else the processor, has instructions for bfloat16 products. False where it cannot be told."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        flags = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def answer_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None) -> Any:
    """Cross-entropy summed over answer tokens, divided by their number in the whole optimiser step.

    Args:
        outputs: With `logits` (batch, length, vocabulary).
        labels: (batch, length), `IGNORE` off the answer.
        num_items_in_batch: Answer tokens of all batches that share the optimiser step; of this batch when absent.
    """
    logits = outputs["logits"] if isinstance(outputs, dict) else outputs.logits
    target = labels[:, 1:]
    kept = target != IGNORE
    # Only answer positions go through the softmax: with 64 picture tokens a row they are a small part.
    chosen = logits[:, :-1][kept]
    if chosen.dtype != torch.float64:
        chosen = chosen.float()
    total = torch.nn.functional.cross_entropy(chosen, target[kept], reduction="sum")
    return total / (kept.sum() if num_items_in_batch is None else num_items_in_batch)


class SpineTrainer(Trainer):
    """Trainer that walks through its data in the planned order, with a learning rate for each part of the model.

    Args:
        parts: What trains, and how fast; one rate for all unless given.
        zero: ZeRO stage that must have come up; 0 without.
        announce: Told in the first step which engine came up.
        observe: Called with each batch before its forward pass.
    """

    def __init__(
        self,
        *arguments: Any,
        parts: PartRates | None = None,
        zero: int = 0,
        announce: Callable[[dict[str, Any]], None] = lambda facts: None,
        observe: Callable[[dict[str, Any]], None] | None = None,
        **named: Any,
    ) -> None:
        super().__init__(*arguments, **named)
        self.parts, self.zero, self.observe, self.announce = parts, zero, observe, announce
        self._engine_seen = False
        self.optimizer: Any = getattr(self, "optimizer", None)

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Stock AdamW; grouped by part where parts have rates of their own."""
        if self.optimizer is None and self.parts is not None:
            from train.parts import rate_groups

            chosen = self.model if model is None else model
            groups = rate_groups(
                chosen,
                self.parts,
                rate=self.args.learning_rate,
                weight_decay=self.args.weight_decay,
                decays=self.get_decay_parameter_names(chosen),
            )
            if len({group["lr"] for group in groups}) > 1:
                kind, settings = self.get_optimizer_cls_and_kwargs(self.args, chosen)
                self.optimizer = kind(groups, **settings)
        return super().create_optimizer(model)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """One forward and backward pass; the batch is shown to the meter first."""
        if not self._engine_seen:
            self.announce(check_engine(model, self.zero))
            self._engine_seen = True
        if self.observe is not None:
            self.observe(inputs)
        return super().training_step(model, inputs, num_items_in_batch)


class _Journal(TrainerCallback):
    """Writes metrics to the run's journal and moves the progress bar."""

    def __init__(self, run: Run, stage: str, advance: Callable[[int], Any], zero: int) -> None:
        self.run, self.stage, self.advance, self.zero = run, stage, advance, zero

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Show what an earlier process has done."""
        self.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """One step more."""
        self.advance(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Journal finite numbers; what is not finite is journalled as text."""
        if not state.is_world_process_zero:
            return
        facts = {
            key: value if value == value and abs(value) != float("inf") else str(value)
            for key, value in (logs or {}).items()
            if isinstance(value, int | float)
        }
        self.run.journal("metrics", stage=self.stage, step=state.global_step, **facts)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Mark the checkpoint complete once every process has written its part."""
        if process_count() > 1:
            torch.distributed.barrier()
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            mark_complete(folder, state.global_step, world=process_count(), zero=self.zero)


def _language_only(model: Any, parts: PartRates) -> bool:
    """Whether every trained weight takes part in every batch: then DDP need not look for those that do not.

    Adapters that `lora.targets` names and `modules_to_save` may train in a part that the stage calls frozen, and a
    batch of text asks neither image encoder nor projector.
    """
    if not isinstance(model, torch.nn.Module):
        return parts.language_only
    from train.parts import part_of

    moving = (name for name, weight in model.named_parameters() if weight.requires_grad)
    return all(part_of(name) == "language" for name in moving)


def _agreed(newest: Path | None, folder: Path) -> Path | None:
    """The first process's checkpoint, for all: on a network disk another machine may not see the newest one yet, and
    would wait for the others in steps that they have behind them.

    Raises:
        RunError: This process does not see it.
    """
    if process_count() == 1:
        return newest
    told: list[Any] = [None if newest is None else newest.name]
    torch.distributed.broadcast_object_list(told, src=0)
    if told[0] is None:
        return None
    agreed = folder / str(told[0])
    if not (agreed / COMPLETE).is_file():
        raise RunError(
            "is what the first process goes on from, and this one does not see it",
            file=agreed, cure="put the run folder where every machine sees it, and start again",
        )  # fmt: skip
    return agreed


def _of_worker(error: SpineMedError) -> SpineMedError:
    """The error that a data worker raised: torch hands it over with the whole traceback as its text."""
    lines = error.problem.strip().splitlines()
    if len(lines) < 2 or "in DataLoader worker process" not in lines[0]:
        return error
    return type(error)(lines[-1].partition(": ")[2] or lines[-1])


def _recomputing(wanted: bool) -> dict[str, Any]:
    """Arguments that compute activations again; transformers gave them another name on the way."""
    if not wanted:
        return {}
    names = {field.name for field in dataclasses.fields(TrainingArguments)}
    name = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def fit(
    run: Run,
    stage: str,
    *,
    model: torch.nn.Module | Callable[[], torch.nn.Module],
    data: Dataset[Any],
    collate: Callable[[list[Any]], dict[str, Any]],
    schedule: Schedule,
    seed: int,
    key: str,
    loss: Callable[..., Any] | None = answer_loss,
    parts: PartRates | None = None,
    deepspeed: Path | None = None,
    workers: int = 0,
    checkpointing: bool = False,
    liger: bool = False,
    meter: Any = None,
    save: Callable[[SpineTrainer], None] | None = None,
) -> dict[str, float]:
    """Train `model` in place, from the start or from the newest checkpoint.

    Args:
        run: Where checkpoints and metrics go.
        stage: Names the checkpoints' folder and the metrics.
        model: Trained in place; or what makes it, called once the engine is chosen, so that ZeRO-3 can shard it while
            it is loaded.
        data: In planned order, as long as the schedule needs.
        collate: Rows to a batch; with labels named `labels`.
        schedule: Steps and rates; `accumulation` is that of each process.
        seed: Of dropout.
        key: Hash of everything that goes in. Checkpoints made under another key, of another release say, are removed:
            going on from them would pass old weights off as trained on the new one.
        loss: How outputs and labels become a loss; None when the model returns its own.
        parts: Learning rates by part of the model.
        deepspeed: DeepSpeed's JSON; DDP where several processes run without one.
        workers: Processes that lay rows out beside this one.
        checkpointing: Compute activations again in the backward pass.
        liger: Use Liger kernels; they must be installed.
        meter: A :class:`train.metrics.TrainingMeter`.
        save: Called by every process after the last step.

    Returns:
        `first_loss` and `last_loss`: means over the first and the last logged stretch.

    Raises:
        ConfigError, MissingPartError: The DeepSpeed file is wrong or cannot be used here.
        RunError: A checkpoint of another number of processes cannot be gone on from, or another engine than asked for
            came up.
    """
    # The first process has claimed the folder before the others were called; they must not clean what it writes.
    first = process_rank() == 0
    folder = claim_checkpoints(run, stage, key) if first else run.scratch / stage
    engine, zero = engine_arguments(deepspeed)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=schedule.steps,
        per_device_train_batch_size=schedule.batch_size,
        gradient_accumulation_steps=schedule.accumulation,
        learning_rate=schedule.learning_rate,
        warmup_steps=schedule.warmup_steps,
        lr_scheduler_type=schedule.decay,
        weight_decay=schedule.weight_decay,
        adam_beta2=schedule.beta2,
        max_grad_norm=schedule.max_grad_norm,
        bf16=schedule.autocast == "bfloat16" or (schedule.autocast == "auto" and multiplies_bfloat16()),
        save_strategy="steps",
        save_steps=schedule.save_every,
        save_total_limit=2,
        logging_steps=schedule.log_every,
        logging_first_step=True,
        # A loss that is not a number is shown as such, never as the mean of earlier ones.
        logging_nan_inf_filter=False,
        seed=seed,
        data_seed=seed,
        dataloader_num_workers=workers,
        dataloader_pin_memory=torch.cuda.is_available() and workers > 0,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
        use_liger_kernel=liger,
        liger_kernel_config={"fused_linear_cross_entropy": False, "cross_entropy": False} if liger else None,
        ddp_find_unused_parameters=None if parts is None else not _language_only(model, parts),
        **_recomputing(checkpointing),
        **engine,
    )
    if unused := one_gpu(arguments):
        run.journal("unused", stage=stage, gpus=unused, cure="torchrun --nproc-per-node gpu -m spinemed train run ...")
    newest = _agreed(newest_checkpoint(folder, clean=first), folder)
    if newest is not None:
        check_world(newest, world=process_count(), zero=zero)
        run.journal("resumed", stage=stage, checkpoint=newest.name)
    try:
        with run.progress(stage, schedule.steps) as advance:
            trainer = SpineTrainer(
                model=model if isinstance(model, torch.nn.Module) else model(),
                args=arguments,
                train_dataset=data,
                data_collator=collate,
                compute_loss_func=loss,
                parts=parts,
                zero=zero,
                announce=lambda facts: run.journal("engine", stage=stage, **facts),
                observe=None if meter is None else meter.observe,
                callbacks=[_Journal(run, stage, advance, zero), *([] if meter is None else [meter])],
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        if save is not None:
            save(trainer)
    except SpineMedError as error:
        raise _of_worker(error) from error
    finally:
        forget_engine()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"first_loss": losses[0], "last_loss": losses[-1]} if losses else {}
