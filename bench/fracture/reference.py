"""Read grades: the reference of the benchmark, from any of three forms, told apart by what the file holds.

====================  =================================================================================================
long CSV              a row per vertebra: `patient`, `case`, `level` (or `label`, VerSe's number), `grade`; optional
                      `split`, `shape` (wedge, biconcave, crush), `loss_percent` (largest loss of height), `mimic` (what
                      a body that is no fracture looks like one by). `patient_id`, `scan_id`, `vertebra` and
                      `genant_grade` are understood too
wide CSV              the sheet that comes with VerSe'19: `verse_ID`, `dataset` (the split), a column per vertebra from
                      T1 to L6 with grades, then a second such run with shapes; `x` is not rated
JSON                  `{split: {"CASE_LABEL": grade}}`, as HealthiVert-GAN ships VerSe'19's grades
====================  =================================================================================================

Splits by their official names: what begins with "train" is `train`, with "val" `validation`, with "test" `test`.

Convention: patients come from the file, else from the case's name (:func:`spinemed.labelling.dataset.patient_of`). A
vertebra that was not rated is counted and not scored.

Traps: VerSe's grades follow [20, 25), [25, 40), 40 % and more, read by eye, so that grade 1 is five points wide. A
shape given as a number in the wide sheet is not read (its code is published nowhere that we could read), and counted.
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from spinemed.anatomy import LABEL_MAPS, LEVELS, Level, parse_level
from spinemed.errors import LevelError, ReadError, RecordError
from spinemed.labelling.dataset import patient_of
from spinemed.measure import GenantGrade, GenantShape
from spinemed.records import Record
from spinemed.tables import parse_json

__all__ = ["GRADES", "SPLITS", "ReadGrade", "Reference", "Shape", "Split", "read_reference"]

Split = Literal["all", "train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)
GRADES: tuple[GenantGrade, ...] = (0, 1, 2, 3)
Shape = GenantShape

_NAMES = {
    "case": ("case", "scan_id", "scan"),
    "patient": ("patient", "patient_id", "subject"),
    "level": ("level", "vertebra"),
    "label": ("label",),
    "grade": ("grade", "genant_grade"),
    "shape": ("shape",),
    "split": ("split", "dataset"),
    "loss": ("loss_percent",),
    "mimic": ("mimic",),
}
_WIDE_ID = "verse_id"
_WIDE = re.compile(r"^([TL]\d{1,2})(?:[ _]?(?:grade|case|shape|type))?(?:\.\d)?$", re.IGNORECASE)
_UNRATED = ("x", "", "nan")
_CURE = "give case, level and grade (0 to 3) in every row"


class ReadGrade(Record):
    """One vertebra as it was read."""

    case: str
    """Name of the scan."""
    patient: str
    """Patient or phantom: the cluster that intervals resample."""
    level: Level
    """Which vertebra."""
    grade: GenantGrade
    """Grade after Genant, 0 to 3."""
    split: str = ""
    """Split of the data set that it belongs to; empty where none is stated."""
    shape: Shape | None = None
    """Shape of the fracture after Genant."""
    loss_percent: float | None = None
    """Largest loss of height where it is known (phantoms)."""
    mimic: str = ""
    """What makes this body look broken that is not; empty for all others."""
    neighbour_broken: bool = False
    """Whether the vertebra above or below, as far as it was rated, has grade 1 or more."""


@dataclass(frozen=True)
class Reference:
    """What a file of grades holds.

    Attributes:
        grades: By case and level, head to foot.
        not_rated: Vertebrae that the file lists without a grade.
        shapes_not_read: Shapes given as a number.
    """

    grades: tuple[ReadGrade, ...]
    not_rated: int = 0
    shapes_not_read: int = 0


def read_reference(path: str | os.PathLike[str]) -> Reference:
    """Read a file of grades in any of the three forms.

    Raises:
        ReadError: no such file, or neither CSV nor JSON.
        RecordError: a column is missing, a level or grade is none, or a vertebra occurs twice.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError(
            f"cannot be read ({getattr(error, 'strerror', None) or 'no UTF-8 text'})", file=file, field="--reference",
            cure="give a CSV or JSON file of grades",
        ) from error  # fmt: skip
    if file.suffix.lower() == ".json":
        found = _from_json(text, file)
    else:
        rows = [row for row in csv.reader(text.splitlines()) if any(cell.strip() for cell in row)]
        if len(rows) < 2:
            raise RecordError("holds no row of grades", file=file, cure=_CURE)
        heads = [cell.strip().lower() for cell in rows[0]]
        found = _from_wide(rows, heads, file) if _WIDE_ID in heads else _from_long(rows, heads, file)
    if not found.grades:
        raise RecordError("holds no graded vertebra", file=file, cure=_CURE)
    return replace(found, grades=_with_neighbours(found.grades, file))


def _from_json(text: str, file: Path) -> Reference:
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ReadError(f"is not JSON ({error})", file=file, cure="give {split: {CASE_LABEL: grade}}") from error
    if not isinstance(values, dict) or not all(isinstance(part, dict) for part in values.values()):
        raise RecordError("is no file of grades by split", file=file, cure="give {split: {CASE_LABEL: grade}}")
    grades = []
    for split, part in values.items():
        for key, grade in part.items():
            case, _, label = str(key).rpartition("_")
            grades.append(
                ReadGrade(
                    case=case, patient=patient_of(case), level=_level("", label, file, 0, key),
                    grade=_grade(str(grade), file, 0, key), split=_split(split, file, 0),
                )
            )  # fmt: skip
    return Reference(tuple(grades))


