"""Tables of figure captions in CSV, one caption a row, each with its own licence and credit.

Convention: a row becomes a document of one `caption` span; its licence and credit are the row's, and rows from one
article share a group, so an article never stands in two splits. Licence codes are printed as their publishers wrote
them; the options say which SPDX identifier each code means here.

Trap: a row whose licence code is not in the options, or whose licence does not allow what the source is used for, is
left out and counted; the licence of the table as a whole covers no caption.
"""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path
from typing import Any

from data_pipeline.readers.documents import language_of
from data_pipeline.readers.files import overflows, pack, utf8_text
from data_pipeline.readers.reading import Blocks, Reading, short_id
from data_pipeline.sandbox import Answer
from data_pipeline.sources import known_licences
from spinemed.errors import ReadError
from spinemed.records import Document, Source

__all__ = ["parse_captions"]

_MOST_SIGNS = 20_000


def parse_captions(
    path: str, name: str, source: dict[str, Any], columns: dict[str, str], licences: dict[str, str]
) -> Answer:
    """Parse one table; runs in the sandbox.

    Raises:
        ReadError: It is no CSV, or lacks a column.
    """
    entry, data = Source.model_validate(source), Path(path).read_bytes()
    reading, digest = Reading(entry.id), hashlib.sha256(data).hexdigest()
    csv.field_size_limit(1 << 20)
    reader = csv.DictReader(io.StringIO(utf8_text(data, name)), strict=True)
    try:
        absent = sorted(set(columns.values()) - set(reader.fieldnames or ()))
        if absent:
            raise ReadError(f"has no column '{absent[0]}'", file=name, cure="name the columns in the options")
        for row in reader:
            if overflows(row):
                reading.drop("caption", f"{name}#line {reader.line_num}", "has more cells than columns", failed=True)
                continue
            values = {key: row[column] for key, column in columns.items()}
            _row(reading, entry, name, digest, reader.line_num, values, licences)
    except csv.Error as error:
        raise ReadError("is no well-formed CSV", file=name, line=reader.line_num, cure="mend the quotes") from error
    return pack(reading)


def _row(
    reading: Reading, source: Source, name: str, digest: str, line: int, row: dict[str, Any], licences: dict[str, str]
) -> None:
    item = f"{name}#line {line}"
    caption, code, article = (" ".join(str(row[key] or "").split()) for key in ("caption", "licence", "article"))
    spdx = licences.get(code)
    if not caption or not article:
        reading.drop("caption", item, "caption or article is empty")
        return
    if spdx is None or not set(source.allowed_use) <= set(known_licences()[spdx].allows):
        reading.drop("caption", item, "its licence does not allow the uses of the source", code)
        return
    if len(caption) > _MOST_SIGNS:
        reading.drop("caption", item, "is longer than 20,000 signs", failed=True)
        return
    blocks = Blocks(short_id("doc", source.id, name, line, digest))
    blocks.add("caption", caption, "", f"line {line}")
    # The article is what stands before the first underscore of a file name such as PMC123_figure-1.jpg.
    origin = article.split("_", 1)[0]
    reading.documents.append(
        Document(
            id=blocks.document_id,
            source_id=source.id,
            title=article,
            language="zh" if language_of(caption) == "zh" else "en",
            file=name,
            sha256=digest,
            text=blocks.text,
            licence=spdx,
            attribution=f"caption of {article} in {origin}, {code}; by way of {source.attribution}",
            group_id=f"{source.id}:{origin}",
        )
    )
    reading.spans += blocks.spans
    reading.keep("caption")
