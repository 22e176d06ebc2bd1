"""The pages of an evaluation and of a comparison of graders: static HTML files that need nothing but a browser.

Convention: every number is read from the scores and only formatted here; plots are PNG inside the page. No clock time
and no absolute path, so equal files give equal bytes.

Trap: case names and reasons come from files: they reach the page through the template's escaping only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.fracture.aggregate import FEWEST_PATIENTS
from bench.fracture.compare import Comparison
from bench.fracture.metrics import METRICS, metric
from bench.fracture.plots import confusion_plot, levels_plot, reliability_plot
from bench.fracture.published import fracture_tables, own_values
from bench.fracture.records import NEAR_POINTS, GradedPair, Scores, SummaryRow
from bench.fracture.reference import GRADES
from bench.pages import inside, p_text, page_environment
from bench.published import page_tables
from bench.wording import DASH, cell, interval_text, value_text

__all__ = ["WORST", "comparison_page", "report_page"]

WORST = 12
_CARDS = (
    ("macro_f1", "mean F1 of the four grades; what is not graded is wrong"),
    ("kappa", "agreement with the readers, far misses weighing more"),
    ("sensitivity", "of fractures are graded 1 or more"),
    ("specificity", "of healthy vertebrae are graded 0"),
    ("graded", "of vertebrae have a grade"),
    ("accuracy", "of vertebrae have the grade that was read"),
)
_OVERALL = tuple(each.name for each in METRICS if not each.name.startswith(("precision_", "recall_", "f1_")))
_GROUP_COLUMNS = ("accuracy", "graded", "sensitivity", "specificity", "false_positive")
_GROUP_TITLES = {
    "split": "Splits", "region": "Regions", "border": "Distance of the true loss from a border between grades",
    "neighbourhood": "Beside a fracture", "shape": "Shapes of fractures", "mimics": "Mimics",
    "mimic": "Mimics by kind", "level": "Levels",
}  # fmt: skip
_ERRORS = 60


def report_page(scores: Scores, *, published: bool = False) -> str:
    """The page of one evaluation.

    Args:
        scores: What was scored.
        published: Show the published tables.
    """
    whole = scores.row()
    levels = [row for row in scores.summary if row.by == "level"]
    return (
        page_environment(Path(__file__).parent / "templates")
        .get_template("fracture.html.j2")
        .render(
            title="Fracture grading",
            scores=scores,
            c=scores.counts,
            whole=whole,
            cards=_cards(whole),
            overall=[
                {"title": metric(name).title, "unit": metric(name).unit, **_own(whole, name)}
                for name in _OVERALL
                if name in whole.values
            ],
            grades=[
                {"grade": grade, "n": sum(whole.confusion[grade]),
                 "cells": [_own(whole, f"{name}_{grade}") for name in ("precision", "recall", "f1")]}
                for grade in GRADES
            ],
            groups=_groups(scores),
            calibration=scores.calibration,
            calibrated=None if scores.calibration is None else {
                "brier": cell(scores.calibration.brier, ""), "fracture": cell(scores.calibration.brier_fracture, ""),
            },
            plots={
                "confusion": inside(confusion_plot(whole)),
                "levels": inside(levels_plot(levels)),
                "reliability": inside(reliability_plot(scores.calibration)) if scores.calibration else None,
            },
            errors=scores.errors[:_ERRORS],
            errors_left=max(0, len(scores.errors) - _ERRORS),
            reasons=_reasons(scores),
            worst=_worst(scores),
            published=page_tables(fracture_tables(), own_values(scores)) if published else None,
            fewest=FEWEST_PATIENTS,
            near=f"{NEAR_POINTS:g}",
        )
    )  # fmt: skip


def _own(row: SummaryRow, name: str) -> dict[str, str]:
    return cell(row.values.get(name), metric(name).unit)


def _cards(row: SummaryRow) -> list[dict[str, str]]:
    return [
        {
            "title": metric(name).title, "value": value_text(row.values[name].value, metric(name).unit),
            "unit": metric(name).unit, "interval": interval_text(row.values[name], metric(name).unit), "words": words,
        }
        for name, words in _CARDS
        if name in row.values
    ]  # fmt: skip


def _groups(scores: Scores) -> list[dict[str, Any]]:
    found = []
    for by, title in _GROUP_TITLES.items():
        rows = [row for row in scores.summary if row.by == by]
        if not rows or (by in ("split", "mimics") and len(rows) < 2):
            continue
        columns = list(_GROUP_COLUMNS)
        if by in ("split", "region", "border"):
            columns = ["macro_f1", "kappa", *columns]
        if by == "shape":
            columns = ["sensitivity", "accuracy", "shape", "graded"]
        found.append(
            {
                "by": by, "title": title, "columns": [_titled(name) for name in columns],
                "rows": [
                    {"key": row.key, "n": row.vertebrae, "fractured": row.fractured, "patients": row.patients,
                     "cells": [_own(row, name) for name in columns]}
                    for row in rows
                ],
            }
        )  # fmt: skip
    return found


def _titled(name: str) -> str:
    one = metric(name)
    return f"{one.title} ({one.unit})" if one.unit else one.title


def _reasons(scores: Scores) -> list[dict[str, Any]]:
    """Why vertebrae have no grade, the commonest first."""
    counts: dict[tuple[str, str], int] = {}
    for pair in scores.vertebrae:
        if pair.predicted is None:
            key = (pair.outcome, pair.reason)
            counts[key] = counts.get(key, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [{"outcome": key[0], "reason": key[1] or DASH, "n": n} for key, n in ranked[:20]]


def _worst(scores: Scores) -> list[dict[str, Any]]:
    """Vertebrae farthest off, then fractures left ungraded by their grade."""

    def gap(pair: GradedPair) -> tuple[int, int]:
        return (pair.grade, 0) if pair.predicted is None else (abs(pair.predicted - pair.grade), 1)

    off = [pair for pair in scores.vertebrae if gap(pair)[0] >= 2]
    ranked = sorted(off, key=lambda pair: (-gap(pair)[0], -gap(pair)[1], pair.case, pair.level))
    return [
        {
            "case": pair.case, "level": str(pair.level), "grade": pair.grade,
            "predicted": DASH if pair.predicted is None else pair.predicted, "shape": pair.shape or DASH,
            "loss": value_text(pair.loss_percent, " "), "said": value_text(pair.predicted_loss_percent, " "),
            "notes": "; ".join(
                part for part in (
                    pair.mimic and f"mimic: {pair.mimic}", "beside a fracture" if pair.neighbour_broken else "",
                    pair.outcome if pair.predicted is None else "", pair.reason,
                    "marked “look again”" if pair.look_again else "",
                ) if part
            ),
        }
        for pair in ranked[:WORST]
    ]  # fmt: skip


def comparison_page(comparison: Comparison) -> str:
    """The page of a comparison of several graders."""
    tests = []
    for test in comparison.tests:
        unit = metric(test.quantity).unit
        bounds = test.method if test.low is None else f"{value_text(test.low, unit)} to {value_text(test.high, unit)}"
        tests.append(
            {
                **test.model_dump(), "title": _titled(test.quantity), "bounds": bounds,
                "n": test.vertebrae, "unpaired": 0,  # what is not graded is wrong there, and in no way missing
                "first_text": value_text(test.first_value, unit), "second_text": value_text(test.second_value, unit),
                "difference_text": value_text(test.difference, unit),
                "p_texts": [DASH if p is None else p_text(p) for p in (test.p, test.corrected_p)],
            }
        )  # fmt: skip
    return (
        page_environment(Path(__file__).parent / "templates")
        .get_template("comparison.html.j2")
        .render(title="Comparison of graders", comparison=comparison, tests=tests)
    )
