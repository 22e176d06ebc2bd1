"""Loading, laying out and answering: exact labels, nothing cut, stock file names, answers free of the batch size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from spinemed.errors import ModelError
from spinemed.records import Message
from spinemed.vlm import Encoded, Layout, Refused, Request, VlmAnswerer, load_model, load_processor, save_processor
from spinemed.vlm import processor as processor_module


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from train.base.nano import NanoConfig, NanoText, NanoVision, build_model, build_processor
    from train.merge import save_checkpoint

    config = NanoConfig(
        seed=1,
        init_std=0.3,
        vision=NanoVision(
            patch_px=8, hidden=16, depth=1, heads=1, mlp=32, deepstack=(0,), image_px=32, min_px=32, max_px=64
        ),
        text=NanoText(hidden=32, layers=2, heads=1, kv_heads=1, mlp=32, max_tokens=256, vocabulary=400),
    )
    processor = build_processor(config, ["Which vertebra is marked? Answer with the level."])
    folder = tmp_path_factory.mktemp("checkpoint") / "nano"
    save_checkpoint(build_model(config, processor), processor, folder, precision="float32", about="A test model.")
    return folder


@pytest.fixture(scope="module")
def layout(checkpoint: Path) -> Layout:
    return Layout(load_processor(checkpoint), max_tokens=200)


def picture(seed: int, size: tuple[int, int] = (32, 32)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def talk(question: str, answer: str | None = None) -> tuple[Message, ...]:
    turns = [Message(role="user", content=question)]
    return tuple(turns) if answer is None else (*turns, Message(role="assistant", content=answer))


@pytest.mark.parametrize("answer", ["L3", "T12-L2", "not determinable", " L3\n", "第五腰椎", "a\nuser\nassistant\nb"])
def test_labels_are_the_answer_and_its_end(layout: Layout, answer: str) -> None:
    made = layout.encode(talk("<image>\nWhich vertebra is marked?", answer), [picture(0)], training=True)
    assert isinstance(made, Encoded)
    assert made.labels is not None
    labelled = made.labels != -100
    assert layout.tokenizer.decode(made.labels[labelled]) == answer + layout.tokenizer.eos_token
    assert torch.equal(made.input_ids[labelled], made.labels[labelled])
    assert bool(labelled[-1])
    assert int(labelled.int().diff().abs().sum()) == 1  # one run of labels, at the end


def test_answering_sees_the_prompt_that_training_saw(layout: Layout) -> None:
    question = "<image>\nWhich vertebra is marked?"
    trained = layout.encode(talk(question, "L3"), [picture(0)], training=True)
    asked = layout.encode(talk(question), [picture(0)], training=False)
    assert isinstance(trained, Encoded)
    assert isinstance(asked, Encoded)
    assert torch.equal(trained.input_ids[: asked.length], asked.input_ids)
    assert trained.answer_tokens == trained.length - asked.length
    assert torch.equal(trained.vision["pixel_values"], asked.vision["pixel_values"])


def test_every_level_is_one_token(layout: Layout) -> None:
    for level in ("C1", "C7", "T1", "T12", "T13", "L1", "L6", "S1"):
        ids = layout.tokenizer(f"at {level}-L2", add_special_tokens=False)["input_ids"]
        assert layout.tokenizer.convert_tokens_to_ids(level) in ids
        assert layout.tokenizer.decode(ids) == f"at {level}-L2"


def test_nothing_is_cut(layout: Layout) -> None:
    made = layout.encode(talk("Why? " * 100, "L3"), [], training=True)
    assert made == Refused("too_long", made.detail)  # type: ignore[union-attr]
    assert "more than 200" in made.detail  # type: ignore[union-attr]


@pytest.mark.parametrize("token", ["<|im_end|>", "<|image_pad|>", "<|pad|>"])
def test_control_tokens_in_source_text_are_refused(layout: Layout, token: str) -> None:
    for messages in (talk(f"What is {token}?", "L3"), talk("What?", f"L3{token}L4")):
        made = layout.encode(messages, [], training=True)
        assert isinstance(made, Refused)
        assert made.reason == "control_token"


def test_pictures_and_placeholders_must_agree(layout: Layout) -> None:
    with pytest.raises(ValueError, match="1 <image> placeholders for 0 pictures"):
        layout.encode(talk("<image> What?", "L3"), [], training=True)
    with pytest.raises(ValueError, match="last"):
        layout.encode(talk("What?"), [], training=True)
    made = layout.encode(talk("<image> What?", "L3"), [b"no picture"], training=True)
    assert isinstance(made, Refused)
    assert made.reason == "unreadable_picture"


def test_padding_goes_right_for_training_and_left_for_answering(layout: Layout) -> None:
    asked = [layout.encode(talk(text), [], training=False) for text in ("Why?", "Why is that?")]
    left = layout.collate([item for item in asked if isinstance(item, Encoded)], training=False)
    assert left["attention_mask"][0, 0] == 0
    assert left["attention_mask"][:, -1].tolist() == [1, 1]
    trained = [layout.encode(talk(text, "L3"), [], training=True) for text in ("Why?", "Why is that?")]
    right = layout.collate([item for item in trained if isinstance(item, Encoded)], training=True)
    assert right["attention_mask"][:, 0].tolist() == [1, 1]
    assert right["attention_mask"][0, -1] == 0
    assert right["labels"][0, -1] == -100


def test_processor_round_trip_names_stock_classes_and_keeps_bytes(checkpoint: Path, tmp_path: Path) -> None:
    save_processor(load_processor(checkpoint), tmp_path / "again")
    for file in ("processor_config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (tmp_path / "again" / file).read_bytes() == (checkpoint / file).read_bytes(), file
    values = json.loads((checkpoint / "processor_config.json").read_text())
    assert values["processor_class"] == "Qwen3VLProcessor"
    assert values["image_processor"]["image_processor_type"] == "Qwen2VLImageProcessor"
    assert values["video_processor"]["video_processor_type"] == "Qwen3VLVideoProcessor"


def test_qwen25_processor_needs_no_torchvision_either(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "older"
    shutil.copytree(checkpoint, folder)
    for name in ("processor_config.json", "tokenizer_config.json"):
        text = (folder / name).read_text().replace("Qwen3VLProcessor", "Qwen2_5_VLProcessor")
        (folder / name).write_text(text)
    processor = load_processor(folder)
    if not processor_module.torchvision_works():
        assert isinstance(processor, processor_module.ImageOnlyQwen25VLProcessor)
    made = Layout(processor, max_tokens=200).encode(talk("<image> What?", "L3"), [picture(1)], training=True)
    assert isinstance(made, Encoded)
    assert made.vision["image_grid_thw"].tolist() == [[1, 4, 4]]


def test_videos_are_refused_in_words(checkpoint: Path) -> None:
    if processor_module.torchvision_works():
        pytest.skip("torchvision brings the video half")
    with pytest.raises(ModelError, match="video needs a working torchvision"):
        load_processor(checkpoint)(text=["What?"], videos=[np.zeros((2, 3, 32, 32))])


def test_answers_do_not_depend_on_batch_or_order(checkpoint: Path) -> None:
    requests = []
    for number in range(11):
        size = (32, 32) if number % 2 else (48, 64)
        question = "Which vertebra is marked?" + " Answer with the level." * (number % 4)
        requests.append(
            Request(talk(question))
            if number % 3 == 0
            else Request(talk("<image>\n" + question), (picture(number, size),))
        )
    texts: list[list[str]] = []
    for size in (1, 4, 11):
        replies = VlmAnswerer(checkpoint, batch_size=size, max_new_tokens=6).answer(requests)
        assert all(reply.outcome == "answered" for reply in replies)
        texts.append([reply.text for reply in replies])
    assert texts[0] == texts[1] == texts[2]
    assert len(set(texts[0])) > 1
    back = VlmAnswerer(checkpoint, batch_size=4, max_new_tokens=6).answer(requests[::-1])
    assert [reply.text for reply in back][::-1] == texts[0]


def test_picture_changes_the_answer_scores(checkpoint: Path, layout: Layout) -> None:
    model = load_model(checkpoint)
    scores = []
    for seed in (0, 1):
        made = layout.encode(talk("<image> What?"), [picture(seed)], training=False)
        assert isinstance(made, Encoded)
        with torch.inference_mode():
            scores.append(model(**layout.collate([made], training=False)).logits[0, -1])
    assert not torch.allclose(scores[0], scores[1], atol=1e-3)


def test_requests_that_do_not_fit_fail_one_by_one(checkpoint: Path) -> None:
    asked = [Request(talk("Why? " * 200)), Request(talk("Why?")), Request(talk("<image>"), (b"broken",))]
    counted: list[int] = []
    replies = VlmAnswerer(checkpoint, max_new_tokens=4).answer(asked, counted.append)
    assert [reply.outcome for reply in replies] == ["failed", "answered", "failed"]
    assert replies[0].detail.startswith("too_long")
    assert replies[2].detail.startswith("unreadable_picture")
    assert sum(counted) == 3


def _break_weights(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])


def _drop_a_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop("model.language_model.embed_tokens.weight")  # the tied output layer goes with it
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_break_weights, "cannot be loaded"),
        (_drop_a_weight, "lacks 2 weights"),
        (lambda folder: (folder / "config.json").unlink(), "neither config.json nor adapter_config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be loaded"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_checkpoints_are_refused(checkpoint: Path, tmp_path: Path, spoil: Any, words: str) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    spoil(folder)
    with pytest.raises(ModelError, match=words):
        load_model(folder)


def test_missing_folders_and_processors_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such checkpoint folder"):
        load_model(tmp_path / "nowhere")
    with pytest.raises(ModelError, match="no such checkpoint folder"):
        load_processor(tmp_path / "nowhere")
    folder = tmp_path / "bare"
    shutil.copytree(checkpoint, folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="processor cannot be loaded"):
        load_processor(folder)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "../gone"}))
    with pytest.raises(ModelError, match=r"base model '\.\./gone' is not there"):
        load_model(adapter)
