"""What every child of the motion benchmark shares: the same arrays in, seconds and answers out.

    python benchmarks/peers/<peer>_motion.py ARRAYS.npz RESULT.npz REPEATS THREADS

Convention: a peer's script makes a function of no arguments that does the timed work and returns named arrays, and
hands it to :func:`serve`; reading, building and one untimed call come before the clock. This file needs numpy alone,
because it runs in each peer's own environment. Points are millimetres on x right, y anterior, z up.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def arrays() -> Arrays:
    """What the benchmark wrote for all contestants."""
    with np.load(sys.argv[1]) as found:
        return dict(found.items())


def threads() -> int:
    """How many threads the contestant may use."""
    return int(sys.argv[4])


def serve(name: str, version: str, frames: int, work: Callable[[], Arrays], warm: Callable[[], object]) -> None:
    """Warm up, do the work several times on as many cores as there are threads, and write what came out."""
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-threads() :]))
    start = time.perf_counter()
    warm()
    first_call = time.perf_counter() - start
    wall, cpu = [], []
    found: Arrays = {}
    for _ in range(int(sys.argv[3])):
        start, used = time.perf_counter(), time.process_time()
        found = work()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    facts = {
        "name": name, "version": version, "frames": frames, "threads": threads(), "first_call_seconds": first_call,
        "wall_seconds": wall, "cpu_seconds": cpu,
    }  # fmt: skip
    np.savez(sys.argv[2], **found)
    Path(sys.argv[2]).with_suffix(".json").write_text(json.dumps(facts))
