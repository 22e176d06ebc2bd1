"""NIfTI-1 and NIfTI-2 files, plain or gzipped, in and out.

Convention: the sform is taken if its code is above 0, else the qform; a file with neither has no place in the body and
is refused. The rescale slope of the header is applied. NIfTI does not say whether values are Hounsfield units: the
caller does.

Trap: masks are often stored as float64 and pass through resampling on their way; :func:`read_mask` accepts them only
if every value is an integer that is not negative.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError, VolumeError
from spinemed.geometry import check_affine, voxel_spacing
from spinemed.tables import write_bytes
from spinemed.volume.core import Unit, Volume

__all__ = ["read_mask", "read_nifti", "write_nifti"]

_DAMAGED = "copy or export the file again; it was cut short or changed on its way"
_UNITS_TO_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # unknown (read as mm), metre, millimetre, micrometre
_DEFLATE_LIMIT = 1100  # deflate packs at most about 1032 to 1: a header that claims more than that is wrong
_CHUNK = 1 << 20
_MOST_BEHIND = 1 << 26  # what a writer may have left behind the image, on top of the image's own size


def read_nifti(path: str | os.PathLike[str], *, unit: Unit = "a.u.") -> Volume:
    """Read a three-dimensional NIfTI file.

    Args:
        path: `.nii` or `.nii.gz`, NIfTI-1 or NIfTI-2.
        unit: What the values are; "HU" for CT.

    Returns:
        The volume in native byte order. Without a rescale slope the stored data type is kept; a slope and intercept
        that are whole numbers give integers, others float32 (float64 if stored so).

    Raises:
        ReadError: missing, truncated, or not NIfTI.
        VolumeError: not three-dimensional, empty, without orientation, or with an unusable affine.
    """
    data, affine, sha256, meta = _read(path)
    return Volume(data, affine, unit, os.fspath(path), sha256, meta)


def read_mask(path: str | os.PathLike[str]) -> Volume:
    """Read a NIfTI file as labels: integers from 0 (background) up, in the smallest type that holds them.

    Raises:
        ReadError, VolumeError: as :func:`read_nifti`.
        VolumeError: a value that is not an integer, is negative, or is not finite.
    """
    data, affine, sha256, meta = _read(path)
    cure = "use the mask itself, not probabilities, and resample masks with the nearest voxel and fill 0"
    if data.dtype.kind == "f":
        broken = ~np.isfinite(data) | (data != np.rint(data))
        if broken.any():
            raise VolumeError(
                f"{int(broken.sum())} of {data.size} mask values are not integers, e.g. {data[broken].flat[0]:g}",
                file=path,
                field="data",
                cure=cure,
            )
    if data.size:
        low, high = data.min(), data.max()
        if low < 0:
            raise VolumeError(
                f"{int((data < 0).sum())} of {data.size} mask values are negative, e.g. {low:g}",
                file=path,
                field="data",
                cure=cure,
            )
        if high > np.iinfo(np.int32).max:
            raise VolumeError(f"the label {high:g} is too large", file=path, field="data", cure=cure)
        data = data.astype(np.uint8 if high < 256 else np.uint16 if high < 65536 else np.int32)
    return Volume(data, affine, "label", os.fspath(path), sha256, meta)


def write_nifti(volume: Volume, path: str | os.PathLike[str]) -> None:
    """Write a volume as NIfTI-1, gzipped if the name ends in `.gz`; the same volume gives the same bytes.

    The sform carries the affine exactly in single precision; the qform is written beside it unless the axes are
    sheared, which a qform cannot say.

    Raises:
        VolumeError: a name that is not `.nii` or `.nii.gz`, an axis longer than 32767, or 64-bit labels too large.
    """
    import nibabel as nib

    name = os.fspath(path)
    if not name.endswith((".nii", ".nii.gz")):
        raise VolumeError("not a NIfTI file name", file=path, cure="let the name end in .nii or .nii.gz")
    if max(volume.shape) > np.iinfo(np.int16).max:
        raise VolumeError(f"the shape {volume.shape} does not fit into NIfTI-1", file=path, cure="crop the volume")
    image = nib.Nifti1Image(_storable(volume.data, path), volume.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(volume.affine, code=1)
    directions = volume.affine[:3, :3] / np.array(volume.spacing_mm)
    if np.allclose(directions.T @ directions, np.eye(3), atol=1e-4):
        image.set_qform(volume.affine, code=1)
    else:
        image.set_qform(None, code=0)
    content: bytes = image.to_bytes()
    if name.endswith(".gz"):
        packed = io.BytesIO()
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, compresslevel=6, mtime=0) as stream:
            stream.write(content)
        content = packed.getvalue()
    write_bytes(path, content)


def _storable(data: NDArray[Any], path: str | os.PathLike[str]) -> NDArray[Any]:
    """The data in a type that every NIfTI reader knows."""
    if data.dtype.kind == "b":
        return data.astype(np.uint8)
    if data.dtype == np.float16:
        return data.astype(np.float32)
    if data.dtype.kind in "iu" and data.dtype.itemsize == 8:
        limits = np.iinfo(np.int32)
        if data.min() < limits.min or data.max() > limits.max:
            raise VolumeError("values need 64 bits", file=path, cure="use 32-bit integers or floats")
        return data.astype(np.int32)
    return data


def _read(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[np.float64], str, dict[str, Any]]:
    """Values, affine, hash and meta of a NIfTI file."""
    from nibabel.spatialimages import HeaderDataError

    try:
        packed = Path(path).read_bytes()
    except OSError as error:
        raise ReadError(
            f"cannot be read ({error.strerror})", file=path, cure="check the path and the permissions"
        ) from error
    content = _unpack(packed, path) if packed[:2] == b"\x1f\x8b" else packed
    header = _header(content, path)
    try:
        affine, flags = _affine(header, path)
        data = _values(header, content, path)
    except HeaderDataError as error:
        raise VolumeError(f"damaged NIfTI header ({error})", file=path, cure=_DAMAGED) from error
    if data.dtype.kind == "f" and not (finite := np.isfinite(data)).all():
        flags.append(f"{data.size - int(finite.sum())} of {data.size} voxels are not finite")
    meta = {"format": "NIfTI", "flags": tuple(flags)}
    return data, affine, hashlib.sha256(packed).hexdigest(), meta


def _unpack(packed: bytes, path: str | os.PathLike[str]) -> bytes:
    """The bytes inside a gzip file, at most as many as its own NIfTI header announces."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            start = stream.read(544)
            header = _header(start, path)
            wanted = _offset(header, path) + _data_bytes(header)
            if wanted > _DEFLATE_LIMIT * len(packed) + 544:
                raise ReadError(
                    f"the header announces {wanted} bytes, more than {len(packed)} compressed bytes can hold",
                    file=path,
                    cure=_DAMAGED,
                )
            content = start + stream.read(max(0, wanted - len(start)))
            behind = 0
            while more := stream.read(_CHUNK):  # to the end, so that the checksum is compared
                behind += len(more)
                if behind > _MOST_BEHIND + wanted:
                    raise ReadError(
                        f"more than {behind >> 20} MiB follow the image inside the gzip file", file=path, cure=_DAMAGED
                    )
            return content
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(f"truncated or damaged gzip file ({error})", file=path, cure=_DAMAGED) from error


