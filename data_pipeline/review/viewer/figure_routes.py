"""Pages of the figure queue: a picture, the captions that were considered, and one key for each answer.

Convention: the captions of one picture are decided together: the chosen one is approved and the others rejected, or all
are rejected. The service decides who may; versions go with the form, so that two people cannot decide over each other.

Trap: a caption's text is of an unknown document; it is shown escaped and never as HTML.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.review.errors import AbsentError, RefusedError
from data_pipeline.review.protocol.access import Actor
from data_pipeline.review.protocol.queues import WaitingFigure, decide_figure, figure_queue, open_figure, queue_counts
from data_pipeline.review.store.tables import Picture
from data_pipeline.review.web.deps import CurrentUser, Db, Id, OpenStore, csrf_checked, page, review_of, see

__all__ = ["group_of", "router"]

router = APIRouter(prefix="/figures")
_MOST = 200


def group_of(session: Session, actor: Actor, one: WaitingFigure) -> list[WaitingFigure]:
    """All waiting pairs of one picture, the likeliest first; `one` is among them.

    Raises:
        AccessError: the actor is no data manager and no auditor.
    """
    rows: list[WaitingFigure] = []
    after = 0
    while part := figure_queue(session, actor, after=after, limit=_MOST):
        rows += [row for row in part if row.picture_sha256 == one.picture_sha256 and row.source_id == one.source_id]
        after = part[-1].id
        if len(part) < _MOST:
            break
    if all(row.id != one.id for row in rows):
        rows.append(one)
    return sorted(rows, key=lambda row: (-float(row.pair.get("score", 0.0)), row.id))


@router.get("")
def first(request: Request, db: Db, visitor: CurrentUser) -> Response:
    """The first picture that waits."""
    waiting = figure_queue(db, visitor.actor, limit=1)
    if not waiting:
        return page(request, "viewer/figure.html", figure=None, pairs=[], waiting=0, following=None)
    return _show(request, db, visitor.actor, waiting[0])


@router.get("/{number}")
def figure(request: Request, number: Id, db: Db, visitor: CurrentUser) -> Response:
    """One picture with its captions."""
    return _show(request, db, visitor.actor, open_figure(db, visitor.actor, number))


@router.get("/{number}/picture")
def picture(request: Request, number: Id, db: Db, visitor: CurrentUser) -> Response:
    """The picture of a pair."""
    found = open_figure(db, visitor.actor, number)
    row = db.get(Picture, found.picture_sha256)
    kind = row.format if row is not None else "png"
    content = review_of(request).store.blobs.get(found.picture_sha256)
    headers = {"cache-control": "private, no-cache", "etag": f'"{found.picture_sha256[:32]}"'}
    return Response(content, media_type=f"image/{'jpeg' if kind == 'jpeg' else 'png'}", headers=headers)


@router.post("/{number}", dependencies=[Depends(csrf_checked)])
def decide(
    number: Id,
    store: OpenStore,
    visitor: CurrentUser,
    choice: Annotated[str, Form(pattern=r"^(none|[0-9]{1,10})$")],
    versions: Annotated[str, Form(max_length=4000)],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Approve the pair `choice`, or none of the picture's."""
    shown = parse_versions(versions)
    with store.writing() as session:
        one = open_figure(session, visitor.actor, number)
        rows = group_of(session, visitor.actor, one)
        if choice != "none" and int(choice) not in {row.id for row in rows}:
            raise AbsentError("there is no such caption for this picture")
        why = reason.strip()
        for row in rows:
            chosen = choice != "none" and row.id == int(choice)
            said = why or ("" if chosen else "no caption fits" if choice == "none" else "another caption fits")
            decide_figure(
                session,
                visitor.actor,
                row.id,
                "approve" if chosen else "reject",
                version=shown.get(row.id, 0),
                reason=said,
            )
    return see("/figures")


def parse_versions(text: str) -> dict[int, int]:
    """Pair ids and versions from a form's `1:1,2:1`.

    Raises:
        RefusedError: it is not written so.
    """
    try:
        return {int(key): int(value) for key, _, value in (part.partition(":") for part in text.split(","))}
    except ValueError as error:
        raise RefusedError("is no list of versions", field="versions", cure="load the page again") from error


def _show(request: Request, db: Session, actor: Actor, one: WaitingFigure) -> Response:
    pairs = group_of(db, actor, one)
    counts = queue_counts(db, actor)["figures"]
    following = next((row.id for row in figure_queue(db, actor, after=max(row.id for row in pairs), limit=1)), None)
    return page(
        request,
        "viewer/figure.html",
        figure=one,
        pairs=pairs,
        waiting=counts.get("waiting", 0),
        following=following,
        may_decide=actor.may("data_manager"),
    )
