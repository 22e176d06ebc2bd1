"""What can be wrong with a phantom spine, as typed parameters: drawn first, applied by pure functions second.

Convention: losses are shares of the healthy height in percent, lengths millimetres; sides are the patient's.
The trap: a record says what was *applied*. What can be read from an image is another matter: a grade that a modality
cannot show is "not assessable" there (`spinemed.phantom.pathology.grades`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spinemed.anatomy import Disc, Level
from spinemed.records import Record

__all__ = [
    "KINDS",
    "Cage",
    "CanalStenosis",
    "DiscDegeneration",
    "ForaminalStenosis",
    "Fracture",
    "Herniation",
    "Lesion",
    "Mimic",
    "ModicChange",
    "Osteophyte",
    "Pathology",
    "SchmorlNode",
    "Screws",
    "Side",
    "Slip",
]

Side = Literal["left", "right"]
Percent = Annotated[float, Field(ge=0, le=100)]
DOME_SHARE = 1.3
"""Width of an extrusion's dome as a share of its base: above 1, which is what makes it one."""


class Fracture(Record):
    """A compression fracture: loss of mean height over the anterior, middle and posterior third of the body."""

    kind: Literal["fracture"] = "fracture"
    """Names the kind of record."""
    level: Level
    """The fractured vertebra."""
    shape: Literal["wedge", "biconcave", "crush"]
    """Wedge, biconcave or crush, after Genant."""
    anterior_loss_percent: Annotated[float, Field(ge=0, le=70)]
    """Of the healthy height, over the anterior third."""
    middle_loss_percent: Annotated[float, Field(ge=0, le=70)]
    """Of the healthy height, over the middle third."""
    posterior_loss_percent: Annotated[float, Field(ge=0, le=70)]
    """Of the healthy height, over the posterior third."""
    upper_share: Annotated[float, Field(ge=0, le=1)] = 0.8
    """Share of the loss borne by the upper endplate."""
    retropulsion_mm: Annotated[float, Field(ge=0)] = 0.0
    """How far the back wall is pushed into the canal."""


class Slip(Record):
    """Spondylolisthesis of `level` on the vertebra below, as a share of the caudal superior endplate's length."""

    kind: Literal["slip"] = "slip"
    """Names the kind of record."""
    level: Level
    """The vertebra that slips."""
    percent: Annotated[float, Field(ge=0, le=130)]
    """Of the length of the upper endplate below."""
    direction: Literal["anterior", "posterior"] = "anterior"
    """Forwards or backwards."""
    type: Literal["degenerative", "isthmic"] = "degenerative"
    """Degenerative, or isthmic with a pars defect."""


class DiscDegeneration(Record):
    """Pfirrmann grade with the height the disc has lost."""

    kind: Literal["disc_degeneration"] = "disc_degeneration"
    """Names the kind of record."""
    disc: Disc
    """The worn disc."""
    pfirrmann: Literal[1, 2, 3, 4, 5]
    """Pfirrmann's grade."""
    height_loss_percent: Percent = 0.0
    """Of the healthy disc's height."""


class Herniation(Record):
    """Disc displacement by the 2014 nomenclature."""

    kind: Literal["herniation"] = "herniation"
    """Names the kind of record."""
    disc: Disc
    """Which disc."""
    type: Literal["bulge", "protrusion", "extrusion", "sequestration"]
    """Form, by the 2014 nomenclature."""
    zone: Literal["central", "subarticular", "foraminal", "extraforaminal"]
    """Where in the axial plane."""
    side: Side | None = None
    """None for a central one or a bulge."""
    depth_mm: Annotated[float, Field(gt=0)]
    """Beyond the disc's border."""
    base_mm: Annotated[float, Field(gt=0)]
    """Width at that border."""
    migration_mm: float = 0.0
    """Caudal negative, cranial positive; zero unless extruded or sequestrated."""

    @property
    def dome_mm(self) -> float:
        """Greatest width beyond the disc's outline: as wide as the base, or wider where it is extruded."""
        return self.base_mm * (DOME_SHARE if self.type in ("extrusion", "sequestration") else 1.0)

    @model_validator(mode="after")
    def _coherent(self) -> Herniation:
        midline = self.type == "bulge" or self.zone == "central"
        if midline and self.side is not None:
            raise ValueError("a bulge or a central herniation has no side")
        if not midline and self.side is None:
            raise ValueError(f"a {self.zone} herniation has a side")
        if self.type in ("bulge", "protrusion") and self.migration_mm != 0:
            raise ValueError(f"a {self.type} does not migrate; only an extrusion or a sequestration does")
        if self.type == "bulge" and self.zone != "central":
            raise ValueError("a bulge runs around the disc; give the zone central")
        return self