def _from_long(rows: Sequence[Sequence[str]], heads: Sequence[str], file: Path) -> Reference:
    places = {
        name: next(heads.index(known) for known in names if known in heads)
        for name, names in _NAMES.items()
        if any(known in heads for known in names)
    }
    if "grade" not in places or not {"level", "label"} & set(places) or not {"case", "patient"} & set(places):
        raise RecordError(f"has the columns {', '.join(heads)}", file=file, line=1, cure=_CURE)
    grades, unrated = [], 0
    for line, row in enumerate(rows[1:], 2):

        def of(name: str, row: Sequence[str] = row) -> str:
            place = places.get(name)
            return row[place].strip() if place is not None and place < len(row) else ""

        if of("grade").lower() in _UNRATED:
            unrated += 1
            continue
        case = of("case") or of("patient")
        if not case:
            raise RecordError("names no case", file=file, line=line, cure=_CURE)
        grades.append(
            ReadGrade(
                case=case, patient=of("patient") or patient_of(case),
                level=_level(of("level"), of("label"), file, line, "level"),
                grade=_grade(of("grade"), file, line, "grade"), split=_split(of("split"), file, line),
                shape=_shape(of("shape"), file, line), loss_percent=_number(of("loss"), file, line),
                mimic="" if of("mimic").lower() in ("", "none", "0") else of("mimic"),
            )
        )  # fmt: skip
    return Reference(tuple(grades), unrated)


def _from_wide(rows: Sequence[Sequence[str]], heads: Sequence[str], file: Path) -> Reference:
    names = [match[1].upper() if (match := _WIDE.match(head)) else "" for head in heads]
    first = {name: names.index(name) for name in dict.fromkeys(names) if name}
    second = {name: names.index(name, place + 1) for name, place in first.items() if names.count(name) > 1}
    if len(first) < 18:
        raise RecordError(
            f"has {len(first)} columns of vertebrae", file=file, line=1, cure="keep the sheet's columns T1 to L6"
        )
    at, split = heads.index(_WIDE_ID), next((heads.index(name) for name in ("dataset", "split") if name in heads), None)
    grades, unrated, unread = [], 0, 0
    for line, row in enumerate(rows[1:], 2):
        case = row[at].strip() if at < len(row) else ""
        if not case:
            raise RecordError(
                "names no case", file=file, line=line, field=_WIDE_ID, cure="fill the column in every row"
            )
        part = "" if split is None or split >= len(row) else _split(row[split], file, line)
        for name, place in first.items():
            value = row[place].strip() if place < len(row) else ""
            if value.lower() in _UNRATED:
                unrated += 1
                continue
            form = row[second[name]].strip() if name in second and second[name] < len(row) else ""
            if re.fullmatch(r"\d+(\.0)?", form):
                form, unread = "", unread + 1
            shape = None if form.lower() in _UNRATED else _shape(form, file, line)
            grades.append(
                ReadGrade(
                    case=case, patient=patient_of(case), level=_level(name, "", file, line, name),
                    grade=_grade(value, file, line, name), split=part, shape=shape,
                )
            )  # fmt: skip
    return Reference(tuple(grades), unrated, unread)


def _level(name: str, label: str, file: Path, line: int, field: str) -> Level:
    try:
        return parse_level(name) if name else LABEL_MAPS["verse"].to_level(int(label))
    except (LevelError, ValueError) as error:
        raise RecordError(
            f"'{name or label}' is no vertebra", file=file, line=line or None, field=field,
            cure="give a level such as T12, or its VerSe number",
        ) from error  # fmt: skip


def _grade(value: str, file: Path, line: int, field: str) -> GenantGrade:
    known: dict[str, GenantGrade] = {text: grade for grade in GRADES for text in (str(grade), f"{grade}.0")}
    if value not in known:
        raise RecordError(
            f"'{value}' is no grade", file=file, line=line or None, field=field, cure="give 0, 1, 2 or 3 (x: not rated)"
        )
    return known[value]


def _shape(value: str, file: Path, line: int) -> Shape | None:
    if not value:
        return None
    known: dict[str, Shape] = {name: name for name in get_args(Shape)}
    if value.lower() not in known:
        raise RecordError(
            f"'{value}' is no shape", file=file, line=line, field="shape", cure=f"give {', '.join(known)} or nothing"
        )
    return known[value.lower()]


def _number(value: str, file: Path, line: int) -> float | None:
    if not value:
        return None
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise RecordError(
            f"'{value}' is no number", file=file, line=line, field="loss_percent", cure="give percent, or nothing"
        )
    return found


def _split(value: str, file: Path, line: int) -> str:
    text = value.strip().lower()
    for short, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        if text.startswith(short):
            return name
    if text:
        raise RecordError(
            f"'{value}' is no split", file=file, line=line or None, field="split", cure="use train, validation or test"
        )
    return ""


def _with_neighbours(grades: Iterable[ReadGrade], file: Path) -> tuple[ReadGrade, ...]:
    cases: dict[str, dict[Level, ReadGrade]] = {}
    for one in grades:
        own = cases.setdefault(one.case, {})
        if one.level in own:
            raise RecordError(
                f"{one.case} {one.level} stands there twice", file=file, field="level", cure="keep one row"
            )
        own[one.level] = one
    found = []
    for case in sorted(cases):
        levels = sorted(cases[case])
        for level in levels:
            beside = [other for other in levels if other is not level and _adjacent(level, other, levels)]
            broken = any(cases[case][other].grade >= 1 for other in beside)
            found.append(cases[case][level].model_copy(update={"neighbour_broken": broken}))
    return tuple(found)


def _adjacent(one: Level, other: Level, present: Sequence[Level]) -> bool:
    """Whether two levels touch. T13 is between T12 and L1 only if it is there; a T12 without a row may be unrated."""
    upper, lower = sorted((one, other))
    between = [level for level in LEVELS if upper < level < lower]
    return all(level is Level.T13 and level not in present for level in between)
