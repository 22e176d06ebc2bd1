"""The figures of an evaluation or a comparison in the terminal.

Convention: the same numbers in the same digits as on the page (:mod:`bench.wording`).

Trap: case names and errors come from files; they are printed as text, never as markup.
"""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.pages import p_text
from bench.published import page_tables
from bench.synthesis.compare import Comparison
from bench.synthesis.metrics import METRICS, metric
from bench.synthesis.published import own_values, synthesis_tables
from bench.synthesis.records import Scores
from bench.terminal import print_line, print_published
from bench.wording import DASH, value_text, with_interval_text

__all__ = ["print_comparison", "print_scores"]

_ERRORS = 20
_GROUPS = ("grade", "shape", "neighbourhood", "region")
_SHORT = ("dice", "rhdr_percent", "loss_mae_capped", "same_grade")


def print_scores(scores: Scores, console: Console, *, published: bool = False) -> None:
    """The summary, errors and warnings of one evaluation."""
    c = scores.counts
    print_line(
        console,
        f"{scores.name}: {c['scored']} of {c['vertebrae']} vertebrae scored, {c['patients']} patients; "
        f"{c['no_prediction']} without a synthesis, {c['unusable_prediction']} with an unusable one (both count as the "
        f"worst), {c['unusable_reference']} whose reference cannot be read",
    )
    for text in scores.made_by:
        print_line(console, f"made by: {text}")
    if scores.summary:
        values = scores.row().values
        table = Table(title="means over vertebrae, 95 % intervals over patients", title_justify="left")
        for header in ("quantity", "mean", "n"):
            table.add_column(header, justify="left" if header == "quantity" else "right")
        for each in METRICS:
            if each.name in values:
                unit = f" ({each.unit})" if each.unit else ""
                one = values[each.name]
                table.add_row(escape(f"{each.title}{unit}"), with_interval_text(one, each.unit), str(one.n))
        console.print(table)
        table = Table(title="groups", title_justify="left")
        for header in ("group", "n", *(metric(name).title for name in _SHORT)):
            table.add_column(header, justify="left" if header == "group" else "right")
        for row in scores.summary:
            if row.by in _GROUPS:
                cells = [with_interval_text(row.values.get(name), metric(name).unit) for name in _SHORT]
                table.add_row(escape(f"{row.by}: {row.key}"), str(row.vertebrae), *cells)
        if table.row_count:
            console.print(table)
    for bad in [each for each in scores.vertebrae if each.errors or each.status != "scored"][:_ERRORS]:
        print_line(
            console, f"{bad.case} {bad.level}: {bad.status}" + "".join(f": {e.kind}: {e.text}" for e in bad.errors)
        )
    for warning in scores.warnings:
        print_line(console, f"note: {warning}")
    if published:
        known = page_tables(synthesis_tables(), own_values(scores))
        print_published(console, known, f"{scores.name} (this evaluation)")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """All tests of a comparison."""
    two = len(comparison.names) == 2
    print_line(console, f"paired differences over {comparison.vertebrae} vertebrae of {comparison.patients} patients")
    table = Table(title=escape(" - ".join(comparison.names)) if two else "first - second", title_justify="left")
    pair = () if two else ("first", "second")
    left = ("quantity", "among", *pair, "winner")
    for header in ("quantity", "among", *pair, "difference", "95 % interval", "n", "p (Holm)", "winner"):
        table.add_column(header, justify="left" if header in left else "right")
    for test in comparison.tests:
        unit = metric(test.quantity).unit
        bounds = test.method if test.low is None else f"{value_text(test.low, unit)} to {value_text(test.high, unit)}"
        table.add_row(
            escape(test.quantity),
            escape(test.group),
            *(() if two else (escape(test.first), escape(test.second))),
            value_text(test.difference, unit),
            bounds,
            f"{test.n}" + (f" (+{test.unpaired})" if test.unpaired else ""),
            DASH if test.corrected_p is None else p_text(test.corrected_p),
            escape(test.winner or DASH),
        )
    console.print(table)
    if any(test.unpaired for test in comparison.tests):
        print_line(console, "(+n): vertebrae that only one of the two has a value in; they are in no difference")
