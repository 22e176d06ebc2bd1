"""Sizes, meters, reports and exports: counted against models that are built, logs against what a step holds."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from spinemed.errors import MissingPartError, ModelError
from spinemed.run import Run
from spinemed.vlm.layout import Layout
from spinemed.vlm.load import load_model, load_pair
from spinemed.vlm.processor import load_processor
from train.config import Stage, TrainConfig
from train.estimate import disk_bytes, feature_bytes, memory_bytes, trained_parameters
from train.export import export_model
from train.metrics import TrainingMeter, dense_peak_tflops
from train.report import write_report
from train.run import run_training
from train.shapes import KNOWN_SHAPES, read_shape, step_flops

STAGE: dict[str, Any] = {
    "name": "one", "mixture": [{"release": "only"}], "max_tokens": 120,
    "schedule": {"steps": 3, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "log_every": 1},
}  # fmt: skip


def _job(base: Path, release: Path, stage: dict[str, Any] | None = None, **more: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {"base": base, "releases": {"only": release}, "stages": [{**STAGE, **(stage or {})}], "threads": 1, **more}
    )


@pytest.fixture(scope="module")
def trained(micro_base: Path, micro_release: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with adapters on the language model."""
    out = tmp_path_factory.mktemp("trained") / "run"
    run_training(_job(micro_base, micro_release), out)
    return out


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_sizes_agree_with_the_weights_and_with_what_is_published(samples: Path, micro_base: Path) -> None:
    for folder in (samples / "nano_base", micro_base):
        shape = read_shape(folder)
        counted = {"language": 0, "vision": 0, "projector": 0}
        for name, weight in load_file(folder / "model.safetensors").items():
            part = "projector" if "merger" in name else "vision" if "visual" in name else "language"
            counted[part] += weight.numel()
        assert {part: shape.parameters(part) for part in counted} == counted  # type: ignore[arg-type]
    published = {"3B": 3_754_622_976, "7B": 8_292_166_656, "32B": 33_452_718_336, "8B": 8_767_123_696}
    assert {name.split("-")[2]: shape.parameters() for name, shape in KNOWN_SHAPES.items()} == published


def test_sizes_of_qwen25_agree_with_a_model_built_from_its_config(tmp_path: Path) -> None:
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 320, "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]},
        },
        vision_config={
            "depth": 3, "hidden_size": 32, "num_heads": 2, "intermediate_size": 40, "out_hidden_size": 48,
            "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [2],
        },
        tie_word_embeddings=False,
    )  # fmt: skip
    with torch.device("meta"):
        model = Qwen2_5_VLForConditionalGeneration(config)
    counted = {"language": 0, "vision": 0, "projector": 0}
    for name, weight in model.named_parameters():
        counted["projector" if "merger" in name else "vision" if "visual" in name else "language"] += weight.numel()
    config.save_pretrained(tmp_path)
    shape = read_shape(tmp_path)
    assert {part: shape.parameters(part) for part in counted} == counted  # type: ignore[arg-type]
    assert (shape.vision.full_blocks, shape.vision.window_px) == (1, 56)


