"""The true values of everything that `spinemed.measure` measures, from a posed phantom's own surfaces.

Each value follows the definition of the measure it stands beside (same walls, same band, same axis), but is computed
from the record: rim planes and rim points for angles, slips and lengths, the endplate surfaces for heights, quadrature
for volumes. Nothing here reads a voxel.

Convention: world RAS+ mm; places are "L3" or "L4-L5". The trap: a true value belongs to one definition. The height of
a third in the midsagittal band is not the mean over the whole endplate, and a body's own axis is that of the body as it
is: of a fractured one it is tilted against that of its healthy twin (see `spinemed.measure.height_losses`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.compiled import fresh, njit
from spinemed.measure import (
    ANGLES,
    BodyFrame,
    Endplate,
    cobb_deg,
    inclination_deg,
    kyphosis_deg,
    listhesis,
    lordosis_deg,
    wedge_deg,
)
from spinemed.phantom.shape.arch import CANAL_HEIGHTS, EDGE, lamina_line
from spinemed.phantom.shape.body import PackedBody, pack_body, pack_sacral_body, true_body_measurements
from spinemed.phantom.shape.surfaces import body_surfaces
from spinemed.phantom.spine.frames import Frame
from spinemed.phantom.spine.pose import PosedSpine
from spinemed.phantom.spine.truth import EndplateMarks, landmarks

__all__ = ["TrueValue", "endplate_of", "true_values"]

Array = NDArray[np.float64]

_BAND = 0.15  # half-width of the midsagittal band, share of the width
_INSET, _REACH = 0.10, 0.04  # where a rim height is taken, shares of the depth
_LINES, _PLACES = 9, 120

# What these loops call is built into them: they are compiled again when it changes.
_fast = fresh(njit(cache=True), "spinemed.phantom.shape.surfaces")


class TrueValue(NamedTuple):
    """One true value: what, where, how much, and its unit ("mm", "deg", "mm3")."""

    quantity: str
    place: str
    value: float
    unit: str


def endplate_of(marks: EndplateMarks) -> Endplate:
    """A phantom's rim plane as the measures know an endplate."""
    return Endplate(marks.centre_mm, marks.normal, marks.anterior_mm, marks.posterior_mm, marks.right_mm, marks.left_mm)


def _plate(marks: EndplateMarks | None) -> Endplate | None:
    return None if marks is None else endplate_of(marks)


def true_values(posed: PosedSpine) -> list[TrueValue]:
    """Every value that a measurement of this posed spine would hold, for C3 and below."""
    marks = landmarks(posed)
    plates = {level: (_plate(each.upper), _plate(each.lower)) for level, each in marks.items()}
    packed = {level: pack_body(body) for level, body in posed.bodies.items()}
    packed[Level.S1] = pack_sacral_body(posed.spine.sacrum)
    levels = [level for level in (*posed.frames, Level.S1) if level >= Level.C2]
    found: list[TrueValue] = []
    for level in levels:
        upper, lower = plates[level]
        if level is not Level.C2 and level is not Level.S1 and upper is not None and lower is not None:
            found += _body(posed, level, upper, lower, packed[level])
        for name, plate in (("upper", upper), ("lower", lower)):
            if plate is not None and not (level is Level.C2 and name == "upper"):
                for plane in ("sagittal", "coronal"):
                    found.append(
                        TrueValue(f"{name}_{plane}_inclination", str(level), inclination_deg(plate, plane), "deg")
                    )
    for above, below in pairwise(levels):
        over, under = plates[above][1], plates[below][0]
        if over is not None and under is not None:
            found += _disc(posed, above, below, over, under, packed)
    found += _angles(posed, plates)
    return found


def _angles(posed: PosedSpine, plates: dict[Level, tuple[Endplate | None, Endplate | None]]) -> Iterator[TrueValue]:
    for angle in ANGLES:
        if angle.upper in plates and angle.lower in plates:
            upper = plates[angle.upper][angle.upper_end == "lower"]
            lower = plates[angle.lower][angle.lower_end == "lower"]
            if upper is not None and lower is not None:
                formula = lordosis_deg if angle.kind == "lordosis" else kyphosis_deg
                yield TrueValue(angle.kind, angle.name, formula(upper, lower), "deg")
    for curve in posed.spine.scoliosis:
        upper, lower = plates[curve.upper_end][0], plates[curve.lower_end][1]
        if upper is not None and lower is not None:
            yield TrueValue("cobb", f"{curve.upper_end}-{curve.lower_end}", cobb_deg(upper, lower, "coronal"), "deg")


