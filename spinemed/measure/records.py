"""What a measurement of a spine says: typed, frozen records that go to JSON and back.

Convention: lengths in mm, angles in degrees, areas in mm², volumes in mm³; points are world (RAS+) mm. Every number is
None where it was not measured, and a flag beside it says why. The trap: a number with a flag is still a number; show
the flag first.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from spinemed.anatomy import Disc, Level
from spinemed.errors import SpineMedError
from spinemed.measure.endplates import Endplate, Plane, cobb_deg
from spinemed.measure.grades import MeyerdingGrade, SlipDirection
from spinemed.records import Record

__all__ = [
    "AlignmentAngle",
    "CanalSection",
    "CoronalCurve",
    "DiscMeasurement",
    "EndplateRecord",
    "Flag",
    "FlagCode",
    "Frame",
    "Heights",
    "SlipRecord",
    "SpineMeasurements",
    "VertebraMeasurement",
]

Vector = tuple[float, float, float]
Rim = Literal["upper", "lower"]
FlagCode = Literal[
    "cut",
    "coarse",
    "missing_neighbour",
    "body_not_separable",
    "not_measurable",
    "several_parts",
    "estimated_body",
    "unsettled",
    "posture",
    "not_in_spine",
]
"""cut: the edge of the volume cuts the structure. coarse: voxels too large for the height. missing_neighbour: the
vertebra that the measure needs is absent. body_not_separable: no way to tell body and arch apart. not_measurable: the
shape has no such measure, or the fit failed (the text says how). several_parts: the label has more than one piece.
estimated_body: the body was cut out of a whole-vertebra mask. unsettled: the endplates are not flat enough for a stable
axis. posture: the value depends on posture and the posture is not standing. not_in_spine: a label without a vertebra.
"""


class Flag(Record):
    """Something that limits a value or took its place."""

    code: FlagCode
    """Short name, for programs."""
    text: str
    """What it means, for people."""


class Heights(Record):
    """Anterior, middle and posterior height, mm."""

    anterior_mm: float | None
    """At the front; None where it could not be measured."""
    middle_mm: float | None
    """In the middle; None where it could not be measured."""
    posterior_mm: float | None
    """At the back; None where it could not be measured."""

    @property
    def wedge_ratio(self) -> float | None:
        """Anterior over posterior height (wedge below 1). Source: Genant 1993; McCloskey 1993 (Osteoporos Int 3)."""
        if self.anterior_mm is None or not self.posterior_mm:
            return None
        return self.anterior_mm / self.posterior_mm

    @property
    def biconcavity_ratio(self) -> float | None:
        """Middle over posterior height (biconcave below 1). Source: McCloskey 1993 (Osteoporos Int 3:138)."""
        if self.middle_mm is None or not self.posterior_mm:
            return None
        return self.middle_mm / self.posterior_mm


class Frame(Record):
    """Place and directions of a body in the world."""

    centre_mm: Vector
    """Centre of the body in the world."""
    right: Vector
    """Unit vector to the patient's right side of the body."""
    anterior: Vector
    """Unit vector to its front."""
    up: Vector
    """Unit vector to its upper end."""


class EndplateRecord(Record):
    """An endplate: its plane, rim points, depth (front to back, midsagittal) and width (right to left, widest)."""

    centre_mm: Vector
    """Centre of the plane in the world."""
    normal: Vector
    """Unit vector across the plane, towards the head."""
    anterior_mm: Vector | None
    """Front point of the rim in the world."""
    posterior_mm: Vector | None
    """Back point of the rim in the world."""
    right_mm: Vector | None
    """Right point of the rim in the world."""
    left_mm: Vector | None
    """Left point of the rim in the world."""
    depth_mm: float | None
    """Front to back, midsagittal."""
    width_mm: float | None
    """Right to left, where it is widest."""
    sagittal_deg: float
    """Inclination in the world's sagittal plane, positive where the front edge is higher."""
    coronal_deg: float
    """Inclination in the world's coronal plane, positive where the right side is higher."""

    def endplate(self) -> Endplate:
        """The endplate for the formulas of :mod:`spinemed.measure.endplates`."""
        import numpy as np

        def array(value: Vector | None) -> np.ndarray | None:
            return None if value is None else np.array(value)

        return Endplate(
            np.array(self.centre_mm),
            np.array(self.normal),
            array(self.anterior_mm),
            array(self.posterior_mm),
            array(self.right_mm),
            array(self.left_mm),
        )


