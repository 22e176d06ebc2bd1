"""Pages of the de-identification queue: what waits, one result before and after, and the sign-off with the password.

Convention: services decide who may; a data manager alone sees anything here. The values of an original are shown on
request, and the request is a row of the log. A result leaves quarantine only by a sign-off, which needs the password
entered again and names the hash of the result.

Trap: a held picture must never be cached: it may show a patient's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.deidentify.status import Sealed
from data_pipeline.review.audit.chain import append
from data_pipeline.review.deid import views
from data_pipeline.review.deid.originals import find_original
from data_pipeline.review.errors import AbsentError, RefusedError
from data_pipeline.review.protocol.queues import HeldResult, held_queue, open_held, queue_counts, sign_off_held
from data_pipeline.review.protocol.signatures import MEANINGS, prove
from data_pipeline.review.web.deps import CurrentUser, Db, Id, OpenStore, Visitor, csrf_checked, page, review_of, see
from spinemed.errors import ReadError

__all__ = ["router"]

router = APIRouter(prefix="/deid")


@router.get("")
def queue(
    request: Request, db: Db, visitor: CurrentUser, after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0
) -> Response:
    """What waits."""
    rows = held_queue(db, visitor.actor, after=after, limit=100)
    counts = queue_counts(db, visitor.actor)["held"]
    return page(request, "deid/queue.html", rows=rows, counts=counts, more=rows[-1].id if len(rows) == 100 else None)


@router.get("/{number}")
def result(request: Request, number: Id, db: Db, visitor: CurrentUser) -> Response:
    """One result, the original's values hidden."""
    return _show(request, visitor, open_held(db, visitor.actor, number), reveal=False)


@router.post("/{number}/reveal", dependencies=[Depends(csrf_checked)])
def reveal(request: Request, number: Id, store: OpenStore, visitor: CurrentUser) -> Response:
    """The same with the original's values; that they were shown is logged before they are."""
    with store.writing() as session:
        held = open_held(session, visitor.actor, number)
        append(session, visitor.actor.pseudonym, "see original", "held", held.id, new={"kind": held.kind})
    return _show(request, visitor, held, reveal=True)


@router.get("/{number}/picture/{which}")
def picture(
    request: Request, number: Id, which: Literal["before", "after"], store: OpenStore, visitor: CurrentUser
) -> Response:
    """The held picture, or the original with the places outlined that differ; that the latter is seen is logged."""
    with store.reading() as session:
        held = open_held(session, visitor.actor, number)
    after = _pixels(views.read_held(views.held_file(held.folder, held.held_name)))
    if which == "after":
        return _png(views.stack_views(after) if after.ndim == 3 else views.grey_picture(after))
    original = _original(request, held)
    if original is None or isinstance(original, str):
        raise AbsentError("the original is not known")
    with store.writing() as session:
        append(session, visitor.actor.pseudonym, "see original", "held", held.id, new={"kind": "picture"})
    before = _pixels(original)
    if before.ndim == 3:
        return _png(views.stack_views(before))
    return _png(views.grey_picture(before, views.changed_boxes(before, after)))


@router.post("/{number}", dependencies=[Depends(csrf_checked)])
def decide(
    request: Request,
    number: Id,
    store: OpenStore,
    visitor: CurrentUser,
    decision: Annotated[Literal["clean", "rejected"], Form()],
    version: Annotated[int, Form(ge=0, le=2**31 - 1)],
    password: Annotated[str, Form(max_length=512)],
    reason: Annotated[str, Form(max_length=2000)],
) -> Response:
    """Sign for a result, or keep it for good."""
    with store.reading() as session:
        held = open_held(session, visitor.actor, number)
    if decision == "clean":
        path = views.held_file(held.folder, held.held_name)
        if views.matches_record(path, held.kind, held.result_sha256) is False:
            raise RefusedError(
                "the held file is not the one that the record names", field="held", cure="de-identify the export again"
            )
    address = request.client.host if request.client else ""
    proof = prove(store, visitor.actor, password, address=address)
    with store.writing() as session:
        sign_off_held(
            session, visitor.actor, number, decision, proof=proof, version=version, reason=reason
        )  # fmt: skip
    return see("/deid")


def _show(request: Request, visitor: Visitor, held: HeldResult, *, reveal: bool) -> Response:
    """The page of one result."""
    shown: dict[str, Any] = {"pieces": [], "original": None, "rows": [], "image": False, "boxes": [], "problem": ""}
    matches = None
    original = _original(request, held)
    try:
        path = views.held_file(held.folder, held.held_name)
        content = views.read_held(path)
        matches = views.matches_record(path, held.kind, held.result_sha256)
        if isinstance(content, str):
            shown["pieces"] = views.stretches(content)
            shown["original"] = original if reveal and isinstance(original, str) else None
        else:
            before = None if isinstance(original, str) else original
            shown["rows"] = views.header_rows(content, before, reveal=reveal)
            after = _pixels(content)
            shown["image"] = True
            if before is not None:
                pixels = _pixels(before)
                shown["boxes"] = views.changed_boxes(pixels, after) if pixels.ndim == 2 else []
    except ReadError as error:
        shown["problem"] = error.problem
    return page(
        request,
        "deid/result.html",
        held=held,
        known=original is not None,
        reveal=reveal,
        matches=matches,
        meaning=MEANINGS["deidentified"],
        **shown,
    )


def _original(request: Request, held: HeldResult) -> Any:
    sealed = find_original(Path(review_of(request).store.data), held.folder, held.record_id)
    return None if sealed is None else _opened(sealed)


def _opened(sealed: Sealed[Any]) -> Any:
    return sealed.open_for_deidentification()


def _pixels(dataset: Any) -> Any:
    """Stored values of a data set.

    Raises:
        ReadError: it holds no picture that can be decoded.
    """
    from data_pipeline.deidentify.headers import quiet_pydicom
    from spinemed.volume.decode import stored_pixels

    try:
        with quiet_pydicom():
            return stored_pixels(dataset)
    except (AttributeError, KeyError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ReadError("the picture cannot be decoded", field="held", cure="look at it where it lies") from error


def _png(content: bytes) -> Response:
    return Response(content, media_type="image/png", headers={"cache-control": "no-store"})
