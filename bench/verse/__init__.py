"""VerSe: labelling and segmentation of vertebrae, judged level by level.

`evaluate_case` scores one prediction, `evaluate_folder` a folder of them; `read_scores` reads what was written,
`compare_scores` tests algorithms against each other. The command is `spinemed verse`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.verse.evaluate import evaluate_case, evaluate_folder
    from bench.verse.ranking import compare_scores
    from bench.verse.records import Scores, Settings, read_scores

__all__ = ["Scores", "Settings", "compare_scores", "evaluate_case", "evaluate_folder", "read_scores"]

_HOMES = {
    "evaluate_case": "evaluate",
    "evaluate_folder": "evaluate",
    "compare_scores": "ranking",
    "Scores": "records",
    "Settings": "records",
    "read_scores": "records",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the scoring kernels take seconds to import, and single modules here need none of them.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"bench.verse.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
