"""Who is asking, what they may do, and what a text or number from outside must be before it is used.

Convention: every service takes `(session, actor, ...)` and checks rights itself; a web page decides nothing. Roles:

============== ====================================================================================================
role           may
============== ====================================================================================================
reviewer       see and decide the items assigned to them; read studies in a reader study
adjudicator    settle disagreements on items that they did not review
data_manager   import, draw the sample, assign, approve figures, sign off de-identification, export
admin          users
auditor        read everything, change nothing
============== ====================================================================================================

Trap: who judges must not be able to look behind the blinding, so reviewer and adjudicator cannot be data manager or
auditor at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_pipeline.review.errors import AbsentError, AccessError, RefusedError
from data_pipeline.review.store.tables import User

__all__ = ["ROLES", "SYSTEM", "Actor", "Role", "actor_of", "check_id", "check_roles", "clean_text", "require"]

Role = Literal["reviewer", "adjudicator", "data_manager", "admin", "auditor"]
ROLES: tuple[Role, ...] = get_args(Role)
"""What a person may be allowed to do in a review."""
_JUDGE, _SEE_ALL = {"reviewer", "adjudicator"}, {"data_manager", "auditor"}
LONGEST_TEXT = 40_000
"""Characters of one text field."""


@dataclass(frozen=True)
class Actor:
    """Who is asking."""

    id: int
    pseudonym: str
    roles: frozenset[str]
    group: str = ""
    language: str = "en"

    def may(self, *roles: Role) -> bool:
        """Whether the actor has one of these roles."""
        return bool(self.roles.intersection(roles))


SYSTEM = Actor(0, "system", frozenset({"data_manager", "admin"}))
"""The command line: whoever may read and write the database file."""


def actor_of(session: Session, user_id: int) -> Actor:
    """The actor of an active user.

    Raises:
        AbsentError: There is none.
    """
    row = session.execute(
        select(User.pseudonym, User.roles, User.group_name, User.language, User.active).where(
            User.id == check_id(user_id)
        )
    ).one_or_none()
    if row is None or not row.active:
        raise AbsentError("there is no such user")
    return Actor(user_id, row.pseudonym, frozenset(row.roles), row.group_name, row.language)


def require(actor: Actor, *roles: Role) -> None:
    """Raise AccessError unless the actor has one of these roles."""
    if not actor.may(*roles):
        raise AccessError(f"this needs the role {' or '.join(roles)}", cure="ask an administrator")


def check_roles(roles: Iterable[str]) -> list[str]:
    """Roles in their fixed order.

    Raises:
        RefusedError: One is unknown, or two exclude each other.
    """
    given = set(roles)
    unknown = sorted(given - set(ROLES))
    if unknown:
        raise RefusedError(f"there is no role {unknown[0]!r}", field="roles", cure=f"use {', '.join(ROLES)}")
    if not given:
        raise RefusedError("no role is given", field="roles", cure=f"use {', '.join(ROLES)}")
    if given & _JUDGE and given & _SEE_ALL:
        raise RefusedError(
            "who judges items cannot see behind the blinding",
            field="roles",
            cure="make two users: one reviewer or adjudicator, one data manager or auditor",
        )
    return [role for role in ROLES if role in given]


def check_id(value: object) -> int:
    """A database id.

    Raises:
        AbsentError: It is none: no row can have it.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise AbsentError("there is no such object")
    return value


def clean_text(value: object, field: str, *, most: int = LONGEST_TEXT, needed: bool = False) -> str:
    """A text from outside, as both databases can hold it.

    Args:
        value: What came.
        field: Its name, for the error.
        most: Characters.
        needed: Whether it may be empty.

    Raises:
        RefusedError: No text, too long, empty though needed, or with characters that are none.
    """
    if not isinstance(value, str):
        raise RefusedError("is no text", field=field, cure="send a text")
    if len(value) > most:
        raise RefusedError(f"has {len(value)} characters, at most {most} are stored", field=field, cure="shorten it")
    if any((ord(mark) < 32 and mark not in "\n\r\t") or 0xD800 <= ord(mark) <= 0xDFFF for mark in value):
        raise RefusedError("holds control characters", field=field, cure="remove them")
    if needed and not value.strip():
        raise RefusedError("is empty", field=field, cure="write it")
    return value
