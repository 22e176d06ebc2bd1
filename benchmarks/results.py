"""Figures measured by `make acceptance` or `make benchmarks`, and the page made of them.

Convention: a check records each figure as one JSON file under `benchmarks/figures/`, with what was asked, what came
out, the command, the machine and the versions; `RESULTS.md` is rendered from these files and never written by hand.

    python benchmarks/results.py        # render RESULTS.md again
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "benchmarks" / "figures"
PAGE = ROOT / "benchmarks" / "RESULTS.md"
UNKNOWN = "not recorded"
# What measuring itself writes: no change of what is measured.
WRITTEN = ("benchmarks/figures", "benchmarks/RESULTS.md", "benchmarks/motion_levels.md")


def current_commit() -> str:
    """The commit of the checkout, ` with changes` where files that git knows differ from it; empty outside git."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return ""
        return done.stdout.strip()

    commit = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", *(f":!{path}" for path in WRITTEN))
    return f"{commit} with changes" if commit and changed else commit


def machine() -> str:
    """Processor, cores and memory in one line, and GPUs where there are any, without host names."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    line = f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"
    if shutil.which("nvidia-smi"):
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        names = [name.strip() for name in done.stdout.splitlines() if name.strip()] if done.returncode == 0 else []
        line += "".join(f", {names.count(name)} x {name}" for name in sorted(set(names)))
    return line


def record(
    issue: str, order: int, name: str, *, asked: str, measured: str, met: bool | None, command: str, note: str = ""
) -> None:
    """Write one figure.

    Args:
        issue: Short title that groups figures, e.g. `The standing house`.
        order: Place within the group.
        name: What was measured.
        asked: The line of "Done when" it answers, with its bound.
        measured: The value with unit, n and interval.
        met: Whether the bound holds; None where there is no bound.
        command: What to type to measure it again.
        note: Load of the machine, what was tried, what it does not show.
    """
    from spinemed.run import versions
    from spinemed.tables import write_json

    slug = "".join(letter if letter.isalnum() else "-" for letter in f"{issue} {order:02d} {name}".lower())
    facts: dict[str, Any] = {
        "issue": issue,
        "order": order,
        "name": name,
        "asked": asked,
        "measured": measured,
        "met": None if met is None else bool(met),
        "command": command,
        "note": note,
        "machine": machine(),
        "versions": versions(),
        "commit": current_commit(),
    }
    write_json(FIGURES / f"{slug}.json", facts)


def peers() -> dict[str, str]:
    """What `peers/NAME.txt` pins first, the peer itself, by NAME."""
    pins = {}
    for file in sorted((ROOT / "benchmarks" / "peers").glob("*.txt")):
        found = re.search(r"^[\w.-]+(?:\[[\w,-]+\])?==\S+", file.read_text(encoding="utf-8"), re.M)
        pins[file.stem] = found[0] if found else UNKNOWN
    return pins


def render() -> str:
    """RESULTS.md as text."""
    figures = [json.loads(path.read_bytes()) for path in sorted(FIGURES.glob("*.json"))]
    lines = [
        "# Measured figures",
        "",
        "Made by `make acceptance` and `make benchmarks`; not written by hand. Research use only. Phantoms are not",
        "patients. A bound that is missed is printed as missed. `commit` is the code that was measured; machine and",
        "versions stand below each table. Where a time is a median, the row says so.",
        "",
        "Peers, in environments of their own (`make peer NAME=...`): "
        + ", ".join(f"{name} ({pin})" for name, pin in peers().items())
        + ".",
    ]
    for issue in sorted({figure["issue"] for figure in figures}):
        lines += [
            "",
            f"## {issue}",
            "",
            "| what | asked | measured | met | command | note | commit |",
            "|---|---|---|---|---|---|---|",
        ]
        mine = sorted((f for f in figures if f["issue"] == issue), key=lambda f: (f["order"], f["name"]))
        for figure in mine:
            met = {True: "yes", False: "**no**", None: "–"}[figure["met"]]
            cells = (
                figure["name"], figure["asked"], figure["measured"], met, f"`{figure['command']}`", figure["note"],
                figure.get("commit") or UNKNOWN,
            )  # fmt: skip
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
        settings = {(f.get("machine") or UNKNOWN, json.dumps(f.get("versions") or {}, sort_keys=True)) for f in mine}
        for where, numbers in sorted(settings):
            named = ", ".join(f"{name} {number}" for name, number in json.loads(numbers).items())
            lines += ["", f"Machine: {where}. Versions: {named or UNKNOWN}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(PAGE)
