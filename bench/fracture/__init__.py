"""Fracture grading, judged: predicted Genant grades against read ones, grade by grade and level by level.

`evaluate_grades` scores a folder of `grades.json`; `read_scores` reads what was written, `compare_scores` tests graders
against each other. The commands are `spinemed fracture evaluate` and `spinemed fracture compare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.fracture.compare import compare_scores
    from bench.fracture.evaluate import evaluate_grades
    from bench.fracture.records import Scores, read_scores
    from bench.fracture.reference import read_reference

__all__ = ["Scores", "compare_scores", "evaluate_grades", "read_reference", "read_scores"]

_HOMES = {
    "evaluate_grades": "evaluate",
    "compare_scores": "compare",
    "read_reference": "reference",
    "Scores": "records",
    "read_scores": "records",
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: the command line lists the verbs without importing what scores.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"bench.fracture.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
