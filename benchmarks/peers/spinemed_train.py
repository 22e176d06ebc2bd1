"""Our trainer on the benchmark's rows, padded, grouped by length, packed, and packed on features kept from before.

Modes: `padded` (shuffled batches of 16), `grouped`, `packed`, `packed_all_logits` (every position through the output
layer, as padded rows go), `packed_cache` (the store is filled under the clock), `packed_cached` (it was filled before).
Measuring rows, planning and laying out are under the clock in every mode.
"""

from __future__ import annotations

import importlib.metadata
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from child_train import BATCH, FOLDER, LORA, MODE, RESULT, SETTINGS, THREADS, Counts, rows, serve
from peft import LoraConfig, get_peft_model
from transformers import TrainingArguments

from spinemed.records import Message, PackedImage
from spinemed.vlm.layout import Layout
from spinemed.vlm.load import load_pair, peft_calls
from train.features import FeatureRows, FeatureStore, FrozenTower, feature_call, pictures_of
from train.packing import MeasuredRows, PackedRows, choose_call, collate_packed, plan_bins, probe_rows
from train.plan import plan_order
from train.rows import Planned
from train.trainer import SpineTrainer, answer_loss

CAPACITY = 4096


@dataclass(frozen=True)
class Row:
    """One row as the release gives it."""

    id: str
    messages: tuple[Message, ...]
    images: tuple[PackedImage, ...]


def read() -> list[Row]:
    """The benchmark's rows with their pictures' bytes."""
    return [
        Row(
            row["id"],
            tuple(Message(**message) for message in row["messages"]),
            tuple(PackedImage(bytes=(FOLDER / name).read_bytes(), path=name) for name in row["pictures"]),
        )
        for row in rows()
    ]


def main() -> None:
    """Build everything, warm up, train under the clock."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model, processor = load_pair(FOLDER / "base")
    with peft_calls():
        model = get_peft_model(model, LoraConfig(**LORA)).train()
    layout = Layout(processor, max_tokens=CAPACITY)
    loaded = read()
    attention, call, reason = "sdpa", None, ""
    if MODE.startswith("packed"):
        found = choose_call(model.get_base_model(), probe_rows(layout), answer_logits=MODE != "packed_all_logits")
        assert found.call is not None, found.reason
        attention, call, reason = found.attention, found.call, found.reason
    shared = FOLDER / "features"
    folder = shared if MODE == "packed_cached" else RESULT.with_suffix(".features")
    if MODE == "packed_cached":
        tower = FrozenTower(model, processor)
        measured = MeasuredRows(loaded, layout)
        FeatureStore(shared, tower.sha256).fill(tower, pictures_of(measured).values(), limit_bytes=10**10)
    warm = layout.collate(probe_rows(layout), training=True)
    answer_loss(model(**{k: v for k, v in warm.items() if k != "labels"}), warm["labels"]).backward()
    model.zero_grad()

    def work() -> tuple[Counts, list[float], dict[str, Any]]:
        counts, notes = Counts(), {"attention": attention, "isolation": reason}
        measured = MeasuredRows(loaded, layout, cache_mb=1200)
        source: Any = measured
        hand_over = None
        if "cache" in MODE:
            tower = FrozenTower(model, processor)
            store = FeatureStore(folder, tower.sha256)
            notes["features"] = store.fill(tower, pictures_of(measured).values(), limit_bytes=10**10)
            source, hand_over = FeatureRows(measured, store), tower.output
        if call is not None:
            bins = plan_bins(measured.lengths, capacity=CAPACITY, seed=0)
            notes["fill"] = bins.fill
            data: Any = PackedRows(source, bins)
        else:
            window = 16 if MODE == "grouped" else 1
            batches = -(-len(measured) // BATCH)
            data = Planned(
                source,
                plan_order(measured.lengths, batch_size=BATCH, batches=batches, seed=0, window=window)[: len(measured)],
            )

        def collate(items: list[Any]) -> dict[str, Any]:
            batch = counts.see(layout.collate(items, training=True) if call is None else collate_packed(items, call))
            return batch if hand_over is None else feature_call(batch, hand_over)

        trainer = SpineTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=str(FOLDER / "ours"), per_device_train_batch_size=BATCH if call is None else 1,
                label_names=["labels"], **SETTINGS,
            ),
            train_dataset=data, data_collator=collate, compute_loss_func=answer_loss,
        )  # fmt: skip
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        notes["trainable"] = sum(value.numel() for value in model.parameters() if value.requires_grad)
        return counts, losses, notes

    serve("SpineMed", {name: importlib.metadata.version(name) for name in ("transformers", "torch")}, work)
    if folder != shared:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
