"""What tools add on fracture and measurement questions: 25 spines, a caller by rule, exact and faulty masks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
ISSUE = "One product"
SPINES = 25
MASKS = ("exact", "boundary", "level_off")
COMMAND = "make acceptance ONLY=tests/acceptance/test_bench_tools.py"
NOTE = (
    "a caller by rule, not a language model: without tools it gives fixed guesses; computed phantoms; paired by "
    "question, 95 % interval over spines"
)
Record = Callable[..., None]


@pytest.fixture(scope="module")
def caller() -> Iterator[str]:
    """The address of the stand-in, a process of its own."""
    command = [sys.executable, "-u", "-m", "spinemed", "bench", "caller", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().rpartition("listening: ")[2].strip()
        server.terminate()


@pytest.fixture(scope="module")
def gains(work: Path, caller: str) -> dict[str, Any]:
    """The command as a user gives it; a run that was cut goes on, whatever the address."""
    out = work / "bench_tools"
    subprocess.run(
        [
            sys.executable, "-m", "spinemed", "bench", "tools", "configs/bench/tools.yaml", "--url", caller,
            "--served-model", "rules", "--out", str(out), "--set", f"live.count={4 * SPINES}",
            "--set", f"masks=[{', '.join(MASKS)}]",
        ],
        cwd=ROOT, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads((out / "outputs" / "gain-rules.json").read_bytes())
    return found


def row_of(gains: dict[str, Any], kind: str, masks: str, against: str) -> dict[str, Any]:
    return next(
        row for row in gains["rows"] if (row["row"], row["masks"], row["against"]) == (kind, masks, against)
    )  # fmt: skip


@pytest.mark.parametrize(("order", "kind"), [(10, "fracture"), (12, "measurement")])
def test_tools_help_on_exact_masks(gains: dict[str, Any], record: Record, order: int, kind: str) -> None:
    for number, against in enumerate(("without tools", "best constant answer")):
        row = row_of(gains, kind, "exact", against)
        met = row["low"] > 0 and row["clusters"] >= SPINES
        record(
            ISSUE, order + number, f"tools on {kind} questions, exact masks, against {against}",
            asked=f"an interval above 0 on {SPINES} spines or more", met=met, command=COMMAND, note=NOTE,
            measured=f"{100 * row['second_accuracy']:.1f} → {100 * row['first_accuracy']:.1f} % right, gain "
            f"{100 * row['difference']:+.1f} points ({100 * row['low']:+.1f} to {100 * row['high']:+.1f}); "
            f"{row['n']} questions, {row['clusters']} spines",
        )  # fmt: skip
        assert met


@pytest.mark.parametrize(
    ("order", "masks"), [(14, "boundary"), (17, "level_off")]
)  # fmt: skip
def test_what_is_left_on_faulty_masks(gains: dict[str, Any], record: Record, order: int, masks: str) -> None:
    told = []
    for kind in ("fracture", "measurement"):
        row = row_of(gains, kind, masks, "without tools")
        told.append(
            f"{kind} {100 * row['first_accuracy']:.1f} % right, gain {100 * row['difference']:+.1f} points "
            f"({100 * row['low']:+.1f} to {100 * row['high']:+.1f})"
        )
        assert row["clusters"] >= SPINES
        assert row["difference"] <= row_of(gains, kind, "exact", "without tools")["difference"] + 0.05
    dice = row_of(gains, "fracture", masks, "without tools")["dice"]
    record(
        ISSUE, order, f"tools on faulty masks: {masks.replace('_', ' ')} (Dice {dice:.2f})", asked="reported", met=None,
        measured="; ".join(told), command=COMMAND, note=NOTE,
    )  # fmt: skip


def test_every_call_was_a_good_one(gains: dict[str, Any], record: Record) -> None:
    made = gains["calls"]
    failed = {kind: one["refused_or_failed"] for kind, one in made.items()}
    record(
        ISSUE, 18, "function calls of the caller by rule", asked="no call refused on exact masks",
        measured="; ".join(f"{kind}: {one['calls']} calls, {failed[kind]} refused" for kind, one in made.items()),
        met=failed["exact"] == 0, command=COMMAND, note=NOTE,
    )  # fmt: skip
    assert failed["exact"] == 0
