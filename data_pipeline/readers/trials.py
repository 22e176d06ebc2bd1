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

__all__ = ["complain", "count", "crash", "flood", "grow", "sleep", "spin", "stall", "write"]


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
