"""Disagreements: the queue of disputed items, both decisions side by side, and the adjudicator's own.

Convention: an adjudicator sees "A" and "B", never names, never the model, and only items that he did not review. The
same tokens and versions as for decisions hold: a repeated request is one adjudication, an older page is refused.

Trap: a reviewer may see the other decision only when the item has all its decisions; from then on the own one stands.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AbsentError, RefusedError, StaleError
from data_pipeline.review.protocol.access import Actor, check_id, clean_text, require
from data_pipeline.review.protocol.blind import apply_edit, key_of, side_of, urgency_of
from data_pipeline.review.protocol.decide import Choice, Decided, add_version, check_token, flush_once, lock_own
from data_pipeline.review.protocol.settle import disagreements, judgements
from data_pipeline.review.protocol.views import EvidenceView, evidence_of
from data_pipeline.review.store.tables import Adjudication, Assignment, Decision, GoldItem, Item, Version, now
from spinemed.records import Instance, content_hash

__all__ = [
    "Dispute",
    "DisputeRow",
    "Opinion",
    "adjudicate",
    "count_disputes",
    "dispute_queue",
    "open_dispute",
    "other_decision",
]


@dataclass(frozen=True)
class Opinion:
    """One reviewer's decision, without the name."""

    letter: str
    verdict: str
    reason: str
    answer_key: str
    levels: tuple[str, ...]
    side: str
    urgency: str
    edit: dict[str, Any] | None
    """Blinded wording of an edit."""


@dataclass(frozen=True)
class DisputeRow:
    """One line of the queue."""

    item_id: int
    task: str
    axis: str
    language: str
    purpose: str


@dataclass(frozen=True)
class Dispute:
    """One disagreement with all that is needed to settle it."""

    item_id: int
    version: int
    """Send it back."""
    task: str
    purpose: str
    disagreed: tuple[str, ...]
    draft: dict[str, Any] | None
    revision: dict[str, Any]
    opinions: tuple[Opinion, ...]
    evidence: tuple[EvidenceView, ...]


def _not_mine(actor: Actor) -> Any:
    return ~select(Assignment.id).where(Assignment.item_id == Item.id, Assignment.user_id == actor.id).exists()


def dispute_queue(session: Session, actor: Actor, *, after: int = 0, limit: int = 50) -> list[DisputeRow]:
    """Disputed items that the actor did not review, oldest first.

    Raises:
        AccessError: The actor is no adjudicator.
    """
    require(actor, "adjudicator")
    rows = session.execute(
        select(Item.id, Item.task, Item.axis, Item.language, Item.purpose)
        .where(Item.status == "disputed", Item.id > after, _not_mine(actor))
        .order_by(Item.id)
        .limit(max(1, min(limit, 200)))
    ).all()
    return [DisputeRow(*row) for row in rows]


def count_disputes(session: Session, actor: Actor) -> int:
    """How many disagreements wait for this adjudicator."""
    require(actor, "adjudicator")
    return session.scalar(select(func.count()).where(Item.status == "disputed", _not_mine(actor))) or 0


def open_dispute(session: Session, actor: Actor, item_id: int) -> Dispute:
    """Both decisions side by side.

    Raises:
        AccessError: The actor is no adjudicator.
        AbsentError: No such disagreement, or the actor reviewed the item.
    """
    require(actor, "adjudicator")
    item = session.scalars(
        select(Item).where(Item.id == check_id(item_id), Item.status == "disputed", _not_mine(actor))
    ).one_or_none()
    if item is None:
        raise AbsentError("there is no such disagreement")
    found = judgements(session, item)
    texts = session.execute(
        select(Version.id, Version.kind, Version.shown).where(Version.item_id == item.id).order_by(Version.number)
    ).all()
    by_id = {row.id: row.shown for row in texts}
    last = {row.kind: row.shown for row in texts}
    revision = json.loads(last["revision"])
    return Dispute(
        item_id=item.id,
        version=item.version,
        task=item.task,
        purpose=item.purpose,
        disagreed=tuple(disagreements([judgement for _, judgement in found])),
        draft=json.loads(last["draft"]) if "draft" in last else None,
        revision=revision,
        opinions=tuple(_opinion(place, row, by_id) for place, (row, _) in enumerate(found)),
        evidence=evidence_of(session, item.id, revision),
    )


def _opinion(place: int, row: Decision, texts: dict[int, str]) -> Opinion:
    edit = None if row.edit_version_id is None else json.loads(texts[row.edit_version_id])
    return Opinion(
        chr(ord("A") + place), row.verdict, row.reason, row.answer_key, tuple(row.levels), row.side, row.urgency, edit
    )


