"""The pages of an evaluation and a comparison of syntheses: static HTML files that need nothing but a browser.

Convention: every number is read from the scores and only formatted here; plots and pictures are PNG inside the page. No
clock time and no absolute path, so equal files give equal bytes.

Trap: case names and errors come from files: they reach the page through the template's escaping only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.pages import inside, p_text, page_environment
from bench.published import page_tables
from bench.synthesis.compare import Comparison
from bench.synthesis.evaluate import FEWEST_PATIENTS
from bench.synthesis.files import Key, VertebraFiles
from bench.synthesis.metrics import CAP_POINTS, METRICS, PSNR_CAP_DB, metric
from bench.synthesis.plots import layer_picture, levels_plot, losses_plot
from bench.synthesis.published import own_values, synthesis_tables
from bench.synthesis.records import Scores, SummaryRow, VertebraScore
from bench.synthesis.scoring import judge, read_healthy
from bench.wording import DASH, cell, interval_text, value_text
from spinemed.errors import SpineMedError

__all__ = ["WORST", "comparison_page", "report_page"]

WORST = 8
_CARDS = (
    ("loss_mae_capped", "mean error of a third's height loss; a miss counts in full"),
    ("dice", "overlap of whole bodies"),
    ("rhdr_percent", "difference of heights, layer by layer"),
    ("same_grade", "of vertebrae get the grade that the healthy body leads to"),
    ("ssim_target", "likeness of the pictures in the body's rows"),
    ("psnr_target_db", "the same as a ratio to the noise"),
)
_COLUMNS = {
    "dice": "Dice", "rhdr_percent": "RHDR (%)", "loss_mae_capped": "loss error, capped (points)",
    "loss_mae": "loss error (points)", "loss_bias": "loss bias (points)", "same_grade": "same grade (%)",
    "ssim_target": "SSIM, target",
}  # fmt: skip
_TITLES = {
    "split": "Splits", "grade": "Grades", "shape": "Shapes of fractures", "neighbourhood": "Beside a fracture",
    "region": "Regions", "level": "Levels",
}  # fmt: skip
_ERRORS = 60


def report_page(
    scores: Scores,
    healthy: Mapping[Key, VertebraFiles],
    made: Mapping[Key, VertebraFiles],
    *,
    published: bool = False,
) -> str:
    """The page of one evaluation.

    Args:
        scores: What was scored.
        healthy, made: The files of both folders, for the pictures of the worst.
        published: Show the published tables.
    """
    whole = scores.row() if scores.summary else None
    levels = [row for row in scores.summary if row.by == "level"]
    troubled = [one for one in scores.vertebrae if one.errors or one.status != "scored"]
    worst, worst_by = _worst(scores, healthy, made)
    return (
        page_environment(Path(__file__).parent / "templates")
        .get_template("synthesis.html.j2")
        .render(
            title="Pseudo-healthy vertebrae",
            scores=scores,
            c=scores.counts,
            cards=_cards(whole),
            overall=_overall(whole),
            groups=_groups(scores),
            plots={
                "levels": inside(levels_plot(levels)) if levels else None,
                "losses": inside(losses_plot(scores.vertebrae)) if any(one.found for one in scores.vertebrae) else None,
            },
            troubled=troubled[:_ERRORS],
            troubled_left=max(0, len(troubled) - _ERRORS),
            worst=worst,
            worst_by=worst_by,
            published=page_tables(synthesis_tables(), own_values(scores)) if published else None,
            fewest=FEWEST_PATIENTS,
            cap=f"{CAP_POINTS:g}",
            psnr_cap=f"{PSNR_CAP_DB:g}",
        )
    )


def _titled(name: str) -> str:
    one = metric(name)
    return f"{one.title} ({one.unit})" if one.unit else one.title


def _cards(row: SummaryRow | None) -> list[dict[str, str]]:
    if row is None:
        return []
    return [
        {
            "title": metric(name).title, "value": value_text(row.values[name].value, metric(name).unit),
            "unit": metric(name).unit, "interval": interval_text(row.values[name], metric(name).unit), "words": words,
        }
        for name, words in _CARDS
        if name in row.values
    ]  # fmt: skip


def _overall(row: SummaryRow | None) -> list[dict[str, Any]]:
    if row is None:
        return []
    return [
        {"title": _titled(each.name), "n": row.values[each.name].n, **cell(row.values[each.name], each.unit)}
        for each in METRICS
        if each.name in row.values
    ]


def _groups(scores: Scores) -> list[dict[str, Any]]:
    columns = [name for name in _COLUMNS if scores.summary and name in scores.row().values]
    found = []
    for by, title in _TITLES.items():
        rows = [row for row in scores.summary if row.by == by]
        if not rows or (by in ("split", "region") and len(rows) < 2):
            continue
        found.append(
            {
                "by": by, "title": title, "columns": [_COLUMNS[name] for name in columns],
                "rows": [
                    {"key": row.key, "n": row.vertebrae, "missed": row.missed, "patients": row.patients,
                     "cells": [cell(row.values.get(name), metric(name).unit) for name in columns]}
                    for row in rows
                ],
            }
        )  # fmt: skip
    return found


def _worst(
    scores: Scores, healthy: Mapping[Key, VertebraFiles], made: Mapping[Key, VertebraFiles]
) -> tuple[list[dict[str, Any]], str]:
    """The worst scored vertebrae with their pictures, and what they are worst by."""
    scored = [one for one in scores.vertebrae if one.status == "scored"]
    key = "loss_mae_capped" if any("loss_mae_capped" in one.values for one in scored) else "rhdr_percent"
    ranked = sorted(
        (one for one in scored if key in one.values), key=lambda one: (-one.values[key], one.case, one.level)
    )
    return [_picture(one, healthy, made) for one in ranked[:WORST]], _titled(key)


def _picture(
    one: VertebraScore, healthy: Mapping[Key, VertebraFiles], made: Mapping[Key, VertebraFiles]
) -> dict[str, Any]:
    shown = ("dice", "rhdr_percent", "loss_mae_capped")
    texts = {name: value_text(one.values[name], metric(name).unit) for name in shown if name in one.values}
    parts = [f"{_titled(name)} {text}" for name, text in texts.items()]
    if one.grade is not None:
        parts.append(f"grade {one.grade}")
    if one.truth is not None and one.found is not None:
        pairs = zip(one.truth, one.found, strict=True)
        losses = ", ".join(f"{found:.0f} % ({truth:.0f} %)" for truth, found in pairs)
        parts.append(f"loss front to back, against the healthy body in brackets: {losses}")
    found: dict[str, Any] = {"name": f"{one.case} {one.level}", "words": " · ".join(parts), "picture": None, "why": ""}
    try:
        reference = read_healthy(healthy[one.case, one.level])
        judged = judge(reference, made[one.case, one.level], with_image=False, roots={})
    except SpineMedError as error:
        return found | {"why": f"The picture cannot be drawn: {error.problem}"}
    return found | {"picture": inside(layer_picture(reference, judged), 110)}


def comparison_page(comparison: Comparison) -> str:
    """The page of a comparison of several synthesisers."""
    tests = []
    for test in comparison.tests:
        unit = metric(test.quantity).unit
        bounds = test.method if test.low is None else f"{value_text(test.low, unit)} to {value_text(test.high, unit)}"
        tests.append(
            {
                **test.model_dump(), "title": _titled(test.quantity), "bounds": bounds,
                "first_text": value_text(test.first_mean, unit), "second_text": value_text(test.second_mean, unit),
                "difference_text": value_text(test.difference, unit),
                "p_texts": [DASH if p is None else p_text(p) for p in (test.p, test.corrected_p)],
            }
        )  # fmt: skip
    return (
        page_environment(Path(__file__).parent / "templates")
        .get_template("comparison.html.j2")
        .render(title="Comparison of synthesisers", comparison=comparison, tests=tests)
    )
