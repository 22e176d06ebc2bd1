"""Visible marks on images: a ring or an arrow that says which vertebra is meant, and deterministic PNG bytes.

Convention: positions are (x, y) in pixels with pixel centres at whole numbers; sizes follow the image's shorter side,
so a mark looks alike at every resolution. A mark is a record (`Mark`) that is applied afterwards, so that an item can
name exactly what was drawn. The trap: a ring leaves its inside untouched and an arrow stops short of its target, so
that neither hides what it points at; at small sizes neighbouring structures are crossed all the same.
"""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from spinemed.errors import VolumeError
from spinemed.tables import write_bytes

__all__ = ["COLOURS", "Mark", "apply_mark", "make_mark", "mark_point", "png_bytes", "write_png"]

#: Colours by name; all differ from every grey.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (255, 40, 40),
    "green": (40, 230, 60),
    "blue": (60, 130, 255),
    "yellow": (255, 225, 30),
    "cyan": (30, 225, 235),
    "magenta": (255, 60, 220),
}

_Byte = Annotated[int, Field(ge=0, le=255)]
Colour = tuple[_Byte, _Byte, _Byte]
Style = Literal["ring", "arrow"]


class Mark(BaseModel):
    """One mark, as drawn.

    Attributes:
        x_px, y_px: The point that is meant.
        style: "ring" around the point, or "arrow" from outside towards it.
        colour: RGB.
        radius_px: Radius of the ring's middle line; for an arrow, the distance from its tip to the point.
        width_px: Width of the line.
        angle_deg: Where an arrow comes from: 0 the left of the image, 90 the top, 180 the right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    x_px: float
    y_px: float
    style: Style = "ring"
    colour: Colour = COLOURS["red"]
    radius_px: Annotated[float, Field(gt=0.0)]
    width_px: Annotated[float, Field(gt=0.0)]
    angle_deg: float = 0.0


def make_mark(
    shape: tuple[int, ...],
    xy: tuple[float, float],
    *,
    style: Style = "ring",
    colour: str | tuple[int, int, int] = "red",
    radius_px: float | None = None,
    angle_deg: float = 0.0,
) -> Mark:
    """A mark of fitting size for an image of `shape` (H, W, ...).

    Args:
        shape: Shape of the image array.
        xy: The point that is meant, in pixels.
        style: "ring" or "arrow".
        colour: A name of `COLOURS` or RGB.
        radius_px: Ring radius or arrow gap; by default 7 % of the shorter side for a ring, 5 % for an arrow.
        angle_deg: Where an arrow comes from.

    Raises:
        VolumeError: The point lies outside the image, or style or colour is unknown.
    """
    _check_inside(shape, xy)
    if style not in ("ring", "arrow"):
        raise VolumeError(f"'{style}' is no style of mark", field="style", cure="use 'ring' or 'arrow'")
    if isinstance(colour, str):
        if colour not in COLOURS:
            raise VolumeError(f"'{colour}' is no known colour", field="colour", cure=f"use one of {', '.join(COLOURS)}")
        colour = COLOURS[colour]
    side = min(shape[:2])
    radius = radius_px if radius_px is not None else side * (0.07 if style == "ring" else 0.05)
    return Mark(
        x_px=float(xy[0]),
        y_px=float(xy[1]),
        style=style,
        colour=colour,
        radius_px=radius,
        width_px=max(side * (0.011 if style == "ring" else 0.014), 1.2),
        angle_deg=angle_deg,
    )


def mark_point(
    image: np.ndarray,
    xy: tuple[float, float],
    *,
    style: Style = "ring",
    colour: str | tuple[int, int, int] = "red",
) -> np.ndarray:
    """Mark one point: `apply_mark(image, make_mark(image.shape, xy, ...))`.

    Args:
        image: uint8 (H, W) grey or (H, W, 3) RGB; left unchanged.
        xy: The point in pixels.
        style: "ring" or "arrow".
        colour: A name of `COLOURS` or RGB.

    Returns:
        uint8 (H, W, 3).

    Raises:
        VolumeError: The image is not of that kind, the point lies outside it, or style or colour is unknown.
    """
    _as_rgb(image)
    return apply_mark(image, make_mark(image.shape, xy, style=style, colour=colour))


def apply_mark(image: np.ndarray, mark: Mark) -> np.ndarray:
    """Draw `mark`, anti-aliased, on a copy of the image.

    Args:
        image: uint8 (H, W) grey or (H, W, 3) RGB.
        mark: What to draw.

    Returns:
        uint8 (H, W, 3).

    Raises:
        VolumeError: The image is not of that kind, or the marked point lies outside it.
    """
    canvas = _as_rgb(image)
    _check_inside(canvas.shape, (mark.x_px, mark.y_px))
    height, width = canvas.shape[:2]
    reach = mark.radius_px + 2.0 * mark.width_px + 2.0
    if mark.style == "arrow":
        reach += _arrow_length(mark)
    left, right = max(math.floor(mark.x_px - reach), 0), min(math.ceil(mark.x_px + reach) + 1, width)
    top, bottom = max(math.floor(mark.y_px - reach), 0), min(math.ceil(mark.y_px + reach) + 1, height)
    x = np.arange(left, right, dtype=np.float64)[None, :] - mark.x_px
    y = np.arange(top, bottom, dtype=np.float64)[:, None] - mark.y_px
    if mark.style == "ring":
        distance = np.abs(np.hypot(x, y) - mark.radius_px) - mark.width_px / 2.0
    else:
        distance = _arrow_distance(mark, x, y)
    cover = np.clip(0.5 - distance, 0.0, 1.0)[..., None]
    window = canvas[top:bottom, left:right]
    blended = window * (1.0 - cover) + np.asarray(mark.colour, dtype=np.float64) * cover
    canvas[top:bottom, left:right] = np.rint(blended).astype(np.uint8)
    return canvas


def _arrow_length(mark: Mark) -> float:
    return 12.0 * mark.width_px


def _arrow_distance(mark: Mark, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance (negative inside) to an arrow whose tip stops `radius_px` before the point."""
    angle = math.radians(mark.angle_deg)
    away = (-math.cos(angle), -math.sin(angle))  # from the point to where the arrow comes from
    along = x * away[0] + y * away[1] - mark.radius_px  # 0 at the tip, growing towards the tail
    across = np.abs(x * away[1] - y * away[0])
    head, half_head = 4.0 * mark.width_px, 2.2 * mark.width_px
    slant = math.hypot(head, half_head)
    in_head = np.maximum((across * head - along * half_head) / slant, along - head)
    tail = _arrow_length(mark)
    in_shaft = np.maximum(across - mark.width_px / 2.0, np.maximum(head * 0.5 - along, along - tail))
    return np.minimum(in_head, in_shaft)


