"""Spine motion: fit recorded clips, simulate data sets, evaluate predictions, view a moving spine."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

import typer

from spinemed.errors import MissingPartError
from spinemed.motion.commands import fit, view

__all__ = ["GROUP", "app"]

GROUP = "spinemed.motion.commands"
"""Entry points of further verbs: functions that typer can call. The benchmark registers `evaluate` here."""

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.command()(fit)
app.command()(view)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder of the data set; the same command goes on with it.")],
    config: Annotated[
        Path | None, typer.Argument(help="YAML with fields of SimulateConfig; motion_simspine.yaml by default.")
    ] = None,
    subjects: Annotated[int | None, typer.Option(help="How many bodies.")] = None,
    motions: Annotated[str | None, typer.Option(help="Names separated by commas: gait,bend,lift,twist,sit.")] = None,
    clips: Annotated[int | None, typer.Option(help="Clips of each motion by each subject.")] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of a clip.")] = None,
    rate: Annotated[float | None, typer.Option(help="Frames per second.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything drawn.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the files are the same for any number.")] = 1,
    ray: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster (auto, local, or host:port) instead of processes.")
    ] = None,
    formats: Annotated[
        str | None, typer.Option("--format", help="Further files, separated by commas: npz,coco,parquet,trc,mot.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Any field of the config, e.g. cameras.kind=random.")
    ] = None,
) -> None:
    """Simulate natural motions of drawn bodies with exact labels and views. Nobody was measured."""
    from spinemed.config import load_config
    from spinemed.motion.dataset.config import SimulateConfig
    from spinemed.motion.dataset.formats import parse_formats, write_formats
    from spinemed.motion.dataset.produce import simulate as produce
    from spinemed.resources import configs_dir

    wanted = parse_formats(formats)
    plain = {"subjects": subjects, "clips_per_motion": clips, "seconds": seconds, "rate_hz": rate, "seed": seed}
    given = [f"{name}={value}" for name, value in plain.items() if value is not None]
    if motions is not None:
        given.append(f"motions=[{motions}]")
    path = configs_dir() / "motion_simspine.yaml" if config is None else config
    job = load_config(path, SimulateConfig, [*given, *(set_ or [])])
    start = time.monotonic()
    report: dict[str, Any] = dict(produce(job, out, workers=workers, ray_address=ray))
    made = report["frames"] * (report["shards"] - report["kept"]) / report["shards"]
    report["poses_per_s"] = round(made / (time.monotonic() - start), 1)
    if wanted:
        report["files"] = write_formats(out, wanted, workers=workers)
    report["peak_mib"] = round(_peak_mib(), 1)
    typer.echo(json.dumps({"out": str(out), **report}))


def _peak_mib() -> float:
    """Largest memory of this process, and of one worker if that was larger."""
    own, workers = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(own, workers) / (1024.0 * 1024.0 if sys.platform == "darwin" else 1024.0)


def _load(entry: EntryPoint) -> Callable[..., Any]:
    from spinemed.cli import require_ours

    require_ours(entry)
    try:
        loaded: Callable[..., Any] = entry.load()
    except ImportError as error:
        problem = f"cannot be loaded ({error})"

        def loaded() -> None:
            raise MissingPartError(problem, field=f"spinemed motion {entry.name}", cure="install SpineMed again")

    return loaded


for _entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
    app.command(_entry.name)(_load(_entry))