class CanalSection(Record):
    """A section of the canal across the spine.

    Attributes:
        ap_mm: Midline distance from front to back.
        transverse_mm: Largest width from right to left.
        area_mm2: Area of the section.
        source: "mask": a canal mask (bony canal or dural sac, see `canal_kind`); "arch": the ring of the vertebra, so
            the bony canal at the pedicles; "points": marked points.
    """

    ap_mm: float
    transverse_mm: float
    area_mm2: float
    source: Literal["mask", "arch", "points"]


class SlipRecord(Record):
    """Slip of the upper vertebra on the lower one, see :func:`spinemed.measure.listhesis`."""

    slip_mm: float
    """How far the upper vertebra has gone, along the lower endplate."""
    percent: float
    """The same as a share of the lower endplate's depth."""
    direction: SlipDirection
    """Forwards, backwards or none."""
    grade: MeyerdingGrade
    """Meyerding's quarter."""


class VertebraMeasurement(Record):
    """One vertebra.

    Attributes:
        level: Which one; S1 stands for the sacrum, of which only the upper endplate is measured.
        heights_at_corners: Heights between the rim planes' front and back edges (six-point morphometry), and in the
            middle.
        heights_at_rims: Heights 10 % of the depth inside the walls and in the middle.
        heights_of_thirds: Mean heights of the thirds of the depth.
        wedge_deg: Angle between the endplates in the vertebra's own sagittal plane, positive where taller in front.
        body_volume_mm3, vertebra_volume_mm3: Voxels times their volume.
        body_source: "mask" where a body mask was given, "estimated" where the arch was cut off here.
        resolution_mm: Distance of the voxel layers along the body: no single surface is known better than half of it.
        canal: Section of the canal at the middle of the body; without a canal mask, of the ring at the pedicles.
    """

    level: Level
    frame: Frame | None = None
    """Place and directions of the body; None where they could not be told."""
    heights_at_corners: Heights | None = None
    heights_at_rims: Heights | None = None
    heights_of_thirds: Heights | None = None
    wedge_deg: float | None = None
    upper: EndplateRecord | None = None
    """Upper endplate."""
    lower: EndplateRecord | None = None
    """Lower endplate."""
    body_volume_mm3: float | None = None
    vertebra_volume_mm3: float | None = None
    body_source: Literal["mask", "estimated"] | None = None
    resolution_mm: float | None = None
    canal: CanalSection | None = None
    flags: tuple[Flag, ...] = ()
    """What limits its values."""


class DiscMeasurement(Record):
    """One disc space, between the endplates that face each other.

    Attributes:
        disc: Which one.
        heights_at_rims, heights_of_thirds: As for vertebrae, over the depth that both endplates share.
        mean_mm: Mean height over the area that both endplates share.
        wedge_deg: Angle between the endplates, positive where the disc is taller in front.
        slip: Slip of the upper vertebra on the lower one.
        mask_height_mm, mask_volume_mm3: Mean height and volume of the disc mask, where one was given.
        canal: Section of the canal at the middle of the disc.
    """

    disc: Disc
    heights_at_rims: Heights | None = None
    heights_of_thirds: Heights | None = None
    mean_mm: float | None = None
    wedge_deg: float | None = None
    slip: SlipRecord | None = None
    mask_height_mm: float | None = None
    mask_volume_mm3: float | None = None
    canal: CanalSection | None = None
    flags: tuple[Flag, ...] = ()
    """What limits its values."""


