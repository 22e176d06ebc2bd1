"""PDF pages as blocks in reading order and regions that may be figures.

Convention: boxes are points from the visible page's lower left corner (left, bottom, right, top). Lines come from
PDFium; a page whose lines PDFium garbles (signs that are none, lines that lie over each other) is read again by
pdfplumber, which is slower and places every letter itself. Lines of one size and weight at the usual distance are one
block. Columns: a gutter that few lines cross splits the page; blocks and pictures across it end a band, and within a
band the left column comes first. What is printed inside a region waits there: the figure matcher decides whether it is
part of a figure or text after all (:meth:`Page.release`).

Trap: text that nobody sees (outside the page, in letters below one point, white on white, unpainted, covered) is an old
place for hidden instructions; such lines are left out and counted."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from data_pipeline.figures.labels import caption_head
from data_pipeline.readers.pdf_objects import Box, Line, RawPage, read_objects
from data_pipeline.readers.pdf_regions import Region, drop_repeated, find_regions

__all__ = ["Block", "Box", "Line", "Page", "Region", "box_of", "read_pages"]

_SMALLEST_PT = 1.5
_MOST_PAGES = 3000
_MARGIN = 0.09
_USUAL_STEP = 1.2


def box_of(boxes: Sequence[Box]) -> Box:
    """The box around some boxes."""
    return min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)


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
            elif re.search(r"\w-$", out) and re.match(r"[A-Z0-9]", piece):
                out += piece  # L5-S1 was parted, not a word
            elif out and (_is_han(out[-1]) and _is_han(piece[:1])):
                out += piece
            else:
                out = f"{out} {piece}" if out else piece
        return out

    @property
    def box(self) -> Box:
        """Around all lines."""
        return box_of([line.box for line in self.lines])

    @property
    def em(self) -> float:
        """The letters' size: the middle of all lines."""
        return statistics.median(line.em for line in self.lines)


@dataclass
class Page:
    """One page."""

    number: int
    width: float
    height: float
    body: float = 10.0
    """Size of the document's usual letters."""
    origin: tuple[float, float] = (0.0, 0.0)
    """Where the visible page begins in the file's own coordinates."""
    blocks: list[Block] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)
    """What may be a figure."""
    gutter: float | None = None
    """Where the page parts into two columns."""
    repeated: int = 0
    """Pictures that stand at one place of several pages: logos, not figures."""
    small: int = 0
    """Image objects under 20 points wide or high: signs and bullets."""
    running: list[Line] = field(default_factory=list)
    """Running heads and page numbers."""
    method: str = "pdfium"
    beyond: int = 0
    """Objects that were not looked at: there are too many."""
    unseen: int = 0
    """Lines that nobody would see."""

    def release(self, region: Region) -> None:
        """Put what is printed inside a region that is no figure back into the reading order."""
        if not region.lines:
            return
        place = next(
            (
                index
                for index, block in enumerate(self.blocks)
                if block.box[3] < region.box[3] and _overlap(block.box, region.box) > 0
            ),
            len(self.blocks),
        )
        self.blocks[place:place] = _chained(_by_rows(region.lines), _USUAL_STEP)


def _overlap(one: Box, other: Box) -> float:
    """Shared width of two boxes."""
    return min(one[2], other[2]) - max(one[0], other[0])


def _is_han(sign: str) -> bool:
    return "\u4e00" <= sign <= "\u9fff" or sign in "，。、；：（）！？"


def read_pages(path: str) -> list[Page]:
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
        raws, pages, number = [], [], 0
        for number in range(len(document)):
            raw, page = _page(document, number, path)
            raws.append(raw)
            pages.append(page)
    except pdfium.PdfiumError as error:
        raise ValueError(f"page {number + 1} is damaged") from error
    finally:
        document.close()
    _arrange(pages, raws)
    return pages


def _page(document: Any, number: int, path: str) -> tuple[RawPage, Page]:
    handle = document[number]
    raw = read_objects(handle)
    handle.close()
    page = Page(number + 1, raw.width, raw.height, origin=raw.origin)
    if _garbled(raw.lines):
        raw.lines = _lines_by_letters(path, number)
        page.method = "pdfplumber"
    seen = [line for line in raw.lines if line.em >= _SMALLEST_PT and _inside(line.box, raw.width, raw.height)]
    page.unseen, page.beyond = len(raw.lines) - len(seen) + raw.hidden, raw.beyond
    raw.lines = seen
    return raw, page


