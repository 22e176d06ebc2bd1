"""The figures of an evaluation, a comparison or a matrix in the terminal.

Convention: the same numbers in the same digits as on the page (:mod:`bench.verse.wording`).

Trap: case names and errors come from files; they are printed as text, never as markup.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.pages import p_text
from bench.verse import wording
from bench.verse.matrix import Matrix
from bench.verse.metrics import METRICS
from bench.verse.published import PublishedValues, own_values, published_table
from bench.verse.ranking import Comparison
from bench.verse.records import Scores

__all__ = ["print_comparison", "print_matrix", "print_scores"]

_EVENTS = 20


def print_scores(scores: Scores, console: Console, *, published: bool = False) -> None:
    """The summary, wrong levels, errors and warnings of one evaluation."""
    counts = scores.counts
    console.print(
        f"{scores.name}: {counts['cases']} scans of {counts['patients']} patients, {counts['vertebrae']} vertebrae, "
        f"{counts['vertebrae_missed']} missed, mode {scores.settings.mode}",
        markup=False,
        soft_wrap=True,
    )
    if scores.vertebrae:
        _print_summary(scores, console)
    for row in wording.event_rows(scores.cases)[:_EVENTS]:
        console.print(f"wrong levels: {row['case']}: {row['title']}: {row['detail']}", markup=False, soft_wrap=True)
    for case in scores.failed:
        if not case.errors:
            console.print(f"{case.case}: {case.status}", markup=False, soft_wrap=True)
        for error in case.errors:
            console.print(f"{case.case}: {case.status}: {error.kind}: {error.text}", markup=False, soft_wrap=True)
    if scores.unmatched_predictions:
        names = ", ".join(scores.unmatched_predictions[:5])
        count = len(scores.unmatched_predictions)
        console.print(f"{count} files belong to no case: {names}", markup=False, soft_wrap=True)
    for warning in scores.warnings:
        console.print(f"note: {warning}", markup=False, soft_wrap=True)
    if published:
        _print_published(scores, console)


def _print_summary(scores: Scores, console: Console) -> None:
    table = Table(title="means, 95 % intervals over patients", title_justify="left")
    for header in ("quantity", "over vertebrae", "n", "over scans", "n"):
        table.add_column(header, justify="left" if header == "quantity" else "right")
    vertebra, scan = scores.row("vertebra"), scores.row("scan")
    for name in [*(each.name for each in METRICS), "precision", "f1", "official_dice"]:
        if not scan.values[name].n:
            continue
        title, unit = wording.title_of(name)
        cells = []
        for row in (vertebra, scan):
            one = row.values.get(name)
            cells += [wording.DASH] * 2 if one is None else [wording.with_interval(name, one), str(one.n)]
        table.add_row(escape(f"{title}{f' ({unit})' if unit else ''}"), *cells)
    console.print(table)


def _print_published(scores: Scores, console: Console) -> None:
    published = published_table()
    table = Table(title=escape(published.title), title_justify="left")
    for header in ("team", "score", "scored on"):
        table.add_column(header, justify="right" if header == "score" else "left")
    for column in published.columns.values():
        table.add_column(column, justify="right")
    table.add_row(escape(scores.name), wording.DASH, "own data", *_four(own_values(scores)))
    table.add_section()
    for row in published.rows:
        table.add_row(escape(row.team), f"{row.score:.3f}", "public", *_four(row.public))
        if row.hidden != PublishedValues():
            table.add_row("", "", "hidden", *_four(row.hidden))
    console.print(table)
    source = f"{published.source}, doi {published.doi}. Other data, other implementation: not ranked together."
    console.print(f"{source} {published.note}", markup=False, soft_wrap=True)


def _four(values: PublishedValues) -> list[str]:
    found = ((values.id_percent, 2), (values.d_mm, 2), (values.dice, 3), (values.hd_mm, 2))
    return [wording.DASH if one is None else f"{one:.{digits}f}" for one, digits in found]


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Ranking and tests."""
    table = Table(title=f"ranking on {comparison.scans} scans: wins per opponent", title_justify="left")
    quantities = list(dict.fromkeys(test.metric for test in comparison.tests))
    for header in ("rank", "algorithm", "score", *(wording.SHORT[name] for name in quantities)):
        table.add_column(header, justify="left" if header == "algorithm" else "right")
    for row in comparison.ranking:
        points = [f"{row.points[name]:.3f}" for name in quantities]
        table.add_row(str(row.rank), escape(row.name), f"{row.score:.3f}", *points)
    console.print(table)
    table = Table(title=f"paired tests, n = {comparison.tests[0].n} {comparison.rules['unit']}s", title_justify="left")
    for header in ("", "first - second", "difference", "Wilcoxon p", "corrected", "winner"):
        table.add_column(header, justify="right" if header in ("difference", "Wilcoxon p", "corrected") else "left")
    for test in comparison.tests:
        table.add_row(
            wording.SHORT[test.metric],
            escape(f"{test.first} - {test.second}"),
            wording.value(test.metric, test.difference),
            p_text(test.wilcoxon_p),
            p_text(test.corrected_p),
            escape(test.winner or wording.DASH),
        )
    console.print(table)
    titles = "; ".join(
        f"{wording.SHORT[name]}: {' in '.join(filter(None, wording.title_of(name)))}" for name in quantities
    )
    console.print(f"{titles}. {comparison.note}", markup=False, soft_wrap=True)


def print_matrix(matrix: Matrix, console: Console) -> None:
    """Cells and drops."""
    cells = {(cell.algorithm, cell.tested_on): cell for cell in matrix.cells}
    for quantity in matrix.metrics:
        title, unit = wording.title_of(quantity)
        table = Table(title=escape(f"{title}{f' ({unit})' if unit else ''}"), title_justify="left")
        table.add_column("algorithm")
        table.add_column("trained on")
        for name in matrix.data_sets:
            table.add_column(escape(f"tested on {name}"), justify="right")
        for algorithm in matrix.algorithms:
            own = [cells.get((algorithm, name)) for name in matrix.data_sets]
            trained = next((cell.trained_on for cell in own if cell is not None), wording.DASH)
            texts = [
                "not tested" if cell is None else wording.with_interval(quantity, cell.values[quantity]) for cell in own
            ]
            table.add_row(escape(algorithm), escape(trained), *texts)
        console.print(table)
    for drop in matrix.drops:
        bounds = (
            f"no interval ({drop.method})"
            if drop.low is None or drop.high is None
            else f"{wording.value(drop.metric, drop.low)} to {wording.value(drop.metric, drop.high)}"
        )
        console.print(
            f"{drop.algorithm}, {wording.title_of(drop.metric)[0]}: drop {wording.value(drop.metric, drop.drop)} from "
            f"{drop.home} to {drop.away}, {bounds}; {drop.pairing}",
            markup=False,
            soft_wrap=True,
        )
    for gap in matrix.gaps:
        bounds = (
            f"no interval ({gap.method})"
            if gap.low is None or gap.high is None
            else f"{wording.value(gap.metric, gap.low)} to {wording.value(gap.metric, gap.high)}"
        )
        console.print(
            f"on {gap.data_set}, {wording.title_of(gap.metric)[0]}: {gap.native} (native) over {gap.visitor}: "
            f"advantage {wording.value(gap.metric, gap.advantage)}, {bounds}; same patients",
            markup=False,
            soft_wrap=True,
        )
