"""What the terminals of all benchmarks have in common: a line of text, and tables of published results.

Trap: names and errors come from files; they are printed as text, never as markup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["print_line", "print_published"]


def print_line(console: Console, text: str) -> None:
    """One line as it is, not broken."""
    console.print(text, markup=False, soft_wrap=True)


def print_published(console: Console, known: dict[str, Any], own: str, *, marked: bool = True) -> None:
    """Tables of :func:`bench.published.page_tables`, the user's own row first.

    Args:
        console: Where to.
        known: The tables.
        own: How the user's own row is called.
        marked: Whether the source's line says how far its numbers were checked.
    """
    from rich.markup import escape
    from rich.table import Table

    for one in known["tables"]:
        table = Table(title=escape(one["title"]), title_justify="left")
        table.add_column("method")
        for title in one["columns"]:
            table.add_column(title, justify="right")
        table.add_row(escape(own), *one["own"])
        table.add_section()
        for row in one["rows"]:
            table.add_row(escape(row["name"]), *row["cells"])
        console.print(table)
        print_line(console, f"source ({one['mark']}): {one['source']}" if marked else f"source: {one['source']}")
    print_line(console, known["note"])
