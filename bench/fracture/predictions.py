"""Predicted grades: a folder of `grades.json` as `spinemed vertebra grade` writes them, or a table of any other grader.

Convention: in a folder, every JSON file that lists `vertebrae` is one case, named after the folder it lies in
(`CASE/grades.json`), or after itself (`CASE_grades.json`, `CASE.json`), or, alone at the top, after the mask it came
from. A table is a CSV with `case`, `level` (or `label`), `grade`, `shape`, and optionally `p0` to `p3`; an empty grade
says that the grader refused.

Names are matched without case and endings (`_seg-vert_msk`, `_msk` ...), with leading zeros of VerSe's numbers left
out. A reference case answers to its own name, to `PATIENT_split-CASE`, and, where a patient has one scan only, to the
patient's name.

Trap: VerSe's two releases number scans differently: `verse266` is a scan of `sub-verse409`, `sub-verse266` another
patient. The prefix `sub-` is therefore part of a name.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from bench.fracture.reference import GRADES, ReadGrade, Shape
from spinemed.anatomy import LABEL_MAPS, Level, parse_level
from spinemed.errors import LevelError, ReadError, RecordError, SpineMedError
from spinemed.labelling.dataset import case_key
from spinemed.measure import GenantGrade
from spinemed.records import Record
from spinemed.tables import parse_json
from spinemed.vertebra.grading import GradedVertebra, GradeReport

__all__ = ["PredictedGrade", "Predictions", "match_cases", "read_predictions"]

_ENDINGS = re.compile(r"(_grades|_seg_vert_msk|_seg_vb_msk|_seg_subreg_msk|_mask|_msk|_seg|_ct|\.nii(\.gz)?)+$")
_NUMBER = re.compile(r"(verse)0*(\d)")
_PROBABILITIES = ("p0", "p1", "p2", "p3")
_SUM_TOLERANCE = 0.01


class PredictedGrade(Record):
    """What a grader says of one vertebra."""

    level: Level
    """Which vertebra."""
    grade: GenantGrade | None
    """Grade after Genant, 0 to 3."""
    shape: Shape | None = None
    """Shape of the fracture after Genant."""
    probabilities: tuple[float, float, float, float] | None = None
    """Of grades 0 to 3; None where the grader states none."""
    loss_percent: float | None = None
    """Largest of the three losses."""
    look_again: bool = False
    """The grader asks for a second look."""
    reason: str = ""
    """Why there is no grade."""


@dataclass
class Predictions:
    """All cases of a grader.

    Attributes:
        cases: By the name in the folder or table: level to grade.
        errors: By name: why a case cannot be used.
        files: By name: where it stands.
        trained_on: What the grader says it was set or trained on.
    """

    cases: dict[str, dict[Level, PredictedGrade]] = field(default_factory=dict)
    errors: dict[str, SpineMedError] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    trained_on: set[str] = field(default_factory=set)

    @property
    def names(self) -> list[str]:
        """All cases, usable or not."""
        return sorted({*self.cases, *self.errors})


def read_predictions(path: Path) -> Predictions:
    """Read a folder of `grades.json`, one such file, or a table.

    Raises:
        ReadError: nothing there, or nothing in it.
        RecordError: a table whose columns or rows are wrong. A faulty JSON is an error of its own case only.
    """
    cure = "give a folder of grades.json (spinemed vertebra grade), or a CSV with case, level, grade, shape"
    if path.is_file() and path.suffix.lower() != ".json":
        return _from_table(path)
    if not path.exists():
        raise ReadError("no such file or folder", file=path, field="--prediction", cure=cure)
    if (path / "grades.csv").is_file():
        return _from_table(path / "grades.csv")
    found = Predictions()
    for file in [path] if path.is_file() else sorted(path.rglob("*.json")):
        _take(file, path, found)
    if not found.names:
        raise ReadError("holds no grades", file=path, field="--prediction", cure=cure)
    return found


def _take(file: Path, root: Path, found: Predictions) -> None:
    name = _ENDINGS.sub("", file.stem) if file.name != "grades.json" else ""
    if not name and file.parent != (root if root.is_dir() else root.parent):
        name = file.parent.name
    try:
        values = parse_json(file.read_bytes(), parse_constant=_no_number)
    except (OSError, ValueError) as error:
        if file.name.endswith("grades.json"):
            name = name or file.stem
            found.errors[name] = ReadError(f"is not JSON ({error})", file=file, cure="grade this case again")
            found.files[name] = file
        return
    if not isinstance(values, dict) or "vertebrae" not in values:
        return  # another file of the grader: maps, a run's record
    name = name or _ENDINGS.sub("", Path(str(values.get("source") or "case")).name)
    if name in found.files:
        found.cases.pop(name, None)
        found.errors[name] = RecordError(f"'{name}' is graded twice", file=file, cure="keep one file per case")
        return
    found.files[name] = file
    try:
        report = GradeReport.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        found.errors[name] = RecordError(
            first["msg"], file=file, field=".".join(map(str, first["loc"])), cure="grade this case again"
        )
        return
    found.cases[name] = {each.level: _predicted(each) for each in report.vertebrae}
    found.trained_on.add(report.trained_on)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _predicted(one: GradedVertebra) -> PredictedGrade:
    losses = [third.percent for third in (one.anterior, one.middle, one.posterior) if third is not None]
    return PredictedGrade(
        level=one.level, grade=one.grade, shape=one.shape, probabilities=one.probabilities,
        loss_percent=max(losses) if losses else None, look_again=one.look_again,
        reason="; ".join(one.flags) if one.grade is None else "",
    )  # fmt: skip


def _from_table(file: Path) -> Predictions:
    found = Predictions()
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            heads = [name.strip().lower() for name in reader.fieldnames or ()]
            reader.fieldnames = heads
            if "case" not in heads or "grade" not in heads or not {"level", "label"} & set(heads):
                raise RecordError(
                    f"has the columns {', '.join(heads)}", file=file, line=1,
                    cure="give case, level (or label), grade, shape",
                )  # fmt: skip
            for line, row in enumerate(reader, 2):
                values = {key: (value or "").strip() for key, value in row.items() if isinstance(key, str)}
                one = _row(values, file, line)
                own = found.cases.setdefault(values["case"], {})
                if one.level in own:
                    raise RecordError(
                        f"{values['case']} {one.level} stands there twice", file=file, line=line, cure="keep one row"
                    )
                own[one.level] = one
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError("cannot be read as text", file=file, cure="give a CSV in UTF-8") from error
    if not found.cases:
        raise ReadError("holds no row", file=file, cure="give case, level, grade, shape in every row")
    found.files = dict.fromkeys(found.cases, file)
    return found


def _row(values: Mapping[str, str], file: Path, line: int) -> PredictedGrade:
    def wrong(field: str, cure: str) -> RecordError:
        return RecordError(f"'{values.get(field, '')}' is not possible", file=file, line=line, field=field, cure=cure)

    try:
        text = values.get("level", "")
        level = parse_level(text) if text else LABEL_MAPS["verse"].to_level(int(values.get("label", "")))
    except (LevelError, ValueError) as error:
        raise wrong("level" if values.get("level") else "label", "give a level such as T12") from error
    known: dict[str, GenantGrade | None] = {str(grade): grade for grade in GRADES} | {"": None, "x": None}
    if values["grade"].lower() not in known:
        raise wrong("grade", "give 0, 1, 2 or 3, or nothing")
    shapes: dict[str, Shape | None] = {name: name for name in get_args(Shape)} | {"": None}
    if values.get("shape", "").lower() not in shapes:
        raise wrong("shape", f"give {', '.join(get_args(Shape))} or nothing")
    grade = known[values["grade"].lower()]
    return PredictedGrade(
        level=level, grade=grade, shape=shapes[values.get("shape", "").lower()],
        probabilities=_probabilities(values, file, line),
        reason="" if grade is not None else "the table gives no grade",
    )  # fmt: skip


def _probabilities(values: Mapping[str, str], file: Path, line: int) -> tuple[float, float, float, float] | None:
    texts = [values.get(name, "") for name in _PROBABILITIES]
    if not any(texts):
        return None
    try:
        first, second, third, last = (float(text) for text in texts)
    except ValueError as error:
        raise RecordError("a probability is missing", file=file, line=line, field="p0", cure="give all four") from error
    shares = (first, second, third, last)
    if not min(shares) >= 0 or not abs(sum(shares) - 1) <= _SUM_TOLERANCE:
        raise RecordError(
            f"probabilities {shares} do not sum to 1", file=file, line=line, field="p0", cure="give all four, 0 to 1"
        )
    return shares


def _key(name: str) -> str:
    return _NUMBER.sub(r"\1\2", _ENDINGS.sub("", case_key(name)))


def match_cases(grades: Sequence[ReadGrade], predictions: Predictions) -> tuple[dict[str, str], tuple[str, ...]]:
    """Which prediction belongs to which case.

    Returns:
        Reference case to prediction, for those that have one; and the predictions that belong to no case.

    Raises:
        ReadError: none belongs to any case.
        RecordError: two belong to one case.
    """
    scans: dict[str, set[str]] = {}
    for one in grades:
        scans.setdefault(one.patient, set()).add(one.case)
    known: dict[str, str] = {}
    for patient, cases in scans.items():
        for case in cases:
            known[_key(f"{patient}_split-{case}")] = case
            if len(cases) == 1:
                known.setdefault(_key(patient), case)
    known |= {_key(case): case for cases in scans.values() for case in cases}
    found: dict[str, str] = {}
    rest = []
    for name in predictions.names:
        owner = known.get(_key(name))
        if owner is None:
            rest.append(name)
        elif owner in found:
            raise RecordError(
                f"'{found[owner]}' and '{name}' are both of {owner}", field="--prediction", cure="keep one per case"
            )
        else:
            found[owner] = name
    if not found:
        raise ReadError(
            f"none of {len(rest)} graded cases ({', '.join(rest[:3])}) is one of the reference's "
            f"({', '.join(sorted({one.case for one in grades})[:3])} ...)",
            field="--prediction", cure="name each after its case",
        )  # fmt: skip
    return found, tuple(rest)
