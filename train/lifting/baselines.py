"""What a lifter must beat: the resting pose turned and scaled into the picture, and linear regression.

Convention: answers as in `inputs`, root-relative mm [N, 61, 3] on the virtual camera's axes. "rest" lays the standing
body of the training subjects' mean stature into the keypoints: rotation and distance by least squares on the rays.
"rest, told the truth" is the same body by the best similarity transform onto the true points: no method, but the limit
of what turning and scaling can do. "linear" is ridge regression on the features of one frame, or of several frames
around it; its penalty is chosen on the validation subjects.

The trap: in a single picture size and distance are one. The scale of "rest" is that of the body which was laid in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ModelError
from spinemed.motion.keypoints import centroid_markers, keypoint_markers
from spinemed.motion.kinematics import marker_points
from spinemed.motion.model import build_model
from spinemed.tables import parse_json
from train.lifting.inputs import FEATURES, POINTS, ROOT, Material

__all__ = [
    "Linear",
    "fit_linear",
    "lay_in",
    "load_baselines",
    "rest_body",
    "save_baselines",
    "similar_to_truth",
    "turned_rest",
]

_KEYPOINTS = FEATURES // 3 - 1


def rest_body(statures_mm: Sequence[tuple[str, float]]) -> NDArray[np.float64]:
    """[61, 3] the standing body, root-relative on the model's axes, of subjects given by (sex, stature).

    Each sex's body at its mean stature, weighted by their numbers.
    """
    bodies = []
    for sex in sorted({sex for sex, _ in statures_mm}):
        own = [stature for other, stature in statures_mm if other == sex]
        model = build_model(sex, float(np.mean(own)))
        points = marker_points(model, model.zero(), keypoint_markers(model))[0]
        centres = centroid_markers(model).select(POINTS[_KEYPOINTS:])
        both = np.concatenate([points, marker_points(model, model.zero(), centres)[0]])
        bodies.append(len(own) / len(statures_mm) * (both - both[ROOT]))
    return np.asarray(np.sum(bodies, axis=0))


def lay_in(body: NDArray[np.float64], features: NDArray[np.float32], *, block: int = 1024) -> NDArray[np.float32]:
    """Answers [N, 61, 3] of a body [61, 3] laid into the keypoints of each frame.

    Args:
        body: Root-relative, on the model's axes.
        features: [N, 114] of `inputs.normalise`.
        block: Frames solved together.
    """
    found = np.empty((len(features), len(POINTS), 3), dtype=np.float32)
    for low in range(0, len(features), block):
        part = features[low : low + block].astype(np.float64)
        spread = np.exp(part[:, -1])
        rays = part[:, : 2 * _KEYPOINTS].reshape(-1, _KEYPOINTS, 2) * spread[:, None, None]
        weight = part[:, 2 * _KEYPOINTS : 3 * _KEYPOINTS]
        found[low : low + block] = turned_rest(body, rays, weight)
    return found


def turned_rest(
    body: NDArray[np.float64], rays: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turned bodies [N, 61, 3] for rays [N, 37, 2] with weights [N, 37]: Levenberg-Marquardt on six unknowns.

    It starts from the best affine picture of the body and from its mirror image in depth, which looks the same from
    afar, and keeps the one that ends nearer to the rays.
    """
    part = body[:_KEYPOINTS]
    found = []
    for rotation, place in _affine(part, rays, weight):
        found.append(_descend(part, rays, weight, rotation, place, steps=12))
    first, second = found
    rotation = np.where((first[1] <= second[1])[:, None, None], first[0], second[0])
    return np.swapaxes(rotation @ body.T, 1, 2)


