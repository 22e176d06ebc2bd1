"""Which files belong to one vertebra, in the names that `spinemed vertebra` writes.

============  =======================================  ===============================================================
folder        file                                     holds
============  =======================================  ===============================================================
reference     `<case>_<label>_vb.nii.gz` (or `_body`)  the healthy body: a vertebra laid straight, or a healthy twin
              `<case>_<label>_now.nii.gz`              the body as it is, where it is another (broken); else the same
              `<case>_<label>_ct.nii.gz`               the healthy picture, HU
              `grades.csv`                             grade, shape, split, patient (:mod:`bench.fracture.reference`)
prediction    `<case>_<label>_body.nii.gz`             the synthetic body
              `<case>_<label>_synthetic-ct.nii.gz`     the synthetic picture, HU
============  =======================================  ===============================================================

Convention: files lie at any depth; a vertebra is its case and its label (VerSe's number). Masks hold the label, or 1,
in the body.

Trap: a `_label` crop holds whole vertebrae with their arches; it is no body, and is not read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import LevelError, ReadError, RecordError

__all__ = ["Key", "VertebraFiles", "find_bodies"]

Key = tuple[str, Level]
_NAME = re.compile(r"^(?P<case>.+)_(?P<label>\d{1,2})_(?P<what>vb|body|now|ct|synthetic-ct)\.nii(\.gz)?$")


@dataclass(frozen=True)
class VertebraFiles:
    """The files of one vertebra."""

    body: Path
    now: Path | None = None
    image: Path | None = None


def find_bodies(folder: Path, bodies: Sequence[str], images: Sequence[str], option: str) -> dict[Key, VertebraFiles]:
    """Vertebrae of a folder, by case and level.

    Args:
        folder: Searched at any depth.
        bodies: Endings of body files, the preferred first.
        images: Endings of picture files, the preferred first.
        option: Which option named the folder, for errors.

    Raises:
        ReadError: no such folder, or no body in it.
        RecordError: two files for one part of one vertebra.
    """
    if not folder.is_dir():
        raise ReadError("is no folder", file=folder, field=option, cure="give a folder of NIfTI files")
    parts: dict[Key, dict[str, Path]] = {}
    for path in sorted(folder.rglob("*.nii*")):
        match = _NAME.match(path.name)
        if match is None:
            continue
        try:
            key = match["case"], LABEL_MAPS["verse"].to_level(int(match["label"]))
        except LevelError:
            continue  # a number that is no vertebra: another tool's file
        own = parts.setdefault(key, {})
        if match["what"] in own:
            raise RecordError(
                f"'{own[match['what']].relative_to(folder)}' and '{path.relative_to(folder)}' are the same part of the "
                "same vertebra", file=folder, field=option, cure="keep one of them",
            )  # fmt: skip
        own[match["what"]] = path
    found = {}
    for key, own in sorted(parts.items()):
        body = next((own[what] for what in bodies if what in own), None)
        if body is not None:
            image = next((own[what] for what in images if what in own), None)
            found[key] = VertebraFiles(body, own.get("now"), image)
    if not found:
        names = " or ".join(f"CASE_LABEL_{what}.nii.gz" for what in bodies)
        raise ReadError(
            "holds no body", file=folder, field=option,
            cure=f"give files named {names} (spinemed vertebra straighten, synthesise)",
        )  # fmt: skip
    return found
