"""Tables of the work: assignments, decisions, flagged claims, adjudications, and what is typed but not sent.

Convention: decisions, flags and adjudications are appended; an undo is a further row that names what it takes back.
`Assignment.decision_id` points at the decision that counts, and `Assignment.version` is what a page sends back, so that
an older page is refused instead of winning.

Trap: another reviewer's rows stand in the same tables. Every query that answers a reviewer filters by the user's id.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from data_pipeline.review.store.base import Base, Moment

__all__ = ["Adjudication", "Assignment", "Decision", "Draft", "Flag"]


class Assignment(Base):
    """One item for one reviewer."""

    __tablename__ = "assignments"
    __table_args__ = (
        UniqueConstraint("item_id", "user_id"),
        Index(None, "user_id", "status", "place"),
        Index(None, "user_id", "place"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    place: Mapped[float] = mapped_column(Float(53))
    """Random, drawn by seed: the order in which this reviewer meets the items."""
    status: Mapped[str] = mapped_column(String(8), default="open")
    """open, done or void."""
    round: Mapped[int] = mapped_column(default=1)
    """Of the item, when this assignment last became open."""
    decision_id: Mapped[int | None]
    """The decision that counts."""
    version: Mapped[int] = mapped_column(default=1)
    saw_other: Mapped[bool] = mapped_column(default=False)
    """Whether the other decision was shown to this reviewer; from then on nothing can be undone."""
    assigned_at: Mapped[str] = mapped_column(Moment)


class Decision(Base):
    """What one reviewer decided, or the taking back of it. Append-only."""

    __tablename__ = "decisions"
    __table_args__ = (
        UniqueConstraint("user_id", "token"),
        Index(None, "item_id", "round"),
        Index(None, "user_id", "made_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"))
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    group_name: Mapped[str] = mapped_column(String(64))
    """The reviewer's group at the time."""
    round: Mapped[int]
    verdict: Mapped[str] = mapped_column(String(16))
    """approved, edited, rejected or undone."""
    undoes_id: Mapped[int | None] = mapped_column(ForeignKey("decisions.id"))
    shown_version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    edit_version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    answer_key: Mapped[str] = mapped_column(Text)
    levels: Mapped[list[str]]
    side: Mapped[str] = mapped_column(String(8))
    urgency: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    seconds: Mapped[float]
    """From first shown to decided, less pauses as the page reports them."""
    token: Mapped[str] = mapped_column(String(64))
    """Chosen by the page: a request that is sent twice is one decision."""
    payload_sha256: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[str] = mapped_column(Moment)


class Flag(Base):
    """One claim of an answer that a reviewer doubts. Append-only; `withdrawn` rows take one back."""

    __tablename__ = "flags"
    __table_args__ = (UniqueConstraint("user_id", "token"), Index(None, "item_id", "user_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    message: Mapped[int]
    """Which message of the instance, from 0."""
    start: Mapped[int]
    end: Mapped[int]
    """Characters of that message."""
    quote: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(16))
    """Of `SPINE_ERRORS`, or `unsupported`."""
    note: Mapped[str] = mapped_column(Text, default="")
    withdraws_id: Mapped[int | None] = mapped_column(ForeignKey("flags.id"))
    token: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[str] = mapped_column(Moment)


class Adjudication(Base):
    """What an adjudicator made of a disagreement. Append-only."""

    __tablename__ = "adjudications"
    __table_args__ = (UniqueConstraint("user_id", "token"), Index(None, "item_id", "round"))

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    round: Mapped[int]
    disagreed: Mapped[list[str]]
    """Of decision, key, level, side, urgency, text."""
    verdict: Mapped[str] = mapped_column(String(16))
    version_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    answer_key: Mapped[str] = mapped_column(Text)
    levels: Mapped[list[str]]
    side: Mapped[str] = mapped_column(String(8))
    urgency: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    token: Mapped[str] = mapped_column(String(64))
    payload_sha256: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[str] = mapped_column(Moment)


class Draft(Base):
    """What a reviewer typed and has not decided yet."""

    __tablename__ = "autosaves"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True)
    body: Mapped[dict[str, Any]]
    version: Mapped[int] = mapped_column(default=1)
    saved_at: Mapped[str] = mapped_column(Moment)
