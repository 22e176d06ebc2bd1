"""Endplates and what follows from them: angles, slip, disc corners, pelvic parameters, sagittal balance.

An :class:`Endplate` is a plane with its rim points, in world millimetres (RAS+). It comes from landmarks
(:meth:`Endplate.from_sagittal`, :meth:`Endplate.from_coronal`, :meth:`Endplate.from_points`) or from a mask
(:mod:`spinemed.measure.body`), and every formula here takes either, so that a reader's clicks and a mask's surface are
measured by one definition.

Convention: an angle is taken between the lines in which the endplate planes cut the sagittal plane (right-left dropped)
or the coronal plane (front-back dropped) of the world frame, the angle that a true lateral or frontal film shows.
Sagittal inclination is positive where the front edge is higher, coronal inclination where the right side is higher.

The trap: alignment depends on posture. Lordosis, pelvic tilt, sacral slope and the sagittal vertical axis of a supine
CT or MR are not the standing values that the published norms hold for; pelvic incidence does not change.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import SpineMedError
from spinemed.measure.grades import MeyerdingGrade, SlipDirection, meyerding_grade, slip_direction

__all__ = [
    "Endplate",
    "PelvicParameters",
    "Plane",
    "Slip",
    "cobb_deg",
    "inclination_deg",
    "kyphosis_deg",
    "listhesis",
    "lordosis_deg",
    "pelvic_parameters",
    "sva_mm",
    "wedge_deg",
]

Array = NDArray[np.float64]
Plane = Literal["sagittal", "coronal"]

_RIGHT = np.array([1.0, 0.0, 0.0])
_ANTERIOR = np.array([0.0, 1.0, 0.0])


def point(value: ArrayLike, name: str) -> Array:
    """One world point (3,) in mm, checked.

    Raises:
        SpineMedError: not three finite numbers.
    """
    array = np.array(value, dtype=np.float64)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise SpineMedError(
            f"a point needs three finite numbers, found {array.tolist()}",
            field=name,
            cure="give right, anterior and superior in mm; leave out what was not marked",
        )
    array.setflags(write=False)
    return array


def unit(vector: Array, name: str) -> Array:
    """The vector at length 1.

    Raises:
        SpineMedError: the vector has no length: two points coincide.
    """
    size = float(np.linalg.norm(vector))
    if not size > 1e-9:
        raise SpineMedError("the points coincide, so that they give no direction", field=name, cure="mark them apart")
    result: Array = vector / size
    return result


@dataclass(frozen=True, eq=False)
class Endplate:
    """The plane of an endplate and its rim.

    Attributes:
        centre_mm: (3,) World point on the plane, in the middle of the endplate.
        normal: (3,) Unit vector across the plane; it points cranially, for upper and lower endplates alike.
        anterior_mm, posterior_mm: (3,) Front and back edge in the midsagittal plane of the vertebra, or None.
        right_mm, left_mm: (3,) Right and left edge, or None.
    """

    centre_mm: Array
    normal: Array
    anterior_mm: Array | None = None
    posterior_mm: Array | None = None
    right_mm: Array | None = None
    left_mm: Array | None = None

    @classmethod
    def from_sagittal(cls, anterior_mm: ArrayLike, posterior_mm: ArrayLike) -> Endplate:
        """From the front and back corner on a lateral view; the plane is taken level from right to left.

        Raises:
            SpineMedError: points that coincide or are not finite.
        """
        front, back = point(anterior_mm, "anterior_mm"), point(posterior_mm, "posterior_mm")
        return cls((front + back) / 2, _cranial(np.cross(_RIGHT, front - back), "endplate"), front, back)

    @classmethod
    def from_coronal(cls, right_mm: ArrayLike, left_mm: ArrayLike) -> Endplate:
        """From the right and left edge on a frontal view; the plane is taken level from front to back.

        Raises:
            SpineMedError: points that coincide or are not finite.
        """
        right, left = point(right_mm, "right_mm"), point(left_mm, "left_mm")
        normal = _cranial(np.cross(right - left, _ANTERIOR), "endplate")
        return cls((right + left) / 2, normal, None, None, right, left)

    @classmethod
    def from_points(
        cls, anterior_mm: ArrayLike, posterior_mm: ArrayLike, right_mm: ArrayLike, left_mm: ArrayLike
    ) -> Endplate:
        """From all four edges, in three dimensions.

        Raises:
            SpineMedError: points that coincide, lie on one line or are not finite.
        """
        front, back = point(anterior_mm, "anterior_mm"), point(posterior_mm, "posterior_mm")
        right, left = point(right_mm, "right_mm"), point(left_mm, "left_mm")
        normal = _cranial(np.cross(right - left, front - back), "endplate")
        return cls((front + back + right + left) / 4, normal, front, back, right, left)

    @property
    def depth_mm(self) -> float | None:
        """Front to back edge in the midsagittal plane (EPD of Panjabi 1992); None without these points."""
        if self.anterior_mm is None or self.posterior_mm is None:
            return None
        return float(np.linalg.norm(self.anterior_mm - self.posterior_mm))

    @property
    def width_mm(self) -> float | None:
        """Right to left edge at the widest place (EPW of Panjabi 1992); None without these points."""
        if self.right_mm is None or self.left_mm is None:
            return None
        return float(np.linalg.norm(self.right_mm - self.left_mm))


def _cranial(normal: Array, name: str) -> Array:
    direction = unit(normal, name)
    return direction if direction[2] >= 0 else -direction


def inclination_deg(endplate: Endplate, plane: Plane) -> float:
    """Inclination of the line in which the endplate cuts the sagittal or coronal plane, within ±90°.

    Sagittal: positive where the front edge is higher than the back edge. Coronal: positive where the right side is
    higher than the left.

    Raises:
        SpineMedError: the endplate lies within 1° of that plane and has no line in it.
    """
    right, anterior, up = (float(v) for v in endplate.normal)
    across = anterior if plane == "sagittal" else right
    if math.hypot(across, up) < math.sin(math.radians(1)):
        raise SpineMedError(
            f"the endplate lies in the {plane} plane, so that it has no inclination there",
            field="plane",
            cure="check the points, or measure in the other plane",
        )
    angle = math.degrees(math.atan2(-across, up))
    return (angle + 90.0) % 180.0 - 90.0 if abs(angle) > 90.0 else angle


def cobb_deg(upper: Endplate, lower: Endplate, plane: Plane = "coronal") -> float:
    """Angle between two endplates, signed: the inclination of the upper minus that of the lower one.

    Coronal: positive where the curve is convex to the right; the Cobb angle is the size, taken from the cranial
    endplate of the upper to the caudal endplate of the lower end vertebra (the most tilted ones).
    Sagittal: positive where the two open to the front (lordosis), negative where they open to the back (kyphosis).
    Source: Cobb 1948 (AAOS Instr Course Lect 5:261).
    """
    return inclination_deg(upper, plane) - inclination_deg(lower, plane)


def lordosis_deg(upper: Endplate, lower: Endplate) -> float:
    """Sagittal Cobb angle, positive for lordosis.

    Lumbar lordosis L1-S1: from the cranial endplate of L1 to the cranial endplate of S1; L4-S1 and T12-S1 likewise
    from the cranial endplate of the upper vertebra. Source: Cobb's method as in Schwab 2012 (Spine 37:1077).
    """
    return cobb_deg(upper, lower, "sagittal")


def kyphosis_deg(upper: Endplate, lower: Endplate) -> float:
    """Sagittal Cobb angle, positive for kyphosis.

    Thoracic kyphosis T4-T12: from the cranial endplate of T4 to the caudal endplate of T12. Source: as
    :func:`lordosis_deg`.
    """
    return -cobb_deg(upper, lower, "sagittal")


def wedge_deg(upper: Endplate, lower: Endplate, anterior: ArrayLike | None = None) -> float:
    """Angle between two facing endplates across the sagittal plane, positive where they open to the front.

    For a vertebra: its upper against its lower endplate (vertebral wedge angle). For a disc: the lower endplate of the
    vertebra above against the upper endplate of the one below (disc wedge or segmental disc angle).

    Args:
        upper, lower: The two endplates.
        anterior: (3,) Front direction of the vertebra; the world's front if not given. It matters for a rotated
            vertebra in scoliosis, whose own sagittal plane is not the patient's.
    """
    front = _ANTERIOR if anterior is None else unit(np.asarray(anterior, dtype=np.float64), "anterior")
    middle = unit(upper.normal + lower.normal, "endplates")
    front = unit(front - (front @ middle) * middle, "anterior")
    return math.degrees(
        math.atan2(-float(upper.normal @ front), float(upper.normal @ middle))
        - math.atan2(-float(lower.normal @ front), float(lower.normal @ middle))
    )


@dataclass(frozen=True)
class Slip:
    """Displacement of one vertebra on the one below.

    Attributes:
        slip_mm: Along the caudal superior endplate, positive to the front.
        percent: In percent of the caudal superior endplate's length.
        direction: "anterior", "posterior", or "none" below the noise limit.
        grade: Meyerding grade; "0" for no or posterior slip.
    """

    slip_mm: float
    percent: float
    direction: SlipDirection
    grade: MeyerdingGrade


def listhesis(upper_lower_endplate: Endplate, lower_upper_endplate: Endplate, *, least_mm: float = 0.0) -> Slip:
    """Slip of the upper vertebra on the lower one.

    The posterior-inferior corner of the upper vertebra is projected on the superior endplate line of the lower one;
    its distance from that endplate's posterior corner is the slip, in percent of that endplate's length. Source:
    Meyerding 1932 for the grades; the posterior corners and the division by the endplate's length as in Taillard 1954.

    Args:
        upper_lower_endplate: Lower endplate of the upper vertebra, with its posterior edge.
        lower_upper_endplate: Upper endplate of the lower vertebra (S1: the sacral endplate), with both edges.
        least_mm: Slips up to this size are noise: direction "none", grade "0". The number is kept as measured.

    Raises:
        SpineMedError: an edge is missing or the endplate has no length.
    """
    corner, back, front = upper_lower_endplate.posterior_mm, lower_upper_endplate.posterior_mm, None
    if corner is not None and back is not None:
        front = lower_upper_endplate.anterior_mm
    if corner is None or back is None or front is None:
        raise SpineMedError(
            "a slip needs the posterior corner above, and both corners below the disc",
            field="endplates",
            cure="mark these corners, or take the endplates from a mask",
        )
    length = float(np.linalg.norm(front - back))
    along = unit(front - back, "endplate")
    slip = float((corner - back) @ along)
    percent = 100.0 * slip / length
    direction = slip_direction(slip, least_mm=least_mm)
    return Slip(slip, percent, direction, meyerding_grade(percent if direction == "anterior" else 0.0))


@dataclass(frozen=True)
class PelvicParameters:
    """Pelvic incidence, pelvic tilt and sacral slope in degrees; incidence = tilt + slope exactly."""

    incidence_deg: float
    tilt_deg: float
    slope_deg: float


def pelvic_parameters(sacral_endplate: Endplate, right_hip_mm: ArrayLike, left_hip_mm: ArrayLike) -> PelvicParameters:
    """Pelvic incidence, tilt and slope in the sagittal plane. Source: Legaye, Duval-Beaupère 1998 (Eur Spine J 7:99).

    Slope: the sacral endplate against the horizontal, positive where its front edge is lower. Tilt: the line from the
    hip axis (middle between the femoral head centres) to the middle of the sacral endplate against the vertical,
    positive where the endplate lies behind the hip axis. Incidence: between that line and the perpendicular of the
    endplate, which is tilt + slope; unlike these two it does not change with posture.

    Args:
        sacral_endplate: Upper endplate of S1.
        right_hip_mm, left_hip_mm: (3,) Centres of the femoral heads, world mm.

    Raises:
        SpineMedError: the hip axis lies on the endplate's middle.
    """
    hips = (point(right_hip_mm, "right_hip_mm") + point(left_hip_mm, "left_hip_mm")) / 2
    line = sacral_endplate.centre_mm - hips
    if math.hypot(float(line[1]), float(line[2])) < 1e-6:
        raise SpineMedError("the hip axis lies on the sacral endplate", field="hips", cure="check the points")
    slope = -inclination_deg(sacral_endplate, "sagittal")
    tilt = math.degrees(math.atan2(-float(line[1]), float(line[2])))
    return PelvicParameters(tilt + slope, tilt, slope)


def sva_mm(c7_centre_mm: ArrayLike, sacral_endplate: Endplate) -> float:
    """Sagittal vertical axis: how far the plumb line from the middle of the C7 body passes in front of the posterior
    superior corner of S1; negative where it passes behind. Source: Schwab 2012 (Spine 37:1077). Standing views only.

    Raises:
        SpineMedError: the sacral endplate has no posterior corner.
    """
    if sacral_endplate.posterior_mm is None:
        raise SpineMedError(
            "the sacral endplate has no posterior corner", field="sacral_endplate", cure="mark that corner"
        )
    return float(point(c7_centre_mm, "c7_centre_mm")[1] - sacral_endplate.posterior_mm[1])
