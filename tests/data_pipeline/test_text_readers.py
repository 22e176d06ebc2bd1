# ruff: noqa: E501 -- hostile files stand on one line each
"""PDF, JATS, HTML, Markdown, banks and grade tables become the same records; what is broken or hidden is counted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from data_pipeline.readers import read_source
from data_pipeline.readers.reading import Reading
from spinemed.records import Source


def read(folder: Path, kind: str, licence: str = "CC-BY-4.0", **options: Any) -> Reading:
    entry = {
        "id": "s", "kind": kind, "path": str(folder), "licence": licence, "allowed_use": ["train"], "attribution": "x",
        "options": options,
    }  # fmt: skip
    reading = read_source(Source.model_validate(entry), folder)
    for span in reading.spans:
        document = next(d for d in reading.documents if d.id == span.document_id)
        assert document.text[span.start : span.end] == span.text
    return reading


def texts(reading: Reading, kind: str) -> list[str]:
    return [span.text for span in reading.spans if span.kind == kind]


JATS = """<article><front><article-meta><title-group><article-title>A slip at L5</article-title></title-group>
<permissions><license><p>{licence}</p></license></permissions><abstract><p>One case.</p></abstract></article-meta></front>
<body><sec id="s1"><title>Case</title><p id="p1">A man of 40 years (see <xref ref-type="fig" rid="f1">Figure 1</xref>).</p>
<fig id="f1"><label>Figure 1</label><caption><p>Lateral view.</p></caption><graphic href="f1"/></fig>
<fig id="f2"><label>Figure 2</label><caption><p>Lost.</p></caption><graphic href="../../etc/passwd"/></fig>
<table-wrap id="t1"><label>Table 1</label><caption><p>Slips</p></caption><table><tr><td>L5</td><td>30 %</td></tr></table>
</table-wrap></sec></body><back><ref-list><ref><p>Not read.</p></ref></ref-list></back></article>"""


def test_jats_ties_figures_to_captions_and_mentions(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(JATS.format(licence="CC BY 4.0"))
    Image.new("L", (20, 10), 90).save(tmp_path / "f1.png")
    reading = read(tmp_path, "jats")
    assert texts(reading, "paragraph") == ["One case.", "A man of 40 years (see Figure 1)."]
    assert texts(reading, "caption") == ["Lateral view.", "Lost.", "Table 1 Slips"]
    assert texts(reading, "list_item") == ["L5 | 30 %"]
    (figure,) = reading.figures
    mention = next(span for span in reading.spans if span.id == figure.mention_span_ids[0])
    assert mention.locator == "p1"
    assert [drop.reason for drop in reading.drops] == ["picture is not among the files"]


def test_an_article_with_a_narrower_licence_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(JATS.format(licence="CC BY-NC-ND 4.0, non-commercial use only"))
    reading = read(tmp_path, "jats")
    assert reading.documents == []
    assert reading.drops[0].reason == "its own licence grants less than the entry of the source"


def test_html_keeps_what_is_seen_and_counts_what_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        "<html><head><title>Discs</title><script>evil()</script></head><body><h2>Anatomy</h2><p>Five <b>lumbar</b> "
        "vertebrae.</p><p style='font-size:0'>secret</p><!-- secret --><ul><li>L1</li><li>L2<span hidden>secret</span></li>"
        "</ul><table><tr><td>a</td><td>b</td></tr></table><figure id='f'><img src='p.png'><figcaption>A disc.</figcaption>"
        "</figure><figure><img src='http://x.org/p.png'><figcaption>Far.</figcaption></figure></body></html>"
    )
    Image.new("L", (20, 10), 90).save(tmp_path / "p.png")
    reading = read(tmp_path, "html")
    assert texts(reading, "paragraph") == ["Five lumbar vertebrae."]
    assert texts(reading, "list_item") == ["L1", "L2", "a b"]
    assert "secret" not in reading.documents[0].text
    assert len(reading.figures) == 1
    assert {drop.reason for drop in reading.drops} >= {"cannot be seen on the page", "is a comment or an instruction"}


def test_markdown_blocks_and_figures(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "---\nx: 1\n---\n# The spine\n\nFive **lumbar**\nvertebrae, see [here](http://x.org).\n\n- L1\n- L2\n\n"
        "![A disc](p.png)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<!-- secret -->\n<script>secret</script>\n", encoding="utf-8"
    )  # fmt: skip
    Image.new("L", (20, 10), 90).save(tmp_path / "p.png")
    reading = read(tmp_path, "markdown")
    assert reading.documents[0].title == "The spine"
    assert texts(reading, "paragraph") == ["Five lumbar vertebrae, see here."]
    assert texts(reading, "list_item") == ["L1", "L2", "a | b", "1 | 2"]
    assert "secret" not in reading.documents[0].text
    assert len(reading.figures) == 1


def test_banks_keep_questions_whole_and_count_broken_keys(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "question,A,B,answer,explanation\nHow many?,four,five,B,Five.\nWhich?,x,y,Z,\n,x,y,A,\n"
    )
    rows = [
        {"question": "Sign?", "options": {"A": "yes", "B": "no"}, "answer": "no"},
        {"question": "Index?", "options": ["yes", "no"], "answer": 0},
        [1],
    ]
    (tmp_path / "b.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n{broken\n")
    reading = read(tmp_path, "bank")
    assert texts(reading, "question") == ["How many?", "Sign?", "Index?"]
    assert texts(reading, "answer") == ["B: five. Five.", "B: no", "A: yes"]
    assert len({span.locator for span in reading.spans if span.text in ("How many?", "A. four", "B: five. Five.")}) == 1
    assert reading.found["question"] == 7
    assert sorted(drop.reason for drop in reading.drops) == [
        "is no JSON object", "is no JSON object", "question or choices are empty, or more than eight",
        "the key names no choice",
    ]  # fmt: skip


def test_a_row_that_an_unquoted_comma_shifted_is_left_out_by_name(tmp_path: Path) -> None:
    for name, kind, table, options in (
        ("bank", "bank", "question,A,B,answer\nHow many, then?,four,five,B\nWhich?,x,y,A\n", {}),
        ("captions", "bank", "article,licence,caption\nP1_a,CC BY,MRI of L2, T1\nP2_a,CC BY,CT of L3\n",
         {"layout": "captions", "licences": {"CC BY": "CC-BY-4.0"}}),
    ):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.csv").write_text(table)
        reading = read(tmp_path / name, kind, **options)
        assert [(drop.reason, drop.outcome) for drop in reading.drops] == [("has more cells than columns", "failed")]
        assert len([span for span in reading.spans if span.kind in ("question", "caption")]) == 1
    (tmp_path / "g.csv").write_text("image_id,level,grade\n5,L4/5,1,\n6,L4/5,1,2\n")
    graded = read(tmp_path, "grades", layout="buu_lspine", pattern="g.csv")
    assert [(drop.unit, drop.reason) for drop in graded.drops if drop.unit == "row"] == [
        ("row", "has more cells than columns")
    ], "a comma at the end of a row shifts nothing"


def test_a_gap_between_choices_never_moves_the_key(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("question,A,B,C,D,answer\nWhich?,one,,three,four,C\nLast?,one,two,,,B\n")
    many = {"question": "Nine?", "options": [str(n) for n in range(9)], "answer": 8}
    (tmp_path / "b.jsonl").write_text(json.dumps(many) + "\n" + json.dumps({**many, "answer": "\u00b2"}) + "\n")
    reading = read(tmp_path, "bank")
    assert texts(reading, "answer") == ["B: two"]
    assert len(reading.drops) == 3


@pytest.mark.parametrize(
    ("layout", "text", "wanted"),
    [
        (
            "spider",
            "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis,Disc herniation,Disc narrowing,Disc bulging,"
            "Pfirrman grade\n1,2,0,0,0,0,1,0,1,4\n",
            "L4/5: disc degeneration graded, grade IV (Pfirrmann 2001).",
        ),
        (
            "rsna2024",
            "study_id,left_neural_foraminal_narrowing_l5_s1\n77,Severe\n",
            "L5/S1: left neural foraminal narrowing graded, grade severe (RSNA 2024).",
        ),
        (
            "vindr_spinexr",
            "image_id,study_id,lesion_type\na,b,Osteophytes\n",
            "level not stated: osteophytes osteophyte.",
        ),
        ("buu_lspine", "image_id,level,grade\n5,L4/5,1\n", "L4/5: spondylolisthesis slip, grade I (Meyerding 1932)."),
    ],
)
def test_grade_tables_become_typed_findings(tmp_path: Path, layout: str, text: str, wanted: str) -> None:
    (tmp_path / "g.csv").write_text(
        text + text.splitlines()[1].replace("1,2,0", "1,99,0").replace("Severe", "Odd") + "\n"
    )
    reading = read(tmp_path, "grades", layout=layout)
    assert wanted in " ".join(texts(reading, "paragraph"))
    assert reading.found["row"] == 2


def pdf(path: Path, columns: int = 1) -> None:
    from reportlab.pdfgen import canvas

    page = canvas.Canvas(str(path), pagesize=(595, 842), invariant=1)
    page.setFont("Helvetica-Bold", 18)
    page.drawString(60, 780, "The lumbar spine")
    page.setFont("Helvetica", 10)
    for column in range(columns):
        for row in range(12):
            page.drawString(
                60 + 250 * column,
                740 - 14 * row,
                f"Column {column + 1} line {row + 1} tells of the verte-"
                if row == 0
                else f"brae and discs in line {row + 1}.",
            )
    page.drawString(60, 300, "Figure 1. A vertebra from above.")
    page.drawString(60, 250, "Figure 1 shows a vertebra in this sentence of the text.")
    page.drawString(60, -50, "outside the page")
    page.showPage()
    page.save()


def test_pdf_text_in_reading_order_with_page_and_box(tmp_path: Path) -> None:
    pdf(tmp_path / "one.pdf")
    pdf(tmp_path / "two.pdf", columns=2)
    reading = read(tmp_path, "pdf")
    one, two = reading.documents
    assert "of the vertebrae and discs in line 2." in one.text
    assert texts(reading, "heading") == ["The lumbar spine"] * 2
    assert texts(reading, "caption") == ["Figure 1. A vertebra from above."] * 2
    assert two.text.index("Column 1 line 1") < two.text.index("line 12") < two.text.index("Column 2 line 1")
    assert all(span.locator.startswith("page 1 (") for span in reading.spans)
    assert "outside" not in one.text


def test_a_page_that_pdfium_garbles_is_read_by_letters(tmp_path: Path) -> None:
    from reportlab.pdfgen import canvas

    from data_pipeline.readers.pdf_layout import read_pages

    page = canvas.Canvas(str(tmp_path / "a.pdf"), pagesize=(595, 842), invariant=1)
    for row in range(6):
        page.drawString(60, 700 - 20 * row, f"The spine has levels, line {row}.")
        page.drawString(64, 702 - 20 * row, f"Other words were printed over {row}.")
    page.showPage()
    page.save()
    (found,) = read_pages(str(tmp_path / "a.pdf"))
    assert found.method == "pdfplumber"
    assert found.blocks


def test_a_guidelines_sentence_carries_strength_and_grade(tmp_path: Path) -> None:
    (tmp_path / "g.md").write_text(
        "Exercise is recommended for chronic low back pain (strong recommendation, moderate-quality evidence).\n\n"
        "Bed rest should not be advised. Grade: B, strength of recommendation: weak.\n\n"
        "推荐行MRI检查（强推荐，证据等级：1b）。\n\nThe disc is of grade IV.\n",
        encoding="utf-8",
    )
    spans = read(tmp_path, "markdown").spans
    assert [(span.strength, span.evidence_grade) for span in spans] == [
        ("strong", "moderate"),
        ("weak", "B"),
        ("strong", "1b"),
        ("", ""),
    ]


def test_verse_folders_are_read_case_by_case(tmp_path: Path, samples: Path) -> None:
    import shutil

    crop = samples / "ct" / "tptbox_L3_crop"
    for name, image, mask in (
        ("sub-a", True, True),
        ("sub-b", True, False),
        ("sub-gl003", True, True),
        ("sub-z", True, True),
    ):
        (tmp_path / "rawdata" / name).mkdir(parents=True)
        (tmp_path / "derivatives" / name).mkdir(parents=True)
        if image:
            shutil.copy(crop / "sub-ct_label-22_ct.nii.gz", tmp_path / "rawdata" / name / f"{name}_ct.nii.gz")
        if mask:
            target = tmp_path / "derivatives" / name / f"{name}_seg-vert_msk.nii.gz"
            shutil.copy(crop / "sub-ct_seg-vert_label-22_msk.nii.gz", target)
    broken = tmp_path / "rawdata" / "sub-z" / "sub-z_ct.nii.gz"
    broken.write_bytes(broken.read_bytes()[:5000])
    entry = {
        "id": "v", "kind": "verse", "path": str(tmp_path), "licence": "CC-BY-SA-4.0", "allowed_use": ["train"],
        "attribution": "x", "legal_basis": "published",
    }  # fmt: skip
    reading = read_source(Source.model_validate(entry), tmp_path)
    assert [study.group_id for study in reading.studies] == ["v:sub-a"]
    assert {(drop.item, drop.reason) for drop in reading.drops} == {
        ("sub-b", "no vertebra mask; no centroid file"), ("sub-gl003", "published under CC BY-NC-ND"), ("sub-z", "broken file"),
    }  # fmt: skip


def bomb() -> bytes:
    entities = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    return f'<!DOCTYPE x [<!ENTITY a0 "ha">{entities}]><article><body><p>&a11;</p></body></article>'.encode()


HOSTILE: dict[str, dict[str, bytes]] = {
    "jats": {
        "bomb.xml": bomb(),
        "deep.xml": b"<article>" + b"<sec>" * 100_000 + b"</article>",
        "outside.xml": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><article><body><p>&e;</p></body></article>',
        "cut.xml": b"<article><body><p>half",
        "packed.xml": gzip.compress(b"0" * 10_000_000),
    },
    "html": {"deep.html": b"<div>" * 200_000, "empty.html": b"", "noise.html": bytes(range(256)) * 50},
    "markdown": {"noise.md": bytes(range(256)), "long.md": b"![" * 200_000, "tags.md": b"<!--" * 100_000},
    "bank": {"deep.jsonl": b"[" * 200_000, "quote.csv": b'question,A,B,answer\n"open', "noise.csv": b"\xff\xfe\x00"},
    "pdf": {
        "cut.pdf": b"%PDF-1.7\n1 0 obj\n<</Type /Catalog /Pages 2 0 R>>\nendobj\n",
        "noise.pdf": b"%PDF-1.7\n" + bytes(range(256)) * 200,
        "loop.pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[2 0 R]/Count 1>>endobj\n"
        b"xref\n0 3\n0000000000 65535 f \n0000000009 00000 n \n0000000052 00000 n \ntrailer<</Root 1 0 R/Size 3>>\nstartxref\n107\n%%EOF",
    },
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_hostile_files_are_counted_and_the_rest_is_read(tmp_path: Path, kind: str) -> None:
    for name, data in HOSTILE[kind].items():
        (tmp_path / name).write_bytes(data)
    good = {
        "jats": ("z.xml", JATS.format(licence="CC BY 4.0").encode()),
        "html": ("z.html", b"<p>Five lumbar vertebrae.</p>"),
        "markdown": ("z.md", b"Five lumbar vertebrae."),
        "bank": ("z.csv", b"question,A,B,answer\nHow many?,four,five,B\n"),
    }
    if kind == "pdf":
        pdf(tmp_path / "z.pdf")
    else:
        (tmp_path / good[kind][0]).write_bytes(good[kind][1])
    reading = read(tmp_path, kind, wall_s=20, cpu_s=8)
    assert any(document.file.startswith("z.") for document in reading.documents)
    refused = {drop.item for drop in reading.drops if drop.outcome == "failed"}
    never_read = {
        "bomb.xml",
        "deep.xml",
        "outside.xml",
        "cut.xml",
        "packed.xml",
        "noise.md",
        "quote.csv",
        "noise.csv",
        "cut.pdf",
        "noise.pdf",
    }
    assert refused >= never_read & set(HOSTILE[kind])
    assert "root:" not in "".join(document.text for document in reading.documents)


def test_a_link_out_of_the_source_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.md").write_text("secret")
    (tmp_path / "in" / "a.md").symlink_to(tmp_path / "secret.md")
    (tmp_path / "in" / "b.md").write_text("Open.")
    reading = read(tmp_path / "in", "markdown")
    assert [document.text for document in reading.documents] == ["Open."]
    assert reading.drops[0].reason == "leads out of the source"


def test_a_planted_injection_stays_text_and_hidden_ones_never_become_text(
    injected: dict[str, dict[str, Any]], injection: str
) -> None:
    assert set(injected) >= {"cnxml", "medquad", "jats", "html", "markdown", "bank", "grades", "pdf"}
    for kind, entry in injected.items():
        reading = read_source(Source.model_validate(entry), Path(entry["path"]))
        whole = "\n".join(document.text for document in reading.documents)
        assert "Ignore all previous instructions" in whole, kind  # kept as data, in a span of its own document
        assert "HIDDEN" not in whole, kind
        assert len(reading.documents) == (2 if kind == "grades" else 1), kind


@pytest.mark.parametrize("row", ["1,0,0,0,0,0,1,0,1,4", "1,2,0,0,0,0,1,0,1,0", "1,-1,0,0,0,0,1,0,1,4"])
def test_a_grade_or_disc_below_one_is_a_broken_row_and_not_the_last_of_its_list(row: str) -> None:
    from data_pipeline.readers.grades import table_findings

    head = "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis,Disc herniation,Disc narrowing,"
    text = f"{head}Disc bulging,Pfirrman grade\n{row}\n"
    assert list(table_findings(text.encode(), "spider", "g.csv")) == ["a value that the layout does not know"]


def test_columns_without_a_finding_are_counted(tmp_path: Path) -> None:
    (tmp_path / "g.csv").write_text(
        "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis,Disc herniation,Disc narrowing,Disc bulging,"
        "Pfirrman grade\n1,2,0,1,0,0,1,0,1,4\n"
    )
    reading = read(tmp_path, "grades", layout="spider")
    unread = [drop.item for drop in reading.drops if drop.unit == "column"]
    assert unread == ["g.csv#disc bulging", "g.csv#low endplate", "g.csv#up endplate"]
    assert (reading.found["column"], reading.kept["column"]) == (10, 7)
