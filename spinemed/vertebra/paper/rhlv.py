"""Relative height loss (RHLV) by the published formula, clamps and all.

Convention: masks (I, P, L): inferior, posterior, left, one voxel a millimetre. In each sagittal layer the height of a
column is its number of voxels. Thirds are cut on the *synthetic* mask's front-to-back range [y0, y1], r = y1 - y0:
anterior below int(y0 + r/3), middle below int(y0 + 2r/3), posterior the rest. Per layer, where the original's tallest
column exceeds the synthetic one's, the synthetic heights of that third (and of the whole) are scaled up to it; a column
counts when it is taller than `threshold` times the column through its own mask's mean (the synthetic one scaled as the
whole). Over all layers::

    RHLV = (mean synthetic - mean original) / (mean synthetic + 1e-6)

Source: Zhang 2025 (HealthiVert-GAN, doi 10.1109/JBHI.2025.3572458) and its published evaluation: threshold 0.7, layers
within a fifth of the original's left-right range on both sides of its mean layer.

The traps: the scaling hides a reference that is too short (20 % too short still reads about 0); a tilted body reads too
tall; a voxel of a 20 mm body is 5 %, the width of grade 1. `spinemed.vertebra.rhlv` is the measure to use.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError

__all__ = ["PaperRhlv", "paper_rhlv"]

_TINY = 1e-6


@dataclass(frozen=True)
class PaperRhlv:
    """What the published evaluation writes for one vertebra; shares, not percent.

    In the coronal plane the three parts are left to right, as published, although they keep their names.
    """

    whole: float
    anterior: float
    middle: float
    posterior: float
    lowest_over_tallest: float
    """Smallest over largest of the original's three mean heights."""


def paper_rhlv(
    synthetic: ArrayLike,
    original: ArrayLike,
    *,
    threshold: float = 0.7,
    divisor: int = 5,
    plane: Literal["sagittal", "coronal"] = "sagittal",
) -> PaperRhlv:
    """RHLV of one vertebra.

    Args:
        synthetic: (I, P, L) True in the pseudo-healthy body.
        original: (I, P, L) True in the body as it is.
        threshold: Share of the middle column that a column must exceed.
        divisor: The range of layers is the original's over this, to each side.
        plane: "coronal" takes layers from front to back and cuts thirds from left to right, as the published variant.

    Raises:
        VolumeError: the masks have different shapes or are not three-dimensional, or the original is empty.
    """
    fake, real = np.asarray(synthetic, dtype=bool), np.asarray(original, dtype=bool)
    if fake.shape != real.shape or real.ndim != 3:
        raise VolumeError(
            f"masks of shapes {fake.shape} and {real.shape}", field="shape", cure="give two masks on one grid"
        )
    if plane == "coronal":
        fake, real = fake.transpose(0, 2, 1), real.transpose(0, 2, 1)
    per_layer = np.count_nonzero(real, axis=(0, 1))
    layers = np.nonzero(per_layer)[0]
    if not len(layers):
        raise VolumeError("the original mask is empty", field="original", cure="give the label of this vertebra")
    centre = int((per_layer * np.arange(len(per_layer))).sum() / per_layer.sum())
    reach = int(layers[-1] - layers[0]) // divisor
    part = slice(max(0, centre - reach), centre + reach)
    made, own = np.count_nonzero(fake[:, :, part], axis=0), np.count_nonzero(real[:, :, part], axis=0)
    both = made.any(axis=0) & own.any(axis=0)
    return _from_heights(made[:, both], own[:, both], threshold)


def _from_heights(made: NDArray[np.int_], own: NDArray[np.int_], threshold: float) -> PaperRhlv:
    """From column heights (P, layers) of the synthetic and the original mask; each layer holds both."""
    columns = np.arange(len(made))[:, None]
    middles = []
    for heights in (made, own):
        weight = heights.sum(axis=0, keepdims=True)
        at = ((heights * columns).sum(axis=0, keepdims=True) / np.maximum(weight, 1)).astype(int)
        middles.append(np.take_along_axis(heights, at, axis=0))
    filled = made > 0
    front = filled.argmax(axis=0)
    span = len(made) - 1 - filled[::-1].argmax(axis=0) - front
    first, second = (front + span / 3).astype(int), (front + 2 * span / 3).astype(int)
    parts = (np.ones_like(filled), columns < first, (columns >= first) & (columns < second), columns >= second)
    of_whole = _scale(made, own, parts[0])
    tall_enough = own > middles[1] * threshold
    losses, means = [], []
    for part in parts:
        scaled = made * _scale(made, own, part)
        kept = part & (scaled > middles[0] * of_whole * threshold)
        healthy = float(scaled[kept].mean()) if kept.any() else 0.0
        there = part & tall_enough
        left = float(own[there].mean()) if there.any() else 0.0
        losses.append((healthy - left) / (healthy + _TINY))
        means.append(left)
    return PaperRhlv(losses[0], losses[1], losses[2], losses[3], min(means[1:]) / (max(means[1:]) + _TINY))


def _scale(made: NDArray[np.int_], own: NDArray[np.int_], part: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(1, layers): what brings the synthetic mask's tallest column in a part up to the original's."""
    top = np.where(part, made, 0).max(axis=0, keepdims=True, initial=0)
    wanted = np.where(part, own, 0).max(axis=0, keepdims=True, initial=0)
    return np.where(wanted > top, wanted / (top + _TINY), 1.0)
