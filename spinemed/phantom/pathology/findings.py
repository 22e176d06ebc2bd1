"""The records of a description: a field of view, findings with their status, and what one image shows of one phantom.

Convention: levels are the spine's own names, sides the patient's, numbers carry units. Only an assessable finding has a
grade or a measurement; the model refuses any other, so that an unseen truth cannot become a label.

The trap: a finding that is not assessable is still listed, with kind and place. It is no positive finding.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from spinemed.anatomy import CountingConvention, Disc, Level
from spinemed.errors import SpineMedError
from spinemed.phantom.pathology.grades import FindingKind, Modality, Plane, RsnaGrade, Sequence, Zone
from spinemed.phantom.pathology.records import Side
from spinemed.records import Record

__all__ = ["FieldOfView", "Measurement", "PostureName", "SpineDescription", "SpineFinding", "Status"]

Status = Literal["assessable", "not_assessable", "outside"]
PostureName = Literal["supine", "standing"]


class FieldOfView(Record):
    """What one image holds."""

    levels: tuple[Level, ...] = Field(min_length=1)
    """Vertebrae that are whole in the image, head to foot without gaps; S1 stands for the sacrum."""
    ribs_visible: bool = True
    """Whether the image shows which vertebrae bear ribs (a narrow sagittal MR does not)."""
    hips_visible: bool = True
    """Whether the femoral heads are in the image."""
    ends_visible: bool = True
    """Whether S1 and the upper neck, where they are among the levels, can be told as such (a thin axial stack through
    L5/S1 shows no wings of the sacrum, and looks like any other)."""
    artefact_levels: tuple[Level, ...] = ()
    """Levels at which an artefact (motion, metal, foreign body) hides everything."""


class Measurement(Record):
    """One number with its unit."""

    name: str
    """What was measured."""
    value: float
    """In `unit`."""
    unit: Literal["mm", "deg", "percent"]
    """Of the value."""


class SpineFinding(Record):
    """One finding in one image."""

    kind: FindingKind
    """What sort of finding it is."""
    levels: tuple[Level, ...]
    """Vertebrae it concerns, head to foot; for a disc the two beside it."""
    disc: Disc | None = None
    """Of what concerns a disc."""
    side: Side | None = None
    """The patient's, of what lies on one side."""
    category: str
    """What it is, e.g. `wedge`, `protrusion`, `anterolisthesis`."""
    subtype: str = ""
    """A closer name, where the kind has one."""
    zone: Zone | None = None
    """Where in the axial plane, for discs."""
    grade: str | None = None
    """In the words of `scheme`; None where the scheme does not apply or the finding is not assessable."""
    scheme: str = ""
    """Whose grades these are; empty where there is none."""
    rsna: RsnaGrade | None = None
    """The grade mapped to the RSNA 2024 lumbar set, for stenoses."""
    measurements: tuple[Measurement, ...] = ()
    """Sizes that belong to it."""
    status: Status
    """Whether the image shows it, cannot show it, or does not reach it."""
    reason: str = ""
    """Why it is not assessable or outside."""
    numbered: bool = True
    """Whether the field of view decides the names of its levels."""
    source: int | None = None
    """Position in `SpinePhantom.pathologies`, where it comes from there."""

    @model_validator(mode="after")
    def _unseen_says_nothing(self) -> SpineFinding:
        if self.status != "assessable" and (self.grade is not None or self.measurements or self.rsna is not None):
            raise ValueError(f"a finding that is {self.status} has no grade and no measurement")
        if (self.status == "assessable") == bool(self.reason):
            raise ValueError("a reason is given where a finding is not assessable or outside, and only there")
        return self

    @property
    def level(self) -> Level | None:
        """The one vertebra it concerns; None for discs and stretches."""
        return self.levels[0] if len(self.levels) == 1 and self.disc is None else None

    def amount(self, name: str) -> float:
        """The value of one measurement.

        Raises:
            SpineMedError: it has none of that name.
        """
        for item in self.measurements:
            if item.name == name:
                return item.value
        names = ", ".join(item.name for item in self.measurements) or "nothing"
        raise SpineMedError(f"no {name} was measured, only {names}", field="name", cure="use one of these")


class SpineDescription(Record):
    """Everything readable from one image of one phantom."""

    seed: int
    """From which the spine was drawn."""
    index: int
    """Its place in the series of that seed."""
    family: Literal["a", "b"]
    """Generator family."""
    origin: Literal["phantom"] = "phantom"
    """Always computed."""
    modality: Modality
    """How the image was made."""
    sequences: tuple[Sequence, ...] = ()
    """Weightings, for MR."""
    plane: Plane
    """Plane of the slices, or projection."""
    slice_thickness_mm: float | None = None
    """None where there are no slices."""
    posture: PostureName
    """Lying or standing."""
    field: FieldOfView
    """Which part of the spine is in view."""
    thoracic: int
    """How many thoracic vertebrae the spine has."""
    lumbar: int
    """How many lumbar vertebrae the spine has."""
    numbering_determinable: bool
    """Whether the field of view decides the names."""
    counted_from: CountingConvention | None
    """The anchor in view that the names are counted from; None where there is none."""
    undecided_levels: tuple[Level, ...] = ()
    """Levels whose names it does not decide."""
    findings: tuple[SpineFinding, ...]
    """Everything that is true of the image."""

    @property
    def visible(self) -> tuple[SpineFinding, ...]:
        """The findings that the image shows."""
        return tuple(finding for finding in self.findings if finding.status == "assessable")

    def of(self, kind: FindingKind) -> tuple[SpineFinding, ...]:
        """Findings of one kind, whatever their status."""
        return tuple(finding for finding in self.findings if finding.kind == kind)
