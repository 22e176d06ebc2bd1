"""Figures measured by `make acceptance`, and the page made of them.

Convention: a check records each figure as one JSON file under `benchmarks/figures/`, with what was asked, what came
out, the command, the machine and the versions; `RESULTS.md` is rendered from these files and never written by hand.

    python benchmarks/results.py        # render RESULTS.md again
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "benchmarks" / "figures"
PAGE = ROOT / "benchmarks" / "RESULTS.md"


def machine() -> str:
    """Processor, cores and memory in one line, without host names."""
    model = "unknown processor"
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


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

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
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
        "commit": commit.stdout.strip(),
    }
    write_json(FIGURES / f"{slug}.json", facts)


def render() -> str:
    """RESULTS.md as text."""
    figures = [json.loads(path.read_bytes()) for path in sorted(FIGURES.glob("*.json"))]
    lines = [
        "# Measured figures",
        "",
        "Made by `make acceptance`; not written by hand. Research use only. Phantoms are not patients.",
        "A bound that is missed is printed as missed.",
    ]
    for issue in sorted({figure["issue"] for figure in figures}):
        lines += [
            "",
            f"## {issue}",
            "",
            "| what | asked | measured | met | command | note |",
            "|---|---|---|---|---|---|",
        ]
        mine = sorted((f for f in figures if f["issue"] == issue), key=lambda f: (f["order"], f["name"]))
        for figure in mine:
            met = {True: "yes", False: "**no**", None: "–"}[figure["met"]]
            cells = (figure["name"], figure["asked"], figure["measured"], met, f"`{figure['command']}`", figure["note"])
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
        for facts in sorted({(f["machine"], json.dumps(f["versions"], sort_keys=True)) for f in mine}):
            named = ", ".join(f"{name} {number}" for name, number in json.loads(facts[1]).items())
            lines += ["", f"Machine: {facts[0]}. Versions: {named}."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
    print(PAGE)