def test_operations_agree_with_torch_own_counter(micro_base: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model, processor = load_model(micro_base, attention="eager"), load_processor(micro_base)
    shape = read_shape(micro_base)
    batch = _one_batch(processor)
    labels = batch.pop("labels")
    with FlopCounterMode(display=False) as counter:
        model(**batch, use_cache=False).logits[labels == labels].sum().backward()
    tokens = batch["input_ids"].numel()
    patches = int(batch["image_grid_thw"].prod(-1).sum())
    language, vision = step_flops(
        shape, tokens=tokens, squares=2 * tokens**2, patches=patches, patch_squares=patches**2,
        trained=frozenset({"language", "vision", "projector"}), full=True,
    )  # fmt: skip
    # Plain attention multiplies the masked half as well, hence twice the squares; pixels get no gradient.
    assert language + vision == counter.get_total_flops()


def _one_batch(processor: Any) -> dict[str, torch.Tensor]:
    from PIL import Image

    from spinemed.records import Message
    from spinemed.vlm.layout import Encoded

    turns = (
        Message(role="user", content="<image>\nWhich vertebra is marked?"),
        Message(role="assistant", content="L1"),
    )
    layout = Layout(processor, max_tokens=200)
    row = layout.encode(turns, [Image.new("RGB", (32, 32))], training=True)
    assert isinstance(row, Encoded)
    return layout.collate([row], training=True)


def test_adapters_are_counted_as_they_are_made(micro_base: Path, trained: Path) -> None:
    saved = load_file(trained / "outputs" / "adapter" / "adapter_model.safetensors")
    stage = Stage.model_validate(STAGE)
    assert trained_parameters(read_shape(micro_base), stage) == sum(weight.numel() for weight in saved.values())
    dora = Stage.model_validate({**STAGE, "method": "dora"})
    assert trained_parameters(read_shape(micro_base), dora) > trained_parameters(read_shape(micro_base), stage)


def test_memory_and_disk_follow_the_published_formulas(tmp_path: Path) -> None:
    shape = KNOWN_SHAPES["Qwen2.5-VL-7B-Instruct"]
    launch = Path(__file__).parents[2] / "configs" / "launch"
    full = {"method": "full", "parts": {"vision": "train", "projector": "train"}, "deepspeed": launch / "zero2.json"}
    config = _job(tmp_path, tmp_path, full, weights="bfloat16", precision="bfloat16")
    needed = memory_bytes(shape, config, config.stages[0], processes=8, picture_share=0.5, answer_share=0.2)
    count = shape.parameters()
    assert needed["weights"] == 2 * count
    assert needed["gradients"] == 2 * count / 8
    assert needed["optimiser"] == 12 * count / 8
    sharded = config.stages[0].model_copy(update={"deepspeed": launch / "zero3.json"})
    third = memory_bytes(shape, config, sharded, processes=8, picture_share=0.5, answer_share=0.2)
    assert third["weights"] == 2 * count / 8
    offloaded = config.stages[0].model_copy(update={"deepspeed": launch / "zero3_offload.json"})
    least = memory_bytes(shape, config, offloaded, processes=8, picture_share=0.5, answer_share=0.2)
    assert least["weights"] == least["optimiser"] == 0
    again = config.stages[0].model_copy(update={"gradient_checkpointing": True})
    less = memory_bytes(shape, config, again, processes=8, picture_share=0.5, answer_share=0.2)
    assert less["activations"] < needed["activations"] / 5
    # 2 to 7 MB an image of 300 to 1,000 tokens at 7B.
    assert feature_bytes(shape, 300) == pytest.approx(2.15e6, rel=0.01)
    assert feature_bytes(shape, 1000) == pytest.approx(7.17e6, rel=0.01)
    assert disk_bytes(shape, config, config.stages[0], image_tokens=0)["model"] == 2 * count


# --- meter and report ------------------------------------------------------------------------------------------------


def _meter(folder: Path, **more: Any) -> TrainingMeter:
    folder.mkdir(exist_ok=True)
    return TrainingMeter(Run(folder), "one", **more)


def test_the_meter_counts_what_a_batch_holds(tmp_path: Path) -> None:
    meter = _meter(tmp_path / "run")
    meter._steps = 1
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    labels = torch.tensor([[-100, -100, 5, 6], [-100, 7, -100, -100]])
    meter.observe({
        "input_ids": torch.zeros(2, 4, dtype=torch.long), "attention_mask": mask, "labels": labels,
        "image_grid_thw": torch.tensor([[1, 2, 4]]),
    })  # fmt: skip
    found = meter.figures()
    assert found["tokens"] == 6
    assert found["padding_percent"] == pytest.approx(25)
    assert found["fill_percent"] == pytest.approx(75)
    assert found["answer_tokens_per_second"] == pytest.approx(3 / found["seconds"], rel=1e-4)
    assert found["images_per_second"] == pytest.approx(1 / found["seconds"], rel=1e-4)
    assert not [name for name in found if name.startswith("mfu")]

    packed = _meter(tmp_path / "run", capacity=10)
    packed._steps = 1
    text = torch.tensor([[0, 1, 2, 0, 1, 2, 3]])  # conversations of 3 and 4 tokens
    packed.observe({"input_ids": torch.zeros(1, 7, dtype=torch.long), "position_ids": text[None].repeat(4, 1, 1)})
    sums, world = packed._together()
    assert (sums["squares"], sums["tokens"], world) == (9 + 16, 7, 1)
    assert packed.figures()["fill_percent"] == pytest.approx(70)
    assert packed.figures()["padding_percent"] == 0


def test_mfu_stands_on_a_known_gpu_only(tmp_path: Path, samples: Path) -> None:
    assert dense_peak_tflops("NVIDIA H100 80GB HBM3") == 989.4
    assert dense_peak_tflops("NVIDIA H100 PCIe") == 756.0
    assert dense_peak_tflops("NVIDIA A100-SXM4-80GB") == 312.0
    assert dense_peak_tflops("Another GPU") is None
    shape = read_shape(samples / "nano_base")
    meter = _meter(tmp_path / "run", shape=shape)
    meter._steps, meter._peak = 1, 312.0
    meter.observe({"input_ids": torch.zeros(1, 100, dtype=torch.long), "attention_mask": torch.ones(1, 100)})
    found = meter.figures()
    language, _ = step_flops(shape, tokens=100, squares=10_000, patches=0, patch_squares=0, full=False)
    assert found["mfu_language_percent"] == pytest.approx(100 * language / (312e12 * found["seconds"]), rel=1e-4)
    assert found["mfu_vision_percent"] == 0


def test_a_run_leaves_figures_tensorboard_files_and_a_page(trained: Path) -> None:
    events = [json.loads(line) for line in (trained / "journal.jsonl").read_text().splitlines()]
    speeds = [event for event in events if event["event"] == "speed"]
    assert [event["step"] for event in speeds] == [1, 2, 3]
    assert all(event["tokens_per_second"] > 0 and 0 <= event["data_wait_percent"] <= 100 for event in speeds)
    assert all("mfu_percent" not in event for event in speeds)
    assert list((trained / "logs" / "one").glob("events.out.tfevents.*"))
    page = (trained / "report.md").read_text()
    assert "| one | 3 |" in page
    assert "no MFU on a CPU" in page
    assert (trained / "loss.png").read_bytes().startswith(b"\x89PNG")
    outputs = "".join(path.read_text() for path in (trained / "outputs").rglob("manifest.json"))
    assert "per_second" not in outputs
    before = (trained / "loss.png").read_bytes()
    write_report(trained)
    assert (trained / "loss.png").read_bytes() == before


def test_a_step_done_twice_is_shown_once_and_losses_that_are_none_are_said(tmp_path: Path) -> None:
    events = [{"event": "metrics", "stage": "one", "step": step, "loss": loss} for step, loss in
              ((1, 9.0), (2, 8.0), (2, 3.0), (3, "nan"))]  # fmt: skip
    events.append({"event": "resumed", "stage": "one", "checkpoint": "checkpoint-1"})
    lines = [json.dumps(event) for event in events]
    (tmp_path / "journal.jsonl").write_text("\n".join([*lines, '{"torn']))
    page = write_report(tmp_path).read_text()
    assert "| one | 3 | 9.0000 | nan | 3.0000 |  | 1 |" in page
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "journal.jsonl").write_text("")
    assert "No step was logged" in write_report(tmp_path / "empty").read_text()


