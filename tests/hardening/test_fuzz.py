"""Every reader of files on damaged ones: read, or refused by an error that names the file and a cure; nothing else.

One process reads them all, in workers with limits on time and memory; `tests/hardening/fuzz` says how to make one input
again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FUZZ = Path(__file__).parent / "fuzz"
COUNT = 200
READERS = [
    "nifti",
    "mask",
    "nifti-source",
    "dicom",
    "dicom-source",
    "picture",
    "picture-source",
    "cnxml",
    "medquad",
    "jats",
    "html",
    "markdown",
    "pdf",
    "bank",
    "captions",
    "grades",
    "c3d",
    "trc",
    "mot",
    "skeleton",
    "keypoints-json",
    "keypoints-arrays",
    "jsonl",
    "predictions",
    "parquet",
    "manifest",
    "centroids",
    "nnunet",
    "grades-reference",
    "engines",
    "importers",
    "configs",
    "sources",
    "tool-arguments",
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    out = tmp_path_factory.mktemp("fuzz")
    done = subprocess.run(
        [sys.executable, str(FUZZ), "all", "--count", str(COUNT), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert found, done.stderr[-2000:]
    return {report["reader"]: report for report in found}


@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_file_is_read_or_refused_by_name(reader: str, reports: dict[str, dict[str, Any]]) -> None:
    report = reports[reader]
    told = [f"{fault['input']} ({fault['how'][:80]}): {fault['outcome']}: {fault['detail'][:300]}"
            for fault in report["faults"]]  # fmt: skip
    assert not told, f"python tests/hardening/fuzz {reader} --only N\n" + "\n".join(told[:5])
    assert report["read"] + report["refused"] + report["contained"] == COUNT
    assert report["read"] > 0


def test_no_reader_goes_untested(reports: dict[str, dict[str, Any]]) -> None:
    assert set(reports) == set(READERS)
