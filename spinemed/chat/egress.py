"""Where content may go: this machine, listed hosts, or any host; decided before a byte leaves.

Convention: `local` means loopback, and a loopback host is written as an address of 127.0.0.0/8 or ::1, or as
`localhost`. A host of the list is compared without case and without a trailing dot, with its port where one is listed.
The address that is connected to is the address that was checked: a name that is taken for local is resolved by a
resolver that passes loopback addresses only.

Trap: what listens on a loopback port is not known here. A tunnel that forwards it elsewhere carries content away; that
is a matter of the machine, not of this policy.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from spinemed.chat.errors import EgressError
from spinemed.config import Config

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

__all__ = ["ANY", "LOCAL", "Egress", "is_loopback", "loopback_resolver", "require"]


class Egress(Config):
    """Where content may be sent."""

    allow: Literal["local", "listed", "any"] = "local"
    """This machine only, the listed hosts, or any host."""
    hosts: tuple[str, ...] = Field(default=())
    """For `listed`: `host` or `host:port`."""

    @model_validator(mode="after")
    def _stated(self) -> Egress:
        if (self.allow == "listed") != bool(self.hosts):
            raise ValueError("hosts are listed with `allow: listed` and with nothing else")
        return self

    def permits(self, url: str) -> bool:
        """Whether content may go to the host of a URL."""
        host, port = _host(url), urlsplit(url).port
        if self.allow == "any" or is_loopback(host):
            # Loopback does not leave the machine, so every policy permits it.
            return True
        if self.allow == "local":
            return False
        full = f"[{host}]" if ":" in host else host
        port = port or (443 if urlsplit(url).scheme == "https" else 80)
        return any(_plain(entry) in (_plain(full), _plain(f"{full}:{port}")) for entry in self.hosts)


LOCAL = Egress()
"""Only this machine may be asked."""
ANY = Egress(allow="any")
"""Any host may be asked."""


def require(egress: Egress, url: str) -> None:
    """Refuse a host that the policy does not permit.

    Raises:
        EgressError: It is not permitted; the message names the host and the policy, nothing else.
    """
    if not egress.permits(url):
        allowed = ", ".join(egress.hosts) if egress.allow == "listed" else "this machine only"
        raise EgressError(
            f"content may not be sent to '{_host(url)}': its source allows {allowed}",
            field="egress",
            cure="serve the model on a permitted host, or change `egress` of the source if its agreement allows it",
        )


def is_loopback(host: str) -> bool:
    """Whether a host, as written, is this machine. Names other than `localhost` are not: what they mean can change."""
    if _plain(host) == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def loopback_resolver() -> AbstractResolver:
    """A resolver that answers with loopback addresses or not at all: `localhost` in a hosts file may lie."""
    from aiohttp.abc import ResolveResult
    from aiohttp.resolver import ThreadedResolver

    class Loopback(ThreadedResolver):
        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
        ) -> list[ResolveResult]:
            found = await super().resolve(host, port, family)
            strangers = [answer["host"] for answer in found if not is_loopback(answer["host"])]
            if strangers:
                raise EgressError(
                    f"'{host}' resolves to {strangers[0]}, which is not this machine",
                    field="url",
                    cure="write 127.0.0.1, and look into the hosts file",
                )
            return found

    return Loopback()


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _plain(host: str) -> str:
    # Not `casefold`, which makes other hosts of some names: 'straße.de' is not 'strasse.de'.
    return host.lower().rstrip(".")
