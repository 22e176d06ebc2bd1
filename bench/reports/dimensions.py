"""The published ten dimensions of a report, from 1 to 5 in five sections, brought to one number.

Convention: the mean of each section, then twenty times the mean of the five section means: 20 to 100. The published
formula prints twenty times their *sum* (100 to 500); its published table fits twenty times the mean, which stands here.

Trap: the floor is 20, not 0. A dimension without a score has no total; it is never filled in. A reply that is no report
gets the floor from whoever averages, since leaving it out would reward a refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from spinemed.records import DIMENSIONS, REPORT_SECTIONS

__all__ = ["TOTAL_FLOOR", "dimension_total", "section_means"]

TOTAL_FLOOR = 20.0
"""Total of a report that earned 1 in each dimension."""


def section_means(scores: Mapping[str, int | float]) -> dict[str, float] | None:
    """Mean of each section; None where a dimension has no score.

    Raises:
        ValueError: A score outside 1 to 5, or a dimension that does not exist.
    """
    unknown = sorted(set(scores) - set(DIMENSIONS))
    if unknown:
        raise ValueError(f"no dimension is called {unknown[0]}")
    if any(not 1 <= score <= 5 for score in scores.values()):
        raise ValueError("scores run from 1 to 5")
    if set(scores) != set(DIMENSIONS):
        return None
    return {section: fmean(scores[name] for name in names) for section, names in REPORT_SECTIONS.items()}


def dimension_total(scores: Mapping[str, int | float]) -> float | None:
    """Twenty times the mean of the section means, 20 to 100; None where a dimension has no score."""
    sections = section_means(scores)
    return None if sections is None else 20.0 * fmean(sections.values())
