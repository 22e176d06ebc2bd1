"""Inverse kinematics of a whole clip: the most probable motion, with what it leaves unknown.

Convention: markers [T, K, 3] in a declared unit on z-up (or y-up) axes, NaN where missing; the answer is poses in mm
and rad on our axes (`conventions`). Maximum a posteriori by Gauss-Newton: Huber on markers with their covariance, a
prior in degrees (rhythm of nine regional angles, residuals of range/6), coupled in time, limits as stiff walls. Long
clips are solved in overlapping stretches, so memory does not grow with length.

The trap: the posterior is conditional on the model (proportions, rhythm, noise); it covers only where these agree with
the person. Surface points do not show every level: see `posterior.identifiability`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.motion.chain import Problem, Stretch, root_start, solve_alone, solve_stretch
from spinemed.motion.checks import Flag, check_shape, check_size, missing_flags, swap_order, upright_flags
from spinemed.motion.conventions import MotionError, from_up_axis, to_millimetres
from spinemed.motion.dynamics import Dynamics
from spinemed.motion.keypoints import keypoint_markers
from spinemed.motion.kinematics import marker_points
from spinemed.motion.limits import clamp, violations
from spinemed.motion.model import BodyModel, MarkerSet
from spinemed.motion.posterior import posterior_rows
from spinemed.motion.reduction import Reduction, choose_modes, reduce
from spinemed.motion.rhythm import Rhythm, build_rhythm
from spinemed.motion.scaling import Scaling, common_factor, fit_scaling, scale_markers

__all__ = ["FitOptions", "MotionFit", "fit_motion"]


@dataclass(frozen=True)
class FitOptions:
    """How a clip is fitted.

    Attributes:
        rhythm: Prior of the spine; None takes `build_rhythm()`.
        dynamics: Prior in time.
        sigma_mm: Standard deviation of a marker on each axis where no covariance is given; one or one per marker.
        huber: Residual in standard deviations from which a marker pulls less.
        reject: From which it is left out of the last search.
        scale: Parts whose proportions follow the clip: "all", "none" (the model is the subject), or names of
            `SCALE_GROUPS`.
        marker_sd_mm: How far each marker may sit from its table, by name; absent or 0 holds it. "*" stands for all.
        posterior: Whether to compute standard deviations.
        iterations, tolerance: Of the last search: how many steps, and the gain of cost per frame that ends it.
        stretch_frames: Frames solved together; `overlap_s` how long stretches overlap on either side.
        threads: Stretches solved at a time.
    """

    rhythm: Rhythm | None = None
    dynamics: Dynamics = field(default_factory=Dynamics)
    sigma_mm: float | Sequence[float] = 5.0
    huber: float = 3.0
    reject: float = 15.0
    scale: str | Sequence[str] = "all"
    marker_sd_mm: dict[str, float] = field(default_factory=dict)
    posterior: bool = True
    iterations: int = 12
    tolerance: float = 1e-2
    stretch_frames: int = 800
    overlap_s: float = 1.0
    threads: int = 1


@dataclass(frozen=True)
class MotionFit:
    """A fitted clip.

    Attributes:
        model, markers: The subject: the model scaled, and the markers on it.
        q: [T, n] poses in mm and rad.
        rate_hz: Frames per second.
        residual_mm: [T, K] distance of each marker from where the model puts it; NaN where missing.
        angle_sd_deg: [T, 25, 3] posterior standard deviation of each spine angle, or None.
        regional_sd_deg: [T, 3, 3] the same for the sums over lumbar, thoracic and cervical segments.
        scaling: Proportions found, or None.
        flags: Doubts; empty where there are none.
        cost, iterations, converged: Of the last search, summed or worst over stretches.
        beyond_limit: Share of frames with a spine angle more than half a degree beyond its limit: 0 after clamping.
        clamped: Number of frames in which an angle was set back to its limit.
        modes: Number of residual modes that the markers could see.
    """

    model: BodyModel
    markers: MarkerSet
    q: NDArray[np.float64]
    rate_hz: float
    residual_mm: NDArray[np.float64]
    angle_sd_deg: NDArray[np.float64] | None
    regional_sd_deg: NDArray[np.float64] | None
    scaling: Scaling | None
    flags: tuple[Flag, ...]
    cost: float
    iterations: int
    converged: bool
    beyond_limit: float
    clamped: int
    modes: int

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """[T, 25, 3] spine angles, segments caudal to cranial; flexion, lateral bending, axial rotation."""
        return self.model.spine_angles_deg(self.q)

    @property
    def regional_deg(self) -> NDArray[np.float64]:
        """[T, 3, 3] sums over the lumbar, thoracic and cervical segments."""
        rows = posterior_rows(self.model)[-9:]
        return np.asarray(np.degrees(self.q @ rows.T).reshape(-1, 3, 3))

    @property
    def rms_mm(self) -> dict[str, float]:
        """Root mean square residual of each marker over the frames that show it (NaN where none does)."""
        squares = np.where(np.isfinite(self.residual_mm), self.residual_mm**2, 0.0).sum(axis=0)
        count = np.isfinite(self.residual_mm).sum(axis=0)
        values = np.sqrt(squares / np.where(count > 0, count, np.nan))
        return dict(zip(self.markers.names, values.tolist(), strict=True))

    def points_mm(self, markers: MarkerSet | None = None) -> NDArray[np.float64]:
        """[T, K, 3] points of the fitted subject: the fit's own markers, or others taken from `self.model`."""
        return marker_points(self.model, self.q, markers or self.markers)


