"""Published results on spine motion, to be printed beside a user's own and never ranked with them.

Convention: the numbers stand in `published.yaml` with source and mark; a value that a source does not give is absent
and printed as a dash. Angles per level have no published row: nobody has benchmarked them.

Trap: other data, other labels, other code, and for some tables an unstated norm factor or root. Nearness to a row is no
proof of anything.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import model_validator

from bench.motion.records import Scores
from spinemed.config import Config, load_config

__all__ = ["Published", "PublishedRow", "PublishedTable", "own_values", "published_tables", "row_cells"]


class PublishedRow(Config):
    """One method."""

    name: str
    values: dict[str, float]


class PublishedTable(Config):
    """A table of one source."""

    title: str
    source: str
    mark: Literal["a"]
    """a: read in the source itself. Numbers from memory do not stand here."""
    columns: dict[str, str]
    own: dict[str, str]
    """Which of the user's values stands in a column: "group/quantity", or "pictures/group/ap"."""
    digits: int
    rows: tuple[PublishedRow, ...]

    @model_validator(mode="after")
    def _known_columns(self) -> PublishedTable:
        used = {name for row in self.rows for name in row.values} | set(self.own)
        if not used <= set(self.columns):
            raise ValueError(f"values in columns that the table lacks: {sorted(used - set(self.columns))}")
        return self


class Published(Config):
    """All tables with what must stand beside them."""

    note: str
    tables: tuple[PublishedTable, ...]


@cache
def published_tables() -> Published:
    """The tables as packaged."""
    return load_config(Path(__file__).with_name("published.yaml"), Published)


def own_values(scores: Scores, table: PublishedTable) -> dict[str, float]:
    """The user's values in the columns of a table, as far as there are any."""
    means = scores.row().values if scores.summary else {}
    pictures = {one.group: one for one in scores.pictures}
    found: dict[str, float] = {}
    for column, key in table.own.items():
        if key.startswith("pictures/"):
            _, group, name = key.split("/")
            value = getattr(pictures[group], name) if group in pictures else None
        else:
            value = means[key].value if key in means else None
        if value is not None:
            found[column] = value
    return found


def row_cells(table: PublishedTable, values: dict[str, float]) -> list[str]:
    """Texts of one row, a dash where there is no value."""
    return [f"{values[name]:.{table.digits}f}" if name in values else "-" for name in table.columns]
