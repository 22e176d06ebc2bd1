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

from bench.board.wording import level_group_title, p_text, percent, percent_interval, points, points_interval, row_title
from bench.spinebench.summary import LOST

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
            lost = sum(own[name] for name in LOST)
            share = f"\n{percent(lost / row['n'])} unread" if lost else ""
            cells.append(Text.assemble(percent(own["value"]), (f"\n{percent_interval(own)}{share}", "dim not bold")))
        table.add_row(
            row_title(row), str(row["n"]), str(row["clusters"]), *cells, style="bold" if row["whole_axis"] else ""
        )
    console.print(table)
    if summary["comparisons"]:
        console.print(_comparisons(summary))
    if summary["levels"] and summary["subject"] is not None:
        console.print(_levels(summary))


def _comparisons(summary: dict[str, Any]) -> Table:
    """One line per finest row, one column per reference."""
    references = [system["name"] for system in summary["systems"] if system["name"] != summary["subject"]]
    table = Table(
        title=Text(f"{summary['subject']} minus each other system, same questions: points, 95 % interval, p (Holm)"),
        caption="p by cluster sign-flip test. No interval with fewer than 20 clusters.",
    )
    table.add_column("")
    for name in references:
        table.add_column(Text(f"minus {name}"), justify="right")
    found = {(one["row"], one["reference"]): one for one in summary["comparisons"]}
    for row in summary["rows"]:
        if not row["whole_axis"]:
            cells = []
            for name in references:
                one = found.get((row["key"], name))
                if one is None:  # the blind control of a text question is the same question
                    cells.append(Text(""))
                    continue
                detail = f"\n{points_interval(one)}\np {p_text(one['p_holm'])}"
                cells.append(Text.assemble(points(one["difference"]), (detail, "dim")))
            table.add_row(row_title(row), *cells)
    return table


def _levels(summary: dict[str, Any]) -> Table:
    """The subject's level measures, one line per group."""
    table = Table(title=Text(f"{summary['subject']}: levels"))
    for name in ("", "n", "levels", "exact", "within one", "region", "mean over levels"):
        table.add_column(name, justify="left" if not name else "right")
    for group, systems in summary["levels"].items():
        own = systems[summary["subject"]]
        table.add_row(
            level_group_title(group),
            str(own["n"]),
            str(own["distinct_levels"]),
            *(
                Text.assemble(percent(own[key]["value"]), (f"\n{percent_interval(own[key])}", "dim"))
                for key in ("exact", "within_one", "region", "macro")
            ),
        )
    return table
