"""The page of an evaluation: one static HTML file that needs nothing but a browser.

Convention: every number is read from the scores and only formatted here; plots and pictures are PNG inside the page.
No clock time and no absolute path, so equal files give equal bytes. The page's policy forbids scripts and foreign
origins.

Trap: case names and error texts come from files: they reach the page through the template's escaping only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment

from bench.pages import inside, p_text, page_environment
from bench.verse import wording
from bench.verse.aggregate import FEWEST_PATIENTS
from bench.verse.labelling import HIT_MM, PENALTY_MM
from bench.verse.metrics import METRICS, metric
from bench.verse.pictures import case_picture
from bench.verse.plots import confusion_plot, levels_plot, offsets_plot
from bench.verse.published import PublishedTable, PublishedValues, own_values, published_table
from bench.verse.records import CaseScore, Scores, SummaryRow
from spinemed.errors import SpineMedError
from spinemed.records import content_hash
from spinemed.volume import read_nifti

if TYPE_CHECKING:
    from bench.verse.evaluate import Job
    from bench.verse.matrix import Cell, Matrix
    from bench.verse.ranking import Comparison

__all__ = ["WORST", "comparison_page", "matrix_page", "report_page"]

WORST = 10
_EVENTS = 60
_GROUPS = ("region", "field of view", "anomaly", "place")
_COLUMNS = ("identified", "dice", "nsd", "hd_penalised_mm", "localisation_penalised_mm")
_LEVEL_PLOTS = ("identified", "dice", "hd_penalised_mm", "localisation_mm")
_CARDS = (
    ("identified", "of the vertebrae have their right name at their right place"),
    ("dice", "mean Dice of a vertebra, misses as 0"),
    ("hd_penalised_mm", "mean of a vertebra, capped, and a miss counts as the cap"),
    ("localisation_mm", "mean over the {n} vertebrae whose level was predicted; {missing} were not"),
)


def _environment() -> Environment:
    environment = page_environment(Path(__file__).parent / "templates")
    environment.filters.update(number=wording.number)
    return environment


def report_page(scores: Scores, jobs: Mapping[str, Job], *, published: bool = False) -> str:
    """The page of one evaluation.

    Args:
        scores: What was scored.
        jobs: The files of each case by its name, for the pictures of the worst.
        published: Show the published table.
    """
    present = _present(scores)
    worst = _worst(scores, jobs)
    events = wording.event_rows(scores.cases)
    table = published_table() if published else None
    labelled = scores.counts["vertebrae_with_labels"]
    with_masks = any(vertebra.dice is not None for vertebra in scores.vertebrae)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title="Vertebra labelling and segmentation",
            scores=scores,
            c=scores.counts,
            failed=scores.failed,
            partly=sum(case.status == "scored" for case in scores.failed),
            labelled=labelled,
            cards=_cards(scores, present),
            summary=_summary(scores, present),
            interval_note=_interval_note(scores),
            events=events[:_EVENTS],
            events_left=max(0, len(events) - _EVENTS),
            unnamed=sum(one.identified is not None and one.called is None for one in scores.vertebrae),
            columns=[_heading(name) for name in _shown(_COLUMNS, present)],
            groups=_groups(scores, _shown(_COLUMNS, present)),
            plots=_plots(scores, present, labelled=bool(labelled)),
            fewest=FEWEST_PATIENTS,
            with_masks=with_masks,
            confusion_words=" (most of its voxels)" if with_masks else " (the centre that belongs to it)",
            worst=worst,
            worst_by="mean Dice" if with_masks else "share of identified vertebrae",
            with_image=any(case.image for case in scores.cases),
            published=table,
            own_cells=[] if table is None else _published_cells(own_values(scores), table.columns),
            published_rows=[] if table is None else _published_rows(table),
            hit_mm=HIT_MM,
            penalty_mm=PENALTY_MM,
            settings=scores.settings.model_dump(mode="json"),
            inputs_sha256=content_hash({case.case: case.inputs_sha256 for case in scores.cases}),
        )
    )  # fmt: skip


def _present(scores: Scores) -> set[str]:
    """Quantities that have a value anywhere."""
    rows = [row for row in scores.summary if row.by in ("vertebra", "scan")]
    return {name for row in rows for name, one in row.values.items() if one.n}


def _shown(names: tuple[str, ...], present: set[str]) -> list[str]:
    return [name for name in names if name in present]


def _cards(scores: Scores, present: set[str]) -> list[dict[str, str]]:
    if not scores.vertebrae:
        return []
    row = scores.row("vertebra")
    return [
        {
            "title": wording.title_of(name)[0].split(",")[0],
            "value": wording.value(name, row.values[name].value),
            "unit": metric(name).unit,
            "interval": wording.interval(name, row.values[name]),
            "words": words.format(n=row.values[name].n, missing=row.vertebrae - row.values[name].n),
        }
        for name, words in _CARDS
        if name in present
    ]


def _summary(scores: Scores, present: set[str]) -> list[dict[str, Any]]:
    if not scores.vertebrae:
        return []
    vertebra, scan = scores.row("vertebra"), scores.row("scan")
    lines = []
    for name in [*(each.name for each in METRICS), "precision", "f1", "official_dice"]:
        if name not in present:
            continue
        title, unit = wording.title_of(name)
        lines.append(
            {"name": name, "title": title, "unit": unit, "vertebra": _cell(vertebra, name), "scan": _cell(scan, name)}
        )
    return lines


def _cell(row: SummaryRow, name: str) -> dict[str, str]:
    if name not in row.values:
        return {"value": wording.DASH, "bounds": "", "n": wording.DASH}
    one = row.values[name]
    bounds = "" if one.low is None else wording.interval(name, one)
    return {"value": wording.value(name, one.value), "bounds": bounds, "n": str(one.n)}


def _interval_note(scores: Scores) -> str:
    patients = scores.counts["patients"]
    if patients < FEWEST_PATIENTS:
        return f"No intervals: fewer than {FEWEST_PATIENTS} patients are too few to resample (here {patients})."
    return f"A group of fewer than {FEWEST_PATIENTS} patients has no interval."


def _groups(scores: Scores, columns: list[str]) -> list[dict[str, Any]]:
    found = []
    for title in _GROUPS:
        rows = [row for row in scores.summary if row.by == title]
        if rows:
            cells = [{**row.model_dump(), "cells": [_cell(row, name) for name in columns]} for row in rows]
            found.append({"title": title, "rows": cells})
    return found


def _heading(name: str) -> dict[str, str]:
    """A column's title, and what else must stand in it, small."""
    title, unit = wording.title_of(name)
    first, *rest = title.split(", ")
    return {"title": first, "role": ", ".join([*filter(None, [unit]), *rest])}


