"""Neural arches by region: pedicles, laminae, facets, transverse and spinous processes, as blobs and one shell.

Convention: everything in the vertebra's own frame (origin at the centre of the healthy body, +x right, +y anterior, +z
cranial). Right-sided parts are built and mirrored. Sub-region numbers are those of TPTBox and SPINEPS: 41 arch, 42
spinous process, 43/44 costal (transverse) process left/right, 45/46 superior and 47/48 inferior articular process
left/right, 49/50 body.

A facet joint is described once per disc (:class:`Joint`), so that the superior process of the lower vertebra and the
inferior one of the upper vertebra meet although each is built in its own frame. They are built to touch; the renderer
parts them at the surface midway (`spinemed.phantom.imaging.raster`).

The trap: `spinous_length_mm` runs from the body's posterior upper rim to the tip, in a straight line, so the process
itself is shorter by body, canal and lamina; the tip is solved for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level, Region
from spinemed.phantom.shape.blobs import Blob, capsule, ellipsoid, mirrored, to_tip, vec
from spinemed.phantom.spine.records import ArchShape, BodyShape, Vertebra

__all__ = [
    "CANAL_HEIGHTS",
    "EDGE",
    "MIRROR_PARTS",
    "ArchSolids",
    "Joint",
    "LaminaLine",
    "arch_solids",
    "atlas_solids",
    "joint_between",
    "lamina_line",
    "spinous_tip",
]

Array = NDArray[np.float64]

ARCH, SPINOUS = 41, 42
COSTAL, SUPERIOR, INFERIOR = 44, 46, 48  # right
MIRROR_PARTS = {44: 43, 46: 45, 48: 47}
DENS = 51
CANAL_HEIGHTS = (-0.35, 0.45)
"""Between which heights the canal is looked through along the body, shares of the body's height from its middle."""
EDGE = 0.4
"""How far the laminae's upper and lower edges are rounded, share of their thickness."""


@dataclass(frozen=True)
class Joint:
    """The pair of facet joints beside one disc.

    Attributes:
        half_spread_mm: From the midline to the middle of the joint.
        behind_mm: From the posterior wall of the bodies backwards to the middle of the joint.
        normal: Unit vector from the superior process (of the lower vertebra) to the inferior one, right side.
        size_mm: Height of the facet.
        gap_mm: Height of the disc between the bodies at the back.
        drop_mm: How far the joint lies below the middle of the disc.
    """

    half_spread_mm: float
    behind_mm: float
    normal: tuple[float, float, float]
    size_mm: float
    gap_mm: float
    drop_mm: float = 0.0


@dataclass(frozen=True)
class LaminaLine:
    """The line in which the laminae's inner wall cuts the midsagittal plane.

    Attributes:
        y_mm, z_mm: Its point at the middle of the laminae's height.
        lean: dy/dz; positive: the upper edge lies further forward.
    """

    y_mm: float
    z_mm: float
    lean: float


@dataclass(frozen=True, eq=False)
class ArchSolids:
    """What stands behind a body: the lamina shell's numbers (ARCH_PARAMETERS), blobs, and blobs that are cut out."""

    shell: Array
    blobs: list[Blob]
    holes: list[Blob]


def joint_between(upper: Vertebra, lower: ArchShape, gap_mm: float) -> Joint:
    """The facet joints between two neighbours: cervical ones face up and back, thoracic ones back, lumbar ones inwards.

    Orientation by region as in any anatomy (Panjabi 1993 gives the angles): cervical about 45° to the transverse plane,
    thoracic 70-75° to it and nearly frontal, lumbar nearly upright, turning from sagittal at L1/2 to 45° at L5/S1.
    """
    width = (upper.arch.canal_width_mm + lower.canal_width_mm) / 2
    widest = max(upper.arch.canal_width_mm, lower.canal_width_mm)
    depth = (upper.arch.canal_depth_mm + lower.canal_depth_mm) / 2
    size = (upper.arch.facet_size_mm + lower.facet_size_mm) / 2
    level = upper.level
    if level.region is Region.CERVICAL:
        tilt = math.radians(45 if level < Level.C7 else 55)
        return Joint(width / 2 + 6.0, 0.30 * depth, (0.0, -math.sin(tilt), math.cos(tilt)), size, gap_mm, 0.5)
    if level.region is Region.THORACIC and level < Level.T12:
        tilt = math.radians(72)
        return Joint(
            max(width / 2 - 0.5, 0.42 * size + 2.5),
            0.92 * depth,
            (0.15, -math.sin(tilt), math.cos(tilt)),
            size,
            gap_mm,
            1.0,
        )
    below = {Level.T12: 0, Level.T13: 0, Level.L1: 0, Level.L2: 1, Level.L3: 2, Level.L4: 3, Level.L5: 4, Level.L6: 4}
    turn = math.radians(18 + 8 * below[level])
    return Joint(widest / 2 + 3.0, 0.84 * depth, (-math.cos(turn), -math.sin(turn), 0.12), size, gap_mm, 1.5)


