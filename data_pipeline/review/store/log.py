"""Tables of the audit log: appended rows, each carrying the hash of the one before, and the head of the chain.

Trap: `AuditHead` is the one row that every writer locks; it is locked last, after all other rows of a transaction.
"""

from __future__ import annotations

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from data_pipeline.review.store.base import Base, Moment, Sha

__all__ = ["AuditHead", "AuditRow"]


class AuditRow(Base):
    """Who did what to which object, when and why. Append-only: triggers refuse UPDATE and DELETE."""

    __tablename__ = "audit"
    __table_args__ = (Index(None, "object_kind", "object_id"), Index(None, "actor"))

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    """From 1 without a gap."""
    at: Mapped[str] = mapped_column(Moment)
    actor: Mapped[str] = mapped_column(String(64))
    """Pseudonym, or `system` for the command line."""
    action: Mapped[str] = mapped_column(String(40))
    object_kind: Mapped[str] = mapped_column(String(32))
    object_id: Mapped[str] = mapped_column(String(300))
    old: Mapped[str] = mapped_column(Text)
    """JSON."""
    new: Mapped[str] = mapped_column(Text)
    """JSON."""
    why: Mapped[str] = mapped_column(Text)
    meaning: Mapped[str] = mapped_column(Text)
    """Of a signature: what the person declared by entering the password again; empty otherwise."""
    prev_sha256: Mapped[str] = mapped_column(Sha)
    sha256: Mapped[str] = mapped_column(Sha, unique=True)


class AuditHead(Base):
    """The last row's number and hash: one row."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int]
    sha256: Mapped[str] = mapped_column(Sha)
