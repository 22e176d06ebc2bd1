"""Tables of what is reviewed: runs, items, their versions, and the evidence they rest on.

Convention: `Version.shown` is what a reviewer may read (no writer, no model, no prompt); `Version.instance` is the
whole record. A reviewer's query selects the first and never the second. Versions are appended, never changed: a
trigger of the database refuses anything else.

Trap: an item's status and the columns beside it are the present state for queues; the truth about who decided what is
in the appended rows of `work.py` and in the audit log.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from data_pipeline.review.store.base import Base, Moment, Sha

__all__ = ["EvidenceRow", "GoldItem", "Item", "ItemEvidence", "Picture", "ReviewRun", "SamplingPlan", "Version"]


class ReviewRun(Base):
    """One imported run of the data pipeline."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    folder: Mapped[str] = mapped_column(Text)
    revised_sha256: Mapped[str] = mapped_column(Sha, unique=True)
    """Of the folder of revised instances: the same run is imported once."""
    imported_at: Mapped[str] = mapped_column(Moment)
    account: Mapped[dict[str, Any]]
    """What was found, imported and left out, by reason."""


class Item(Base):
    """One question with its answer, waiting for people or decided by them."""

    __tablename__ = "items"
    __table_args__ = (
        UniqueConstraint("run_id", "instance_id"),
        Index(None, "status", "id"),
        Index(None, "group_id"),
        Index(None, "instance_sha256"),
        Index(None, "task", "status"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    instance_id: Mapped[str] = mapped_column(String(200))
    instance_sha256: Mapped[str] = mapped_column(Sha)
    """Of the imported revised instance."""
    task: Mapped[str] = mapped_column(String(32))
    axis: Mapped[str] = mapped_column(String(32))
    language: Mapped[str] = mapped_column(String(8))
    origin: Mapped[str] = mapped_column(String(16))
    source_id: Mapped[str] = mapped_column(String(120))
    group_id: Mapped[str] = mapped_column(String(200))
    answer_kind: Mapped[str] = mapped_column(String(16))
    answer_key: Mapped[str] = mapped_column(Text)
    """The canonical answer of a closed question; empty for free text."""
    levels: Mapped[list[str]]
    side: Mapped[str] = mapped_column(String(8), default="")
    """`left`, `right`, `both` or empty."""
    urgency: Mapped[str] = mapped_column(String(16), default="")
    """`routine`, `urgent`, `emergency` or empty."""
    purpose: Mapped[str] = mapped_column(String(16))
    """`benchmark` or `training`."""
    risk: Mapped[float]
    sampled: Mapped[bool] = mapped_column(default=False)
    """Whether the sampling plan sends it to people."""
    reviews_needed: Mapped[int] = mapped_column(default=0)
    status: Mapped[str] = mapped_column(String(16), default="unsampled")
    """unsampled, open, disputed, approved, edited or rejected."""
    final_version_id: Mapped[int | None]
    """Of an edited item: the version that is released."""
    round: Mapped[int] = mapped_column(default=1)
    """Raised when a level correction re-opens the item; decisions of earlier rounds stay and no longer count."""
    reopened_why: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=1)
    """For optimistic locking by adjudicators and managers; reviewers lock on their assignment."""


class Version(Base):
    """One wording of an item: the draft (number 0), the revision (1), and every edit. Append-only."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("item_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    """draft, revision, edit or adjudication."""
    author_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """Who edited; none for what was imported."""
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("versions.id"))
    shown: Mapped[str] = mapped_column(Text)
    """JSON without writer, model, prompt and request."""
    instance: Mapped[str] = mapped_column(Text)
    """JSON of the whole `Instance`."""
    sha256: Mapped[str] = mapped_column(Sha)
    """Content hash of the whole instance."""
    made_at: Mapped[str] = mapped_column(Moment)
    reason: Mapped[str] = mapped_column(Text, default="")


class EvidenceRow(Base):
    """A document, span, figure or study of a run's corpus that some item rests on."""

    __tablename__ = "evidence"
    __table_args__ = (UniqueConstraint("run_id", "kind", "ref_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    kind: Mapped[str] = mapped_column(String(16))
    ref_id: Mapped[str] = mapped_column(String(300))
    record: Mapped[str] = mapped_column(Text)
    """JSON of the corpus's record; of a document without its text."""
    text_sha256: Mapped[str] = mapped_column(String(64), default="")
    """Of a document: the blob that holds its text."""
    document_id: Mapped[str] = mapped_column(String(300), default="")
    """Of a span or figure."""
    picture_sha256: Mapped[str] = mapped_column(String(64), default="")
    """Of a figure or study."""
    title: Mapped[str] = mapped_column(Text, default="")


class ItemEvidence(Base):
    """Which item rests on what: for the page of an item, and for what a correction re-opens."""

    __tablename__ = "item_evidence"
    __table_args__ = (Index(None, "evidence_id"),)

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    """Its position in the instance's evidence."""
    evidence_id: Mapped[int] = mapped_column(ForeignKey("evidence.id"))


class Picture(Base):
    """A picture on disk, by hash."""

    __tablename__ = "pictures"

    sha256: Mapped[str] = mapped_column(Sha, primary_key=True)
    format: Mapped[str] = mapped_column(String(8))
    width_px: Mapped[int]
    height_px: Mapped[int]
    bits: Mapped[int] = mapped_column(default=8)


class SamplingPlan(Base):
    """One drawing of what is sent to people. Append-only."""

    __tablename__ = "sampling_plans"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    seed: Mapped[int]
    training_share: Mapped[float]
    counts: Mapped[dict[str, Any]]
    """By purpose: items and how many were drawn."""
    made_at: Mapped[str] = mapped_column(Moment)
    made_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    """None for the command line."""


class GoldItem(Base):
    """An item whose right decision is known, hidden among the others: no reviewer's query reads this table."""

    __tablename__ = "gold_items"

    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"), primary_key=True)
    verdict: Mapped[str] = mapped_column(String(16))
    answer_key: Mapped[str] = mapped_column(Text, default="")
    levels: Mapped[list[str]]
    side: Mapped[str] = mapped_column(String(8), default="")
    urgency: Mapped[str] = mapped_column(String(16), default="")
    note: Mapped[str] = mapped_column(Text, default="")
    made_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    made_at: Mapped[str] = mapped_column(Moment)
