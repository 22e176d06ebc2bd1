"""Answerers made where they are needed: in this process, or in each worker of a crew.

Convention: every function gives a context manager, takes the worker's name first, and can be pickled with its settings
(`functools.partial`). Every worker that asks a server keeps a request log of its own in the one folder of the system,
and all of them count against one budget.

Trap: budgets are shared on one machine alone; see :mod:`spinemed.chat.ledger`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.runner.answerers import Answerer
from bench.runner.local import LocalAnswerer
from bench.runner.tooled import ToolAnswerer, ToolConfig
from bench.samples import read_samples
from spinemed.chat import Decoding, Egress, ServerConfig

__all__ = ["local_answerer", "server_answerer", "vllm_answerer"]


@contextmanager
def local_answerer(worker: str, *, folder: Path, batch_size: int, max_new_tokens: int) -> Iterator[Answerer]:
    """A checkpoint by transformers; replies at the limit are truncated, as a server's are."""
    yield LocalAnswerer(folder, batch_size=batch_size, max_new_tokens=max_new_tokens, cut_is_answer=False)


@contextmanager
def vllm_answerer(worker: str, *, folder: Path, config: object, decoding: Decoding) -> Iterator[Answerer]:
    """A checkpoint by vLLM in this process."""
    from bench.runner.vllm_offline import VllmAnswerer, VllmConfig

    assert isinstance(config, VllmConfig)
    yield VllmAnswerer(folder, config=config, decoding=decoding)


@contextmanager
def server_answerer(
    worker: str,
    *,
    config: ServerConfig,
    requests: Path,
    decoding: Decoding,
    egress: Egress,
    samples: Path,
    tools: ToolConfig | None = None,
    started: float | None = None,
    advance: Callable[[int], None] = lambda number: None,
) -> Iterator[Answerer]:
    """A served model; with `tools` it may call them.

    Args:
        worker: Empty for a process that asks alone.
        config: The server.
        requests: Folder of the request log.
        decoding: How words are chosen.
        egress: Where questions may go.
        samples: Samples folder.
        tools: What may be called.
        started: When the run was opened, where several clients share a budget.
        advance: Called with the number of replies that arrived since the last call.
    """
    from bench.runner.server import ServerAnswerer
    from spinemed.chat import open_ledger

    ledger = None if started is None else open_ledger(config.budget, requests.parent, started)
    name = worker or "log"
    with ServerAnswerer(
        config, requests, decoding=decoding, egress=egress, advance=advance, name=name, ledger=ledger
    ) as served:
        if tools is None:
            yield served
        else:
            listed, _ = read_samples(samples)
            yield ToolAnswerer(
                served, listed, samples, tools, log=requests.parent / f"{requests.name}-calls-{name}.jsonl"
            )