def arch_solids(
    vertebra: Vertebra,
    body: BodyShape,
    above: Joint | None,
    below: Joint | None,
    *,
    below_centre_mm: Array | None = None,
    process_scale: float = 1.0,
) -> ArchSolids:
    """Everything behind the body of C2 to the last lumbar vertebra.

    Args:
        vertebra: Whose arch.
        body: Its healthy body.
        above, below: Facet joints with the neighbours; None where there are none (C2 above).
        below_centre_mm: (3,) Middle of the right joint below, where the next vertebra's superior process bears it (a
            lordotic, slipped or broken neighbour stands otherwise than straight below); straight below without it.
        process_scale: Height of the transverse processes against the usual, for transitional vertebrae.
    """
    arch, level = vertebra.arch, vertebra.level
    wall = -(body.upper_depth_mm + body.lower_depth_mm) / 4
    half, depth = arch.canal_width_mm / 2, arch.canal_depth_mm
    height = body.height_mm
    thick = arch.lamina_thickness_mm
    region = _region(level)
    cervical = region is Region.CERVICAL
    lumbar = region is Region.LUMBAR
    lamina = lamina_line(vertebra, body)
    back_z = lamina.z_mm
    pedicle_z = 0.0 if cervical else height / 2 - arch.pedicle_height_mm / 2 - (1.0 if lumbar else 0.5)
    shell = np.array(
        [
            half,
            depth / 2,
            lamina.y_mm + depth / 2,
            2.6,
            1.55 if lumbar else 1.9,
            thick,
            pedicle_z,
            back_z,
            min(arch.pedicle_height_mm / 2, arch.lamina_height_mm / 2),
            arch.lamina_height_mm / 2,
            lamina.lean,
            0.15 * depth,
            1.0,
        ]
    )
    right: list[Blob] = []
    middle: list[Blob] = []
    holes: list[Blob] = []
    pillar = np.array([half + arch.pedicle_width_mm / 2, wall - 0.52 * depth, pedicle_z])

    # Pedicle: from inside the body to where lamina, facets and transverse process meet.
    if cervical:
        front = np.array([body.lower_width_mm / 2 - 3.0, wall + 2.0, pedicle_z])
        pillar = np.array([half + 5.5, wall - 0.30 * depth, pedicle_z])
    else:
        converge = math.radians({Region.THORACIC: 8.0, Region.LUMBAR: 12.0}[region])
        front = pillar + (wall + 5.0 - pillar[1]) * np.array([-math.tan(converge), 1.0, 0.0])
        # Rooted in the body even where the waist is narrower than the canal and pedicles, as at some T1.
        waist = min(body.upper_width_mm, body.lower_width_mm) / 2 * body.waist
        front[0] = min(front[0], waist + arch.pedicle_width_mm / 2 - 3.0)
    right.append(capsule(front, pillar, arch.pedicle_width_mm / 2, arch.pedicle_height_mm / 2, end_mm=2.0, part=ARCH))

    # Facets and what carries them.
    if above is not None:
        normal = np.array(above.normal)
        centre = np.array([above.half_spread_mm, wall - above.behind_mm, height / 2 + above.gap_mm / 2 - above.drop_mm])
        seat = centre - normal * _facet_depth(region)
        right += _facet(seat, normal, above.size_mm, region, SUPERIOR)
        right.append(capsule(pillar, seat, 0.8 * _stem(arch, region), _stem(arch, region), part=SUPERIOR))
    if below is not None:
        normal = np.array(below.normal)
        straight = (below.half_spread_mm, wall - below.behind_mm, -height / 2 - below.gap_mm / 2 - below.drop_mm)
        centre = np.array(straight) if below_centre_mm is None else below_centre_mm
        seat = centre + normal * _facet_depth(region)
        right += _facet(seat, normal, below.size_mm, region, INFERIOR)
        stem = _stem(arch, region)
        if lumbar or level >= Level.T12:
            root = np.array([0.62 * half, lamina.y_mm - 0.25 * thick, back_z])
            right.append(capsule(root, seat, stem, 0.85 * stem, part=INFERIOR))
            right.append(capsule(pillar, root, 0.75 * stem, 0.9 * stem, part=ARCH))  # pars interarticularis
        else:
            right.append(capsule(pillar, seat, 0.9 * stem, stem, part=ARCH if cervical else INFERIOR))
    if cervical:
        right.append(ellipsoid(pillar, 6.0, 5.0, height / 2 + 1.0, part=ARCH))

    right += _transverse(arch, region, level, pillar, body, process_scale)
    if cervical and level < Level.C7:
        holes.append(
            capsule(
                (body.lower_width_mm / 2 + 3.2, wall + 4.5, -height),
                (body.lower_width_mm / 2 + 3.2, wall + 4.5, height),
                2.7,
            )
        )
    middle += _spinous(vertebra, body)
    if level == Level.C2:
        middle += _dens(vertebra, body)
        right.append(  # the shoulder that carries C1
            ellipsoid((9.5, -1.0, height / 2 - 0.5), 8.5, 8.0, 6.0, side_axis=(0.90, 0.0, -0.44), part=SUPERIOR)
        )
        right.append(capsule((8.5, -2.0, height / 2 - 3.0), pillar, 5.0, 5.5, part=ARCH))
    return ArchSolids(shell, middle + right + mirrored(right, MIRROR_PARTS), holes + mirrored(holes))


