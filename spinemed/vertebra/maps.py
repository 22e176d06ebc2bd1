"""Where over an endplate a body has lost height: percent in every column of the body, and the picture of it.

Convention: a :class:`HeightMap` lies over (right, anterior) in mm in the frame along whose up axis heights are read; a
loss is 100 (1 - height / reference height), negative where the body is taller. Two kinds of reference:

- *given* (:func:`height_map`): the healthy body itself (twin, earlier scan, synthesis), column against column along the
  reference's axis, as in :func:`spinemed.measure.height_losses`;
- *estimated* (:func:`estimated_map`): expected heights of the three thirds. Front to back they are joined by the
  parabola that has these three means; across, by the usual shape of the spine's other bodies (:func:`lateral_shape`).

The picture (:func:`map_png`) looks at the endplate from above: anterior at the top, the patient's right on the left, as
an axial slice is hung. The scale is fixed (:data:`SCALE`), so that two pictures may be compared; blue against orange to
brown, ever darker away from 0, is told apart by colour-blind readers and in grey.

The trap: an estimated map shows the patient's columns against a smooth guess. What it says of right and left rests on
the other bodies alone, and no interval stands at a single column; grades come from thirds, never from a map.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import VolumeError
from spinemed.measure import Body, BodyFrame
from spinemed.measure.field import Field, heights_of_thirds, outlines

__all__ = ["SCALE", "HeightMap", "colour_of", "estimated_map", "height_map", "lateral_shape", "map_png"]

Array = NDArray[np.float64]

SCALE: tuple[tuple[float, tuple[int, int, int]], ...] = (
    (-20.0, (33, 94, 160)), (-10.0, (140, 187, 219)), (0.0, (247, 247, 245)), (10.0, (252, 222, 170)),
    (20.0, (245, 176, 92)), (25.0, (232, 139, 51)), (40.0, (163, 66, 20)), (60.0, (72, 15, 26)),
)  # fmt: skip
"""Loss in percent and its colour; linear between, the last colour beyond."""
_STEP_MM = 1.0
_ALONG_MM = 0.25
_LEAST_SHARE = 0.6
"""Of the usual reference height, below which a column only shows the rounded rim."""
_RIM_MM = 2.0
"""Deep is the rounded rim, over which a single column tells nothing."""
_SMOOTH_MM = 1.0
_BAND_PERCENT = 2.0
"""Steps of the picture's colours."""
_PER_MM = 4
"""Pixels of the picture."""
_MARGIN_MM = 5
_GREY = (222, 222, 218)
_INK = (40, 46, 52)


@dataclass(frozen=True, eq=False)
class HeightMap:
    """Loss of height by column.

    Attributes:
        x_mm, y_mm: (X,), (Y,) Places to the right and to the front, equally spaced, 0 in the middle of the body.
        loss_percent: (X, Y) Loss; NaN where the body or its reference has no height.
        inside: (X, Y) 0 to 1, the silhouette along the axis, its edge at 0.5.
        wall_mm: Back and front of the depth that is cut into thirds.
        kind: Where the reference comes from.
    """

    x_mm: Array
    y_mm: Array
    loss_percent: Array
    inside: Array
    wall_mm: tuple[float, float]
    kind: Literal["given", "estimated"]

    def thirds_percent(self, band: float = 0.15) -> tuple[float, float, float]:
        """Means over the anterior, middle and posterior third in the midsagittal band; NaN for none.

        The rim is filled in by the slope of its third, as for heights. Close to the losses that grades are read from,
        which are losses of mean heights, not means of losses.
        """
        half = band * float(np.ptp(self.x_mm[(self.inside >= 0.5).any(axis=1)]))
        rows = self.loss_percent[np.abs(self.x_mm) <= half]
        known = np.isfinite(rows)
        there = known.any(axis=0)
        profile = np.where(known, rows, 0.0).sum(axis=0)[there] / known.sum(axis=0)[there]
        return heights_of_thirds(self.y_mm[there], profile, *self.wall_mm)


