"""Packed is alone, in families of vision-language models made tiny from their configs; a family that leaks is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from spinemed.vlm.layout import IGNORE, Encoded
from train.packing import call_of, choose_call, collate_packed
from train.packing.attention import SEGMENTS, use_attention
from train.packing.isolation import measure_isolation

TEXT: dict[str, Any] = {
    "vocab_size": 120, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 512, "pad_token_id": 0,
}  # fmt: skip
SIGHT: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
IMAGE = 119


def family(name: str) -> tuple[Any, list[Encoded]]:
    """A tiny model of a family from its config, and three rows for it, made without a processor."""
    import transformers as hf

    torch.manual_seed(0)
    one = {"pixel_values": (1, 3, 32, 32)}
    if name in ("idefics3", "smolvlm"):
        kind = "Idefics3" if name == "idefics3" else "SmolVLM"
        config = getattr(hf, f"{kind}Config")(
            text_config={**TEXT, "model_type": "llama"}, vision_config=SIGHT, scale_factor=2, image_token_id=IMAGE
        )
        made, tokens, shapes = (
            getattr(hf, f"{kind}ForConditionalGeneration")(config),
            4,
            {"pixel_values": (1, 1, 3, 32, 32)},
        )
    elif name == "llava_onevision":
        config = hf.LlavaOnevisionConfig(
            text_config={**TEXT, "model_type": "qwen2"},
            vision_config={**SIGHT, "model_type": "siglip_vision_model", "vision_use_head": False},
            image_token_id=IMAGE, image_grid_pinpoints=[[32, 32]], vision_aspect_ratio="anyres_max_9",
        )  # fmt: skip
        made, tokens = hf.LlavaOnevisionForConditionalGeneration(config), 36
        shapes = {"pixel_values": (1, 2, 3, 32, 32), "image_sizes": (1, 2)}
    elif name == "internvl":
        config = hf.InternVLConfig(
            text_config={**TEXT, "model_type": "qwen2"}, image_token_id=IMAGE, downsample_ratio=0.5,
            vision_config={**SIGHT, "image_size": [32, 32], "patch_size": [8, 8]},
        )  # fmt: skip
        made, tokens, shapes = hf.InternVLForConditionalGeneration(config), 4, one
    elif name == "qwen2_5_vl":
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [4, 2, 2]}
        config = hf.Qwen2_5_VLConfig(
            text_config={**{k: v for k, v in TEXT.items() if k != "head_dim"}, "rope_parameters": rope},
            vision_config={
                "hidden_size": 32, "out_hidden_size": 32, "intermediate_size": 32, "depth": 2, "num_heads": 2,
                "patch_size": 8, "window_size": 32, "fullatt_block_indexes": [1],
            },
            image_token_id=IMAGE, video_token_id=118, vision_start_token_id=117, vision_end_token_id=116,
        )  # fmt: skip
        made, tokens, shapes = hf.Qwen2_5_VLForConditionalGeneration(config), 6, {"pixel_values": (24, 384)}
    else:
        config = hf.Gemma3Config(
            text_config={**TEXT, "sliding_window": 8}, vision_config={**SIGHT, "vision_use_head": False},
            mm_tokens_per_image=4, image_token_index=IMAGE,
        )  # fmt: skip
        made, tokens, shapes = hf.Gemma3ForConditionalGeneration(config), 4, one
    for weight in made.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.2)

    def row(length: int, picture: bool) -> Encoded:
        numbers = [1 + i * 7 % 100 for i in range(length)]
        ids = torch.tensor(numbers[:3] + [IMAGE] * (tokens * picture) + numbers[3:])
        labels = torch.full_like(ids, IGNORE)
        labels[-3:] = ids[-3:]
        vision = {key: torch.randn(shape) for key, shape in shapes.items()} if picture else {}
        if picture and "image_sizes" in vision:
            vision["image_sizes"] = torch.tensor([[32, 32]])
        kinds = {"gemma3": "token_type_ids", "qwen2_5_vl": "mm_token_type_ids"}
        if picture and name == "qwen2_5_vl":
            vision["image_grid_thw"] = torch.tensor([[1, 4, 6]])
        return Encoded(ids, labels, {kinds[name]: (ids == IMAGE).long()} if name in kinds else {}, vision)

    return made.eval(), [row(10, True), row(20, False), row(14, True)]


@pytest.mark.parametrize("name", ["qwen2_5_vl", "idefics3", "smolvlm", "llava_onevision", "internvl"])
def test_packed_is_alone(name: str) -> None:
    made, rows = family(name)
    found = choose_call(made, rows)
    assert found.call is not None, found.reason
    assert found.attention == SEGMENTS
    assert found.worst <= 1e-5
    assert found.family == made.config.model_type
    assert "no CUDA device" in found.tried["flash_attention_2"] or torch.cuda.is_available()
    for attention in ("sdpa", "eager"):  # the square mask that transformers makes from positions isolates as well
        use_attention(made, attention)
        assert measure_isolation(made, rows, replace(found.call, segments=False)) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_less_than_a_leak(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    from train.packing import isolation

    made, rows = family("qwen2_5_vl")
    made = made.to(dtype)
    half = [
        replace(row, vision={k: v.to(dtype) if v.is_floating_point() else v for k, v in row.vision.items()})
        for row in rows
    ]
    use_attention(made, "sdpa")
    call = call_of(made, segments=False)
    bound = isolation.TOLERANCE[dtype]
    assert measure_isolation(made, half, call) < bound / 4

    def three_rows(bins: Any, call: Any) -> dict[str, Any]:
        batch = collate_packed(bins, call)
        return {**batch, "position_ids": batch["position_ids"][1:]}

    monkeypatch.setattr(isolation, "collate_packed", three_rows)
    assert measure_isolation(made, half, call) > 4 * bound


def test_a_family_that_leaks_is_named_with_the_reason() -> None:
    made, rows = family("gemma3")
    before = made.config.get_text_config()._attn_implementation
    found = choose_call(made, rows)
    assert found.call is None
    assert found.reason.startswith("gemma3: samples of a packed row see each other")
    assert "sliding windows" in found.reason
    assert "padded and grouped by length" in found.reason
    assert made.config.get_text_config()._attn_implementation == before