class CanalStenosis(Record):
    """Central stenosis: the share of the sac's area that is lost, and its Schizas grade."""

    kind: Literal["canal_stenosis"] = "canal_stenosis"
    """Names the kind of record."""
    disc: Disc
    """At which disc."""
    schizas: Literal["A", "B", "C", "D"]
    """Grade after Schizas."""
    area_loss_percent: Percent
    """Of the healthy sac's area."""


class ForaminalStenosis(Record):
    """Foraminal stenosis by Lee's grades 0-3."""

    kind: Literal["foraminal_stenosis"] = "foraminal_stenosis"
    """Names the kind of record."""
    disc: Disc
    """At which disc."""
    side: Side
    """The patient's side."""
    lee: Literal[0, 1, 2, 3]
    """Grade after Lee."""
    area_loss_percent: Percent
    """Of the healthy foramen's area."""


class ModicChange(Record):
    """Endplate marrow change beside a disc."""

    kind: Literal["modic"] = "modic"
    """Names the kind of record."""
    disc: Disc
    """Beside which disc."""
    type: Literal[1, 2, 3]
    """Modic's type."""
    height_mm: Annotated[float, Field(gt=0)]
    """From the endplate into the body."""


class SchmorlNode(Record):
    """A pit in an endplate."""

    kind: Literal["schmorl"] = "schmorl"
    """Names the kind of record."""
    level: Level
    """In which vertebra."""
    endplate: Literal["upper", "lower"]
    """In which endplate."""
    depth_mm: Annotated[float, Field(gt=0)]
    """Below the endplate."""
    radius_mm: Annotated[float, Field(gt=0)]
    """Of the pit."""
    x_share: Annotated[float, Field(ge=-0.8, le=0.8)] = 0.0
    """Place across the endplate as a share of its half width."""
    y_share: Annotated[float, Field(ge=-0.8, le=0.8)] = 0.0
    """Place along the endplate as a share of its half depth."""


class Osteophyte(Record):
    """A spur at a body's rim."""

    kind: Literal["osteophyte"] = "osteophyte"
    """Names the kind of record."""
    level: Level
    """On which vertebra."""
    endplate: Literal["upper", "lower"]
    """At which endplate."""
    where: Literal["anterior", "left", "right"]
    """At which part of the rim."""
    length_mm: Annotated[float, Field(gt=0)]
    """Beyond the rim."""


class Lesion(Record):
    """A metastasis-like lesion in the body."""

    kind: Literal["lesion"] = "lesion"
    """Names the kind of record."""
    level: Level
    """In which vertebra."""
    type: Literal["lytic", "blastic"]
    """Loses bone (lytic) or gains it (blastic)."""
    radius_mm: Annotated[float, Field(gt=0)]
    """Of the lesion."""
    x_share: Annotated[float, Field(ge=-0.8, le=0.8)] = 0.0
    """Place across the body as a share of its half width."""
    y_share: Annotated[float, Field(ge=-0.8, le=0.8)] = 0.0
    """Place along the depth as a share of its half."""
    z_share: Annotated[float, Field(ge=-0.8, le=0.8)] = 0.0
    """Place along the height as a share of its half."""


class Screws(Record):
    """Pedicle screws on both sides with rods, over neighbouring levels."""

    kind: Literal["screws"] = "screws"
    """Names the kind of record."""
    levels: tuple[Level, ...] = Field(min_length=1)
    """Vertebrae that bear screws, neighbours of each other."""
    diameter_mm: Annotated[float, Field(gt=0)] = 6.0
    """Of a screw."""
    length_mm: Annotated[float, Field(gt=0)] = 45.0
    """Of a screw."""


class Cage(Record):
    """An interbody cage in a disc space."""

    kind: Literal["cage"] = "cage"
    """Names the kind of record."""
    disc: Disc
    """In which disc space."""
    material: Literal["titanium", "peek"] = "titanium"
    """What it is made of."""


class Mimic(Record):
    """What looks like a fracture and is none."""

    kind: Literal["mimic"] = "mimic"
    """Names the kind of record."""
    level: Level
    """Which vertebra."""
    type: Literal[
        "physiological_wedging",
        "scheuermann",
        "cupids_bow",
        "limbus",
        "short_height",
        "degenerative_remodelling",
        "block_vertebra",
    ]
    """Which look-alike."""
    amount: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Strength on the type's own scale, which `spinemed.phantom.pathology` documents."""


Pathology = Annotated[
    Fracture
    | Slip
    | DiscDegeneration
    | Herniation
    | CanalStenosis
    | ForaminalStenosis
    | ModicChange
    | SchmorlNode
    | Osteophyte
    | Lesion
    | Screws
    | Cage
    | Mimic,
    Field(discriminator="kind"),
]

KINDS: tuple[str, ...] = (
    "fracture",
    "slip",
    "disc_degeneration",
    "herniation",
    "canal_stenosis",
    "foraminal_stenosis",
    "modic",
    "schmorl",
    "osteophyte",
    "lesion",
    "screws",
    "cage",
    "mimic",
)
"""Every kind of pathology, in the order of the records above."""
