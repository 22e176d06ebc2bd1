"""Speed and MFU of fine-tuning a Qwen2.5-VL-shaped model with random weights in bfloat16 on one GPU.

    python benchmarks/train_gpu.py [--shape 3B|7B] [--out FILE.json] [--rows 512] [--steps 12]
    python benchmarks/train_gpu.py --dry-run          # the same path on a CPU with a tiny shape, a few seconds

Runs from the source tree, without a network, a checkpoint, a processor or a file of data: weights, token ids and
pixels are random, the lengths are those of `train_mixture.py`. Needs torch, transformers, peft, numpy, pillow and
pydantic, and no other package of SpineMed's. LoRA of rank 16 on the language part, tower frozen, gradient checkpointing
off unless asked for.

Every contestant goes once over rows in its own order and stops after `--steps` optimiser steps; the first two are not
timed. A step is 16 rows padded, or bins of `--capacity` tokens that hold about as many tokens. MFU divides the
operations that the model needs (:mod:`train.shapes`; padding, recomputation and attention to other samples are none) by
seconds and by the dense bfloat16 peak of the GPU's data sheet; language and vision apart, and no MFU on a CPU.
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# train.py beside this file is named like the package that is measured: the package comes first.
sys.path = [str(ROOT), *(path for path in sys.path if path != str(ROOT / "benchmarks")), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from train_mixture import draw_rows  # noqa: E402

from spinemed.vlm.layout import IGNORE, Encoded  # noqa: E402
from train.packing import PackedCall, call_of, choose_call, collate_packed, plan_bins  # noqa: E402
from train.packing.attention import SEGMENTS, use_attention, varlen_kernel  # noqa: E402
from train.shapes import KNOWN_SHAPES, ModelShape, shape_of, step_flops  # noqa: E402

BATCH = 16
WARM = 2
PEAKS = {"H100 PCIe": 756.0, "H100 NVL": 835.0, "H100": 989.4, "H200": 989.4, "A100": 312.0, "L40S": 362.0}
"""Dense bfloat16 TFLOP/s by NVIDIA's data sheets; `train.metrics` says the same and needs more packages."""
TINY = {"hidden": 64, "layers": 2, "heads": 4, "kv_heads": 2, "mlp": 96, "vocabulary": 512}
LORA = r".*language_model\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"


def build(name: str, device: str) -> tuple[Any, ModelShape]:
    """A model of that shape with random weights and adapters, and its shape. `tiny` for the dry run."""
    from peft import LoraConfig, get_peft_model
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    known = KNOWN_SHAPES["Qwen2.5-VL-3B-Instruct" if name == "tiny" else f"Qwen2.5-VL-{name}-Instruct"]
    tiny = name == "tiny"
    text, sight = known.text, known.vision
    values: dict[str, Any] = {
        "model_type": "qwen2_5_vl",
        "text_config": {
            "hidden_size": TINY["hidden"] if tiny else text.hidden,
            "num_hidden_layers": TINY["layers"] if tiny else text.layers,
            "num_attention_heads": TINY["heads"] if tiny else text.heads,
            "num_key_value_heads": TINY["kv_heads"] if tiny else text.kv_heads,
            "intermediate_size": TINY["mlp"] if tiny else text.mlp,
            "vocab_size": TINY["vocabulary"] if tiny else text.vocabulary,
            "max_position_embeddings": 32768,
            "rope_parameters": {
                "rope_type": "default", "rope_theta": 1e6,
                "mrope_section": [2, 3, 3] if tiny else [16, 24, 24],
            },
            "tie_word_embeddings": text.tied,
        },
        "vision_config": {
            "hidden_size": 32 if tiny else sight.hidden,
            "out_hidden_size": TINY["hidden"] if tiny else sight.out_hidden,
            "intermediate_size": 48 if tiny else sight.mlp,
            "depth": 2 if tiny else sight.depth,
            "num_heads": 2 if tiny else sight.heads,
            "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 112,
            "fullatt_block_indexes": [1] if tiny else [7, 15, 23, 31],
        },
        "tie_word_embeddings": text.tied,
    }  # fmt: skip
    last = values["text_config"]["vocab_size"]
    config = Qwen2_5_VLConfig(
        **{k: v for k, v in values.items() if k != "model_type"},
        image_token_id=last - 1, video_token_id=last - 2, vision_start_token_id=last - 3, vision_end_token_id=last - 4,
    )  # fmt: skip
    torch.manual_seed(0)
    kept = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    try:
        with torch.device(device):  # weights are drawn where they stay
            model = Qwen2_5_VLForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(kept)
    model.requires_grad_(False)
    made = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=LORA)).train()
    return made, shape_of(values, known.name if not tiny else "tiny")


