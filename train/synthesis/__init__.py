"""Trainers of the synthesisers of healthy vertebrae; the networks themselves live in `spinemed.vertebra.synthesis`.

Purpose: `synthesiser.py` is the job of `spinemed train synthesis`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from train.synthesis.spines import PhantomSpines
    from train.synthesis.synthesiser import SynthesisConfig, run_synthesis

__all__ = ["PhantomSpines", "SynthesisConfig", "run_synthesis"]

__getattr__ = lazy_names(
    __name__,
    {
        "spines": "PhantomSpines",
        "synthesiser": "SynthesisConfig run_synthesis",
    },
)
