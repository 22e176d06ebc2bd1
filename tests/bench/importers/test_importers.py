"""Files in the layouts of other data sets become samples, and what cannot is counted or named."""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.importers import import_questions
from bench.importers.medxpertqa import about_spine
from bench.importers.metaimage import middle_slice
from bench.samples import read_samples
from spinemed.errors import ReadError, RecordError, SpineMedError
from spinemed.records import Sample

SPIDER = (
    "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis,Disc herniation,Disc narrowing,Disc bulging,"
    "Pfirrman grade"
)
CONDITIONS = (
    "spinal_canal_stenosis", "left_neural_foraminal_narrowing", "right_neural_foraminal_narrowing",
    "left_subarticular_stenosis", "right_subarticular_stenosis",
)  # fmt: skip
LEVELS = ("l1_l2", "l2_l3", "l3_l4", "l4_l5", "l5_s1")


def jpeg(seed: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (20, 16), dtype=np.uint8)).save(stream, "JPEG")
    return stream.getvalue()


def questions(folder: Path) -> dict[str, Sample]:
    return {sample.id: sample for sample in read_samples(folder)[0]}


# --- MedXpertQA ------------------------------------------------------------------------------------------------------


def expert(number: int, text: str, label: str = "B", **more: Any) -> dict[str, Any]:
    options = {"A": "Brace", "B": "Fusion", "C": "Biopsy", "D": "Rest", "E": "None of the above"}
    return {
        "id": f"MM-{number}", "question": text, "options": options, "label": label, "images": [f"MM-{number}-a.jpeg"],
        "medical_task": "Treatment", "body_system": "Skeletal", "question_type": "Reasoning", **more,
    }  # fmt: skip


