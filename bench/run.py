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
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from bench.runner import MajorityAnswerer, Predictions, RandomAnswerer, predict_samples
from bench.runner.answerers import Answerer
from bench.runner.conditions import Questions
from bench.runner.crew import Engine, Work, predict_together
from bench.runner.makers import local_answerer, server_answerer, vllm_answerer
from bench.runner.server import SERVER_BLOCK, ServerAnswerer
from bench.runner.tooled import ToolAnswerer, ToolConfig
from bench.runner.vllm_offline import VllmConfig
from bench.samples import read_samples, write_samples
from spinemed.chat import Chat, ChatClient, RequestLog, start_ledger
from spinemed.chat.egress import LOCAL, Egress
from spinemed.chat.request import Decoding
from spinemed.chat.server import ServerConfig
from spinemed.config import Config, ConfigPath
from spinemed.errors import ConfigError
from spinemed.records import Condition, Split
from spinemed.run import Run, open_run
from spinemed.tables import MANIFEST

__all__ = ["BenchConfig", "Finished", "Force", "questions_of", "run_benchmark", "system_name"]

_BASELINES = ("majority", "random")


class BenchConfig(Config):
    """What is asked, how it is asked and how it is judged."""

    release: ConfigPath | None = None
    """Release folder whose held-out split is asked."""
    samples: ConfigPath | None = None
    """A finished samples folder, instead."""
    split: Split = "test"
    """Which split of the release is asked."""
    limit: int | None = Field(default=None, ge=1)
    """Ask so many questions at most, to try things out; such a run is marked and ranked nowhere."""
    conditions: tuple[Condition, ...] = Field(default=("full", "blind"), min_length=1)
    """`full` for the questions themselves, and controls; see `bench/runner/conditions.py`. One that leaves no question
    is passed over and told."""
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
    tools: ToolConfig = ToolConfig()
    """What may be called under the condition `tools`."""
    server_block: int = Field(default=SERVER_BLOCK, ge=1)
    """Questions that one worker takes at a time when a server is asked: fewer share better, more idle less."""
    title: str = "SpineBench board"
    """Heading of the page."""
    server: ServerConfig | None = Field(default=None, exclude=True)
    """A served model. No part of what the run folder is known by: several models share one."""
    vllm: VllmConfig = Field(default=VllmConfig(), exclude=True)
    """Of a checkpoint that vLLM asks in this process."""
    matcher: ServerConfig | None = Field(default=None, exclude=True)
    """A served language model that reads what the rules left unparsed; counted apart."""
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
    board: Path | None
    outcomes: dict[str, Counter[str]]
    """Of the system that was asked: how many replies of each outcome, by name of system and condition."""
    passed_over: dict[str, str]
    """Conditions that leave no question of these samples, and why."""


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
    if config.limit is not None:
        from bench.submission.limit import limit_samples

        whole = questions_of(config.model_copy(update={"limit": None}), target.with_name("all-samples"))
        limit_samples(whole, target, limit=config.limit)
        return target
    if config.samples is not None:
        return config.samples
    assert config.release is not None
    write_samples(config.release, target, split=config.split)
    return target


@dataclass(frozen=True)
class Force:
    """Who does the asking. No part of the results: any number of workers resumes what any other left."""

    workers: int = 1
    engine: Engine = "local"
    address: str | None = None
    """Of a running Ray cluster."""
    gpus: float = 0.0
    """GPUs that a Ray task takes."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What runs a checkpoint."""

    @property
    def alone(self) -> bool:
        """Whether this process asks by itself."""
        return self.workers == 1 and self.engine == "local"


