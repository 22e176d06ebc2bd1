"""Readers: exact spans, figures with who mentions them, honest numbering, nothing lost without a reason."""

from __future__ import annotations

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.readers import Reading, read_source
from data_pipeline.readers.nifti import render_picture
from data_pipeline.readers.phantom import render_phantom_picture
from spinemed.anatomy import Level
from spinemed.errors import ReadError, SourceError
from spinemed.records import Source
from spinemed.volume import Volume, read_mask, read_nifti, write_nifti


def read(entry: dict[str, Any], root: Path) -> Reading:
    return read_source(Source.model_validate({**entry, "path": str(root)}), root)


@pytest.fixture(scope="module")
def openstax(entries, samples: Path) -> Reading:
    return read(entries["openstax"], samples / "text" / "openstax")


@pytest.fixture(scope="module")
def medquad(entries, samples: Path) -> Reading:
    return read(entries["medquad"], samples / "text" / "medquad")


@pytest.mark.parametrize("name", ["openstax", "medquad"])
def test_spans_are_exact_and_in_order(name: str, request: pytest.FixtureRequest) -> None:
    reading: Reading = request.getfixturevalue(name)
    documents = {document.id: document for document in reading.documents}
    ends: dict[str, int] = {}
    for span in reading.spans:
        assert documents[span.document_id].text[span.start : span.end] == span.text
        assert span.start >= ends.get(span.document_id, 0)
        ends[span.document_id] = span.end
    assert len({span.id for span in reading.spans}) == len(reading.spans)
    assert all(ends[document.id] == len(document.text) for document in reading.documents)


def test_cnxml_figures_have_their_picture_caption_and_mentions(openstax: Reading, samples: Path) -> None:
    spans = {span.id: span for span in openstax.spans}
    herniated = next(figure for figure in openstax.figures if figure.label == "fig-ch07_03_11")
    picture = (samples / "text" / "openstax" / "media" / "728_Herniated_Disk.jpg").read_bytes()
    assert herniated.image_sha256 == hashlib.sha256(picture).hexdigest()
    assert spans[herniated.caption_span_id or ""].text.startswith("Weakening of the anulus fibrosus")
    assert [spans[mention].text[:20] for mention in herniated.mention_span_ids] == ["The gel-like nature "]
    assert openstax.kept["figure"] == 13
    assert {drop.reason for drop in openstax.drops} == {"picture is not among the files"}


def test_cnxml_keeps_definitions_and_exercises_apart(openstax: Reading) -> None:
    definitions = {span.text for span in openstax.spans if span.kind == "definition"}
    assert "atlas: first cervical (C1) vertebra" in definitions
    assert len(definitions) == 88
    question = next(span for span in openstax.spans if span.text.startswith("The cervical region of the vertebral"))
    together = [span for span in openstax.spans if span.locator == question.locator]
    assert [span.kind for span in together] == ["question", *["list_item"] * 4, "answer"]
    assert together[-1].text == "A"


def test_medquad_joins_documents_on_one_condition(medquad: Reading) -> None:
    groups = {document.title: document.group_id for document in medquad.documents}
    assert groups["Ankylosing spondylitis"] == groups["ankylosing spondylitis"]
    assert groups["Spinal Cord Injury"] == groups["Spinal Cord Injuries"]
    assert groups["Herniated Disk"] != groups["Spinal Stenosis"]
    assert len({document.group_id for document in medquad.documents}) == 10


def test_medquad_counts_pairs_without_an_answer(entries, tmp_path: Path) -> None:
    (tmp_path / "one.xml").write_text(
        "<Document><Focus>Kyphosis</Focus><QAPairs>"
        '<QAPair pid="1"><Question qtype="causes">Why?</Question><Answer>Age.</Answer></QAPair>'
        '<QAPair pid="2"><Question qtype="causes">Why then?</Question><Answer/></QAPair></QAPairs></Document>'
    )
    (tmp_path / "two.xml").write_text(
        "<Document><Focus>Lordosis</Focus><QAPairs>"
        '<QAPair pid="1"><Question qtype="causes">Why?</Question><Answer> </Answer></QAPair></QAPairs></Document>'
    )
    reading = read(entries["medquad"], tmp_path)
    assert (reading.found["pair"], reading.kept["pair"]) == (3, 1)
    assert [(drop.item, drop.reason) for drop in reading.drops] == [
        ("one.xml#QAPair[2]", "answer is empty"),
        ("two.xml#QAPair[1]", "answer is empty"),
        ("two.xml", "holds no answered question"),
    ]


def test_folder_without_modules_is_an_error(entries, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="holds no file like"):
        read(entries["openstax"], tmp_path)


# --- volumes ---------------------------------------------------------------------------------------------------------

TOTAL = {
    "image": "example_ct.nii.gz",
    "mask": "example_seg_fast_force_split.nii.gz",
    "label_map": "totalsegmentator",
    "modality": "CT",
    "group": "example",
    "truth": "model_mask",
    "pixel_mm": 3.0,
}


def volume(entries, options: dict[str, Any], root: Path) -> Reading:
    entry = copy.deepcopy(entries["ct"])
    entry["options"] = {"studies": [options]}
    return read(entry, root)


