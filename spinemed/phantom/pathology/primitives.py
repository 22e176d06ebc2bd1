"""What pathology adds to a spine as simple solids: spurs, displaced disc, lesions, marrow changes, implants.

Convention: a solid lies in its host's own frame, in mm (x to the right, y anterior, z cranial, origin at the centre of
the healthy body; for S1 at the centre of its upper endplate). Solids that belong to a disc are hosted by the vertebra
below it. `extra_primitives` lists them in the order of the record; where two overlap, the later one wins.

The trap: an added solid need not be bone of the host. `in_mask` says whether its voxels become part of the host's
vertebra label; `clip` says where it may be drawn at all. A lesion changes HU inside the body and no label.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from spinemed.anatomy import Disc, Level
from spinemed.phantom.pathology.effective import EffectiveBody, effective_bodies, effective_discs
from spinemed.phantom.pathology.fields import OUTLINE_POWER
from spinemed.phantom.pathology.mimics import spur_length_mm
from spinemed.phantom.pathology.records import (
    Cage,
    Herniation,
    Lesion,
    Mimic,
    ModicChange,
    Osteophyte,
    Screws,
)

if TYPE_CHECKING:
    from spinemed.phantom.pathology.effective import EffectiveDisc
    from spinemed.phantom.spine.records import SpinePhantom

__all__ = ["METAL_HU", "Primitive", "Solid", "Tissue", "extra_primitives"]

Vector = tuple[float, float, float]
Solid = Literal["ellipsoid", "box", "capsule"]
Tissue = Literal["bone", "disc", "lytic", "blastic", "modic_1", "modic_2", "modic_3", "metal", "peek"]
Clip = Literal["none", "body", "outside_bone"]

METAL_HU = 3000.0
FREE_GAP_MM = 0.5
"""Between a sequestrated piece and the disc it came from."""
SPUR_HU = 450.0
DISC_HU = 85.0
PEEK_HU = 150.0
LYTIC_HU = 45.0
BLASTIC_ADDED_HU = 450.0
MODIC_ADDED_HU = {1: -20.0, 2: -60.0, 3: 200.0}
"""In CT, types 1 and 2 are barely seen and type 3 is sclerosis; none of the three can be typed there."""
BRIDGE_HU = 300.0
_ROD_RADIUS_MM = 2.75
_IDENTITY: tuple[Vector, Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


@dataclass(frozen=True)
class Primitive:
    """One solid.

    Attributes:
        solid: "ellipsoid" and "box" have a centre, axes and half sizes; a "capsule" runs from `centre_mm` to `end_mm`
            with the radius `half_sizes_mm[0]`.
        host: Whose own frame the coordinates are in.
        centre_mm: Centre, or a capsule's start.
        half_sizes_mm: Semi-axes along `axes`.
        tissue: What it is made of.
        hu: Hounsfield units it sets or adds.
        hu_mode: "set" replaces what was there, "add" adds to it.
        in_mask: Whether its voxels become part of the host's vertebra label.
        clip: "body": only inside the host's body; "outside_bone": only where no bone is; "none": everywhere.
        source: Position in `SpinePhantom.pathologies` of what it belongs to.
        axes: Unit vectors of the half sizes, in the own frame.
        end_mm: A capsule's end.
        end_host: Whose own frame the end is in, where a rod reaches to the next vertebra; else the host.
    """

    solid: Solid
    host: Level
    centre_mm: Vector
    half_sizes_mm: Vector
    tissue: Tissue
    hu: float
    hu_mode: Literal["set", "add"]
    in_mask: bool
    clip: Clip
    source: int
    axes: tuple[Vector, Vector, Vector] = _IDENTITY
    end_mm: Vector | None = None
    end_host: Level | None = None


@dataclass(frozen=True)
class _Host:
    """The numbers of a vertebra, or of S1, that solids are placed by."""

    level: Level
    width: float
    depth: float
    upper_z: float
    upper_tilt_deg: float
    concavity: float
    canal_width: float
    canal_depth: float
    pedicle_width: float
    pedicle_height: float

    def rim_z(self, y: float) -> float:
        return self.upper_z + math.tan(math.radians(self.upper_tilt_deg)) * y

    def back_y(self, x: float) -> float:
        """y of the endplate's posterior outline at x."""
        u = min(abs(x) / (self.width / 2), 0.97)
        bend: float = -self.depth / 2 * (1 - u**OUTLINE_POWER) ** (1 / OUTLINE_POWER)
        return bend


