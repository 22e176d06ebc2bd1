"""What a made document looks like: page, columns, faces, how captions are set off; drawn once a document.

Convention: lengths are points. Everything is drawn from the document's generator, in a fixed order.

Trap: another order of the draws is another document: the seeds that acceptance names would show other pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY, TA_LEFT
from reportlab.lib.styles import ParagraphStyle

__all__ = ["KINDS", "Kind", "Looks", "draw_looks"]

Kind = Literal["single", "two", "shared"]
KINDS: tuple[Kind, ...] = ("single", "two", "shared")


@dataclass
class Looks:
    """Everything about a document that is drawn once."""

    width: float
    height: float
    margin: float
    columns: int
    gutter: float
    body: ParagraphStyle
    caption: ParagraphStyle
    heading: ParagraphStyle
    word: str
    number: str
    separator: str
    bold: bool
    place: str
    gap: float
    after: float
    panel_gap: float
    letters: str
    logo: str
    han: bool

    @property
    def column(self) -> float:
        """Width of a column."""
        return (self.width - 2 * self.margin - (self.columns - 1) * self.gutter) / self.columns


_FACES = (("Times-Roman", "Times-Bold", "Times-Italic"), ("Helvetica", "Helvetica-Bold", "Helvetica-Oblique"))


def draw_looks(rng: np.random.Generator, kind: Kind, han: bool) -> Looks:
    """Draw what a document looks like; `han`: in Chinese."""
    columns = 1 if kind == "single" else 2 if kind == "two" else int(rng.integers(1, 3))
    width, height = [(595.0, 842.0), (612.0, 792.0), (540.0, 700.0)][rng.integers(3)]
    if han:
        faces = ("STSong-Light",) * 3
    else:
        faces = _FACES[rng.integers(2)]
    cap_faces = faces if han or rng.random() < 0.7 else _FACES[rng.integers(2)]
    size = float(rng.choice([9, 9.5, 10, 10.5, 11] if columns == 1 else [8.5, 9, 9.5, 10]))
    lead = float(rng.choice([1.15, 1.2, 1.3, 1.45]))
    down = float(rng.choice([0, 0.5, 1, 1.5, 2]))
    slanted = bool(rng.random() < 0.2)
    bold = bool(rng.random() < 0.55) and not han
    separator = str(rng.choice([".", ".", ".", ":", " |", "", " \u2014"] if not han else ["", "", ".", "："]))
    if down == 0 and not bold and separator == "":
        down = 1.0  # nothing at all would set such a caption off, for a reader neither
    word = "图" if han else str(rng.choice(["Figure", "Figure", "Fig.", "FIGURE", "Fig"]))
    align = TA_CENTER if rng.random() < 0.25 else TA_JUSTIFY if rng.random() < 0.5 else TA_LEFT
    wrap = {"wordWrap": "CJK"} if han else {}
    body = ParagraphStyle(
        "body", fontName=faces[0], fontSize=size, leading=size * lead,
        alignment=TA_LEFT if han else TA_JUSTIFY if rng.random() < 0.7 else TA_LEFT,
        firstLineIndent=float(rng.choice([0, 0, 12])), spaceAfter=float(rng.choice([2, 4, 7])), **wrap,
    )  # fmt: skip
    caption = ParagraphStyle(
        "caption", fontName=cap_faces[2] if slanted else cap_faces[0], fontSize=size - down,
        leading=(size - down) * float(rng.choice([1.15, 1.2, 1.3])), alignment=align, **wrap,
    )  # fmt: skip
    heading = ParagraphStyle(
        "heading", fontName=faces[1], fontSize=size + float(rng.choice([1, 2, 3])), leading=size * 1.6,
        spaceAfter=4, **wrap,
    )  # fmt: skip
    place = str(
        rng.choice(["below", "below", "below", "above", "beside"] if kind != "two" else ["below"] * 4 + ["above"])
    )
    return Looks(
        width, height, float(rng.uniform(45, 75)), columns, float(rng.uniform(14, 26)), body, caption, heading, word,
        str(rng.choice(["n", "n", "n", "3.n", "2-n"])), separator, bold, place, float(rng.uniform(3, 14)),
        float(rng.uniform(10, 26)), float(rng.uniform(4, 20)), str(rng.choice(["", "A", "(a)", "in"])),
        str(rng.choice(["", "picture", "drawn", "picture"])), han,
    )  # fmt: skip
