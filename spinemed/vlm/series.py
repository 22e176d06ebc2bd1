"""A patient as ordered slices: several series, each with plane, sequence and the place of every slice in the prompt.

Convention: a slice is a PNG that carries its place in a text field (:class:`SlicePlace`), read off the volume's
geometry and never typed in. A conversation holds plain `<image>` placeholders; :func:`captioned` writes what the
pictures carry in front of them, for training rows and for questions alike, so that both are worded in one place::

    Series A (id 5c0d92e1): T2w, sagittal, 15 of 15 slices, 4.4 mm apart
    R 30.8 mm: <image>

Slices are ordered right to left, anterior to posterior, or cranial to caudal. Positions are world coordinates (RAS+) of
the layer in the middle of the volume, as :class:`spinemed.volume.SliceImage` has them.

Trap: a series of more than 25 slices is thinned evenly and says so ("25 of 60"); pictures over the pixel budget are
made smaller, all alike, down to a floor. Nothing is left out to fit: what does not fit at the floor is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spinemed.errors import VolumeError
from spinemed.records import IMAGE_PLACEHOLDER, Message
from spinemed.volume import Volume, Window, slice_image
from spinemed.volume.slices import Plane

__all__ = [
    "MOST_SLICES",
    "SeriesSlice",
    "SlicePlace",
    "captioned",
    "place_of",
    "plane_of",
    "series_turn",
    "slices_of",
    "within_budget",
]

MOST_SLICES = 25
_FIELD = "spinemed:slice"
_PLANES: tuple[Plane, ...] = ("sagittal", "coronal", "axial")
_SIGNS = {"sagittal": "RL", "coronal": "AP", "axial": "SI"}
_OBLIQUE_DEG = 10.0
"""From this tilt on the prompt says that a plane is oblique."""


@dataclass(frozen=True)
class SlicePlace:
    """Where a picture lies in a patient."""

    series: str
    """Eight hex digits of a hash over grid, plane and sequence: slices of one series share it."""
    sequence: str
    """As the scanner or the study says it, e.g. `CT`, `T2w`."""
    plane: Plane
    position_mm: float
    """World coordinate along the plane's axis: right, anterior or superior is positive."""
    number: int
    """From 1, in the order in which the slices are shown."""
    shown: int
    """Slices of the series that are shown."""
    whole: int
    """Slices that the volume has in this plane."""
    apart_mm: float
    """Distance of two shown slices."""
    oblique_deg: float
    """Tilt of the plane against the body's."""


@dataclass(frozen=True)
class SeriesSlice:
    """One slice as a picture that knows its place."""

    png: bytes
    place: SlicePlace
    width_px: int
    height_px: int


def plane_of(volume: Volume) -> Plane:
    """The plane in which a volume was taken: across its coarsest axis, or sagittal where none stands out by half."""
    spacing = np.asarray(volume.spacing_mm)
    coarsest = int(spacing.argmax())
    if spacing[coarsest] < 1.5 * np.median(spacing):
        return "sagittal"
    code = volume.codes[coarsest]
    return next(plane for plane in _PLANES if code in _SIGNS[plane])


def slices_of(
    volume: Volume,
    plane: Plane | None = None,
    *,
    sequence: str,
    most: int = MOST_SLICES,
    window: Window | None = None,
    pixel_mm: float | None = None,
) -> tuple[SeriesSlice, ...]:
    """The slices of one series, in the order in which they are shown.

    Args:
        volume: The image.
        plane: As it was taken unless given (:func:`plane_of`).
        sequence: What it is called in the prompt, e.g. `CT`, `T2w`.
        most: A longer series is thinned evenly to so many slices, its ends kept.
        window: As for :func:`spinemed.volume.slice_image`.
        pixel_mm: Side of the pixels; the volume's own unless given.

    Raises:
        VolumeError: A mask, an unknown plane, or fewer than one slice asked for.
    """
    if volume.unit == "label":
        raise VolumeError("a mask is no series", file=volume.source or None, cure="give the image that it was drawn on")
    if most < 1:
        raise VolumeError(f"{most} slices were asked for", field="most", cure="ask for at least one")
    plane = plane_of(volume) if plane is None else plane
    if plane not in _PLANES:
        raise VolumeError(f"unknown plane '{plane}'", field="plane", cure=f"use one of {', '.join(_PLANES)}")
    axis = next(number for number, code in enumerate(volume.codes) if code in _SIGNS[plane])
    whole = volume.shape[axis]
    indices = np.unique(np.round(np.linspace(0, whole - 1, min(most, whole))).astype(int)).tolist()
    made = [slice_image(volume, plane, index=index, window=window, pixel_mm=pixel_mm) for index in indices]
    # Right to left and cranial to caudal fall along their axes; anterior to posterior too: the larger coordinate first.
    made.sort(key=lambda one: -one.position_mm)
    apart = abs(made[0].position_mm - made[-1].position_mm) / (len(made) - 1) if len(made) > 1 else 0.0
    world = _PLANES.index(plane)
    step = volume.affine[:3, axis]
    tilt = float(np.degrees(np.arccos(min(1.0, abs(step[world]) / np.linalg.norm(step)))))
    common: dict[str, Any] = {
        "series": _series_id(volume, plane, sequence), "sequence": sequence, "plane": plane, "shown": len(made),
        "whole": whole, "apart_mm": round(apart, 2), "oblique_deg": round(tilt, 1),
    }  # fmt: skip
    found = []
    for number, one in enumerate(made, 1):
        place = SlicePlace(number=number, position_mm=round(one.position_mm, 1), **common)
        found.append(_written(Image.fromarray(one.pixels), place))
    return tuple(found)


