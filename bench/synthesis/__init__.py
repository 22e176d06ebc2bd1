"""Pseudo-healthy vertebrae, judged: made bodies and pictures against healthy ones, and the height loss they lead to.

`evaluate_folder` scores a folder of syntheses; `read_scores` reads what was written, `compare_scores` tests methods
against each other. The commands are `spinemed synthesis evaluate` and `spinemed synthesis compare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.synthesis.compare import compare_scores
    from bench.synthesis.evaluate import evaluate_folder
    from bench.synthesis.records import Scores, read_scores

__all__ = ["Scores", "compare_scores", "evaluate_folder", "read_scores"]

_HOMES = {
    "evaluate_folder": "evaluate",
    "compare_scores": "compare",
    "Scores": "records",
    "read_scores": "records",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the command line lists the verbs without importing what scores.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"bench.synthesis.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
