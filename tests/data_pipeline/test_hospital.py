"""A made-up hospital from export to timeline: what is asked for first, what each sentence is, and how a case leaves."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.corpus import _require_cases, read_corpus
from data_pipeline.deidentify import DeidKey, deidentify_export
from data_pipeline.readers import read_source
from data_pipeline.readers.hospital import sentences
from data_pipeline.sources import read_sources
from data_pipeline.withdraw import find_checkpoints, find_others, withdraw_case
from spinemed.cli import main
from spinemed.errors import ReadError, RecordError, SourceError
from spinemed.records import Source

KEY = DeidKey(b"h" * 32)
BASIS = {"approval": "none needed: nobody exists", "agreement": "DUA-0", "retention_until": "2031-12-31"}
ENTRY = {
    "id": "hospital", "kind": "hospital", "licence": "Apache-2.0", "allowed_use": ["train"], "origin": "phantom",
    "attribution": "SpineMed", "patients": BASIS, "options": {"most_slices": 0},
}  # fmt: skip


class NothingWritten:
    """The phantoms carry no text; a stand-in for an OCR engine that says so."""

    name = "phantoms without text"

    def find(self, pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
        return []


@pytest.fixture(scope="module")
def cleared(samples: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hospital") / "clean"
    deidentify_export(samples / "hospital" / "export", out, KEY, site="site-00", finder=NothingWritten())
    return out


@pytest.fixture
def own(cleared: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cleared, tmp_path / "clean"))


def entry(path: Path, **changes: Any) -> Source:
    return Source.model_validate({**ENTRY, "path": str(path), **changes})


def test_the_bundled_export_is_what_the_script_writes(samples: Path, tmp_path: Path) -> None:
    from data_pipeline.synthetic_hospital import write_hospital

    write_hospital(tmp_path)
    for name in ("patients.csv", "notes.csv"):
        assert (tmp_path / "export" / name).read_bytes() == (samples / "hospital" / "export" / name).read_bytes()


def test_ten_cases_become_timelines_with_an_id_for_every_sentence(cleared: Path, samples: Path) -> None:
    reading = read_source(entry(cleared), cleared)
    assert (len(reading.cases), reading.kept["note"]) == (10, 50)
    spans = {span.id: span for span in reading.spans}
    for case in reading.cases:
        assert [event.kind for event in case.events] == [
            "history",
            "examination",
            "imaging_report",
            "operation_note",
            "follow_up",
        ]
        assert [event.day for event in case.events] == [0, 0, 2, 9, 95]
        assert all(spans[name].document_id == case.document_id for event in case.events for name in event.span_ids)
    assert {case.language for case in reading.cases} == {"en", "zh"}
    assert len({span.locator for span in reading.spans if span.document_id == reading.cases[0].document_id}) > 12
    text = "\n".join(document.text for document in reading.documents)
    patients = samples / "hospital" / "export" / "patients.csv"
    for line in patients.read_text(encoding="utf-8").splitlines()[1:]:
        name, record = line.split(",")[:2]
        assert record not in text
        assert not [part for part in name.split() if part in text and part != "Cobb"]
    assert "Cobb" in text  # other patients' angles; Edmund Cobb's own report lost the name
    for level in ("L4/5", "T12", "C5/6", "L5/S1", "Pfirrmann"):
        assert level in text


def test_images_join_their_case(own: Path) -> None:
    for folder in sorted((own / "cases").iterdir())[2:]:
        shutil.rmtree(folder)
    from spinemed.tables import MANIFEST, write_manifest

    (own / MANIFEST).unlink()
    write_manifest(own, "deidentified")
    reading = read_source(entry(own, options={"most_slices": 25}), own)
    assert len(reading.studies) == 2
    assert {study.group_id for study in reading.studies} == {case.group_id for case in reading.cases}
    assert reading.cases[0].events[-1].study_ids == (reading.studies[0].id,)


def test_a_changed_byte_or_a_missing_record_keeps_a_note_out(own: Path) -> None:
    note = sorted((own / "cases").glob("*/notes/000.txt"))[0]
    note.write_text("Mr. Weatherby was here.", encoding="utf-8")
    with pytest.raises(ReadError, match="differs from its manifest"):
        read_source(entry(own), own)
    from spinemed.tables import MANIFEST, write_manifest

    (own / MANIFEST).unlink()
    write_manifest(own, "deidentified")  # even when somebody writes the manifest again
    reading = read_source(entry(own), own)
    assert "Weatherby" not in "".join(document.text for document in reading.documents)
    assert [drop.reason for drop in reading.drops] == ["no clean record of these words"]


def test_an_export_is_not_read_before_it_was_cleared(samples: Path) -> None:
    with pytest.raises(ReadError):
        read_source(entry(samples / "hospital" / "export"), samples / "hospital" / "export")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"patients": None}, "patients"),
        ({"patients": {**BASIS, "approval": ""}}, "patients"),
        ({"patients": {**BASIS, "retention_until": "soon"}}, "patients.retention_until"),
        ({"patients": {**BASIS, "agreement": ""}}, "patients.agreement"),
        ({"patients": {**BASIS, "retention_until": "2024-12-31"}}, "patients.retention_until"),
        ({"egress": "any"}, "egress"),
        ({"licence": None}, "licence"),
        ({"licence": "our data"}, "licence"),
        ({"allowed_use": []}, "allowed_use"),
        ({"origin": "real"}, "legal_basis"),
    ],
)
def test_patients_need_a_basis(tmp_path: Path, cleared: Path, changes: dict[str, Any], field: str) -> None:
    (tmp_path / "sources.yaml").write_text(json.dumps({"sources": [{**ENTRY, "path": str(cleared), **changes}]}))
    with pytest.raises(SourceError) as caught:
        read_sources(tmp_path / "sources.yaml")
    assert (caught.value.field or "").endswith(field)


def test_sentences_in_both_languages() -> None:
    assert sentences("Seen by Dr. [NAME-1] at 3.5 mm. Next? Yes.\nEnd") == [
        "Seen by Dr. [NAME-1] at 3.5 mm.",
        "Next?",
        "Yes.",
        "End",
    ]
    assert sentences("腰痛3.5年。查体：阴性；无异常。") == ["腰痛3.5年。", "查体：阴性；", "无异常。"]


def test_a_withdrawn_case_is_gone_and_what_held_it_is_listed(
    own: Path,
    tmp_path: Path,
    write_config: Callable[..., Path],
    entries: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    run_build: Callable[..., Path],
    samples: Path,
) -> None:
    from spinemed.tables import write_manifest

    case = sorted(path.name for path in (own / "cases").iterdir())[0]
    config = write_config(tmp_path, [{**ENTRY, "path": str(own)}, entries["medquad"]])
    run = run_build(config, tmp_path / "runs" / "a")
    corpus = read_corpus(run / "outputs" / "corpus")
    assert len(corpus.cases) == 10
    without = dataclasses.replace(corpus, cases={})
    with pytest.raises(RecordError, match="no case says that it was cleared"):
        _require_cases(without)
    release = json.loads((run / "outputs" / "release" / "manifest.json").read_bytes())
    # A release that holds the case, and a checkpoint made from one that was trained on it.
    import pyarrow as pa
    import pyarrow.parquet as pq

    held = tmp_path / "runs" / "b" / "outputs" / "release"
    log = tmp_path / "runs" / "b" / "scratch" / "requests"
    log.mkdir(parents=True)
    (log / "log.jsonl").write_text("")
    (held / "data").mkdir(parents=True)
    pq.write_table(pa.table({"group_id": [f"hospital:{case}"]}), held / "data" / "train.parquet")
    digest = write_manifest(held, "release")["sha256"]
    (tmp_path / "runs" / "c").mkdir()
    (tmp_path / "runs" / "c" / "w").write_text("w")
    first = write_manifest(tmp_path / "runs" / "c", "checkpoint", release_sha256=digest)["sha256"]
    (tmp_path / "runs" / "d").mkdir()
    write_manifest(tmp_path / "runs" / "d", "checkpoint", base_sha256=first, release_sha256=release["sha256"])
    assert len(find_checkpoints({digest}, [tmp_path / "runs"])) == 2
    # A run that was killed before it had a release, its shards, and an export of the release.
    killed = tmp_path / "runs" / "e" / "outputs" / ".corpus.partial"
    shard = tmp_path / "runs" / "e" / "scratch" / "shards" / "drafts" / "00000"
    for folder in (killed, shard):
        folder.mkdir(parents=True)
        pq.write_table(pa.table({"group_id": ["s:other", f"hospital:{case}"]}), folder / "documents.parquet")
    (shard.parent / "00001").mkdir()
    pq.write_table(pa.table({"group_id": ["s:other"]}), shard.parent / "00001" / "documents.parquet")
    export = tmp_path / "exported"
    export.mkdir()
    write_manifest(export, "export", release_sha256=digest)
    found = find_others(case, [tmp_path / "runs", export], [str(held)])
    assert {str(folder) for folder in (killed, shard, export)} <= set(found)
    assert str(shard.parent / "00001") not in found
    command = ["data", "withdraw", case, "--sources", str(tmp_path / "sources.yaml"), "--runs", str(tmp_path / "runs")]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--no-rebuild"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "1 releases and 2 checkpoints held it" in shown
    assert f"remove it by hand: {log}" in shown
    assert f"also held there, remove it by hand or make it again: {killed}" in shown
    assert not (own / "cases" / case).exists()
    reading = read_source(entry(own), own)
    assert case not in {found.id for found in reading.cases}
    assert len(reading.cases) == 9
    deidentify_export(samples / "hospital" / "export", own, KEY, site="site-00", finder=NothingWritten())
    assert not (own / "cases" / case).exists()  # it does not come back with the next export
    with pytest.raises(SourceError, match="no hospital source holds"):
        withdraw_case("case-000000000000", tmp_path / "sources.yaml", [tmp_path / "runs"])
    left = len(list((own / "cases").iterdir()))
    for name in ("", ".", "..", "case-*", f"../cases/{case}"):
        with pytest.raises(SourceError, match="no hospital source holds"):
            withdraw_case(name, tmp_path / "sources.yaml", [tmp_path / "runs"])
    assert len(list((own / "cases").iterdir())) == left


def write_tables(folder: Path, patients: str, notes: str) -> Path:
    folder.mkdir()
    (folder / "patients.csv").write_text(patients, encoding="utf-8")
    (folder / "notes.csv").write_text(notes, encoding="utf-8")
    return folder


def test_notes_find_their_patient_and_nobody_elses(tmp_path: Path) -> None:
    export = write_tables(
        tmp_path / "export",
        "name,MRN,sex\nAnn Orrin,A1,F\nBob Quill,B2,M\nNo Number,,M\nAnn Orrin,A1,F\n",
        "mrn,date,kind,text\nA1,2020-01-01,history,Pain at L5.\nB2,2020-01-02,history,Pain at L4.\n"
        ",2020-01-03,history,Pain at L3.\nC3,2020-01-04,history,Pain at L2.\n",
    )
    report = deidentify_export(export, tmp_path / "out", KEY, site="site-00", finder=None)
    told = {path.parent.parent.name: path.read_text() for path in (tmp_path / "out" / "cases").rglob("*.txt")}
    assert told == {KEY.pseudonym("A1"): "Pain at L5.", KEY.pseudonym("B2"): "Pain at L4."}
    counts = report["counts"]
    assert counts["patients held: unreadable"] == 3  # one without a number, two lots of notes without a patient
    assert counts["patients held: their record number stands twice"] == 1


@pytest.mark.parametrize("fault", ["struct.error", "zlib.error", "IndexError", "MemoryError"])
def test_no_fault_of_a_picture_escapes_with_what_it_quotes(
    samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    import builtins
    import struct
    import zlib

    from data_pipeline.deidentify import engine

    kinds = {"struct.error": struct.error, "zlib.error": zlib.error}
    kind = kinds.get(fault) or getattr(builtins, fault)

    def broken(*_: object, **__: object) -> None:
        raise kind("Weatherby")

    monkeypatch.setattr(engine, "clean_header", broken)
    export = Path(shutil.copytree(samples / "hospital" / "export", tmp_path / "export"))
    rows = (export / "patients.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (export / "patients.csv").write_text("".join(rows[:2]), encoding="utf-8")
    (export / "notes.csv").unlink()
    report = deidentify_export(export, tmp_path / "out", KEY, site="site-00", finder=NothingWritten())
    assert report["counts"]["images held: damaged"] == report["counts"]["images"] == 1
    assert "Weatherby" not in json.dumps(report)


def test_a_secondary_capture_is_held_however_its_type_is_written() -> None:
    from pydicom import Dataset

    from data_pipeline.deidentify.engine import _no_picture

    dataset = Dataset()
    dataset.PixelData, dataset.Modality, dataset.ImageType = b"\0\0", "CT", "SECONDARY"
    assert "secondary" in _no_picture(dataset)
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    assert _no_picture(dataset) == ""


def test_the_dicom_reader_takes_cleared_images_and_nothing_that_is_held(own: Path) -> None:
    for case in sorted((own / "cases").iterdir())[1:]:
        shutil.rmtree(case)
    (image,) = (own / "cases").rglob("*.dcm")
    shutil.copy(image, own / "held" / "case-000000000000-image-00000.dcm")
    from spinemed.tables import MANIFEST, write_manifest

    def signed() -> None:
        (own / MANIFEST).unlink()
        write_manifest(own, "deidentified")

    signed()
    source = Source.model_validate(
        {**ENTRY, "kind": "dicom", "path": str(own), "origin": "real", "legal_basis": "waiver", "options": {}}
    )
    reading = read_source(source, own)
    assert reading.kept["series"] == 1
    assert not [drop for drop in reading.drops if "held" in drop.item]
    shutil.copy(image, image.with_name("unlisted"))  # an image by any name needs a record
    with pytest.raises(SourceError, match="no de-identification record"):
        read_source(source, own)
    image.with_name("unlisted").unlink()
    image.write_bytes(image.read_bytes() + b"\0\0")
    with pytest.raises(ReadError, match="differs from its manifest"):
        read_source(source, own)


def test_patients_data_of_any_kind_stays_local(tmp_path: Path, own: Path) -> None:
    entry_of = {**ENTRY, "kind": "dicom", "path": str(own), "origin": "real", "legal_basis": "waiver", "options": {}}
    (tmp_path / "sources.yaml").write_text(json.dumps({"sources": [{**entry_of, "egress": "any"}]}))
    with pytest.raises(SourceError, match="patients' data"):
        read_sources(tmp_path / "sources.yaml")


def test_a_link_out_of_a_patients_folder_holds_the_patient(samples: Path, tmp_path: Path) -> None:
    export = Path(shutil.copytree(samples / "hospital" / "export", tmp_path / "export"))
    one, other = sorted((export / "dicom").iterdir())[:2]
    (one / "more.dcm").symlink_to(other / "image.dcm")
    report = deidentify_export(export, tmp_path / "out", KEY, site="site-00", finder=NothingWritten())
    assert report["counts"]["patients held: unreadable"] == 1
    assert len(list((tmp_path / "out" / "cases").iterdir())) == report["counts"]["patients"] - 1


def test_files_that_nobody_reads_are_counted_by_their_ending(tmp_path: Path) -> None:
    patient = tmp_path / "export" / "p1"
    patient.mkdir(parents=True)
    (patient / "registration.csv").write_text("name,mrn,sex\nAnn Orrin,A1,F\n")
    (patient / "2020-01-01_history.txt").write_text("Pain at L5.")
    for name in ("scan.PDF", "letter.docx", "second.pdf", "x.orrin"):
        (patient / name).write_text("x")
    report = deidentify_export(tmp_path / "export", tmp_path / "out", KEY, site="site-00", finder=None)
    unread = {name: number for name, number in report["counts"].items() if name.startswith("files not read")}
    assert unread == {"files not read: .docx": 1, "files not read: .pdf": 2, "files not read: other": 1}
    assert "orrin" not in (tmp_path / "out" / "report.json").read_text()


@pytest.mark.parametrize("origin", ["real", "phantom"])
def test_a_real_case_is_released_by_a_persons_decision_alone(
    origin: str, cleared: Path, tmp_path: Path, write_config: Any, run_build: Any, entries: dict[str, dict[str, Any]]
) -> None:
    case = {**ENTRY, "path": str(cleared), "origin": origin, "legal_basis": "waiver", "options": {"most_slices": 1}}
    out = run_build(write_config(tmp_path, [entries["medquad"], case]), tmp_path / "run")
    release = json.loads((out / "outputs" / "release" / "manifest.json").read_text())
    kept = [row["source_id"] for row in read_rows(out / "outputs" / "release" / "index.jsonl")]
    unread = release["left_out"].get("no reviewer has approved this patient's case", 0)
    assert (unread > 0, "hospital" in kept) == ((True, False) if origin == "real" else (False, True))


def read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
