"""The commands around a training: `verify`, `plan` before it, `ablate` above it, `export`, `report`, `card` after it.

Convention: what is measured or predicted comes as plain values from the modules that own it; here it is only printed.

Trap: figures of `plan` are predictions. Whatever is assumed in them is printed beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from train.verify.job import Verified

__all__ = ["register"]

ConfigArgument = Annotated[Path, typer.Argument(help="Config of `spinemed train run`.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=3. May be repeated.")]
GpusOption = Annotated[int, typer.Option("--gpus", min=1, help="GPUs that will train together.")]
JsonOption = Annotated[Path | None, typer.Option("--json", help="Write everything found to this file as well.")]


_ROWS = (
    ("rows", "rows"),
    ("left out", "left_out"),
    ("with pictures made smaller", "lowered"),
    ("different pictures", "pictures"),
    ("median tokens", "median"),
    ("longest", "longest"),
    ("a pass: rows", "rows_a_pass"),
    ("a pass: tokens", "tokens_a_pass"),
    ("a pass: answer tokens", "answer_tokens_a_pass"),
    ("fill, %", "fill_percent"),
    ("padding, %", "padding_percent"),
    ("passes", "passes"),
    ("steps", "steps"),
    ("bins, or rows in batches", "batches"),
    ("tokens in all", "tokens"),
)


def verify(
    config: ConfigArgument,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="The config alone; no base and no release needed.")
    ] = False,
    gpus: GpusOption = 8,
    headers_only: Annotated[
        bool, typer.Option("--headers-only", help="Open pictures by header and end mark; decode none.")
    ] = False,
    json_file: JsonOption = None,
    overrides: SetOption = None,
) -> None:
    """Look a job through before it starts: every row, picture, level name, the benchmark's questions, memory, hours."""
    found = _look(config, overrides, processes=gpus, dry_run=dry_run, pixels=not headers_only, check=True)
    console = _console()
    _print_notes(console, found)
    if found.read:
        rows = ", ".join(f"{count} of {name}" for name, count in found.read.items())
        console.print(f"rows looked at: {rows}; {found.pictures} different pictures, no fault")
    _print_stages(console, found)
    _print_predictions(console, found)
    if found.prompt:
        console.print("\nOne row as the model sees it:", style="bold")
        console.print(found.prompt, markup=False, soft_wrap=True)
    for line in found.said:
        console.print(f"remark: {line}", markup=False, soft_wrap=True)
    _write(json_file, found)


def plan(
    config: ConfigArgument,
    gpus: GpusOption = 8,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="The config alone; no base and no release needed.")
    ] = False,
    json_file: JsonOption = None,
    overrides: SetOption = None,
) -> None:
    """Print steps, tokens, bins, hours, memory and disk of each stage. No pixel is decoded."""
    found = _look(config, overrides, processes=gpus, dry_run=dry_run, pixels=False, check=False)
    console = _console()
    _print_stages(console, found)
    _print_predictions(console, found)
    _print_disk(console, found)
    _write(json_file, found)


