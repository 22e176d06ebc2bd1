"""Fit one stretch of a clip: start from rigid parts, solve a thinned stretch, then all frames, in compiled steps.

Convention: `solve_stretch` sees millimetres on our axes, markers in the model's order, NaN where nothing was seen.
The trap: poses are continuous within a stretch; between stretches the heading may differ by whole turns, which
`fit` removes when it joins them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.conventions import MotionError
from spinemed.motion.dynamics import Dynamics, Process, discretise
from spinemed.motion.kinematics import marker_points
from spinemed.motion.model import BodyModel, MarkerSet
from spinemed.motion.reduction import ROOT_UNITS, Reduction
from spinemed.motion.rotations import rigid_fit, zyx_angles
from spinemed.motion.scaling import trunk_like

__all__ = ["Problem", "Stretch", "root_start", "solve_alone", "solve_stretch"]

# A tenth of a degree beyond a limit costs as much as a marker one standard deviation off.
_WALL_SD_RAD = np.radians(0.1)
_THIN_S = 0.12
# The thinned stretch only starts the search over all frames, which repairs what this gain of cost per frame leaves.
_THIN_TOLERANCE = 1.0
# Within how many tolerances a search may end by its rate: further out the rate is not to be trusted.
_NEAR = 50.0
# A straight knee or elbow lies between bending the right way and the wrong one; from there a search may end at the
# limit of extension, however far the joint is bent. So it starts bent, the hip with the knee.
_START_RAD = {"shank.flexion": 0.6, "thigh.flexion": 0.3, "forearm.flexion": 0.6}
# Points that depart less from one line do not tell how the pelvis turns about it.
_LINE_MM = 20.0


@dataclass(frozen=True)
class Problem:
    """What stays the same over a clip.

    Attributes:
        huber: Residual in standard deviations from which a marker pulls less; `reject` from which not at all.
        iterations: At most; `tolerance` is the gain of cost per frame that ends the search.
        rows: [f, n_q] what variances are wanted of, as combinations of freedoms.
    """

    model: BodyModel
    markers: MarkerSet
    reduction: Reduction
    dynamics: Dynamics
    dt_s: float
    huber: float
    reject: float
    iterations: int
    tolerance: float
    rows: NDArray[np.float64]


@dataclass(frozen=True)
class Stretch:
    """A solved stretch: poses [T, n], variances [T, f] of the problem's rows (rad^2) or None, cost, iterations."""

    q: NDArray[np.float64]
    variances: NDArray[np.float64] | None
    cost: float
    iterations: int
    converged: bool


def root_start(model: BodyModel, markers: MarkerSet, seen: NDArray[np.float64]) -> NDArray[np.float64]:
    """First guess of the pelvis' six freedoms [T, 6]: the resting body laid on the markers, gaps interpolated.

    Where the pelvis itself shows three markers or more, it decides alone; otherwise the trunk helps.

    Raises:
        MotionError: if no frame shows three markers of pelvis, spine, shoulders and head.
    """
    rest = marker_points(model, model.zero(), markers)[0]
    spine = markers.body <= 24  # pelvis and vertebrae
    pelvis = markers.body == 0
    hips = np.isin(markers.body, [b for b, name in enumerate(model.bodies) if name.endswith("_thigh")])
    hips &= np.linalg.norm(markers.local_mm, axis=1) < 1e-9
    weights = np.where(pelvis | hips, 1.0, np.where(spine, 0.05, 0.0))
    own = rest[weights > 0]
    if len(own) < 3 or np.linalg.svd(own - own.mean(axis=0), compute_uv=False)[1] < _LINE_MM:
        # Keypoints of detectors show hips, perhaps their middle, shoulders and a face, and nothing of the spine.
        weights[trunk_like(model, markers)] = 0.05
    turn, shift, enough = rigid_fit(rest, seen, weights)
    if not enough.any():
        raise MotionError(
            "no frame shows three markers of pelvis and spine", field="points",
            cure="check the markers' names and units; give hips, sacrum and spine",
        )  # fmt: skip
    frames = np.arange(len(seen))
    angles = np.unwrap(zyx_angles(turn[enough]), axis=0)
    # The model's pelvis turns at its own origin, which stands at the world's origin at rest.
    found = np.hstack([shift[enough], angles * np.array([1.0, 1.0, -1.0])])
    return np.stack([np.interp(frames, frames[enough], column) for column in found.T], axis=1)


