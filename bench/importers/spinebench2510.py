"""The other SpineBench (arXiv 2510.12267): multiple choice on diseases and on where a lesion is.

Convention: rows of a JSON list or JSON lines with a question, its options (a list, or letter to text), the answer (a
letter, or an option's text) and the name of one picture. Which names the fields bear is not written in any source that
could be read here; the names tried are `FIELDS`, the first that a file has counts, and a file that has none of them is
refused with those it has.

Trap: its pictures come from four other sets and patients are not named, so the picture is the cluster; several pictures
of one patient make such intervals too narrow, and the tag `cluster:picture` says so.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.importers.gather import Gathered, below, question, read_lines
from spinemed.errors import ReadError

__all__ = ["FIELDS", "gather_spinebench2510"]

FIELDS = {
    "question": ("question", "query", "prompt"),
    "options": ("options", "choices"),
    "answer": ("answer", "label", "gt", "ground_truth"),
    "image": ("image", "image_path", "img_path", "image_name", "images"),
}
OPTIONAL = {"id": ("id", "question_id", "index"), "task": ("task", "type", "category", "question_type")}
_LETTER = re.compile(r"^\(?([A-H])[).:]?\s*")


def gather_spinebench2510(files: list[Path], images: Path, found: Gathered) -> None:
    """Add all questions of the given files.

    Raises:
        ReadError: A field or picture is missing.
        RecordError: A row makes no question.
    """
    for file in files:
        for line, row in read_lines(file):
            values = {name: row[_field(name, names, row, file, line)] for name, names in FIELDS.items()}
            extra = {name: next((row[key] for key in names if key in row), None) for name, names in OPTIONAL.items()}
            _add(values, extra, file, line, images, found)


def _field(name: str, names: tuple[str, ...], row: dict[str, Any], file: Path, line: int) -> str:
    for key in names:
        if key in row:
            return key
    raise ReadError(
        f"has no field for the {name} (tried {', '.join(names)}; it has {', '.join(row)})", file=file, line=line,
        field=name, cure=f"rename the field to {names[0]}",
    )  # fmt: skip


def _add(values: dict[str, Any], extra: dict[str, Any], file: Path, line: int, images: Path, found: Gathered) -> None:
    options = _options(values["options"])
    answer = str(values["answer"]).strip()
    letter = answer if answer in options else next((key for key, text in options.items() if text == answer), None)
    if letter is None and (match := _LETTER.match(answer)) and match[1] in options:
        letter = match[1]
    if letter is None:
        found.left_out["an answer that is no option"] += 1
        return
    named = values["image"]
    if isinstance(named, list) and len(named) != 1:
        found.left_out["not one picture"] += 1
        return
    name = str(named[0] if isinstance(named, list) else named)
    places = [below(images, each, file=file, line=line) for each in (name, Path(name).name)]
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        raise ReadError("is named by a question and missing", file=images / name, cure="give the pictures as --images")
    text = str(values["question"]).replace("<image>", "").strip()
    listed = "\n".join(f"{key}. {option}" for key, option in options.items())
    if not all(option in text for option in options.values()):
        text = f"{text}\n{listed}"
    task = str(extra["task"] or "").lower()
    found.add(
        f"{file.stem}:{extra['id'] if extra['id'] is not None else line}", file=file, line=line,
        axis="level_identification" if "locali" in task else "pathology", task="multiple_choice",
        messages=question(text, 1), images=(found.keep_picture(path.read_bytes(), path),), answer=letter,
        answer_kind="option", options=tuple({"key": key, "text": option} for key, option in options.items()),
        cluster=f"{found.kind}:{name}", tags=("cluster:picture", *([f"topic:{task}"] if task else [])),
    )  # fmt: skip


def _options(value: Any) -> dict[str, str]:
    """Letter to text, from a mapping, or from texts with or without their letters before them."""
    if isinstance(value, dict):
        return {str(key).strip().upper(): str(text).strip() for key, text in sorted(value.items())}
    texts = [str(text).strip() for text in value]
    lettered = [match[1] if (match := _LETTER.match(text)) else None for text in texts]
    if lettered == list("ABCDEFGH")[: len(texts)]:
        texts = [_LETTER.sub("", text) for text in texts]
    return dict(zip("ABCDEFGH", texts, strict=False))
