"""The picture of `data_pipeline/docs/figure_walk.md`: one figure from a PDF page to a released item. Look at it.

    python benchmarks/pictures_figures.py        # writes data_pipeline/docs/figure_walk.png

The bundled module on the vertebral column is printed to PDF in two columns, `spinemed data run` reads it with the rule
writer, and the page is drawn with the boxes of figure, caption and mention, beside the item that was released.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from lxml import etree
from PIL import Image as Picture
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, Image, KeepTogether, PageTemplate, Paragraph, Spacer

ROOT = Path(__file__).resolve().parent.parent
OPENSTAX = ROOT / "samples" / "text" / "openstax"
OUT = ROOT / "data_pipeline" / "docs" / "figure_walk.png"
CREDIT = "OpenStax, Anatomy and Physiology 2e (Betts et al.), CC BY 4.0"


@dataclass
class ModuleTruth:
    """What a printed module holds."""

    captions: dict[str, str] = field(default_factory=dict)
    """Printed number -> caption as printed."""
    mentions: dict[str, list[str]] = field(default_factory=dict)
    """Printed number -> beginnings of the paragraphs that mention it."""


def print_module(
    path: Path, module: str = "m46352", *, columns: int = 2, chapter: str = "7.", edge_px: int = 700
) -> ModuleTruth:
    """Print a bundled module to PDF, its figures numbered as in the book. Same arguments, same bytes."""
    tree = etree.parse(str(OPENSTAX / f"{module}.cnxml"), etree.XMLParser(resolve_entities=False, no_network=True))
    figures = [element for element in tree.iter("{*}figure") if _picture(element) is not None]
    numbers = {element.get("id"): f"{chapter}{place}" for place, element in enumerate(figures, start=1)}
    truth = ModuleTruth(mentions={number: [] for number in numbers.values()})
    margin, gutter = 48.0, 20.0
    width = (A4[0] - 2 * margin - (columns - 1) * gutter) / columns
    body = ParagraphStyle("body", fontName="Times-Roman", fontSize=9.5, leading=11.6, alignment=4, spaceAfter=4)
    heading = ParagraphStyle("heading", fontName="Helvetica-Bold", fontSize=12, leading=15, spaceBefore=6, spaceAfter=3)
    caption = ParagraphStyle("caption", fontName="Helvetica", fontSize=8, leading=9.8, spaceAfter=10)
    story: list[Flowable] = [
        Paragraph("The Vertebral Column", ParagraphStyle("top", parent=heading, fontSize=17, leading=22))
    ]
    for element in tree.getroot().iter("{*}para", "{*}title", "{*}figure"):
        tag = etree.QName(element).localname
        above = {etree.QName(each).localname for each in element.iterancestors()}
        if "metadata" in above or "exercise" in above or element.getparent() is tree.getroot():
            continue
        if tag == "title" and not above & {"figure", "list", "table"}:
            story.append(Paragraph(_plain(element, numbers), heading))
        elif tag == "para" and "figure" not in above:
            text = _plain(element, numbers)
            if text:
                story.append(Paragraph(text, body))
                for name, number in numbers.items():
                    if f"[{name}]" in _plain(element, {}):
                        truth.mentions[number].append(re.sub(r"&\w+;", "", text)[:60])
        elif tag == "figure" and element.get("id") in numbers:
            number = numbers[element.get("id")]
            words = " ".join(_plain(each, numbers) for each in element if etree.QName(each).localname == "caption")
            story.append(_figure(_picture(element), f"<b>Figure {number}</b> {words}", caption, width, edge_px))  # type: ignore[arg-type]
            truth.captions[number] = (
                f"Figure {number} {words}".replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">")
            )
    frames = [
        Frame(margin + place * (width + gutter), margin, width, A4[1] - 2 * margin, 0, 0, 0, 0)
        for place in range(columns)
    ]
    document = BaseDocTemplate(str(path), pagesize=A4, invariant=1, title=module)
    document.addPageTemplates(PageTemplate("page", frames))
    document.build(story)
    return truth


def _picture(figure: Any) -> Path | None:
    name = next((Path(image.get("src")).name for image in figure.iter("{*}image")), "")
    return OPENSTAX / "media" / name if (OPENSTAX / "media" / name).is_file() and name else None


def _plain(element: Any, numbers: dict[str, str]) -> str:
    """An element's words as markup: links to figures as their printed number."""
    pieces = [element.text or ""]
    for child in element:
        tag = etree.QName(child).localname if isinstance(child.tag, str) else ""
        target = child.get("target-id") if tag == "link" else None
        if target in numbers:
            pieces.append(f"Figure {numbers[target]}")
        elif target:
            pieces.append(f"[{target}]")
        elif tag not in ("figure", "list", "note", "table", "exercise", ""):
            pieces.append(_plain(child, numbers))
        pieces.append(child.tail or "")
    text = " ".join("".join(pieces).split())
    return text if "&amp;" in text else text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _figure(path: Path, words: str, style: ParagraphStyle, width: float, edge_px: int) -> Flowable:
    with Picture.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail((edge_px, edge_px))
    stream = io.BytesIO()
    small.save(stream, "JPEG", quality=85)
    stream.seek(0)
    wide = min(width, 230.0)
    image = Image(stream, wide, wide * small.height / small.width)
    return KeepTogether([Spacer(1, 6), image, Spacer(1, 5), Paragraph(words, style)])


