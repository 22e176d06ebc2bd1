"""`pose_spine`: where every bone of a phantom stands in a posture, in world millimetres.

Convention: the world is RAS+ with its origin in the centre of the upper endplate of S1. The sacral slope is pelvic
incidence less pelvic tilt, and the hip axis lies where the tilt puts it, so PI = PT + SS holds in the geometry and not
only in the record. What pathology changes comes from `spinemed.phantom.pathology`: a body stands on the *effective*
lower rim plane and carries the next disc on its effective upper one.

The trap: a fracture moves everything above it. In its own frame a fractured vertebra differs from its healthy twin only
where it is broken, but the frames above differ: kyphosis is added and height lost. A share of the added angle
(`SpinePhantom.fracture_compensation`) is taken back by the two neighbouring discs, as far as these can open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import LevelError
from spinemed.phantom.pathology import EffectiveBody, EffectiveDisc, displacements, effective_bodies, effective_discs
from spinemed.phantom.spine.frames import Frame, Link, RimPlane, plane_turn, sacral_frame, stack
from spinemed.phantom.spine.records import Posture, SpinePhantom

__all__ = ["LEAST_GAP_MM", "PosedSpine", "pose_spine"]

Array = NDArray[np.float64]

LEAST_GAP_MM = 0.6
"""Between two rims, as for effective discs: compensation opens a disc no further."""
_MASS_MM = 7.0
"""From C1's origin down to the middle of its lower joint surfaces."""
_SKULL_MM = 15.0
"""From C1's origin up to the middle between the occipital condyles' tops (skull base)."""


@dataclass(frozen=True, eq=False)
class PosedSpine:
    """A phantom in a posture.

    Attributes:
        spine: The record.
        posture: The posture.
        frames: Own frame of every presacral vertebra, C1 first. C1's origin lies between its lateral masses, on the
            axis of the dens.
        sacrum: S1's own frame; its z = 0 plane is the upper endplate of S1.
        skull_base: A frame above C1, between the occipital condyles; approximate.
        hips_mm: (2, 3) centres of the right and the left femoral head.
        bodies: What is drawn, by level (C2 and below).
        discs: What is drawn, by disc, keyed by the level above the disc; wedges of this posture in `wedges_deg`.
        wedges_deg: Sagittal wedge of the disc below each level, after compensation of fractures.
    """

    spine: SpinePhantom
    posture: Posture
    frames: dict[Level, Frame]
    sacrum: Frame
    skull_base: Frame
    hips_mm: Array
    bodies: dict[Level, EffectiveBody]
    discs: dict[Level, EffectiveDisc]
    wedges_deg: dict[Level, float]

    def frame(self, level: Level) -> Frame:
        """Own frame of a vertebra; S1 for the sacrum, C0 for the skull base.

        Raises:
            LevelError: the spine has no such level.
        """
        if level is Level.S1:
            return self.sacrum
        if level is Level.C0:
            return self.skull_base
        if level not in self.frames:
            raise LevelError(f"this spine has no {level}", field="level", cure="use a level of its vertebrae, C0 or S1")
        return self.frames[level]

    @property
    def sacral_slope_deg(self) -> float:
        """Of the S1 endplate against the horizontal, positive where its front is lower."""
        return self.spine.person.pelvic_incidence_deg - self.spine.pelvis.tilt_deg(self.posture)