class AlignmentAngle(Record):
    """A named sagittal angle between two endplates: lordosis or kyphosis, positive as its name says."""

    name: str
    """Such as `lordosis_l1_s1`."""
    kind: Literal["lordosis", "kyphosis"]
    """Which way is positive."""
    upper: Level
    """Vertebra of the upper endplate."""
    lower: Level
    """Vertebra of the lower endplate."""
    angle_deg: float | None
    """None where a flag says why."""
    flags: tuple[Flag, ...] = ()
    """What limits it."""


class CoronalCurve(Record):
    """A coronal curve between its most tilted endplates, by Cobb."""

    upper: Level
    """Upper end vertebra."""
    lower: Level
    """Lower end vertebra."""
    cobb_deg: float
    """Cobb's angle."""
    convex: Literal["right", "left"]
    """Side to which the curve bulges."""


class SpineMeasurements(Record):
    """Everything measured on one set of masks. Research use only; see the package's README for errors.

    Attributes:
        vertebrae, discs: Head to foot.
        angles: Named sagittal angles; each has a value or a flag.
        curves: Coronal curves of 10° and more, head to foot.
        sva_mm: Sagittal vertical axis, see :func:`spinemed.measure.sva_mm`.
        posture: As given by the caller; alignment in another posture than standing is flagged.
        canal_kind: What the canal mask holds.
        spacing_mm: Voxel sizes of the masks.
        source, sha256: The file of the vertebra mask and its hash.
    """

    vertebrae: tuple[VertebraMeasurement, ...]
    discs: tuple[DiscMeasurement, ...]
    angles: tuple[AlignmentAngle, ...]
    curves: tuple[CoronalCurve, ...]
    sva_mm: float | None = None
    posture: Literal["standing", "supine", "unknown"] = "unknown"
    canal_kind: Literal["bony canal", "dural sac"] | None = None
    spacing_mm: Vector
    source: str = ""
    sha256: str = ""
    flags: tuple[Flag, ...] = Field(default=())
    """What limits all values."""
    use: Literal["research use only"] = "research use only"
    """Always: research use only."""

    def vertebra(self, level: Level) -> VertebraMeasurement | None:
        """The record of a level, None if the masks do not hold it."""
        return next((each for each in self.vertebrae if each.level is level), None)

    def disc(self, disc: Disc) -> DiscMeasurement | None:
        """The record of a disc, None if the masks do not hold both its neighbours."""
        return next((each for each in self.discs if each.disc == disc), None)

    def cobb_deg(
        self, upper: Level, lower: Level, plane: Plane = "coronal", *, ends: tuple[Rim, Rim] = ("upper", "lower")
    ) -> float:
        """Signed angle between any two endplates, see :func:`spinemed.measure.cobb_deg`.

        Args:
            upper, lower: The two vertebrae.
            plane: "coronal" or "sagittal".
            ends: Which endplate of each; Cobb takes the upper one of the upper and the lower one of the lower vertebra.

        Raises:
            SpineMedError: one of these endplates was not measured; its flags are named.
        """
        found = []
        for level, end in zip((upper, lower), ends, strict=True):
            vertebra = self.vertebra(level)
            record = None if vertebra is None else (vertebra.upper if end == "upper" else vertebra.lower)
            if record is None:
                why = "; ".join(flag.text for flag in vertebra.flags) if vertebra else "it is not in the masks"
                raise SpineMedError(
                    f"the {end} endplate of {level} was not measured: {why or 'it has none'}",
                    field="level",
                    cure="choose endplates that were measured",
                )
            found.append(record.endplate())
        return cobb_deg(found[0], found[1], plane)


def rounded(value: float) -> float:
    """A value as stored: 4 decimals, so that a record does not carry the noise of the last bits."""
    return round(float(value), 4) + 0.0


def dump(model: BaseModel) -> str:
    """Canonical JSON of a record."""
    return model.model_dump_json(indent=1)