def solve_stretch(
    problem: Problem, seen: NDArray[np.float64], weight: NDArray[np.float64], *, posterior: bool
) -> Stretch:
    """Solve T frames: seen [T, K, 3] mm, weight [1 or T, K, 3, 3] in 1/mm^2."""
    reduction = problem.reduction
    frames = len(seen)
    start = root_start(problem.model, problem.markers, seen)
    thin = max(1, round(_THIN_S / problem.dt_s))
    kept = np.unique(np.append(np.arange(0, frames, thin), frames - 1)) if frames > 4 * thin else np.arange(frames)
    thin_seen = np.ascontiguousarray(seen[kept])
    thin_weight = weight if len(weight) == 1 else weight[kept]
    part, _ = solve_alone(problem, start[kept], thin_seen, thin_weight)
    if len(kept) < frames:
        part, *_ = _iterate(
            problem, _with_velocity(reduction, part), thin_seen, thin_weight, problem.dt_s * thin, 6, 1e9,
            max(_THIN_TOLERANCE, problem.tolerance),
        )  # fmt: skip
        part = _between(reduction, part, kept, thin)
    else:
        part = _with_velocity(reduction, part)
    x, s, process, cost, count, converged = _iterate(
        problem, part, seen, weight, problem.dt_s, problem.iterations, problem.reject, problem.tolerance
    )
    variances = None
    if posterior:
        from spinemed.motion.solver import chain_variances

        coupling = -process.precision @ process.step
        rows = problem.rows @ reduction.matrix()
        variances = np.empty((frames, len(rows)))
        chain_variances(
            s,
            np.ascontiguousarray(coupling.transpose(0, 2, 1)),
            _mode_coupling(process, reduction.modes),
            *_as_columns(rows),
            variances,
        )
        variances += reduction.unseen_variance(problem.rows[:, problem.model.spine])
    nx = reduction.places + reduction.modes
    return Stretch(x[:, :nx] @ reduction.matrix().T, variances, cost, count, converged)


def _as_columns(rows: NDArray[np.float64]) -> tuple[int, NDArray[np.float64]]:
    """Rows [f, n] as `chain_variances` takes them: first column used, and padded columns [K, F]."""
    from spinemed.motion.tiles import padded

    first = int(np.flatnonzero(rows.any(axis=0))[0]) if rows.any() else 0
    part = rows[:, first:]
    columns = np.zeros((padded(part.shape[1]), padded(len(rows))))
    columns[: part.shape[1], : len(rows)] = part.T
    return first, columns


def _with_velocity(reduction: Reduction, x: NDArray[np.float64]) -> NDArray[np.float64]:
    """States [T, n] of places and modes [T, P + k], with velocities by differences."""
    places = x[:, : reduction.places]
    return np.hstack([x, np.gradient(places, axis=0) if len(x) > 1 else np.zeros_like(places)])


def _between(
    reduction: Reduction, part: NDArray[np.float64], kept: NDArray[np.int64], thin: int
) -> NDArray[np.float64]:
    """States of all frames from those `kept`: cubic Hermite for places, by their velocities; linear for modes."""
    frames = np.arange(kept[-1] + 1)
    left = np.minimum(np.searchsorted(kept, frames, side="right") - 1, len(kept) - 2)
    gap = (kept[left + 1] - kept[left]).astype(np.float64)[:, None]
    f = (frames - kept[left])[:, None] / gap
    places, middle = reduction.places, reduction.places + reduction.modes
    rise = (1 + 2 * f) * (1 - f) ** 2
    x = rise * part[left, :places] + (1 - rise) * part[left + 1, :places]
    # Velocities are per thinned step.
    x += gap / thin * (f * (1 - f) ** 2 * part[left, middle:] - f**2 * (1 - f) * part[left + 1, middle:])
    own = (1 - f) * part[left, places:middle] + f * part[left + 1, places:middle]
    return _with_velocity(reduction, np.hstack([x, own]))


