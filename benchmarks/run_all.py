"""Every measurement of this folder, one after another, and the page of figures made of them.

    python benchmarks/run_all.py --list                   # what there is, and which peers are missing
    python benchmarks/run_all.py                          # `make benchmarks`: all of it; hours
    python benchmarks/run_all.py --only verse phantom     # by script or by run
    python benchmarks/run_all.py --only verse --again     # also where this commit has it

Convention: a run is a file of tests/acceptance/ that starts a script of this folder or a peer; it asks the script,
holds the answer against its bound and records it (`results.py`). Runs are found in the files, not listed here. Each is
a child process with a time limit and a log, `runs/benchmarks/NAME.log`. What is finished is left alone while commit and
peers are the same, so an interrupted `make benchmarks` goes on where it stopped.

Trap: with uncommitted changes nothing counts as finished, since no commit says what was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

# At the end: `bench.py` and `train.py` of this folder must not be found instead of the packages.
sys.path.append(str(Path(__file__).parent))
from results import PAGE, ROOT, current_commit, render

# Scripts that are no measurement, by name, and why.
HELPERS = {
    "results.py": "records figures and renders the page",
    "run_all.py": "starts the others, one by one",
    "pictures*.py": "draws pictures for the pages; somebody looks at them before they are committed",
    "example_cards.py": "writes the example card and datasheet of the documentation",
    "figure_gold*.py": "makes the documents with known figures that the matcher is scored on",
    "figure_scores.py": "scores matched figures for tests/acceptance/test_figures.py",
    "chat_server.py": "the scripted server that clients are measured against",
    "data_scale_items.py": "makes the corpus of data_scale.py and data_duplicates.py",
    "train_mixture.py": "draws the rows of train.py and train_gpu.py",
    "vertebra_direct.py": "the plain loops that vertebra.py is compared with",
}
# Measurements that need something started by hand first: the line that does them.
BY_HAND = {
    "vllm_check.py": "needs a checkpoint and a vLLM that serves it; its first lines say how to start both",
    "measure_coverage.py": "runs all other tests again with tracing: make coverage",
}


@dataclass(frozen=True)
class Run:
    """One file of acceptance tests: its name, the scripts that it starts, and the peers that it compares with."""

    name: str
    file: Path
    scripts: tuple[str, ...]
    peers: tuple[str, ...]


def find_runs(root: Path = ROOT) -> list[Run]:
    """All runs under `root`, by name; a file of tests that starts no script and no peer is none."""
    scripts = {path.name: path for path in sorted((root / "benchmarks").glob("*.py")) if not reason(path.name)}
    peers = [path.stem for path in sorted((root / "benchmarks" / "peers").glob("*.txt"))]
    found = []
    for file in sorted((root / "tests" / "acceptance").glob("test_*.py")):
        text = file.read_text(encoding="utf-8")
        started = tuple(
            name for name in scripts if re.search(rf"\b{re.escape(name)}\b|benchmarks\.{name[:-3]}\b", text)
        )
        whole = text + "".join(scripts[name].read_text(encoding="utf-8") for name in started)
        compared = tuple(name for name in peers if f".env-{name}" in text or (started and f'"{name}"' in whole))
        if started or compared:
            found.append(Run(file.stem.removeprefix("test_"), file, started, compared))
    return found


def reason(script: str) -> str | None:
    """Why a script of this folder is started by no run; None where one has to start it."""
    return next((why for name, why in {**HELPERS, **BY_HAND}.items() if fnmatch(script, name)), None)


def missing_peers(run: Run, root: Path = ROOT) -> list[str]:
    """Peers of a run that have no environment here."""
    return [peer for peer in run.peers if not (root / "benchmarks" / "peers" / f".env-{peer}").is_dir()]


def execute(run: Run, root: Path, folder: Path, limit_s: float) -> dict[str, Any]:
    """Run one file of tests in a child process.

    Returns:
        status (`done`, `failed` or `stopped at the limit`), seconds, passed, failed, and skipped with its reasons.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / f"{run.name}.xml"
    report.unlink(missing_ok=True)
    line = [sys.executable, "-m", "pytest", "-q", "-m", "acceptance", f"--junitxml={report}", str(run.file)]
    start = time.monotonic()
    with open(folder / f"{run.name}.log", "wb") as log:
        child = subprocess.Popen(line, cwd=root, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            status = "done" if child.wait(timeout=limit_s) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "stopped at the limit"
        finally:
            with contextlib.suppress(ProcessLookupError):  # peers and servers that it left behind, or all of it
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    cases = list(ET.parse(report).iter("testcase")) if report.is_file() else []
    skips = [skip for case in cases for skip in case.iter("skipped")]
    failed = sum(1 for case in cases if case.find("failure") is not None or case.find("error") is not None)
    return {
        "status": status,
        "seconds": round(time.monotonic() - start, 1),
        "passed": len(cases) - len(skips) - failed,
        "failed": failed,
        "skipped": sorted({skip.get("message", "") for skip in skips}),
    }


def run_them(
    chosen: list[Run], root: Path, folder: Path, *, commit: str, again: bool = False, limit_s: float = 7200
) -> dict[str, dict[str, Any]]:
    """Run what is not finished, tell how each went, and keep it in `folder`/state.json after every one.

    Args:
        chosen: Runs in their order.
        root: The checkout.
        folder: Where logs and state are kept.
        commit: What is measured; empty, or with changes, nothing counts as finished.
        again: Run also what is finished.
        limit_s: Seconds until a run is stopped.
    """
    state_file = folder / "state.json"
    state: dict[str, Any] = json.loads(state_file.read_bytes()) if state_file.is_file() else {}
    now: dict[str, dict[str, Any]] = {}
    for n, run in enumerate(chosen, 1):
        head = f"[{n}/{len(chosen)}] {run.name}"
        absent = missing_peers(run, root)
        for peer in absent:
            print(f"{head}: without {peer}: make peer NAME={peer}")
        past = state.get(run.name, {})
        same = past.get("commit") == commit and past.get("absent") == absent and past.get("status") == "done"
        if same and commit and "changes" not in commit and not again:
            print(f"{head}: finished at {commit} ({past['seconds']:.0f} s); --again measures it again", flush=True)
            now[run.name] = past
            continue
        print(f"{head}: {', '.join(run.scripts) or run.file.name} ...", flush=True)
        found = {**execute(run, root, folder, limit_s), "commit": commit, "absent": absent}
        print(
            f"{head}: {found['status']}, {found['seconds']:.0f} s, {found['passed']} passed, {found['failed']} failed"
        )
        for why in found["skipped"]:
            print(f"{head}: skipped: {why}")
        if found["status"] != "done":
            print(f"{head}: see {folder / (run.name + '.log')}", flush=True)
        now[run.name] = state[run.name] = found
        temporary = state_file.with_suffix(".tmp")
        temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")
        temporary.replace(state_file)
    return now


def choose(runs: list[Run], names: list[str]) -> list[Run]:
    """Runs of that name or with that script (`verse` or `verse.py`); all of them where no name is given."""
    wanted = {name.removesuffix(".py") for name in names}
    known = {name for run in runs for name in (run.name, *(script[:-3] for script in run.scripts))}
    if wanted - known:
        raise SystemExit(f"no run or script {', '.join(sorted(wanted - known))}; known: {', '.join(sorted(known))}")
    return [run for run in runs if not wanted or wanted & {run.name, *(script[:-3] for script in run.scripts)}]


def main(arguments: list[str] | None = None) -> int:
    """Exit status 1 where a run failed or was stopped."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the runs and stop")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="runs or scripts; all unless given")
    parser.add_argument("--again", action="store_true", help="also what this commit has already")
    parser.add_argument("--limit", type=float, default=120, metavar="MINUTES", help="for one run (default: 120)")
    asked = parser.parse_args(arguments)
    chosen = choose(find_runs(), asked.only)
    if asked.list:
        for run in chosen:
            print(f"{run.name:18} {run.file.relative_to(ROOT)}  {' '.join(run.scripts)}")
            for peer in run.peers:
                gone = peer in missing_peers(run)
                print(f"{'':18}   peer {peer}" + (f": missing: make peer NAME={peer}" if gone else ""))
    else:
        folder = ROOT / "runs" / "benchmarks"
        folder.mkdir(parents=True, exist_ok=True)
        found = run_them(
            chosen, ROOT, folder, commit=current_commit(), again=asked.again, limit_s=60 * asked.limit
        )  # fmt: skip
        PAGE.write_text(render(), encoding="utf-8")
        print(f"rendered {PAGE.relative_to(ROOT)}")
        if any(one["status"] != "done" for one in found.values()):
            return 1
    if not asked.only:
        for script, why in BY_HAND.items():
            print(f"by hand: {script}: {why}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
