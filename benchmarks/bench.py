"""One million predictions scored with all statistics on two cores: seconds and memory.

    python benchmarks/bench.py [--samples 10000] [--models 100] [--workers 2] [--work DIR] [--out FILE.json]

The samples (four questions for each phantom spine: a vertebra, a disc, four options, a category) and the replies are
made first, with a seed; making them is not timed. The replies vary as those of models do: bare, declared, boxed, with
reasoning, with a confidence, some unreadable, some refused. Timed is `spinemed bench rank` as a child process, from
reading the files to the finished leaderboard: extraction, verdicts, intervals, ranks, comparisons with the leader,
levels and their breakdown, confidence figures. Memory is the largest sum over the process tree.

Made replies, no model and no patient: the leaderboard itself says nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
VERTEBRAE = [f"T{n}" for n in range(6, 13)] + [f"L{n}" for n in range(1, 6)]
DISCS = ["T11/12", "T12/L1", "L1/2", "L2/3", "L3/4", "L4/5", "L5/S1"]
CATEGORIES = ["none", "wedge", "crush", "biconcave"]
FINDINGS = [
    "Disc herniation", "Spinal stenosis", "Spondylolisthesis", "Compression fracture", "Haemangioma",
    "Facet arthropathy", "Scheuermann disease", "Metastasis", "Discitis", "Schmorl node",
]  # fmt: skip


def make_samples(folder: Path, count: int, seed: int) -> list[dict[str, object]]:
    """Write a samples folder; the samples are returned as plain values."""
    from spinemed.records import Sample
    from spinemed.tables import write_jsonl, write_manifest

    rng = np.random.default_rng(seed)
    made: list[dict[str, object]] = []
    for number in range(count):
        spine, part = divmod(number, 4)
        facts: dict[str, object] = {
            "id": f"q{number:06d}", "messages": [{"role": "user", "content": f"Question {number}?"}], "images": [],
            "cluster": f"phantom-{spine:05d}", "origin": "phantom", "source_id": "bench",
        }  # fmt: skip
        if part == 0:
            facts |= {"axis": "level_identification", "task": "level", "answer_kind": "level",
                      "answer": str(rng.choice(VERTEBRAE))}  # fmt: skip
        elif part == 1:
            facts |= {"axis": "level_identification", "task": "level", "answer_kind": "disc",
                      "answer": str(rng.choice(DISCS))}  # fmt: skip
        elif part == 2:
            texts = rng.choice(FINDINGS, size=4, replace=False)
            facts |= {"axis": "pathology", "task": "multiple_choice", "answer_kind": "option",
                      "answer": str(rng.choice(list("ABCD"))),
                      "options": [{"key": key, "text": str(text)}
                                  for key, text in zip("ABCD", texts, strict=True)]}  # fmt: skip
        else:
            facts |= {"axis": "pathology", "task": "category", "answer_kind": "category", "categories": CATEGORIES,
                      "answer": str(rng.choice(CATEGORIES))}  # fmt: skip
        made.append(facts)
    folder.mkdir(parents=True)
    write_jsonl(folder / "samples.jsonl", [Sample.model_validate(facts) for facts in made])
    write_manifest(folder, "samples", release_sha256="0" * 64, split="test", samples=count)
    return made


FORMS = (
    "{0}", "{0}.", "Answer: {0}", "The answer is {0}.", "**Answer:** {0}", "\\boxed{{{0}}}", '{{"answer": "{0}"}}',
    "<think>The spine is counted from the sacrum.</think>\n{0}", "答案：{0}", "Final answer: {0}. Confidence: {1}%",
    "The canal is narrow and the plates are intact. The answer is {0} because the other options do not fit.",
    "{0} ({1}% sure)",
)  # fmt: skip


def make_predictions(file: Path, samples: list[dict[str, object]], model: int, seed: int) -> None:
    """One model's replies: its skill, its habits and its luck with each spine come from the seed."""
    rng = np.random.default_rng([seed, model])
    skill = 0.25 + 0.6 * model / 100
    luck = rng.normal(0, 0.15, size=len(samples) // 4 + 1)
    draws = rng.random((len(samples), 3))
    forms = rng.integers(0, len(FORMS), size=len(samples))
    habit = rng.random() < 0.5
    pools = {"level": VERTEBRAE, "disc": DISCS, "option": list("ABCD"), "category": CATEGORIES}
    lines = []
    for number, sample in enumerate(samples):
        pool = pools[str(sample["answer_kind"])]
        right = draws[number, 0] < skill + luck[number // 4]
        said = sample["answer"] if right else pool[int(draws[number, 1] * len(pool))]
        form = FORMS[0 if habit and draws[number, 2] < 0.7 else forms[number]]
        text = form.format(said, int(50 + 49 * draws[number, 1]))
        outcome = "answered"
        if draws[number, 2] > 0.97:
            text = "I see a spine with several vertebrae and discs of ordinary height."
        elif draws[number, 2] > 0.96:
            text = "I'm sorry, I can't help with medical images."
        elif draws[number, 2] > 0.955:
            text, outcome = "", "timed_out"
        lines.append(
            json.dumps(
                {"sample_id": sample["id"], "model": f"model-{model:03d}", "condition": "full", "outcome": outcome,
                 "text": text, "detail": "", "request_sha256": "0" * 64},
                ensure_ascii=False,
            )
        )  # fmt: skip
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def measure(command: list[str]) -> dict[str, float]:
    """Wall seconds, processor seconds and peak memory of a command's process tree."""
    start, peak, spent = time.monotonic(), 0, {}
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    tree = psutil.Process(child.pid)
    while child.poll() is None:
        total = 0
        try:
            for process in (tree, *tree.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                    times = process.cpu_times()
                    spent[process.pid] = times.user + times.system
                except psutil.Error:
                    continue
        except psutil.Error:
            pass
        peak = max(peak, total)
        time.sleep(0.1)
    if child.returncode:
        raise SystemExit(f"the command failed with {child.returncode}")
    return {"seconds": time.monotonic() - start, "cpu_seconds": sum(spent.values()), "peak_gib": peak / 1024**3}


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--work", type=Path, default=None, help="kept between runs, so that nothing is made twice")
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        made = work / f"{options.samples}-{options.models}"
        if not (made / "done").is_file():
            samples = make_samples(made / "samples", options.samples, seed=0)
            for model in range(options.models):
                make_predictions(made / f"model-{model:03d}.jsonl", samples, model, seed=0)
            (made / "done").touch()
        files = [str(made / f"model-{model:03d}.jsonl") for model in range(options.models)]
        command = [sys.executable, "-m", "spinemed", "bench", "rank", "--samples", str(made / "samples"), "--out",
                   str(work / "board"), "--workers", str(options.workers),
                   "--resamples", str(options.resamples)]  # fmt: skip
        for file in files:
            command += ["--predictions", file]
        found: dict[str, float] = {"predictions": options.samples * options.models, "workers": options.workers}
        found |= measure(command)
        board = json.loads((work / "board" / "leaderboard.json").read_bytes())
        counted = sum(sum(system["outcomes"].values()) for system in board["systems"])
        if counted != found["predictions"]:
            raise SystemExit(f"{counted} verdicts for {found['predictions']} predictions")
    found["microseconds_a_prediction"] = 1e6 * found["cpu_seconds"] / found["predictions"]
    found["load"] = os.getloadavg()[0]
    print(json.dumps(found, indent=2))
    if options.out:
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
