"""The resting sagittal shape of a standing spine, driven by pelvic incidence.

Convention: degrees; a tilt is positive when the long axis of a body leans forward (anterior), a segment's angle is
positive in lordosis. PI = PT + SS by definition. Sources: PT = -12.7 + 0.38 PI + 0.14 age (642 people, biplanar
radiographs; pubmed 40261392); lordosis L1-S1 = 0.54 PI + 28 (Le Huec; with it T1 slope and the C7 plumb line come out
as published, 25 +- 8 degrees and 0 +- 25 mm), or PI (the centre of Schwab's PI +- 9); thoracic kyphosis and cervical
lordosis are independent of PI.

The trap: the wedge of the bodies is counted in the segments, so the endplates of one body are parallel here and a
Cobb angle from L1 to S1 is the sum of the five segments L1/2 to L5/S1.
"""

from __future__ import annotations

from dataclasses import dataclass

from spinemed.anatomy import Segment
from spinemed.motion.conventions import MotionError
from spinemed.motion.tables import MOBILE_SEGMENTS, read_table

__all__ = ["Alignment"]

_RULES = ("schwab", "le_huec")


@dataclass(frozen=True)
class Alignment:
    """Resting alignment. What is left None follows from pelvic incidence and age.

    Attributes:
        pelvic_incidence_deg: PI; mean 49.3, standard deviation 9.5.
        age_years: Enters the pelvic tilt.
        pelvic_tilt_deg: PT; None takes the regression.
        lordosis_deg: L1-S1, positive; None takes `lordosis_rule`.
        lordosis_rule: "schwab" (L1-S1 = PI) or "le_huec" (0.54 PI + 28).
        kyphosis_deg: T4-T12, positive.
        cervical_lordosis_deg: C2-C7, positive.
    """

    pelvic_incidence_deg: float = 49.3
    age_years: float = 40.0
    pelvic_tilt_deg: float | None = None
    lordosis_deg: float | None = None
    lordosis_rule: str = "le_huec"
    kyphosis_deg: float = 35.0
    cervical_lordosis_deg: float = 15.0

    def __post_init__(self) -> None:
        bounds = {
            "pelvic_incidence_deg": (15.0, 100.0),
            "age_years": (18.0, 110.0),
            "kyphosis_deg": (-10.0, 110.0),
            "cervical_lordosis_deg": (-60.0, 80.0),
        }
        for name, (low, high) in bounds.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise MotionError(f"{value} is outside {low:g} to {high:g}", field=name, cure="give a human value")
        if self.lordosis_rule not in _RULES:
            raise MotionError(
                f"{self.lordosis_rule!r} is no rule", field="lordosis_rule", cure=f"use one of {', '.join(_RULES)}"
            )

    @property
    def pelvic_tilt(self) -> float:
        """PT in degrees: how far the line from the hip axis to the middle of the S1 endplate leans back."""
        if self.pelvic_tilt_deg is not None:
            return self.pelvic_tilt_deg
        return -12.7 + 0.38 * self.pelvic_incidence_deg + 0.14 * self.age_years

    @property
    def sacral_slope(self) -> float:
        """SS = PI - PT in degrees: the forward tilt of the S1 endplate."""
        return self.pelvic_incidence_deg - self.pelvic_tilt

    @property
    def lordosis(self) -> float:
        """L1-S1 in degrees, positive."""
        if self.lordosis_deg is not None:
            return self.lordosis_deg
        if self.lordosis_rule == "schwab":
            return self.pelvic_incidence_deg
        return 0.54 * self.pelvic_incidence_deg + 28.0

    def segment_angles(self) -> dict[Segment, float]:
        """The resting angle of each of the 25 segments, caudal to cranial: degrees, lordosis positive.

        What is left at C0-C2 after the rest of the neck is given to the two upper joints so that the head is level.
        """
        totals = {
            "lordosis": self.lordosis,
            "kyphosis": -self.kyphosis_deg,
            "upper_thoracic": -1.0,
            "junction": 1.0,
            "cervical": self.cervical_lordosis_deg,
        }
        angles: dict[Segment, float] = {}
        head: dict[Segment, float] = {}
        for row in read_table("alignment"):
            segment, share = Segment.from_text(row["segment"]), float(row["share"])
            if row["curve"] == "head":
                head[segment] = share
            else:
                angles[segment] = totals[row["curve"]] * share
        left = self.sacral_slope - sum(angles.values())
        angles |= {segment: left * share for segment, share in head.items()}
        return {segment: angles[segment] for segment in MOBILE_SEGMENTS}

    def tilts(self) -> dict[Segment, float]:
        """The resting forward tilt in degrees of the upper body of each segment, caudal to cranial."""
        tilt, found = self.sacral_slope, {}
        for segment, angle in self.segment_angles().items():
            tilt -= angle
            found[segment] = tilt
        return found
