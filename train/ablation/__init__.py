"""What each part of the training data is worth: arms with equal budgets, one paired table.

Purpose: `ablate.py` is the job of `spinemed train ablate`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from train.ablation.ablate import AblateConfig, run_ablation
    from train.ablation.table import make_table, table_text

__all__ = ["AblateConfig", "make_table", "run_ablation", "table_text"]

__getattr__ = lazy_names(
    __name__,
    {
        "ablate": "AblateConfig run_ablation",
        "table": "make_table table_text",
    },
)
