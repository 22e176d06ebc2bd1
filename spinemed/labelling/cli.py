"""Find, name and outline vertebrae in CT with a trained labeller or another tool; every name with its probability."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from spinemed.labelling.jobs import LabelSummary

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

FAILED = 1
"""Exit code where some scans were labelled and others could not be."""


@app.command()
def run(
    scans: Annotated[Path, typer.Argument(help="A CT as NIfTI, or a folder of them (VerSe's layout or any other).")],
    model: Annotated[Path, typer.Option(help="Model folder: RUN/outputs/model of `spinemed train labelling`.")],
    out: Annotated[Path, typer.Option(help="Folder to write; the same command goes on where it stopped.")],
    likeliest: Annotated[
        bool, typer.Option("--likeliest", help="Write the likeliest names also where the numbering is not decided.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Label CTs: masks, body centres, and an account of the naming. Exit code 0: all; 1: some failed; 2: none."""
    import torch

    from spinemed.labelling.jobs import find_scans, label_files

    torch.set_num_threads(threads)
    found = find_scans(scans)
    _finish(
        out, len(found), lambda **hooks: label_files(found, model, out, likeliest=likeliest, device=device, **hooks)
    )


@app.command()
def external(
    scans: Annotated[Path, typer.Argument(help="A CT as NIfTI, or a folder of them.")],
    tool: Annotated[str, typer.Option(help="totalsegmentator or spineps; installed by you, found on the PATH.")],
    out: Annotated[Path, typer.Option(help="Folder to write; the same command goes on where it stopped.")],
    argument: Annotated[
        list[str] | None, typer.Option("--argument", help="Passed on to the tool as it stands. May be repeated.")
    ] = None,
) -> None:
    """Label CTs with another tool's command and write what it found as `spinemed label run` does."""
    from spinemed.labelling.adapters import label_external
    from spinemed.labelling.jobs import find_scans

    found = find_scans(scans)
    _finish(out, len(found), lambda **hooks: label_external(tool, found, out, arguments=argument or (), **hooks))


def _finish(out: Path, total: int, job: Callable[..., LabelSummary]) -> None:
    """Run with a progress bar, say what became of the files, and choose the exit code."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from spinemed.errors import EXIT_CODE

    columns: Any = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        shown = bar.add_task("scans", total=total)
        found = job(
            advance=lambda count: bar.advance(shown, count),
            say=lambda line: console.print(f"spinemed: {line}", markup=False, soft_wrap=True),
        )
    good = len(found.done) + len(found.kept)
    typer.echo(
        f"{len(found.done)} labelled, {len(found.kept)} kept, {len(found.failed)} failed; numbering not determinable "
        f"in {len(found.undecided)}. Research use only. Written: {out}"
    )
    if found.undecided:
        typer.echo("not determinable: " + ", ".join(sorted(found.undecided)))
    if found.failed:
        raise typer.Exit(FAILED if good else EXIT_CODE)
