"""Fracture grading, judged: predicted Genant grades against read ones, grade by grade and level by level.

`evaluate_grades` scores a folder of `grades.json`; `read_scores` reads what was written, `compare_scores` tests graders
against each other. The commands are `spinemed fracture evaluate` and `spinemed fracture compare`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from bench.fracture.compare import compare_scores
    from bench.fracture.evaluate import evaluate_grades
    from bench.fracture.records import Scores, read_scores
    from bench.fracture.reference import read_reference

__all__ = ["Scores", "compare_scores", "evaluate_grades", "read_reference", "read_scores"]

__getattr__ = lazy_names(
    __name__,
    {
        "compare": "compare_scores",
        "evaluate": "evaluate_grades",
        "records": "Scores read_scores",
        "reference": "read_reference",
    },
)
