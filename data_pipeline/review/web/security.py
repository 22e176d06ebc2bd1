"""What every request passes before a page sees it, and what every answer carries: hosts, sizes, types, headers.

Convention: plain ASGI, no per-request task groups; refusals are short text pages without details. Nothing of a request
but its method, route and status may ever reach a log: paths hold opaque ids, bodies hold source text.

Trap: a body without `Content-Length` is counted while it streams. Checking the header alone would let a chunked body
of any length through.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
import traceback

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from data_pipeline.review.web.settings import Settings

__all__ = ["CONTENT_SECURITY_POLICY", "Guard", "login_token", "same_origin"]

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; object-src 'none'"
)
"""No inline script or style, no other origin. `data:` and `blob:` pictures are what the viewers draw themselves."""

_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_TYPES = ("application/x-www-form-urlencoded", "application/json")
"""Of bodies. No page uploads files, so multipart is not parsed at all."""
_LOG = logging.getLogger("spinemed.review")
_BAD_PATH = re.compile(r"(^|/)\.\.?(/|$)|[\x00-\x1f\x7f\\]")


def login_token(secret: str) -> str:
    """Token of the login form, before there is a session: HMAC-SHA256 of a cookie's random secret, in hex.

    It is worth nothing without the cookie it belongs to, and another site can read neither.
    """
    return hmac.new(secret.encode("utf-8", "surrogatepass"), b"spinemed review: login form", hashlib.sha256).hexdigest()


def same_origin(headers: Headers) -> bool:
    """Whether a write comes from our own pages, as far as the browser tells: `Sec-Fetch-Site`, then `Origin`.

    A client that sends neither (no browser does) is judged by its CSRF token alone.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:  # pages without a referrer send `Origin: null` with their own forms
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is None:
        return True
    return origin.partition("://")[2] == headers.get("host", "")


class _TooLong(Exception):
    """The body passed the limit while it streamed."""


class Guard:
    """ASGI middleware: refuses foreign hosts, odd paths, long bodies and unknown types; sets the safety headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.limit = settings.body_bytes
        self.hosts = {name.lower() for name in (*settings.hosts, settings.host)}
        self.secure = settings.secure_cookies

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 400, 413 or 415 and a line of text."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":  # none is offered
                await send({"type": "websocket.close", "code": 1000})
                return
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        started = False
        count = 0

        async def sending(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                out = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    out.setdefault(name, value)
                if self.secure:
                    out.setdefault("strict-transport-security", "max-age=31536000")
                out.setdefault("cache-control", "no-store")
            await send(message)

        async def counted() -> Message:
            nonlocal count
            message = await receive()
            if message["type"] == "http.request":
                count += len(message.get("body", b""))
                if count > self.limit:
                    raise _TooLong
            return message

        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _plain(sending, *refusal)
            return
        began = time.perf_counter()
        try:
            await self.app(scope, counted, sending)
        except _TooLong:
            if not started:
                await _plain(sending, 413, "The request is too long.")
        except Exception as error:  # the last place: beyond it the server would log the error's text
            _LOG.error("%s %s: %s", scope["method"], _route(scope), _where(error))
            if not started:
                await _plain(sending, 500, "Something went wrong here. What you sent was not stored.")
        _LOG.info("%s %s %.0f ms", scope["method"], _route(scope), 1000 * (time.perf_counter() - began))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        host = headers.get("host", "").lower()
        name = host if host in self.hosts else re.sub(r":\d{1,5}$", "", host)
        if name not in self.hosts:
            return 400, "This server does not answer under that name."
        raw = scope.get("raw_path") or b""
        if b"%00" in scope["query_string"] or len(scope["query_string"]) > 4096:
            return 400, "This address cannot be read."
        if _BAD_PATH.search(scope["path"]) or b"%2f" in raw.lower() or b"%5c" in raw.lower():
            return 400, "This address cannot be read."
        if scope["method"] in _WRITES:
            length = headers.get("content-length")
            if length is not None:
                if not (length.isascii() and length.isdigit()):
                    return 400, "Content-Length is not a number."
                if int(length[:16]) > self.limit:
                    return 413, "The request is too long."
            kind = headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind and kind not in _TYPES:
                return 415, "This content type is not accepted."
        return None


def _route(scope: Scope) -> str:
    """The route's pattern, never the address itself."""
    return getattr(scope.get("route"), "path", "(no route)")


def _where(error: Exception) -> str:
    """Kind of an error and the lines of code it passed, without its text: that may quote a patient's record."""
    steps = traceback.extract_tb(error.__traceback__)[-4:]
    return f"{type(error).__name__} at " + " < ".join(
        f"{step.filename.rsplit('/', 1)[-1]}:{step.lineno}" for step in reversed(steps)
    )


async def _plain(send: Send, status: int, text: str) -> None:
    body = text.encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})
