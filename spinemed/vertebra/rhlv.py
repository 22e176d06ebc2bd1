"""Relative height loss (RHLV) with an interval: how much lower each third of a body is than it should be.

Both bodies are read along the reference's axis, over thirds of the reference's depth in the midsagittal band, between
the voxels (:func:`spinemed.measure.height_losses`, where the definition and its source stand); nothing is clamped, so
that a body taller than its reference has a negative loss. Every third carries a 95 % interval for the error of reading
two masks, and, for an estimated reference, for the reference's own.

The reading error of a mean height comes from the voxel layers: an endplate that lies along a layer may be half a layer
off all over, one that crosses several averages it out; thick layers are crossed later. Its standard deviation is
modelled as::

    layer * (LEVEL_SHARE * exp(-angle / (FADES_DEG * layer)) + TILTED_SHARE)

with the distance of the layers along the body's axis (mm) and the angle between the axis and the layers' normal. The
three numbers were set on phantoms with fractures (seeds 41 and 451: layers of 1, 1.25 and 3 mm); how often the
intervals hold the truth is measured on others, and stands in benchmarks/RESULTS.md. Bodies that lie askew both ways
average more than the model knows: their intervals are too wide.

The traps: the interval knows nothing of a mask that is wrong, of a wrong level, or of a reference from another body.
Above 1.5 mm between layers there is an interval and a flag, and no grade should be read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.measure import Body, body_field, fit_body, height_losses
from spinemed.measure.field import Field

__all__ = [
    "COARSEST_MM",
    "HeightLoss",
    "Quality",
    "ThirdLoss",
    "coarse_flags",
    "height_loss",
    "layers_along",
    "reading_sd_mm",
    "third_loss",
]

Array = NDArray[np.float64]

COARSEST_MM = 1.5
"""Layers farther apart than this along the body's axis allow no grade."""
LEVEL_SHARE, FADES_DEG, TILTED_SHARE = 0.25, 5.5, 0.11
_NORMAL_95 = 1.96

Quality = Literal["given", "estimated", "unreliable"]


@dataclass(frozen=True)
class ThirdLoss:
    """Loss of one third in percent of the reference, with its 95 % interval, and both heights in mm."""

    percent: float
    low: float
    high: float
    height_mm: float
    reference_mm: float


@dataclass(frozen=True)
class HeightLoss:
    """Losses of one body.

    Attributes:
        anterior, middle, posterior: By thirds of the depth.
        layer_mm: Distance of the voxel layers along the body's axis.
        reference: Where the healthy shape comes from: "given" (a twin, an earlier scan, a synthesis), "estimated" from
            the same spine, or "unreliable".
        flags: What limits it; "resolution too coarse" forbids a grade.
    """

    anterior: ThirdLoss
    middle: ThirdLoss
    posterior: ThirdLoss
    layer_mm: float
    reference: Quality
    flags: tuple[str, ...] = ()

    @property
    def thirds(self) -> tuple[ThirdLoss, ThirdLoss, ThirdLoss]:
        """Anterior, middle, posterior."""
        return self.anterior, self.middle, self.posterior

    @property
    def largest(self) -> ThirdLoss:
        """The third with the largest loss, from which a grade is read."""
        return max(self.thirds, key=lambda third: third.percent)

    @property
    def gradable(self) -> bool:
        """Whether a grade may be read: fine enough layers and a usable reference."""
        return self.layer_mm <= COARSEST_MM and self.reference != "unreliable"


def reading_sd_mm(layer_mm: float, angle_deg: float) -> float:
    """Standard deviation (mm) of a mean height read from a mask; see the module docstring.

    Args:
        layer_mm: Distance of the voxel layers along the body's axis.
        angle_deg: Between the axis and the layers' normal.
    """
    return layer_mm * (LEVEL_SHARE * float(np.exp(-angle_deg / (FADES_DEG * layer_mm))) + TILTED_SHARE)


