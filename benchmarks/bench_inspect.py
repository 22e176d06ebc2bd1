"""The same multiple-choice replies scored here and by inspect_ai: speed, and every verdict that differs.

    make peer NAME=inspect
    python benchmarks/bench_inspect.py [--out FILE.json]

2,000 replies: 1,000 that obey inspect's format ("ANSWER: B" as a line of its own, with or without an explanation before
it), and 1,000 of the grammar that tests the extractor. Both contestants are child processes on the same items; imports
are not timed, inspect's log is written to a scratch folder. Ours builds records, judges and takes an interval; inspect
runs its engine with a mock model, which is the only way it scores given replies, so the ratio is of whole roads and not
of parsers. Rounds alternate; the ratio is of medians.

Made replies, no model: the shares say nothing about anybody.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
ROUNDS = 3


def obedient(count: int, seed: int) -> list[dict[str, Any]]:
    """Replies in the format that inspect asks for."""
    rng, made = random.Random(seed), []
    for number in range(count):
        options = rng.sample(["Disc herniation", "Spinal stenosis", "Discitis", "Metastasis", "Haemangioma"], 4)
        said, target = rng.choice("ABCD"), rng.choice("ABCD")
        before = rng.choice(["", "The canal is narrow.\n\n", "A and C do not fit the picture.\n", "Step by step.\n"])
        reply = f"{before}ANSWER: {said}{rng.choice(['', '.', ' '])}"
        made.append(
            {
                "id": f"o{number}",
                "options": options,
                "target": target,
                "reply": reply,
                "verdict": said,
                "why": "obedient",
            }
        )
    return made


def free(count: int, seed: int) -> list[dict[str, Any]]:
    """Replies of the grammar of the extraction tests, options only."""
    spec = importlib.util.spec_from_file_location("g", ROOT / "tests" / "bench" / "extraction" / "grammar.py")
    assert spec is not None
    assert spec.loader is not None
    grammar = importlib.util.module_from_spec(spec)
    sys.modules["g"] = grammar
    spec.loader.exec_module(grammar)
    rng, made = random.Random(seed), []
    for case in grammar.cases(8 * count, seed):
        if case.kind == "option" and len(made) < count:
            target = case.verdict if case.verdict in "ABCD" and rng.random() < 0.7 else rng.choice("ABCD")
            made.append(
                {"id": f"f{len(made)}", "options": list(case.options), "target": target, "reply": case.reply,
                 "verdict": case.verdict, "why": case.why}
            )  # fmt: skip
    return made


def explain(item: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """Why two verdicts differ."""
    if ours["correct"]:
        if item["verdict"] == theirs["answer"]:
            return "unexplained"
        return (
            "inspect reads the answer of the reasoning or of a withdrawn line"
            if theirs["answer"]
            else "not stated as 'ANSWER: X' (an option's text, a sentence, JSON, a box, Chinese): inspect reads none"
        )
    if theirs["correct"]:
        if item["verdict"] in ("unparsed", "refused", "not determinable"):
            return "the reply states no single answer; inspect takes a letter of it or of reasoning without an end"
        return "inspect takes a letter that the reply gives up, denies or only reasons about"
    return "unexplained"


def main() -> None:
    """Make, run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    items = obedient(1_000, 1) + free(1_000, 2)
    pythons = {"spinemed": sys.executable, "inspect": str(PEERS / ".env-inspect" / "bin" / "python")}
    times: dict[str, list[float]] = {name: [] for name in pythons}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "items.json"
        file.write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
        for _ in range(ROUNDS):
            for name, python in pythons.items():
                out = Path(folder) / f"{name}.json"
                environment = dict(os.environ) | ({"PYTHONPATH": str(ROOT)} if name == "spinemed" else {})
                subprocess.run(
                    [python, str(PEERS / f"{name}_bench.py"), str(file), str(out)],
                    check=True,
                    cwd=folder,
                    env=environment,
                )
                found[name] = json.loads(out.read_bytes())
                times[name].append(found[name]["seconds"])
    ours, theirs = found["spinemed"]["verdicts"], found["inspect"]["verdicts"]
    differing = [item for item in items if ours[item["id"]]["correct"] != theirs[item["id"]]["correct"]]
    reasons = Counter(explain(item, ours[item["id"]], theirs[item["id"]]) for item in differing)
    medians = {name: statistics.median(values) for name, values in times.items()}
    summary = {
        "items": len(items), "inspect_version": found["inspect"]["version"], "seconds": medians,
        "ratio": medians["inspect"] / medians["spinemed"],
        "differing_obedient": sum(item["why"] == "obedient" for item in differing),
        "differing_free": sum(item["why"] != "obedient" for item in differing),
        "reasons": dict(reasons.most_common()),
        "wrong_here": sum(
            (ours[item["id"]]["answer"] or ours[item["id"]]["outcome"]) != item["verdict"] for item in items
        ),
        "wrong_there": sum(
            (theirs[item["id"]]["answer"] or "none") != (item["verdict"] if item["verdict"] in "ABCD" else "none")
            for item in items
        ),
        "load": os.getloadavg()[0],
    }  # fmt: skip
    for item in differing:
        mine, other = ours[item["id"]], theirs[item["id"]]
        print(
            f"{item['id']} {item['reply']!r}: here {mine['answer'] or mine['outcome']}, "
            f"there {other['answer'] or 'none'}; "
            f"{explain(item, mine, other)}"
        )
    print(json.dumps(summary, indent=2, ensure_ascii=False))
    if options.out:
        options.out.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
