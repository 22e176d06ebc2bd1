"""Metrics of made pictures and bodies: PSNR, SSIM, and the relative height difference of two masks.

Convention: two arrays of one shape, 2D or 3D; `data_range` is the width of the scale that both are on, never guessed
from them. Every function returns a :class:`PictureScore`: a value, or None with a `status` that says why.

Empty cases, by `status`:

- "scored": there is a value.
- "identical": PSNR of equal pictures, which has no finite value (None; in a ranking it stands above all others).
- "empty": the mask holds no place to score (or the reference mask no row at all, for the height). None.

A constant picture needs no case of its own: PSNR divides by the given range, and SSIM's two constants keep its ratios
finite (two equal constant pictures have 1).

The traps: SSIM is taken only where its window lies wholly inside the picture, 5 samples from every side; a mask is cut
to that. And both PSNR and SSIM over a whole picture of which a part was made are high whatever was put there: give the
mask of the part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import MetricError

__all__ = ["SSIM_REACH", "PictureScore", "psnr", "rhdr", "ssim", "ssim_map"]

Array = NDArray[np.float64]

SSIM_REACH = 5
"""Samples from the middle of SSIM's window to its side."""
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03


@dataclass(frozen=True)
class PictureScore:
    """One value of one pair; None says why in `status`."""

    value: float | None
    status: Literal["scored", "identical", "empty"]
    n: int
    """Samples (PSNR, SSIM) or layers (height) that it rests on."""


def psnr(a: ArrayLike, b: ArrayLike, *, data_range: float, mask: ArrayLike | None = None) -> PictureScore:
    """Peak signal-to-noise ratio in dB: 10 log10(data_range² / mean (a - b)²).

    Args:
        a, b: Pictures of one shape.
        data_range: Width of their scale, above 0.
        mask: True where to score; everywhere if not given.

    Raises:
        MetricError: other shapes, a value that is not finite, or no range.
    """
    first, second, part = _pair(a, b, data_range, mask)
    n = int(part.sum())
    if n == 0:
        return PictureScore(None, "empty", 0)
    error = float(np.mean(np.square(first[part] - second[part])))
    if error == 0.0:
        return PictureScore(None, "identical", n)
    return PictureScore(float(10.0 * np.log10(data_range**2 / error)), "scored", n)


def ssim(a: ArrayLike, b: ArrayLike, *, data_range: float, mask: ArrayLike | None = None) -> PictureScore:
    """Mean structural similarity over a picture, or over the places of a mask; see :func:`ssim_map`.

    Args:
        a, b: Pictures of one shape, 2D or 3D, 11 samples or more along each axis.
        data_range: Width of their scale, above 0.
        mask: True where to score; places nearer than 5 samples to a side are left out, and `n` counts the rest.

    Raises:
        MetricError: other shapes, too small a picture, a value that is not finite, or no range.
    """
    _, _, part = _pair(a, b, data_range, mask)
    found = ssim_map(a, b, data_range=data_range)
    inner = part[tuple(slice(SSIM_REACH, size - SSIM_REACH) for size in part.shape)]
    n = int(inner.sum())
    return PictureScore(None, "empty", 0) if n == 0 else PictureScore(float(found[inner].mean()), "scored", n)


