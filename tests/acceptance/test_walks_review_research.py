"""How long the clinicians' and the researcher's walk take, alone on this machine, and what came out of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

ISSUE = "One product"
Record = Callable[..., None]
Measured = Callable[..., dict[str, Any]]


def walked(root: Path, work: Path, measured_run: Measured, name: str) -> tuple[dict[str, Any], Path, str]:
    """A walk from nothing: what it cost, its folder, what it printed."""
    place = work / "walks"
    place.mkdir(parents=True, exist_ok=True)
    out, log = place / name, place / f"{name}.log"
    shutil.rmtree(out, ignore_errors=True)
    words = [sys.executable, str(root / "examples" / f"{name}.py"), "--out", str(out)]
    cost = measured_run(words, place, log)
    said = log.read_text(encoding="utf-8")
    assert cost["exit_code"] == 0, said[-3000:]
    return cost, out, said


def test_a_case_is_curated_by_clinicians_in_a_browser(
    root: Path, work: Path, record: Record, measured_run: Measured
) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("Chromium is not installed: no program `chromium`")
    pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    cost, out, said = walked(root, work, measured_run, "curate_a_case_as_clinicians")
    (exported,) = (out / "run" / "review" / "exports").iterdir()
    verdicts = [json.loads(line) for line in (exported / "verdicts.jsonl").read_text("utf-8").splitlines()]
    rows = (out / "run" / "outputs" / "release" / "index.jsonl").read_text("utf-8").splitlines()
    approved = {one["instance_id"] for one in verdicts if one["decision"] == "approved"}
    exact = {json.loads(line)["id"] for line in rows} == approved and "the log is whole" in said
    command = "python examples/curate_a_case_as_clinicians.py --out runs/curated"
    record(
        ISSUE, 25, "walk: a case curated by two reviewers and an adjudicator in a browser, to the release",
        asked="the release holds exactly what was approved, the log is whole",
        measured=f"{len(verdicts)} items, {len(approved)} approved, {len(rows)} released; {cost['seconds']:.0f} s,"
        f" {cost['peak_gib']:.1f} GiB with the browser",
        met=exact, command=command,
        note=f"one-minute load average at the end: {os.getloadavg()[0]:.1f}; people are played by the script",
    )  # fmt: skip
    assert exact


def test_research_in_ten_lines(root: Path, work: Path, record: Record, measured_run: Measured) -> None:
    cost, out, _ = walked(root, work, measured_run, "research_in_ten_lines")
    numbers = json.loads((out / "numbers.json").read_bytes())
    verse, loss, motion = numbers["verse"], numbers["height_loss"], numbers["motion"]
    met = verse["levels_shifted_by"] == 1 and loss["l1_grade"] is None and motion["mpjpe_mm"] < 3
    record(
        ISSUE, 26, "walk: VerSe metrics, height loss and motion in ten lines each",
        asked="a shift of one level found, no grade without a reference, MPJPE below the 3 mm of noise",
        measured=f"shift {verse['levels_shifted_by']:+d}, Dice under any name {verse['dice_under_any_name']:.3f};"
        f" L1 {loss['l1_middle_loss_percent']:.1f} %, no grade; MPJPE {motion['mpjpe_mm']:.2f} mm;"
        f" {cost['seconds']:.1f} s, {cost['peak_gib']:.1f} GiB",
        met=met, command="python examples/research_in_ten_lines.py --out runs/research",
        note="one bundled pair, one published patient, one simulated bend: examples, no study",
    )  # fmt: skip
    assert met
