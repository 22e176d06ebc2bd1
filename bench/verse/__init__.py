"""VerSe: labelling and segmentation of vertebrae, judged level by level.

`evaluate_case` scores one prediction, `evaluate_folder` a folder of them; `read_scores` reads what was written,
`compare_scores` tests algorithms against each other. The command is `spinemed verse`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from bench.verse.evaluate import evaluate_case, evaluate_folder
    from bench.verse.ranking import compare_scores
    from bench.verse.records import Scores, Settings, read_scores

__all__ = ["Scores", "Settings", "compare_scores", "evaluate_case", "evaluate_folder", "read_scores"]

__getattr__ = lazy_names(
    __name__,
    {
        "evaluate": "evaluate_case evaluate_folder",
        "ranking": "compare_scores",
        "records": "Scores Settings read_scores",
    },
)
