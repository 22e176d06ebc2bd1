"""Copies among texts: how fast they are found, in how much memory, and how many of the planted ones.

    python -m benchmarks.data_duplicates --items 450000 --out FILE.json

The corpus is that of `benchmarks/data_scale_items.py`, computed shard by shard while it is compared; what computing it
costs is measured apart and left out of the rate, which counts seconds of processor time. Peak memory is the process's,
corpus included. Run it from the project's folder.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.data_scale_items import Planted, ScalePlan, scale_shard
from data_pipeline.unique.stage import text_key
from data_pipeline.unique.texts import DUPLICATES_FILE, DuplicateRow, TextKey, find_duplicates
from spinemed.tables import read_records, write_json


def measure(items: int, seed: int = 0) -> dict[str, Any]:
    """Find the copies among so many items and count what was planted and found."""
    plan = ScalePlan(items, seed)
    planted: list[Planted] = []
    spent = 0.0

    def keys() -> Iterator[TextKey]:
        nonlocal spent
        for number in range(plan.shards):
            start = time.process_time()
            shard = scale_shard(plan, number)
            planted.extend(shard.planted)
            texts = [text_key(item.instance) for item in shard.items]
            spent += time.process_time() - start
            yield from texts

    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        counts = find_duplicates(Path(folder), keys())
        seconds = time.process_time() - start - spent
        cluster = {row.id: row.cluster for row in read_records(Path(folder) / DUPLICATES_FILE, DuplicateRow)}
    copies = [row for row in planted if row.kind != "lookalike"]
    found = sum(row.id in cluster and cluster[row.id] == cluster.get(row.original) for row in copies)
    allowed = {name for row in copies for name in (row.id, row.original)}
    return {
        "items": items,
        "cpu_seconds": round(seconds, 1),
        "items_per_cpu_second": round(items / seconds),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "planted": len(copies),
        "found": found,
        "lookalikes": len(planted) - len(copies),
        "in_clusters_but_not_planted": len(set(cluster) - allowed),
        **counts,
    }


def main() -> None:
    """Measure once and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=45_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    figures = measure(options.items)
    if options.out is not None:
        write_json(options.out, figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