def height_map(body: Body | Field, reference: Body, *, motion: ArrayLike | None = None) -> HeightMap:
    """Loss by column against the healthy body itself.

    Args:
        body: The fitted body, or its surface alone (:func:`spinemed.measure.loss.body_field`).
        reference: The healthy body.
        motion: (4, 4) rigid world transform that brings the reference on to the body; none if it lies there already.

    Raises:
        VolumeError: the two do not lie on each other.
    """
    moved = np.eye(4) if motion is None else np.asarray(motion, dtype=np.float64)
    turn, shift = moved[:3, :3], moved[:3, 3]
    frame = BodyFrame(turn @ reference.frame.centre_mm + shift, reference.frame.axes @ turn.T)
    x, y, span = _columns(reference)
    before, inside = _heights(reference.field_, reference.frame, x, y, span)
    now, _ = _heights(body.field_ if isinstance(body, Body) else body, frame, x, y, span)
    solid = inside >= 0.5
    if (np.isfinite(now) & solid).sum() < 0.5 * solid.sum():
        raise VolumeError(
            "the body and its reference do not lie on each other", field="motion",
            cure="give the rigid motion that brings the reference to the body",
        )  # fmt: skip
    return HeightMap(x, y, _losses(now, before, inside, y, reference.wall_mm), inside, reference.wall_mm, "given")


def estimated_map(
    body: Body, expected_mm: tuple[float, float, float], shape: Array | None = None, *, back_deg: float = 0.0
) -> HeightMap:
    """Loss by column against expected heights of thirds.

    Args:
        body: The fitted body.
        expected_mm: Anterior, middle and posterior.
        shape: What :func:`lateral_shape` gives; level across if none.
        back_deg: How far the axis leans to the back against the body's own
            (:func:`spinemed.vertebra.estimated.thirds_along_mm`).

    Raises:
        VolumeError: the body has no columns along that axis.
    """
    cosine, sine = float(np.cos(np.radians(back_deg))), float(np.sin(np.radians(back_deg)))
    right, ahead, up = body.frame.axes
    frame = BodyFrame(body.frame.centre_mm, np.stack([right, cosine * ahead + sine * up, cosine * up - sine * ahead]))
    x, y, span = _columns(body)
    now, inside = _heights(body.field_, frame, x, y, span)
    if not np.isfinite(now).any():
        raise VolumeError("the body has no columns along its axis", field="mask", cure="give the mask of one body")
    back, front = body.wall_mm
    share = (y - back) / (front - back)
    before = np.broadcast_to(_through_thirds(expected_mm, np.clip(share, 0.0, 1.0)), now.shape)
    if shape is not None:
        before = before * _at(shape, np.clip(2 * x / body.width_mm, -1, 1), np.clip(share, 0, 1))
    return HeightMap(x, y, _losses(now, before, inside, y, (back, front)), inside, (back, front), "estimated")


def lateral_shape(bodies: Iterable[Body]) -> Array | None:
    """Usual height across bodies, as a share of that in their midsagittal band: (21, 11) over width and depth.

    The median of the bodies, so that a broken one among many does not count; None of fewer than two.
    """
    across, along = np.linspace(-1, 1, 21), np.linspace(0, 1, 11)
    found = []
    for body in bodies:
        tall = body.upper_mm - body.lower_mm
        back, front = body.wall_mm
        rows = []
        for share in along:
            at = int(np.argmin(np.abs(body.y_mm - (back + share * (front - back)))))
            solid = np.flatnonzero(np.isfinite(tall[:, at]))
            x = body.x_mm[solid]
            known = solid[(x > x.min(initial=0) + _RIM_MM) & (x < x.max(initial=0) - _RIM_MM)]  # without the rim
            middle = known[np.abs(body.x_mm[known]) <= 0.15 * body.width_mm]
            if len(known) < 5 or not len(middle):
                rows.append(np.ones(len(across)))
            else:
                line = np.interp(across * body.width_mm / 2, body.x_mm[known], tall[known, at])
                rows.append(line / tall[middle, at].mean())
        found.append(np.array(rows).T)
    if len(found) < 2:
        return None
    shape: Array = np.clip(np.median(found, axis=0), 0.7, 1.3)
    return shape


