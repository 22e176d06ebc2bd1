"""A whole benchmark in one resumable run folder: samples, predictions, scores, board.

Convention::

    RUN/outputs/samples/              the held-out questions of the release
    RUN/outputs/predictions/NAME/     one folder for each system and condition (`NAME`, `NAME-blind`, `majority`, ...)
    RUN/outputs/scores/, board/       of all systems that are answered so far
    RUN/scratch/requests/NAME/        the request log of a served model; it holds content

A run folder belongs to a benchmark, not to a model: the config without `server` and `egress` names it, and each call
adds one system. Asking resumes by journal and log; scoring and drawing depend on files alone and are done again.

Trap: a question that the provider failed (`api_error`) is answered so in the finished folder. Delete that folder and
run the command again: the log answers the rest, and the failed ones alone are asked.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.runner import LocalAnswerer, MajorityAnswerer, Predictions, RandomAnswerer, predict_samples
from bench.runner.answerers import Answerer
from bench.samples import read_samples, write_samples
from spinemed.chat.egress import LOCAL, Egress
from spinemed.chat.request import Decoding
from spinemed.chat.server import ServerConfig
from spinemed.config import Config, ConfigPath
from spinemed.errors import ConfigError
from spinemed.records import Condition, Split
from spinemed.run import Run, open_run
from spinemed.tables import MANIFEST

__all__ = ["BenchConfig", "Finished", "questions_of", "run_benchmark", "system_name"]

_BASELINES = ("majority", "random")


class BenchConfig(Config):
    """What is asked, how it is asked and how it is judged."""

    release: ConfigPath | None = None
    """Release folder whose held-out split is asked."""
    samples: ConfigPath | None = None
    """A finished samples folder, instead."""
    split: Split = "test"
    """Which split of the release is asked."""
    conditions: tuple[Condition, ...] = Field(default=("full", "blind"), min_length=1)
    """`full`, and `blind` for the same questions with grey pictures."""
    baselines: tuple[Literal["majority", "random"], ...] = ("majority", "random")
    """What guessing earns, scored beside."""
    decoding: Decoding = Decoding(max_tokens=32)
    """How models choose their words."""
    batch_size: int = Field(default=16, ge=1)
    """Questions that a checkpoint in this process generates together."""
    seed: int = Field(default=0, ge=0)
    """Of the random baseline, bootstrap, tests and examples."""
    resamples: int = Field(default=10_000, ge=100)
    """Bootstrap samples."""
    title: str = "SpineBench board"
    """Heading of the page."""
    server: ServerConfig | None = Field(default=None, exclude=True)
    """A served model. No part of what the run folder is known by: several models share one."""
    egress: Egress = Field(default=LOCAL, exclude=True)
    """Where questions and pictures may go: samples do not say it themselves."""

    @model_validator(mode="after")
    def _one_origin(self) -> BenchConfig:
        if (self.release is None) == (self.samples is None):
            raise ValueError("give release or samples, one of the two")
        return self


@dataclass(frozen=True)
class Finished:
    """What a call of :func:`run_benchmark` ended with."""

    summary: dict[str, Any]
    board: Path
    outcomes: dict[str, Counter[str]]
    """Of the system that was asked: how many replies of each outcome, by name of system and condition."""


def system_name(model: Path | None, server: ServerConfig | None, name: str | None) -> str:
    """Name of a system in tables and folders: as given, or the checkpoint folder's or the served model's.

    Raises:
        ConfigError: There is not one model, or the name is no folder name or a baseline's.
    """
    if model is not None:
        found = model.resolve().name
    elif server is not None:
        found = re.sub(r"[^A-Za-z0-9_.-]+", "-", server.model)
    else:
        raise ConfigError(
            "no model is named", field="--model", cure="give --model CHECKPOINT, or --url and --served-model"
        )
    chosen = name or found
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,79}", chosen) or chosen in _BASELINES:
        raise ConfigError(
            f"'{chosen}' cannot name a system", field="--name", cure="use letters, digits, dots and dashes"
        )
    return chosen


def questions_of(config: BenchConfig, target: Path) -> Path:
    """The samples folder: the config's own, or one that is written at `target` from the release.

    Raises:
        ReadError, RecordError: As :func:`bench.samples.write_samples`.
    """
    if config.samples is not None:
        return config.samples
    assert config.release is not None
    write_samples(config.release, target, split=config.split)
    return target


def run_benchmark(
    config: BenchConfig, out: str | os.PathLike[str], *, model: Path | None = None, name: str | None = None
) -> Finished:
    """Ask one system, score all systems of the run folder and draw the page; the same call resumes.

    Args:
        config: The benchmark, with the server where one is asked.
        out: Run folder.
        model: Checkpoint folder, instead of the config's server.
        name: The system's name in tables.

    Raises:
        ConfigError: No model is named, or a checkpoint is to be asked with a temperature.
        RunError: The folder belongs to another benchmark, or the name to another model.
        EgressError, BudgetError, ChatError: As :class:`bench.runner.server.ServerAnswerer`.
    """
    from bench.board import BOARD_FILE, write_board
    from bench.spinebench import score_predictions

    system = system_name(model, config.server, name)
    if model is not None and config.decoding.temperature:
        raise ConfigError(
            "is above 0, and a checkpoint in this process is greedy", field="decoding.temperature", cure="set 0"
        )
    with open_run(out, command="bench run", config=config) as run:
        samples = questions_of(config, run.outputs / "samples")
        replies = run.outputs / "predictions"
        with ExitStack() as stack:
            asked = _ask_system(config, run, samples, system, model, stack)
        _ask_baselines(config, samples, replies)
        for folder, done in asked.items():
            counts = Counter(one.outcome for one in done.by_sample.values())
            run.journal("answered", system=folder, outcomes=dict(sorted(counts.items())))
        finished = sorted(path.parent for path in replies.glob(f"*/{MANIFEST}"))
        subject = system if "full" in config.conditions else None
        summary = score_predictions(
            samples, finished, run.outputs / "scores", subject=subject, seed=config.seed, resamples=config.resamples
        )
        write_board([run.outputs / "scores"], run.outputs / "board", title=config.title)
        outcomes = {each: Counter[str](one.outcome for one in done.by_sample.values()) for each, done in asked.items()}
        return Finished(summary, run.outputs / "board" / BOARD_FILE, outcomes)


def _ask_system(
    config: BenchConfig, run: Run, samples: Path, system: str, model: Path | None, stack: ExitStack
) -> dict[str, Predictions]:
    """The system's replies under each condition, by folder name."""
    total = len(read_samples(samples)[0])
    settings: dict[str, Any]
    answerer: Answerer
    if model is not None:
        answerer = LocalAnswerer(
            model, batch_size=config.batch_size, max_new_tokens=config.decoding.max_tokens, cut_is_answer=False
        )
        settings = {"block_size": 4 * config.batch_size}
    else:
        from bench.runner.server import SERVER_BLOCK, ServerAnswerer

        assert config.server is not None
        requests = run.scratch / "requests" / system
        served = ServerAnswerer(config.server, requests, decoding=config.decoding, egress=config.egress)
        answerer = stack.enter_context(served)
        settings = {"block_size": SERVER_BLOCK, "order": "picture"}
    found = {}
    for condition in dict.fromkeys(config.conditions):
        folder = system if condition == "full" else f"{system}-{condition}"
        advance: Callable[[int], None] | None
        with ExitStack() as bars:
            if model is not None:
                advance = bars.enter_context(run.progress(f"{folder} answers", total))
            else:
                from spinemed.chat import show_progress

                served.advance = bars.enter_context(show_progress(served.chat, f"{folder} answers", total))
                advance = None
            found[folder] = predict_samples(
                samples,
                answerer,
                run.outputs / "predictions" / folder,
                name=folder,
                condition=condition,
                advance=advance,
                **settings,
            )
    return found


def _ask_baselines(config: BenchConfig, samples: Path, replies: Path) -> None:
    listed, _ = read_samples(samples)
    for name in dict.fromkeys(config.baselines):
        answerer: Answerer = (
            MajorityAnswerer(listed) if name == "majority" else RandomAnswerer(listed, seed=config.seed)
        )
        predict_samples(samples, answerer, replies / name, name=name)
