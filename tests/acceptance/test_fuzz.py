"""The full figures of hardening: 10,000 damaged files for every reader, in blocks that are kept and resumed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.acceptance

ISSUE = "One product"
COUNT, BLOCK = 10_000, 1_000
GROUPS = {
    "NIfTI": ("nifti", "mask", "nifti-source"),
    "DICOM": ("dicom", "dicom-source"),
    "PDF": ("pdf",),
    "XML and HTML (CNXML, JATS, MedQuAD, pages)": ("cnxml", "medquad", "jats", "html", "markdown"),
    "C3D": ("c3d",),
    "other motion files": ("trc", "mot", "skeleton", "keypoints-json", "keypoints-arrays"),
    "JSON lines and JSON": ("jsonl", "predictions", "manifest", "centroids", "nnunet"),
    "Parquet": ("parquet",),
    "configs, sources, arguments of tools": ("configs", "sources", "tool-arguments"),
    "pictures, banks, grades, other programs' tables": (
        "picture", "picture-source", "bank", "captions", "grades", "grades-reference", "engines", "importers",
    ),
}  # fmt: skip


def block(root: Path, kept: Path, reader: str, first: int) -> dict[str, Any]:
    """One block of one reader: from its file, or run now."""
    file = kept / f"{reader}-{first}.json"
    if not file.is_file():
        done = subprocess.run(
            [sys.executable, str(root / "tests/hardening/fuzz"), reader, "--seed", "11", "--first", str(first),
             "--count", str(BLOCK), "--out", str(kept / "inputs")],
            capture_output=True, text=True, check=False, timeout=7200,
        )  # fmt: skip
        assert done.stdout.startswith("{"), done.stderr[-2000:]
        file.write_text(done.stdout)
    return dict(json.loads(file.read_text()))


@pytest.mark.parametrize("group", list(GROUPS))
def test_ten_thousand_damaged_files(group: str, root: Path, work: Path, record: Callable[..., None]) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
    kept = work / "fuzz" / commit.stdout.strip()[:12]
    kept.mkdir(parents=True, exist_ok=True)
    reports = [block(root, kept, reader, first) for reader in GROUPS[group] for first in range(0, COUNT, BLOCK)]
    faults = [fault for report in reports for fault in report["faults"]]
    total = {name: sum(report[name] for report in reports) for name in ("count", "read", "refused", "contained")}
    slowest, peak = max(r["slowest_s"] for r in reports), max(r["peak_mib"] for r in reports)
    record(
        ISSUE, 50 + list(GROUPS).index(group), f"damaged files: {group}",
        asked="≥ 10,000 each: no crash without a named error, no hang, no memory beyond a limit",
        measured=f"{len(faults)} faults of {total['count']:,} ({total['read']:,} read, {total['refused']:,} refused by "
        f"name, {total['contained']:,} ended a sandboxed parser and were counted); slowest {slowest:.2f} s, "
        f"peak {peak:.0f} MiB above the start",
        met=not faults and total["count"] >= COUNT * len(GROUPS[group]),
        command="python -m pytest -m acceptance tests/acceptance/test_fuzz.py",
        note=f"readers: {', '.join(GROUPS[group])}; limits of each input: 5 s of processor time, 1 GiB above the start",
    )  # fmt: skip
    assert not faults, faults[:3]
