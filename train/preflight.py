"""Before a job on many machines: is one of them slow? Measured for each process, told by name.

Convention: every process multiplies matrices, writes and reads a file where checkpoints will lie, and exchanges data
with its two neighbours in a ring; then all reduce together. A node that is slow at one of these slows every step of all
others, because a step ends when the last process ends.

Trap: a reduction over all processes takes as long as its slowest member for everybody, so it cannot tell which one that
is. Pairs can: a slow process has two slow links, its neighbours one each.
"""

from __future__ import annotations

import os
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from spinemed.errors import RunError
from spinemed.run import make_folder

__all__ = ["Measured", "measure", "slow_ones"]

FIGURES = {
    "multiply": ("products", "GFLOP/s"),
    "write": ("disk write", "MB/s"),
    "read": ("disk read", "MB/s"),
    "link": ("best link", "MB/s"),
}


@dataclass(frozen=True)
class Measured:
    """What one process measured."""

    rank: int
    node: str
    multiply: float
    """GFLOP/s of float32 products on the device that will train."""
    write: float
    """MB/s to disk, flushed."""
    read: float
    """MB/s back; often from memory."""
    link: float
    """MB/s over the better of its two links to neighbours in the ring; 0 alone."""
    together: float
    """Seconds of one reduction over all processes; 0 alone."""


def slow_ones(measured: Sequence[Measured], factor: float = 2.0) -> list[str]:
    """Processes that reach less than 1/factor of the median, each with figure and median.

    Of two processes the slower one is told only where it is slower by the factor: their median is the better of both.
    """
    found = []
    for name, (what, unit) in FIGURES.items():
        values = [float(getattr(one, name)) for one in measured]
        usual = max(values) if len(values) == 2 else statistics.median(values)
        found += [
            f"{one.node}, process {one.rank}: {what} {value:.4g} {unit}, others {usual:.4g}"
            for one, value in zip(measured, values, strict=True)
            if value * factor < usual
        ]
    return found


def measure(folder: Path, *, megabytes: int = 64, timeout_s: float = 300.0) -> list[Measured]:
    """Measure this process and hear of the others; every process of the job calls it.

    Args:
        folder: Where checkpoints will lie.
        megabytes: Data written, read and exchanged by each process.
        timeout_s: How long to wait for the others.

    Raises:
        RunError: The folder cannot be written to, or the processes do not reach each other.
    """
    import torch
    import torch.distributed as group

    many = int(os.environ.get("WORLD_SIZE", "1")) > 1
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        # What is exchanged as an object, and barriers, go over the current device: GPU 0 for all, unless it is set.
        torch.cuda.set_device(device)
    if many:
        try:
            group.init_process_group("nccl" if gpu else "gloo", timeout=timedelta(seconds=timeout_s))
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"the processes do not reach each other ({str(error).splitlines()[0][:160]})",
                cure="check MASTER_ADDR, MASTER_PORT and the network between the nodes",
            ) from error
    try:
        rank = group.get_rank() if many else 0
        write, read = _disk(folder, rank, megabytes)
        link, together = _exchange(torch, group, device, megabytes) if many else (0.0, 0.0)
        own = Measured(rank, socket.gethostname(), _multiply(torch, device), write, read, link, together)
        if not many:
            return [own]
        everyone: list[Any] = [None] * group.get_world_size()
        group.all_gather_object(everyone, asdict(own))
        return [Measured(**one) for one in everyone]
    except RuntimeError as error:
        raise RunError(
            f"the processes lost each other ({str(error).splitlines()[0][:160]})",
            cure="look for the process that ended first; its node is at fault",
        ) from error
    finally:
        if many and group.is_initialized():
            group.destroy_process_group()


def _disk(folder: Path, rank: int, megabytes: int) -> tuple[float, float]:
    """MB/s written and flushed, and read back."""
    file = make_folder(folder) / f".preflight-{socket.gethostname()}-{rank}"
    data = os.urandom(1_000_000)
    try:
        start = time.perf_counter()
        with open(file, "wb") as stream:
            for _ in range(megabytes):
                stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        written = time.perf_counter() - start
        start = time.perf_counter()
        with open(file, "rb") as stream:
            while stream.read(1_000_000):
                pass
        taken = time.perf_counter() - start
    except OSError as error:
        raise RunError(
            f"cannot be written to ({error.strerror})", file=folder, cure="give a folder that every node can write to"
        ) from error
    finally:
        file.unlink(missing_ok=True)
    return megabytes / written, megabytes / taken


def _multiply(torch: Any, device: Any, size: int = 512) -> float:
    """GFLOP/s, the best of five."""
    one = torch.ones(size, size, device=device)
    best = float("inf")
    for _ in range(5):
        _wait(torch, device)
        start = time.perf_counter()
        for _ in range(4):
            one @ one
        _wait(torch, device)
        best = min(best, (time.perf_counter() - start) / 4)
    return float(2 * size**3 / best / 1e9)


def _exchange(torch: Any, group: Any, device: Any, megabytes: int) -> tuple[float, float]:
    """MB/s over the better link of a ring, and seconds of one reduction over all."""
    world, rank = group.get_world_size(), group.get_rank()
    data = torch.ones(megabytes * 250_000, device=device)
    best = 0.0
    # One link after another, so that no two share a wire; all know whose turn it is.
    for first in range(world if world > 2 else 1):
        second = (first + 1) % world
        group.barrier()
        if rank not in (first, second):
            continue
        for attempt in range(2):  # the first one opens the connection
            _wait(torch, device)
            start = time.perf_counter()
            if rank == first:
                group.send(data, second)
                group.recv(data, second)
            else:
                group.recv(data, first)
                group.send(data, first)
            _wait(torch, device)
            if attempt:
                best = max(best, 2 * megabytes / (time.perf_counter() - start))
    group.barrier()
    group.all_reduce(data)
    _wait(torch, device)
    start = time.perf_counter()
    group.all_reduce(data)
    _wait(torch, device)
    return best, time.perf_counter() - start


def _wait(torch: Any, device: Any) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
