"""Documents with known picture-caption pairs, rendered to PDF: the gold set that the figure matcher is scored on.

Convention: one seed is one document. Its looks (page, columns, faces, sizes, gaps, where captions stand, how they are
numbered) and its contents (texts, captions and pictures of the bundled CNXML modules, made articles, drawings) come
from one generator; the truth is written down while the page is drawn. Boxes are points from the lower left corner.
Seeds below 5000 are for building the matcher; those from 5000 on are for measuring and nobody looks at them before.

Trap: the matcher must never read this file, and this file takes nothing from the matcher.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph

from benchmarks import figure_gold_parts as parts
from benchmarks.figure_gold_looks import KINDS, Kind, Looks, draw_looks

__all__ = ["HELD_OUT", "KINDS", "GoldDocument", "GoldFigure", "make_document"]

HELD_OUT = 5000
"""First seed of the held-out documents."""
Box = tuple[float, float, float, float]


@dataclass
class GoldFigure:
    """One figure: where its panels lie, and the caption it has."""

    label: str
    caption: str
    panels: list[tuple[int, Box]]
    """Page from 1 and box of each."""
    what: str
    """How it was drawn and set: for the account of failures."""


@dataclass
class GoldDocument:
    """The truth about one PDF."""

    seed: int
    kind: str
    language: str
    figures: list[GoldFigure] = field(default_factory=list)
    mentions: list[tuple[str, str]] = field(default_factory=list)
    """Label, and a word that stands right beside the mention and nowhere else."""
    distractors: list[str] = field(default_factory=list)


# --- the page --------------------------------------------------------------------------------------------------------


class _Printer:
    """Flows paragraphs and figures over columns and pages, and keeps the truth."""

    def __init__(self, canvas: Canvas, looks: Looks, rng: np.random.Generator, gold: GoldDocument) -> None:
        self.canvas, self.looks, self.rng, self.gold = canvas, looks, rng, gold
        self.page = 1
        self.column = 0
        self.top = looks.height - looks.margin
        self.y = self.top
        self.number = 0
        self.head_logo = parts.noise_picture(rng, 40, 16)
        self.furniture()

    @property
    def x(self) -> float:
        return self.looks.margin + self.column * (self.looks.column + self.looks.gutter)

    @property
    def bottom(self) -> float:
        return self.looks.margin

    def furniture(self) -> None:
        """Head, foot, logo."""
        looks, canvas = self.looks, self.canvas
        y = looks.height - 0.55 * looks.margin
        canvas.setFont("Helvetica", 7)
        canvas.drawString(looks.margin, y, "Journal of Made Spines 12 (3), 101")
        canvas.drawCentredString(looks.width / 2, 0.5 * looks.margin, str(100 + self.page))
        if looks.logo == "picture":
            canvas.drawImage(ImageReader(io.BytesIO(self.head_logo)), looks.width - looks.margin - 60, y - 6, 60, 24)
        elif looks.logo == "drawn":
            canvas.setFillColorRGB(0.1, 0.3, 0.6)
            canvas.circle(looks.width - looks.margin - 15, y + 6, 12, fill=1, stroke=0)
            canvas.rect(looks.width - looks.margin - 70, y, 36, 12, fill=1, stroke=0)
            canvas.setFillGray(0)
        canvas.setLineWidth(0.5)
        canvas.line(looks.margin, y - 8, looks.width - looks.margin, y - 8)

    def turn(self) -> None:
        """The next column or page."""
        if self.column + 1 < self.looks.columns:
            self.column += 1
            self.y = self.top
        else:
            self.new_page()

    def new_page(self) -> None:
        self.canvas.showPage()
        self.page += 1
        self.column = 0
        self.top = self.looks.height - self.looks.margin
        self.y = self.top
        self.furniture()

    def text(self, text: str, style: ParagraphStyle) -> None:
        """A paragraph, over columns where needed."""
        rest = [Paragraph(text, style)]
        while rest:
            room = self.y - self.bottom
            pieces = rest[0].split(self.looks.column, room) if room > 2.2 * style.leading else []
            if not pieces:
                self.turn()
                continue
            _, tall = pieces[0].wrap(self.looks.column, room)
            pieces[0].drawOn(self.canvas, self.x, self.y - tall)
            self.y -= tall + style.spaceAfter
            rest = pieces[1:]
            if rest:
                self.turn()

    # --- figures -----------------------------------------------------------------------------------------------------

    def label(self, number: int) -> str:
        return self.looks.number.replace("n", str(number))

    def caption_text(self, words: str, labels: list[int]) -> tuple[str, str]:
        """Printed markup and plain text of a caption."""
        looks = self.looks
        word = looks.word
        if len(labels) == 2:
            numbers = f"{self.label(labels[0])}{'、' if looks.han else ' and '}{self.label(labels[1])}"
            word = {"Figure": "Figures", "Fig.": "Figs.", "FIGURE": "FIGURES", "Fig": "Figs"}.get(word, word)
        else:
            numbers = self.label(labels[0])
        head = f"{word}{'' if looks.han else ' '}{numbers}{looks.separator}"
        marked = f"<b>{head}</b>" if looks.bold else head
        return f"{marked} {words}", f"{head} {words}"

    def picture(self, what: str, box: Box) -> Box:
        """Draw it; returns the box of its ink."""
        canvas = self.canvas
        if what in parts.DRAWN:
            canvas.saveState()
            box = parts.DRAWN[what](canvas, self.rng, box)
            canvas.restoreState()
        elif what == "made":
            canvas.drawImage(
                ImageReader(io.BytesIO(parts.noise_picture(self.rng))), box[0], box[1], box[2] - box[0], box[3] - box[1]
            )
        else:
            data = dict(parts.module_texts()[2])[what]
            canvas.drawImage(ImageReader(io.BytesIO(data)), box[0], box[1], box[2] - box[0], box[3] - box[1])
        return box

    def figure(self, words: str, *, panels: int, wide: bool, what: str, shared: str, over: bool) -> None:
        """One float: pictures and caption, in the column or across the page.

        Args:
            words: The caption's.
            panels: How many pictures.
            wide: Across all columns, at the top of the next page.
            what: `module`, `made`, `chart`, `spine` or `flow`.
            shared: `two` for two numbers in one caption, else empty.
            over: The caption goes to the top of the next page.
        """
        looks, rng = self.looks, self.rng
        above = looks.letters in ("A", "(a)") and panels > 1
        panel_gap = max(looks.panel_gap, 13.0) if above else looks.panel_gap
        labels = [self.number + 1, self.number + 2] if shared == "two" else [self.number + 1]
        self.number += len(labels)
        marked, plain = self.caption_text(words, labels)
        width = looks.width - 2 * looks.margin if wide else looks.column
        place = looks.place
        if place == "beside" and (panels > 1 or width < 330 or over):
            place = "below"
        across = panels if panels <= 3 else int(np.ceil(panels / 2))
        rows = int(np.ceil(panels / across))
        use = width * (float(rng.uniform(0.45, 0.6)) if place == "beside" else float(rng.uniform(0.62, 1.0)))
        use = max(use, min(width, 120.0))
        each = (use - (across - 1) * panel_gap) / across
        tall = float(rng.uniform(70, 170)) if panels == 1 else float(rng.uniform(60, 110))
        paragraph = Paragraph(marked, looks.caption)
        cap_width = width - use - 14 if place == "beside" else (width if rng.random() < 0.6 else max(use, 0.7 * width))
        _, cap_tall = paragraph.wrap(cap_width, 1000)
        pictures_tall = rows * tall + (rows - 1) * panel_gap
        need = pictures_tall + looks.after * 2 + (0 if place == "beside" or over else cap_tall + looks.gap)
        if wide and looks.columns > 1:
            self.new_page()
        elif over:
            if self.y - self.bottom < need:
                self.turn()
            # Fill the column down to where the picture just fits.
            while self.y - self.bottom > need + 3 * looks.body.leading:
                self.text(self.sentence(), looks.body)
                if self.column or self.y - self.bottom < need:
                    break
        if self.y - self.bottom < need:
            self.turn()
        align = float(rng.choice([0, 0.5, 1])) if place != "beside" else 0.0
        left = self.x + align * (width - use)
        start = self.y - looks.after * 0.6
        cap_left = self.x + (0 if cap_width >= width - 1 else align * (width - cap_width))
        if place == "above":
            paragraph.drawOn(self.canvas, cap_left, start - cap_tall)
            start -= cap_tall + looks.gap + (11 if above else 0)
        if place == "beside":
            cap_top = start - float(rng.choice([0, 1])) * max(0.0, pictures_tall - cap_tall)
            paragraph.drawOn(self.canvas, left + use + 14, cap_top - cap_tall)
        boxes: list[tuple[int, Box]] = []
        names = [name for name, _ in parts.module_texts()[2]]
        for panel in range(panels):
            row, column = divmod(panel, across)
            x = left + column * (each + panel_gap)
            y = start - (row + 1) * tall - row * panel_gap
            box = (x, y, x + each, y + tall)
            boxes.append((self.page, self.picture(str(rng.choice(names)) if what == "module" else what, box)))
            if panels > 1 and looks.letters and shared != "two":
                self.canvas.setFont("Helvetica-Bold", 9)
                letter = "ABCDEFGH"[panel]
                if looks.letters == "in":
                    self.canvas.setFillGray(1)
                    self.canvas.drawString(x + 3, y + tall - 11, letter)
                    self.canvas.setFillGray(0)
                else:
                    self.canvas.drawString(
                        x + 2, y + tall + 1, f"({letter.lower()})" if looks.letters == "(a)" else letter
                    )
        self.y = start - pictures_tall
        if place == "below" and not over:
            self.y -= looks.gap
            paragraph.drawOn(self.canvas, cap_left, self.y - cap_tall)
            self.y -= cap_tall
        if place == "beside":
            self.y = min(self.y, cap_top - cap_tall)
        self.y -= looks.after
        if over:
            self.new_page()
            paragraph.drawOn(self.canvas, self.x, self.y - cap_tall)
            self.y -= cap_tall + looks.after
        if wide and looks.columns > 1:
            self.top = self.y
        note = f"{what}, {panels} panels, {'wide, ' if wide else ''}{'next page' if over else place}"
        if shared == "two":
            half = len(boxes) // 2
            for label, part in zip(labels, (boxes[:half], boxes[half:])):
                self.gold.figures.append(GoldFigure(self.label(label), plain, part, note + ", two numbers"))
        else:
            self.gold.figures.append(GoldFigure(self.label(labels[0]), plain, boxes, note))

    def sentence(self) -> str:
        rng = self.rng
        pool: tuple[str, ...] = parts.HAN if self.looks.han else (*parts.MADE, *parts.module_texts()[0])
        text = str(rng.choice(np.array(pool, dtype=object)))
        return text.replace("{n}", str(rng.integers(3, 90))).replace("{t}", str(rng.integers(5, 12)))

    def paragraph(self, labels: list[str]) -> None:
        """A paragraph, which may mention figures."""
        looks, rng = self.looks, self.rng
        pieces = [self.sentence() for _ in range(int(rng.integers(1, 3)))]
        if labels and rng.random() < 0.6:
            label = str(rng.choice(labels))
            word = f"note{len(self.gold.mentions) + 1}q"
            if looks.han:
                mention = str(
                    rng.choice(
                        [f"如图{label}所示（{word}）。", f"（图{label}，{word}）。", f"见图 {label}（{word}）。"]
                    )
                )
            else:
                mention = str(
                    rng.choice(
                        [
                            f"This is seen in Figure {label} ({word}).",
                            f"The rest is as before (Fig. {label}, {word}).",
                            f"Compare Fig. {label}A and {word}.", f"Of these, {word} is shown in Figure {label}.",
                        ]
                    )
                )  # fmt: skip
            pieces.insert(int(rng.integers(0, len(pieces) + 1)), mention)
            self.gold.mentions.append((label, word))
        elif labels and rng.random() < 0.35:
            label = str(rng.choice(labels))
            word = f"note{len(self.gold.mentions) + 1}q"
            start = (
                f"图{label}显示椎体高度（{word}）。" if looks.han
                else str(rng.choice([
                    f"Figure {label} shows that the height of the body is kept ({word}).",
                    f"Fig. {label} illustrates the measurement ({word}).",
                    f"Figure {label} and the text around it ({word}) are discussed below.",
                ]))
            )  # fmt: skip
            pieces.insert(0, start)
            self.gold.mentions.append((label, word))
        self.text((("" if looks.han else " ").join(pieces)).replace("&", "&amp;").replace("<", "&lt;"), looks.body)

    def table(self) -> None:
        """Rules, cells and a caption of its own."""
        looks, rng = self.looks, self.rng
        rows = int(rng.integers(3, 6))
        need = 14 * rows + 40
        if self.y - self.bottom < need:
            self.turn()
        self.y -= 10
        name = "表" if looks.han else "Table "
        paragraph = Paragraph(
            f"{name}{self.number + 1}{looks.separator or '.'} "
            + ("测量结果" if looks.han else "Measures of the groups"),
            looks.caption,
        )
        _, tall = paragraph.wrap(looks.column, 100)
        paragraph.drawOn(self.canvas, self.x, self.y - tall)
        self.y -= tall + 5
        grid = bool(rng.integers(2))
        self.canvas.setFont("Helvetica", 7)
        for row in range(rows + 1):
            y = self.y - 14 * row
            if grid or row in (0, 1, rows):
                self.canvas.line(self.x, y, self.x + looks.column, y)
            if row < rows:
                for cell in range(4):
                    self.canvas.drawString(
                        self.x + 4 + cell * looks.column / 4, y - 10, f"{rng.integers(1, 99)}.{cell}"
                    )
        if grid:
            for cell in range(5):
                x = self.x + cell * looks.column / 4
                self.canvas.line(x, self.y, x, self.y - 14 * rows)
        self.y -= 14 * rows + 12
        self.gold.distractors.append("table")

    def callout(self) -> None:
        """A shaded box around text."""
        looks = self.looks
        paragraph = Paragraph(self.sentence().replace("&", "&amp;").replace("<", "&lt;"), looks.body)
        _, tall = paragraph.wrap(looks.column - 16, 1000)
        if tall > 200 or self.y - self.bottom < tall + 30:
            return
        self.y -= 6
        self.canvas.setFillGray(0.9)
        self.canvas.rect(self.x, self.y - tall - 12, looks.column, tall + 12, fill=1, stroke=int(self.rng.integers(2)))
        self.canvas.setFillGray(0)
        paragraph.drawOn(self.canvas, self.x + 8, self.y - tall - 6)
        self.y -= tall + 24
        self.gold.distractors.append("box around text")

    def portrait(self) -> None:
        """A picture that has no caption."""
        if self.y - self.bottom < 90:
            return
        self.y -= 8
        self.canvas.drawImage(
            ImageReader(io.BytesIO(parts.noise_picture(self.rng, 40, 50))), self.x, self.y - 60, 48, 60
        )
        self.y -= 72
        self.gold.distractors.append("portrait")


def make_document(path: Path, seed: int, kind: Kind, *, figures: int = 5, language: str = "") -> GoldDocument:
    """Draw one document and return the truth about it.

    Args:
        path: The PDF file to write; its bytes depend on the arguments alone.
        seed: Of everything drawn.
        kind: `single` column, `two` columns, or `shared` captions in either.
        figures: How many floats.
        language: `en`, `zh`, or empty to draw it (one in five is Chinese).
    """
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    han = language == "zh" or (not language and rng.random() < 0.2)
    if han and "STSong-Light" not in pdfmetrics.getRegisteredFontNames():
        pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))
    looks = draw_looks(rng, kind, han)
    gold = GoldDocument(seed, kind, "zh" if han else "en")
    canvas = Canvas(str(path), pagesize=(looks.width, looks.height), invariant=1)
    printer = _Printer(canvas, looks, rng, gold)
    printer.text("腰椎影像研究" if han else "A made article on the spine", looks.heading)
    for place in range(figures):
        _float(printer, rng, kind, place)
    for _ in range(2):
        printer.paragraph([figure.label for figure in gold.figures])
    canvas.showPage()
    canvas.save()
    return gold


def _float(printer: _Printer, rng: np.random.Generator, kind: Kind, place: int) -> None:
    looks, gold = printer.looks, printer.gold
    known = [figure.label for figure in gold.figures]
    # The next figure is mentioned before it stands, as in print.
    ahead = [*known, printer.label(printer.number + 1)]
    for _ in range(int(rng.integers(1, 4))):
        printer.paragraph(ahead)
    if rng.random() < 0.25:
        printer.text(
            "方法" if looks.han else str(rng.choice(["Methods", "Results", "Discussion", "Regions of the spine"])),
            looks.heading,
        )
    extra = rng.random()
    if extra < 0.15:
        printer.table()
    elif extra < 0.25:
        printer.callout()
    elif extra < 0.30:
        printer.portrait()
    shared = kind == "shared" and rng.random() < 0.75
    two = shared and rng.random() < 0.4
    panels = 2 if shared else int(rng.choice([1, 1, 1, 1, 2, 3, 4]))
    if shared and not two:
        panels = int(rng.choice([2, 2, 3]))
    what = str(rng.choice(["module", "module", "made", "chart", "spine", "flow"]))
    if panels > 2 and what in ("chart", "flow", "spine"):
        what = "made"  # no room to draw in
    wide = looks.columns > 1 and rng.random() < (0.7 if panels > 1 else 0.25)
    if looks.han:
        pool: tuple[str, ...] = parts.HAN_CAPTIONS
    else:
        pool = (*parts.MADE_CAPTIONS, *parts.module_texts()[1])
    words = str(rng.choice(np.array(pool, dtype=object)))
    words = words.replace("{n}", str(rng.integers(3, 90))).replace("{t}", str(rng.integers(5, 12)))
    words = words.replace("&", "and").replace("<", "under ")
    over = not wide and looks.columns == 1 and panels == 1 and looks.place == "below" and rng.random() < 0.08
    printer.figure(words, panels=panels, wide=wide, what=what, shared="two" if two else "", over=over)