def _region(level: Level) -> Region:
    return Region.THORACIC if level is Level.T13 else level.region


def lamina_line(vertebra: Vertebra, body: BodyShape) -> LaminaLine:
    """Where the laminae meet the canal in the midline, so that the canal is as deep as stated where it is narrowest.

    `canal_depth_mm` is what calipers find in a dry vertebra (Panjabi 1992, Spine 17:299): the free distance seen along
    the body, from the hindmost place of a waisted wall to the upper edge of the laminae, which lean backwards. Both are
    sought within the heights that `spinemed.measure.foramen_section` looks through.
    """
    arch, height, region = vertebra.arch, body.height_mm, _region(vertebra.level)
    middle = {Region.CERVICAL: -2.0, Region.THORACIC: -0.12 * height, Region.LUMBAR: -0.28 * height}[region]
    lean = {Region.CERVICAL: 0.35, Region.THORACIC: 0.20, Region.LUMBAR: 0.22}[region]
    # A waisted wall is hollow all along, so that it stands hindmost at one of the two heights.
    ends = []
    for share in (0.5 + CANAL_HEIGHTS[0], 0.5 + CANAL_HEIGHTS[1]):
        depth = body.lower_depth_mm + (body.upper_depth_mm - body.lower_depth_mm) * share
        ends.append(depth * (1.0 - (1.0 - body.waist) * 4.0 * share * (1.0 - share)))
    wall = -0.5 * max(ends)
    top = min(middle + arch.lamina_height_mm / 2 - EDGE * arch.lamina_thickness_mm, CANAL_HEIGHTS[1] * height)
    return LaminaLine(wall - arch.canal_depth_mm - lean * (top - middle), middle, lean)


def _stem(arch: ArchShape, region: Region) -> float:
    """Half-thickness of the bone between pedicle, lamina and facet."""
    return {Region.CERVICAL: 4.0, Region.THORACIC: 3.6, Region.LUMBAR: 4.6}[region] * min(
        1.15, max(0.85, arch.lamina_thickness_mm / 6.0)
    )


def _facet_depth(region: Region) -> float:
    """From the joint's surface to the middle of the process that bears it."""
    return {Region.CERVICAL: 3.4, Region.THORACIC: 2.6, Region.LUMBAR: 4.0}[region]


def _facet(seat: Array, normal: Array, size: float, region: Region, part: int) -> list[Blob]:
    """A flattened ellipsoid whose face looks along the normal."""
    thick = _facet_depth(region) + 0.35
    width = {Region.CERVICAL: 6.2, Region.THORACIC: 5.2, Region.LUMBAR: 7.0}[region]
    up = np.array([0.0, 0.0, 1.0]) - normal * normal[2]
    up /= np.linalg.norm(up)
    return [ellipsoid(seat, thick, min(width, 0.55 * size), size / 2, side_axis=normal, axis=up, part=part)]


