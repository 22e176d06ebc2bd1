"""What PDFium finds on a page: printed lines with their typography, pictures, and drawn paths, each with its box.

Convention: boxes are points from the page's lower left corner (left, bottom, right, top), as PDF counts. A line is
letters on one base line that follow each other with less than a letter's gap; its size and weight are those of most of
its letters. A drawn path keeps whether it is a thin rule and whether it is a plain rectangle.

Trap: PDFium gives objects inside a form in the form's own coordinates; they are carried to the page here. A path that
paints nothing, white without an edge, or the whole page is no drawing: printers lay such sheets under every page.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from data_pipeline.readers.pdf_seen import Sight

__all__ = ["Box", "Drawing", "Line", "Picture", "RawPage", "read_objects"]

Box = tuple[float, float, float, float]
Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: Matrix = (1, 0, 0, 1, 0, 0)
_FORM_DEPTH = 6
_MOST_OBJECTS = 60_000
_THIN_PT = 2.5
_BOLD = ("bold", "black", "heavy", "semib", "-demi", "cmbx", "sfbx")
_SLANTED = ("italic", "oblique", "cmti", "cmsl", "sfti")


@dataclass(frozen=True)
class Line:
    """One printed line."""

    text: str
    box: Box
    size: float = 0.0
    """Of its letters, in points as printed; 0 where the typography is not known."""
    base: float = 0.0
    """Height of the base line."""
    bold: bool = False
    italic: bool = False
    lead: bool = False
    """Whether its first word is printed otherwise than most of it: bold, italic or in another face."""

    @property
    def height(self) -> float:
        """Of its letters' ink, in points."""
        return self.box[3] - self.box[1]

    @property
    def em(self) -> float:
        """The letters' size, or their height where the size is not known."""
        return self.size or self.height


@dataclass(frozen=True)
class Picture:
    """One image object."""

    box: Box
    pixels: tuple[int, int]
    digest: str
    """Of its stored bytes: the same logo on every page has one digest."""


@dataclass(frozen=True)
class Drawing:
    """One drawn path."""

    box: Box
    thin: bool
    """A rule: less than 2.5 points one way."""
    plain: bool
    """A straight line or an upright rectangle."""


@dataclass
class RawPage:
    """All of one page, in the order in which the file draws it."""

    width: float
    height: float
    origin: tuple[float, float] = (0.0, 0.0)
    """Lower left corner of the visible page; boxes are counted from it already."""
    lines: list[Line] = field(default_factory=list)
    hidden: int = 0
    """Stretches of text that nobody sees; they are in no line."""
    pictures: list[Picture] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    beyond: int = 0
    """Objects past the 60,000 that are looked at."""


def read_objects(handle: Any) -> RawPage:
    """Lines, pictures and drawings of an open page."""
    width, height = handle.get_size()
    left, bottom, _, _ = handle.get_cropbox()
    page = RawPage(width, height, (left, bottom))
    text = handle.get_textpage()
    try:
        page.lines, page.hidden = _lines(text, left, bottom, Sight(handle, left, bottom))
    finally:
        text.close()
    _Objects(page).walk(handle)
    return page


# --- text ------------------------------------------------------------------------------------------------------------


@dataclass
class _Style:
    size: float
    bold: bool
    italic: bool
    face: str


@dataclass
class _Growing:
    """A line that letters are still added to."""

    letters: list[str]
    box: list[float]
    base: float
    styles: list[_Style]

    def closed(self) -> Line | None:
        words = "".join(self.letters).strip()
        if not words:
            return None
        signs = [(sign, style) for sign, style in zip(self.letters, self.styles) if not sign.isspace()]
        usual: _Style = max(Counter(id(style) for _, style in signs).items(), key=lambda pair: pair[1])[0]  # type: ignore[assignment]
        style = next(style for _, style in signs if id(style) == usual)
        first = signs[0][1]
        lead = first is not style and (first.bold, first.italic, first.face) != (style.bold, style.italic, style.face)
        left, bottom, right, top = self.box
        return Line(
            words, (left, bottom, right, top), style.size, self.base,
            bold=sum(s.bold for _, s in signs) > 0.6 * len(signs),
            italic=sum(s.italic for _, s in signs) > 0.6 * len(signs), lead=lead,
        )  # fmt: skip


