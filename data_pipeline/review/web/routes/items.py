"""A reviewer's pages: the queue, the one screen, its pictures, and what is done there.

Convention: a page carries the item's version and a token for each act it offers; both go back with the act. After a
decision the browser is sent to the next open item. What is typed comes back with every refusal.

Trap: fields of the edit form are named by the item (`turn_0`, `option_A`), so the form is read whole; only names that
the stored wording has are used.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Form, Path, Query
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.review.errors import AbsentError, RefusedError, ReviewError, StaleError
from data_pipeline.review.protocol import (
    FLAG_KINDS,
    SIDES,
    URGENCIES,
    Choice,
    ItemView,
    decide,
    flag_claim,
    my_progress,
    my_queue,
    next_item,
    open_item,
    other_decision,
    save_draft,
    undo,
    withdraw_flag,
)
from data_pipeline.review.protocol.views import place_of
from data_pipeline.review.web import pictures, screen
from data_pipeline.review.web.deps import (
    CurrentUser,
    Db,
    FormFields,
    Id,
    OpenStore,
    Visitor,
    csrf_checked,
    page,
    see,
)

__all__ = ["CAUSES", "router"]

router = APIRouter()
CAUSES = (
    "wrong_answer", "wrong_level", "wrong_side", "unsupported", "not_visible", "ambiguous", "unsafe", "language",
    "other",
)  # fmt: skip
"""Short reasons of a rejection; stored as the first word of the reason."""
_PAGE = 50
_PLACE = re.compile(r"(\d{1,4})-(\d{1,7})-(\d{1,7})")
_LAST = re.compile(r"(\d{1,9})\.(\d{1,9})")
_Version = Annotated[int, Form(ge=0, le=2**31 - 1)]
_Token = Annotated[str, Form(max_length=64)]


@router.get("/queue")
def queue(
    request: Request,
    db: Db,
    visitor: CurrentUser,
    after: Annotated[float, Query(ge=-1, le=2, allow_inf_nan=False)] = -1,
) -> Response:
    """The reviewer's own items in their order, and how far the reviewer is."""
    rows = my_queue(db, visitor.actor, after=after, limit=_PAGE + 1)
    return page(
        request,
        "queue.html",
        progress=my_progress(db, visitor.actor),
        next=next_item(db, visitor.actor),
        rows=rows[:_PAGE],
        first=after < 0,
        more=rows[_PAGE - 1].place if len(rows) > _PAGE else None,
    )


