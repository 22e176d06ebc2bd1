"""Pages of administrators and data managers: users, and the way of a run from import to release.

Convention: a form's choice of several roles repeats the field; conflicts are ids parted by commas.

Trap: nothing here writes to a path that a browser names. Exports go to the folder that the server was started with.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.review.errors import AbsentError, RefusedError
from data_pipeline.review.protocol import ROLES, add_user, change_user, list_users, set_password
from data_pipeline.review.web.deps import CurrentUser, Db, Id, OpenStore, csrf_checked, page, see

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


def _users(request: Request, db: Db, visitor: CurrentUser, *, number: int = 0, said: str = "") -> Response:
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
