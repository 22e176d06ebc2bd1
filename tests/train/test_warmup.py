"""The nano model and its warm-up: targets on the right patches, losses that fall, a base that loads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spinemed.errors import ReadError
from spinemed.phantom import PhantomConfig
from spinemed.vlm.load import load_pair
from train.base.dense import dense_targets, near_mark, patch_labels
from train.base.nano import NanoConfig, NanoText, NanoVision, build_model, build_processor, read_texts
from train.base.phantoms import SHAPES, UNNUMBERED, Examples, make_scenes
from train.base.warmup import WarmupConfig, WarmupPhantoms, run_warmup
from train.trainer import Schedule

SMALL = NanoConfig(
    vision=NanoVision(patch_px=16, hidden=32, depth=1, heads=1, mlp=32, deepstack=(0,)),
    text=NanoText(hidden=32, layers=1, heads=1, kv_heads=1, mlp=32, vocabulary=400),
)


@pytest.fixture(scope="module")
def examples() -> Examples:
    config = PhantomConfig(sacrum_cropped_share=0.5, fracture_share=1.0)
    return Examples(make_scenes(8, seed=11, config=config), seed=2)


def test_patches_come_in_the_order_of_the_encoder() -> None:
    """A picture whose grey value is its label must give patches and labels in the same order."""
    labels = np.repeat(np.repeat(np.arange(1, 17).reshape(4, 4), 8, 0), 8, 1).astype(np.uint8)
    processor = build_processor(NanoConfig(vision=NanoVision(min_px=32, max_px=32, image_px=32)), ["text"])
    picture = np.repeat(labels[..., None], 3, 2)
    made = processor.image_processor([torch.from_numpy(picture).permute(2, 0, 1)], return_tensors="pt")
    grey = ((made["pixel_values"].mean(1) * 0.5 + 0.5) * 255).round().long()
    assert torch.equal(grey, torch.from_numpy(patch_labels(labels, 8, 2)).reshape(-1))


def test_a_patch_needs_a_quarter_of_a_body() -> None:
    labels = np.zeros((16, 16), dtype=np.uint8)
    labels[:4, :4] = 20  # 16 of 64 pixels
    labels[8:11, 8:13] = 21  # 15 of 64
    assert patch_labels(labels, 8, 2).tolist() == [[20, 0, 0, 0]]


def test_targets_speak_of_the_marked_body(examples: Examples) -> None:
    for number in range(12):
        example = examples[number]
        near = near_mark((128, 128), example.centre, 16)
        assert 1 <= near.sum() <= 9
        made = dense_targets([example], 8, 2)
        assert set(made.level.tolist()) == {-100, example.label}
        assert int((made.level != -100).sum()) == int(near.sum())
        assert example.label == UNNUMBERED or 1 <= example.label <= 28
        answer = example.messages[1].content
        assert ("unknown" in answer) <= (example.label == UNNUMBERED)
        if SHAPES[example.shape] == "wedge":
            assert example.losses[0] > example.losses[2]


def test_examples_repeat_and_differ(examples: Examples) -> None:
    assert (examples[3].picture == examples[3].picture).all()
    assert examples[3].messages == examples[3].messages
    assert any((examples[3].picture != examples[number].picture).any() for number in range(3))
    assert {examples[number].label == UNNUMBERED for number in range(30)} == {True, False}


def test_weights_follow_from_the_seed() -> None:
    processor = build_processor(SMALL, ["text"])
    one, two = build_model(SMALL, processor), build_model(SMALL, processor)
    other = build_model(SMALL.model_copy(update={"seed": 1}), processor)
    name = "model.visual.blocks.0.attn.qkv.weight"
    assert all(torch.equal(value, two.state_dict()[key]) for key, value in one.state_dict().items())
    assert not torch.equal(one.state_dict()[name], other.state_dict()[name])
    assert sum(one.config.text_config.rope_parameters["mrope_section"]) == SMALL.text.head_dim // 2


def test_broken_tokenizer_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<a><b></a>")
    with pytest.raises(ReadError, match=r"a\.xml.*tokenizer_texts"):
        read_texts([tmp_path / "a.xml"])


def test_warmup_learns_and_leaves_a_base(tmp_path: Path) -> None:
    quick = {"batch_size": 8, "learning_rate": 3e-3, "warmup_steps": 2, "log_every": 5, "save_every": 20}
    config = WarmupConfig(
        nano=SMALL,
        phantoms=WarmupPhantoms(count=16, held_out=4),
        dense=Schedule.model_validate({**quick, "steps": 30}),
        captions=Schedule.model_validate({**quick, "steps": 30, "autocast": "bfloat16"}),
        threads=1,
    )
    folder = run_warmup(config, tmp_path / "run")
    assert folder == tmp_path / "run" / "outputs" / "model"
    from spinemed.tables import read_manifest

    dense = read_manifest(folder.parent / "dense", "dense")
    captions = read_manifest(folder, "checkpoint", verify=True)
    assert dense["last_loss"] < 0.8 * dense["first_loss"]
    assert captions["last_loss"] < 0.7 * captions["first_loss"]
    model, _ = load_pair(folder)
    assert next(model.parameters()).dtype == torch.float32
    again = run_warmup(config, tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