def extra_primitives(spine: SpinePhantom) -> tuple[Primitive, ...]:
    """Every solid that the pathologies of a spine add, in the order of the record.

    Raises:
        SpineMedError: a pathology names a level or disc that the spine does not have.
    """
    bodies, discs = effective_bodies(spine), effective_discs(spine)
    found: list[Primitive] = []
    for index, item in enumerate(spine.pathologies):
        if isinstance(item, Osteophyte):
            found.append(_spur(bodies[item.level], item.endplate, item.where, item.length_mm, index))
        elif isinstance(item, Herniation):
            found.extend(_displaced(item, _host(spine, bodies, item.disc.lower), discs[item.disc], index))
        elif isinstance(item, Lesion):
            found.append(_lesion(item, bodies[item.level], index))
        elif isinstance(item, ModicChange):
            found.extend(_marrow(item, spine, bodies, index))
        elif isinstance(item, Screws):
            found.extend(_construct(item, spine, bodies, index))
        elif isinstance(item, Cage):
            found.append(_cage(item, _host(spine, bodies, item.disc.lower), discs[item.disc], index))
        elif isinstance(item, Mimic):
            found.extend(_of_mimic(item, spine, bodies, discs, index))
    return tuple(found)


def _host(spine: SpinePhantom, bodies: dict[Level, EffectiveBody], level: Level) -> _Host:
    if level in bodies:
        body = bodies[level]
        arch = next(vertebra.arch for vertebra in spine.vertebrae if vertebra.level == level)
        plane = body.upper_plane
        return _Host(
            level,
            body.shape.upper_width_mm,
            body.shape.upper_depth_mm,
            plane.centre_mm,
            plane.tilt_deg,
            body.shape.upper_concavity_mm,
            arch.canal_width_mm,
            arch.canal_depth_mm,
            arch.pedicle_width_mm,
            arch.pedicle_height_mm,
        )
    sacrum, last = spine.sacrum, spine.vertebrae[-1].arch
    # The sacrum has no arch in the record: its canal and pedicles continue those of the last lumbar vertebra.
    return _Host(
        Level.S1,
        sacrum.endplate_width_mm,
        sacrum.endplate_depth_mm,
        0.0,
        0.0,
        0.0,
        last.canal_width_mm,
        last.canal_depth_mm,
        last.pedicle_width_mm,
        last.pedicle_height_mm,
    )


# --- bone ------------------------------------------------------------------------------------------------------------


def _spur(body: EffectiveBody, endplate: str, where: str, length: float, index: int) -> Primitive:
    """An ellipsoid centred on the rim: half of it inside the body, its outer half the spur."""
    upper = endplate == "upper"
    shape, plane = body.shape, body.upper_plane if upper else body.lower_plane
    width = shape.upper_width_mm if upper else shape.lower_width_mm
    depth = shape.upper_depth_mm if upper else shape.lower_depth_mm
    thick = 1.4 + 0.15 * length
    if where == "anterior":
        x, y, halves = 0.0, depth / 2, (0.3 * width, length, thick)
    else:
        x, y, halves = (width / 2 if where == "right" else -width / 2), 0.0, (length, 0.3 * depth, thick)
    z = plane.centre_mm + math.tan(math.radians(plane.tilt_deg)) * y + math.tan(math.radians(plane.lateral_deg)) * x
    centre = (x, y, z - thick if upper else z + thick)
    return Primitive("ellipsoid", body.level, centre, halves, "bone", SPUR_HU, "set", True, "none", index)


def _lesion(item: Lesion, body: EffectiveBody, index: int) -> Primitive:
    shape, radius = body.shape, item.radius_mm
    low, high = body.lower_plane.centre_mm, body.upper_plane.centre_mm
    centre = (
        item.x_share * (shape.upper_width_mm + shape.lower_width_mm) / 4,
        item.y_share * (shape.upper_depth_mm + shape.lower_depth_mm) / 4,
        (low + high) / 2 + item.z_share * (high - low) / 2,
    )
    lytic = item.type == "lytic"
    return Primitive(
        "ellipsoid",
        body.level,
        centre,
        (radius, radius, radius),
        "lytic" if lytic else "blastic",
        LYTIC_HU if lytic else BLASTIC_ADDED_HU,
        "set" if lytic else "add",
        False,
        "body",
        index,
    )


