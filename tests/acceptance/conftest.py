"""What the full-size checks share: run folders that survive an interruption, and the figures they record."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "runs" / "acceptance"


@pytest.fixture(scope="session")
def work() -> Path:
    """Kept between runs of `make acceptance`, so that long jobs resume."""
    WORK.mkdir(parents=True, exist_ok=True)
    return WORK


@pytest.fixture(scope="session")
def record(results: ModuleType) -> Iterator[Callable[..., None]]:
    """Record one figure; the page is rendered at the end, whatever failed."""
    yield results.record
    results.PAGE.write_text(results.render(), encoding="utf-8")


@pytest.fixture(scope="session")
def measured_run() -> Callable[..., dict[str, Any]]:
    """Run a command to its end and measure wall seconds and the largest summed memory of its process tree."""

    def run(arguments: list[str], cwd: Path, log: Path, environment: dict[str, str] | None = None) -> dict[str, Any]:
        start, peak = time.monotonic(), 0
        with open(log, "wb") as stream:
            child = subprocess.Popen(
                arguments, cwd=cwd, env=environment or dict(os.environ), stdout=stream, stderr=subprocess.STDOUT
            )
            tree = psutil.Process(child.pid)
            while child.poll() is None:
                total = 0
                for process in (tree, *_children(tree)):
                    try:
                        total += process.memory_info().rss
                    except psutil.Error:
                        continue
                peak = max(peak, total)
                time.sleep(0.25)
        return {"exit_code": child.returncode, "seconds": time.monotonic() - start, "peak_gib": peak / 1024**3}

    return run


def _children(tree: psutil.Process) -> list[psutil.Process]:
    try:
        return tree.children(recursive=True)
    except psutil.Error:
        return []


@pytest.fixture(scope="session")
def quickstart(work: Path) -> Callable[[int, str], Path]:
    """Run (or resume) the full quickstart with a seed; the folder is returned."""

    def run(seed: int, name: str) -> Path:
        out = work / name
        if (out / "board.html").is_file():
            return out  # finished before an interruption, or by the run from a bare clone
        done = subprocess.run(
            [sys.executable, "-m", "spinemed", "quickstart", "--out", str(out), "--set", f"seed={seed}"],
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0
        return out

    return run


@pytest.fixture(scope="session")
def summary() -> Callable[[Path], dict[str, Any]]:
    """The scores of a quickstart run."""

    def read(out: Path) -> dict[str, Any]:
        return dict(json.loads((out / "bench" / "scores" / "summary.json").read_bytes()))

    return read
