"""Regions of a page that may be figures: image objects and drawn paths, with what is printed inside them.

Convention: tiles of one picture are one region; panels with white between them stay apart, because only their captions
can say whether they are one figure. Drawn paths that lie within about six points of each other are one region; it
takes in the short lines around it (ticks of an axis, letters of a panel). `doubt` is a cost: 0 for a picture in the
text, more for what looks like a logo, a table or a box around text.

Trap: a frame around a paragraph, a shaded heading and the rules of a table are drawn paths, too. What holds prose is
a box and no region; what holds a grid of short lines is marked as a table and left to the captions.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from data_pipeline.figures.labels import caption_head
from data_pipeline.readers.pdf_objects import Box, Drawing, Line, RawPage

__all__ = ["Region", "drop_repeated", "find_regions"]

_SMALLEST_PT = 20.0
_SMALLEST_DRAWN_PT = 20.0
_TILE_GAP = 1.5
_LINK_PT = 6.0
_BIT_PT = 42.0
_CELL_PT = 2.0
_MOST_COMPARED = 4000
"""Drawings of a page that rules are held against: a map has a hundred thousand."""
_PANEL_LETTER = re.compile(r"[(\[]?[A-Za-z][)\].]?")


@dataclass
class Region:
    """A part of a page that may be a figure."""

    page: int
    box: Box
    drawn: bool
    """Made of paths alone."""
    doubt: float = 0.0
    """What it costs to call it a figure."""
    size_doubt: float = 0.0
    """The part of it that is for being small: among other panels it counts for nothing."""
    marks: tuple[str, ...] = ()
    """Why there is doubt."""
    lines: list[Line] = field(default_factory=list)
    """What is printed inside."""
    digest: str = ""
    pixels_per_point: float = 0.0
    """Resolution of its sharpest picture; 0 for paths."""
    paths: bool = False
    """Whether paths are part of it."""

    @property
    def width(self) -> float:
        """In points."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """In points."""
        return self.box[3] - self.box[1]


def find_regions(page: RawPage, number: int, body: float) -> tuple[list[Region], int]:
    """All regions of a page, top to bottom, and how many image objects were too small to be one.

    Args:
        page: What is on it; running heads are off its lines already.
        number: The page's, from 1.
        body: Size of the document's usual letters.
    """
    pictures, small = _pictures(page, number)
    regions = _merged(pictures, _TILE_GAP)
    for drawn in _drawn(page, number):
        touched = [region for region in regions if not region.drawn and _near(region.box, drawn.box, 3.0)]
        if touched:
            touched[0].box = _union(*(region.box for region in touched), drawn.box)
            touched[0].paths = True
            regions = [region for region in regions if region not in touched[1:]]
        else:
            regions.append(drawn)
    regions = _merged(regions, 0.0)
    for region in regions:
        _take_lines(region, page.lines, body)
    regions = _merged(regions, 0.0)
    for region in regions:
        region.lines = [line for line in page.lines if _holds(region.box, line.box)]
    regions = [region for region in regions if not _is_sheet(region, page)]
    for region in regions:
        _doubt(region, page, body)
    regions = [region for region in regions if "box around text" not in region.marks]
    taken: set[int] = set()
    for region in sorted(regions, key=lambda each: each.width * each.height):
        region.lines = [line for line in region.lines if id(line) not in taken]
        taken.update(id(line) for line in region.lines)
    return sorted(regions, key=lambda region: (-region.box[3], region.box[0])), small


def drop_repeated(pages: Sequence[list[Region]], heights: Sequence[float]) -> list[int]:
    """Take off regions that show one thing at one place of three pages, or of two in the upper or lower margin.

    Args:
        pages: The regions of each page; changed in place.
        heights: Of each page, in points.

    Returns:
        How many went from each page.
    """
    seen = Counter(key for regions in pages for key in {(region.digest, _rounded(region.box)) for region in regions})
    gone = []
    for regions, height in zip(pages, heights):
        kept = []
        for region in regions:
            edge = region.box[1] > 0.85 * height or region.box[3] < 0.12 * height
            if not region.digest or seen[(region.digest, _rounded(region.box))] < (2 if edge else 3):
                kept.append(region)
        gone.append(len(regions) - len(kept))
        regions[:] = kept
    return gone


def _rounded(box: Box) -> tuple[int, ...]:
    return tuple(round(value / 3) for value in box)


def _union(*boxes: Box) -> Box:
    return min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)


def _near(one: Box, other: Box, gap: float) -> bool:
    return (
        one[0] - gap < other[2] and other[0] - gap < one[2] and one[1] - gap < other[3] and other[1] - gap < one[3]
    )  # fmt: skip


def _holds(box: Box, inner: Box) -> bool:
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    return box[0] - 1 <= x <= box[2] + 1 and box[1] - 1 <= y <= box[3] + 1


def _pictures(page: RawPage, number: int) -> tuple[list[Region], int]:
    out, small = [], 0
    for picture in page.pictures:
        box = picture.box
        wide, tall = box[2] - box[0], box[3] - box[1]
        if wide < 1 or tall < 1:
            small += 1
            continue
        density = max(picture.pixels[0] / wide, picture.pixels[1] / tall)
        out.append(Region(number, box, False, digest=picture.digest, pixels_per_point=density))
    merged = _merged(out, _TILE_GAP)
    whole = [region for region in merged if min(region.width, region.height) >= _SMALLEST_PT]
    return whole, small + len(merged) - len(whole)


def _merged(regions: list[Region], gap: float) -> list[Region]:
    """Regions that touch are one."""
    out = list(regions)
    again = True
    while again:
        # One pass takes each region into the first that it touches; a scan cut into a thousand strips is few passes.
        again = False
        kept: list[Region] = []
        for one in out:
            other = next((each for each in kept if _near(one.box, each.box, gap)), None)
            if other is None:
                kept.append(one)
                continue
            other.box = _union(one.box, other.box)
            other.drawn = one.drawn and other.drawn
            other.paths = one.paths or other.paths
            other.digest = hashlib.sha256(f"{other.digest}{one.digest}".encode()).hexdigest()[:16]
            other.pixels_per_point = max(one.pixels_per_point, other.pixels_per_point)
            again = True
        out = kept
    return out


def _prose(box: Box, lines: Sequence[Line]) -> list[Line]:
    """Lines inside that read like running text: many words, and most of the width."""
    wide = box[2] - box[0]
    return [
        line
        for line in lines
        if _holds(box, line.box)
        and line.box[2] - line.box[0] > 0.45 * wide
        and (len(line.text.split()) >= 5 or sum("\u4e00" <= sign <= "\u9fff" for sign in line.text) >= 12)
    ]


def _drawn(page: RawPage, number: int) -> list[Region]:
    """Groups of drawn paths."""
    from scipy import ndimage

    plain = [drawing for drawing in page.drawings if drawing.plain]
    near = page.drawings if len(page.drawings) <= _MOST_COMPARED else plain[:_MOST_COMPARED]
    kept = [drawing for drawing in page.drawings if not _is_frame(drawing, page, near)]
    if not kept:
        return []
    rows, columns = int(page.height / _CELL_PT) + 2, int(page.width / _CELL_PT) + 2
    sheet = np.zeros((rows, columns), dtype=bool)
    reach = _LINK_PT / 2
    for drawing in kept:
        left, bottom, right, top = (
            drawing.box[0] - reach, drawing.box[1] - reach, drawing.box[2] + reach, drawing.box[3] + reach
        )  # fmt: skip
        sheet[
            max(0, int(bottom / _CELL_PT)) : int(top / _CELL_PT) + 1,
            max(0, int(left / _CELL_PT)) : int(right / _CELL_PT) + 1,
        ] = True
    groups, count = ndimage.label(sheet, structure=np.ones((3, 3), dtype=int))
    members: list[list[Drawing]] = [[] for _ in range(count)]
    for drawing in kept:
        row = min(rows - 1, int((drawing.box[1] + drawing.box[3]) / 2 / _CELL_PT))
        column = min(columns - 1, int((drawing.box[0] + drawing.box[2]) / 2 / _CELL_PT))
        members[groups[row, column] - 1].append(drawing)
    out: list[Region] = []
    bits: list[Box] = []
    for group in members:
        if not group:
            continue
        region = Region(number, _union(*(drawing.box for drawing in group)), True, paths=True)
        if min(region.width, region.height) < _SMALLEST_DRAWN_PT:
            bits.append(region.box)
            continue
        shape = [tuple(round(v - region.box[i % 2]) for i, v in enumerate(drawing.box)) for drawing in group]
        region.digest = hashlib.sha256(str(shape).encode()).hexdigest()[:16]
        if all(drawing.thin for drawing in group) and (
            _prose(region.box, page.lines) or any(_inside(picture.box, region.box) for picture in page.pictures)
        ):
            continue  # four rules around a picture or a text
        marks = ["plain"] if all(drawing.plain for drawing in group) else []
        marks += ["few paths"] if len(group) <= 2 and marks else []
        marks += ["rules"] if all(drawing.thin for drawing in group) else []
        region.marks = tuple(marks)
        out.append(region)
    inner = [bit for bit in bits if bit[1] < 0.9 * page.height and bit[3] > 0.08 * page.height]
    for region in out:
        _take_bits(region, inner, page.lines)
    return out


def _take_bits(region: Region, bits: Sequence[Box], lines: Sequence[Line]) -> None:
    """Grow over small drawings beside it or above it, as long as nothing is printed between."""
    for bit in sorted(bits, key=lambda each: _gap(region.box, each)):
        if bit[2] - bit[0] > 1.2 * region.width or bit[3] - bit[1] > 1.2 * region.height:
            continue
        aligned = min(region.box[2], bit[2]) > max(region.box[0], bit[0]) or min(region.box[3], bit[3]) > max(
            region.box[1], bit[1]
        )
        if not aligned or _gap(region.box, bit) > _BIT_PT:
            continue
        grown = _union(region.box, bit)
        words = [line for line in lines if _near(grown, line.box, 0.0) and not _near(region.box, line.box, 0.0)]
        if not any(len(line.text) > 12 or _near(line.box, bit, 3.0) for line in words):
            region.box = grown


def _inside(inner: Box, outer: Box) -> bool:
    return (
        inner[0] >= outer[0] - 1 and inner[1] >= outer[1] - 1 and inner[2] <= outer[2] + 1 and inner[3] <= outer[3] + 1
    )  # fmt: skip


def _gap(one: Box, other: Box) -> float:
    return max(one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3], 0.0)


def _is_frame(drawing: Drawing, page: RawPage, near: Sequence[Drawing]) -> bool:
    """A rule across the page, or a frame or shade with running text or a caption inside."""
    left, bottom, right, top = drawing.box
    if drawing.thin and (right - left > 0.75 * page.width or top - bottom > 0.75 * page.height):
        # The axis of a wide chart has ticks and bars on it; a rule has none.
        touching = [other for other in near if other is not drawing and _near(drawing.box, other.box, 2.0)]
        return len(touching) < 2
    if drawing.thin and drawing.plain and max(right - left, top - bottom) > 60:
        return not any(other is not drawing and _near(drawing.box, other.box, 1.5) for other in near)
    if drawing.thin or min(right - left, top - bottom) < 30:
        return False
    inside = [line for line in page.lines if _holds(drawing.box, line.box)]
    if any(_inside(picture.box, drawing.box) for picture in page.pictures):
        return drawing.plain or bool(_prose(drawing.box, inside))  # the shade or the edge behind a picture
    if not drawing.plain:
        return len(_prose(drawing.box, inside)) >= 2  # an edge that a page's end cuts open
    return bool(_prose(drawing.box, inside)) or any(
        (head := caption_head(line.text)) is not None and not head.sentence for line in inside
    )


def _take_lines(region: Region, lines: Sequence[Line], body: float) -> None:
    """Grow over the short lines at its edges: panel letters for all, ticks and legends for drawn ones."""
    for _ in range(2):
        for line in lines:
            if _holds(region.box, line.box) or not _near(region.box, line.box, 7.0):
                continue
            letter = bool(_PANEL_LETTER.fullmatch(line.text))
            words = line.text.split()
            few = len(words) <= 4 and len(line.text) <= 32
            short = region.paths and (few or _is_ticks(words)) and line.em <= 1.02 * body
            if caption_head(line.text) is not None or not (letter or (short and not _in_text(line, lines))):
                continue
            grown = _union(region.box, line.box)
            if grown[2] - grown[0] < region.width + 60 and grown[3] - grown[1] < region.height + 30:
                region.box = grown


def _is_ticks(words: Sequence[str]) -> bool:
    """Numbers or marks along an axis, which may come as one line."""
    return (
        len(words) <= 16
        and all(len(word) <= 5 for word in words)
        and sum(any(c.isdigit() for c in w) for w in words) > (len(words) / 2)
    )


def _in_text(line: Line, lines: Sequence[Line]) -> bool:
    """Whether a short line is the end or the start of a paragraph: a longer one stands right above or below it."""
    for other in lines:
        step = abs(other.base - line.base)
        if other is not line and 0.5 * line.em < step < 1.9 * line.em and abs(other.em - line.em) < 0.1 * line.em:
            shared = min(other.box[2], line.box[2]) - max(other.box[0], line.box[0])
            if shared > 0 and len(other.text) > 20:
                return True
    return False


def _is_sheet(region: Region, page: RawPage) -> bool:
    """A scan or a background: nearly the whole page with text over it."""
    area = region.width * region.height
    return area > 0.8 * page.width * page.height and len(region.lines) > 5


def _doubt(region: Region, page: RawPage, body: float) -> None:
    """Reasons against calling it a figure, and what they cost."""
    marks: list[str] = []
    cost = 0.0
    share = region.width * region.height / (page.width * page.height)
    if share < 0.004:
        marks, cost = [*marks, "tiny"], cost + 2.0
    elif share < 0.01:
        marks, cost = [*marks, "small"], cost + 0.6
    region.size_doubt = cost
    if region.box[1] > 0.9 * page.height or region.box[3] < 0.08 * page.height:
        marks, cost = [*marks, "in the margin"], cost + 2.0
    if max(region.width, region.height) > 12 * min(region.width, region.height):
        marks, cost = [*marks, "a strip"], cost + 1.5
    ink = sum((line.box[2] - line.box[0]) * line.height for line in region.lines)
    full = ink / max(region.width * region.height, 1.0)
    prose = _prose(region.box, region.lines)
    if region.drawn:
        cost += 0.2
        own = region.marks
        if len(prose) >= 2 and full > 0.2:
            marks, cost = [*marks, "box around text"], cost + 3.0
        elif "plain" in own and len(region.lines) >= 4 and full > 0.015 and _is_grid(region.lines):
            marks, cost = [*marks, "table"], cost + 2.5
        elif "few paths" in own or ("rules" in own and not region.lines):
            marks, cost = [*marks, "hardly drawn"], cost + 1.5
    region.marks, region.doubt = tuple(marks), cost


def _is_grid(lines: Sequence[Line]) -> bool:
    """Whether lines stand in rows and columns: most share a base line with one and an edge or middle with another."""
    rows = Counter(round(line.base / 3) for line in lines)
    lefts = Counter(round(line.box[0] / 3) for line in lines)
    middles = Counter(round((line.box[0] + line.box[2]) / 6) for line in lines)
    aligned = sum(
        rows[round(line.base / 3)] > 1
        and (lefts[round(line.box[0] / 3)] > 1 or middles[round((line.box[0] + line.box[2]) / 6)] > 1)
        for line in lines
    )
    return aligned > 0.6 * len(lines)