def pose_spine(spine: SpinePhantom, posture: Posture) -> PosedSpine:
    """Stack a spine from the sacrum upwards.

    Pelvic tilt is the angle of the line from the hip axis to the S1 endplate's centre against the vertical, positive
    where the hips lie in front (Legaye, Duval-Beaupère 1998, Eur Spine J 7:99).

    Args:
        spine: The phantom, with or without pathologies.
        posture: Standing or supine; in both the world's z axis is the body's long axis.

    Raises:
        SpineMedError: a pathology names a level or disc that the spine lacks.
    """
    bodies, discs = effective_bodies(spine), effective_discs(spine)
    moved = displacements(spine)
    by_upper = {disc.upper: shape for disc, shape in discs.items()}
    wedges = _wedges(spine, posture, bodies, by_upper)
    healthy = {v.level: v.body for v in spine.vertebrae if v.body is not None}
    links: list[Link] = []
    below_depth = spine.sacrum.endplate_depth_mm
    order = [v.level for v in reversed(spine.vertebrae) if v.body is not None]
    for level in order:
        body, disc, own = bodies[level], by_upper[level], healthy[level]
        lower, upper = body.lower_plane, body.upper_plane
        links.append(
            Link(
                height_mm=disc.middle_height_mm,
                wedge_deg=wedges[level],
                lateral_deg=disc.lateral_wedge_deg,
                axial_deg=disc.axial_rotation_deg,
                below_depth_mm=below_depth,
                lower_depth_mm=own.lower_depth_mm,
                lower=RimPlane(lower.centre_mm, lower.tilt_deg, lower.lateral_deg),
                upper=RimPlane(upper.centre_mm, upper.tilt_deg, upper.lateral_deg),
                moved_mm=moved.get(level, (0.0, 0.0, 0.0)),
            )
        )
        below_depth = own.upper_depth_mm
    tilt = spine.pelvis.tilt_deg(posture)
    sacrum = sacral_frame(spine.person.pelvic_incidence_deg - tilt)
    frames = dict(zip(order, stack(sacrum, links)))
    frames[Level.C1], skull = _atlas(spine, frames[Level.C2])
    angle, reach = math.radians(tilt), spine.pelvis.hip_distance_mm
    hip = (reach * math.sin(angle), -reach * math.cos(angle))
    half = spine.pelvis.hip_width_mm / 2
    return PosedSpine(
        spine=spine,
        posture=posture,
        frames={v.level: frames[v.level] for v in spine.vertebrae},
        sacrum=sacrum,
        skull_base=skull,
        hips_mm=np.array([[half, *hip], [-half, *hip]]),
        bodies=bodies,
        discs=by_upper,
        wedges_deg=wedges,
    )


def _atlas(spine: SpinePhantom, axis: Frame) -> tuple[Frame, Frame]:
    """C1 on the shoulders of C2, around the dens, and the skull base on C1; both turned somewhat upright."""
    body = spine.vertebrae[1].body
    top = (0.0 if body is None else body.height_mm / 2) + spine.head_gap_mm + _MASS_MM
    # C0-C2 takes up part of what the neck leans: a quarter of C2's own lean is undone at each of the two joints.
    lean = math.degrees(math.atan2(-float(axis.rotation[1, 2]), float(axis.rotation[2, 2])))
    turn = axis.rotation @ plane_turn(-lean / 4, 0.0)
    atlas = Frame(axis.origin_mm + top * axis.rotation[:, 2], turn)
    return atlas, Frame(atlas.origin_mm + _SKULL_MM * turn[:, 2], turn @ plane_turn(-lean / 4, 0.0))


def _wedges(
    spine: SpinePhantom, posture: Posture, bodies: dict[Level, EffectiveBody], discs: dict[Level, EffectiveDisc]
) -> dict[Level, float]:
    """Sagittal wedge of the disc below each level, with what the discs beside a fracture take back."""
    wedges = {level: disc.wedge_deg(posture) for level, disc in discs.items()}
    share = spine.fracture_compensation
    if not share or not any(body.fractured for body in bodies.values()):
        return wedges
    depths = {v.level: (v.body.upper_depth_mm, v.body.lower_depth_mm) for v in spine.vertebrae if v.body is not None}
    levels = list(bodies)
    for at, level in enumerate(levels):
        body = bodies[level]
        if not body.fractured:
            continue
        planes = (body.upper_plane, body.base_upper_plane, body.lower_plane, body.base_lower_plane)
        tilts = [plane.tilt_deg for plane in planes]
        lost = (tilts[1] - tilts[0]) - (tilts[3] - tilts[2])
        beside = [level] if at == 0 else [level, levels[at - 1]]
        for upper in beside:
            below = levels.index(upper) + 1
            low_depth = depths[levels[below]][0] if below < len(levels) else spine.sacrum.endplate_depth_mm
            room = max(discs[upper].middle_height_mm - LEAST_GAP_MM, 0.0) / max(depths[upper][1], low_depth)
            most = math.degrees(2 * math.asin(min(1.0, room)))
            target = wedges[upper] + share * lost / len(beside)
            wedges[upper] = min(max(target, min(wedges[upper], -most)), max(wedges[upper], most))
    return wedges
