"""Headers on every level of nesting, UIDs and dates that stay consistent, and an export from end to end."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.deidentify import CaseIdentity, DeidKey, deidentify_export, read_key, write_key
from data_pipeline.deidentify.headers import clean_header
from data_pipeline.deidentify.planted_headers import planted_headers, score_headers
from spinemed.errors import ReadError

KEY = DeidKey(b"k" * 32)


def a_planted_header(root: Path, seed: int = 5) -> Any:
    planted = root / "tests" / "data_pipeline" / "planted"
    return next(planted_headers(planted / "headers.yaml", planted / "values.yaml", number=1, seed=seed))[0]


def test_recall_on_planted_headers(root: Path) -> None:
    planted = root / "tests" / "data_pipeline" / "planted"
    recall = score_headers(planted_headers(planted / "headers.yaml", planted / "values.yaml", number=2, seed=9), KEY)
    found, of, _, _ = recall.share("known")
    assert of > 150
    assert found / of >= 0.99, recall.missed


def test_uids_map_alike_in_all_files_and_differently_under_another_key(root: Path) -> None:
    first, second, other = (a_planted_header(root) for _ in range(3))
    clean_header(first, CaseIdentity(), KEY, "p", id_="1")
    clean_header(second, CaseIdentity(), KEY, "p", id_="2")
    clean_header(other, CaseIdentity(), DeidKey(b"o" * 32), "p", id_="3")
    assert first.StudyInstanceUID == second.StudyInstanceUID != other.StudyInstanceUID
    assert str(first.StudyInstanceUID).startswith("2.25.")
    assert len(first.StudyInstanceUID) <= 64
    assert first.SOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert first.PatientAge == "090Y"
    assert first.PatientIdentityRemoved == "NO"  # the pixels were not looked at yet


def test_damaged_and_odd_values_neither_warn_nor_survive(root: Path) -> None:
    dataset = a_planted_header(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.add_new("ReferencedPerformedProcedureStepSequence", "SQ", [])
        dataset.StudyDate = "Weatherby"
        dataset.add_new(0x00181030, "LO", ["T2 Weatherby", "SAG"])
    clean_header(dataset, CaseIdentity({"name": ("Weatherby",)}), KEY, "p", id_="1")
    assert "weatherby" not in str(dataset).lower()


def test_a_key_is_written_once_and_refused_when_others_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "project.key"
    write_key(path)
    with pytest.raises(ReadError, match="no key can be written"):
        write_key(path)
    read_key(path)
    os.chmod(path, 0o644)
    with pytest.raises(ReadError, match="read by others"):
        read_key(path)


class Finder:
    """Finds what is brighter than 250: a stand-in for an OCR engine."""

    name = "bright pixels"

    def find(self, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
        rows, columns = np.nonzero(pixels > 250)
        return [(rows.min(), rows.max() + 1, columns.min(), columns.max() + 1)] if rows.size > 3 else []


@pytest.fixture
def export(tmp_path: Path, root: Path) -> Path:
    home = tmp_path / "export" / "Weatherby_Jonathan"
    home.mkdir(parents=True)
    (home / "registration.csv").write_text("name,record_number,sex,age\nJonathan Weatherby,MR-7788991,M,93\n")
    (home / "2019-03-12_history.txt").write_text("Mr. Weatherby has had back pain since 2 January 2019. L4-L5 disc.")
    (home / "2019-04-02_imaging_report.txt").write_text("T12 wedge fracture. With Ottilie Brandauer as escort.")
    (home / "2019-05-02_follow_up.txt").write_text("Weatherby is well.")
    dataset = a_planted_header(root)
    dataset.PatientName, dataset.BodyPartExamined, dataset.SeriesDescription = "Weatherby^Jonathan", "LSPINE", "AX"
    dataset.Rows = dataset.Columns = 40
    pixels = np.random.default_rng(0).integers(0, 500, (40, 40), dtype=np.int16)
    pixels[3:8, 3:20] = 4000
    dataset.PixelData = pixels.tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(home / "one.dcm", enforce_file_format=True)
    (home / "two.dcm").write_bytes((home / "one.dcm").read_bytes()[:700])
    second = tmp_path / "export" / "x"
    second.mkdir()
    (second / "registration.csv").write_text("name,sex\nMary Doe,F\n")
    return tmp_path / "export"


def everything(folder: Path) -> str:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = " ".join(path.relative_to(folder).as_posix() for path in files)
    return names + "".join(path.read_bytes().decode("latin-1") for path in files)


def test_an_export_leaves_nobody_and_holds_back_what_is_in_doubt(export: Path, tmp_path: Path) -> None:
    report = deidentify_export(export, tmp_path / "out", KEY, site="site-01", finder=Finder())
    counts = report["counts"]
    assert (counts["patients"], counts["patients held: unreadable"]) == (2, 1)
    assert (counts["notes kept"], counts["notes held"]) == (2, 1)
    assert (counts["images kept"], counts["images held: damaged, or no image"]) == (1, 1)
    text = everything(tmp_path / "out" / "cases").lower() + everything(tmp_path / "out" / "deid.jsonl").lower()
    for word in ("weatherby", "jonathan", "7788991", "2019", "brandauer"):
        assert word not in text
    case = json.loads(next((tmp_path / "out" / "cases").glob("*/case.json")).read_text())
    assert case["age_band"] == "90+"
    assert [event["day"] for event in case["events"]] == [0, 51]  # the held note's day is not told
    assert (tmp_path / "out" / "held").stat().st_mode & 0o077 == 0
    import pydicom

    image = pydicom.dcmread(next((tmp_path / "out" / "cases").glob("*/images/*.dcm")))
    assert image.pixel_array[3:8, 3:20].max() < 4000
    assert image.PatientIdentityRemoved == "YES"


def test_without_a_text_finder_no_picture_leaves(export: Path, tmp_path: Path) -> None:
    report = deidentify_export(export, tmp_path / "out", KEY, site="site-01", finder=None)
    assert "images kept" not in report["counts"]
    assert not list((tmp_path / "out" / "cases").glob("*/images/*"))


def test_a_sign_off_lets_exactly_these_bytes_pass(export: Path, tmp_path: Path) -> None:
    from data_pipeline.deidentify import DeidRecord, SignOff
    from spinemed.tables import read_jsonl

    deidentify_export(export, tmp_path / "out", KEY, site="site-01", finder=Finder())
    held = [r for r in read_jsonl(tmp_path / "out" / "deid.jsonl", DeidRecord) if r.status == "review"]
    decision = SignOff(
        result_sha256=held[0].result_sha256,
        decision="clean",
        role="data manager",
        date="2026-01-05",
        reason="fictional",
    )
    report = deidentify_export(export, tmp_path / "out", KEY, site="site-01", finder=Finder(), decisions=[decision])
    assert report["counts"]["notes kept"] == 3


def test_a_broken_table_is_refused_without_a_word_of_it(tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_bytes("name,record_number\nWeatherby,1\n".encode("utf-16"))
    with pytest.raises(ReadError) as caught:
        deidentify_export(tmp_path, tmp_path / "out", KEY, site="site-01", finder=None)
    assert "Weatherby" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_held(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from spinemed.cli import main

    monkeypatch.setattr("data_pipeline.deidentify.pixels.default_finder", lambda: None)
    command = [
        "data",
        "deidentify",
        str(export),
        "--out",
        str(tmp_path / "o"),
        "--key",
        str(tmp_path / "k"),
        "--new-key",
    ]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "no text finder" in shown
    assert "notes held" in shown
    assert "Weatherby" not in shown
