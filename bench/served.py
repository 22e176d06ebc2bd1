"""A served model from the options of a command line: its settings, and where questions may go.

Convention: what the command line does not say keeps the config's value. Trap: a model without a revision is logged
under its name alone; say one, or old replies are taken for new ones after its weights changed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from spinemed.chat.egress import Egress
    from spinemed.chat.server import ServerConfig

__all__ = ["AllowHost", "InFlight", "KeyFile", "Revision", "Served", "Url", "egress_of", "server_of"]

Url = Annotated[str | None, typer.Option(help="An OpenAI-compatible server, up to and without /chat/completions.")]
Served = Annotated[str | None, typer.Option(help="Name of the model as the server knows it.")]
Revision = Annotated[str | None, typer.Option(help="Of weights and server; replies are logged under it.")]
KeyFile = Annotated[Path | None, typer.Option(help="A file that holds the API key and nothing else.")]
InFlight = Annotated[int | None, typer.Option(min=1, help="Requests at once, at most.")]
AllowHost = Annotated[
    list[str] | None, typer.Option(help="Host that texts may be sent to; this machine alone unless given.")
]


def server_of(
    url: str | None,
    served_model: str | None,
    *,
    revision: str | None = None,
    key_file: Path | None = None,
    max_in_flight: int | None = None,
) -> ServerConfig | None:
    """The server that a command line names, or None where it names none.

    Raises:
        ConfigError: A url without a model.
    """
    from spinemed.chat.server import ServerConfig
    from spinemed.errors import ConfigError

    if url is None:
        return None
    if not served_model:
        raise ConfigError("is absent", field="--served-model", cure="name the model as the server knows it")
    given: dict[str, Any] = {"revision": revision, "api_key_file": key_file, "max_in_flight": max_in_flight}
    told = {name: value for name, value in given.items() if value is not None}
    if max_in_flight is not None:
        told["start_in_flight"] = min(8, max_in_flight)
    return ServerConfig(url=url, model=served_model, **told)


def egress_of(allow_host: list[str] | None) -> Egress:
    """Where texts may go."""
    from spinemed.chat.egress import LOCAL, Egress

    return Egress(allow="listed", hosts=tuple(allow_host)) if allow_host else LOCAL