def _header(content: bytes, path: str | os.PathLike[str]) -> Any:
    """The header of a single-file NIfTI-1 or NIfTI-2 image."""
    import nibabel as nib
    from nibabel.spatialimages import HeaderDataError
    from nibabel.wrapstruct import WrapStructError

    for kind, size, place, magic in (
        (nib.Nifti1Header, 348, slice(344, 348), b"n+1\x00"),
        (nib.Nifti2Header, 540, slice(4, 12), b"n+2\x00\r\n\x1a\n"),
    ):
        if len(content) >= size and content[place] == magic:
            try:
                # Checked where it matters below: the class's own check logs and repairs silently.
                header = kind(content[:size], check=False)
                header.get_data_dtype()
                return header
            except KeyError as error:
                raise ReadError(
                    f"unknown NIfTI data type {error.args[0]}", file=path, field="datatype", cure=_DAMAGED
                ) from error
            except (HeaderDataError, WrapStructError) as error:
                raise ReadError(f"damaged NIfTI header ({error})", file=path, cure=_DAMAGED) from error
    raise ReadError(
        "not a NIfTI file (no NIfTI magic number)", file=path, cure="give a .nii or .nii.gz file; convert others first"
    )


def _shape(header: Any, path: str | os.PathLike[str]) -> tuple[int, ...]:
    count = int(header["dim"][0])
    sizes = tuple(int(n) for n in header["dim"][1 : max(count, 0) + 1])
    if not 1 <= count <= 7 or any(n < 0 for n in sizes):
        raise ReadError(f"damaged NIfTI header (dim {[int(n) for n in header['dim']]})", file=path, cure=_DAMAGED)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    return sizes


def _offset(header: Any, path: str | os.PathLike[str]) -> int:
    """Where the voxels begin. NIfTI-1 keeps it as a floating-point number, which may be none."""
    offset = float(header["vox_offset"])
    if not np.isfinite(offset) or abs(offset) > 2**53:
        raise ReadError(f"damaged NIfTI header (vox_offset {offset})", file=path, field="vox_offset", cure=_DAMAGED)
    return int(header.get_data_offset())


