"""Metrics of moving bodies: distances of points, joint angles, smoothness, and honest intervals.

Convention: arrays of one clip, frames first: points [T, K, 3] in mm, pixels [N, K, 2] (one row per picture), angles
[T, S, 3] in degrees. A point is *labelled* where the reference is finite and *missed* where it is labelled and the
prediction is not finite. An unlabelled point counts for nothing. A missed point:

- has no distance and stays out of plain means, which carry `missed` beside `n`;
- counts as the cap in a capped mean, as wrong in PCK and AUC, and as 0 in OKS.

Sources of the formulas: MPJPE and P-MPJPE as used on Human3.6M (Ionescu 2014; Martinez 2017, "protocol 1 and 2");
N-MPJPE (Rhodin 2018): root moved, scale by least squares; PCK and AUC as in MMPose's functional form: strictly below
the threshold, share per point, mean over points; 20 thresholds i/20 of the norm factor, i = 0 ... 19, so that no AUC
exceeds 0.95. OKS, AP and AR of pictures: :mod:`spinemed.metrics.keypoints`.

The trap: "MPJPE" of a lifter usually means root-relative, that of several cameras means in the world. Both are here
under names of their own. The root's own error is 0 by construction and is left out of root-relative means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import MetricError

__all__ = [
    "AUC_STEPS",
    "CAP_MM",
    "AngleErrors",
    "ClipMean",
    "Jitter",
    "PoseErrors",
    "RangeViolations",
    "angle_errors",
    "auc",
    "capped_mean",
    "coverage",
    "covered",
    "jitter",
    "mean_of",
    "pair_of",
    "pck",
    "pose_errors",
    "range_violations",
    "seen_points",
    "segment_variation_percent",
]

CAP_MM = 500.0
"""What a missed point counts as in a capped mean, and what no distance exceeds there."""

AUC_STEPS = 20


@dataclass(frozen=True)
class ClipMean:
    """A mean with what it rests on; `value` is None where nothing could be measured."""

    value: float | None
    n: int
    missed: int


@dataclass(frozen=True, eq=False)
class PoseErrors:
    """Distances of every point in every frame in mm, NaN where they cannot be measured.

    Attributes:
        plain_mm: [T, K] in the world.
        rooted_mm: [T, K] after moving the predicted root onto the reference's; all NaN in a frame without both roots.
        scaled_mm: [T, K] after that and the best scale.
        aligned_mm: [T, K] after the best similarity without mirroring; NaN in a frame with fewer than three common
            points, or whose predicted points coincide.
        labelled, missed: [T, K].
        root: Number of the root point, or None.
    """

    plain_mm: NDArray[np.float64]
    rooted_mm: NDArray[np.float64]
    scaled_mm: NDArray[np.float64]
    aligned_mm: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    missed: NDArray[np.bool_]
    root: int | None

    @property
    def mpjpe(self) -> ClipMean:
        """Mean distance in the world."""
        return mean_of(self.plain_mm, self.labelled)

    @property
    def capped(self) -> ClipMean:
        """The same with at most `CAP_MM` per point, which a missed one counts as."""
        return capped_mean(self.plain_mm, self.labelled)

    @property
    def root_mpjpe(self) -> ClipMean:
        """Mean distance to the reference with roots together, without the root itself."""
        return mean_of(self.rooted_mm, self._without_root)

    @property
    def n_mpjpe(self) -> ClipMean:
        """Mean distance after root and scale, without the root itself."""
        return mean_of(self.scaled_mm, self._without_root)

    @property
    def p_mpjpe(self) -> ClipMean:
        """Mean distance after the best similarity of each frame."""
        return mean_of(self.aligned_mm, self.labelled)

    @property
    def _without_root(self) -> NDArray[np.bool_]:
        if self.root is None:
            return np.zeros_like(self.labelled)
        kept = self.labelled.copy()
        kept[:, self.root] = False
        return kept


def pose_errors(predicted: ArrayLike, reference: ArrayLike, *, root: int | None = None) -> PoseErrors:
    """Distances of predicted to reference points after each kind of alignment.

    Args:
        predicted, reference: [T, K, 3] mm; NaN where not predicted or not labelled.
        root: Number of the root point for root-relative errors; None for no such errors.

    Raises:
        MetricError: Shapes differ or are not [T, K, 3], or there is no such root.
    """
    from spinemed.metrics.motion_kernels import pose_kernel

    left, right = pair_of(predicted, reference, 3, 3)
    if root is not None and not 0 <= root < left.shape[1]:
        raise MetricError(f"no point {root} among {left.shape[1]}", field="root", cure="give the number of a point")
    plain, rooted, scaled, aligned = (np.empty(left.shape[:2]) for _ in range(4))
    pose_kernel(left, right, -1 if root is None else root, plain, rooted, scaled, aligned)
    labelled = seen_points(right)
    return PoseErrors(plain, rooted, scaled, aligned, labelled, labelled & ~seen_points(left), root)


def pair_of(predicted: ArrayLike, reference: ArrayLike, axes: int, last: int) -> tuple[NDArray[np.float64], ...]:
    """Prediction and reference as arrays of one shape.

    Args:
        predicted, reference: Arrays of `axes` axes whose last holds `last` values.

    Raises:
        MetricError: The shapes differ or are others.
    """
    left = np.ascontiguousarray(predicted, dtype=np.float64)
    right = np.ascontiguousarray(reference, dtype=np.float64)
    if left.shape != right.shape or left.ndim != axes or left.shape[-1] != last:
        raise MetricError(
            f"a prediction of shape {left.shape} and a reference of shape {right.shape}", field="predicted",
            cure=f"give both with the same frames and points and {last} values each",
        )  # fmt: skip
    return left, right


def seen_points(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Points all of whose coordinates are finite."""
    return np.asarray(np.isfinite(points).all(axis=-1), dtype=np.bool_)