def _plots(scores: Scores, present: set[str], *, labelled: bool) -> dict[str, dict[str, Any] | None]:
    rows = [row for row in scores.summary if row.by == "level"]
    if not rows:
        return {"levels": None, "confusion": None, "offsets": None}
    off = labelled and any(one.offset for one in scores.vertebrae)
    return {
        "levels": inside(levels_plot(rows, _shown(_LEVEL_PLOTS, present))),
        "confusion": inside(confusion_plot(scores.vertebrae)),
        "offsets": inside(offsets_plot(scores.vertebrae)) if off else None,
    }


def _worst(scores: Scores, jobs: Mapping[str, Job]) -> list[dict[str, Any]]:
    usable = [case for case in scores.cases if case.status == "scored" and case.means]

    def badness(case: CaseScore) -> tuple[float, float, str]:
        means = case.means
        return means.get("dice", means.get("identified", 0.0)), means.get("identified", 0.0), case.case

    return [_picture(case, jobs[case.case]) for case in sorted(usable, key=badness)[:WORST]]


def _picture(case: CaseScore, job: Job) -> dict[str, Any]:
    from bench.verse.evaluate import read_inputs

    found = {
        "case": case.case,
        "words": wording.case_words(case),
        "notes": "; ".join(case.notes),
        "picture": None,
        "why": "",
    }
    inputs = read_inputs(job)
    if inputs.reference is None and inputs.prediction is None:
        return found | {"why": "No mask to show: centres alone were compared."}
    image = None
    if job.case.image is not None:
        try:
            image = read_nifti(job.case.image, unit="HU")
        except SpineMedError as error:
            found["notes"] = "; ".join([*case.notes, f"the CT cannot be shown: {error.problem}"])
    return found | {"picture": inside(case_picture(inputs.reference, inputs.prediction, image), 110)}