def _data_bytes(header: Any) -> int:
    count = 1
    for n in header["dim"][1 : max(int(header["dim"][0]), 0) + 1]:
        count *= max(int(n), 0)
    return count * int(header.get_data_dtype().itemsize)


def _values(header: Any, content: bytes, path: str | os.PathLike[str]) -> NDArray[Any]:
    """The voxels with the rescale slope applied."""
    shape = _shape(header, path)
    if len(shape) != 3:
        raise VolumeError(
            f"the volume has {len(shape)} dimensions ({'x'.join(map(str, shape))}), not 3",
            file=path,
            field="dim",
            cure="split a time series or a multi-channel image into one file per volume",
        )
    kind = header.get_data_dtype()
    if kind.kind not in "iuf":
        raise VolumeError(
            f"the voxels are of type {kind}, not numbers",
            file=path,
            field="datatype",
            cure="convert colour or complex images to one grey value per voxel",
        )
    offset, wanted = _offset(header, path), _data_bytes(header)
    if offset < 0 or len(content) < offset + wanted:
        raise ReadError(
            f"truncated: {len(content)} bytes where the header announces {offset + wanted}", file=path, cure=_DAMAGED
        )
    if wanted == 0:
        return np.empty(shape, dtype=kind)
    raw = np.frombuffer(content, dtype=kind, count=wanted // kind.itemsize, offset=offset).reshape(shape, order="F")
    raw = raw.astype(kind.newbyteorder("="), copy=False)
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or not np.isfinite(slope):  # the standard: no scaling
        return raw
    if not np.isfinite(intercept):
        raise VolumeError(f"the rescale intercept is {intercept}", file=path, field="scl_inter", cure=_DAMAGED)
    return rescale(raw, slope, intercept)


def rescale(raw: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """`raw * slope + intercept`: integers if all three are (int16 where they fit, else int32), else floating point."""
    if slope == 1 and intercept == 0:
        return raw
    if raw.dtype.kind in "iu" and slope.is_integer() and intercept.is_integer():
        ends = [int(raw.min()) * int(slope) + int(intercept), int(raw.max()) * int(slope) + int(intercept)]
        for kind in (np.int16, np.int32):
            limits = np.iinfo(kind)
            if limits.min <= min(ends) and max(ends) <= limits.max:
                return (raw.astype(np.int64) * int(slope) + int(intercept)).astype(kind)
    kind_out = np.float64 if raw.dtype == np.float64 else np.float32
    return (raw.astype(np.float64) * slope + intercept).astype(kind_out)


def _affine(header: Any, path: str | os.PathLike[str]) -> tuple[NDArray[np.float64], list[str]]:
    """The affine in mm by the rule of the module docstring, and flags about contradictions."""
    from nibabel.spatialimages import HeaderDataError

    cure = "set the orientation (qform or sform code and matrix) from the scan, or convert from DICOM again"
    sform = int(header["sform_code"]) > 0
    qform = int(header["qform_code"]) > 0
    if not sform and not qform:
        raise VolumeError(
            "the file states no orientation (qform and sform codes are 0)", file=path, field="sform_code", cure=cure
        )
    scale = np.diag([_UNITS_TO_MM.get(int(header["xyzt_units"]) & 7, 1.0)] * 3 + [1.0])
    flags = []
    chosen = check_affine(scale @ (header.get_sform() if sform else _qform(header)), file=path)
    if sform:
        pixdim = scale[0, 0] * np.asarray(header["pixdim"][1:4], dtype=np.float64)
        if not np.allclose(voxel_spacing(chosen), pixdim, rtol=1e-2, atol=0):
            flags.append(f"voxel sizes of sform {voxel_spacing(chosen)} and pixdim {tuple(pixdim.tolist())} differ")
    if sform and qform:
        try:
            other = scale @ _qform(header)
        except HeaderDataError as error:
            flags.append(f"the qform is damaged ({error}); the sform was used")
            return chosen, flags
        ends = np.array([[0, 0, 0, 1], [*(np.array((*_shape(header, path), 1, 1)[:3]) - 1), 1]], dtype=np.float64)
        apart = float(np.linalg.norm(ends @ (chosen - other).T, axis=1).max())
        if apart > 0.5 * min(voxel_spacing(chosen)):
            flags.append(f"sform and qform differ by up to {apart:.3g} mm; the sform was used")
    return chosen, flags


def _qform(header: Any) -> NDArray[np.float64]:
    from nibabel.spatialimages import HeaderDataError

    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except ValueError as error:  # a quaternion longer than 1
        raise HeaderDataError(f"the qform quaternion is no rotation: {error}") from error
