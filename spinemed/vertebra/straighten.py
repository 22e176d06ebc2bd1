"""A spine laid straight, in millimetres, with the way back into the patient.

A smooth curve runs through the centres of the vertebral bodies from the lowest to the highest; planes across it are
stacked evenly, so that every vertebra stands upright in its crop whatever the posture. One pass over the volume serves
all vertebrae. The body of each is told from its arch in the patient's own space, before anything is resampled.

Convention: a crop's axes are right, anterior, along the spine upwards, at one spacing; its voxels have a place in the
world through :meth:`Straightened.to_world`, which follows the bend, and, near the middle of the body, through
`crop.affine`, which does not. The surface of `crop.body` is at 0.5.

The traps: straightening changes volumes a little (off the curve by the ratio of distance to radius of curvature), so
heights are measured in the patient, not here; and a spine bent more sharply than a crop is wide has places that the
straight space does not hold, which the way back refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import VolumeError
from spinemed.geometry import VoxelPoints, WorldPoints, voxel_to_world, world_to_voxel
from spinemed.geometry.curve import Curve, CurvePoints
from spinemed.labelling.bodies import body_centroids
from spinemed.labelling.masks import LabelMask, labels_at_border
from spinemed.measure import separate_body
from spinemed.volume import Volume, require_same_grid

__all__ = ["StraightCrop", "Straightened", "straighten_spine"]

Array = NDArray[np.float64]

_FINEST_MM, _COARSEST_MM = 0.2, 3.0
_FOLDED = 0.02
"""Share of values that may lie where planes across the curve meet."""
_BEND_MM = 15.0
"""How far a crop's rigid affine may be off at its rim: 40 mm from the middle that is a radius of curvature of 53 mm."""


@dataclass(frozen=True, eq=False)
class StraightCrop:
    """One vertebra, upright.

    Attributes:
        level: Which.
        body: (R, A, S) float32, share of each voxel in the body, the surface at 0.5.
        labels: (R, A, S) uint8, VerSe's numbers of whole vertebrae, nearest voxel.
        image: (R, A, S) float32, None without an image.
        affine: (4, 4) voxel to world, rigid: exact in the middle of the body, and off by the spine's bend away from it.
        start: (3,) Curve coordinates (right, anterior, along; mm) of the first voxel.
        flags: What limits it.
    """

    level: Level
    body: NDArray[np.float32]
    labels: NDArray[np.uint8]
    image: NDArray[np.float32] | None
    affine: Array
    start: Array
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Straightened:
    """Vertebrae of one spine on one curve.

    Attributes:
        curve: Through the bodies, from below upwards.
        spacing_mm: Edge of the crops' voxels.
        crops: By level.
        flags: What limits all of them.
    """

    curve: Curve
    spacing_mm: float
    crops: dict[Level, StraightCrop] = field(default_factory=dict)
    flags: tuple[str, ...] = ()

    def to_world(self, crop: StraightCrop, index: NDArray[Any]) -> WorldPoints:
        """World points of (N, 3) voxel indices of a crop, along the bent spine."""
        return self.curve.to_world(CurvePoints(crop.start + self.spacing_mm * np.asarray(index, np.float64)))

    def to_patient(
        self, crop: StraightCrop, values: NDArray[Any], grid: Volume, *, order: int = 1
    ) -> tuple[NDArray[Any], tuple[slice, slice, slice]]:
        """Bring values on a crop's voxels back on to a patient's grid.

        Args:
            crop: Where the values lie.
            values: (R, A, S) on the crop's voxels; 0 is nothing.
            grid: The volume whose grid is wanted.
            order: 1 trilinear (float32), 0 nearest (data type kept).

        Returns:
            An array and the box of the grid that it fills; what the crop does not hold is 0. Outside the box nothing
            is.

        Raises:
            VolumeError: the values have another shape, are all 0, or lie where the spine bends too sharply.
        """
        from scipy.ndimage import map_coordinates

        if values.shape != crop.body.shape:
            raise VolumeError(
                f"values of shape {values.shape} for a crop of {crop.body.shape}", field="values",
                cure="give values on the crop's own voxels",
            )  # fmt: skip
        there = np.argwhere(values != 0)
        if not len(there):
            raise VolumeError("nothing to bring back: all values are 0", field="values", cure="give a body")
        low, high = there.min(axis=0) - 1, there.max(axis=0) + 1
        corners = np.stack(np.meshgrid(*[_edges(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), -1)
        folded = self.curve.spread(CurvePoints(crop.start + self.spacing_mm * there)) <= 0
        if folded.mean() > _FOLDED:  # a few voxels at a corner stand for places that others hold too
            raise VolumeError(
                f"the spine bends too sharply at {crop.level} for a way back", field="values",
                cure="use a smaller crop, or the patient's own grid",
            )  # fmt: skip
        world = self.to_world(crop, corners.reshape(-1, 3))
        inside = world_to_voxel(world, grid.affine).values
        first = np.maximum(np.floor(inside.min(axis=0)).astype(int) - 1, 0)
        last = np.minimum(np.ceil(inside.max(axis=0)).astype(int) + 2, grid.shape)
        if (last <= first).any():
            raise VolumeError("the crop lies outside the grid", field="grid", cure="give the grid of the same scan")
        a, b, c = (slice(int(f), int(t)) for f, t in zip(first, last, strict=True))
        index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in (a, b, c)), indexing="ij"), -1)
        points = voxel_to_world(VoxelPoints(index.reshape(-1, 3).astype(np.float64)), grid.affine)
        # Far places of a bent spine may have several feet on the curve: only those about the values are looked up, each
        # from the place where the rigid affine has it.
        rigid = world_to_voxel(points, crop.affine).values
        near = ((rigid >= low - _BEND_MM / self.spacing_mm) & (rigid <= high + _BEND_MM / self.spacing_mm)).all(axis=1)
        guess = crop.start[2] + self.spacing_mm * rigid[near, 2]
        place = np.full((len(points.values), 3), -10.0)
        found = self.curve.to_local_near(WorldPoints(points.values[near]), guess)
        place[near] = (found.values - crop.start) / self.spacing_mm
        kind = values.dtype if order == 0 else np.dtype(np.float32)
        source = values if order == 0 else values.astype(np.float32)
        out = np.asarray(
            map_coordinates(source, place.T, order=order, mode="constant", cval=0, prefilter=False), dtype=kind
        )
        return out.reshape(index.shape[:3]), (a, b, c)


