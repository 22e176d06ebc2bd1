"""A synthetic corpus through the stages of a data run that need the whole set: verify, dedup, split and release.

    python -m benchmarks.data_scale --items 45000 --out scale.json
    python -m benchmarks.data_scale --items 45000 450000 --out scale.json

The corpus is computed (`data_scale_items.py`: realistic lengths, copies planted at a stated rate) and written as the
corpus and drafts of a run before any clock starts. Then the same code as in `spinemed data run` makes the stages
`revised` (every criterion applied to every item, right answers balanced over the letters), `unique` (copies, classes)
and `release` (components, splits, rows, one file per split), with two workers, in a child process. Reported are seconds
of each stage from the run's journal, items a second over all of them, and the largest memory of the child and its
workers together, read every quarter of a second.

Trap: start it as a module from the project's folder; started by its path, it would find `benchmarks/data_pipeline.py`
in the place of the package.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil

from benchmarks.data_scale_items import Planted, ScalePlan, scale_shard, scale_source
from data_pipeline.config import BuildConfig
from data_pipeline.items import Item
from data_pipeline.records import Derivation, Parts
from data_pipeline.run import open_stages, run_stages
from data_pipeline.shards.engines import Crew, Engine
from data_pipeline.shards.shard import join_tables
from data_pipeline.unique.texts import DUPLICATES_FILE, DuplicateRow
from spinemed.records import Case, Document, Figure, ImageBlob, Instance, Span, Study
from spinemed.run import open_run
from spinemed.tables import read_records, write_json, write_jsonl, write_manifest, write_records

STAGES = ("revised", "unique", "release")


def prepare_shard(plan: ScalePlan, number: int, folder: Path) -> None:
    """One shard of the corpus and its items as drafts."""
    shard = scale_shard(plan, number)
    drafts = [_draft(item) for item in shard.items]
    write_records(folder / "documents.parquet", Document, shard.documents)
    write_records(folder / "spans.parquet", Span, shard.spans)
    write_records(folder / "instances.parquet", Instance, (item.instance for item in drafts))
    write_records(folder / "parts.parquet", Parts, (item.parts for item in drafts))
    write_records(folder / "planted.parquet", Planted, shard.planted)


def _draft(item: Item) -> Item:
    name = f"{item.instance.id}-draft"
    update = {"id": name, "stage": "draft", "parent_id": None}
    return Item(item.instance.model_copy(update=update), item.parts.model_copy(update={"instance_id": name}))


def prepare(folder: Path, plan: ScalePlan) -> None:
    """Write corpus and drafts of a run, holding one shard in memory; a finished one is kept."""
    if (folder / "drafts" / "manifest.json").is_file():
        return
    shutil.rmtree(folder, ignore_errors=True)
    shards = [folder.with_name(f"{folder.name}.shards") / f"{number:05d}" for number in range(plan.shards)]
    todo = [number for number, shard in enumerate(shards) if not (shard / "planted.parquet").is_file()]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(prepare_shard, [plan] * len(todo), todo, [shards[number] for number in todo]))
    corpus, drafts = folder / "corpus", folder / "drafts"
    joined: tuple[tuple[Path, type[Any], int], ...] = (
        (corpus / "documents.parquet", Document, 64), (corpus / "spans.parquet", Span, 1024),
        (drafts / "instances.parquet", Instance, plan.shard_items), (drafts / "parts.parquet", Parts, plan.shard_items),
        (drafts / "planted.parquet", Planted, 1024),
    )  # fmt: skip
    for target, model, rows in joined:
        join_tables(target, model, [shard / target.name for shard in shards], rows=rows)
    empty: tuple[tuple[str, type[Any]], ...] = (
        ("figures", Figure), ("studies", Study), ("cases", Case), ("images", ImageBlob),
    )  # fmt: skip
    for name, model in empty:
        write_records(corpus / f"{name}.parquet", model, [])
    write_records(drafts / "images.parquet", ImageBlob, [])
    write_records(drafts / "derivations.parquet", Derivation, [])
    write_jsonl(corpus / "sources.jsonl", [scale_source()])
    write_manifest(corpus, "corpus", sources=[], images=0)
    write_manifest(drafts, "drafts")
    shutil.rmtree(folder.with_name(f"{folder.name}.shards"))


def work(folder: Path, engine: Engine, workers: int) -> None:
    """The measured part, in a process of its own."""
    config = BuildConfig(sources=folder / "sources.yaml", workers=workers)
    with open_run(folder / "run", command="data run", config=config) as run, Crew(engine, workers) as crew:
        run_stages(open_stages(run, config, crew, folder / "corpus"), folder / "drafts", {})


def watched(command: list[str], log: Path) -> tuple[float, float]:
    """Seconds and peak GiB, summed over a process and its children."""
    start, peak = time.monotonic(), 0
    with open(log, "wb") as stream:
        child = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        tree = psutil.Process(child.pid)
        while child.poll() is None:
            peak = max(peak, sum(_memory(process) for process in _family(tree)))
            time.sleep(0.25)
    if child.returncode:
        sys.exit(f"failed, see {log}:\n{log.read_text()[-2000:]}")
    return time.monotonic() - start, peak / 1024**3


def _family(tree: psutil.Process) -> list[psutil.Process]:
    try:
        return [tree, *tree.children(recursive=True)]
    except psutil.Error:
        return []


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _stages(folder: Path) -> Iterator[tuple[str, float]]:
    for line in (folder / "journal.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["event"] == "step finished":
            yield event["step"], event["seconds"]


def measure(folder: Path, plan: ScalePlan, engine: Engine, workers: int) -> dict[str, Any]:
    """One size: prepared, run once from scratch, and what was found of what was planted."""
    prepare(folder, plan)
    shutil.rmtree(folder / "run", ignore_errors=True)
    command = [sys.executable, "-m", "benchmarks.data_scale", "--work", str(folder)]
    command += ["--engine", engine, "--workers", str(workers)]
    wall, peak = watched(command, folder.with_name(f"{folder.name}.log"))
    seconds = dict(_stages(folder / "run"))
    facts = {name: json.loads((folder / "run" / "outputs" / name / "manifest.json").read_bytes()) for name in STAGES}
    released = facts["release"]["counts"]["total"]
    whole = sum(seconds[name] for name in STAGES)
    return {
        "items": plan.items, "released": released, "kept_by_criteria": facts["revised"]["counts"]["kept"],
        "left_out": facts["release"]["left_out"], "splits": facts["release"]["counts"]["split"],
        "seconds": {name: seconds[name] for name in STAGES}, "wall_seconds": round(wall, 1),
        "items_per_second": plan.items / whole, "peak_gib": peak, **found(folder),
    }  # fmt: skip


def found(folder: Path) -> dict[str, Any]:
    """Of the planted pairs of each kind, how many were put into one cluster; look-alikes must not be."""
    file = folder / "run" / "outputs" / "unique" / DUPLICATES_FILE
    cluster = {row.id: row.cluster for row in read_records(file, DuplicateRow)}
    told: dict[str, list[int]] = {"exact": [0, 0], "near": [0, 0], "lookalike": [0, 0]}
    for row in read_records(folder / "drafts" / "planted.parquet", Planted):
        told[row.kind][0] += row.id in cluster and cluster[row.id] == cluster.get(row.original)
        told[row.kind][1] += 1
    return {"planted_found": told}


def main() -> None:
    """Prepare, run and measure each size."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, nargs="+", default=[45_000])
    parser.add_argument("--folder", type=Path, default=Path("runs/data_scale"), help="where the corpora lie")
    parser.add_argument("--out", type=Path, help="where the figures go, as JSON")
    parser.add_argument("--engine", choices=("local", "ray"), default="local")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work, options.engine, options.workers)
        return
    rows = []
    for items in options.items:
        row = measure(options.folder / str(items), ScalePlan(items), options.engine, options.workers)
        row["load"] = os.getloadavg()[0]
        rows.append(row)
        print(
            f"{items} items: {row['items_per_second']:.0f} a second, peak {row['peak_gib']:.2f} GiB, "
            + ", ".join(f"{name} {seconds:.0f} s" for name, seconds in row["seconds"].items()),
            flush=True,
        )
        print(json.dumps(row), flush=True)
    if options.out is not None:
        write_json(options.out, {"data_scale": rows})


if __name__ == "__main__":
    main()