def _transverse(
    arch: ArchShape, region: Region, level: Level, pillar: Array, body: BodyShape, scale: float
) -> list[Blob]:
    span, thick = arch.transverse_span_mm / 2, arch.transverse_thickness_mm / 2
    if region is Region.CERVICAL:
        tip = np.array([span, -1.0 if level < Level.C7 else -8.0, -1.5])
        root = np.array([body.lower_width_mm / 2 - 1.5, 0.5, -1.0])
        rear = np.array([max(span - 2.0, pillar[0] + 2.0), tip[1] - 3.5, -2.0])
        parts = [
            capsule(pillar, rear, 2.8, 3.0, part=COSTAL),
            to_tip(capsule(rear, (tip[0], tip[1] - 2.5, tip[2]), 2.4, 2.6, part=COSTAL)),
        ]
        if level > Level.C2:
            parts.append(capsule(root, (span - 1.5, 2.5, -2.0), 2.0, 2.2, part=COSTAL))
            parts.append(capsule((span - 1.5, 2.5, -2.0), rear, 1.7, 1.9, part=COSTAL))
        return parts
    reach = max(span - pillar[0], 6.0)
    sweep = math.radians(arch.transverse_sweep_deg)
    rise = 1.5 if region is Region.THORACIC else 0.5
    root = pillar + np.array([0.0, -1.0, -1.0])
    tip = np.array([span, pillar[1] - 1.0 - reach * math.tan(sweep), pillar[2] + rise])
    if region is Region.THORACIC:
        middle = root + (tip - root) * 0.6
        stubby = level >= Level.T11
        knob = thick * (1.0 if stubby else 1.15)
        return [
            capsule(root, middle, thick * 0.85, thick * 0.95, side_axis=(0.0, 1.0, 0.0), part=COSTAL),
            to_tip(
                capsule(middle, tip, (thick * 0.85, knob), (thick * 0.95, knob), side_axis=(0.0, 1.0, 0.0), part=COSTAL)
            ),
        ]
    tall = thick * 1.15 * scale
    flat = max(2.4, thick * 0.6)
    middle = root + (tip - root) * 0.45
    return [
        capsule(root, middle, (flat * 1.3, flat), (tall * 1.2, tall * 0.9), side_axis=(0.0, 1.0, 0.0), part=COSTAL),
        to_tip(
            capsule(
                middle,
                tip,
                (flat, flat * 0.85),
                (tall * 0.9, tall * 0.85),
                end_mm=3.0,
                side_axis=(0.0, 1.0, 0.0),
                part=COSTAL,
            )
        ),
    ]


def spinous_tip(vertebra: Vertebra, body: BodyShape) -> tuple[Array, Array]:
    """Root and tip of the spinous process's axis: droop gives the direction, the stated length the tip."""
    arch, lamina = vertebra.arch, lamina_line(vertebra, body)
    root = np.array([0.0, lamina.y_mm - 0.35 * arch.lamina_thickness_mm, lamina.z_mm])
    rim = np.array(
        [0.0, -body.upper_depth_mm / 2, body.height_mm / 2 - (body.anterior_height_mm - body.posterior_height_mm) / 4]
    )
    droop = math.radians(arch.spinous_droop_deg)
    along = np.array([0.0, -math.cos(droop), -math.sin(droop)])
    offset = root - rim
    b, c = float(offset @ along), float(offset @ offset) - arch.spinous_length_mm**2
    under = b * b - c
    length = -b + math.sqrt(under) if under > 0 else 4.0
    return root, root + along * max(length, 4.0)


def _spinous(vertebra: Vertebra, body: BodyShape) -> list[Blob]:
    arch, level = vertebra.arch, vertebra.level
    root, tip = spinous_tip(vertebra, body)
    tall = max(arch.spinous_height_mm / 2, 2.5)
    region = level.region
    if region is Region.LUMBAR or level in (Level.T12, Level.T13):
        middle = root + (tip - root) * 0.5
        rise = vec(0.0, 0.0, 0.24 * tall)
        return [
            # A hatchet: narrow and higher up at its neck, tall and thickened at its lower hind corner.
            capsule(root + rise, middle, (4.4, 2.9), (tall * 0.72, tall * 0.80), end_mm=2.5, power=4, part=SPINOUS),
            to_tip(capsule(middle, tip, (2.9, 4.0), (tall * 0.80, tall * 0.86), end_mm=3.5, power=4, part=SPINOUS)),
            capsule(
                middle - 0.5 * rise,
                tip - 1.2 * rise - (tip - middle) * 0.16,
                (2.6, 4.2),
                (tall * 0.6, tall * 0.62),
                end_mm=3.0,
                part=SPINOUS,
            ),
        ]
    if region is Region.THORACIC:
        middle = root + (tip - root) * 0.45
        return [
            capsule(root, middle, (4.4, 2.8), (tall, tall * 0.75), end_mm=2.5, part=SPINOUS),
            to_tip(capsule(middle, tip, (2.8, 2.6), (tall * 0.75, tall * 0.5), end_mm=2.5, part=SPINOUS)),
        ]
    if level == Level.C7:
        return [to_tip(capsule(root, tip, (3.6, 4.0), (tall, tall * 0.8), end_mm=3.0, part=SPINOUS))]
    fork = root + (tip - root) * 0.6
    spread = 5.5 if level == Level.C2 else 4.0
    half = np.array([spread, 0.0, 0.0])
    return [
        capsule(root, fork, (3.4, 3.0), (tall, tall * 0.8), end_mm=2.0, part=SPINOUS),
        to_tip(capsule(fork, tip + half, (2.8, 2.4), (tall * 0.7, tall * 0.55), end_mm=2.0, part=SPINOUS)),
        to_tip(capsule(fork, tip - half, (2.8, 2.4), (tall * 0.7, tall * 0.55), end_mm=2.0, part=SPINOUS)),
    ]


