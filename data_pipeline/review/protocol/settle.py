"""From decisions to a state: agreed, disputed, or still open.

Convention: decisions of the item's present round count, one of each reviewer. With as many as are needed: all approve,
all reject, or all make the same edit, and the item has that state; anything else is disputed and waits for an
adjudicator. What is compared: the verdict, and of decisions that keep the item the key, levels, side, urgency, and
the words of edits.

Trap: a gold item is never settled: it measures the reviewers, not the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_pipeline.review.errors import RefusedError
from data_pipeline.review.store.tables import Adjudication, Assignment, Decision, GoldItem, Item, Version

__all__ = ["Judgement", "disagreements", "judgements", "settle", "unsettle"]


@dataclass(frozen=True)
class Judgement:
    """What of a decision is compared."""

    verdict: str
    answer_key: str
    levels: tuple[str, ...]
    side: str
    urgency: str
    text: str
    """Of an edit: hash of its words; empty otherwise."""


def disagreements(found: Sequence[Judgement]) -> list[str]:
    """Names of what two or more judgements differ in: decision, key, level, side, urgency, text."""
    differ = []
    if len({one.verdict for one in found}) > 1:
        differ.append("decision")
    keeping = [one for one in found if one.verdict != "rejected"]
    compared: dict[str, set[Any]] = {
        "key": {one.answer_key for one in keeping},
        "level": {tuple(sorted(one.levels)) for one in keeping},
        "side": {one.side for one in keeping},
        "urgency": {one.urgency for one in keeping},
        "text": {one.text for one in keeping if one.verdict == "edited"},
    }
    return [*differ, *(name for name, values in compared.items() if len(values) > 1)]


def judgements(session: Session, item: Item) -> list[tuple[Decision, Judgement]]:
    """The decisions that count for an item in its present round, in the order in which they were made."""
    rows = session.execute(
        select(Decision, Version.shown)
        .join(Assignment, Assignment.decision_id == Decision.id)
        .outerjoin(Version, Version.id == Decision.edit_version_id)
        .where(Assignment.item_id == item.id, Assignment.status == "done", Decision.round == item.round)
        .order_by(Decision.id)
    ).all()
    return [
        (
            row,
            Judgement(row.verdict, row.answer_key, tuple(row.levels), row.side, row.urgency, _words(shown)),
        )
        for row, shown in rows
    ]


def _words(shown: str | None) -> str:
    """An edit's words: what two edits must share to be one. The reasons that stand among its changes are left out."""
    import json

    from spinemed.records import content_hash

    if shown is None:
        return ""
    plain = json.loads(shown)
    return content_hash({name: plain[name] for name in ("messages", "options", "answer")})


def settle(session: Session, item: Item) -> None:
    """Give a locked item the state that its decisions make; call it after a decision was added."""
    session.flush()
    if item.status != "open" or session.get(GoldItem, item.id) is not None:
        return
    found = judgements(session, item)
    if len(found) < item.reviews_needed:
        return
    item.version += 1
    if disagreements([judgement for _, judgement in found]):
        item.status = "disputed"
        return
    first = found[0][0]
    item.status = first.verdict
    item.final_version_id = first.edit_version_id


def unsettle(session: Session, item: Item) -> None:
    """Open a locked item again because a decision is taken back.

    Raises:
        RefusedError: An adjudicator settled it in this round.
    """
    settled = session.scalar(
        select(Adjudication.id).where(Adjudication.item_id == item.id, Adjudication.round == item.round).limit(1)
    )
    if settled is not None:
        raise RefusedError("an adjudicator settled it", field="item", cure="ask a data manager to re-open the item")
    if item.status != "open":
        item.status, item.final_version_id = "open", None
        item.version += 1
