"""The spine questions of MedXpertQA-MM (MIT licence), from `MM/test.jsonl` or `MM/dev.jsonl` and `images/`.

Convention: a row has `id`, `question` (with its options at the end), `options` (letter to text), `label`, `images`
(file names), `medical_task`, `body_system`, `question_type`. The rule of the spine: the question or an option holds a
word of `SPINE`. Treatment questions stand on the axis of planning, all others on that of pathology.

Trap: the data set tags no spine; the keyword rule is ours, counted on both sides, and no more than a rule. Some words
are left out on purpose ("lumbar puncture" and "spinal anesthesia" name procedures, not the spine).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.importers.gather import Gathered, question, read_lines, required
from spinemed.errors import ReadError

__all__ = ["SPINE", "about_spine", "gather_medxpertqa"]

COLUMNS = ("id", "question", "options", "label", "images", "medical_task", "body_system", "question_type")
SPINE = re.compile(
    r"\b(spin(e|al)|vertebra[el]?s?|intervertebral|interbody|lumbar|lumbosacral|thoracolumbar|"
    r"cervical (spine|dis[ck]|cord|radiculopathy|myelopathy|vertebra\w*|fusion|fracture)|"
    r"sacr(um|al|oiliac)|coccy\w*|scolio\w+|kypho\w+|lordo\w+|spondyl\w+|disc herniation|herniated dis[ck]|"
    r"dis[ck] (space|prolapse|protrusion)|radiculopathy|myelopathy|cauda equina|sciatica|pedicle screws?|laminectomy|"
    r"odontoid|atlanto\w+|hangman\w*|(chance|burst|jefferson) fracture)\b",
    re.IGNORECASE,
)
_PROCEDURES = re.compile(
    r"\b(lumbar puncture|spinal (tap|an(a)?esthe\w+|headache)|cervical (cancer|lymph\w*|cerclage|cytology))\b",
    re.IGNORECASE,
)


def about_spine(text: str) -> bool:
    """Whether a text is about the spine by the keyword rule."""
    return bool(SPINE.search(_PROCEDURES.sub(" ", text)))


def gather_medxpertqa(files: list[Path], images: Path, found: Gathered) -> None:
    """Add the spine questions of the given JSON lines.

    Raises:
        ReadError: A column or picture is missing, or a file is not of this layout.
        RecordError: A row makes no question.
    """
    for file in files:
        for line, row in read_lines(file):
            required(COLUMNS, list(row), file)
            _add(row, file, line, images, found)


def _add(row: dict[str, Any], file: Path, line: int, images: Path, found: Gathered) -> None:
    options = {str(key): str(text) for key, text in row["options"].items() if text is not None}
    if not about_spine(" ".join([row["question"], *options.values()])):
        found.left_out["not about the spine by the keyword rule"] += 1
        return
    if len(options) > 8:
        found.left_out["more than eight options"] += 1
        return
    if len(set(options.values())) < len(options):
        found.left_out["two options with the same text"] += 1
        return
    pictures = []
    for name in row["images"] or ():
        path = images / Path(str(name)).name
        if not path.is_file():
            raise ReadError("is named by a question and missing", file=path, cure="unpack images.zip and give --images")
        pictures.append(found.keep_picture(path.read_bytes(), path))
    treatment = str(row["medical_task"]).strip().lower() == "treatment"
    found.add(
        str(row["id"]), file=file, line=line,
        axis="surgical_planning" if treatment else "pathology", task="multiple_choice",
        messages=question(str(row["question"]), len(pictures)), images=tuple(pictures), answer=str(row["label"]),
        answer_kind="option", options=tuple({"key": key, "text": text} for key, text in sorted(options.items())),
        cluster=f"{found.kind}:{row['id']}",
        tags=(f"topic:{row['medical_task']}", f"type:{row['question_type']}", f"body:{row['body_system']}"),
    )  # fmt: skip
