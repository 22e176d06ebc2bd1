"""A small base model from nothing: nano weights, dense targets from masks, then captions.

Purpose: `warmup.py` is the recipe of `spinemed train warmup`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from train.base.nano import NanoConfig, NanoText, NanoVision, build_model, build_processor
    from train.base.warmup import WarmupConfig, run_warmup

__all__ = ["NanoConfig", "NanoText", "NanoVision", "WarmupConfig", "build_model", "build_processor", "run_warmup"]

__getattr__ = lazy_names(
    __name__,
    {
        "nano": "NanoConfig NanoText NanoVision build_model build_processor",
        "warmup": "WarmupConfig run_warmup",
    },
)
