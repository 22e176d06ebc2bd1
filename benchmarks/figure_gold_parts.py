"""What made documents are filled with: words and pictures of the bundled modules, made sentences, drawings.

Convention: drawings are drawn into a box and say which part of it holds ink.

Trap: texts are read from the modules' XML here and not by a reader of the pipeline, so that a fault of a reader cannot
hide in both.
"""

from __future__ import annotations

import io
import re
from functools import cache
from pathlib import Path

import numpy as np
from lxml import etree
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

__all__ = ["DRAWN", "HAN", "HAN_CAPTIONS", "MADE", "MADE_CAPTIONS", "module_texts", "noise_picture"]

OPENSTAX = Path(__file__).resolve().parent.parent / "samples" / "text" / "openstax"
Box = tuple[float, float, float, float]


@cache
def module_texts() -> tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, bytes], ...]]:
    """Paragraphs, captions and pictures (small JPEG) of the bundled modules."""
    paragraphs, captions = [], []
    for path in sorted(OPENSTAX.glob("*.cnxml")):
        tree = etree.parse(str(path), etree.XMLParser(resolve_entities=False, no_network=True))
        for element in tree.iter("{*}para", "{*}caption"):
            text = " ".join("".join(element.itertext()).split()).replace("()", "")
            text = re.sub(r"[^\x20-\x7e\u2013\u2019\u201c\u201d]", " ", text)
            if len(text) > 60:
                (captions if element.tag.endswith("caption") else paragraphs).append(text[:1400])
    pictures = []
    for path in sorted((OPENSTAX / "media").iterdir()):
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((260, 260))
        stream = io.BytesIO()
        small.save(stream, "JPEG", quality=70)
        pictures.append((path.stem, stream.getvalue()))
    return tuple(paragraphs), tuple(captions), tuple(pictures)


MADE = (
    "Patients with degenerative spondylolisthesis at L4-L5 were followed for {n} months after decompression. The slip "
    "was measured on standing lateral radiographs, and two readers graded every disc without knowing the outcome.",
    "The sagittal vertical axis was corrected by {n} mm on average. Screws in T{t} and L1 held in all but two.",
    "Computed tomography was made with a slice thickness of {n} mm. The canal was narrowest at the level of the disc.",
    "Of {n} vertebrae with a loss of height, most were wedge shaped and lay between T{t} and L2. No cord was hurt.",
    "Complications were rare: {n} dural tears, one haematoma and one deep infection were recorded within ninety days.",
)
MADE_CAPTIONS = (
    "Lateral radiograph of a {n}-year-old woman with a fracture of T{t}.",
    "Cobb angle before and after the operation in {n} patients. Bars show the mean, whiskers one standard deviation.",
    "Flow of the {n} patients through the study.",
    "Sagittal T2-weighted image. The disc at L5-S1 has lost its signal (arrow), and the canal is narrow at L4-L5. The "
    "inset shows the same level {n} months later.",
    "Schematic drawing of the vertebral body T{t} with the planes along which heights were measured",
)
HAN = (
    "腰椎由五个椎体组成，椎间盘位于相邻椎体之间，承受轴向载荷并允许一定范围的运动。",
    "患者术前腰痛{n}个月，影像学检查提示腰椎滑脱，行后路减压融合术，术后症状明显缓解。",
    "矢状位影像可见椎间盘信号减低，椎管前后径为{n}毫米，硬膜囊受压。",
    "随访{n}个月，内固定位置良好，未见松动及断裂，融合节段骨性愈合。",
    "骨质疏松性椎体压缩骨折多见于胸腰段，椎体高度丢失超过百分之{n}者建议进一步检查。",
)
HAN_CAPTIONS = (
    "腰椎侧位X线片，箭头示第四腰椎椎体前滑脱。", "术前与术后{n}个月矢状位影像比较。",
    "椎体各部分的名称及测量方法示意图。",
    "患者入组流程，共纳入{n}例。",
)  # fmt: skip