def mean_of(errors: NDArray[np.float64], labelled: NDArray[np.bool_]) -> ClipMean:
    """Mean of the finite errors where labelled; what is labelled and not finite is `missed`."""
    there = labelled & np.isfinite(errors)
    n = int(there.sum())
    return ClipMean(float(errors[there].mean()) if n else None, n, int(labelled.sum()) - n)


def capped_mean(errors: NDArray[np.float64], labelled: NDArray[np.bool_], cap: float = CAP_MM) -> ClipMean:
    """Mean of errors cut at a cap, missed ones counted as the cap."""
    n = int(labelled.sum())
    there = labelled & np.isfinite(errors)
    missed = n - int(there.sum())
    total = float(np.minimum(errors[there], cap).sum()) + cap * missed
    return ClipMean(total / n if n else None, n, missed)


def pck(errors: NDArray[np.float64], labelled: NDArray[np.bool_], threshold: float) -> float | None:
    """Share of correct keypoints: errors [N, K] strictly below the threshold, share per point, mean over points.

    A missed point is wrong. A point labelled nowhere is left out; None where none is labelled.
    """
    counts = labelled.sum(axis=0)
    with np.errstate(invalid="ignore"):
        hits = (labelled & (errors < threshold)).sum(axis=0)
    kept = counts > 0
    return float((hits[kept] / counts[kept]).mean()) if kept.any() else None


def auc(errors: NDArray[np.float64], labelled: NDArray[np.bool_], norm_factor: float) -> float | None:
    """Mean PCK over the thresholds i/20 of a norm factor, i = 0 ... 19; at most 0.95. See the module docstring.

    Args:
        errors, labelled: [N, K]; errors in the unit of the norm factor.
        norm_factor: Distance that counts as 1: 30 px is the default of MMPose's metric; SIMSPINE states none.

    Raises:
        MetricError: The norm factor is not above 0.
    """
    if not norm_factor > 0:
        raise MetricError(f"a norm factor of {norm_factor}", field="norm_factor", cure="give a distance above 0")
    counts = labelled.sum(axis=0)
    kept = counts > 0
    if not kept.any():
        return None
    # Thresholds that lie strictly above a ratio, counted at once; NaN sorts behind them all and passes none.
    passed = AUC_STEPS - np.searchsorted(np.arange(AUC_STEPS) / AUC_STEPS, errors / norm_factor, side="right")
    return float((np.where(labelled, passed, 0).sum(axis=0)[kept] / counts[kept]).mean() / AUC_STEPS)


