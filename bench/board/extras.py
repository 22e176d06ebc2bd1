"""Consultations, reports and judges beside the questions: their own scores folders as plain tables.

Convention: a folder of kind `consultation`, `reports` or `judges` holds `summary.json`; its layout is documented in the
package that writes it. Shown are, for each system, all rates that are intervals (value, low, high), then figures by
group. Those of `NUMBERS` (turns, errors a report) are shown as they are, all others in percent.

Trap: a key that a later version adds appears here by itself, as a column in its own words; a missing one is a dash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bench.board.wording import number, number_interval, percent, percent_interval, words
from spinemed.records import SPINE_ERRORS

__all__ = ["KINDS", "NUMBERS", "part_of"]

KINDS = {
    "consultation": (
        "Consultations",
        "A patient whose answers follow rules tells a fact only when asked and may hide a red flag. No judge is "
        "needed.",
    ),
    "reports": (
        "Reports",
        "Read by rule against the facts of the case: what was stated rightly, missed, invented, or given the wrong "
        "level, side or grade; errors are counts a report. Points are earned as in a signed rubric.",
    ),
    "judges": (
        "Judges",
        "A judge counts only after it passed an examination of doctored answers, and never for a system of its own "
        "family.",
    ),
}
NUMBERS = ("turns", "parts", "dimension_total", *SPINE_ERRORS)


def part_of(kind: str, summary: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """Title, lead and tables of one such folder."""
    title, lead = KINDS[kind]
    systems: Sequence[Mapping[str, Any]] = summary.get("systems") or []
    tables = []
    held = [(str(one["name"]), _intervals(one)) for one in systems]
    columns = sorted({name for _, own in held for name in own}, key=lambda name: (name != "points", name))
    if columns:
        lines = [[name, *(_cell(column, own.get(column)) for column in columns)] for name, own in held]
        clusters = summary.get("clusters")
        caption = "By system, with 95 % intervals" + (f" over {clusters} clusters" if clusters else "")
        tables.append({"caption": caption, "columns": ["system", *columns], "lines": lines})
    for group in dict.fromkeys(name for one in systems for name, value in one.items() if _is_group(value)):
        lines = []
        for one in systems:
            for key, own in one.get(group, {}).items():
                lines.append(
                    [f"{one['name']}: {words(str(key))}", *(_plain(name, value) for name, value in own.items())]
                )
        names = next(list(own) for one in systems for own in one.get(group, {}).values())
        tables.append({"caption": f"By {words(group)}", "columns": [group, *names], "lines": lines})
    if kind == "judges":
        tables.insert(0, _judges(summary))
        if not summary.get("rankable"):
            lead = f"{lead} These scores rank nobody: {summary.get('why_not') or 'too few judges count'}."
    return {"title": title, "lead": lead, "tables": tables, "sha256": sha256}


def _judges(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Who judged, whose word counts, and why not."""
    lines = [
        [
            str(one["name"]), str(one.get("model") or "-"), str(one.get("family") or "-"),
            "yes" if one.get("passed") else "no", "yes" if one.get("counts") else "no", str(one.get("why_not") or "-"),
            number(_value((one.get("rules") or {}).get("kappa"))),
        ]
        for one in summary.get("judges", [])
    ]  # fmt: skip
    columns = ["judge", "model", "family", "passed the examination", "counts", "why not", "kappa with the facts"]
    return {"caption": "Who judged", "columns": columns, "lines": lines}


def _value(own: Any) -> Any:
    """The figure of an interval, or a plain one."""
    return own.get("value") if isinstance(own, Mapping) else own


def _intervals(system: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Intervals of a system, wherever one level down they stand."""
    found = {name: value for name, value in system.items() if _is_interval(value)}
    for value in system.values():
        if isinstance(value, Mapping) and not _is_interval(value) and not _is_group(value):
            found |= {name: inner for name, inner in value.items() if _is_interval(inner)}
    return found


def _is_interval(value: Any) -> bool:
    return isinstance(value, Mapping) and {"value", "low", "high"} <= set(value)


def _is_group(value: Any) -> bool:
    """Whether a mapping is of rows of plain figures that all have the same columns."""
    if not isinstance(value, Mapping) or not value or not all(isinstance(one, Mapping) for one in value.values()):
        return False
    rows = list(value.values())
    same = all(set(one) == set(rows[0]) for one in rows)
    return (
        same
        and bool(rows[0])
        and not any(_is_interval(one) or "value" in one for one in rows)
        and all(inner is None or isinstance(inner, int | float) for one in rows for inner in one.values())
    )


def _cell(column: str, own: Mapping[str, Any] | None) -> Any:
    if own is None:
        return "-"
    if column in NUMBERS:
        return {"value": number(own["value"]), "bounds": number_interval(own)}
    return {"value": percent(own["value"]), "bounds": percent_interval(own)}


def _plain(name: str, value: Any) -> str:
    if value is None:
        return "-"
    return f"{value}" if isinstance(value, int) else number(value) if name in NUMBERS else percent(value)
