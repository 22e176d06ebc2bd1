"""Landmarks and true alignment of a posed phantom, read from its geometry.

Convention: world RAS+ mm; an endplate's inclination is that of the line in which its rim plane cuts the sagittal plane
(positive: front higher) or the coronal plane (positive: right side higher), as on a true lateral or frontal film.
Lordosis is positive between the upper endplates of the upper vertebra and S1, kyphosis positive from the upper endplate
of T4 to the lower one of T12, cervical lordosis between the lower endplates of C2 and C7 (Cobb's method). In a spine
without T12 the last thoracic vertebra stands in; one without L4 as its last but one still has an L4.

The trap: the rim points of a fractured endplate lie on its effective rim plane, whose centre the fracture has lowered;
a Schmorl node or a concavity does not move them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level, Region
from spinemed.errors import LevelError
from spinemed.phantom.shape.arch import spinous_tip
from spinemed.phantom.spine.frames import Frame, RimPlane, endplate_frame
from spinemed.phantom.spine.pose import PosedSpine, pose_spine
from spinemed.phantom.spine.records import Posture, SpinePhantom, Vertebra

__all__ = [
    "Alignment",
    "CobbAngle",
    "EndplateMarks",
    "VertebraMarks",
    "alignment_truth",
    "landmarks",
    "vertebra_marks",
]

Array = NDArray[np.float64]
_ATLAS_FRONT_MM = 9.0
"""From C1's origin forwards to the inner side of its anterior arch."""


@dataclass(frozen=True, eq=False)
class EndplateMarks:
    """One endplate's rim plane, world mm; each point (3,)."""

    centre_mm: Array
    anterior_mm: Array
    posterior_mm: Array
    left_mm: Array
    right_mm: Array
    normal: Array
    """Unit, cranial."""

    @property
    def sagittal_deg(self) -> float:
        """Inclination in the sagittal plane, positive where the front is higher."""
        return math.degrees(math.atan2(-float(self.normal[1]), float(self.normal[2])))

    @property
    def coronal_deg(self) -> float:
        """Inclination in the coronal plane, positive where the right side is higher."""
        return math.degrees(math.atan2(-float(self.normal[0]), float(self.normal[2])))


@dataclass(frozen=True, eq=False)
class VertebraMarks:
    """Landmarks of one vertebra, world mm; None where it has no such part (C1 has no body, S1 no lower endplate)."""

    level: Level
    body_mm: Array | None
    """Middle between the two rim planes' centres."""
    canal_mm: Array
    spinous_tip_mm: Array | None
    upper: EndplateMarks | None
    lower: EndplateMarks | None


@dataclass(frozen=True)
class CobbAngle:
    """A scoliosis as the geometry shows it."""

    upper_end: Level
    lower_end: Level
    requested_deg: float
    measured_deg: float
    """Positive: convex to the right."""


@dataclass(frozen=True)
class Alignment:
    """True alignment of a posed spine, degrees and mm. What is above a cut is not asked: the whole spine is known."""

    posture: Posture
    lordosis_l1_s1_deg: float
    lordosis_t12_s1_deg: float
    lordosis_l4_s1_deg: float
    kyphosis_t4_t12_deg: float
    cervical_lordosis_deg: float
    t1_slope_deg: float
    sva_mm: float
    """The middle of the C7 body before the posterior upper corner of S1; of clinical meaning standing only."""
    pelvic_incidence_deg: float
    pelvic_tilt_deg: float
    sacral_slope_deg: float
    t1_pelvic_angle_deg: float
    cobbs: tuple[CobbAngle, ...]
    height_c2_s1_mm: float
    """From the centre of the S1 endplate up to the lower endplate of C2, along the body's axis."""


def landmarks(spine: SpinePhantom | PosedSpine, posture: Posture | None = None) -> dict[Level, VertebraMarks]:
    """Landmarks of every vertebra and S1.

    Args:
        spine: A phantom, with a posture, or a spine that is posed already.
        posture: Needed with a phantom.
    """
    posed = _posed(spine, posture)
    result = {vertebra.level: vertebra_marks(posed, vertebra) for vertebra in posed.spine.vertebrae}
    sacrum = posed.spine.sacrum
    plate = _plate(posed.sacrum, RimPlane(0.0, 0.0, 0.0), sacrum.endplate_width_mm, sacrum.endplate_depth_mm)
    last = posed.spine.vertebrae[-1].arch
    canal = posed.sacrum.to_world((0.0, -sacrum.endplate_depth_mm / 2 - last.canal_depth_mm / 2, 0.0))
    result[Level.S1] = VertebraMarks(Level.S1, None, canal, None, plate, None)
    return result


def vertebra_marks(posed: PosedSpine, vertebra: Vertebra) -> VertebraMarks:
    """Landmarks of one presacral vertebra."""
    frame, body, arch = posed.frames[vertebra.level], vertebra.body, vertebra.arch
    if body is None:
        middle = _ATLAS_FRONT_MM - arch.canal_depth_mm / 2
        tip = frame.to_world((0.0, -arch.spinous_length_mm, 0.0))
        return VertebraMarks(vertebra.level, None, frame.to_world((0.0, middle, 0.0)), tip, None, None)
    wall = -(body.upper_depth_mm + body.lower_depth_mm) / 4
    seen = posed.bodies[vertebra.level]
    top, bottom = seen.upper_plane, seen.lower_plane
    upper = _plate(
        frame, RimPlane(top.centre_mm, top.tilt_deg, top.lateral_deg), body.upper_width_mm, body.upper_depth_mm
    )
    lower = _plate(
        frame, RimPlane(bottom.centre_mm, bottom.tilt_deg, bottom.lateral_deg), body.lower_width_mm, body.lower_depth_mm
    )
    return VertebraMarks(
        vertebra.level,
        (upper.centre_mm + lower.centre_mm) / 2,
        frame.to_world((0.0, wall - arch.canal_depth_mm / 2, 0.0)),
        frame.to_world(spinous_tip(vertebra, body)[1]),
        upper,
        lower,
    )


