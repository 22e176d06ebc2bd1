"""What routes ask for: the store, a reading session, the person, a checked CSRF token, and the page they answer with.

::

    @router.get("/things/{number}")
    def thing(request: Request, number: Id, db: Db, visitor: CurrentUser) -> Response:
        return page(request, "part/thing.html", thing=service(db, visitor.actor, number))

    @router.post("/things/{number}", dependencies=[Depends(csrf_checked)])
    def change(number: Id, store: OpenStore, visitor: CurrentUser, word: Annotated[str, Form()]) -> Response:
        with store.writing() as db:
            change_thing(db, visitor.actor, number, word)
        return see(f"/things/{number}")

Convention: `Db` only reads. What stores opens `store.writing()` inside the route and answers after it closed: an answer
is never sent before its change is on disk.

Trap: nothing here decides what a person may do. Services check roles and objects; a route without a service behind it
calls `protocol.require`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from data_pipeline.review.errors import AccessError
from data_pipeline.review.protocol.access import Actor
from data_pipeline.review.protocol.users import find_session, touch_session
from data_pipeline.review.store import Store
from data_pipeline.review.web.cookies import same_text, session_cookie
from data_pipeline.review.web.menu import MENU
from data_pipeline.review.web.rendering import Pages
from data_pipeline.review.web.security import same_origin
from data_pipeline.review.web.settings import Settings
from data_pipeline.review.web.wording import LANGUAGES

__all__ = [
    "CurrentUser",
    "Db",
    "FormFields",
    "Id",
    "LoginNeeded",
    "OpenStore",
    "Review",
    "Visitor",
    "csrf_checked",
    "current_user",
    "db_session",
    "form_fields",
    "language_of",
    "open_store_of",
    "page",
    "review_of",
    "see",
]

MOST = 2**31 - 1
_OWN_PATH = re.compile(r"/[A-Za-z0-9/_-]{0,200}")
Id = Annotated[int, Path(ge=1, le=MOST)]
"""A row's number in a path; anything else is 422 before a database sees it."""


class LoginNeeded(Exception):
    """Nobody is logged in, or the session is over."""


@dataclass
class Review:
    """What lives as long as the server."""

    settings: Settings
    store: Store
    pages: Pages


@dataclass(frozen=True)
class Visitor:
    """The person behind a request."""

    actor: Actor
    """What services ask for."""
    csrf: str
    """Token that every write of this session must carry."""

    @property
    def name(self) -> str:
        """The pseudonym."""
        return self.actor.pseudonym


def review_of(request: Request) -> Review:
    """What lives as long as the server: settings, store, pages."""
    review: Review = request.app.state.review
    return review


def open_store_of(request: Request) -> Store:
    """The store, for `store.writing()`."""
    return review_of(request).store


def db_session(request: Request) -> Iterator[Session]:
    """A session of the database that stores nothing, closed after the answer."""
    with review_of(request).store.reading() as session:
        yield session


def current_user(request: Request) -> Visitor:
    """The person who is logged in.

    Raises:
        LoginNeeded: Nobody is; a page is answered with a redirect to the login.
    """
    review = review_of(request)
    token = request.cookies.get(session_cookie(review.settings), "")
    found = None
    if token:
        with review.store.reading() as session:
            found = find_session(session, token)
    if found is None:
        raise LoginNeeded
    if found.touch_due:
        with review.store.writing() as session:
            touch_session(session, token)
    visitor = Visitor(found.actor, found.csrf)
    request.state.visitor = visitor
    return visitor


OpenStore = Annotated[Store, Depends(open_store_of)]
Db = Annotated[Session, Depends(db_session)]
CurrentUser = Annotated[Visitor, Depends(current_user)]


async def csrf_checked(request: Request, visitor: CurrentUser) -> None:
    """Let a write through only with this session's token: header `X-CSRF-Token` or field `csrf_token`.

    Raises:
        AccessError: The token is missing or another session's, or another site sent the request.
    """
    token = request.headers.get("x-csrf-token", "")
    if not token and request.headers.get("content-type", "").startswith(("application/x-www-form", "multipart/form")):
        field = (await request.form()).get("csrf_token", "")
        token = field if isinstance(field, str) else ""
    if not same_text(token, visitor.csrf) or not same_origin(request.headers):
        raise AccessError("this form was not sent from a page of this session", cure="open the page again")


async def form_fields(request: Request) -> dict[str, str]:
    """All text fields of a form whose names depend on the item; the last one where a name repeats."""
    return {name: value for name, value in (await request.form()).items() if isinstance(value, str)}


FormFields = Annotated[dict[str, str], Depends(form_fields)]


def language_of(request: Request) -> str:
    """The reader's language: the cookie's, the profile's, the server's."""
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    chosen = request.cookies.get("language") or (visitor.actor.language if visitor else "")
    return chosen if chosen in LANGUAGES else review_of(request).settings.language


def page(
    request: Request, template: str, status: int = 200, *, heading_key: str = "", text_key: str = "", **context: Any
) -> HTMLResponse:
    """Answer with a page.

    Args:
        request: The request; its visitor decides menu and language.
        template: Name of the template, e.g. `queue.html` or `viewer/pane.html`.
        status: HTTP status.
        heading_key: For `message.html`: key of the heading.
        text_key: For `message.html`: key of the text.
        **context: What the template needs besides `user`, `menu`, `path`, `csrf`, `t` and `language`.
    """
    review = review_of(request)
    visitor: Visitor | None = getattr(request.state, "visitor", None)
    language = language_of(request)
    words = review.pages.wordings[language]
    if heading_key:
        context["heading"] = words(heading_key)
        context.setdefault("cure", "")
    if text_key:
        context["text"] = words(text_key)
    roles = set(visitor.actor.roles) if visitor else set()
    everywhere = {
        "user": visitor,
        "menu": [entry for entry in MENU if not entry.roles or roles & entry.roles] if visitor else [],
        "path": request.url.path,
        "here": request.url.path if _OWN_PATH.fullmatch(request.url.path) else "/",
        "csrf": visitor.csrf if visitor else "",
    }
    return HTMLResponse(review.pages.render(template, language, everywhere | context), status)


def see(address: str) -> Response:
    """After a write: send the browser on, so that reloading does not send the form again."""
    return RedirectResponse(address, 303)
