"""Pictures of an item: which belong to it, and their bytes for those who may see the item.

Convention: a picture's address is the item and the hash of its bytes; the right is the item's, asked at every request.

Trap: knowing a hash opens nothing. A picture is served only through an item that shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import Response

from data_pipeline.review.errors import AbsentError
from data_pipeline.review.protocol.access import Actor
from data_pipeline.review.protocol.views import may_see
from data_pipeline.review.store.tables import EvidenceRow, ItemEvidence, Picture, Version
from data_pipeline.review.web.screen import Source

__all__ = ["Shown", "of_item", "serve"]

_TYPES = {"png": "image/png", "jpeg": "image/jpeg"}


@dataclass(frozen=True)
class Shown:
    """One picture on the page."""

    sha256: str
    source: int | None
    """Place of the evidence that it is."""
    size: str
    """`512 x 384 px`, or empty where the picture is not known."""


def of_item(session: Session, shown: Mapping[str, Any], sources: Sequence[Source]) -> tuple[Shown, ...]:
    """The pictures of a wording and of its evidence, each once, the wording's own first."""
    places: dict[str, int | None] = dict.fromkeys(shown["image_sha256"])
    for place, source in enumerate(sources):
        if source.picture and places.get(source.picture) is None:
            places[source.picture] = place
    if not places:
        return ()
    rows = session.execute(
        select(Picture.sha256, Picture.width_px, Picture.height_px).where(Picture.sha256.in_(places))
    ).all()
    sizes = {row.sha256: f"{row.width_px} × {row.height_px} px" for row in rows}
    return tuple(Shown(sha256, place, sizes.get(sha256, "")) for sha256, place in places.items())


def serve(session: Session, actor: Actor, item_id: int, sha256: str) -> Response:
    """A picture's bytes.

    Raises:
        AbsentError: The actor may not see the item, or it shows no such picture.
    """
    may_see(session, actor, item_id)
    texts = session.scalars(
        select(Version.shown).where(Version.item_id == item_id, Version.kind.in_(("draft", "revision")))
    )
    known = any(sha256 in json.loads(text)["image_sha256"] for text in texts) or session.scalar(
        select(ItemEvidence.item_id)
        .join(EvidenceRow, EvidenceRow.id == ItemEvidence.evidence_id)
        .where(ItemEvidence.item_id == item_id, EvidenceRow.picture_sha256 == sha256)
        .limit(1)
    )
    kind = session.scalar(select(Picture.format).where(Picture.sha256 == sha256)) if known else None
    if kind not in _TYPES:
        raise AbsentError("there is no such picture")
    content: bytes = session.info["blobs"].get(sha256)
    return Response(content, media_type=_TYPES[kind], headers={"Cache-Control": "private, max-age=3600"})
