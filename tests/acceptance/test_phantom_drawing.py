"""How long drawing a phantom takes, by `benchmarks/phantom_drawing.py`: the figures that the READMEs name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.acceptance

ORDERS = range(50, 56)


def test_drawing_a_phantom(root: Path, work: Path, record: Callable[..., None]) -> None:
    out = work / "phantom_drawing.json"
    subprocess.run(
        [sys.executable, str(root / "benchmarks" / "phantom_drawing.py"), "--out", str(out)], cwd=root, check=True
    )
    rows = json.loads(out.read_bytes())["rows"]
    for order, row in zip(ORDERS, rows, strict=True):
        record(
            "Phantom", order, f"drawing, {row['name']}", asked="stated",
            measured=f"{row['ms']:.1f} ms CPU (median of {row['count']} phantoms, one core)", met=None,
            command="python benchmarks/phantom_drawing.py",
            note=f"load average over 1 min at the end: {os.getloadavg()[0]:.1f}",
        )  # fmt: skip
    assert all(row["ms"] < 1000 for row in rows)