def _dens(vertebra: Vertebra, body: BodyShape) -> list[Blob]:
    """The dens: its tip lies `dens_height_mm` above the rim of the body."""
    base = body.height_mm / 2
    tip = np.array([0.0, -1.0, base + max(vertebra.dens_height_mm, 6.0)])
    return [
        to_tip(capsule((0.0, 0.0, base - 4.0), tip, (5.6, 4.8), (5.8, 5.2), end_mm=4.5, part=DENS)),
        ellipsoid((0.0, 0.0, base - 2.0), 7.5, 6.5, 6.0, part=DENS),
    ]


def atlas_solids(vertebra: Vertebra) -> ArchSolids:
    """C1: lateral masses, both arches and transverse processes; the dens stands at the frame's origin."""
    arch = vertebra.arch
    half, depth, thick = arch.canal_width_mm / 2, arch.canal_depth_mm, max(arch.lamina_thickness_mm, 5.0)
    front = 9.0
    inner_y = front - depth
    mass = np.array([half + 4.5, -1.0, 0.0])
    right = [
        ellipsoid(mass, 7.0, 8.5, 8.0, side_axis=(0.95, 0.0, 0.3), power=4, part=ARCH),
        ellipsoid(mass + vec(0.0, 0.0, 4.5), 6.5, 9.0, 4.0, side_axis=(0.9, 0.0, 0.44), part=SUPERIOR),
        ellipsoid(mass + vec(0.0, 0.0, -5.0), 7.5, 8.0, 4.5, side_axis=(0.9, 0.0, -0.44), part=INFERIOR),
        to_tip(capsule(mass, (arch.transverse_span_mm / 2, -4.0, -1.0), 3.6, 4.0, part=COSTAL)),
    ]
    points = [mass + vec(0.5, -6.0, 0.0)]
    for angle in (20.0, 45.0, 68.0, 90.0):
        a = math.radians(angle)
        points.append(
            np.array([(half + thick / 2) * math.cos(a), -7.0 + (inner_y + 7.0 - thick / 2) * math.sin(a), -1.0])
        )
    rear = [
        capsule(
            points[k],
            points[k + 1],
            thick / 2 * 0.85,
            max(arch.lamina_height_mm / 2, 4.0),
            part=ARCH,
            side_axis=np.cross(points[k + 1] - points[k], (0.0, 0.0, 1.0)),
        )
        for k in range(len(points) - 1)
    ]
    bow = [mass + vec(-2.0, 5.5, 0.0), np.array([6.0, front - 0.5, 0.0]), np.array([0.0, front + 1.0, 0.0])]
    fore = [
        capsule(bow[k], bow[k + 1], 2.6, 5.0, part=ARCH, side_axis=np.cross(bow[k + 1] - bow[k], (0.0, 0.0, 1.0)))
        for k in range(2)
    ]
    middle = [
        ellipsoid((0.0, front + 2.0, -1.0), 3.0, 2.6, 5.0, part=ARCH),
        ellipsoid((0.0, inner_y - thick, -1.0), 3.5, 3.5, 4.5, part=SPINOUS),
    ]
    holes = [capsule((half + 14.0, -4.0, -9.0), (half + 14.0, -4.0, 9.0), 2.8)]
    shell = np.zeros(13)
    shell[:5] = (half, depth / 2, front - depth / 2, 2.0, 2.0)
    both = right + rear + fore
    return ArchSolids(shell, middle + both + mirrored(both, MIRROR_PARTS), holes + mirrored(holes))
