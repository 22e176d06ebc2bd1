"""Pictures of a case as PNG inside the page: layers of the CT with levels, upright crops with outlines, loss maps.

Convention: sagittal pictures have the front on the left, coronal ones the patient's right; rows run from head to foot.
A layer follows the bodies' middles from head to foot, as in :mod:`spinemed.vertebra.picture`, so that every body is cut
in its middle.

Trap: such a layer is no plane; a bend to the side does not show in the sagittal one, nor lordosis in the coronal one.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import SpineMedError
from spinemed.labelling import body_centroids, read_label_mask
from spinemed.labelling.masks import vertebra_of_label
from spinemed.marks import png_bytes
from spinemed.volume import WINDOWS, Volume, read_mask, read_nifti, reorient_volume, to_uint8

__all__ = ["crop_picture", "data_uri", "layers", "loss_map"]

Array = NDArray[np.float64]
Rgb = tuple[int, int, int]

_PIXEL_MM = 0.8
_AROUND_MM, _BEYOND_MM = 58.0, 30.0
"""Drawn beside the bodies' middles, and above and below them."""
_FINE = 4
OWN, TWIN = (240, 150, 40), (38, 196, 150)
"""Outlines of the body as it is and of its twin."""
GRADES: dict[int | None, Rgb] = {
    None: (190, 198, 204), 0: (70, 150, 225), 1: (232, 183, 26), 2: (240, 125, 40), 3: (225, 55, 85),
}  # fmt: skip
"""Outlines by grade."""


def data_uri(png: bytes) -> str:
    """A PNG as an address that holds it."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def layers(ct: Path, mask_file: Path, grades: dict[str, int | None]) -> list[dict[str, Any]]:
    """The sagittal and the coronal layer through the bodies, with the place of every name.

    Args:
        ct: The CT.
        mask_file: Its mask in VerSe's numbers.
        grades: By level, for the colour of its outline.

    Raises:
        ReadError, VolumeError: a file that cannot be used, or no vertebra in the mask.
    """
    mask = read_label_mask(mask_file)
    image = reorient_volume(read_nifti(ct), "RAS")
    labels = reorient_volume(mask.volume, "RAS")
    middles = body_centroids(mask).points.values
    middles = middles[np.argsort(middles[:, 2])]
    corners = np.array([image.affine @ [*corner, 1.0] for corner in ((0, 0, 0), np.array(image.data.shape) - 1)])
    low, high = np.sort(corners[:, :3], axis=0)
    bottom, top = max(low[2], middles[0, 2] - _BEYOND_MM), min(high[2], middles[-1, 2] + _BEYOND_MM)
    z = np.arange(top, bottom, -_PIXEL_MM)
    shown = []
    for name, axis, across in (("sagittal", 0, 1), ("coronal", 1, 0)):
        start, end = middles[:, across].min() - _AROUND_MM, middles[:, across].max() + _AROUND_MM
        if name == "sagittal":
            start -= 15.0  # the arches lie behind
        places = np.arange(max(low[across], start), min(high[across], end), _PIXEL_MM)
        places = places[::-1]  # from the front to the back, from the patient's right to the left
        world = np.empty((len(z), len(places), 3))
        world[..., axis] = np.interp(z, middles[:, 2], middles[:, axis])[:, None]
        world[..., across] = places[None]
        world[..., 2] = z[:, None]
        grey = to_uint8(_sampled(image, world, 1), WINDOWS["bone"])
        found = _sampled(labels, world, 0).astype(np.int64)
        pixels = np.repeat(grey[:, :, None], 3, axis=2)
        names = []
        for label in (int(each) for each in np.unique(found) if each):
            level = vertebra_of_label(label)
            here = found == label
            if level is None or here.sum() < 20:
                continue
            grade = grades.get(str(level))
            pixels[_edge(here)] = GRADES[grade]
            rows, columns = np.nonzero(_front(here) if name == "sagittal" else here)
            names.append({"level": str(level), "x": round(float(columns.mean()), 1), "y": round(float(rows.mean()), 1),
                          "text": str(level) if grade is None else f"{level} · {grade}"})  # fmt: skip
        shown.append({"name": name, "src": data_uri(png_bytes(pixels)), "width": pixels.shape[1],
                      "height": pixels.shape[0], "names": names, "bar": round(50 / _PIXEL_MM, 1),
                      "letters": 8.5})  # fmt: skip
    return shown


def _front(here: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest piece, which in a sagittal layer is the body."""
    from scipy import ndimage

    pieces, count = ndimage.label(here)
    if count < 2:
        return here
    return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))


def _edge(here: NDArray[np.bool_], width: int = 1) -> NDArray[np.bool_]:
    from scipy import ndimage

    return np.asarray(here & ~ndimage.binary_erosion(here, iterations=width, border_value=1))


def _sampled(volume: Volume, world: Array, order: int) -> NDArray[Any]:
    from scipy import ndimage

    index = (world - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    data = np.asarray(volume.data)
    if order:
        data = data.astype(np.float32)
    beyond = float(data.min())
    return np.asarray(
        ndimage.map_coordinates(data, np.moveaxis(index, -1, 0), order=order, mode="constant", cval=beyond)
    )


def crop_picture(image: Path | None, own: Path, twin: Path | None = None) -> str:
    """The middle sagittal plane of an upright crop, with the body's outline and, where given, the twin's.

    Raises:
        ReadError: a file that cannot be used.
    """
    body = _upright(read_mask(own))
    there = np.flatnonzero(body.any(axis=(1, 2)))
    column = round(float(there.mean())) if len(there) else body.shape[0] // 2
    behind = np.full(body.shape[1:], -200.0) if image is None else _upright(read_nifti(image))[column].astype(float)
    grey = to_uint8(_finer(behind), WINDOWS["bone"])
    pixels = np.repeat(grey[:, :, None], 3, axis=2)
    if twin is not None:
        made = _finer((_upright(read_mask(twin))[column] > 0).astype(float), soft=True) >= 0.5
        pixels[made] = (0.62 * pixels[made] + 0.38 * np.array(TWIN)).astype(np.uint8)
        pixels[_edge(made, 2)] = TWIN
    solid = _finer((body[column] > 0).astype(float), soft=True) >= 0.5
    pixels[_edge(solid, 2)] = OWN
    return data_uri(png_bytes(np.ascontiguousarray(pixels)))


def _upright(volume: Volume) -> NDArray[Any]:
    return np.asarray(reorient_volume(volume, "RAS").data)


def _finer(plane: Array, *, soft: bool = False) -> Array:
    """A plane (front, up) as a picture, `_FINE` times finer; a mask without its steps."""
    from scipy import ndimage

    hung = plane.T[::-1, ::-1]
    fine = ndimage.zoom(hung, _FINE, order=1, grid_mode=True, mode="nearest")
    return np.asarray(ndimage.gaussian_filter(fine, 0.8 * _FINE) if soft else fine)


def loss_map(own: Path, twin: Path) -> tuple[str | None, str]:
    """The height-loss map of a body against its twin, both on one crop; None and the reason where there is none."""
    from spinemed.measure import body_field, fit_body
    from spinemed.vertebra.maps import height_map, map_png

    body, made = (reorient_volume(read_mask(path), "RAS") for path in (own, twin))
    axes = body.affine[:3, :3]
    try:
        healthy = fit_body(made.data > 0, made.affine, anterior_hint=axes[:, 1], up_hint=axes[:, 2])
        return data_uri(map_png(height_map(body_field(body.data > 0, body.affine), healthy))), ""
    except SpineMedError as error:
        return None, error.problem
