"""What every child of a mask benchmark shares: same arrays, one core, warm-up left out, seconds and peak memory out.

    python benchmarks/peers/<peer>_verse.py PAIR.npz RESULT.json REPEATS

Convention: a peer's script defines one function `score(reference, prediction, spacing_mm)` that returns, per label in
both volumes, the numbers that the peer gives under the names it gives them, and hands it to :func:`serve`. This file
needs numpy alone, because it runs in each peer's own environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Scores = dict[int, dict[str, float]]


def memory_mib(field: str) -> float:
    """VmRSS (now) or VmHWM (peak since the last reset) of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"/proc/self/status has no {field}")


def serve(name: str, version: str, score: Callable[..., Scores]) -> None:
    """Run `score` on the pair named on the command line, several times on one core, and write what came out."""
    pair, result, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    # Imports, compilation and lazy set-up happen on a small pair with an island, before the clock and the memory count.
    small = np.zeros((24, 24, 24), np.uint8)
    small[4:12, 4:12, 4:12] = 1
    small[14:20, 14:20, 14:20] = 2
    other = np.roll(small, 1, axis=0)
    other[1:3, 20:22, 1:3] = 1
    start = time.perf_counter()
    score(small, other, (1.0, 0.9, 0.8))
    first_call = time.perf_counter() - start
    Path("/proc/self/clear_refs").write_text("5")
    before = memory_mib("VmRSS")
    with np.load(pair) as arrays:
        reference, prediction = arrays["reference"], arrays["prediction"]
        spacing = tuple(float(side) for side in arrays["spacing_mm"])
    wall, cpu = [], []
    scores = score(reference, prediction, spacing)  # not timed: it meets cold memory
    for _ in range(repeats):
        start, used = time.perf_counter(), time.process_time()
        scores = score(reference, prediction, spacing)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    found = {
        "name": name,
        "version": version,
        "first_call_seconds": first_call,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "volumes_mib": (reference.nbytes + prediction.nbytes) / 1024**2,
        "peak_mib": memory_mib("VmHWM") - before,
        "scores": {str(label): values for label, values in scores.items()},
    }
    Path(result).write_text(json.dumps(found))
