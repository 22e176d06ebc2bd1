"""Two label sets: vertebral centroids, and the 37 surface points of SpineTrack in the published order.

Convention: `SPINETRACK_37` follows the order, sigmas and training weights of SpineTrack's published metadata; of a pair
the left one comes first. `SIMSPINE_15` is the subset, order and tree of SIMSPINE's preprocessing. Surface points are
skin over bone, derived from the tables; each belongs to its own vertebra (C7, C3/4 and C1 to the neck, T8 to T8), so
they move with it.

The trap: surface points over the spinous processes move apart in flexion. Only centroids keep a rigid vertebra's
neighbours at disc distance; test segment lengths on centroids or within one body.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from spinemed.motion.conventions import MotionError
from spinemed.motion.model import BodyModel, MarkerSet
from spinemed.motion.tables import read_table

__all__ = [
    "CENTROIDS",
    "OKS_SIGMAS",
    "SIMSPINE_15",
    "SIMSPINE_15_PARENTS",
    "SKELETON",
    "SPINETRACK_37",
    "SPINE_CHAIN",
    "SUBSETS",
    "TRAINING_WEIGHTS",
    "centroid_markers",
    "keypoint_markers",
    "laboratory_markers",
]

_ROWS = read_table("keypoints")

SPINETRACK_37 = tuple(row["name"] for row in _ROWS)
"""Names of the 37 keypoints, in the published order."""

OKS_SIGMAS = tuple(float(row["oks_sigma"]) for row in _ROWS)
"""Sigma of object keypoint similarity, one per keypoint."""

TRAINING_WEIGHTS = tuple(float(row["weight"]) for row in _ROWS)
"""Published training weight, one per keypoint."""

SPINE_CHAIN = (19, 26, 27, 28, 29, 30, 18, 35, 36)
"""Keypoints along the spine, caudal to cranial: sacrum, L5, L3, T12/L1, T8, T3, C7, C3/4, C1."""

SUBSETS = {"body": tuple(range(17)), "feet": tuple(range(20, 26)), "spine": SPINE_CHAIN[::-1], "all": tuple(range(37))}
"""The subsets that the published metrics are given on."""

SKELETON = (
    *pairwise(SPINE_CHAIN), (36, 17), (17, 0),
    (30, 33), (30, 34), (33, 5), (34, 6), (29, 31), (29, 32), (3, 5), (4, 6),
    (5, 7), (7, 9), (6, 8), (8, 10),
    (19, 11), (19, 12), (11, 13), (13, 15), (12, 14), (14, 16),
    (15, 20), (15, 22), (15, 24), (16, 21), (16, 23), (16, 25),
)  # fmt: skip
"""Edges between keypoint numbers."""

SIMSPINE_15 = (
    "hip", "spine_01", "spine_02", "spine_03", "spine_04", "spine_05", "neck", "neck_02", "neck_03", "head", "nose",
    "left_clavicle", "right_clavicle", "left_latissimus", "right_latissimus",
)  # fmt: skip
"""The 15 joints of SIMSPINE's training files, root first."""

SIMSPINE_15_PARENTS = (-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 5, 5, 4, 4)
"""Parent of each of the 15, by place in `SIMSPINE_15`."""

CENTROIDS = ("sacrum", *(f"L{i}" for i in range(5, 0, -1)), *(f"T{i}" for i in range(12, 0, -1)),
             *(f"C{i}" for i in range(7, 0, -1)))  # fmt: skip
"""Names of the 25 centroid labels, caudal to cranial. "sacrum" is the middle of the S1 endplate."""


def centroid_markers(model: BodyModel) -> MarkerSet:
    """The 25 points of `CENTROIDS` on a model: the S1 endplate's middle, and the bodies of L5 to C1."""
    body = np.arange(len(CENTROIDS), dtype=np.int64)
    return MarkerSet(CENTROIDS, body, np.vstack([model.sacrum_mm[None], model.centroid_mm]))


def keypoint_markers(model: BodyModel, names: Sequence[str] | None = None) -> MarkerSet:
    """SpineTrack keypoints on a model: all that it carries, or those named.

    A model without limbs carries the 24 that sit on pelvis, spine and head, and the hips.

    Raises:
        MotionError: if a name is unknown or sits on a body that the model lacks.
    """
    return _place(model, _ROWS, names)


def laboratory_markers(model: BodyModel, names: Sequence[str] | None = None) -> MarkerSet:
    """Usual markers of motion laboratories (C7, T10, CLAV, LASI, ...) on a model. Source: `tables/markers.csv`.

    Where they sit differs from person to person by centimetres: calibrate them on the clip (`fit.FitOptions`).

    Raises:
        MotionError: if a name is unknown or sits on a body that the model lacks.
    """
    return _place(model, read_table("markers"), names)


def _place(model: BodyModel, rows: Sequence[dict[str, str]], names: Sequence[str] | None) -> MarkerSet:
    table = {row["name"]: row for row in rows}
    if names is None:
        wanted = [name for name, row in table.items() if _carrier(model, row) is not None]
    else:
        wanted = list(names)
    body, local = [], []
    for name in wanted:
        if name not in table:
            raise MotionError(f"unknown marker {name!r}", field="names", cure=f"use names among {', '.join(table)}")
        carrier = _carrier(model, table[name])
        if carrier is None:
            raise MotionError(
                f"the marker {name!r} sits on {table[name]['body']}, which the model lacks", field="names",
                cure="build the model with limbs=True",
            )  # fmt: skip
        body.append(carrier[0])
        local.append(carrier[1])
    return MarkerSet(tuple(wanted), np.array(body, dtype=np.int64), np.array(local, dtype=np.float64).reshape(-1, 3))


def _carrier(model: BodyModel, row: dict[str, str]) -> tuple[int, np.ndarray] | None:
    """Body and place of a row, or None where the model lacks the body."""
    name = row["body"]
    if name.endswith("_thigh") and name not in model.bodies and not any(float(row[k]) for k in _PLACE):
        # Hip joints are points of the pelvis, whether or not legs hang from them.
        side = -1.0 if name.startswith("left") else 1.0
        limb = next(item for item in read_table("limbs") if item["body"] == "thigh")
        grow = model.scale[0] * model.stature_mm / float(read_table("sexes")[0]["stature_mm"])
        return 0, np.array([side * float(limb["right_mm"]), float(limb["anterior_mm"]), float(limb["up_mm"])]) * grow
    if name not in model.bodies:
        return None
    number = model.body(name)
    own = model.scale[int(model.group[number])] * _grow(model)
    place = np.array([float(row[k]) for k in _PLACE]) * own
    if row["frame"] == "centroid":
        return number, model.centroid_mm[number - 1] + place
    if row["frame"] == "sacrum":
        return number, model.sacrum_mm + model.sacrum_rest @ place
    if row["frame"] == "spinous":
        size = next(item for item in read_table("vertebrae") if item["level"] == name)
        behind = float(size["spinous_behind_mm"]) + float(size["skin_mm"])
        return number, model.centroid_mm[number - 1] + own * np.array([0.0, -behind, float(size["spinous_up_mm"])])
    return number, place


_PLACE = ("right_mm", "anterior_mm", "up_mm")


def _grow(model: BodyModel) -> float:
    return model.stature_mm / next(float(r["stature_mm"]) for r in read_table("sexes") if r["sex"] == model.sex)