# --- angles ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class AngleErrors:
    """How far predicted angles lie from the reference's, per segment and direction; NaN where nothing was predicted.

    Attributes:
        mean_abs_deg, bias_deg: [S, 3] mean absolute difference; mean of predicted minus reference.
        n, missed: [S, 3] frames compared, and frames labelled and not predicted.
        moved, followed: [S, 3] sums of squares and products about the clip's means (reference with itself, predicted
            with reference): `followed / moved` is the recovered over the true motion, and the sums of several clips
            may be added first.
    """

    mean_abs_deg: NDArray[np.float64]
    bias_deg: NDArray[np.float64]
    n: NDArray[np.int64]
    missed: NDArray[np.int64]
    moved: NDArray[np.float64]
    followed: NDArray[np.float64]


def angle_errors(predicted: ArrayLike, reference: ArrayLike) -> AngleErrors:
    """Differences of joint angles [T, S, 3] in degrees, over the frames in which both are finite.

    Angles are compared as they are: joints of the spine stay far from half a turn, so nothing is wrapped.

    Raises:
        MetricError: Shapes differ or are not [T, S, 3].
    """
    left, right = pair_of(predicted, reference, 3, 3)
    labelled = np.isfinite(right)
    there = labelled & np.isfinite(left)
    n = there.sum(axis=0)
    truth, guess = np.where(there, right, 0.0), np.where(there, left, 0.0)
    count = np.maximum(n, 1)
    centred = np.where(there, truth - truth.sum(axis=0) / count, 0.0)
    guessed = np.where(there, guess - guess.sum(axis=0) / count, 0.0)
    step = guess - truth
    return AngleErrors(
        mean_abs_deg=np.where(n > 0, np.abs(step).sum(axis=0) / count, np.nan),
        bias_deg=np.where(n > 0, step.sum(axis=0) / count, np.nan),
        n=n,
        missed=labelled.sum(axis=0) - n,
        moved=(centred**2).sum(axis=0),
        followed=(centred * guessed).sum(axis=0),
    )


@dataclass(frozen=True)
class RangeViolations:
    """How often predicted angles lie beyond a range of motion; shares are None without a predicted angle."""

    frames: int
    """Frames with at least one predicted angle."""
    frames_beyond: int
    """Of these, frames with any angle beyond its limit by more than the tolerance."""
    angles: int
    angles_beyond: int
    worst_deg: float
    """Largest excess over a limit, 0 where none."""

    @property
    def share(self) -> float | None:
        """Share of frames."""
        return self.frames_beyond / self.frames if self.frames else None


def range_violations(
    angles_deg: ArrayLike, low_deg: ArrayLike, high_deg: ArrayLike, *, tolerance_deg: float = 0.5
) -> RangeViolations:
    """Count angles [T, S, 3] beyond limits [S, 3] by more than a tolerance; NaN is no violation and no angle.

    Raises:
        MetricError: Limits do not fit the angles.
    """
    angles = np.asarray(angles_deg, dtype=np.float64)
    low, high = np.asarray(low_deg, dtype=np.float64), np.asarray(high_deg, dtype=np.float64)
    if angles.shape[1:] != low.shape or low.shape != high.shape:
        raise MetricError(f"limits {low.shape} for angles {angles.shape}", field="low_deg", cure="give [S, 3]")
    there = np.isfinite(angles)
    excess = np.where(there, np.maximum(angles - high, low - angles), 0.0)
    beyond = excess > tolerance_deg
    return RangeViolations(
        frames=int(there.any(axis=(1, 2)).sum()),
        frames_beyond=int(beyond.any(axis=(1, 2)).sum()),
        angles=int(there.sum()),
        angles_beyond=int(beyond.sum()),
        worst_deg=max(0.0, float(excess.max(initial=0.0))),
    )


