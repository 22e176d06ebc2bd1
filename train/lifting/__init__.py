"""From keypoints in pictures to the spine in space: lifters, what they must beat, several views, 2D refinement.

Open `lifter` first (the job), then `inputs` (what goes in and comes out).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from train.lifting.lifter import LifterJob, run_lifter
    from train.lifting.predict import lift_dataset, lift_keypoints

__all__ = ["LifterJob", "lift_dataset", "lift_keypoints", "run_lifter"]

__getattr__ = lazy_names(
    __name__,
    {
        "lifter": "LifterJob run_lifter",
        "predict": "lift_dataset lift_keypoints",
    },
)
