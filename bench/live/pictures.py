"""Pictures of questions: windowed to 8 bits, marks, numbers, letters, a scale bar, a line burned in.

Convention: a picture is uint8 (H, W) or (H, W, 3); points are (x, y) in pixels. The patient's front is on the left of
sagittal slices, the patient's right on the left of frontal and axial pictures, unless the picture was flipped.

Trap: a flipped picture has its side letter on the other side, upright, as a film that is hung the wrong way round would
have it if letters did not turn: the letter is what says which side is which.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.marks import COLOURS, apply_mark, make_mark

__all__ = [
    "arrow",
    "burn_line",
    "crop_rows",
    "evened",
    "flip",
    "number",
    "ring",
    "scale_bar",
    "side_letter",
    "windowed",
]

Picture = NDArray[np.uint8]
Point = tuple[float, float]
_ARROW_WIDTHS = 12.5
"""Length of an arrow in widths of its line."""
_LEAST_WIDTH_PX = 1.6


def windowed(values: NDArray[np.generic], low: float, high: float) -> Picture:
    """Values as grey, `low` black and `high` white."""
    scaled = (values.astype(np.float32) - low) * (255.0 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def evened(picture: Picture) -> Picture:
    """A radiograph with its local contrast raised, as a viewing station shows it (limited histogram equalisation)."""
    import cv2

    made: Picture = cv2.createCLAHE(clipLimit=2.2, tileGridSize=(6, 6)).apply(picture)
    return made


def arrow(picture: Picture, at: Point, reach_px: float, *, from_right: bool = False) -> Picture:
    """An arrow from the side whose tip stops `reach_px` before the point."""
    mark = make_mark(
        picture.shape, at, style="arrow", colour="yellow", radius_px=reach_px, angle_deg=180.0 if from_right else 0.0
    )
    room = (picture.shape[1] - 1 - at[0] if from_right else at[0]) - reach_px
    width = min(mark.width_px, max(room / _ARROW_WIDTHS, _LEAST_WIDTH_PX))  # an arrow fits into the room it has
    return apply_mark(picture, mark.model_copy(update={"width_px": width}))


def ring(picture: Picture, at: Point, radius_px: float) -> Picture:
    """A ring about a point."""
    return apply_mark(picture, make_mark(picture.shape, at, colour="cyan", radius_px=radius_px))


def flip(picture: Picture) -> Picture:
    """Left and right exchanged."""
    return np.ascontiguousarray(picture[:, ::-1])


def crop_rows(picture: Picture, first: int) -> Picture:
    """Without the rows above `first`."""
    return np.ascontiguousarray(picture[first:])


def number(picture: Picture, at: Point, text: str) -> Picture:
    """A number or letter centred at a point, yellow on a dark edge."""
    size = max(20, round(0.06 * min(picture.shape[:2])))
    return _written(picture, at, text, size, COLOURS["yellow"], anchor="mm")


def side_letter(picture: Picture, letter: Literal["L", "R"], *, on_left: bool) -> Picture:
    """The letter of a side in an upper corner, as a technician sets it."""
    rows, columns = picture.shape[:2]
    edge = round(0.05 * columns)
    at = (edge if on_left else columns - 1 - edge, round(0.04 * rows))
    size = max(16, round(0.065 * min(rows, columns)))
    return _written(picture, at, letter, size, (255, 255, 255), anchor="lt" if on_left else "rt")


def scale_bar(picture: Picture, spacing_mm: float, *, length_mm: float = 50.0) -> Picture:
    """A bar of `length_mm` with its length beside it, at the lower left."""
    canvas = _rgb(picture)
    rows, columns = canvas.shape[:2]
    wide, left, bottom = round(length_mm / spacing_mm), round(0.04 * columns), rows - 1 - round(0.035 * rows)
    thick = max(2, round(0.008 * rows))
    canvas[bottom - thick - 1 : bottom + 2, left - 1 : left + wide + 1] = 0
    canvas[bottom - thick : bottom + 1, left : left + wide] = 255
    size = max(12, round(0.035 * min(rows, columns)))
    at = (left + wide + 6, bottom - thick / 2)
    return _written(canvas, at, f"{length_mm:g} mm", size, (255, 255, 255), anchor="lm")


def burn_line(picture: Picture, text: str) -> Picture:
    """Lines of text in white on a black strip below the picture, as words burned into a film."""
    from PIL import Image, ImageDraw, ImageFont

    canvas = _rgb(picture)
    columns = canvas.shape[1]
    size = max(12, round(0.034 * columns))
    font = ImageFont.load_default(size)
    lines, line = [], ""
    for word in text.split():
        if line and font.getlength(f"{line} {word}") > 0.94 * columns:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    lines.append(line)
    step = round(1.35 * size)
    strip = Image.new("RGB", (columns, step * len(lines) + 8))
    pen = ImageDraw.Draw(strip)
    for place, content in enumerate(lines):
        pen.text((round(0.03 * columns), 4 + place * step), content, fill=(255, 255, 255), font=font)
    return np.concatenate([canvas, np.asarray(strip)])


def _rgb(picture: Picture) -> Picture:
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture.copy()


def _written(
    picture: Picture, at: Point, text: str, size: int, colour: tuple[int, int, int], *, anchor: str
) -> Picture:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.fromarray(_rgb(picture))
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    pen.text(at, text, fill=colour, font=font, anchor=anchor, stroke_width=max(1, size // 10), stroke_fill=(0, 0, 0))
    return np.array(image)
