"""Pages of administrators and data managers: users, and the way of a run from import to release.

Convention: a form's choice of several roles repeats the field; conflicts are ids parted by commas.

Trap: nothing here writes to a path that a browser names. Exports go to the folder that the server was started with.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from data_pipeline.review.errors import AbsentError, RefusedError, ReviewError
from data_pipeline.review.protocol import (
    ROLES,
    add_user,
    assign_run,
    change_user,
    draw_plan,
    list_users,
    require,
    set_password,
    stale_gold,
)
from data_pipeline.review.protocol.manage import gold_scores, list_runs
from data_pipeline.review.protocol.signatures import prove
from data_pipeline.review.store import Store
from data_pipeline.review.web.deps import CurrentUser, Db, Id, OpenStore, Visitor, csrf_checked, page, see
from data_pipeline.review.web.exporting import FileName, export_file, list_exports, sign_and_export

__all__ = ["router"]

router = APIRouter()
_Short = Annotated[str, Form(max_length=120)]
_Years = Annotated[str, Form(max_length=4)]
_Conflicts = Annotated[str, Form(max_length=4000)]
_Roles = Annotated[list[str], Form(max_length=len(ROLES))]


def _years(text: str) -> int | None:
    if not text.strip():
        return None
    if not re.fullmatch(r"[0-9]{1,3}", text.strip()):
        raise RefusedError("is no number of years", field="years", cure="write years of practice")
    return int(text)


def _names(text: str) -> list[str]:
    return [name for name in re.split(r"[,;\s]+", text) if name]


@router.get("/users")
def users(
    request: Request, db: Db, visitor: CurrentUser, said: Annotated[Literal["", "added", "changed"], Query()] = ""
) -> Response:
    """All users and their profiles."""
    return _users(request, db, visitor, said=said)


@router.get("/users/{number}")
def user(request: Request, number: Id, db: Db, visitor: CurrentUser) -> Response:
    """One user's profile, to change it."""
    return _users(request, db, visitor, number=number)


def _users(request: Request, db: Session, visitor: Visitor, *, number: int = 0, said: str = "") -> Response:
    found = list_users(db, visitor.actor)
    chosen = [one for one in found if one.id == number]
    if number and not chosen:
        raise AbsentError("there is no such user")
    may_change = visitor.actor.may("admin")
    return page(
        request, "users.html", users=found, chosen=chosen[0] if chosen and may_change else None, roles=ROLES, said=said,
        may_change=may_change,
    )  # fmt: skip


@router.post("/users", dependencies=[Depends(csrf_checked)])
def make_user(
    store: OpenStore,
    visitor: CurrentUser,
    pseudonym: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=512)],
    roles: _Roles = [],  # noqa: B006 FastAPI copies the default
    specialty: _Short = "",
    years: _Years = "",
    group: _Short = "",
    conflicts: _Conflicts = "",
    language: Annotated[str, Form(max_length=8)] = "en",
) -> Response:
    """Make a user."""
    with store.writing() as db:
        add_user(
            db, visitor.actor, pseudonym, password, roles, specialty=specialty, years=_years(years), group=group,
            conflicts=_names(conflicts), language=language,
        )  # fmt: skip
    return see("/users?said=added")


@router.post("/users/{number}", dependencies=[Depends(csrf_checked)])
def alter_user(
    number: Id,
    store: OpenStore,
    visitor: CurrentUser,
    version: Annotated[int, Form(ge=0, le=2**31 - 1)],
    roles: _Roles = [],  # noqa: B006
    specialty: _Short = "",
    years: _Years = "",
    group: _Short = "",
    conflicts: _Conflicts = "",
    language: Annotated[str, Form(max_length=8)] = "en",
    active: Annotated[bool, Form()] = False,
    why: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Change a user's profile."""
    with store.writing() as db:
        change_user(
            db, visitor.actor, number, version=version, roles=roles, specialty=specialty, years=_years(years),
            group=group, conflicts=_names(conflicts), language=language, active=active, why=why,
        )  # fmt: skip
    return see("/users?said=changed")


@router.post("/users/{number}/password", dependencies=[Depends(csrf_checked)])
def alter_password(
    number: Id, store: OpenStore, visitor: CurrentUser, password: Annotated[str, Form(max_length=512)]
) -> Response:
    """Give a user a new password; all sessions of that user end."""
    with store.writing() as db:
        set_password(db, visitor.actor, number, password)
    return see("/users?said=changed")


# --- from import to release ------------------------------------------------------------------------------------------


@router.get("/release")
def release(
    request: Request, store: OpenStore, db: Db, visitor: CurrentUser,
    said: Annotated[Literal["", "drawn", "assigned"], Query()] = "",
) -> Response:  # fmt: skip
    """Runs and what became of their items, the sampling plan, exports and the release."""
    return _release(request, store, db, visitor, said=said)


def _release(
    request: Request, store: Store, db: Session, visitor: Visitor, *, status: int = 200, said: str = "",
    error: ReviewError | None = None, number: int = 0,
) -> Response:  # fmt: skip
    actor = visitor.actor
    exports = list_exports(store, actor)
    return page(
        request, "release.html", status, runs=list_runs(db, actor), gold=gold_scores(db, actor), exports=exports,
        stale=stale_gold(db), said=said, error=error, number=number, may_act=actor.may("data_manager"),
    )  # fmt: skip


@router.post("/runs/{number}/draw", dependencies=[Depends(csrf_checked)])
def draw(
    number: Id,
    store: OpenStore,
    visitor: CurrentUser,
    share: Annotated[float, Form(ge=0, le=100, allow_inf_nan=False)],
    seed: Annotated[int, Form(ge=0, le=2**31 - 1)] = 0,
) -> Response:
    """Draw what of a run goes to people: all of a benchmark, a share of training in percent."""
    with store.writing() as db:
        draw_plan(db, visitor.actor, number, training_share=share / 100, seed=seed)
    return see("/release?said=drawn")


@router.post("/runs/{number}/assign", dependencies=[Depends(csrf_checked)])
def assign(
    number: Id, store: OpenStore, visitor: CurrentUser, seed: Annotated[int, Form(ge=0, le=2**31 - 1)] = 0
) -> Response:
    """Give the drawn items to reviewers at random."""
    with store.writing() as db:
        assign_run(db, visitor.actor, number, seed=seed)
    return see("/release?said=assigned")


@router.post("/release", dependencies=[Depends(csrf_checked)])
def sign_release(
    request: Request,
    store: OpenStore,
    visitor: CurrentUser,
    password: Annotated[str, Form(max_length=512)],
    why: Annotated[str, Form(max_length=2000)] = "",
) -> Response:
    """Sign the state of the review as released and export it."""
    actor = visitor.actor
    require(actor, "data_manager")
    number, error = 0, None
    try:
        proof = prove(store, actor, password, address=request.client.host if request.client else "")
        number = sign_and_export(store, actor, proof, why=why)
    except ReviewError as refused:
        error = refused
    status = 200 if error is None else error.status if error.status != 401 else 403
    with store.reading() as db:
        return _release(request, store, db, visitor, status=status, error=error, number=number)


@router.get("/release/{number}/{name}")
def download(number: Id, name: FileName, store: OpenStore, visitor: CurrentUser) -> Response:
    """One file of an export."""
    path = export_file(store, visitor.actor, number, name)
    return FileResponse(path, media_type="application/octet-stream", filename=name)
