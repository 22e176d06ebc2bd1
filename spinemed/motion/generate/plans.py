"""What a motion asks of a body: channels over time, and how the feet stand.

Convention: channels are degrees (except "sit" and "load_kg") by the names in `CHANNELS`; signs as in `conventions`. The
channel "inclination" leans the trunk as people do: the lumbar spine gives most of the first degrees and less and
less as it nears its own end (`Plan.lumbar_end_deg`), the hips the rest.

The trap: arms hang along the plumb line unless told otherwise ("hang" 0 ... 1), so an arm's flexion in the record
follows the trunk's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.generate.gait import Walk
from spinemed.motion.rhythm import Rhythm

__all__ = ["CHANNELS", "Plan", "regional_deg", "trunk_tilts"]

Array = NDArray[np.float64]

_REGIONAL = tuple(
    f"{region}_{motion}"
    for region in ("lumbar", "thoracic", "cervical")
    for motion in ("flexion", "bending", "rotation")
)
_ARM = ("arm_flexion", "arm_abduction", "arm_rotation", "elbow", "elevation", "protraction", "hang")
CHANNELS = (
    *_REGIONAL, "inclination", "pelvis_rotation", "pelvis_obliquity", "pelvis_tilt", "knee", "sit", "load_kg",
    *(f"{side}_{name}" for side in ("right", "left") for name in _ARM),
)  # fmt: skip
"""All channels. Arm rotation is external; elbow is flexion; sit is 0 (standing) to 1 (on the seat)."""

# With it the lumbar spine gives 40 of the first 60 degrees where it can bend 60: lumbopelvic rhythm 2 : 1, mark b.
_LUMBAR_PART = 0.8


@dataclass(frozen=True)
class Plan:
    """One clip's motion before a body performs it.

    Attributes:
        channels: Courses [T]; absent ones are 0 ("hang" 1).
        lumbar_end_deg: Where lumbar flexion saturates in a trunk inclination.
        thoracic_share: Thoracic flexion per degree of inclination beyond 30.
        foot_gap_mm, toe_out_deg, stagger_mm: How the feet stand; stagger brings the right one forward.
        ahead_mm: The centre of mass lies so far ahead of the ankles.
        seat_mm: Height of the seat.
        walk: For gait; the feet then follow it.
    """

    channels: Mapping[str, Array]
    lumbar_end_deg: float = 58.0
    thoracic_share: float = 0.15
    foot_gap_mm: float = 190.0
    toe_out_deg: float = 9.0
    stagger_mm: float = 0.0
    ahead_mm: float = 48.0
    seat_mm: float = 450.0
    walk: Walk | None = None
    notes: Mapping[str, float | str] = field(default_factory=dict)


def regional_deg(plan: Plan, rhythm: Rhythm, frames: int) -> tuple[Array, Array]:
    """Regional angles [T, 9] in the order of the rhythm's columns, and the pelvis' tilt [T], in degrees."""
    zero = np.zeros(frames)
    inclination = plan.channels.get("inclination", zero)
    # Leaning back is the spine's alone; smooth through 0.
    forward = np.logaddexp(0.0, inclination / 2.0) * 2.0 - 2.0 * np.log(2.0)
    forward = np.maximum(forward, 0.0) if not inclination.any() else forward
    lumbar = plan.lumbar_end_deg * np.tanh(_LUMBAR_PART * forward / plan.lumbar_end_deg)
    thoracic = plan.thoracic_share * 10.0 * (np.logaddexp(0.0, (forward - 30.0) / 10.0) - np.logaddexp(0.0, -3.0))
    tilt = plan.channels.get("pelvis_tilt", zero) + forward - lumbar - thoracic
    extra = {"lumbar_flexion": lumbar, "thoracic_flexion": thoracic}
    short = {"flexion": "flexion", "lateral_bending": "bending", "axial_rotation": "rotation"}
    columns = []
    for region, direction in rhythm.columns:
        name = f"{region.value}_{short[direction]}"
        columns.append(plan.channels.get(name, zero) + extra.get(name, 0.0))
    return np.stack(columns, axis=1), tilt


def trunk_tilts(regional: Array, tilt: Array, obliquity: Array) -> tuple[Array, Array]:
    """How far the chest leans forward and to the right [T], in degrees: what hanging arms give way to."""
    return tilt + regional[:, 0] + 0.8 * regional[:, 3], obliquity + regional[:, 1] + 0.8 * regional[:, 4]
