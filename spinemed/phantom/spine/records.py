"""`SpinePhantom`: every number of one procedural spine in three dimensions. The same record is the same spine.

Convention: lengths in millimetres, angles in degrees. World points are RAS+ with the origin at the centre of the upper
endplate of S1. A vertebra's **own frame** has its origin at the centre of its *healthy* body, +x to the patient's
right, +y anterior, +z cranial; the lower endplate's centre lies at z = -h/2 and the upper's at +h/2, where h is the
mean of healthy anterior and posterior height, and the endplates tilt by half the body's wedge each. Shapes are healthy;
what a pathology changes is computed from `pathologies` (`spinemed.phantom.pathology`), so that the healthy twin is the
same record with nothing in that tuple but normal variants (physiological wedging, short height, Cupid's bow).

The trap: an angle of the whole spine (lordosis, kyphosis) belongs to a posture. Bodies do not change with posture,
discs do: each disc holds its wedge standing and its wedge supine.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field, model_validator

from spinemed.anatomy import CountingConvention, Disc, Level
from spinemed.phantom.pathology.records import Pathology
from spinemed.records import Record

__all__ = [
    "ArchShape",
    "BodyShape",
    "DiscShape",
    "Family",
    "Pelvis",
    "Person",
    "Posture",
    "RibPair",
    "SacrumShape",
    "Scoliosis",
    "Sex",
    "SpinePhantom",
    "Vertebra",
]

Family = Literal["a", "b"]
"""Two independent generators: other shape priors, renderer and pathology parameters. One trains, the other tests."""


class Sex(StrEnum):
    """Sex, as the tables are split by."""

    FEMALE = "female"
    MALE = "male"


class Posture(StrEnum):
    """How the person is imaged: CT and MR lying on the back, radiographs standing."""

    SUPINE = "supine"
    STANDING = "standing"


class Person(Record):
    """Who the spine belongs to."""

    sex: Sex
    """Decides the tables that sizes come from."""
    age_years: float = Field(ge=18, le=100)
    """Decides wear and bone density."""
    stature_mm: float = Field(ge=1300, le=2150)
    """Sizes scale with it."""
    pelvic_incidence_deg: float = Field(ge=20, le=90)
    """Angle between the normal of the S1 endplate and the line to the hip axis: the same in every posture."""


class BodyShape(Record):
    """A vertebral body in its own frame. Heights are rim to rim in the midsagittal plane."""

    upper_width_mm: float = Field(gt=0)
    """Of the upper endplate, right to left."""
    upper_depth_mm: float = Field(gt=0)
    """Of the upper endplate, front to back."""
    lower_width_mm: float = Field(gt=0)
    """Of the lower endplate, right to left."""
    lower_depth_mm: float = Field(gt=0)
    """Of the lower endplate, front to back."""
    anterior_height_mm: float = Field(gt=0)
    """At the front wall."""
    posterior_height_mm: float = Field(gt=0)
    """At the back wall."""
    upper_concavity_mm: float = Field(ge=0)
    """Depth of the upper endplate's deepest point below its rim plane."""
    lower_concavity_mm: float = Field(ge=0)
    """The same of the lower endplate."""
    lateral_wedge_deg: float = 0.0
    """Coronal wedge; positive: the right side is higher."""
    waist: float = Field(default=0.9, gt=0.5, le=1.0)
    """Width and depth at mid-height as a share of the mean of the endplates'."""

    @property
    def height_mm(self) -> float:
        """Mean of anterior and posterior height."""
        return (self.anterior_height_mm + self.posterior_height_mm) / 2


class ArchShape(Record):
    """Everything behind the body, in the vertebra's own frame."""

    canal_width_mm: float = Field(gt=0)
    """Between the pedicles."""
    canal_depth_mm: float = Field(gt=0)
    """In the midline, free along the body: hindmost place of the posterior wall to the laminae' upper edge."""
    pedicle_width_mm: float = Field(gt=0)
    """Across the pedicle."""
    pedicle_height_mm: float = Field(gt=0)
    """Along the spine."""
    lamina_thickness_mm: float = Field(gt=0)
    """Front to back."""
    lamina_height_mm: float = Field(gt=0)
    """Along the spine."""
    spinous_length_mm: float = Field(ge=0)
    """From the posterior upper rim of the body to the tip of the spinous process."""
    spinous_height_mm: float = Field(ge=0)
    """Along the spine."""
    spinous_droop_deg: float
    """Below the plane of the body's mid-height."""
    transverse_span_mm: float = Field(gt=0)
    """Tip to tip."""
    transverse_thickness_mm: float = Field(gt=0)
    """Of the transverse process."""
    transverse_sweep_deg: float
    """Backwards from the coronal plane."""
    facet_size_mm: float = Field(gt=0)
    """Of an articular facet."""


class RibPair(Record):
    """Ribs of one vertebra; a length of zero is no rib on that side."""

    right_length_mm: float = Field(ge=0)
    """Of the patient's right rib."""
    left_length_mm: float = Field(ge=0)
    """Of the patient's left rib."""


