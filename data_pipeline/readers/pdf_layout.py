"""A PDF page as lines, blocks in reading order, and pictures with their boxes.

Convention: boxes are points from the page's lower left corner (left, bottom, right, top), as PDF counts. Lines come
from PDFium; a page whose lines PDFium garbles (signs that are none, lines that lie over each other) is read again by
pdfplumber, which is slower and places every letter itself. Columns: a gutter that few lines cross splits the page;
lines across it end a band, and within a band the left column comes first.

Trap: text that nobody sees (outside the page, in letters below one point, white on white is not checked) is an old
place for hidden instructions; such lines are left out and counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

__all__ = ["Block", "Line", "Page", "read_pages"]

Box = tuple[float, float, float, float]
_SMALLEST_PT = 1.5
_MOST_PAGES = 3000


@dataclass(frozen=True)
class Line:
    """One printed line."""

    text: str
    box: Box

    @property
    def height(self) -> float:
        """Of its letters, in points."""
        return self.box[3] - self.box[1]


@dataclass(frozen=True)
class Block:
    """Lines that belong together: a paragraph, a heading, a caption."""

    lines: tuple[Line, ...]

    @property
    def text(self) -> str:
        """Lines joined; a hyphen at a line's end joins two halves of a word."""
        out = ""
        for line in self.lines:
            piece = line.text.strip()
            if out.endswith("-") and piece[:1].islower():
                out = out[:-1] + piece
            elif out and (_is_han(out[-1]) and _is_han(piece[:1])):
                out += piece
            else:
                out = f"{out} {piece}" if out else piece
        return out

    @property
    def box(self) -> Box:
        """Around all lines."""
        boxes = [line.box for line in self.lines]
        return min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)


@dataclass
class Page:
    """One page."""

    number: int
    width: float
    height: float
    blocks: list[Block] = field(default_factory=list)
    pictures: list[Box] = field(default_factory=list)
    """Image objects, at least 20 points wide and high."""
    method: str = "pdfium"
    unseen: int = 0
    """Lines that nobody would see."""


def _is_han(sign: str) -> bool:
    return "\u4e00" <= sign <= "\u9fff"


def read_pages(path: str) -> Iterator[Page]:
    """All pages of a PDF file.

    Raises:
        ValueError: It is encrypted, damaged, or has more than 3,000 pages (PDFium's message, which quotes no text).
    """
    import pypdfium2 as pdfium  # type: ignore[import-untyped]

    try:
        document = pdfium.PdfDocument(path)
    except pdfium.PdfiumError as error:
        raise ValueError("no readable PDF") from error
    try:
        if len(document) > _MOST_PAGES:
            raise ValueError(f"{len(document)} pages")
        for number in range(len(document)):
            yield _page(document, number, path)
    finally:
        document.close()


def _page(document: Any, number: int, path: str) -> Page:
    import pypdfium2.raw as raw  # type: ignore[import-untyped]

    handle = document[number]
    width, height = handle.get_size()
    page = Page(number + 1, width, height)
    text = handle.get_textpage()
    lines = []
    for index in range(text.count_rects()):
        box = text.get_rect(index)
        words = text.get_text_bounded(*box).replace("\r", " ").replace("\n", " ").replace("\x02", "-").strip()
        if words:
            lines.append(Line(words, box))
    text.close()
    for item in handle.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE,), max_depth=3):
        left, bottom, right, top = item.get_bounds()
        if right - left >= 20 and top - bottom >= 20:
            page.pictures.append((left, bottom, right, top))
    handle.close()
    lines = _joined(lines)
    if _garbled(lines):
        lines = _lines_by_letters(path, number)
        page.method = "pdfplumber"
    seen = [line for line in lines if line.height >= _SMALLEST_PT and _inside(line.box, width, height)]
    page.unseen = len(lines) - len(seen)
    page.blocks = _blocks(_in_order(seen, width))
    return page


def _inside(box: Box, width: float, height: float) -> bool:
    return box[2] > 0 and box[0] < width and box[3] > 0 and box[1] < height


