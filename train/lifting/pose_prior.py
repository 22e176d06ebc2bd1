"""2D refinement: what a detector saw, weighed against which 2D poses the body can show.

Convention: a pose is 74 numbers, x and y of the 37 keypoints on the normalised scale of `inputs` (virtual camera,
spread 1). The prior is a mixture of Gaussians of exact projections of the training subjects: components by k-means,
each with its full covariance, so the model's proportions and joints enter through the poses it can take. A detection
is truth plus noise of variance `noise_px2` / confidence, with Student's t tails; the answer is the posterior mean, and
its confidence is what a detection as sure as the posterior would carry.

The trap: frames are refined one by one, and keypoints that were not seen are filled in from the others: such a pixel
is a guess of the prior, and its confidence says how vague a one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ModelError
from spinemed.motion.cameras import Camera
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.records import SimulatedClip
from spinemed.motion.keypoints import SPINETRACK_37
from train.lifting.inputs import Look, normalise, seen_by, spread_rays

__all__ = ["PosePrior", "fit_pose_prior", "load_pose_prior", "refine", "save_pose_prior"]

_SIZE = 2 * len(SPINETRACK_37)
_TAIL = 4.0  # degrees of freedom of Student's t
_TRIED = 3
_MISSING = 1e6


@dataclass(frozen=True, eq=False)
class PosePrior:
    """Mixture of Gaussians: weights [C], means [C, 74], covariances [C, 74, 74]; noise_px2 [37] at confidence 1."""

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    covariances: NDArray[np.float64]
    noise_px2: NDArray[np.float64]


def fit_pose_prior(
    clips: Iterable[SimulatedClip], components: int = 24, *, seed: int = 0, most: int = 40_000
) -> PosePrior:
    """Learn the prior and the detector's noise from clips with exact and detected pixels.

    Frames that any camera sees only in part say nothing of the whole pose and are left out of the mixture.

    Args:
        clips: With cameras.
        components: Gaussians.
        seed: Of k-means and of the choice of frames.
        most: Frames that enter at most, drawn at random.

    Raises:
        MotionError: too few whole poses.
    """
    from sklearn.cluster import KMeans

    poses, squares = [], []
    for clip in clips:
        pixels, confidence = seen_by(clip, "detected")
        exact, _ = seen_by(clip, "exact")
        for view, camera in enumerate(clip.cameras):
            sure = np.ones(pixels.shape[1:3]) if confidence is None else confidence[view]
            look = normalise(camera, pixels[view], sure)
            pose = spread_rays(look, camera, exact[view]).reshape(-1, _SIZE)
            poses.append(pose[look.usable & np.isfinite(pose).all(axis=1)])
            squares.append(((pixels[view] - exact[view]) ** 2).mean(axis=-1) * np.minimum(sure, 1.0))
    rows = np.concatenate(poses) if poses else np.empty((0, _SIZE))
    if len(rows) < 20 * components:
        raise MotionError(
            f"{len(rows)} whole poses are too few for {components} components", field="prior_components",
            cure="simulate more frames, or lower the number of components",
        )  # fmt: skip
    rng = np.random.default_rng(seed)
    if len(rows) > most:
        rows = rows[np.sort(rng.choice(len(rows), most, replace=False))]
    found = KMeans(components, n_init=1, max_iter=60, random_state=seed).fit(rows)
    pooled = np.zeros((_SIZE, _SIZE))
    parts = []
    for number in range(components):
        own = rows[found.labels_ == number]
        away = own - own.mean(axis=0)
        parts.append((len(own), own.mean(axis=0), away.T @ away))
        pooled += away.T @ away
    pooled /= len(rows)
    # A component's covariance leans on the pooled one as if that were as many frames as it has numbers.
    covariances = [(spread + _SIZE * pooled) / (count + _SIZE) + 1e-7 * np.eye(_SIZE) for count, _, spread in parts]
    # The median of a chi-square mean of two squares is log 2 times its mean; outliers do not move it.
    together = np.concatenate(squares)
    together[~np.isfinite(together)] = np.nan
    noise = np.nanmedian(together, axis=0) / np.log(2.0)
    return PosePrior(
        np.array([count for count, _, _ in parts]) / len(rows), np.array([mean for _, mean, _ in parts]),
        np.array(covariances), np.maximum(noise, 1e-4),
    )  # fmt: skip


def refine(
    prior: PosePrior, camera: Camera, pixels: NDArray[np.float64], confidence: NDArray[np.float64] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Refined pixels [T, 37, 2] and confidences [T, 37] of one camera's detections.

    NaN and 0 in frames with too few keypoints.

    Raises:
        MotionError: see `inputs.normalise`.
    """
    look = normalise(camera, pixels, confidence)
    focal = float(np.sqrt(camera.matrix[0, 0] * camera.matrix[1, 1]))
    scale = focal * look.spread  # pixels per unit of a normalised pose
    seen = look.confidence > 0
    base = np.where(seen, prior.noise_px2 / np.maximum(look.confidence, 1e-3), 0.0) / scale[:, None] ** 2
    base = np.where(seen, base, _MISSING)
    told = np.nan_to_num(look.rays / look.spread[:, None, None]).reshape(-1, _SIZE)
    good = np.flatnonzero(look.usable)
    out = np.full((*look.confidence.shape, 2), np.nan)
    sure = np.zeros(look.confidence.shape)
    for low in range(0, len(good), 256):
        rows = good[low : low + 256]
        mean, variance = _posterior(prior, told[rows], base[rows])
        out[rows] = _pixels(camera, look, rows, mean)
        sure[rows] = np.minimum(1.0, prior.noise_px2 / (variance * scale[rows, None] ** 2))
    return out, sure