class Vertebra(Record):
    """One presacral vertebra, healthy."""

    level: Level
    """Which vertebra."""
    body: BodyShape | None
    """None for C1, which has no body."""
    arch: ArchShape
    """Everything behind the body."""
    dens_height_mm: float = Field(default=0.0, ge=0)
    """Above the body; C2 only."""
    ribs: RibPair | None = None
    """None where it bears none."""
    trabecular_hu: float
    """Of the marrow, before the scanner's look."""
    cortical_hu: float
    """Of the shell, before the scanner's look."""
    transition: Literal["none", "castellvi_1", "castellvi_2", "castellvi_3", "castellvi_4"] = "none"
    """Castellvi's type, for a last lumbar vertebra."""
    transition_side: Literal["none", "left", "right", "both"] = "none"
    """Where it is joined to the sacrum."""


class DiscShape(Record):
    """One disc, healthy; between the endplates of its two vertebrae."""

    disc: Disc
    """Which disc."""
    middle_height_mm: float = Field(gt=0)
    """Between the centres of the two rim planes; the endplates' concavities come on top."""
    wedge_standing_deg: float
    """Anterior opening positive."""
    wedge_supine_deg: float
    """The same lying."""
    lateral_wedge_deg: float = 0.0
    """Positive: the right side is higher."""
    axial_rotation_deg: float = 0.0
    """Turn of the upper vertebra against the lower one about +z, counter-clockwise seen from above."""

    def wedge_deg(self, posture: Posture) -> float:
        """The disc's sagittal wedge in a posture."""
        return self.wedge_standing_deg if posture is Posture.STANDING else self.wedge_supine_deg


class SacrumShape(Record):
    """The sacrum; its upper endplate carries the origin of the world."""

    endplate_width_mm: float = Field(gt=0)
    """Of its upper endplate, right to left."""
    endplate_depth_mm: float = Field(gt=0)
    """Of its upper endplate, front to back."""
    width_mm: float = Field(gt=0)
    """Across the wings."""
    length_mm: float = Field(gt=0)
    """Along the front of the sacrum, S1 to S5."""
    curvature_deg: float
    """Between the upper endplate of S1 and the lower end of S5, beyond a straight bone."""
    trabecular_hu: float
    """Of the marrow, before the scanner's look."""


class Pelvis(Record):
    """Hip axis and iliac wings. The hip axis follows from pelvic incidence and tilt."""

    hip_distance_mm: float = Field(gt=0)
    """From the centre of the S1 endplate to the middle of the hip axis."""
    hip_width_mm: float = Field(gt=0)
    """Between the centres of the femoral heads."""
    iliac_width_mm: float = Field(gt=0)
    """Across both wings."""
    iliac_height_mm: float = Field(gt=0)
    """Of the crest above the S1 endplate."""
    tilt_standing_deg: float
    """Pelvic tilt standing."""
    tilt_supine_deg: float
    """Pelvic tilt lying."""

    def tilt_deg(self, posture: Posture) -> float:
        """Pelvic tilt in a posture; sacral slope is pelvic incidence less this, exactly."""
        return self.tilt_standing_deg if posture is Posture.STANDING else self.tilt_supine_deg


class Scoliosis(Record):
    """A coronal curve with its true Cobb angle, spread over bodies and discs by `lateral_wedge_deg`."""

    upper_end: Level
    """Upper end vertebra."""
    apex: Level
    """The vertebra farthest from the midline."""
    lower_end: Level
    """Lower end vertebra."""
    cobb_deg: float = Field(ge=0, le=90)
    """Cobb's angle."""
    convex: Literal["left", "right"]
    """Side to which the curve bulges."""
    apical_rotation_deg: float
    """Of the apex against the sacrum about +z; negative (clockwise from above) where the curve is convex to the right:
    bodies turn towards the convexity."""


class SpinePhantom(Record):
    """One spine, its person and what is wrong with it."""

    seed: int
    """From which it was drawn."""
    index: int
    """Its place in the series of that seed."""
    family: Family
    """Generator family."""
    person: Person
    """Who the spine belongs to."""
    thoracic: Literal[11, 12, 13]
    """How many thoracic vertebrae it has."""
    lumbar: Literal[4, 5, 6]
    """How many lumbar vertebrae it has."""
    convention: CountingConvention = CountingConvention.FROM_LAST_RIB
    """From where its vertebrae are counted."""
    vertebrae: tuple[Vertebra, ...]
    """Cranial to caudal: C1 … the last lumbar vertebra."""
    discs: tuple[DiscShape, ...]
    """Cranial to caudal: C2/3 … the lumbosacral disc."""
    sacrum: SacrumShape
    """Its sacrum."""
    pelvis: Pelvis
    """Its pelvis."""
    head_gap_mm: float = 6.0
    """Between C1's lateral masses and C2's (there is no disc)."""
    fracture_compensation: float = Field(default=0.3, ge=0, le=1)
    """Share of the kyphosis that a fracture adds which the discs above and below it take back."""
    scoliosis: tuple[Scoliosis, ...] = ()
    """Its coronal curves."""
    pathologies: tuple[Pathology, ...] = ()
    """What is wrong with it."""

    @model_validator(mode="after")
    def _in_order(self) -> SpinePhantom:
        expected = len(self.vertebrae)
        if expected != 7 + self.thoracic + self.lumbar:
            raise ValueError(f"{expected} vertebrae, but 7 + {self.thoracic} + {self.lumbar} are counted")
        if len(self.discs) != expected - 1:
            raise ValueError(f"{len(self.discs)} discs for {expected} vertebrae; expected one fewer")
        return self
