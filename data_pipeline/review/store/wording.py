"""Table of criteria and prompts as people want them for the next revision."""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from data_pipeline.review.store.base import Base, Moment

__all__ = ["Wording"]


class Wording(Base):
    """A sentence of guidance for the next revision. Append-only: a later row of the same name replaces it."""

    __tablename__ = "wordings"
    __table_args__ = (Index(None, "kind", "name", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    """criterion or prompt."""
    name: Mapped[str] = mapped_column(String(120))
    """Of the criterion, e.g. `options_exclusive`, or of the prompt file, e.g. `revise_report.en`."""
    text: Mapped[str] = mapped_column(Text)
    why: Mapped[str] = mapped_column(Text)
    made_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    made_at: Mapped[str] = mapped_column(Moment)
