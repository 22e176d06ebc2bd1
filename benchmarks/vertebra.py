"""Speed of height loss and straightening against a direct evaluation of the same formulas, in one run on one thread.

    python benchmarks/vertebra.py [--out FILE.json] [--quick]

The direct evaluations (`vertebra_direct.py`) are written as the formulas read, in plain loops over layers, columns and
samples, with numpy for small vectors; what is no formula of ours (the spline through the centres, telling a body from
its arch, the fit of the reference's endplates) both sides share. Results are compared before times: height loss to 1e-9
by the published rule and to 1e-3 points by ours, labels voxel by voxel, body shares to 1e-5.

Both sides run in this process on one thread; compilation and a warm-up are not timed; they take turns, and medians over
repeats of processor time are compared, because what else the machine does stretches the wall clock. The patient is the
published one (0007), whose bodies, stretched by a fifth, stand for the synthetic ones. The generator's rows time its
network alone, batched against slice by slice.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.vertebra_direct import direct_paper_rhlv, direct_paper_straighten, direct_robust_rhlv, direct_straighten
from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.labelling import read_label_mask
from spinemed.labelling.masks import LabelMask
from spinemed.measure import fit_body
from spinemed.vertebra.paper import paper_centroids, paper_rhlv, paper_straighten
from spinemed.vertebra.rhlv import height_loss
from spinemed.vertebra.straighten import straighten_spine
from spinemed.volume import Volume

ROOT = Path(__file__).resolve().parent.parent
PATIENT = ROOT / "samples" / "masks" / "healthivert_0007" / "0007_msk.nii.gz"
LEVELS = (Level.T12, Level.L1, Level.L2)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


# --- the contests -----------------------------------------------------------------------------------------------------


def timed(run: Callable[[], Any], times: dict[str, list[float]], name: str) -> Any:
    """Run once; wall and processor seconds are added."""
    wall, cpu = time.perf_counter(), time.process_time()
    answer = run()
    times.setdefault(f"{name} cpu", []).append(time.process_time() - cpu)
    times.setdefault(f"{name} wall", []).append(time.perf_counter() - wall)
    return answer


def contest(
    title: str,
    ours: Callable[[], Any],
    direct: Callable[[], Any],
    differ: Callable[[Any, Any], float],
    tolerance: float,
    repeats: int,
    slow: int,
) -> dict[str, Any]:
    """Both in turn, ours oftener; medians and their ratio."""
    times: dict[str, list[float]] = {}
    ours()
    worst = 0.0
    for turn in range(max(repeats, slow)):
        if turn < slow:
            answer = timed(direct, times, "direct")
        mine = timed(ours, times, "ours")
        worst = max(worst, differ(mine, answer))
    if worst > tolerance:
        raise SystemExit(f"{title}: results differ by {worst:g}, more than {tolerance:g}")
    found = {key: statistics.median(values) for key, values in times.items()}
    return {
        "title": title, "ours_s": found["ours cpu"], "direct_s": found["direct cpu"],
        "ours_wall_s": found["ours wall"], "direct_wall_s": found["direct wall"],
        "ratio": found["direct cpu"] / found["ours cpu"], "ratio_wall": found["direct wall"] / found["ours wall"],
        "differ": worst, "tolerance": tolerance, "repeats": max(repeats, slow), "direct_repeats": slow,
    }  # fmt: skip


def stretched(body: Mask) -> Mask:
    """A body a fifth higher about its middle row, nearest voxel."""
    rows = np.arange(len(body))
    middle = float((body.sum(axis=(1, 2)) * rows).sum() / body.sum())
    source = np.rint(middle + (rows - middle) / 1.2).astype(int)
    return np.asarray(body[np.clip(source, 0, len(body) - 1)])


def rhlv_contests(mask: LabelMask, quick: bool) -> list[dict[str, Any]]:
    """Height loss by both rules."""
    labels = [LABEL_MAPS["verse"].to_label(level) for level in LEVELS]
    crops = paper_straighten(mask.volume, labels)
    pairs = [(stretched(crop.labels == label), crop.labels == label) for label, crop in crops.items()]

    def paper() -> list[list[float]]:
        found = [paper_rhlv(fake, real) for fake, real in pairs]
        return [[one.whole, one.anterior, one.middle, one.posterior] for one in found]

    repeats, slow = (3, 1) if quick else (15, 3)
    rows = [
        contest(
            f"height loss by the published rule, {len(pairs)} vertebrae", paper,
            lambda: [direct_paper_rhlv(fake, real) for fake, real in pairs], _differ, 1e-9, repeats, slow,
        )
    ]  # fmt: skip
    straight = straighten_spine(mask, LEVELS)
    given = []
    for level in LEVELS[: 1 if quick else 3]:
        crop = straight.crops[level]
        body = crop.body >= 0.5
        healthy = np.moveaxis(stretched(np.moveaxis(body, 2, 0)), 0, 2)
        axes = crop.affine[:3, :3]
        reference = fit_body(healthy, crop.affine, anterior_hint=axes[:, 1], up_hint=axes[:, 2])
        given.append((body, crop.affine, reference))

    def robust() -> list[list[float]]:
        return [[third.percent for third in height_loss(*one).thirds] for one in given]

    rows.append(
        contest(
            f"height loss by ours, {len(given)} vertebrae, reference fitted before", robust,
            lambda: [direct_robust_rhlv(*one) for one in given], _differ, 1e-3, repeats, slow,
        )
    )  # fmt: skip
    return rows


def _differ(first: list[list[float]], second: list[list[float]]) -> float:
    return float(np.abs(np.array(first) - np.array(second)).max())


def straighten_contests(mask: LabelMask, quick: bool) -> list[dict[str, Any]]:
    """Straightening by both rules: the whole spine, as one call does."""
    # Without those that have no arch to be told from, which are no more than a stump at the volume's edge.
    whole = tuple(level for level, crop in straighten_spine(mask).crops.items() if not crop.flags)
    levels = LEVELS[:1] if quick else whole
    labels = tuple(LABEL_MAPS["verse"].to_label(level) for level in (LEVELS[:1] if quick else LEVELS))
    data = np.ascontiguousarray(mask.volume.data, np.uint8)
    assert set(paper_centroids(mask.volume)) >= set(labels)
    repeats, slow = (2, 1) if quick else (7, 2)

    def ours() -> dict[Level, tuple[Array, NDArray[np.uint8]]]:
        crops = straighten_spine(mask, levels).crops
        return {level: (crop.body, crop.labels) for level, crop in crops.items()}

    def differ(mine: Any, theirs: Any) -> float:
        gaps = [float(np.abs(mine[level][0] - theirs[level][0]).max()) for level in levels]
        unequal = sum(int((mine[level][1] != theirs[level][1]).sum()) for level in levels)
        return max(gaps) if unequal == 0 else math.inf

    def paper_differ(mine: Any, theirs: Any) -> float:
        return float(sum(int((mine[label].labels != theirs[label]).sum()) for label in labels))

    return [
        contest(
            f"straightening, bodies and labels of {len(levels)} vertebrae", ours,
            lambda: direct_straighten(mask, levels), differ, 1e-5, repeats, slow,
        ),
        contest(
            f"straightening by the published rule, a whole spine, {len(labels)} crops",
            lambda: paper_straighten(mask.volume, labels), lambda: direct_paper_straighten(data, labels), paper_differ,
            0.0, repeats, slow,
        ),
    ]  # fmt: skip


def generator_contest(quick: bool) -> dict[str, Any]:
    """The slice generator, random weights: slices in batches against the same slices one by one."""
    import torch

    from spinemed.vertebra.synthesis.generator import SliceGenerator
    from spinemed.vertebra.synthesis.generator_net import FractureClassifier, Generator, GeneratorConfig, GeneratorNets

    torch.set_num_threads(1)
    torch.manual_seed(1)
    config = GeneratorConfig()
    nets = GeneratorNets(Generator(config).eval(), FractureClassifier(config).eval())
    count = 16 if quick else 64
    rng = np.random.default_rng(1)
    slices = rng.uniform(-1, 1, (count, *config.slice_vox)).astype(np.float32)
    ratio = np.linspace(0, 0.9, count)
    batched, single = (SliceGenerator(nets, config, "random weights", batch=batch) for batch in (32, 1))

    def differ(mine: Any, theirs: Any) -> float:
        return max(float(np.abs(a - b).max() / max(float(np.abs(b).max()), 1e-9)) for a, b in zip(mine, theirs))

    row = contest(
        f"slice generator, {count} slices in batches of 32 against one by one",
        lambda: batched.forward(slices, ratio, 0), lambda: single.forward(slices, ratio, 0), differ, 1e-3,
        2 if quick else 7, 2 if quick else 7,
    )  # fmt: skip
    shape = " x ".join(map(str, config.slice_vox))
    row |= {"slices": count, "shape": shape, "per_second": count / row["ours_s"], "single": count / row["direct_s"]}
    return row


def main() -> None:
    """Run all contests, print them, write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="one vertebra, few repeats: does it run?")
    given = parser.parse_args()
    one = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS", "NUMBA")}
    if any(os.environ.get(key) != value for key, value in one.items()):  # libraries read them when they are loaded
        again = [sys.executable, __file__, *sys.argv[1:]]
        raise SystemExit(
            subprocess.run(again, env={**os.environ, **one, "GOMP_SPINCOUNT": "0"}, check=False).returncode
        )
    before = os.getloadavg()[0]
    mask = read_label_mask(PATIENT)
    assert isinstance(mask.volume, Volume)
    rows = [*rhlv_contests(mask, given.quick), *straighten_contests(mask, given.quick)]
    for row in rows:
        print(
            f"{row['title']}: {1e3 * row['ours_s']:.1f} ms against {1e3 * row['direct_s']:.0f} ms directly, "
            f"{row['ratio']:.0f}x (wall clock {row['ratio_wall']:.0f}x), results equal to {row['differ']:.0e}"
        )
    generator = generator_contest(given.quick)
    print(
        f"{generator['title']}: {generator['per_second']:.0f} against {generator['single']:.0f} slices a second, "
        f"{generator['ratio']:.2f}x, results equal to {generator['differ']:.0e}"
    )
    if given.out:
        facts = {
            "rows": rows,
            "generator": generator,
            "load": [before, os.getloadavg()[0]],
            "cores": os.cpu_count(),
            "quick": given.quick,
        }
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
