"""Features kept from a frozen tower: the same loss as from pictures, asked once, never of a tower that moves."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from spinemed.errors import ConfigError, ModelError, ReadError
from spinemed.marks import png_bytes
from spinemed.records import Message, PackedImage
from spinemed.vlm.layout import Layout
from train.features import FeatureRows, FeatureStore, FrozenTower, feature_call, pictures_of
from train.packing import MeasuredRows, call_of, collate_packed
from train.packing.attention import SEGMENTS, use_attention
from train.trainer import answer_loss


def build() -> tuple[Any, Any]:
    from train.base.nano import NanoConfig, NanoText, NanoVision, build_model, build_processor

    config = NanoConfig(
        seed=3,
        init_std=0.3,
        vision=NanoVision(
            patch_px=8, hidden=16, depth=2, heads=1, mlp=32, deepstack=(0,), image_px=64, min_px=32, max_px=64
        ),
        text=NanoText(hidden=32, layers=2, heads=2, kv_heads=1, mlp=32, max_tokens=512, vocabulary=400),
    )
    processor = build_processor(config, ["Which vertebra is marked? Answer with the level."])
    model = build_model(config, processor).eval()
    for name, weight in model.named_parameters():
        weight.requires_grad_("language_model" in name)
    return model, processor


@pytest.fixture
def tiny() -> tuple[Any, Any]:
    return build()


def rows_for(layout: Layout) -> MeasuredRows:
    """Nine rows; two of three have a picture, every picture is asked about twice."""
    rows = []
    for number in range(9):
        images: tuple[PackedImage, ...] = ()
        question = f"What follows number {number}?"
        if number % 3:
            size = (32 + 16 * (number // 3), 64)
            data = png_bytes(np.random.default_rng(number // 3).integers(0, 256, size, dtype=np.uint8))
            images = (PackedImage(bytes=data, path=f"{number // 3}.png"),)
            question = "<image>\n" + question
        turns = (Message(role="user", content=question), Message(role="assistant", content="L2 " * (1 + number % 4)))
        rows.append(SimpleNamespace(id=f"row-{number}", messages=turns, images=images))
    return MeasuredRows(rows, layout)


def steps(model: Any, source: Any, output: Any, *, packed: bool, count: int = 5) -> list[float]:
    """Losses of a few optimiser steps over all rows."""
    layout = source.layout
    use_attention(model, SEGMENTS if packed else "sdpa")
    moving = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(moving, lr=1e-2)
    losses = []
    for step in range(count):
        items = [source[(step + offset) % 9] for offset in range(6)]
        batch = collate_packed([items], call_of(model)) if packed else layout.collate(items, training=True)
        if output is not None:
            batch = feature_call(batch, output)
            assert "pixel_values" not in batch
        labels = batch.pop("labels")
        loss = answer_loss(model(**batch), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("packed", [True, False])
def test_training_on_features_is_training_on_pictures(tmp_path: Path, packed: bool) -> None:
    model, processor = build()
    rows = rows_for(Layout(processor, max_tokens=512))
    tower = FrozenTower(model, processor)
    store = FeatureStore(tmp_path, tower.sha256)
    store.fill(tower, pictures_of(rows).values(), limit_bytes=10**8)
    on_features = steps(model, FeatureRows(rows, store), tower.output, packed=packed)
    again, _ = build()
    on_pictures = steps(again, rows, None, packed=packed)
    assert on_features == pytest.approx(on_pictures, abs=1e-5)
    assert on_features[-1] < on_features[0]


def test_a_picture_is_computed_once_for_all_its_questions_and_runs(tiny: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = tiny
    rows = rows_for(Layout(processor, max_tokens=512))
    tower = FrozenTower(model, processor)
    store = FeatureStore(tmp_path, tower.sha256)
    pictures = pictures_of(rows)
    assert len(pictures) == 3
    made = store.fill(tower, pictures.values(), limit_bytes=10**8, batch_tokens=8, shard_bytes=1)
    assert made == {"computed": 3, "reused": 0, "bytes": tower.bytes_for(sum(p.tokens for p in pictures.values()))}
    on_disk = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    assert made["bytes"] <= on_disk <= made["bytes"] + 3 * 1000  # what was predicted, and a header each
    later = FeatureStore(tmp_path, tower.sha256)
    assert later.fill(tower, pictures.values(), limit_bytes=10**8)["computed"] == 0
    assert len(later) == 3


def test_another_tower_or_processor_finds_nothing(tiny: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = tiny
    pictures = pictures_of(rows_for(Layout(processor, max_tokens=512)))
    tower = FrozenTower(model, processor)
    FeatureStore(tmp_path, tower.sha256).fill(tower, pictures.values(), limit_bytes=10**8)
    model.model.language_model.layers[0].mlp.up_proj.weight.data += 1
    assert FrozenTower(model, processor).sha256 == tower.sha256  # the language part is no part of it
    processor.image_processor.image_mean = [0.4, 0.4, 0.4]
    other = FrozenTower(model, processor).sha256
    model.model.visual.patch_embed.proj.weight.data += 1
    assert len({tower.sha256, other, FrozenTower(model, processor).sha256}) == 3
    assert len(FeatureStore(tmp_path, other)) == 0


def test_a_lowered_picture_is_another_picture(tiny: tuple[Any, Any]) -> None:
    _, processor = tiny
    whole = pictures_of(rows_for(Layout(processor, max_tokens=512)))
    small = pictures_of(rows_for(Layout(processor, max_tokens=512, max_pixels=32 * 32)))
    assert not whole.keys() & small.keys()


def test_adapters_on_the_language_part_change_nothing(tiny: tuple[Any, Any]) -> None:
    from peft import LoraConfig, get_peft_model

    from spinemed.vlm.load import peft_calls

    model, processor = tiny
    plain = FrozenTower(model, processor).sha256
    with peft_calls():
        adapted = get_peft_model(model, LoraConfig(r=2, target_modules=r".*language_model\..*\.q_proj"))
    assert FrozenTower(adapted, processor).sha256 == plain


@pytest.mark.parametrize("name", ["visual.blocks.0.attn.proj.weight", "visual.merger.linear_fc2.weight"])
def test_a_tower_that_trains_is_refused(tiny: tuple[Any, Any], name: str) -> None:
    model, processor = tiny
    model.model.get_parameter(name).requires_grad_(True)
    with pytest.raises(ModelError, match="trains"):
        FrozenTower(model, processor)


def test_a_model_that_takes_no_features_is_refused(tiny: tuple[Any, Any]) -> None:
    class Other(torch.nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return input_ids

    with pytest.raises(ModelError, match="Other takes no features"):
        FrozenTower(Other(), tiny[1])


def test_more_than_the_limit_is_refused_before_any_is_computed(tiny: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = tiny
    pictures = pictures_of(rows_for(Layout(processor, max_tokens=512)))
    tower = FrozenTower(model, processor)
    store = FeatureStore(tmp_path, tower.sha256)
    with pytest.raises(ConfigError, match="3 pictures need"):
        store.fill(tower, pictures.values(), limit_bytes=100)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_damaged_file_is_named(tiny: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = tiny
    tower = FrozenTower(model, processor)
    store = FeatureStore(tmp_path, tower.sha256)
    store.fill(tower, pictures_of(rows_for(Layout(processor, max_tokens=512))).values(), limit_bytes=10**8)
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ReadError, match="no file of features"):
        FeatureStore(tmp_path, tower.sha256)


def test_a_store_travels_to_a_worker(tiny: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = tiny
    rows = rows_for(Layout(processor, max_tokens=512))
    tower = FrozenTower(model, processor)
    store = FeatureStore(tmp_path, tower.sha256)
    store.fill(tower, pictures_of(rows).values(), limit_bytes=10**8)
    key = next(iter(pictures_of(rows)))
    there = pickle.loads(pickle.dumps(store))
    assert torch.equal(there.get(key)[0], store.get(key)[0])


def test_the_size_that_a_plan_predicts_is_the_size(micro_base: Path, tmp_path: Path) -> None:
    from spinemed.vlm.load import load_pair
    from train.estimate import feature_bytes
    from train.shapes import read_shape

    model, processor = load_pair(micro_base)
    model.requires_grad_(False)
    tower = FrozenTower(model, processor)
    assert tower.bytes_for(1000) == feature_bytes(read_shape(micro_base), 1000, width=4)
