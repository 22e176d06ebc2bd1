"""The guard: a sample in a packed row gets the logits that it gets alone, or the model is not packed.

Convention: :func:`choose_call` tries the calls that a machine and a model allow, fastest first, and takes the first
that isolates. Where none does, it says which model family fell back and why, and the trainer pads and groups by length.

Trap: only a measurement tells. Calls that leak run without a warning, train to a plausible loss, and differ from run to
run of the same data. In half precision the bound follows the format's rounding, which a leak exceeds by far.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from spinemed.errors import ModelError
from spinemed.records import Message
from spinemed.vlm.layout import Encoded, Layout, Refused
from train.packing.attention import SEGMENTS, flash_attention_reason, use_attention
from train.packing.collate import PackedCall, call_of, collate_packed

__all__ = ["Isolation", "choose_call", "measure_isolation", "probe_rows"]

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-5, torch.bfloat16: 0.25, torch.float16: 0.05}
"""Largest difference of a logit, packed against alone, in units of the logits' spread where that is above 1. On tiny
models rounding comes to 0.03 (bfloat16) and 0.007 (float16), a leak to 3.7 and more in every format."""


@dataclass(frozen=True)
class Isolation:
    """What the guard found.

    Attributes:
        family: `model_type` of the config.
        attention: What the language part runs with.
        call: How to call the model with a packed row; None where nothing isolates.
        worst: Largest difference of a logit in the chosen call, else in the best one.
        tried: Per attention, the largest difference or why it was not tried.
    """

    family: str
    attention: str
    call: PackedCall | None
    worst: float
    tried: dict[str, str]

    @property
    def reason(self) -> str:
        """One sentence for the journal and the report."""
        if self.call is not None:
            return f"{self.family}: packed = alone within {self.worst:.1e} with {self.attention}"
        found = "; ".join(f"{name}: {what}" for name, what in self.tried.items())
        return f"{self.family}: samples of a packed row see each other ({found}); rows are padded and grouped by length"


def probe_rows(layout: Layout) -> list[Encoded]:
    """Three short conversations, two of them with a picture, as rows to be packed.

    Raises:
        ModelError: The layout refuses them.
    """
    red = Image.new("RGB", (64, 48), (200, 30, 30))
    blue = Image.new("RGB", (48, 64), (30, 30, 200))
    blue.paste((240, 240, 240), (8, 8, 24, 40))
    rows = []
    for question, answer, pictures in (
        ("<image>\nWhich vertebra is marked?", "L1", [red]),
        ("What follows L1?", "The next one is L2.", []),
        ("<image>\nWhich disc is narrow, and how far?", "L4/L5", [blue]),
    ):
        turns = (Message(role="user", content=question), Message(role="assistant", content=answer))
        made = layout.encode(turns, pictures, training=True)
        if isinstance(made, Refused):
            raise ModelError(
                f"a short question is refused ({made.detail})", field="max_tokens", cure="raise max_tokens"
            )
        rows.append(made)
    return rows


def measure_isolation(model: Any, rows: Sequence[Encoded], call: PackedCall) -> float:
    """Largest difference of a logit between each row alone, called as anyone would, and the rows packed.

    In units of the logits' spread where that is above 1, so that a bound means the same for any model.

    Args:
        model: Run in evaluation mode, without dropout; left in the mode it was in.
        rows: At least two, so that there is something to leak.
        call: How the packed row is called; its answer-only logits are put aside here.

    Raises:
        ValueError: Fewer than two rows.
    """
    if len(rows) < 2:
        raise ValueError("one row has no neighbours to see")
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            batch = collate_packed([rows], replace(call, answer_logits=False, dummy=None))
            batch.pop("labels")
            packed = model(**_on(batch, device)).logits[0].double()
            worst, start = 0.0, 0
            for row in rows:
                alone = {
                    "input_ids": row.input_ids[None],
                    "attention_mask": torch.ones_like(row.input_ids)[None],
                    **{name: value[None] for name, value in row.sequence.items()},
                    **row.vision,
                }
                logits = model(**_on(alone, device), use_cache=False).logits[0].double()
                spread = max(1.0, float(logits.std()))
                worst = max(worst, float((packed[start : start + row.length] - logits).abs().max()) / spread)
                start += row.length
    finally:
        model.train(was_training)
    return worst


def choose_call(
    model: Any, rows: Sequence[Encoded], *, attention: str = "auto", answer_logits: bool = True
) -> Isolation:
    """The fastest call that isolates, with the model switched to its attention.

    Args:
        model: A transformers vision-language model; on its device, in its format.
        rows: Probes, from :func:`probe_rows`.
        attention: `auto`, or one of transformers' names: nothing else is tried then. `sdpa` also tries attention
            segment by segment, which is the same arithmetic without the square mask.
        answer_logits: Whether training will send only scored positions through the output layer.

    Returns:
        With `call` None where nothing isolates; the model then runs with the attention that it came with.
    """
    family = str(model.config.model_type)
    text = model.config.get_text_config()
    came_with = str(text._attn_implementation)
    dtype = next(parameter.dtype for parameter in model.parameters() if parameter.is_floating_point())
    bound = TOLERANCE.get(dtype, 1e-5)
    windows = any("sliding" in str(kind) for kind in getattr(text, "layer_types", None) or ())
    tried: dict[str, str] = {}
    best = float("inf")
    for name in _candidates(attention, dtype, windows, tried):
        call = call_of(model, segments=name != "eager", answer_logits=answer_logits)
        try:
            use_attention(model, name)
            worst = measure_isolation(model, rows, call)
        except (ValueError, TypeError, RuntimeError, ImportError, IndexError) as error:
            # A family may refuse the shape or the kernel; that is a finding, with its reason, not a failure of the run.
            tried[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"
            continue
        best = min(best, worst)
        tried[name] = f"off by {worst:.1e}"
        if worst <= bound:
            return Isolation(family, name, call, worst, tried)
    use_attention(model, came_with)
    return Isolation(family, came_with, None, best, tried)


def _candidates(attention: str, dtype: torch.dtype, windows: bool, tried: dict[str, str]) -> list[str]:
    names = {
        "auto": ["flash_attention_2", SEGMENTS, "sdpa"],
        "sdpa": [SEGMENTS, "sdpa"],
        "eager": ["eager"],
        "flash_attention_2": ["flash_attention_2"],
    }.get(attention, [attention])
    missing = flash_attention_reason()
    if missing is None and dtype not in (torch.bfloat16, torch.float16):
        missing = f"the weights are {str(dtype).removeprefix('torch.')}"
    if missing is not None and "flash_attention_2" in names:
        tried["flash_attention_2"] = missing
        names.remove("flash_attention_2")
    if windows and SEGMENTS in names:
        # Short probes would not show that segments forget the window.
        tried[SEGMENTS] = "the model attends in sliding windows"
        names.remove(SEGMENTS)
    return names


def _on(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
