"""PDF files: text in reading order with page and box of every block; pictures are counted for the figure matcher.

Convention: a span's locator is `page N (left, bottom, right, top)` in points. Blocks in clearly larger letters than the
page's usual ones are headings; those that begin with a figure or table number are captions.

Trap: a scanned page has no text. It is dropped with that reason, never read by guess; run an OCR program first.
"""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Any

from data_pipeline.readers.documents import add_document
from data_pipeline.readers.files import FileOptions, pack, read_files
from data_pipeline.readers.pdf_layout import Block, Page, read_pages
from data_pipeline.readers.reading import Blocks, Reading, SpanKind, read_options, short_id
from data_pipeline.sandbox import Answer
from spinemed.errors import ReadError
from spinemed.records import Source

__all__ = ["PdfOptions", "parse_pdf", "read_pdf"]

_CAPTION = re.compile(
    r"^(?:fig(?:ure|\.)?|table|scheme|plate|图|圖|表)[ ]?\.?[ ]?[A-Z]?\d{1,3}(?:[.\-]\d{1,3})?[a-z]?"
    r"(?=[\s.:|)，。、：]|$)",
    re.I,
)
_VERB = re.compile(
    r"^\S+ ?\S* (?:shows?|showed|illustrates?|depicts?|presents?|is|are|lists?|gives?|demonstrates?)\b", re.I
)


class PdfOptions(FileOptions):
    """Options of a `pdf` source."""

    pattern: str = "*.pdf"


def read_pdf(source: Source, root: Path) -> Reading:
    """Read all PDF files of a source.

    Raises:
        ReadError: No file fits the pattern.
    """
    return read_files(source, root, "data_pipeline.readers.pdf:parse_pdf", read_options(source, PdfOptions))


def parse_pdf(path: str, name: str, source: dict[str, Any]) -> Answer:
    """Parse one PDF; runs in the sandbox.

    Raises:
        ReadError: It is no PDF, encrypted, damaged, or without a text layer.
    """
    entry, file = Source.model_validate(source), Path(path)
    data = file.read_bytes()
    reading = Reading(entry.id)
    blocks = Blocks(short_id("doc", entry.id, name, data.hex()[:64], len(data)))
    title, section = file.stem, ""
    try:
        pages = list(read_pages(path))
    except ValueError as error:
        raise ReadError(
            f"is no readable PDF ({error})", file=name, cure="open and save it again, without a password"
        ) from error
    for page in pages:
        where = f"{name}#page {page.number}"
        if not page.blocks:
            reading.drop("page", where, "has no text layer: run OCR first" if page.pictures else "is empty")
            continue
        reading.keep("page")
        for number in range(page.unseen):
            reading.drop("line", f"{where} unseen {number}", "cannot be seen on the page")
        usual = _usual_height(page)
        for block in page.blocks:
            kind = _kind(block, usual)
            box = ", ".join(f"{value:.0f}" for value in block.box)
            text = block.text
            if blocks.add(kind, text, section, f"page {page.number} ({box})") and kind == "heading":
                title = text[:200] if title == file.stem and page.number == 1 else title
                section = text[:200]
        for number in range(len(page.pictures)):
            reading.drop("picture", f"{where} picture {number}", "not tied to a caption by this reader")
    if not blocks.spans:
        raise ReadError("holds no text layer", file=name, cure="run an OCR program over it first")
    add_document(reading, entry, blocks, name, data, title)
    return pack(reading)


def _usual_height(page: Page) -> float:
    return statistics.median(line.height for block in page.blocks for line in block.lines)


def _kind(block: Block, usual: float) -> SpanKind:
    text = block.text
    if _CAPTION.match(text) and not _VERB.match(text):
        return "caption"
    height = statistics.median(line.height for line in block.lines)
    if height > 1.35 * usual and len(text) < 200:
        return "heading"
    return "paragraph"
