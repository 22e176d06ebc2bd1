"""What a reviewer's page reads: the next item, one item with its evidence, the own queue.

Convention: every query here names its columns and filters by the actor's own assignments. None selects a writer, a
model, a gold answer, or another person's decision or edit: what is not selected cannot be shown by mistake.

Trap: an item of somebody else answers as one that does not exist.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlalchemy import func, select
from sqlalchemy.orm import Session, aliased

from data_pipeline.review.errors import AbsentError
from data_pipeline.review.protocol.access import Actor, check_id, require
from data_pipeline.review.store.tables import (
    Assignment,
    Decision,
    Draft,
    EvidenceRow,
    Flag,
    Item,
    ItemEvidence,
    Version,
)

__all__ = [
    "EvidenceView",
    "FlagView",
    "ItemView",
    "MyDecision",
    "Progress",
    "QueueRow",
    "document_text",
    "evidence_of",
    "may_see",
    "my_progress",
    "my_queue",
    "next_item",
    "open_item",
    "place_of",
]


@dataclass(frozen=True)
class EvidenceView:
    """One thing that the answer rests on."""

    kind: str
    ref_id: str
    quote: str
    """The words relied on."""
    record: dict[str, Any]
    """Of the corpus: a span's text and offsets, a figure's caption id, a study's marks."""
    document_id: str
    picture_sha256: str
    title: str
    text_sha256: str
    """Of a document: what :func:`document_text` takes."""


@dataclass(frozen=True)
class FlagView:
    """A claim that this reviewer doubts."""

    id: int
    message: int
    start: int
    end: int
    quote: str
    kind: str
    note: str


@dataclass(frozen=True)
class MyDecision:
    """The actor's own decision that counts."""

    id: int
    verdict: str
    reason: str
    answer_key: str
    levels: tuple[str, ...]
    side: str
    urgency: str
    made_at: str


@dataclass(frozen=True)
class ItemView:
    """One screen: picture, evidence, draft, revision, own edit."""

    id: int
    version: int
    """Send it back with a decision."""
    round: int
    place: float
    status: Literal["open", "done"]
    task: str
    purpose: str
    side: str
    urgency: str
    reopened_why: str
    draft: dict[str, Any] | None
    """The first wording, blinded; None where it is not known."""
    revision: dict[str, Any]
    """The wording to decide on, blinded."""
    revision_id: int
    edit: dict[str, Any] | None
    """The actor's own last edit, blinded."""
    evidence: tuple[EvidenceView, ...]
    flags: tuple[FlagView, ...]
    decision: MyDecision | None
    autosave: dict[str, Any] | None
    autosave_version: int


@dataclass(frozen=True)
class QueueRow:
    """One line of the own queue."""

    item_id: int
    place: float
    status: str
    task: str
    axis: str
    language: str
    purpose: str
    verdict: str
    """Own verdict, or empty."""


@dataclass(frozen=True)
class Progress:
    """How far the actor is."""

    done: int
    open: int
    verdicts: dict[str, int] = field(default_factory=dict)


def next_item(
    session: Session, actor: Actor, *, after: float | None = None, backwards: bool = False, any_status: bool = False
) -> int | None:
    """Id of the actor's next item by place; one step in an index, however long the queue.

    Args:
        session: Any session.
        actor: A reviewer.
        after: The place to go on from; the start of the queue unless given.
        backwards: The one before it.
        any_status: Decided ones, too.
    """
    require(actor, "reviewer")
    query = select(Assignment.item_id).where(Assignment.user_id == actor.id)
    if any_status:
        query = query.where(Assignment.status != "void")
    else:
        query = query.where(Assignment.status == "open")
    if after is not None:
        query = query.where(Assignment.place < after if backwards else Assignment.place > after)
    order = Assignment.place.desc() if backwards else Assignment.place
    return session.scalar(query.order_by(order).limit(1))


def place_of(session: Session, actor: Actor, item_id: int) -> float:
    """Where an item stands in the actor's own order, without opening it.

    Raises:
        AccessError: The actor is no reviewer.
        AbsentError: No such item, or it is not the actor's.
    """
    require(actor, "reviewer")
    place = session.scalar(
        select(Assignment.place).where(
            Assignment.item_id == check_id(item_id), Assignment.user_id == actor.id, Assignment.status != "void"
        )
    )
    if place is None:
        raise AbsentError("there is no such item in your queue")
    return place


