"""The pixels of a DICOM data set, compressed ones decoded in a child process (`spinemed.native`).

Convention: :func:`stored_pixels` stands wherever `dataset.pixel_array` would. What is not compressed is taken here, by
pydicom itself.

Trap: only the elements that describe the pixels go to the child, so nothing there can name a patient; an element that
a decoder needs and that is missing in the list changes what it answers.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.native import Told, run_native

__all__ = ["decode_file", "stored_pixels"]

_ELEMENTS = (
    "SOPClassUID", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows",
    "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip


def stored_pixels(dataset: Any) -> NDArray[Any]:
    """The stored values of a DICOM data set, as `dataset.pixel_array` gives them.

    Args:
        dataset: From `pydicom.dcmread`.

    Raises:
        RuntimeError: compressed pixels are damaged, or decoding them took too much.
        Exception: whatever `pixel_array` raises where the pixels are not compressed.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is None or not getattr(syntax, "is_encapsulated", False) or "PixelData" not in dataset:
        return np.asarray(dataset.pixel_array)
    return run_native("spinemed.volume.decode:decode_file", _alone(dataset))[1][0]


def _alone(dataset: Any) -> bytes:
    """The pixels with what describes them, as a file."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset

    one = Dataset()
    for name in _ELEMENTS:
        if name in dataset:
            one[name] = dataset[name]
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    stream = io.BytesIO()
    one.save_as(stream, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return stream.getvalue()


def decode_file(content: bytes) -> Told:
    """The pixels of a DICOM file; runs in the child.

    Raises:
        RuntimeError: It cannot be decoded.
    """
    from pydicom import dcmread

    from spinemed.volume.dicom import damage

    try:
        return {}, [np.asarray(dcmread(io.BytesIO(content), force=True).pixel_array)]
    except damage() as error:
        raise RuntimeError(str(error) or type(error).__name__) from error
