"""How numbers and names are written, once for the page and the terminal.

Convention: shares in percent with one decimal, differences in percentage points with a sign, p values with two
significant digits and never as zero.

Trap: a missing bound is written as a dash, never as 0 or 100.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "condition_title",
    "level_group_title",
    "number",
    "number_interval",
    "p_text",
    "percent",
    "percent_interval",
    "points",
    "points_interval",
    "role_title",
    "row_title",
    "words",
]

_AXES = {
    "level_identification": "Level identification",
    "pathology": "Pathology",
    "surgical_planning": "Surgical planning",
}
_ROLES = {
    "subject": "fine-tuned model",
    "base": "base model, before",
    "blind": "same model, picture withheld",
    "blind of another model": "another model, picture withheld",
    "majority": "best constant answer",
    "random": "uniform random answer",
}
_CONDITIONS = {
    "full": "the question itself",
    "blind": "picture made grey",
    "withheld": "picture withheld",
    "other_patient": "picture of another patient",
    "shuffled_labels": "level labels shuffled",
    "options_only": "options only",
    "tools": "with tools",
}


def condition_title(condition: str) -> str:
    """What a condition does to the question."""
    if condition.startswith("rotated_"):
        return f"options moved on by {condition.removeprefix('rotated_')}"
    return _CONDITIONS.get(condition, words(condition))


def words(name: str) -> str:
    """A field name as words."""
    return name.replace("_", " ")


def row_title(row: Mapping[str, Any]) -> str:
    """Title of a table row."""
    axis = _AXES.get(row["axis"], words(row["axis"]))
    if row["whole_axis"]:
        return f"{axis}, all"
    return f"{axis}, {row['modality']}, {row['origin']}"


def level_group_title(group: str) -> str:
    """Title of a group of level questions, `level/image/phantom`."""
    kind, modality, origin = group.split("/")
    return f"{'Vertebrae' if kind == 'level' else 'Discs'}, {modality}, {origin}"


def role_title(role: str) -> str:
    """What a system is for in the comparison."""
    return _ROLES.get(role, role)


def percent(share: float | None) -> str:
    """A share in percent."""
    return "-" if share is None else f"{100 * share:.1f}"


def percent_interval(interval: Mapping[str, Any]) -> str:
    """Bounds in percent, or a dash where there is no interval."""
    if interval["low"] is None or interval["high"] is None:
        return "no interval"
    return f"{percent(interval['low'])}–{percent(interval['high'])}"


def points(difference: float | None) -> str:
    """A difference in percentage points, with its sign."""
    if difference is None:
        return "-"
    text = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def points_interval(result: Mapping[str, Any]) -> str:
    """Bounds of a difference in percentage points, or a dash where there is no interval."""
    if result["low"] is None or result["high"] is None:
        return "no interval"
    return f"{points(result['low'])} to {points(result['high'])}"


def p_text(value: float | None) -> str:
    """A p value."""
    if value is None:
        return "-"
    if value < 0.0001:
        return "< 0.0001"
    return f"{value:.2g}" if value < 0.995 else "1.0"


def number(value: float | None) -> str:
    """A figure in its own unit, with two decimals below 10 and one above."""
    if value is None:
        return "-"
    text = f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def number_interval(interval: Mapping[str, Any]) -> str:
    """Bounds of such a figure, or that there are none."""
    if interval["low"] is None or interval["high"] is None:
        return "no interval"
    return f"{number(interval['low'])} to {number(interval['high'])}"