def make_rows(count: int, mixture: str, vocabulary: int, *, scale: float, texts_only: bool) -> list[Encoded]:
    """Random rows of the mixture's lengths; one word is one token. Pixels are drawn on the device, when used."""
    drawn, sizes = draw_rows(count, mixture, 0)
    rng = np.random.default_rng(1)
    image = vocabulary - 1
    rows = []
    for row in drawn:
        grids = []
        question = rng.integers(10, vocabulary - 10, max(4, int(row.question * scale)))
        answer = rng.integers(10, vocabulary - 10, max(1, int(row.answer * scale)))
        parts = []
        for picture in () if texts_only else row.pictures:
            high, wide = (max(28, int(side * scale) // 28 * 28) // 14 for side in sizes[picture])
            grids.append([1, high, wide])
            parts += [[vocabulary - 3], [image] * (high * wide // 4), [vocabulary - 4]]
        ids = torch.from_numpy(np.concatenate([*parts, question, answer]).astype(np.int64))
        labels = torch.full_like(ids, IGNORE)
        labels[len(ids) - len(answer) :] = ids[len(ids) - len(answer) :]
        vision = {"image_grid_thw": torch.tensor(grids)} if grids else {}
        rows.append(Encoded(ids, labels, {"mm_token_type_ids": (ids == image).long()}, vision))
    return rows


def collate_padded(items: list[Encoded]) -> dict[str, Any]:
    """Right padding to the longest, as `Layout.collate` pads."""
    longest = max(item.length for item in items)

    def padded(values: torch.Tensor, fill: int) -> torch.Tensor:
        return torch.nn.functional.pad(values, (0, longest - len(values)), value=fill)

    batch: dict[str, Any] = {
        "input_ids": torch.stack([padded(item.input_ids, 0) for item in items]),
        "attention_mask": torch.stack([padded(torch.ones_like(item.input_ids), 0) for item in items]),
        "mm_token_type_ids": torch.stack([padded(item.sequence["mm_token_type_ids"], 0) for item in items]),
        "labels": torch.stack([padded(item.labels, IGNORE) for item in items if item.labels is not None]),
    }
    if any(item.vision for item in items):
        batch["image_grid_thw"] = torch.cat([item.vision["image_grid_thw"] for item in items if item.vision])
    return batch


def batches(
    rows: list[Encoded], mode: str, call: PackedCall | None, capacity: int
) -> Iterator[tuple[dict[str, Any], list[Encoded]]]:
    """Batches of a contestant with the rows in them, epoch after epoch."""
    lengths = np.array([row.length for row in rows])
    epoch = 0
    while True:
        rng = np.random.default_rng([0, epoch])
        if call is not None:
            for bin in plan_bins(lengths, capacity=capacity, seed=0, epoch=epoch).rows:
                items = [rows[number] for number in bin]
                yield collate_packed([items], call), items
        else:
            order = rng.permutation(len(rows))
            if mode == "grouped":
                order = order[np.argsort(lengths[order], kind="stable")]
            parts = [order[start : start + BATCH] for start in range(0, len(order) - BATCH + 1, BATCH)]
            for number in rng.permutation(len(parts)):
                items = [rows[row] for row in parts[number]]
                yield collate_padded(items), items
        epoch += 1


def answer_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over answer tokens, shifted by one, as :func:`train.trainer.answer_loss`."""
    target = labels[:, 1:]
    kept = target != IGNORE
    return torch.nn.functional.cross_entropy(logits[:, :-1][kept].float(), target[kept])


def contest(
    model: Any, shape: ModelShape, rows: list[Encoded], mode: str, *, call: PackedCall | None, options: Any, device: str
) -> dict[str, Any]:
    """One contestant: its steps, clocked between two waits for the GPU."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-4)
    wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else (lambda: None)
    inner = model.get_base_model()
    values = 3 * shape.vision.temporal * shape.vision.patch_px**2
    pixel_type = next(inner.parameters()).dtype
    totals = dict.fromkeys(("answers", "tokens", "places", "squares", "patches", "patch_squares", "images"), 0)
    kept = mode == "packed_cached"
    losses: list[torch.Tensor] = []
    start = 0.0
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    for step, (batch, items) in enumerate(batches(rows, mode, call, options.capacity)):
        if step == WARM:
            wait()
            start = time.perf_counter()
            totals = dict.fromkeys(totals, 0)
        if step == WARM + options.steps:
            break
        moved = {k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        labels = moved.pop("labels")
        grids = batch.get("image_grid_thw")
        if grids is not None:
            patches = grids.prod(1)
            if kept:
                width = (int(patches.sum()) // 4, inner.config.get_text_config().hidden_size)
                moved["mm_encoder_outputs"] = {"image": options.output(
                    pooler_output=(torch.randn(width, device=device, dtype=pixel_type),)
                )}  # fmt: skip
            else:
                moved["pixel_values"] = torch.randn(int(patches.sum()), values, device=device, dtype=pixel_type)
            totals["images"] += len(patches)
            totals["patches"] += 0 if kept else int(patches.sum())
            totals["patch_squares"] += 0 if kept else int((patches**2).sum())
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = model(**{"use_cache": False, **moved}).logits
        loss = answer_loss(logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.detach())
        totals["answers"] += sum(item.answer_tokens for item in items)
        totals["tokens"] += sum(item.length for item in items)
        totals["squares"] += sum(item.length**2 for item in items)
        totals["places"] += int(batch["input_ids"].numel())
    wait()
    seconds = time.perf_counter() - start
    language, vision = step_flops(
        shape, tokens=totals["tokens"], squares=totals["squares"], patches=totals["patches"],
        patch_squares=totals["patch_squares"], full=False,
    )  # fmt: skip
    found: dict[str, Any] = {
        "mode": mode, "steps": options.steps, "seconds": seconds, **totals,
        "answers_per_second": totals["answers"] / seconds, "tokens_per_second": totals["tokens"] / seconds,
        "images_per_second": totals["images"] / seconds,
        "padding_percent": 100 * (1 - totals["tokens"] / totals["places"]),
        "tflops": (language + vision) / seconds / 1e12, "last_loss": float(losses[-1]),
    }  # fmt: skip
    if device == "cuda":
        name = torch.cuda.get_device_name()
        peak = next((value for known, value in PEAKS.items() if known in name), None)
        found["peak_memory_gib"] = torch.cuda.max_memory_allocated() / 1024**3
        if peak is not None:
            found["mfu_percent"] = 100 * (language + vision) / seconds / 1e12 / peak
            found["mfu_language_percent"] = 100 * language / seconds / 1e12 / peak
            found["mfu_vision_percent"] = 100 * vision / seconds / 1e12 / peak
            found["peak_tflops"] = peak
    return found


def kernel_name(attention: str, device: str) -> str:
    """What the language part's attention runs on."""
    if attention == SEGMENTS:
        return "torch.nn.attention.varlen" if device == "cuda" and varlen_kernel() else "sdpa, segment by segment"
    return attention


def run(options: Any) -> dict[str, Any]:
    """All contestants on one model."""
    import transformers

    device = "cpu" if options.dry_run else "cuda"
    if device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA device: use --dry-run for a check on a CPU")
    model, shape = build("tiny" if options.dry_run else options.shape, device)
    if options.checkpointing:
        model.gradient_checkpointing_enable()
    vocabulary = shape.text.vocabulary
    scale = 0.25 if options.dry_run else 1.0
    rows = make_rows(options.rows, options.mixture, vocabulary, scale=scale, texts_only=False)
    texts = make_rows(options.rows, options.mixture, vocabulary, scale=scale, texts_only=True)
    inner = model.get_base_model()
    sizes = 3 * shape.vision.temporal * shape.vision.patch_px**2

    def with_pixels(row: Encoded) -> Encoded:
        if not row.vision:
            return Encoded(row.input_ids, row.labels, row.sequence)
        pixels = torch.randn(int(row.vision["image_grid_thw"].prod(1).sum()), sizes).to(next(inner.parameters()).dtype)
        return Encoded(row.input_ids, row.labels, row.sequence, {"pixel_values": pixels, **row.vision})

    by_kind = [next(row for row in rows if row.vision), next(row for row in rows if not row.vision)]
    found = choose_call(inner, [with_pixels(row) for row in (*by_kind, rows[-1])], attention=options.attention)
    if found.call is None:
        raise SystemExit(found.reason)
    takes = "mm_encoder_outputs" in inspect.signature(inner.model.forward).parameters
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    options.output = BaseModelOutputWithPooling
    all_logits = call_of(inner, answer_logits=False)
    contestants: list[tuple[str, list[Encoded], PackedCall | None]] = [
        ("padded", rows, None), ("grouped", rows, None), ("packed_all_logits", rows, all_logits),
        ("packed", rows, found.call), ("packed_text", texts, found.call),
    ]  # fmt: skip
    if takes:
        contestants.append(("packed_cached", rows, found.call))
    table = []
    for mode, material, call in contestants:
        use_attention(inner, found.attention if call is not None else "sdpa")
        try:
            table.append(contest(model, shape, material, mode, call=call, options=options, device=device))
        except torch.OutOfMemoryError:
            table.append({"mode": mode, "failed": "out of memory"})
        if device == "cuda":
            torch.cuda.empty_cache()
        print(json.dumps(table[-1]), flush=True)
    padded = table[0].get("answers_per_second")
    for row in table:
        if padded and "answers_per_second" in row:
            row["ratio_padded"] = row["answers_per_second"] / padded
    return {
        "shape": shape.name, "parameters": shape.parameters(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "kernel": kernel_name(found.attention, device), "isolation": found.reason, "tried": found.tried,
        "features": "taken" if takes else f"transformers {transformers.__version__} takes none",
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "rows": options.rows, "mixture": options.mixture, "capacity": options.capacity, "batch": BATCH,
        "checkpointing": options.checkpointing, "table": table,
    }  # fmt: skip


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=("3B", "7B"), default="3B")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--capacity", type=int, default=8192)
    parser.add_argument("--mixture", choices=("paper", "long"), default="paper")
    parser.add_argument("--attention", default="auto", help="auto, sdpa or flash_attention_2")
    parser.add_argument("--checkpointing", action="store_true", help="recompute activations in the backward pass")
    parser.add_argument("--dry-run", action="store_true", help="a tiny shape on a CPU: checks the path, says no speed")
    options = parser.parse_args()
    found = run(options)
    print(json.dumps({key: value for key, value in found.items() if key != "table"}, indent=1))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