def adjudicate(
    session: Session,
    actor: Actor,
    item_id: int,
    choice: Choice,
    *,
    version: int,
    token: str,
    take: str = "",
) -> Decided:
    """Settle a disagreement.

    Args:
        session: A writing session.
        actor: The adjudicator.
        item_id: The item.
        choice: The verdict; with `edit` it is applied to the revision. A reason is always needed.
        version: Of the item, as :class:`Dispute` told it.
        token: New for each act.
        take: Letter of the reviewer whose edit is taken over, instead of an own one.

    Raises:
        AccessError: The actor is no adjudicator.
        AbsentError: No such disagreement, or the actor reviewed the item.
        StaleError: It changed, or somebody else settled it.
        RefusedError: No reason, no such letter, or an edit that makes no valid item.
    """
    require(actor, "adjudicator")
    reason = clean_text(choice.reason, "reason", most=4000, needed=True).strip()
    payload = content_hash(
        {"item": item_id, "take": take, "choice": choice.model_dump(mode="json", exclude={"seconds"})}
    )
    item = session.scalars(
        select(Item)
        .where(Item.id == check_id(item_id), _not_mine(actor))
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    known = session.scalars(
        select(Adjudication).where(Adjudication.user_id == actor.id, Adjudication.token == check_token(token))
    ).one_or_none()
    if known is not None and item is not None:
        if known.payload_sha256 != payload:
            raise RefusedError("was used for another decision", field="token", cure="make a new one for each act")
        return Decided(known.id, known.verdict, item.version, repeated=True)
    if item is None or item.status == "unsampled":
        raise AbsentError("there is no such disagreement")
    if item.status != "disputed" or item.version != version:
        raise StaleError("the disagreement changed since you opened it", cure="load the queue again")
    found = judgements(session, item)
    base = session.scalars(
        select(Version).where(Version.item_id == item.id, Version.kind == "revision").order_by(Version.number.desc())
        .limit(1)
    ).one()  # fmt: skip
    instance = Instance.model_validate_json(base.instance)
    final: Version | None = None
    if choice.verdict == "edited":
        final, instance = _final(session, actor, item, choice, take, found, base, instance, reason)
    elif choice.edit is not None or take:
        raise RefusedError("an edit belongs to the verdict `edited`", field="edit", cure="send both or none")
    row = Adjudication(
        item_id=item.id, user_id=actor.id, round=item.round,
        disagreed=disagreements([judgement for _, judgement in found]), verdict=choice.verdict,
        version_id=None if final is None else final.id, answer_key=key_of(instance),
        levels=[level.value for level in instance.levels],
        side=side_of(instance), urgency=urgency_of(instance), reason=reason, token=token, payload_sha256=payload,
        made_at=now(),
    )  # fmt: skip
    session.add(row)
    flush_once(session)
    item.status, item.final_version_id = choice.verdict, row.version_id
    item.version += 1
    told = {
        "adjudication": row.id, "round": item.round, "verdict": row.verdict, "disagreed": row.disagreed,
        "key": row.answer_key, "levels": row.levels, "shown_sha256": base.sha256,
        "edited_sha256": None if final is None else final.sha256, "payload_sha256": payload,
    }  # fmt: skip
    append(session, actor.pseudonym, "adjudicate", "item", item.id, old={"status": "disputed"}, new=told, why=reason)
    return Decided(row.id, row.verdict, item.version)


def _final(
    session: Session,
    actor: Actor,
    item: Item,
    choice: Choice,
    take: str,
    found: list[tuple[Decision, Any]],
    base: Version,
    instance: Instance,
    reason: str,
) -> tuple[Version, Instance]:
    """The wording that an adjudicator's edit makes, or the reviewer's that is taken over."""
    if bool(take) == (choice.edit is not None):
        raise RefusedError("give an edit or the letter of one", field="take", cure="send one of both")
    if choice.edit is not None:
        edited = apply_edit(instance, choice.edit, reason)
        return (
            add_version(session, item.id, "adjudication", edited, author=actor.id, parent=base.id, reason=reason),
            edited,
        )
    letters = {chr(ord("A") + place): row for place, (row, _) in enumerate(found)}
    taken = letters.get(take)
    if taken is None or taken.edit_version_id is None:
        raise RefusedError(f"{take[:4]!r} made no edit", field="take", cure="choose a reviewer who edited")
    version = session.get_one(Version, taken.edit_version_id)
    return version, Instance.model_validate_json(version.instance)


def other_decision(session: Session, actor: Actor, item_id: int) -> list[Opinion]:
    """What the others decided, once the item has all its decisions; from then on the own decision stands.

    Args:
        session: A writing session: that it was shown is noted.
        actor: A reviewer who decided the item.
        item_id: The item.

    Raises:
        AbsentError: The item is not the actor's, the actor has not decided, another decision is missing, or it is a
            gold item: everybody meets those, and the number of opinions would tell which they are.
    """
    require(actor, "reviewer")
    item, mine = lock_own(session, actor, item_id)
    found = judgements(session, item)
    others = [(row, judgement) for row, judgement in found if row.user_id != actor.id]
    if session.get(GoldItem, item.id) is not None:
        raise AbsentError("there is no other decision that you may see yet")
    if mine.status != "done" or len(found) < max(item.reviews_needed, 1) or len(others) == len(found):
        raise AbsentError("there is no other decision that you may see yet")
    if others and not mine.saw_other:
        mine.saw_other = True
        append(session, actor.pseudonym, "saw other decision", "item", item.id)
    texts = {
        version.id: version.shown
        for version in session.scalars(
            select(Version).where(Version.id.in_([row.edit_version_id for row, _ in others if row.edit_version_id]))
        )
    }
    return [_opinion(place, row, texts) for place, (row, _) in enumerate(others)]
