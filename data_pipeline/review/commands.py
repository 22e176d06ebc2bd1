"""`spinemed review gold`, `reword`, `reopen`, `hand-on`: what a data manager does to single items, people and prompts.

Convention: an item is named by its number (in the address of its page) or by the id of its instance. All of it is
logged as done by `system`, with the reason that is given.

Trap: gold items are named here and nowhere else: no page that a reviewer can open tells which they are.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

__all__ = ["gold", "hand_on", "reopen", "reword"]

Run = Annotated[Path | None, typer.Option(help="The run folder whose review it is.")]
Database = Annotated[str | None, typer.Option(help="A SQLite file or a PostgreSQL URL, instead of the run's own.")]
Data = Annotated[Path | None, typer.Option(help="Folder of pictures and documents; needed with PostgreSQL.")]
Item = Annotated[str, typer.Argument(help="Number of an item, or the id of its instance.")]
Why = Annotated[str, typer.Option(help="The reason, for the log.")]


def _number(session: Session, item: str) -> int:
    """The number of an item that is named either way."""
    from sqlalchemy import select

    from data_pipeline.review.errors import AbsentError
    from data_pipeline.review.store.tables import Item as Row

    if item.isascii() and item.isdigit():
        return int(item)
    found = session.scalars(select(Row.id).where(Row.instance_id == item).order_by(Row.id)).all()
    if len(found) != 1:
        raise AbsentError(f"{len(found)} items have the id '{item[:80]}'", cure="name one by its number")
    return found[0]


def gold(
    item: Item,
    verdict: Annotated[Literal["approved", "edited", "rejected"], typer.Option(help="The decision that is right.")],
    key: Annotated[str, typer.Option(help="The right answer of a closed question; the item's own unless given.")] = "",
    level: Annotated[list[str] | None, typer.Option(help="Right levels; the item's own unless given.")] = None,
    side: Annotated[str, typer.Option(help="left, right or both; the item's own unless given.")] = "",
    urgency: Annotated[str, typer.Option(help="routine, urgent or emergency; the item's own unless given.")] = "",
    note: Annotated[str, typer.Option(help="Why it is right, for the log.")] = "",
    run: Run = None,
    database: Database = None,
    data: Data = None,
) -> None:
    """Hide an item among the others whose right decision is known; the next assignment gives it to everybody."""
    from data_pipeline.review.cli import open_review
    from data_pipeline.review.protocol.access import SYSTEM
    from data_pipeline.review.protocol.manage import add_gold

    with closing(open_review(run, database, data)) as store, store.writing() as session:
        number = _number(session, item)
        add_gold(
            session, SYSTEM, number, verdict=verdict, answer_key=key, levels=level or (), side=side, urgency=urgency,
            note=note,
        )  # fmt: skip
    typer.echo(f"gold item: {number}")


def reword(
    kind: Annotated[Literal["criterion", "prompt"], typer.Argument(help="What is worded otherwise.")],
    name: Annotated[str, typer.Argument(help="Id of the criterion, or name of the prompt, e.g. revise_report.en.")],
    file: Annotated[Path, typer.Option("--file", help="The new words, UTF-8.")],
    why: Why,
    run: Run = None,
    database: Database = None,
    data: Data = None,
) -> None:
    """Word a criterion or a prompt otherwise for the next revision; `export` writes it into `guidance.yaml`."""
    from data_pipeline.review.cli import open_review
    from data_pipeline.review.protocol.access import SYSTEM
    from data_pipeline.review.protocol.wording import propose_wording
    from spinemed.errors import ReadError

    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError("cannot be read as UTF-8 text", file=file, cure="write the new words into a file") from error
    with closing(open_review(run, database, data)) as store, store.writing() as session:
        propose_wording(session, SYSTEM, kind, name, text, why=why)
    typer.echo(f"{kind}: {name}")


def reopen(item: Item, why: Why, run: Run = None, database: Database = None, data: Data = None) -> None:
    """Send an item to its reviewers again, for a new round."""
    from data_pipeline.review.cli import open_review
    from data_pipeline.review.protocol.access import SYSTEM
    from data_pipeline.review.protocol.studies import reopen_item

    with closing(open_review(run, database, data)) as store, store.writing() as session:
        number = _number(session, item)
        reopen_item(session, SYSTEM, number, why=why)
    typer.echo(f"open again: {number}")


def hand_on(
    pseudonym: Annotated[str, typer.Argument(help="Whose open items go to others.")],
    why: Why,
    run: Run = None,
    database: Database = None,
    data: Data = None,
) -> None:
    """Take a reviewer's open items away and give them to others; what is decided stays."""
    from sqlalchemy import select

    from data_pipeline.review.cli import open_review
    from data_pipeline.review.errors import AbsentError
    from data_pipeline.review.protocol.access import SYSTEM
    from data_pipeline.review.protocol.assign import hand_on as give
    from data_pipeline.review.store.tables import User

    with closing(open_review(run, database, data)) as store, store.writing() as session:
        user = session.scalar(select(User.id).where(User.pseudonym == pseudonym))
        if user is None:
            raise AbsentError(f"there is no user '{pseudonym[:64]}'", cure="see the page of users")
        number = give(session, SYSTEM, user, why=why)
    typer.echo(f"handed on: {number}")
