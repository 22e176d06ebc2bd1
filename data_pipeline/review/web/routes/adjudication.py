"""Disagreements: the adjudicator's queue, both decisions side by side as A and B, and the settlement.

Convention: one form, five ways: approve the revision, reject it, take A's or B's edit, or write an own one. A reason is
always asked for.

Trap: whoever reviewed an item does not find it here; the service answers as if it were not there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.review.errors import RefusedError, ReviewError, StaleError
from data_pipeline.review.protocol import (
    SIDES,
    URGENCIES,
    Choice,
    adjudicate,
    count_disputes,
    dispute_queue,
    open_dispute,
)
from data_pipeline.review.web import pictures, screen
from data_pipeline.review.web.deps import CurrentUser, Db, FormFields, Id, OpenStore, Visitor, csrf_checked, page, see

__all__ = ["router"]

router = APIRouter()
_PAGE = 50


@router.get("/adjudicate")
def disputes(
    request: Request, db: Db, visitor: CurrentUser, after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    said: Annotated[Literal["", "settled"], Query()] = "",
) -> Response:  # fmt: skip
    """Disagreements that wait for this adjudicator."""
    rows = dispute_queue(db, visitor.actor, after=after, limit=_PAGE + 1)
    return page(
        request, "adjudications.html", rows=rows[:_PAGE], count=count_disputes(db, visitor.actor), said=said,
        more=rows[_PAGE - 1].item_id if len(rows) > _PAGE else None,
    )  # fmt: skip


@router.get("/adjudicate/{number}")
def dispute(request: Request, number: Id, db: Db, visitor: CurrentUser) -> Response:
    """One disagreement: evidence, revision, A and B."""
    return _screen(request, db, visitor, number)


def _screen(
    request: Request,
    db: Session,
    visitor: Visitor,
    number: int,
    *,
    status: int = 200,
    error: ReviewError | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    view = open_dispute(db, visitor.actor, number)
    item = view.revision
    base = screen.fields_of(item)
    sources = screen.sources(view.evidence)
    opinions = [
        (opinion, screen.changes_between(base, screen.fields_of(opinion.edit)) if opinion.edit else ())
        for opinion in view.opinions
    ]
    return page(
        request,
        "adjudicate.html",
        status,
        view=view,
        item=item,
        turns=screen.said(item, view.evidence),
        sources=sources,
        pictures=pictures.of_item(db, item, sources),
        studies=[source.ref_id for source in sources if source.kind == "study"],
        draft=screen.changes_between(screen.fields_of(view.draft), base) if view.draft else None,
        opinions=opinions,
        fields=base | {name: text for name, text in (typed or {}).items() if name in base},
        reason=(typed or {}).get("reason", ""),
        error=error,
        drawer="edit" if typed and typed.get("verdict") == "edited" and not typed.get("take") else "",
        tokens=screen.new_tokens(),
        sides=SIDES,
        urgencies=URGENCIES,
    )


@router.post("/adjudicate/{number}", dependencies=[Depends(csrf_checked)])
def settle(
    request: Request,
    number: Id,
    store: OpenStore,
    visitor: CurrentUser,
    everything: FormFields,
    verdict: Annotated[Literal["approved", "edited", "rejected"], Form()],
    version: Annotated[int, Form(ge=0, le=2**31 - 1)],
    token: Annotated[str, Form(max_length=64)],
    reason: Annotated[str, Form(max_length=4000)] = "",
    take: Annotated[str, Form(max_length=1)] = "",
) -> Response:
    """Settle a disagreement and go back to the queue."""
    actor = visitor.actor
    try:
        with store.writing() as db:
            edit = None
            if verdict == "edited" and not take:
                edit = screen.edit_from(everything, open_dispute(db, actor, number).revision)
            choice = Choice(verdict=verdict, edit=edit, reason=reason)
            adjudicate(db, actor, number, choice, version=version, token=token, take=take)
    except RefusedError as error:
        with store.reading() as db:
            return _screen(request, db, visitor, number, status=error.status, error=error, typed=everything)
    except StaleError as error:
        return page(
            request, "message.html", error.status, heading_key="error.stale", text=f"{error.problem}.", cure=error.cure
        )
    return see("/adjudicate?said=settled")
