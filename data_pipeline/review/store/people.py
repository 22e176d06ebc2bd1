"""Tables of people: users with their profiles, web sessions, login attempts.

Convention: a user is a pseudonym; names stay with the site. A session is kept by the hash of its token, so that a copy
of the database opens no session.
"""

from __future__ import annotations

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from data_pipeline.review.store.base import Base, Moment, Sha

__all__ = ["LoginAttempt", "User", "WebSession"]


class User(Base):
    """One person."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    pseudonym: Mapped[str] = mapped_column(String(64), unique=True)
    roles: Mapped[list[str]]
    """Of `protocol.access.ROLES`."""
    password_hash: Mapped[str] = mapped_column(String(256))
    """argon2id, with its parameters and salt."""
    specialty: Mapped[str] = mapped_column(String(120), default="")
    years: Mapped[int | None]
    """Of practice."""
    group_name: Mapped[str] = mapped_column(String(64), default="")
    """Reviewers of one benchmark item come from different groups."""
    conflicts: Mapped[list[str]]
    """Sources and groups of content (`source_id` or `group_id`) that this person must not judge."""
    language: Mapped[str] = mapped_column(String(8), default="en")
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[str] = mapped_column(Moment)
    version: Mapped[int] = mapped_column(default=1)


class WebSession(Base):
    """One logged-in browser."""

    __tablename__ = "web_sessions"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"))

    token_sha256: Mapped[str] = mapped_column(Sha, primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    csrf: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[str] = mapped_column(Moment)
    seen_at: Mapped[str] = mapped_column(Moment)
    expires_at: Mapped[str] = mapped_column(Moment)


class LoginAttempt(Base):
    """One attempt to log in, for the throttle. Hashes only: a name typed wrongly may be a password."""

    __tablename__ = "login_attempts"
    __table_args__ = (Index(None, "name_sha256", "at"), Index(None, "address_sha256", "at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name_sha256: Mapped[str] = mapped_column(Sha)
    address_sha256: Mapped[str] = mapped_column(Sha)
    at: Mapped[str] = mapped_column(Moment)
    ok: Mapped[bool]
