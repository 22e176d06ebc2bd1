# ruff: noqa: E501 -- markup stands on one line
"""A second gold set that another printer makes: HTML pages with `figure` and `figcaption`, printed to PDF by Chromium.

Convention: every picture stands in a link to `https://gold.invalid/NAME`, which the printed PDF keeps as an annotation
with page and box; that is the truth about where pictures lie, and the captions are known. The looks are drawn by seed:
columns, faces, captions styled or left as the browser sets them, numbered or not, frames, shades, sidebars, a logo that
repeats on every page, tables, drawings in SVG.

Trap: the matcher reads no annotations, so the links tell it nothing. Chromium has only the faces of the machine.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pdfplumber

from benchmarks import figure_gold_parts

__all__ = ["HELD_OUT", "HtmlFigure", "chromium_path", "print_document", "printer"]

HELD_OUT = 5000
FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")


@dataclass
class HtmlFigure:
    """One figure of a printed page."""

    name: str
    caption: str
    panels: list[tuple[int, tuple[float, float, float, float]]]
    what: str


def chromium_path() -> str | None:
    """A Chromium on this machine."""
    import shutil

    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def printer() -> Iterator[Any]:
    """A browser page that prints; one for many documents."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        yield browser.new_page()
        browser.close()


def print_document(page: Any, path: Path, seed: int, *, figures: int = 6) -> tuple[list[HtmlFigure], str]:
    """Print one document and read back where its pictures went.

    Args:
        page: From :func:`printer`.
        path: The PDF to write.
        seed: Of everything drawn.
        figures: How many.

    Returns:
        The figures, and one line on how the document looks.
    """
    writer = _Page(np.random.default_rng([seed, 77]))
    text = writer.document(figures)
    page.set_content(text, wait_until="load")
    page.pdf(path=str(path), prefer_css_page_size=True, print_background=True, display_header_footer=False)
    found = {figure.name: figure for figure in writer.figures}
    with pdfplumber.open(path) as document:
        for number, sheet in enumerate(document.pages, start=1):
            for link in sheet.hyperlinks:
                name = str(link["uri"]).removeprefix("https://gold.invalid/")
                box = (link["x0"], float(sheet.height) - link["bottom"], link["x1"], float(sheet.height) - link["top"])
                found[name].panels.append((number, tuple(float(value) for value in box)))  # type: ignore[arg-type]
    missing = [name for name, figure in found.items() if not figure.panels]
    if missing:
        raise ValueError(f"seed {seed}: no link of {missing} in the printed file")
    return writer.figures, writer.looks


