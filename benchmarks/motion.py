"""Speed of spine motion against its peers in one run: inverse kinematics, forward kinematics, triangulation.

    make peer NAME=opensim; make peer NAME=pinocchio; make peer NAME=aniposelib
    python benchmarks/motion.py [--out FILE.json] [--quick]

Every contestant is a child process on as many cores as it may have threads (benchmarks/peers/child_motion.py); imports,
compilation, building the model and a warm-up are not timed. Contestants take turns in rounds; rates are medians over
all repeats, by the wall clock and by processor time, because what else the machine does stretches the wall clock of
whoever is running. The ratio is of wall rates, each contestant on its own best footing.

What is equal is checked before times are compared: OpenSim's twin puts markers where the model does to 1e-6 mm,
Pinocchio's points agree to 1e-6 mm, triangulated exact projections to 0.1 mm. Two inverse kinematics are not equal:
OpenSim fits each frame alone without a prior, so how far each ends from the true points stands beside its rate.

The fit is of 21 surface points of the spine, a body made up of known geometry in slow natural motion, 50 frames per
second, noise on each axis. OpenSim gets the whole body with its limb coordinates locked, and for comparison a twin
without limbs, which is the least work it can be given. No person was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.motion import BodyModel, MarkerSet, build_model, build_rhythm, keypoint_markers, marker_points
from spinemed.motion.cameras import camera_ring, project

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
RATE_HZ = 50.0
SEX = "male"
EQUAL_MM = 1e-6
TRIANGULATED_MM = 0.1

Arrays = dict[str, Any]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """How much each contestant gets: frames to fit, to fit by OpenSim, to place, to place with read-out, to lift."""

    fit: int = 3000
    opensim: int = 25
    place: int = 10000
    read: int = 2000
    lift: int = 500
    ransac: int = 1
    rounds: int = 2
    repeats: int = 2


QUICK = Size(fit=300, opensim=3, place=200, read=20, lift=10, ransac=1, rounds=1, repeats=1)


def natural_poses(model: BodyModel, frames: int, rng: np.random.Generator) -> Points:
    """Slow sums of sines of the nine regional angles, within about half their limits, while walking: poses [T, n]."""
    t = np.arange(frames) / RATE_HZ
    rhythm = build_rhythm()
    upper = np.array([freedom.upper_deg for freedom in model.freedoms[model.spine]])
    ends = np.linalg.lstsq(rhythm.shares, upper, rcond=None)[0]
    waves = [
        sum(np.sin(2 * np.pi * rng.uniform(0.05, 0.7) * t + rng.uniform(0, 2 * np.pi)) for _ in range(3)) / 3
        for _ in ends
    ]
    regional = 0.5 * np.abs(ends) * np.array(waves).T
    q = model.with_spine_angles(rhythm.angles_deg(regional), model.zero(frames))
    q[:, 0], q[:, 1], q[:, 2] = 200 * np.sin(t), 800 * t, 25 * np.sin(9 * t)
    q[:, 3], q[:, 4], q[:, 5] = 0.5 * np.sin(0.6 * t), 0.08 * np.sin(2 * t), 0.15 * np.sin(1.1 * t)
    return q


def tree(model: BodyModel, markers: MarkerSet) -> Arrays:
    """What a peer needs to build its twin of a model with markers."""
    low, high = model.limits_rad
    locked = np.zeros(model.size, dtype=bool)
    locked[model.spine.stop :] = True
    return {
        "bodies": np.array(model.bodies), "parent": model.parent, "offset_mm": model.offset_mm, "rest": model.rest,
        "first": model.first, "count": model.count, "axis": model.axis, "sign": model.sign, "slide": model.slide,
        "freedoms": np.array(model.names), "low": low, "high": high, "locked": locked,
        "markers": np.array(markers.names), "marker_body": markers.body, "marker_local_mm": markers.local_mm,
        "sex": SEX, "rate_hz": RATE_HZ,
    }  # fmt: skip


def python_of(name: str) -> Path:
    """The interpreter of a contestant's own environment."""
    if name == "spinemed":
        return Path(sys.executable)
    python = PEERS / f".env-{name}" / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"no environment for {name}: run `make peer NAME={name}`")
    return python


