"""What a training step moves and how long it takes: tokens, pictures, padding, waiting for data, MFU, memory.

Convention: the trainer hands every batch to :meth:`TrainingMeter.observe` before its forward pass; at each logged step
the meter writes one `speed` event into the run's journal and the same numbers to TensorBoard (`RUN/logs/`). Counts are
summed over all processes, so every process has a meter; one that records nothing (`SilentRun`) still counts along.

    tokens_per_second, answer_tokens_per_second, images_per_second, flops_per_second (language, vision)
    padding_percent     places in the batch that hold no token
    fill_percent        tokens of what the batches could hold: `capacity` places each; padding counts as unfilled
    data_wait_percent   time between two optimiser steps that no training was under way for want of a batch
    mfu_*_percent       on a GPU of known peak only: operations that the model needs, language and vision apart, over
                        dense bfloat16 peak; what checkpointing computes again is not counted (:mod:`train.shapes`)
    peak_memory_gib     of the GPU, or of the process where there is none

Times stand in journal, logs and report, never in `outputs/`.

Trap: reading a count off a GPU makes the GPU stop. Counts stay on the device as tensors until a step is logged.
"""

from __future__ import annotations

import importlib.metadata
import resource
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from spinemed.errors import MissingPartError
from spinemed.run import Run
from spinemed.vlm.layout import IGNORE
from train.shapes import ModelShape, step_flops

__all__ = ["DENSE_PEAK_TFLOPS", "TrainingMeter", "dense_peak_tflops"]

DENSE_PEAK_TFLOPS = {
    "A100": 312.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.4,
    "H200": 989.4,
    "L40S": 362.0,
}
"""Bfloat16 products without sparsity, from NVIDIA's data sheets (A100 2020, H100 and L40S 2023, H200 2024). The figures
twice as large that are often quoted assume sparse weights."""

_COUNTS = ("rows", "places", "tokens", "answers", "images", "squares", "patches", "patch_squares", "capacity")


def dense_peak_tflops(name: str) -> float | None:
    """Peak of a GPU by the name that its driver gives, None for one that is not in the table."""
    return next((peak for known, peak in DENSE_PEAK_TFLOPS.items() if known in name), None)