def _as_rgb(image: np.ndarray) -> np.ndarray:
    """A writable RGB copy."""
    if image.dtype != np.uint8 or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise VolumeError(
            f"expected uint8 (H, W) or (H, W, 3), got {image.dtype} {tuple(image.shape)}",
            field="image",
            cure="window the image to 8-bit grey or RGB first",
        )
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image.copy()


def _check_inside(shape: tuple[int, ...], xy: tuple[float, float]) -> None:
    height, width = shape[:2]
    x, y = xy
    if not (-0.5 <= x <= width - 0.5 and -0.5 <= y <= height - 0.5):
        raise VolumeError(
            f"the point ({x:g}, {y:g}) lies outside the image of {width} x {height} pixels",
            field="xy",
            cure="give x (column) then y (row) within the image",
        )


def png_bytes(array: np.ndarray) -> bytes:
    """PNG bytes of a uint8 image (H, W) or (H, W, 3), without metadata: same array, same bytes.

    Raises:
        VolumeError: The array is of another kind.
    """
    _as_rgb(array)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def write_png(path: str | os.PathLike[str], array: np.ndarray) -> Path:
    """Write `png_bytes(array)` to `path` whole or not at all; its folder is made when absent.

    Raises:
        VolumeError: The array is no 8-bit image.
    """
    write_bytes(path, png_bytes(array))
    return Path(path)