@dataclass
class Entry:
    """A contestant in one contest: who, with what arrays, how often a round, on how many threads, and its times."""

    peer: str
    title: str
    given: Arrays
    repeats: int
    threads: int = 1
    facts: dict[str, Any] | None = None
    answer: Arrays | None = None

    def turn(self, work: Path) -> None:
        """Run the child once and add its times."""
        given, result = work / "given.npz", work / "answer.npz"
        np.savez(given, **self.given)
        one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
        environment = {**os.environ, **one, "GOMP_SPINCOUNT": "0", "JAX_PLATFORMS": "cpu"}
        done = subprocess.run(
            [python_of(self.peer), PEERS / f"{self.peer}_motion.py", given, result, str(self.repeats),
             str(self.threads)],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise SystemExit(f"{self.title} failed:\n{done.stderr[-2000:]}")
        with np.load(result) as found:
            self.answer = dict(found.items())
        facts = json.loads(result.with_suffix(".json").read_text())
        if self.facts is None:
            self.facts = facts
        else:
            for key in ("wall_seconds", "cpu_seconds"):
                self.facts[key] += facts[key]

    def row(self) -> dict[str, Any]:
        """Rates: frames per second of the wall clock, and per second of processor time."""
        assert self.facts is not None
        frames = self.facts["frames"]
        return {
            "title": self.title, "name": self.facts["name"], "version": self.facts["version"], "threads": self.threads,
            "frames": frames, "repeats": len(self.facts["wall_seconds"]),
            "per_second": frames / statistics.median(self.facts["wall_seconds"]),
            "per_cpu_second": frames / statistics.median(self.facts["cpu_seconds"]),
        }  # fmt: skip


def contest(entries: list[Entry], work: Path, rounds: int) -> list[dict[str, Any]]:
    """All in turn, several times; rows with ratios to the first of the other contestants that follows ours."""
    for _ in range(rounds):
        for entry in entries:
            entry.turn(work)
    return [entry.row() for entry in entries]


def distance_mm(found: Points, true: Points) -> float:
    """Mean distance of points."""
    return float(np.linalg.norm(found - true, axis=-1).mean())


def fit_contest(work: Path, sigma_mm: float, size: Size) -> dict[str, Any]:
    """Inverse kinematics of the spine at one noise."""
    spine, whole = build_model(SEX, limbs=False), build_model(SEX)
    markers = keypoint_markers(spine)
    rng = np.random.default_rng(round(sigma_mm * 10))
    q = natural_poses(spine, size.fit, rng)
    true = marker_points(spine, q, markers)
    seen = true + rng.normal(scale=sigma_mm, size=true.shape)
    ours = {**tree(spine, markers), "task": "fit", "seen_mm": seen, "sigma_mm": sigma_mm}
    few = slice(0, size.opensim)
    entries = [
        Entry("spinemed", "SpineMed with intervals", {**ours, "posterior": True}, size.repeats, 2),
        Entry("spinemed", "SpineMed", {**ours, "posterior": False}, size.repeats, 2),
        Entry("spinemed", "SpineMed with intervals", {**ours, "posterior": True}, size.repeats, 1),
        Entry("spinemed", "SpineMed", {**ours, "posterior": False}, size.repeats, 1),
    ]
    for title, model in (("OpenSim, limbs locked", whole), ("OpenSim, no limbs", spine)):
        # The first pose checks the twin; coordinates of the limbs rest.
        pose = np.zeros(model.size)
        pose[: q.shape[1]] = q[-1]
        twin = tree(model, keypoint_markers(model, markers.names))
        entries.append(Entry("opensim", title, {**twin, "seen_mm": seen[few], "check_q": pose}, 1))
    rows = contest(entries, work, size.rounds)
    for entry, row in zip(entries, rows, strict=True):
        assert entry.answer is not None
        points = entry.answer["points_mm"]
        row["error_mm"] = distance_mm(points[few], true[few])
        row["residual_mm"] = float(np.sqrt(((points[few] - seen[few]) ** 2).mean()))
        if "twin_mm" in entry.answer:
            row["equal_mm"] = float(np.abs(entry.answer["twin_mm"] - true[-1]).max())
            row["equal"] = row["equal_mm"] <= EQUAL_MM
    same = np.abs(entries[0].answer["q"] - entries[2].answer["q"]).max()  # type: ignore[index]
    return {
        "sigma_mm": sigma_mm, "markers": len(markers), "freedoms": spine.size, "rows": rows,
        "ratio_locked": rows[1]["per_second"] / rows[4]["per_second"],
        "ratio_no_limbs": rows[1]["per_second"] / rows[5]["per_second"],
        "ratio_locked_cpu": rows[3]["per_cpu_second"] / rows[4]["per_cpu_second"],
        "ratio_no_limbs_cpu": rows[3]["per_cpu_second"] / rows[5]["per_cpu_second"],
        "threads_change": float(same),
    }  # fmt: skip


def place_contest(work: Path, size: Size) -> dict[str, Any]:
    """Forward kinematics of the whole body: bodies alone, and with all points read out."""
    model = build_model(SEX)
    markers = keypoint_markers(model)
    q = natural_poses(model, size.place, np.random.default_rng(0))
    q[:, model.spine.stop :] = np.random.default_rng(1).uniform(-0.3, 0.3, (size.place, model.size - model.spine.stop))
    given = {**tree(model, markers), "task": "place"}
    rows = []
    for points, frames in ((False, size.place), (True, size.read)):
        part = {**given, "q": q[:frames], "points": points}
        what = "points read out" if points else "bodies"
        entries = [
            Entry("spinemed", f"SpineMed, {what}", part, size.repeats),
            Entry("pinocchio", f"Pinocchio, {what}", part, size.repeats),
        ]
        found = contest(entries, work, size.rounds)
        key = "points_mm" if points else "last_mm"
        gap = float(np.abs(entries[0].answer[key] - entries[1].answer[key]).max())  # type: ignore[index]
        found[1].update(equal_mm=gap, equal=gap <= EQUAL_MM)
        rows += found
    return {
        "rows": rows, "bodies": len(model.bodies), "freedoms": model.size, "points": len(markers),
        "ratio_bodies": rows[0]["per_cpu_second"] / rows[1]["per_cpu_second"],
        "ratio_points": rows[2]["per_cpu_second"] / rows[3]["per_cpu_second"],
    }  # fmt: skip


def lift_contest(work: Path, size: Size) -> dict[str, Any]:
    """Triangulation of 37 points from four cameras with distortion: exact projections, direct and robust."""
    model = build_model(SEX)
    markers = keypoint_markers(model)
    q = natural_poses(model, size.lift, np.random.default_rng(2))
    q[:, :2] = 0.0  # on the spot: all cameras see everybody
    true = marker_points(model, q, markers) + np.array([0.0, 0.0, 950.0])
    cameras = camera_ring(4)
    given = {
        "task": "lift", "matrix": np.array([c.matrix for c in cameras]),
        "distortion": np.array([c.distortion for c in cameras]), "rotation": np.array([c.rotation for c in cameras]),
        "translation_mm": np.array([c.translation_mm for c in cameras]), "size": np.array(cameras[0].size_px),
        "pixels": project(cameras, true),
    }  # fmt: skip
    rows = []
    for method, frames, title in (("dlt", size.lift, "direct"), ("robust", size.ransac, "robust")):
        part = {**given, "method": method, "pixels": given["pixels"][:, :frames]}
        more = {**given, "method": method}
        entries = [
            Entry("spinemed", f"SpineMed, {title}", more, size.repeats),
            Entry("aniposelib", f"aniposelib, {title if method == 'dlt' else 'RANSAC'}", part, size.repeats),
        ]
        found = contest(entries, work, size.rounds)
        for entry, row in zip(entries, found, strict=True):
            points = entry.answer["points_mm"]  # type: ignore[index]
            row["error_mm"] = float(np.abs(points - true[: len(points)]).max())
            row.update(equal_mm=row["error_mm"], equal=row["error_mm"] <= TRIANGULATED_MM)
        rows += found
    return {
        "rows": rows, "cameras": len(cameras), "points": len(markers),
        "ratio_direct": rows[0]["per_cpu_second"] / rows[1]["per_cpu_second"],
        "ratio_robust": rows[2]["per_cpu_second"] / rows[3]["per_cpu_second"],
    }  # fmt: skip


def rows_text(rows: list[dict[str, Any]]) -> list[str]:
    """Rows, one line each."""
    lines = []
    for row in rows:
        tail = f"  {row['error_mm']:9.2g} mm off" if "error_mm" in row else ""
        tail += "" if row.get("equal", True) else "  NOT EQUAL"
        lines.append(
            f"  {row['title'] + ' (' + row['version'] + ')':44} {row['threads']:2d} {row['per_second']:12,.1f} "
            f"{row['per_cpu_second']:14,.1f}  {row['frames']:6d}{tail}"
        )
    return lines


def table(found: dict[str, Any]) -> str:
    """What was found, to read."""
    head = f"  {'':44} threads  poses/s    poses/CPU s  poses"
    lines = []
    for part in found["fit"]:
        locked, none = (f"{part[f'ratio_{k}']:.0f} ({part[f'ratio_{k}_cpu']:.0f})" for k in ("locked", "no_limbs"))
        lines += [
            f"inverse kinematics: {part['markers']} markers, {part['freedoms']} freedoms, {part['sigma_mm']:g} mm",
            head, *rows_text(part["rows"]),
            f"  ratio {locked} to OpenSim with limbs locked, {none} to OpenSim without limbs; of one thread each by "
            "processor time in brackets",
        ]  # fmt: skip
    part = found["place"]
    lines += [
        f"forward kinematics, {part['bodies']} bodies, {part['freedoms']} freedoms", head, *rows_text(part["rows"]),
        f"  ratio {part['ratio_bodies']:.2f} bodies alone, {part['ratio_points']:.1f} with {part['points']} points",
    ]  # fmt: skip
    part = found["lift"]
    lines += [
        f"triangulation, {part['cameras']} cameras, {part['points']} points a frame", head, *rows_text(part["rows"]),
        f"  ratio {part['ratio_direct']:.1f} direct, {part['ratio_robust']:,.0f} robust",
    ]  # fmt: skip
    load = found["load"]
    lines.append(f"load average of the machine before and after: {load[0]:.1f}, {load[1]:.1f}; {os.cpu_count()} cores")
    return "\n".join(lines)


def run_all(work: Path, size: Size) -> dict[str, Any]:
    """All three contests."""
    before = os.getloadavg()[0]
    found: dict[str, Any] = {
        "fit": [fit_contest(work, sigma, size) for sigma in (2.0, 10.0)],
        "place": place_contest(work, size),
        "lift": lift_contest(work, size),
    }
    found["load"], found["cores"] = (before, os.getloadavg()[0]), os.cpu_count()
    return found


def unequal(found: dict[str, Any]) -> list[str]:
    """Titles of rows whose answers should be equal and are not."""
    rows = [row for part in (*found["fit"], found["place"], found["lift"]) for row in part["rows"]]
    return [row["title"] for row in rows if not row.get("equal", True)]


def main() -> None:
    """Run the comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    parser.add_argument("--quick", action="store_true", help="a few frames: to see that everything runs")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        found = run_all(Path(scratch), QUICK if asked.quick else Size())
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    if unequal(found):
        raise SystemExit(f"answers that should be equal are not: {', '.join(unequal(found))}")


if __name__ == "__main__":
    main()
