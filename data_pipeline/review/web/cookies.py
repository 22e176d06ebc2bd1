"""Cookies: the session's, the login form's, the language's.

Convention: HttpOnly, SameSite=Strict, path `/`; with `secure_cookies` also Secure and under the `__Host-` prefix, which
browsers accept over TLS from this very host only.

Trap: SameSite=Strict means that a link in a mail opens the login page although somebody is logged in. That is wanted.
"""

from __future__ import annotations

import hmac

from starlette.responses import Response

from data_pipeline.review.web.settings import Settings

__all__ = ["drop_cookie", "login_cookie", "same_text", "session_cookie", "set_cookie"]


def _name(settings: Settings, name: str) -> str:
    return f"__Host-{name}" if settings.secure_cookies else name


def session_cookie(settings: Settings) -> str:
    """Name of the cookie that holds the session's token."""
    return _name(settings, "review_session")


def login_cookie(settings: Settings) -> str:
    """Name of the cookie that belongs to one login form."""
    return _name(settings, "review_login")


def set_cookie(response: Response, settings: Settings, name: str, value: str, *, lasts_s: int | None = None) -> None:
    """Set a cookie that no script and no other site can read. Without `lasts_s` it ends with the browser."""
    response.set_cookie(
        name, value, max_age=lasts_s, path="/", secure=settings.secure_cookies, httponly=True, samesite="strict"
    )


def drop_cookie(response: Response, settings: Settings, name: str) -> None:
    """Take a cookie back."""
    response.delete_cookie(name, path="/", secure=settings.secure_cookies, httponly=True, samesite="strict")


def same_text(one: str, other: str) -> bool:
    """Whether two texts are the same, in a time that does not tell where they differ; empty ones never are."""
    return bool(one) and hmac.compare_digest(
        one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
    )
