"""What pathology does to a spine: the bodies, discs, displacements and narrowings that are drawn, from the record.

Convention: everything here is a pure function of `SpinePhantom`; nothing is drawn at random. Lengths are mm, shares of
something 0 to 1, losses percent. Coordinates are a vertebra's own frame (see `spinemed.phantom.spine.records`), whose
origin stays at the centre of the *healthy* body whatever happens to its endplates. The own frame of S1 is the world's:
origin at the centre of the upper endplate of S1, +z along its normal.

The trap: an effective body's `shape` already holds what reshapes the whole body (a short or wedged variant), but not
the offsets of a fracture. Whoever stacks bodies uses `upper_plane` and `lower_plane`, which hold both; whoever draws
the surface starts from `shape` and adds the two offset grids. Offsets on top of a collapsed height would count twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spinemed.anatomy import Disc, Level
from spinemed.errors import SpineMedError
from spinemed.phantom.pathology.fields import Grid, bowl, fracture_offsets, zero_grid
from spinemed.phantom.pathology.mimics import NORMAL_VARIANTS, mimic_disc_factors, mimic_offsets, mimic_shape
from spinemed.phantom.pathology.records import (
    Cage,
    CanalStenosis,
    DiscDegeneration,
    ForaminalStenosis,
    Fracture,
    Herniation,
    Mimic,
    SchmorlNode,
    Side,
    Slip,
)

if TYPE_CHECKING:
    from spinemed.phantom.spine.records import BodyShape, Posture, SpinePhantom

__all__ = [
    "EffectiveBody",
    "EffectiveDisc",
    "EndplatePlane",
    "canal_narrowing",
    "caudal_endplate_depth_mm",
    "check_levels",
    "displacements",
    "effective_bodies",
    "effective_discs",
    "foramen_narrowing",
    "healthy_twin",
    "without",
]

NUCLEUS_SIGNAL = {1: 1.0, 2: 0.85, 3: 0.55, 4: 0.28, 5: 0.12}
"""T2 signal of the nucleus by Pfirrmann grade, as a share of a grade I nucleus (bright as CSF)."""
LEAST_DISC_MM = 0.6
"""No disc is thinner than this anywhere between its rims: endplates never touch."""


@dataclass(frozen=True)
class EndplatePlane:
    """The rim plane of an endplate in its vertebra's own frame: z = centre + tan(tilt)·y + tan(lateral)·x."""

    centre_mm: float
    """z where the plane crosses the own frame's z axis."""
    tilt_deg: float
    """Positive: the front is higher."""
    lateral_deg: float
    """Positive: the right side is higher."""


@dataclass(frozen=True, eq=False)
class EffectiveBody:
    """One vertebral body as it is drawn.

    Attributes:
        level: Which vertebra.
        shape: The body before offsets. Its lower endplate lies at z = -shape.height_mm / 2 and its upper at +, tilted
            by half its wedge each. Not collapsed by a fracture: see the module's trap.
        upper_offset_mm, lower_offset_mm: (33, 33) float32, axis 0 is v from posterior to anterior, axis 1 is u along +x
            (left to right); added to z of that endplate. Zero for a healthy body.
        retropulsion_mm: How far the posterior wall bulges into the canal at its highest point
            (`fields.retropulsion_profile`).
        retropulsion_upper: Whether that point lies near the upper endplate.
        fractured: Whether a `Fracture` is applied here.
    """

    level: Level
    shape: BodyShape
    upper_offset_mm: Grid
    lower_offset_mm: Grid
    retropulsion_mm: float = 0.0
    retropulsion_upper: bool = True
    fractured: bool = False

    @property
    def upper_plane(self) -> EndplatePlane:
        """Rim plane of the upper endplate with shape and offsets: what a disc above rests on. For stacking only."""
        return _plane(self.shape, self.upper_offset_mm, upper=True, tilted=self.fractured)

    @property
    def lower_plane(self) -> EndplatePlane:
        """Rim plane of the lower endplate with shape and offsets: what rests on the disc below. For stacking only."""
        return _plane(self.shape, self.lower_offset_mm, upper=False, tilted=self.fractured)

    @property
    def base_upper_plane(self) -> EndplatePlane:
        """Rim plane of `shape` alone, to which the surface adds `upper_offset_mm`."""
        return _plane(self.shape, self.upper_offset_mm, upper=True, tilted=False)

    @property
    def base_lower_plane(self) -> EndplatePlane:
        """Rim plane of `shape` alone, to which the surface adds `lower_offset_mm`."""
        return _plane(self.shape, self.lower_offset_mm, upper=False, tilted=False)

    @property
    def anterior_height_mm(self) -> float:
        """Rim to rim at the front, in the midsagittal plane, after offsets."""
        mid = self.upper_offset_mm.shape[1] // 2
        return self.shape.anterior_height_mm + float(self.upper_offset_mm[-1, mid] - self.lower_offset_mm[-1, mid])

    @property
    def posterior_height_mm(self) -> float:
        """Rim to rim at the back, in the midsagittal plane, after offsets."""
        mid = self.upper_offset_mm.shape[1] // 2
        return self.shape.posterior_height_mm + float(self.upper_offset_mm[0, mid] - self.lower_offset_mm[0, mid])


