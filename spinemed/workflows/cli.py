"""Real samples and phantoms to a fine-tuned, scored model and one HTML page, in one command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from spinemed.config import load_config
from spinemed.resources import configs_dir
from spinemed.run import open_run
from spinemed.workflows.quickstart import QuickstartConfig, Stage, plan_quickstart, run_stages

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def quickstart(
    out: Annotated[Path, typer.Option(help="Run folder; the same folder resumes.")] = Path("runs/quickstart"),
    config: Annotated[Path | None, typer.Option(help="Another config than the bundled one.")] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="The same steps, tiny; figures mean nothing.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the commands and run none.")] = False,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="field=value, over the config.")] = None,
) -> None:
    """Run everything once: release, fine-tuning, benchmark, board. Interrupted, the same command resumes."""
    file = config or configs_dir() / ("quickstart_smoke.yaml" if smoke else "quickstart.yaml")
    job = load_config(file, QuickstartConfig, overrides or [])
    stages = plan_quickstart(job, out)
    if dry_run:
        for stage in stages:
            typer.echo(shlex.join(["spinemed", *stage.arguments]))
        return
    say = _console()
    with open_run(out, command="quickstart", config=job) as run:
        try:
            seconds = run_stages(run, stages, say)
        except KeyboardInterrupt:
            say("Interrupted. Nothing finished is lost: the same command goes on from here.")
            raise typer.Exit(130) from None
        _close(stages, seconds, _peak_gib(out), say)


def _console() -> Callable[[str], None]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        console.print(text, style="bold", markup=False)

    return say


def _peak_gib(out: Path) -> float:
    """Largest peak of any one stage of this run so far, sessions before an interruption included."""
    peak = 0.0
    for line in (out / "journal.jsonl").read_bytes().splitlines():
        try:
            peak = max(peak, json.loads(line).get("peak_memory_gib_so_far", 0.0))
        except ValueError:
            continue  # a line torn by a kill
    return peak


def _close(stages: list[Stage], seconds: dict[str, float], peak: float, say: Callable[[str], None]) -> None:
    say("\nMade:")
    for stage in stages:
        say(f"  {seconds[stage.title]:7.1f} s  {stage.made}")
    say(f"  {sum(seconds.values()):7.1f} s in all; peak memory of a stage {peak:.2f} GiB")
    say(f"\nOpen {stages[-1].made} in a browser. Research use only; phantoms are not patients.")
