"""What a phantom is made of: the config, the draw (every number drawn) and the truth that rendering returns.

Convention: a draw is the record. It holds all that was random, in mm and degrees, so that one JSON line rebuilds the
image byte for byte. Pixel coordinates are (x, y) with the centre of the first pixel at (0, 0). The trap:
`height_loss` is measured against the vertebra's own height before the fracture, which a phantom knows and a patient's
image never shows; it is no substitute for a grade read against the neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from spinemed.anatomy import Level
from spinemed.config import Config
from spinemed.measure.grades import GenantGrade, genant_grade
from spinemed.phantom.sagittal.sizes import SIZES

__all__ = [
    "Family",
    "FractureDraw",
    "FractureKind",
    "Grade",
    "LookDraw",
    "PhantomConfig",
    "PhantomDraw",
    "PhantomImage",
    "SacrumDraw",
    "SurroundDraw",
    "Variant",
    "VertebraDraw",
    "VertebraTruth",
    "View",
]

View = Literal["sagittal", "lateral"]
Family = Literal["a", "b"]
Variant = Literal["normal", "L6", "four_lumbar", "T13", "no_T12"]
FractureKind = Literal["wedge", "crush", "biconcave"]
Grade = GenantGrade
Share = Annotated[float, Field(ge=0.0, le=1.0)]

FOCUS_LEVELS = tuple(Level(x) for x in ("T9", "T10", "T11", "T12", "L1", "L2", "L3", "L4", "L5"))


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PhantomConfig(Config):
    """What kind of phantoms to draw. Every field has a default; unknown fields are refused.

    Attributes:
        family: Generator family: "a" for training, "b" with other contrasts and shape priors for shift tests.
        size_px: Image height and width.
        field_mm: Range of the field's height in mm; spacing is that height divided by the pixel height.
        lateral_share: Share of phantoms seen as a lateral radiograph; the rest are midsagittal slices.
        focus_levels: Levels of which one is drawn uniformly per phantom and made visible.
        sacrum_cropped_share: Share of fields that end above the sacrum, so that the numbering is not determinable.
        fracture_share: Share of phantoms with at least one fractured vertebra.
        fracture_levels: Levels that may be fractured, drawn uniformly among those in the field.
        height_loss: Range of the drawn height loss.
        variant_shares: Share of each numbering variant; the rest are normal spines (12 thoracic, 5 lumbar).
        degeneration: Scale of disc wear and spurs: 0 none, 1 usual.
        noise: Scale of noise and blur: 0 none, 1 usual.
        mirrored_share: Share of images with anterior on the right instead of the left.
    """

    family: Family = "a"
    size_px: tuple[Annotated[int, Field(ge=64, le=1024)], Annotated[int, Field(ge=64, le=1024)]] = (128, 128)
    field_mm: tuple[float, float] = (365.0, 440.0)
    lateral_share: Share = 0.3
    focus_levels: tuple[Level, ...] = FOCUS_LEVELS
    sacrum_cropped_share: Share = 0.08
    fracture_share: Share = 0.3
    fracture_levels: tuple[Level, ...] = FOCUS_LEVELS
    height_loss: tuple[float, float] = (0.20, 0.60)
    variant_shares: dict[Variant, Share] = Field(default_factory=dict)
    degeneration: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    noise: Annotated[float, Field(ge=0.0, le=3.0)] = 1.0
    mirrored_share: Share = 0.0

    @field_validator("field_mm", "height_loss")
    @classmethod
    def _is_range(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        least, most, unit = (200.0, 700.0, " mm") if info.field_name == "field_mm" else (0.05, 0.7, "")
        if not least <= value[0] <= value[1] <= most:
            raise ValueError(f"expected a rising range within {least:g} to {most:g}{unit}")
        return value

    @field_validator("focus_levels", "fracture_levels")
    @classmethod
    def _are_drawable(cls, value: tuple[Level, ...]) -> tuple[Level, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("expected at least one level and none twice")
        if strange := [x.value for x in value if x not in SIZES]:
            raise ValueError(f"a phantom has no body for {', '.join(strange)}, only for C3 to L5")
        return value

    @field_validator("variant_shares")
    @classmethod
    def _leave_room(cls, value: dict[Variant, float]) -> dict[Variant, float]:
        if sum(value.values()) > 1.0:
            raise ValueError("the shares add up to more than 1")
        return value


class VertebraDraw(_Frozen):
    """One vertebra as healthy, and the disc below it. Heights and lengths in mm, angles in degrees.

    Attributes:
        level: Which vertebra.
        anterior_mm, middle_mm, posterior_mm: Body heights at the front wall, the centre and the back wall.
        depth_mm: Body depth, front to back.
        tilt_deg: Inclination of the mid-plane; positive when its front edge is lower.
        canal_mm: Depth of the spinal canal behind the body.
        waist_mm: How far front and back walls curve inwards.
        spur_mm: Length of bony spurs at the front corners.
        disc_mm: Height of the disc below, rim to rim, at mid-depth.
        disc_signal: 1 for a well hydrated disc, 0 for a worn one.
        spinous_length_mm, spinous_height_mm, spinous_droop_deg: The spinous process.
    """

    level: Level
    anterior_mm: float
    middle_mm: float
    posterior_mm: float
    depth_mm: float
    tilt_deg: float
    canal_mm: float
    waist_mm: float
    spur_mm: float
    disc_mm: float
    disc_signal: float
    spinous_length_mm: float
    spinous_height_mm: float
    spinous_droop_deg: float


class SacrumDraw(_Frozen):
    """Sacrum and coccyx as a chain: lengths of S1..S5 and coccyx, depths at their borders, tilt of each part."""

    lengths_mm: tuple[float, ...]
    """Of S1 to S5 and the coccyx."""
    depths_mm: tuple[float, ...]
    """At the borders of the parts."""
    tilts_deg: tuple[float, ...]
    """Of each part."""


class FractureDraw(_Frozen):
    """One fracture, in place: which shape, how much of the healthy height is lost, how much of it from above."""

    level: Level
    """The fractured vertebra."""
    kind: FractureKind
    """Its shape."""
    height_loss: Annotated[float, Field(gt=0.0, lt=0.8)]
    """Share of the healthy height that is lost."""
    superior_share: Share
    """Share of the loss that is taken from above."""

    @property
    def genant(self) -> Grade:
        """Genant grade of the drawn height loss."""
        return genant_grade(100 * self.height_loss)


class SurroundDraw(_Frozen):
    """What lies around the column, in mm: skin, vessel, organs, end of the cord, ribs, iliac wing.

    Attributes:
        front_mm: Distance from the column to the front skin.
        back_mm: Distance from the spinous tips to the back skin.
        fat_mm: Thickness of the fat under the skin, front and back.
        vessel_mm, vessel_gap_mm: Width of the great vessel and its distance from the bodies; width 0 for none.
        conus: Where the cord ends, as a place in the list of levels counted from the cranial end.
        vessel_end: Where the great vessel divides, counted like `conus`.
        dome_mm: y of the diaphragm's dome.
        organs: Ellipses: place between column (0) and fat (1), y, half-axis x, half-axis y, tone offset.
        rib_shift_mm: Offset between left and right ribs in the projection.
        iliac: Iliac wing in the projection: top y, slope.
    """

    front_mm: float
    back_mm: float
    fat_mm: tuple[float, float]
    vessel_mm: float
    vessel_gap_mm: float
    vessel_end: float
    conus: float
    dome_mm: float
    organs: tuple[tuple[float, float, float, float, float], ...]
    rib_shift_mm: float
    iliac: tuple[float, float]


class LookDraw(_Frozen):
    """How the scene turns into grey values.

    Attributes:
        modality: "mr_t1", "mr_t2", "mr_stir", "ct", "ct_bone" or "xray".
        tones: Grey value 0 to 255 of each tissue (sagittal) or gain of each layer (lateral).
        texture: Relative amplitude of tissue texture.
        noise: Standard deviation of the noise, grey values.
        blur_px: Gaussian blur before noise, in output pixels.
        bias: Slow intensity field: linear in x, linear in y, quadratic in x, quadratic in y (relative).
        gamma: Exponent on the grey value.
        noise_seed: Seed of texture and noise.
    """

    modality: str
    tones: dict[str, float]
    texture: float
    noise: float
    blur_px: float
    bias: tuple[float, float, float, float]
    gamma: float
    noise_seed: int


class PhantomDraw(_Frozen):
    """Everything drawn for one phantom: the record from which image and truth are rebuilt.

    Column coordinates: mm, x to the back of the patient, y down, origin at the centre of the upper sacral endplate.

    Attributes:
        seed, index: From which the draw came.
        family, view, variant: Generator family, projection, numbering variant.
        size_px: Image height and width.
        spacing_mm: Size of a (square) pixel.
        origin_mm: Column coordinates of the first pixel's centre.
        mirrored: Whether the front of the patient is on the right.
        focus: A level inside the field, uniform over the config's focus levels: the one to ask about.
        levels: Vertebrae that this spine has, C3 to S1, cranial first.
        vertebrae: The vertebrae above the sacrum, cranial first.
        lordosis_deg, kyphosis_deg, sacral_slope_deg, lean_deg: The curve that the tilts were drawn from.
        sacrum_cropped: Whether the field was drawn to end above the sacrum.
    """

    seed: int
    index: int
    family: Family
    view: View
    variant: Variant
    size_px: tuple[int, int]
    spacing_mm: float
    origin_mm: tuple[float, float]
    mirrored: bool
    focus: Level
    levels: tuple[Level, ...]
    lordosis_deg: float
    kyphosis_deg: float
    sacral_slope_deg: float
    lean_deg: float
    sacrum_cropped: bool
    vertebrae: tuple[VertebraDraw, ...]
    sacrum: SacrumDraw
    """The sacrum and the coccyx."""
    fractures: tuple[FractureDraw, ...]
    """Fractures, cranial first."""
    surround: SurroundDraw
    """What lies around the column."""
    look: LookDraw
    """How the scene turns into grey values."""

    @property
    def phantom_id(self) -> str:
        """Name of the phantom spine, the cluster of every item asked about it."""
        return f"phantom-{self.family}-{self.seed}-{self.index:06d}"


@dataclass(frozen=True)
class VertebraTruth:
    """What is true of one vertebra in the image.

    Attributes:
        level: The vertebra; S1 stands for the first sacral body.
        centre_px: Centre of the body, (x, y).
        corners_px: The front upper, back upper, back lower and front lower corner, (x, y) each.
        heights_mm: Body height at the front wall, the centre and the back wall, as imaged.
        healthy_heights_mm: The same before any fracture.
        height_loss: Largest relative loss of the three against the healthy heights; 0 when unfractured.
        fracture: Shape of the fracture, or None.
        genant: Genant grade 0 to 3.
        fully_visible: Whether the whole body lies inside the image.
    """

    level: Level
    centre_px: tuple[float, float]
    corners_px: tuple[tuple[float, float], ...]
    heights_mm: tuple[float, float, float]
    healthy_heights_mm: tuple[float, float, float]
    height_loss: float
    fracture: FractureKind | None
    genant: Grade
    fully_visible: bool


@dataclass(frozen=True)
class PhantomImage:
    """A rendered phantom with its exact truth.

    Attributes:
        image: Grey values, uint8 (H, W).
        levels: VerSe labels, uint8 (H, W): 1-25 and 28 bodies, 26 sacrum, 0 elsewhere.
        discs: uint8 (H, W), label of the vertebra above each disc, or None when not asked for.
        vertebrae: Every vertebra of which any part is in the image, cranial first.
        spacing_mm: Size of a pixel.
        anchors: What in the image settles the numbering ("sacrum"); empty when nothing does.
    """

    image: np.ndarray
    levels: np.ndarray
    discs: np.ndarray | None
    vertebrae: tuple[VertebraTruth, ...]
    spacing_mm: float
    anchors: tuple[str, ...]

    @property
    def numbering_determinable(self) -> bool:
        """Whether the image itself decides which vertebra is which."""
        return bool(self.anchors)

    def vertebra(self, level: Level) -> VertebraTruth | None:
        """The truth of `level`, or None when no part of it is in the image."""
        return next((x for x in self.vertebrae if x.level == level), None)