@dataclass(frozen=True)
class EffectiveDisc:
    """One disc as it is drawn.

    Attributes:
        disc: Which disc.
        middle_height_mm: Height in the middle.
        wedge_standing_deg, wedge_supine_deg: Anterior opening positive; limited so that the rims never touch.
        lateral_wedge_deg, axial_rotation_deg: As in the healthy disc.
        degeneration: Pfirrmann grade that is applied, 1 where none is.
        bulge_mm: Outward of the healthy outline, all round.
        herniations: Focal displacements, in the order of the record (bulges are in `bulge_mm`).
        nucleus_signal: T2 signal of the nucleus as a share of a healthy one.
        vacuum: Whether gas fills part of the disc (grade 5): dark on every sequence, about -800 HU in CT.
        fused_share: Share of the disc space bridged by bone, 0 where mobile (block vertebra).
        cage: What stands in the disc space, if anything.
    """

    disc: Disc
    middle_height_mm: float
    wedge_standing_deg: float
    wedge_supine_deg: float
    lateral_wedge_deg: float
    axial_rotation_deg: float
    degeneration: int = 1
    bulge_mm: float = 0.0
    herniations: tuple[Herniation, ...] = ()
    nucleus_signal: float = 1.0
    vacuum: bool = False
    fused_share: float = 0.0
    cage: Cage | None = None

    def wedge_deg(self, posture: Posture) -> float:
        """The sagittal wedge in a posture."""
        return self.wedge_standing_deg if posture == "standing" else self.wedge_supine_deg


def effective_bodies(spine: SpinePhantom) -> dict[Level, EffectiveBody]:
    """Every vertebra that has a body (C2 to the last lumbar one), head to foot, as it is drawn.

    Raises:
        SpineMedError: a fracture leaves no bone, or a pathology names a level that is not in the spine.
    """
    check_levels(spine)
    result: dict[Level, EffectiveBody] = {}
    for vertebra in spine.vertebrae:
        if vertebra.body is None:
            continue
        level, shape = vertebra.level, vertebra.body
        upper, lower = zero_grid(), zero_grid()
        retropulsion, near_upper, fractured = 0.0, True, False
        for mimic in (p for p in spine.pathologies if isinstance(p, Mimic)):
            shape = mimic_shape(mimic, spine, level, shape)
            extra = mimic_offsets(mimic, level, shape)
            upper, lower = upper + extra[0], lower + extra[1]
        for item in spine.pathologies:
            if isinstance(item, Fracture) and item.level == level:
                fall = fracture_offsets(
                    shape,
                    item.anterior_loss_percent,
                    item.middle_loss_percent,
                    item.posterior_loss_percent,
                    item.upper_share,
                )
                upper, lower = upper + fall[0], lower + fall[1]
                retropulsion, near_upper, fractured = item.retropulsion_mm, item.upper_share >= 0.5, True
            elif isinstance(item, SchmorlNode) and item.level == level:
                pit = _pit(item, shape)
                upper, lower = (upper - pit, lower) if item.endplate == "upper" else (upper, lower + pit)
        for grid in (upper, lower):
            grid.setflags(write=False)
        result[level] = EffectiveBody(level, shape, upper, lower, retropulsion, near_upper, fractured)
    return result