def test_weights_and_biases_is_asked_for_by_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingPartError, match="wandb"):
        _meter(tmp_path / "run", wandb_project="spine")
    logged: list[dict[str, Any]] = []
    fake = types.SimpleNamespace(
        init=lambda **how: types.SimpleNamespace(log=lambda values, step: logged.append(values), finish=lambda: None)
    )
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.setattr("train.metrics._installed", lambda package: True)
    meter = _meter(tmp_path / "run", wandb_project="spine", tensorboard=False)
    state = types.SimpleNamespace(is_world_process_zero=True, global_step=1)
    arguments = types.SimpleNamespace(device=torch.device("cpu"))
    meter.on_train_begin(arguments, state, None)
    meter.observe({"input_ids": torch.zeros(1, 4, dtype=torch.long), "attention_mask": torch.ones(1, 4)})
    meter.on_step_begin(arguments, state, None)
    meter.on_step_end(arguments, state, None)
    meter.on_log(arguments, state, None, logs={"loss": 2.5})
    meter.on_train_end(arguments, state, None)
    assert logged[0]["one/loss"] == 2.5
    assert logged[0]["one/tokens"] == 4


# --- export ----------------------------------------------------------------------------------------------------------


def test_what_is_exported_answers_as_the_adapter_does(trained: Path, micro_base: Path, tmp_path: Path) -> None:
    adapter = trained / "outputs" / "adapter"
    merged, line = export_model(adapter, tmp_path / "merged", precision="float32")
    beside, serve = export_model(adapter, tmp_path / "beside", form="vllm-lora")
    assert line == f"vllm serve {merged}"
    assert serve.startswith(f"vllm serve {micro_base} --enable-lora --max-lora-rank 16 --lora-modules beside=")
    assert list(merged.glob("*.safetensors"))
    assert not list(merged.glob("*.bin"))
    _, processor = load_pair(micro_base)
    batch = _one_batch(processor)
    batch.pop("labels")
    with torch.inference_mode():
        logits = [load_model(path, merge=False)(**batch).logits for path in (adapter, merged, beside, micro_base)]
    assert torch.allclose(logits[0], logits[1], atol=1e-5)
    assert torch.equal(logits[0], logits[2])
    assert not torch.allclose(logits[0], logits[3], atol=1e-3)
    targets = json.loads((beside / "adapter_config.json").read_text())["target_modules"]
    assert all(".language_model." in target for target in targets)
    half, _ = export_model(trained / "outputs" / "model", tmp_path / "half")
    assert {weight.dtype for weight in load_file(half / "model.safetensors").values()} == {torch.bfloat16}


