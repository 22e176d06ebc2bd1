"""Spine motion, judged: predicted points, pictures and angles against simulated truth, level by level.

`evaluate_folder` scores a folder of predictions; `read_scores` reads what was written, `compare_scores` tests methods
against each other. The commands are `spinemed motion evaluate` and `spinemed motion compare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from bench.motion.compare import compare_scores
    from bench.motion.evaluate import evaluate_folder
    from bench.motion.records import Scores, Settings, read_scores

__all__ = ["Scores", "Settings", "compare_scores", "evaluate_folder", "read_scores"]

__getattr__ = lazy_names(
    __name__,
    {
        "compare": "compare_scores",
        "evaluate": "evaluate_folder",
        "records": "Scores Settings read_scores",
    },
)
