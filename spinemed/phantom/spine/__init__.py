"""One procedural spine: its record, how it is drawn, and where its bones stand in a posture.

Start with `records` (every number), then `draw` (`draw_spine`), `pose` (`pose_spine`) and `truth` (landmarks, angles).
Names are loaded when first used. The trap: a record is healthy shapes plus `pathologies`; what is seen comes from both.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

_HOME = {
    "Alignment": "truth",
    "Frame": "frames",
    "PosedSpine": "pose",
    "Posture": "records",
    "SpineConfig": "config",
    "SpinePhantom": "records",
    "alignment_truth": "truth",
    "draw_spine": "draw",
    "landmarks": "truth",
    "pose_spine": "pose",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