def _columns(body: Body) -> tuple[Array, Array, float]:
    """Places of the columns over a body with a margin, and how far up and down they are followed."""
    back, front = body.wall_mm
    half = np.ceil(0.55 * body.width_mm) + _MARGIN_MM
    x = np.arange(-half, half + _STEP_MM / 2, _STEP_MM)
    y = np.arange(np.floor(back) - _MARGIN_MM, np.ceil(front) + _MARGIN_MM + 0.5, _STEP_MM)
    height = float(np.linalg.norm(body.upper.centre_mm - body.lower.centre_mm))
    return x, y, 1.1 * height


def _heights(field: Field, frame: BodyFrame, x: Array, y: Array, span: float) -> tuple[Array, Array]:
    """(X, Y) outermost heights along the up axis, NaN where there are none; and the silhouette."""
    count = int(2 * span / _ALONG_MM) + 1
    start = np.array([x[0], y[0], -span])
    values = field.sample(frame, start, np.array([_STEP_MM, _STEP_MM, _ALONG_MM]), (len(x), len(y), count))
    places: Array = -span + _ALONG_MM * np.arange(count, dtype=np.float64)
    lines: Array = values.reshape(-1, count).T.astype(np.float64)
    top, bottom = (outlines(lines, places, way, anywhere=True) for way in (1, -1))
    return np.asarray(top - bottom).reshape(len(x), len(y)), values.max(axis=2).astype(np.float64)


def _losses(now: Array, before: Array, inside: Array, y: Array, wall: tuple[float, float]) -> Array:
    usual = float(np.median(before[np.isfinite(before) & (inside >= 0.5)]))
    told = np.isfinite(now) & np.isfinite(before) & (before > _LEAST_SHARE * usual) & _within(inside >= 0.5)
    told &= (y >= wall[0] + 1) & (y <= wall[1] - 1)  # beyond, only one endplate is there: a wall that leans
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(told, 100.0 * (1.0 - now / before), np.nan)


