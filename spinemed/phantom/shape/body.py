"""A vertebral body as numbers for the kernels, and its true measurements by quadrature.

Convention: the own frame of the vertebra; rows are `surfaces.BODY_PARAMETERS`. Heights run along the own frame's z from
the lower to the upper endplate, at the same share (u, v) of each endplate's own half width and half depth. Thirds are
thirds of the depth, v in [-1, -1/3], [-1/3, 1/3] and [1/3, 1], as in `spinemed.phantom.pathology.fields`.

The trap: the true height of a third depends on the area that is meant. Given are the mean over the whole width inside
the outline and, as `central_*`, over the middle third of the width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.anatomy import Level, Region
from spinemed.compiled import fresh, njit
from spinemed.phantom.shape.surfaces import BODY_PARAMETERS, body_distance, body_norms, body_surfaces, empty_offsets

if TYPE_CHECKING:
    from spinemed.phantom.pathology.effective import EffectiveBody
    from spinemed.phantom.spine.records import BodyShape, SacrumShape

__all__ = [
    "BodyMeasurements",
    "PackedBody",
    "body_height_mm",
    "pack_body",
    "pack_sacral_body",
    "true_body_measurements",
    "true_height_losses",
]

Array = NDArray[np.float64]

_SEEN = {  # front power, back power, kidney, uncinate mm by region: cervical boxy, thoracic heart-like, lumbar kidney
    Region.CERVICAL: (2.9, 3.2, 0.02, 2.6),
    Region.THORACIC: (2.05, 2.7, 0.05, 0.0),
    Region.LUMBAR: (2.25, 2.7, 0.09, 0.0),
}


@dataclass(frozen=True, eq=False)
class PackedBody:
    """Numbers (20,) as `BODY_PARAMETERS` names them, and the two offset fields (2, 33, 33) float32."""

    numbers: Array
    offsets: NDArray[np.float32]


@dataclass(frozen=True)
class BodyMeasurements:
    """What a body truly measures, in mm and mm³."""

    anterior_height_mm: float
    """Mean height over the anterior third, inside the outline."""
    middle_height_mm: float
    posterior_height_mm: float
    central_anterior_height_mm: float
    """The same over the middle third of the width."""
    central_middle_height_mm: float
    central_posterior_height_mm: float
    anterior_rim_height_mm: float
    """Rim to rim at the front in the midsagittal plane."""
    middle_line_height_mm: float
    """In the midsagittal plane half way between the rims."""
    posterior_rim_height_mm: float
    mean_height_mm: float
    """Over the whole endplate."""
    volume_mm3: float
    centroid_mm: tuple[float, float, float]
    """Of the solid body, in the own frame."""


def pack_body(body: EffectiveBody) -> PackedBody:
    """Numbers of an effective body; its offsets are added to the endplates by the kernels."""
    offsets = np.stack([body.upper_offset_mm, body.lower_offset_mm]).astype(np.float32)
    numbers = _numbers(body.shape, body.level)
    numbers[17] = body.retropulsion_mm
    numbers[18] = float(body.retropulsion_upper)
    numbers[19] = float(bool(offsets.any()))
    return PackedBody(numbers, offsets)


def _numbers(shape: BodyShape, level: Level) -> Array:
    region = Region.THORACIC if level is Level.T13 else level.region
    front, back, kidney, uncinate = _SEEN[region]
    if level is Level.C2:
        uncinate = 0.0
    rise = (shape.anterior_height_mm - shape.posterior_height_mm) / 2
    lateral = math.tan(math.radians(shape.lateral_wedge_deg / 2))
    return np.array(
        [
            shape.upper_width_mm,
            shape.upper_depth_mm,
            shape.lower_width_mm,
            shape.lower_depth_mm,
            shape.height_mm / 2,
            rise / shape.upper_depth_mm,
            lateral,
            -shape.height_mm / 2,
            -rise / shape.lower_depth_mm,
            -lateral,
            shape.upper_concavity_mm,
            shape.lower_concavity_mm,
            shape.waist,
            front,
            back,
            kidney,
            uncinate,
            0.0,
            1.0,
            0.0,
        ]
    )


def pack_sacral_body(sacrum: SacrumShape) -> PackedBody:
    """The body of S1, its upper endplate at z = 0 of S1's frame and flat."""
    height = 0.27 * sacrum.length_mm
    numbers = np.zeros(len(BODY_PARAMETERS))
    numbers[:4] = (
        sacrum.endplate_width_mm,
        sacrum.endplate_depth_mm,
        0.80 * sacrum.endplate_width_mm,
        0.68 * sacrum.endplate_depth_mm,
    )
    numbers[7] = -height
    numbers[10] = 0.8
    numbers[12:16] = (0.97, 2.25, 2.7, 0.06)
    numbers[18] = 1.0
    return PackedBody(numbers, empty_offsets())


Numbers = NDArray[Any]

# What these loops call is built into them: they are compiled again when it changes.
_fast = fresh(njit(cache=True), "spinemed.phantom.shape.surfaces")


@_fast
def _surfaces(x: Numbers, y: Numbers, numbers: Numbers, upper: Numbers, lower: Numbers, out: Numbers) -> None:
    for n in range(x.shape[0]):
        bottom, top = body_surfaces(x[n], y[n], numbers, upper, lower)
        out[0, n], out[1, n] = bottom, top