def _marrow(
    item: ModicChange, spine: SpinePhantom, bodies: dict[Level, EffectiveBody], index: int
) -> Iterator[Primitive]:
    """Slabs along both endplates of a disc, `height_mm` thick below the bowl of each."""
    tissue: Tissue = {1: "modic_1", 2: "modic_2", 3: "modic_3"}[item.type]  # type: ignore[assignment]
    for level, upper in ((item.disc.upper, False), (item.disc.lower, True)):
        if level in bodies:
            body = bodies[level]
            plane = body.upper_plane if upper else body.lower_plane
            width = body.shape.upper_width_mm if upper else body.shape.lower_width_mm
            depth = body.shape.upper_depth_mm if upper else body.shape.lower_depth_mm
            bowl_mm = body.shape.upper_concavity_mm if upper else body.shape.lower_concavity_mm
            centre_mm, tilt = plane.centre_mm, plane.tilt_deg
        else:
            host = _host(spine, bodies, level)
            width, depth, bowl_mm, centre_mm, tilt = host.width, host.depth, host.concavity, host.upper_z, 0.0
        half = (item.height_mm + bowl_mm) / 2
        yield Primitive(
            "box",
            level,
            (0.0, 0.0, centre_mm + (-half if upper else half)),
            (width / 2, depth / 2, half),
            tissue,
            MODIC_ADDED_HU[item.type],
            "add",
            False,
            "body",
            index,
            _tilted(tilt),
        )


def _of_mimic(
    item: Mimic,
    spine: SpinePhantom,
    bodies: dict[Level, EffectiveBody],
    discs: dict[Disc, EffectiveDisc],
    index: int,
) -> Iterator[Primitive]:
    body = bodies[item.level]
    if item.type == "degenerative_remodelling":
        for endplate in ("upper", "lower"):
            yield _spur(body, endplate, "anterior", spur_length_mm(item), index)
    elif item.type == "limbus":
        # The corner piece lies loose in front of its defect: it is no part of the body's one component.
        front = body.shape.upper_depth_mm / 2
        z = body.upper_plane.centre_mm + math.tan(math.radians(body.upper_plane.tilt_deg)) * front
        size = 1.2 + 1.2 * item.amount
        yield Primitive(
            "ellipsoid",
            item.level,
            (0.0, front + size * 0.6, z - 0.4),
            (2.6 * size, size, size),
            "bone",
            SPUR_HU,
            "set",
            False,
            "outside_bone",
            index,
        )
    elif item.type == "block_vertebra":
        disc = next(one for one in discs.values() if one.disc.upper == item.level)
        host = _host(spine, bodies, disc.disc.lower)
        half_z = disc.middle_height_mm / 2 + host.concavity
        share = math.sqrt(disc.fused_share)
        yield Primitive(
            "box",
            host.level,
            (0.0, 0.0, host.upper_z + disc.middle_height_mm / 2),
            (0.45 * host.width * share, 0.45 * host.depth * share, half_z),
            "bone",
            BRIDGE_HU,
            "set",
            False,
            "outside_bone",
            index,
            _tilted(host.upper_tilt_deg),
        )


# --- disc ------------------------------------------------------------------------------------------------------------


def _zone_x(item: Herniation, host: _Host) -> float:
    """Centre of a zone: subarticular between midline and pedicle, foraminal at it, extraforaminal beside it."""
    offset = {
        "central": 0.0,
        "subarticular": 0.35 * host.canal_width,
        "foraminal": (host.canal_width + host.pedicle_width) / 2,
        "extraforaminal": host.canal_width / 2 + host.pedicle_width + 2.0,
    }[item.zone]
    if item.zone == "central" or item.side is None:
        return 0.0
    return offset if item.side == "right" else -offset