def _lines(text: Any, left: float, bottom: float, sight: Sight) -> tuple[list[Line], int]:
    """The lines that are seen, and how many stretches of text are not."""
    import pypdfium2.raw as raw  # type: ignore[import-untyped]

    handle = text.raw
    x0, x1, y0, y1, ox, oy = (ctypes.c_double() for _ in range(6))
    out: list[Line] = []
    line: _Growing | None = None
    styles: dict[int, _Style] = {}
    space = hidden = False
    stretches = 0
    for index in range(text.count_chars()):
        code = raw.FPDFText_GetUnicode(handle, index)
        sign = "-" if code in (0x02, 0xAD) else chr(code) if 0 < code < 0x110000 and not 0xD800 <= code < 0xE000 else ""
        if not sign or sign.isspace():
            space = True
            continue
        if not raw.FPDFText_GetCharBox(handle, index, x0, x1, y0, y1):
            continue
        raw.FPDFText_GetCharOrigin(handle, index, ox, oy)
        item = raw.FPDFText_GetTextObject(handle, index)
        address = ctypes.addressof(item.contents) if item else 0
        style = styles.get(address)
        if style is None:
            style = styles[address] = _style(raw, handle, index, styles)
        before, hidden = hidden, sight.hides(item, style.face, (x0.value, y0.value, x1.value, y1.value))
        if hidden:
            stretches += not before
            continue
        box = [x0.value - left, y0.value - bottom, x1.value - left, y1.value - bottom]
        base = oy.value - bottom
        if box[3] - box[1] < 0.2 * style.size and sign.isalnum():
            # A face that the file does not hold tells no ink: its letters stand from a fifth below to a whole above.
            box[1], box[3] = base - 0.2 * style.size, base + 0.8 * style.size
        if line is not None and _follows(line, box, base, style):
            gap = box[0] - line.box[2]
            if (space and gap > 0.05 * style.size) or gap > 0.3 * style.size:
                line.letters.append(" ")
                line.styles.append(style)
            line.letters.append(sign)
            line.styles.append(style)
            line.box = [
                min(line.box[0], box[0]), min(line.box[1], box[1]), max(line.box[2], box[2]), max(line.box[3], box[3])
            ]  # fmt: skip
        else:
            if line is not None and (done := line.closed()):
                out.append(done)
            line = _Growing([sign], box, base, [style])
        space = False
    if line is not None and (done := line.closed()):
        out.append(done)
    return _rejoined(out), stretches


def _follows(line: _Growing, box: list[float], base: float, style: _Style) -> bool:
    """Whether a letter continues a line: on its base line (or raised by half a letter), right of it, close by."""
    size = max(line.styles[-1].size, style.size, 1.0)
    return abs(base - line.base) < 0.45 * size and -0.5 * size < box[0] - line.box[2] < 1.0 * size


def _rejoined(lines: list[Line]) -> list[Line]:
    """Pieces of one line that the file writes apart, such as a raised number and what follows it."""
    out: list[Line] = []
    for line in lines:
        last = out[-1] if out else None
        if last is not None and abs(line.base - last.base) < 0.45 * max(line.em, last.em):
            gap = line.box[0] - last.box[2]
            if -0.5 * line.em <= gap < 1.0 * max(line.em, last.em) and line.em < 0.75 * last.em:
                box = (
                    last.box[0], min(last.box[1], line.box[1]), max(last.box[2], line.box[2]),
                    max(last.box[3], line.box[3]),
                )  # fmt: skip
                out[-1] = Line(
                    last.text + line.text, box, last.size, last.base, last.bold, last.italic, last.lead
                )  # fmt: skip
                continue
        out.append(line)
    return out


def _style(raw: Any, handle: Any, index: int, known: dict[int, _Style]) -> _Style:
    matrix = raw.FS_MATRIX()
    scale = 1.0
    if raw.FPDFText_GetMatrix(handle, index, matrix):
        scale = max((matrix.b**2 + matrix.d**2) ** 0.5, 1e-3)
    buffer, flags = ctypes.create_string_buffer(128), ctypes.c_int()
    raw.FPDFText_GetFontInfo(handle, index, buffer, 128, flags)
    name = buffer.value.decode("latin-1").split("+")[-1]
    lower = name.lower()
    slanted = any(word in lower for word in _SLANTED) or bool(flags.value & 64)
    heavy = raw.FPDFText_GetFontWeight(handle, index) >= 700  # guessed from the stems: wrong for many slanted faces
    style = _Style(
        round(raw.FPDFText_GetFontSize(handle, index) * scale, 2),
        any(word in lower for word in _BOLD) or (heavy and not slanted and "regular" not in lower),
        slanted,
        lower.split("-")[0].split(",")[0],
    )
    # Equal styles are one object, so that letters of one style can be counted by identity.
    return next((other for other in known.values() if other == style), style)


# --- pictures and paths ----------------------------------------------------------------------------------------------


