"""Untrusted files parsed in a child process: limited time, memory and answer; no network, no process, no file written.

Convention: a job is the name of a function (`package.module:function`) and JSON arguments; the child answers JSON and a
list of byte strings, never a pickle, so that a parser taken over by a hostile file cannot hand code to the parent. The
child is forked from a clean server process that has the parsers imported already, so a file costs milliseconds.

Trap: memory is limited as address space above what the child starts with. A parser that maps a large file reserves it
too; give a file's size a share in the limit (`Limits.for_file`).
"""

from __future__ import annotations

import functools
import importlib
import json
import multiprocessing
import os
import resource
import signal
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing import connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from data_pipeline.sandbox_rules import forbid
from spinemed import errors
from spinemed.errors import ReadError, SpineMedError

__all__ = ["Answer", "Limits", "Rejection", "run_limited"]

_PRELOAD = ["data_pipeline.readers.parsers"]
_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one job may use."""

    cpu_s: float = 20.0
    wall_s: float = 60.0
    memory_mib: int = 1024
    answer_mib: int = 256

    def for_file(self, path: Path) -> Limits:
        """With room for the file itself, eight times over: parsers copy."""
        try:
            size = path.stat().st_size
        except OSError:
            size = 0
        return replace(self, memory_mib=self.memory_mib + 8 * size // _MIB)

    def for_folder(self, folder: Path) -> Limits:
        """With room for all files of a folder, eight times over."""
        size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        return replace(self, memory_mib=self.memory_mib + 8 * size // _MIB)


@dataclass(frozen=True)
class Rejection:
    """Why a job gave no answer: a short reason that groups, and a note that quotes nothing but the parser's message."""

    reason: str
    note: str = ""
    error: SpineMedError | None = None
    """The parser's own error, where it named file, field and cure."""

    def fault(self, file: Path) -> SpineMedError:
        """The error to raise where one bad file ends the reading."""
        if self.error is not None:
            return self.error
        problem = f"{self.reason} ({self.note})" if self.note else self.reason
        return ReadError(problem, file=file, cure="fetch the file again, or leave it out")


Answer = tuple[Any, list[bytes]]
"""JSON and byte strings."""


@functools.cache
def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def run_limited(job: str, arguments: dict[str, Any], limits: Limits = Limits()) -> Answer | Rejection:
    """Run a job in a child process of its own.

    Args:
        job: `package.module:function`; the function takes the arguments by name and returns an :data:`Answer`.
        arguments: JSON values.
        limits: What it may use.

    Returns:
        The answer, or why there is none: `broken file` (a :class:`SpineMedError`, with its message), `took too much
        time`, `took too much memory`, `crashed the parser`, `answers too much`.
    """
    here, there = connection.Pipe(duplex=False)
    child = _context().Process(target=_child, args=(there, job, json.dumps(arguments), limits), daemon=True)
    child.start()
    there.close()
    deadline = time.monotonic() + limits.wall_s
    # A child that stops in the middle of a message would be waited for without end.
    watch = threading.Timer(limits.wall_s + 1, child.kill)
    watch.daemon = True
    watch.start()
    try:
        return _receive(here, child, deadline, limits)
    finally:
        watch.cancel()
        watch.join()
        here.close()
        if child.is_alive():
            child.kill()
        child.join()
        child.close()


def _receive(here: Any, child: Any, deadline: float, limits: Limits) -> Answer | Rejection:
    try:
        if not here.poll(max(0.0, deadline - time.monotonic())):
            return Rejection("took too much time", f"more than {limits.wall_s:g} s")
        head = json.loads(here.recv_bytes(limits.answer_mib * _MIB))
        if "rejected" in head:
            return Rejection(head["rejected"], head.get("note", ""), _error(head.get("error")))
        total = sum(head["sizes"])
        if total > limits.answer_mib * _MIB:
            return Rejection("answers too much", f"more than {limits.answer_mib} MiB")
        parts = []
        for size in head["sizes"]:
            if not here.poll(max(0.0, deadline - time.monotonic())):
                return Rejection("took too much time", f"more than {limits.wall_s:g} s")
            parts.append(here.recv_bytes(size))
        return head["answer"], parts
    except (EOFError, OSError, ValueError, KeyError, TypeError, RecursionError):
        if time.monotonic() >= deadline:
            return Rejection("took too much time", f"more than {limits.wall_s:g} s")
        child.join(2)
        code = child.exitcode
        if code in (-signal.SIGXCPU, -signal.SIGKILL):
            return Rejection("took too much time", f"more than {limits.cpu_s:g} s of processor time")
        return Rejection("crashed the parser", f"exit {code}")


def _child(pipe: Any, job: str, arguments: str, limits: Limits) -> None:
    """Runs in the child: limits first, then the job."""
    _limit(limits)
    try:
        function: Callable[..., Answer] = _function(job)
        answer, parts = function(**json.loads(arguments))
        head = json.dumps({"answer": answer, "sizes": [len(part) for part in parts]}).encode()
        pipe.send_bytes(head)
        for part in parts:
            pipe.send_bytes(part)
    except MemoryError:
        _reject(pipe, "took too much memory", f"more than {limits.memory_mib} MiB")
    except RecursionError:
        _reject(pipe, "broken file", "nested too deeply")
    except SpineMedError as error:
        _reject(pipe, "broken file", error.problem, error)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        OSError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        # Parsers meet hostile bytes with any of these; the message may quote the file, so only its kind goes on.
        _reject(pipe, "crashed the parser", type(error).__name__)
    finally:
        pipe.close()


def _reject(pipe: Any, reason: str, note: str, error: SpineMedError | None = None) -> None:
    told: dict[str, Any] = {"rejected": reason, "note": note[:300]}
    if error is not None:
        fields = {name: getattr(error, name) for name in ("problem", "file", "line", "field", "cure")}
        told["error"] = {"kind": type(error).__name__, **fields}
    pipe.send_bytes(json.dumps(told).encode())


def _error(told: Any) -> SpineMedError | None:
    """An error as a child told it: one of ours by name, or None. What a child says is no code and no class."""
    if not isinstance(told, dict) or told.get("kind") not in errors.__all__:
        return None
    line = told.get("line")
    fields = {name: None if told.get(name) is None else str(told[name])[:2000] for name in ("file", "field", "cure")}
    kind: type[SpineMedError] = getattr(errors, told["kind"])
    return kind(str(told.get("problem"))[:2000], line=line if isinstance(line, int) else None, **fields)


def _function(job: str) -> Callable[..., Answer]:
    module, _, name = job.partition(":")
    found: Callable[..., Answer] = getattr(importlib.import_module(module), name)
    return found


def _limit(limits: Limits) -> None:
    seconds = max(1, int(limits.cpu_s))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    memory = used + limits.memory_mib * _MIB
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # a parser writes nothing
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    forbid()