def _posterior(
    prior: PosePrior, told: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Posterior means [T, 74] and mean variances per keypoint [T, 37] of poses told with noise [T, 37]."""
    seen = np.repeat(noise < _MISSING, 2, axis=1)
    away = np.where(seen[:, None], told[:, None] - prior.means, 0.0)
    spread = prior.covariances[:, np.arange(_SIZE), np.arange(_SIZE)].mean(axis=1)
    near = np.argsort((away**2).sum(axis=2) / spread, axis=1, kind="stable")[:, :_TRIED]
    means, variances, weights = [], [], []
    for tried in range(min(_TRIED, len(prior.weights))):
        number = near[:, tried]
        pull = np.ones_like(noise)
        for _ in range(3):
            mean, variance, fit = _gauss(prior, number, told, noise / pull)
            gap = ((told - mean) ** 2).reshape(*noise.shape, 2).sum(axis=2) + 2 * variance
            pull = np.where(noise < _MISSING, (_TAIL + 2.0) / (_TAIL + gap / noise), 1.0)
        means.append(mean)
        variances.append(variance)
        weights.append(np.log(prior.weights[number]) + fit)
    share = np.exp(np.array(weights) - np.max(weights, axis=0))
    share /= share.sum(axis=0)
    mean = np.einsum("ct,cti->ti", share, np.array(means))
    between = ((np.array(means) - mean) ** 2).reshape(len(means), *noise.shape, 2).mean(axis=-1)
    return mean, np.einsum("ct,ctk->tk", share, np.array(variances) + between)


def _gauss(
    prior: PosePrior, number: NDArray[np.int64], told: NDArray[np.float64], noise: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Posterior under one component per frame: mean, variance per keypoint, log-likelihood of what was told."""
    covariance = prior.covariances[number]
    total = covariance.copy()
    each = np.repeat(noise, 2, axis=1)
    total[:, np.arange(_SIZE), np.arange(_SIZE)] += each
    gap = told - prior.means[number]
    gain = np.linalg.solve(total, np.concatenate([gap[..., None], covariance], axis=2))
    mean = prior.means[number] + np.einsum("tij,tj->ti", covariance, gain[..., 0])
    left = np.einsum("tii->ti", covariance) - np.einsum("tij,tji->ti", covariance, gain[..., 1:])
    fit = -0.5 * (np.einsum("ti,ti->t", gap, gain[..., 0]) + np.linalg.slogdet(total)[1])
    return mean, np.maximum(left, 1e-12).reshape(len(told), -1, 2).mean(axis=2), fit


def _pixels(camera: Camera, look: Look, rows: NDArray[np.int64], pose: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels [T, 37, 2], distorted again, of normalised poses [T, 74]."""
    plane = pose.reshape(len(rows), -1, 2) * look.spread[rows, None, None]
    rays = np.concatenate([plane, np.ones((*plane.shape[:2], 1))], axis=-1)
    return camera.project(camera.to_world(1000.0 * np.einsum("tji,tkj->tki", look.turn[rows], rays)))


def save_pose_prior(folder: Path, prior: PosePrior) -> None:
    """Write the prior into an existing folder."""
    from safetensors.numpy import save_file

    save_file({name: np.ascontiguousarray(value) for name, value in vars(prior).items()}, folder / "prior.safetensors")


def load_pose_prior(folder: str | os.PathLike[str]) -> PosePrior:
    """Read the prior of a run.

    Raises:
        ModelError: it is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = Path(folder) / "prior.safetensors"
    try:
        return PosePrior(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:
        raise ModelError(
            f"is no pose prior ({type(error).__name__})", file=path,
            cure="give the folder that `spinemed train lifter` wrote (RUN/outputs/baselines)",
        ) from error  # fmt: skip
