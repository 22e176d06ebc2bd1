"""Train models: make a small base from phantoms, fine-tune on a release, merge adapters.

Convention: every job takes a config and a run folder; the same command resumes. The trap: torch is imported only once
a command runs, so that `--help` stays fast.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from train.around import register

app = typer.Typer(no_args_is_help=True, help=(__doc__ or "").splitlines()[0])

ConfigArgument = Annotated[Path, typer.Argument(help="YAML config.")]
OutOption = Annotated[Path, typer.Option("--out", help="Run folder; the same command resumes it.")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="Override a field: a.b=3. May be repeated.")]


def _quiet() -> None:
    """Keep third-party progress bars and notices off the terminal; errors still show."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _first() -> bool:
    """Whether this is the only process, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


@app.command()
def preflight(
    folder: Annotated[Path, typer.Argument(help="Where checkpoints will lie: the run folder to be.")],
    megabytes: Annotated[int, typer.Option(min=1, help="Data written, read and exchanged by each process.")] = 64,
    factor: Annotated[float, typer.Option(min=1.1, help="Slow is less than the usual figure over this.")] = 2.0,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 2 where something is slow.")] = False,
) -> None:
    """Measure products, disk and links of every process before a long job, and name the slow ones.

    Start it as the job will be started: `torchrun ... -m spinemed train preflight RUN`.
    """
    from rich.table import Table

    from spinemed.errors import RunError
    from train.preflight import FIGURES, measure, slow_ones

    found = measure(folder, megabytes=megabytes)
    slow = slow_ones(found, factor)
    if _first():
        table = Table("process", "node", *(f"{what}, {unit}" for what, unit in FIGURES.values()))
        for one in found:
            table.add_row(str(one.rank), one.node, *(f"{getattr(one, name):.4g}" for name in FIGURES))
        console = Console()
        console.print(table)
        if len(found) > 1:
            console.print(f"one reduction of {megabytes} MB over all: {max(one.together for one in found):.3g} s")
        for line in slow:
            console.print(f"slow: {line}", markup=False, soft_wrap=True)
        if not slow:
            console.print("no process is slow")
    if slow and strict:
        raise RunError(f"{len(slow)} figures are slow, e.g. {slow[0]}", cure="replace the node, or leave --strict out")


@app.command()
def warmup(config: ConfigArgument, out: OutOption, overrides: SetOption = None) -> None:
    """Make a nano base model: dense warm-up from phantom masks, then captions."""
    from spinemed.config import load_config

    _quiet()
    from train.base.warmup import WarmupConfig, run_warmup

    folder = run_warmup(load_config(config, WarmupConfig, overrides or ()), out)
    Console().print(f"base model: {folder}", soft_wrap=True)


@app.command("run")
def run_(config: ConfigArgument, out: OutOption, overrides: SetOption = None) -> None:
    """Fine-tune a base on releases, stage after stage: adapters or all weights, loss on answers only.

    Many processes: `torchrun --nproc-per-node N -m spinemed train run CONFIG --out RUN`.
    """
    from spinemed.config import load_config

    _quiet()
    from train.config import TrainConfig
    from train.run import run_training

    folder = run_training(load_config(config, TrainConfig, overrides or ()), out)
    if _first():
        Console().print(f"fine-tuned model: {folder}", soft_wrap=True)


@app.command()
def resume(run: Annotated[Path, typer.Argument(help="Run folder of `spinemed train run`.")]) -> None:
    """Go on with a killed or failed `spinemed train run`, from the config that its folder keeps."""
    _quiet()
    from train.run import resume as go_on

    folder = go_on(run)
    if _first():
        Console().print(f"fine-tuned model: {folder}", soft_wrap=True)


@app.command()
def labelling(config: ConfigArgument, out: OutOption, overrides: SetOption = None) -> None:
    """Train the vertebra labeller on folders in VerSe's layout, or on phantoms that it renders first."""
    from spinemed.config import load_config

    _quiet()
    from train.labelling.labeller import LabellingConfig, run_labelling

    folder = run_labelling(load_config(config, LabellingConfig, overrides or ()), out)
    Console().print(f"labeller: {folder}", soft_wrap=True)


