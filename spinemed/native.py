"""Native code on files that anybody may have written, in a child process: damaged bytes can end the process they meet.

Convention: a job is the name of a function (`package.module:function`) that takes bytes and answers JSON values and
arrays. One child does all jobs of this process one after the other; it is started at the first, which takes about half
a second, lives as long as this process, and is replaced when it dies.

Trap: where no process may be started (inside the sandbox that reads untrusted sources, inside a tool's child) the job
is done here: that process is itself the one that may die.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import resource
import select
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Told", "run_native", "serve"]

_SECONDS = 60.0
_MEMORY = 4 << 30
_LONGEST = 1 << 32
Told = tuple[dict[str, Any], list[NDArray[Any]]]
"""What a job answers."""


def run_native(job: str, content: bytes) -> Told:
    """Do a job in the child.

    Args:
        job: `package.module:function`. What it raises as RuntimeError travels here with its message.
        content: Its argument.

    Raises:
        RuntimeError: the job's own, or that it took the child down, more than a minute, or 4 GiB.
    """
    try:
        child = _child()
    except OSError:  # no process may be started here
        return _function(job)(content)
    return child.ask(job, content)


def _function(job: str) -> Callable[[bytes], Told]:
    module, _, name = job.partition(":")
    found: Callable[[bytes], Told] = getattr(importlib.import_module(module), name)
    return found


class _Child:
    """The process that does the jobs, one at a time."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self._lock = threading.Lock()
        start = f"import sys; sys.path[:] = {sys.path!r}; from spinemed.native import serve; serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )

    @property
    def alive(self) -> bool:
        """Whether it can be asked: it runs, and is no fork's parent's."""
        return self.owner == os.getpid() and self._process.poll() is None

    def ask(self, job: str, content: bytes) -> Told:
        """Send a job, receive its answer."""
        with self._lock:
            try:
                told, parts = self._exchange(job, content)
            except (OSError, EOFError, ValueError) as error:
                self.close()
                raise RuntimeError(
                    f"reading it ended the process that read it{f' ({error})' * bool(str(error))}"
                ) from None
            except BaseException:
                # Interrupted on the way (Ctrl-C in a notebook, no memory): the rest of this answer would be taken
                # for the next job's.
                self.close()
                raise
        if "problem" in told:
            raise RuntimeError(told["problem"])
        kinds = told.pop("arrays")
        return told, [
            np.frombuffer(data, dtype=np.dtype(kind)).reshape(shape)
            for data, (kind, shape, _) in zip(parts, kinds, strict=True)
        ]

    def _exchange(self, job: str, content: bytes) -> tuple[dict[str, Any], list[bytearray]]:
        assert self._process.stdin is not None
        until = time.monotonic() + _SECONDS
        self._process.stdin.write(struct.pack("<HQ", len(job), len(content)) + job.encode())
        view = memoryview(content)
        while view:
            view = view[self._process.stdin.write(view) :]
        told: dict[str, Any] = json.loads(self._read(struct.unpack("<I", self._read(4, until))[0], until))
        sizes = [int(size) for _, _, size in told.get("arrays", [])]
        if sum(sizes) > _LONGEST:
            raise ValueError("it answers too much")
        return told, [self._read(size, until) for size in sizes]

    def _read(self, size: int, until: float) -> bytearray:
        assert self._process.stdout is not None
        stream, found = self._process.stdout.fileno(), bytearray(size)
        view, place = memoryview(found), 0
        while place < size:
            if not select.select([stream], [], [], max(0.0, until - time.monotonic()))[0]:
                raise ValueError(f"it took more than {_SECONDS:g} s")
            got = os.readv(stream, [view[place:]])
            if got == 0:
                raise EOFError
            place += got
        return found

    def close(self) -> None:
        """End the process, if it is ours."""
        if self.owner != os.getpid():
            return
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()


_RUNNING: list[_Child] = []
_STARTING = threading.Lock()


def _child() -> _Child:
    """The running child, or a new one."""
    with _STARTING:
        if not _RUNNING or not _RUNNING[0].alive:
            _end()
            _RUNNING.append(_Child())
        return _RUNNING[0]


def _end() -> None:
    while _RUNNING:
        _RUNNING.pop().close()


atexit.register(_end)


def serve() -> None:
    """In the child: answer until the parent is gone."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # decoders print
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY if hard == resource.RLIM_INFINITY else min(_MEMORY, hard), hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stream = sys.stdin.buffer
    while len(head := stream.read(10)) == 10:
        name, size = struct.unpack("<HQ", head)
        job, content = stream.read(name).decode(), stream.read(size)
        arrays: list[NDArray[Any]] = []
        try:
            told, arrays = _function(job)(content)
            arrays = [np.ascontiguousarray(one) for one in arrays]
            told = {**told, "arrays": [(one.dtype.str, one.shape, one.nbytes) for one in arrays]}
        except (MemoryError, RuntimeError) as error:
            told, arrays = {"problem": " ".join(str(error).split())[:2000] or "it needs too much memory"}, []
        text = json.dumps(told).encode()
        out.write(struct.pack("<I", len(text)) + text)
        for one in arrays:
            out.write(one.tobytes())
        out.flush()