class TrainingMeter(TrainerCallback):
    """Counts and clocks one stage.

    Args:
        run: Whose journal the figures go to; `logs/` in its folder takes the TensorBoard files.
        stage: Names the figures.
        shape: For operations and MFU; both are left out without it.
        trained: Parts with trained weights or adapters.
        full: All weights of these parts train, not adapters.
        capacity: Tokens that one batch could hold (one bin's tokens, packed); unless given, its places.
        recompute: Activations are computed again in the backward pass; only said, never counted.
        tensorboard: Write TensorBoard files where TensorBoard is installed; its absence is journalled.
        wandb_project: Log there as well; nothing is sent unless given.

    Raises:
        MissingPartError: `wandb_project` is given and wandb is not installed.
    """

    def __init__(
        self,
        run: Run,
        stage: str,
        *,
        shape: ModelShape | None = None,
        trained: frozenset[str] = frozenset({"language"}),
        full: bool = False,
        capacity: int | None = None,
        recompute: bool = False,
        tensorboard: bool = True,
        wandb_project: str | None = None,
    ) -> None:
        self.run, self.stage, self.shape = run, stage, shape
        self.trained, self.full, self.capacity, self.recompute = trained, full, capacity, recompute
        self.tensorboard, self.wandb_project = tensorboard, wandb_project
        if wandb_project is not None and not _installed("wandb"):
            raise MissingPartError("logs.wandb_project", "wandb")
        self._device = torch.device("cpu")
        self._writer: Any = None
        self._wandb: Any = None
        self._peak: float | None = None
        self._reset()

    # --- what the trainer calls --------------------------------------------------------------------------------------

    def observe(self, batch: dict[str, Any]) -> None:
        """Count one batch as the model will see it, `labels` included."""
        ids = batch["input_ids"]
        mask, labels, grid = batch.get("attention_mask"), batch.get("labels"), batch.get("image_grid_thw")
        count: dict[str, Any] = {"rows": ids.shape[0], "places": ids.numel()}
        if mask is not None and mask.dim() == 2:
            lengths = mask.sum(dim=1)
            count["tokens"], count["squares"] = lengths.sum(), (lengths * lengths).sum()
        else:
            count["tokens"], count["squares"] = ids.numel(), _segment_squares(batch.get("position_ids"), ids)
        if labels is not None:
            count["answers"] = (labels != IGNORE).sum()
        if grid is not None:
            count["images"] = grid.shape[0]
            if "pixel_values" in batch:  # absent where features are read back: then the tower does not run
                patches = grid.prod(dim=-1)
                count["patches"], count["patch_squares"] = patches.sum(), (patches * patches).sum()
        count["capacity"] = ids.numel() if self.capacity is None else self.capacity * ids.shape[0]
        for place, name in enumerate(_COUNTS):
            if name in count:
                self._sums[place] += count[name]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Open the logs and start the clock."""
        self._device = args.device
        self._peak = dense_peak_tflops(torch.cuda.get_device_name()) if self._device.type == "cuda" else None
        self._reset()
        if state.is_world_process_zero:
            self._open(state.global_step)
        self.run.journal(
            "metering",
            stage=self.stage,
            device=torch.cuda.get_device_name() if self._device.type == "cuda" else "cpu",
            dense_peak_tflops=self._peak,
            recompute=self.recompute,
        )
        self._idle_since = time.perf_counter()
        self._began = self._idle_since

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The batches of this step have arrived."""
        self._waited += time.perf_counter() - self._idle_since

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """From here on the trainer waits for data."""
        self._steps += 1
        self._idle_since = time.perf_counter()

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A checkpoint was written: neither training nor waiting for data."""
        now = time.perf_counter()
        self._began += now - self._idle_since
        self._idle_since = now

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write the figures of the stretch since the last logged step."""
        if not logs or "loss" not in logs or not self._steps:
            return
        facts = self.figures()
        self.run.journal("speed", stage=self.stage, step=state.global_step, **facts)
        numbers: dict[str, Any] = {
            **{name: logs[name] for name in ("loss", "grad_norm", "learning_rate") if name in logs},
            **facts,
        }
        for name, value in numbers.items():
            if self._writer is not None and isinstance(value, int | float):
                self._writer.add_scalar(f"{self.stage}/{name}", value, state.global_step)
        if self._wandb is not None:
            self._wandb.log({f"{self.stage}/{name}": value for name, value in numbers.items()}, step=state.global_step)
        self._reset()
        self._began = self._idle_since = time.perf_counter()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Close the logs."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._wandb is not None:
            self._wandb.finish()
            self._wandb = None

    # --- figures -----------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """The figures since the last logged step, over all processes. Every process must ask at the same step."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        seconds = time.perf_counter() - self._began
        sums, world = self._together()
        found = {
            "seconds": seconds,
            "steps_per_second": self._steps / seconds,
            "tokens": sums["tokens"],
            "tokens_per_second": sums["tokens"] / seconds,
            "answer_tokens_per_second": sums["answers"] / seconds,
            "images_per_second": sums["images"] / seconds,
            "padding_percent": 100 * (1 - sums["tokens"] / sums["places"]) if sums["places"] else 0.0,
            "fill_percent": 100 * sums["tokens"] / sums["capacity"] if sums["capacity"] else 0.0,
            "data_wait_percent": 100 * min(1.0, self._waited / seconds),
            "peak_memory_gib": self._peak_memory(),
        }
        if self.shape is not None:
            language, vision = step_flops(
                self.shape,
                tokens=int(sums["tokens"]),
                squares=int(sums["squares"]),
                patches=int(sums["patches"]),
                patch_squares=int(sums["patch_squares"]),
                trained=self.trained,
                full=self.full,
            )
            found["language_tflops_per_second"] = language / seconds / 1e12
            found["vision_tflops_per_second"] = vision / seconds / 1e12
            if self._peak is not None:
                available = self._peak * 1e12 * world * seconds
                found["mfu_language_percent"] = 100 * language / available
                found["mfu_vision_percent"] = 100 * vision / available
                found["mfu_percent"] = 100 * (language + vision) / available
        return {name: float(f"{value:.6g}") for name, value in found.items()}

    def _reset(self) -> None:
        # float64 holds sums of squared lengths exactly up to 9e15.
        self._sums = torch.zeros(len(_COUNTS), dtype=torch.float64, device=self._device)
        self._steps, self._waited = 0, 0.0
        self._began = self._idle_since = time.perf_counter()

    def _together(self) -> tuple[dict[str, float], int]:
        sums, world = self._sums, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            world = torch.distributed.get_world_size()
            sums = sums.clone()
            torch.distributed.all_reduce(sums)
        return dict(zip(_COUNTS, sums.tolist(), strict=True)), world

    def _peak_memory(self) -> float:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device) / 1024**3
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2

    def _open(self, step: int) -> None:
        if self.tensorboard:
            if _installed("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter

                folder = Path(self.run.folder) / "logs" / self.stage
                # What a killed process logged after its last checkpoint is hidden: those steps are done again.
                self._writer = SummaryWriter(log_dir=str(folder), purge_step=step + 1 if step else None)
            else:
                self.run.journal("absent", stage=self.stage, package="tensorboard", effect="no TensorBoard files")
        if self.wandb_project is not None:
            import wandb  # type: ignore[import-not-found,unused-ignore]

            self._wandb = wandb.init(project=self.wandb_project, name=self.run.folder.name, resume="allow")


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _segment_squares(positions: torch.Tensor | None, ids: torch.Tensor) -> Any:
    """Sum of squared lengths of packed conversations, from positions that start at 0 with each of them.

    The first n odd numbers sum to n squared, so no boundary has to be found.
    """
    if positions is None:
        return ids.shape[0] * ids.shape[1] ** 2
    text = positions[0] if positions.dim() == 3 else positions
    return (2 * text.to(torch.float64) + 1).sum()
