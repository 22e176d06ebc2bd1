"""Tables of pictures and patients: volumes by handle, corrected levels, figure pairs, the de-identification queue.

Convention: a handle is the hash of source and file name: it names a volume without telling a path. Points are RAS+ mm.

Trap: what waits in the de-identification queue may hold protected information. Its files stay where the engine put
them; the row holds the name within `held/` and the hashes of what would leave.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from data_pipeline.review.store.base import Base, Moment, Sha

__all__ = ["Annotation", "DeidItem", "FigureReview", "LevelCorrection", "StudyVolume", "Volume"]


class Volume(Base):
    """One file of a study: image, mask or centroids."""

    __tablename__ = "volumes"

    handle: Mapped[str] = mapped_column(Sha, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    kind: Mapped[str] = mapped_column(String(16))
    """image, mask or centroids."""
    path: Mapped[str] = mapped_column(Text)
    """On the machine that serves; never shown."""
    name: Mapped[str] = mapped_column(Text)
    """Within its source."""
    source_id: Mapped[str] = mapped_column(String(120))
    group_id: Mapped[str] = mapped_column(String(200))
    modality: Mapped[str] = mapped_column(String(8))
    sha256: Mapped[str] = mapped_column(Sha)
    """Of the file's bytes, checked before they are served."""
    scheme: Mapped[str] = mapped_column(String(32), default="")
    """Of a mask: whose numbers it carries (`verse`, `totalsegmentator`, ...); empty where they are no levels."""


class StudyVolume(Base):
    """Which volumes belong to a study of the corpus."""

    __tablename__ = "study_volumes"
    __table_args__ = (Index(None, "handle"),)

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    study_id: Mapped[str] = mapped_column(String(300), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    handle: Mapped[str] = mapped_column(ForeignKey("volumes.handle"))


class LevelCorrection(Base):
    """A new version of the levels of one volume. Append-only."""

    __tablename__ = "level_corrections"
    __table_args__ = (UniqueConstraint("handle", "number"), UniqueConstraint("made_by", "token"))

    id: Mapped[int] = mapped_column(primary_key=True)
    handle: Mapped[str] = mapped_column(ForeignKey("volumes.handle"))
    """Of the image."""
    number: Mapped[int]
    """1 is the first correction; 0 would be what was imported."""
    operations: Mapped[list[Any]]
    """What was done, in order: rename, shift, mark, move."""
    levels: Mapped[list[Any]]
    """[level, x, y, z] head to foot, RAS+ mm."""
    centroids_sha256: Mapped[str] = mapped_column(Sha)
    """Blob: the centroid file in VerSe layout."""
    labels: Mapped[dict[str, Any]]
    """Old VerSe label to new one, for the mask."""
    reopened: Mapped[int]
    reason: Mapped[str] = mapped_column(Text)
    token: Mapped[str] = mapped_column(String(64))
    made_by: Mapped[int] = mapped_column(ForeignKey("users.id"))
    made_at: Mapped[str] = mapped_column(Moment)


class Annotation(Base):
    """Measurements that a reader made on the pictures of an item. Append-only; the latest row of a reader counts."""

    __tablename__ = "annotations"
    __table_args__ = (Index(None, "item_id", "user_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    item_id: Mapped[int] = mapped_column(ForeignKey("items.id"))
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    round: Mapped[int]
    """Of the item when they were made."""
    marks: Mapped[list[Any]]
    """Kind, series, plane, layer, points in mm, values."""
    made_at: Mapped[str] = mapped_column(Moment)


class FigureReview(Base):
    """A picture on a page and the caption it was given, with a person's decision."""

    __tablename__ = "figure_reviews"
    __table_args__ = (UniqueConstraint("run_id", "figure_id", "caption_span_id"), Index(None, "status", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"))
    source_id: Mapped[str] = mapped_column(String(120))
    figure_id: Mapped[str] = mapped_column(String(300))
    caption_span_id: Mapped[str] = mapped_column(String(300))
    picture_sha256: Mapped[str] = mapped_column(Sha)
    caption: Mapped[str] = mapped_column(Text)
    mentions: Mapped[list[str]]
    pair: Mapped[dict[str, Any]]
    """The whole `FigurePair`."""
    status: Mapped[str] = mapped_column(String(16), default="waiting")
    """waiting, approve or reject."""
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    decided_at: Mapped[str | None] = mapped_column(Moment)
    reason: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=1)


class DeidItem(Base):
    """A text, header or picture that a person must see before it may leave quarantine."""

    __tablename__ = "deid_items"
    __table_args__ = (UniqueConstraint("folder", "record_id", "kind", "result_sha256"), Index(None, "status", "id"))

    id: Mapped[int] = mapped_column(primary_key=True)
    folder: Mapped[str] = mapped_column(Text)
    """What `spinemed data deidentify` wrote."""
    record_id: Mapped[str] = mapped_column(String(300))
    kind: Mapped[str] = mapped_column(String(16))
    """text, header, pixels or face."""
    held_name: Mapped[str] = mapped_column(Text, default="")
    """File within `held/`."""
    result_sha256: Mapped[str] = mapped_column(Sha)
    method: Mapped[str] = mapped_column(Text)
    open_points: Mapped[list[str]]
    counts: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(String(16), default="waiting")
    """waiting, clean or rejected."""
    decided_by: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    role: Mapped[str] = mapped_column(String(64), default="")
    decided_at: Mapped[str | None] = mapped_column(Moment)
    reason: Mapped[str] = mapped_column(Text, default="")
    version: Mapped[int] = mapped_column(default=1)
