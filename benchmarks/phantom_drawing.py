"""How long drawing a phantom takes before any CT is made of it: records in two and three dimensions, small pictures.

    python benchmarks/phantom_drawing.py

Convention: processor time of one call on one thread, median over as many different phantoms; the first calls are not
timed. A record is what is drawn at random; a picture or a pose is computed from it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WARM_UP = 3


def median_ms(call: Callable[[int], object], count: int) -> float:
    """Median processor time in ms of `call(0)` to `call(count - 1)`."""
    for n in range(WARM_UP):
        call(n)
    spent = []
    for n in range(count):
        start = time.process_time_ns()
        call(n)
        spent.append((time.process_time_ns() - start) / 1e6)
    return statistics.median(spent)


def measure(count: int) -> list[dict[str, Any]]:
    """Rows with name, ms and the number of phantoms."""
    from spinemed.phantom import PhantomConfig, draw_phantom, render_phantom
    from spinemed.phantom.spine import Posture, SpineConfig, draw_spine, pose_spine

    small, large = PhantomConfig(size_px=(128, 128)), PhantomConfig(size_px=(512, 512))
    flat = [draw_phantom(seed=1, index=n, config=small) for n in range(count)]
    wide = [draw_phantom(seed=1, index=n, config=large) for n in range(count)]
    plain, curved = SpineConfig(scoliosis_share=0.0), SpineConfig(scoliosis_share=1.0)
    spines = [draw_spine(seed=1, index=n, config=plain) for n in range(count)]
    calls: dict[str, Callable[[int], object]] = {
        "two dimensions: record": lambda n: draw_phantom(seed=1, index=n, config=small),
        "two dimensions: picture of 128 x 128": lambda n: render_phantom(flat[n]),
        "two dimensions: picture of 512 x 512": lambda n: render_phantom(wide[n]),
        "three dimensions: record without scoliosis": lambda n: draw_spine(seed=1, index=n, config=plain),
        "three dimensions: record with scoliosis": lambda n: draw_spine(seed=1, index=n, config=curved),
        "three dimensions: pose": lambda n: pose_spine(spines[n], Posture.SUPINE),
    }
    return [{"name": name, "ms": median_ms(call, count), "count": count} for name, call in calls.items()]


def main() -> None:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=100, help="phantoms to a row")
    parser.add_argument("--out", type=Path, help="write what was found as JSON")
    options = parser.parse_args()
    rows = measure(options.count)
    for row in rows:
        print(f"{row['name']:44} {row['ms']:7.2f} ms")
    if options.out:
        options.out.write_text(json.dumps({"rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