def run_benchmark(
    config: BenchConfig,
    out: str | os.PathLike[str],
    *,
    model: Path | None = None,
    name: str | None = None,
    force: Force | None = None,
    answers_only: bool = False,
) -> Finished:
    """Ask one system, score all systems of the run folder and draw the page; the same call resumes.

    Args:
        config: The benchmark, with the server where one is asked.
        out: Run folder.
        model: Checkpoint folder, instead of the config's server.
        name: The system's name in tables.
        force: Who does the asking; this process unless given.
        answers_only: Stop when the answers are there: for questions of which nobody knows the truth.

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
    if model is not None and "tools" in config.conditions:
        raise ConfigError(
            "asks for calls of functions, which need a server", field="conditions", cure="serve the checkpoint: --url"
        )
    with open_run(out, command="bench run", config=config) as run:
        samples = questions_of(config, run.outputs / "samples")
        replies = run.outputs / "predictions"
        listed, _ = read_samples(samples)
        questions = Questions(listed, samples)
        passed_over = {}
        for condition in dict.fromkeys(config.conditions):
            under = questions.under(condition)
            if not under.samples:
                passed_over[str(condition)] = ", ".join(f"{count} {why}" for why, count in under.left_out.items())
                run.journal("passed over", condition=condition, left_out=under.left_out)
        with ExitStack() as stack:
            asking = _Asking(config, run, samples, system, model, force or Force(), questions)
            asked = asking.ask(stack)
        _ask_baselines(config, samples, replies)
        for folder, done in asked.items():
            counts = Counter(one.outcome for one in done.by_sample.values())
            run.journal("answered", system=folder, outcomes=dict(sorted(counts.items())))
        outcomes = {each: Counter[str](one.outcome for one in done.by_sample.values()) for each, done in asked.items()}
        if answers_only:
            return Finished({}, None, outcomes, passed_over)
        finished = sorted(path.parent for path in replies.glob(f"*/{MANIFEST}"))
        subject = system if "full" in config.conditions else None
        with ExitStack() as stack:
            matcher = _matcher(config, run, stack)
            summary = score_predictions(
                samples, finished, run.outputs / "scores", subject=subject, seed=config.seed,
                resamples=config.resamples, matcher=matcher, egress=config.egress,
            )  # fmt: skip
        write_board(
            [run.outputs / "scores"], run.outputs / "board", title=config.title, samples=[samples], predictions=finished
        )
        return Finished(summary, run.outputs / "board" / BOARD_FILE, outcomes, passed_over)


def _matcher(config: BenchConfig, run: Run, stack: ExitStack) -> Chat | None:
    if config.matcher is None:
        return None
    log = stack.enter_context(RequestLog(run.scratch / "requests" / "matcher", wait_s=10.0))
    return stack.enter_context(ChatClient(config.matcher, log))


@dataclass(frozen=True)
class _Asking:
    """One system under all conditions of a benchmark."""

    config: BenchConfig
    run: Run
    samples: Path
    system: str
    model: Path | None
    force: Force
    questions: Questions

    def ask(self, stack: ExitStack) -> dict[str, Predictions]:
        """The system's replies under each condition, by folder name."""
        wanted = [one for one in dict.fromkeys(self.config.conditions) if self.questions.under(one).samples]
        if not self.force.alone and self.model is None:
            start_ledger(self.run.scratch / "requests")
        plain = stack.enter_context(self._make("full")("")) if self.force.alone else None
        found = {}
        for condition in wanted:
            folder = self.system if condition == "full" else f"{self.system}-{condition}"
            found[folder] = self._ask_one(condition, folder, plain)
        return found

    def _ask_one(self, condition: Condition, folder: str, plain: Answerer | None) -> Predictions:
        out, total = self.run.outputs / "predictions" / folder, len(self.questions.under(condition).samples)
        block = 4 * self.config.batch_size if self.model is not None else self.config.server_block
        order: Literal["shape", "picture"] = "picture"
        if self.model is not None and self.force.backend == "transformers":
            order = "shape"
        with ExitStack() as bars:
            if plain is None:
                work = Work(
                    self.samples, out, folder, condition, block, order, self._make(condition),
                    gpus_each=self.config.vllm.tensor_parallel,
                )  # fmt: skip
                return predict_together(
                    work, workers=self.force.workers, engine=self.force.engine, address=self.force.address,
                    gpus=self.force.gpus, advance=bars.enter_context(self.run.progress(f"{folder} answers", total)),
                )  # fmt: skip
            answerer, advance = plain, None
            if isinstance(plain, ServerAnswerer):
                from spinemed.chat import show_progress

                plain.advance = bars.enter_context(show_progress(plain.chat, f"{folder} answers", total))
                if condition == "tools":
                    log = self.run.scratch / "requests" / f"{self.system}-calls.jsonl"
                    answerer = ToolAnswerer(
                        plain, self.questions.samples, self.samples, self.config.tools, log=log
                    )  # fmt: skip
            else:
                advance = bars.enter_context(self.run.progress(f"{folder} answers", total))
            return predict_samples(
                self.samples, answerer, out, name=folder, condition=condition, advance=advance, block_size=block,
                order=order,
            )  # fmt: skip

    def _make(self, condition: Condition) -> Callable[[str], AbstractContextManager[Answerer]]:
        config = self.config
        if self.model is not None and self.force.backend == "vllm":
            return partial(vllm_answerer, folder=self.model, config=config.vllm, decoding=config.decoding)
        if self.model is not None:
            return partial(
                local_answerer, folder=self.model, batch_size=config.batch_size,
                max_new_tokens=config.decoding.max_tokens,
            )  # fmt: skip
        assert config.server is not None
        return partial(
            server_answerer, config=config.server, requests=self.run.scratch / "requests" / self.system,
            decoding=config.decoding, egress=config.egress, samples=self.samples,
            tools=config.tools if condition == "tools" else None, started=None if self.force.alone else time.time(),
        )  # fmt: skip


def _ask_baselines(config: BenchConfig, samples: Path, replies: Path) -> None:
    listed, _ = read_samples(samples)
    for name in dict.fromkeys(config.baselines):
        answerer: Answerer = (
            MajorityAnswerer(listed) if name == "majority" else RandomAnswerer(listed, seed=config.seed)
        )
        predict_samples(samples, answerer, replies / name, name=name)