@_fast
def _solid(
    numbers: Numbers,
    upper: Numbers,
    lower: Numbers,
    x0: float,
    y0: float,
    z0: float,
    step: float,
    nx: int,
    ny: int,
    nz: int,
) -> tuple[float, float, float, float]:
    count = sx = sy = sz = 0.0
    norms = body_norms(numbers)
    for i in range(nx):
        x = x0 + (i + 0.5) * step
        for j in range(ny):
            y = y0 + (j + 0.5) * step
            for k in range(nz):
                z = z0 + (k + 0.5) * step
                # Share of the cell inside, by its distance: smoother than counting centres.
                d = body_distance(x, y, z, numbers, upper, lower, norms)
                c = min(max(0.5 - d / step, 0.0), 1.0)
                count += c
                sx += c * x
                sy += c * y
                sz += c * z
    return count, sx, sy, sz


def body_height_mm(body: EffectiveBody | PackedBody, x_mm: ArrayLike, y_mm: ArrayLike) -> Array:
    """Height of the body from the lower to the upper endplate along z, at points of the own frame, in mm.

    Exact: the same two surfaces that the renderer draws. Outside the outline it is the continuation of the surfaces.
    """
    packed = body if isinstance(body, PackedBody) else pack_body(body)
    bottom, top = _surface_z(packed, x_mm, y_mm)
    return top - bottom


def _surface_z(packed: PackedBody, x_mm: ArrayLike, y_mm: ArrayLike) -> tuple[Array, Array]:
    """z of the lower and of the upper endplate at points."""
    x, y = np.broadcast_arrays(np.asarray(x_mm, dtype=np.float64), np.asarray(y_mm, dtype=np.float64))
    out = np.empty((2, x.size))
    flat_x, flat_y = np.ascontiguousarray(x).ravel(), np.ascontiguousarray(y).ravel()
    _surfaces(flat_x, flat_y, packed.numbers, packed.offsets[0], packed.offsets[1], out)
    return out[0].reshape(x.shape), out[1].reshape(x.shape)


def true_body_measurements(body: EffectiveBody | PackedBody, *, step_mm: float = 0.4) -> BodyMeasurements:
    """Heights by third, rim heights, volume and centroid of a body as it is drawn.

    Args:
        body: The effective body.
        step_mm: Cell of the volume's midpoint quadrature; 0.4 mm is exact to about 0.1 %.
    """
    packed = body if isinstance(body, PackedBody) else pack_body(body)
    p = packed.numbers
    width = (p[0] + p[2]) / 2
    upper, lower = (p[0] / 2, p[1] / 2), (p[2] / 2, p[3] / 2)

    def height(u: Array, v: Array) -> Array:
        """Between the two endplates at the same share of each one's own half width and half depth."""
        return _surface_z(packed, u * upper[0], v * upper[1])[1] - _surface_z(packed, u * lower[0], v * lower[1])[0]

    line = (np.arange(192) + 0.5) / 96 - 1
    v, u = np.meshgrid(line, line, indexing="ij")
    heights = height(u, v)
    inside = np.abs(u) ** 2.5 + np.abs(v) ** 2.5 <= 1.0
    band = np.abs(u) <= 1 / 3

    def mean(low: float, high: float, within: NDArray[np.bool_]) -> float:
        return float(heights[(v > low) & (v < high) & within].mean())

    rim = height(np.zeros(3), np.array([1.0, 0.0, -1.0]))
    margin = 6.0 + p[17]
    low = np.array([-max(p[0], p[2]) / 2 - 1, -max(p[1], p[3]) * 0.6 - margin, 0.0])
    spread = float(np.abs(packed.offsets).max()) + p[16] + 4.0 + 0.2 * width
    low[2] = p[7] - spread
    size = np.array([-2 * low[0], -2 * low[1], p[4] - p[7] + 2 * spread])
    count = np.ceil(size / step_mm).astype(int)
    cells, sx, sy, sz = _solid(
        p, packed.offsets[0], packed.offsets[1], low[0], low[1], low[2], step_mm, count[0], count[1], count[2]
    )
    return BodyMeasurements(
        anterior_height_mm=mean(1 / 3, 1, inside),
        middle_height_mm=mean(-1 / 3, 1 / 3, inside),
        posterior_height_mm=mean(-1, -1 / 3, inside),
        central_anterior_height_mm=mean(1 / 3, 1, band),
        central_middle_height_mm=mean(-1 / 3, 1 / 3, band),
        central_posterior_height_mm=mean(-1, -1 / 3, band),
        anterior_rim_height_mm=float(rim[0]),
        middle_line_height_mm=float(rim[1]),
        posterior_rim_height_mm=float(rim[2]),
        mean_height_mm=float(heights[inside].mean()),
        volume_mm3=cells * step_mm**3,
        centroid_mm=(sx / cells, sy / cells, sz / cells),
    )


def true_height_losses(body: EffectiveBody, healthy: EffectiveBody) -> dict[str, float]:
    """Loss of mean height by third and overall against the healthy twin's body, in percent (anterior, middle, ...)."""
    now, before = true_body_measurements(body), true_body_measurements(healthy)
    return {
        name: 100 * (1 - getattr(now, f"{name}_height_mm") / getattr(before, f"{name}_height_mm"))
        for name in ("anterior", "middle", "posterior", "mean")
    }