@app.command()
def synthesis(config: ConfigArgument, out: OutOption, overrides: SetOption = None) -> None:
    """Train a synthesiser of healthy vertebrae, on phantoms that it draws first or on graded scans."""
    from spinemed.config import load_config

    _quiet()
    from train.synthesis.synthesiser import SynthesisConfig, run_synthesis

    folder = run_synthesis(load_config(config, SynthesisConfig, overrides or ()), out)
    Console().print(f"synthesiser: {folder}", soft_wrap=True)


@app.command()
def lifter(config: ConfigArgument, out: OutOption, overrides: SetOption = None) -> None:
    """Train a monocular lifter on simulated motion, and report it beside the baselines that it must beat."""
    from spinemed.config import load_config

    _quiet()
    from train.lifting.lifter import LifterJob, run_lifter

    folder = run_lifter(load_config(config, LifterJob, overrides or ()), out)
    Console().print(f"lifter: {folder}", soft_wrap=True)


@app.command()
def lift(
    out: Annotated[Path, typer.Option("--out", help="Folder of predictions to write; must not hold anything.")],
    run: Annotated[Path | None, typer.Argument(help="Run folder of `spinemed train lifter`.")] = None,
    data: Annotated[Path | None, typer.Option(help="Data set of `spinemed motion simulate`.")] = None,
    method: Annotated[
        str,
        typer.Option(help="lifter, linear, linear_window, rest (one view); refine, triangulate, views (all views)."),
    ] = "lifter",
    split: Annotated[str, typer.Option(help="train, val, test, or all.")] = "test",
    view: Annotated[int, typer.Option(help="The view that methods of one view see.")] = 0,
    detections: Annotated[
        Path | None, typer.Option(help="Folder of predictions with a detector's pixels for the data set's clips.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="See the exact projections, not the detections.")] = False,
    keypoints: Annotated[Path | None, typer.Option(help="Instead of --data: a detector's keypoint file.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="TOML with the camera of --keypoints.")] = None,
    camera: Annotated[str | None, typer.Option(help="Its name, where the calibration has several.")] = None,
) -> None:
    """Predict 3D points (or refined 2D) as files that `spinemed motion evaluate` reads."""
    from spinemed.errors import RunError
    from train.lifting.predict import lift_dataset, lift_keypoints

    if (data is None) == (keypoints is None):
        raise RunError("needs --data or --keypoints, one of them", field="--data", cure="name what is to be lifted")
    if keypoints is not None:
        if run is None or calibration is None:
            raise RunError("--keypoints needs a run and --calibration", field="--keypoints", cure="name both")
        about = lift_keypoints(keypoints, calibration, out, run=run, method=method, camera=camera)
    else:
        assert data is not None
        chosen = None if split == "all" else split
        about = lift_dataset(
            data, out, run=run, method=method, split=chosen, view=view, source="exact" if exact else "detected",
            detections=detections,
        )  # fmt: skip
    failed = about.get("failed", {})
    Console().print(f"{about['written']} clips: {out}", soft_wrap=True)
    for name, reason in failed.items():
        Console(stderr=True).print(f"not predicted: {name}: {reason}", soft_wrap=True, markup=False)


@app.command()
def merge(
    adapter: Annotated[Path, typer.Argument(help="Adapter folder of a LoRA run.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write; must not exist.")],
    precision: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Fold a LoRA adapter into its base: one folder that any loader reads."""
    _quiet()
    from spinemed.errors import ConfigError
    from train.merge import merge_adapter

    if precision not in ("float32", "bfloat16", "float16"):
        raise ConfigError(
            f"'{precision}' is no number format", field="--precision", cure="use float32, bfloat16 or float16"
        )
    folder = merge_adapter(adapter, out, precision=precision)  # type: ignore[arg-type]
    Console().print(f"merged model: {folder}", soft_wrap=True)


register(app)