def test_sacrum_in_view_decides_the_numbering_of_a_lumbar_ct(entries, samples: Path) -> None:
    reading = volume(entries, TOTAL, samples / "ct" / "totalsegmentator_lumbar")
    (study,) = reading.studies
    assert study.numbering_determinable
    named = [mark.level for mark in study.marks]
    assert named == [Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5]
    assert [mark.fully_visible for mark in study.marks] == [False, True, True, True, True, True]
    heights = [mark.y_px for mark in study.marks]
    assert heights == sorted(heights)
    # Bodies lie in front of the canal: the marks run through the bright column, not through the processes behind it.
    assert all(55 < mark.x_px < 95 for mark in study.marks)
    assert any("sacrum" in caveat for caveat in study.caveats)


def test_the_same_scan_cut_above_the_sacrum_is_not_determinable(entries, samples: Path, tmp_path: Path) -> None:
    root = samples / "ct" / "totalsegmentator_lumbar"
    for name, reader in ((TOTAL["image"], read_nifti), (TOTAL["mask"], read_mask)):
        whole = reader(root / name)
        affine = whole.affine.copy()
        affine[:3, 3] += affine[:3, 2] * 60
        write_nifti(Volume(np.ascontiguousarray(whole.data[:, :, 60:]), affine, whole.unit), tmp_path / name)
    (study,) = volume(entries, TOTAL, tmp_path).studies
    assert not study.numbering_determinable
    assert study.marks
    assert all(mark.level is None for mark in study.marks)


def test_template_with_c2_is_numbered_and_its_lower_part_is_not(entries, samples: Path) -> None:
    options = {
        "image": "PAM50_small_t2.nii.gz",
        "disc_points": "PAM50_small_label_disc.nii.gz",
        "body_offset_mm": 18,
        "modality": "MR",
        "group": "template",
        "truth": "template",
        "fields_mm": [[40, 256], [200, 256]],
    }
    upper, lower = volume(entries, options, samples / "mr" / "pam50_small").studies
    assert upper.numbering_determinable
    assert [mark.level for mark in upper.marks][:3] == [Level.C2, Level.C3, Level.C4]
    assert not lower.numbering_determinable
    assert upper.group_id == lower.group_id


def test_image_without_mask_has_no_marks(entries, samples: Path) -> None:
    options = {
        "image": "t2_lumbar.nii.gz",
        "modality": "MR",
        "group": "one",
        "truth": "none",
        "no_anchor_in_view": True,
    }
    (study,) = volume(entries, options, samples / "mr" / "sct_t2_lumbar").studies
    assert study.marks == ()
    assert not study.numbering_determinable
    assert {finding.kind: finding.value for finding in study.findings} == {"modality": "MR", "plane": "sagittal"}


def test_image_that_nobody_looked_at_is_left_out_and_counted(entries, samples: Path) -> None:
    options = {"image": "t2_lumbar.nii.gz", "modality": "MR", "group": "one", "truth": "none"}
    reading = volume(entries, options, samples / "mr" / "sct_t2_lumbar")
    assert reading.studies == []
    assert [drop.reason for drop in reading.drops] == ["no mask, and nobody stated that no anchor is in view"]
    with pytest.raises(SourceError, match="no_anchor_in_view"):
        volume(entries, {**TOTAL, "no_anchor_in_view": True}, samples / "ct" / "totalsegmentator_lumbar")


def test_picture_is_cut_again_from_the_file_to_the_same_bytes(entries, samples: Path) -> None:
    root = samples / "ct" / "totalsegmentator_lumbar"
    reading = volume(entries, {**TOTAL, "layers": 2}, root)
    for study, blob in zip(reading.studies, reading.images):
        assert render_picture(root, json.loads(study.provenance)) == blob.bytes


def test_label_map_must_be_known(entries, samples: Path) -> None:
    with pytest.raises(SourceError, match="label_map 'totalsegmenter' is unknown"):
        volume(entries, {**TOTAL, "label_map": "totalsegmenter"}, samples / "ct" / "totalsegmentator_lumbar")


# --- phantoms --------------------------------------------------------------------------------------------------------


def test_phantom_is_rebuilt_from_its_draw_and_says_what_it_is(entries) -> None:
    reading = read_source(Source.model_validate(entries["phantom"]), Path())
    assert len(reading.studies) == 6
    for study, blob in zip(reading.studies, reading.images):
        assert study.origin == "phantom"
        assert study.caveats == ("computed phantom, not a patient",)
        assert render_phantom_picture(json.loads(study.provenance)) == blob.bytes
        fractured = [f for f in study.findings if f.kind == "fracture" and f.value != "none"]
        assert all(finding.amount is not None and finding.amount > 0 for finding in fractured)
    assert len({study.group_id for study in reading.studies}) == 6


def test_phantom_without_sacrum_has_no_level(entries) -> None:
    entry = copy.deepcopy(entries["phantom"])
    entry["options"]["phantom"]["sacrum_cropped_share"] = 1.0
    for study in read_source(Source.model_validate(entry), Path()).studies:
        assert not study.numbering_determinable
        assert all(mark.level is None for mark in study.marks)
