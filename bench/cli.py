"""Samples and predictions to scores: ask any model, score it with intervals and paired tests, print the board."""

from __future__ import annotations

import re
import tempfile
import typing
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from bench.adapters.commands import export, replies
from bench.assisted.commands import caller, tools
from bench.commands import compare, power, rank
from bench.consult_commands import consult
from bench.importers.commands import import_command
from bench.judge_commands import examine, judge
from bench.live.cli import live
from bench.report_commands import facts, reports
from bench.run_commands import AllowHost, MatcherModel, MatcherUrl, plan, run
from bench.submission.commands import rounds, validate

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


@app.command()
def samples(
    release: Annotated[Path, typer.Option(help="Release folder.")],
    out: Annotated[Path, typer.Option(help="Samples folder to write.")],
    split: Annotated[str, typer.Option(help="Split to ask: test, validation or train.")] = "test",
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many at most; unrankable then.")] = None,
) -> None:
    """Take the held-out questions out of a release and check them against its training split."""
    from rich.console import Console
    from rich.table import Table

    from bench.samples import SAMPLES_FILE, write_samples
    from bench.submission.limit import limit_samples
    from spinemed.errors import ConfigError

    if split not in ("test", "validation", "train"):
        raise ConfigError(f"{split!r} is no split", field="--split", cure="use test, validation or train")
    if limit is None:
        manifest = write_samples(release, out, split=split)  # type: ignore[arg-type]
    else:
        with tempfile.TemporaryDirectory() as scratch:
            write_samples(release, Path(scratch) / "whole", split=split)  # type: ignore[arg-type]
            manifest = limit_samples(Path(scratch) / "whole", out, limit=limit)
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
    condition: Annotated[str, typer.Option(help="full, or a control: blind, withheld, other_patient, ...")] = "full",
    name: Annotated[str | None, typer.Option(help="Name in tables; the folder's name unless given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random baseline.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions generated together.")] = 16,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest reply in tokens.")] = 32,
    cut_apart: Annotated[
        bool, typer.Option("--cut-apart", help="Call replies at that limit truncated, as a server's are.")
    ] = False,
    backend: Annotated[str, typer.Option(help="What runs a checkpoint: transformers or vllm.")] = "transformers",
    worker: Annotated[
        str | None,
        typer.Option(help="A name of its own for each process or machine that makes the same call on one --out."),
    ] = None,
) -> None:
    """Ask a model every sample once. A killed run goes on where it stopped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from bench.runner import PREDICTIONS_FILE, LocalAnswerer, MajorityAnswerer, RandomAnswerer, predict_samples
    from bench.runner.answerers import Answerer
    from bench.runner.conditions import Questions
    from bench.samples import read_samples
    from spinemed.chat import Decoding
    from spinemed.errors import ConfigError
    from spinemed.records import Condition

    known = [one for one in typing.get_args(Condition) if one != "tools"]
    if condition not in known:
        cure = "ask a served model by `bench run`" if condition == "tools" else f"use one of {', '.join(known)}"
        raise ConfigError(f"{condition!r} is no condition here", field="--condition", cure=cure)
    if backend not in ("transformers", "vllm"):
        raise ConfigError(f"{backend!r} is no backend", field="--backend", cure="use transformers or vllm")
    if worker is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", worker):
        raise ConfigError(f"{worker!r} cannot name a worker", field="--worker", cure="use letters, digits and dashes")
    every, _ = read_samples(samples)
    listed = Questions(every, samples).under(condition).samples  # type: ignore[arg-type]
    answerer: Answerer
    if model == "majority":
        answerer = MajorityAnswerer(listed)
    elif model == "random":
        answerer = RandomAnswerer(listed, seed=seed)
    elif backend == "vllm":
        from bench.runner.vllm_offline import VllmAnswerer

        answerer = VllmAnswerer(model, decoding=Decoding(max_tokens=max_new_tokens))
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
            worker=worker,
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
    matcher_url: MatcherUrl = None,
    matcher_model: MatcherModel = None,
    matcher_log: Annotated[
        Path | None, typer.Option(help="Folder of its request log; beside --out unless given.")
    ] = None,
    allow_host: AllowHost = None,
) -> None:
    """Score predictions, with intervals and paired tests clustered by spine. Needs no model."""
    from rich.console import Console

    from bench.board.terminal import print_summary
    from bench.spinebench import SUMMARY_FILE, score_predictions
    from bench.spinebench.controls import control_lines
    from bench.spinebench.matched import matched_lines
    from spinemed.chat import LOCAL, ChatClient, Egress, RequestLog, ServerConfig
    from spinemed.errors import ConfigError

    if (matcher_url is None) != (matcher_model is None):
        raise ConfigError(
            "a matcher needs an address and a model", field="--matcher-url", cure="give both --matcher-url and -model"
        )
    egress = Egress(allow="listed", hosts=tuple(allow_host)) if allow_host else LOCAL
    with ExitStack() as stack:
        matcher = None
        if matcher_url is not None and matcher_model is not None:
            home = matcher_log or out.with_name(f"{out.name}-matcher")
            log = stack.enter_context(RequestLog(home))
            matcher = stack.enter_context(ChatClient(ServerConfig(url=matcher_url, model=matcher_model), log))
        summary = score_predictions(
            samples, predictions, out, subject=subject, seed=seed, resamples=resamples, matcher=matcher, egress=egress
        )
    console = Console(highlight=False)
    print_summary(summary, console)
    for line in [*control_lines(summary), *matched_lines(summary)]:
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"written: {out / SUMMARY_FILE}", markup=False, soft_wrap=True)


@app.command()
def board(
    scores: Annotated[list[Path], typer.Option(help="Scores folder; repeat for several runs on one page.")],
    out: Annotated[Path, typer.Option(help="Folder for board.html and its plots.")],
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "SpineBench board",
    samples: Annotated[
        list[Path] | None, typer.Option(help="Samples that were scored: ranks by group, filters, questions to look at.")
    ] = None,
    predictions: Annotated[
        list[Path] | None, typer.Option(help="Predictions that were scored: replies beside the questions.")
    ] = None,
    submission: Annotated[list[Path] | None, typer.Option(help="Submission folder: what a system declares.")] = None,
    items: Annotated[int, typer.Option(min=0, help="Questions to look at, at most.")] = 200,
) -> None:
    """Write one static page with ranks, tables, plots, filters and questions, and print the final table."""
    from rich.console import Console

    from bench.board import BOARD_FILE, write_board
    from bench.board.terminal import print_summary

    summaries = write_board(
        scores, out, title=title, samples=samples or (), predictions=predictions or (), submissions=submission or (),
        items=items,
    )  # fmt: skip
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
app.command()(examine)
app.command()(judge)
app.command()(export)
app.command()(replies)
app.command("import")(import_command)
app.command()(validate)
app.add_typer(rounds, name="round")
app.command()(live)
app.command()(tools)
app.command()(caller)
