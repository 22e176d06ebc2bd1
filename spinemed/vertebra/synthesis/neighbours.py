"""Synthesis without training: the mean of the neighbours' bodies, or a copy of the upper neighbour.

These are what every trained synthesiser has to beat. The mean is taken over signed distances to the surfaces, each body
brought on to the target's middle, the nearest above and the nearest below weighted by how near they are: two bodies 20
and 24 mm high give one of 22 mm with sharp endplates, which a mean of shares would not.

The trap: a broken neighbour makes a broken expectation. That is the point of the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level, Spine
from spinemed.errors import VolumeError
from spinemed.vertebra.straighten import StraightCrop, Straightened
from spinemed.vertebra.synthesis.interface import Synthesis, wanted_levels

__all__ = ["CUT", "NeighbourShape", "centre_of", "nearest_neighbours", "signed_distance_mm"]

Array = NDArray[np.float64]
Picture = NDArray[np.float32]

_SMOOTH = 0.8  # voxels: takes the staircase of whole voxels off the distance
CUT = "cut by the edge of the volume"


def centre_of(body: Picture) -> Array:
    """(3,) voxel index of a body's middle.

    Raises:
        VolumeError: an empty body.
    """
    total = float(body.sum(dtype=np.float64))
    if total <= 0.0:
        raise VolumeError("the crop holds no body", field="mask", cure="give a mask with whole bodies")
    sums = [body.sum(axis=tuple(a for a in range(3) if a != axis), dtype=np.float64) for axis in range(3)]
    return np.array([float(np.arange(len(each)) @ each) / total for each in sums])


def nearest_neighbours(straight: Straightened, level: Level) -> list[tuple[Level, int]]:
    """The nearest whole body above and the nearest below, each with its distance in levels (above is negative).

    Levels that the mask does not hold count on the way, but for a T12 that this spine lacks.

    Raises:
        VolumeError: there is none.
        LevelError: levels that no spine has together (:meth:`spinemed.anatomy.Spine.of`).
    """
    order = sorted(straight.crops)
    spine = Spine.of(order)
    usable = [
        (each, (1 if each > level else -1) * spine.distance(level, each))
        for each in order
        if each is not level and CUT not in straight.crops[each].flags and (straight.crops[each].body >= 0.5).any()
    ]
    above = [pair for pair in usable if pair[1] < 0][-1:]
    below = [pair for pair in usable if pair[1] > 0][:1]
    if not above and not below:
        raise VolumeError(
            f"no whole neighbour tells what {level} should be", field="mask", cure="give a mask with several vertebrae"
        )
    return [*above, *below]


def signed_distance_mm(body: Picture, spacing_mm: float) -> Picture:
    """(R, A, S) distance to the surface, positive inside, smoothed by less than a voxel."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    solid = body >= 0.5
    inside = distance_transform_edt(solid) - 0.5
    outside = distance_transform_edt(~solid) - 0.5
    distance = spacing_mm * np.where(solid, inside, -outside)
    return np.asarray(gaussian_filter(distance, _SMOOTH), dtype=np.float32)


@dataclass(frozen=True)
class NeighbourShape:
    """Bodies from the nearest neighbours; see the module docstring.

    Attributes:
        kind: "mean" of both, or "upper": a copy of the one above (at the top end, of the one below). The copy brings
            the image with it, where there is one.
    """

    kind: Literal["mean", "upper"] = "mean"
    needs_image: bool = False

    @property
    def name(self) -> str:
        """What it does; nothing was trained."""
        return {"mean": "mean of neighbours (not trained)", "upper": "copy of the upper neighbour (not trained)"}[
            self.kind
        ]

    def synthesise(self, straight: Straightened, levels: Sequence[Level] | None = None) -> dict[Level, Synthesis]:
        """See :class:`~spinemed.vertebra.synthesis.interface.Synthesiser`."""
        return {level: self._one(straight, level) for level in wanted_levels(straight, levels)}

    def _one(self, straight: Straightened, level: Level) -> Synthesis:
        crop = straight.crops[level]
        flags = crop.flags
        found = nearest_neighbours(straight, level)
        if self.kind == "upper":
            found = found[:1]
            if found[0][1] > 0:
                flags = (*flags, f"no neighbour above: {found[0][0]} is copied")
        elif len(found) == 1:
            flags = (*flags, f"one neighbour only: {found[0][0]}")
        if max(abs(far) for _, far in found) > 1:
            flags = (*flags, "the next vertebra is not whole: a farther one is used")
        middle = centre_of(crop.body)
        weights = np.array([1.0 / abs(far) for _, far in found])
        distance = np.zeros(crop.body.shape, dtype=np.float32)
        for (other, _), weight in zip(found, weights / weights.sum(), strict=True):
            theirs = straight.crops[other]
            far = signed_distance_mm(theirs.body, straight.spacing_mm)
            distance += np.float32(weight) * _moved(far, middle - centre_of(theirs.body), float(far.min()))
        body = np.clip(0.5 + distance / straight.spacing_mm, 0.0, 1.0).astype(np.float32)
        image = None
        if self.kind == "upper":
            image = _copied_image(straight.crops[found[0][0]], middle)
        return Synthesis(level, crop, body, image, flags, self.name)


def _copied_image(theirs: StraightCrop, middle: Array) -> Picture | None:
    if theirs.image is None:
        return None
    return _moved(theirs.image, middle - centre_of(theirs.body), float(theirs.image.min()))


def _moved(values: Picture, by: Array, beyond: float) -> Picture:
    from scipy.ndimage import shift

    return np.asarray(shift(values, by, order=1, mode="constant", cval=beyond, prefilter=False), dtype=np.float32)
