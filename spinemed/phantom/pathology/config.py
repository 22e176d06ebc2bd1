"""`PathologyConfig`: what to draw into a spine, and the priors of where and how much.

Convention: shares are probabilities of one spine, independent of each other; where two drawn things cannot stand
together, the one drawn later goes elsewhere or is left out (the order is `draw.ORDER`). Levels follow weights.

The trap: shares are chosen so that a set holds enough of the rare. They are no prevalences, and nothing about how
common a finding is in people may be read from a set of phantoms.

Sources of the level priors: vertebral fractures peak at T12-L1 and T7-T8 (Genant 1993; EVOS 2002); degenerative slips
are at L4/5, isthmic ones at the lumbosacral disc (Meyerding; Wiltse); disc degeneration rises with age and caudally,
and in the neck is most at C5/6 (Cheung 2009, Wakayama Spine Study 2014). Weights are rounded by hand to those shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from spinemed.anatomy import Level
from spinemed.config import Config
from spinemed.phantom.pathology.mimics import MimicType

__all__ = [
    "FRACTURE_WEIGHTS",
    "HERNIATION_WEIGHTS",
    "PRIORS",
    "PathologyConfig",
    "Priors",
    "disc_wear",
    "healthy_config",
]

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Severity = Literal["subtle", "mild", "moderate", "severe"]

FRACTURE_WEIGHTS: dict[Level, float] = {
    Level.T3: 0.2,
    Level.T4: 0.3,
    Level.T5: 0.5,
    Level.T6: 0.9,
    Level.T7: 1.5,
    Level.T8: 1.5,
    Level.T9: 0.9,
    Level.T10: 0.8,
    Level.T11: 1.4,
    Level.T12: 2.8,
    Level.T13: 2.8,
    Level.L1: 3.0,
    Level.L2: 1.6,
    Level.L3: 1.2,
    Level.L4: 0.8,
    Level.L5: 0.4,
    Level.L6: 0.2,
}
HERNIATION_WEIGHTS: dict[Level, float] = {
    Level.C4: 0.3,
    Level.C5: 1.0,
    Level.C6: 0.8,
    Level.T8: 0.1,
    Level.T11: 0.1,
    Level.L1: 0.2,
    Level.L2: 0.4,
    Level.L3: 1.0,
    Level.L4: 4.0,
    Level.L5: 4.0,
    Level.L6: 3.0,
}
"""By the vertebra above the disc."""
SEVERITY_BANDS: dict[Severity, tuple[float, float]] = {
    "subtle": (8.0, 19.5),
    "mild": (20.0, 24.9),
    "moderate": (25.0, 39.9),
    "severe": (40.0, 68.0),
}
"""Range of the largest loss in percent, by Genant's grades; "subtle" is below grade 1."""


@dataclass(frozen=True)
class Priors:
    """The numbers in which two families differ.

    Attributes:
        shapes: Weights of wedge, biconcave and crush.
        wedge_middle, wedge_back: Middle and posterior loss of a wedge as shares of the anterior one.
        upper_share: Range of the upper endplate's share of a fall.
        retropulsion_share: Of crush or severe fractures.
        wear_slope, wear_noise: Pfirrmann grades per 72 years, and the spread of one disc.
        degenerative_slip: Range in percent.
        isthmic_share: Of all slips.
        spur_mm: Length of a spur at grade 3 and what each grade adds.
        lesion_share: Range of a lesion's radius as a share of the body's height.
    """

    shapes: tuple[float, float, float]
    wedge_middle: tuple[float, float]
    wedge_back: tuple[float, float]
    upper_share: tuple[float, float]
    retropulsion_share: float
    wear_slope: float
    wear_noise: float
    degenerative_slip: tuple[float, float]
    isthmic_share: float
    spur_mm: tuple[float, float]
    lesion_share: tuple[float, float]


PRIORS: dict[str, Priors] = {
    "a": Priors(
        (0.55, 0.25, 0.20),
        (0.45, 0.80),
        (0.0, 0.20),
        (0.70, 1.0),
        0.4,
        2.4,
        0.55,
        (8, 30),
        0.35,
        (2.0, 1.5),
        (0.2, 0.4),
    ),
    "b": Priors(
        (0.40, 0.32, 0.28),
        (0.30, 0.70),
        (0.0, 0.35),
        (0.45, 0.95),
        0.55,
        2.0,
        0.75,
        (5, 42),
        0.45,
        (2.5, 1.0),
        (0.15, 0.48),
    ),
}


