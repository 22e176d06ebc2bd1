"""How far root-relative answers are from the truth, per sequence, with intervals by subject.

Convention: MPJPE is the mean distance in mm over frames and points after both roots (sacral keypoints) are laid on each
other; the root itself, always right, is not counted. "spine_mm" is over the eight other spine keypoints,
"centroids_mm" over the 24 vertebral centroids, "all_mm" over the 60 points; "spine_aligned_mm" over the nine spine
keypoints after the best similarity transform of each frame (P-MPJPE). A value is the mean over sequences; subjects are
the clusters of its interval.

The trap: frames that a method did not answer are no zeros: they are left out and their share is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.keypoints import SPINE_CHAIN
from spinemed.statistics import Clusters, generator_for, mean_interval
from train.lifting.inputs import POINTS, ROOT, SPINE_CENTROIDS, SPINE_KEYPOINTS, Material

__all__ = ["aligned", "compare", "root_relative_errors", "score"]

_OTHERS = tuple(number for number in range(len(POINTS)) if number != ROOT)
_SETS = {"spine_mm": SPINE_KEYPOINTS, "centroids_mm": SPINE_CENTROIDS, "all_mm": _OTHERS}


def root_relative_errors(answers: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distances [N, 61] in mm of points [N, 61, 3], both taken relative to the root."""
    one, other = (np.asarray(p, dtype=np.float64) - p[:, ROOT : ROOT + 1] for p in (answers, targets))
    return np.asarray(np.linalg.norm(one - other, axis=-1))


def aligned(answers: NDArray[np.floating], targets: NDArray[np.floating]) -> NDArray[np.float64]:
    """Answers [N, K, 3] after the best similarity transform onto the targets (Umeyama, doi 10.1109/34.88573)."""
    one, other = np.asarray(answers, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    from_mean, to_mean = one.mean(axis=1, keepdims=True), other.mean(axis=1, keepdims=True)
    one, other = one - from_mean, other - to_mean
    left, value, right = np.linalg.svd(np.einsum("nki,nkj->nij", other, one))
    sign = np.ones_like(value)
    sign[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * sign[:, None]) @ right
    scale = (value * sign).sum(axis=1) / np.maximum((one**2).sum(axis=(1, 2)), 1e-12)
    return np.asarray(scale[:, None, None] * np.einsum("nij,nkj->nki", rotation, one) + to_mean)


def score(material: Material, answers: NDArray[np.floating]) -> dict[str, NDArray[np.float64]]:
    """Mean errors [S] per sequence by the names of the module's docstring; NaN where a sequence has no answer."""
    errors = root_relative_errors(answers, material.targets)
    chain = list(SPINE_CHAIN)
    fitted = aligned(answers[:, chain], material.targets[:, chain])
    own = np.linalg.norm(fitted - material.targets[:, chain], axis=-1).mean(axis=1)
    per_frame = {name: errors[:, list(points)].mean(axis=1) for name, points in _SETS.items()}
    per_frame["spine_aligned_mm"] = own
    number, count = material.sequence[material.usable], len(material.clips)
    frames = np.bincount(number, minlength=count)
    return {
        name: np.where(
            frames > 0, np.bincount(number, values[material.usable], minlength=count) / np.maximum(frames, 1), np.nan
        )
        for name, values in per_frame.items()
    }


def compare(
    material: Material,
    scores: Mapping[str, Mapping[str, NDArray[np.float64]]],
    *,
    first: str,
    seed: int,
    group: Sequence[int] | NDArray[np.int64],
) -> dict[str, Any]:
    """A table of methods by their `score` on the sequences `group`, with the paired difference of each to `first`.

    A difference is the other method's error minus that of the method `first`: positive where `first` is better.
    """
    chosen = np.asarray(group, dtype=np.int64)
    chosen = chosen[np.isfinite(scores[first]["all_mm"][chosen])]
    clusters = Clusters.of([material.subjects[number] for number in chosen])
    table: dict[str, Any] = {
        "sequences": len(chosen), "subjects": clusters.count,
        "frames_unanswered": int((~material.usable[np.isin(material.sequence, np.asarray(group))]).sum()),
        "methods": {},
    }  # fmt: skip
    for name, own in scores.items():
        row: dict[str, Any] = {}
        for what, values in own.items():
            rng = generator_for(seed, name, what)
            row[what] = mean_interval(values[chosen], clusters, rng).as_dict()
            if name != first:
                apart = values[chosen] - scores[first][what][chosen]
                row[f"{what}_minus_{first}"] = mean_interval(apart, clusters, rng).as_dict()
        table["methods"][name] = row
    return table
