"""The published total: section scores weighted by their numbers of items.

Convention: scores in percent, from 0 to 100; the total is the sum of w_k P_k with w_k = items of section k over all
items (text questions 294, picture questions 193, reports 87 in the published benchmark). `plain_mean` is beside it,
because one published row is the plain mean of two columns.

Degenerate cases: a section without items weighs nothing and may have no score; no item at all gives None; a section
with items and no score gives None, never a total over the others.

Trap: a total over sections hides which of them moved; it is printed for comparability only and ranks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["item_weighted_total", "plain_mean"]


def item_weighted_total(scores: Mapping[str, float | None], items: Mapping[str, int]) -> float | None:
    """Item-weighted mean of section scores.

    Args:
        scores: Percent by section.
        items: Numbers of items by section.

    Raises:
        ValueError: Other sections in one than in the other, a negative number of items, or a score outside 0 to 100.
    """
    if set(scores) != set(items):
        raise ValueError(f"scores of {sorted(scores)} and items of {sorted(items)}")
    if any(count < 0 for count in items.values()):
        raise ValueError("a section has a negative number of items")
    if any(value is not None and not 0 <= value <= 100 for value in scores.values()):
        raise ValueError("a score lies between 0 and 100 percent")
    total = sum(items.values())
    parts = [(scores[section], count) for section, count in items.items() if count]
    if not total or any(value is None for value, _ in parts):
        return None
    return sum(value * count for value, count in parts if value is not None) / total


def plain_mean(scores: Mapping[str, float | None]) -> float | None:
    """Mean of section scores, each weighing the same; None where one is missing or there is none."""
    values = list(scores.values())
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
