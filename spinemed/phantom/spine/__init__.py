"""One procedural spine: its record, how it is drawn, and where its bones stand in a posture.

Start with `records` (every number), then `draw` (`draw_spine`), `pose` (`pose_spine`) and `truth` (landmarks, angles).
Names are loaded when first used. The trap: a record is healthy shapes plus `pathologies`; what is seen comes from both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.phantom.spine.config import SpineConfig
    from spinemed.phantom.spine.draw import draw_spine
    from spinemed.phantom.spine.frames import Frame
    from spinemed.phantom.spine.pose import PosedSpine, pose_spine
    from spinemed.phantom.spine.records import Posture, SpinePhantom
    from spinemed.phantom.spine.truth import Alignment, alignment_truth, landmarks

__all__ = [
    "Alignment",
    "Frame",
    "PosedSpine",
    "Posture",
    "SpineConfig",
    "SpinePhantom",
    "alignment_truth",
    "draw_spine",
    "landmarks",
    "pose_spine",
]

__getattr__ = lazy_names(
    __name__,
    {
        "config": "SpineConfig",
        "draw": "draw_spine",
        "frames": "Frame",
        "pose": "PosedSpine pose_spine",
        "records": "Posture SpinePhantom",
        "truth": "Alignment alignment_truth landmarks",
    },
)
