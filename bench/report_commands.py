"""`spinemed bench reports` makes report samples; `spinemed bench facts` scores reports by their facts.

Trap: the samples are of computed spines; what is measured on them says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["facts", "reports"]


def reports(
    out: Annotated[Path, typer.Option(help="Samples folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the phantoms.")] = 0,
    spines: Annotated[int, typer.Option(min=1, help="Phantom spines; each is asked in English and Chinese.")] = 50,
    family: Annotated[str, typer.Option(help="Generator family: b, which nothing trains on, or a.")] = "b",
    form: Annotated[str, typer.Option(help="What is shown: record (in words) or pictures (MR, T2 and T1).")] = "record",
) -> None:
    """Make samples that ask for a report in six parts, with facts and a rubric of signed yes/no items."""
    from rich.console import Console

    from bench.reports.cases import write_reports
    from spinemed.errors import ConfigError

    if family not in ("a", "b"):
        raise ConfigError(f"{family!r} is no family", field="--family", cure="use a or b")
    if form not in ("record", "pictures"):
        raise ConfigError(f"{form!r} is no form", field="--form", cure="use record or pictures")
    made = write_reports(out, seed=seed, spines=spines, family=family, form=form)  # type: ignore[arg-type]
    told = ", ".join(f"{name} {count}" for name, count in made["counts"].items())
    console = Console(highlight=False)
    console.print(f"{made['samples']} samples of {made['clusters']} phantoms; needed facts: {told}", markup=False)
    console.print(f"written: {out}", markup=False, soft_wrap=True)


def facts(
    samples: Annotated[Path, typer.Option(help="Samples folder of reports.")],
    predictions: Annotated[list[Path], typer.Option(help="Predictions folder or file; repeat for each system.")],
    out: Annotated[Path, typer.Option(help="Scores folder to write.")],
    seed: Annotated[int, typer.Option(min=0, help="Of bootstrap and tests.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 10_000,
) -> None:
    """Score reports by their facts: found, side, grade, errors by kind. Needs no judge."""
    from rich.console import Console
    from rich.table import Table

    from bench.reports.summary import score_reports

    summary = score_reports(samples, predictions, out, seed=seed, resamples=resamples)
    table = Table(title=f"{summary['samples']} reports on {summary['clusters']} computed spines, read by rule")
    heads = ("points", "found", "side_right", "grade_right", "wrong_level", "invented", "missed", "unsafe")
    for head in ("system", *heads):
        table.add_column(head.replace("_", " "), justify="left" if head == "system" else "right")
    for system in summary["systems"]:
        rates = [system["rates"][head] for head in heads]
        table.add_row(system["name"], *("-" if one["value"] is None else f"{one['value']:.2f}" for one in rates))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"written: {out}", markup=False, soft_wrap=True)
