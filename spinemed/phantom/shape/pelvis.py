"""Sacrum, coccyx, iliac wings, femoral heads and ribs, as blobs.

Convention: sacrum and pelvis stand in the frame of S1 (origin at the centre of its upper endplate, +z its normal); the
hip axis lies `hip_distance_mm` from there, turned forward of the downward normal by the pelvic incidence, whatever the
posture. Ribs stand in the frame of their vertebra.

The trap: heights such as that of the iliac crest are stated for an upright pelvis. They are built upright with a
nominal sacral slope and turned into the frame of S1.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.phantom.shape.arch import MIRROR_PARTS, SUPERIOR, ArchSolids, Joint
from spinemed.phantom.shape.blobs import Blob, capsule, chain, ellipsoid, mirrored, vec
from spinemed.phantom.spine.records import Pelvis, Person, SacrumShape, Vertebra

__all__ = [
    "acetabulum_holes",
    "coccyx_blobs",
    "femur_blobs",
    "hip_centre_mm",
    "ilium_blobs",
    "rib_blobs",
    "sacrum_curve",
    "sacrum_solids",
]

Array = NDArray[np.float64]

_SHARES = (0.27, 0.22, 0.19, 0.17, 0.15)  # height of S1 to S5 as shares of the length
_NOMINAL_TILT_DEG = 12.0


def sacrum_curve(sacrum: SacrumShape) -> tuple[Array, Array]:
    """Middle of the sacral bodies' axis at the borders of S1 to S5 (6, 3), and the downward directions there (6, 3)."""
    fine = 60
    s = np.linspace(0.0, 1.0, fine + 1)
    # The bend sits below S2: upper half nearly straight and leaning back, as in the lateral view of any sacrum.
    angle = np.radians(-8.0 + sacrum.curvature_deg * np.clip((s - 0.15) / 0.85, 0, 1) ** 1.5)
    step = sacrum.length_mm / fine
    y = np.concatenate([[0.0], np.cumsum(np.sin(angle[:-1]) * step)])
    z = np.concatenate([[0.0], np.cumsum(-np.cos(angle[:-1]) * step)])
    at = np.concatenate([[0.0], np.cumsum(_SHARES)])
    points = np.stack([np.zeros(6), np.interp(at, s, y), np.interp(at, s, z)], axis=1)
    turn = np.interp(at, s, angle)
    return points, np.stack([np.zeros(6), np.sin(turn), -np.cos(turn)], axis=1)


