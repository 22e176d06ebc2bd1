"""`contact_sheet`: the first cases of a set on one picture: CT with outlines, lateral radiograph, T2.

Convention: one row per case. A slice is shown with the head up and the front to the left, in square pixels; outlines
are those of the vertebra mask. Radiographs are shown as they were written.

The trap: the slice is the middle one of the canal or stack. In a scoliosis it leaves the canal above and below.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from spinemed.volume import Volume

__all__ = ["SHEET_CASES", "contact_sheet"]

SHEET_CASES = 4
_HIGH, _STRIP = 420, 18
"""Rows of a picture, and of the caption above it."""
_WINDOW_HU = (-160.0, 420.0)
_COLOURS = np.array([(80, 200, 255), (255, 200, 60), (120, 255, 120), (255, 120, 160)], dtype=np.uint8)

Picture = NDArray[np.uint8]


def contact_sheet(outputs: Path, cases: Sequence[str], what: Sequence[str]) -> Picture:
    """Pictures of some cases of a set, read from its files.

    Args:
        outputs: The set's outputs, as `spinemed.phantom.make` writes them.
        cases: Ids.
        what: Kinds of images that the set has.

    Returns:
        uint8 (H, W, 3).

    Raises:
        SpineMedError: an image that should be there cannot be read.
    """
    rows = []
    for case in cases:
        tiles = [tile for kind in ("ct", "xray", "mr") if kind in what for tile in _tiles(outputs, case, kind)]
        rows.append(np.concatenate(tiles, axis=1))
    wide = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 4), (0, wide - row.shape[1]), (0, 0))) for row in rows])


def _tiles(outputs: Path, case: str, kind: str) -> list[Picture]:
    from PIL import Image

    from spinemed.volume import read_mask, read_nifti

    name = f"sub-{case}"
    if kind == "xray":
        found = sorted((outputs / "xray" / name).glob("*_xray.png"), key=lambda path: "lateral" not in path.name)
        with Image.open(found[0]) as picture:
            grey = (np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8)
        return [_tile(grey, None, (1.0, 1.0), f"{case} {'lateral' if 'lateral' in found[0].name else 'frontal'}")]
    if kind == "ct":
        image = read_nifti(outputs / "ct" / "rawdata" / name / f"{name}_ct.nii.gz", unit="HU")
        mask = read_mask(outputs / "ct" / "derivatives" / name / f"{name}_seg-vert_msk.nii.gz")
        return [_slice_tile(image, mask, _WINDOW_HU, f"{case} CT")]
    found = sorted((outputs / "mr" / name).glob(f"{name}_acq-sag_T*w.nii.gz"))
    image = read_nifti(found[-1])
    mask = read_mask(outputs / "mr" / name / f"{name}_acq-sag_seg-vert_msk.nii.gz")
    high = float(np.percentile(image.data, 99.5))
    return [_slice_tile(image, mask, (0.0, high), f"{case} {found[-1].name.rsplit('_', 1)[1][:2]}")]


def _slice_tile(image: Volume, mask: Volume, window: tuple[float, float], caption: str) -> Picture:
    """The sagittal slice through the mask's middle, head up, front to the left."""
    from spinemed.volume import reorient_volume

    turned, labels = reorient_volume(image, "RAS"), reorient_volume(mask, "RAS")
    wide = np.flatnonzero((labels.data > 0).any(axis=(1, 2)))
    place = round(float(wide.mean())) if len(wide) else labels.data.shape[0] // 2
    low, high = window
    grey = np.clip((turned.data[place].astype(np.float32) - low) / (high - low) * 255.0, 0.0, 255.0)
    spacing = turned.spacing_mm
    return _tile(
        np.ascontiguousarray(grey.astype(np.uint8)[::-1, ::-1].T),
        np.ascontiguousarray(labels.data[place][::-1, ::-1].T),
        (float(spacing[2]), float(spacing[1])),
        caption,
    )


def _tile(grey: Picture, labels: NDArray[np.generic] | None, pixel_mm: tuple[float, float], caption: str) -> Picture:
    from PIL import Image, ImageDraw, ImageFont

    high = _HIGH
    wide = max(1, round(grey.shape[1] * pixel_mm[1] * high / (grey.shape[0] * pixel_mm[0])))
    colour = np.array(Image.fromarray(grey).resize((wide, high), Image.Resampling.BILINEAR).convert("RGB"))
    if labels is not None:
        rows = np.minimum((np.arange(high) * labels.shape[0]) // high, labels.shape[0] - 1)
        columns = np.minimum((np.arange(wide) * labels.shape[1]) // wide, labels.shape[1] - 1)
        large = np.asarray(labels)[np.ix_(rows, columns)].astype(np.int64)
        edge = np.zeros(large.shape, dtype=bool)
        for axis in (0, 1):
            for step in (1, -1):
                edge |= large != np.roll(large, step, axis=axis)
        edge &= large > 0
        colour[edge] = _COLOURS[large[edge] % len(_COLOURS)]
    # The caption has a strip of its own: on a bright radiograph no colour of letters is readable everywhere.
    strip = Image.new("RGB", (wide, _STRIP))
    ImageDraw.Draw(strip).text((4, 1), caption, fill=(255, 255, 255), font=ImageFont.load_default(_STRIP - 5))
    return np.pad(np.concatenate([np.asarray(strip), colour]), ((0, 0), (0, 4), (0, 0)))
