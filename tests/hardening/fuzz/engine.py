"""Runs readers on damaged files in worker processes with limits, and says what each of them did.

Convention: input `n` of a reader is made from (seed, reader, n) alone, so any one can be made again. Each is read, or
refused by a SpineMedError that names the file and a cure; whatever else happens is a fault, and its input is kept.

Trap: the time limit counts processor time of the worker, because a busy machine makes wall time meaningless; wall time
is limited at six times as much, for readers that wait for something.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import resource
import select
import shutil
import signal
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spinemed.config import ConfigFaults
from spinemed.errors import SpineMedError

CPU_S = 5.0
MEMORY_MIB = 1024
_MIB = 1 << 20


@dataclass(frozen=True)
class Seed:
    """A valid file: its name, its bytes, and what a reader may want to know of it."""

    name: str
    data: bytes
    tag: str = ""


@dataclass(frozen=True)
class Input:
    """A file made from a seed, and how."""

    seed: Seed
    data: bytes
    how: str


@dataclass(frozen=True)
class Target:
    """A reader, valid files for it, and how they are damaged."""

    name: str
    seeds: Callable[[Path], list[Seed]]
    """From the folder of samples."""
    change: Callable[[np.random.Generator, list[Seed]], Input]
    read: Callable[[Path, Input], object]
    sandboxed: bool = False
    """Users meet this parser in a child process with limits: what breaks it there is one counted failure."""


@dataclass
class Report:
    """What one reader did."""

    reader: str
    seed: int
    first: int
    count: int
    read: int = 0
    refused: int = 0
    contained: int = 0
    slowest_s: float = 0.0
    slowest: str = ""
    peak_mib: float = 0.0
    faults: list[dict[str, Any]] = field(default_factory=list)


def make(target: Target, seeds: list[Seed], seed: int, number: int) -> Input:
    """Input `number`: first the valid files themselves, then damaged ones."""
    if number < len(seeds):
        return Input(seeds[number], seeds[number].data, "as it is")
    generator = np.random.default_rng([seed, zlib.crc32(target.name.encode()), number])
    return target.change(generator, seeds)


def run(target: Target, samples: Path, out: Path, *, seed: int, first: int, count: int) -> Report:
    """Read inputs `first` ... `first + count - 1` in a worker that is replaced whenever it dies.

    Args:
        target: The reader.
        samples: The bundled samples.
        out: Inputs at fault go to `out/<reader>/`.
        seed: Of all inputs.
        first: Number of the first input.
        count: How many.
    """
    seeds = target.seeds(samples)
    report = Report(target.name, seed, first, count)
    kept = out / target.name
    kept.mkdir(parents=True, exist_ok=True)
    log = kept / "worker.log"
    numbers = list(range(first, first + count))
    while numbers:
        for number, told in _worker(target, seeds, seed, numbers, kept, log):
            numbers.remove(number)
            _take(report, target, seeds, number, told, kept)
    return report


def _take(report: Report, target: Target, seeds: list[Seed], number: int, told: dict[str, Any], kept: Path) -> None:
    outcome = told["outcome"]
    given = make(target, seeds, report.seed, number)
    if number < len(seeds) and outcome != "read":
        outcome, told = "a valid file is not read", {**told, "detail": f"{outcome}: {told.get('detail', '')}"}
    if told.get("seconds", 0.0) > report.slowest_s:
        report.slowest_s, report.slowest = told["seconds"], f"{number}: {given.seed.name}, {given.how}"
    report.peak_mib = max(report.peak_mib, told.get("mib", 0.0))
    if outcome in ("read", "refused", "contained"):
        setattr(report, outcome, getattr(report, outcome) + 1)
        return
    file = kept / f"{number}-{given.seed.name}"
    file.write_bytes(given.data)
    report.faults.append(
        {
            "input": number,
            "from": given.seed.name,
            "how": given.how,
            "outcome": outcome,
            "detail": told.get("detail", ""),
            "file": str(file),
        }
    )


def _worker(
    target: Target, seeds: list[Seed], seed: int, numbers: list[int], kept: Path, log: Path
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Fork a worker for the numbers; yields what it says, and last how it died if it did."""
    here, there = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(here)
        code = 1
        try:
            _serve(target, seeds, seed, numbers, kept, log, there)
            code = 0
        finally:
            os._exit(code)
    os.close(there)
    buffer, current, ended = b"", None, False
    cpu = wall = 0.0
    try:
        while not ended:
            if select.select([here], [], [], 0.25)[0]:
                part = os.read(here, 1 << 16)
                ended = not part
                buffer += part
                while b"\n" in buffer:
                    line, buffer = buffer.split(b"\n", 1)
                    told = json.loads(line)
                    if told["outcome"] == "started":
                        current, cpu, wall = told["input"], _cpu_s(pid), time.monotonic()
                    else:
                        current = None
                        yield told["input"], told
            elif current is not None:
                used, waited = _cpu_s(pid) - cpu, time.monotonic() - wall
                if used > CPU_S or waited > 6 * CPU_S:
                    os.kill(pid, signal.SIGUSR1)  # the worker writes where it is
                    time.sleep(0.2)
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    pid = 0
                    place = log.read_text(errors="replace")[-1500:] if log.is_file() else ""
                    yield current, {"outcome": "hangs", "detail": f"{used:.1f} s of processor time\n{place}"}
                    return
        _, status = os.waitpid(pid, 0)
        pid = 0
        if current is not None:
            place = log.read_text(errors="replace")[-1500:] if log.is_file() else ""
            how = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
            outcome = "contained" if target.sandboxed else "crashes"
            yield current, {"outcome": outcome, "detail": f"{how}\n{place}"}
    finally:
        os.close(here)
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _serve(target: Target, seeds: list[Seed], seed: int, numbers: list[int], kept: Path, log: Path, pipe: int) -> None:
    """In the worker: read one input after the other and tell."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(handle, stream)
    faulthandler.enable(file=handle)
    faulthandler.register(signal.SIGUSR1, file=handle)
    gc.freeze()
    box = kept / "box"
    sizes = Path("/proc/self/statm").read_text().split()
    limit = int(sizes[0]) * os.sysconf("SC_PAGE_SIZE") + MEMORY_MIB * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in numbers:
        shutil.rmtree(box, ignore_errors=True)
        box.mkdir(parents=True)
        _tell(pipe, {"input": number, "outcome": "started"})
        given = make(target, seeds, seed, number)
        file = box / given.seed.name
        file.write_bytes(given.data)
        Path("/proc/self/clear_refs").write_text("5")
        before, start = _kib("VmRSS:"), time.process_time()
        told = _judge(target, file, given)
        told.update(input=number, seconds=time.process_time() - start, mib=max(0, _kib("VmHWM:") - before) / 1024)
        os.truncate(handle, 0)
        _tell(pipe, told)


def _tell(pipe: int, told: dict[str, Any]) -> None:
    os.write(pipe, json.dumps(told).encode() + b"\n")


def _kib(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    raise LookupError(name)


def _judge(target: Target, file: Path, given: Input) -> dict[str, Any]:
    try:
        target.read(file, given)
    except SpineMedError as error:
        problem = _unnamed(error, file)
        return {"outcome": "refused" if problem is None else problem, "detail": str(error)[:600]}
    except BaseException as error:  # whatever escapes is what is looked for
        if target.sandboxed and isinstance(error, MemoryError | RecursionError):
            return {"outcome": "contained", "detail": type(error).__name__}
        frames = [f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in traceback.extract_tb(error.__traceback__)]
        detail = f"{type(error).__name__}: {str(error)[:300]} at {' < '.join(reversed(frames[-6:]))}"
        return {"outcome": "another exception", "detail": detail}
    return {"outcome": "read"}


def _unnamed(error: SpineMedError, file: Path) -> str | None:
    """What the message of a refusal lacks, or None."""
    for one in error.faults if isinstance(error, ConfigFaults) else [error]:
        if not (one.cure or "").strip():
            return "refused without a cure"
        if file.name not in str(one) and file.parent.name not in str(one.file):
            return "refused without the file's name"
    return None


def describe(report: Report) -> dict[str, Any]:
    """A report as JSON."""
    return asdict(report)