def fit_motion(
    points: ArrayLike,
    model: BodyModel,
    markers: MarkerSet | Sequence[str],
    *,
    rate_hz: float,
    unit: str = "mm",
    up: str = "z",
    covariance_mm2: ArrayLike | None = None,
    options: FitOptions | None = None,
) -> MotionFit:
    """Fit a clip.

    Args:
        points: [T, K, 3] in `unit`; NaN where a marker is missing.
        model: The body before scaling.
        markers: Where the K markers sit: a set, or names of SpineTrack keypoints.
        rate_hz: Frames per second.
        unit: "mm", "cm" or "m".
        up: "z", or "y" for laboratories whose x runs forward and y up.
        covariance_mm2: [K, 3, 3] or [T, K, 3, 3] of the markers, from triangulation, on the axes of `points`.
        options: How; None takes the defaults.

    Raises:
        MotionError: see `checks`; also for a rate, covariance or option that is unusable.
    """
    options = options or FitOptions()
    names = markers.names if isinstance(markers, MarkerSet) else tuple(markers)
    raw = np.asarray(points, dtype=np.float64)
    check_shape(raw, names)
    if not (np.isfinite(rate_hz) and rate_hz > 0):
        raise MotionError(f"{rate_hz} frames per second", field="rate_hz", cure="give a positive number")
    placed = markers if isinstance(markers, MarkerSet) else keypoint_markers(model, names)
    seen = np.ascontiguousarray(from_up_axis(to_millimetres(raw, unit), up))
    seen[~np.isfinite(seen).all(axis=-1)] = np.nan
    there = np.asarray(np.isfinite(seen).all(axis=-1))
    weight = _weights(seen, covariance_mm2, up, options, len(names))
    factor = common_factor(model, placed, seen)
    if not np.isfinite(factor):
        factor = 1.0
    flags = [*check_size(factor, unit), *missing_flags(there, names)]
    rhythm = options.rhythm or build_rhythm()
    subject, placed, scaling, reduction, more = _subject(
        model, placed, rhythm, seen, weight, factor, rate_hz, unit, options
    )
    flags += more
    problem = Problem(
        subject, placed, reduction, options.dynamics, 1.0 / rate_hz, options.huber, options.reject, options.iterations,
        options.tolerance, posterior_rows(subject),
    )  # fmt: skip
    solved = _solve(problem, seen, weight, rate_hz, options)
    q, clamped = clamp(subject, solved.q)
    residual = np.linalg.norm(seen - marker_points(subject, q, placed), axis=-1)
    flags += _fit_flags(subject, placed, q, seen, weight, residual, solved.converged, clamped, options)
    angle_sd = regional_sd = None
    if solved.variances is not None:
        sd = np.degrees(np.sqrt(np.maximum(solved.variances, 0.0)))
        angle_sd, regional_sd = sd[:, :75].reshape(-1, 25, 3), sd[:, 75:].reshape(-1, 3, 3)
    return MotionFit(
        model=subject, markers=placed, q=q, rate_hz=float(rate_hz), residual_mm=residual, angle_sd_deg=angle_sd,
        regional_sd_deg=regional_sd, scaling=scaling, flags=tuple(flags), cost=solved.cost,
        iterations=solved.iterations, converged=solved.converged, beyond_limit=violations(subject, q),
        clamped=clamped, modes=reduction.modes,
    )  # fmt: skip