def _body(posed: PosedSpine, level: Level, upper: Endplate, lower: Endplate, packed: PackedBody) -> Iterator[TrueValue]:
    place, own = str(level), posed.frames[level]
    arch = next(vertebra.arch for vertebra in posed.spine.vertebrae if vertebra.level is level)
    frame = _frame((upper.centre_mm + lower.centre_mm) / 2, upper.normal + lower.normal, own.rotation[:, 1])
    edges = [_y(frame, plate, which) for which in ("posterior", "anterior") for plate in (upper, lower)]
    back, front = max(edges[:2]), min(edges[2:])  # the depth that both endplates share
    width = ((upper.width_mm or 0.0) + (lower.width_mm or 0.0)) / 2
    x, y = _grid(width, back, front)
    heights = _surface(own, packed, frame, x, y, "upper") - _surface(own, packed, frame, x, y, "lower")
    profile, share = heights.mean(axis=0), (y[0] - back) / (front - back)
    up = frame.axes[2]
    height = float(np.linalg.norm(upper.centre_mm - lower.centre_mm))
    for name, over, under in (
        ("anterior", upper.anterior_mm, lower.anterior_mm),
        ("posterior", upper.posterior_mm, lower.posterior_mm),
    ):
        assert over is not None
        assert under is not None
        yield TrueValue(f"corner_height_{name}", place, float((over - under) @ up), "mm")
    yield from _heights("height", place, share, profile)
    yield TrueValue("wedge", place, wedge_deg(upper, lower, frame.axes[1]), "deg")
    for name, plate in (("upper", upper), ("lower", lower)):
        yield TrueValue(f"{name}_width", place, float(plate.width_mm or 0.0), "mm")
        yield TrueValue(f"{name}_depth", place, float(plate.depth_mm or 0.0), "mm")
    yield TrueValue("canal_width", place, arch.canal_width_mm, "mm")
    yield TrueValue("canal_depth", place, _canal_depth(posed, level, packed, frame, height), "mm")
    yield TrueValue("body_volume", place, true_body_measurements(packed).volume_mm3, "mm3")


def _canal_depth(posed: PosedSpine, level: Level, packed: PackedBody, frame: BodyFrame, height: float) -> float:
    """Depth of the opening that the ring leaves, seen along the body as it is, in the midsagittal plane.

    Of a whole body that is the parameter `canal_depth_mm`. A broken one is looked through along another axis and over
    another height, and a fragment may stand out of its wall.
    """
    own, numbers = posed.frames[level], packed.numbers
    vertebra = next(each for each in posed.spine.vertebrae if each.level is level)
    assert vertebra.body is not None
    share = np.linspace(0.0, 1.0, 201)
    shrink = 1.0 - (1.0 - numbers[12]) * 4.0 * share * (1.0 - share)
    bulge = np.clip(1.0 - ((2.0 * share - 1.0 - (0.6 if numbers[18] > 0.5 else -0.6)) / 0.9) ** 2, 0.0, None)
    y = -0.5 * (numbers[3] + (numbers[1] - numbers[3]) * share) * shrink - numbers[17] * bulge**2
    bottom, top = _endplates(np.stack([np.zeros_like(y), y, np.zeros_like(y)], axis=1), numbers, packed.offsets)
    line = lamina_line(vertebra, vertebra.body)
    reach = vertebra.arch.lamina_height_mm / 2 - EDGE * vertebra.arch.lamina_thickness_mm
    along = np.linspace(-reach, reach, 201)
    ends = []
    for back, up in ((y, bottom + (top - bottom) * share), (line.y_mm + line.lean * along, line.z_mm + along)):
        seen = frame.to_local(own.to_world(np.stack([np.zeros_like(back), back, up], axis=1)))
        ends.append(seen[(seen[:, 2] >= CANAL_HEIGHTS[0] * height) & (seen[:, 2] <= CANAL_HEIGHTS[1] * height), 1])
    return float(ends[0].min() - ends[1].max())


