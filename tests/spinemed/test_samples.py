"""The bundled samples are exactly the published bytes, each under a licence that allows bundling."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
LICENCES = {"Apache-2.0", "MIT", "CC-BY-4.0", "LicenseRef-CC-BY"}
BOOKKEEPING = {"README.md", "SOURCES.md", ".gitattributes"}
SHA = re.compile(r"[0-9a-f]{64}")


def tables(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of the data table and of the licence-text table, as lists of cells without backticks."""
    rows: tuple[list[list[str]], list[list[str]]] = ([], [])
    for line in text.splitlines():
        if line.startswith("| `"):
            cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split(" | ")]
            rows[cells[0].startswith("LICENSES/")].append(cells)
    return rows


def faults(samples: Path) -> list[str]:
    """All that is wrong with a samples folder, one sentence each."""
    data, texts = tables((samples / "SOURCES.md").read_text(encoding="utf-8"))
    found = []
    listed = {}
    for row in data:
        if len(row) != 10:
            found.append(f"{row[0]}: {len(row)} cells instead of 10")
            continue
        name, origin, commit, path, licence, text, attribution, sha256, size, note = row
        if name in listed:
            found.append(f"{name}: listed twice")
        listed[name] = (sha256, size)
        if licence not in LICENCES:
            found.append(f"{name}: licence {licence!r} may not be bundled")
        if not (samples / "LICENSES" / text).is_file():
            found.append(f"{name}: licence text {text} is missing")
        if not all((origin, path, attribution, note)) or not re.fullmatch(r"[0-9a-f]{7,40}", commit):
            found.append(f"{name}: origin, commit, path, attribution or note is missing")
    for row in texts:
        listed[row[0]] = (row[4], row[5])
    for name, (sha256, size) in listed.items():
        file = samples / name
        if not file.is_file():
            found.append(f"{name}: listed but absent")
            continue
        content = file.read_bytes()
        if not SHA.fullmatch(sha256) or hashlib.sha256(content).hexdigest() != sha256:
            found.append(f"{name}: bytes differ from SOURCES.md")
        if str(len(content)) != size:
            found.append(f"{name}: size differs from SOURCES.md")
    present = {file.relative_to(samples).as_posix() for file in samples.rglob("*") if file.is_file()}
    found += [f"{name}: not listed in SOURCES.md" for name in sorted(present - set(listed) - BOOKKEEPING)]
    return found


def test_every_bundled_file_is_listed_licensed_and_unchanged() -> None:
    data, texts = tables((SAMPLES / "SOURCES.md").read_text(encoding="utf-8"))
    assert len(data) > 40
    assert texts
    assert faults(SAMPLES) == []


def test_samples_stay_small() -> None:
    files = [file for file in SAMPLES.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files if "nano_base" not in file.parts) < 13_000_000
    assert sum(file.stat().st_size for file in files if "nano_base" in file.parts) < 12_000_000


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda s: (s / "text" / "new.xml").write_text("<a/>"), "not listed"),
        (lambda s: (s / "text/medquad/3_GHR_QA_0000023.xml").write_text("<a/>"), "bytes differ"),
        (lambda s: (s / "text/medquad/3_GHR_QA_0000023.xml").unlink(), "absent"),
        (lambda s: (s / "LICENSES/MedQuAD_CC-BY-4.0.txt").unlink(), "licence text"),
        (
            lambda s: (s / "SOURCES.md").write_text(
                (s / "SOURCES.md").read_text(encoding="utf-8").replace("| CC-BY-4.0 |", "| CC-BY-NC-SA-4.0 |"),
                encoding="utf-8",
            ),
            "may not be bundled",
        ),
    ],
    ids=["unlisted", "changed", "absent", "no licence text", "wrong licence"],
)
def test_a_spoiled_samples_folder_is_noticed(tmp_path: Path, spoil, complaint: str) -> None:
    copy = tmp_path / "samples"
    shutil.copytree(SAMPLES, copy)
    assert faults(copy) == []
    spoil(copy)
    assert any(complaint in fault for fault in faults(copy))
