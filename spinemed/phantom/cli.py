"""Draw procedural spines with exact truth, and look at them."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from spinemed.config import load_config
from spinemed.errors import ReadError

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def draw(
    out: Annotated[Path, typer.Option(help="New folder for images/, masks/, draws.jsonl, truths.jsonl.")],
    count: Annotated[int, typer.Option(min=1, help="How many phantoms.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the set; phantom k is the same whatever the count.")] = 0,
    start: Annotated[int, typer.Option(min=0, help="Index of the first phantom.")] = 0,
    config: Annotated[Path | None, typer.Option(help="YAML with fields of PhantomConfig.")] = None,
) -> None:
    """Draw phantoms and write images, label masks, draws and truths. Phantoms are never patients."""
    from spinemed.phantom.sagittal.draw import draw_phantom
    from spinemed.phantom.sagittal.files import write_phantoms
    from spinemed.phantom.sagittal.records import PhantomConfig

    job = load_config(config, PhantomConfig) if config is not None else PhantomConfig()
    written = write_phantoms((draw_phantom(seed, start + k, job) for k in range(count)), out)
    typer.echo(json.dumps({"written": written, "out": str(out)}))


@app.command()
def show(
    draws: Annotated[Path, typer.Argument(help="A draws.jsonl.")],
    out: Annotated[Path, typer.Option(help="The picture, PNG.")],
    first: Annotated[int, typer.Option(min=0, help="How many draws to pass over.")] = 0,
    count: Annotated[int, typer.Option(min=1, max=200, help="How many to show.")] = 12,
    columns: Annotated[int, typer.Option(min=1, max=20, help="Pictures in a row.")] = 4,
    enlarge: Annotated[int, typer.Option(min=1, max=8, help="Whole factor of enlargement.")] = 3,
) -> None:
    """Render drawn phantoms on one contact sheet with their levels named."""
    from spinemed.marks import write_png
    from spinemed.phantom.sagittal.files import read_draws
    from spinemed.phantom.sagittal.sheet import contact_sheet

    chosen = list(islice(read_draws(draws), first, first + count))
    if not chosen:
        raise ReadError(f"holds no draw number {first}", file=draws, field="--first", cure="choose a smaller number")
    write_png(out, contact_sheet(chosen, columns=columns, enlarge=enlarge))
    typer.echo(json.dumps({"shown": len(chosen), "out": str(out)}))