@router.get("/items/{number}")
def item(
    request: Request,
    number: Id,
    db: Db,
    visitor: CurrentUser,
    said: Annotated[Literal["", "stored", "undone"], Query()] = "",
    last: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """The one screen. `last` is the item decided before it, which `u` takes back."""
    return _screen(request, db, visitor, number, said=said, last=last)


def _screen(
    request: Request,
    db: Session,
    visitor: Visitor,
    number: int,
    *,
    status: int = 200,
    said: str = "",
    last: str = "",
    typed: dict[str, str] | None = None,
    error: ReviewError | None = None,
    drawer: str = "",
) -> Response:
    """Everything the page shows; `typed` is what came with an act that was refused."""
    actor = visitor.actor
    view = open_item(db, actor, number)
    base = screen.fields_of(view.revision, view.side, view.urgency)
    saved = {name: str(text) for name, text in (view.autosave or {}).items()}
    own = screen.fields_of(view.edit, view.side, view.urgency) if view.edit else {}
    fields = base | {name: text for name, text in (typed or saved or own).items() if name in base}
    mine = screen.changes_between(base, fields)
    sources = screen.sources(view.evidence)
    progress = my_progress(db, actor)
    found = _LAST.fullmatch(last)
    back = (view.id, view.version) if view.status == "done" else (int(found[1]), int(found[2])) if found else None
    draft = screen.changes_between(screen.fields_of(view.draft), base_without_tags(base)) if view.draft else None
    return page(
        request,
        "item.html",
        status,
        view=view,
        item=view.revision,
        turns=screen.said(view.revision, view.evidence),
        sources=sources,
        pictures=pictures.of_item(db, view.revision, sources),
        studies=[source.ref_id for source in sources if source.kind == "study"],
        draft=draft,
        mine=mine,
        fields=fields,
        reason=(typed or saved).get("reason", view.decision.reason if view.decision else ""),
        flagged=_flagged(view),
        tokens=screen.new_tokens(),
        back=back,
        next=next_item(db, actor, after=view.place, any_status=True),
        previous=next_item(db, actor, after=view.place, backwards=True, any_status=True),
        progress=progress,
        said=said,
        error=error,
        drawer=drawer or ("edit" if saved and not typed else ""),
        causes=CAUSES,
        flag_kinds=FLAG_KINDS,
        sides=SIDES,
        urgencies=URGENCIES,
    )


def base_without_tags(fields: dict[str, str]) -> dict[str, str]:
    """Fields that a draft has, too: side and urgency of an item are found at import and are no change."""
    return {name: text for name, text in fields.items() if name not in ("side", "urgency")}


def _flagged(view: ItemView) -> frozenset[str]:
    return frozenset(f"{flag.message}-{flag.start}-{flag.end}" for flag in view.flags)


@router.get("/items/{number}/pictures/{sha256}")
def picture(
    number: Id, sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")], db: Db, visitor: CurrentUser
) -> Response:
    """A picture of an item, for those who may see the item."""
    return pictures.serve(db, visitor.actor, number, sha256)


@router.post("/items/{number}/decide", dependencies=[Depends(csrf_checked)])
def decide_item(
    request: Request,
    number: Id,
    store: OpenStore,
    visitor: CurrentUser,
    everything: FormFields,
    verdict: Annotated[Literal["approved", "edited", "rejected"], Form()],
    version: _Version,
    token: _Token,
    reason: Annotated[str, Form(max_length=4000)] = "",
    cause: Annotated[str, Form(max_length=40)] = "",
    seconds: Annotated[float, Form(ge=0, le=1e7, allow_inf_nan=False)] = 0.0,
) -> Response:
    """Store a decision and go on to the next open item."""
    actor = visitor.actor
    if cause and cause not in CAUSES:
        raise RefusedError("is no reason of the list", field="cause", cure="choose one of the list")
    if verdict == "rejected":
        reason = f"{cause}: {reason.strip()}" if cause and reason.strip() else cause or reason
    try:
        with store.writing() as db:
            edit = None
            if verdict == "edited":
                view = open_item(db, actor, number)
                edit = _edit(everything, view)
            choice = Choice(verdict=verdict, edit=edit, reason=reason, seconds=seconds)
            stored = decide(db, actor, number, choice, version=version, token=token)
    except (RefusedError, StaleError) as error:
        with store.reading() as db:
            return _screen(
                request, db, visitor, number, status=error.status, error=error, typed=everything,
                drawer={"edited": "edit", "rejected": "reject"}.get(verdict, ""),
            )  # fmt: skip
    with store.reading() as db:
        following = next_item(db, actor, after=place_of(db, actor, number)) or next_item(db, actor)
    last = f"{number}.{stored.version}"
    return see(f"/items/{following}?said=stored&last={last}" if following else f"/items/{number}?said=stored")


def _edit(everything: dict[str, str], view: ItemView) -> Any:
    try:
        return screen.edit_from(everything, view.revision, view.side, view.urgency)
    except ValidationError as error:
        raise RefusedError("is no edit", field="edit", cure="load the page again") from error


@router.post("/undo", dependencies=[Depends(csrf_checked)])
def undo_decision(
    store: OpenStore,
    visitor: CurrentUser,
    number: Annotated[int, Form(ge=1, le=2**31 - 1)],
    version: _Version,
    token: _Token,
) -> Response:
    """Take the own decision on an item back and go to the item."""
    with store.writing() as db:
        undo(db, visitor.actor, number, version=version, token=token)
    return see(f"/items/{number}?said=undone")


@router.post("/items/{number}/other", dependencies=[Depends(csrf_checked)])
def see_other(request: Request, number: Id, store: OpenStore, visitor: CurrentUser) -> Response:
    """What the other reviewers decided, once all have; from then on the own decision stands."""
    with store.writing() as db:
        opinions = other_decision(db, visitor.actor, number)
        view = open_item(db, visitor.actor, number)
    base = screen.fields_of(view.revision, view.side, view.urgency)
    compared = [
        (one, screen.changes_between(base, base | screen.fields_of(one.edit)) if one.edit else ()) for one in opinions
    ]
    return page(request, "other.html", view=view, opinions=compared)


@router.post("/items/{number}/autosave", dependencies=[Depends(csrf_checked)])
def autosave(
    request: Request,
    number: Id,
    store: OpenStore,
    visitor: CurrentUser,
    everything: FormFields,
    draft_version: _Version = 0,
    overwrite: Annotated[bool, Form()] = False,
) -> Response:
    """Keep what is typed; answers with the state and the difference to the revision, for htmx."""
    actor = visitor.actor
    with store.reading() as db:
        view = open_item(db, actor, number)
    base = screen.fields_of(view.revision, view.side, view.urgency)
    body = {name: text for name, text in everything.items() if name in base or name == "reason"}
    context: dict[str, Any] = {"view": view, "mine": screen.changes_between(base, base | body)}
    try:
        with store.writing() as db:
            stored = save_draft(db, actor, number, body, version=view.autosave_version if overwrite else draft_version)
    except StaleError:
        theirs = base | {name: str(text) for name, text in (view.autosave or {}).items() if name in base}
        return page(
            request, "parts/saved.html", 409, conflict=screen.changes_between(base | body, theirs), stored=0, **context
        )
    return page(request, "parts/saved.html", conflict=None, stored=stored, **context)


@router.post("/items/{number}/flags", dependencies=[Depends(csrf_checked)])
def flag(
    request: Request,
    number: Id,
    store: OpenStore,
    visitor: CurrentUser,
    place: Annotated[str, Form(max_length=24)],
    kind: Annotated[str, Form(max_length=20)],
    token: _Token,
    note: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Flag a sentence of the item."""
    found = _PLACE.fullmatch(place)
    if found is None:
        raise RefusedError("no sentence is chosen", field="place", cure="choose one with [ and ]")
    message, start, end = map(int, found.groups())
    with store.writing() as db:
        flag_claim(db, visitor.actor, number, message=message, start=start, end=end, kind=kind, note=note, token=token)
    return _flags(request, store, visitor, number)


@router.post("/items/{number}/flags/{flag_id}/withdraw", dependencies=[Depends(csrf_checked)])
def take_flag_back(
    request: Request, number: Id, flag_id: Id, store: OpenStore, visitor: CurrentUser, token: _Token
) -> Response:
    """Take a flag back."""
    with store.writing() as db:
        withdraw_flag(db, visitor.actor, flag_id, token=token)
    return _flags(request, store, visitor, number)


def _flags(request: Request, store: OpenStore, visitor: Visitor, number: int) -> Response:
    if not request.headers.get("hx-request"):
        return see(f"/items/{number}")
    with store.reading() as db:
        view = open_item(db, visitor.actor, number)
    return page(request, "parts/flags.html", view=view, tokens=screen.new_tokens())


@router.get("/items/{number}/documents/{place}")
def document(
    request: Request, number: Id, place: Annotated[int, Path(ge=0, le=999)], db: Db, visitor: CurrentUser
) -> Response:
    """The whole text of a document that an item rests on, with what the item quotes marked in it."""
    from data_pipeline.review.protocol import document_text

    view = open_item(db, visitor.actor, number)
    if place >= len(view.evidence):
        raise AbsentError("the item rests on no such document")
    chosen = view.evidence[place]
    text = document_text(db, visitor.actor, number, chosen.document_id or chosen.ref_id)
    marks = screen.marked(text, [one.quote for one in view.evidence if one.quote])
    return page(request, "document.html", view=view, title=chosen.title, marks=marks)