_SEVERITY_WEIGHTS: dict[Severity, float] = {"subtle": 0.15, "mild": 0.2, "moderate": 0.4, "severe": 0.25}
_MIMIC_SHARES: dict[MimicType, float] = {
    "physiological_wedging": 0.10,
    "short_height": 0.05,
    "cupids_bow": 0.05,
    "limbus": 0.03,
    "scheuermann": 0.03,
    "degenerative_remodelling": 0.05,
    "block_vertebra": 0.01,
}


class PathologyConfig(Config):
    """What to draw; every field has a default. Set all shares and `degeneration` to 0 for healthy spines."""

    fracture_share: Share = 0.35
    """Share of spines with at least one compression fracture."""
    fracture_adjacent_share: Share = 0.25
    """Of these, share whose second (and sometimes third) fracture is a neighbour of the first."""
    fracture_multiple_share: Share = 0.15
    """Of these, share with a second fracture elsewhere."""
    fracture_weights: dict[Level, Annotated[float, Field(ge=0)]] = Field(default_factory=lambda: dict(FRACTURE_WEIGHTS))
    """Weight of each level; levels left out are never fractured."""
    severity_weights: dict[Severity, Annotated[float, Field(ge=0)]] = Field(
        default_factory=lambda: dict(_SEVERITY_WEIGHTS)
    )
    """Weight of each band of the largest loss."""
    slip_share: Share = 0.15
    """Share of spines with a spondylolisthesis."""
    posterior_slip_share: Share = 0.12
    """Of these, share that slip backwards."""
    degeneration: Annotated[float, Field(ge=0.0, le=2.0)] = 1.0
    """Scale of disc wear with age and of what follows it: 0 none, 1 usual."""
    herniation_share: Share = 0.3
    """Share of spines with a disc herniation."""
    canal_stenosis_share: Share = 0.2
    """Share of spines with a stenosis of the central canal."""
    foraminal_stenosis_share: Share = 0.2
    """Share of spines with a narrowed foramen."""
    modic_share: Share = 0.2
    """Share of spines with Modic changes beside a disc."""
    schmorl_share: Share = 0.15
    """Share of spines with Schmorl's nodes."""
    osteophyte_share: Share = 0.5
    """Share of spines whose worn discs bear spurs."""
    lesion_share: Share = 0.08
    """Share of spines with a lytic or sclerotic lesion of a body."""
    surgery_share: Share = 0.06
    """Share of spines with screws and rods, most of them with cages."""
    mimic_shares: dict[MimicType, Share] = Field(default_factory=lambda: dict(_MIMIC_SHARES))
    """Share of spines with each kind of mimic; kinds left out are never drawn."""

    @model_validator(mode="after")
    def _drawable(self) -> PathologyConfig:
        if self.fracture_share > 0 and not any(self.fracture_weights.values()):
            raise ValueError("fracture_share is above 0 and every fracture_weight is 0")
        if self.fracture_share > 0 and not any(self.severity_weights.values()):
            raise ValueError("fracture_share is above 0 and every severity_weight is 0")
        if strange := [level.value for level in self.fracture_weights if level not in FRACTURE_WEIGHTS]:
            raise ValueError(
                f"no compression fracture is drawn at {', '.join(strange)}, only from T3 to the last lumbar"
            )
        return self


_OF_THESE = frozenset({"fracture_adjacent_share", "fracture_multiple_share", "posterior_slip_share"})
"""Shares of a share: they say how a fracture or slip is drawn, and draw none themselves."""


def healthy_config(**changes: object) -> PathologyConfig:
    """A config that draws nothing, with the given fields set: `healthy_config(fracture_share=1.0)`.

    How a kind is drawn once it is asked for (weights, and shares of a share) keeps its default.
    """
    shares = {name for name in PathologyConfig.model_fields if name.endswith("_share")} - _OF_THESE
    nothing: dict[str, object] = dict.fromkeys((*sorted(shares), "degeneration"), 0.0)
    return PathologyConfig.model_validate({**nothing, "mimic_shares": {}, **changes})


def disc_wear(upper: Level, *, lumbosacral: bool) -> float:
    """Grades that a disc wears more (or less) than the average disc of the same age, by the vertebra above it."""
    if lumbosacral:
        return 0.6
    return _WEAR.get(upper, -0.3 if upper.value[0] == "T" else 0.0)


_WEAR = {
    Level.C4: 0.3,
    Level.C5: 0.6,
    Level.C6: 0.45,
    Level.T6: 0.0,
    Level.T7: 0.0,
    Level.L2: 0.15,
    Level.L3: 0.35,
    Level.L4: 0.7,
    Level.L5: 0.7,
}
