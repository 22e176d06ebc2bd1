"""`import`: other people's questions as a samples folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["import_command"]


def import_command(
    kind: Annotated[str, typer.Option(help="spinebench2510, medxpertqa, vqamed, spider or rsna.")],
    path: Annotated[list[Path], typer.Option(help="The data set's table, as published; repeat for several.")],
    out: Annotated[Path, typer.Option(help="Samples folder to write.")],
    images: Annotated[Path | None, typer.Option(help="Folder of its pictures; images/ nearby unless given.")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX identifier, instead of the known one.")] = None,
) -> None:
    """Make samples from the files of a known data set; nothing is downloaded."""
    from rich.console import Console

    from bench.importers import import_questions

    made = import_questions(kind, path, out, images=images, licence=licence)
    console = Console(highlight=False)
    console.print(f"{made['samples']} questions, {made['clusters']} clusters, licence {made['imported']['licence']}")
    for reason, count in made["left_out"].items():
        console.print(f"left out: {count}, {reason}", markup=False)
    console.print(f"written: {out}", markup=False, soft_wrap=True)
