"""PDF files: text in reading order with page and box of every block, and figures tied to captions and mentions.

Convention: a span's locator is `page N (left, bottom, right, top)` in points. Blocks in clearly larger letters than the
document's usual ones are headings. A figure is what stands on the page at its place, rendered; which caption it has is
decided by :mod:`data_pipeline.figures.matching`, and every pair is kept with its score. A pair with a low score gives
no figure until a person has approved it in the source's approvals file; what is decided there never changes the text.

Trap: a scanned page has no text. It is dropped with that reason, never read by guess; run an OCR program first.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from data_pipeline.figures.captions import Candidate
from data_pipeline.figures.labels import Mentioned, caption_head, link_mentions
from data_pipeline.figures.matching import Match, MatchedFigure, match_figures
from data_pipeline.readers.documents import add_document, check_picture
from data_pipeline.readers.files import FileOptions, pack, read_files
from data_pipeline.readers.pdf_layout import Block, Box, Page, read_pages
from data_pipeline.readers.pdf_render import render_parts
from data_pipeline.readers.reading import Blocks, Reading, SpanKind, read_options, short_id
from data_pipeline.records import FigureDecision, FigurePair
from data_pipeline.sandbox import Answer
from spinemed.errors import ReadError
from spinemed.records import Figure, Source
from spinemed.tables import read_jsonl

__all__ = ["APPROVALS", "PdfOptions", "parse_pdf", "read_pdf"]

APPROVALS = "figure_approvals.jsonl"
"""Name of the file, in the source's folder, that says which waiting pairs a person approved or rejected."""


class PdfOptions(FileOptions):
    """Options of a `pdf` source."""

    pattern: str = "*.pdf"
    """Which files of the folder are read."""
    cpu_s: float = 120.0
    """Longest processor time that reading one document may take."""
    wall_s: float = 300.0
    """Longest time of it."""
    figure_edge_px: int = Field(default=1200, ge=64, le=4096)
    """Longest edge of a rendered figure."""


def read_pdf(source: Source, root: Path) -> Reading:
    """Read all PDF files of a source, with the decisions of its approvals file.

    Raises:
        ReadError: No file fits the pattern, or the approvals file is damaged.
        RecordError: A decision breaks its contract.
    """
    options = read_options(source, PdfOptions)
    decisions: dict[str, str] = {}
    approvals = root / APPROVALS
    if root.is_dir() and approvals.is_file():
        for decision in read_jsonl(approvals, FigureDecision):
            decisions[f"{decision.figure_id} {decision.caption_span_id}"] = decision.decision
    reading = read_files(
        source, root, "data_pipeline.readers.pdf:parse_pdf", options,
        edge_px=options.figure_edge_px, decisions=decisions,
    )  # fmt: skip
    known = {f"{pair.figure_id} {pair.caption_span_id}" for pair in reading.figure_pairs}
    for key in decisions:
        if key in known:
            reading.keep("decision")
        else:
            reading.drop("decision", key, "no such pair: its figure or caption has changed")
    return reading


def parse_pdf(
    path: str, name: str, source: dict[str, Any], edge_px: int = 1200, decisions: dict[str, str] | None = None
) -> Answer:
    """Parse one PDF; runs in the sandbox.

    Raises:
        ReadError: It is no PDF, encrypted, damaged, or without a text layer.
    """
    entry, file = Source.model_validate(source), Path(path)
    data = file.read_bytes()
    reading = Reading(entry.id)
    blocks = Blocks(short_id("doc", entry.id, name, data.hex()[:64], len(data)))
    try:
        pages = read_pages(path)
    except ValueError as error:
        raise ReadError(
            f"is no readable PDF ({error})", file=name, cure="open and save it again, without a password"
        ) from error
    match = match_figures(pages)
    _account(reading, pages, match, name)
    title, captions = _add_text(reading, blocks, pages, match, name, file.stem)
    if not blocks.spans:
        raise ReadError("holds no text layer", file=name, cure="run an OCR program over it first")
    add_document(reading, entry, blocks, name, data, title)
    _add_figures(reading, blocks, match, captions, path, name, edge_px, decisions or {})
    return pack(reading)


# --- text ------------------------------------------------------------------------------------------------------------


def _account(reading: Reading, pages: Sequence[Page], match: Match, name: str) -> None:
    """Count what is on the pages and becomes neither text nor figure."""
    for page in pages:
        where = f"{name}#page {page.number}"
        for number in range(page.unseen):
            reading.drop("line", f"{where} unseen {number}", "cannot be seen on the page")
        for number in range(len(page.running)):
            reading.drop("line", f"{where} margin {number}", "is a running head or a page number")
        for number in range(page.repeated):
            reading.drop("picture", f"{where} repeated {number}", "stands on several pages: a logo, no figure")
        if page.beyond:
            reading.drop("page's objects", where, "more than 60,000: the rest was not looked at", str(page.beyond))
        for number in range(page.small):
            reading.drop("picture", f"{where} small {number}", "is smaller than 20 points")
    for number, region in enumerate(match.regions):
        reason = "is drawn as a table" if "table" in region.marks else "has no caption"
        reading.drop("picture", f"{name}#page {region.page} region {number}", reason, ", ".join(region.marks))
    for number, caption in enumerate(match.captions):
        reading.drop("figure", f"{name}#page {caption.page} caption {number}", "no picture found for its caption")