def effective_discs(spine: SpinePhantom) -> dict[Disc, EffectiveDisc]:
    """Every disc, head to foot, as it is drawn.

    A cage restores the healthy height; a block vertebra's disc is what `mimics` leaves of it. Height losses of several
    causes multiply. Wedges are limited so that neither rim is thinner than `LEAST_DISC_MM`.
    """
    check_levels(spine)
    return {shape.disc: _disc(spine, index) for index, shape in enumerate(spine.discs)}


def _disc(spine: SpinePhantom, index: int) -> EffectiveDisc:
    shape = spine.discs[index]
    height, grade, bulge, fused = shape.middle_height_mm, 1, 0.0, 0.0
    herniations: list[Herniation] = []
    cage: Cage | None = None
    for item in spine.pathologies:
        if isinstance(item, Mimic):
            kept, share = mimic_disc_factors(item, spine, shape.disc)
            height, fused = height * kept, max(fused, share)
        elif isinstance(item, DiscDegeneration) and item.disc == shape.disc:
            height *= 1 - item.height_loss_percent / 100
            grade = max(grade, item.pfirrmann)
        elif isinstance(item, Herniation) and item.disc == shape.disc:
            if item.type == "bulge":
                bulge = max(bulge, item.depth_mm)
            else:
                herniations.append(item)
        elif isinstance(item, Cage) and item.disc == shape.disc:
            cage = item
    if cage is not None:
        height = shape.middle_height_mm
    height = max(height, LEAST_DISC_MM)
    depth, width = _caudal_size_mm(spine, shape.disc)
    most, most_lateral = _widest_wedge_deg(height, depth), _widest_wedge_deg(height, width)
    return EffectiveDisc(
        disc=shape.disc,
        middle_height_mm=height,
        wedge_standing_deg=float(np.clip(shape.wedge_standing_deg, -most, most)),
        wedge_supine_deg=float(np.clip(shape.wedge_supine_deg, -most, most)),
        lateral_wedge_deg=float(np.clip(shape.lateral_wedge_deg, -most_lateral, most_lateral)),
        axial_rotation_deg=shape.axial_rotation_deg,
        degeneration=grade,
        bulge_mm=bulge,
        herniations=tuple(herniations),
        nucleus_signal=NUCLEUS_SIGNAL[grade],
        vacuum=grade == 5 and cage is None,
        fused_share=fused,
        cage=cage,
    )


def _widest_wedge_deg(height_mm: float, across_mm: float) -> float:
    """The wedge at which the closer rim of a disc is `LEAST_DISC_MM` high: each rim is half a length away."""
    return math.degrees(2 * math.asin(min(1.0, (height_mm - LEAST_DISC_MM) / across_mm)))


def caudal_endplate_depth_mm(spine: SpinePhantom, disc: Disc) -> float:
    """Length of the superior endplate below a disc, front to back: what a slip is a share of (Meyerding)."""
    return _caudal_size_mm(spine, disc)[0]


def _caudal_size_mm(spine: SpinePhantom, disc: Disc) -> tuple[float, float]:
    """Depth and width of the healthy superior endplate below a disc."""
    for vertebra in spine.vertebrae:
        if vertebra.level == disc.lower and vertebra.body is not None:
            return vertebra.body.upper_depth_mm, vertebra.body.upper_width_mm
    return spine.sacrum.endplate_depth_mm, spine.sacrum.endplate_width_mm


def displacements(spine: SpinePhantom) -> dict[Level, tuple[float, float, float]]:
    """How far each slipped vertebra is moved, for slipped levels only.

    The vector is (x, y, z) in mm in the frame of the superior endplate below (x to the right, y anterior along the
    endplate, z along its normal); anterior is positive. Everything above moves along. The length is the stated percent
    of the healthy superior endplate's depth, counted from the position without a slip, in which posterior walls are in
    line.
    """
    check_levels(spine)
    below = {shape.disc.upper: shape.disc for shape in spine.discs}
    result: dict[Level, tuple[float, float, float]] = {}
    for item in spine.pathologies:
        if isinstance(item, Slip):
            if item.level not in below:
                raise SpineMedError(f"{item.level} has no disc below it to slip on", field="slip", cure="use C2 to L5")
            length = item.percent / 100 * caudal_endplate_depth_mm(spine, below[item.level])
            old = result.get(item.level, (0.0, 0.0, 0.0))
            result[item.level] = (0.0, old[1] + (length if item.direction == "anterior" else -length), 0.0)
    return result


