"""The page of a case: a section for every step that is there, doubts first, nothing loaded, nobody named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.config import load_config
from spinemed.errors import ReadError
from spinemed.resources import configs_dir
from spinemed.volume import Volume, write_nifti
from spinemed.workflows.case import CaseConfig, Places
from spinemed.workflows.case.named import write_named
from spinemed.workflows.case.page import write_page
from spinemed.workflows.case.page.__main__ import main

HOSTILE = "<script>alert('x')</script>"
LEVELS = (Level.L1, Level.L2, Level.L3)


def put(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value), encoding="utf-8")


def put_lines(file: Path, values: list[Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


def third(percent: float) -> dict[str, float]:
    return {"percent": percent, "low": percent - 5, "high": percent + 5, "height_mm": 20.0, "reference_mm": 25.0}


def graded(level: Level, percent: float, grade: int | None, flags: list[str]) -> dict[str, Any]:
    parts = dict.fromkeys(("anterior", "middle", "posterior"), None if grade is None else third(percent))
    return {
        **parts, "level": str(level), "grade": grade, "shape": None if grade is None else "wedge" if grade else "none",
        "flags": flags, "look_again": False, "probabilities": None, "wedge_deg": 3.0, "local_kyphosis_deg": None,
        "retropulsion_mm": None,
    }  # fmt: skip


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A small run folder: three blocks of bone as vertebrae, their grades, findings, questions and answers."""
    found = Places(tmp_path / "run")
    labels = np.zeros((40, 44, 96), np.uint8)
    for number, level in enumerate(LEVELS):
        labels[8:32, 14:38, 66 - 28 * number : 86 - 28 * number] = LABEL_MAPS["verse"].to_label(level)
    affine = np.eye(4)
    for file, volume in (
        (found.ct, Volume(np.where(labels > 0, 400, -50).astype(np.int16), affine, "HU")),
        (found.mask, Volume(labels, affine, "label")),
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_nifti(volume, file)
    put(found.about, {
        "case": "case", "origin": "real", "image_sha256": "ab" * 32, "mask_sha256": "cd" * 32, "mask": "given",
        "versions": {"spinemed": "0.1.0"},
    })  # fmt: skip
    put(found.levels, {
        "levels": ["L1", "L2", "L3"], "cut": ["L3"], "numbering": "not determinable", "spacing_mm": [1.0, 1.0, 1.0],
        "limits": ["The field of view does not decide the names."],
    })  # fmt: skip
    put(found.grades, {
        "vertebrae": [graded(Level.L1, 31.0, 2, [f"doubt of {HOSTILE}"]), graded(Level.L2, 2.0, 0, []),
                      graded(Level.L3, 0.0, None, ["cut by the edge"])],
        "flags": [], "rule": "Genant's borders", "note": "height loss alone is not a fracture",
    })  # fmt: skip
    put_lines(found.losses, [
        {"level": level, "flags": [], "robust": {"gradable": True, **dict.fromkeys(
            ("anterior", "middle", "posterior"), third(77.0 if level == "L3" else 12.0))}}
        for level in ("L1", "L3")
    ])  # fmt: skip
    put_lines(found.findings / "findings.jsonl", [
        {"kind": "fracture", "level": "L1", "value": "wedge", "grade": "2", "scheme": "Genant 1993", "amount": 31.0,
         "unit": "percent"},
    ])  # fmt: skip
    put(found.findings / "stems.json", [{"finding": "L1", "file": "grades/grades.json", "by": "grade", "flags": []}])
    put_lines(found.samples / "samples.jsonl", [
        {"id": "q1", "messages": [{"role": "user", "content": f"Which shape? {HOSTILE}"}], "images": [],
         "answer": "wedge"}
    ])  # fmt: skip
    put_lines(found.answers / "model" / "predictions.jsonl", [
        {"sample_id": "q1", "model": "some-model", "outcome": "answered", "text": HOSTILE,
         "calls": [{"name": "grade", "arguments": HOSTILE, "ok": True}]}
    ])  # fmt: skip
    return found


def page(places: Places) -> str:
    return write_page(places).read_text(encoding="utf-8")


def test_every_step_that_is_there_has_its_section_and_what_is_absent_is_said(places: Places) -> None:
    text = page(places)
    assert re.findall(r'<section id="(\w+)"', text) == [
        "levels", "losses", "grades", "findings", "asked", "score", "absent",
    ]  # fmt: skip
    absent = text[text.index('id="absent"') :]
    for what in ("straightening", "healthy twins", "measurements", "report in six parts"):
        assert what in absent
    assert "No reference" in text
    assert text.count("The field of view does not decide the names.") == 2
    assert 'href="#grade-L1"' in text
    assert 'id="grade-L1"' in text


def test_texts_are_escaped_and_nothing_is_loaded(places: Places) -> None:
    text = page(places)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 4  # a flag, a question, an answer and a call
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(addresses) >= 3
    assert {address for address in addresses if not address.startswith(("data:", "#"))} == set()
    assert not re.search(r"https?://|url\(|@import", text)


def test_doubts_stand_before_values_and_intervals_beside_them(places: Places) -> None:
    row = re.search(r'<tr id="grade-L1">.*?</tr>', page(places), re.DOTALL)
    assert row is not None
    assert row[0].index("doubt of") < row[0].index("2 moderate") < row[0].index("31 %") < row[0].index("26 to 36")


def test_a_body_cut_by_the_edge_has_no_loss(places: Places) -> None:
    text = page(places)
    assert "cut by the edge of the scan" in text
    assert "77 %" not in text
    assert "12 %" in text


def test_every_vertebra_is_named_in_both_layers(places: Places) -> None:
    text = page(places)
    assert re.findall(r'class="mark"[^>]*>(L\d[^<]*)<', text).count("L1 · 2") == 2
    assert re.findall(r'class="mark"[^>]*>(L\d)<', text) == ["L3", "L3"]


def test_nothing_is_scored_without_truth_and_a_phantom_says_what_it_is(places: Places) -> None:
    real = page(places)
    assert "phantom" not in real
    assert "right</span>" not in real
    about = json.loads(places.about.read_text())
    put(places.about, {**about, "origin": "phantom"})
    assert "computed phantom, no patient" in page(places)


def test_where_nothing_is_graded_the_page_does_not_say_that_nothing_is_broken(places: Places) -> None:
    told = json.loads(places.grades.read_text())
    put(places.grades, {**told, "vertebrae": [graded(level, 30.0, None, ["too coarse"]) for level in LEVELS]})
    (places.findings / "findings.jsonl").write_text("")
    text = page(places)
    assert "no grade could be given" in text
    assert "of grade 1 or more" not in text
    assert "That nothing is stated does not mean that nothing is there" in text
    assert "L1, L2, L3: too coarse" in text


def test_a_question_that_names_a_vertebra_shows_no_mark_on_another(places: Places) -> None:
    def sample(name: str, tag: str) -> dict[str, Any]:
        image = f"images/{name}.png"
        (places.samples / "images").mkdir(exist_ok=True)
        (places.samples / image).write_bytes(name.encode())
        return {
            "id": name, "axis": "level_identification", "task": "level", "answer": "L2", "answer_kind": "level",
            "messages": [{"role": "user", "content": "<image>\nWhich vertebra?"}], "images": [image],
            "levels": ["L2"], "cluster": "case", "origin": "real", "source_id": "case", "tags": [tag],
            "licence": "LicenseRef-Own-Data", "language": "en",
        }  # fmt: skip

    marked, plain = sample("a" * 64, "marked_vertebra"), sample("b" * 64, "edge_vertebra")
    for listed, shown in (([marked, plain], plain["images"]), ([marked], [])):
        put_lines(places.samples / "samples.jsonl", listed)
        shutil.rmtree(places.named, ignore_errors=True)
        write_named(places, load_config(configs_dir() / "case.yaml", CaseConfig))
        named = [json.loads(line) for line in (places.named / "samples.jsonl").read_text().splitlines()]
        assert {each["levels"][0] for each in named} == {"L1", "L2"}
        assert [each["images"] for each in named] == [shown] * len(named)


def test_equal_folders_give_equal_bytes_and_no_path_stands_on_the_page(places: Places) -> None:
    first = page(places)
    assert page(places) == first
    assert str(places.root) not in first
    assert places.root.parent.name not in first


def test_a_file_that_is_not_what_its_step_writes_is_named(places: Places, capsys: pytest.CaptureFixture[str]) -> None:
    put(places.grades, {"vertebrae": [{"level": "L1"}]})
    with pytest.raises(ReadError, match=r"grades\.json"):
        write_page(places)
    assert not places.page.exists()
    assert main([str(places.root)]) == 2
    assert "grades.json" in capsys.readouterr().err