def _published_cells(values: Any, columns: Mapping[str, str]) -> list[str]:
    digits = {"id_percent": 2, "d_mm": 2, "dice": 3, "hd_mm": 2}
    found = [getattr(values, name) for name in columns]
    return [
        wording.DASH if one is None else f"{one:.{digits[name]}f}" for name, one in zip(columns, found, strict=True)
    ]


def _published_rows(table: PublishedTable) -> list[dict[str, Any]]:
    rows = []
    for row in table.rows:
        sets = [("public", _published_cells(row.public, table.columns))]
        if row.hidden != PublishedValues():
            sets.append(("hidden", _published_cells(row.hidden, table.columns)))
        rows.append({"team": row.team, "score": f"{row.score:.3f}", "sets": sets})
    return rows


def matrix_page(matrix: Matrix, picture: bytes) -> str:
    """The page of a matrix.

    Args:
        matrix: What was worked out.
        picture: Its heat map as PNG.
    """
    tables = [_matrix_table(matrix, name) for name in matrix.metrics]
    drops = [
        {
            **drop.model_dump(),
            **_difference_texts(drop.metric, drop.low, drop.high, drop.method),
            "home_text": wording.value(drop.metric, drop.home_value),
            "away_text": wording.value(drop.metric, drop.away_value),
            "drop_text": _signed(drop.metric, drop.drop),
        }
        for drop in matrix.drops
    ]
    gaps = [
        {
            **gap.model_dump(),
            **_difference_texts(gap.metric, gap.low, gap.high, gap.method),
            "native_text": wording.value(gap.metric, gap.native_value),
            "visitor_text": wording.value(gap.metric, gap.visitor_value),
            "advantage_text": _signed(gap.metric, gap.advantage),
        }
        for gap in matrix.gaps
    ]
    page = _environment().get_template("matrix.html.j2")
    return page.render(
        title=matrix.title,
        matrix=matrix,
        tables=tables,
        drops=drops,
        gaps=gaps,
        picture=inside(picture),
        fewest=FEWEST_PATIENTS,
    )


def _matrix_table(matrix: Matrix, name: str) -> dict[str, Any]:
    cells = {(cell.algorithm, cell.tested_on): cell for cell in matrix.cells}
    rows = []
    for algorithm in matrix.algorithms:
        own = [cells.get((algorithm, data_set)) for data_set in matrix.data_sets]
        trained = next((cell.trained_on for cell in own if cell is not None), wording.DASH)
        rows.append({"name": algorithm, "trained_on": trained, "cells": [_matrix_cell(cell, name) for cell in own]})
    title, unit = wording.title_of(name)
    return {"name": name, "title": title, "unit": unit, "rows": rows}


def _matrix_cell(cell: Cell | None, name: str) -> dict[str, Any]:
    if cell is None:
        return {"home": False, "value": None}
    one = cell.values[name]
    bounds = "" if one.low is None else wording.interval(name, one)
    home = cell.trained_on == cell.tested_on
    return {
        "home": home,
        "value": wording.value(name, one.value),
        "bounds": bounds,
        "n": one.n,
        "patients": one.clusters,
    }


def _difference_texts(name: str, low: float | None, high: float | None, method: str) -> dict[str, str]:
    title, unit = wording.title_of(name)
    bounds = f"none: {method}" if low is None or high is None else f"{_signed(name, low)} to {_signed(name, high)}"
    return {"title": title, "unit": "points" if unit == "%" else unit, "interval": bounds}


def _signed(name: str, found: float) -> str:
    text = wording.value(name, found)
    return text if text.startswith("-") else f"+{text}"


def comparison_page(comparison: Comparison) -> str:
    """The page of a comparison of several algorithms."""
    tests = [
        {
            **test.model_dump(),
            "title": wording.title_of(test.metric)[0],
            "first_text": wording.value(test.metric, test.first_mean),
            "second_text": wording.value(test.metric, test.second_mean),
            "difference_text": _signed(test.metric, test.difference),
            "p_texts": [p_text(p) for p in (test.wilcoxon_p, test.sign_flip_p, test.corrected_p)],
        }
        for test in comparison.tests
    ]
    quantities = list(dict.fromkeys(test.metric for test in comparison.tests))
    return (
        _environment()
        .get_template("comparison.html.j2")
        .render(
            title="Comparison of algorithms",
            comparison=comparison,
            tests=tests,
            quantities=[(name, wording.title_of(name)[0]) for name in quantities],
        )
    )