def open_item(session: Session, actor: Actor, item_id: int) -> ItemView:
    """Everything one screen shows; six queries whatever the item.

    Raises:
        AccessError: The actor is no reviewer.
        AbsentError: No such item, or it is not the actor's.
    """
    require(actor, "reviewer")
    row = session.execute(
        select(
            Item.id, Item.round, Item.task, Item.purpose, Item.side, Item.urgency, Item.reopened_why,
            Assignment.version, Assignment.place, Assignment.status, Assignment.decision_id,
        )
        .join(Assignment, Assignment.item_id == Item.id)
        .where(Item.id == check_id(item_id), Assignment.user_id == actor.id, Assignment.status != "void")
    ).one_or_none()  # fmt: skip
    if row is None:
        raise AbsentError("there is no such item in your queue")
    versions = session.execute(
        select(Version.id, Version.kind, Version.shown)
        .where(
            Version.item_id == row.id,
            Version.kind.in_(("draft", "revision")) | ((Version.author_id == actor.id) & (Version.kind == "edit")),
        )
        .order_by(Version.number)
    ).all()
    last = {version.kind: version for version in versions}
    saved = session.execute(
        select(Draft.body, Draft.version).where(Draft.user_id == actor.id, Draft.item_id == row.id)
    ).one_or_none()
    revision = last["revision"]
    shown = json.loads(revision.shown)
    return ItemView(
        id=row.id,
        version=row.version,
        round=row.round,
        place=row.place,
        status=row.status,
        task=row.task,
        purpose=row.purpose,
        side=row.side,
        urgency=row.urgency,
        reopened_why=row.reopened_why,
        draft=json.loads(last["draft"].shown) if "draft" in last else None,
        revision=shown,
        revision_id=revision.id,
        edit=json.loads(last["edit"].shown) if "edit" in last else None,
        evidence=evidence_of(session, row.id, shown),
        flags=_flags(session, actor, row.id),
        decision=_own(session, actor, row.decision_id),
        autosave=None if saved is None else dict(saved.body),
        autosave_version=0 if saved is None else saved.version,
    )


def evidence_of(session: Session, item_id: int, shown: dict[str, Any]) -> tuple[EvidenceView, ...]:
    """What an item rests on, in the order of the instance. The caller has checked the right to see the item."""
    rows = session.execute(
        select(
            ItemEvidence.place, EvidenceRow.kind, EvidenceRow.ref_id, EvidenceRow.record, EvidenceRow.document_id,
            EvidenceRow.picture_sha256, EvidenceRow.title, EvidenceRow.text_sha256,
        )
        .join(EvidenceRow, EvidenceRow.id == ItemEvidence.evidence_id)
        .where(ItemEvidence.item_id == item_id)
        .order_by(ItemEvidence.place)
    ).all()  # fmt: skip
    cited = shown["evidence"]
    return tuple(
        EvidenceView(
            kind=row.kind,
            ref_id=row.ref_id,
            quote=cited[row.place]["quote"] if row.place < len(cited) else "",
            record=json.loads(row.record),
            document_id=row.document_id,
            picture_sha256=row.picture_sha256,
            title=row.title,
            text_sha256=row.text_sha256,
        )
        for row in rows
    )


def _flags(session: Session, actor: Actor, item_id: int) -> tuple[FlagView, ...]:
    taken = aliased(Flag)
    rows = session.execute(
        select(Flag.id, Flag.message, Flag.start, Flag.end, Flag.quote, Flag.kind, Flag.note)
        # Who takes a flag back is its owner, on its item: said, so that the index answers and not the whole table.
        .outerjoin(
            taken,
            (taken.item_id == Flag.item_id) & (taken.user_id == Flag.user_id) & (taken.withdraws_id == Flag.id),
        )
        .where(Flag.item_id == item_id, Flag.user_id == actor.id, Flag.withdraws_id.is_(None), taken.id.is_(None))
        .order_by(Flag.id)
    ).all()
    return tuple(FlagView(*row) for row in rows)


