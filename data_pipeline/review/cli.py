"""`spinemed review`: serve the application, add users, take a run in, give verdicts out, check the log.

Convention: `REVIEW` is a run folder of `spinemed data run` (the database is then `RUN/review/review.db`); with
`--database` it is any SQLite file or PostgreSQL. The command line acts as `system` and is logged as such.

Trap: passwords are asked for, or read from standard input; never from an option, which other users of a machine see.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from data_pipeline.review import commands as managing
from data_pipeline.review.readers import commands

if TYPE_CHECKING:
    from data_pipeline.review.store import Store

__all__ = ["app", "open_review"]

PARTS = {
    "alembic": "alembic", "argon2": "argon2-cffi", "fastapi": "fastapi", "psycopg": "psycopg",
    "python_multipart": "python-multipart", "sqlalchemy": "sqlalchemy", "starlette": "fastapi", "uvicorn": "uvicorn",
}  # fmt: skip
"""Modules of the extra `review`, and the distribution that each comes from."""


class ReviewGroup(TyperGroup):
    """The verbs; where the extra is absent, one line says how it is installed. Help needs nothing of it."""

    def invoke(self, ctx: Any) -> Any:
        """Run a verb. Raises MissingPartError where a module of the extra is not there."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            package = PARTS.get((error.name or "").split(".")[0])
            if package is None:
                raise
            from spinemed.errors import MissingPartError

            raise MissingPartError("spinemed review", package, "review") from error


app = typer.Typer(
    cls=ReviewGroup,
    no_args_is_help=True,
    help="Clinicians review what a run wrote; their decisions go to its release.",
)
user_app = typer.Typer(no_args_is_help=True, help="Users of a review.")
app.add_typer(user_app, name="user")

app.command("study")(commands.study)
app.command("reader-scores")(commands.reader_scores)
for _name, _command in (
    ("gold", managing.gold),
    ("reword", managing.reword),
    ("reopen", managing.reopen),
    ("hand-on", managing.hand_on),
):
    app.command(_name)(_command)

Run = Annotated[Path | None, typer.Argument(metavar="RUN", help="A run folder of `spinemed data run`.")]
Database = Annotated[str | None, typer.Option(help="A SQLite file or a PostgreSQL URL, instead of the run's own.")]
Data = Annotated[Path | None, typer.Option(help="Folder of pictures and documents; needed with PostgreSQL.")]


@app.callback()
def _root() -> None:
    """Clinicians review what a run wrote; their decisions go to its release."""


def _place(run: Path | None, database: str | None, data: Path | None) -> tuple[str, Path | None]:
    """URL of the database and folder of the data."""
    from spinemed.errors import ConfigError

    if run is not None and not (run / "run.json").is_file():
        raise ConfigError("is no run folder", field="RUN", file=run, cure="give the --out of a data run")
    if database is not None:
        return database, data if data is not None or run is None else run / "review"
    if run is None:
        raise ConfigError("needs a run folder or --database", field="RUN", cure="spinemed review serve RUN")
    return f"sqlite:///{(run / 'review' / 'review.db').resolve()}", data or run / "review"


def _open(run: Path | None, database: str | None, data: Path | None) -> Store:
    from data_pipeline.review.store import open_store

    return open_store(*_place(run, database, data))


