"""Shared by all tests: a quiet, offline, deterministic machine and a way to run the command line as users do."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

# Read once by libgomp, so it must stand here before anything imports torch.
os.environ["GOMP_SPINCOUNT"] = "0"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
os.environ["COLUMNS"] = "160"

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def samples() -> Path:
    """The bundled samples."""
    return ROOT / "samples"


@pytest.fixture(scope="session")
def results() -> ModuleType:
    """`benchmarks/results.py`, a script that no package holds."""
    spec = importlib.util.spec_from_file_location("results", ROOT / "benchmarks" / "results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def spinemed() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `spinemed ...` in a child process, as a user would."""

    def run(*arguments: str | Path, cwd: Path | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "spinemed", *map(str, arguments)],
            cwd=cwd or ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run