class _Objects:
    """Walks the objects of a page, into forms, until there are too many to be a page somebody reads."""

    def __init__(self, page: RawPage) -> None:
        self.page, self.left = page, _MOST_OBJECTS

    def walk(self, handle: Any) -> None:
        import pypdfium2.raw as raw

        self.raw = raw
        for index in range(raw.FPDFPage_CountObjects(handle.raw)):
            self._one(raw.FPDFPage_GetObject(handle.raw, index), handle, _IDENTITY, 0)

    def _one(self, item: Any, handle: Any, matrix: Matrix, depth: int) -> None:
        self.left -= 1
        if self.left < 0:
            self.page.beyond += 1
            return
        kind = self.raw.FPDFPageObj_GetType(item)
        if kind == self.raw.FPDF_PAGEOBJ_FORM and depth < _FORM_DEPTH:
            own = self.raw.FS_MATRIX()
            self.raw.FPDFPageObj_GetMatrix(item, own)
            inner = _product((own.a, own.b, own.c, own.d, own.e, own.f), matrix)
            for index in range(self.raw.FPDFFormObj_CountObjects(item)):
                self._one(self.raw.FPDFFormObj_GetObject(item, index), handle, inner, depth + 1)
        elif kind == self.raw.FPDF_PAGEOBJ_IMAGE:
            if box := self._box(item, matrix):
                self.page.pictures.append(self._picture(item, box))
        elif kind in (self.raw.FPDF_PAGEOBJ_PATH, self.raw.FPDF_PAGEOBJ_SHADING):
            box = self._box(item, matrix)
            if box is not None and (kind == self.raw.FPDF_PAGEOBJ_SHADING or self._paints(item)):
                self._draw(item, box)

    def _box(self, item: Any, matrix: Matrix) -> Box | None:
        """The object's box on the page, cut at the page's edges; None outside it."""
        left, bottom, right, top = (ctypes.c_float() for _ in range(4))
        if not self.raw.FPDFPageObj_GetBounds(item, left, bottom, right, top):
            return None
        corners = [
            (x * matrix[0] + y * matrix[2] + matrix[4], x * matrix[1] + y * matrix[3] + matrix[5])
            for x in (left.value, right.value)
            for y in (bottom.value, top.value)
        ]
        x0, y0 = self.page.origin
        box = (
            max(0.0, min(x for x, _ in corners) - x0), max(0.0, min(y for _, y in corners) - y0),
            min(self.page.width, max(x for x, _ in corners) - x0),
            min(self.page.height, max(y for _, y in corners) - y0),
        )  # fmt: skip
        return box if box[0] <= box[2] and box[1] <= box[3] else None

    def _picture(self, item: Any, box: Box) -> Picture:
        width, height = ctypes.c_uint(), ctypes.c_uint()
        self.raw.FPDFImageObj_GetImagePixelSize(item, width, height)
        size = self.raw.FPDFImageObj_GetImageDataRaw(item, None, 0)
        buffer = ctypes.create_string_buffer(max(1, min(size, 1 << 24)))
        if 0 < size <= len(buffer):
            self.raw.FPDFImageObj_GetImageDataRaw(item, buffer, size)
        digest = hashlib.sha256(buffer.raw[:size] + f"{size} {width.value} {height.value}".encode()).hexdigest()[:16]
        return Picture(box, (int(width.value), int(height.value)), digest)

    def _paints(self, item: Any) -> bool:
        mode, stroke = ctypes.c_int(), ctypes.c_int()
        self.raw.FPDFPath_GetDrawMode(item, mode, stroke)
        red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
        if stroke.value:
            self.raw.FPDFPageObj_GetStrokeColor(item, red, green, blue, alpha)
            if alpha.value and min(red.value, green.value, blue.value) < 250:
                return True
        if not mode.value:
            return False
        self.raw.FPDFPageObj_GetFillColor(item, red, green, blue, alpha)
        return alpha.value > 8 and min(red.value, green.value, blue.value) < 250

    def _draw(self, item: Any, box: Box) -> None:
        wide, tall = box[2] - box[0], box[3] - box[1]
        if wide > 0.95 * self.page.width and tall > 0.95 * self.page.height:
            return
        segments = self.raw.FPDFPath_CountSegments(item)
        straight = True
        for index in range(min(max(segments, 0), 6)):
            kind = self.raw.FPDFPathSegment_GetType(self.raw.FPDFPath_GetPathSegment(item, index))
            straight = straight and kind != self.raw.FPDF_SEGMENT_BEZIERTO
        thin = min(wide, tall) < _THIN_PT
        plain = straight and ((segments <= 2 and thin) or segments in (4, 5))
        self.page.drawings.append(Drawing(box, thin, plain))


def _product(one: Matrix, other: Matrix) -> Matrix:
    """First `one`, then `other`."""
    a, b, c, d, e, f = one
    p, q, r, s, t, u = other
    return a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u
