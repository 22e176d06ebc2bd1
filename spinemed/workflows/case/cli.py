"""`spinemed case`: the whole chain on one patient, and its own small steps by hand."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from spinemed.config import load_config
from spinemed.errors import RunError, SpineMedError
from spinemed.resources import configs_dir
from spinemed.run import open_run
from spinemed.tables import parse_json
from spinemed.workflows.case.config import CaseConfig, CaseRun
from spinemed.workflows.case.inputs import CaseInputs, prepare_case
from spinemed.workflows.case.places import Places
from spinemed.workflows.case.plan import plan_case
from spinemed.workflows.case.steps import STEPS
from spinemed.workflows.quickstart import run_stages

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help="The whole chain on one patient.")

Out = Annotated[Path, typer.Option(help="Run folder; the same command goes on where it stopped.")]


@app.command()
def report(
    out: Out,
    image: Annotated[Path | None, typer.Option(help="CT of one patient, NIfTI.")] = None,
    phantom: Annotated[int | None, typer.Option(min=0, help="Instead of a CT: a computed spine of this seed.")] = None,
    mask: Annotated[Path | None, typer.Option(help="Vertebra mask on the CT's grid, or a folder of masks.")] = None,
    scheme: Annotated[str, typer.Option(help="Numbering of the mask: verse, totalsegmentator, tptbox, ...")] = "verse",
    labeller: Annotated[Path | None, typer.Option(help="Instead of a mask: a trained labeller's folder.")] = None,
    tool: Annotated[
        str | None, typer.Option(help="Instead of a mask: totalsegmentator or spineps, if installed.")
    ] = None,
    completer: Annotated[Path | None, typer.Option(help="Trained shape completer; else the neighbours' mean.")] = None,
    model: Annotated[Path | None, typer.Option(help="Checkpoint that answers; the nano base unless given.")] = None,
    url: Annotated[str | None, typer.Option(help="Server of chat completions that answers, with tools.")] = None,
    served_model: Annotated[str | None, typer.Option(help="The model's name at that server.")] = None,
    config: Annotated[Path | None, typer.Option(help="Another config than the bundled case.yaml.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands and run none.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="field=value, over the config.")] = None,
) -> None:
    """CT to labels, twins, losses, grades, findings, report, answers and one page. Scores only where truth is known."""
    job = load_config(config or configs_dir() / "case.yaml", CaseConfig, overrides or [])
    inputs = CaseInputs(image, phantom, mask, scheme, labeller, tool, completer, model, url, served_model)
    inputs.check()
    places = Places(out.resolve())
    stages = plan_case(job, inputs, places)
    if dry_run:
        for stage in stages:
            typer.echo(shlex.join(["spinemed", *stage.arguments]))
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    identity = CaseRun(case=job, inputs=inputs.facts())
    # The command line may hold a patient's name: the journal gets what was run, on plain names.
    refused: SpineMedError | None = None
    try:
        with open_run(out, command="case report", config=identity, argv=[]) as run:
            if inputs.image is not None and not places.about.is_file():
                try:
                    prepare_case(places, inputs)
                except SpineMedError as error:
                    # It names the user's file: that is for the terminal alone, and not for the journal.
                    refused = error
                    raise RunError("image or mask cannot be used; the terminal was told why") from None
            try:
                seconds = run_stages(run, stages, lambda text: console.print(text, style="bold", markup=False))
            except KeyboardInterrupt:
                console.print(
                    "Interrupted. Nothing finished is lost: the same command goes on from here.", markup=False
                )
                raise typer.Exit(130) from None
    except RunError:
        if refused is not None:
            raise refused from None
        raise
    for line in closing(places):
        typer.echo(line)
    typer.echo(f"{sum(seconds.values()):.0f} s. Open {places.page} in a browser. Research use only.")


def closing(places: Places) -> list[str]:
    """What the terminal says at the end: the score where truth is known, else "no reference" and the limits."""
    lines = []
    if places.score.is_file():
        score = parse_json(places.score.read_text(encoding="utf-8"))
        lines.append("Computed spine (phantom): scored against its truth.")
        lines.append(
            f"height loss off by {score['loss_error_points']} points in the mean over {len(score['losses'])} thirds; "
            f"{score['losses_in_interval']} of them inside their 95 % interval"
        )
        lines.append(f"grades right: {score['grades_right']} of {score['grades_given']}")
        lines.append(f"heights off by {score['height_error_mm']} mm in the mean")
        if score["levels"]["scored"]:
            lines.append(f"levels right: {score['levels']['right']} of {len(score['levels']['named'])}")
    else:
        lines.append("no reference: nothing is scored.")
    lines += parse_json(places.levels.read_text(encoding="utf-8"))["limits"]
    return lines


@app.command()
def step(
    name: Annotated[str, typer.Argument(help=f"One of: {', '.join(STEPS)}.")],
    out: Annotated[Path, typer.Option(help="Run folder of `spinemed case report`.")],
) -> None:
    """Run one of the chain's own small steps again by hand, on the files that lie in the run folder."""
    from spinemed.errors import ReadError

    places = Places(out.resolve())
    if name not in STEPS:
        raise ReadError(f"no step '{name}'", field="NAME", cure=f"one of {', '.join(STEPS)}")
    if not (places.root / "config.yaml").is_file():
        raise ReadError("is no run folder of `spinemed case report`", file=out, cure="start that command first")
    STEPS[name](places, load_config(places.root / "config.yaml", CaseRun).case)