def canal_narrowing(spine: SpinePhantom) -> dict[Disc, float]:
    """Share of the sac's area that is lost at each stenotic disc, 0 to 1; discs without stenosis are left out."""
    result: dict[Disc, float] = {}
    for item in spine.pathologies:
        if isinstance(item, CanalStenosis):
            result[item.disc] = max(result.get(item.disc, 0.0), item.area_loss_percent / 100)
    return result


def foramen_narrowing(spine: SpinePhantom) -> dict[tuple[Disc, Side], float]:
    """Share of the foramen's area that is lost, 0 to 1, by disc and side; open foramina are left out."""
    result: dict[tuple[Disc, Side], float] = {}
    for item in spine.pathologies:
        if isinstance(item, ForaminalStenosis):
            key = (item.disc, item.side)
            result[key] = max(result.get(key, 0.0), item.area_loss_percent / 100)
    return result


def healthy_twin(spine: SpinePhantom) -> SpinePhantom:
    """The same person without what is wrong: shapes, posture and normal variants kept, every pathology removed.

    Normal variants are physiological wedging, short vertebral height and Cupid's bow (`mimics.NORMAL_VARIANTS`): they
    were there before and are healthy. A twin of a twin is itself.
    """
    kept = tuple(p for p in spine.pathologies if isinstance(p, Mimic) and p.type in NORMAL_VARIANTS)
    return spine.model_copy(update={"pathologies": kept})


def without(spine: SpinePhantom, *kinds: str) -> SpinePhantom:
    """The same spine without some kinds of pathology: `without(spine, "fracture")` is the one before its fractures.

    Raises:
        SpineMedError: a kind that no pathology has.
    """
    from spinemed.phantom.pathology.records import KINDS

    if unknown := sorted(set(kinds) - set(KINDS)):
        raise SpineMedError(f"unknown kind {unknown[0]!r}", field="kinds", cure=f"use some of {', '.join(KINDS)}")
    return spine.model_copy(update={"pathologies": tuple(p for p in spine.pathologies if p.kind not in kinds)})


# --- parts -----------------------------------------------------------------------------------------------------------


def _pit(node: SchmorlNode, shape: BodyShape) -> Grid:
    """Depth of a Schmorl node's pit over the endplate, positive into the body, in mm."""
    upper = node.endplate == "upper"
    width = shape.upper_width_mm if upper else shape.lower_width_mm
    depth = shape.upper_depth_mm if upper else shape.lower_depth_mm
    pit: Grid = np.float32(node.depth_mm) * bowl(
        node.x_share, node.y_share, 2 * node.radius_mm / width, 2 * node.radius_mm / depth
    )
    return pit


def _plane(shape: BodyShape, offset: Grid, *, upper: bool, tilted: bool) -> EndplatePlane:
    """The rim plane after offsets. Pits and bows leave the rim where it is; a fracture takes it along."""
    sign = 1.0 if upper else -1.0
    depth = shape.upper_depth_mm if upper else shape.lower_depth_mm
    slope = sign * (shape.anterior_height_mm - shape.posterior_height_mm) / 2 / depth
    centre = sign * shape.height_mm / 2
    if tilted:
        mid = offset.shape[1] // 2
        front, back = float(offset[-1, mid]), float(offset[0, mid])
        centre += (front + back) / 2
        slope += (front - back) / depth
    return EndplatePlane(centre, math.degrees(math.atan(slope)), sign * shape.lateral_wedge_deg / 2)


def check_levels(spine: SpinePhantom) -> None:
    """Refuse pathologies at levels or discs that the spine does not have.

    Raises:
        SpineMedError: naming the first one.
    """
    levels = {vertebra.level for vertebra in spine.vertebrae} | {Level.S1}
    discs = {shape.disc for shape in spine.discs}
    for item in spine.pathologies:
        for level in (*((item.level,) if hasattr(item, "level") else ()), *getattr(item, "levels", ())):
            if level not in levels:
                raise SpineMedError(
                    f"a {item.kind} at {level}, which this spine does not have",
                    field="pathologies",
                    cure="use a level of this spine",
                )
        disc = getattr(item, "disc", None)
        if disc is not None and disc not in discs:
            raise SpineMedError(
                f"a {item.kind} at {disc}, which this spine does not have",
                field="pathologies",
                cure="use a disc of this spine",
            )
