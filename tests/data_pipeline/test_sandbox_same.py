"""A source read in limited child processes gives what its parser gives by itself: the limits take nothing away."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from data_pipeline.readers import read_source
from data_pipeline.readers.reading import Reading
from data_pipeline.sandbox import Answer, Limits
from spinemed.records import Source

BUNDLED = ["openstax", "medquad", "roco", "tptbox-ct"]


def in_this_process(job: str, arguments: dict[str, Any], limits: Limits | None = None) -> Answer:
    """What the child does, less the child: through JSON both ways, so that nothing else could cross."""
    module, _, name = job.partition(":")
    answer, parts = getattr(importlib.import_module(module), name)(**json.loads(json.dumps(arguments)))
    return json.loads(json.dumps(answer)), parts


def read_both_ways(source: Source, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Reading:
    apart = read_source(source, folder)
    jobs: list[str] = []

    def counted(job: str, arguments: dict[str, Any], limits: Limits | None = None) -> Answer:
        jobs.append(job)
        return in_this_process(job, arguments, limits)

    for module in ("files", "dicom", "medquad"):
        monkeypatch.setattr(f"data_pipeline.readers.{module}.run_limited", counted)
    here = read_source(source, folder)
    assert jobs, "nothing of this source was parsed in a child: the comparison would prove nothing"
    assert here == apart
    return apart


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sources(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = root / "configs" / "data" / "sources_samples.yaml"
    entry = next(e for e in yaml.safe_load(listed.read_text(encoding="utf-8"))["sources"] if e["id"] == name)
    reading = read_both_ways(Source.model_validate(entry), (listed.parent / entry["path"]).resolve(), monkeypatch)
    assert reading.documents or reading.studies


def write_pdf(path: Path) -> None:
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas

    page = canvas.Canvas(str(path), pagesize=(595, 842), invariant=1)
    page.setFont("Helvetica", 10)
    for row in range(12):
        page.drawString(60, 740 - 14 * row, f"Line {row + 1} tells of vertebrae and discs of the lumbar spine.")
    picture = Image.effect_mandelbrot((200, 160), (-2, -1.5, 1, 1.5), 60).convert("RGB")
    page.drawImage(ImageReader(picture), 60, 360, 200, 160)
    page.drawString(60, 340, "Figure 1. A vertebra from above.")
    page.drawString(60, 300, "Figure 1 shows a vertebra in this sentence of the text.")
    page.showPage()
    page.save()


MADE: dict[str, dict[str, str]] = {
    "jats": {
        "a.xml": "<article><front><article-meta><title-group><article-title>A slip</article-title></title-group>"
        "<permissions><license><p>CC BY 4.0</p></license></permissions></article-meta></front><body><sec id='s'>"
        "<p id='p1'>A man of 40 (<xref ref-type='fig' rid='f1'>Figure 1</xref>).</p><fig id='f1'>"
        "<label>Figure 1</label><caption><p>Lateral view.</p>"
        "</caption><graphic href='f1'/></fig></sec></body></article>",
    },
    "html": {
        "a.html": "<html lang='en'><head><title>Spine</title></head><body><h1>Discs</h1><p>Five lumbar discs.</p>"
        "<ul><li>L4/5</li></ul><table><tr><td>a</td><td>b</td></tr></table><figure><img src='f1.png'>"
        "<figcaption>A disc.</figcaption></figure><script>no</script></body></html>",
    },
    "markdown": {"a.md": "# The spine\n\nFive **lumbar** vertebrae.\n\n- L1\n- L2\n\n![A disc](f1.png)\n"},
    "bank": {"a.csv": "question,A,B,answer,explanation\nHow many?,four,five,B,Five.\nWhich?,x,y,Z,\n"},
    "grades": {
        "g.csv": "Patient,IVD label,Modic,UP endplate,LOW endplate,Spondylolisthesis,Disc herniation,Disc narrowing,"
        "Disc bulging,Pfirrman grade\n1,2,0,0,0,0,1,0,1,4\n1,99,0,0,0,0,1,0,1,4\n"
    },
    "pdf": {},
}


@pytest.mark.parametrize("kind", sorted(MADE))
def test_made_sources(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MADE[kind].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    if kind == "pdf":
        write_pdf(tmp_path / "a.pdf")
    elif kind in ("jats", "html", "markdown"):
        Image.new("L", (20, 10), 90).save(tmp_path / "f1.png")
    entry = {
        "id": "s", "kind": kind, "path": str(tmp_path), "licence": "CC-BY-4.0", "allowed_use": ["train"],
        "attribution": "x", "options": {"layout": "spider"} if kind == "grades" else {},
    }  # fmt: skip
    reading = read_both_ways(Source.model_validate(entry), tmp_path, monkeypatch)
    assert reading.documents
    assert len(reading.figures) == (1 if kind in ("jats", "html", "markdown", "pdf") else 0)
