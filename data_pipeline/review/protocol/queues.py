"""Two queues of a data manager: pairs of picture and caption, and what waits in quarantine.

Convention: a decision on a figure or on a held result is made once and can be changed with a reason; every change is a
row of the log. To sign off a result needs the password entered again: without it no hospital case leaves quarantine.

Trap: a sign-off names the hash of the result, so it holds for those bytes alone; a result that was made again waits
again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AbsentError, RefusedError, StaleError
from data_pipeline.review.protocol.access import Actor, check_id, clean_text, require
from data_pipeline.review.protocol.signatures import Proof, sign
from data_pipeline.review.store.tables import DeidItem, FigureReview, now

__all__ = [
    "HeldResult",
    "WaitingFigure",
    "decide_figure",
    "figure_queue",
    "held_queue",
    "open_figure",
    "open_held",
    "queue_counts",
    "sign_off_held",
]

_Queued = TypeVar("_Queued", FigureReview, DeidItem)


@dataclass(frozen=True)
class WaitingFigure:
    """One pair."""

    id: int
    version: int
    source_id: str
    figure_id: str
    caption_span_id: str
    picture_sha256: str
    caption: str
    mentions: tuple[str, ...]
    pair: dict[str, Any]
    status: str
    reason: str


@dataclass(frozen=True)
class HeldResult:
    """One result that a person must see."""

    id: int
    version: int
    folder: str
    record_id: str
    kind: str
    held_name: str
    result_sha256: str
    method: str
    open_points: tuple[str, ...]
    counts: dict[str, int]
    status: str
    role: str
    reason: str


def _waiting(table: type[_Queued], status: str, after: int, limit: int) -> Select[_Queued]:
    """One page of a queue, in the order in which its rows were imported."""
    return (
        select(table)
        .where(table.status == str(status)[:16], table.id > after)
        .order_by(table.id)
        .limit(max(1, min(limit, 200)))
    )


def figure_queue(
    session: Session, actor: Actor, *, status: str = "waiting", after: int = 0, limit: int = 50
) -> list[WaitingFigure]:
    """Pairs in the order in which they were imported.

    Raises:
        AccessError: The actor is no data manager and no auditor.
    """
    require(actor, "data_manager", "auditor")
    return [_figure(row) for row in session.scalars(_waiting(FigureReview, status, after, limit))]


def open_figure(session: Session, actor: Actor, figure_id: int) -> WaitingFigure:
    """One pair.

    Raises:
        AccessError: The actor is no data manager and no auditor.
        AbsentError: No such pair.
    """
    require(actor, "data_manager", "auditor")
    row = session.get(FigureReview, check_id(figure_id))
    if row is None:
        raise AbsentError("there is no such figure")
    return _figure(row)


def _figure(row: FigureReview) -> WaitingFigure:
    return WaitingFigure(
        row.id, row.version, row.source_id, row.figure_id, row.caption_span_id, row.picture_sha256, row.caption,
        tuple(row.mentions), dict(row.pair), row.status, row.reason,
    )  # fmt: skip


def decide_figure(
    session: Session,
    actor: Actor,
    figure_id: int,
    decision: Literal["approve", "reject"],
    *,
    version: int,
    reason: str = "",
) -> WaitingFigure:
    """Say whether a caption belongs to its picture.

    Raises:
        AccessError: The actor is no data manager.
        AbsentError: No such pair.
        StaleError: Somebody else decided since.
        RefusedError: Neither word, or a rejection without a reason.
    """
    require(actor, "data_manager")
    reason = clean_text(reason, "reason", most=2000)
    if decision not in ("approve", "reject"):
        raise RefusedError("is no decision", field="decision", cure="approve or reject")
    if decision == "reject" and not reason.strip():
        raise RefusedError("a rejection needs a reason", field="reason", cure="write it")
    row = session.get(FigureReview, check_id(figure_id), with_for_update=True, populate_existing=True)
    if row is None:
        raise AbsentError("there is no such figure")
    if row.version != version:
        raise StaleError("somebody decided on it since you opened it", cure="load it again")
    old = {"decision": row.status, "reason": row.reason}
    row.status, row.reason, row.decided_by, row.decided_at = decision, reason, actor.id, now()
    row.version += 1
    append(
        session, actor.pseudonym, "decide figure", "figure", row.figure_id, old=old,
        new={"decision": decision, "caption_span_id": row.caption_span_id}, why=reason,
    )  # fmt: skip
    return _figure(row)


def held_queue(
    session: Session, actor: Actor, *, status: str = "waiting", after: int = 0, limit: int = 50
) -> list[HeldResult]:
    """What waits in quarantine, in the order in which it was imported.

    Raises:
        AccessError: The actor is no data manager.
    """
    require(actor, "data_manager")
    return [_held(row) for row in session.scalars(_waiting(DeidItem, status, after, limit))]


def open_held(session: Session, actor: Actor, held_id: int) -> HeldResult:
    """One held result.

    Raises:
        AccessError: The actor is no data manager.
        AbsentError: No such result.
    """
    require(actor, "data_manager")
    row = session.get(DeidItem, check_id(held_id))
    if row is None:
        raise AbsentError("there is no such result")
    return _held(row)


def _held(row: DeidItem) -> HeldResult:
    return HeldResult(
        row.id, row.version, row.folder, row.record_id, row.kind, row.held_name, row.result_sha256, row.method,
        tuple(row.open_points), dict(row.counts), row.status, row.role, row.reason,
    )  # fmt: skip


def sign_off_held(
    session: Session,
    actor: Actor,
    held_id: int,
    decision: Literal["clean", "rejected"],
    *,
    proof: Proof,
    version: int,
    reason: str,
) -> HeldResult:
    """Say that a result identifies nobody, or that it must stay, and sign for it.

    Args:
        session: A writing session.
        actor: A data manager.
        held_id: The result.
        decision: `clean` or `rejected`.
        proof: From :func:`~data_pipeline.review.protocol.signatures.prove`.
        version: As shown.
        reason: Always needed.

    Raises:
        AccessError: The actor is no data manager, or the password was not entered just now.
        AbsentError: No such result.
        StaleError: Somebody else decided since.
        RefusedError: Neither word, or no reason.
    """
    require(actor, "data_manager")
    reason = clean_text(reason, "reason", most=2000, needed=True)
    if decision not in ("clean", "rejected"):
        raise RefusedError("is no decision", field="decision", cure="clean or rejected")
    row = session.get(DeidItem, check_id(held_id), with_for_update=True, populate_existing=True)
    if row is None:
        raise AbsentError("there is no such result")
    if row.version != version:
        raise StaleError("somebody decided on it since you opened it", cure="load it again")
    row.status, row.reason, row.decided_by, row.decided_at = decision, reason, actor.id, now()
    row.role = "data manager"
    row.version += 1
    new = {"decision": decision, "kind": row.kind, "result_sha256": row.result_sha256}
    if decision == "clean":
        sign(session, actor, proof, "deidentified", object_kind="held", object_id=row.id, new=new, why=reason)
    else:
        proof.hold(actor)
        append(session, actor.pseudonym, "reject held", "held", row.id, new=new, why=reason)
    return _held(row)


def queue_counts(session: Session, actor: Actor) -> dict[str, dict[str, int]]:
    """How many figures and held results there are, by status.

    Raises:
        AccessError: The actor is no data manager and no auditor.
    """
    require(actor, "data_manager", "auditor")
    return {
        name: dict(session.execute(select(table.status, func.count()).group_by(table.status)).all())
        for name, table in (("figures", FigureReview), ("held", DeidItem))
    }