class _Page:
    """Writes one HTML document."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.gold = figure_gold_parts
        self.paragraphs, self.captions, self.pictures = self.gold.module_texts()
        self.figures: list[HtmlFigure] = []
        self.looks = ""

    def one(self, *choices: Any) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def document(self, figures: int) -> str:
        rng, one = self.rng, self.one
        columns = one(1, 1, 2)
        self.columns = columns
        body = one("10pt", "10.5pt", "11pt", "9.5pt", "12px")
        self.label = one(
            "Figure {n}.", "Figure {n}:", "Fig. {n}.", "Figure {n}", "FIGURE {n} |", "Figure 2-{n}.", "", "Figure {n} —"
        )
        styles = {
            "small": "font-size:85%", "smaller and grey": "font-size:0.8em;color:#555", "slanted": "font-style:italic",
            "small and centred": "font-size:88%;text-align:center", "sans": "font-family:sans-serif;font-size:90%",
            "as the text": "",
        }  # fmt: skip
        caption = one(*styles)
        if not self.label and caption == "as the text":
            caption = "slanted"
        self.strong = bool(rng.random() < 0.5)
        self.above = bool(rng.random() < 0.2)
        self.side = columns == 1 and not self.above and bool(rng.random() < 0.12)
        frame = one(
            "",
            "",
            "border:1px solid #999;padding:8px",
            "background:#f2f2f2;padding:10px",
            "border-top:1px solid #000;border-bottom:1px solid #000;padding:6px 0",
        )
        logo = one("", "picture", "svg")
        margin = one("1em 40px", "1.2em 0", "0.6em 0 1.4em", "2em auto")
        avoid = "break-inside:avoid;" if rng.random() < 0.75 else ""
        self.looks = f"{columns} columns, label '{self.label}', caption {caption}, {'above' if self.above else 'beside' if self.side else 'below'}, frame '{frame}', logo '{logo}'"
        css = f"""
        @page {{ size: {one("A4", "Letter", "170mm 240mm")}; margin: {one("18mm", "22mm", "15mm")} }}
        body {{ font: {body}/{one("1.25", "1.35", "1.5")} {one("serif", "sans-serif")}; text-align: {one("left", "justify")}; margin: 0 }}
        main {{ columns: {columns}; column-gap: {one("16pt", "20pt", "28pt")} }}
        p {{ margin: {one("0 0 0.6em", "0; text-indent: 1.5em", "0.5em 0")} }}
        figure {{ margin: {margin}; {avoid}{frame} }}
        figcaption {{ {styles[caption]}; margin-top: {one("4px", "8px", "0", "12px")} }}
        .panels {{ display: flex; flex-wrap: wrap; gap: {one("4px", "10px", "18px")} }}
        .side {{ display: flex; gap: 14px; align-items: {one("flex-start", "flex-end", "center")} }}
        .side figcaption {{ flex: 1 }}
        a {{ display: block; width: fit-content }} img, svg {{ display: block; max-width: 100% }}
        aside {{ background: #e8eef5; padding: 10px; margin: 1em 0; break-inside: avoid }}
        table {{ border-collapse: collapse; margin: 1em 0; font-size: 85% }} td, th {{ border: 1px solid #888; padding: 3px 9px }}
        header {{ position: fixed; top: 0; right: 0 }}
        h2 {{ font-size: 125%; margin: 1em 0 0.4em; break-after: avoid }}
        """
        parts = [
            f"<h1>{html.escape(str(one('Notes on the spine', 'Disorders of the vertebral column', 'A reader')))}</h1>"
        ]
        for number in range(1, figures + 1):
            for _ in range(int(rng.integers(1, 4))):
                parts.append(f"<p>{self.paragraph(number)}</p>")
            extra = rng.random()
            if extra < 0.2:
                parts.append(f"<h2>{one('Regions', 'Findings', 'Treatment')}</h2>")
            elif extra < 0.3:
                parts.append(f"<aside><p>{html.escape(self.text())}</p></aside>")
            elif extra < 0.4:
                parts.append(self.table(number))
            parts.append(self.figure(number))
        parts.append(f"<p>{self.paragraph(figures)}</p><p>{html.escape(self.text())}</p>")
        head = ""
        if logo == "picture":
            head = f"<header>{self.image(self.gold.noise_picture(rng, 40, 16), 70)}</header>"
        elif logo == "svg":
            head = "<header><svg width=60 height=22><circle cx=11 cy=11 r=10 fill='#246'/><rect x=26 y=5 width=32 height=12 fill='#246'/></svg></header>"
        return f"<!doctype html><meta charset=utf-8><style>{css}</style><body>{head}<main>{''.join(parts)}</main>"

    def text(self) -> str:
        pool = (*self.gold.MADE, *self.paragraphs)
        text = str(pool[int(self.rng.integers(len(pool)))])
        return text.replace("{n}", str(self.rng.integers(3, 90))).replace("{t}", str(self.rng.integers(5, 12)))

    def paragraph(self, number: int) -> str:
        text = html.escape(self.text())
        if not self.label or self.rng.random() < 0.4:
            return text
        name = f"2-{number}" if "2-" in self.label else str(number)
        if self.rng.random() < 0.3:
            return (
                f"Figure {name} {self.one('shows', 'illustrates', 'and the text below explain')} what was found. {text}"
            )
        return f"{text} {self.one(f'This is seen in Figure {name}.', f'(Fig. {name})', f'Compare Figure {name}.')}"

    def image(self, data: bytes, width: int) -> str:
        kind = "jpeg" if data[:2] == b"\xff\xd8" else "png"
        return f"<img width={width} src='data:image/{kind};base64,{base64.b64encode(data).decode()}'>"

    def picture(self, width: int) -> tuple[str, str]:
        """Markup and kind of one picture."""
        what = self.one("module", "module", "made", "chart", "spine")
        if what == "module":
            return self.image(self.pictures[int(self.rng.integers(len(self.pictures)))][1], width), what
        if what == "made":
            return self.image(self.gold.noise_picture(self.rng), width), what
        tall = int(width * self.rng.uniform(0.5, 0.9))
        marks = []
        if what == "chart":
            number = int(self.rng.integers(3, 7))
            marks.append(f"<path d='M15 2 V{tall - 14} H{width - 1}' fill=none stroke=black />")
            marks += [
                f"<text x=1 y={8 + tick * (tall - 22) / 3:.0f} font-size=8>{90 - 30 * tick}</text>" for tick in range(4)
            ]
            for bar in range(number):
                high = (tall - 24) * float(self.rng.uniform(0.2, 0.95))
                x = 26 + bar * (width - 36) / number
                marks.append(
                    f"<rect x={x:.1f} y={tall - 14 - high:.1f} width={(width - 36) / number * 0.6:.1f} height={high:.1f} fill='#{self.rng.integers(0x222222, 0xBBBBBB):06x}' />"
                )
                marks.append(f"<text x={x:.1f} y={tall - 3} font-size=8>L{bar + 1}</text>")
        else:
            for body in range(4):
                y = 3 + body * (tall - 6) / 4
                marks.append(
                    f"<rect x={0.22 * width + 0.04 * width * np.sin(body):.1f} y={y:.1f} width={0.7 * width:.1f} height={(tall - 6) / 4 - 5:.1f} rx=5 fill='#f3e6b3' stroke=black />"
                )
            marks.append(
                f"<path d='M{0.12 * width} 4 C 2 {tall / 2} {0.2 * width} {tall / 2} {0.06 * width} {tall - 4}' fill=none stroke='#a22' stroke-width=2 />"
            )
        return f"<svg width={width} height={tall}>{''.join(marks)}</svg>", what

    def figure(self, number: int) -> str:
        rng = self.rng
        panels = int(self.one(1, 1, 1, 2, 3 if self.columns == 1 else 2)) if not self.side else 1
        room = 200 if self.columns == 2 else 420
        width = int(room * rng.uniform(0.6, 1.0)) if panels == 1 else int(room * 0.9 / panels)
        if self.side:
            width = int(room * 0.5)
        pool = (*self.gold.MADE_CAPTIONS, *self.captions)
        words = str(pool[int(rng.integers(len(pool)))]).replace("{n}", str(rng.integers(3, 90)))
        words = words.replace("{t}", str(rng.integers(5, 12)))
        label = self.label.replace("{n}", str(number))
        plain = f"{label} {words}".strip()
        marked = (f"<b>{html.escape(label)}</b> " if self.strong else f"{html.escape(label)} ") if label else ""
        caption = f"<figcaption>{marked}{html.escape(words)}</figcaption>"
        made = [self.picture(width) for _ in range(panels)]
        links = [f"<a href='https://gold.invalid/f{number}'>{markup}</a>" for markup, _ in made]
        pictures = links[0] if panels == 1 else f"<div class=panels>{''.join(links)}</div>"
        self.figures.append(HtmlFigure(f"f{number}", plain, [], f"{'+'.join(kind for _, kind in made)}; {self.looks}"))
        inner = caption + pictures if self.above else pictures + caption
        return f"<figure{' class=side' if self.side else ''}>{inner}</figure>"

    def table(self, number: int) -> str:
        rows = "".join(
            f"<tr>{''.join(f'<td>{self.rng.integers(1, 99)}.{cell}</td>' for cell in range(4))}</tr>" for _ in range(4)
        )  # fmt: skip
        return f"<p><b>Table {number}.</b> Measures of the groups</p><table>{rows}</table>"