def _disc(
    posed: PosedSpine,
    above: Level,
    below: Level,
    over: Endplate,
    under: Endplate,
    packed: dict[Level, PackedBody],
) -> Iterator[TrueValue]:
    place = f"{above}-{below}"
    high, low = posed.frame(above), posed.frame(below)
    frame = _frame(
        (over.centre_mm + under.centre_mm) / 2, over.normal + under.normal, high.rotation[:, 1] + low.rotation[:, 1]
    )
    front = min(_y(frame, over, "anterior"), _y(frame, under, "anterior"))
    back = max(_y(frame, over, "posterior"), _y(frame, under, "posterior"))
    slip = listhesis(over, under)
    yield TrueValue("slip", place, slip.slip_mm, "mm")
    yield TrueValue("disc_wedge", place, wedge_deg(over, under, frame.axes[1]), "deg")
    if front - back < 5.0:
        return
    x, y = _grid(min(float(over.width_mm or 0.0), float(under.width_mm or 0.0)), back, front)
    gap = _surface(high, packed[above], frame, x, y, "lower") - _surface(low, packed[below], frame, x, y, "upper")
    yield from _heights("disc_height", place, (y[0] - back) / (front - back), gap.mean(axis=0))


# --- geometry --------------------------------------------------------------------------------------------------------


def _frame(centre: Array, up: Array, anterior: Array) -> BodyFrame:
    z = up / np.linalg.norm(up)
    y = anterior - (anterior @ z) * z
    y = y / np.linalg.norm(y)
    return BodyFrame(centre, np.stack([np.cross(y, z), y, z]))


def _y(frame: BodyFrame, plate: Endplate, which: str) -> float:
    point = plate.anterior_mm if which == "anterior" else plate.posterior_mm
    assert point is not None
    return float(frame.to_local(point[None])[0, 1])


def _grid(width: float, back: float, front: float) -> tuple[Array, Array]:
    """Places in the midsagittal band: (lines, places) x and y, cell centres along y."""
    line = (np.arange(_LINES) + 0.5) / _LINES * 2 - 1
    along = back + (np.arange(_PLACES) + 0.5) / _PLACES * (front - back)
    x, y = np.meshgrid(line * _BAND * width, along, indexing="ij")
    return x, y


def _surface(own: Frame, packed: PackedBody, frame: BodyFrame, x: Array, y: Array, side: str) -> Array:
    """Where lines along the frame's up axis meet an endplate's surface: heights in that frame, as `x`.

    Newton's method on the own-frame gap; endplates are shallow, so that it settles within a few steps.
    """
    numbers, offsets = packed.numbers, packed.offsets
    rise = float(frame.axes[2] @ own.rotation[:, 2])
    height = np.zeros_like(x)
    for _ in range(8):
        points = own.to_own(frame.to_world(np.stack([x, y, height], axis=-1)))
        there = _endplates(np.ascontiguousarray(points.reshape(-1, 3)), numbers, offsets)[int(side == "upper")]
        height = height - (points[..., 2] - there.reshape(x.shape)) / rise
    return height


@_fast
def _endplates(points: Array, numbers: Array, offsets: NDArray[np.float32]) -> Array:
    """(2, N) z of the lower and the upper endplate above the points' x and y, own frame."""
    found = np.empty((2, len(points)))
    for n in range(len(points)):
        found[0, n], found[1, n] = body_surfaces(points[n, 0], points[n, 1], numbers, offsets[0], offsets[1])
    return found


def _heights(name: str, place: str, share: Array, profile: Array) -> Iterator[TrueValue]:
    """Thirds and rims of a height profile over the share of the depth, 0 at the back."""
    for part, low, high in (("anterior", 2 / 3, 1.0), ("middle", 1 / 3, 2 / 3), ("posterior", 0.0, 1 / 3)):
        inside = (share >= low) & (share <= high)
        yield TrueValue(f"{name}_{part}_third", place, float(profile[inside].mean()), "mm")
    for part, at, reach in (
        ("anterior", 1 - _INSET, _REACH),
        ("middle", 0.5, 2 * _REACH),
        ("posterior", _INSET, _REACH),
    ):
        inside = np.abs(share - at) <= reach
        yield TrueValue(f"{name}_{part}_rim", place, float(profile[inside].mean()), "mm")
