"""Radiographs at full depth: DICOM and 16-bit PNG files as a volume of one layer.

Convention: a film is held like a volume whose only plane is `film`. Its letters come from DICOM's own statement of
orientation alone; without it the picture carries none, and no plane is guessed. The pixel size is that of the patient
where the file gives it (`PixelSpacing`), else that of the detector, which is larger than the patient by the
magnification: the viewer then says so beneath the picture.

Trap: MONOCHROME1 means that the smallest value is white; the picture is inverted, the values are not.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.review.viewer.layers import Held, PlaneGeometry, direction_letters, hold
from spinemed.errors import ReadError, VolumeError
from spinemed.volume import Volume

__all__ = ["Film", "is_film", "read_film"]

_DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "H": (0, 0, 1), "F": (0, 0, -1)}
_LARGEST = 1 << 27


@dataclass(frozen=True, eq=False)
class Film:
    """A radiograph.

    Args:
        held: Its values, (rows, columns, 1).
        geometry: Of the plane `film`; letters are empty where the file states no orientation.
        mm_known: Whether a pixel's size is known.
        inverted: Whether the smallest value is white.
        flags: What is doubtful.
    """

    held: Held
    geometry: PlaneGeometry
    mm_known: bool
    inverted: bool
    flags: tuple[str, ...]

    @property
    def oriented(self) -> bool:
        """Whether the file says where the edges point."""
        return any(self.geometry.letters.values())

    def layer(self, layer: int) -> bytes:
        """The 16-bit values, little endian, row by row.

        Raises:
            VolumeError: a film has one layer, number 0.
        """
        if layer != 0:
            raise VolumeError(f"there is no layer {layer} in a film", field="layer", cure="give 0")
        kind = "<i2" if self.held.stored.dtype.kind == "i" else "<u2"
        return np.ascontiguousarray(self.held.stored[:, :, 0]).astype(kind, copy=False).tobytes()


def is_film(path: Path) -> bool:
    """Whether a file name is that of a single picture and not of a volume."""
    return path.suffix.lower() in (".png", ".dcm")


def read_film(path: Path) -> Film:
    """Read a radiograph.

    Raises:
        ReadError: no grey PNG or DICOM picture, or a damaged one.
        VolumeError: a picture of more than 128 million pixels.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReadError("cannot be read", field="image", cure="check the data folder") from error
    digest = hashlib.sha256(content).hexdigest()
    return _png(content, digest) if content[:8] == b"\x89PNG\r\n\x1a\n" else _dicom(content, digest)


def _film(
    pixels: NDArray[Any], rows: tuple[float, ...] | None, columns: tuple[float, ...] | None,
    sides: tuple[float, float] | None, digest: str, *, inverted: bool, flags: list[str],
) -> Film:  # fmt: skip
    """Put pixels, directions (of growing rows, of growing columns) and pixel sides together."""
    down = np.array(rows if rows is not None else (0, 0, -1), dtype=np.float64)
    right = np.array(columns if columns is not None else (-1, 0, 0), dtype=np.float64)
    tall, wide = sides or (1.0, 1.0)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = down * tall, right * wide, np.cross(down, right)
    letters = dict.fromkeys(("left", "right", "top", "bottom"), "")
    if rows is not None and columns is not None:
        letters = {
            "left": direction_letters(-right),
            "right": direction_letters(right),
            "top": direction_letters(-down),
            "bottom": direction_letters(down),
        }
    else:
        flags.append("orientation not stated in the file")
    held = hold(Volume(pixels[:, :, None], affine, "a.u.", "", digest))
    windows = {"full": held.windows["full"]}
    held = Held(held.volume, held.stored, held.slope, held.intercept, windows)
    geometry = PlaneGeometry("film", (pixels.shape[0], pixels.shape[1], 1), affine, letters)  # type: ignore[arg-type]
    return Film(held, geometry, sides is not None, inverted, tuple(flags))


def _png(content: bytes, digest: str) -> Film:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > _LARGEST:
                raise VolumeError("the picture is too large", field="image", cure="give at most 128 million pixels")
            if picture.mode not in ("L", "I", "I;16", "I;16B"):
                raise ReadError(f"the picture is {picture.mode}, not grey", field="image", cure="give a grey PNG")
            pixels = np.array(picture)
    except (OSError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ReadError("is no picture that can be read", field="image", cure="export it again") from error
    return _film(pixels, None, None, None, digest, inverted=False, flags=["pixel size not stated in the file"])


def _dicom(content: bytes, digest: str) -> Film:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    from data_pipeline.deidentify.headers import quiet_pydicom
    from spinemed.volume.decode import stored_pixels

    try:
        with quiet_pydicom():
            dataset = dcmread(io.BytesIO(content))
            if int(dataset.get("Rows", 0)) * int(dataset.get("Columns", 0)) > _LARGEST:
                raise VolumeError("the picture is too large", field="image", cure="give at most 128 million pixels")
            pixels = _rescaled(np.array(stored_pixels(dataset)), dataset)
    except (InvalidDicomError, AttributeError, KeyError, ValueError, RuntimeError, OSError) as error:
        # No detail of the original message: it may quote the header.
        raise ReadError("is no DICOM picture that can be read", field="image", cure="export it again") from error
    if pixels.ndim != 2:
        raise ReadError("the DICOM file holds no single grey picture", field="image", cure="give one film per file")
    flags: list[str] = []
    spacing = dataset.get("PixelSpacing")
    if spacing is None and (spacing := dataset.get("ImagerPixelSpacing")) is not None:
        flags.append("lengths are those at the detector, larger than in the patient")
    sides = (float(spacing[0]), float(spacing[1])) if spacing is not None and len(spacing) == 2 else None
    if sides is None:
        flags.append("pixel size not stated in the file")
    columns, rows = _orientation(dataset)
    inverted = str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"
    return _film(pixels, rows, columns, sides, digest, inverted=inverted, flags=flags)


def _orientation(dataset: Any) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Directions (RAS) of growing columns and rows; None where they are not stated.

    A slice states them as cosines in LPS (DICOM PS3.3 C.7.6.2.1.1), a film as letters (C.7.6.1.1.1).
    """
    cosines = dataset.get("ImageOrientationPatient")
    if cosines is not None and len(cosines) == 6:
        values = np.array([float(value) for value in cosines]).reshape(2, 3) * (-1, -1, 1)
        if np.allclose(np.linalg.norm(values, axis=1), 1, atol=1e-3) and abs(float(values[0] @ values[1])) < 1e-3:
            return tuple(values[0].tolist()), tuple(values[1].tolist())
    given = dataset.get("PatientOrientation")
    if given is None or len(given) != 2:
        return None, None
    columns, rows = (_DIRECTIONS.get(str(value)[:1].upper()) for value in given)
    return (columns, rows) if columns is not None and rows is not None else (None, None)


def _rescaled(pixels: NDArray[Any], dataset: Any) -> NDArray[Any]:
    """Values by the rescale slope and intercept, where they are stated."""
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    return pixels if (slope, intercept) == (1, 0) else pixels.astype(np.float64) * slope + intercept
