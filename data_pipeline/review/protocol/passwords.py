"""Passwords: argon2id hashes, and a throttle on attempts by name and by address.

Convention: a check takes no transaction while it computes; the attempt is stored by a short one of its own, so that a
failed attempt counts although the request fails.

Trap: a name that does not exist costs the same time as a wrong password, or names could be found by the clock.
"""

from __future__ import annotations

import datetime
import hashlib
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import func, select

from data_pipeline.review.audit.chain import append
from data_pipeline.review.errors import LoginError, RefusedError
from data_pipeline.review.store import Store
from data_pipeline.review.store.tables import LoginAttempt, User, now

__all__ = ["MOST_BY_ADDRESS", "MOST_BY_NAME", "WINDOW_S", "check_password", "hash_password", "set_hasher"]

MOST_BY_NAME = 8
"""Failed attempts on one name within the window; then it waits."""
MOST_BY_ADDRESS = 40
WINDOW_S = 300
SHORTEST = 10
_LONGEST = 512
_HASHER = [PasswordHasher()]


def set_hasher(hasher: PasswordHasher) -> PasswordHasher:
    """Use other costs for new hashes; returns what was used before. Old hashes carry their own costs."""
    before, _HASHER[0] = _HASHER[0], hasher
    _decoy.cache_clear()
    return before


def hash_password(password: str) -> str:
    """An argon2id hash with its salt and costs.

    Raises:
        RefusedError: The password is too short or too long.
    """
    if not SHORTEST <= len(password) <= _LONGEST:
        raise RefusedError(f"has fewer than {SHORTEST} characters or too many", field="password", cure="use a sentence")
    return _HASHER[0].hash(password.encode("utf-8", "surrogatepass"))


@cache
def _decoy() -> str:
    return _HASHER[0].hash("nobody has this password")


def check_password(store: Store, pseudonym: str, password: str, *, address: str = "", login: bool = True) -> int:
    """Check a name and its password; the log gets a row of a login, and of every check that failed for a known name.

    Args:
        store: The review.
        pseudonym: As typed.
        password: As typed.
        address: Of the network, for the throttle; only its hash is stored.
        login: Whether somebody logs in; else a password is asked for again, and what it is for has a row itself.

    Returns:
        The user's id.

    Raises:
        LoginError: They do not match, the user is not active, or there were too many attempts.
    """
    name, place = _hash(pseudonym), _hash(address)
    since = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=WINDOW_S)
    with store.reading() as session:
        for column, value, most in (
            (LoginAttempt.name_sha256, name, MOST_BY_NAME),
            (LoginAttempt.address_sha256, place, MOST_BY_ADDRESS if address else 10**9),
        ):
            failed = session.scalar(
                select(func.count()).where(
                    column == value, ~LoginAttempt.ok, LoginAttempt.at >= since.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                )
            )
            if (failed or 0) >= most:
                raise LoginError("too many attempts", retry_after_s=WINDOW_S, cure="wait five minutes")
        row = session.execute(
            select(User.id, User.pseudonym, User.password_hash, User.active).where(
                User.pseudonym == _storable(pseudonym)
            )
        ).one_or_none()
    ok = _matches(row.password_hash if row else _decoy(), password) and row is not None and row.active
    with store.writing() as session:
        session.add(LoginAttempt(name_sha256=name, address_sha256=place, at=now(), ok=bool(ok)))
        # A name that is nobody's is not logged: people type passwords there. The throttle bounds how many rows come.
        if row is not None and (login or not ok):
            action = "log in" if login else "confirm password"
            append(session, row.pseudonym, action if ok else f"{action} failed", "user", row.id)
    if not ok or row is None:
        raise LoginError("name and password do not match", cure="check both")
    return int(row.id)


def _matches(known: str, password: str) -> bool:
    try:
        return _HASHER[0].verify(known, password[: _LONGEST + 1].encode("utf-8", "surrogatepass"))
    except (VerificationError, InvalidHashError):
        return False


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _storable(text: str) -> str:
    """What a database can be asked for: a name with other characters is nobody's."""
    return "" if "\x00" in text or any(0xD800 <= ord(mark) <= 0xDFFF for mark in text) else text
