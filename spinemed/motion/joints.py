"""The joints of the model and how far each can turn: 25 spinal segments with three rotations, and those of the limbs.

Convention: names are `<segment>.<motion>` ("L4/5.flexion") and `<body>.<motion>` ("right_thigh.abduction"); degrees;
signs as in `conventions` for the spine, and flexion, abduction, external rotation positive on both sides for the limbs.

The trap: White and Panjabi's representative ranges are middles of what healthy people show, not ends. The limits here
are those ranges times `LIMIT_FACTOR` = 1.25, the factor by which the measured mean of full lumbar flexion (35.0 + 30.8
degrees, BMC MSD 2008;9:152) exceeds the table's 52.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from spinemed.anatomy import Region, Segment
from spinemed.motion.conventions import DIRECTIONS, SIGNS
from spinemed.motion.tables import MOBILE_SEGMENTS, read_table

__all__ = [
    "LIMIT_FACTOR",
    "ROOT_MOTIONS",
    "Freedom",
    "SegmentRange",
    "limb_freedoms",
    "segment_ranges",
    "spine_freedoms",
]

LIMIT_FACTOR = 1.25

ROOT_MOTIONS = ("right_mm", "anterior_mm", "up_mm", "rotation", "obliquity", "tilt")
"""The six freedoms of the pelvis in the world. Tilt is positive forward, obliquity with the right side down (towards
the right, as a lateral bend), rotation to the left."""

_AXES = {"x": 0, "y": 1, "z": 2}


@dataclass(frozen=True)
class SegmentRange:
    """How far a segment turns from rest, by White and Panjabi's representative values.

    Attributes:
        flexion_deg, extension_deg: From rest, both positive.
        lateral_deg, axial_deg: To one side.
    """

    segment: Segment
    flexion_deg: float
    extension_deg: float
    lateral_deg: float
    axial_deg: float

    def whole(self, direction: str) -> float:
        """The range from end to end in degrees: both sides, flexion and extension."""
        return {
            "flexion": self.flexion_deg + self.extension_deg,
            "lateral_bending": 2 * self.lateral_deg,
            "axial_rotation": 2 * self.axial_deg,
        }[direction]

    def ends(self, direction: str) -> tuple[float, float]:
        """Lowest and highest angle in degrees, before `LIMIT_FACTOR`."""
        return {
            "flexion": (-self.extension_deg, self.flexion_deg),
            "lateral_bending": (-self.lateral_deg, self.lateral_deg),
            "axial_rotation": (-self.axial_deg, self.axial_deg),
        }[direction]


@dataclass(frozen=True)
class Freedom:
    """One degree of freedom: about (or along) which axis it moves which body, and how far.

    Attributes:
        name: `<joint>.<motion>`.
        body: The body it moves.
        axis: 0, 1 or 2: x, y or z of the body's frame at that point of the sequence.
        sign: +1 or -1 times the right-handed angle.
        lower_deg, upper_deg: Limits (without bound for the pelvis).
        prior_sd_deg: How far from rest it usually is; for the spine the regional rhythm decides (see `rhythm`).
        segment, direction: For the spine.
    """

    name: str
    body: str
    axis: int
    sign: float
    lower_deg: float
    upper_deg: float
    prior_sd_deg: float
    segment: Segment | None = None
    direction: str | None = None

    @property
    def region(self) -> Region | None:
        """Region of the segment, by its upper vertebra."""
        return None if self.segment is None else self.segment.region


@cache
def segment_ranges() -> dict[Segment, SegmentRange]:
    """Range of motion of each segment, caudal to cranial. Source: `tables/range_of_motion.csv`."""
    rows = {Segment.from_text(row["segment"]): row for row in read_table("range_of_motion")}
    found = {}
    for segment in MOBILE_SEGMENTS:
        row = rows[segment]
        whole, share = float(row["flexion_extension_deg"]), float(row["flexion_share"])
        found[segment] = SegmentRange(
            segment,
            flexion_deg=whole * share,
            extension_deg=whole * (1 - share),
            lateral_deg=float(row["lateral_bending_deg"]),
            axial_deg=float(row["axial_rotation_deg"]),
        )
    return found


def spine_freedoms(limit_factor: float = LIMIT_FACTOR) -> list[Freedom]:
    """The 75 freedoms of the spine, caudal to cranial, flexion - lateral bending - axial rotation in each segment."""
    found = []
    for segment, reach in segment_ranges().items():
        for direction in DIRECTIONS:
            axis, sign, _ = SIGNS[direction]
            low, high = reach.ends(direction)
            found.append(
                Freedom(
                    f"{segment}.{direction}", str(segment.upper), _AXES[axis], sign, low * limit_factor,
                    high * limit_factor, max(-low, high) / 2, segment, direction,
                )
            )  # fmt: skip
    return found


def limb_freedoms(body: str, side: str) -> list[Freedom]:
    """The freedoms of one limb body ("thigh") on one side ("left" or "right"). Source: `tables/limb_motions.csv`."""
    found = []
    for row in read_table("limb_motions"):
        if row["body"] != body:
            continue
        sign = float(row["sign"]) * (float(row["left_sign"]) if side == "left" else 1.0)
        name = f"{side}_{body}"
        found.append(
            Freedom(
                f"{name}.{row['motion']}", name, _AXES[row["axis"]], sign, float(row["lower_deg"]),
                float(row["upper_deg"]), float(row["prior_sd_deg"]),
            )
        )  # fmt: skip
    return found
