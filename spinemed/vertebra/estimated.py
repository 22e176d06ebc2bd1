"""Loss of a body against estimated heights, where no healthy shape lies beside it.

Definition. The loss of a third is 1 - h / h0, with h0 the expected height along the healthy body's axis and h the mean
distance of the two endplates over that third of the depth in the midsagittal band, **along that same axis**. The
healthy axis bisects the healthy endplates. Of a broken body only its own bisector is seen, and a wedge turns that: if
the endplates have lost an angle d (expected less measured wedge), and the upper one fell by the share s of it, the
bisector has turned forward by (s - 1/2) d. The axis is therefore turned back by that angle, with s = 3/4: upper
endplates break more often than lower ones. Reading with s = 1/2 and s = 1 instead tells how much that guess matters,
and widens the interval. The thirds are those of the depth that both endplates share along that axis.

The trap: how far an axis is off counts with its square, so that a few degrees cost a fraction of a percent; but a body
whose lower endplate alone broke is read up to 3/4 of its lost angle askew (12° in a severe wedge, some 2 points).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.measure import Body
from spinemed.measure.field import heights_of_thirds
from spinemed.vertebra.norms import Sex
from spinemed.vertebra.reference import BodyHeights, Reference, ReferenceEstimator
from spinemed.vertebra.rhlv import HeightLoss, coarse_flags, layers_along, reading_sd_mm, third_loss

__all__ = ["estimated_loss", "thirds_along_mm"]

Array = NDArray[np.float64]

UPPER_SHARE = 0.75
"""Of a lost angle that the upper endplate is taken to bear."""
_SHARES = (0.5, 1.0)
_SHARE_SD = 0.5  # of the distance to a reading with the share at its end
_ROUNDS = 2
_OTHER_AXIS_DEG = 5.0  # beyond it the thirds of a lumbar body change by some 3 mm


def thirds_along_mm(body: Body, back_deg: float = 0.0) -> tuple[float, float, float]:
    """Mean heights of the thirds along an axis that leans back against the body's own: anterior, middle, posterior.

    Args:
        body: The fitted body.
        back_deg: How far the axis leans to the back, in the sagittal plane; 0 gives `body.heights_of_thirds_mm()`.

    Raises:
        VolumeError: along this axis the endplates do not face each other.
    """
    y, upper, lower = body.profile()
    cosine, sine = float(np.cos(np.radians(back_deg))), float(np.sin(np.radians(back_deg)))
    plates = []
    for plate in (upper, lower):
        along, height = cosine * y + sine * plate, cosine * plate - sine * y
        order = np.argsort(along)
        plates.append((along[order], height[order]))
    edges = body.frame.to_local(
        np.array([
            body.upper.posterior_mm, body.lower.posterior_mm, body.upper.anterior_mm, body.lower.anterior_mm
        ], dtype=np.float64)
    )  # fmt: skip
    turned = cosine * edges[:, 1] + sine * edges[:, 2]
    back, front = float(turned[:2].max()), float(turned[2:].min())
    low, high = max(plate[0][0] for plate in plates), min(plate[0][-1] for plate in plates)
    places = np.linspace(low, high, max(2 * len(y), 2)) if high > low else np.zeros(0)
    if not len(places) or front - back < 0.5 * body.depth_mm:
        raise VolumeError(
            f"the endplates do not face each other along an axis {back_deg:.0f}° off the body's own",
            field="mask", cure="check that the mask is one body",
        )  # fmt: skip
    tall = np.interp(places, *plates[0]) - np.interp(places, *plates[1])
    return heights_of_thirds(places, tall, back, front)


def estimated_loss(
    body: Body,
    level: Level,
    spine: Sequence[BodyHeights],
    estimator: ReferenceEstimator,
    *,
    sex: Sex | None = None,
    numbered: bool = True,
) -> tuple[HeightLoss, Reference]:
    """Losses of a body against what the rest of its spine leads to expect; see the module docstring.

    Args:
        body: The target, fitted.
        level: Which it is.
        spine: Heights of all measured bodies along their own axes; an entry of the target is left aside.
        estimator: How to expect heights.
        sex, numbered: As :meth:`ReferenceEstimator.estimate` wants them.

    Raises:
        LevelError: a level without a norm, or one that occurs twice.
        VolumeError: no other body, or a target without a height in every third.
    """
    others = [each for each in spine if each.level is not level]
    own = BodyHeights.of(level, body)
    heights, lost_deg = own.thirds, 0.0
    reference = estimator.estimate(level, [*others, own], sex=sex, numbered=numbered)
    for _ in range(_ROUNDS):
        lost_deg = _wedge_deg(reference.thirds, body.depth_mm) - _wedge_deg(own.thirds, body.depth_mm)
        heights = thirds_along_mm(body, (UPPER_SHARE - 0.5) * lost_deg)
        turned = replace(own, anterior_mm=heights[0], middle_mm=heights[1], posterior_mm=heights[2])
        reference = estimator.estimate(level, [*others, turned], sex=sex, numbered=numbered)
    ends = np.array([thirds_along_mm(body, (share - 0.5) * lost_deg) for share in _SHARES])
    doubt = _SHARE_SD * np.abs(ends - np.array(heights)).max(axis=0)
    layer, angle = layers_along(np.asarray(body.field_.affine), body.frame.axes[2])
    reading = reading_sd_mm(layer, angle)
    thirds = [
        third_loss(100.0 * (1.0 - now / before), now, before, float(np.hypot(reading, each)), sd)
        for now, before, each, sd in zip(heights, reference.thirds, doubt, reference.sd_mm, strict=True)
    ]
    flags = coarse_flags(layer)
    if reference.state == "unreliable":
        flags = (*flags, "reference unreliable: " + "; ".join(reference.reasons))
    if not body.settled:
        flags = (*flags, "the endplates are not flat enough for a stable axis")
    if body.other_axis_deg > _OTHER_AXIS_DEG:
        flags = (
            *flags,
            f"look at it: another axis, {body.other_axis_deg:.0f}° off, fits this body as well; along that one the "
            "losses and the shape are others",
        )
    return HeightLoss(thirds[0], thirds[1], thirds[2], layer, reference.state, flags), reference


def _wedge_deg(thirds: tuple[float, float, float], depth_mm: float) -> float:
    """Angle of the endplates from the heights of the outer thirds, whose middles lie two thirds of the depth apart."""
    return float(np.degrees(2 * np.arctan((thirds[0] - thirds[2]) / (2 * depth_mm * 2 / 3))))