def _add_text(
    reading: Reading, blocks: Blocks, pages: Sequence[Page], match: Match, name: str, stem: str
) -> tuple[str, dict[int, str]]:  # fmt: skip
    """All blocks as spans. Returns the title and, for each matched caption (by identity), its span's id."""
    for page in pages:
        for region in match.regions:
            if region.page == page.number:
                page.release(region)
    for figure in match.figures:
        for region in figure.regions:
            for number in range(len(region.lines)):
                item = f"{name}#page {region.page} figure {figure.box[0]:.0f} {figure.box[1]:.0f} line {number}"
                reading.drop("line", item, "is printed inside a figure")
    matched = {id(figure.caption): figure.caption for figure in match.figures}
    first = {id(caption.blocks[0]): caption for caption in matched.values()}
    rest = {id(block) for caption in matched.values() for block in caption.parts[1:]}
    title, section = stem, ""
    ids: dict[int, str] = {}
    for page in pages:
        if not page.blocks:
            reason = "has no text layer: run OCR first" if page.regions or page.small else "is empty"
            reading.drop("page", f"{name}#page {page.number}", reason)
            continue
        reading.keep("page")
        usual = statistics.median(line.em for block in page.blocks for line in block.lines)
        for block in page.blocks:
            if id(block) in rest:
                continue
            caption: Candidate | None = first.get(id(block))
            kind: SpanKind = "caption" if caption is not None else _kind(block, min(usual, page.body))
            text = block.text if caption is None else caption.text
            where = _locator(page.number, block.box if caption is None else caption.box)
            span_id = blocks.add(kind, text, section, where)
            if caption is not None and span_id is not None:
                ids[id(caption)] = span_id
            if span_id is not None and kind == "heading":
                title = text[:200] if title == stem and page.number == 1 else title
                section = text[:200]
    return title, ids


def _locator(page: int, box: Box) -> str:
    return f"page {page} ({', '.join(f'{value:.0f}' for value in box)})"


def _kind(block: Block, usual: float) -> SpanKind:
    text = block.text
    head = caption_head(text)
    if head is not None and not head.sentence and len(text) < 2500:
        return "caption"
    return "heading" if block.em > 1.2 * usual and len(text) < 200 else "paragraph"


# --- figures ---------------------------------------------------------------------------------------------------------


def _add_figures(
    reading: Reading, blocks: Blocks, match: Match, captions: dict[int, str], path: str, name: str, edge_px: int,
    decisions: dict[str, str],
) -> None:  # fmt: skip
    """Figures of sure and approved pairs; every pair with its score and its picture."""
    figures = [figure for figure in match.figures if id(figure.caption) in captions]
    parts = [
        (figure.page, figure.box, max(region.pixels_per_point for region in figure.regions)) for figure in figures
    ]  # fmt: skip
    pictures = [check_picture(data, name) for data in render_parts(path, parts, edge_px)]
    ids = [
        short_id("fig", blocks.document_id, figure.page, _label(figure), [round(v) for v in figure.box], picture.sha256)
        for figure, picture in zip(figures, pictures)
    ]
    mentioned = [
        Mentioned(key, figure.labels, (), captions[id(figure.caption)]) for key, figure in zip(ids, figures)
    ]  # fmt: skip
    texts = [(span.id, span.text) for span in blocks.spans if span.kind != "heading"]
    mentions = link_mentions(mentioned, texts)
    for key, figure, picture in zip(ids, figures, pictures):
        caption = captions[id(figure.caption)]
        decision = decisions.get(f"{key} {caption}", "")
        waits = figure.queued and not decision
        reading.images.append(picture)
        reading.figure_pairs.append(
            FigurePair(
                figure_id=key, document_id=blocks.document_id, caption_span_id=caption, mention_span_ids=mentions[key],
                image_sha256=picture.sha256, label=_label(figure), page=figure.page, box=figure.box,
                caption_box=figure.caption.box, place=figure.place, shared=figure.shared, score=figure.score,
                parts=json.dumps(figure.parts, sort_keys=True), reason="; ".join(figure.reasons), queue=waits,
                decision=_decision(decision, figure.queued),
            )
        )  # fmt: skip
        item = f"{name}#page {figure.page} {_label(figure) or 'unnumbered'}"
        if waits:
            reading.drop("figure", item, "waits for a person", f"score {figure.score:.2f}: {'; '.join(figure.reasons)}")
        elif decision == "reject":
            reading.drop("figure", item, "a person rejected the pair")
        else:
            reading.figures.append(
                Figure(
                    id=key, document_id=blocks.document_id, image_sha256=picture.sha256, caption_span_id=caption,
                    mention_span_ids=mentions[key], label=_label(figure),
                )
            )  # fmt: skip
            reading.keep("figure")


def _decision(said: str, queued: bool) -> Literal["", "by score", "approve", "reject"]:
    if said in ("approve", "reject"):
        return "approve" if said == "approve" else "reject"
    return "" if queued else "by score"


def _label(figure: MatchedFigure) -> str:
    """As printed; of figures that share a caption each has its own number."""
    head = figure.caption.head
    if head is None:
        return ""
    if len(figure.labels) == 1 and len(head.labels) > 1:
        return f"{figure.labels[0].kind.capitalize()} {figure.labels[0].number}"
    return head.printed