def write_expert(folder: Path, rows: list[dict[str, Any]]) -> Path:
    (folder / "images").mkdir()
    for number, row in enumerate(rows):
        for name in row["images"]:
            (folder / "images" / name).write_bytes(jpeg(number))
    (folder / "MM").mkdir()
    (folder / "MM" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "MM" / "test.jsonl"


def test_spine_questions_of_medxpertqa(tmp_path: Path) -> None:
    rows = [
        expert(1, "A burst fracture of L1 with an <image> of it. Answer Choices: (A) Brace (B) Fusion"),
        expert(2, "A 3-year-old with otitis media."),
        expert(
            3, "Two views of adolescent scoliosis.", "E", images=["MM-3-a.jpeg", "MM-3-b.jpeg"],
            medical_task="Diagnosis",
        ),
        expert(4, "The lumbar puncture shows no cells."),
    ]  # fmt: skip
    made = import_questions("medxpertqa", [write_expert(tmp_path, rows)], tmp_path / "out")
    assert made["left_out"] == {"not about the spine by the keyword rule": 2}
    assert made["imported"]["licence"] == "MIT"
    found = questions(tmp_path / "out")
    assert {(s.id, s.axis, s.answer, len(s.images), s.licence) for s in found.values()} == {
        ("medxpertqa:MM-1", "surgical_planning", "B", 1, "MIT"), ("medxpertqa:MM-3", "pathology", "E", 2, "MIT"),
    }  # fmt: skip
    assert found["medxpertqa:MM-1"].messages[0].content.startswith("<image>\nA burst fracture of L1 with an < image >")


@pytest.mark.parametrize(
    ("text", "spine"),
    [
        ("Narrowing of the L4-L5 disc space", True), ("Atlantoaxial subluxation", True), ("Spondylolysis", True),
        ("cervical cancer screening", False), ("spinal anesthesia was given", False), ("cervical radiculopathy", True),
        ("a spine-shaped leaf", True), ("despite treatment", False), ("sacral dimple", True), ("inspiratory", False),
    ],
)  # fmt: skip
def test_the_keyword_rule(text: str, spine: bool) -> None:
    assert about_spine(text) is spine


def test_a_missing_column_or_picture_is_named(tmp_path: Path) -> None:
    row = expert(1, "Kyphosis")
    table = write_expert(tmp_path, [row])
    (tmp_path / "images" / "MM-1-a.jpeg").unlink()
    with pytest.raises(ReadError, match=r"MM-1-a\.jpeg"):
        import_questions("medxpertqa", [table], tmp_path / "out")
    del row["label"]
    table.write_text(json.dumps(row))
    with pytest.raises(ReadError, match="lacks the column label"):
        import_questions("medxpertqa", [table], tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- VQA-Med ---------------------------------------------------------------------------------------------------------


def test_closed_spine_questions_of_vqamed(tmp_path: Path) -> None:
    lines = [
        "synpic1|in what plane is this mri displayed?|Sagittal",
        "synpic1|what organ system is pictured here?|spine and contents",
        "synpic1|what abnormality is seen in the image?|syringomyelia",
        "synpic2|in what plane is this ct displayed?|axial",
        "synpic3|abnormality|is there a fracture of the lumbar spine?|yes",
        "synpic3|abnormality|what is wrong with this vertebra?|burst fracture#(acute) compression fracture",
    ]
    (tmp_path / "All_QA.txt").write_text("\n".join(lines))
    (tmp_path / "images").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "images" / f"synpic{number}.jpg").write_bytes(jpeg(number))
    made = import_questions("vqamed", [tmp_path / "All_QA.txt"], tmp_path / "out", licence="CC-BY-4.0")
    assert made["left_out"] == {
        "a free-text answer, which no rule scores": 1, "not about the spine by the keyword rule": 1,
        "several answers or optional parts count as right": 1,
    }  # fmt: skip
    found = list(questions(tmp_path / "out").values())
    assert [(sample.answer, sample.tags[0], sample.licence) for sample in found] == [
        ("sagittal", "topic:plane", "CC-BY-4.0"), ("spine and contents", "topic:organ", "CC-BY-4.0"),
        ("yes", "topic:yes/no", "CC-BY-4.0"),
    ]  # fmt: skip
    assert made["clusters"] == 2
    (tmp_path / "two.txt").write_text("synpic1|a question without an answer")
    with pytest.raises(ReadError, match=r"two\.txt:1:.*2 fields"):
        import_questions("vqamed", [tmp_path / "two.txt"], tmp_path / "more")


# --- SPIDER ----------------------------------------------------------------------------------------------------------


def write_mha(path: Path, volume: Any, spacing: tuple[float, ...], matrix: Any, *, packed: bool) -> None:
    """A volume indexed (x, y, z), row i of the matrix the direction of axis i."""
    raw = np.ascontiguousarray(volume.transpose(2, 1, 0)).astype("<i2").tobytes()
    data = zlib.compress(raw) if packed else raw
    lines = [
        "ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False",
        f"CompressedData = {packed}", f"TransformMatrix = {' '.join(str(v) for row in matrix for v in row)}",
        "Offset = 0 0 0", f"ElementSpacing = {' '.join(map(str, spacing))}",
        f"DimSize = {' '.join(map(str, volume.shape))}", "ElementType = MET_SHORT", "ElementDataFile = LOCAL\n",
    ]  # fmt: skip
    path.write_bytes("\n".join(lines).encode() + data)


def test_the_middle_slice_stands_upright_whatever_the_axes(tmp_path: Path) -> None:
    # In LPS: brightest at the front (y small) and at the top (z large) of every sagittal plane.
    x, y, z = np.meshgrid(np.arange(5), np.arange(6), np.arange(8), indexing="ij")
    body = ((5 - y) * 10 + z * 100 + 0 * x).astype(np.int16)
    write_mha(tmp_path / "lps.mha", body, (4.0, 1.0, 1.0), np.eye(3), packed=True)
    # The same body with the axes in the order (front-back flipped, top-bottom, left-right).
    turned = body[:, ::-1, :].transpose(1, 2, 0)
    write_mha(
        tmp_path / "turned.mha", turned, (1.0, 1.0, 4.0), [[0, -1, 0], [0, 0, 1], [1, 0, 0]], packed=False
    )  # fmt: skip
    first, second = middle_slice(tmp_path / "lps.mha"), middle_slice(tmp_path / "turned.mha")
    assert first.shape == (8, 6)
    assert (first == second).all()
    assert first[0, 0] == first.max()
    assert first[-1, -1] == first.min()
    write_mha(tmp_path / "thick.mha", body, (4.0, 1.0, 2.0), np.eye(3), packed=False)
    assert middle_slice(tmp_path / "thick.mha").shape == (16, 6)


def test_grades_of_spider(tmp_path: Path, spinemed: Callable[..., Any]) -> None:
    rows = [SPIDER, "1,1,2,0,1,1,0,1,1,4", "1,2,0,0,0,0,0,0,0,2", "2,1,0,0,0,0,1,,0,5", "3,1,0,0,0,0,0,0,0,1"]
    table = tmp_path / "radiological_gradings.csv"
    table.write_text("\n".join(rows))
    (tmp_path / "images").mkdir()
    body = np.random.default_rng(0).integers(0, 900, (5, 20, 24)).astype(np.int16)
    for name in ("1_t1", "1_t2", "2_t2"):
        write_mha(tmp_path / "images" / f"{name}.mha", body + len(name), (4, 1, 1), np.eye(3), packed=True)
    done = spinemed("bench", "import", "--kind", "spider", "--path", table, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "left out: 1, no T1 volume for Modic" in done.stdout
    found = questions(tmp_path / "out")
    assert len(found) == 2 * 8 + 6
    grade = found["spider:1:L5/S1:pfirrman_grade"]
    assert (grade.answer, grade.categories, len(grade.images)) == ("4", ("1", "2", "3", "4", "5"), 1)
    assert "scale:pfirrmann" in grade.tags
    assert [str(level) for level in grade.levels] == ["L5", "S1"]
    modic = found["spider:1:L4/5:modic"]
    assert (modic.answer, len(modic.images)) == ("0", 2)
    assert found["spider:1:L5/S1:disc_herniation"].answer == "no"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["left_out"]["no value for Disc narrowing"] == 1
    assert manifest["left_out"]["no T2 volume for Pfirrman grade"] == 1
    assert manifest["imported"]["licence"] == "CC-BY-4.0"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,12,0,0,0,0,0,0,0,2", ":2:.*IVD label"), ("1,1,0,0,0,0,0,0,0,7", ":2:.*Pfirrman"),
        ("1,1,0,0,0", ":2:.*5 cells"), ("1,1,0,0,0,0,2,0,0,2", ":2:.*Disc herniation"),
    ],
)  # fmt: skip
def test_a_bad_row_of_spider_is_named(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{SPIDER}\n{row}")
    body = np.arange(5 * 6 * 8, dtype=np.int16).reshape(5, 6, 8)
    for name in ("1_t1", "1_t2"):
        write_mha(tmp_path / f"{name}.mha", body, (4, 1, 1), np.eye(3), packed=True)
    with pytest.raises(SpineMedError, match=message):
        import_questions("spider", [tmp_path / "t.csv"], tmp_path / "out", images=tmp_path)


# --- RSNA ------------------------------------------------------------------------------------------------------------


def write_rsna(folder: Path) -> Path:
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    columns = [f"{condition}_{level}" for condition in CONDITIONS for level in LEVELS]
    row = {"study_id": "7"} | dict.fromkeys(columns, "Normal/Mild")
    row |= {"spinal_canal_stenosis_l4_l5": "Severe", "left_subarticular_stenosis_l5_s1": ""}
    row["right_subarticular_stenosis_l1_l2"] = "Moderate"
    with (folder / "train.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row)
    (folder / "train_label_coordinates.csv").write_text(
        "study_id,series_id,instance_number,condition,level,x,y\n"
        "7,70,3,Spinal Canal Stenosis,L4/L5,10.5,12.0\n7,70,3,Left Neural Foraminal Narrowing,L1/L2,1,1\n"
        "7,70,3,Right Subarticular Stenosis,L1/L2,1,1\n"
    )
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = generate_uid()
    data.Rows, data.Columns, data.BitsAllocated, data.BitsStored, data.HighBit = 12, 10, 16, 16, 15
    data.SamplesPerPixel, data.PixelRepresentation, data.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    data.PixelData = np.arange(120, dtype="<u2").tobytes()
    target = folder / "train_images" / "7" / "70" / "3.dcm"
    target.parent.mkdir(parents=True)
    data.save_as(target, enforce_file_format=True)
    return folder / "train.csv"


def test_grades_of_rsna(tmp_path: Path) -> None:
    table = write_rsna(tmp_path)
    made = import_questions("rsna", [table], tmp_path / "out", images=tmp_path / "train_images")
    found = questions(tmp_path / "out")
    assert made["left_out"] == {"no grade": 1, "no instance in train_label_coordinates.csv": 21}
    assert {name: sample.answer for name, sample in found.items()} == {
        "rsna:7:spinal_canal_stenosis_l4_l5": "severe", "rsna:7:left_neural_foraminal_narrowing_l1_l2": "normal/mild",
        "rsna:7:right_subarticular_stenosis_l1_l2": "moderate",
    }  # fmt: skip
    assert "side:right" in found["rsna:7:right_subarticular_stenosis_l1_l2"].tags
    table.write_text("study_id,spinal_canal_stenosis_l1_l2\n7,Severe\n")
    with pytest.raises(ReadError, match="lacks the columns spinal_canal_stenosis_l2_l3"):
        import_questions("rsna", [table], tmp_path / "more", images=tmp_path / "train_images")


# --- the other SpineBench --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [["Healthy", "Stenosis"], ["A. Healthy", "B. Stenosis"], {"A": "Healthy", "B": "Stenosis"}]
)
@pytest.mark.parametrize("answer", ["B", "Stenosis", "B. Stenosis", "(B)"])
def test_questions_of_the_other_spinebench(options: Any, answer: str, tmp_path: Path) -> None:
    row = {
        "question": "<image>What is seen?",
        "options": options,
        "answer": answer,
        "image": "train/1.jpg",
        "task": "diagnosis",
    }
    (tmp_path / "q.json").write_text(json.dumps([row, {**row, "answer": "Scoliosis"}]))
    (tmp_path / "images" / "train").mkdir(parents=True)
    (tmp_path / "images" / "train" / "1.jpg").write_bytes(jpeg(0))
    made = import_questions("spinebench2510", [tmp_path / "q.json"], tmp_path / "out")
    (sample,) = questions(tmp_path / "out").values()
    assert sample.answer == "B"
    assert [option.text for option in sample.options] == ["Healthy", "Stenosis"]
    assert sample.messages[0].content == "<image>\nWhat is seen?\nA. Healthy\nB. Stenosis"
    assert made["left_out"] == {"an answer that is no option": 1}
    assert sample.licence == "NOASSERTION"


@pytest.mark.parametrize("name", ["../secret.png", "{folder}/secret.png"])
def test_a_table_fetches_no_picture_from_outside(name: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "secret.png").write_bytes(jpeg(0))
    row = {"question": "Which?", "options": ["L1", "L2"], "answer": "A", "image": name.format(folder=tmp_path)}
    (tmp_path / "questions.json").write_text(json.dumps([row]))
    with pytest.raises(ReadError, match="outside of the folder of pictures") as error:
        import_questions("spinebench2510", [tmp_path / "questions.json"], tmp_path / "out")
    assert error.value.cure
    assert not (tmp_path / "out").exists()


def test_unknown_fields_are_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "q.json").write_text(json.dumps([{"q": "?", "options": ["a", "b"], "answer": "A", "image": "1.png"}]))
    with pytest.raises(ReadError, match=r"no field for the question \(tried question, query, prompt; it has q,"):
        import_questions("spinebench2510", [tmp_path / "q.json"], tmp_path / "out")


def test_files_without_a_spine_make_no_folder(tmp_path: Path) -> None:
    table = write_expert(tmp_path, [expert(1, "Otitis media")])
    with pytest.raises(RecordError, match=r"holds no question about the spine.*1 not about the spine"):
        import_questions("medxpertqa", [table], tmp_path / "out")
    assert not (tmp_path / "out").exists()