def _own(session: Session, actor: Actor, decision_id: int | None) -> MyDecision | None:
    if decision_id is None:
        return None
    row = session.execute(
        select(
            Decision.id, Decision.verdict, Decision.reason, Decision.answer_key, Decision.levels, Decision.side,
            Decision.urgency, Decision.made_at,
        ).where(Decision.id == decision_id, Decision.user_id == actor.id)
    ).one()  # fmt: skip
    return MyDecision(
        row.id, row.verdict, row.reason, row.answer_key, tuple(row.levels), row.side, row.urgency, row.made_at
    )


def my_queue(
    session: Session, actor: Actor, *, after: float = -1.0, limit: int = 50, status: str = ""
) -> list[QueueRow]:
    """A page of the own queue, by place.

    Args:
        session: Any session.
        actor: A reviewer.
        after: The last place of the page before.
        limit: At most 200.
        status: `open` or `done`; both unless given.
    """
    require(actor, "reviewer")
    query = (
        select(
            Assignment.item_id, Assignment.place, Assignment.status, Item.task, Item.axis, Item.language, Item.purpose,
            func.coalesce(Decision.verdict, ""),
        )
        .join(Item, Item.id == Assignment.item_id)
        .outerjoin(Decision, (Decision.id == Assignment.decision_id) & (Decision.user_id == actor.id))
        .where(Assignment.user_id == actor.id, Assignment.place > after, Assignment.status != "void")
        .order_by(Assignment.place)
        .limit(max(1, min(limit, 200)))
    )  # fmt: skip
    if status in ("open", "done"):
        query = query.where(Assignment.status == status)
    return [QueueRow(*row) for row in session.execute(query).all()]


def my_progress(session: Session, actor: Actor) -> Progress:
    """How many items are done and open, and the own verdicts."""
    require(actor, "reviewer")
    counts = dict(
        session.execute(
            select(Assignment.status, func.count()).where(Assignment.user_id == actor.id).group_by(Assignment.status)
        ).all()
    )
    verdicts = session.execute(
        select(Decision.verdict, func.count())
        .join(Assignment, Assignment.decision_id == Decision.id)
        .where(Assignment.user_id == actor.id, Assignment.status == "done")
        .group_by(Decision.verdict)
    ).all()
    return Progress(counts.get("done", 0), counts.get("open", 0), dict(verdicts))


def document_text(session: Session, actor: Actor, item_id: int, document_id: str) -> str:
    """The text of a document that an item rests on, for the reviewer of the item or its adjudicator.

    Raises:
        AbsentError: The item is not the actor's, or does not rest on it.
    """
    may_see(session, actor, item_id)
    digest = session.scalar(
        select(EvidenceRow.text_sha256)
        .join(Item, Item.run_id == EvidenceRow.run_id)
        .where(
            Item.id == item_id,
            EvidenceRow.kind == "document",
            EvidenceRow.ref_id == document_id,
            EvidenceRow.id.in_(select(ItemEvidence.evidence_id).where(ItemEvidence.item_id == item_id)),
        )
    )
    if not digest:
        raise AbsentError("the item rests on no such document")
    content: bytes = session.info["blobs"].get(digest)
    return content.decode()


def may_see(session: Session, actor: Actor, item_id: int) -> None:
    """Raise AbsentError unless the actor may look at an item's contents: reviewer of it, adjudicator of it, or one who
    sees everything."""
    check_id(item_id)
    if actor.may("data_manager", "auditor"):
        found = session.scalar(select(Item.id).where(Item.id == item_id))
    else:
        mine = session.execute(
            select(Assignment.status).where(Assignment.item_id == item_id, Assignment.user_id == actor.id)
        ).scalar_one_or_none()
        found = item_id if mine in ("open", "done") and actor.may("reviewer") else None
        if mine is None and actor.may("adjudicator"):
            found = session.scalar(
                select(Item.id).where(
                    Item.id == item_id, Item.status.in_(("disputed", "approved", "edited", "rejected"))
                )
            )
    if found is None:
        raise AbsentError("there is no such item in your queue")
