"""Samples and predictions to scores: ask any model, score it with intervals and paired tests, print the board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bench.adapters.commands import export, replies
from bench.commands import compare, power, rank
from bench.consult_commands import consult
from bench.importers.commands import import_command
from bench.live.cli import live
from bench.report_commands import facts, reports
from bench.run_commands import plan, run
from bench.submission.commands import rounds, validate

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def samples(
    release: Annotated[Path, typer.Option(help="Release folder.")],
    out: Annotated[Path, typer.Option(help="Samples folder to write.")],
    split: Annotated[str, typer.Option(help="Split to ask: test, validation or train.")] = "test",
) -> None:
    """Take the held-out questions out of a release and check them against its training split."""
    from rich.console import Console
    from rich.table import Table

    from bench.samples import SAMPLES_FILE, write_samples
    from spinemed.errors import ConfigError

    if split not in ("test", "validation", "train"):
        raise ConfigError(f"{split!r} is no split", field="--split", cure="use test, validation or train")
    manifest = write_samples(release, out, split=split)  # type: ignore[arg-type]
    console = Console(highlight=False)
    table = Table(title=f"{manifest['samples']} samples of {manifest['clusters']} spines and documents")
    table.add_column("axis / modality / origin")
    table.add_column("samples", justify="right")
    for name, count in manifest["counts"].items():
        table.add_row(name.replace("/", " / "), str(count))
    console.print(table)
    for reason, count in manifest["left_out"].items():
        console.print(f"left out: {count} with a {reason}", markup=False)
    overlap = manifest["contamination"]
    console.print(
        f"shared with {overlap['train_rows']} training rows: {overlap['same_picture']} pictures, "
        f"{overlap['same_question']} text questions, {overlap['same_question_and_answer']} whole items"
    )
    console.print(f"written: {out / SAMPLES_FILE}", markup=False, soft_wrap=True)


@app.command()
def predict(
    samples: Annotated[Path, typer.Option(help="Samples folder.")],
    model: Annotated[str, typer.Option(help="Checkpoint folder, or 'majority' or 'random'.")],
    out: Annotated[Path, typer.Option(help="Predictions folder to write; the same command resumes it.")],
    condition: Annotated[str, typer.Option(help="full, or blind: pictures replaced by uniform grey.")] = "full",
    name: Annotated[str | None, typer.Option(help="Name in tables; the folder's name unless given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random baseline.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions generated together.")] = 16,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 32,
    cut_apart: Annotated[
        bool, typer.Option("--cut-apart", help="Call replies at that limit truncated, as a server's are.")
    ] = False,
) -> None:
    """Ask a model every sample once. A killed run goes on where it stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from bench.runner import PREDICTIONS_FILE, LocalAnswerer, MajorityAnswerer, RandomAnswerer, predict_samples
    from bench.runner.answerers import Answerer
    from bench.samples import read_samples
    from spinemed.errors import ConfigError

    if condition not in ("full", "blind"):
        raise ConfigError(f"{condition!r} is no condition", field="--condition", cure="use full or blind")
    listed, _ = read_samples(samples)
    answerer: Answerer
    if model == "majority":
        answerer = MajorityAnswerer(listed)
    elif model == "random":
        answerer = RandomAnswerer(listed, seed=seed)
    else:
        answerer = LocalAnswerer(
            model, batch_size=batch_size, max_new_tokens=max_new_tokens, cut_is_answer=not cut_apart
        )
    title = name or out.name
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(f"{title} answers", total=len(listed))
        predict_samples(
            samples,
            answerer,
            out,
            name=title,
            condition=condition,  # type: ignore[arg-type]
            block_size=4 * batch_size,
            advance=lambda count: bar.advance(task, count),
        )
    Console(highlight=False).print(f"written: {out / PREDICTIONS_FILE}", markup=False, soft_wrap=True)


@app.command()
def score(
    samples: Annotated[Path, typer.Option(help="Samples folder.")],
    predictions: Annotated[
        list[Path], typer.Option(help="Predictions folder or bare predictions.jsonl; repeat for each system.")
    ],
    out: Annotated[Path, typer.Option(help="Scores folder to write.")],
    subject: Annotated[
        str | None,
        typer.Option(help="System compared with all others; unless given, the one whose model also answered blind."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of bootstrap, tests and examples.")] = 0,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples.")] = 10_000,
) -> None:
    """Score predictions, with intervals and paired tests clustered by spine. Needs no model."""
    from rich.console import Console

    from bench.board.terminal import print_summary
    from bench.spinebench import SUMMARY_FILE, score_predictions

    summary = score_predictions(samples, predictions, out, subject=subject, seed=seed, resamples=resamples)
    console = Console(highlight=False)
    print_summary(summary, console)
    console.print(f"written: {out / SUMMARY_FILE}", markup=False, soft_wrap=True)


@app.command()
def board(
    scores: Annotated[list[Path], typer.Option(help="Scores folder; repeat for several runs on one page.")],
    out: Annotated[Path, typer.Option(help="Folder for board.html and its plots.")],
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "SpineBench board",
) -> None:
    """Write one static page with the final table, comparisons, plots and examples, and print the table."""
    from rich.console import Console

    from bench.board import BOARD_FILE, write_board
    from bench.board.terminal import print_summary

    summaries = write_board(scores, out, title=title)
    console = Console(highlight=False)
    for summary in summaries:
        print_summary(summary, console)
    console.print(f"written: {out / BOARD_FILE}", markup=False, soft_wrap=True)


app.command()(run)
app.command()(plan)
app.command()(compare)
app.command()(rank)
app.command()(power)
app.command()(consult)
app.command()(reports)
app.command()(facts)
app.command()(export)
app.command()(replies)
app.command("import")(import_command)
app.command()(validate)
app.add_typer(rounds, name="round")
app.command()(live)