def noise_picture(rng: np.random.Generator, wide: int = 96, tall: int = 80) -> bytes:
    """A made radiograph: soft blobs on dark ground."""
    y, x = np.mgrid[0:tall, 0:wide]
    array = np.full((tall, wide), 30.0)
    for _ in range(6):
        cx, cy, r = rng.uniform(0, wide), rng.uniform(0, tall), rng.uniform(8, 24)
        array += rng.uniform(30, 120) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * r * r))
    stream = io.BytesIO()
    Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def _draw_chart(canvas: Canvas, rng: np.random.Generator, box: Box) -> Box:
    """Axes, ticks with numbers, bars or a curve, a legend."""
    left, bottom, right, top = box
    canvas.setFont("Helvetica", 6)
    ax, ay = left + 22, bottom + 16
    canvas.setStrokeGray(0)
    canvas.line(ax, ay, right - 2, ay)
    canvas.line(ax, ay, ax, top - 2)
    for tick in range(5):
        y = ay + (top - ay - 8) * tick / 4
        canvas.line(ax - 3, y, ax, y)
        canvas.drawRightString(ax - 5, y - 2, str(20 * tick))
    number = int(rng.integers(3, 7))
    step = (right - ax - 8) / number
    curve = rng.random() < 0.5
    path = canvas.beginPath()
    for bar in range(number):
        tall = (top - ay - 12) * float(rng.uniform(0.2, 0.95))
        x = ax + 6 + bar * step
        if curve:
            (path.moveTo if bar == 0 else path.lineTo)(x, ay + tall)
            canvas.circle(x, ay + tall, 2, fill=1)
        else:
            canvas.setFillColorRGB(*rng.uniform(0.2, 0.8, 3))
            canvas.rect(x, ay, step * 0.6, tall, fill=1, stroke=int(rng.integers(2)))
        canvas.setFillGray(0)
        canvas.drawCentredString(x + step * 0.3, ay - 8, f"L{bar + 1}")
    if curve:
        canvas.drawPath(path)
    canvas.drawCentredString((ax + right) / 2, bottom + 1, "level")
    canvas.setFillGray(0)
    return left + 8, bottom, right, top


def _draw_spine(canvas: Canvas, rng: np.random.Generator, box: Box) -> Box:
    """Rounded bodies along a curve, with labels."""
    left, bottom, right, top = box
    number = int(rng.integers(3, 6))
    tall = (top - bottom) / number
    canvas.setLineWidth(float(rng.uniform(0.5, 1.5)))
    canvas.setFont("Helvetica", 7)
    for body in range(number):
        x = (left + right) / 2 - 25 + 14 * np.sin(body)
        y = bottom + body * tall + 3
        canvas.setFillColorRGB(0.95, 0.9, 0.7)
        canvas.roundRect(x, y, 50, tall - 7, 5, fill=1)
        canvas.setFillGray(0)
        canvas.line(x + 50, y + tall / 2, right - 22, y + tall / 2)
        canvas.drawString(right - 20, y + tall / 2 - 2, f"L{number - body}")
    corner = max(left, (left + right) / 2 - 75)
    canvas.ellipse(corner, bottom, corner + 12, bottom + 12)
    return corner, bottom, right - 10, top - 4


def _draw_flow(canvas: Canvas, rng: np.random.Generator, box: Box) -> Box:
    """Boxes with words, joined by arrows."""
    left, bottom, right, top = box
    number = int(rng.integers(2, 4))
    step = (top - bottom) / number
    wide = 0.6 * (right - left)
    middle = (left + right) / 2
    canvas.setFont("Helvetica", 6.5)
    for place in range(number):
        y = top - (place + 1) * step + 12
        canvas.roundRect(middle - wide / 2, y, wide, step - 16, 3)
        canvas.drawCentredString(
            middle,
            y + (step - 16) / 2 - 2,
            f"{['Screened', 'Included', 'Followed'][place]} (n = {rng.integers(20, 400)})",
        )
        if place < number - 1:
            canvas.line(middle, y, middle, y - 16)
            canvas.line(middle, y - 16, middle - 3, y - 11)
            canvas.line(middle, y - 16, middle + 3, y - 11)
    canvas.rect(left, bottom, 10, top - bottom - 4)
    canvas.line(left + 10, bottom + 20, middle - wide / 2, bottom + 20)
    return left, bottom, middle + wide / 2, top - 4


DRAWN = {"chart": _draw_chart, "spine": _draw_spine, "flow": _draw_flow}