def _joined(pieces: list[Line]) -> list[Line]:
    """Pieces on one base line with less than two letters' space between them are one line."""
    lines: list[Line] = []
    for piece in pieces:
        last = lines[-1] if lines else None
        if last is not None:
            overlap = min(last.box[3], piece.box[3]) - max(last.box[1], piece.box[1])
            gap = piece.box[0] - last.box[2]
            tall = max(last.height, piece.height)
            if overlap > 0.5 * min(last.height, piece.height) and -0.5 * tall <= gap < 1.2 * tall:
                box = (
                    min(last.box[0], piece.box[0]), min(last.box[1], piece.box[1]),
                    max(last.box[2], piece.box[2]), max(last.box[3], piece.box[3]),
                )  # fmt: skip
                space = "" if gap < 0.12 * tall else " "
                lines[-1] = Line(f"{last.text}{space}{piece.text}", box)
                continue
        lines.append(piece)
    return lines


def _garbled(lines: list[Line]) -> bool:
    text = "".join(line.text for line in lines)
    if not text:
        return False
    odd = sum(sign == "\ufffd" or "\ue000" <= sign <= "\uf8ff" or (not sign.isprintable()) for sign in text)
    over = 0
    for one, other in pairwise(lines):
        rows = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
        columns = min(one.box[2], other.box[2]) - max(one.box[0], other.box[0])
        over += rows > 0.6 * min(one.height, other.height) > 0 and columns > 5
    return odd > 0.05 * len(text) or over > 0.1 * len(lines)


def _lines_by_letters(path: str, number: int) -> list[Line]:
    import pdfplumber

    with pdfplumber.open(path, pages=[number + 1]) as document:
        page = document.pages[0]
        found = page.extract_text_lines(return_chars=False)
        tall = float(page.height)
        return [
            Line(
                str(line["text"]),
                (float(line["x0"]), tall - float(line["bottom"]), float(line["x1"]), tall - float(line["top"])),
            )
            for line in found
            if str(line["text"]).strip()
        ]


def _in_order(lines: list[Line], width: float) -> list[Line]:
    """Reading order on one or two columns."""
    ordered = sorted(lines, key=lambda line: (-line.box[3], line.box[0]))
    gutter = _gutter(ordered, width)
    if gutter is None:
        return ordered
    out: list[Line] = []
    band: list[Line] = []
    for line in ordered:
        if line.box[0] < gutter - 3 and line.box[2] > gutter + 3:
            out += _band(band, gutter)
            band = []
            out.append(line)
        else:
            band.append(line)
    return out + _band(band, gutter)


def _band(lines: list[Line], gutter: float) -> list[Line]:
    left = [line for line in lines if line.box[0] < gutter - 3]
    return left + [line for line in lines if line.box[0] >= gutter - 3]


def _gutter(lines: list[Line], width: float) -> float | None:
    """A place near the middle that under a fifth of the lines cross, with lines on both sides of it."""
    if len(lines) < 8:
        return None
    best = None
    for step in range(35, 66):
        place = width * step / 100
        crossing = sum(line.box[0] < place - 1 and line.box[2] > place + 1 for line in lines)
        left = sum(line.box[2] <= place + 1 for line in lines)
        right = sum(line.box[0] >= place - 1 for line in lines)
        if crossing <= 0.2 * len(lines) and min(left, right) >= 0.2 * len(lines):
            score = (crossing, abs(step - 50))
            if best is None or score < best[0]:
                best = (score, place)
    return None if best is None else best[1]


def _blocks(lines: list[Line]) -> list[Block]:
    """Lines of one height and column with an ordinary distance are one block."""
    blocks: list[list[Line]] = []
    for line in lines:
        last = blocks[-1][-1] if blocks else None
        if last is not None:
            gap = last.box[1] - line.box[3]
            tall = max(last.height, line.height)
            alike = 0.75 < (line.height or 1) / (last.height or 1) < 1.34
            beside = min(last.box[2], line.box[2]) - max(last.box[0], line.box[0]) > 0
            if alike and beside and -0.6 * tall < gap < 0.95 * tall:
                blocks[-1].append(line)
                continue
        blocks.append([line])
    return [Block(tuple(block)) for block in blocks]
