"""What readers of texts share: a document from its blocks, a figure from its picture.

Trap: pictures are decoded to be checked, so a picture of absurd size is refused before its pixels are unpacked.
"""

from __future__ import annotations

import hashlib
import io
import re
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from data_pipeline.readers.reading import Blocks, Reading, short_id
from spinemed.errors import ReadError
from spinemed.records import Document, Figure, ImageBlob, Source

__all__ = ["add_document", "add_figure", "check_picture", "file_beside", "language_of"]

_MOST_PIXELS = 1 << 26
_HAN = re.compile(r"[\u4e00-\u9fff]")


def language_of(text: str) -> str:
    """`zh` where at least a tenth of the signs are Chinese, else `en`."""
    return "zh" if 10 * len(_HAN.findall(text)) >= len(text) > 0 else "en"


def add_document(reading: Reading, source: Source, blocks: Blocks, name: str, data: bytes, title: str) -> None:
    """Append the document of some blocks with its spans, and count it."""
    text = blocks.text
    reading.documents.append(
        Document(
            id=blocks.document_id,
            source_id=source.id,
            title=title,
            language="zh" if language_of(text) == "zh" else "en",
            file=name,
            sha256=hashlib.sha256(data).hexdigest(),
            text=text,
            licence=source.licence,
            attribution=source.attribution,
            group_id=f"{source.id}:{name}",
        )
    )
    reading.spans += blocks.spans
    reading.keep("document")


def file_beside(folder: Path, name: str) -> Path | None:
    """The file of that name in a folder or below it; None where there is none, or where the name leads out.

    A name from a document may be no name of a file at all: too long, or with signs that no file can have.
    """
    try:
        path = folder / name
        return path if path.resolve().is_relative_to(folder.resolve()) and path.is_file() else None
    except (OSError, ValueError, RuntimeError):
        return None


def check_picture(data: bytes, file: str) -> ImageBlob:
    """The bytes of a PNG or JPEG picture, checked to decode.

    Raises:
        ReadError: It is neither, is damaged, or has more than 67 million pixels.
    """
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.size[0] * picture.size[1] > _MOST_PIXELS:
                raise ReadError("has more than 67 million pixels", file=file, cure="make it smaller")
            picture.load()
            kind, size = picture.format, picture.size
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ReadError("is no readable picture", file=file, cure="fetch the file again") from error
    if kind not in ("PNG", "JPEG"):
        raise ReadError(f"is a {kind} picture, expected PNG or JPEG", file=file, cure="convert it")
    return ImageBlob(
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=data,
        format="png" if kind == "PNG" else "jpeg",
        width_px=size[0],
        height_px=size[1],
    )


def add_figure(
    reading: Reading, blocks: Blocks, blob: ImageBlob, caption: str | None, mentions: tuple[str, ...], label: str
) -> None:
    """Append a figure and its picture, and count it."""
    reading.images.append(blob)
    reading.figures.append(
        Figure(
            id=short_id("fig", blocks.document_id, label, blob.sha256),
            document_id=blocks.document_id,
            image_sha256=blob.sha256,
            caption_span_id=caption,
            mention_span_ids=mentions,
            label=label,
        )
    )
    reading.keep("figure")