def ssim_map(a: ArrayLike, b: ArrayLike, *, data_range: float) -> Array:
    """Structural similarity at every place whose window lies inside, 10 samples smaller along each axis.

    ((2 μa μb + C1)(2 σab + C2)) / ((μa² + μb² + C1)(σa² + σb² + C2)) with C = (K · range)², K1 = 0.01, K2 = 0.03, under
    a Gaussian window of 11 samples along each axis, standard deviation 1.5. Source: Wang 2004 (IEEE Trans Image Process
    13:600, doi 10.1109/TIP.2003.819861). In 3D the window is the product of three such.

    Args:
        a, b: As for :func:`ssim`.
        data_range: As there.

    Raises:
        MetricError: as there.
    """
    from scipy.ndimage import correlate1d

    first, second, _ = _pair(a, b, data_range, None)
    if min(first.shape) < 2 * SSIM_REACH + 1:
        raise MetricError(
            f"pictures of shape {first.shape}", field="shape", cure="give 11 samples or more along each axis"
        )
    window = np.exp(-0.5 * (np.arange(-SSIM_REACH, SSIM_REACH + 1) / _SIGMA) ** 2)
    window /= window.sum()
    inside = tuple(slice(SSIM_REACH, size - SSIM_REACH) for size in first.shape)

    def mean(values: Array) -> Array:
        for axis in range(values.ndim):
            values = correlate1d(values, window, axis=axis, mode="nearest")
        return values[inside]

    # Moments about a common middle: the same numbers, without taking large squares from each other.
    middle = 0.5 * (float(first.mean()) + float(second.mean()))
    p, q = first - middle, second - middle
    mean_p, mean_q = mean(p), mean(q)
    var_p, var_q = mean(p * p) - mean_p**2, mean(q * q) - mean_q**2
    shared = mean(p * q) - mean_p * mean_q
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mu_p, mu_q = mean_p + middle, mean_q + middle
    found: Array = ((2 * mu_p * mu_q + c1) * (2 * shared + c2)) / (
        (mu_p**2 + mu_q**2 + c1) * (np.maximum(var_p, 0.0) + np.maximum(var_q, 0.0) + c2)
    )
    return found


def rhdr(predicted: ArrayLike, reference: ArrayLike, *, along: int = 0, layers: int | None = None) -> PictureScore:
    """Relative height difference in percent: mean over layers of 100 |h' - h| / h.

    The height of a layer is the number of rows from its first to its last voxel along the spine, holes included; a
    layer that the predicted mask lacks has the height 0 and counts 100. Source: the published code of HealthiVert-GAN
    (Zhang 2025, doi 10.1109/JBHI.2025.3572458), which reports 100 |h' - h| / h in training. How the paper's table
    averages it was not readable; here it is over the layers in which the reference is.

    Args:
        predicted, reference: (…) True in the body; 2D (one layer), or 3D.
        along: Axis along the spine.
        layers: Axis across which 3D masks are cut into layers (left to right); None for 2D.

    Raises:
        MetricError: other shapes, or axes that do not fit them.
    """
    made, own = np.asarray(predicted, dtype=bool), np.asarray(reference, dtype=bool)
    if made.shape != own.shape or made.ndim not in (2, 3):
        raise MetricError(f"masks of shapes {made.shape} and {own.shape}", field="shape", cure="give two of one shape")
    if not 0 <= along < made.ndim or (made.ndim == 3) != (layers is not None) or layers == along:
        raise MetricError(
            f"axes along={along}, layers={layers} for {made.ndim} dimensions", field="layers",
            cure="give the axis along the spine and, for 3D masks, another one across layers",
        )  # fmt: skip
    stack = [mask[None] if layers is None else np.moveaxis(mask, layers, 0) for mask in (made, own)]
    row = along if layers is None or layers < along else along + 1
    row += layers is None
    theirs, ours = (_extents(mask, row) for mask in stack)
    there = ours > 0
    if not there.any():
        return PictureScore(None, "empty", 0)
    shares = 100.0 * np.abs(theirs[there] - ours[there]) / ours[there]
    return PictureScore(float(shares.mean()), "scored", int(there.sum()))


def _extents(stack: NDArray[np.bool_], row: int) -> NDArray[np.int64]:
    """(L,) rows from first to last voxel of each layer; 0 for an empty one."""
    filled = np.asarray(np.moveaxis(stack, row, 1).any(axis=2), dtype=bool)
    span = filled.shape[1] - filled.argmax(axis=1) - filled[:, ::-1].argmax(axis=1)
    return np.where(filled.any(axis=1), span, 0).astype(np.int64)


def _pair(
    a: ArrayLike, b: ArrayLike, data_range: float, mask: ArrayLike | None
) -> tuple[Array, Array, NDArray[np.bool_]]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    part = np.ones(first.shape, dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if first.shape != second.shape or part.shape != first.shape or first.ndim not in (2, 3):
        raise MetricError(
            f"pictures of shapes {first.shape} and {second.shape}, mask of {part.shape}", field="shape",
            cure="give 2D or 3D arrays of one shape",
        )  # fmt: skip
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise MetricError("a picture holds a value that is not finite", field="values", cure="fill or cut it first")
    if not (np.isfinite(data_range) and data_range > 0):
        raise MetricError(f"a range of {data_range}", field="data_range", cure="give the width of the scale, above 0")
    return first, second, part