def _series_id(volume: Volume, plane: Plane, sequence: str) -> str:
    geometry = [np.round(volume.affine, 3).tolist(), list(volume.shape), plane, sequence]
    return hashlib.sha256(json.dumps(geometry).encode()).hexdigest()[:8]


def _written(picture: Image.Image, place: SlicePlace) -> SeriesSlice:
    about = PngInfo()
    about.add_text(_FIELD, json.dumps(asdict(place), sort_keys=True))
    stream = io.BytesIO()
    picture.save(stream, "PNG", pnginfo=about)
    return SeriesSlice(stream.getvalue(), place, picture.width, picture.height)


def within_budget(
    series: Sequence[Sequence[SeriesSlice]], *, pixels: int, floor_pixels: int
) -> tuple[tuple[SeriesSlice, ...], ...]:
    """The same slices in at most so many pixels together: large pictures are lowered to one area, none is left out.

    Args:
        series: From :func:`slices_of`, one for each series.
        pixels: Budget of all pictures together.
        floor_pixels: No picture is made smaller than this; one that is smaller already stays.

    Raises:
        VolumeError: Even at the floor the slices need more.
    """
    areas = np.array([one.width_px * one.height_px for slices in series for one in slices], dtype=np.float64)
    if not len(areas) or areas.sum() <= pixels:
        return tuple(tuple(slices) for slices in series)
    least = np.minimum(areas, floor_pixels).sum()
    if least > pixels:
        raise VolumeError(
            f"{len(areas)} slices need {least:.0f} pixels at the floor of {floor_pixels}, and {pixels} are allowed",
            field="pixels", cure="raise the budget, lower the floor, or show fewer slices of a series",
        )  # fmt: skip
    low, high = float(floor_pixels), float(areas.max())
    for _ in range(60):  # the largest area to which everything above it can be lowered
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(areas, middle).sum() <= pixels else (low, middle)
    return tuple(tuple(_lowered(one, low) for one in slices) for slices in series)


def _lowered(one: SeriesSlice, area: float) -> SeriesSlice:
    scale = (area / (one.width_px * one.height_px)) ** 0.5
    if scale >= 1:
        return one
    size = (max(1, int(one.width_px * scale)), max(1, int(one.height_px * scale)))
    with Image.open(io.BytesIO(one.png)) as picture:
        return _written(picture.resize(size, Image.Resampling.LANCZOS), one.place)


def series_turn(series: Sequence[Sequence[SeriesSlice]], question: str) -> tuple[Message, tuple[bytes, ...]]:
    """A user turn that shows all slices and asks, and its pictures in order. :func:`captioned` adds the places."""
    pictures = tuple(one.png for slices in series for one in slices)
    content = "\n".join([*[IMAGE_PLACEHOLDER] * len(pictures), question])
    return Message(role="user", content=content), pictures


def place_of(data: bytes | Image.Image) -> SlicePlace | None:
    """The place that a picture carries; None for one that carries none, or none that can be read."""
    try:
        if isinstance(data, Image.Image):
            text = data.info.get(_FIELD)
        elif _FIELD.encode() not in data[:4096]:
            return None
        else:
            with Image.open(io.BytesIO(data)) as picture:
                text = picture.info.get(_FIELD)
        return None if text is None else SlicePlace(**json.loads(text))
    except (OSError, SyntaxError, ValueError, TypeError):
        return None


def captioned(messages: Sequence[Message], images: Sequence[bytes | Image.Image]) -> tuple[Message, ...]:
    """The conversation with the places that its pictures carry written before their placeholders.

    Pictures without a place are left as they are, so any conversation may be passed. A caption's words come from the
    picture and are data: what could end a turn is refused by the layout like any other text.
    """
    places = [place_of(image) for image in images]
    if not any(places):
        return tuple(messages)
    letters: dict[str, str] = {}
    waiting = iter(places)
    made = []
    for message in messages:
        if message.role != "user" or IMAGE_PLACEHOLDER not in message.content:
            made.append(message)
            continue
        first, *rest = message.content.split(IMAGE_PLACEHOLDER)
        text = first
        for part in rest:
            place = next(waiting, None)
            text += ("" if place is None else _caption(place, letters)) + IMAGE_PLACEHOLDER + part
        made.append(message.model_copy(update={"content": text}))
    return tuple(made)


def _caption(place: SlicePlace, letters: dict[str, str]) -> str:
    head = ""
    if place.series not in letters:
        number = len(letters)
        letters[place.series] = chr(ord("A") + number) if number < 26 else str(number + 1)
        sequence = place.sequence.replace(IMAGE_PLACEHOLDER, "< image >")
        tilt = f", oblique by {place.oblique_deg:.0f} degrees" if place.oblique_deg >= _OBLIQUE_DEG else ""
        about = "" if place.shown == place.whole else "about "  # a thinned series steps over one layer more or less
        apart = f", {about}{place.apart_mm:.1f} mm apart" if place.shown > 1 else ""
        head = (
            f"Series {letters[place.series]} (id {place.series}): {sequence}, {place.plane}{tilt}, "
            f"{place.shown} of {place.whole} slices{apart}\n"
        )
    side = _SIGNS[place.plane][0 if place.position_mm >= 0 else 1]
    return f"{head}{side} {abs(place.position_mm):.1f} mm: "
