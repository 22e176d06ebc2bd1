"""MetaImage volumes (`.mha`), as SPIDER publishes them: just enough to take the middle sagittal slice as a picture.

Convention: the header is text lines `Key = value`, the last of which is `ElementDataFile = LOCAL`; then the voxels, x
fastest, raw or zlib. `TransformMatrix` holds the direction of each index axis in LPS millimetres. The picture shows
anterior left and superior up, its pixels are square, and its grey runs from the 1st to the 99th percentile.

Trap: the middle of the volume is not always the middle of the patient; a scoliotic spine leaves that slice.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError

__all__ = ["grey", "middle_slice"]

_TYPES = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip


def grey(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Values from the 1st to the 99th percentile as 0 to 255; a constant picture is black."""
    low, high = np.percentile(values, (1, 99))
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    scaled = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return np.round(255 * scaled).astype(np.uint8)


def middle_slice(path: Path) -> NDArray[np.uint8]:
    """The middle sagittal slice.

    Raises:
        ReadError: It is no MetaImage of three dimensions with its data inside.
    """
    data = path.read_bytes()
    mark = data.find(b"ElementDataFile")
    end = data.find(b"\n", mark)
    if mark < 0 or end < 0:
        raise ReadError("is no MetaImage", file=path, cure="give the .mha files as they were published")
    lines = (line.split("=", 1) for line in data[:end].decode("latin-1").splitlines() if "=" in line)
    header = {key.strip(): value.strip() for key, value in lines}
    try:
        size = [int(word) for word in header["DimSize"].split()]
        order = ">" if header.get("BinaryDataByteOrderMSB", "False") == "True" else "<"
        kind = np.dtype(order + _TYPES[header["ElementType"]])
        spacing = [float(word) for word in header["ElementSpacing"].split()]
        matrix = np.array([float(word) for word in header["TransformMatrix"].split()]).reshape(3, 3)
        if len(size) != 3 or header["ElementDataFile"] != "LOCAL":
            raise ValueError("three dimensions and local data are needed")
        body = data[end + 1 :]
        raw = zlib.decompress(body) if header.get("CompressedData", "False") == "True" else body
        volume = np.frombuffer(raw, kind, count=int(np.prod(size))).reshape(size[::-1]).transpose(2, 1, 0)
    except (KeyError, ValueError, zlib.error) as error:
        raise ReadError(f"has a header or data that do not fit ({error})", file=path, cure="fetch it again") from error
    # Row i of the matrix is the direction of index axis i. Which axis runs left, which back, which up?
    axes = [int(np.argmax(np.abs(matrix[:, world]))) for world in range(3)]
    if sorted(axes) != [0, 1, 2]:
        raise ReadError("is turned by half a right angle", file=path, cure="resample it along the body's axes")
    turned = volume.transpose(axes)
    picture = turned[turned.shape[0] // 2]
    if matrix[axes[1], 1] < 0:
        picture = picture[::-1]
    if matrix[axes[2], 2] > 0:
        picture = picture[:, ::-1]
    return _square(grey(picture.T), spacing[axes[2]], spacing[axes[1]])


def _square(picture: NDArray[np.uint8], tall: float, wide: float) -> NDArray[np.uint8]:
    from PIL import Image

    finest = min(tall, wide)
    size = round(picture.shape[1] * wide / finest), round(picture.shape[0] * tall / finest)
    if size == picture.shape[::-1]:
        return np.ascontiguousarray(picture)
    return np.asarray(Image.fromarray(np.ascontiguousarray(picture)).resize(size, Image.Resampling.BILINEAR))
