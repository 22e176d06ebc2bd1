"""A summary as tables in the terminal: the same numbers as the page, from the same file.

Convention: shares are percent with one decimal; an interval stands behind its value; `-` stands where no interval
exists. System names come from a user and are printed without markup.

Trap: rich reads square brackets as markup; every text that is not ours goes through `Text`.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.board.wording import p_text, percent, percent_interval, points, points_interval, row_title

__all__ = ["print_summary"]


def print_summary(summary: dict[str, Any], console: Console) -> None:
    """Print the final table, the comparisons and the level measures of one `summary.json`.

    Args:
        summary: Read from a scores folder.
        console: Where to print; a narrow one wraps.
    """
    names = [system["name"] for system in summary["systems"]]
    about = summary["samples"]
    table = Table(
        title=f"{about['n']} questions, {about['clusters']} spines and documents; % right with 95 % interval",
        caption="Intervals resample spines, not questions. Research use only; phantoms are not patients.",
    )
    table.add_column("")
    table.add_column("n", justify="right")
    table.add_column("clusters", justify="right")
    for name in names:
        table.add_column(Text(name), justify="right")
    for row in summary["rows"]:
        cells = []
        for name in names:
            own = row["systems"][name]
            lost = own["unparsed"] + own["refused"] + own["timed_out"] + own["failed"]
            share = f"\n{percent(lost / row['n'])} unread" if lost else ""
            cells.append(Text.assemble(percent(own["value"]), (f"\n{percent_interval(own)}{share}", "dim not bold")))
        table.add_row(
            row_title(row), str(row["n"]), str(row["clusters"]), *cells, style="bold" if row["whole_axis"] else ""
        )
    console.print(table)
    if summary["comparisons"]:
        console.print(_comparisons(summary))
    for group, systems in summary["levels"].items():
        if summary["subject"] is not None:
            console.print(_levels(group, systems, summary["subject"]))


def _comparisons(summary: dict[str, Any]) -> Table:
    table = Table(title="Paired differences in points, same questions; p by cluster sign-flip test, Holm corrected")
    for name in ("", "comparison", "difference", "95 % interval", "p (Holm)", "where the other was read"):
        table.add_column(name, justify="left" if name in ("", "comparison") else "right")
    titles = {row["key"]: row_title(row) for row in summary["rows"]}
    for found in summary["comparisons"]:
        read = found["on_reference_parsed"]
        table.add_row(
            titles[found["row"]],
            Text(f"{found['subject']} - {found['reference']}"),
            points(found["difference"]),
            points_interval(found),
            p_text(found["p_holm"]),
            f"{points(read['difference'])} {points_interval(read)} (n {read['n']})",
        )
    return table


def _levels(group: str, systems: dict[str, Any], subject: str) -> Table:
    own = systems[subject]
    kind, modality, origin = group.split("/")
    what = "vertebrae" if kind == "level" else "discs"
    table = Table(title=Text(f"{subject}: {what}, {modality}, {origin}; {own['distinct_levels']} levels, n {own['n']}"))
    for name in ("exact", "within one", "region", "mean over levels"):
        table.add_column(name, justify="right")
    table.add_row(
        *(
            f"{percent(own[key]['value'])} {percent_interval(own[key])}"
            for key in ("exact", "within_one", "region", "macro")
        )
    )
    return table
