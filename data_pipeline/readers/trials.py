"""Jobs that misbehave in the ways hostile files make parsers misbehave, to try a machine's limits with.

Purpose: `run_limited("data_pipeline.readers.trials:spin", {})` shows whether the sandbox holds here; the tests
run all of them. Nothing else calls them.
"""

from __future__ import annotations

import gc
import os
import signal
import struct
import time
from multiprocessing.connection import Connection

from data_pipeline.sandbox import Answer
from spinemed.errors import VolumeError

__all__ = [
    "complain", "count", "crash", "flood", "grow", "launch", "misread", "reach", "reach_natively", "sleep", "spin",
    "stall", "write",
]  # fmt: skip


def sleep(seconds: float) -> Answer:
    """Hang."""
    time.sleep(seconds)
    return None, []


def spin() -> Answer:
    """Loop for ever."""
    while True:
        pass


def grow() -> Answer:
    """Ask for memory until there is none."""
    held = []
    while True:
        held.append(bytearray(1 << 22))


def crash() -> Answer:
    """Die as a parser in C dies."""
    os.kill(os.getpid(), signal.SIGSEGV)
    return None, []


def flood() -> Answer:
    """Answer 4 MiB."""
    return None, [b"\0" * (1 << 22)]


def stall(seconds: float) -> Answer:
    """Announce a message of 1000 bytes on the way to the parent, send four of them, and hang."""
    for pipe in [found for found in gc.get_objects() if isinstance(found, Connection) and found.writable]:
        os.write(pipe.fileno(), struct.pack("!i", 1000) + b"four")
    time.sleep(seconds)
    return None, []


def write(path: str) -> Answer:
    """Write a file."""
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("x" * 100)
    return None, []


def complain() -> Answer:
    """Quote a file in an error."""
    raise ValueError("could not read 'Weatherby'")


def count(number: int) -> Answer:
    """Answer properly."""
    return {"number": number}, [b"x" * k for k in range(number)]


def reach(host: str, port: int) -> Answer:
    """Connects to a host."""
    import socket

    socket.create_connection((host, port), timeout=1).close()
    return {"reached": host}, []


def reach_natively() -> Answer:
    """Asks the kernel for a socket and a process, past Python: what each call returned."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    return {"socket": library.socket(2, 1, 0), "fork": library.fork()}, []


def launch(program: str) -> Answer:
    """Starts a program."""
    import subprocess

    subprocess.run([program], check=True)
    return {"launched": program}, []


def misread(path: str) -> Answer:
    """Complains of a file as a reader does."""
    raise VolumeError("lies on another grid", file=path, field="mask", cure="resample it")
