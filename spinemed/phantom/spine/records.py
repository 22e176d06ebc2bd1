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
    age_years: float = Field(ge=18, le=100)
    stature_mm: float = Field(ge=1300, le=2150)
    pelvic_incidence_deg: float = Field(ge=20, le=90)
    """Angle between the normal of the S1 endplate and the line to the hip axis: the same in every posture."""


class BodyShape(Record):
    """A vertebral body in its own frame. Heights are rim to rim in the midsagittal plane."""

    upper_width_mm: float = Field(gt=0)
    upper_depth_mm: float = Field(gt=0)
    lower_width_mm: float = Field(gt=0)
    lower_depth_mm: float = Field(gt=0)
    anterior_height_mm: float = Field(gt=0)
    posterior_height_mm: float = Field(gt=0)
    upper_concavity_mm: float = Field(ge=0)
    """Depth of the upper endplate's deepest point below its rim plane."""
    lower_concavity_mm: float = Field(ge=0)
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
    pedicle_height_mm: float = Field(gt=0)
    lamina_thickness_mm: float = Field(gt=0)
    lamina_height_mm: float = Field(gt=0)
    spinous_length_mm: float = Field(ge=0)
    """From the posterior upper rim of the body to the tip of the spinous process."""
    spinous_height_mm: float = Field(ge=0)
    spinous_droop_deg: float
    """Below the plane of the body's mid-height."""
    transverse_span_mm: float = Field(gt=0)
    """Tip to tip."""
    transverse_thickness_mm: float = Field(gt=0)
    transverse_sweep_deg: float
    """Backwards from the coronal plane."""
    facet_size_mm: float = Field(gt=0)


class RibPair(Record):
    """Ribs of one vertebra; a length of zero is no rib on that side."""

    right_length_mm: float = Field(ge=0)
    left_length_mm: float = Field(ge=0)


class Vertebra(Record):
    """One presacral vertebra, healthy."""

    level: Level
    body: BodyShape | None
    """None for C1, which has no body."""
    arch: ArchShape
    dens_height_mm: float = Field(default=0.0, ge=0)
    """Above the body; C2 only."""
    ribs: RibPair | None = None
    trabecular_hu: float
    cortical_hu: float
    transition: Literal["none", "castellvi_1", "castellvi_2", "castellvi_3", "castellvi_4"] = "none"
    transition_side: Literal["none", "left", "right", "both"] = "none"


class DiscShape(Record):
    """One disc, healthy; between the endplates of its two vertebrae."""

    disc: Disc
    middle_height_mm: float = Field(gt=0)
    """Between the centres of the two rim planes; the endplates' concavities come on top."""
    wedge_standing_deg: float
    """Anterior opening positive."""
    wedge_supine_deg: float
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
    endplate_depth_mm: float = Field(gt=0)
    width_mm: float = Field(gt=0)
    length_mm: float = Field(gt=0)
    """Along the front of the sacrum, S1 to S5."""
    curvature_deg: float
    """Between the upper endplate of S1 and the lower end of S5, beyond a straight bone."""
    trabecular_hu: float


class Pelvis(Record):
    """Hip axis and iliac wings. The hip axis follows from pelvic incidence and tilt."""

    hip_distance_mm: float = Field(gt=0)
    """From the centre of the S1 endplate to the middle of the hip axis."""
    hip_width_mm: float = Field(gt=0)
    """Between the centres of the femoral heads."""
    iliac_width_mm: float = Field(gt=0)
    iliac_height_mm: float = Field(gt=0)
    """Of the crest above the S1 endplate."""
    tilt_standing_deg: float
    tilt_supine_deg: float

    def tilt_deg(self, posture: Posture) -> float:
        """Pelvic tilt in a posture; sacral slope is pelvic incidence less this, exactly."""
        return self.tilt_standing_deg if posture is Posture.STANDING else self.tilt_supine_deg


class Scoliosis(Record):
    """A coronal curve with its true Cobb angle, spread over bodies and discs by `lateral_wedge_deg`."""

    upper_end: Level
    apex: Level
    lower_end: Level
    cobb_deg: float = Field(ge=0, le=90)
    convex: Literal["left", "right"]
    apical_rotation_deg: float
    """Of the apex against the sacrum about +z; negative (clockwise from above) where the curve is convex to the right:
    bodies turn towards the convexity."""


class SpinePhantom(Record):
    """One spine, its person and what is wrong with it."""

    seed: int
    index: int
    family: Family
    person: Person
    thoracic: Literal[11, 12, 13]
    lumbar: Literal[4, 5, 6]
    convention: CountingConvention = CountingConvention.FROM_LAST_RIB
    vertebrae: tuple[Vertebra, ...]
    """Cranial to caudal: C1 … the last lumbar vertebra."""
    discs: tuple[DiscShape, ...]
    """Cranial to caudal: C2/3 … the lumbosacral disc."""
    sacrum: SacrumShape
    pelvis: Pelvis
    head_gap_mm: float = 6.0
    """Between C1's lateral masses and C2's (there is no disc)."""
    fracture_compensation: float = Field(default=0.3, ge=0, le=1)
    """Share of the kyphosis that a fracture adds which the discs above and below it take back."""
    scoliosis: tuple[Scoliosis, ...] = ()
    pathologies: tuple[Pathology, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> SpinePhantom:
        expected = len(self.vertebrae)
        if expected != 7 + self.thoracic + self.lumbar:
            raise ValueError(f"{expected} vertebrae, but 7 + {self.thoracic} + {self.lumbar} are counted")
        if len(self.discs) != expected - 1:
            raise ValueError(f"{len(self.discs)} discs for {expected} vertebrae; expected one fewer")
        return self