@app.command()
def serve(
    run: Run = None,
    database: Database = None,
    data: Data = None,
    host: Annotated[str, typer.Option(help="Address to listen on; this machine alone unless changed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    behind_tls: Annotated[
        bool, typer.Option("--behind-tls", help="A proxy speaks TLS: cookies are sent over TLS only.")
    ] = False,
    name: Annotated[
        list[str] | None, typer.Option("--name", help="Host name under which the proxy is reached; repeatable.")
    ] = None,
) -> None:
    """Serve the application; print its one URL. A run that was never imported is imported first."""
    import uvicorn

    from data_pipeline.review.exchange.runs import import_run
    from data_pipeline.review.web.app import create_app
    from data_pipeline.review.web.settings import Settings

    url, folder = _place(run, database, data)
    store = _open(run, database, data)
    if run is not None:
        _print_account(import_run(store, run))
    sock = _socket(host, port)
    port = sock.getsockname()[1]
    settings = Settings(
        database_url=url,
        data_folder=folder or store.data,
        host=host,
        port=port,
        secure_cookies=behind_tls,
        hosts=(*(name or ()), "127.0.0.1", "localhost", "[::1]"),
    )
    application = create_app(settings, store)
    typer.echo(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
    server = uvicorn.Server(uvicorn.Config(application, log_level="warning", access_log=False, server_header=False))
    server.run(sockets=[sock])


def _socket(host: str, port: int) -> Any:
    import socket

    from data_pipeline.review.errors import ReviewError

    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ReviewError(
            f"cannot listen on {host}:{port} ({error.strerror})", field="--port", cure="give another --port, or 0"
        ) from error
    sock.listen(128)
    return sock


def open_review(run: Path | None, database: str | None, data: Path | None) -> Store:
    """The store that a command's options name; also for commands of other parts.

    Raises:
        ConfigError: The options name no review.
        ReviewError: The database cannot be reached.
    """
    return _open(run, database, data)


@user_app.command("add")
def user_add(
    pseudonym: Annotated[str, typer.Argument(help="Letters, digits, dots and hyphens; no name of a person.")],
    role: Annotated[list[str], typer.Option(help="reviewer, adjudicator, data_manager, admin or auditor; repeatable.")],
    run: Annotated[Path | None, typer.Option(help="The run folder whose review it is.")] = None,
    database: Database = None,
    data: Data = None,
    group: Annotated[str, typer.Option(help="Reviewers of one benchmark item come from different groups.")] = "",
    specialty: Annotated[str, typer.Option(help="For the datasheet.")] = "",
    years: Annotated[int | None, typer.Option(min=0, max=80, help="Of practice, for the datasheet.")] = None,
    conflict: Annotated[
        list[str] | None, typer.Option(help="A source or group of content that this person must not judge.")
    ] = None,
    language: Annotated[str, typer.Option(help="Of the pages: en or zh.")] = "en",
) -> None:
    """Add a user; the password is asked for, or the first line of standard input."""
    from data_pipeline.review.protocol.access import SYSTEM
    from data_pipeline.review.protocol.users import add_user

    store = _open(run, database, data)
    password = _password()
    with store.writing() as session:
        add_user(
            session, SYSTEM, pseudonym, password, role, specialty=specialty, years=years, group=group,
            conflicts=conflict or (), language=language,
        )  # fmt: skip
    store.close()
    typer.echo(f"user: {pseudonym}")


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")


@app.command("import")
def import_(
    run: Run = None,
    database: Database = None,
    data: Data = None,
    held: Annotated[
        list[Path] | None, typer.Option(help="What `spinemed data deidentify` wrote: its queue; repeatable.")
    ] = None,
    originals: Annotated[
        Path | None, typer.Option(help="With --held: the export it was made of, to compare before and after.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="With --originals: the project's key (its path is kept).")] = None,
    label_studio: Annotated[Path | None, typer.Option(help="Annotations exported from Label Studio (JSON).")] = None,
    training_share: Annotated[
        float | None, typer.Option(min=0, max=1, help="Draw the sample and assign it: this share of training items.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of drawing and assigning.")] = 0,
) -> None:
    """Take in a run's items, evidence and figures, what waits in quarantine, or annotations of Label Studio."""
    from spinemed.errors import ConfigError

    if (originals is None) != (key is None) or (originals is not None and not held):
        raise ConfigError(
            "--originals and --key belong together, and to --held", field="--originals", cure="give all three or --held"
        )
    from data_pipeline.review.audit.chain import append
    from data_pipeline.review.deid.originals import name_originals
    from data_pipeline.review.exchange.held import import_held
    from data_pipeline.review.exchange.label_studio import import_annotations
    from data_pipeline.review.exchange.runs import import_run
    from data_pipeline.review.protocol.access import SYSTEM
    from data_pipeline.review.protocol.assign import assign_run, draw_plan

    store = _open(run, database, data)
    if run is not None:
        account = import_run(store, run)
        _print_account(account)
        if training_share is not None:
            with store.writing() as session:
                drawn = draw_plan(session, SYSTEM, account["run"], training_share=training_share, seed=seed)
                given = assign_run(session, SYSTEM, account["run"], seed=seed)
            for purpose, counts in drawn.items():
                typer.echo(f"drawn for {purpose}: {counts['drawn']} of {counts['items']}")
            typer.echo(f"assigned: {given.assignments} to reviewers, {given.items} items")
            for why, number in given.short.items():
                typer.echo(f"{number:6d}  not assigned: {why}")
    for folder in held or ():
        typer.echo(f"waiting in quarantine: {import_held(store, folder)} ({folder})")
        if originals is not None and key is not None:
            name_originals(store.data, folder, originals, key)
            with store.writing() as session:  # from now on a page can show them: the log says who made it so
                append(session, SYSTEM.pseudonym, "name originals", "quarantine", folder.resolve().name)
    if label_studio is not None:
        for name, number in import_annotations(store, label_studio).items():
            typer.echo(f"{number:6d}  {name}")
    store.close()


def _print_account(account: dict[str, Any]) -> None:
    if account.get("already"):
        typer.echo(f"imported before as run {account['run']}")
        return
    typer.echo(f"items: {account['imported']} of {account['found']}")
    for why, number in account["left_out"].items():
        typer.echo(f"{number:6d}  left out: {why}")
    for name, number in account.items():
        if name not in ("found", "imported", "left_out", "run", "already"):
            typer.echo(f"{number:6d}  {name}")


@app.command("export")
def export(
    out: Annotated[Path, typer.Option(help="The folder to write; what stood there is replaced.")],
    run: Run = None,
    database: Database = None,
    data: Data = None,
    label_studio: Annotated[
        bool, typer.Option("--label-studio", help="Tasks and decisions for Label Studio instead.")
    ] = False,
) -> None:
    """Write verdicts, reviewers' profiles, approvals, sign-offs, guidance and the log for the next steps."""
    from data_pipeline.review.exchange.label_studio import export_tasks
    from data_pipeline.review.exchange.verdicts import export_review

    store = _open(run, database, data)
    counts = export_tasks(store, out) if label_studio else export_review(store, out)
    store.close()
    for name, number in counts.items():
        typer.echo(f"{number:6d}  {name}")
    typer.echo(f"reviews: {out}")


@app.command("verify-log")
def verify_log(
    run: Run = None,
    database: Database = None,
    data: Data = None,
    exported: Annotated[Path | None, typer.Option(help="An exported `audit.jsonl` instead of a database.")] = None,
    head: Annotated[Path | None, typer.Option(help="A `head.json` that was exported before: still in the log?")] = None,
) -> None:
    """Check every row of the audit log, and settled items against it; exit 1 where anything was altered."""
    import json

    from data_pipeline.review.audit.chain import AuditLine, Head, verify_exported
    from data_pipeline.review.audit.chain import head as head_of
    from data_pipeline.review.audit.chain import verify_log as verify
    from data_pipeline.review.exchange.verdicts import state_faults
    from spinemed.errors import ReadError
    from spinemed.tables import read_jsonl

    expected = None
    if head is not None:
        try:
            told = json.loads(head.read_bytes())
            expected = Head(int(told["seq"]), str(told["sha256"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReadError("is no head of a log", file=head, cure="give the head.json of an export") from error
    if exported is not None:
        faults = verify_exported(read_jsonl(exported, AuditLine), expected)
        typer.echo(f"log: {exported}")
    else:
        store = _open(run, database, data)
        with store.reading() as session:
            faults = verify(session, expected) or state_faults(session)
            end = head_of(session)
        store.close()
        typer.echo(f"rows: {end.seq}; head: {end.sha256}")
    for fault in faults:
        typer.echo(f"BROKEN: {fault}")
    if faults:
        raise typer.Exit(1)
    typer.echo("the log is whole")
