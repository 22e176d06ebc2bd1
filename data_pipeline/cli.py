"""Sources to released instructions: read, draft, verify, revise, release, and trace any row back to bytes.

Convention: every command prints where its result lies. A mendable error is one line and exit code 2.

Trap: heavy imports happen inside the commands, so that help stays fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from data_pipeline.chain import Link

__all__ = ["app"]

Engine = Literal["local", "ray"]

app = typer.Typer(no_args_is_help=True, help="Sources to released instructions, and every row back to bytes.")


@app.callback()
def _root() -> None:
    """Sources to released instructions, and every row back to bytes."""


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="The config of the run (YAML).")],
    out: Annotated[Path, typer.Option(help="The run folder; the same command resumes it.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=value.")] = None,
    engine: Annotated[Engine, typer.Option(help="Who makes the shards: processes here, or Ray.")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many at once, instead of the config's; changes no byte.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster, e.g. auto; none starts one.")] = None,
    reviews: Annotated[
        Path | None, typer.Option(help="What `spinemed review export` wrote; kept in the run folder from then on.")
    ] = None,
) -> None:
    """Read sources, draft questions, verify and revise them, and write a release."""
    from data_pipeline.config import BuildConfig
    from data_pipeline.reviews import keep_reviews
    from data_pipeline.run import resolve_sources, run_pipeline
    from data_pipeline.shards.engines import Crew
    from data_pipeline.show import print_report
    from spinemed.config import load_config
    from spinemed.run import open_run

    loaded = load_config(config, BuildConfig, set_ or ())
    resolve_sources(loaded)  # refuse before a run folder is made
    with open_run(out, command="data run", config=loaded) as opened:
        if (given := reviews or loaded.reviews) is not None:
            keep_reviews(given, opened.folder)
        with Crew(engine, workers or loaded.workers, address) as crew:
            release = run_pipeline(opened, loaded, crew)
        print_report(opened.outputs)
    typer.echo(f"release: {release}")


@app.command()
def check(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A sources.yaml, or the folder of a release.")],
    benchmark: Annotated[
        list[Path] | None, typer.Option(help="Of a release: samples or a release it may not train on; repeatable.")
    ] = None,
) -> None:
    """Check sources before they are read, or prove that nothing stands in two splits of a release."""
    from spinemed.errors import ConfigError

    if path.is_dir():
        from data_pipeline.show_check import print_check

        if not print_check(path, benchmark or []):
            raise typer.Exit(1)
        return
    if benchmark:
        raise ConfigError("is for releases", field="--benchmark", cure="give the folder of a release")
    _check_sources(path)


def _check_sources(sources: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from data_pipeline.readers import check_options
    from data_pipeline.sources import read_sources, verify_hashes

    found = read_sources(sources)
    check_options(found, sources)
    table = Table("source", "kind", "licence", "allowed use", "split", "hashed files")
    for source in found:
        verify_hashes(sources, source)
        table.add_row(
            source.id,
            source.kind,
            source.licence,
            ", ".join(source.allowed_use),
            source.split or "by component",
            str(len(source.sha256)),
        )
    Console().print(table)
    typer.echo(f"{len(found)} sources may be used as stated")


@app.command()
def export(
    release: Annotated[Path, typer.Argument(help="The folder of a release.")],
    format_: Annotated[str, typer.Option("--format", help="sharegpt, llava or msswift.")],
    out: Annotated[Path, typer.Option(help="The folder to write; it holds the pictures, too.")],
) -> None:
    """Write a release in the layout that another trainer reads."""
    from typing import get_args

    from data_pipeline.export import ExportFormat, export_release
    from spinemed.errors import ConfigError

    known = get_args(ExportFormat)
    if format_ not in known:
        raise ConfigError(f"'{format_}' is no known layout", field="--format", cure=f"use {', '.join(known)}")
    facts = export_release(release, out, format_)  # type: ignore[arg-type]
    rows = ", ".join(f"{split} {number}" for split, number in facts["rows"].items())
    typer.echo(f"rows: {rows}; pictures: {facts['pictures']}")
    typer.echo(f"{format_}: {out}")


@app.command()
def trace(
    run: Annotated[Path, typer.Option(help="The run folder of `spinemed data run`.")],
    id_: Annotated[str | None, typer.Argument(metavar="ID", help="Id of a released row.")] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Check every released row and print only what is broken.")
    ] = False,
) -> None:
    """Print the chain from a released row to the bytes it rests on, checking every link again."""
    from data_pipeline.chain import trace as follow
    from spinemed.errors import ConfigError

    if (id_ is None) == (not all_):
        raise ConfigError("needs an id or --all, not both", field="ID", cure="spinemed data trace ID --run RUN")
    if id_ is None:
        _trace_all(run)
        return
    links = follow(id_, run)
    for link in links:
        _print_link(link)
    broken = [link.name for link in links if not link.ok]
    if broken:
        typer.echo(f"BROKEN: {', '.join(broken)}")
        raise typer.Exit(1)
    typer.echo(f"all {len(links)} links OK")


def _trace_all(run: Path) -> None:
    from data_pipeline.chain import Tracer

    rows = links = broken = 0
    for row_id, chain in Tracer(run).chains():
        rows, links = rows + 1, links + len(chain)
        wrong = [link for link in chain if not link.ok]
        if wrong:
            broken += 1
            typer.echo(row_id)
            for link in wrong:
                _print_link(link)
    typer.echo(f"{rows} rows, {links} links checked again, {broken} rows broken")
    if broken:
        raise typer.Exit(1)


def _print_link(link: Link) -> None:
    typer.echo(f"[{'OK' if link.ok else 'BROKEN'}] {link.name}")
    for name, value in link.facts:
        first, *rest = str(value).splitlines() or [""]
        typer.echo(f"     {name}: {first}")
        for line in rest:
            typer.echo(f"       {line}")


@app.command()
def show(
    run: Annotated[Path, typer.Argument(help="The run folder of `spinemed data run`.")],
    out: Annotated[Path, typer.Option(help="Where to write: a .png or .html file.")],
    number: Annotated[int, typer.Option(min=1, max=60, help="How many items.")] = 9,
) -> None:
    """Write one page with sample items: picture, question, options, answer, evidence."""
    from data_pipeline.show import show_items

    show_items(run, out, number)
    typer.echo(f"page: {out}")


@app.command()
def deidentify(
    export: Annotated[
        Path, typer.Argument(help="A hospital's export: a folder a patient, or patients.csv and notes.csv.")
    ],
    out: Annotated[Path, typer.Option(help="The folder to write: cases, what is held back, records, counts.")],
    key: Annotated[Path, typer.Option(help="The project's secret key; keep it apart from everything else.")],
    site: Annotated[str, typer.Option(help="Code of the site; no name.")] = "site-01",
    sign_offs: Annotated[Path | None, typer.Option(help="Decisions of a person on what was held back (JSONL).")] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Write a fresh key first.")] = False,
) -> None:
    """Take out what identifies patients, relatives, staff and places; hold back whatever is in doubt."""
    from data_pipeline.deidentify import SignOff, deidentify_export, read_key, write_key
    from data_pipeline.deidentify.pixels import default_finder
    from spinemed.tables import read_jsonl

    if new_key:
        write_key(key)
    decisions = [] if sign_offs is None else list(read_jsonl(sign_offs, SignOff))
    finder = default_finder()
    report = deidentify_export(export, out, read_key(key), site=site, finder=finder, decisions=decisions)
    if finder is None:
        typer.echo("no text finder: install Tesseract, or every picture stays held back")
    for name, number in report["counts"].items():
        typer.echo(f"{number:6d}  {name}")
    typer.echo(f"clean: {out / 'cases'}")


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="The config of the run (YAML).")],
    run: Annotated[Path | None, typer.Option(help="A run folder: its corpus is read, its log counted.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=value.")] = None,
) -> None:
    """Say what a language model would be asked, and what it would cost, before the first request leaves."""
    from rich.console import Console
    from rich.table import Table

    from data_pipeline.config import BuildConfig
    from data_pipeline.plan import make_plan, open_corpus
    from spinemed.config import load_config

    loaded = load_config(config, BuildConfig, set_ or ())
    found = make_plan(loaded, open_corpus(loaded, run), run)
    table = Table("stage", "task", "requests", "logged", "prompt tokens", "written tokens", "bound")
    for row in found.rows:
        numbers = (row.requests, row.logged, row.prompt_tokens, row.completion_tokens, row.bound_tokens)
        table.add_row(row.stage, row.task, *(f"{number:,}" for number in numbers))
    Console().print(table)
    tokens = found.total("prompt_tokens") + found.total("completion_tokens")
    typer.echo(f"requests: {found.total('requests'):,} (of these drafts logged: {found.total('logged'):,})")
    typer.echo(
        f"tokens: about {tokens:,}; a budget reserves at most {found.total('bound_tokens'):,} if each is sent once"
    )
    typer.echo(f"GPU-hours: about {found.gpu_hours:.2f}")
    typer.echo(f"money: about {found.money:.2f} {found.prices.currency} {found.prices.as_of}".rstrip())
    typer.echo(f"disk: about {found.disk_mib:.0f} MiB")
    typer.echo("drafts by source: " + ", ".join(f"{name} {number}" for name, number in found.sources.items()))
    typer.echo("counted with one revision a draft and no repair turn")


@app.command()
def withdraw(
    case: Annotated[str, typer.Argument(metavar="CASE", help="The pseudonym, as the folder `cases` lists it.")],
    sources: Annotated[Path, typer.Option(help="The sources.yaml that lists the hospital.")],
    runs: Annotated[
        list[Path], typer.Option(help="Folder below which runs, releases and checkpoints lie; repeatable.")
    ],
    reason: Annotated[str, typer.Option(help="A word for the record; no names.")] = "",
    rebuild: Annotated[bool, typer.Option(help="Build the releases that held it again.")] = True,
) -> None:
    """Remove a case, rebuild the releases that held it, and list every release and checkpoint that saw it."""
    from data_pipeline.config import BuildConfig
    from data_pipeline.run import run_pipeline
    from data_pipeline.withdraw import find_releases, withdraw_case
    from spinemed.config import load_config
    from spinemed.run import open_run

    done = withdraw_case(case, sources, runs, reason=reason)
    for folder in done.removed_from:
        typer.echo(f"removed from {folder}")
    for folder, digest in done.releases.items():
        typer.echo(f"release that held it: {folder} ({digest})")
    for folder, digest in done.checkpoints.items():
        typer.echo(f"checkpoint that saw it, to be retired: {folder} (release {digest})")
    for folder in done.others:
        typer.echo(f"also held there, remove it by hand or make it again: {folder}")
    for folder in done.logs:
        typer.echo(f"request log that may hold its words, remove it by hand: {folder}")
    for folder in done.releases if rebuild else ():
        home = Path(folder).parent.parent
        if not (home / "config.yaml").is_file():
            typer.echo(f"copy without its run, remove it by hand: {folder}")
            continue
        loaded = load_config(home / "config.yaml", BuildConfig)
        with open_run(home, command="data run", config=loaded) as opened:
            typer.echo(f"built again: {run_pipeline(opened, loaded)}")
    left = find_releases(case, runs)
    typer.echo(
        f"{len(done.releases)} releases and {len(done.checkpoints)} checkpoints held it; {len(left)} releases still do"
    )
    if left and rebuild:
        raise typer.Exit(1)
