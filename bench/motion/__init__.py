"""Spine motion, judged: predicted points, pictures and angles against simulated truth, level by level.

`evaluate_folder` scores a folder of predictions; `read_scores` reads what was written, `compare_scores` tests methods
against each other. The commands are `spinemed motion evaluate` and `spinemed motion compare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.motion.compare import compare_scores
    from bench.motion.evaluate import evaluate_folder
    from bench.motion.records import Scores, Settings, read_scores

__all__ = ["Scores", "Settings", "compare_scores", "evaluate_folder", "read_scores"]

_HOMES = {
    "evaluate_folder": "evaluate",
    "compare_scores": "compare",
    "Scores": "records",
    "Settings": "records",
    "read_scores": "records",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the command line lists the verbs without importing what scores.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"bench.motion.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
