"""A folder of single-frame DICOM images of one series, to a volume.

Convention: slices are ordered by their position along the normal of the image plane; the instance number is a label
that scanners and archives set as they like. Stored values become Hounsfield units (CT) or modality units by each
slice's own rescale slope and intercept. DICOM's patient frame (LPS) becomes RAS here and nowhere else.

Array axes: i along a row of the image (growing column number), j down its columns (growing row number), k from slice to
slice along the normal. A tilted gantry gives a sheared affine, which is exact: the step is taken from the positions.

Trap: a missing slice in the middle leaves a stack that looks whole and is wrong from there on. Positions must therefore
be evenly spaced; slices missing at either end cannot be noticed.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import MissingPartError, ReadError, VolumeError
from spinemed.volume.core import Unit, Volume
from spinemed.volume.decode import stored_pixels
from spinemed.volume.nifti import rescale

__all__ = ["damage", "read_dicom_series"]

Array = NDArray[np.float64]

_EXPORT = "export the series again from the archive"
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
_EVEN = 0.1  # share of the slice step (or pixel) by which a position may miss the regular grid
_SAME_PLACE_MM = 1e-3
# Decoder packages whose licence allows use anywhere, by transfer syntax family.
# (RLE and uncompressed images need none.)
_PLUGINS = (("JPEG 2000", "pylibjpeg-openjpeg"), ("JPEG-LS", "pyjpegls"), ("JPEG", "python-gdcm"))

_USED = (
    "Columns",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "LossyImageCompression",
    "Modality",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelSpacing",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SamplesPerPixel",
    "SeriesInstanceUID",
    "SliceThickness",
    "SpacingBetweenSlices",
)


@dataclass(frozen=True)
class _Slice:
    """One image file, read but not yet decoded."""

    file: Path
    sha256: str
    header: Any
    rows: int
    columns: int
    pixel_mm: tuple[float, float]  # between rows, between columns
    along_row: Array
    down_column: Array
    position: Array

    @property
    def normal(self) -> Array:
        return np.cross(self.along_row, self.down_column)

    @property
    def place_mm(self) -> float:
        return float(self.position @ self.normal)


def read_dicom_series(folder: str | os.PathLike[str], *, series_uid: str | None = None) -> Volume:
    """Read the image series that lies in a folder (its own files, not its subfolders).

    Files that are not DICOM, and DICOM objects without an image, are left out and counted in `meta["left_out"]`.

    Args:
        folder: The folder.
        series_uid: Series Instance UID to read, needed if the folder holds several.

    Returns:
        The volume: unit "HU" for CT, "a.u." otherwise; `sha256` is the hash over the sorted hashes of the files.

    Raises:
        ReadError: the folder or a file cannot be read, is damaged, or lacks an attribute.
        VolumeError: no image, several series, multi-frame or colour images, slices of different size or orientation,
            two slices at one place, missing or unevenly spaced slices.
        MissingPartError: compressed with a method whose decoder is not installed.
    """
    found, left_out = _scan(folder)
    slices = _one_series(found, folder, series_uid)
    for other in slices[1:]:
        _require_same_geometry(slices[0], other)
    slices.sort(key=lambda s: (s.place_mm, s.file.name))
    flags: list[str] = []
    step = _step(slices, flags)
    first = slices[0]
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * first.pixel_mm[1]
    affine[:3, 1] = first.down_column * first.pixel_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = first.position
    tilt = float(np.degrees(np.arccos(min(1.0, abs(float(step @ first.normal)) / float(np.linalg.norm(step))))))
    if tilt > 0.1:
        flags.append(f"slices are stacked at {tilt:.1f} degrees to their normal (gantry tilt)")
    unit = _unit(first)
    planes = [_values(s, unit) for s in slices]
    if any(str(s.header.get("LossyImageCompression", "00")) == "01" for s in slices):
        flags.append("the images were compressed with loss")
    # Hounsfield units have a sense of their own; elsewhere the scanner's wish decides what is bright.
    if unit != "HU" and any(str(s.header.get("PhotometricInterpretation", "")) == "MONOCHROME1" for s in slices):
        flags.append("MONOCHROME1: small values are meant to be shown white; a picture of these values is inverted")
    kind = np.result_type(*{plane.dtype for plane in planes})
    data = np.stack([plane.T for plane in planes], axis=2).astype(kind, copy=False)
    meta = {
        "format": "DICOM",
        "modality": str(first.header.get("Modality", "")),
        "series_uid": str(first.header.get("SeriesInstanceUID", "")),
        "left_out": left_out,
        "flags": tuple(flags),
    }
    digest = hashlib.sha256("".join(sorted(s.sha256 for s in slices)).encode()).hexdigest()
    return Volume(data, _LPS_TO_RAS @ affine, unit, os.fspath(folder), digest, meta)


def _scan(folder: str | os.PathLike[str]) -> tuple[list[tuple[Path, str, Any]], dict[str, int]]:
    """All DICOM images of the folder as (file, hash, data set), and how many other files there are of which kind."""
    from pydicom import dcmread
    from pydicom.uid import UID

    root = Path(folder)
    if not root.is_dir():
        raise ReadError("no such folder", file=folder, cure="give the folder that holds the files of one series")
    images, left_out = [], Counter[str]()
    for file in sorted(path for path in root.iterdir() if path.is_file()):
        try:
            content = file.read_bytes()
        except OSError as error:
            raise ReadError(f"cannot be read ({error.strerror})", file=file, cure="check the permissions") from error
        if content[128:132] != b"DICM":
            if file.suffix.lower() in (".dcm", ".ima"):
                raise ReadError("not a DICOM file (no DICM mark)", file=file, cure=f"{_EXPORT}, or remove the file")
            left_out["not DICOM"] += 1
            continue
        try:
            header = dcmread(io.BytesIO(content))
            for name in _USED:  # pydicom parses a value when it is first asked for: ask here, where damage is caught
                header.get(name)
            kind = getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID")
        except damage() as error:
            raise ReadError(f"damaged DICOM file ({error})", file=file, cure=_EXPORT) from error
        if "Rows" not in header:
            if kind is None or "Image Storage" in UID(str(kind)).name:  # an image cut short must not pass for a report
                raise ReadError("a DICOM file that breaks off before its image", file=file, cure=_EXPORT)
            left_out["DICOM without an image"] += 1
            continue
        images.append((file, hashlib.sha256(content).hexdigest(), header))
    return images, dict(left_out)


def damage() -> tuple[type[Exception], ...]:
    """What pydicom and its decoders raise on damaged bytes; the first two derive from Exception itself."""
    from pydicom.errors import BytesLengthException, InvalidDicomError

    built_in = (AttributeError, EOFError, KeyError, NotImplementedError, OSError, RuntimeError, TypeError, ValueError)
    return (
        BytesLengthException,
        InvalidDicomError,
        *built_in,
        IndexError,
        OverflowError,
        RecursionError,
        struct.error,
        zlib.error,
    )


def _one_series(
    found: list[tuple[Path, str, Any]], folder: str | os.PathLike[str], series_uid: str | None
) -> list[_Slice]:
    """The slices of the one series wanted."""
    counts = Counter(str(header.get("SeriesInstanceUID", "")) for _, _, header in found)
    if not counts:
        raise VolumeError("the folder holds no DICOM image", file=folder, cure="give the folder of an image series")
    if series_uid is None:
        if len(counts) > 1:
            listing = ", ".join(f"{uid or '(none)'}: {n} images" for uid, n in sorted(counts.items())[:4])
            raise VolumeError(
                f"the folder holds {len(counts)} series ({listing}{', ...' if len(counts) > 4 else ''})",
                file=folder,
                field="SeriesInstanceUID",
                cure="name one with series_uid, or put each series into a folder of its own",
            )
        series_uid = next(iter(counts))
    elif series_uid not in counts:
        raise VolumeError(
            f"the folder holds no image of the series {series_uid}",
            file=folder,
            field="SeriesInstanceUID",
            cure=f"use one of: {', '.join(sorted(counts)[:4])}",
        )
    return [
        _slice(file, sha256, header)
        for file, sha256, header in found
        if str(header.get("SeriesInstanceUID", "")) == series_uid
    ]


def _slice(file: Path, sha256: str, header: Any) -> _Slice:
    """The geometry of one file, checked."""
    if _numbers(header, "NumberOfFrames", file, 1, default=(1.0,))[0] != 1:
        raise VolumeError(
            "a multi-frame (enhanced) image",
            file=file,
            field="NumberOfFrames",
            cure="convert it to NIfTI or to single-frame images first",
        )
    if int(_numbers(header, "SamplesPerPixel", file, 1, default=(1.0,))[0]) != 1 or not str(
        header.get("PhotometricInterpretation", "MONOCHROME2")
    ).startswith("MONOCHROME"):
        raise VolumeError(
            "a colour image, not grey values", file=file, field="PhotometricInterpretation", cure="leave it out"
        )
    cosines = _numbers(header, "ImageOrientationPatient", file, 6)
    along_row, down_column = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(down_column)
    if abs(lengths[0] - 1) > 1e-3 or abs(lengths[1] - 1) > 1e-3 or abs(along_row @ down_column) > 1e-3:
        raise VolumeError(
            f"the direction cosines {cosines.tolist()} are not two perpendicular unit vectors",
            file=file,
            field="ImageOrientationPatient",
            cure=_EXPORT,
        )
    pixel = _numbers(header, "PixelSpacing", file, 2)
    if (pixel <= 0).any():
        raise VolumeError(
            f"the pixel spacing {pixel.tolist()} is not positive", file=file, field="PixelSpacing", cure=_EXPORT
        )
    return _Slice(
        file=file,
        sha256=sha256,
        header=header,
        rows=int(_numbers(header, "Rows", file, 1)[0]),
        columns=int(_numbers(header, "Columns", file, 1)[0]),
        pixel_mm=(float(pixel[0]), float(pixel[1])),
        along_row=along_row / lengths[0],
        down_column=down_column / lengths[1],
        position=_numbers(header, "ImagePositionPatient", file, 3),
    )


def _numbers(header: Any, name: str, file: Path, count: int, default: tuple[float, ...] | None = None) -> Array:
    """An attribute as `count` finite numbers."""
    value = header.get(name)
    if value is None or value == "":
        if default is not None:
            return np.array(default)
        raise ReadError("the attribute is missing", file=file, field=name, cure=_EXPORT)
    try:
        numbers = np.atleast_1d(np.asarray(value, dtype=np.float64))
    except (TypeError, ValueError):
        numbers = np.array([np.nan])
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ReadError(f"{count} number(s) expected, found '{value}'", file=file, field=name, cure=_EXPORT)
    return numbers


def _require_same_geometry(first: _Slice, other: _Slice) -> None:
    cure = "remove localizers and reformats from the folder, or name the files of one stack"
    if (first.rows, first.columns) != (other.rows, other.columns):
        problem, name = f"{other.rows}x{other.columns} pixels against {first.rows}x{first.columns}", "Rows"
    elif not np.allclose(first.pixel_mm, other.pixel_mm, rtol=1e-4, atol=0):
        problem, name = f"pixel spacing {other.pixel_mm} against {first.pixel_mm}", "PixelSpacing"
    elif min(first.along_row @ other.along_row, first.down_column @ other.down_column) < 1 - 1e-6:
        problem, name = "another image orientation", "ImageOrientationPatient"
    else:
        return
    raise VolumeError(f"{problem} in {first.file.name} of the same series", file=other.file, field=name, cure=cure)


def _step(slices: list[_Slice], flags: list[str]) -> Array:
    """The vector in mm (LPS) from one slice to the next, after the positions were found to be even."""
    first = slices[0]
    if len(slices) == 1:
        for name in ("SpacingBetweenSlices", "SliceThickness"):
            size = abs(float(_numbers(first.header, name, first.file, 1, default=(0.0,))[0]))
            if size > 0:
                flags.append(f"a single slice; its depth is taken from {name}")
                return first.normal * size
        raise VolumeError(
            "a single slice without a thickness", file=first.file, field="SliceThickness", cure="give the whole series"
        )
    places = np.array([s.place_mm for s in slices])
    gaps = np.diff(places)
    for index in np.flatnonzero(gaps < _SAME_PLACE_MM):
        raise VolumeError(
            f"lies at the same place as {slices[index].file.name} ({places[index]:.3f} mm along the normal)",
            file=slices[index + 1].file,
            field="ImagePositionPatient",
            cure="remove the duplicate, or split echoes and time points into folders of their own",
        )
    usual = float(np.median(gaps))
    for index in np.flatnonzero(np.abs(gaps - usual) > _EVEN * usual):
        missing = round(gaps[index] / usual) - 1
        what = f"{missing} slice(s) missing" if missing >= 1 else "uneven slices"
        raise VolumeError(
            f"{what}: {gaps[index]:.3f} mm from {slices[index].file.name} to this one, {usual:.3f} mm elsewhere",
            file=slices[index + 1].file,
            field="ImagePositionPatient",
            cure=f"{_EXPORT} with all slices; a stack with gaps is not filled in",
        )
    step = np.asarray((slices[-1].position - first.position) / (len(slices) - 1), dtype=np.float64)
    regular = first.position + np.arange(len(slices))[:, None] * step
    misses = np.linalg.norm(np.stack([s.position for s in slices]) - regular, axis=1)
    worst = int(misses.argmax())
    if misses[worst] > max(_EVEN * usual, 0.5 * min(first.pixel_mm)):
        raise VolumeError(
            f"lies {misses[worst]:.2f} mm off the line of the other slices",
            file=slices[worst].file,
            field="ImagePositionPatient",
            cure=f"{_EXPORT}; slices must be stacked along one line",
        )
    stated = abs(float(_numbers(first.header, "SpacingBetweenSlices", first.file, 1, default=(0.0,))[0]))
    if stated and abs(stated - usual) > _EVEN * usual:
        flags.append(
            f"SpacingBetweenSlices says {stated:g} mm, the positions say {usual:.4g} mm; the positions were used"
        )
    return step


def _unit(first: _Slice) -> Unit:
    if str(first.header.get("Modality", "")) != "CT":
        return "a.u."
    return "HU" if str(first.header.get("RescaleType", "HU") or "HU") == "HU" else "a.u."


def _values(item: _Slice, unit: Unit) -> NDArray[Any]:
    """The rescaled values of one slice, (rows, columns)."""
    from pydicom.pixels import get_decoder

    header = item.header
    if "ModalityLUTSequence" in header:
        raise VolumeError(
            "values are given by a modality look-up table", file=item.file, field="ModalityLUTSequence", cure=_EXPORT
        )
    if unit == "HU" and ("RescaleSlope" not in header or "RescaleIntercept" not in header):
        raise ReadError(
            "a CT image without the scale to Hounsfield units", file=item.file, field="RescaleSlope", cure=_EXPORT
        )
    syntax = getattr(getattr(header, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None:
        raise ReadError("the attribute is missing", file=item.file, field="TransferSyntaxUID", cure=_EXPORT)
    try:
        decoder = get_decoder(syntax)
    except (NotImplementedError, AttributeError):
        raise VolumeError(
            f"the transfer syntax {getattr(syntax, 'name', syntax)!s} is not known",
            file=item.file,
            field="TransferSyntaxUID",
            cure=_EXPORT,
        ) from None
    if not decoder.is_available:
        package = next((plugin for family, plugin in _PLUGINS if family in syntax.name), "python-gdcm")
        raise MissingPartError(f"{item.file}: an image compressed as {syntax.name}", package)
    try:
        raw = stored_pixels(header)
    except damage() as error:
        raise ReadError(
            f"the pixels cannot be decoded ({error})", file=item.file, field="PixelData", cure=_EXPORT
        ) from error
    if raw.shape != (item.rows, item.columns):
        raise ReadError(
            f"the pixels are {'x'.join(map(str, raw.shape))}, the header says {item.rows}x{item.columns}",
            file=item.file, field="PixelData", cure=_EXPORT,
        )  # fmt: skip
    slope = float(_numbers(header, "RescaleSlope", item.file, 1, default=(1.0,))[0])
    intercept = float(_numbers(header, "RescaleIntercept", item.file, 1, default=(0.0,))[0])
    return rescale(raw, slope, intercept)
