"""What a signature on this site stands for: a person's own standing decisions, by number and hash.

Convention: the hash covers every standing decision of the person in the order of their ids; it goes into the log with
the signature, so anybody can compute it again from the exported log.

Trap: what is signed must be what was read. The page sends the hash back that it showed, and a decision that came in
between is refused as stale instead of being signed unseen.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_pipeline.review.errors import RefusedError, StaleError
from data_pipeline.review.protocol.access import Actor, Role, require
from data_pipeline.review.protocol.signatures import MEANINGS, Proof, sign
from data_pipeline.review.store.tables import Adjudication, Assignment, AuditRow, Decision
from spinemed.records import content_hash

__all__ = ["SIGNERS", "OwnWork", "Signature", "meanings_for", "own_signatures", "own_work", "sign_own_work"]

SIGNERS: dict[str, Role] = {"reviewed": "reviewer", "adjudicated": "adjudicator"}
"""Meanings that are signed here and the role that may."""
_SHOWN = 20


@dataclass(frozen=True)
class OwnWork:
    """What a person would sign now."""

    meaning: str
    words: str
    """The meaning in full, as the log keeps it."""
    count: int
    sha256: str


@dataclass(frozen=True)
class Signature:
    """One signature in the log."""

    seq: int
    at: str
    meaning: str
    sha256: str


def meanings_for(actor: Actor) -> list[str]:
    """Meanings that the actor's roles can sign here."""
    return [meaning for meaning, role in SIGNERS.items() if actor.may(role)]


def own_work(session: Session, actor: Actor, meaning: str) -> OwnWork:
    """The standing decisions of a person, by number and hash.

    Raises:
        RefusedError: The meaning is none that is signed here.
        AccessError: The actor lacks the role.
    """
    if meaning not in SIGNERS:
        raise RefusedError("is no meaning that is signed here", field="meaning", cure="choose one of the list")
    require(actor, SIGNERS[meaning])
    if meaning == "reviewed":
        rows = session.execute(
            select(Decision.id, Decision.item_id, Decision.payload_sha256)
            .join(Assignment, Assignment.decision_id == Decision.id)
            .where(Decision.user_id == actor.id, Assignment.user_id == actor.id, Assignment.status == "done")
            .order_by(Decision.id)
        ).all()
    else:
        rows = session.execute(
            select(Adjudication.id, Adjudication.item_id, Adjudication.payload_sha256)
            .where(Adjudication.user_id == actor.id)
            .order_by(Adjudication.id)
        ).all()
    return OwnWork(meaning, MEANINGS[meaning], len(rows), content_hash([list(row) for row in rows]))


def own_signatures(session: Session, actor: Actor) -> list[Signature]:
    """The person's own signatures, newest first."""
    rows = session.execute(
        select(AuditRow.seq, AuditRow.at, AuditRow.meaning, AuditRow.sha256)
        .where(AuditRow.actor == actor.pseudonym, AuditRow.action == "sign")
        .order_by(AuditRow.seq.desc())
        .limit(_SHOWN)
    ).all()
    return [Signature(*row) for row in rows]


def sign_own_work(
    session: Session, actor: Actor, proof: Proof, meaning: str, *, seen_sha256: str, why: str = ""
) -> str:
    """Sign the standing decisions; returns the hash of the log's row.

    Raises:
        StaleError: They are no longer what the page showed.
        RefusedError: There is nothing to sign, or the meaning is none.
        AccessError: The proof is not this person's, or the role is missing.
    """
    work = own_work(session, actor, meaning)
    if work.sha256 != seen_sha256:
        raise StaleError("your decisions changed since the page was shown", cure="look again, then sign")
    if not work.count:
        raise RefusedError("there is no decision to sign", field="meaning", cure="decide first")
    return sign(
        session, actor, proof, meaning, object_kind="decisions", object_id=actor.pseudonym,
        new={"count": work.count, "sha256": work.sha256}, why=why,
    )  # fmt: skip