def _arrange(pages: list[Page], raws: list[RawPage]) -> None:
    """Everything that needs the whole document: the usual letters, running heads, logos; then blocks page by page."""
    body = _body_size(raws)
    running = _running(raws)
    for page, raw in zip(pages, raws):
        page.body = body
        page.running = [line for line in raw.lines if id(line) in running]
        raw.lines = _with_labels(_with_wide_blanks([line for line in raw.lines if id(line) not in running]))
        page.regions, page.small = find_regions(raw, page.number, body)
    repeated = drop_repeated([page.regions for page in pages], [page.height for page in pages])
    step = _usual_step([line for raw in raws for line in raw.lines])
    for page, raw, gone in zip(pages, raws, repeated):
        page.repeated = gone
        held = {id(line) for region in page.regions for line in region.lines}
        lines = [line for line in raw.lines if id(line) not in held]
        blocks = _chained(_by_rows(lines), step)
        page.blocks = _in_order(blocks, page)


def _body_size(raws: list[RawPage]) -> float:
    """The size that most letters of the document have."""
    sizes: Counter[float] = Counter()
    for raw in raws:
        for line in raw.lines:
            sizes[round(line.em * 2) / 2] += len(line.text)
    return max(sizes.items(), key=lambda pair: (pair[1], pair[0]))[0] if sizes else 10.0


def _running(raws: list[RawPage]) -> set[int]:
    """Lines in the upper or lower margin that repeat at one height, digits aside, and bare page numbers there."""
    seen: dict[tuple[str, int], list[int]] = {}
    pages: Counter[tuple[str, int]] = Counter()
    out: set[int] = set()
    for raw in raws:
        on_page = set()
        for line in raw.lines:
            middle = (line.box[1] + line.box[3]) / 2
            if not (middle < _MARGIN * raw.height or middle > (1 - _MARGIN) * raw.height):
                continue
            text = re.sub(r"\d+", "#", line.text)
            if re.fullmatch(r"(?:page )?[#ivxlc\-– |/]{1,9}(?: of #)?", text, re.I) and len(raws) > 1:
                out.add(id(line))
            key = (text, round(line.base / 4))
            seen.setdefault(key, []).append(id(line))
            on_page.add(key)
        pages.update(on_page)
    for key, number in pages.items():
        if number >= 3 or (number == 2 and len(raws) <= 4):
            out.update(seen[key])
    return out


def _inside(box: Box, width: float, height: float) -> bool:
    return box[2] > 0 and box[0] < width and box[3] > 0 and box[1] < height


def _garbled(lines: list[Line]) -> bool:
    text = "".join(line.text for line in lines)
    if not text:
        return False
    odd = sum(sign == "\ufffd" or "\ue000" <= sign <= "\uf8ff" or (not sign.isprintable()) for sign in text)
    over = 0
    for one, other in pairwise(lines):
        rows = min(one.box[3], other.box[3]) - max(one.box[1], other.box[1])
        over += rows > 0.6 * min(one.height, other.height) > 0 and _overlap(one.box, other.box) > 5
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
                base=tall - float(line["bottom"]),
            )
            for line in found
            if str(line["text"]).strip()
        ]


# --- blocks and their order ------------------------------------------------------------------------------------------


def _with_labels(lines: list[Line]) -> list[Line]:
    """A caption's number and its words are one line, also where a wide blank stands between them."""
    out = list(lines)
    for line in lines:
        head = caption_head(line.text)
        if head is None or line.text[head.end :].strip():
            continue
        beside = [
            other
            for other in out
            if other is not line
            and abs(other.base - line.base) < 0.3 * line.em
            and 0 < other.box[0] - line.box[2] < 2.5 * line.em
        ]
        if beside:
            other = min(beside, key=lambda each: each.box[0])
            joined = replace(
                other, text=f"{line.text} {other.text}", box=box_of([line.box, other.box]),
                lead=(line.bold, line.italic, line.size) != (other.bold, other.italic, other.size),
            )  # fmt: skip
            out[out.index(line)] = joined
            out.remove(other)
    return out


def _with_wide_blanks(lines: list[Line]) -> list[Line]:
    """Pieces of a line that is spread to the column's width are one: a line above or below runs through the gap."""
    out = _by_rows(lines)
    for _ in range(3):  # a row that is whole now may run through the gaps of the next one
        before = len(out)
        _join_rows(out)
        if len(out) == before:
            break
    return out


