"""LLaMA-Factory's SFT on the benchmark's rows: padded in shuffled batches of 16, or with its `neat_packing`.

Convention: the clock runs over its trainer alone; tokenizing the rows, which it does before, is not timed. Its
Qwen3-VL template writes what our base's template writes. The image processor runs in its collator, as in TRL's.
"""

from __future__ import annotations

import importlib.metadata
import json
import time
from typing import Any

import torch
from child_train import BATCH, FOLDER, LORA, MODE, RESULT, SETTINGS, THREADS, Counts, rows, serve
from llamafactory.data import collator
from llamafactory.train.tuner import run_exp
from transformers import TrainerCallback


class Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Seconds of training alone."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0
        self.losses: list[float] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start."""
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop."""
        self.wall, self.cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        self.losses = [entry["loss"] for entry in state.log_history if "loss" in entry]


def main() -> None:
    """Write the rows in its form, and let it train."""
    torch.set_num_threads(THREADS)
    folder = RESULT.with_suffix(".data")
    folder.mkdir()
    data = [
        {"messages": [{**m, "content": m["content"].replace("<image>\n", "<image>")} for m in row["messages"]],
         "images": [str(FOLDER / name) for name in row["pictures"]]}
        for row in rows()
    ]  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(data))
    about = {
        "file_name": "rows.json", "formatting": "sharegpt", "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }  # fmt: skip
    (folder / "dataset_info.json").write_text(json.dumps({"rows": about}))
    counts, clock = Counts(), Clock()
    kind = collator.SFTDataCollatorWith4DAttentionMask
    made = kind.__call__
    kind.__call__ = lambda self, items: counts.see(made(self, items))
    packed = MODE == "llamafactory_packed"
    settings = {k: v for k, v in SETTINGS.items() if k not in ("remove_unused_columns",)}

    def work() -> tuple[Counts, list[float], dict[str, Any]]:
        run_exp(
            {
                "stage": "sft", "do_train": True, "model_name_or_path": str(FOLDER / "base"),
                "template": "qwen3_vl_nothink", "dataset": "rows", "dataset_dir": str(folder), "cutoff_len": 4096,
                "image_max_pixels": 560 * 560, "image_min_pixels": 56 * 56, "neat_packing": packed,
                "finetuning_type": "lora", "lora_rank": LORA["r"], "lora_alpha": LORA["lora_alpha"],
                "lora_target": "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj", "freeze_vision_tower": True,
                "output_dir": str(folder / "out"), "per_device_train_batch_size": 1 if packed else BATCH,
                "flash_attn": "sdpa", "preprocessing_num_workers": None, "overwrite_cache": True, **settings,
                "gradient_checkpointing": False, "disable_gradient_checkpointing": True,
            },
            callbacks=[clock],
        )  # fmt: skip
        return counts, clock.losses, {"trained_seconds": clock.wall, "trained_cpu_seconds": clock.cpu}

    names = ("llamafactory", "transformers", "torch")
    serve("LLaMA-Factory", {name: importlib.metadata.version(name) for name in names}, work)
    facts = json.loads(RESULT.read_bytes())
    facts["wall_seconds"], facts["cpu_seconds"] = facts["trained_seconds"], facts["trained_cpu_seconds"]
    RESULT.write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
