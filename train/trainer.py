"""One trainer for every stage: a thin `transformers.Trainer` with an exact loss and an exact resume.

Convention: the loss is the sum over answer tokens divided by the number of answer tokens in the whole optimiser step,
over its accumulation steps, so that 4 x 1 and 1 x 4 give the same gradient. Checkpoints lie in the run's
scratch folder and count only with their completion mark, which is written last; a run that was killed goes on from the
newest complete one and ends with the same bytes.

Trap: Qwen-VL classes say `accepts_loss_kwargs = False`, for which Trainer averages the means of the accumulated
batches; passing `compute_loss_func` is what turns the exact count on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset, SequentialSampler
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from spinemed.run import Run
from spinemed.tables import write_json, write_text
from spinemed.vlm.layout import IGNORE
from train.config import Schedule

__all__ = [
    "Schedule",
    "SpineTrainer",
    "answer_loss",
    "claim_checkpoints",
    "fit",
    "multiplies_bfloat16",
    "newest_checkpoint",
    "set_determinism",
]

COMPLETE = "complete.json"


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
    total = torch.nn.functional.cross_entropy(logits[:, :-1][kept].float(), target[kept], reduction="sum")
    return total / (kept.sum() if num_items_in_batch is None else num_items_in_batch)


class SpineTrainer(Trainer):
    """Trainer that walks through its data in the planned order."""

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)


class _Journal(TrainerCallback):
    """Writes metrics to the run's journal and moves the progress bar."""

    def __init__(self, run: Run, stage: str, advance: Callable[[int], Any]) -> None:
        self.run, self.stage, self.advance = run, stage, advance

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
        """Mark the checkpoint complete: the last file of it that is written."""
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
            write_json(folder / COMPLETE, {"step": state.global_step, "bytes": sizes})


def newest_checkpoint(folder: Path) -> Path | None:
    """The newest complete checkpoint; half-written ones, left by a kill, are removed."""
    complete: list[tuple[int, Path]] = []
    for path in sorted(folder.glob("checkpoint-*")):
        try:
            mark = json.loads((path / COMPLETE).read_bytes())
            whole = all((path / name).stat().st_size == size for name, size in mark["bytes"].items())
        except (OSError, ValueError, KeyError):
            whole = False
        if whole:
            complete.append((int(mark["step"]), path))
        else:
            shutil.rmtree(path)
    return max(complete)[1] if complete else None


def claim_checkpoints(run: Run, stage: str, key: str) -> Path:
    """The folder of a stage's checkpoints, with none in it but complete ones made under this key.

    Where several processes train, the first one calls this before the others start.
    """
    folder = run.scratch / stage
    claim = folder / "key"
    if not claim.is_file() or claim.read_text(encoding="ascii") != key:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(claim, key)
    newest_checkpoint(folder)
    return folder


def fit(
    run: Run,
    stage: str,
    *,
    model: torch.nn.Module,
    data: Dataset[Any],
    collate: Callable[[list[Any]], dict[str, torch.Tensor]],
    schedule: Schedule,
    seed: int,
    key: str,
    loss: Callable[..., Any] | None = answer_loss,
) -> dict[str, float]:
    """Train `model` in place, from the start or from the newest checkpoint.

    Args:
        run: Where checkpoints and metrics go.
        stage: Names the checkpoints' folder and the metrics.
        model: Trained in place.
        data: In planned order, as long as the schedule needs.
        collate: Rows to a batch; with labels named `labels`.
        schedule: Steps and rates.
        seed: Of dropout.
        key: Hash of everything that goes in. Checkpoints made under another key, of another release say, are removed:
            going on from them would pass old weights off as trained on the new one.
        loss: How outputs and labels become a loss; None when the model returns its own.

    Returns:
        `first_loss` and `last_loss`: means over the first and the last logged stretch.
    """
    folder = claim_checkpoints(run, stage, key)
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
        seed=seed,
        data_seed=seed,
        use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        disable_tqdm=True,
    )
    newest = newest_checkpoint(folder)
    if newest is not None:
        run.journal("resumed", stage=stage, checkpoint=newest.name)
    with run.progress(stage, schedule.steps) as advance:
        trainer = SpineTrainer(
            model=model,
            args=arguments,
            train_dataset=data,
            data_collator=collate,
            compute_loss_func=loss,
            callbacks=[_Journal(run, stage, advance)],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"first_loss": losses[0], "last_loss": losses[-1]} if losses else {}