def _weights(
    seen: NDArray[np.float64], covariance: ArrayLike | None, up: str, options: FitOptions, count: int
) -> NDArray[np.float64]:
    """Inverse covariances [1 or T, K, 3, 3] in 1/mm^2."""
    if covariance is None:
        sigma = np.broadcast_to(np.asarray(options.sigma_mm, dtype=np.float64), (count,))
        if not (np.isfinite(sigma) & (sigma > 0)).all():
            raise MotionError("a standard deviation is not positive", field="sigma_mm", cure="give millimetres above 0")
        return np.ascontiguousarray((np.eye(3) / sigma[:, None, None] ** 2)[None])
    given = np.asarray(covariance, dtype=np.float64)
    if given.ndim == 3:
        given = given[None]
    if given.shape not in {(1, count, 3, 3), (len(seen), count, 3, 3)}:
        raise MotionError(
            f"covariances of shape {given.shape} do not fit {len(seen)} frames of {count} markers",
            field="covariance_mm2", cure="give [K, 3, 3] or [T, K, 3, 3]",
        )  # fmt: skip
    if given.shape[0] == len(seen):
        # Where nothing was seen no covariance is needed.
        gone = np.asarray(~np.isfinite(seen).all(axis=-1))
        given = np.where(gone[..., None, None], np.eye(3), given)
    turn = from_up_axis(np.eye(3), up)  # rows are the images of the axes
    given = np.einsum("ia,...ij,jb->...ab", turn, given, turn)
    if not np.isfinite(given).all() or np.linalg.eigvalsh(given).min() <= 0:
        raise MotionError(
            "a covariance is not positive definite", field="covariance_mm2",
            cure="give finite covariances in mm^2, or sigma_mm instead",
        )  # fmt: skip
    return np.ascontiguousarray(np.linalg.inv(given))