def export(
    model: Annotated[Path, typer.Argument(help="Adapter folder or model folder of a run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    form: Annotated[
        str, typer.Option("--form", help="merged: one folder for any loader; vllm-lora: adapter for vLLM's multi-LoRA.")
    ] = "merged",
    precision: Annotated[str, typer.Option(help="Of a merged folder: float32, bfloat16 or float16.")] = "bfloat16",
) -> None:
    """Write what a server loads: a merged folder, or an adapter if only the language model was adapted."""
    from spinemed.errors import ConfigError
    from train.export import FORMS, export_model

    if form not in FORMS:
        raise ConfigError(f"'{form}' is no form", field="--form", cure="use " + " or ".join(FORMS))
    if precision not in ("float32", "bfloat16", "float16"):
        raise ConfigError(
            f"'{precision}' is no number format", field="--precision", cure="use float32, bfloat16 or float16"
        )
    folder, line = export_model(model, out, form=form, precision=precision)  # type: ignore[arg-type]
    console = _console()
    console.print(f"exported: {folder}", markup=False, soft_wrap=True)
    console.print(f"serve it: {line}", markup=False, soft_wrap=True)


def ablate(
    config: Annotated[Path, typer.Argument(help="Config of the ablation.")],
    out: Annotated[Path, typer.Option("--out", help="Run folder; the same command resumes it.")],
    overrides: SetOption = None,
) -> None:
    """Train several arms on equal budgets and seeds, ask each the same questions, write one paired table."""
    from spinemed.config import load_config
    from train.ablation.ablate import AblateConfig, run_ablation

    _quiet()
    table = run_ablation(load_config(config, AblateConfig, overrides or ()), out)
    console = _console()
    console.print((table / "table.md").read_text(encoding="utf-8"), markup=False, soft_wrap=True)
    console.print(f"written: {table}", markup=False, soft_wrap=True)


def report(run: Annotated[Path, typer.Argument(help="Folder of a training run.")]) -> None:
    """Draw report.md and loss.png of a run again, from its journal."""
    from train.report import write_report

    _console().print(f"written: {write_report(run)}", markup=False, soft_wrap=True)


def card(
    checkpoint: Annotated[Path, typer.Option(help="Model or adapter folder.")],
    out: Annotated[Path, typer.Option(help="The page to write, e.g. README.md of the folder to be published.")],
    scores: Annotated[
        Path | None, typer.Option(help="Scores of this checkpoint: folder of `spinemed bench score` or `bench run`.")
    ] = None,
    reports: Annotated[
        Path | None, typer.Option(help="Scores of its reports: folder of `spinemed bench facts`.")
    ] = None,
    system: Annotated[
        str | None, typer.Option(help="Its name in the scores, where it was asked through a server.")
    ] = None,
) -> None:
    """Write a model card: base, data, training, intended use, what is out of scope, and failure rates from scores."""
    from train.card import write_card

    page = write_card(checkpoint, out, scores=scores, reports=reports, system=system)
    _console().print(f"model card: {page}", markup=False, soft_wrap=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `spinemed train`."""
    for command in (verify, plan, ablate, export, report, card):
        app.command()(command)


def _quiet() -> None:
    """Keep third-party progress bars and notices off the terminal; errors still show."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False)


def _look(config: Path, overrides: list[str] | None, **how: Any) -> Verified:
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from spinemed.config import load_config
    from train.config import TrainConfig
    from train.verify.job import verify as look

    if not how["dry_run"]:
        _quiet()
    job = load_config(config, TrainConfig, overrides or ())
    columns = (TextColumn("rows"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("rows", total=None)
        return look(job, advance=lambda count: bar.advance(task, count), **how)


def _print_notes(console: Console, found: Verified, most: int = 20) -> None:
    for note in found.notes[:most]:
        console.print(f"note: {note.error()}", markup=False, soft_wrap=True)
    if len(found.notes) > most:
        console.print(f"and {len(found.notes) - most} more notes (--json lists all)")


def _print_stages(console: Console, found: Verified) -> None:
    from rich.table import Table

    known = [facts for facts in found.stages if "rows" in facts]
    if not known:
        return
    table = Table(title="What each stage trains on")
    table.add_column("")
    for facts in known:
        table.add_column(facts["name"], justify="right")
    for title, name in _ROWS:
        table.add_row(title, *(f"{facts[name]:,}" for facts in known))
    console.print(table)
    for facts in known:
        widest = max(count for _, _, count in facts["histogram"])
        console.print(f"\nlengths of stage {facts['name']}, in tokens:")
        for low, high, count in facts["histogram"]:
            bar = "#" * round(40 * count / widest)
            console.print(f"  {low:>7,} to {high - 1:>7,}  {count:>9,}  {bar}", markup=False)


def _print_predictions(console: Console, found: Verified) -> None:
    from rich.table import Table

    predicted = [facts for facts in found.stages if "gpus" in facts]
    if not predicted:
        return
    names = list(predicted[0]["gpus"])
    known = "rows" in predicted[0]
    what = "hours" if known else "hours a billion tokens"
    count = predicted[0]["processes"]
    table = Table(title=f"Predicted for {count} GPU{'s' if count > 1 else ''}: memory of one, {what}")
    table.add_column("stage")
    table.add_column("GB", justify="right")
    table.add_column("of which")
    for name in names:
        table.add_column(name, justify="right")
    for facts in predicted:
        largest = sorted(facts["memory_gb"].items(), key=lambda item: -item[1])[:3]
        cells = []
        for name in names:
            gpu = facts["gpus"][name]
            value = gpu["hours"] if known else gpu["hours_a_billion_tokens"]
            cells.append(f"{value:,.2f}" if gpu["fits"] else "too small")
        table.add_row(
            facts["name"],
            f"{facts['memory_total_gb']:g}",
            ", ".join(f"{part} {size:g}" for part, size in largest),
            *cells,
        )
    console.print(table)
    from train.estimate import MFU_IMAGES, MFU_TEXT

    console.print(
        f"assumed: MFU {MFU_IMAGES:.0%} with pictures and {MFU_TEXT:.0%} without, against dense bfloat16 peak; "
        "formulas and their sources stand in train/estimate.py"
    )


def _print_disk(console: Console, found: Verified) -> None:
    for facts in found.stages:
        if "disk_gb" not in facts:
            continue
        parts = ", ".join(f"{name} {size:,.2f} GB" for name, size in facts["disk_gb"].items())
        console.print(f"disk of stage {facts['name']}: {parts}", markup=False, soft_wrap=True)
        if "features_mb_an_image" in facts:
            console.print(f"  a feature cache takes {facts['features_mb_an_image']} MB an image in bfloat16")


def _write(file: Path | None, found: Verified) -> None:
    if file is None:
        return
    from spinemed.tables import write_text

    notes = [
        {"file": str(note.file), "line": note.line, "reason": note.reason, "detail": note.detail}
        for note in found.notes
    ]
    values = {
        "stages": found.stages, "notes": notes, "read": found.read, "pictures": found.pictures,
        "prompt": found.prompt, "said": found.said,
    }  # fmt: skip
    write_text(file, json.dumps(values, indent=2, ensure_ascii=False) + "\n")
