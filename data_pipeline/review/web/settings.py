"""What the web application is told when it starts: database, data folder, cookies, limits.

Convention: times in the unit of their name; sizes in bytes. Nothing is read from environment variables.

Trap: `secure_cookies=False` sends the session over plain HTTP. It is accepted for loopback hosts only; behind a proxy
that speaks TLS it stays true, and `hosts` must name the public host.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spinemed.errors import ConfigError

__all__ = ["LOOPBACK", "Settings"]

LOOPBACK: frozenset[str] = frozenset({"127.0.0.1", "localhost", "::1"})


class Settings(BaseModel):
    """Settings of one server process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    database_url: str
    """SQLAlchemy URL, e.g. `sqlite:////data/review.db` or `postgresql+psycopg://user@host/name`."""
    data_folder: Path
    """Where pictures and volumes lie; nothing outside it is ever served."""
    host: str = "127.0.0.1"
    port: int = Field(default=8765, ge=0, le=65535)
    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]", "testserver")
    """Names under which the server may be called; any other `Host` header is refused (DNS rebinding)."""
    secure_cookies: bool = True
    """Cookies travel over TLS only. False only for plain HTTP on this machine."""
    body_bytes: int = Field(default=512 * 1024, ge=1024)
    """Largest body of a request; a longer one is cut off with 413 before it is read."""
    openapi: bool = False
    """Serve the OpenAPI schema; for the fuzz test only."""
    language: Literal["en", "zh"] = "en"
    """Language before a person chose one."""

    @model_validator(mode="after")
    def _plain_only_on_loopback(self) -> Settings:
        if not self.secure_cookies and self.host not in LOOPBACK:
            raise ConfigError(
                f"'{self.host}' is not this machine alone, and passwords would cross the network in the clear",
                field="--host",
                cure="put a proxy that speaks TLS in front and say --behind-tls, or keep 127.0.0.1",
            )
        return self