def sacrum_solids(sacrum: SacrumShape, joint: Joint, canal_width: float, canal_depth: float) -> ArchSolids:
    """The sacrum without the body of S1, which is a vertebral body."""
    points, down = sacrum_curve(sacrum)
    depth, width = sacrum.endplate_depth_mm, sacrum.endplate_width_mm
    thick = np.array([0.50, 0.40, 0.30, 0.21, 0.15, 0.11]) * depth
    half = np.array([0.50, 0.41, 0.34, 0.29, 0.24, 0.17]) * width
    lateral = np.array([0.455, 0.46, 0.385, 0.31, 0.23, 0.13]) * sacrum.width_mm
    back = np.cross(down, (1.0, 0.0, 0.0))  # points backwards for a downward direction
    back *= np.where(back[:, 1:2] > 0, -1.0, 1.0)
    middle: list[Blob] = []
    for k in range(5):
        start = points[k] + down[k] * (6.0 if k == 0 else -1.0)
        middle.append(
            capsule(
                start,
                points[k + 1],
                (half[k] * 0.9, half[k + 1]),
                (thick[k] * 0.85, thick[k + 1]),
                end_mm=2.0,
                power=4,
                part=50 if k == 0 else 41,
            )
        )
    right: list[Blob] = []
    # Alae and lateral masses: down the side, as wide as the sacrum at S1/S2 and then narrowing.
    for k in range(5):
        a = points[k] + back[k] * (0.45 * thick[k]) + down[k] * (10.0 if k == 0 else 0.0)
        b = points[k + 1] + back[k + 1] * (0.40 * thick[k + 1])
        inner0, inner1 = 0.55 * half[k], 0.55 * half[k + 1]
        outer0, outer1 = lateral[k] - (5.0 if k == 0 else 0.0), lateral[k + 1]
        right.append(
            capsule(
                a + vec(0.5 * (inner0 + outer0), 0.0, 0.0),
                b + vec(0.5 * (inner1 + outer1), 0.0, 0.0),
                (0.5 * (outer0 - inner0), 0.5 * (outer1 - inner1)),
                (max(1.05 * thick[k], 6.0), max(1.15 * thick[k + 1], 4.5)),
                end_mm=5.0 if k == 0 else 2.0,
                power=4,
                part=41,
            )
        )
    # Behind the canal: a plate that closes it, and the crest.
    behind = [points[k] + back[k] * (thick[k] + max(canal_depth * (1 - 0.16 * k), 4.0) + 2.5) for k in range(6)]
    behind[0] = behind[0] + down[0] * 10.0
    plate = chain(behind[:5], [15.0, 14.0, 12.0, 9.0, 6.0], [2.6, 2.6, 2.4, 2.2, 2.0], power=4, part=41)
    crest = [
        ellipsoid(behind[k] + back[k] * 4.0 + down[k] * 4.0, 3.2, 5.0 - 0.7 * k, 7.0, axis=tuple(down[k]), part=42)
        for k in range(4)
    ]
    for k in range(4):  # from the plate to the lateral mass, closing the canal's side
        right.append(
            capsule(
                behind[k] + vec(13.0 - 1.5 * k, 0.0, 0.0),
                points[k]
                + down[k] * (12.0 if k == 0 else 2.0)
                + vec(0.72 * lateral[k], 0.0, 0.0)
                + back[k] * 0.5 * thick[k],
                2.6,
                8.0,
                side_axis=tuple(back[k]),
                part=41,
            )
        )
    normal = np.array(joint.normal)
    centre = np.array([joint.half_spread_mm, -depth / 2 - joint.behind_mm, joint.gap_mm / 2 - joint.drop_mm])
    seat = centre - normal * 4.0
    right.append(ellipsoid(seat, 4.4, 7.5, joint.size_mm / 2, side_axis=normal, part=SUPERIOR))
    right.append(capsule(seat, (seat[0] + 4.0, -depth / 2 - 2.0, -14.0), 5.5, 6.5, part=SUPERIOR))
    holes: list[Blob] = []
    for k in range(1, 5):
        centre = points[k] + vec(half[k] + 3.0, 0.0, 0.0)
        holes.append(capsule(centre - back[k] * 30.0, centre + back[k] * 30.0, 5.2 - 0.5 * k, 5.6 - 0.5 * k))
    canal = [points[k] + back[k] * (thick[k] + max(canal_depth * (1 - 0.16 * k), 4.0) / 2) for k in range(5)]
    canal[0] = np.array([0.0, -depth / 2 - canal_depth / 2, 12.0])
    tube = chain(
        canal,
        [canal_width / 2, 0.42 * canal_width, 0.32 * canal_width, 0.22 * canal_width, 3.0],
        [canal_depth / 2, 0.42 * canal_depth, 0.34 * canal_depth, 0.26 * canal_depth, 2.0],
    )
    shell = np.zeros(13)
    return ArchSolids(
        shell, middle + plate + crest + right + mirrored(right, MIRROR_PARTS), holes + mirrored(holes) + tube
    )


def coccyx_blobs(sacrum: SacrumShape) -> list[Blob]:
    """Three pieces below S5, bent on forwards."""
    points, down = sacrum_curve(sacrum)
    at = [points[5] + down[5] * 2.5]
    for k in range(3):
        turn = math.radians(12.0 * (k + 1))
        y, z = down[5][1], down[5][2]
        along = np.array([0.0, y * math.cos(turn) - z * math.sin(turn), y * math.sin(turn) + z * math.cos(turn)])
        at.append(at[-1] + along * (11.0 - 2.0 * k))
    return chain(at, [8.0, 6.0, 4.5, 3.0], [4.5, 4.0, 3.5, 2.5])


def hip_centre_mm(person: Person, pelvis: Pelvis) -> Array:
    """Middle of the hip axis in the frame of S1: the definition of pelvic incidence."""
    incidence = math.radians(person.pelvic_incidence_deg)
    return pelvis.hip_distance_mm * np.array([0.0, math.sin(incidence), -math.cos(incidence)])


def _upright(person: Person) -> Array:
    """Matrix from an upright pelvis (RAS axes, origin at the endplate of S1) into the frame of S1."""
    slope = math.radians(person.pelvic_incidence_deg - _NOMINAL_TILT_DEG)
    sine, cosine = math.sin(slope), math.cos(slope)
    # +z of S1 leans forward by the sacral slope: its axes in upright coordinates are the rows here.
    return np.array([[1.0, 0.0, 0.0], [0.0, cosine, -sine], [0.0, sine, cosine]])


