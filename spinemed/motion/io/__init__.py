"""Recorded motion, one module per file format, each to one of the clips of `clips`.

Convention: places are millimetres; what the file said of units, axes and gaps is kept; doubts are flags on the clip.
The trap: several formats name no unit. What makes a person of the size of a person is taken, and flagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spinemed.lazy import lazy_names

if TYPE_CHECKING:
    from spinemed.motion.io.c3d import read_c3d
    from spinemed.motion.io.clips import MarkerClip
    from spinemed.motion.io.keypoints import read_keypoints, to_spinetrack
    from spinemed.motion.io.mot import write_mot
    from spinemed.motion.io.osim import osim_names, osim_values
    from spinemed.motion.io.skeletons import read_amc, read_bvh
    from spinemed.motion.io.trc import read_trc, write_trc
    from spinemed.motion.io.views import find_views, read_views

__all__ = [
    "MarkerClip",
    "find_views",
    "osim_names",
    "osim_values",
    "read_amc",
    "read_bvh",
    "read_c3d",
    "read_keypoints",
    "read_trc",
    "read_views",
    "to_spinetrack",
    "write_mot",
    "write_trc",
]

__getattr__ = lazy_names(
    __name__,
    {
        "c3d": "read_c3d",
        "clips": "MarkerClip",
        "keypoints": "read_keypoints to_spinetrack",
        "mot": "write_mot",
        "osim": "osim_names osim_values",
        "skeletons": "read_amc read_bvh",
        "trc": "read_trc write_trc",
        "views": "find_views read_views",
    },
)
