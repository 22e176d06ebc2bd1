"""Logging in and out, the language, the help page, and where `/` leads.

Convention: the login form has a token of its own (cookie and field), or another site could log a person in under a
name that is not theirs. A login ends the browser's older session and opens a fresh one.

Trap: a password check is slow on purpose. Two run at once and eight may wait for them, so that a flood of logins
cannot hold up reviewers.
"""

from __future__ import annotations

import secrets
import threading
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from data_pipeline.review.errors import AbsentError, LoginError
from data_pipeline.review.protocol.passwords import check_password
from data_pipeline.review.protocol.users import log_out_of, open_session, set_language
from data_pipeline.review.web.cookies import drop_cookie, login_cookie, same_text, session_cookie, set_cookie
from data_pipeline.review.web.deps import CurrentUser, OpenStore, csrf_checked, page, review_of, see
from data_pipeline.review.web.security import login_token, same_origin
from data_pipeline.review.web.wording import LANGUAGES

__all__ = ["router"]

router = APIRouter()
_CHECKS = threading.BoundedSemaphore(2)
_WAITING = threading.BoundedSemaphore(10)
_HOMES = {
    "reviewer": "/queue",
    "adjudicator": "/adjudicate",
    "data_manager": "/release",
    "admin": "/users",
    "auditor": "/audit",
}
_YEAR_S = 365 * 24 * 3600
_FORM_S = 3600


def _form(request: Request, status: int = 200, *, problem_key: str = "", name: str = "") -> Response:
    review = review_of(request)
    secret = secrets.token_urlsafe(32)
    answer = page(request, "login.html", status, problem_key=problem_key, name=name, login_token=login_token(secret))
    set_cookie(answer, review.settings, login_cookie(review.settings), secret, lasts_s=_FORM_S)
    return answer


@router.get("/login")
def login_page(request: Request) -> Response:
    """The login form."""
    return _form(request)


@router.post("/login")
def log_in(
    request: Request,
    name: Annotated[str, Form(max_length=100)],
    password: Annotated[str, Form(max_length=512)],
    login_token_sent: Annotated[str, Form(alias="login_token", max_length=64)] = "",
) -> Response:
    """Check name and password; on success a fresh session, whatever token the browser brought."""
    review = review_of(request)
    settings = review.settings
    secret = request.cookies.get(login_cookie(settings), "")
    if not secret or not same_text(login_token_sent, login_token(secret)) or not same_origin(request.headers):
        return _form(request, 403, problem_key="login.again", name=name)
    address = request.client.host if request.client else ""
    if not _WAITING.acquire(blocking=False):
        return _form(request, 429, problem_key="login.wait", name=name)
    try:
        with _CHECKS:
            user = check_password(review.store, name, password, address=address)
    except LoginError as error:
        answer = _form(
            request, error.status, problem_key="login.wait" if error.retry_after_s else "login.wrong", name=name
        )
        if error.retry_after_s:
            answer.headers["Retry-After"] = str(error.retry_after_s)
        return answer
    finally:
        _WAITING.release()
    with review.store.writing() as session:
        token, _ = open_session(session, user, old_token=request.cookies.get(session_cookie(settings), ""))
    answer = see("/")
    set_cookie(answer, settings, session_cookie(settings), token)
    drop_cookie(answer, settings, login_cookie(settings))
    return answer


@router.post("/logout", dependencies=[Depends(csrf_checked)])
def log_out(request: Request, store: OpenStore, visitor: CurrentUser) -> Response:
    """End the session, here and in the database."""
    settings = review_of(request).settings
    with store.writing() as session:
        log_out_of(session, visitor.actor, request.cookies.get(session_cookie(settings), ""))
    answer = see("/login")
    drop_cookie(answer, settings, session_cookie(settings))
    return answer


@router.get("/")
def home(visitor: CurrentUser) -> Response:
    """The page on which a person of this role works."""
    return see(next((address for role, address in _HOMES.items() if role in visitor.actor.roles), "/help"))


@router.get("/help")
def help_page(request: Request, visitor: CurrentUser) -> Response:
    """How to review, and the keys."""
    return page(request, "help.html")


@router.get("/language/{code}")
def choose_language(
    request: Request, code: str, back: Annotated[str, Query(max_length=300, pattern=r"^/[A-Za-z0-9/_-]*$")] = "/"
) -> Response:
    """Choose the language of the pages, for this browser. `back` is a path of ours, or it is refused."""
    if code not in LANGUAGES or back.startswith("//"):
        raise AbsentError("there is no such page")
    answer = see(back)
    set_cookie(answer, review_of(request).settings, "language", code, lasts_s=_YEAR_S)
    return answer


@router.post("/language", dependencies=[Depends(csrf_checked)])
def keep_language(store: OpenStore, visitor: CurrentUser, language: Annotated[str, Form(max_length=8)]) -> Response:
    """Keep a language in the person's profile."""
    with store.writing() as session:
        set_language(session, visitor.actor, language)
    return see("/")
