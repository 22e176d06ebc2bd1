"""The quickstart: real samples and phantoms → release → fine-tuning → benchmark → one page.

Convention: each stage is an application's own command, run as a child process; stages meet in folders whose paths are
written out on every command line, so that any of them can be run again by hand. Each command resumes by itself, so
the quickstart resumes by running them again.

Trap: nothing here may import an application; what a stage made is known only from its files.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from spinemed.config import Config, ConfigPath
from spinemed.errors import RunError
from spinemed.run import Run

__all__ = ["QuickstartConfig", "Size", "Stage", "System", "plan_quickstart", "run_stages"]


class System(Config):
    """One row of the final table."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]*$")]
    """Name in the table, and of the folder of its predictions."""
    model: Literal["base", "tuned", "majority", "random"]
    """`base`, `tuned`, `majority` or `random`."""
    condition: Literal["full", "blind"] = "full"
    """`full`, or `blind` for the picture withheld."""


class Size(Config):
    """How much is done: the same steps at another size."""

    data: list[str] = []
    """Overrides for the data config, `field=value`."""
    train: list[str] = []
    """Overrides for the training config."""


class QuickstartConfig(Config):
    """The whole job."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of phantoms, splits, training order and resampling."""
    data_config: ConfigPath
    """Config of `spinemed data run`."""
    train_config: ConfigPath
    """Config of `spinemed train run`."""
    base: ConfigPath
    """The base model that is fine-tuned."""
    size: Size
    """Overrides for this size."""
    systems: Annotated[list[System], Field(min_length=1)]
    """Rows of the final table, in order."""
    resamples: Annotated[int, Field(ge=100)] = 10_000
    """Bootstrap resamples of every interval and test."""

    @field_validator("systems")
    @classmethod
    def _told_apart(cls, systems: list[System]) -> list[System]:
        # Scoring would refuse them too, but only after everything else is done.
        for what, keys in (
            ("name", [system.name for system in systems]),
            ("model and condition", [f"{system.model}, {system.condition}" for system in systems]),
        ):
            repeated = [key for key in keys if keys.count(key) > 1]
            if repeated:
                raise ValueError(f"two systems have the same {what} ({repeated[0]})")
        return systems


@dataclass(frozen=True)
class Stage:
    """One child process.

    Attributes:
        title: What a person reads while it runs.
        arguments: The command line after `spinemed`.
        made: What it leaves behind, for the closing list.
    """

    title: str
    arguments: tuple[str, ...]
    made: Path


def plan_quickstart(config: QuickstartConfig, out: Path) -> list[Stage]:
    """The commands of the whole job, in order. Nothing is run.

    Args:
        config: The job.
        out: The run folder; every path below it is explicit in the commands.
    """
    out = out.resolve()  # a child reads its own config relative to itself, never to our folder
    data, tuned, bench = out / "data", out / "train", out / "bench"
    release, samples = data / "outputs" / "release", bench / "samples"
    seed = f"seed={config.seed}"
    stages = [
        Stage(
            "Data: read, draft, verify, revise, release",
            ("data", "run", str(config.data_config), "--out", str(data), *_sets([seed, *config.size.data])),
            release,
        ),
        Stage(
            "Train: fine-tune the base with LoRA, merge",
            (
                "train",
                "run",
                str(config.train_config),
                "--out",
                str(tuned),
                *_sets([seed, f"releases.main={release}", f"base={config.base}", *config.size.train]),
            ),
            tuned / "outputs" / "model",
        ),
        Stage(
            "Bench: samples from the held-out split",
            ("bench", "samples", "--release", str(release), "--out", str(samples)),
            samples,
        ),
    ]
    models = {"base": str(config.base), "tuned": str(tuned / "outputs" / "model")}
    predictions = []
    for system in config.systems:
        folder = bench / "predictions" / system.name
        predictions.append(folder)
        stages.append(
            Stage(
                f"Bench: {system.name} answers",
                (
                    "bench",
                    "predict",
                    "--samples",
                    str(samples),
                    "--model",
                    models.get(system.model, system.model),
                    "--name",
                    system.name,
                    "--condition",
                    system.condition,
                    "--seed",
                    str(config.seed),
                    "--out",
                    str(folder),
                ),
                folder,
            )
        )
    scores = bench / "scores"
    tuned_full = [one.name for one in config.systems if (one.model, one.condition) == ("tuned", "full")]
    subject = ("--subject", tuned_full[0]) if tuned_full else ()
    every = [part for folder in predictions for part in ("--predictions", str(folder))]
    stages.append(
        Stage(
            "Bench: score",
            (
                *("bench", "score", "--samples", str(samples), *every),
                *subject,
                *("--resamples", str(config.resamples), "--seed", str(config.seed), "--out", str(scores)),
            ),
            scores,
        )
    )
    if tuned_full:
        card, checkpoint = out / "MODEL_CARD.md", models["tuned"]
        told = ("train", "card", "--checkpoint", checkpoint, "--scores", str(scores), "--out", str(card))
        stages.append(Stage("Train: card of the fine-tuned model, with its failure rates", told, card))
    stages.append(
        Stage(
            "Bench: board",
            ("bench", "board", "--scores", str(scores), "--samples", str(samples), *every, "--out", str(out)),
            out / "board.html",
        )
    )
    return stages


def _sets(overrides: list[str]) -> tuple[str, ...]:
    return tuple(part for override in overrides for part in ("--set", override))


def run_stages(run: Run, stages: list[Stage], say: Callable[[str], None]) -> dict[str, float]:
    """Run the stages one after another, each resuming by itself.

    Args:
        run: The open run: start, end, seconds and peak memory of each stage go into its journal.
        stages: From :func:`plan_quickstart`.
        say: Shows one line to the person.

    Returns:
        Seconds by stage title, in order.

    Raises:
        RunError: A stage failed; its own message stands above on standard error.
    """
    seconds: dict[str, float] = {}
    for number, stage in enumerate(stages, 1):
        say(f"[{number}/{len(stages)}] {stage.title}")
        run.journal("stage started", stage=stage.title, arguments=list(stage.arguments))
        start = time.monotonic()
        code = _run(stage.arguments)
        seconds[stage.title] = time.monotonic() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
        run.journal(
            "stage ended",
            stage=stage.title,
            exit_code=code,
            seconds=round(seconds[stage.title], 2),
            peak_memory_gib_so_far=round(peak, 3),
        )
        if code != 0:
            raise RunError(
                f"the stage '{stage.title}' ended with exit code {code}",
                file=run.folder,
                cure="mend what its message above names and start the same command again; finished stages are kept",
            )
    return seconds


def _run(arguments: tuple[str, ...]) -> int:
    """Run one command as a child that ends with us (see :mod:`spinemed.workflows.child`); returns its exit code."""
    # -P: a train.py or bench/ in the user's folder must not be found instead of ours.
    command = [sys.executable, "-P", "-m", "spinemed.workflows.child", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            return child.wait()
        except KeyboardInterrupt:
            # Ctrl-C reached the child as well: leave it a moment to note that in its journal.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)
            raise
