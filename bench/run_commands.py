"""`spinemed bench run` and `spinemed bench plan`: a whole benchmark from its config, and what it would cost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bench.run import BenchConfig

__all__ = ["plan", "run"]

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="The benchmark (YAML).")]
Url = Annotated[str | None, typer.Option(help="An OpenAI-compatible server, up to and without /chat/completions.")]
Served = Annotated[str | None, typer.Option(help="Name of the model as the server knows it.")]
Revision = Annotated[str | None, typer.Option(help="Of weights and server; replies are logged under it.")]
KeyFile = Annotated[Path | None, typer.Option(help="A file that holds the API key and nothing else.")]
InFlight = Annotated[int | None, typer.Option(min=1, help="Requests at once, at most.")]
AllowHost = Annotated[
    list[str] | None,
    typer.Option(help="Host that questions and pictures may be sent to; this machine alone unless given."),
]
Release = Annotated[Path | None, typer.Option(help="Release folder, instead of the config's.")]
Samples = Annotated[Path | None, typer.Option(help="Samples folder, instead of the config's release.")]
Name = Annotated[str | None, typer.Option(help="The system's name in tables.")]
MatcherUrl = Annotated[
    str | None, typer.Option(help="Server of a language model that reads unparsed replies; counted apart.")
]
MatcherModel = Annotated[str | None, typer.Option(help="Its name as that server knows it.")]
ConditionName = Annotated[
    list[str] | None,
    typer.Option("--condition", help="Condition to ask, instead of the config's; repeat for several."),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=value.")]


def run(
    config: ConfigFile,
    out: Annotated[Path, typer.Option(help="Run folder; the same command resumes it, other models join it.")],
    model: Annotated[Path | None, typer.Option(help="Checkpoint folder, asked in this process.")] = None,
    url: Url = None,
    served_model: Served = None,
    revision: Revision = None,
    key_file: KeyFile = None,
    max_in_flight: InFlight = None,
    budget_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens that may be used.")] = None,
    budget_money: Annotated[float | None, typer.Option(min=0, help="Money that may be used, by the prices.")] = None,
    budget_seconds: Annotated[float | None, typer.Option(min=0, help="Time that asking may take.")] = None,
    allow_host: AllowHost = None,
    release: Release = None,
    samples: Samples = None,
    condition: ConditionName = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that ask; blocks are shared out among them.")] = 1,
    engine: Annotated[str, typer.Option(help="local: processes here; ray: tasks of a Ray cluster.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a running Ray cluster; one is started here unless given.")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs that a Ray task takes.")] = 0.0,
    backend: Annotated[str, typer.Option(help="What runs a checkpoint: transformers or vllm.")] = "transformers",
    matcher_url: MatcherUrl = None,
    matcher_model: MatcherModel = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask so many at most; such a run is not ranked.")] = None,
    name: Name = None,
    answers_only: Annotated[
        bool, typer.Option("--answers-only", help="Ask and stop: no scores, where nobody knows the truth.")
    ] = False,
    set_: Set = None,
) -> None:
    """Samples, predictions, scores and board of one model in a run folder. A killed run goes on where it stopped."""
    from rich.console import Console

    from bench.board.terminal import print_summary
    from bench.run import Force, run_benchmark
    from bench.spinebench.controls import control_lines
    from bench.spinebench.matched import matched_lines
    from spinemed.errors import ConfigError

    if model is not None and url is not None:
        raise ConfigError("names a second model", field="--url", cure="give --model or --url, not both")
    budget: dict[str, Any] = {"tokens": budget_tokens, "money": budget_money, "seconds": budget_seconds}
    server: dict[str, Any] = {"url": url, "model": served_model, "revision": revision, "api_key_file": key_file}
    server |= {"max_in_flight": max_in_flight} | {f"budget.{unit}": most for unit, most in budget.items()}
    if engine not in ("local", "ray"):
        raise ConfigError(f"{engine!r} is no engine", field="--engine", cure="use local or ray")
    if backend not in ("transformers", "vllm"):
        raise ConfigError(f"{backend!r} is no backend", field="--backend", cure="use transformers or vllm")
    if address is not None and engine != "ray":
        raise ConfigError("is for Ray clusters", field="--address", cure="add --engine ray, or leave it out")
    given = [*(set_ or ()), *([] if limit is None else [f"limit={limit}"])]
    loaded = _load(
        config, server, release, allow_host, given, samples=samples, conditions=condition,
        matcher={"url": matcher_url, "model": matcher_model},
    )  # fmt: skip
    force = Force(workers, engine, address, gpus, backend)  # type: ignore[arg-type]
    done = run_benchmark(loaded, out, model=model, name=name, force=force, answers_only=answers_only)
    console = Console(highlight=False)
    if done.summary:
        print_summary(done.summary, console)
    for system, counts in done.outcomes.items():
        told = ", ".join(f"{outcome} {number}" for outcome, number in sorted(counts.items()))
        console.print(f"{system}: {told}", markup=False, soft_wrap=True)
        if counts["api_error"]:
            again = out / "outputs" / "predictions" / system
            console.print(f"delete {again} and run again to ask the failed ones alone", markup=False, soft_wrap=True)
    for line in [*control_lines(done.summary), *matched_lines(done.summary)] if done.summary else ():
        console.print(line, markup=False, soft_wrap=True)
    for one, why in done.passed_over.items():
        console.print(f"{one}: leaves no question ({why})", markup=False, soft_wrap=True)
    console.print(f"written: {done.board or out / 'outputs' / 'predictions'}", markup=False, soft_wrap=True)


def plan(
    config: ConfigFile,
    run: Annotated[Path | None, typer.Option(help="A run folder: what its log holds is not asked again.")] = None,
    url: Url = None,
    served_model: Served = None,
    revision: Revision = None,
    max_in_flight: InFlight = None,
    seconds_per_call: Annotated[float, typer.Option(min=0.001, help="Of one request; nothing is sent to see.")] = 2.0,
    allow_host: AllowHost = None,
    release: Release = None,
    samples: Samples = None,
    condition: ConditionName = None,
    name: Name = None,
    set_: Set = None,
) -> None:
    """Say how many calls, tokens, how much money and time a served model would take, before the first call."""
    from rich.console import Console
    from rich.table import Table

    from bench.plan import make_plan

    server = {"url": url, "model": served_model, "revision": revision, "max_in_flight": max_in_flight}
    found = make_plan(
        _load(config, server, release, allow_host, set_, samples=samples, conditions=condition),
        run=run,
        name=name,
        seconds_per_call=seconds_per_call,
    )
    table = Table()
    heads = ("condition", "questions", "known", "with picture", "pictures", "prompt tokens", "written at most", "bound")
    for head in heads:
        table.add_column(head, justify="left" if head == "condition" else "right")
    for row in found.rows:
        numbers = (
            row.questions, row.known, row.with_picture, row.pictures, row.prompt_tokens, row.written_tokens,
            row.bound_tokens,
        )  # fmt: skip
        table.add_row(row.condition, *(f"{number:,}" for number in numbers))
    Console(highlight=False).print(table)
    prices = found.prices
    typer.echo(f"calls to make: {found.calls:,}")
    typer.echo(f"tokens: about {sum(row.prompt_tokens for row in found.rows):,} read")
    priced = prices.prompt_per_million or prices.completion_per_million
    limit = "replies at their limit" if priced else "because no prices are given (server.prices of the config)"
    typer.echo(f"money: about {found.money:.2f} {prices.currency} {prices.as_of}".rstrip() + f", {limit}")
    stated = f"{found.at_once} at once, with the stated {seconds_per_call:g} s a call"
    typer.echo(f"time: about {found.seconds / 60:.1f} min, {stated}")


def _load(
    config: Path,
    server: dict[str, Any],
    release: Path | None,
    allow_host: list[str] | None,
    given: list[str] | None,
    *,
    samples: Path | None = None,
    conditions: list[str] | None = None,
    matcher: dict[str, Any] | None = None,
) -> BenchConfig:
    """The config with what the command line says; its faults are told as those of any override."""
    from bench.run import BenchConfig
    from spinemed.config import load_config
    from spinemed.errors import ConfigError

    if server.get("url") is not None and server.get("model") is None:
        raise ConfigError("is absent", field="--served-model", cure="name the model as the server knows it")
    overrides = [f"server.{field}={_yaml(value)}" for field, value in server.items() if value is not None]
    if release is not None:
        overrides += [f"release={_yaml(release)}", "samples=null"]
    if samples is not None:
        overrides += [f"samples={_yaml(samples)}", "release=null"]
    if conditions:
        overrides.append(f"conditions={_yaml(conditions)}")
    overrides += [f"matcher.{field}={_yaml(value)}" for field, value in (matcher or {}).items() if value is not None]
    if allow_host:
        overrides.append(f"egress={_yaml({'allow': 'listed', 'hosts': allow_host})}")
    return load_config(config, BenchConfig, [*overrides, *(given or ())])


def _yaml(value: Any) -> str:
    return json.dumps(str(value.resolve()) if isinstance(value, Path) else value)