def _displaced(item: Herniation, host: _Host, disc: EffectiveDisc, index: int) -> Iterator[Primitive]:
    """Protrusion: wide base, one dome. Extrusion: a neck and a wider dome. Sequestration: a free piece."""
    if item.type == "bulge":
        return
    x = _zone_x(item, host)
    y = host.back_y(x)
    z = host.rim_z(y) + disc.middle_height_mm / 2
    half_disc = max(disc.middle_height_mm / 2 * 0.9, 1.0)

    def piece(centre: Vector, halves: Vector) -> Primitive:
        return Primitive("ellipsoid", host.level, centre, halves, "disc", DISC_HU, "set", False, "outside_bone", index)

    if item.type == "protrusion":
        yield piece((x, y, z), (item.base_mm / 2, item.depth_mm, half_disc))
        return
    dome = item.dome_mm / 2
    if item.type == "extrusion":
        yield piece((x, y, z), (item.base_mm / 2, 0.6 * item.depth_mm, half_disc))
        reach = max(half_disc, abs(item.migration_mm) / 2 + 1.5)
        yield piece((x, y - 0.55 * item.depth_mm, z + item.migration_mm / 2), (dome, 0.45 * item.depth_mm, reach))
        return
    centre = (x, y - 0.55 * item.depth_mm, z + item.migration_mm)
    free = abs(item.migration_mm) - disc.middle_height_mm / 2 - FREE_GAP_MM
    yield piece(centre, (dome, 0.45 * item.depth_mm, max(min(0.8 * item.depth_mm, free), 1.0)))


def _cage(item: Cage, host: _Host, disc: EffectiveDisc, index: int) -> Primitive:
    titanium = item.material == "titanium"
    return Primitive(
        "box",
        host.level,
        (0.0, 0.05 * host.depth, host.upper_z + disc.middle_height_mm / 2),
        (0.28 * host.width, 0.28 * host.depth, max(disc.middle_height_mm / 2 - 0.2, 0.4)),
        "metal" if titanium else "peek",
        METAL_HU if titanium else PEEK_HU,
        "set",
        False,
        "outside_bone",
        index,
        _tilted(host.upper_tilt_deg),
    )


# --- screws and rods -------------------------------------------------------------------------------------------------


def _construct(
    item: Screws, spine: SpinePhantom, bodies: dict[Level, EffectiveBody], index: int
) -> Iterator[Primitive]:
    """For each level and side a shank through the pedicle and a head behind it; rods from head to head."""
    heads: dict[str, list[tuple[Level, Vector]]] = {"left": [], "right": []}
    for level in item.levels:
        host = _host(spine, bodies, level)
        for side, sign in (("left", -1.0), ("right", 1.0)):
            entry, tip = _trajectory(host, item, sign)
            yield _bar(level, entry, tip, item.diameter_mm / 2, index)
            head = (entry[0], entry[1] - 9.0, entry[2])
            yield _bar(level, entry, head, item.diameter_mm / 2 + 2.0, index)
            heads[side].append((level, head))
    for row in heads.values():
        for (level, start), (next_level, end) in pairwise(row):
            yield _bar(level, start, end, _ROD_RADIUS_MM, index, next_level)


def _trajectory(host: _Host, item: Screws, sign: float) -> tuple[Vector, Vector]:
    """Entry and tip of a pedicle screw: through the pedicle's middle, 10° inwards, parallel to the endplate.

    The tip stays 4 mm behind the front of the body; a screw that is longer is drawn as far as that.
    """
    converge = math.radians(10.0)
    pedicle_x = (host.canal_width + host.pedicle_width) / 2
    pedicle_y = -host.depth / 2 - 0.3 * host.canal_depth
    pedicle_z = host.rim_z(pedicle_y) - 0.5 * host.pedicle_height - 1.0
    back = 0.6 * host.canal_depth + 5.0
    entry_y = pedicle_y - back
    run = min(item.length_mm * math.cos(converge), host.depth / 2 - 4.0 - entry_y)
    slope = math.tan(math.radians(host.upper_tilt_deg))
    entry = (sign * (pedicle_x + back * math.tan(converge)), entry_y, pedicle_z - slope * back)
    tip = (entry[0] - sign * run * math.tan(converge), entry_y + run, entry[2] + slope * run)
    return entry, tip


def _bar(
    level: Level, start: Vector, end: Vector, radius: float, index: int, end_host: Level | None = None
) -> Primitive:
    return Primitive(
        "capsule",
        level,
        start,
        (radius, radius, radius),
        "metal",
        METAL_HU,
        "set",
        False,
        "none",
        index,
        end_mm=end,
        end_host=end_host,
    )


def _tilted(tilt_deg: float) -> tuple[Vector, Vector, Vector]:
    """Axes of a box that lies along an endplate."""
    sine, cosine = math.sin(math.radians(tilt_deg)), math.cos(math.radians(tilt_deg))
    return ((1.0, 0.0, 0.0), (0.0, cosine, sine), (0.0, -sine, cosine))
