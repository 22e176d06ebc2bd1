"""The full figures of what the bundled sources become by rule: rows of all tasks, leaks, traces, exports, defences."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.check_release import check_release, release_rows
from data_pipeline.export import export_release, read_export
from spinemed.tables import read_manifest

pytestmark = pytest.mark.acceptance

ISSUE = "Data pipeline"
CONFIG = "configs/data/samples.yaml"
COMMAND = f"spinemed data run {CONFIG} --out runs/samples"
Record = Callable[..., None]
_OFFLINE = """
import socket, sys
connect = socket.socket.connect
def only_here(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(f"this run has no network, and something asked for {address}")
    return connect(self, address)
socket.socket.connect = socket.socket.connect_ex = only_here
from spinemed.cli import main
main(sys.argv[1:])
"""
"""The command line with sockets that reach nobody but its own children."""


@pytest.fixture(scope="module")
def made(root: Path, work: Path, measured_run: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The run, made once; a finished one is kept."""
    out = work / "samples"
    program = [sys.executable, "-c", _OFFLINE, "data", "run", str(root / CONFIG), "--out", str(out)]
    program += ["--set", "workers=1"]  # in the process whose sockets are refused
    facts = measured_run(program, cwd=root, log=work / "samples.log")
    assert facts["exit_code"] == 0, (work / "samples.log").read_text(encoding="utf-8")[-2000:]
    return {**facts, "out": out, "release": out / "outputs" / "release"}


def test_all_tasks_in_both_forms_offline(made: dict[str, Any], record: Record) -> None:
    rows = list(release_rows(made["release"]))
    tasks = ("multiple_choice", "open", "consultation", "report")
    cells = Counter((row.task, "image" if row.images else "text", row.language) for row in rows)
    told = "; ".join(
        f"{task} "
        + ", ".join(f"{form} {cells[task, form, 'en']} en + {cells[task, form, 'zh']} zh" for form in ("text", "image"))
        for task in tasks
    )
    wanted = [(task, form, language) for task in tasks for form in ("text", "image") for language in ("en", "zh")]
    whole = all(cells[cell] for cell in wanted)
    sources = Counter(row.source_id for row in rows)
    four = sum(number for (task, _, _), number in cells.items() if task in tasks)
    drafts = read_manifest(made["out"] / "outputs" / "drafts", "drafts")
    record(
        ISSUE, 30, "released items of the bundled sources and 160 phantoms, by the rule writer, without a network",
        asked="at least 2,000 verified items of all four tasks in both forms, offline",
        measured=f"{len(rows):,} items, {four:,} of them of the four tasks: {told}", met=len(rows) >= 2000 and whole,
        command=COMMAND,
        note="by source: " + ", ".join(f"{name} {number}" for name, number in sorted(sources.items()))
        + f"; {sum(row.origin == 'phantom' for row in rows):,} show phantoms, which are not patients; "
        f"{len(drafts['criteria_applied'])} rules, each counted in the report; made in {made['seconds']:.0f} s on one "
        f"core, peak {made['peak_gib']:.2f} GiB, every socket but local ones refused",
    )  # fmt: skip
    assert len(rows) >= 2000
    assert whole


def test_no_leak(made: dict[str, Any], record: Record) -> None:
    found = check_release(made["release"])
    followed = ", ".join(f"{number:,} x {kind}" for kind, number in found.examined.items())
    record(
        ISSUE, 31, "leakage between the splits of that release, read from its rows alone", asked="zero",
        measured=f"{len(found.leaks)} leaks, {len(found.faults)} faults", met=found.clean,
        command="spinemed data check runs/samples/outputs/release", note=f"followed through the splits: {followed}",
    )  # fmt: skip
    assert found.clean


def test_every_row_is_traced(made: dict[str, Any], root: Path, record: Record) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spinemed", "data", "trace", "--all", "--run", str(made["out"])],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout.splitlines()[-1]
    record(
        ISSUE, 32, "rows of that release walked back to the bytes of their sources", asked="every link holds",
        measured=said, met=done.returncode == 0, command="spinemed data trace --all --run runs/samples",
    )  # fmt: skip
    assert done.returncode == 0


def test_exports_come_back(made: dict[str, Any], work: Path, record: Record) -> None:
    rows = [
        (row.id, row.split, row.messages, tuple(image.bytes for image in row.images))
        for row in release_rows(made["release"])
    ]
    same = {}
    for layout in ("sharegpt", "llava", "msswift"):
        export_release(made["release"], work / f"samples-{layout}", layout)  # type: ignore[arg-type]
        back = [(row.id, row.split, row.messages, row.images) for row in read_export(work / f"samples-{layout}")]
        same[layout] = back == rows
    record(
        ISSUE, 33, "exports to ShareGPT, LLaVA and ms-swift read back", asked="the same turns and pictures",
        measured=", ".join(f"{name}: {'equal' if equal else 'differs'}" for name, equal in same.items())
        + f" over {len(rows):,} rows", met=all(same.values()),
        command="spinemed data export runs/samples/outputs/release --format llava --out runs/samples-llava",
    )  # fmt: skip
    assert all(same.values())


@pytest.mark.parametrize(
    ("order", "name", "asked", "file", "note"),
    [
        (
            34, "planted instructions in every format that is read, past a server that obeys them",
            "the released item is unchanged or quarantined, by name", "test_injection_written.py",
            "CNXML, MedQuAD, JATS, HTML, Markdown, banks, grade tables, PDF, hospital notes, captions, DICOM fields, "
            "NIfTI headers and side files, VerSe; without the guard the same server does obey",
        ),
        (
            35, "a second host of this machine, counting what reaches it", "no byte that its source forbids, redirects "
            "included", "test_egress.py", "the same host is reached where the source permits it",
        ),
        (
            36, "violations planted against every rule of verification", "each is found", "test_planted_violations.py",
            "one planted violation at least for each criterion, in items that held it before",
        ),
    ],
)  # fmt: skip
def test_defences(root: Path, record: Record, order: int, name: str, asked: str, file: str, note: str) -> None:
    path = f"tests/data_pipeline/{file}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = re.sub(r" in [\d.]+s.*", "", done.stdout.strip().splitlines()[-1]).strip("= ")
    record(
        ISSUE, order, name, asked=asked, measured=f"{said} (tests)", met=done.returncode == 0, command=f"pytest {path}",
        note=note,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_figures_are_of_what_the_release_says(made: dict[str, Any]) -> None:
    told = json.loads((made["release"] / "manifest.json").read_bytes())["counts"]
    assert told["total"] == sum(1 for _ in release_rows(made["release"]))
