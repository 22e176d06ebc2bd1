"""What every child of the training benchmark shares: the same rows and base, one clock, seconds and losses out.

    python benchmarks/peers/<peer>_train.py FOLDER RESULT.json MODE THREADS

Convention: the clock runs from the first look at the rows to the end of the last optimiser step; imports, loading the
model, adding adapters and one small forward and backward pass come before it. Answer tokens are counted on the labels
that the contestant's own collator made. This file needs the standard library and torch alone, because it runs in each
peer's own environment.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER, RESULT, MODE, THREADS = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

LORA: dict[str, Any] = {
    "r": 16, "lora_alpha": 32, "lora_dropout": 0.0,
    "target_modules": r".*language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)",
}  # fmt: skip
SETTINGS: dict[str, Any] = {
    "num_train_epochs": 1, "learning_rate": 1e-3, "weight_decay": 0.0, "warmup_steps": 0,
    "lr_scheduler_type": "constant", "gradient_accumulation_steps": 1, "seed": 0, "report_to": "none",
    "save_strategy": "no", "logging_steps": 1, "use_cpu": True, "bf16": False, "disable_tqdm": True,
    "remove_unused_columns": False, "dataloader_num_workers": 0, "dataloader_pin_memory": False,
}  # fmt: skip
BATCH = 16


def rows() -> list[dict[str, Any]]:
    """The benchmark's rows: id, messages with `<image>` placeholders, pictures as file names."""
    return [json.loads(line) for line in (FOLDER / "rows.jsonl").read_text().splitlines()]


class Counts:
    """Answer tokens, tokens and places of everything that was collated."""

    def __init__(self) -> None:
        self.answers = self.tokens = self.places = 0

    def see(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Count one batch."""
        self.answers += int((batch["labels"] != -100).sum())
        self.places += batch["input_ids"].numel()
        mask = batch.get("attention_mask")
        if mask is None:
            self.tokens += batch["input_ids"].numel()
        else:  # a square mask says nothing of padding; the base's padding token is 0
            self.tokens += int(mask.sum() if mask.ndim == 2 else (batch["input_ids"] != 0).sum())
        return batch


def serve(name: str, versions: dict[str, str], work: Callable[[], tuple[Counts, list[float], dict[str, Any]]]) -> None:
    """Run `work` once under the clock and write what came out.

    `work` returns its counts, the losses of its steps and anything worth noting.
    """
    before = time.process_time()
    start = time.perf_counter()
    counts, losses, notes = work()
    wall, cpu = time.perf_counter() - start, time.process_time() - before
    facts = {
        "name": name, "mode": MODE, "versions": versions, "threads": THREADS, "wall_seconds": wall, "cpu_seconds": cpu,
        "answer_tokens": counts.answers, "tokens": counts.tokens, "places": counts.places, "steps": len(losses),
        "first_loss": losses[0], "last_loss": losses[-1], "losses": losses,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "cores": len(os.sched_getaffinity(0)), **notes,
    }  # fmt: skip
    RESULT.write_text(json.dumps(facts))
