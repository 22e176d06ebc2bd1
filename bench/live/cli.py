"""`spinemed bench live`: a samples folder of fresh questions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["live"]


def live(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="What to ask (YAML).")],
    out: Annotated[Path, typer.Option(help="Samples folder to write; the same command resumes it.")],
    seed: Annotated[
        int | None, typer.Option(min=0, help="Another seed, another set; the config's unless given.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=20, help="Questions; else the config's.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the result does not depend on it.")] = 1,
    sheet: Annotated[Path | None, typer.Option(help="Also write a contact sheet (PNG) of 24 questions.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=value.")] = None,
) -> None:
    """Make SpineBench-Live questions with exact truth from computed spines, masks and published rules."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    from bench.live.config import LiveConfig
    from bench.live.make import make_live
    from bench.live.plan import plan_cases
    from bench.samples import SAMPLES_FILE
    from spinemed.config import load_config

    given = [*(set_ or [])]
    given += [f"{name}={value}" for name, value in (("seed", seed), ("count", count)) if value is not None]
    settings = load_config(config, LiveConfig, given)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("cases", total=len(plan_cases(settings)))
        manifest = make_live(settings, out, workers=workers, advance=lambda number: bar.advance(task, number))
    console = Console(highlight=False)
    table = Table(title=f"{manifest['samples']} questions on {manifest['clusters']} spines, images and vignettes")
    table.add_column("axis / modality / origin")
    table.add_column("questions", justify="right")
    for name, number in manifest["counts"].items():
        table.add_row(name.replace("/", " / "), str(number))
    console.print(table)
    console.print(f"cannot be decided, by construction: {manifest['undecidable']}")
    if manifest["practice"]:
        console.print("family a: for practice; models trained on the generator are ranked apart")
    if sheet is not None:
        from bench.live.sheet import write_sheet

        write_sheet(out, sheet)
        console.print(f"contact sheet: {sheet}", markup=False, soft_wrap=True)
    console.print(f"written: {out / SAMPLES_FILE}", markup=False, soft_wrap=True)
