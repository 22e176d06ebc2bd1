"""What looks like a compression fracture and is none: variants, growth disorders and wear, by type and amount.

Convention: `amount` runs from 0 (just recognisable) to 1 (the strongest form drawn). No mimic is a fracture: none is
counted as one in the facts, whatever its heights say; an osteoporotic fracture needs a broken or depressed endplate
(ABQ: Ferrar 2008, PMID 17967136), and short height alone is none.

=======================  ================================================================  =============================
type                     what is drawn, at amount a                                        source
=======================  ================================================================  =============================
physiological_wedging    T8-L1; anterior height less (4 + 8a) %                            PMC4519278
scheuermann              three or more neighbours; wedge of (5.5 + 9.5a)°, wavy endplates  Sørensen 1964; PMC4519278
cupids_bow               L3-L5; two hollows of (1.5 + 2.5a) mm behind in the lower plate   Dietz & Christensen 1976
limbus                   front upper corner cut by (2 + 4a) mm, a loose corner piece       PMC4519278
short_height             every height less (5 + 13a) %, endplates whole                    PMID 17967136
degenerative_remodelling anterior height less 10a %, depth +8a %, flat, spurs              PMC4519278
block_vertebra           fused with the next below: disc height less (60 + 25a) %, waist    PMC4519278 (congenital)
=======================  ================================================================  =============================

The trap: by heights alone these pass for fractures. A Scheuermann body of 15° has lost more anterior height than a mild
fracture has, and only the pattern tells them apart.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from spinemed.anatomy import Disc, Level
from spinemed.phantom.pathology.fields import Grid, bump, inside_outline, node_uv, zero_grid
from spinemed.phantom.pathology.records import Mimic

if TYPE_CHECKING:
    from spinemed.phantom.spine.records import BodyShape, SpinePhantom

__all__ = [
    "NORMAL_VARIANTS",
    "SCHEUERMANN_LEAST_RUN",
    "SCHEUERMANN_LEAST_WEDGE_DEG",
    "MimicType",
    "mimic_disc_factors",
    "mimic_levels",
    "mimic_offsets",
    "mimic_shape",
    "scheuermann_wedge_deg",
    "spur_length_mm",
]

MimicType = Literal[
    "physiological_wedging",
    "scheuermann",
    "cupids_bow",
    "limbus",
    "short_height",
    "degenerative_remodelling",
    "block_vertebra",
]
NORMAL_VARIANTS: frozenset[MimicType] = frozenset({"physiological_wedging", "short_height", "cupids_bow"})
"""Healthy variation: a healthy twin keeps these."""
SCHEUERMANN_LEAST_RUN = 3
"""Sørensen's criterion: this many neighbouring bodies, each wedged by more than the angle below."""
SCHEUERMANN_LEAST_WEDGE_DEG = 5.0


def mimic_levels(kind: MimicType) -> frozenset[Level]:
    """Where a type may be drawn."""
    first, last = {
        "physiological_wedging": (Level.T8, Level.L1),
        "scheuermann": (Level.T4, Level.L2),
        "cupids_bow": (Level.L3, Level.L5),
        "limbus": (Level.T8, Level.L5),
        "short_height": (Level.T3, Level.L5),
        "degenerative_remodelling": (Level.T4, Level.L5),
        "block_vertebra": (Level.C2, Level.L4),
    }[kind]
    return frozenset(level for level in Level if first <= level <= last)


def scheuermann_wedge_deg(amount: float) -> float:
    """Wedge of one Scheuermann body: above 5° at any amount (Sørensen 1964: three neighbours of 5° or more)."""
    return SCHEUERMANN_LEAST_WEDGE_DEG + 0.5 + 9.5 * amount


def spur_length_mm(mimic: Mimic) -> float:
    """Length of the anterior spurs that degenerative remodelling brings, zero for other types."""
    return 2 + 4 * mimic.amount if mimic.type == "degenerative_remodelling" else 0.0