def _within(solid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What lies deeper than the rim."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(np.pad(solid, 1))[1:-1, 1:-1] > _RIM_MM / _STEP_MM)


def _through_thirds(thirds: tuple[float, float, float], share: Array) -> Array:
    """The parabola over the depth (0 back, 1 front) with these means over the anterior, middle and posterior third."""
    edges = np.array([[2 / 3, 1.0], [1 / 3, 2 / 3], [0.0, 1 / 3]])
    means = np.stack([(edges[:, 1] ** n - edges[:, 0] ** n) / n * 3 for n in (1, 2, 3)], axis=1)
    a, b, c = np.linalg.solve(means, np.array(thirds))
    return np.asarray(a + b * share + c * share**2)


def _at(shape: Array, u: Array, v: Array) -> Array:
    from scipy.ndimage import map_coordinates

    place = np.meshgrid((u + 1) / 2 * (shape.shape[0] - 1), v * (shape.shape[1] - 1), indexing="ij")
    return np.asarray(map_coordinates(shape, place, order=1, mode="nearest"))


# --- the picture -----------------------------------------------------------------------------------------------------


def colour_of(loss_percent: ArrayLike) -> NDArray[np.uint8]:
    """(..., 3) RGB of losses on the fixed scale."""
    loss = np.asarray(loss_percent, dtype=np.float64)
    stops, colours = [at for at, _ in SCALE], np.array([colour for _, colour in SCALE])
    return np.stack([np.rint(np.interp(loss, stops, colours[:, k])) for k in range(3)], axis=-1).astype(np.uint8)


def map_png(found: HeightMap, *, pixels_per_mm: int = _PER_MM) -> bytes:
    """The map as PNG on white: contour of the endplate, Genant's borders as thin lines, borders of the thirds dashed.

    Colours are smoothed over a millimetre and change every two points. Grey inside the contour: no height of both (the
    rounded rim, or a gap). Equal maps give equal bytes.
    """
    from PIL import Image, ImageDraw, ImageFont

    from spinemed.marks import png_bytes

    fine = 2 * pixels_per_mm  # drawn at twice the size, so that lines are smooth
    loss, known = _smooth(found.loss_percent)
    # Rows run from anterior to posterior, columns from the patient's right to the left.
    rows, columns = _finer(len(found.y_mm), fine)[::-1], _finer(len(found.x_mm), fine)[::-1]

    def drawn(values: Array) -> Array:
        return np.asarray(rows @ values.T @ columns.T)

    solid = drawn(found.inside) >= 0.5
    there = solid & (drawn(known) >= 0.5)
    shown = _BAND_PERCENT * np.rint(drawn(loss) / _BAND_PERCENT)
    picture = np.full((*solid.shape, 3), 255, np.uint8)
    picture[solid] = _GREY
    picture[there] = colour_of(shown[there])
    deep = _deep(there)
    for border in (20.0, 25.0, 40.0):
        over = there & (drawn(loss) >= border)
        picture[over & ~_deep(over, 1) & deep] = _INK
    picture[solid & ~_deep(solid)] = _INK
    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    back, front = found.wall_mm
    for share in (1 / 3, 2 / 3):
        row = round((found.y_mm[-1] - (back + share * (front - back))) / _STEP_MM * fine)
        on = np.flatnonzero(solid[min(max(row, 0), len(solid) - 1)])
        for column in range(int(on[0]), int(on[-1]), 3 * fine // 2) if len(on) else ():
            draw.line([(column, row), (min(column + fine, int(on[-1])), row)], fill=_INK, width=2)
    wide, high = solid.shape[1] // 2, solid.shape[0] // 2
    image = image.resize((wide, high), Image.Resampling.BOX)
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size=3.2 * pixels_per_mm)
    draw.text((wide / 2, 1), "A", fill=_INK, font=font, anchor="mt")
    draw.text((wide / 2, high - 1), "P", fill=_INK, font=font, anchor="mb")
    draw.text((1, high / 2), "R", fill=_INK, font=font, anchor="lm")
    draw.text((wide - 1, high / 2), "L", fill=_INK, font=font, anchor="rm")
    return png_bytes(np.asarray(image))


def _smooth(loss: Array) -> tuple[Array, Array]:
    """The losses smoothed over what is known, carried on beyond it; and 1 where they are known."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    known = np.isfinite(loss)
    if not known.any():
        return np.zeros_like(loss), known.astype(float)
    sigma = _SMOOTH_MM / _STEP_MM
    mean = gaussian_filter(np.where(known, loss, 0.0), sigma)
    mean = mean / np.maximum(gaussian_filter(known.astype(float), sigma), 1e-9)
    nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
    return np.asarray(mean[tuple(nearest)]), gaussian_filter(known.astype(float), sigma)


def _finer(count: int, fold: int) -> Array:
    """(count * fold, count) Weights that interpolate linearly between samples, `fold` places to a sample."""
    at = np.clip((np.arange((count - 1) * fold) + 0.5) / fold, 0, count - 1)
    low = np.minimum(at.astype(int), count - 2)
    weights = np.zeros((len(at), count))
    weights[np.arange(len(at)), low] = 1 - (at - low)
    weights[np.arange(len(at)), low + 1] = at - low
    return weights


def _deep(region: NDArray[np.bool_], width: int = 3) -> NDArray[np.bool_]:
    """A region without its rim, `width` pixels deep."""
    from scipy.ndimage import binary_erosion

    return np.asarray(binary_erosion(region, iterations=width))
