"""How fast data are generated, against what a server could give and against a peer on the same prompts in the same run.

    make peer NAME=distilabel
    python benchmarks/data_pipeline.py [--out FILE.json] [--rounds 3] [--alone]

Requests: a server in a process of its own (benchmarks/chat_server.py) answers each request after 200 ms, by 64 slots at
once, so it can give 320 replies a second. Its own clock says when each reply left. The first 500 replies are the ramp,
the next 5,000 are the steady state, the rest runs out. The contestants take turns, each in a process of its own, with
64 requests under way; the figure is the median over rounds.

What the machine does besides falls on all of them, but not alike: `cpu_wait_seconds` is how long our client was ready
and had no core. A rate measured while that is a large part of the wall time is a figure of the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
LATENCY_S, SLOTS = 0.2, 64
RAMP, STEADY, TAIL = 500, 5000, 100
SENTENCE = "The marked vertebra lies below the last rib, and its body is lower in front than behind. "


def prompts(start: int) -> list[str]:
    """As many different texts of about 150 tokens as one contestant asks in one round."""
    return [f"Case {start + n}. {SENTENCE * 6}Which level is it?" for n in range(RAMP + STEADY + TAIL)]


def fetch(port: int, path: str) -> Any:
    """What the server counted."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}/{path}", timeout=60) as answer:
        return json.load(answer)


def steady_rate(times: list[float]) -> float:
    """Replies per second over the steady part of what the server's clock says."""
    part = sorted(times)[RAMP : RAMP + STEADY + 1]
    return (len(part) - 1) / (part[-1] - part[0])


def run_one(python: Path, script: str, port: int, texts: list[str], folder: Path) -> dict[str, Any]:
    """One contestant, once."""
    given, result = folder / "prompts.json", folder / "result.json"
    given.write_text(json.dumps(texts))
    result.unlink(missing_ok=True)
    fetch(port, "times")
    subprocess.run(
        [str(python), str(PEERS / script), f"http://127.0.0.1:{port}/v1", str(given), str(result), str(SLOTS)],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={**os.environ, "HF_HOME": str(folder / "hf")},
    )
    most = fetch(port, "stats")["most"]
    times = fetch(port, "times")
    found = dict(json.loads(result.read_bytes()))
    if found["answered"] != len(texts) or len(times) != len(texts):
        raise SystemExit(f"{found['name']}: {found['answered']} answers, {len(times)} replies, {len(texts)} prompts")
    cpu_ms = 1e3 * found["cpu_seconds"] / len(texts)
    return {**found, "replies_per_second": steady_rate(times), "cpu_ms": cpu_ms, "most_under_way": most}


def requests_per_second(rounds: int, alone: bool) -> list[dict[str, Any]]:
    """Every contestant in turns; one row each, with medians over rounds."""
    contestants = {"spinemed": Path(sys.executable), "distilabel": PEERS / ".env-distilabel" / "bin" / "python"}
    if alone:
        del contestants["distilabel"]
    missing = [name for name, python in contestants.items() if not python.exists()]
    if missing:
        raise SystemExit(f"no environment for {missing[0]}: make peer NAME={missing[0]}, or --alone")
    program = [sys.executable, str(ROOT / "benchmarks" / "chat_server.py")]
    server = subprocess.Popen(
        [*program, "--latency", str(LATENCY_S), "--slots", str(SLOTS)], stdout=subprocess.PIPE, text=True
    )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in contestants}
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().split()[1])
        with tempfile.TemporaryDirectory() as folder:
            for number in range(rounds):
                for name, python in contestants.items():
                    texts = prompts(number * 10**6)
                    runs[name].append(run_one(python, f"{name}_chat.py", port, texts, Path(folder)))
    finally:
        server.kill()
        server.wait()
    rows = []
    for name, found in runs.items():
        keys = ("replies_per_second", "cpu_ms", "wall_seconds", "most_under_way")
        row: dict[str, Any] = {"name": name, "version": found[0]["version"], "rounds": rounds}
        row |= {key: statistics.median(each[key] for each in found) for key in keys}
        row["share_of_possible"] = row["replies_per_second"] / (SLOTS / LATENCY_S)
        if name == "spinemed":
            row["cpu_wait_share"] = statistics.median(e["cpu_wait_seconds"] / e["wall_seconds"] for e in found)
        rows.append(row)
    for row in rows[1:]:
        row["ratio"] = rows[0]["replies_per_second"] / row["replies_per_second"]
    return rows


def main() -> None:
    """Measure, print, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without the peer")
    chosen = parser.parse_args()
    rows = requests_per_second(chosen.rounds, chosen.alone)
    for row in rows:
        print(json.dumps(row))
    if chosen.out:
        chosen.out.write_text(json.dumps({"requests": rows}))


if __name__ == "__main__":
    main()