def alignment_truth(spine: SpinePhantom | PosedSpine, posture: Posture | None = None) -> Alignment:
    """True alignment, from the geometry and not from what was asked for.

    Sources: Cobb 1948 for angles; Legaye, Duval-Beaupère 1998 (Eur Spine J 7:99) for incidence, tilt and slope; Schwab
    2012 (Spine 37:1077) for the sagittal vertical axis; Protopsaltis 2014 (J Bone Joint Surg 96:1631) for the T1 pelvic
    angle, between the lines from the hip axis to the middle of T1 and of the S1 endplate.

    Args:
        spine: A phantom, with a posture, or a spine that is posed already.
        posture: Needed with a phantom.
    """
    posed = _posed(spine, posture)
    marks = landmarks(posed)
    last = max(level for level in marks if level.region is Region.THORACIC)
    twelfth = min(last, Level.T12)
    sacrum = _required(marks[Level.S1].upper)
    hip = posed.hips_mm.mean(axis=0)
    tilt = _lean_deg(sacrum.centre_mm - hip)
    slope = -sacrum.sagittal_deg
    c7, t1 = marks[Level.C7].body_mm, marks[Level.T1].body_mm
    assert c7 is not None  # every phantom has a whole neck
    assert t1 is not None
    cobbs = tuple(
        CobbAngle(
            curve.upper_end,
            curve.lower_end,
            curve.cobb_deg,
            _required(marks[curve.upper_end].upper).coronal_deg - _required(marks[curve.lower_end].lower).coronal_deg,
        )
        for curve in posed.spine.scoliosis
    )
    return Alignment(
        posture=posed.posture,
        lordosis_l1_s1_deg=_upper(marks, Level.L1) + slope,
        lordosis_t12_s1_deg=_upper(marks, twelfth) + slope,
        lordosis_l4_s1_deg=_upper(marks, Level.L4) + slope,
        kyphosis_t4_t12_deg=_required(marks[twelfth].lower).sagittal_deg - _upper(marks, Level.T4),
        cervical_lordosis_deg=_required(marks[Level.C2].lower).sagittal_deg
        - _required(marks[Level.C7].lower).sagittal_deg,
        t1_slope_deg=-_upper(marks, Level.T1),
        sva_mm=float(c7[1] - sacrum.posterior_mm[1]),
        pelvic_incidence_deg=_incidence_deg(sacrum, hip),
        pelvic_tilt_deg=tilt,
        sacral_slope_deg=slope,
        t1_pelvic_angle_deg=tilt - _lean_deg(t1 - hip),
        cobbs=cobbs,
        height_c2_s1_mm=float(_required(marks[Level.C2].lower).centre_mm[2]),
    )


def _posed(spine: SpinePhantom | PosedSpine, posture: Posture | None) -> PosedSpine:
    if isinstance(spine, PosedSpine):
        return spine
    if posture is None:
        raise TypeError("a phantom has no landmarks without a posture")
    return pose_spine(spine, posture)


def _plate(frame: Frame, plane: RimPlane, width_mm: float, depth_mm: float) -> EndplateMarks:
    """Rim points over the outline's own x and y: they keep the stated width and depth in the vertebra's frame."""
    across, along = math.tan(math.radians(plane.lateral_deg)), math.tan(math.radians(plane.tilt_deg))
    c, x, y = plane.centre_mm, width_mm / 2, depth_mm / 2
    points = frame.to_world(
        ((0, 0, c), (0, y, c + y * along), (0, -y, c - y * along), (-x, 0, c - x * across), (x, 0, c + x * across))
    )
    normal = endplate_frame(frame, plane).rotation[:, 2]
    return EndplateMarks(points[0], points[1], points[2], points[3], points[4], normal)


def _required(plate: EndplateMarks | None) -> EndplateMarks:
    if plate is None:
        raise LevelError("this vertebra has no such endplate", field="level", cure="measure at C2 or below")
    return plate


def _upper(marks: dict[Level, VertebraMarks], level: Level) -> float:
    return _required(marks[level].upper).sagittal_deg


def _lean_deg(line: Array) -> float:
    """Backward lean of a line against the vertical, in the sagittal plane."""
    return math.degrees(math.atan2(-float(line[1]), float(line[2])))


def _incidence_deg(sacrum: EndplateMarks, hip: Array) -> float:
    """Between the endplate's downward normal and the line to the hip axis, in the sagittal plane, forwards positive.

    Computed of its own and not as a sum, so that PI = PT + SS is a statement about the geometry.
    """
    line, down = (hip - sacrum.centre_mm)[1:], -sacrum.normal[1:]
    cross = float(down[0] * line[1] - down[1] * line[0])
    return math.degrees(math.atan2(cross, float(line @ down)))
