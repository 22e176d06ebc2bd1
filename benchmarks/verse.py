"""Segmentation metrics against their peers on one VerSe-sized pair: one run, one core, the same arrays for everybody.

    make peer NAME=panoptica; make peer NAME=monai; make peer NAME=surface-distance
    python benchmarks/verse.py [--out FILE.json] [--work DIR]

Every contestant is a child process pinned to one core (benchmarks/peers/child.py); imports, compilation and a warm-up
are not timed. The contestants take turns in three rounds and the ratio is of processor seconds, so that what else the
machine does falls on all of them alike; medians over all repeats. Values are compared before times: where a peer's
definition is ours, the largest difference over all labels is an equality check, elsewhere it is printed as the gap
between two definitions.
Peak memory is the high-water mark of resident memory above what the process held before the arrays were loaded, both
arrays included; the bound is three times both uint8 arrays together.

The pair is made, not measured: 256×256×600 voxels of 0.8×0.8×1.0 mm, twenty vertebra-like shapes, a prediction whose
boundary is off by smooth noise of about 1 mm, with one level missing, one extra, and one island. No patient.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
SHAPE = (256, 256, 600)
SPACING_MM = (0.8, 0.8, 1.0)
SCANS = 20
VERSE_SCANS = 374

ROUNDS = 3
# Repeats in a round, and the metrics whose definition is ours (they must agree).
CONTESTANTS: dict[str, tuple[int, frozenset[str]]] = {
    "spinemed": (5, frozenset()),
    "scipy": (1, frozenset({"dice", "hd_mm", "hd95_pooled_mm", "hd95_max_mm", "assd_mm", "masd_mm", "surface_dice"})),
    "panoptica": (2, frozenset({"dice", "hd_mm", "hd95_pooled_mm", "masd_mm"})),
    "monai": (1, frozenset({"dice", "hd_mm", "hd95_max_mm", "assd_mm"})),
    "surface-distance": (1, frozenset({"dice"})),
}
SINGLE_PRECISION = {"monai": 1e-5}
EQUAL = 1e-6

Labels = NDArray[np.uint8]


def distance_to_vertebra(x: NDArray[np.float64], y: NDArray[np.float64], z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Roughly the signed distance in mm to a vertebra-like shape: body, arch, spinous and transverse processes."""
    body = np.maximum(14 * (np.sqrt((x / 21) ** 2 + (y / 15) ** 2) - 1), np.abs(z) - 11)
    ring = np.abs(np.sqrt(x**2 + (y - 24) ** 2) - 12) - 3
    arch = np.maximum(np.maximum(ring, np.abs(z) - 8), 14 - y)
    spinous = np.maximum(np.maximum(np.abs(x) - 3, np.abs(z + 0.4 * (y - 40)) - 5), np.abs(y - 50) - 18)
    transverse = np.maximum(np.maximum(np.abs(x) - 36, np.abs(z) - 4), np.maximum(np.abs(y - 22) - 4, 12 - np.abs(x)))
    return np.minimum(np.minimum(body, arch), np.minimum(spinous, transverse))


def synthetic_pair(seed: int) -> tuple[Labels, Labels]:
    """Reference with labels 5 to 24; a prediction without label 12, with an extra 25 and an island of 20."""
    from scipy import ndimage

    rng = np.random.default_rng(seed)
    reference, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    for place, label in enumerate(range(5, 26)):
        centre = 30 + 28 * place
        box = (slice(72, 184), slice(72, 190), slice(max(0, centre - 24), min(SHAPE[2], centre + 25)))
        i, j, k = np.ogrid[box]
        distance = distance_to_vertebra((i - 128) * 0.8, (j - 96) * 0.8, (k - centre) * 1.0)
        noise = ndimage.gaussian_filter(rng.standard_normal(distance.shape), 3)
        noise /= noise.std()
        if label < 25:
            part = reference[box]
            part[(distance < 0) & (part == 0)] = label
        if label != 12:
            part = prediction[box]
            part[(distance + noise < 0) & (part == 0)] = label
    prediction[20:24, 90:94, 330:333] = 20
    return reference, prediction


