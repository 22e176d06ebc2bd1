"""What is wrong with a prediction before it is scored: errors that make it unusable, flags beside its scores.

Convention: an error is a `MotionError` with file, field and cure; the clip then counts as missed. A flag leaves the
scores as they are. Sizes are compared with the reference's own, angles with the reference's own motion.

Trap: a prediction in metres is not a bad prediction but another unit; scored as it is, it would pass for one that puts
all points at one place.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.motion.groups import SIDES
from bench.motion.records import ClipFlag
from spinemed.metrics.motion import seen_points
from spinemed.motion.conventions import UNITS_MM, MotionError
from spinemed.motion.dataset import SimulatedClip
from spinemed.motion.dataset.predictions import MotionPrediction

__all__ = ["check_frames", "check_radians", "check_size", "swapped_sides"]

_SWAP_MM = 30.0
"""Below this distance an exchange of sides cannot be told from noise."""


def check_frames(prediction: MotionPrediction, clip: SimulatedClip, file: Path) -> None:
    """Raise where frames or views are not those of the clip, or nothing at all is predicted.

    Raises:
        MotionError: See above.
    """
    if prediction.frames != clip.frames:
        raise MotionError(
            f"holds {prediction.frames} frames, the clip has {clip.frames}", file=file,
            field="points_mm" if prediction.points_mm is not None else "angles_deg",
            cure="predict every frame of the clip; NaN where nothing is predicted",
        )  # fmt: skip
    views = len(clip.cameras)
    if prediction.pixels is not None and len(prediction.pixels) != views:
        raise MotionError(
            f"holds {len(prediction.pixels)} views, the clip has {views}", file=file, field="pixels",
            cure="predict every view of the clip, in its order; NaN where nothing is predicted",
        )  # fmt: skip
    arrays = [prediction.points_mm, prediction.angles_deg, prediction.pixels]
    if not any(array is not None and np.isfinite(array).any() for array in arrays):
        raise MotionError(
            "predicts nothing: all values are NaN", file=file, field="points_mm", cure="check what wrote the file"
        )


def check_size(
    predicted: NDArray[np.float64], reference: NDArray[np.float64], file: Path | None = None
) -> ClipFlag | None:
    """Compare the spread of the points [T, K, 3] with the reference's.

    Returns:
        A flag for a body of an unusual size, or None.

    Raises:
        MotionError: Another unit of length explains the size.
    """
    common = seen_points(predicted) & seen_points(reference)
    frames = common.sum(axis=1) >= 3
    if not frames.any():
        return None
    spreads = []
    for points in (predicted, reference):
        kept = np.where(common[..., None], points, np.nan)[frames]
        spreads.append(float(np.median(np.nanmax(kept, axis=1) - np.nanmin(kept, axis=1), axis=0).max()))
    if spreads[1] <= 0:
        return None
    ratio = spreads[0] / spreads[1]
    for unit, millimetres in UNITS_MM.items():
        for wrong, words in (
            (1 / millimetres, f"look like {unit}"),
            (millimetres, f"were multiplied by {millimetres:g}"),
        ):
            if unit != "mm" and 0.6 < ratio / wrong < 1.7:
                raise MotionError(
                    f"the body is {ratio:.3g} times the reference's size: the points {words}", file=file,
                    field="points_mm", cure="write millimetres",
                )  # fmt: skip
    if not 0.6 < ratio < 1.7:
        return ClipFlag(name="unusual_size", text=f"the body is {ratio:.3g} times the reference's size")
    return None


def check_radians(predicted: NDArray[np.float64], reference: NDArray[np.float64], file: Path | None = None) -> None:
    """Raise where angles [T, S, 3] follow the reference at a scale of pi / 180.

    Raises:
        MotionError: See above.
    """
    there = np.isfinite(predicted) & np.isfinite(reference)
    guess, truth = predicted[there], reference[there]
    own, square = float(guess @ guess), float(truth @ truth)
    if not there.any() or own == 0.0 or square / truth.size < 1.0:
        return
    product = float(guess @ truth)
    if 0.7 < np.degrees(product / square) < 1.4 and product / np.sqrt(own * square) > 0.8:
        raise MotionError(
            "the angles are 1/57 of the reference's: they look like radians", file=file, field="angles_deg",
            cure="write degrees",
        )  # fmt: skip


def swapped_sides(predicted: NDArray[np.float64], reference: NDArray[np.float64]) -> ClipFlag | None:
    """Flag frames that an exchange of left and right would bring to less than half their distance.

    Args:
        predicted, reference: [T, 61, 3] in the order of `POINT_NAMES`.
    """
    paired = np.flatnonzero(np.arange(len(SIDES)) != SIDES)
    usable = seen_points(predicted[:, paired]) & seen_points(reference[:, paired])
    # Both of a pair must be there, in both arrays, or the exchange compares other points than the original.
    place = {int(column): i for i, column in enumerate(paired)}
    usable &= usable[:, [place[int(SIDES[column])] for column in paired]]
    frames = usable.sum(axis=1) >= 2
    if not frames.any():
        return None
    kept = usable[frames][..., None]

    def centred(points: NDArray[np.float64]) -> NDArray[np.float64]:
        part = np.where(kept, points[frames][:, paired], 0.0)
        return np.where(kept, part - part.sum(axis=1, keepdims=True) / kept.sum(axis=1, keepdims=True), 0.0)

    truth, count = centred(reference), usable[frames].sum(axis=1)
    as_given = np.sqrt(((centred(predicted) - truth) ** 2).sum(axis=(1, 2)) / count)
    exchanged = np.sqrt(((centred(predicted[:, SIDES]) - truth) ** 2).sum(axis=(1, 2)) / count)
    wrong = int(((exchanged < 0.5 * as_given) & (as_given > _SWAP_MM)).sum())
    if not wrong:
        return None
    return ClipFlag(name="sides_swapped", text=f"left and right look exchanged in {wrong} of {len(predicted)} frames")
