"""Which points, segments and lengths belong together: the groups that scores are given for.

Convention: points are the 37 SpineTrack keypoints and the centroids C1 ... L5, 61 columns in the order of
`POINT_NAMES`; a group's root is the point that root-relative errors move (mid-sacrum, or L5's centroid).

Trap: points over spinous processes move apart in flexion, so the rigid lengths here lie within one body (head, pelvis,
thorax at one vertebra, limbs). Neighbouring centroids keep their distance up to the little that a joint between them
turns; both lengths of the reference stand beside those of the prediction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.conventions import DIRECTIONS
from spinemed.motion.dataset import LEVELS, SEGMENTS
from spinemed.motion.dataset.predictions import POINT_NAMES
from spinemed.motion.joints import LIMIT_FACTOR, spine_freedoms
from spinemed.motion.keypoints import OKS_SIGMAS, SIMSPINE_15, SKELETON, SPINETRACK_37, SUBSETS
from spinemed.motion.rhythm import REGIONS
from spinemed.motion.tables import MOBILE_SEGMENTS

__all__ = [
    "GROUPS",
    "LENGTHS",
    "LIMITS_DEG",
    "PICTURE_GROUPS",
    "REGION_ROWS",
    "SIDES",
    "SIGMAS",
    "Group",
    "edges",
]


@dataclass(frozen=True, eq=False)
class Group:
    """Points that are scored together.

    Attributes:
        name, title: In files and on pages.
        members: Columns in `POINT_NAMES`.
        root: Place of the root among the members.
    """

    name: str
    title: str
    members: NDArray[np.int64]
    root: int


def _group(name: str, title: str, names: tuple[str, ...], root: str) -> Group:
    return Group(name, title, np.array([POINT_NAMES.index(each) for each in names], dtype=np.int64), names.index(root))


def _subset(name: str) -> tuple[str, ...]:
    return tuple(SPINETRACK_37[number] for number in SUBSETS[name])


GROUPS = (
    _group("all", "all 37 keypoints", SPINETRACK_37, "hip"),
    _group("spine", "spine keypoints (9)", _subset("spine"), "hip"),
    _group("simspine_15", "SIMSPINE's joints (15)", SIMSPINE_15, "hip"),
    _group("body", "body keypoints (17)", _subset("body"), "left_hip"),
    _group("feet", "feet keypoints (6)", _subset("feet"), "left_heel"),
    _group("vertebrae", "vertebral centroids (24)", tuple(level.value for level in LEVELS), LEVELS[-1].value),
)
"""Body and feet have no mid-sacrum; their roots are the left hip and the left heel."""

PICTURE_GROUPS = tuple(group for group in GROUPS if group.name in ("all", "body", "feet", "spine"))
"""Groups scored in pictures; centroids and clavicle sets have no published rule there."""

SIGMAS = np.array(OKS_SIGMAS)

_RIGID = (
    ("nose", "left_ear"), ("nose", "right_ear"), ("left_eye", "right_eye"), ("left_ear", "right_ear"), ("nose", "head"),
    ("left_hip", "right_hip"), ("hip", "left_hip"), ("hip", "right_hip"),
    ("left_clavicle", "right_clavicle"), ("left_latissimus", "right_latissimus"),
    ("left_shoulder", "left_elbow"), ("right_shoulder", "right_elbow"),
    ("left_elbow", "left_wrist"), ("right_elbow", "right_wrist"),
    ("left_hip", "left_knee"), ("right_hip", "right_knee"), ("left_knee", "left_ankle"), ("right_knee", "right_ankle"),
    ("left_heel", "left_big_toe"), ("right_heel", "right_big_toe"),
)  # fmt: skip

LENGTHS = {
    "rigid parts": np.array([[POINT_NAMES.index(each) for each in pair] for pair in _RIGID]),
    "neighbouring vertebrae": np.array([[len(SPINETRACK_37) + i, len(SPINETRACK_37) + i + 1] for i in range(23)]),
}
"""Pairs of columns whose distance hardly changes."""


def _sides() -> NDArray[np.int64]:
    order = np.arange(len(POINT_NAMES))
    for i, name in enumerate(POINT_NAMES):
        if name.startswith(("left_", "right_")):
            side, rest = name.split("_", 1)
            order[i] = POINT_NAMES.index(("right_" if side == "left" else "left_") + rest)
    return order


SIDES = _sides()
"""[61] column of each point's other side, itself for points of the middle."""

REGION_ROWS = {
    region.value: np.array([i for i, segment in enumerate(MOBILE_SEGMENTS) if segment.region is region])
    for region in REGIONS
}
"""Rows in `SEGMENTS` of the lumbar, thoracic and cervical segments, by the upper vertebra."""


def _limits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    freedoms = spine_freedoms(LIMIT_FACTOR)
    shape = (len(SEGMENTS), len(DIRECTIONS))
    low = np.array([freedom.lower_deg for freedom in freedoms]).reshape(shape)
    return low, np.array([freedom.upper_deg for freedom in freedoms]).reshape(shape)


LIMITS_DEG = _limits()
"""Lower and upper limits [25, 3]: representative ranges of motion times `LIMIT_FACTOR`."""


def edges(names: tuple[bool, ...]) -> list[tuple[int, int]]:
    """Lines between columns of which both are there: the published skeleton, and the column of centroids."""
    column = [(len(SPINETRACK_37) + i, len(SPINETRACK_37) + i + 1) for i in range(len(LEVELS) - 1)]
    return [(a, b) for a, b in (*SKELETON, *column) if names[a] and names[b]]
