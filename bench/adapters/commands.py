"""`export` and `replies`: questions to other engines, and their replies back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["export", "replies"]


def export(
    samples: Annotated[Path, typer.Option(help="Samples folder.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    form: Annotated[str, typer.Option("--format", help="inspect, lmms-eval, vlmevalkit or hub.")],
) -> None:
    """Write the questions in the layout of another evaluation engine."""
    from rich.console import Console

    from bench.adapters import export_samples

    made = export_samples(samples, out, form=form)
    console = Console(highlight=False)
    console.print(f"{made['exported']} questions for {form}", markup=False)
    for reason, count in made["left_out"].items():
        console.print(f"left out: {count}, {reason}", markup=False)
    console.print(f"written: {out}", markup=False, soft_wrap=True)


def replies(
    path: Annotated[list[Path], typer.Option(help="The engine's log; repeat where it writes several.")],
    samples: Annotated[Path, typer.Option(help="Samples folder that was exported.")],
    out: Annotated[Path, typer.Option(help="Predictions folder to write.")],
    form: Annotated[str, typer.Option("--format", help="inspect, lmms-eval, vlmevalkit or hub.")],
    name: Annotated[str | None, typer.Option(help="Name in tables; the model's unless given.")] = None,
    model: Annotated[str | None, typer.Option(help="The model, where the engine's files do not name it.")] = None,
) -> None:
    """Read the replies that another engine recorded, to be scored here."""
    from rich.console import Console

    from bench.adapters import import_replies

    made = import_replies(path, samples, out, form=form, name=name, model=model)
    console = Console(highlight=False)
    console.print(f"{made['predictions']} predictions of {made['model']}", markup=False)
    console.print(f"written: {out}", markup=False, soft_wrap=True)
