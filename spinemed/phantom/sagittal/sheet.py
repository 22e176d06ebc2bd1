"""Contact sheets: many phantoms on one picture, levels named beside each body.

Convention: the field is enlarged by a whole factor, names stand in front of the bodies, fractured ones in red with
shape and grade, the focus level in yellow. The trap: a sheet is for looking; names on it come from the truth.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from spinemed.phantom.sagittal.records import PhantomDraw
from spinemed.phantom.sagittal.render import render_phantom

__all__ = ["contact_sheet"]


def contact_sheet(draws: Sequence[PhantomDraw], *, columns: int = 4, enlarge: int = 3) -> np.ndarray:
    """Render draws side by side with their levels named.

    Args:
        draws: At least one.
        columns: Pictures in a row.
        enlarge: Whole factor of enlargement.

    Returns:
        uint8 (H, W, 3).
    """
    tiles = [_tile(draw, enlarge) for draw in draws]
    wide, high = max(x.width for x in tiles), max(x.height for x in tiles)
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (wide * min(columns, len(tiles)), high * rows))
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % columns * wide, place // columns * high))
    return np.asarray(sheet)


def _tile(draw: PhantomDraw, enlarge: int) -> Image.Image:
    rendered = render_phantom(draw)
    rows, columns = rendered.image.shape
    picture = Image.fromarray(rendered.image).resize((columns * enlarge, rows * enlarge), Image.Resampling.BICUBIC)
    picture = picture.convert("RGB")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default()
    way = 1.0 if draw.mirrored else -1.0
    for vertebra in rendered.vertebrae:
        text, colour = vertebra.level.value, (120, 220, 255)
        if vertebra.level == draw.focus:
            colour = (255, 225, 30)
        if vertebra.fracture is not None:
            text, colour = f"{text} {vertebra.fracture} g{vertebra.genant}", (255, 90, 90)
        x, y = vertebra.centre_px
        half = max(abs(corner[0] - x) for corner in vertebra.corners_px) + 2.0
        at = ((x + way * half + 0.5) * enlarge, (y + 0.5) * enlarge)
        pen.text(at, text, fill=colour, font=font, anchor="lm" if draw.mirrored else "rm")
    settled = ", ".join(rendered.anchors) or "not determinable"
    caption = f"{draw.index}: {draw.look.modality}, numbering: {settled}"
    pen.text((4, rows * enlarge - 14), caption, fill=(200, 200, 200), font=font)
    return picture
