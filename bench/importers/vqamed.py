"""The spine questions of VQA-Med 2019 that a closed list answers, from its `|`-separated files and image folders.

Convention: training and validation lines are `image|question|answer`, lines of the test set with references
`image|category|question|answer`; pictures are `image.jpg`. A picture is of the spine where its organ answer is "spine
and contents" or a question or answer about it holds a word of the keyword rule. Planes, organ systems and yes/no are
closed and kept; the answer must be one of the published classes, else the row is dropped.

Trap: abnormalities are free text (scored there by overlap of words); no rule here scores them, so they are dropped and
counted. References with several answers (`a#b`) or optional parts in brackets are dropped too.
Each question asks about one picture; whether two pictures show one patient is not published, so the picture is the
cluster.
"""

from __future__ import annotations

from pathlib import Path

from bench.importers.gather import Gathered, below, question
from bench.importers.medxpertqa import about_spine
from spinemed.errors import ReadError

__all__ = ["ORGANS", "PLANES", "gather_vqamed"]

PLANES = (
    "axial", "sagittal", "coronal", "ap", "lateral", "frontal", "pa", "transverse", "oblique", "longitudinal",
    "decubitus", "3d reconstruction", "mammo - mlo", "mammo - cc", "mammo - mag cc", "mammo - xcc",
)  # fmt: skip
ORGANS = (
    "breast", "skull and contents", "face, sinuses, and neck", "spine and contents", "musculoskeletal",
    "heart and great vessels", "lung, mediastinum, pleura", "gastrointestinal", "genitourinary",
    "vascular and lymphatic",
)  # fmt: skip
YES_NO = ("yes", "no")
CLOSED = {"plane": PLANES, "organ": ORGANS, "yes/no": YES_NO}
Row = tuple[Path, int, str, str, str]
"""File, line, picture, question, answer."""


def gather_vqamed(files: list[Path], images: Path, found: Gathered) -> None:
    """Add the spine questions of the given files.

    Raises:
        ReadError: A line has neither three nor four fields, or a picture is missing.
    """
    rows = [row for file in files for row in _rows(file)]
    spine = {name for _, _, name, text, answer in rows if about_spine(f"{text} {answer}") or answer == ORGANS[3]}
    for file, line, name, text, answer in rows:
        if name not in spine:
            found.left_out["not about the spine by the keyword rule"] += 1
            continue
        if "#" in answer or "(" in answer:
            found.left_out["several answers or optional parts count as right"] += 1
            continue
        topic = next((topic for topic, classes in CLOSED.items() if answer in classes), None)
        if topic is None:
            found.left_out["a free-text answer, which no rule scores"] += 1
            continue
        path = below(images, f"{name}.jpg", file=file, line=line)
        if not path.is_file():
            raise ReadError("is named by a question and missing", file=path, cure="unpack the pictures, give --images")
        asked = f"{text} Answer with one of: {'; '.join(CLOSED[topic])}."
        found.add(
            f"{file.stem}:{line}", file=file, line=line, axis="pathology", task="category",
            messages=question(asked, 1), images=(found.keep_picture(path.read_bytes(), path),), answer=answer,
            answer_kind="category", categories=CLOSED[topic], cluster=f"{found.kind}:{name}",
            tags=(f"topic:{topic}", "cluster:picture"),
        )  # fmt: skip


def _rows(file: Path) -> list[Row]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(f"cannot be read ({error})", file=file, cure="give the published file, in UTF-8") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) not in (3, 4):
            raise ReadError(
                f"has {len(cells)} fields, and image|question|answer or image|category|question|answer are known",
                file=file, line=number, cure="give a file with answers, as it was published",
            )  # fmt: skip
        rows.append((file, number, cells[0], cells[-2], cells[-1].lower()))
    return rows
