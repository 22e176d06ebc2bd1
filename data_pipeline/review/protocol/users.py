"""Users, their profiles and their web sessions.

Convention: administrators make users; a user's own password is changed by that user. Profiles (specialty, years,
group, conflicts) go into the datasheet of a release, under the pseudonym.

Trap: a session is found by the hash of its token; the token itself is told once, to the browser.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import AbsentError, RefusedError, StaleError
from data_pipeline.review.protocol.access import Actor, actor_of, check_id, check_roles, clean_text, require
from data_pipeline.review.protocol.passwords import hash_password
from data_pipeline.review.store.tables import User, WebSession, now

__all__ = [
    "Profile",
    "WebLogin",
    "add_user",
    "change_user",
    "close_session",
    "find_session",
    "list_users",
    "log_out_of",
    "open_session",
    "set_language",
    "set_password",
    "touch_session",
]

LASTS_H = 12
"""Hours after which a session ends whatever happens."""
IDLE_MIN = 60
_SEEN_S = 60
_PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,63}")
_COLUMNS = (
    "id",
    "pseudonym",
    "roles",
    "specialty",
    "years",
    "group_name",
    "conflicts",
    "language",
    "active",
    "version",
)


@dataclass(frozen=True)
class Profile:
    """A user as an administrator sees it."""

    id: int
    pseudonym: str
    roles: tuple[str, ...]
    specialty: str
    years: int | None
    group: str
    conflicts: tuple[str, ...]
    language: str
    active: bool
    version: int


def add_user(
    session: Session,
    actor: Actor,
    pseudonym: str,
    password: str,
    roles: Iterable[str],
    *,
    specialty: str = "",
    years: int | None = None,
    group: str = "",
    conflicts: Iterable[str] = (),
    language: str = "en",
) -> int:
    """Make a user; returns the id.

    Raises:
        AccessError: The actor is no administrator.
        RefusedError: The name is taken or none, a role is unknown, the password is too short.
    """
    require(actor, "admin")
    if not isinstance(pseudonym, str) or not _PSEUDONYM.fullmatch(pseudonym) or pseudonym == "system":
        raise RefusedError(
            "is no pseudonym", field="pseudonym", cure="use 2 to 64 letters, digits, dots, hyphens; no name"
        )
    user = User(
        pseudonym=pseudonym, password_hash=hash_password(password), created_at=now(), active=True, version=1,
        **_profile(roles, specialty, years, group, conflicts, language),
    )  # fmt: skip
    session.add(user)
    try:
        session.flush()
    except IntegrityError as error:
        raise RefusedError(f"'{pseudonym}' is taken", field="pseudonym", cure="use another one") from error
    append(session, actor.pseudonym, "add user", "user", user.id, new=_told(user))
    return user.id


def _profile(
    roles: Iterable[str], specialty: str, years: int | None, group: str, conflicts: Iterable[str], language: str
) -> dict[str, Any]:
    chosen = check_roles(roles)
    if years is not None and not (isinstance(years, int) and 0 <= years <= 80):
        raise RefusedError("is no number of years", field="years", cure="write years of practice")
    if language not in ("en", "zh"):
        raise RefusedError("is no language of the pages", field="language", cure="use en or zh")
    group = clean_text(group, "group", most=64)
    if "reviewer" in chosen and not group.strip():
        raise RefusedError("a reviewer needs a group", field="group", cure="name one, e.g. A, B or C")
    return {
        "roles": chosen, "specialty": clean_text(specialty, "specialty", most=120), "years": years,
        "group_name": group, "conflicts": sorted({clean_text(name, "conflicts", most=200) for name in conflicts}),
        "language": language,
    }  # fmt: skip


def _told(user: User) -> dict[str, Any]:
    return {name: getattr(user, name) for name in _COLUMNS if name not in ("id", "version")}


def change_user(
    session: Session,
    actor: Actor,
    user_id: int,
    *,
    version: int,
    roles: Iterable[str],
    specialty: str = "",
    years: int | None = None,
    group: str = "",
    conflicts: Iterable[str] = (),
    language: str = "en",
    active: bool = True,
    why: str = "",
) -> None:
    """Replace a user's profile; a user who is no longer active is logged out.

    Raises:
        AccessError: The actor is no administrator.
        AbsentError: No such user.
        StaleError: The profile changed since it was read.
        RefusedError: A value is impossible, or an administrator would lock out himself.
    """
    require(actor, "admin")
    user = session.get(User, check_id(user_id), with_for_update=True, populate_existing=True)
    if user is None:
        raise AbsentError("there is no such user")
    if user.version != version:
        raise StaleError("the profile changed since it was read", cure="load the page again")
    old = _told(user)
    for name, value in _profile(roles, specialty, years, group, conflicts, language).items():
        setattr(user, name, value)
    user.active = bool(active)
    if user.id == actor.id and not (user.active and "admin" in user.roles):
        raise RefusedError("you cannot lock out yourself", cure="ask another administrator")
    user.version += 1
    if not user.active:
        session.execute(delete(WebSession).where(WebSession.user_id == user.id))
    append(
        session, actor.pseudonym, "change user", "user", user.id, old=old, new=_told(user), why=clean_text(why, "why")
    )


def set_password(session: Session, actor: Actor, user_id: int, password: str) -> None:
    """Give a user a new password: one's own, or as administrator anybody's; ends all sessions of that user.

    Raises:
        AccessError: It is another's, and the actor is no administrator.
        AbsentError: No such user.
        RefusedError: The password is too short.
    """
    if actor.id != user_id:
        require(actor, "admin")
    user = session.get(User, check_id(user_id), with_for_update=True, populate_existing=True)
    if user is None:
        raise AbsentError("there is no such user")
    user.password_hash = hash_password(password)
    session.execute(delete(WebSession).where(WebSession.user_id == user.id))
    append(session, actor.pseudonym, "set password", "user", user.id)


def set_language(session: Session, actor: Actor, language: str) -> None:
    """Choose the language of the own pages."""
    if language not in ("en", "zh"):
        raise RefusedError("is no language of the pages", field="language", cure="use en or zh")
    user = session.get(User, actor.id)
    if user is not None and user.language != language:
        old, user.language = user.language, language
        append(session, actor.pseudonym, "set language", "user", user.id, old=old, new=language)


def list_users(session: Session, actor: Actor) -> list[Profile]:
    """All users, for administrators, data managers and auditors.

    Raises:
        AccessError: The actor has none of these roles.
    """
    require(actor, "admin", "data_manager", "auditor")
    rows = session.execute(select(*(getattr(User, name) for name in _COLUMNS)).order_by(User.pseudonym)).all()
    return [
        Profile(
            row.id, row.pseudonym, tuple(row.roles), row.specialty, row.years, row.group_name, tuple(row.conflicts),
            row.language, row.active, row.version,
        )
        for row in rows
    ]  # fmt: skip


# --- web sessions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WebLogin:
    """An open session: who, and the token that every form must bring."""

    actor: Actor
    csrf: str
    token_sha256: str
    touch_due: bool = False
    """Whether `touch_session` should be called in a writing session."""


def open_session(session: Session, user_id: int, *, old_token: str = "") -> tuple[str, str]:
    """A fresh session after a login; an older token of this browser is ended, so that none can be planted.

    Returns:
        The token for the cookie, and the token for forms.
    """
    if old_token:
        close_session(session, old_token)
    actor_of(session, user_id)
    token, csrf, moment = secrets.token_urlsafe(32), secrets.token_urlsafe(32), now()
    session.execute(delete(WebSession).where(WebSession.expires_at < moment))
    session.add(
        WebSession(
            token_sha256=_digest(token), user_id=user_id, csrf=csrf, created_at=moment, seen_at=moment,
            expires_at=_later(hours=LASTS_H),
        )
    )  # fmt: skip
    return token, csrf


def find_session(session: Session, token: str) -> WebLogin | None:
    """Who holds this token; None where nobody does, it ended, or it was idle too long. One query; stores nothing."""
    row = session.execute(
        select(
            WebSession.token_sha256, WebSession.csrf, WebSession.seen_at, WebSession.expires_at, User.id,
            User.pseudonym, User.roles, User.group_name, User.language, User.active,
        )
        .join(User, User.id == WebSession.user_id)
        .where(WebSession.token_sha256 == _digest(token))
    ).one_or_none()  # fmt: skip
    if row is None or not row.active or row.expires_at < now() or row.seen_at < _later(minutes=-IDLE_MIN):
        return None
    actor = Actor(row.id, row.pseudonym, frozenset(row.roles), row.group_name, row.language)
    return WebLogin(actor, row.csrf, row.token_sha256, row.seen_at < _later(seconds=-_SEEN_S))


def touch_session(session: Session, token: str) -> None:
    """Note that a session is in use, at most once a minute; call it where a request writes anyway."""
    row = session.get(WebSession, _digest(token))
    if row is not None and row.seen_at < _later(seconds=-_SEEN_S):
        row.seen_at = now()


def close_session(session: Session, token: str) -> None:
    """End a session."""
    session.execute(delete(WebSession).where(WebSession.token_sha256 == _digest(token)))


def log_out_of(session: Session, actor: Actor, token: str) -> None:
    """End a session because its holder says so; a row of the log tells it."""
    close_session(session, token)
    append(session, actor.pseudonym, "log out", "user", actor.id)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _later(**delta: int) -> str:
    moment = datetime.datetime.now(datetime.UTC) + datetime.timedelta(**delta)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
