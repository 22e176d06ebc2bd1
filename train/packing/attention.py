"""Attention that stays inside its segment: the kernels that a packed row can be run with.

Convention: segments are given as `cu_seq_lens_q`, the running sum of their lengths from 0, under the same names that
FlashAttention's varlen kernel takes; so one batch serves both. `segments` below is for machines without that
kernel: it runs the ordinary causal attention on each segment alone, so work grows with the sum of squared segment
lengths and no square mask of the whole row is made. Where no segments are given they are read off the text positions,
which start again at 0.

On a GPU in half precision the segments go through PyTorch's own varlen FlashAttention in one call, where this PyTorch
has it (`torch.nn.attention.varlen`, no package needed); elsewhere they are gone through one by one.

Trap: a padding mask means that the batch is padded, not packed; such a batch goes the ordinary way.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

__all__ = [
    "SEGMENTS",
    "flash_attention_reason",
    "register_segments",
    "segment_lengths",
    "use_attention",
    "varlen_kernel",
]

SEGMENTS = "spinemed_segments"
"""Name under which transformers finds the attention."""


def segment_lengths(position_ids: torch.Tensor) -> list[int]:
    """Lengths of the segments of one row of text positions: a new one starts wherever positions do not go up by 1.

    Args:
        position_ids: (1, length).
    """
    starts = torch.nonzero(torch.diff(position_ids[0]) != 1).flatten() + 1
    edges = [0, *starts.tolist(), position_ids.shape[1]]
    return [b - a for a, b in pairwise(edges)]


def _segments_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention on each segment alone. Query (1, heads, length, size) to (1, length, heads, size)."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    edges, positions = kwargs.get("cu_seq_lens_q"), kwargs.get("position_ids")
    one_row = query.shape[0] == 1 and query.shape[2] == key.shape[2] and attention_mask is None
    if one_row and edges is not None and len(edges) > 2 and not dropout and _half_on_gpu(query):
        longest = kwargs.get("max_length_q") or int(edges.diff().max())
        return _varlen(query, key, value, edges, int(longest), scaling), None
    if one_row and edges is not None:
        lengths = edges.diff().tolist()
    elif one_row and positions is not None and positions.shape[-1] == query.shape[2]:
        lengths = segment_lengths(positions.reshape(1, -1))
    else:
        lengths = []
    if len(lengths) < 2:
        made, _ = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return made, None
    groups = query.shape[1] // key.shape[1]
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            q, k, v, dropout_p=dropout, scale=scaling, is_causal=True, enable_gqa=groups > 1
        )
        for q, k, v in zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _half_on_gpu(query: torch.Tensor) -> bool:
    return query.is_cuda and query.dtype in (torch.bfloat16, torch.float16) and varlen_kernel() is not None


@functools.cache
def varlen_kernel() -> Callable[..., Any] | None:
    """PyTorch's varlen attention, None where this PyTorch has none that can be told to look back only."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    kernel: Callable[..., Any] = varlen_attn
    return kernel if {"window_size", "is_causal"} & set(inspect.signature(varlen_attn).parameters) else None


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    edges: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    """All segments in one kernel: (1, heads, length, size) to (1, length, heads, size). Nothing waits for the GPU."""
    kernel = varlen_kernel()
    assert kernel is not None
    takes = inspect.signature(kernel).parameters
    edges = edges.to(query.device, torch.int32)
    groups = query.shape[1] // key.shape[1]
    options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in takes else {"is_causal": True}
    if groups > 1 and "enable_gqa" in takes:
        options["enable_gqa"] = True
    elif groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    if scaling is not None and "scale" in takes:
        options["scale"] = scaling
    elif scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    flat = [part[0].transpose(0, 1).contiguous() for part in (query, key, value)]
    made: torch.Tensor = kernel(*flat, edges, edges, longest, longest, **options)
    return made[None]


def _segments_mask(
    *args: Any, attention_mask: torch.Tensor | None = None, local_size: int | None = None, **kwargs: Any
) -> torch.Tensor | None:
    """No mask where segments alone decide; the ordinary one for padded rows and sliding windows."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is None and local_size is None:
        return None
    made: torch.Tensor | None = sdpa_mask(*args, attention_mask=attention_mask, local_size=local_size, **kwargs)
    return made


def register_segments() -> str:
    """Make the attention known to transformers under its name. May be called often."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(SEGMENTS, _segments_attention)
    AttentionMaskInterface.register(SEGMENTS, _segments_mask)
    return SEGMENTS


def flash_attention_reason() -> str | None:
    """Why FlashAttention's varlen kernel cannot be used here; None where it can."""
    from transformers.utils import is_flash_attn_2_available

    if not torch.cuda.is_available():
        return "no CUDA device"
    if not is_flash_attn_2_available():
        return "the package flash-attn is not installed"
    return None


def use_attention(model: Any, name: str) -> None:
    """Run the language part of a model with one attention.

    The vision tower keeps its own, which isolates pictures already; with FlashAttention it is switched as well.

    Raises:
        ValueError: transformers does not know the attention, or the model cannot take it.
    """
    if name == SEGMENTS:
        register_segments()
    config = model.config
    if name != "flash_attention_2" and "text_config" in getattr(config, "sub_configs", {}):
        model.set_attn_implementation({"text_config": name})
    else:
        model.set_attn_implementation(name)
