"""One server that speaks chat completions: its settings, and one exchange with it over HTTP.

Convention: :meth:`Connection.post` sends once and names what came of it; repeating, logging and budgets are the
client's. Redirects are not followed, proxies of the environment are not used, cookies are not kept, and a reply that
grows beyond its limit is not read to its end.

Trap: a server may repeat the API key in an error text. Whatever is received is cleaned of it before anybody sees it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from spinemed.chat.budget import Budget, Prices
from spinemed.chat.egress import is_loopback, loopback_resolver
from spinemed.chat.errors import ChatError
from spinemed.chat.rate import retry_after
from spinemed.chat.reply import Reason
from spinemed.chat.request import ChatRequest
from spinemed.config import Config, ConfigPath
from spinemed.errors import ConfigError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Connection", "Received", "ServerConfig", "body_of", "logged_form"]


class ServerConfig(Config):
    """A server with an OpenAI-compatible `/chat/completions`: vLLM, SGLang, `transformers serve`, a vendor."""

    url: str = "http://127.0.0.1:8000/v1"
    """Where the API stands, up to and without `/chat/completions`."""
    model: str = Field(min_length=1)
    """Name of the model as the server knows it."""
    revision: str = ""
    """Of the weights and the server, e.g. a commit and a version: part of every request's key. Change it when either
    changes, or replies of the old one are used again."""
    api_key_file: ConfigPath | None = None
    """A file that holds the API key and nothing else."""
    api_key_env: str | None = None
    """Name of an environment variable that holds it, instead."""
    json_mode: Literal["response_format", "prompt", "both"] = "response_format"
    """How the schema reaches the model: as `response_format`, written into the last turn, or both."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the server calls the limit of a reply."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request body, e.g. `chat_template_kwargs`; part of every key."""
    max_in_flight: int = Field(default=64, ge=1, le=4096)
    """Never more requests at once."""
    start_in_flight: int = Field(default=8, ge=1)
    """Requests at once in the beginning."""
    timeout_s: float = Field(default=300.0, gt=0)
    """Longest wait for a whole reply."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    """Longest wait for a connection."""
    attempts: int = Field(default=5, ge=1)
    """How often a request is sent when the server fails, is silent or cuts the line."""
    overload_attempts: int = Field(default=40, ge=1)
    """How often a request is sent when the server says that it is overloaded (429, 503)."""
    backoff_s: float = Field(default=0.5, gt=0)
    """First pause after a failure; doubles with each, up to a minute."""
    longest_pause_s: float = Field(default=600.0, gt=0)
    """A server that asks for a longer pause by `Retry-After` ends the run instead."""
    give_up_after: int = Field(default=20, ge=1)
    """Requests in a row without any answer that end the run."""
    max_reply_mib: float = Field(default=8.0, gt=0)
    """Largest body that is read."""
    budget: Budget = Field(default=Budget(), exclude=True)
    """Hard limits of a run. No part of what a run folder is known by: they may be raised when the run is resumed."""
    prices: Prices = Prices()
    """What tokens cost."""

    @model_validator(mode="after")
    def _plain_url(self) -> ServerConfig:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must start with http:// or https:// and name a host")
        if parts.port == 0:  # reading it also refuses what is no port
            raise ValueError("url must name a port from 1 to 65535")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("url must hold no user, password, query or fragment; give a key by api_key_file")
        if self.api_key_file is not None and self.api_key_env is not None:
            raise ValueError("give api_key_file or api_key_env, not both")
        taken = sorted(
            set(self.extra) & {"model", "messages", "stream", "n", "response_format", "tools", "tool_choice", *_OURS}
        )
        if taken:
            raise ValueError(f"extra may not set {', '.join(taken)}")
        return self

    @property
    def endpoint(self) -> str:
        """The full address of chat completions."""
        return f"{self.url.rstrip('/')}/chat/completions"

    @property
    def identity(self) -> dict[str, Any]:
        """What replies depend on besides the request."""
        return {"name": self.model, "revision": self.revision, "json_mode": self.json_mode, "extra": self.extra}

    def read_key(self) -> str:
        """The API key, or an empty text where none is asked for.

        Raises:
            ConfigError: The file or the variable is missing or empty; its content is never shown.
        """
        if self.api_key_file is not None:
            try:
                key = self.api_key_file.read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(
                    f"cannot be read ({type(error).__name__})", file=self.api_key_file, field="api_key_file",
                    cure="write the key into it, readable for you alone",
                ) from error  # fmt: skip
        elif self.api_key_env is not None:
            key = os.environ.get(self.api_key_env, "").strip()
        else:
            return ""
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise ConfigError("holds no usable key", field="api_key_file or api_key_env", cure="set it to one key")
        return key


_OURS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "seed")


def body_of(config: ServerConfig, request: ChatRequest, *, with_images: bool) -> dict[str, Any]:
    """The body of a request.

    Args:
        config: The server.
        request: What is asked.
        with_images: Pictures as data URLs; otherwise as their hash.
    """
    if config.json_mode != "response_format":
        request = request.with_schema_written()
    decoding = request.decoding
    body: dict[str, Any] = {
        "model": config.model,
        "messages": request.content(with_images=with_images),
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        config.max_tokens_field: decoding.max_tokens,
    }
    if decoding.seed is not None:
        body["seed"] = decoding.seed
    if request.schema is not None and config.json_mode != "prompt":
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": request.schema.name, "strict": True, "schema": request.schema.json_schema},
        }
    if request.tools:
        body["tools"] = [json.loads(tool) for tool in request.tools]
        body["tool_choice"] = "none" if request.last_round else "auto"
    return {**body, **config.extra}


def logged_form(config: ServerConfig, request: ChatRequest) -> dict[str, Any]:
    """The body as the log keeps it: pictures, schema and functions by their hash."""
    body = body_of(config, request, with_images=False)
    if "response_format" in body and request.schema is not None:
        body["response_format"] = {"type": "json_schema", "sha256": request.schema.sha256}
    if request.tools:
        body["tools"] = {"sha256": request.tools_sha256}
    return body


@dataclass(frozen=True)
class Received:
    """What came of sending once."""

    status: int = 0
    text: str = ""
    reason: Reason = ""
    """Empty where `text` is a reply to keep."""
    detail: str = ""
    pause_s: float | None = None
    """What `Retry-After` asks for."""
    charged: bool = False
    """Whether the server may have worked on it."""


class Connection:
    """An open connection pool to one server. Made and closed inside an event loop."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self._key = config.read_key()
        self._session: aiohttp.ClientSession | None = None

    async def post(self, data: bytes, timeout_s: float) -> Received:
        """Send once.

        Args:
            data: The body.
            timeout_s: Longest wait for the whole reply.

        Raises:
            EgressError: A local name turned out not to be local.
            ChatError: The server refuses the key or does not know the path; no other request would fare better.
        """
        import aiohttp

        if self._session is None:
            self._session = self._open()
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(timeout_s, self.config.connect_timeout_s))
        try:
            # Nothing is sent to another host: a redirect is an answer like any other here.
            async with self._session.post(
                self.config.endpoint, data=data, timeout=timeout, allow_redirects=False
            ) as response:
                body = await self._read(response)
                if body is None:
                    limit = f"more than {self.config.max_reply_mib:g} MiB"
                    return Received(response.status, reason="reply_too_large", detail=limit, charged=True)
                text = self._clean(body.decode("utf-8", "replace"))
                return self._sort(response.status, text, response.headers)
        except aiohttp.ConnectionTimeoutError:
            return Received(reason="timed_out", detail="no connection in time")
        except TimeoutError:
            return Received(reason="timed_out", detail=f"no reply within {timeout_s:g} s", charged=True)
        except aiohttp.ClientConnectorError as error:
            return Received(reason="connection", detail=self._clean(f"no connection ({error.os_error.strerror})"))
        except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError) as error:
            # What an error of the library says may hold what was sent or received; its kind is enough.
            return Received(reason="connection", detail=type(error).__name__, charged=True)

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        local = is_loopback(urlsplit(self.config.url).hostname or "")
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, resolver=loopback_resolver() if local else None, use_dns_cache=not local
            ),
            headers=headers,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def _read(self, response: aiohttp.ClientResponse) -> bytes | None:
        most, parts, size = int(self.config.max_reply_mib * 1024**2), [], 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > most:
                response.close()
                return None
            parts.append(part)
        return b"".join(parts)

    def _clean(self, text: str) -> str:
        return text.replace(self._key, "[api key]") if self._key else text

    def _sort(self, status: int, text: str, headers: Any) -> Received:
        if status == 200:
            return Received(status, text)
        if status in (429, 503, 529):
            pause = retry_after(headers.get("Retry-After"))
            return Received(status, reason="overloaded", detail=f"status {status}", pause_s=pause)
        if 300 <= status < 400:
            return Received(status, reason="redirected", detail=f"status {status} to {_host_of(headers)}, not followed")
        if status in (401, 403, 404, 405):
            what = "refuses the key" if status in (401, 403) else "does not know this address or model"
            raise ChatError(
                f"the server {what} (status {status}: {_message(text)})",
                field="url" if status in (404, 405) else "api_key_file",
                cure=f"check url, model and key; the address asked is {self.config.endpoint}",
            )
        if status >= 500 or status in (408, 409, 425):
            pause = retry_after(headers.get("Retry-After"))
            return Received(status, reason="server_error", detail=f"status {status}", pause_s=pause)
        return Received(status, text)  # a refusal of this one request: kept, and judged as such


def _host_of(headers: Any) -> str:
    """Host that a redirect names; the rest of the address may hold anything."""
    try:
        return urlsplit(headers.get("Location", "")).hostname or "another path"
    except ValueError:
        return "no address"


_CODE = re.compile(r"[a-z]+(?:_[a-z]+)+|[A-Za-z]{3,40}[Ee]rror")


def _message(text: str) -> str:
    """The server's code for an error, such as `model_not_found`, where it gives one.

    Its sentences are not shown: servers repeat in them what they were sent, and an error's text goes to terminals and
    logs where the content of a request may not.
    """
    try:
        found = json.loads(text)
        found = found.get("error", found)
        told = [found.get(name) for name in ("code", "type")] if isinstance(found, dict) else []
    except (ValueError, AttributeError, RecursionError):
        told = []
    codes = [code for code in told if isinstance(code, str) and len(code) <= 40 and _CODE.fullmatch(code)]
    return codes[0] if codes else "no code"
