"""`spinemed bench tools` and `spinemed bench caller`: what tools add to a served model, and a stand-in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from bench.served import AllowHost, InFlight, KeyFile, Revision, Served, Url

__all__ = ["caller", "tools"]


def tools(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Questions and masks (YAML).")],
    out: Annotated[Path, typer.Option(help="Run folder; the same command resumes it, other models join it.")],
    url: Url = None,
    served_model: Served = None,
    revision: Revision = None,
    key_file: KeyFile = None,
    max_in_flight: InFlight = None,
    allow_host: AllowHost = None,
    name: Annotated[str | None, typer.Option(help="The model's name in tables.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=value.")] = None,
) -> None:
    """Ask a served model with and without tools, question by question, on exact and on faulty masks."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from bench.assisted.run import AssistedConfig, measure_gain
    from bench.board.wording import p_text, points, points_interval
    from bench.served import egress_of, server_of
    from spinemed.config import load_config

    settings = load_config(config, AssistedConfig, [*(set_ or [])])
    server = server_of(url, served_model, revision=revision, key_file=key_file, max_in_flight=max_in_flight)
    told: dict[str, Any] = {} if server is None else {"server": server}
    if allow_host:
        told["egress"] = egress_of(allow_host)
    done = measure_gain(settings.model_copy(update=told), out, name=name)
    table = Table(
        title=Text(f"{done.facts['model']}: gain of tools in points, 95 % interval"),
        caption="Paired by question; intervals and p resample spines; p corrected by Holm. Computed phantoms: an exact "
        "mask is an upper bound. Research use only.",
    )
    for head in ("questions", "masks", "Dice", "against", "n", "spines", "with", "other", "gain", "p (Holm)"):
        table.add_column(head, justify="left" if head in ("questions", "masks", "against") else "right")
    for row in done.facts["rows"]:
        table.add_row(
            row["row"], row["masks"], f"{row['dice']:.2f}", row["against"], str(row["n"]), str(row["clusters"]),
            _percent(row["first_accuracy"]), _percent(row["second_accuracy"]),
            "-" if row["difference"] is None else f"{points(row['difference'])}\n{points_interval(row)}",
            p_text(row["p_holm"]),
        )  # fmt: skip
    console = Console(highlight=False)
    console.print(table)
    for kind, made in done.facts["calls"].items():
        console.print(
            f"{kind} masks: {made['calls']} calls, {made['refused_or_failed']} refused or failed", markup=False
        )
    console.print(f"written: {done.file}, {done.figure}", markup=False, soft_wrap=True)


def caller(
    port: Annotated[int, typer.Option(min=0, max=65535, help="On this machine; 0 takes a free one.")] = 0,
    model: Annotated[
        Path | None, typer.Option(help="Checkpoint whose words are used where no tool settled the question.")
    ] = None,
    calls: Annotated[bool, typer.Option("--calls/--no-calls", help="Whether it calls functions at all.")] = True,
) -> None:
    """Serve a caller by rule as a chat model on this machine, to try `bench tools` without a language model."""
    from bench.assisted.serve import caller_server

    server = caller_server(port, model=model, calls=calls)
    typer.echo(f"listening: http://127.0.0.1:{server.server_address[1]}/v1")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        typer.echo("stopped")
    finally:
        server.server_close()


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