def python_of(name: str) -> Path:
    """The interpreter of a contestant's own environment."""
    if name in ("spinemed", "scipy"):
        return Path(sys.executable)
    python = PEERS / f".env-{name}" / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"no environment for {name}: run `make peer NAME={name}`")
    return python


def run_child(name: str, pair: Path, work: Path, repeats: int, cache: Path | None = None) -> dict[str, Any]:
    """One contestant on one pair, alone on its core."""
    result = work / f"{name}.json"
    one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    environment = {**os.environ, **one, "GOMP_SPINCOUNT": "0", "PANOPTICA_CITATION_REMINDER": "false"}
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    script = PEERS / f"{name}_verse.py"
    done = subprocess.run(
        [str(python_of(name)), str(script), str(pair), str(result), str(repeats)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def run_rounds(names: list[str], pair: Path, work: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """All contestants in turn, several times; the seconds of all rounds, the largest peak."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(rounds):
        for name in names:
            item = run_child(name, pair, work, CONTESTANTS[name][0])
            before = found.setdefault(name, item)
            if before is not item:
                if before["scores"] != item["scores"]:
                    raise SystemExit(f"{name} gave other values when asked again")
                before["wall_seconds"] += item["wall_seconds"]
                before["cpu_seconds"] += item["cpu_seconds"]
                before["peak_mib"] = max(before["peak_mib"], item["peak_mib"])
    return found


def largest_gaps(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, float]:
    """Per metric the largest difference over all labels; both must have scored the same labels."""
    if ours["scores"].keys() != theirs["scores"].keys():
        raise SystemExit(f"{theirs['name']} scored labels {sorted(theirs['scores'])}, not {sorted(ours['scores'])}")
    first = next(iter(theirs["scores"].values()))
    return {
        metric: max(abs(values[metric] - ours["scores"][label][metric]) for label, values in theirs["scores"].items())
        for metric in first
    }


def compare(work: Path, contestants: list[str]) -> dict[str, Any]:
    """All contestants on the synthetic pair."""
    pair = work / "pair.npz"
    reference, prediction = synthetic_pair(0)
    np.savez(pair, reference=reference, prediction=prediction, spacing_mm=np.array(SPACING_MM))
    with tempfile.TemporaryDirectory(dir=work) as cache:
        compiled = run_child("spinemed", pair, work, 1, Path(cache))["first_call_seconds"]
    found = run_rounds(contestants, pair, work, ROUNDS)
    ours = found["spinemed"]
    rows = []
    for name, item in found.items():
        gaps = largest_gaps(ours, item) if name != "spinemed" else {}
        same = {metric: gap for metric, gap in gaps.items() if metric in CONTESTANTS[name][1]}
        rows.append(
            {
                "name": item["name"],
                "version": item["version"],
                "seconds": statistics.median(item["wall_seconds"]),
                "cpu_seconds": statistics.median(item["cpu_seconds"]),
                "repeats": len(item["wall_seconds"]),
                "ratio": statistics.median(item["cpu_seconds"]) / statistics.median(ours["cpu_seconds"]),
                "peak_mib": item["peak_mib"],
                "peak_volumes": item["peak_mib"] / item["volumes_mib"],
                "same_definition": same,
                "other_definition": {metric: gap for metric, gap in gaps.items() if metric not in same},
                "equal": all(gap <= SINGLE_PRECISION.get(name, EQUAL) for gap in same.values()),
            }
        )
    hard = work / "one_level_off.npz"
    np.savez(
        hard,
        reference=reference,
        prediction=np.where(prediction > 0, prediction + 1, 0).astype(np.uint8),
        spacing_mm=np.array(SPACING_MM),
    )
    off = run_rounds([name for name in ("spinemed", "panoptica") if name in contestants], hard, work, ROUNDS)
    return {
        "one_level_off": {name: statistics.median(item["cpu_seconds"]) for name, item in off.items()},
        "case": {
            "shape": SHAPE,
            "spacing_mm": SPACING_MM,
            "labels": int(np.unique(reference).size - 1),
            "scored": len(ours["scores"]),
            "foreground_voxels": int(np.count_nonzero(reference)),
        },
        "compile_seconds": compiled,
        "rows": rows,
    }


def score_directory(work: Path, scans: int = SCANS) -> dict[str, Any]:
    """Write scans as `.nii.gz` pairs, then read and score them one after the other, on one core."""
    from spinemed.metrics import compare_labels
    from spinemed.volume import Volume, read_mask, write_nifti

    folder = work / "scans"
    folder.mkdir(exist_ok=True)
    affine = np.diag([*SPACING_MM, 1.0])
    for scan in range(scans):
        if not (folder / f"{scan:02d}_prediction.nii.gz").exists():
            for name, data in zip(("reference", "prediction"), synthetic_pair(scan), strict=True):
                write_nifti(Volume(data, affine, "label"), folder / f"{scan:02d}_{name}.nii.gz")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    compare_labels(np.eye(8, dtype=np.uint8)[None], np.eye(8, dtype=np.uint8)[None], (1.0, 1.0, 1.0))
    reading, scoring = [], []
    for scan in range(scans):
        start = time.perf_counter()
        reference, prediction = (read_mask(folder / f"{scan:02d}_{n}.nii.gz") for n in ("reference", "prediction"))
        read = time.perf_counter()
        compare_labels(reference.data, prediction.data, reference.spacing_mm)
        reading.append(read - start)
        scoring.append(time.perf_counter() - read)
    os.sched_setaffinity(0, cores)
    whole = sum(reading) + sum(scoring)
    return {
        "scans": scans,
        "seconds": whole,
        "reading_median": statistics.median(reading),
        "scoring_median": statistics.median(scoring),
        "extrapolated_scans": VERSE_SCANS,
        "extrapolated_seconds": whole / scans * VERSE_SCANS,
    }


def table(found: dict[str, Any]) -> str:
    """What was found, to read."""
    case = found["case"]
    lines = [
        f"{'×'.join(map(str, case['shape']))} voxels, {case['labels']} labels, {case['scored']} in both, one core",
        f"{'':24} {'median s':>9} {'CPU s':>8} {'× ours':>8} {'peak MiB':>9} {'× volumes':>9}  largest difference",
    ]
    for row in found["rows"]:
        same = ", ".join(f"{metric} {gap:.1e}" for metric, gap in row["same_definition"].items())
        other = ", ".join(f"{metric} {gap:.3f}" for metric, gap in row["other_definition"].items())
        lines.append(
            f"{row['name'] + ' ' + row['version']:24} {row['seconds']:9.3f} {row['cpu_seconds']:8.3f} "
            f"{row['ratio']:8.1f} {row['peak_mib']:9.0f} {row['peak_volumes']:9.2f}  {same}"
            + (f"; other definition: {other}" if other else "")
            + ("" if row["equal"] else "  NOT EQUAL")
        )
    lines.append(f"compilation in a fresh cache: {found['compile_seconds']:.1f} s")
    off = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in found["one_level_off"].items())
    lines.append(f"every label one level off, so that nothing is near: {off}")
    if "directory" in found:
        item = found["directory"]
        lines.append(
            f"{item['scans']} scans as .nii.gz: {item['seconds']:.1f} s, of which a scan's reading "
            f"{item['reading_median']:.2f} s and scoring {item['scoring_median']:.3f} s (medians); "
            f"{item['extrapolated_scans']} scans: {item['extrapolated_seconds'] / 60:.1f} min (extrapolated)"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the whole comparison and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    parser.add_argument("--work", type=Path, help="folder for the arrays and scans; kept")
    parser.add_argument("--only", nargs="*", choices=list(CONTESTANTS), help="contestants beside spinemed")
    parser.add_argument("--no-directory", action="store_true", help="leave out the directory of scans")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        names = ["spinemed", *(n for n in CONTESTANTS if n != "spinemed" and (asked.only is None or n in asked.only))]
        found = compare(work, names)
        if not asked.no_directory:
            found["directory"] = score_directory(work)
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    if not all(row["equal"] for row in found["rows"]):
        raise SystemExit("values that should be equal are not")


if __name__ == "__main__":
    main()
