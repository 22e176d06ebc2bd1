"""Spines that synthesis learns from: phantoms with their healthy twins, drawn here, or folders in VerSe's layout.

Convention: an index of a :class:`PhantomSpines` is one spine, drawn from (seed, index) alone, broken, with its healthy
twin on a grid of the same size. Only what is healthy is a target: every body of a twin, and in patients the bodies that
were read as grade 0; broken ones stand among the neighbours. Patients' splits are kept apart by the grades' `split`
column; a row that says "test" is never read further.

Trap: seeds are split by agreement (1-399 train, 400-699 validation); two sets with one seed share their spines.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from spinemed.anatomy import LABEL_MAPS, Level, parse_level
from spinemed.config import Config
from spinemed.errors import LevelError, ReadError, RecordError
from spinemed.labelling.dataset import VerseCase, patient_of, read_verse_folder
from spinemed.labelling.masks import LabelMask, read_label_mask
from spinemed.vertebra.straighten import Straightened, straighten_spine
from spinemed.volume import Volume, read_nifti

if TYPE_CHECKING:
    from spinemed.phantom.spine.records import SpinePhantom

__all__ = [
    "CaseGrades",
    "PhantomSpines",
    "SpinePair",
    "case_pair",
    "draw_broken",
    "graded_cases",
    "phantom_pair",
    "read_grades",
]

SpineField = Literal["thoracic", "thoracolumbar", "lumbar"]
_FIELDS: dict[SpineField, float] = {"thoracic": 0.2, "thoracolumbar": 0.55, "lumbar": 0.25}
_TOPIC = 5303  # keeps these draws apart from those of the spines, which share the seed
_CURE = "give columns case, level (or label, VerSe's number), grade (0 to 3), and split where there are several"


class PhantomSpines(Config):
    """A set of broken phantom spines and their twins."""

    count: int = Field(ge=1)
    """How many spines."""
    seed: int = Field(ge=0)
    """With the index of a spine, all that decides it."""
    families: tuple[Literal["a", "b"], ...] = ("a", "b")
    """Generator families, in turn."""
    fields: dict[SpineField, float] = Field(default_factory=lambda: dict(_FIELDS))
    """Shares of the fields of view."""
    adjacent_share: float = Field(default=0.5, ge=0, le=1)
    """Share of fractures with another one beside them."""
    multiple_share: float = Field(default=0.3, ge=0, le=1)
    """Share of spines with further fractures."""
    spacing_mm: float = Field(default=1.0, ge=0.5, le=3)
    """Voxel size."""
    width_mm: float = Field(default=100.0, ge=60)
    """Extent from right to left."""

    @model_validator(mode="after")
    def _some_field(self) -> PhantomSpines:
        if not self.families or any(share < 0 for share in self.fields.values()) or not sum(self.fields.values()) > 0:
            raise ValueError("names no family, or shares of fields that are negative or all 0")
        return self


@dataclass(frozen=True, eq=False)
class SpinePair:
    """One spine as it is, and what of it is known to be healthy.

    Attributes:
        name: Of the case.
        patient: Whom it belongs to.
        now: Straightened as it is.
        healthy: Straightened; the twin, or the spine itself.
        targets: Levels whose body in `healthy` is healthy.
        broken: Levels that are fractured in `now`.
    """

    name: str
    patient: str
    now: Straightened
    healthy: Straightened
    targets: tuple[Level, ...]
    broken: tuple[Level, ...]


def draw_broken(config: PhantomSpines, index: int) -> tuple[SpinePhantom, SpineField]:
    """The spine of an index with its fractures, and its field of view."""
    from spinemed.phantom.pathology.config import healthy_config
    from spinemed.phantom.pathology.draw import draw_pathologies
    from spinemed.phantom.spine.config import SpineConfig
    from spinemed.phantom.spine.draw import draw_spine

    random = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(index, _TOPIC)))
    family = config.families[index % len(config.families)]
    spine = draw_spine(config.seed, index, SpineConfig(family=family, variant_shares={}, transition_share=0.0))
    wanted = healthy_config(
        fracture_share=1.0, fracture_adjacent_share=config.adjacent_share, fracture_multiple_share=config.multiple_share
    )
    names = sorted(config.fields)
    weights = np.array([config.fields[name] for name in names])
    field = names[int(random.choice(len(names), p=weights / weights.sum()))]
    return draw_pathologies(spine, wanted, random), field


def phantom_pair(config: PhantomSpines, index: int, *, image: bool) -> SpinePair:
    """A phantom and its twin, straightened; with CT where `image` is asked for, else masks alone (faster)."""
    from spinemed.phantom.imaging.grid import field_grid
    from spinemed.phantom.pathology import healthy_twin
    from spinemed.phantom.pathology.records import Fracture
    from spinemed.phantom.shape.scene import build_scene

    spine, field = draw_broken(config, index)
    straight = []
    for each in (spine, healthy_twin(spine)):
        scene = build_scene(each)
        grid = field_grid(scene, field, spacing_mm=config.spacing_mm, width_mm=config.width_mm)
        straight.append(_rendered(scene, grid, image))
    broken = {item.level for item in spine.pathologies if isinstance(item, Fracture)}
    now, twin = straight
    name = f"phantom{config.seed}n{index:05d}"
    shared = tuple(level for level in sorted(twin.crops) if level in now.crops)
    return SpinePair(name, name, now, twin, shared, tuple(sorted(broken & set(now.crops))))


def _rendered(scene: object, grid: object, image: bool) -> Straightened:
    from spinemed.phantom.imaging.ct import render_ct_slice
    from spinemed.phantom.imaging.grid import VoxelGrid
    from spinemed.phantom.imaging.tissues import render_tissues
    from spinemed.phantom.shape.scene import Scene

    assert isinstance(scene, Scene)
    assert isinstance(grid, VoxelGrid)
    if not image:
        return straighten_spine(LabelMask(render_tissues(scene, grid).bodies, grid.affine))
    hu, tissues = render_ct_slice(scene, grid)
    return straighten_spine(LabelMask(tissues.bodies, grid.affine), image=Volume(hu, grid.affine, "HU"))


@dataclass(frozen=True)
class CaseGrades:
    """Grades of one case by level, and the split that the file puts it in ("train" where it names none)."""

    case: str
    grades: dict[Level, int]
    split: Literal["train", "validation"]


def read_grades(path: str | os.PathLike[str]) -> dict[str, CaseGrades]:
    """Grades by case, from a CSV with a row per vertebra; rows of a test split and rows without a grade are left out.

    Raises:
        ReadError: no such file.
        RecordError: a column is missing, a value is none, or one case lies in two splits; file and line are named.
    """
    file = Path(path)
    try:
        rows = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError) as error:
        raise ReadError("cannot be read as text", file=file, field="grades", cure="give a CSV of grades") from error
    found: dict[str, CaseGrades] = {}
    tested: dict[str, int] = {}
    for line, row in enumerate(rows, 2):
        split = _split_of(row.get("split") or "train", file, line)
        if split is None:
            tested.setdefault((row.get("case") or "").strip(), line)
            continue
        if (row.get("grade") or "x").strip().lower() in ("x", "", "nan"):
            continue
        level, grade = _graded(row, file, line)
        case = (row.get("case") or "").strip()
        if not case:
            raise RecordError("names no case", file=file, line=line, field="case", cure=_CURE)
        known = found.setdefault(case, CaseGrades(case, {}, split))
        if known.split != split or level in known.grades:
            raise RecordError(f"{case} {level} stands there twice, or in two splits", file=file, line=line, cure=_CURE)
        known.grades[level] = grade
    for case, line in tested.items():
        if case in found:
            raise RecordError(
                f"{case} is in {found[case].split} and in test", file=file, line=line, field="split",
                cure="put all rows of a case into one split",
            )  # fmt: skip
    if not found:
        raise RecordError("holds no grade to train on", file=file, cure=_CURE)
    return found


def _split_of(text: str, file: Path, line: int) -> Literal["train", "validation"] | None:
    name = text.strip().lower()
    if name.startswith("test"):
        return None
    if name.startswith("val"):
        return "validation"
    if name.startswith("train"):
        return "train"
    raise RecordError(
        f"'{text}' is no split", file=file, line=line, field="split", cure="use train, validation or test"
    )


def _graded(row: dict[str, str], file: Path, line: int) -> tuple[Level, int]:
    name, label, grade = ((row.get(key) or "").strip() for key in ("level", "label", "grade"))
    try:
        level = parse_level(name) if name else LABEL_MAPS["verse"].to_level(int(label))
        value = float(grade)
    except (LevelError, ValueError) as error:
        raise RecordError(
            f"'{name or label}' with grade '{grade}' is no graded vertebra", file=file, line=line, cure=_CURE
        ) from error
    if value not in (0, 1, 2, 3):
        raise RecordError(f"grade {value:g}", file=file, line=line, field="grade", cure=_CURE)
    return level, int(value)


def graded_cases(folder: Path, grades: dict[str, CaseGrades]) -> Iterator[tuple[VerseCase, CaseGrades]]:
    """Cases of a folder that have a mask and grades; grades may name the case or, where it has one case, the patient.

    Raises:
        ReadError: the folder cannot be read.
    """
    cases = read_verse_folder(folder)
    many = {case.patient for case in cases if sum(each.patient == case.patient for each in cases) > 1}
    for case in cases:
        told = grades.get(case.name) or (None if case.patient in many else grades.get(case.patient))
        if told is not None and case.mask is not None:
            yield case, told


def case_pair(case: VerseCase, grades: CaseGrades, *, image: bool) -> SpinePair:
    """A patient's spine: its own bodies of grade 0 are the targets.

    Raises:
        ReadError, VolumeError: mask or image cannot be read, or do not fit each other.
    """
    assert case.mask is not None
    mask = read_label_mask(case.mask)
    volume = None
    if image:
        if case.image is None:
            raise ReadError(f"{case.name} has a mask but no image", file=case.mask, cure="put its CT beside it")
        volume = read_nifti(case.image, unit="HU")
    straight = straighten_spine(mask, image=volume)
    targets = tuple(level for level in sorted(straight.crops) if grades.grades.get(level) == 0)
    broken = tuple(level for level in sorted(straight.crops) if grades.grades.get(level, 0) > 0)
    return SpinePair(case.name, case.patient or patient_of(case.name), straight, straight, targets, broken)