def ilium_blobs(person: Person, pelvis: Pelvis, sacrum: SacrumShape) -> list[Blob]:
    """Both hip bones: a fan of plates from the acetabulum to the crest, the crest, ischium and pubis."""
    turn = _upright(person)
    hip = turn.T @ hip_centre_mm(person, pelvis) + vec(pelvis.hip_width_mm / 2, 0.0, 0.0)
    half, top = pelvis.iliac_width_mm / 2, pelvis.iliac_height_mm
    side = sacrum.width_mm / 2
    crest = np.array(
        [
            [side - 16.0, -64.0, -36.0],
            [side - 8.0, -58.0, -4.0],
            [side + 16.0, -38.0, 0.72 * top],
            [half - 14.0, -6.0, top],
            [half, 28.0, 0.72 * top],
            [half - 8.0, 58.0, 0.10 * top],
            [half - 16.0, 70.0, -22.0],
        ]
    )
    roof = hip + vec(3.0, -6.0, 27.0)
    neck = hip + vec(-14.0, -26.0, 34.0)
    right: list[Blob] = []
    starts = [neck, neck, neck, 0.5 * (neck + roof), roof, roof, roof]
    for k, (start, end) in enumerate(zip(starts, crest, strict=True)):
        along = np.gradient(crest, axis=0)[k]
        right.append(capsule(turn @ start, turn @ end, (12.0, 20.0), (7.5, 3.6), end_mm=4.0, side_axis=turn @ along))
    right += chain([turn @ p for p in crest], [6.0, 7.5, 6.0, 5.5, 6.5, 6.0, 6.5], [6.0, 7.5, 6.0, 5.5, 6.5, 6.0, 6.5])
    right.append(  # the ear-shaped face beside the sacrum
        capsule(turn @ np.array([side + 6.0, -24.0, -22.0]), turn @ np.array([side - 2.0, -48.0, -50.0]), 7.0, 19.0)
    )
    right += [
        ellipsoid(turn @ (hip + vec(2.0, -2.0, 8.0)), 30.0, 30.0, 30.0),
        capsule(
            turn @ (hip + vec(-6.0, -16.0, -12.0)), turn @ (hip + vec(-28.0, -28.0, -72.0)), (15.0, 13.0), (15.0, 13.0)
        ),
        capsule(turn @ (hip + vec(-14.0, 20.0, -4.0)), turn @ np.array([9.0, hip[1] + 50.0, hip[2] - 28.0]), 8.5, 9.0),
        capsule(
            turn @ np.array([9.0, hip[1] + 48.0, hip[2] - 34.0]), turn @ (hip + vec(-30.0, -14.0, -74.0)), 7.0, 7.0
        ),
    ]
    return right + mirrored(right)


def acetabulum_holes(person: Person, pelvis: Pelvis) -> list[Blob]:
    """What the femoral heads take out of the hip bones."""
    right = [ellipsoid(hip_centre_mm(person, pelvis) + vec(pelvis.hip_width_mm / 2 + 1.0, 0.0, 0.0), 26.5, 26.5, 26.5)]
    return right + mirrored(right)


def femur_blobs(person: Person, pelvis: Pelvis) -> list[Blob]:
    """Both femoral heads with neck and the upper shaft."""
    turn = _upright(person)
    hip = turn.T @ hip_centre_mm(person, pelvis) + vec(pelvis.hip_width_mm / 2, 0.0, 0.0)
    right = [
        ellipsoid(turn @ hip, 24.0, 24.0, 24.0),
        capsule(turn @ hip, turn @ (hip + vec(46.0, -4.0, -28.0)), (15.0, 17.0), (15.0, 17.0)),
        capsule(
            turn @ (hip + vec(48.0, -6.0, -16.0)), turn @ (hip + vec(50.0, 0.0, -140.0)), (20.0, 15.0), (20.0, 15.0)
        ),
    ]
    return right + mirrored(right)


def _rib_size(one: float, two: float) -> tuple[tuple[float, float], tuple[float, float], float]:
    side, flat = (4.2 - one, 4.2 - two), (4.4 + 1.8 * one, 4.4 + 1.8 * two)
    return side, flat, min(*side, *flat)


