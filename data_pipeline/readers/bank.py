"""Banks of multiple-choice questions in CSV or JSONL: question, choices and printed key become spans at one address.

Convention: columns or keys are named in the options; choices are columns `A` to `H`, or one list (JSONL) or a dict by
letter. The key is a letter, a number from 0, or the text of a choice. 200 questions make one document. The spans of
one question share their locator: `question`, then a `list_item` for each choice, then `answer` (`B: text`, and an
explanation).

Tables of captions, one a row with its own licence, are the layout `captions`; see `captions.py`.

Trap: a key that names no choice is a broken row: it is counted as failed, never guessed.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from data_pipeline.readers.documents import add_document
from data_pipeline.readers.files import FileOptions, overflows, pack, read_files, utf8_text
from data_pipeline.readers.reading import Blocks, Reading, read_options, short_id
from data_pipeline.sandbox import Answer
from data_pipeline.sources import known_licences
from spinemed.errors import ReadError
from spinemed.records import Source

__all__ = ["BankOptions", "parse_bank", "read_bank"]

_LETTERS = "ABCDEFGH"
_ROWS = 200
_MOST_SIGNS = 20_000


class BankOptions(FileOptions):
    """Options of a `bank` source."""

    layout: Literal["questions", "captions"] = "questions"
    """What a row is: a multiple-choice question, or a figure's caption without the figure."""
    question: str = "question"
    """Column or key of the question."""
    options: str = "options"
    """Key of the list or dict of choices; ignored where columns `A`, `B`, ... exist."""
    answer: str = "answer"
    """Column or key of the printed key."""
    explanation: str = "explanation"
    """Column or key of the explanation; may be absent."""
    caption: str = "caption"
    """Column of the caption, for the layout `captions`."""
    licence: str = "licence"
    """Column of the row's own licence, as printed."""
    article: str = "article"
    """Column that names article and figure; what stands before the first underscore is the article."""
    licences: dict[str, str] = Field(default_factory=dict)
    """SPDX identifier of each printed licence; a row with another one is left out."""

    @model_validator(mode="after")
    def _known(self) -> BankOptions:
        strange = sorted(set(self.licences.values()) - set(known_licences()))
        if strange:
            raise ValueError(f"licences: '{strange[0]}' is not in the table of known licences")
        if self.layout == "captions" and not self.licences:
            raise ValueError("licences: nothing says what the rows' licences mean")
        return self


def read_bank(source: Source, root: Path) -> Reading:
    """Read all banks of a source.

    Raises:
        ReadError: No file fits the pattern.
    """
    options = read_options(source, BankOptions)
    if options.layout == "captions":
        named = {name: getattr(options, name) for name in ("caption", "licence", "article")}
        job = "data_pipeline.readers.captions:parse_captions"
        return read_files(source, root, job, options, columns=named, licences=options.licences)
    names = {name: getattr(options, name) for name in ("question", "options", "answer", "explanation")}
    return read_files(source, root, "data_pipeline.readers.bank:parse_bank", options, columns=names)


def parse_bank(path: str, name: str, source: dict[str, Any], columns: dict[str, str]) -> Answer:
    """Parse one bank; runs in the sandbox.

    Raises:
        ReadError: It is neither CSV with a header nor JSONL.
    """
    entry, file = Source.model_validate(source), Path(path)
    data = file.read_bytes()
    text = utf8_text(data, name)
    reading = Reading(entry.id)
    rows = _jsonl(text, reading, name) if file.suffix.lower() in (".jsonl", ".json") else _csv(text, name)
    blocks: Blocks | None = None
    inside = part = 0
    for number, row in rows:
        question, choices, key, explanation = _take(row, columns)
        item = f"{name}#row {number}"
        if overflows(row):
            reading.drop("question", item, "has more cells than columns", failed=True)
            continue
        if not question or len(choices) < 2:
            reading.drop("question", item, "question or choices are empty, or more than eight")
            continue
        if key is None:
            reading.drop("question", item, "the key names no choice", failed=True)
            continue
        if max(map(len, (question, explanation, *choices))) > _MOST_SIGNS:
            reading.drop("question", item, "is longer than 20,000 signs", failed=True)
            continue
        if blocks is None:
            blocks = Blocks(short_id("doc", entry.id, name, part, data.hex()[:64], len(data)))
        address = f"row {number}"
        blocks.add("question", question, name, address)
        for letter, choice in zip(_LETTERS, choices):
            blocks.add("list_item", f"{letter}. {choice}", name, address)
        words = f"{_LETTERS[key]}: {choices[key]}" + (f". {explanation}" if explanation else "")
        blocks.add("answer", words, name, address)
        reading.keep("question")
        inside += 1
        if inside == _ROWS:
            add_document(reading, entry, blocks, f"{name}", data, f"{file.stem} part {part + 1}")
            blocks, inside, part = None, 0, part + 1
    if blocks is not None:
        add_document(reading, entry, blocks, name, data, file.stem if part == 0 else f"{file.stem} part {part + 1}")
    return pack(reading)


def _csv(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(1 << 20)
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        if not reader.fieldnames:
            raise ReadError("is empty", file=name, cure="write a header and rows")
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise ReadError("is no well-formed CSV", file=name, line=reader.line_num, cure="mend the quotes") from error


def _jsonl(text: str, reading: Reading, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            yield number, row
        else:
            reading.drop("question", f"{name}#row {number}", "is no JSON object", failed=True)


def _take(row: dict[str, Any], columns: dict[str, str]) -> tuple[str, list[str], int | None, str]:
    question, explanation = _text(row.get(columns["question"])), _text(row.get(columns["explanation"]))
    given = row.get(columns["options"])
    if "A" in row:
        choices = [_text(row.get(letter)) for letter in _LETTERS]
    elif isinstance(given, dict):
        choices = [_text(given.get(letter)) for letter in _LETTERS]
    elif isinstance(given, list):
        choices = [_text(choice) for choice in given]
    else:
        choices = []
    while choices and not choices[-1]:
        choices.pop()
    # An empty choice before the last one would move the letters behind it, and with them the key.
    if not all(choices) or len(choices) > len(_LETTERS):
        choices = []
    answer = row.get(columns["answer"])
    key: int | None = None
    if isinstance(answer, int) and not isinstance(answer, bool):
        key = answer if 0 <= answer < len(choices) else None
    else:
        words = _text(answer)
        letter = words.strip("().: ").upper()
        if len(letter) == 1 and letter in _LETTERS[: len(choices)]:
            key = _LETTERS.index(letter)
        elif words.isdecimal() and len(words) < 4:
            key = int(words) if int(words) < len(choices) else None
        elif words in choices:
            key = choices.index(words)
    return question, choices, key, explanation


def _text(value: Any) -> str:
    return " ".join(str(value).split()) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
