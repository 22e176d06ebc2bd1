"""`SpineConfig`: which spines to draw.

Convention: shares are probabilities of one spine, independent of each other except that a spine has one counting
variant at most. The trap: shares here are chosen so that a set holds enough of the rare; they are no prevalences. Those
of the default are near what VerSe reports (47 L6 and 6 T13 among 374 scans, 161 transitional vertebrae).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from spinemed.config import Config
from spinemed.phantom.spine.records import Family, Sex

__all__ = ["SpineConfig", "Variant"]

Variant = Literal["T13", "eleven_thoracic", "L6", "four_lumbar"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
_VARIANTS: dict[Variant, float] = {"T13": 0.016, "eleven_thoracic": 0.02, "L6": 0.08, "four_lumbar": 0.04}


class SpineConfig(Config):
    """What kind of spines to draw; every field has a default."""

    family: Family = "a"
    """Generator family: other correlations, proportions and scoliosis, the same means."""
    female_share: Share = 0.5
    """Share of women among the spines, where `sex` is not set."""
    sex: Sex | None = None
    """Draw only this sex."""
    age_years: tuple[float, float] = (20.0, 90.0)
    """Ages are uniform in this range."""
    stature_mm: tuple[float, float] = (1400.0, 2050.0)
    """Statures beyond this range are moved to its end."""
    pelvic_incidence_deg: tuple[float, float] = (28.0, 82.0)
    """Incidences beyond this range are moved to its end."""
    variant_shares: dict[Variant, Share] = Field(default_factory=lambda: dict(_VARIANTS))
    """Share of each counting variant; the rest are regular."""
    transition_share: Share = 0.12
    """Share of spines whose last lumbar vertebra is transitional (Castellvi 1-4)."""
    rib_stub_share: Share = 0.05
    """Share of spines whose L1 bears rib remnants, all shorter than 40 mm (VerSe's rule)."""
    scoliosis_share: Share = 0.15
    """Share of spines with a coronal curve."""
    cobb_deg: tuple[float, float] = (10.0, 45.0)
    """Range of the Cobb angle of a curve."""
    fracture_compensation: Share = 0.3
    """Share of a fracture's added kyphosis that the discs beside it take back."""

    @field_validator("age_years", "stature_mm", "pelvic_incidence_deg", "cobb_deg")
    @classmethod
    def _is_range(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        bounds = {
            "age_years": (18, 100),
            "stature_mm": (1300, 2150),
            "pelvic_incidence_deg": (20, 90),
            "cobb_deg": (0, 60),
        }
        least, most = bounds[str(info.field_name)]
        if not least <= value[0] <= value[1] <= most:
            raise ValueError(f"expected a rising range within {least} to {most}")
        return value

    @model_validator(mode="after")
    def _leave_room(self) -> SpineConfig:
        if sum(self.variant_shares.values()) > 1.0:
            raise ValueError("the shares of the variants add up to more than 1")
        return self
