"""What a benchmark would ask and cost, counted before the first call.

Convention: calls are exact, from the very questions as each condition asks them; with tools every question counts as
its first call and as many rounds as are allowed, which is a ceiling. A question whose reply the log of a run holds, or
that says the same as an earlier one (in words alone it does when blind), is known and not asked.
Prompt tokens are estimated from the characters (four of Latin script or one and a half of Chinese make a token) and
from the price table's tokens of a picture; written tokens are the most that decoding allows. So money is a ceiling for
what a model writes and an estimate for what it reads.

Trap: time rests on the seconds of one call that the caller states; nothing is sent to measure it.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from bench.run import BenchConfig, questions_of, system_name
from bench.runner.conditions import Questions
from bench.runner.predict import request_of
from bench.runner.server import chat_request
from bench.samples import read_samples
from spinemed.chat import Prices, RequestLog, prompt_bound, request_key
from spinemed.chat.egress import require
from spinemed.tools import openai_tools

__all__ = ["BenchPlan", "PlanRow", "make_plan"]


@dataclass
class PlanRow:
    """One condition."""

    condition: str
    questions: int = 0
    calls_each: int = 1
    """Above 1 with tools: the first call and every round, at most."""
    known: int = 0
    """Of these, how many have their reply in the log or repeat an earlier one, and cost nothing."""
    with_picture: int = 0
    pictures: int = 0
    """Different ones."""
    prompt_tokens: int = 0
    """About, of those that are not known."""
    written_tokens: int = 0
    """At most, of the same."""
    bound_tokens: int = 0
    """What a budget reserves for the same, each sent once."""


@dataclass
class BenchPlan:
    """The whole."""

    rows: list[PlanRow]
    prices: Prices
    at_once: int
    seconds_per_call: float

    @property
    def calls(self) -> int:
        """That would leave."""
        return sum((row.questions - row.known) * row.calls_each for row in self.rows)

    @property
    def money(self) -> float:
        """About, by the price table, with every reply at its limit."""
        return sum(self.prices.cost(row.prompt_tokens, row.written_tokens).money for row in self.rows)

    @property
    def seconds(self) -> float:
        """About: all calls, so many at once."""
        return self.calls * self.seconds_per_call / self.at_once


def make_plan(
    config: BenchConfig, *, run: Path | None = None, name: str | None = None, seconds_per_call: float = 2.0
) -> BenchPlan:
    """Count what :func:`bench.run.run_benchmark` would ask the config's server.

    Args:
        config: The benchmark with its server.
        run: A run folder: its log is counted.
        name: The system's name in that run.
        seconds_per_call: From sending to the whole reply.

    Raises:
        ConfigError: No server is named.
        EgressError: The server is on a host that the config does not permit.
    """
    system = system_name(None, config.server, name)
    server = config.server
    assert server is not None
    require(config.egress, server.url)
    known: set[str] = set()
    log = None if run is None else run / "scratch" / "requests" / system
    if log is not None and log.is_dir():
        with RequestLog(log) as held:
            known = {str(line["key"]) for line in held.replies()}
    plan = BenchPlan([], server.prices, server.max_in_flight, seconds_per_call)
    with tempfile.TemporaryDirectory() as scratch:
        folder = questions_of(config, Path(scratch) / "samples")
        listed, _ = read_samples(folder)
        questions = Questions(listed, folder)
        tools = tuple(json.dumps(tool, sort_keys=True, ensure_ascii=False) for tool in openai_tools())
        for condition in dict.fromkeys(config.conditions):
            row = PlanRow(condition, calls_each=config.tools.rounds + 1 if condition == "tools" else 1)
            pictures: set[str] = set()
            for sample in questions.under(condition).samples:
                request = chat_request(request_of(sample, folder, condition), config.decoding, config.egress)
                if condition == "tools":
                    request = replace(request, tools=tools)
                row.questions += 1
                row.with_picture += bool(request.images)
                pictures.update(request.image_sha256)
                key = request_key(request, server.identity)
                if key in known:
                    row.known += 1
                    continue
                known.add(key)
                words = sum(_tokens(turn.content) for turn in request.messages)
                words += sum(_tokens(tool) for tool in request.tools)
                row.prompt_tokens += row.calls_each * (words + len(request.images) * server.prices.image_tokens)
                row.written_tokens += row.calls_each * config.decoding.max_tokens
                row.bound_tokens += row.calls_each * (prompt_bound(request, server.prices) + config.decoding.max_tokens)
            row.pictures = len(pictures)
            plan.rows.append(row)
    return plan


def _tokens(text: str) -> int:
    chinese = sum("\u3400" <= sign <= "\u9fff" for sign in text)
    return round((len(text) - chinese) / 4 + chinese / 1.5) + 4