def mimic_shape(mimic: Mimic, spine: SpinePhantom, level: Level, shape: BodyShape) -> BodyShape:
    """The body of `level` with what one mimic changes in its numbers; unchanged where the mimic is elsewhere."""
    a = mimic.amount
    if mimic.type == "block_vertebra":
        return _waisted(mimic, spine, level, shape)
    if mimic.level != level:
        return shape
    change: dict[str, float] = {}
    if mimic.type == "physiological_wedging":
        change["anterior_height_mm"] = shape.anterior_height_mm * (1 - (4 + 8 * a) / 100)
    elif mimic.type == "scheuermann":
        depth = (shape.upper_depth_mm + shape.lower_depth_mm) / 2
        fall = 2 * depth * math.tan(math.radians(scheuermann_wedge_deg(a) / 2))
        change["anterior_height_mm"] = max(shape.posterior_height_mm - fall, 0.3 * shape.posterior_height_mm)
    elif mimic.type == "short_height":
        kept = 1 - (5 + 13 * a) / 100
        change = {
            "anterior_height_mm": shape.anterior_height_mm * kept,
            "posterior_height_mm": shape.posterior_height_mm * kept,
            "upper_concavity_mm": shape.upper_concavity_mm * kept,
            "lower_concavity_mm": shape.lower_concavity_mm * kept,
        }
    elif mimic.type == "degenerative_remodelling":
        change = {
            "anterior_height_mm": shape.anterior_height_mm * (1 - 0.10 * a),
            "upper_depth_mm": shape.upper_depth_mm * (1 + 0.08 * a),
            "lower_depth_mm": shape.lower_depth_mm * (1 + 0.08 * a),
            "upper_concavity_mm": shape.upper_concavity_mm * (1 - 0.5 * a),
            "lower_concavity_mm": shape.lower_concavity_mm * (1 - 0.5 * a),
        }
    return shape.model_copy(update=change) if change else shape


def _waisted(mimic: Mimic, spine: SpinePhantom, level: Level, shape: BodyShape) -> BodyShape:
    """A block's two bodies meet in a wasp waist: the endplates that face the fused disc are smaller."""
    below = _next_below(spine, mimic.level)
    kept = 1 - 0.06 - 0.06 * mimic.amount
    if level == mimic.level:
        update = {"lower_depth_mm": shape.lower_depth_mm * kept, "lower_width_mm": shape.lower_width_mm * kept}
    elif level == below:
        update = {"upper_depth_mm": shape.upper_depth_mm * kept, "upper_width_mm": shape.upper_width_mm * kept}
    else:
        return shape
    return shape.model_copy(update=update)


def mimic_offsets(mimic: Mimic, level: Level, shape: BodyShape) -> tuple[Grid, Grid]:
    """Offsets of the upper and lower endplate, (33, 33) float32 mm each; zero where the mimic changes none."""
    if mimic.level != level:
        return zero_grid(), zero_grid()
    a = mimic.amount
    if mimic.type == "scheuermann":
        wave = _irregular(shape) * np.float32(0.6 + 0.8 * a)
        return -wave, wave[:, ::-1].copy()
    if mimic.type == "cupids_bow":
        depth = np.float32(1.5 + 2.5 * a)
        return zero_grid(), depth * (bump(-0.42, -0.38, 0.40, 0.45) + bump(0.42, -0.38, 0.40, 0.45))
    if mimic.type == "limbus":
        return -np.float32(2 + 4 * a) * bump(0.0, 1.0, 0.75, 0.45), zero_grid()
    return zero_grid(), zero_grid()


def _irregular(shape: BodyShape) -> Grid:
    """Waves of at most 1 over an endplate, non-negative inside its outline; their phase follows from the body's sizes.

    A wave, not noise: the same record is the same endplate, and neighbours of other sizes differ.
    """
    u, v = node_uv()
    phase = shape.upper_width_mm + 2 * shape.posterior_height_mm
    wave = 0.5 + 0.25 * np.sin(5.3 * v + phase) + 0.25 * np.sin(4.1 * u + 3.7 * v + 2 * phase)
    rim = np.clip(1 - np.maximum(np.abs(u), np.abs(v)) ** 4, 0, 1)
    grid: Grid = (wave * rim * inside_outline(u, v)).astype(np.float32)
    return grid


def mimic_disc_factors(mimic: Mimic, spine: SpinePhantom, disc: Disc) -> tuple[float, float]:
    """What one mimic leaves of a disc: share of its height that is kept, and share that is bridged by bone."""
    if mimic.type == "block_vertebra" and disc.upper == mimic.level:
        return 1 - (60 + 25 * mimic.amount) / 100, 0.3 + 0.7 * mimic.amount
    return 1.0, 0.0


def _next_below(spine: SpinePhantom, level: Level) -> Level | None:
    for shape in spine.discs:
        if shape.disc.upper == level:
            return shape.disc.lower
    return None
