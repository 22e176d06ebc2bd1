"""A Ray cluster, started on this machine or joined, for whatever hands out work to it.

Convention: Ray is imported here and when it is asked for. Nothing is told to its makers.

Trap: Ray itself tries for minutes to reach a cluster that is not there and then ends the whole process; so a child
process tries first, and is given up in good time.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from spinemed.errors import MissingPartError, RunError

__all__ = ["start_ray"]

_ANSWER_S = 45.0
"""How long a cluster may take to answer; Ray itself tries for minutes and then ends the whole process."""
_STORE_BYTES = 80_000_000
"""Work is small and results are files: Ray's own store, a third of the memory unless told, stays next to empty."""


def start_ray(workers: int, address: str | None = None) -> Any:
    """The module `ray`, connected. The caller ends it with `ray.shutdown()`.

    Args:
        workers: Processors of a cluster that is started here.
        address: Of a running cluster (`auto`, or host and port); without one Ray is started on this machine.

    Raises:
        MissingPartError: Ray is not installed.
        RunError: No cluster answers, or none can be started.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError as error:
        raise MissingPartError("--engine ray", "ray", "ray") from error
    options: dict[str, Any] = {"address": "local", "num_cpus": workers, "include_dashboard": False}
    options["object_store_memory"] = _STORE_BYTES
    if address is not None:
        options = {"address": address}
        _await_answer(address)
    try:
        ray.init(**options, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise RunError(
            f"Ray cannot be reached or started ({first})", field="--address",
            cure="start a cluster with `ray start --head`, or leave out --address",
        ) from error  # fmt: skip
    return ray


def _await_answer(address: str) -> None:
    """Join the cluster from a child process first: one that nobody answers for is given up in good time.

    Raises:
        RunError: No answer, or none of a Ray cluster.
    """
    program = [sys.executable, "-c", "import ray, sys; ray.init(address=sys.argv[1], log_to_driver=False)", address]
    try:
        done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=_ANSWER_S)
    except subprocess.TimeoutExpired:
        problem = f"no Ray cluster answers at '{address}' within {_ANSWER_S:g} s"
    else:
        if done.returncode == 0:
            return
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        problem = f"no Ray cluster can be joined at '{address}' ({last})"
    raise RunError(problem, field="--address", cure="start a cluster with `ray start --head`, or leave out --address")
