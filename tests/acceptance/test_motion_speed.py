"""Speed of spine motion against OpenSim, Pinocchio and aniposelib, by `benchmarks/motion.py`.

Rates depend on the machine and on what else it does; the load average stands beside each. A bound counts as met where
the wall clock shows it, and as open where it does not but two free cores would by processor time, which load stretches
least: poses per second of processor time of two threads, times two cores. Only that is asserted.
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

ISSUE = "Motion"
COMMAND = "make peer NAME=opensim, pinocchio, aniposelib; pytest -m acceptance tests/acceptance/test_motion_speed.py"
Record = Callable[..., None]


@pytest.fixture(scope="module")
def measured(root: Path, work: Path) -> dict[str, Any]:
    """The whole comparison, run now."""
    missing = [
        name
        for name in ("opensim", "pinocchio", "aniposelib")
        if not (root / "benchmarks" / "peers" / f".env-{name}").is_dir()
    ]
    if missing:
        pytest.skip(f"no environment for {', '.join(missing)}: run `make peer NAME=...`")
    out = work / "motion_speed.json"
    done = subprocess.run(
        [sys.executable, str(root / "benchmarks" / "motion.py"), "--out", str(out)],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(out.read_bytes())
    return found


def load_of(found: dict[str, Any]) -> str:
    before, after = found["load"]
    return f"load average {before:.1f} to {after:.1f} on {found['cores']} cores"


def rates(row: dict[str, Any]) -> str:
    digits = 0 if row["per_cpu_second"] > 1000 else 1
    return f"{row['per_second']:,.{digits}f} ({row['per_cpu_second']:,.{digits}f})"


@pytest.mark.parametrize(("place", "order"), [(0, 50), (1, 51)])
def test_fit_against_opensim(measured: dict[str, Any], record: Record, place: int, order: int) -> None:
    part = measured["fit"][place]
    with_sd, plain, with_sd_one, plain_one, locked, bare = part["rows"]
    both_free = 2 * plain["per_cpu_second"]
    ratio = both_free / locked["per_cpu_second"]
    free = both_free >= 2000 and ratio >= 200
    met = True if plain["per_second"] >= 2000 and part["ratio_locked"] >= 200 else None if free else False
    record(
        ISSUE, order,
        f"fit of the spine against OpenSim's inverse kinematics, {part['sigma_mm']:g} mm noise per axis",
        asked="≥ 200× with limbs locked; ≥ 2,000 poses/s on two cores, aim 5,000",
        measured=f"poses/s by the wall clock (per second of processor time): two threads {rates(plain)}, with "
        f"intervals {rates(with_sd)}; one thread {rates(plain_one)}, with intervals {rates(with_sd_one)}; OpenSim, one "
        f"thread, limbs locked {rates(locked)}, twin without limbs {rates(bare)}. Two free cores by processor time "
        f"{both_free:,.0f} poses/s, {ratio:.0f}× OpenSim with limbs locked (wall clock {part['ratio_locked']:.0f}×, "
        f"one thread each {part['ratio_locked_cpu']:.0f}×); against its twin without limbs "
        f"{part['ratio_no_limbs']:.0f}× by the wall clock, one thread each {part['ratio_no_limbs_cpu']:.0f}×. Points "
        f"off the truth by {plain['error_mm']:.2f} mm, OpenSim {locked['error_mm']:.2f} and {bare['error_mm']:.2f}",
        met=met, command=COMMAND,
        note=f"{load_of(measured)}; medians of {plain['repeats']} and {locked['repeats']} repeats; "
        f"{part['markers']} markers, {part['freedoms']} freedoms, {plain['frames']} poses ({locked['frames']} for "
        "OpenSim, frame by frame without a prior, accuracy 1e-5); the twin agrees to "
        f"{max(locked['equal_mm'], bare['equal_mm']):.0e} mm; simulated motion"
        + ("" if met else "; other jobs held the cores, so the wall clock says little of this program"),
    )  # fmt: skip
    assert free


def test_forward_kinematics_against_pinocchio(measured: dict[str, Any], record: Record) -> None:
    part = measured["place"]
    ours, theirs, our_points, their_points = part["rows"]
    record(
        ISSUE, 52, "forward kinematics against Pinocchio's loop", asked="compared",
        measured=f"{ours['per_cpu_second']:,.0f} poses/s with all places, turns and axes in arrays against "
        f"{theirs['per_cpu_second']:,.0f} without reading anything out: {part['ratio_bodies']:.1f}×; with "
        f"{part['points']} points read out {our_points['per_cpu_second']:,.0f} against "
        f"{their_points['per_cpu_second']:,.0f}: {part['ratio_points']:.0f}×; points equal to "
        f"{their_points['equal_mm']:.0e} mm",
        met=None, command=COMMAND,
        note=f"{load_of(measured)}; {part['bodies']} bodies, {part['freedoms']} freedoms; one thread each, per second "
        f"of processor time, medians of {ours['repeats']} repeats; Pinocchio {theirs['version']} driven from Python, "
        "one elementary joint per freedom",
    )  # fmt: skip
    assert part["ratio_points"] > 1


def test_triangulation_against_aniposelib(measured: dict[str, Any], record: Record) -> None:
    part = measured["lift"]
    direct, their_direct, robust, their_robust = part["rows"]
    record(
        ISSUE, 53, "triangulation against aniposelib", asked="compared",
        measured=f"direct {direct['per_cpu_second']:,.0f} frames/s against {their_direct['per_cpu_second']:,.0f}: "
        f"{part['ratio_direct']:.1f}×; robust {robust['per_cpu_second']:,.0f} against "
        f"{their_robust['per_cpu_second']:.2f} of its RANSAC: {part['ratio_robust']:,.0f}×; exact projections through "
        f"distorting lenses off by {direct['error_mm']:.0e} mm and {their_direct['error_mm']:.0e} mm at most",
        met=None, command=COMMAND,
        note=f"{load_of(measured)}; {part['cameras']} cameras, {part['points']} points a frame; one thread each, per "
        f"second of processor time, medians of {direct['repeats']} repeats; aniposelib {their_direct['version']}, "
        "compiled beforehand",
    )  # fmt: skip
    assert part["ratio_robust"] > 1
