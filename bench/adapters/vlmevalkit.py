"""TSV files for VLMEvalKit, one for each of its ways to ask, and its prediction files to replies.

Convention: columns `index` (a number), `image` (base64; several as a list in one cell), `question`, `A` to `H`,
`answer`, `category`, and `sample_id` of our own, which that engine carries through. Names that it does not know fall
back to its custom classes: options with pictures to multiple choice, options alone to text multiple choice, pictures
without options to question answering. It writes the options under the question itself, so they are cut there.

Trap: that engine has no class for words alone without options; such questions are left out, counted, and `failed` on
the way back. Its own scores draw a random option where a reply cannot be read; only its replies are used here.
The tables follow its development guide; lists of pictures in a cell, the sentence of a failed reply and `PRED_FORMAT`
are remembered, and the engine itself was not run.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import struct
import zipfile
import zlib
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.adapters.questions import flat_text, picture_bytes, stem, without_placeholders
from bench.adapters.replies import Heard, Reply
from spinemed.errors import MissingPartError, ReadError, RecordError
from spinemed.records import Sample
from spinemed.tables import parse_json, write_text

__all__ = ["FILES", "read_vlmevalkit", "way", "write_vlmevalkit"]

FILES = {"mcq": "SpineBench_MCQ.tsv", "text_mcq": "SpineBench_TextMCQ.tsv", "vqa": "SpineBench_VQA.tsv"}
LETTERS = "ABCDEFGH"
NO_WAY = "words alone without options, which that engine has no class for"
# A cell holds whole pictures; the csv module's limit is for files that somebody else sends.
_CELL = 1 << 28
_LARGEST = 1 << 28


def way(sample: Sample) -> str | None:
    """Which file a question goes to; None where there is none."""
    if sample.answer_kind == "option":
        return "mcq" if sample.images else "text_mcq"
    return "vqa" if sample.images else None


def write_vlmevalkit(folder: Path, samples: list[Sample], target: Path, reasons: Counter[str]) -> None:
    """Write the TSV files; a question that no file can hold is counted in `reasons`."""
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        own = way(sample)
        if own is None:
            reasons[NO_WAY] += 1
        else:
            groups.setdefault(own, []).append(sample)
    for name, members in sorted(groups.items()):
        used = [letter for letter in LETTERS if any(o.key == letter for s in members for o in s.options)]
        columns = ["index", *(["image"] if name != "text_mcq" else []), "question", *used, "answer", "category",
                   "sample_id"]  # fmt: skip
        stream = io.StringIO()
        writer = csv.DictWriter(stream, columns, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        for number, sample in enumerate(members):
            writer.writerow({key: value for key, value in _row(folder, sample, number).items() if key in columns})
        write_text(target / FILES[name], stream.getvalue())


def _row(folder: Path, sample: Sample, number: int) -> dict[str, Any]:
    pictures = [base64.b64encode(picture_bytes(folder, path)).decode() for path in sample.images]
    text = stem(sample) if sample.answer_kind == "option" else flat_text(sample)
    return {
        "index": number,
        "image": pictures[0] if len(pictures) == 1 else json.dumps(pictures),
        "question": without_placeholders(text),
        **{option.key: option.text for option in sample.options},
        "answer": sample.answer,
        "category": sample.axis,
        "sample_id": sample.id,
    }


def read_vlmevalkit(paths: list[Path], *, model: str | None) -> Heard:
    """Replies of its prediction files (`.tsv`, `.csv`, `.json`, `.xlsx`), one for each exported TSV.

    Raises:
        ReadError: A file is no such table, or lacks `sample_id` or `prediction`.
        RecordError: A sample stands twice, or no model is named.
        MissingPartError: An `.xlsx` file, and no reader for it is installed.
    """
    if not model:
        raise RecordError("its files name no model", field="--model", cure="give --model NAME")
    replies: dict[str, Reply] = {}
    for path in paths:
        for number, row in enumerate(_rows(path), 2):
            missing = [column for column in ("sample_id", "prediction") if column not in row]
            if missing:
                raise ReadError(
                    f"lacks the column {missing[0]}", file=path, field=missing[0],
                    cure="give the prediction file that the engine wrote for the exported TSV",
                )  # fmt: skip
            name, text = str(row["sample_id"]), row["prediction"]
            if name in replies:
                raise RecordError(f"sample {name} stands twice", file=path, line=number, cure="give each file once")
            text = "" if text is None else str(text)
            # The engine writes this sentence of its own where a model failed on every try.
            failed = text.startswith("Failed to obtain answer")
            replies[name] = Reply(outcome="api_error", detail=text) if failed else Reply(text)
    return Heard("VLMEvalKit", model, replies)


def _rows(path: Path) -> list[dict[str, Any]]:
    cure = "give a .tsv, .csv, .json or .xlsx file of predictions"
    try:
        if path.suffix == ".json":
            rows = parse_json(path.read_bytes())
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise ReadError("is JSON, but no list of rows", file=path, cure=cure)
            return rows
        if path.suffix == ".xlsx":
            return _sheet(path)
        csv.field_size_limit(_CELL)
        with open(path, encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ","))
    except (OSError, ValueError, csv.Error) as error:
        raise ReadError(f"cannot be read ({error})", file=path, cure=cure) from error


def _sheet(path: Path) -> list[dict[str, Any]]:
    try:
        from openpyxl import load_workbook  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError as error:
        raise MissingPartError(
            f"a reader for {path.name} is not installed",
            cure="pip install openpyxl, or let that engine write TSV (environment variable PRED_FORMAT=tsv)",
        ) from error  # fmt: skip
    _require_reasonable(path)
    try:
        with closing(load_workbook(path, read_only=True)) as book:
            rows = [] if book.active is None else list(book.active.values)
        return [dict(zip(map(str, rows[0]), row, strict=True)) for row in rows[1:]] if rows else []
    except (AttributeError, LookupError, RuntimeError, SyntaxError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        # openpyxl lets through whatever its XML and ZIP readers raise; XML's parse errors are SyntaxErrors.
        raise ValueError(f"is no workbook: {error}") from error


def _require_reasonable(path: Path) -> None:
    """Refuse a workbook that unpacks to more than memory should hold.

    Raises:
        ValueError: It does, or it is no ZIP file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(one.file_size for one in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, struct.error) as error:
        raise ValueError(f"is no workbook: {error}") from error
    if unpacked > _LARGEST:
        raise ValueError(f"unpacks to {unpacked >> 20} MiB")