def test_adapters_that_a_server_would_cut_are_refused_with_the_reason(
    trained: Path, micro_base: Path, tmp_path: Path
) -> None:
    adapter = trained / "outputs" / "adapter"
    settings = json.loads((adapter / "adapter_config.json").read_text())
    weights = load_file(adapter / "adapter_model.safetensors")
    name = next(iter(weights))
    tower = name.replace("language_model.layers.0", "visual.blocks.0")
    cases: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor], str]] = {
        "tower": ({}, {**weights, tower: weights[name].clone()}, "adapt other parts than the language model"),
        "dora": ({"use_dora": True}, weights, "DoRA"),
        "whole": ({"modules_to_save": ["lm_head"]}, weights, "trained whole"),
        "rank": ({"r": 1024}, weights, "vLLM goes up to 512"),
        "zero": ({}, {key: torch.zeros_like(value) for key, value in weights.items()}, "holds no update"),
    }
    for case, (change, tensors, said) in cases.items():
        folder = tmp_path / case
        folder.mkdir()
        base = {"base_model_name_or_path": str(micro_base)}
        (folder / "adapter_config.json").write_text(json.dumps({**settings, **base, **change}))
        save_file(tensors, folder / "adapter_model.safetensors")
        with pytest.raises(ModelError, match=said) as caught:
            export_model(folder, tmp_path / f"{case}_out", form="vllm-lora")
        assert not (tmp_path / f"{case}_out").exists()
        assert case == "zero" or "--form merged" in str(caught.value)
    with pytest.raises(ModelError, match="no adapter_config"):
        export_model(trained / "outputs" / "model", tmp_path / "out", form="vllm-lora")
    with pytest.raises(ModelError, match="already exists"):
        export_model(adapter, tmp_path / "tower")


def test_shapes_of_other_families_are_refused_by_name(micro_base: Path, tmp_path: Path) -> None:
    values = json.loads((micro_base / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "model_type": "another"}))
    with pytest.raises(ModelError, match="family 'another'"):
        read_shape(tmp_path)
    shape = read_shape(micro_base)
    assert replace(shape.text, tied=False).parameters > shape.text.parameters
