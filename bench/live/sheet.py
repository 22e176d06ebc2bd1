"""A contact sheet of questions: picture, question, answer. For people who want to see what is asked.

Convention: questions are taken evenly over the recipes, in the order of the samples; the answer stands below each.

Trap: the sheet shows the truth; it belongs to whoever makes the set and not beside the questions.
"""

from __future__ import annotations

import os
import textwrap
from collections import defaultdict
from pathlib import Path

import numpy as np

from bench.samples import read_samples
from spinemed.marks import write_png
from spinemed.records import IMAGE_PLACEHOLDER, Sample

__all__ = ["write_sheet"]

_TILE, _TEXT, _LINE = 360, 150, 13


def write_sheet(samples: str | os.PathLike[str], path: str | os.PathLike[str], *, count: int = 24) -> Path:
    """Write a contact sheet of up to `count` questions with a picture.

    Raises:
        ReadError: The samples folder is incomplete.
    """
    root = Path(samples)
    listed, _ = read_samples(root)
    by_recipe: dict[str, list[Sample]] = defaultdict(list)
    for sample in listed:
        if sample.images:
            by_recipe[next((tag for tag in sample.tags if tag.startswith("live:")), "")].append(sample)
    chosen: list[Sample] = []
    while len(chosen) < count and any(by_recipe.values()):
        for name in sorted(by_recipe):
            if by_recipe[name] and len(chosen) < count:
                chosen.append(by_recipe[name].pop(0))
    return write_png(path, _sheet(root, chosen))


def _sheet(root: Path, samples: list[Sample], columns: int = 6) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    rows = max(-(-len(samples) // columns), 1)
    sheet = Image.new("RGB", (columns * _TILE, rows * (_TILE + _TEXT)))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for place, sample in enumerate(samples):
        left, top = place % columns * _TILE, place // columns * (_TILE + _TEXT)
        wide = _TILE // len(sample.images)
        for number, name in enumerate(sample.images):
            with Image.open(root / name) as opened:
                picture = opened.convert("RGB")
            picture.thumbnail((wide - 4, _TILE - 4), Image.Resampling.BICUBIC)
            sheet.paste(picture, (left + number * wide, top))
        asked = sample.messages[0].content.replace(IMAGE_PLACEHOLDER, "").strip()
        lines = [line for part in asked.splitlines() for line in textwrap.wrap(part, 62)][: _TEXT // _LINE - 2]
        for number, line in enumerate(lines):
            pen.text((left + 2, top + _TILE + number * _LINE), line, fill=(205, 205, 205), font=font)
        answer = f"{sample.answer}   {sample.variant} {sample.difficulty}"
        pen.text((left + 2, top + _TILE + _TEXT - _LINE - 4), answer, fill=(120, 255, 140), font=font)
    return np.array(sheet)