def _affine(
    part: NDArray[np.float64], rays: NDArray[np.float64], weight: NDArray[np.float64]
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Two starts (rotation [N, 3, 3], place [N, 3]): the rotation nearest to the affine map from body to rays."""
    full = np.concatenate([part, np.full((len(part), 1), 100.0)], axis=1)
    weighted = weight[..., None] * full
    normal = np.swapaxes(weighted, 1, 2) @ full + 1e-6 * np.eye(4)
    solved = np.linalg.solve(normal, np.swapaxes(weighted, 1, 2) @ rays)  # [N, 4, 2]
    map_ = np.swapaxes(solved[:, :3], 1, 2)
    left, value, right = np.linalg.svd(map_, full_matrices=False)
    rows = left @ right
    rotation = np.concatenate([rows, np.cross(rows[:, 0], rows[:, 1])[:, None]], axis=1)
    depth = 1.0 / np.maximum(value.mean(axis=1), 1e-6)
    place = np.concatenate([100.0 * solved[:, 3] * depth[:, None], depth[:, None]], axis=1)
    # The mirror image: the same two rows on the body reflected in its own picture plane, made a rotation again.
    mean = part.mean(axis=0)
    axis = np.swapaxes(rotation @ np.linalg.svd(part - mean)[2].T, 1, 2)[:, 2]  # the body's thinnest direction
    mirror = np.diag([1.0, 1.0, -1.0]) @ (np.eye(3) - 2.0 * axis[:, :, None] * axis[:, None])
    return [(rotation, place), (mirror @ rotation, place)]


def _descend(
    part: NDArray[np.float64], rays: NDArray[np.float64], weight: NDArray[np.float64],
    rotation: NDArray[np.float64], place: NDArray[np.float64], steps: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Rotations and costs after steps that are kept only where they lessen the cost."""

    def residual(turn: NDArray[np.float64], at: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        turned = np.swapaxes(turn @ part.T, 1, 2)
        depth = np.maximum(turned[..., 2] + at[:, None, 2], 100.0)
        plane = (turned[..., :2] + at[:, None, :2]) / depth[..., None]
        away = plane - rays
        return turned, depth, plane, away, (weight[..., None] * away**2).sum(axis=(1, 2))

    root = np.sqrt(weight)
    damping = np.full(len(rays), 1e-3)
    diagonal = np.arange(6)
    turned, depth, plane, away, cost = residual(rotation, place)
    for _ in range(steps):
        slope = np.zeros((*rays.shape, 6))  # by a turn about the camera's axes, then by the place
        for axis in range(2):
            slope[..., axis, 3 + axis] = 1.0 / depth
            slope[..., axis, 5] = -plane[..., axis] / depth
        # A turn w moves a point by w x p.
        slope[..., 0, 0] = -plane[..., 0] * turned[..., 1] / depth
        slope[..., 0, 1] = (turned[..., 2] + plane[..., 0] * turned[..., 0]) / depth
        slope[..., 0, 2] = -turned[..., 1] / depth
        slope[..., 1, 0] = -(turned[..., 2] + plane[..., 1] * turned[..., 1]) / depth
        slope[..., 1, 1] = plane[..., 1] * turned[..., 0] / depth
        slope[..., 1, 2] = turned[..., 0] / depth
        flat = np.swapaxes((slope * root[..., None, None]).reshape(len(rays), -1, 6), 1, 2)
        gap = (away * root[..., None]).reshape(len(rays), -1, 1)
        normal = flat @ np.swapaxes(flat, 1, 2)
        normal[:, diagonal, diagonal] = normal[:, diagonal, diagonal] * (1.0 + damping[:, None]) + 1e-12
        step = -np.linalg.solve(normal, flat @ gap)[..., 0]
        angle = np.linalg.norm(step[:, :3], axis=1)
        step *= np.minimum(1.0, 0.7 / np.maximum(angle, 1e-12))[:, None]
        ahead = _turns(step[:, :3]) @ rotation, place + step[:, 3:]
        new = residual(*ahead)
        better = new[4] < cost
        damping = np.where(better, damping * 0.3, damping * 10.0)
        keep = better[:, None]
        rotation, place = np.where(keep[..., None], ahead[0], rotation), np.where(keep, ahead[1], place)
        turned, depth, plane, away = (
            np.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)
            for a, b in zip(new[:4], (turned, depth, plane, away), strict=True)
        )
        cost = np.where(better, new[4], cost)
    return rotation, cost


def _turns(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 3, 3] rotations of rotation vectors [N, 3]: Rodrigues' formula."""
    angle = np.maximum(np.linalg.norm(vectors, axis=1), 1e-12)
    x, y, z = (vectors / angle[:, None]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(-1, 3, 3)
    return np.asarray(
        np.eye(3) + np.sin(angle)[:, None, None] * cross + (1 - np.cos(angle))[:, None, None] * cross @ cross
    )


def similar_to_truth(body: NDArray[np.float64], targets: NDArray[np.float32]) -> NDArray[np.float64]:
    """The body [61, 3] by the best rotation and scale onto true points [N, 61, 3], both about their roots.

    Kabsch's solution with Umeyama's scale (doi 10.1109/34.88573), without translation because errors are root-relative.
    """
    left, value, right = np.linalg.svd(np.einsum("nki,kj->nij", targets.astype(np.float64), body))
    sign = np.ones_like(value)
    sign[:, 2] = np.sign(np.linalg.det(left @ right))
    rotation = (left * sign[:, None]) @ right
    scale = (value * sign).sum(axis=1) / (body**2).sum()
    return np.asarray(scale[:, None, None] * np.einsum("nij,kj->nki", rotation, body))


@dataclass(frozen=True)
class Linear:
    """Ridge regression.

    Attributes:
        offsets: Frames around the answered one whose features go in; (0,) is that frame alone.
        mean, scale: [F] of the features; `weights` [F + 1, 183], the intercept last.
        penalty: Times the number of frames, on standardised features.
    """

    offsets: tuple[int, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    penalty: float

    def __call__(self, features: NDArray[np.float32], bounds: NDArray[np.int64]) -> NDArray[np.float32]:
        """Answers [N, 61, 3] for frames [N, 114] of sequences that begin at `bounds`."""
        answers = np.empty((len(features), len(POINTS), 3), dtype=np.float32)
        for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            rows = _around(features, low, high, self.offsets)
            flat = (rows - self.mean) / self.scale @ self.weights[:-1] + self.weights[-1]
            answers[low:high] = flat.reshape(-1, len(POINTS), 3)
        return answers


def _around(features: NDArray[np.float32], low: int, high: int, offsets: Sequence[int]) -> NDArray[np.float64]:
    """[T, offsets x 114] a sequence's frames with their neighbours; beyond its ends its first or last frame."""
    at = np.clip(np.arange(low, high)[:, None] + np.asarray(offsets), low, max(low, high - 1))
    return features[at].reshape(high - low, -1).astype(np.float64)


def fit_linear(
    train: Material,
    judge: Material,
    offsets: Sequence[int] = (0,),
    penalties: Sequence[float] = (1e-6, 1e-4, 1e-3, 1e-2),
) -> Linear:
    """Ridge regression on the usable frames of `train`; the penalty is that of least error on `judge`."""
    size, out = len(offsets) * FEATURES, 3 * len(POINTS)
    count, sums = 0, np.zeros(size)
    squares, cross, total = np.zeros((size, size)), np.zeros((size, out)), np.zeros(out)
    for low, high in zip(train.bounds[:-1].tolist(), train.bounds[1:].tolist(), strict=True):
        good = train.usable[low:high]
        rows = _around(train.features, low, high, offsets)[good]
        target = train.targets[low:high][good].reshape(-1, out).astype(np.float64)
        count += len(rows)
        sums += rows.sum(axis=0)
        total += target.sum(axis=0)
        squares += rows.T @ rows
        cross += rows.T @ target
    mean, middle = sums / count, total / count
    variance = np.diag(squares) / count - mean**2
    scale = np.sqrt(np.where(variance > 1e-9, variance, 1.0))
    covariance = (squares / count - np.outer(mean, mean)) / np.outer(scale, scale)
    slope = (cross / count - np.outer(mean, middle)) / scale[:, None]
    best: tuple[float, Linear] | None = None
    for penalty in penalties:
        weights = np.linalg.solve(covariance + penalty * np.eye(size), slope)
        made = Linear(tuple(offsets), mean, scale, np.vstack([weights, middle]), float(penalty))
        away = made(judge.features, judge.bounds)[judge.usable] - judge.targets[judge.usable]
        error = float(np.linalg.norm(away, axis=-1).mean())
        if best is None or error < best[0]:
            best = error, made
    assert best is not None
    return best[1]


def save_baselines(folder: Path, body: NDArray[np.float64], linear: dict[str, Linear]) -> None:
    """Write the resting body and the regressions into an existing folder."""
    from safetensors.numpy import save_file

    from spinemed.tables import write_json

    arrays: dict[str, NDArray[np.float64]] = {"rest": np.ascontiguousarray(body)}
    about: dict[str, Any] = {}
    for name, own in linear.items():
        about[name] = {"offsets": list(own.offsets), "penalty": own.penalty}
        for part in ("mean", "scale", "weights"):
            arrays[f"{name}.{part}"] = np.ascontiguousarray(getattr(own, part))
    save_file(arrays, folder / "baselines.safetensors")
    write_json(folder / "baselines.json", about)


def load_baselines(folder: str | os.PathLike[str]) -> tuple[NDArray[np.float64], dict[str, Linear]]:
    """The resting body and the regressions of a run.

    Raises:
        ModelError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    root = Path(folder)
    try:
        arrays = load_file(root / "baselines.safetensors")
        about = parse_json((root / "baselines.json").read_bytes())
        linear = {
            name: Linear(
                tuple(own["offsets"]),
                mean=arrays[f"{name}.mean"],
                scale=arrays[f"{name}.scale"],
                weights=arrays[f"{name}.weights"],
                penalty=float(own["penalty"]),
            )
            for name, own in about.items()
        }
        return arrays["rest"], linear
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"holds no baselines ({type(error).__name__})", file=root,
            cure="give the folder that `spinemed train lifter` wrote (RUN/outputs/baselines)",
        ) from error  # fmt: skip
