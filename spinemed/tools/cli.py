"""Functions that a language model may call: measure, grade, score, read levels; by JSON schema or as an MCP server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from spinemed.tools.desk import Models
    from spinemed.tools.toolbox import Toolbox

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

FAULT = 1
"""Exit code of `call` where the reply is a fault."""

_Root = Annotated[Path | None, typer.Option(help="Folder of images (NIfTI); read only, symbolic links refused.")]
_Log = Annotated[Path | None, typer.Option(help="File to append every call to, a line of JSON each; outside the root.")]
_Seconds = Annotated[float, typer.Option(min=0.1, help="Deadline of one call.")]
_FileMib = Annotated[int, typer.Option(min=1, help="Largest file that is read, MiB.")]
_Names = Annotated[bool, typer.Option("--names", help="Tell file names to the model; they often hold a patient's.")]

_Completer = Annotated[Path | None, typer.Option(help="Synthesiser for `synthesise`, a trained folder.")]
_Labeller = Annotated[Path | None, typer.Option(help="Labeller, a trained folder; without it `label` is not offered.")]


def _models(completer: Path | None, labeller: Path | None) -> Models:
    from spinemed.tools.desk import Models

    return Models(*(None if each is None else str(each) for each in (completer, labeller)))


def _toolbox(
    root: Path | None, log: Path | None, seconds: float, file_mib: int, names: bool, models: Models
) -> Toolbox:
    from spinemed.tools.desk import Limits
    from spinemed.tools.toolbox import Toolbox

    return Toolbox(root, log=log, limits=Limits(seconds=seconds, file_bytes=file_mib << 20), names=names, models=models)


@app.command()
def serve(
    root: _Root = None,
    log: _Log = None,
    seconds: _Seconds = 120.0,
    file_mib: _FileMib = 512,
    names: _Names = False,
    completer: _Completer = None,
    labeller: _Labeller = None,
    at_once: Annotated[int, typer.Option(min=1, help="Calls done at the same time.")] = 1,
) -> None:
    """Serve the tools to an MCP client over standard input and output."""
    from spinemed.tools.server import serve as run

    run(_toolbox(root, log, seconds, file_mib, names, _models(completer, labeller)), at_once=at_once)


@app.command()
def schema(labeller: _Labeller = None) -> None:
    """Print the tools in OpenAI's function-calling form, as the `tools` of a request.

    `label` is not among them without --labeller: no trained model is shipped, and a name would be a guess.
    """
    from spinemed.tools.registry import openai_tools

    typer.echo(json.dumps(openai_tools(_models(None, labeller)), indent=2, ensure_ascii=False))


@app.command()
def call(
    tool: Annotated[str, typer.Argument(help="Name of the tool.")],
    arguments: Annotated[str, typer.Argument(help="Its arguments as a JSON object.")] = "{}",
    root: _Root = None,
    log: _Log = None,
    seconds: _Seconds = 120.0,
    file_mib: _FileMib = 512,
    names: _Names = False,
    completer: _Completer = None,
    labeller: _Labeller = None,
) -> None:
    """Call one tool and print its reply. Exit code 1 if the reply is a fault."""
    reply = _toolbox(root, log, seconds, file_mib, names, _models(completer, labeller)).call(tool, arguments)
    typer.echo(reply.model_dump_json(indent=2))
    if reply.error is not None:
        raise typer.Exit(FAULT)
