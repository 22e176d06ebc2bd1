"""Look at this installation: versions, devices, absent parts with the line that installs each, and what to mend."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from spinemed.doctor.examine import Report, examine
from spinemed.doctor.machine import Machine

__all__ = ["app", "sections"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

Section = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    runs: Annotated[Path, typer.Option(help="Folder that run folders are made in: its disk is looked at.")] = Path(
        "runs"
    ),
) -> None:
    """Look at this installation and say what to mend. Exit code 1 when something required is broken."""
    report = examine(runs)
    if as_json:
        typer.echo(json.dumps(report.facts(), indent=2, ensure_ascii=False))
    elif sys.stdout.isatty():
        _print_tables(report)
    else:
        _print_plain(report)
    raise typer.Exit(0 if report.works else 1)


def sections(report: Report) -> Iterator[Section]:
    """Title, heads and rows of each table of the page."""
    rows: list[tuple[str, ...]] = [
        ("Python", report.python), ("SpineMed", f"{report.spinemed} ({report.installed_as})"),
        *((name, value) for name, value in _machine_rows(report.machine)),
    ]  # fmt: skip
    rows += [
        (resource.name, f"{resource.files} files, {'intact' if not resource.faults else 'BROKEN'}, "
         f"sha256 {(resource.sha256 or 'none')[:12]}")
        for resource in report.resources
    ]  # fmt: skip
    yield "This installation", ("what", "found"), rows
    yield (
        "Required packages",
        ("package", "installed", "wanted", ""),
        [
            (found.name, found.installed or "–", found.wanted or "any", "ok" if found.fits else "BROKEN")
            for found in report.required
        ],
    )
    yield (
        "Optional parts",
        ("extra", "state", "needed for", "to install"),
        [
            (extra.name, "complete" if extra.complete else f"lacks {_few(extra.missing)}", extra.needed_for,
             "" if extra.complete else extra.install)
            for extra in report.extras
        ],
    )  # fmt: skip
    yield (
        "Beside SpineMed",
        ("program", "state", "needed for", "to install"),
        [
            (program.name, "found" if program.there else "absent", program.needed_for,
             "" if program.there else program.install)
            for program in report.programs
        ],
    )  # fmt: skip
    if report.problems:
        yield (
            "To mend",
            ("", "what", "cure"),
            [(problem.weight, problem.what, problem.cure) for problem in report.problems],
        )


def _few(names: tuple[str, ...], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _size(gib: float | None) -> str:
    return "not known" if gib is None else f"{gib:.1f} GiB"


def _yes(value: bool | None) -> str:
    return "not known" if value is None else "yes" if value else "no"


def _machine_rows(machine: Machine) -> Iterator[tuple[str, str]]:
    yield "system", machine.system
    yield "processor", machine.processor or "not known"
    yield "cores", f"{machine.cores}, of which {machine.cores_allowed:g} may be used"
    limit = "" if machine.memory_limit_gib is None else f", limited to {_size(machine.memory_limit_gib)}"
    yield "memory", _size(machine.memory_gib) + limit
    for number, gpu in enumerate(machine.gpus):
        yield f"GPU {number}", f"{gpu.name}, {_size(gpu.memory_gib)}, bfloat16: {_yes(gpu.bf16)}"
    if not machine.gpus:
        yield "GPU", "none"
    if machine.torch is not None:
        yield "torch built for", f"CUDA {machine.torch.cuda}" if machine.torch.cuda else "CPU"
    if machine.driver_cuda:
        yield "driver runs", f"CUDA {machine.driver_cuda} at most"
    yield "bfloat16 on the CPU", _yes(machine.bf16_cpu)
    yield f"disk free at {machine.runs_folder}", _size(machine.disk_free_gib)


def _verdict(report: Report) -> str:
    errors = sum(problem.weight == "error" for problem in report.problems)
    warnings = len(report.problems) - errors
    told = f"{errors} broken, {warnings} to look at" if report.problems else "nothing to mend"
    return f"The base {'works' if report.works else 'does not work'}: {told}."


def _print_tables(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    styles = {"BROKEN": "bold red", "error": "bold red", "warning": "yellow", "ok": "green", "complete": "green",
              "found": "green"}  # fmt: skip
    for title, heads, rows in sections(report):
        table = Table(title=title, title_justify="left", title_style="bold", expand=False)
        for head in heads:
            table.add_column(head, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, style=styles.get(cell, "")) for cell in row))
        console.print(table)
    console.print(Text(_verdict(report), style="bold green" if report.works else "bold red"))


def _print_plain(report: Report) -> None:
    for title, _, rows in sections(report):
        typer.echo(f"{title}:")
        for row in rows:
            typer.echo("  " + "\t".join(cell for cell in row if cell))
    typer.echo(_verdict(report))