def solve_alone(
    problem: Problem, root: NDArray[np.float64], seen: NDArray[np.float64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places and modes [T, P + k] of frames solved one by one from the pelvis' first guess [T, 6], and costs [T]."""
    from spinemed.motion.frames import solve_frames

    model, reduction = problem.model, problem.reduction
    low, high = model.limits_rad
    start = np.zeros((len(seen), reduction.places + reduction.modes))
    start[:, :6] = root / ROOT_UNITS
    for number, bent in _bent(model):
        start[:, reduction.single[number]] = bent / reduction.unit[number]
    x, cost = np.empty_like(start), np.empty(len(seen))
    solve_frames(
        start, np.ascontiguousarray(seen), np.ascontiguousarray(weight), problem.huber, problem.markers.body,
        problem.markers.local_mm, model.parent, model.offset_mm, model.rest, model.first, model.count, model.axis,
        model.sign, model.slide, reduction.single, reduction.unit, reduction.dense, model.spine.start,
        reduction.places - 9, low, high, 1.0 / _WALL_SD_RAD**2, 40, x, cost,
    )  # fmt: skip
    return x, cost


def _bent(model: BodyModel) -> list[tuple[int, float]]:
    """Freedoms that start off zero, and their angles in rad."""
    return [
        (i, _START_RAD[name]) for i, f in enumerate(model.freedoms) if (name := f.name.partition("_")[2]) in _START_RAD
    ]


def _mode_coupling(process: Process, modes: int) -> NDArray[np.float64]:
    return np.full(modes, -process.rho / (1.0 - process.rho**2))


def _iterate(
    problem: Problem,
    x: NDArray[np.float64],
    seen: NDArray[np.float64],
    weight: NDArray[np.float64],
    dt_s: float,
    iterations: int,
    reject: float,
    tolerance: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64], Process, float, int, bool]:
    """Gauss-Newton with halved steps where the cost rises.

    It ends when a step promises less than `tolerance` per frame; or when the next one would, judged by how much less
    this step promises than the one before it (the rate of linear convergence; the search is mostly faster), and the
    cost after the step is what the step promised. What is left undone is below the tolerance either way.
    """
    from spinemed.motion.linear import backward
    from spinemed.motion.solver import chain_cost, chain_step
    from spinemed.motion.tiles import padded

    model, reduction = problem.model, problem.reduction
    process = discretise(problem.dynamics, dt_s, ROOT_UNITS, reduction.limbs, 9)
    coupling = np.ascontiguousarray(-process.precision @ process.step)
    coupled = _mode_coupling(process, reduction.modes)
    low, high = model.limits_rad
    frames, n = x.shape
    side = padded(n)
    s, y, dx = np.empty((frames, side, side)), np.empty((frames, n)), np.empty((frames, n))
    before, step_before, last, halved, converged, count = x, dx, np.inf, 0, False, 0
    promised_before, enough = np.nan, tolerance * frames
    arrays = (
        problem.markers.body, problem.markers.local_mm, model.parent, model.offset_mm, model.rest, model.first,
        model.count, model.axis, model.sign, model.slide, reduction.single, reduction.unit, reduction.dense,
        model.spine.start, reduction.places - 9, reduction.places, low, high, 1.0 / _WALL_SD_RAD**2, process.step,
        process.precision, process.start, process.rho,
    )  # fmt: skip
    for _count in range(iterations):
        count = _count + 1
        cost = chain_step(x, seen, weight, problem.huber, reject, *arrays, coupling, coupled, s, y)
        if cost < 0:
            raise MotionError(
                "the normal equations cannot be solved", field="covariance",
                cure="give positive definite covariances and finite points",
            )  # fmt: skip
        if cost > last * (1 + 1e-9) + 1e-9 and halved < 6:
            halved += 1
            step_before = step_before / 2
            x = before + step_before
            promised_before = np.nan
            continue
        halved = 0
        promised = backward(coupling, coupled, s, y, dx)
        before, step_before, last = x, dx.copy(), cost
        x = x + dx
        if promised < enough:
            converged = True
            break
        if promised < _NEAR * enough and promised**2 < enough * promised_before:
            after = chain_cost(x, seen, weight, problem.huber, reject, *arrays)
            if abs(cost - promised - after) < enough:
                last, converged = after, True
                break
        promised_before = promised
    return x, s, process, last, count, converged