_RIB_SIZES = (_rib_size(0.0, 0.5), _rib_size(0.5, 1.0), _rib_size(1.0, 1.0))
"""Half-axes and end of a rib's pieces: thinner and higher over the first two, then alike."""


def rib_blobs(vertebra: Vertebra, position: float) -> tuple[list[Blob], list[Blob]]:
    """Right and left rib of a thoracic vertebra; empty where there is none.

    Args:
        vertebra: Whose ribs.
        position: 0 for T1 … 1 for the last thoracic vertebra; the width and the slope of the cage depend on it.
    """
    if vertebra.ribs is None or vertebra.body is None:
        return [], []
    body, arch = vertebra.body, vertebra.arch
    wall = -(body.upper_depth_mm + body.lower_depth_mm) / 4
    half_cage = float(np.interp(position, [0.0, 0.1, 0.3, 0.65, 1.0], [62.0, 86.0, 112.0, 130.0, 122.0]))
    depth_cage = float(np.interp(position, [0.0, 0.2, 0.6, 1.0], [58.0, 80.0, 100.0, 92.0]))
    slope = float(np.interp(position, [0.0, 0.3, 1.0], [0.30, 0.42, 0.55]))
    span = arch.transverse_span_mm / 2
    pillar_x = arch.canal_width_mm / 2 + arch.pedicle_width_mm / 2
    pillar_y = wall - 0.52 * arch.canal_depth_mm
    tip_y = pillar_y - 1.0 - max(span - pillar_x, 6.0) * math.tan(math.radians(arch.transverse_sweep_deg))
    last = vertebra.level >= Level.T11
    head = np.array(
        [0.46 * body.upper_width_mm + 3.5, wall + (6.0 if last else 2.5), body.height_mm / 2 - (6.0 if last else 2.0)]
    )
    neck = np.array([span + (6.0 if last else 1.5), tip_y + (12.0 if last else 8.0), body.height_mm / 2 - 6.0])
    centre_y = float(neck[1]) - 4.0 + depth_cage
    hx, hy, hz = head.tolist()
    nx, ny, nz = neck.tolist()
    first = math.dist((hx, hy, hz), (nx, ny, nz))
    sides: list[list[Blob]] = []
    for sign, length in ((1.0, vertebra.ribs.right_length_mm), (-1.0, vertebra.ribs.left_length_mm)):
        if length <= 0:
            sides.append([])
            continue
        if length <= first:  # a stub
            share = length / first
            tip = (hx + (nx - hx) * share, hy + (ny - hy) * share, hz + (nz - hz) * share)
            stub = [capsule((hx, hy, hz), tip, 3.4, 3.6)]
            sides.append(stub if sign > 0 else mirrored(stub))
            continue
        points = [(hx, hy, hz), (nx, ny, nz)]
        run = first
        angle = math.asin(min(0.9, nx / half_cage))
        # Start on the ellipse of the cage at the neck and walk forward until the rib is as long as stated.
        shift_x = nx - half_cage * math.sin(angle)
        shift_y = ny - (centre_y - depth_cage * math.cos(angle))
        while run < length - 1e-6:
            angle += 16.0 / math.hypot(half_cage * math.cos(angle), depth_cage * math.sin(angle))
            fade = max(0.0, 1.0 - (angle / 1.2))
            point = (
                half_cage * math.sin(angle) + shift_x * fade,
                centre_y - depth_cage * math.cos(angle) + shift_y * fade,
                nz - slope * (run - first) - 2.0,
            )
            step = math.dist(point, points[-1])
            if run + step > length:
                share = (length - run) / step
                last_point = points[-1]
                point = (
                    last_point[0] + (point[0] - last_point[0]) * share,
                    last_point[1] + (point[1] - last_point[1]) * share,
                    last_point[2] + (point[2] - last_point[2]) * share,
                )
                step = length - run
            points.append(point)
            run += step
        blobs = []
        for k, (a, b) in enumerate(pairwise(points)):  # written out: a scene has some four hundred pieces of rib
            side, flat, reach = _RIB_SIZES[min(k, 2)]
            across = (sign * (b[1] - a[1]), a[0] - b[0], 0.0)
            blobs.append(Blob((sign * a[0], a[1], a[2]), (sign * b[0], b[1], b[2]), side, flat, reach, across))
        sides.append(blobs)
    return sides[0], sides[1]
