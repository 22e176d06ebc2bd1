"""`PhantomSetConfig`: one YAML for a set of three-dimensional phantoms: who, what is wrong, and how it is imaged.

Convention: `spine` and `pathology` are the configs of the two drawers; `ct`, `xray` and `mr` say how each kind of image
is taken. CT and MR are taken lying, radiographs standing, unless `posture` says otherwise for all.

The trap: grids with a spacing above 1.25 mm are rendered finer and averaged, so they take longer, not shorter, than
1.25 mm.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from spinemed.config import Config
from spinemed.errors import VolumeError
from spinemed.geometry import check_codes
from spinemed.phantom.pathology.config import PathologyConfig
from spinemed.phantom.spine.config import SpineConfig

__all__ = ["CtSettings", "MrSettings", "PhantomSetConfig", "SetField", "What", "XraySettings"]

What = Literal["ct", "xray", "mr"]
SetField = Literal["full", "cervical", "thoracic", "thoracolumbar", "lumbar"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Millimetres = Annotated[float, Field(ge=0.2, le=10.0)]


class CtSettings(Config):
    """How CTs are taken."""

    spacing_mm: tuple[Millimetres, Millimetres, Millimetres] = (1.0, 1.0, 1.0)
    """Voxel size along each array axis."""
    codes: str = "PIR"
    """Orientation of the array axes."""
    kernel: Literal["soft", "bone"] = "soft"
    """Reconstruction: smooth with little noise, or sharp with more."""
    streaks: Annotated[float, Field(ge=0)] = 180.0
    """Strength of streaks where there is metal, HU."""
    keep_cut: bool = False
    """Keep vertebrae that the border cuts in the mask; VerSe leaves them out."""
    sacrum: bool = False
    """Keep the sacrum as 26; VerSe has none."""

    @field_validator("codes")
    @classmethod
    def _oriented(cls, value: str) -> str:
        try:
            return check_codes(value)
        except VolumeError as error:
            raise ValueError(f"{value!r} names no three axes; write e.g. PIR or RAS") from error


class XraySettings(Config):
    """How radiographs are taken."""

    projections: tuple[Literal["lateral", "frontal"], ...] = ("lateral", "frontal")
    """Which radiographs are taken of each spine."""
    pixel_mm: Annotated[float, Field(ge=0.3, le=3.0)] = 0.8
    """Pixel size in the plane through the spine."""
    marker_share: Share = 0.7
    """Share of radiographs with a side marker burned in."""
    text_share: Share = 0.2
    """Share with a line of text burned in."""
    text: str = "STANDING"
    """The line that is burned in where `text_share` draws one."""

    @field_validator("projections")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name each projection once, and at least one")
        return value


class MrSettings(Config):
    """How MR images are taken."""

    sequences: tuple[Literal["T1", "T2"], ...] = ("T1", "T2")
    """Which weightings are rendered."""
    sagittal_mm: tuple[Millimetres, Millimetres] = (0.7, 4.0)
    """Pixel size and slice distance of the sagittal stack."""
    slices: Annotated[int, Field(ge=1, le=60)] = 13
    """Slices of the sagittal stack."""
    axial_mm: tuple[Millimetres, Millimetres] = (0.6, 4.0)
    """Pixel size and slice distance of axial slices."""
    axial_discs: Annotated[int, Field(ge=0, le=23)] = 5
    """How many discs get axial slices, counted upwards from the lowest in view; 0 for none."""
    axial_slices: Annotated[int, Field(ge=1, le=9)] = 3
    """Parallel slices per disc."""

    @field_validator("sequences")
    @classmethod
    def _some(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name each sequence once, and at least one")
        return value


class PhantomSetConfig(Config):
    """A set of phantoms."""

    count: int = Field(default=20, ge=1, le=1_000_000)
    """How many spines."""
    seed: int = Field(default=0, ge=0)
    """Phantom k is the same whatever the count."""
    what: tuple[What, ...] = ("ct",)
    """Kinds of images."""
    field: SetField = "lumbar"
    """Field of view."""
    family: Literal["a", "b"] | None = None
    """Generator family of shapes, pathologies and looks; wins over that of `spine` where it is given."""
    posture: Literal["usual", "supine", "standing"] = "usual"
    """Usual: CT and MR supine, radiographs standing."""
    twins: bool = False
    """Render the healthy twin beside each spine with a fracture, on the same grid with the same noise."""
    undecidable_share: Share = 0.0
    """Share of spines whose images leave something undecided: no anchor to count from, an artefact, a level outside."""
    spine: SpineConfig = SpineConfig()
    """How healthy spines are drawn."""
    pathology: PathologyConfig = PathologyConfig()
    """Which changes are drawn into them."""
    ct: CtSettings = CtSettings()
    """How CTs are taken."""
    xray: XraySettings = XraySettings()
    """How radiographs are taken."""
    mr: MrSettings = MrSettings()
    """How MR images are taken."""

    @field_validator("what")
    @classmethod
    def _each_once(cls, value: tuple[What, ...]) -> tuple[What, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name each kind of image once, and at least one of ct, xray, mr")
        return value

    @property
    def drawn_spine(self) -> SpineConfig:
        """The spine's config with the set's family."""
        return self.spine if self.family is None else self.spine.model_copy(update={"family": self.family})
