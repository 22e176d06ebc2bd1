"""Signing: a person enters the password again and says what the signature means.

Convention: :func:`prove` checks the password outside any transaction (it is slow on purpose) and gives a
:class:`Proof`; :func:`sign` takes it and appends the row. A proof is for one person and holds for a minute.

Trap: an attempt is counted for the throttle even where it fails, so it is stored by a transaction of its own.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AccessError, RefusedError
from data_pipeline.review.protocol.access import Actor, clean_text
from data_pipeline.review.protocol.passwords import check_password
from data_pipeline.review.store import Store

__all__ = ["MEANINGS", "Proof", "prove", "sign"]

MEANINGS = {
    "reviewed": "I looked at these items myself and stand by my decisions",
    "adjudicated": "I weighed both decisions and settled the disagreement",
    "deidentified": "I looked at this result and it identifies nobody",
    "released": "I release these items for the use that their sources allow",
}
"""What a signature can declare."""
_LASTS_S = 60.0
_MADE_HERE = object()


class Proof:
    """That a person entered the right password just now. Made by :func:`prove` alone."""

    __slots__ = ("at", "user_id")

    def __init__(self, user_id: int, *, made_by: object = None) -> None:
        if made_by is not _MADE_HERE:
            raise TypeError("a Proof is made by prove(), which checks the password")
        self.user_id = user_id
        self.at = time.monotonic()

    def hold(self, actor: Actor) -> None:
        """Raise AccessError unless the proof is this actor's and fresh."""
        if self.user_id != actor.id or time.monotonic() - self.at > _LASTS_S:
            raise AccessError("the password was not entered just now", cure="enter it again")


def prove(store: Store, actor: Actor, password: str, *, address: str = "") -> Proof:
    """Check a password that was entered again.

    Raises:
        LoginError: It is wrong, or there were too many attempts.
    """
    check_password(store, actor.pseudonym, password, address=address, login=False)
    return Proof(actor.id, made_by=_MADE_HERE)


def sign(
    session: Session,
    actor: Actor,
    proof: Proof,
    meaning: str,
    *,
    object_kind: str,
    object_id: str | int,
    new: Any = None,
    why: str = "",
) -> str:
    """Append a signature to the log.

    Args:
        session: A writing session.
        actor: Who signs.
        proof: From :func:`prove`.
        meaning: A key of :data:`MEANINGS`.
        object_kind: What is signed.
        object_id: Which one.
        new: JSON value that the signature stands for, e.g. a hash.
        why: A remark.

    Returns:
        The row's hash.

    Raises:
        AccessError: The proof is another person's, or old.
        RefusedError: The meaning is none.
    """
    proof.hold(actor)
    if meaning not in MEANINGS:
        raise RefusedError(
            f"'{meaning}' is no meaning of a signature", field="meaning", cure=f"use {', '.join(MEANINGS)}"
        )
    text = clean_text(why, "why")
    return append(
        session, actor.pseudonym, "sign", object_kind, object_id, new=new, why=text, meaning=MEANINGS[meaning]
    )
