"""Memory of a process that makes two hundred lumbar CTs in a row: a set of any size must fit where ten cases fit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

SERIES = 200
COMMAND = "pytest -m acceptance tests/acceptance/test_phantom_series.py"


def test_two_hundred_lumbar_cts_in_flat_memory(root: Path, work: Path, record: Callable[..., None]) -> None:
    out = work / "phantom-series.json"
    if not out.is_file():  # one process from end to end: finished, or to be done again
        command = [
            sys.executable,
            "benchmarks/phantom.py",
            "--repeats",
            "0",
            "--series",
            str(SERIES),
            "--out",
            str(out),
        ]
        subprocess.run(command, cwd=root, check=True)
    memory = json.loads(out.read_bytes())["memory"]
    assert memory["cts"] == SERIES
    found = (
        f"{memory['name']}: {memory['after_ten_mib']:.0f} MiB after ten, {memory['after_all_mib']:.0f} MiB at the end, "
        f"peak {memory['peak_mib']:.0f} MiB, rise {memory['rise_mib_per_hundred']:+.1f} MiB per hundred"
    )
    record(
        "Phantom", 49, "memory over a series of lumbar CTs", asked="200 CTs, growth < 64 MiB", command=COMMAND,
        measured=found, met=memory["met"],
        note=f"resident memory after each CT; {memory['seconds'] / SERIES:.1f} s a CT on a shared core",
    )  # fmt: skip
    assert memory["met"]
