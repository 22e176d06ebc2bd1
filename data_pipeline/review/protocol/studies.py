"""Corrected levels: a new version of what a volume's vertebrae are called, and the items that it opens again.

Convention: the viewer works out the new levels; this service checks who may store them, appends the version, and opens
every item that rests on a study of the volume for a new round. Decisions of earlier rounds stay in the table.

A gold item is opened like any other, or what stays closed would tell which they are; what it takes for right was said
of the old levels, so it counts for nobody until a data manager states it again (:func:`stale_gold`).

Trap: an item that was never drawn is not opened, but it is marked: what it says rests on levels that were wrong. An
export holds it back (`held.jsonl`), and the next drawing takes it for certain.
The reason of a correction stays in the log and its row: the other reviewer of an item must not read it before deciding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AbsentError, AccessError, StaleError
from data_pipeline.review.protocol.access import Actor, check_id, clean_text, require
from data_pipeline.review.protocol.decide import check_token, flush_once
from data_pipeline.review.store.tables import (
    Assignment,
    EvidenceRow,
    GoldItem,
    Item,
    ItemEvidence,
    LevelCorrection,
    StudyVolume,
    Volume,
    now,
)

__all__ = ["Corrected", "correct_levels", "dependent_items", "reopen_item", "stale_gold"]

_PART = 5_000


@dataclass(frozen=True)
class Corrected:
    """A stored correction."""

    number: int
    reopened: int
    """Items that go to their reviewers again."""
    marked: int
    """Items that nobody was to see, now marked."""
    repeated: bool = False


def dependent_items(session: Session, handle: str) -> list[int]:
    """Items that rest on a study cut from this volume, by id."""
    return list(
        session.scalars(
            select(ItemEvidence.item_id)
            .join(EvidenceRow, (EvidenceRow.id == ItemEvidence.evidence_id) & (EvidenceRow.kind == "study"))
            .join(
                StudyVolume,
                (StudyVolume.run_id == EvidenceRow.run_id) & (StudyVolume.study_id == EvidenceRow.ref_id),
            )
            .where(StudyVolume.handle == handle)
            .distinct()
            .order_by(ItemEvidence.item_id)
        )
    )


def stale_gold(session: Session) -> list[int]:
    """Gold items, by id, whose right decision was stated before the levels under them were corrected."""
    return list(
        session.scalars(
            select(GoldItem.item_id)
            .join(ItemEvidence, ItemEvidence.item_id == GoldItem.item_id)
            .join(EvidenceRow, (EvidenceRow.id == ItemEvidence.evidence_id) & (EvidenceRow.kind == "study"))
            .join(
                StudyVolume,
                (StudyVolume.run_id == EvidenceRow.run_id) & (StudyVolume.study_id == EvidenceRow.ref_id),
            )
            .join(LevelCorrection, LevelCorrection.handle == StudyVolume.handle)
            .where(LevelCorrection.made_at > GoldItem.made_at)
            .distinct()
            .order_by(GoldItem.item_id)
        )
    )


def correct_levels(
    session: Session,
    actor: Actor,
    handle: str,
    *,
    operations: Sequence[Any],
    levels: Sequence[Any],
    centroids: bytes,
    labels: Mapping[str, int],
    base: int,
    token: str,
    reason: str,
) -> Corrected:
    """Store a new version of a volume's levels and open what rests on it again.

    Args:
        session: A writing session.
        actor: A reviewer with an item that rests on the volume, an adjudicator, or a data manager.
        handle: Of the image.
        operations: What was done, in order.
        levels: [level, x, y, z] head to foot, RAS+ mm.
        centroids: The centroid file in VerSe layout.
        labels: Old VerSe label (as text) to new one.
        base: Number of the version that was corrected; 0 for what was imported.
        token: New for each correction.
        reason: Why.

    Returns:
        The number of the new version and how many items were opened.

    Raises:
        AbsentError: No such image, or none that the actor may see.
        StaleError: Somebody else corrected it since.
        RefusedError: No reason.
    """
    reason = clean_text(reason, "reason", most=2000, needed=True)
    require(actor, "reviewer", "adjudicator", "data_manager")
    volume = session.scalars(
        select(Volume).where(Volume.handle == str(handle)[:64], Volume.kind == "image").with_for_update()
    ).one_or_none()
    found = [] if volume is None else dependent_items(session, volume.handle)
    if volume is None or not _concerns(session, actor, volume.handle):
        raise AbsentError("there is no such series")
    known = session.scalars(
        select(LevelCorrection).where(LevelCorrection.made_by == actor.id, LevelCorrection.token == check_token(token))
    ).one_or_none()
    if known is not None:
        return Corrected(known.number, known.reopened, 0, repeated=True)
    last = session.scalar(select(func.max(LevelCorrection.number)).where(LevelCorrection.handle == volume.handle)) or 0
    if last != base:
        raise StaleError(
            f"the levels were corrected meanwhile (version {last}, yours starts from {base})",
            cure="open the item again",
        )
    why = f"levels of the volume were corrected (version {last + 1})"
    reopened, marked = _reopen(session, found, why)
    row = LevelCorrection(
        handle=volume.handle, number=last + 1, operations=list(operations), levels=[list(one) for one in levels],
        centroids_sha256=session.info["blobs"].put(centroids), labels=dict(labels), reopened=reopened, reason=reason,
        token=token, made_by=actor.id, made_at=now(),
    )  # fmt: skip
    session.add(row)
    flush_once(session)
    append(
        session, actor.pseudonym, "correct levels", "volume", volume.handle, old={"version": last},
        new={"version": row.number, "operations": row.operations, "centroids_sha256": row.centroids_sha256,
             "reopened": reopened, "marked": marked},
        why=reason,
    )  # fmt: skip
    return Corrected(row.number, reopened, marked)


def _concerns(session: Session, actor: Actor, handle: str) -> bool:
    """Whether the actor has anything to do with a volume."""
    if actor.may("data_manager"):
        return True
    rests = (
        select(Item.id)
        .join(ItemEvidence, ItemEvidence.item_id == Item.id)
        .join(EvidenceRow, (EvidenceRow.id == ItemEvidence.evidence_id) & (EvidenceRow.kind == "study"))
        .join(StudyVolume, (StudyVolume.run_id == EvidenceRow.run_id) & (StudyVolume.study_id == EvidenceRow.ref_id))
        .where(StudyVolume.handle == handle)
    )
    own = rests.join(Assignment, Assignment.item_id == Item.id).where(
        Assignment.user_id == actor.id, Assignment.status != "void"
    )
    if actor.may("reviewer") and session.scalar(own.limit(1)) is not None:
        return True
    return actor.may("adjudicator") and session.scalar(rests.where(Item.status == "disputed").limit(1)) is not None


def _reopen(session: Session, ids: Sequence[int], why: str) -> tuple[int, int]:
    """Open items for a new round; rows are locked in the order of their ids."""
    opened: list[int] = []
    marked: list[int] = []
    for start in range(0, len(ids), _PART):
        rows = session.execute(
            select(Item.id, Item.sampled).where(Item.id.in_(ids[start : start + _PART])).order_by(Item.id)
            .with_for_update()
        ).all()  # fmt: skip
        for row in rows:
            (opened if row.sampled else marked).append(row.id)
    for start in range(0, len(opened), _PART):
        part = opened[start : start + _PART]
        session.execute(
            update(Item)
            .where(Item.id.in_(part))
            .values(
                status="open", round=Item.round + 1, version=Item.version + 1, final_version_id=None, reopened_why=why
            )
        )
        session.execute(
            update(Assignment)
            .where(Assignment.item_id.in_(part), Assignment.status != "void")
            .values(
                status="open", decision_id=None, version=Assignment.version + 1, round=Assignment.round + 1,
                saw_other=False,
            )
        )  # fmt: skip
    for start in range(0, len(marked), _PART):
        session.execute(update(Item).where(Item.id.in_(marked[start : start + _PART])).values(reopened_why=why))
    return len(opened), len(marked)


def reopen_item(session: Session, actor: Actor, item_id: int, *, why: str) -> None:
    """Send one item to its reviewers again.

    Raises:
        AccessError: The actor is no data manager.
        AbsentError: No such item.
        RefusedError: No reason.
    """
    require(actor, "data_manager")
    why = clean_text(why, "why", most=2000, needed=True)
    status = session.scalar(select(Item.status).where(Item.id == check_id(item_id)))
    if status is None:
        raise AbsentError("there is no such item")
    if status == "unsampled":
        raise AccessError("the item was never sent to anybody", cure="draw it first")
    _reopen(session, [item_id], why)
    append(
        session, actor.pseudonym, "re-open", "item", item_id, old={"status": status}, new={"status": "open"}, why=why
    )