def _edges(low: int, high: int) -> Array:
    return np.linspace(low, high, 5)


def straighten_spine(
    mask: LabelMask,
    levels: Sequence[Level] | None = None,
    *,
    image: Volume | None = None,
    spacing_mm: float = 1.0,
    size_mm: tuple[float, float, float] = (64.0, 64.0, 96.0),
) -> Straightened:
    """Lay a spine straight and cut out vertebrae.

    Args:
        mask: Vertebrae, whole or bodies only; any orientation and spacing.
        levels: Which vertebrae; all in the mask if not given.
        image: CT or MR on the same grid.
        spacing_mm: Edge of the crops' voxels.
        size_mm: Extent of a crop: right, anterior, along.

    Raises:
        VolumeError: no vertebra, a wanted level that is not in the mask, another grid, a spacing or size that makes no
            crop.
    """
    if image is not None:
        require_same_grid(image, mask.volume)
    if not _FINEST_MM <= spacing_mm <= _COARSEST_MM or min(size_mm) < 2 * spacing_mm:
        raise VolumeError(
            f"crops of {size_mm} mm at {spacing_mm} mm", field="spacing_mm",
            cure=f"use a spacing of {_FINEST_MM} to {_COARSEST_MM} mm and a size of some centimetres",
        )  # fmt: skip
    present = [level for level in mask.levels if level is not Level.C1]
    if not present:
        raise VolumeError(
            "the mask holds no vertebra with a body", file=mask.source or None, field="label",
            cure="give a mask with C2 to L6 (or name its numbering)",
        )  # fmt: skip
    wanted = present if levels is None else list(levels)
    for level in wanted:
        if level not in present:
            raise VolumeError(
                f"{level} is not in the mask", file=mask.source or None, field="levels",
                cure=f"use levels among {', '.join(map(str, present))}",
            )  # fmt: skip
    centres = dict(body_centroids(mask).items())
    cut = {label for label, side in labels_at_border(mask).items() if side in "IS"}
    whole = [level for level in present if LABEL_MAPS["verse"].to_label(level) not in cut]
    # The centre of a cut vertebra may lie anywhere in what is left of it; the curve goes on straight there.
    upwards = [centres[level] for level in sorted(whole or wanted[:1], reverse=True)]
    flags: tuple[str, ...] = ()
    if len(upwards) == 1:
        flags = ("one whole vertebra: the curve is a straight line along the scanner's axis",)
        upwards = [upwards[0] - [0, 0, 20.0], upwards[0] + [0, 0, 20.0]]
    curve = Curve(WorldPoints(np.array(upwards)))
    along = dict(zip(present, curve.to_local(WorldPoints(np.array([centres[x] for x in present]))).values, strict=True))
    result = Straightened(curve, float(spacing_mm), {}, flags)
    stack = _Stack(curve, [along[level][2] for level in wanted], float(spacing_mm), size_mm)
    labels = stack.labels(mask.data, mask.affine)
    picture = None if image is None else stack.values(np.asarray(image.data, np.float32), image.affine, _fill(image))
    boxes = _boxes(mask)
    for level in wanted:
        number = LABEL_MAPS["verse"].to_label(level)
        box = stack.box(along[level][2])
        notes = () if number not in cut else ("cut by the edge of the volume",)
        body, told = _body(mask, number, boxes[number], curve, along[level][2], stack, box)
        start = stack.start(box)
        centre = (along[level] - start) / spacing_mm
        affine = np.eye(4)
        affine[:3, :3] = curve.frames([along[level][2]])[0].T * spacing_mm
        affine[:3, 3] = centres[level] - affine[:3, :3] @ centre
        part = np.ascontiguousarray(labels[:, :, box])
        shown = None if picture is None else np.ascontiguousarray(picture[:, :, box])
        result.crops[level] = StraightCrop(level, body, part, shown, affine, start, (*notes, *told))
    return result


