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
def make(
    out: Annotated[Path, typer.Option(help="Run folder; the same command goes on with it.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML with fields of PhantomSetConfig; phantom_lumbar.yaml by default.")
    ] = None,
    n: Annotated[int | None, typer.Option(help="How many spines.")] = None,
    what: Annotated[str | None, typer.Option(help="Kinds of images, separated by commas: ct,xray,mr.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the outputs are the same for any number.")] = 1,
    family: Annotated[str | None, typer.Option(help="Generator family, a or b.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the set.")] = None,
    spacing: Annotated[float | None, typer.Option(help="Voxel size of CTs in mm, the same along all axes.")] = None,
    field: Annotated[str | None, typer.Option(help="full, cervical, thoracic, thoracolumbar or lumbar.")] = None,
    posture: Annotated[str | None, typer.Option(help="usual (CT and MR lying, radiographs standing), or one.")] = None,
    twins: Annotated[bool, typer.Option(help="Render the healthy twin of each spine with a fracture too.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any field of the config, e.g. spine.scoliosis_share=0.5.")
    ] = None,
) -> None:
    """Make whole spines as CT, radiographs and MR with their exact truth. Phantoms are never patients."""
    from spinemed.phantom.make import make_phantoms
    from spinemed.phantom.set_config import PhantomSetConfig
    from spinemed.resources import configs_dir

    plain = {"count": n, "seed": seed, "family": family, "field": field, "posture": posture}
    given = [f"{name}={value}" for name, value in plain.items() if value is not None]
    if what is not None:
        given.append(f"what=[{what}]")
    if spacing is not None:
        given.append(f"ct.spacing_mm=[{spacing}, {spacing}, {spacing}]")
    if twins:
        given.append("twins=true")
    path = configs_dir() / "phantom_lumbar.yaml" if config is None else config
    job = load_config(path, PhantomSetConfig, [*given, *(set_ or [])])
    outputs = make_phantoms(job, out, workers=workers)
    typer.echo(json.dumps({"phantoms": job.count, "out": str(outputs)}))


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
