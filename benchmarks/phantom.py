"""Speed and memory of phantom images on one core.

    python benchmarks/phantom.py [--out FILE.json] [--repeats 5] [--series 200]
    python benchmarks/phantom.py --repeats 0 --series 200        # memory only

Every case is rendered once unmeasured (compilation) and then `repeats` times, each time another spine; medians of wall
and of processor seconds. What a figure holds is said in its row: drawing the record, posing, solids, masks, Hounsfield
units, noise. Beside each stands a yardstick of the same run, to read a figure on another machine: one pass of
`scipy.ndimage.gaussian_filter` over the same array, for a slice the two-dimensional phantoms of this project, and for a
radiograph the plain sum of as many layers.

Memory: resident memory of a process that renders `series` lumbar CTs in a row, after each; told are the tenth, the
last, the largest, and the rise per hundred CTs of a straight line through all after the tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# ruff: noqa: E402 - the number of threads is read when these are imported
import numpy as np
import psutil
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from spinemed.phantom import PhantomConfig, draw_phantom, render_phantom
from spinemed.phantom.imaging.ct import render_ct, render_ct_slice
from spinemed.phantom.imaging.grid import sagittal_grid
from spinemed.phantom.imaging.xray import render_xray
from spinemed.phantom.shape.scene import build_scene
from spinemed.phantom.spine.draw import draw_spine

SEED = 20
CT_LIMITS = {"full": 15.0, "lumbar": 5.0}
SLICES_PER_SECOND = 20.0
XRAY_LIMIT = 1.0
GROWTH_MIB = 64.0


def timed(work: Callable[[int], Any], repeats: int) -> dict[str, Any]:
    """Median wall and processor seconds of `work(k)` for k = 1 ... repeats, after one unmeasured call."""
    work(0)
    wall, processor = [], []
    for k in range(1, repeats + 1):
        start, used = time.perf_counter(), time.process_time()
        work(k)
        wall.append(time.perf_counter() - start)
        processor.append(time.process_time() - used)
    return {
        "seconds": statistics.median(wall),
        "cpu_seconds": statistics.median(processor),
        "slowest_seconds": max(wall),
        "repeats": repeats,
    }


def ct(field: str, repeats: int) -> dict[str, Any]:
    """A 1 mm CT with all masks, drawn from the seed."""
    shapes: list[tuple[int, ...]] = []

    def work(k: int) -> None:
        shapes.append(render_ct(draw_spine(SEED, k), field=field, spacing_mm=1.0).volume.shape)  # type: ignore[arg-type]

    row = timed(work, repeats)
    shape = sorted(shapes[1:], key=np.prod)[len(shapes[1:]) // 2]
    array: NDArray[np.float32] = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    yard = timed(lambda _: gaussian_filter(array, 0.6), 3)
    limit = CT_LIMITS[field]
    return {
        "name": f"{field} CT, 1 mm, all masks",
        "holds": "record, pose, solids, masks, HU, noise",
        **row,
        "voxels": int(np.prod(shape)),
        "shape": list(shape),
        "limit_seconds": limit,
        "met": row["seconds"] <= limit,
        "yardstick": "scipy gaussian_filter, sigma 0.6 voxel, same array",
        "yardstick_seconds": yard["seconds"],
        "ratio": row["cpu_seconds"] / yard["cpu_seconds"],
    }


def slices(spacing_mm: float, repeats: int) -> dict[str, Any]:
    """One mid-sagittal slice of the whole spine through the solids, with masks and HU."""

    def work(k: int) -> None:
        scene = build_scene(draw_spine(SEED, k))
        render_ct_slice(scene, sagittal_grid(scene, "full", spacing_mm=spacing_mm))

    row = timed(work, repeats)
    config = PhantomConfig(size=512) if "size" in PhantomConfig.model_fields else PhantomConfig()
    flat = timed(lambda k: render_phantom(draw_phantom(SEED, k, config)), repeats)
    return {
        "name": f"mid-sagittal slice, whole spine, {spacing_mm:g} mm",
        "holds": "record, pose, solids, masks, HU, noise",
        **row,
        "per_second": 1 / row["seconds"],
        "limit_per_second": SLICES_PER_SECOND,
        "met": 1 / row["seconds"] >= SLICES_PER_SECOND,
        "yardstick": "two-dimensional phantom of this project",
        "yardstick_seconds": flat["seconds"],
        "ratio": row["cpu_seconds"] / flat["cpu_seconds"],
    }


def radiograph(repeats: int) -> dict[str, Any]:
    """A lateral lumbar radiograph, 0.8 mm pixels, by projection through the volume."""
    shapes: list[tuple[int, ...]] = []

    def work(k: int) -> None:
        shapes.append(render_xray(draw_spine(SEED, k), projection="lateral", field="lumbar").image.shape)

    row = timed(work, repeats)
    shape = sorted(shapes[1:], key=np.prod)[len(shapes[1:]) // 2]
    array: NDArray[np.float32] = np.random.default_rng(0).standard_normal((256, *shape), dtype=np.float32)
    yard = timed(lambda _: array.sum(axis=0), 3)
    return {
        "name": "lateral lumbar radiograph, 0.8 mm",
        "holds": "record, pose, solids, projection, scatter, noise, points",
        **row,
        "shape": list(shape),
        "limit_seconds": XRAY_LIMIT,
        "met": row["seconds"] <= XRAY_LIMIT,
        "yardstick": "numpy sum of 256 layers of the same picture",
        "yardstick_seconds": yard["seconds"],
        "ratio": row["cpu_seconds"] / yard["cpu_seconds"],
    }


def memory(series: int) -> dict[str, Any]:
    """Resident memory while many lumbar CTs are made in one process."""
    process = psutil.Process()
    start, held = time.perf_counter(), []
    for k in range(series):
        render_ct(draw_spine(SEED, 1000 + k), field="lumbar", spacing_mm=1.0)
        held.append(process.memory_info().rss / 2**20)
    early, late = max(held[:10]), held[-1]
    after = held[min(10, series - 1) :]
    rise = 100 * float(np.polyfit(np.arange(len(after)), after, 1)[0]) if len(after) > 1 else 0.0
    return {
        "name": f"{series} lumbar CTs in one process",
        "cts": series,
        "after_ten_mib": early,
        "after_all_mib": late,
        "peak_mib": max(held),
        "growth_mib": late - early,
        "rise_mib_per_hundred": rise,
        "limit_growth_mib": GROWTH_MIB,
        "seconds": time.perf_counter() - start,
        "every_tenth_mib": [round(one, 1) for one in held[9::10]],
        "met": late - early < GROWTH_MIB and max(held) - early < GROWTH_MIB,
    }


def table(found: dict[str, Any]) -> str:
    """What was found, to read."""
    lines = [] if not found["rows"] else [f"{'':44} {'median s':>9} {'CPU s':>8} {'asked':>12} {'× yardstick':>12}"]
    for row in found["rows"]:
        asked = f"<= {row['limit_seconds']:g} s" if "limit_seconds" in row else f">= {row['limit_per_second']:g} /s"
        lines.append(
            f"{row['name']:44} {row['seconds']:9.3f} {row['cpu_seconds']:8.3f} {asked:>12} {row['ratio']:12.1f}"
            + ("" if row["met"] else "  NOT MET")
        )
    if "memory" in found:
        item = found["memory"]
        lines.append(
            f"{item['name']}: {item['after_ten_mib']:.0f} MiB after ten, {item['after_all_mib']:.0f} MiB at the end, "
            f"peak {item['peak_mib']:.0f} MiB, rise {item['rise_mib_per_hundred']:+.1f} MiB per hundred"
            + ("" if item["met"] else "  NOT MET")
        )
    return "\n".join(lines)


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    parser.add_argument(
        "--repeats",
        type=int,
        default=5,
        help="measured repeats of each volume; slices take ten times as many; 0 leaves speed out",
    )
    parser.add_argument("--series", type=int, default=200, help="lumbar CTs of the memory check; 0 leaves it out")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    rows: list[dict[str, Any]] = []
    if options.repeats:
        rows += [ct("full", options.repeats), ct("lumbar", options.repeats)]
        rows += [slices(spacing, 10 * options.repeats) for spacing in (1.0, 0.7)]
        rows.append(radiograph(options.repeats))
    found: dict[str, Any] = {"python": sys.version.split()[0], "rows": rows}
    if options.series:
        found["memory"] = memory(options.series)
    print(table(found))
    if options.out is not None:
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
