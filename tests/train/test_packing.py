"""A packed sample gets the logits and the loss that it gets alone, in every family that says so; others are named."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from spinemed.errors import RecordError
from spinemed.marks import png_bytes
from spinemed.records import Message, PackedImage
from spinemed.vlm.layout import IGNORE, Encoded, Layout, Measured, Refused
from train.packing import MeasuredRows, PackedRows, call_of, choose_call, collate_packed, plan_bins, probe_rows
from train.packing.attention import SEGMENTS, segment_lengths, use_attention
from train.packing.collate import rotary_positions
from train.trainer import answer_loss


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    """A Qwen3-VL of a few thousand weights, with weights large enough for a leak to show, and its processor."""
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
    return build_model(config, processor).eval(), processor


@pytest.fixture
def layout(tiny: tuple[Any, Any]) -> Layout:
    return Layout(tiny[1], max_tokens=512)


@pytest.fixture
def model(tiny: tuple[Any, Any]) -> Any:
    use_attention(tiny[0], "sdpa")
    return tiny[0].eval()


def release_row(number: int, answer: str, picture: tuple[int, int] | None) -> Any:
    images: tuple[PackedImage, ...] = ()
    question = f"What follows number {number}?"
    if picture is not None:
        data = png_bytes(np.random.default_rng(number).integers(0, 256, picture, dtype=np.uint8))
        images = (PackedImage(bytes=data, path=f"{number}.png"),)
        question = "<image>\n" + question
    turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
    return SimpleNamespace(id=f"row-{number}", messages=turns, images=images)


def rows_of(count: int) -> list[Any]:
    return [release_row(n, "L2 " * (1 + n % 5), (32 + 16 * (n % 3), 64) if n % 2 else None) for n in range(count)]


# --- the call -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["auto", "sdpa", "eager"])
def test_qwen3_packs_with_every_attention(model: Any, layout: Layout, attention: str) -> None:
    found = choose_call(model, probe_rows(layout), attention=attention)
    assert found.call is not None, found.reason
    assert found.call.positions == "rotary"
    assert found.worst <= 1e-5


@pytest.mark.parametrize("wrong", ["three rows", "all-ones mask", "cache", "none"])
def test_other_shapes_leak_and_the_guard_sees_it(model: Any, layout: Layout, wrong: str) -> None:
    """The control: what the guard measures is large for the shapes that a model takes without a word."""
    rows = probe_rows(layout)
    call = call_of(model, segments=False, answer_logits=False)
    batch = collate_packed([rows], call)
    batch.pop("labels")
    if wrong == "three rows":
        batch["position_ids"] = batch["position_ids"][1:]
    elif wrong == "all-ones mask":
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
    elif wrong == "cache":
        batch["use_cache"] = True
    else:
        del batch["position_ids"]
        batch["mm_token_type_ids"] = torch.cat([row.sequence["mm_token_type_ids"] for row in rows])[None]
    with torch.no_grad():
        packed = model(**batch).logits[0, rows[0].length : rows[0].length + rows[1].length]
        alone = model(input_ids=rows[1].input_ids[None], use_cache=False).logits[0]
    assert float((packed - alone).abs().max()) > 0.01


def test_rotary_positions_are_the_models(model: Any, layout: Layout) -> None:
    question = Message(role="user", content="<image>\nbefore<image>\nWhich disc is narrow?")
    pictures = [Image.new("RGB", (64, 32)), Image.new("RGB", (32, 48))]
    two = layout.encode((question, Message(role="assistant", content="L4/L5")), pictures, training=True)
    assert isinstance(two, Encoded)
    call = call_of(model)
    for row in (*probe_rows(layout), two):
        grids = row.vision.get("image_grid_thw")
        wanted, _ = model.model.get_rope_index(
            row.input_ids[None], row.sequence["mm_token_type_ids"][None], image_grid_thw=grids
        )
        found = rotary_positions(
            row.input_ids.numpy(), None if grids is None else grids.numpy(), image_token=call.image_token,
            merge=call.merge,
        )  # fmt: skip
        assert np.array_equal(found, wanted[:, 0].numpy())


def test_positions_refuse_pictures_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="3 picture tokens for grids of 4"):
        rotary_positions(np.array([1, 9, 9, 9, 2]), np.array([[1, 4, 4]]), image_token=9, merge=2)


# --- loss -------------------------------------------------------------------------------------------------------------


def loss_of(model: Any, batch: dict[str, Any]) -> tuple[float, torch.Tensor]:
    """Loss, and the gradient of the output layer and of the first attention together."""
    model.zero_grad()
    labels = batch["labels"]
    loss = answer_loss(model(**{k: v for k, v in batch.items() if k != "labels"}), labels)
    loss.backward()
    text = model.model.language_model
    weights = [text.layers[0].self_attn.q_proj.weight, text.embed_tokens.weight]
    return float(loss.detach()), torch.cat([weight.grad.flatten() for weight in weights])


@pytest.mark.parametrize("answer_logits", [True, False])
def test_packed_loss_and_gradient_are_the_padded_ones(model: Any, layout: Layout, answer_logits: bool) -> None:
    rows = MeasuredRows(rows_of(6), layout)
    items = [rows[n] for n in range(6)]
    padded, gradient = loss_of(model, layout.collate(items, training=True))
    found = choose_call(model, probe_rows(layout), answer_logits=answer_logits)
    assert found.call is not None
    batch = collate_packed([items[:2], items[2:]], found.call)
    assert int((batch["labels"] != IGNORE).sum()) == sum(item.answer_tokens for item in items)
    packed, same = loss_of(model, batch)
    assert packed == pytest.approx(padded, abs=1e-5)
    assert torch.allclose(gradient, same, atol=1e-5)


def test_a_padded_batch_still_works_with_the_segment_attention(model: Any, layout: Layout) -> None:
    items = probe_rows(layout)
    batch = layout.collate(items, training=True)
    plain, _ = loss_of(model, batch)
    use_attention(model, SEGMENTS)
    assert loss_of(model, batch)[0] == pytest.approx(plain, abs=1e-5)


def test_a_dummy_picture_moves_nothing_but_calls_the_tower(model: Any, layout: Layout) -> None:
    texts = [row for row in probe_rows(layout) if not row.vision]
    call = call_of(model)
    use_attention(model, SEGMENTS)
    without, gradient = loss_of(model, collate_packed([texts], call))
    assert model.model.visual.blocks[0].attn.proj.weight.grad is None
    batch = collate_packed([texts], replace(call, dummy=layout.dummy()))
    assert batch["pixel_values"].shape[0] > 0
    with_dummy, same = loss_of(model, batch)
    assert with_dummy == pytest.approx(without, abs=1e-6)
    assert torch.allclose(gradient, same, atol=1e-6)
    tower = model.model.visual.blocks[0].attn.proj.weight.grad
    assert tower is not None
    assert not tower.any()
    use_attention(model, "sdpa")
    padded = layout.collate(texts, training=True)
    assert "pixel_values" not in padded
    filled = layout.collate([*texts, layout.dummy()], training=True)
    assert loss_of(model, filled)[0] == pytest.approx(loss_of(model, padded)[0], abs=1e-6)


def test_pictures_make_a_dummy_needless(model: Any, layout: Layout) -> None:
    rows = probe_rows(layout)
    call = call_of(model)
    with_pictures = collate_packed([rows], replace(call, dummy=layout.dummy()))
    assert torch.equal(with_pictures["input_ids"], collate_packed([rows], call)["input_ids"])


def test_kernels_are_told_where_segments_end(model: Any, layout: Layout) -> None:
    """FlashAttention's varlen kernel and ours take the same numbers, under transformers' names."""
    from transformers.modeling_flash_attention_utils import FlashAttentionKwargs

    rows = probe_rows(layout)
    batch = collate_packed([rows[:1], rows[1:]], call_of(model))
    assert set(FlashAttentionKwargs.__annotations__) <= batch.keys()
    lengths = [row.length for row in rows]
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert batch["cu_seq_lens_q"].tolist() == [0, *np.cumsum(lengths).tolist()]
    assert batch["max_length_q"] == batch["max_length_k"] == max(lengths)
    assert segment_lengths(batch["position_ids"][0]) == lengths
    assert "attention_mask" not in batch
    assert batch["use_cache"] is False


def test_an_empty_bin_and_an_unlabelled_row_are_refused(model: Any, layout: Layout) -> None:
    call = call_of(model)
    with pytest.raises(ValueError, match="empty bin"):
        collate_packed([[]], call)
    row = probe_rows(layout)[0]
    with pytest.raises(ValueError, match="without labels"):
        collate_packed([[Encoded(row.input_ids, None, row.sequence, row.vision)]], call)


# --- measuring --------------------------------------------------------------------------------------------------------


def test_lengths_are_measured_without_decoding_a_pixel(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(9)
    decoded = [layout.encode(row.messages, [image.bytes for image in row.images], training=True) for row in rows]

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a picture was decoded")

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "load", refuse)
        patch.setattr("PIL.ImageFile.ImageFile.load", refuse)
        measured = MeasuredRows(rows, layout)
    assert measured.lengths == [item.length for item in decoded if isinstance(item, Encoded)]
    assert measured.answers == [item.answer_tokens for item in decoded if isinstance(item, Encoded)]
    assert not measured.dropped


def test_bins_are_made_of_the_rows_that_were_planned(layout: Layout) -> None:
    measured = MeasuredRows(rows_of(9), layout, cache_mb=10)
    bins = plan_bins(measured.lengths, capacity=200, seed=0)
    packed = PackedRows(measured, bins)
    assert sum(len(bin) for bin in packed) == 9
    again = [row for place in range(len(packed)) for row in packed[place]]  # pictures now come from memory
    for row, number in zip(again, [n for bin in bins.rows for n in bin], strict=True):
        fresh = layout.encode(
            measured.kept[number].messages, [i.bytes for i in measured.kept[number].images], training=True
        )
        assert isinstance(fresh, Encoded)
        assert torch.equal(row.input_ids, fresh.input_ids)
        assert torch.equal(row.labels, fresh.labels)
        assert torch.equal(row.sequence["mm_token_type_ids"], fresh.sequence["mm_token_type_ids"])
        assert row.vision.keys() == fresh.vision.keys()
        assert all(torch.equal(row.vision[name], fresh.vision[name]) for name in row.vision)
    changed = MeasuredRows(rows_of(9)[::-1], layout)
    with pytest.raises(ValueError, match="were planned"):
        list(PackedRows(changed, bins))


def test_a_picture_broken_behind_its_header_is_named(layout: Layout) -> None:
    row = release_row(1, "L2", (64, 64))
    broken = PackedImage(bytes=row.images[0].bytes[:400], path="1.png")
    measured = MeasuredRows([SimpleNamespace(id="row-1", messages=row.messages, images=(broken,))], layout)
    with pytest.raises(RecordError, match="row-1"):
        measured[0]


def test_what_is_no_picture_is_left_out_and_counted(layout: Layout) -> None:
    row = release_row(1, "L2", (64, 64))
    fake = SimpleNamespace(id="fake", messages=row.messages, images=(PackedImage(bytes=b"no picture", path="x"),))
    measured = MeasuredRows([row, fake], layout)
    assert [kept.id for kept in measured.kept] == ["row-1"]
    assert measured.dropped == {"unreadable_picture": 1}


# --- lowering ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def wide(tiny: tuple[Any, Any]) -> Any:
    """The processor with pictures of up to 256 px, so that there is something to lower."""
    from train.base.nano import NanoConfig, NanoText, NanoVision, build_processor

    config = NanoConfig(
        vision=NanoVision(
            patch_px=8, hidden=16, depth=1, heads=1, mlp=32, deepstack=(0,), image_px=256, min_px=16, max_px=256
        ),
        text=NanoText(hidden=32, layers=1, heads=1, kv_heads=1, mlp=32, max_tokens=512, vocabulary=400),
    )  # fmt: skip
    return build_processor(config, ["Which vertebra is marked? Answer with the level."])


def test_pictures_are_lowered_until_the_row_fits_and_nothing_is_cut(wide: Any) -> None:
    row = release_row(1, "L2 " * 5, (256, 192))
    free = Layout(wide, max_tokens=512).measure(row.messages, [(192, 256)])
    assert isinstance(free, Measured)
    assert not free.lowered
    tight = Layout(wide, max_tokens=120, min_pixels=64 * 64)
    planned = tight.measure(row.messages, [(192, 256)])
    assert isinstance(planned, Measured)
    assert planned.lowered
    assert planned.length <= 120 < free.length
    assert planned.answer == free.answer
    (width, height) = planned.sizes[0]
    assert width * height >= 64 * 64 * 0.95
    assert width / height == pytest.approx(192 / 256, rel=0.05)
    made = tight.encode(row.messages, [row.images[0].bytes], training=True)
    assert isinstance(made, Encoded)
    assert made.length == planned.length
    assert made.answer_tokens == planned.answer


def test_below_the_floor_the_row_is_dropped_and_counted(wide: Any) -> None:
    layout = Layout(wide, max_tokens=120, min_pixels=224 * 224)
    measured = MeasuredRows([release_row(1, "L2", (256, 256)), release_row(2, "L2", None)], layout)
    assert measured.dropped == {"too_long": 1}
    refused = layout.measure(release_row(1, "L2", (256, 256)).messages, [(256, 256)])
    assert isinstance(refused, Refused)
    assert "with pictures of 50176 pixels" in refused.detail


def test_pictures_are_told_apart_by_bytes_and_size_not_by_name(wide: Any) -> None:
    from train.rows import TrainingRows

    long, short = release_row(1, "L2 " * 30, (256, 192)), release_row(1, "L2", (256, 192))
    other = release_row(3, "L2", (256, 192))
    named = PackedImage(bytes=other.images[0].bytes, path="1.png")
    rows = [long, short, SimpleNamespace(id="other", messages=other.messages, images=(named,))]
    whole = Layout(wide, max_tokens=512).measure(short.messages, [(192, 256)])
    assert isinstance(whole, Measured)
    layout = Layout(wide, max_tokens=whole.length, min_pixels=64 * 64)
    laid_out = [layout.encode(row.messages, [image.bytes for image in row.images], training=True) for row in rows]
    measured = MeasuredRows(rows, layout, cache_mb=10)
    assert measured.lowered == 1
    assert len({item.vision["pixel_values"].shape for item in laid_out if isinstance(item, Encoded)}) == 2
    for data in (measured, TrainingRows(rows, layout, cache_mb=10)):
        for made in ([data[number] for number in range(3)], [data[number] for number in range(3)]):  # then from memory
            for own, fresh in zip(made, laid_out, strict=True):
                assert isinstance(fresh, Encoded)
                assert torch.equal(own.input_ids, fresh.input_ids)
                assert torch.equal(own.vision["pixel_values"], fresh.vision["pixel_values"])


def test_a_largest_picture_bounds_all(wide: Any) -> None:
    row = release_row(1, "L2", (256, 256))
    layout = Layout(wide, max_tokens=512, max_pixels=128 * 128)
    made = layout.encode(row.messages, [row.images[0].bytes], training=True)
    assert isinstance(made, Encoded)
    assert made.vision["image_grid_thw"].tolist() == [[1, 16, 16]]
    measured = layout.measure(row.messages, [(256, 256)])
    assert isinstance(measured, Measured)
    assert measured.length == made.length
    assert not measured.lowered


# --- a GPU's kernels, as far as a CPU can tell ------------------------------------------------------------------------


@pytest.mark.parametrize("signature", ["window, groups, scale", "causal flag only"])
def test_the_varlen_kernel_is_called_as_it_asks(
    model: Any, layout: Layout, monkeypatch: pytest.MonkeyPatch, signature: str
) -> None:
    """Every PyTorch names the same arguments differently; with either, packed is alone."""
    from train.packing import attention

    calls = []

    def each(q: Any, k: Any, v: Any, edges: Any, **options: Any) -> Any:
        parts = [
            torch.nn.functional.scaled_dot_product_attention(
                *(part[a:b].transpose(0, 1)[None] for part in (q, k, v)), is_causal=True, **options
            )
            for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
        ]
        calls.append(len(parts))
        return torch.cat(parts, dim=2)[0].transpose(0, 1)

    def newer(
        q: Any, k: Any, v: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, *, scale: float | None = None,
        window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False,
    ) -> Any:  # fmt: skip
        assert window_size == (-1, 0)
        assert cu_seq_q.dtype == torch.int32
        assert max_q == int(cu_seq_q.diff().max())
        return each(q, k, v, cu_seq_q, scale=scale, enable_gqa=enable_gqa)

    def older(
        q: Any, k: Any, v: Any, cu_seq_q: Any, cu_seq_k: Any, max_q: int, max_k: int, is_causal: bool = False
    ) -> Any:
        assert is_causal
        assert q.shape == k.shape
        return each(q, k, v, cu_seq_q)

    kernel = newer if signature.startswith("window") else older
    monkeypatch.setattr(attention, "varlen_kernel", lambda: kernel)
    monkeypatch.setattr(attention, "_half_on_gpu", lambda query: True)
    found = choose_call(model, probe_rows(layout))
    assert found.call is not None, found.reason
    assert found.worst <= 1e-5
    assert set(calls) == {3}


def test_this_pytorch_has_a_varlen_kernel_of_a_known_signature() -> None:
    from train.packing.attention import varlen_kernel

    pytest.importorskip("torch.nn.attention.varlen")
    assert varlen_kernel() is not None
