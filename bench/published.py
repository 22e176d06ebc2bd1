"""Tables of published results, printed beside a user's own and never ranked with them.

Convention: each benchmark keeps its tables in a `published.yaml` with source and mark; a value that a source does not
give is absent and printed as a dash.

Trap: other data, other labels, other code. Nearness to a row is no proof of anything, and a row marked second-hand or
remembered was not read in its source at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import model_validator

from spinemed.config import Config, load_config

__all__ = ["MARKS", "Published", "PublishedRow", "PublishedTable", "page_tables", "published_tables", "row_cells"]

MARKS = {
    "a": "read in the source",
    "b": "remembered, not checked in the source",
    "c": "second-hand: a third party quoting the source",
}


class PublishedRow(Config):
    """One method."""

    name: str
    """The method, as its paper calls it."""
    values: dict[str, float]
    """Published numbers by column."""


class PublishedTable(Config):
    """A table of one source."""

    title: str
    """What the table shows."""
    source: str
    """Paper, table and page."""
    mark: Literal["a", "b", "c"]
    """How far the numbers were checked, see `MARKS`."""
    columns: dict[str, str]
    """Column names, and what each holds with its unit."""
    own: dict[str, str]
    """Which of the user's values stands in a column."""
    digits: int
    """Decimals as printed."""
    rows: tuple[PublishedRow, ...]
    """The methods, in the order of the paper."""

    @model_validator(mode="after")
    def _known_columns(self) -> PublishedTable:
        used = {name for row in self.rows for name in row.values} | set(self.own)
        if not used <= set(self.columns):
            raise ValueError(f"values in columns that the table lacks: {sorted(used - set(self.columns))}")
        return self


class Published(Config):
    """All tables with what must stand beside them."""

    note: str
    """Why these numbers cannot be compared with the user's directly."""
    tables: tuple[PublishedTable, ...]
    """The tables, in the order shown."""


@cache
def published_tables(file: Path) -> Published:
    """The tables of a benchmark."""
    return load_config(file, Published)


def row_cells(table: PublishedTable, values: Mapping[str, float | None]) -> list[str]:
    """Texts of one row, a dash where there is no value."""
    found = (values.get(name) for name in table.columns)
    return ["-" if value is None else f"{value:.{table.digits}f}" for value in found]


def page_tables(known: Published, own: Mapping[str, float | None]) -> dict[str, Any]:
    """What a page shows of them.

    Args:
        known: The tables.
        own: The user's values by the keys that stand in `PublishedTable.own`.
    """
    tables = [
        {
            "title": table.title, "source": table.source, "mark": MARKS[table.mark],
            "columns": list(table.columns.values()),
            "own": row_cells(table, {name: own.get(key) for name, key in table.own.items()}),
            "rows": [{"name": row.name, "cells": row_cells(table, row.values)} for row in table.rows],
        }
        for table in known.tables
    ]  # fmt: skip
    return {"note": known.note, "tables": tables}
