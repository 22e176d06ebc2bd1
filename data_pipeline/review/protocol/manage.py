"""What data managers and auditors see: runs, items in every state, the whole history of one; gold items and drift.

Convention: nobody here judges items (`access.check_roles` keeps the roles apart), so nothing is blinded.

Trap: a gold item must look like any other; what marks it stands in a table that only these services read.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AbsentError, RefusedError
from data_pipeline.review.protocol.access import Actor, check_id, clean_text, require
from data_pipeline.review.protocol.blind import SIDES, URGENCIES
from data_pipeline.review.protocol.studies import stale_gold
from data_pipeline.review.store.tables import (
    Adjudication,
    Assignment,
    Decision,
    Flag,
    GoldItem,
    Item,
    ReviewRun,
    User,
    Version,
    now,
)
from spinemed.records import Instance

__all__ = [
    "GoldScore",
    "History",
    "ItemRow",
    "RunRow",
    "add_gold",
    "gold_scores",
    "history_of",
    "list_items",
    "list_runs",
]


@dataclass(frozen=True)
class RunRow:
    """One imported run."""

    id: int
    name: str
    imported_at: str
    account: dict[str, Any]
    items: dict[str, int]
    """By status."""


@dataclass(frozen=True)
class ItemRow:
    """One item in a list."""

    id: int
    instance_id: str
    task: str
    axis: str
    language: str
    source_id: str
    purpose: str
    risk: float
    status: str
    round: int


@dataclass(frozen=True)
class History:
    """All that is known of one item."""

    item: ItemRow
    model: str
    """Who wrote it."""
    instance: dict[str, Any]
    """The wording that was sent to review, whole."""
    versions: tuple[dict[str, Any], ...]
    """number, kind, author, sha256, made_at, reason, shown."""
    decisions: tuple[dict[str, Any], ...]
    adjudications: tuple[dict[str, Any], ...]
    flags: tuple[dict[str, Any], ...]


def list_runs(session: Session, actor: Actor) -> list[RunRow]:
    """Imported runs with their counts.

    Raises:
        AccessError: The actor is no data manager and no auditor.
    """
    require(actor, "data_manager", "auditor")
    counts: dict[int, dict[str, int]] = {}
    for run_id, status, number in session.execute(
        select(Item.run_id, Item.status, func.count()).group_by(Item.run_id, Item.status)
    ):
        counts.setdefault(run_id, {})[status] = number
    rows = session.scalars(select(ReviewRun).order_by(ReviewRun.id))
    return [RunRow(run.id, run.name, run.imported_at, dict(run.account), counts.get(run.id, {})) for run in rows]


_ROW = ("id", "instance_id", "task", "axis", "language", "source_id", "purpose", "risk", "status", "round")


def list_items(
    session: Session,
    actor: Actor,
    *,
    status: str = "",
    task: str = "",
    purpose: str = "",
    after: int = 0,
    limit: int = 50,
) -> list[ItemRow]:
    """Items by id; filters that are empty let everything through.

    Raises:
        AccessError: The actor is no data manager and no auditor.
    """
    require(actor, "data_manager", "auditor")
    query = select(*(getattr(Item, name) for name in _ROW)).where(Item.id > after)
    for column, value in ((Item.status, status), (Item.task, task), (Item.purpose, purpose)):
        if value:
            query = query.where(column == clean_text(value, "filter", most=64))
    return [ItemRow(*row) for row in session.execute(query.order_by(Item.id).limit(max(1, min(limit, 200)))).all()]


def history_of(session: Session, actor: Actor, item_id: int) -> History:
    """Versions, decisions, adjudications and flags of one item, and who wrote it.

    Raises:
        AccessError: The actor is no data manager and no auditor.
        AbsentError: No such item.
    """
    require(actor, "data_manager", "auditor")
    item = session.get(Item, check_id(item_id))
    if item is None:
        raise AbsentError("there is no such item")
    names = dict(session.execute(select(User.id, User.pseudonym)).all())
    versions = session.scalars(select(Version).where(Version.item_id == item.id).order_by(Version.number)).all()
    sent = [version for version in versions if version.kind == "revision"][-1]
    instance = Instance.model_validate_json(sent.instance)

    def told(row: Any, *fields: str) -> dict[str, Any]:
        return {"by": names.get(row.user_id, ""), **{name: getattr(row, name) for name in fields}}

    def rows(table: Any) -> Sequence[Any]:
        return session.scalars(select(table).where(table.item_id == item.id).order_by(table.id)).all()

    common = ("id", "round", "verdict", "answer_key", "levels", "side", "urgency", "reason", "made_at")
    return History(
        item=ItemRow(*(getattr(item, name) for name in _ROW)),
        model=instance.writer.model,
        instance=instance.model_dump(mode="json"),
        versions=tuple(
            {
                "number": version.number, "kind": version.kind, "author": names.get(version.author_id or 0, ""),
                "sha256": version.sha256, "made_at": version.made_at, "reason": version.reason,
                "shown": json.loads(version.shown),
            }
            for version in versions
        ),
        decisions=tuple(told(row, *common, "group_name", "undoes_id", "seconds") for row in rows(Decision)),
        adjudications=tuple(told(row, *common, "disagreed") for row in rows(Adjudication)),
        flags=tuple(
            told(row, "id", "message", "start", "end", "quote", "kind", "note", "withdraws_id") for row in rows(Flag)
        ),
    )  # fmt: skip


# --- gold items ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GoldScore:
    """How one reviewer did on gold items."""

    pseudonym: str
    seen: int
    right: int
    wrong_in: dict[str, int]
    """decision, key, level, side, urgency."""


def add_gold(
    session: Session,
    actor: Actor,
    item_id: int,
    *,
    verdict: str,
    answer_key: str = "",
    levels: Sequence[str] = (),
    side: str = "",
    urgency: str = "",
    note: str = "",
) -> None:
    """Make an item, which nobody has decided yet, one whose right decision is known; everybody will meet it.

    A gold item under which levels were corrected is stated again by the same call.

    Raises:
        AccessError: The actor is no data manager.
        AbsentError: No such item.
        RefusedError: A value is none, or somebody decided the item already.
    """
    require(actor, "data_manager")
    if verdict not in ("approved", "edited", "rejected") or side not in SIDES or urgency not in URGENCIES:
        raise RefusedError("is no decision", field="verdict", cure="use approved, edited or rejected")
    item = session.get(Item, check_id(item_id), with_for_update=True, populate_existing=True)
    if item is None:
        raise AbsentError("there is no such item")
    known = session.get(GoldItem, item.id)
    if known is not None and item.id not in stale_gold(session):
        raise RefusedError("is a gold item already", field="item", cure="choose another")
    decided = session.scalar(select(Decision.id).where(Decision.item_id == item.id).limit(1))
    if known is None and decided is not None:
        raise RefusedError("somebody decided it already", field="item", cure="choose another")
    old = None if known is None else _stated(known)
    gold = GoldItem(item_id=item.id) if known is None else known
    gold.verdict, gold.answer_key = verdict, clean_text(answer_key, "answer_key") or item.answer_key
    gold.levels = [clean_text(level, "levels", most=16) for level in levels] or list(item.levels)
    gold.side, gold.urgency = side or item.side, urgency or item.urgency
    gold.note = clean_text(note, "note", most=2000)
    gold.made_by, gold.made_at = actor.id or None, now()
    session.add(gold)
    item.sampled, item.status = True, "open"
    item.reviews_needed = max(item.reviews_needed, 1)
    append(session, actor.pseudonym, "add gold", "item", item.id, old=old, new=_stated(gold), why=gold.note)


def _stated(gold: GoldItem) -> dict[str, Any]:
    """What a gold item takes for right."""
    return {
        "verdict": gold.verdict, "key": gold.answer_key, "levels": list(gold.levels), "side": gold.side,
        "urgency": gold.urgency,
    }  # fmt: skip


def gold_scores(session: Session, actor: Actor) -> list[GoldScore]:
    """How often each reviewer decided gold items as they should be, and what was missed.

    Items of :func:`~data_pipeline.review.protocol.studies.stale_gold` count for nobody.

    Raises:
        AccessError: The actor is no data manager and no auditor.
    """
    require(actor, "data_manager", "auditor")
    rows = session.execute(
        select(User.pseudonym, Decision, GoldItem)
        .join(Assignment, Assignment.decision_id == Decision.id)
        .join(GoldItem, GoldItem.item_id == Assignment.item_id)
        .join(User, User.id == Assignment.user_id)
        .where(Assignment.status == "done", GoldItem.item_id.notin_(stale_gold(session)))
        .order_by(User.pseudonym)
    ).all()
    found: dict[str, list[list[str]]] = {}
    for name, made, gold in rows:
        compared = {"decision": made.verdict == gold.verdict}
        if gold.verdict != "rejected" and made.verdict != "rejected":
            compared |= {
                "key": made.answer_key == gold.answer_key,
                "level": sorted(made.levels) == sorted(gold.levels),
                "side": made.side == gold.side,
                "urgency": made.urgency == gold.urgency,
            }
        found.setdefault(name, []).append([part for part, right in compared.items() if not right])
    return [
        GoldScore(
            name, len(missed), sum(not parts for parts in missed),
            {part: number for part in ("decision", "key", "level", "side", "urgency")
             if (number := sum(part in parts for parts in missed))},
        )
        for name, missed in found.items()
    ]  # fmt: skip
