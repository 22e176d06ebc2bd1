"""Pseudo-healthy vertebrae, judged: made bodies and pictures against healthy ones, and the height loss they lead to.

`evaluate_folder` scores a folder of syntheses; `read_scores` reads what was written, `compare_scores` tests methods
against each other. The commands are `spinemed synthesis evaluate` and `spinemed synthesis compare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from bench.synthesis.compare import compare_scores
    from bench.synthesis.evaluate import evaluate_folder
    from bench.synthesis.records import Scores, read_scores

__all__ = ["Scores", "compare_scores", "evaluate_folder", "read_scores"]

__getattr__ = lazy_names(
    __name__,
    {
        "compare": "compare_scores",
        "evaluate": "evaluate_folder",
        "records": "Scores read_scores",
    },
)
