"""Tables of the reader study: clinicians judging outputs whose writer they do not know.

Convention: `system` and `arm` stand in a table of their own, which no reader's query joins.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Float, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from data_pipeline.review.store.base import Base, Moment

__all__ = ["ReaderAssignment", "ReaderCase", "ReaderKey", "ReaderOutput", "ReaderStudy", "ReaderVote"]


class ReaderStudy(Base):
    """One study."""

    __tablename__ = "reader_studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    readers_per_output: Mapped[int]
    seed: Mapped[int]
    made_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    made_at: Mapped[str] = mapped_column(Moment)


class ReaderCase(Base):
    """One question that several systems answered."""

    __tablename__ = "reader_cases"
    __table_args__ = (UniqueConstraint("study_id", "case_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("reader_studies.id"))
    case_id: Mapped[str] = mapped_column(String(200))
    question: Mapped[str] = mapped_column(Text)
    pictures: Mapped[list[str]]
    """Hashes."""
    reference: Mapped[str] = mapped_column(Text, default="")


class ReaderOutput(Base):
    """One text as shown."""

    __tablename__ = "reader_outputs"
    __table_args__ = (UniqueConstraint("case_pk", "output_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    case_pk: Mapped[int] = mapped_column(ForeignKey("reader_cases.id"))
    output_id: Mapped[str] = mapped_column(String(64))
    """Hash of the text as shown, so that it tells no system."""
    text: Mapped[str] = mapped_column(Text)


class ReaderKey(Base):
    """Who wrote an output: what a reader must not learn."""

    __tablename__ = "reader_keys"

    output_pk: Mapped[int] = mapped_column(ForeignKey("reader_outputs.id"), primary_key=True)
    system: Mapped[str] = mapped_column(String(200))
    arm: Mapped[str] = mapped_column(String(16))
    """model, reference or doctored."""
    planted: Mapped[list[str]]
    """Kinds of `SPINE_ERRORS` planted in a doctored control."""


class ReaderAssignment(Base):
    """One output for one reader, at a random place."""

    __tablename__ = "reader_assignments"
    __table_args__ = (UniqueConstraint("output_pk", "user_id"), Index(None, "user_id", "status", "place"))

    id: Mapped[int] = mapped_column(primary_key=True)
    output_pk: Mapped[int] = mapped_column(ForeignKey("reader_outputs.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    place: Mapped[float] = mapped_column(Float(53))
    status: Mapped[str] = mapped_column(String(8), default="open")
    version: Mapped[int] = mapped_column(default=1)


class ReaderVote(Base):
    """One reader's judgement of one output. Append-only: a later row of the same reader replaces the earlier one."""

    __tablename__ = "reader_votes"
    __table_args__ = (UniqueConstraint("user_id", "token"), Index(None, "output_pk", "user_id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    output_pk: Mapped[int] = mapped_column(ForeignKey("reader_outputs.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    group_name: Mapped[str] = mapped_column(String(64))
    dimensions: Mapped[dict[str, Any]]
    errors: Mapped[dict[str, Any]]
    would_sign: Mapped[bool]
    comment: Mapped[str] = mapped_column(Text, default="")
    seconds: Mapped[float]
    token: Mapped[str] = mapped_column(String(64))
    made_at: Mapped[str] = mapped_column(Moment)
