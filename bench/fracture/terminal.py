"""The figures of an evaluation or a comparison in the terminal.

Convention: the same numbers in the same digits as on the page (:mod:`bench.wording`).

Trap: case names and errors come from files; they are printed as text, never as markup.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.fracture.compare import Comparison
from bench.fracture.metrics import METRICS, metric
from bench.fracture.published import fracture_tables, own_values
from bench.fracture.records import Scores
from bench.pages import p_text
from bench.published import page_tables
from bench.terminal import print_line, print_published
from bench.wording import DASH, value_text, with_interval_text

__all__ = ["print_comparison", "print_scores"]

_ERRORS = 20


def print_scores(scores: Scores, console: Console, *, published: bool = False) -> None:
    """The summary, errors and warnings of one evaluation."""
    c, whole = scores.counts, scores.row()
    print_line(
        console,
        f"{scores.name}: {c['graded']} of {c['vertebrae']} vertebrae graded ({c['fractured']} fractured, {c['cases']} "
        f"cases, {c['patients']} patients); not graded: {c['refused']} refused, {c['not_listed']} not listed, "
        f"{c['no_prediction']} without a prediction, {c['unusable_prediction']} with an unusable one",
    )
    for text in scores.trained_on:
        print_line(console, f"grader: {text}")
    table = Table(title="all vertebrae, 95 % intervals over patients", title_justify="left")
    for header in ("quantity", "value"):
        table.add_column(header, justify="left" if header == "quantity" else "right")
    for each in METRICS:
        if each.name in whole.values:
            unit = f" ({each.unit})" if each.unit else ""
            table.add_row(escape(f"{each.title}{unit}"), with_interval_text(whole.values[each.name], each.unit))
    console.print(table)
    table = Table(title="read grade (rows) against predicted grade", title_justify="left")
    for header in ("read", "0", "1", "2", "3", "not graded"):
        table.add_column(header, justify="right")
    for grade, counts in enumerate(whole.confusion):
        table.add_row(str(grade), *(str(count) for count in counts))
    console.print(table)
    mimics = [row for row in scores.summary if row.by == "mimics"]
    for row in mimics if len(mimics) > 1 else ():
        cell = with_interval_text(row.values.get("false_positive"), "%")
        print_line(console, f"false positives among {row.key} ({row.vertebrae}): {cell} %")
    if scores.calibration is not None:
        found = scores.calibration
        print_line(console, f"Brier {with_interval_text(found.brier, '')} over {found.n} vertebrae with probabilities")
    for error in scores.errors[:_ERRORS]:
        print_line(console, f"{error.case}: {error.kind}: {error.text}")
    for warning in scores.warnings:
        print_line(console, f"note: {warning}")
    if published:
        known = page_tables(fracture_tables(), own_values(scores))
        print_published(console, known, f"{scores.name} (this evaluation)")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """All tests of a comparison."""
    two = len(comparison.names) == 2
    print_line(console, f"paired differences over {comparison.vertebrae} vertebrae of {comparison.patients} patients")
    table = Table(title=escape(" - ".join(comparison.names)) if two else "first - second", title_justify="left")
    pair = () if two else ("first", "second")
    for header in ("quantity", *pair, "difference", "95 % interval", "p (Holm)", "winner"):
        table.add_column(header, justify="left" if header in ("quantity", *pair, "winner") else "right")
    for test in comparison.tests:
        unit = metric(test.quantity).unit
        bounds = test.method if test.low is None else f"{value_text(test.low, unit)} to {value_text(test.high, unit)}"
        table.add_row(
            escape(test.quantity),
            *(() if two else (escape(test.first), escape(test.second))),
            value_text(test.difference, unit),
            bounds,
            DASH if test.corrected_p is None else p_text(test.corrected_p),
            escape(test.winner or DASH),
        )
    console.print(table)