def _join_rows(out: list[Line]) -> None:
    place = 0
    while place + 1 < len(out):
        one, other = out[place], out[place + 1]
        gap = other.box[0] - one.box[2]
        em = max(one.em, other.em)
        if abs(one.base - other.base) < 0.1 * em and 0 < gap < 5 * em and abs(one.em - other.em) < 0.06 * em:
            middle = (one.box[2] + other.box[0]) / 2
            if any(
                0.6 * em < abs(each.base - one.base) < 1.9 * em
                and each.box[0] < middle - 3
                and each.box[2] > middle + 3
                for each in out[max(0, place - 12) : place + 14]
            ):
                out[place : place + 2] = [
                    replace(one, text=f"{one.text} {other.text}", box=box_of([one.box, other.box]))
                ]  # fmt: skip
                continue
        place += 1


def _by_rows(lines: Sequence[Line]) -> list[Line]:
    """Lines from top to bottom, those on one base line (give or take a rounding) from left to right."""
    rows: list[list[Line]] = []
    for line in sorted(lines, key=lambda each: -each.base):
        if rows and rows[-1][0].base - line.base < 0.1 * line.em:
            rows[-1].append(line)
        else:
            rows.append([line])
    return [line for row in rows for line in sorted(row, key=lambda each: each.box[0])]


def _usual_step(lines: list[Line]) -> float:
    """Distance of base lines over letters' size, as most neighbouring lines of a document have it."""
    steps: Counter[float] = Counter()
    for one, other in pairwise(lines):
        step = one.base - other.base
        alike = 0.9 * one.em < step < 2.2 * one.em and abs(one.em - other.em) < 0.06 * one.em
        if alike and _overlap(one.box, other.box) > 0:
            steps[round(step / one.em * 20) / 20] += 1
    return max(steps.items(), key=lambda pair: (pair[1], -pair[0]))[0] if steps else _USUAL_STEP


def _chained(lines: Sequence[Line], usual: float) -> list[Block]:
    """Lines, top to bottom, each added to the block that ends right above it."""
    open_: list[list[Line]] = []
    for line in lines:
        best: tuple[float, list[Line]] | None = None
        for block in open_:
            step = block[-1].base - line.base
            if _continues(block, line, step, usual) and (best is None or step < best[0]):
                best = (step, block)
        if best is None:
            open_.append([line])
        else:
            best[1].append(line)
    return [Block(tuple(block)) for block in open_]


def _continues(block: list[Line], line: Line, step: float, usual: float) -> bool:
    last = block[-1]
    em = max(line.em, last.em)
    if not 0.6 * em < step < 2.2 * em or _overlap(last.box, line.box) <= 0:
        return False
    if line.size and last.size:
        if abs(line.size - last.size) > 0.06 * em:
            return False
    elif not 0.75 < line.em / last.em < 1.34:
        return False
    pitch = statistics.median(one.base - other.base for one, other in pairwise(block)) if len(block) > 1 else usual * em
    if step > 1.15 * pitch + 0.6:
        return False
    captioned = caption_head(block[0].text)
    if (line.bold, line.italic) != (last.bold, last.italic) and captioned is None:
        return False
    head = caption_head(line.text)
    if head is None or head.sentence:
        return True
    # A number at a line's start is a caption's only where a new block begins; in a paragraph it is where a line broke.
    widest = max(each.box[2] for each in block)
    ends_early = last.box[2] < widest - 2.5 * em
    return not (line.lead or line.bold != last.bold or (ends_early and bool(head.separator)))


def _in_order(blocks: list[Block], page: Page) -> list[Block]:
    """Reading order on one or two columns."""
    gutter = page.gutter = _gutter([line for block in blocks for line in block.lines], page.width)
    if gutter is None:
        return sorted(blocks, key=lambda block: (-block.box[3], block.box[0]))
    items: list[tuple[Box, Block | None]] = [(block.box, block) for block in blocks]
    items += [(region.box, None) for region in page.regions]
    items.sort(key=lambda item: (-item[0][3], item[0][0]))
    out: list[Block] = []
    band: list[Block] = []
    for box, block in items:
        if box[0] < gutter - 3 and box[2] > gutter + 3:
            out += _band(band, gutter)
            band = []
            if block is not None:
                out.append(block)
        elif block is not None:
            band.append(block)
    return out + _band(band, gutter)


def _band(blocks: list[Block], gutter: float) -> list[Block]:
    left = [block for block in blocks if block.box[0] < gutter - 3]
    return left + [block for block in blocks if block.box[0] >= gutter - 3]


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
