"""One patient through the whole chain: how long it takes, and how far it is off where truth is known."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

ROOT = Path(__file__).resolve().parents[2]
ISSUE = "One product"
COMMAND = "make acceptance ONLY=tests/acceptance/test_case.py"
SEEDS = (1, 2, 3, 4, 5)
Record = Callable[..., None]


def run_case(out: Path, *arguments: str) -> tuple[str, float]:
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "spinemed", "case", "report", *arguments, "--out", str(out)],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return done.stdout, time.monotonic() - start


@pytest.fixture(scope="module")
def computed(work: Path) -> list[dict[str, Any]]:
    """Scores of the phantoms, with the seconds that each took."""
    found = []
    for seed in SEEDS:
        out = work / "case" / f"phantom-{seed}"
        again = (out / "report.html").is_file()
        _, seconds = run_case(out, "--phantom", str(seed))
        score = json.loads((out / "score" / "score.json").read_text(encoding="utf-8"))
        kept = work / "case" / f"phantom-{seed}.seconds"
        if not again:
            kept.write_text(f"{seconds:.1f}")
        found.append({**score, "seconds": float(kept.read_text())})
    return found


def test_the_chain_on_computed_patients(computed: list[dict[str, Any]], record: Record) -> None:
    losses = [loss for score in computed for loss in score["losses"]]
    off = [abs(loss["error_points"]) for loss in losses]
    inside = sum(score["losses_in_interval"] for score in computed)
    right, given = (sum(score[name] for score in computed) for name in ("grades_right", "grades_given"))
    heights = [abs(height["error_mm"]) for score in computed for height in score["heights"]]
    seconds = sorted(score["seconds"] for score in computed)
    broken = [each for score in computed for each in score["grades"] if each["true"] != "0" and each["found"]]
    note = (
        f"phantoms of seeds {SEEDS[0]} to {SEEDS[-1]}, lumbar CT of 1 mm, exact masks, heights estimated from the same "
        "spine; no patients"
    )
    record(
        ISSUE, 1, "one patient through the whole chain, CT to page", asked="one command",
        measured=f"median {seconds[len(seconds) // 2]:.0f} s ({seconds[0]:.0f} to {seconds[-1]:.0f}; {len(SEEDS)} "
        "spines)",
        met=True, command=COMMAND, note=note,
    )  # fmt: skip
    record(
        ISSUE, 2, "the chain against the truth of its phantoms", asked="reported",
        measured=f"height loss by thirds off by {sum(off) / len(off):.2f} points in the mean, {max(off):.1f} at most; "
        f"{inside} of {len(losses)} inside their 95 % interval; grades right {right} of {given} (of {len(broken)} "
        f"fractured {sum(each['true'] == each['found'] for each in broken)}); heights off by "
        f"{sum(heights) / len(heights):.2f} mm in the mean",
        met=None, command=COMMAND, note=note,
    )  # fmt: skip
    assert right >= 0.8 * given
    assert sum(off) / len(off) < 4


def test_a_real_ct_has_no_reference(work: Path, samples: Path, record: Record) -> None:
    place = samples / "ct" / "totalsegmentator_lumbar"
    out = work / "case" / "bundled"
    said, seconds = run_case(
        out, "--image", str(place / "example_ct.nii.gz"), "--scheme", "totalsegmentator",
        "--mask", str(place / "example_seg_fast_force_split.nii.gz"),
    )  # fmt: skip
    assert "no reference" in said
    assert "T11, T12 are cut by the edge of the scan" in said
    assert "no grade is given above 1.5 mm" in said
    assert not (out / "score").exists()
    assert not (out / "scores").exists()
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "no reference" in page.lower()
    record(
        ISSUE, 3, "the bundled CT (3 mm voxels, a model's mask)", asked="'no reference' and the limits, no score",
        measured=f"said on the terminal and on the page; nothing scored; {seconds:.0f} s", met=True, command=COMMAND,
    )  # fmt: skip
