"""Measurements on an item's pictures: kept as they are made, with the decision's item, reader and round.

Convention: the browser sends all marks of the page; a row is appended when they differ from the last one. A reader's
latest row belongs to that reader's decision; it says in which round of the item it was made. An item that is opened
again shows its reader the earlier marks: corrected names move no point.

Trap: a reader sees the own marks alone; the other reviewer's would break the blinding.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import RefusedError
from data_pipeline.review.protocol.access import Actor, require
from data_pipeline.review.store.tables import Annotation, Item, now
from data_pipeline.review.viewer.service import require_visible

__all__ = ["Mark", "own_annotations", "save_annotations"]

_POINTS = {"distance": 2, "angle": 3, "cobb": 4, "slip": 3}


class Mark(BaseModel):
    """One measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: Literal["distance", "angle", "cobb", "slip"]
    handle: str = Field(pattern=r"^[0-9a-f]{64}$")
    image_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    plane: Literal["sagittal", "coronal", "axial", "film"]
    layer: int = Field(ge=0, le=65535)
    points_mm: tuple[tuple[float, float, float], ...] = Field(min_length=2, max_length=4)
    """World mm (RAS+); pixels of a film whose spacing is not known."""
    values: dict[str, float | str] = Field(max_length=4)


_MARKS: TypeAdapter[list[Mark]] = TypeAdapter(list[Mark])
_MOST = 200


def save_annotations(session: Session, actor: Actor, item_id: int, marks: Any) -> int:
    """Keep what a reader measured on an item.

    Args:
        session: A writing session.
        actor: A reviewer or adjudicator who may see the item.
        item_id: The item.
        marks: JSON list of marks as the viewer makes them; empty where all were removed.

    Returns:
        How many marks there are now.

    Raises:
        AbsentError: no such item, or none that the actor may see.
        AccessError: the actor judges nothing.
        RefusedError: marks that are none, or more than 200.
    """
    require(actor, "reviewer", "adjudicator")
    require_visible(session, actor, item_id)
    try:
        found = _MARKS.validate_python(marks)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        raise RefusedError(first["msg"], field="annotations", cure="reload the page") from None
    if len(found) > _MOST or any(len(mark.points_mm) != _POINTS[mark.kind] for mark in found):
        raise RefusedError("too many marks, or one without its points", field="annotations", cure="remove some")
    plain = json.loads(_MARKS.dump_json(found))
    round_ = session.scalar(select(Item.round).where(Item.id == item_id)) or 1
    if own_annotations(session, actor, item_id) != plain:
        session.add(Annotation(item_id=item_id, user_id=actor.id, round=round_, marks=plain, made_at=now()))
        append(session, actor.pseudonym, "measure", "item", item_id, new={"round": round_, "marks": plain})
    return len(plain)


def own_annotations(session: Session, actor: Actor, item_id: int) -> list[Any]:
    """What the actor measured on an item last."""
    last = session.scalar(
        select(Annotation.marks)
        .where(Annotation.item_id == item_id, Annotation.user_id == actor.id)
        .order_by(Annotation.id.desc())
        .limit(1)
    )
    return list(last or [])
