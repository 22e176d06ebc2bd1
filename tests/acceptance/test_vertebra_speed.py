"""Speed of height loss, straightening and the slice generator, by `benchmarks/vertebra.py`.

Ratios are of processor time on one thread, which other jobs stretch least; the wall clock's and the load average stand
beside them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

ISSUE = "Vertebra"
COMMAND = "pytest -m acceptance tests/acceptance/test_vertebra_speed.py"
Record = Callable[..., None]


@pytest.fixture(scope="module")
def measured(root: Path, work: Path) -> dict[str, Any]:
    """The whole comparison, run now."""
    out = work / "vertebra_speed.json"
    done = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "vertebra.py"), "--out", str(out)],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(out.read_bytes())
    return found


def load_of(found: dict[str, Any]) -> str:
    before, after = found["load"]
    return f"load average {before:.1f} to {after:.1f} on {found['cores']} cores"


@pytest.mark.parametrize(
    ("place", "least", "order"), [(0, 10, 90), (1, 10, 91), (2, 5, 92), (3, 5, 93)]
)  # fmt: skip
def test_against_a_direct_evaluation(
    measured: dict[str, Any], record: Record, place: int, least: int, order: int
) -> None:
    row = measured["rows"][place]
    met = row["ratio"] >= least
    units = ("", " points", " of a voxel", "")
    equal = "exactly" if row["differ"] == 0 else f"to {row['differ']:.0e}{units[place]}"
    record(
        ISSUE, order, f"speed: {row['title']}, against a direct evaluation of the same formulas", asked=f"≥ {least}×",
        measured=f"{row['ratio']:.0f}×: {1e3 * row['ours_s']:.0f} ms against {1e3 * row['direct_s']:.0f} ms of "
        f"processor time (wall clock {row['ratio_wall']:.0f}×); results equal {equal}",
        met=met, command=COMMAND,
        note=f"{load_of(measured)}; one thread, medians of {row['repeats']} and {row['direct_repeats']} repeats, "
        "compilation not timed; the direct side is plain loops as the formulas read, and shares the spline, the arch's "
        "separation and the reference's fit; published patient 0007",
    )  # fmt: skip
    assert met


def test_generator_in_batches(measured: dict[str, Any], record: Record) -> None:
    row = measured["generator"]
    record(
        ISSUE, 94, "speed: slice generator, slices in batches of 32 against one by one", asked="compared",
        measured=f"{row['per_second']:.0f} against {row['single']:.0f} slices/s, {row['ratio']:.1f}×; results equal to "
        f"{row['differ']:.0e}",
        met=None, command=COMMAND,
        note=f"{load_of(measured)}; one thread, processor time, medians of {row['repeats']} repeats of {row['slices']} "
        f"slices of {row['shape']} pixels, attention map included; random weights",
    )  # fmt: skip
    assert row["per_second"] > 0