def _fill(image: Volume) -> float:
    return -1024.0 if image.unit == "HU" else 0.0


def _boxes(mask: LabelMask) -> dict[int, tuple[slice, ...]]:
    """Where each label of a mask lies, one voxel wider."""
    from scipy.ndimage import find_objects

    # On the transpose, which for data from a file runs through memory in order.
    return {
        number: tuple(
            slice(max(0, s.start - 1), min(n, s.stop + 1)) for s, n in zip(reversed(box), mask.data.shape, strict=True)
        )
        for number, box in enumerate(find_objects(mask.data.T), 1)
        if box is not None
    }


def _body(
    mask: LabelMask,
    number: int,
    part: tuple[slice, ...],
    curve: Curve,
    along: float,
    stack: _Stack,
    box: slice,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The body alone, on the crop's voxels, and a word where it could not be told from the arch."""
    solid = mask.data[part] == number
    affine = np.array(mask.affine)
    affine[:3, 3] += affine[:3, :3] @ np.array([s.start for s in part])
    frame = curve.frames([along])[0]
    notes: tuple[str, ...] = ()
    try:
        body = separate_body(solid, affine, anterior_hint=frame[1], up_hint=frame[2])
        solid, affine = body.mask, body.affine
    except VolumeError as error:
        notes = (f"whole label taken as body: {error.problem}",)
    padded = np.pad(solid, 1).astype(np.float32)
    affine = affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ np.ones(3)
    return stack.values(padded, affine, 0.0, box), notes


class _Stack:
    """Planes across the curve at even steps, as far as the wanted crops reach."""

    def __init__(
        self, curve: Curve, wanted: Sequence[float], spacing_mm: float, size_mm: tuple[float, float, float]
    ) -> None:
        self.spacing = spacing_mm
        self.shape = tuple(max(2, round(side / spacing_mm)) for side in size_mm)
        self.middle = (np.array(self.shape[:2]) - 1) / 2
        # Planes lie at whole multiples of the spacing: a crop is the same whichever others are wanted.
        half = (self.shape[2] - 1) / 2
        lows = [round(place / spacing_mm - half) for place in wanted]
        self.first = min(lows)
        self.along = spacing_mm * np.arange(self.first, max(lows) + self.shape[2])
        self.places = curve.positions(self.along).values
        self.frames = curve.frames(self.along)

    def box(self, along: float) -> slice:
        """The planes of a crop around a place along the curve."""
        low = round(along / self.spacing - (self.shape[2] - 1) / 2) - self.first
        return slice(low, low + self.shape[2])

    def start(self, box: slice) -> Array:
        """Curve coordinates of a crop's first voxel."""
        return np.array([*(-self.middle * self.spacing), self.along[box.start]])

    def _planes(self, affine: Array, box: slice) -> tuple[Array, Array]:
        pull = np.linalg.inv(affine[:3, :3])
        places = (self.places[box] - affine[:3, 3]) @ pull.T
        steps = self.spacing * self.frames[box, :2] @ pull.T
        return np.ascontiguousarray(places), np.ascontiguousarray(steps)

    def labels(self, data: NDArray[np.uint8], affine: Array) -> NDArray[np.uint8]:
        """(R, A, planes) nearest labels."""
        from spinemed.vertebra.kernels import sample_labels

        places, steps = self._planes(affine, slice(None))
        shape = (self.shape[0], self.shape[1])
        found = sample_labels(np.ascontiguousarray(data), places, steps, self.middle, shape)
        return np.moveaxis(found, 0, 2)

    def values(
        self, data: NDArray[np.float32], affine: Array, fill: float, box: slice | None = None
    ) -> NDArray[np.float32]:
        """(R, A, planes) trilinear values."""
        from spinemed.vertebra.kernels import sample_values

        places, steps = self._planes(affine, slice(None) if box is None else box)
        shape = (self.shape[0], self.shape[1])
        found = sample_values(np.ascontiguousarray(data), places, steps, self.middle, shape, fill)
        return np.moveaxis(found, 0, 2).copy()
