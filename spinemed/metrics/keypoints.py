"""Metrics of keypoints in pictures: OKS, and AP and AR by COCO's keypoint rule.

Convention: pixels [N, K, 2], one row per picture; labelled and missed as in :mod:`spinemed.metrics.motion`. A missed
point counts as 0 in OKS.

Source: COCO's keypoint rule (101 recall points, thresholds 0.50 to 0.95 in steps of 0.05).

The trap: without an outline of the person the area is a share of the box around the labelled points, so figures compare
only with others that use the same share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import MetricError
from spinemed.metrics.motion import pair_of, seen_points

__all__ = ["AREA_SHARE", "OKS_THRESHOLDS", "AveragePrecision", "average_precision", "oks", "picture_area_px2"]

OKS_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""What OKS a predicted picture must reach to count as right, one after the other."""
_RECALLS = np.linspace(0.0, 1.0, 101)

AREA_SHARE = 0.53
"""Area of a person as a share of the box around the keypoints, where no outline is known; the factor that MMPose uses
for data sets without areas (from memory)."""


def picture_area_px2(reference: ArrayLike) -> NDArray[np.float64]:
    """[N] area of the person in each picture: `AREA_SHARE` of the box around the labelled points [N, K, 2].

    NaN where fewer than two points are labelled.
    """
    points = np.asarray(reference, dtype=np.float64)
    there = seen_points(points)
    low = np.where(there[..., None], points, np.inf).min(axis=1)
    high = np.where(there[..., None], points, -np.inf).max(axis=1)
    enough = there.sum(axis=1) >= 2
    sides = np.where(enough[:, None], high - np.where(np.isfinite(low), low, 0.0), np.nan)
    return np.asarray(AREA_SHARE * sides[:, 0] * sides[:, 1])


def oks(predicted: ArrayLike, reference: ArrayLike, area_px2: ArrayLike, sigmas: ArrayLike) -> NDArray[np.float64]:
    """COCO's object keypoint similarity of each picture: mean over labelled points of exp(-d^2 / (8 area sigma^2)).

    Args:
        predicted, reference: [N, K, 2] pixels. A missed point counts as 0.
        area_px2: [N] area of the person.
        sigmas: [K].

    Returns:
        [N]; NaN where no point is labelled or the area is unknown or 0.

    Raises:
        MetricError: Shapes differ, or not one sigma per point and one area per picture.
    """
    left, right = pair_of(predicted, reference, 3, 2)
    area, sigma = np.asarray(area_px2, dtype=np.float64), np.asarray(sigmas, dtype=np.float64)
    if area.shape != left.shape[:1] or sigma.shape != left.shape[1:2]:
        raise MetricError(
            f"areas of shape {area.shape} and sigmas of shape {sigma.shape} for {left.shape[:2]} points",
            field="sigmas", cure="give one area per picture and one sigma per point",
        )  # fmt: skip
    labelled = seen_points(right)
    usable = labelled.any(axis=1) & np.isfinite(area) & (area > 0)
    square = ((left - right) ** 2).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = 2.0 * np.where(usable, area, np.nan)[:, None] * (2.0 * sigma) ** 2
        likeness = np.exp(-square / (spread + np.spacing(1.0)))
    likeness = np.where(labelled & np.isfinite(likeness), likeness, 0.0)
    return np.where(usable, likeness.sum(axis=1) / np.maximum(labelled.sum(axis=1), 1), np.nan)


@dataclass(frozen=True)
class AveragePrecision:
    """COCO's average precision and recall of one person per picture; None without a picture to judge."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ar: float | None
    pictures: int
    undetected: int
    """Pictures with a person and without any predicted point."""
    left_out: int
    """Pictures without a labelled point."""


def average_precision(likeness: ArrayLike, scores: ArrayLike, detected: ArrayLike) -> AveragePrecision:
    """AP and AR by COCO's rule for pictures that show one person each and hold at most one prediction.

    Args:
        likeness: [N] OKS; NaN where there is nothing to judge by (left out, with its prediction, and counted).
        scores: [N] what the predictions are sorted by, highest first; ties keep their order, as in COCO's code.
        detected: [N] whether the picture has a prediction at all.

    Raises:
        MetricError: Not three flat arrays of one length, or a score of a prediction that is not finite.
    """
    value, score = np.asarray(likeness, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    there = np.asarray(detected, dtype=bool)
    if not (value.ndim == 1 and value.shape == score.shape == there.shape):
        raise MetricError(f"shapes {value.shape}, {score.shape}, {there.shape}", field="scores", cure="give [N] each")
    judged = np.isfinite(value)
    value, score, there = value[judged], score[judged], there[judged]
    people, left_out = int(value.size), int((~judged).sum())
    if people == 0:
        return AveragePrecision(None, None, None, None, 0, 0, left_out)
    value, score = value[there], score[there]
    if not np.isfinite(score).all():
        raise MetricError("a prediction has no score", field="scores", cure="give each prediction a finite score")
    order = np.argsort(-score, kind="mergesort")
    precisions, recalls = [], []
    for threshold in OKS_THRESHOLDS:
        hit = value[order] >= threshold
        true, false = np.cumsum(hit), np.cumsum(~hit)
        recall = true / people
        precision = true / (true + false + np.spacing(1.0))
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, _RECALLS, side="left")
        reached = at < envelope.size
        taken = np.zeros(_RECALLS.size)
        taken[reached] = envelope[at[reached]]
        precisions.append(float(taken.mean()))
        recalls.append(float(recall[-1]) if recall.size else 0.0)
    return AveragePrecision(
        ap=float(np.mean(precisions)), ap50=precisions[0], ap75=precisions[5], ar=float(np.mean(recalls)),
        pictures=people, undetected=people - int(there.sum()), left_out=left_out,
    )  # fmt: skip