def height_loss(
    mask: ArrayLike,
    affine: ArrayLike,
    reference: ArrayLike | Body,
    reference_affine: ArrayLike | None = None,
    *,
    motion: ArrayLike | None = None,
    anterior_hint: ArrayLike = (0.0, 1.0, 0.0),
    up_hint: ArrayLike = (0.0, 0.0, 1.0),
    reference_sd_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    quality: Quality = "given",
) -> HeightLoss:
    """Losses of a body (without its arch) against its reference.

    Args:
        mask: (I, J, K) True in the body.
        affine: Its voxel-to-world matrix.
        reference: (I, J, K) True in the reference's body, or its fit.
        reference_affine: The reference mask's voxel-to-world matrix; that of `mask` if not given.
        motion: (4, 4) rigid world transform that brings the reference on to the body.
        anterior_hint, up_hint: Front and cranial direction of the reference, within about 40° and 30°.
        reference_sd_mm: Standard deviation of the reference's own heights, anterior, middle, posterior.
        quality: Where the reference comes from.

    Raises:
        VolumeError: an empty mask, a reference without endplates, or two bodies that do not lie on each other.
    """
    solid, matrix = np.asarray(mask, dtype=bool), np.array(affine, dtype=np.float64)
    if not solid.any():
        raise VolumeError("the body's mask is empty", field="mask", cure="give a label that occurs")
    if isinstance(reference, Body):
        healthy = reference
    else:
        placed = matrix if reference_affine is None else np.array(reference_affine, dtype=np.float64)
        healthy = fit_body(np.asarray(reference, dtype=bool), placed, anterior_hint=anterior_hint, up_hint=up_hint)
    found = height_losses(body_field(solid, matrix), healthy, motion=motion)
    turn = np.eye(3) if motion is None else np.asarray(motion, dtype=np.float64)[:3, :3]
    axis = turn @ healthy.frame.axes[2]
    layer, angle = layers_along(matrix, axis)
    own = reading_sd_mm(layer, angle)
    theirs = reading_sd_mm(*layers_along(_placed(healthy.field_), healthy.frame.axes[2]))
    thirds = [
        third_loss(loss, now, before, own, float(np.hypot(theirs, told)))
        for loss, now, before, told in zip(
            found.percent, found.height_mm, found.reference_mm, reference_sd_mm, strict=True
        )
    ]
    flags = coarse_flags(layer)
    if quality == "unreliable":
        flags = (*flags, "reference unreliable")
    return HeightLoss(thirds[0], thirds[1], thirds[2], layer, quality, flags)


def _placed(field: Field) -> Array:
    return np.asarray(field.affine)


def layers_along(affine: Array, axis: Array) -> tuple[float, float]:
    """Distance (mm) of the voxel layers that an axis crosses, and the angle (degrees) to their normal.

    The layers are those of the array axis that runs nearest to the given one.
    """
    sides = affine[:3, :3]
    unit = axis / np.linalg.norm(axis)
    cosines = np.abs(sides.T @ unit) / np.linalg.norm(sides, axis=0)
    nearest = int(np.argmax(cosines))
    layer = 1.0 / float(np.linalg.norm(np.linalg.solve(sides, unit)))
    return layer, float(np.degrees(np.arccos(min(1.0, float(cosines[nearest])))))


def coarse_flags(layer_mm: float) -> tuple[str, ...]:
    """What is said of layers too far apart for a grade; nothing of fine ones."""
    if layer_mm <= COARSEST_MM:
        return ()
    return (f"resolution too coarse: layers of {layer_mm:.1f} mm along the body, no grade above {COARSEST_MM} mm",)


def third_loss(percent: float, height_mm: float, reference_mm: float, own_sd: float, reference_sd: float) -> ThirdLoss:
    """A loss of 100 (1 - height / reference) with its 95 % interval: errors of both (sd, mm), to first order."""
    share = height_mm / reference_mm
    half = _NORMAL_95 * 100.0 / reference_mm * float(np.hypot(own_sd, share * reference_sd))
    return ThirdLoss(percent, percent - half, percent + half, height_mm, reference_mm)