def coverage(errors_deg: ArrayLike, sd_deg: ArrayLike, nominal: float) -> ClipMean:
    """Share of errors inside the central normal interval of their stated standard deviation.

    Args:
        errors_deg: Predicted minus reference, any shape; NaN where either is absent.
        sd_deg: Stated standard deviations of the same shape; NaN where none is stated. With 0 only a right value is
            covered.
        nominal: E.g. 0.9.

    Returns:
        Value: the share; `missed`: errors without a stated standard deviation.

    Raises:
        MetricError: Shapes differ, a negative deviation, or a nominal share outside 0 to 1.
    """
    inside, stated = covered(errors_deg, sd_deg, nominal)
    n = int(stated.sum())
    missed = int(np.isfinite(np.asarray(errors_deg, dtype=np.float64)).sum()) - n
    return ClipMean(float(inside.sum() / n) if n else None, n, missed)


def covered(errors_deg: ArrayLike, sd_deg: ArrayLike, nominal: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which errors lie inside their interval, and which have one at all; see `coverage`.

    Raises:
        MetricError: Shapes differ, a negative deviation, or a nominal share outside 0 to 1.
    """
    from scipy.special import ndtri  # the normal quantile

    error, sd = np.asarray(errors_deg, dtype=np.float64), np.asarray(sd_deg, dtype=np.float64)
    if error.shape != sd.shape or not 0 < nominal < 1 or (sd < 0).any():
        raise MetricError(
            f"errors {error.shape}, deviations {sd.shape}, nominal {nominal}", field="sd_deg",
            cure="give deviations of 0 or more in the shape of the errors, and a share between 0 and 1",
        )  # fmt: skip
    stated = np.asarray(np.isfinite(error) & np.isfinite(sd), dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        inside = np.abs(error) <= ndtri((1 + nominal) / 2) * sd
    return np.asarray(stated & inside, dtype=np.bool_), stated


# --- bodies in time --------------------------------------------------------------------------------------------------


def segment_variation_percent(points_mm: ArrayLike, pairs: ArrayLike) -> NDArray[np.float64]:
    """Coefficient of variation over time of the distance between points of a rigid part, in percent.

    Args:
        points_mm: [T, K, 3]; NaN where absent.
        pairs: [P, 2] numbers of points.

    Returns:
        [P] standard deviation over mean; NaN with fewer than two frames that show both, or a mean of 0.
    """
    points, pair = np.asarray(points_mm, dtype=np.float64), np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    length = np.sqrt(((points[:, pair[:, 0]] - points[:, pair[:, 1]]) ** 2).sum(axis=-1))
    there = np.isfinite(length)
    n = there.sum(axis=0)
    count = np.maximum(n, 1)
    mean = np.where(there, length, 0.0).sum(axis=0) / count
    spread = np.sqrt(np.where(there, (length - mean) ** 2, 0.0).sum(axis=0) / count)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((n >= 2) & (mean > 0), 100.0 * spread / mean, np.nan)


@dataclass(frozen=True)
class Jitter:
    """Difference of second and third derivatives in time: how restless a prediction is where the reference is not.

    `acceleration.missed` and `jerk.missed` count the windows that a missed point broke.
    """

    acceleration: ClipMean
    """mm/s^2: mean length of the difference of accelerations (Kanazawa 2019 calls it acceleration error)."""
    jerk: ClipMean
    """mm/s^3, the same of the third derivative."""


def jitter(predicted: ArrayLike, reference: ArrayLike, rate_hz: float) -> Jitter:
    """Acceleration and jerk error by central differences of neighbouring frames.

    Args:
        predicted, reference: [T, K, 3] mm.
        rate_hz: Frames per second.

    Raises:
        MetricError: Shapes differ, or the rate is not above 0.
    """
    if not rate_hz > 0:
        raise MetricError(f"a rate of {rate_hz} Hz", field="rate_hz", cure="give frames per second")
    left, right = pair_of(predicted, reference, 3, 3)
    found = []
    step = left - right
    labelled = seen_points(right)
    for order in (2, 3):
        if len(step) <= order:
            found.append(ClipMean(None, 0, 0))
            continue
        # Differences are linear: the derivative of the error is the error of the derivative.
        derivative = np.sqrt((np.diff(step, n=order, axis=0) ** 2).sum(axis=-1)) * rate_hz**order
        windows = np.lib.stride_tricks.sliding_window_view(labelled, order + 1, axis=0)
        whole = np.asarray(windows.all(axis=-1), dtype=np.bool_)
        found.append(mean_of(derivative, whole))
    return Jitter(*found)
