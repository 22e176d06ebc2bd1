"""The command line: `spinemed APPLICATION VERB`. Lists applications without importing them.

Convention: an application registers a typer app in the entry-point group `spinemed.commands`; its one-sentence help is
the first line of that module's docstring, read from the source file and not by import, so `spinemed --help` stays fast.

Trap: a user's own `train.py` or `bench/` in the working folder must never be run instead of ours; before a command
runs, its package is checked to lie beside `spinemed`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from spinemed import __version__
from spinemed.errors import EXIT_CODE, ReadError, SpineMedError

__all__ = ["Applications", "app", "applications_in_the_way", "main"]

GROUP = "spinemed.commands"


def _registered() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name)}


def _source_file(entry: EntryPoint) -> Path | None:
    """The file of an entry point's module, found without running it or a package above it."""
    top, *rest = entry.module.split(".")
    spec = importlib.util.find_spec(top)  # a whole dotted name would import what stands before its last dot
    for folder in (spec.submodule_search_locations if spec else None) or ():
        place = Path(folder, *rest)
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            if file.is_file():
                return file
    return None


def _sentence(entry: EntryPoint) -> str:
    try:
        require_ours(entry)
        file = _source_file(entry)
        if file is None:
            return "(cannot be found: install SpineMed again)"
        text = ast.get_docstring(ast.parse(file.read_bytes()))
    except ReadError as error:
        return f"(hidden by {error.file}: rename or move that file)"
    except (OSError, SyntaxError, ValueError):
        return "(cannot be read: install SpineMed again)"
    return (text or "").split("\n", 1)[0]


def require_ours(entry: EntryPoint) -> None:
    """Refuse a first-party application that another file shadows.

    Raises:
        ReadError: The package found under the name lies elsewhere than beside `spinemed`.
    """
    if entry.dist is not None and entry.dist.name != "spinemed":
        return  # a third party's application may lie where it likes
    home = Path(__file__).resolve().parent.parent
    top = entry.module.split(".")[0]
    spec = importlib.util.find_spec(top)
    origin = None if spec is None or spec.origin is None else Path(spec.origin).resolve()
    if origin is None or origin.parent.parent != home:
        raise ReadError(
            f"is found instead of SpineMed's own package '{top}' beside {home / 'spinemed'}",
            file=origin or top,
            cure="rename or move that file, or run from another folder",
        )


def applications_in_the_way() -> list[str]:
    """Files found instead of a package of ours, such as a user's `train.py`; empty where none is."""
    found = set()
    for entry in _registered().values():
        try:
            require_ours(entry)
        except ReadError as error:
            found.add(str(error.file))
    return sorted(found)


class Applications(typer.core.TyperGroup):
    """The top group: names from entry points, code loaded only for the one that is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all registered applications and the built-in commands."""
        return sorted({*super().list_commands(ctx), *_registered()})

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import one application."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        entry = _registered().get(cmd_name)
        if entry is None:
            return None
        require_ours(entry)
        module = importlib.import_module(entry.module)
        loaded: Any = getattr(module, entry.attr)
        return typer.main.get_command(loaded)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The list of applications with one sentence each, read without importing them."""
        formatter.write_usage(ctx.command_path, "APPLICATION VERB [OPTIONS]")
        formatter.write_paragraph()
        formatter.write_text("Spine vision-language models: data, training, level-aware evaluation.")
        formatter.write_text("Research use only.")
        rows = [(name, _sentence(entry)) for name, entry in _registered().items()]
        own = [(name, command.get_short_help_str(100)) for name, command in self.commands.items()]
        with formatter.section("Applications"):
            formatter.write_dl(rows)
        with formatter.section("Commands"):
            formatter.write_dl(own)
        with formatter.section("Options"):
            formatter.write_dl([("--version", "Print the version."), ("--help", "Print this page.")])


app = typer.Typer(cls=Applications, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spinemed {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Spine vision-language models."""


@app.command()
def level(
    texts: Annotated[list[str], typer.Argument(help="What people and models write: 'L4/5', 'Th7', '第五腰椎'.")],
) -> None:
    """Read vertebral levels in texts and print what each mention means, one a line. A text without any exits with 2."""
    from spinemed.anatomy import Ambiguous, describe, find_levels
    from spinemed.errors import LevelError

    silent = []
    for text in texts:
        mentions = find_levels(text)
        if not mentions:
            silent.append(text)
            typer.echo(f"{text}\tno level")
        for mention in mentions:
            doubt = f" (in doubt: {mention.reading.why})" if isinstance(mention.reading, Ambiguous) else ""
            typer.echo(f"{mention.text}\t{describe(mention.reading)}{doubt}")
    if silent:
        raise LevelError(
            f"no level of the spine in {', '.join(map(repr, silent))}",
            field="TEXTS",
            cure="write a vertebra, disc, range or root, such as L4, L4/5, T10-L2 or S1 root",
        )


@app.command()
def versions() -> None:
    """Print the versions that a run records."""
    from spinemed.run import versions as found

    for name, number in found().items():
        typer.echo(f"{name} {number}")


def main(arguments: Iterable[str] | None = None) -> None:
    """Run the command line. A mendable error is one line on standard error and exit code 2."""
    # libgomp's spinning threads starve each other on shared cores; it reads these once, before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    try:
        app(args=None if arguments is None else list(arguments), prog_name="spinemed")
    except SpineMedError as error:
        print(f"spinemed: {error}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