def run_pipeline(folder: Path) -> Path:
    """Print the module, run the pipeline over it, and return the run folder."""
    (folder / "pdf").mkdir(parents=True, exist_ok=True)
    print_module(folder / "pdf" / "vertebral_column.pdf")
    source = {
        "id": "book", "kind": "pdf", "path": "pdf", "licence": "CC-BY-4.0",
        "allowed_use": ["train", "evaluate", "redistribute"], "attribution": CREDIT,
    }  # fmt: skip
    (folder / "sources.yaml").write_text(yaml.safe_dump({"sources": [source]}))
    config = {"sources": "sources.yaml", "release": {"fractions": {"train": 1.0, "validation": 0.0, "test": 0.0}}}
    (folder / "data.yaml").write_text(yaml.safe_dump(config))
    command = (
        sys.executable,
        "-P",
        "-m",
        "spinemed",
        "data",
        "run",
        str(folder / "data.yaml"),
        "--out",
        str(folder / "run"),
    )
    subprocess.run(command, check=True, cwd=ROOT)
    return folder / "run"


def draw(run: Path, pdf: Path, out: Path, label: str = "Figure 7.1") -> None:
    """The page with its boxes on the left, the released item on the right."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import pypdfium2 as pdfium  # type: ignore[import-untyped]
    from matplotlib.patches import Rectangle

    corpus = run / "outputs" / "corpus"
    spans = {row["id"]: row for row in pq.read_table(corpus / "spans.parquet").to_pylist()}
    pair = next(row for row in pq.read_table(corpus / "figure_pairs.parquet").to_pylist() if row["label"] == label)
    rows = [
        row
        for file in sorted((run / "outputs/release/data").glob("*.parquet"))
        for row in pq.read_table(file).to_pylist()
    ]
    item = next(row for row in rows if pair["figure_id"] in row["evidence_ids"])
    mentions = [spans[name] for name in pair["mention_span_ids"]]
    mention = next(span for span in mentions if span["locator"].startswith(f"page {pair['page']} "))
    document = pdfium.PdfDocument(pdf)
    page = document[pair["page"] - 1]
    width, height = page.get_size()
    sheet = page.render(scale=1.6).to_pil()
    document.close()
    figure = plt.figure(figsize=(11.4, 7.4), dpi=100)
    left = figure.add_axes((0.01, 0.02, 0.50, 0.92))
    left.imshow(sheet, extent=(0, width, 0, height))
    left.axis("off")
    left.set_title(f"Page {pair['page']} of the PDF", fontsize=11, loc="left")
    where = [float(value) for value in re.findall(r"-?\d+(?=[,)])", mention["locator"])]
    for box, colour, name in (
        (pair["box"], "#c0392b", "figure"), (pair["caption_box"], "#1f618d", "caption"), (where, "#1e8449", "mention"),
    ):  # fmt: skip
        left.add_patch(
            Rectangle((box[0] - 3, box[1] - 3), box[2] - box[0] + 6, box[3] - box[1] + 6, fill=False, ec=colour, lw=2)
        )
        tag = {"fc": colour, "ec": "none", "pad": 1.5}
        left.text(box[0] - 7, box[3], name, color="white", fontsize=9, ha="right", va="top", bbox=tag)
    right = figure.add_axes((0.54, 0.02, 0.45, 0.92))
    right.axis("off")
    right.set_title("The released item", fontsize=11, loc="left")
    with Picture.open(io.BytesIO(item["images"][0]["bytes"])) as shown:
        inset = figure.add_axes((0.54, 0.60, 0.30, 0.32))
        inset.imshow(shown.convert("RGB"))
        inset.axis("off")
    text = "\n".join(
        line for part in item["messages"][0]["content"].replace("<image>", "[picture]").split("\n")
        for line in (textwrap.wrap(part, 66) or [""])
    )  # fmt: skip
    facts = [
        f"pair: score {pair['score']:.2f}, caption {pair['place']} the picture",
        f"mentions: {len(mentions)} paragraphs name {label}",
        f"evidence: {', '.join(item['evidence_ids'])}",
        f"item: {item['id']}   licence: {item['licence']}",
    ]
    lines = "\n".join(line for fact in facts for line in textwrap.wrap(fact, 72))
    right.text(0, 0.60, f"{text}\n\nanswer: {item['answer']}", va="top", fontsize=8.6)
    right.text(0, 0.01, lines, va="bottom", fontsize=7.8, family="monospace", color="#333333")
    out.parent.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    figure.savefig(stream, metadata={"Software": None})
    plt.close(figure)
    with Picture.open(stream) as whole:
        whole.convert("RGB").quantize(160, dither=Picture.Dither.NONE).save(out, optimize=True)


def main() -> None:
    """Print, run, draw."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = run_pipeline(folder)
        draw(run, folder / "pdf" / "vertebral_column.pdf", OUT)
    print(f"{OUT.relative_to(ROOT)}: {OUT.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