def _subject(
    model: BodyModel,
    markers: MarkerSet,
    rhythm: Rhythm,
    seen: NDArray[np.float64],
    weight: NDArray[np.float64],
    factor: float,
    rate_hz: float,
    unit: str,
    options: FitOptions,
) -> tuple[BodyModel, MarkerSet, Scaling | None, Reduction, list[Flag]]:
    """Scale the model on some frames, look for exchanged sides, and choose what the markers can show."""
    from spinemed.motion.model import SCALE_GROUPS

    flags: list[Flag] = []
    there = np.asarray(np.isfinite(seen).all(axis=-1))
    shown = there.sum(axis=1)
    good = np.flatnonzero(shown >= max(3, 0.6 * np.median(shown)))
    some = good[np.unique(np.linspace(0, len(good) - 1, min(40, len(good))).astype(int))]
    part, part_weight = seen[some], np.ascontiguousarray(np.broadcast_to(weight, (len(seen), *weight.shape[1:]))[some])
    part_weight = np.where(np.isfinite(part).all(axis=-1)[..., None, None], part_weight, 0.0)
    parts = SCALE_GROUPS if options.scale == "all" else () if options.scale == "none" else tuple(options.scale)
    unknown = [name for name in parts if name not in SCALE_GROUPS]
    if unknown or (isinstance(options.scale, str) and options.scale not in {"all", "none"}):
        raise MotionError(
            f"{options.scale!r} names no part", field="scale", cure=f'use "all", "none" or {", ".join(SCALE_GROUPS)}'
        )
    parts = tuple(name for name in parts if SCALE_GROUPS.index(name) in set(model.group.tolist()))
    subject, placed = model, markers
    if parts == tuple(name for name in SCALE_GROUPS if SCALE_GROUPS.index(name) in set(model.group.tolist())):
        same = dict.fromkeys(SCALE_GROUPS, factor)
        subject, placed = model.scaled(same), scale_markers(model, markers, same)
    seen_frames = min(2.0 * options.dynamics.residual_memory_s * rate_hz, len(seen))

    def reduced(poses: NDArray[np.float64]) -> Reduction:
        return reduce(
            subject, rhythm, choose_modes(subject, rhythm, placed, poses, part_weight[: len(poses)], seen_frames)
        )

    rest = np.repeat(subject.zero(), min(len(some), 6), axis=0)
    reduction = reduced(rest)
    bare = Problem(
        subject,
        placed,
        reduction,
        options.dynamics,
        1.0 / rate_hz,
        options.huber,
        options.reject,
        1,
        0.0,
        np.zeros((0, model.size)),
    )
    x, cost = solve_alone(bare, root_start(subject, placed, part), part, part_weight)
    order = swap_order(markers.names)
    if (order != np.arange(len(order))).any():
        few = slice(0, None, max(1, len(part) // 8))
        mirrored = np.ascontiguousarray(part[few][:, order])
        _, other = solve_alone(bare, root_start(subject, placed, mirrored), mirrored, part_weight[few][:, order])
        # A turned body fits markers of exchanged sides only by bending the wrong way, so the margin is wide.
        if other.sum() < 0.5 * cost[few].sum() and (other < cost[few]).mean() > 0.6:
            flags.append(Flag("left_right_swapped", "the clip fits much better with left and right exchanged"))
    scaling = None
    marker_sd = np.array(
        [options.marker_sd_mm.get(name, options.marker_sd_mm.get("*", 0.0)) for name in markers.names], dtype=np.float64
    )
    if parts or (marker_sd > 0).any():
        scaling, x = fit_scaling(
            subject, placed, reduction, x, part, part_weight, options.huber, parts=parts, marker_sd_mm=marker_sd,
            frames=some.tolist(),
        )  # fmt: skip
        placed = MarkerSet(markers.names, markers.body, scaling.local_mm)
        subject = subject.scaled(scaling.factors)
        total = {
            name: value for name, value in zip(SCALE_GROUPS, subject.scale, strict=True) if name in scaling.factors
        }
        scaling = Scaling(total, scaling.sd, scaling.local_mm, scaling.frames)
    poses = (x @ reduction.matrix().T)[:: max(1, len(x) // 6)]
    part_weight = part_weight[:: max(1, len(x) // 6)]
    return subject, placed, scaling, reduced(poses), flags


def _solve(
    problem: Problem, seen: NDArray[np.float64], weight: NDArray[np.float64], rate_hz: float, options: FitOptions
) -> Stretch:
    """Solve overlapping stretches, at most `threads` at a time, and keep the middle of each."""
    frames = len(seen)
    length = max(options.stretch_frames, 8)
    margin = max(8, round(options.overlap_s * rate_hz))
    count = max(1, -(-frames // length)) if frames > length + margin else 1
    edges = np.linspace(0, frames, count + 1).round().astype(int)

    def one(number: int) -> tuple[int, int, Stretch]:
        low, high = max(0, edges[number] - margin), min(frames, edges[number + 1] + margin)
        part = weight if len(weight) == 1 else np.ascontiguousarray(weight[low:high])
        found = solve_stretch(problem, np.ascontiguousarray(seen[low:high]), part, posterior=options.posterior)
        own = slice(edges[number] - low, edges[number + 1] - low)
        variances = None if found.variances is None else found.variances[own].copy()
        kept = Stretch(found.q[own].copy(), variances, found.cost, found.iterations, found.converged)
        return int(edges[number]), int(edges[number + 1]), kept

    q = np.empty((frames, problem.model.size))
    variances = np.empty((frames, len(problem.rows))) if options.posterior else None
    cost, iterations, converged = 0.0, 0, True
    with ThreadPoolExecutor(max(1, options.threads)) as pool:
        for low, high, part in pool.map(one, range(count)):
            if low > 0:
                part.q[:, 3:6] += 2 * np.pi * np.round((q[low - 1, 3:6] - part.q[0, 3:6]) / (2 * np.pi))
            q[low:high] = part.q
            if variances is not None and part.variances is not None:
                variances[low:high] = part.variances
            cost += part.cost
            iterations, converged = max(iterations, part.iterations), converged and part.converged
    return Stretch(q, variances, cost, iterations, converged)


def _fit_flags(
    model: BodyModel,
    markers: MarkerSet,
    q: NDArray[np.float64],
    seen: NDArray[np.float64],
    weight: NDArray[np.float64],
    residual: NDArray[np.float64],
    converged: bool,
    clamped: int,
    options: FitOptions,
) -> list[Flag]:
    """Doubts that only a finished fit can raise."""
    flags = []
    there = np.isfinite(residual)
    sigma = np.sqrt(3.0 / np.einsum("tkii->tk", weight))
    far = there & (residual > options.huber * np.sqrt(3.0) * sigma)
    rejected = tuple(
        name for k, name in enumerate(markers.names) if there[:, k].any() and far[:, k].sum() > 0.5 * there[:, k].sum()
    )
    if rejected:
        flags.append(Flag("markers_far_off", "in most frames far from where the model can put them", rejected))
    order = swap_order(markers.names)
    fitted = marker_points(model, q, markers)
    crossed = []
    for k, other in enumerate(order):
        if k < other:
            straight = residual[:, k] + residual[:, other]
            turned = np.linalg.norm(seen[:, other] - fitted[:, k], axis=-1) + np.linalg.norm(
                seen[:, k] - fitted[:, other], axis=-1
            )
            both = np.isfinite(straight)
            if both.any() and (turned[both] < 0.5 * straight[both]).mean() > 0.5:
                crossed += [markers.names[k], markers.names[other]]
    if crossed:
        flags.append(Flag("sides_exchanged", "these pairs fit better with left and right exchanged", tuple(crossed)))
    with np.errstate(invalid="ignore"):
        whole = float(np.sqrt(np.nanmean(residual**2) / 3.0))
    if whole > 3.0 * float(np.median(sigma)) and whole > 10.0:
        flags.append(Flag("poor_fit", f"residual {whole:.0f} mm per axis against an assumed {np.median(sigma):.0f} mm"))
    if not converged:
        flags.append(Flag("not_converged", "the search was still gaining when it ended"))
    if clamped > 0.001 * len(q):
        flags.append(Flag("limits_reached", f"angles were set back to their limits in {clamped} of {len(q)} frames"))
    trunk = marker_points(model, q, MarkerSet(("S", "C7"), np.array([0, 18]), np.zeros((2, 3))))
    axis = trunk[:, 1] - trunk[:, 0]
    return flags + upright_flags(axis / np.linalg.norm(axis, axis=1, keepdims=True))
