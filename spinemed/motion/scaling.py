"""The subject's proportions from the clip: factors of ten body parts and, where asked, where markers sit.

Convention: logarithms of factors have a normal prior about one common factor, millimetres of marker places about their
table; both are solved together with the poses of some frames, each frame on its own, by Gauss-Newton with the poses
eliminated (the Schur complement of bundle adjustment, Triggs 2000). Huber weights as in the fit.

The trap: a part that no marker pair spans keeps its prior factor; `Scaling.sd` says how well each was seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.kinematics import forward, marker_jacobian, marker_points
from spinemed.motion.model import SCALE_GROUPS, BodyModel, MarkerSet
from spinemed.motion.reduction import Reduction

__all__ = ["Scaling", "common_factor", "fit_scaling", "scale_jacobian", "scale_markers", "trunk_like"]

_LOG_SD = 0.08
_ROUNDS = 25


@dataclass(frozen=True)
class Scaling:
    """What was found: factors by part (relative to the model given), their log standard deviations, moved markers.

    Attributes:
        factors, sd: By name of `SCALE_GROUPS`.
        local_mm: [K, 3] places of the markers in their scaled bodies.
        frames: Numbers of the frames used.
    """

    factors: dict[str, float]
    sd: dict[str, float]
    local_mm: NDArray[np.float64]
    frames: tuple[int, ...]


def common_factor(model: BodyModel, markers: MarkerSet, seen: NDArray[np.float64]) -> float:
    """Median ratio of the seen spread of pelvis, spine and head to the resting body's: a first guess of size."""
    trunk = np.flatnonzero(markers.body <= 25)
    if len(trunk) < 3 or (markers.body[trunk] == 25).all():
        trunk = np.flatnonzero((markers.body <= 25) | trunk_like(model, markers))
    rest = marker_points(model, model.zero(), markers)[0][trunk]
    # A few hundred frames tell the median as well as half a million.
    part = seen[:: max(1, len(seen) // 300), trunk]
    there = np.asarray(np.isfinite(part).all(axis=-1))
    ratios = []
    for frame, mask in zip(part, there, strict=True):
        if mask.sum() >= 3:
            spread = np.linalg.norm(frame[mask] - frame[mask].mean(axis=0))
            ratios.append(spread / np.linalg.norm(rest[mask] - rest[mask].mean(axis=0)))
    return float(np.median(ratios)) if ratios else float("nan")


def trunk_like(model: BodyModel, markers: MarkerSet) -> NDArray[np.bool_]:
    """[K] which markers go nearly with the trunk though none of its bones carries them: shoulders, hips, head."""
    near = {"C0", *(f"{side}_{part}" for side in ("left", "right") for part in ("girdle", "upper_arm", "thigh"))}
    bodies = np.isin(markers.body, [b for b, name in enumerate(model.bodies) if name in near])
    joint = np.linalg.norm(markers.local_mm, axis=1) < 1e-9
    fixed = np.isin(
        markers.body, [b for b, name in enumerate(model.bodies) if name == "C0" or name.endswith("_girdle")]
    )
    return np.asarray(bodies & (joint | fixed))


def scale_markers(model: BodyModel, markers: MarkerSet, factors: dict[str, float]) -> MarkerSet:
    """Markers that go with the parts that carry them."""
    step = np.array([factors.get(name, 1.0) for name in SCALE_GROUPS])
    return MarkerSet(markers.names, markers.body, markers.local_mm * step[model.group[markers.body]][:, None])


def scale_jacobian(model: BodyModel, q: NDArray[np.float64], markers: MarkerSet) -> NDArray[np.float64]:
    """[T, K, 3, 10]: how points move with the logarithm of each part's factor, in mm."""
    placement = forward(model, q)
    frames, bodies = placement.origins_mm.shape[:2]
    moved = np.zeros((frames, bodies, 3, len(SCALE_GROUPS)))
    for b in range(1, bodies):
        p = int(model.parent[b])
        moved[:, b] = moved[:, p]
        moved[:, b, :, model.group[p]] += np.einsum("tij,j->ti", placement.rotations[:, p], model.offset_mm[b])
    found = moved[:, markers.body]
    for k, b in enumerate(markers.body):
        found[:, k, :, model.group[b]] += np.einsum("tij,j->ti", placement.rotations[:, b], markers.local_mm[k])
    return found


def fit_scaling(
    model: BodyModel,
    markers: MarkerSet,
    reduction: Reduction,
    x: NDArray[np.float64],
    seen: NDArray[np.float64],
    weight: NDArray[np.float64],
    huber: float,
    *,
    parts: Sequence[str],
    marker_sd_mm: NDArray[np.float64],
    frames: Sequence[int],
) -> tuple[Scaling, NDArray[np.float64]]:
    """Proportions from F frames.

    Args:
        x: [F, P + k] places and modes to start from.
        seen: [F, K, 3]; weight: [F, K, 3, 3], zero where nothing was seen.
        parts: Which of `SCALE_GROUPS` may change.
        marker_sd_mm: [K] how far each marker may sit from its table; zero holds it.
        frames: Their numbers in the clip, for the report.

    Returns:
        The scaling, and the states it goes with.
    """
    groups = [SCALE_GROUPS.index(part) for part in parts]
    moving = np.flatnonzero(marker_sd_mm > 0)
    theta = np.zeros(len(groups) + 3 * len(moving))
    prior = np.concatenate([np.full(len(groups), 1 / _LOG_SD**2), np.repeat(1 / marker_sd_mm[moving] ** 2, 3)])
    matrix = reduction.matrix()
    own = np.ones(matrix.shape[1])
    own[:6] = 1e-4
    there = np.asarray(np.isfinite(seen).all(axis=-1))
    clean = np.where(there[..., None], seen, 0.0)
    weight = np.where(there[..., None, None], weight, 0.0)

    def apply(theta: NDArray[np.float64]) -> tuple[BodyModel, MarkerSet]:
        factors = {SCALE_GROUPS[g]: float(np.exp(value)) for g, value in zip(groups, theta, strict=False)}
        grown = scale_markers(model, markers, factors)
        local = grown.local_mm.copy()
        local[moving] += theta[len(groups) :].reshape(-1, 3)
        return model.scaled(factors), MarkerSet(markers.names, markers.body, local)

    def cost_of(x: NDArray[np.float64], theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        body, points = apply(theta)
        error = clean - marker_points(body, x @ matrix.T, points)
        size = np.sqrt(np.maximum(np.einsum("fki,fkij,fkj->fk", error, weight, error), 0.0))
        robust = np.where(size > huber, huber * (size - huber / 2), size**2 / 2)
        total = robust.sum() + ((x - start) ** 2 * own)[:, :6].sum() / 2 + (x[:, 6:] ** 2).sum() / 2
        return float(total + (prior * theta**2).sum() / 2), np.where(size > huber, huber / np.maximum(size, 1e-12), 1.0)

    start = x.copy()
    start[:, 6:] = 0.0
    cost, pull = cost_of(x, theta)
    damp, schur = 1e-3, np.diag(prior)
    for _ in range(_ROUNDS):
        body, points = apply(theta)
        q = x @ matrix.T
        where, jacobian = marker_jacobian(body, q, points)
        by_x = (jacobian @ matrix).reshape(len(x), -1, matrix.shape[1])
        scales = scale_jacobian(body, q, points)[..., groups]
        if len(moving):
            turned = np.zeros((*where.shape, 3 * len(moving)))
            rotations = forward(body, q).rotations
            for i, k in enumerate(moving):
                turned[:, k, :, 3 * i : 3 * i + 3] = rotations[:, points.body[k]]
                # Factors stretch what the table says; what was moved on top of it stays.
                moved = np.einsum("fij,j->fi", rotations[:, points.body[k]], theta[len(groups) + 3 * i :][:3])
                for j, g in enumerate(groups):
                    if g == body.group[points.body[k]]:
                        scales[:, k, :, j] -= moved
            scales = np.concatenate([scales, turned], axis=-1)
        by_theta = scales.reshape(len(x), by_x.shape[1], -1)
        w = (pull[..., None, None] * weight)[:, :, :, :]
        error = clean - where
        w_error = np.einsum("fkij,fkj->fki", w, error).reshape(len(x), -1)
        w_x = np.einsum("fkij,fkjn->fkin", w, by_x.reshape(*where.shape, -1)).reshape(by_x.shape)
        w_theta = np.einsum("fkij,fkjn->fkin", w, by_theta.reshape(*where.shape, -1)).reshape(by_theta.shape)
        h_xx = by_x.transpose(0, 2, 1) @ w_x + np.diag(own)
        h_xt = by_x.transpose(0, 2, 1) @ w_theta
        h_tt = (by_theta.transpose(0, 2, 1) @ w_theta).sum(axis=0) + np.diag(prior)
        g_x = np.einsum("fmn,fm->fn", by_x, w_error) - own * (x - start)
        g_t = np.einsum("fmn,fm->n", by_theta, w_error) - prior * theta
        improved = False
        for _ in range(6):
            diagonal = np.einsum("fnn->fn", h_xx)
            damped = h_xx + damp * np.einsum("fn,nm->fnm", diagonal, np.eye(h_xx.shape[1]))
            solved = np.linalg.solve(damped, np.concatenate([h_xt, g_x[..., None]], axis=-1))
            schur = h_tt + damp * np.diag(np.diag(h_tt)) - np.einsum("fnt,fnu->tu", h_xt, solved[..., :-1])
            step = np.linalg.solve(schur, g_t - np.einsum("fnt,fn->t", h_xt, solved[..., -1]))
            x_new = x + solved[..., -1] - solved[..., :-1] @ step
            new, pull_new = cost_of(x_new, theta + step)
            if new < cost:
                improved = True
                break
            damp *= 8
        if not improved:
            break
        gain, cost, x, theta, pull, damp = cost - new, new, x_new, theta + step, pull_new, max(damp / 5, 1e-9)
        if gain < 1e-4 * (1 + cost):
            break
    spread = np.sqrt(np.maximum(np.diag(np.linalg.inv(schur)), 0.0))[: len(groups)]
    factors = {SCALE_GROUPS[g]: float(np.exp(value)) for g, value in zip(groups, theta, strict=False)}
    sd = {SCALE_GROUPS[g]: float(value) for g, value in zip(groups, spread, strict=True)}
    _, points = apply(theta)
    return Scaling(factors, sd, points.local_mm, tuple(int(f) for f in frames)), x
