"""How an evaluation is put into words and figures, once for the page and the terminal.

Convention: shares in percent with one decimal, coefficients with three, millimetres with two; an interval stands in
brackets behind or below its mean; what does not exist is a dash, never a zero.

Trap: an offset is a number of vertebrae with its sign: "+1" is one level too low, towards the feet.
"""

from __future__ import annotations

from collections.abc import Iterable

from bench.estimates import Estimate
from bench.verse.metrics import Metric, metric
from bench.verse.records import CaseScore
from bench.wording import DASH, interval_text, value_text, with_interval_text

__all__ = ["DASH", "case_words", "event_rows", "interval", "number", "title_of", "value", "with_interval"]

_PER_SCAN_TITLES = {
    "precision": "precision of labels",
    "f1": "F1 of labels",
    "official_dice": "Dice of all foreground (published rule)",
}

SHORT = {"identified": "id", "localisation_penalised_mm": "d", "dice": "Dice", "hd_penalised_mm": "HD"}
"""The ranked quantities in the terminal: identified, localisation error, Dice, Hausdorff; misses counted."""


def number(value: float) -> str:
    """A setting without needless zeros."""
    return f"{value:g}"


def _unit(name: str) -> str:
    return "%" if name in ("precision", "f1") else "" if name in _PER_SCAN_TITLES else metric(name).unit


def title_of(name: str) -> tuple[str, str]:
    """Title and unit of a quantity, also of those that exist per scan only."""
    if name in _PER_SCAN_TITLES:
        return _PER_SCAN_TITLES[name], _unit(name)
    one: Metric = metric(name)
    return one.title, one.unit


def value(name: str, found: float | None) -> str:
    """A value in its unit's digits."""
    return value_text(found, _unit(name))


def interval(name: str, one: Estimate) -> str:
    """The interval, or why there is none."""
    return interval_text(one, _unit(name))


def with_interval(name: str, one: Estimate) -> str:
    """A mean with its interval, if it has one."""
    return with_interval_text(one, _unit(name))


def event_rows(cases: Iterable[CaseScore]) -> list[dict[str, str]]:
    """One row per scan with wrong levels, the whole-spine shifts first, then by the number of vertebrae."""
    rows = []
    for case in cases:
        called = {wrong.level for wrong in case.wrong_levels}
        outlined = [wrong for wrong in case.wrong_outlines if wrong.level not in called]
        wrong = len(case.wrong_levels) + len(outlined)
        if not wrong and case.shift is None:
            continue
        if case.shift is not None:
            title = f"shift {case.shift:+d}"
        elif len(case.runs) == 1 and case.runs[0].vertebrae > 1:
            title = f"{case.runs[0].vertebrae} neighbours {case.runs[0].offset:+d}"
        else:
            title = f"{wrong} {'vertebra' if wrong == 1 else 'vertebrae'} wrong"
        parts = [f"{one.level} called {one.called} ({one.offset:+d})" for one in case.wrong_levels]
        parts += [f"{one.level} outlined as {one.called} ({one.offset:+d})" for one in outlined]
        hits = DASH if case.hits is None else f"{case.hits} of {len(case.levels)}"
        rows.append((case.shift is None, -wrong, case.case, title, ", ".join(parts), hits))
    rows.sort()
    return [{"case": name, "title": title, "detail": detail, "hits": hits} for _, _, name, title, detail, hits in rows]


def case_words(case: CaseScore) -> str:
    """One line about a scan."""
    parts = []
    if "dice" in case.means:
        parts.append(f"Dice {case.means['dice']:.3f}")
    if "hd_mm" in case.means:
        parts.append(f"Hausdorff {case.means['hd_mm']:.1f} mm (matched)")
    if case.hits is not None:
        parts.append(f"{case.hits} of {len(case.levels)} identified")
    if case.shift is not None:
        parts.append(f"shift {case.shift:+d}")
    if case.missed:
        parts.append(f"missed {', '.join(case.missed)}")
    counted = [extra.level for extra in case.extra if not extra.excuse]
    if counted:
        parts.append(f"extra {', '.join(counted)}")
    if case.anomaly:
        parts.append(f"anatomy: {', '.join(case.anomaly)}")
    return " · ".join(parts)
