"""The record: signing one's own decisions, and the audit log for auditors.

Convention: a signature asks for the password again and is refused if what is signed changed since it was shown.

Trap: checking the whole chain reads every row; it is a button, not part of the page.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.review.audit import head, read_log, verify_log
from data_pipeline.review.errors import LoginError, ReviewError
from data_pipeline.review.exchange.verdicts import state_faults
from data_pipeline.review.protocol import require
from data_pipeline.review.protocol.signatures import prove
from data_pipeline.review.web.deps import CurrentUser, Db, OpenStore, Visitor, csrf_checked, page
from data_pipeline.review.web.signing import meanings_for, own_signatures, own_work, sign_own_work

__all__ = ["router"]

router = APIRouter()
_PAGE = 100


@router.get("/sign")
def sign_page(request: Request, db: Db, visitor: CurrentUser) -> Response:
    """What the person would sign, and earlier signatures."""
    require(visitor.actor, "reviewer", "adjudicator")
    return _signing(request, db, visitor)


def _signing(
    request: Request,
    db: Session,
    visitor: Visitor,
    *,
    status: int = 200,
    error: ReviewError | None = None,
    done: str = "",
) -> Response:
    actor = visitor.actor
    works = [own_work(db, actor, meaning) for meaning in meanings_for(actor)]
    return page(request, "sign.html", status, works=works, signatures=own_signatures(db, actor), error=error, done=done)


@router.post("/sign", dependencies=[Depends(csrf_checked)])
def sign_work(
    request: Request,
    store: OpenStore,
    visitor: CurrentUser,
    password: Annotated[str, Form(max_length=512)],
    meaning: Annotated[str, Form(max_length=20)],
    seen: Annotated[str, Form(max_length=64)],
    why: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Sign one's own standing decisions with the password."""
    actor = visitor.actor
    require(actor, "reviewer", "adjudicator")
    try:
        proof = prove(store, actor, password, address=request.client.host if request.client else "")
        with store.writing() as db:
            row = sign_own_work(db, actor, proof, meaning, seen_sha256=seen, why=why)
    except LoginError as error:
        # 403 and not 401: the person is logged in, the password of the signature was wrong.
        status = error.status if error.retry_after_s else 403
        with store.reading() as db:
            return _signing(request, db, visitor, status=status, error=error)
    except ReviewError as error:
        with store.reading() as db:
            return _signing(request, db, visitor, status=error.status, error=error)
    with store.reading() as db:
        return _signing(request, db, visitor, done=row)


@router.get("/audit")
def audit(
    request: Request, db: Db, visitor: CurrentUser, before: Annotated[int, Query(ge=1, le=2**31 - 1)] = 2**31 - 1
) -> Response:
    """The log, newest rows first."""
    require(visitor.actor, "auditor")
    return _log(request, db, before)


def _log(request: Request, db: Session, before: int, faults: list[str] | None = None) -> Response:
    end = head(db)
    last = min(end.seq, before - 1)
    rows = list(read_log(db, after=max(0, last - _PAGE), limit=last - max(0, last - _PAGE)))[::-1] if last > 0 else []
    return page(
        request,
        "audit.html",
        rows=rows,
        head=end,
        faults=faults,
        more=rows[-1].seq if rows and rows[-1].seq > 1 else None,
    )


@router.post("/audit/verify", dependencies=[Depends(csrf_checked)])
def verify(request: Request, db: Db, visitor: CurrentUser) -> Response:
    """Check the whole chain, row by row."""
    require(visitor.actor, "auditor")
    return _log(request, db, 2**31 - 1, verify_log(db) or state_faults(db))
