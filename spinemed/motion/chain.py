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

__all__ = ["Problem", "Stretch", "root_start", "solve_alone", "solve_stretch"]

# A tenth of a degree beyond a limit costs as much as a marker one standard deviation off.
_WALL_SD_RAD = np.radians(0.1)
_THIN_S = 0.12


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
        MotionError: if no frame shows three markers of pelvis and spine.
    """
    rest = marker_points(model, model.zero(), markers)[0]
    spine = markers.body <= 24  # pelvis and vertebrae
    pelvis = markers.body == 0
    hips = np.isin(markers.body, [b for b, name in enumerate(model.bodies) if name.endswith("_thigh")])
    hips &= np.linalg.norm(markers.local_mm, axis=1) < 1e-9
    weights = np.where(pelvis | hips, 1.0, np.where(spine, 0.05, 0.0))
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
            problem, _with_velocity(reduction, part), thin_seen, thin_weight, problem.dt_s * thin, 6, 1e9
        )
        part = _between(reduction, part, kept, thin)
    else:
        part = _with_velocity(reduction, part)
    x, s, process, cost, count, converged = _iterate(
        problem, part, seen, weight, problem.dt_s, problem.iterations, problem.reject
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
            rows,
            variances,
        )
        variances += reduction.unseen_variance(problem.rows[:, problem.model.spine])
    nx = reduction.places + reduction.modes
    return Stretch(x[:, :nx] @ reduction.matrix().T, variances, cost, count, converged)


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
    x, cost = np.empty_like(start), np.empty(len(seen))
    solve_frames(
        start, np.ascontiguousarray(seen), np.ascontiguousarray(weight), problem.huber, problem.markers.body,
        problem.markers.local_mm, model.parent, model.offset_mm, model.rest, model.first, model.count, model.axis,
        model.sign, model.slide, reduction.single, reduction.unit, reduction.dense, model.spine.start,
        reduction.places - 9, low, high, 1.0 / _WALL_SD_RAD**2, 40, x, cost,
    )  # fmt: skip
    return x, cost


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
) -> tuple[NDArray[np.float64], NDArray[np.float64], Process, float, int, bool]:
    """Gauss-Newton with halved steps where the cost rises."""
    from spinemed.motion.linear import backward
    from spinemed.motion.solver import chain_step

    model, reduction = problem.model, problem.reduction
    process = discretise(problem.dynamics, dt_s, ROOT_UNITS, reduction.limbs, 9)
    coupling = np.ascontiguousarray(-process.precision @ process.step)
    coupled = _mode_coupling(process, reduction.modes)
    low, high = model.limits_rad
    frames, n = x.shape
    s, y, dx = np.empty((frames, n, n)), np.empty((frames, n)), np.empty((frames, n))
    before, step_before, last, halved, converged, count = x, dx, np.inf, 0, False, 0
    for _count in range(iterations):
        count = _count + 1
        cost = chain_step(
            x, seen, weight, problem.huber, reject, problem.markers.body, problem.markers.local_mm,
            model.parent, model.offset_mm, model.rest, model.first, model.count, model.axis, model.sign, model.slide,
            reduction.single, reduction.unit, reduction.dense, model.spine.start, reduction.places - 9,
            reduction.places, low, high, 1.0 / _WALL_SD_RAD**2, process.step, process.precision, process.start,
            process.rho, coupling, coupled, s, y,
        )  # fmt: skip
        if cost < 0:
            raise MotionError(
                "the normal equations cannot be solved", field="covariance",
                cure="give positive definite covariances and finite points",
            )  # fmt: skip
        if cost > last * (1 + 1e-9) + 1e-9 and halved < 6:
            halved += 1
            step_before = step_before / 2
            x = before + step_before
            continue
        halved = 0
        promised = backward(coupling, coupled, s, y, dx)
        before, step_before, last = x, dx.copy(), cost
        x = x + dx
        if promised < problem.tolerance * frames:
            converged = True
            break
    return x, s, process, last, count, converged
