"""Published results of the VerSe challenge, to be printed beside a user's own and never ranked with them.

Convention: the numbers stand in `published.yaml` with their source; this module only reads and lines them up. A value
that the source does not give is None and printed as a dash.

Trap: these are other data scored by another, unpublished implementation. Nearness to a row is no proof of anything.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bench.verse.records import Scores
from spinemed.config import Config, load_config

__all__ = ["PublishedRow", "PublishedTable", "PublishedValues", "own_values", "published_table"]


class PublishedValues(Config):
    """What a team reached on one set."""

    id_percent: float | None = None
    """Identification rate in percent."""
    d_mm: float | None = None
    """Mean localisation error, misses as 1000 mm."""
    dice: float | None = None
    """Mean Dice coefficient of the vertebrae, 0 to 1."""
    hd_mm: float | None = None
    """Mean Hausdorff distance."""


class PublishedRow(Config):
    """One team."""

    team: str
    """As the paper calls it."""
    score: float
    """Of the organisers' point ranking."""
    public: PublishedValues
    """On the public test set."""
    hidden: PublishedValues
    """On the hidden test set."""


class PublishedTable(Config):
    """A table of a paper."""

    title: str
    """What the table shows."""
    source: str
    """Paper and table."""
    doi: str
    """Of the paper."""
    note: str
    """Why these numbers cannot be compared with the user's directly."""
    columns: dict[str, str]
    """Column names, and what each holds with its unit."""
    rows: tuple[PublishedRow, ...]
    """Teams, in the order of the paper."""


@cache
def published_table() -> PublishedTable:
    """The VerSe'19 table as packaged."""
    return load_config(Path(__file__).with_name("published.yaml"), PublishedTable)


def own_values(scores: Scores) -> PublishedValues:
    """The user's result in the same four quantities: pooled over vertebrae, misses counted.

    Misses count as 0 Dice, as not identified, and as the settings' penalties in both distances.
    """
    # Without a usable reference there is no summary, and no value.
    values = scores.row("vertebra").values if scores.vertebrae else {}

    def of(name: str) -> float | None:
        return values[name].value if name in values else None

    identified = of("identified")
    return PublishedValues(
        id_percent=None if identified is None else 100 * identified,
        d_mm=of("localisation_penalised_mm"),
        dice=of("dice"),
        hd_mm=of("hd_penalised_mm"),
    )
