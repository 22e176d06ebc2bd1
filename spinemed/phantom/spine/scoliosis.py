"""Coronal curves with a true Cobb angle, spread over bodies and discs, with the rotation that goes with them.

Convention: a curve's Cobb angle lies between the lines in which the upper endplate of its upper end vertebra and the
lower endplate of its lower end vertebra cut the coronal plane, in the standing pose. Between the ends the lateral
wedges sum to it, most beside the apex; outside the ends the column comes back to level. A curve convex to the right has
its right sides higher and its bodies turned to the right (negative about +z).

The trap: lateral wedges lie in frames that lean and turn, so their sum is not the angle on a film. The wedges are
scaled until the geometry shows what was asked for; the record's `lateral_wedge_deg` are the scaled ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import LevelError
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.frames import Link, RimPlane, endplate_frame, sacral_frame, stack
from spinemed.phantom.spine.records import Scoliosis, SpinePhantom
from spinemed.phantom.spine.sizes import FAMILIES, FamilyTraits

__all__ = ["bend", "draw_scoliosis"]

Array = NDArray[np.float64]
_ROUNDS = 10
_BODY_MOST_DEG = 9.0
_BALANCE_MM = 10.0
"""C7 stands this near the midline, if the column below the curves can lean so far."""
_RETURN_DEG = 7.0
"""What one body or disc outside the curve gives at most to bring the column back to level."""


def draw_scoliosis(
    rng: np.random.Generator, levels: Sequence[Level], config: SpineConfig, traits: FamilyTraits
) -> tuple[Scoliosis, ...]:
    """Draw no curve, one, or a thoracic curve over a lumbar one, caudal curve last; empty where the spine is straight.

    Thoracic curves are mostly convex to the right, lumbar ones to the left (Lenke 2001 for the patterns; shares here
    are recalled).
    """
    wanted, double = rng.random(2)
    pattern = int(rng.choice(3, p=(0.5, 0.2, 0.3)))
    mirrored = rng.random() < 0.2
    cobbs = rng.uniform(*config.cobb_deg, 2)
    turns = traits.rotation_per_cobb * np.clip(rng.normal(1.0, 0.2, 2), 0.4, 1.6)
    shift = rng.integers(-1, 2, 2)
    if wanted >= config.scoliosis_share:
        return ()
    thoracic = (Level.T5, Level.T8, Level.T11)
    lumbar = (Level.T12, Level.L2, Level.L4)
    chosen = [(thoracic, "right")] if pattern == 0 else [((Level.T10, Level.T12, Level.L3), "left")]
    if pattern == 2:
        chosen = [(lumbar, "left")]
    if double < traits.double_share:
        chosen = [(thoracic, "right"), (lumbar, "left")]
    order = list(levels)
    last = len(order) - 2  # the lowest end vertebra leaves one body and two discs to come back to level
    curves: list[Scoliosis] = []
    for k, (ends, side) in enumerate(chosen):
        steps = [_nearest(order, level) + (int(shift[0]) if len(chosen) == 1 else 0) for level in ends]
        over = max(0, steps[2] - last)
        steps = [step - over for step in steps]
        if mirrored:
            side = "left" if side == "right" else "right"
        cobb = round(float(cobbs[k]), 3)
        turn = round(float(turns[k]) * cobb, 3)
        curves.append(
            Scoliosis(
                upper_end=order[steps[0]],
                apex=order[steps[1]],
                lower_end=order[steps[2]],
                cobb_deg=cobb,
                convex=side,  # type: ignore[arg-type]
                apical_rotation_deg=-turn if side == "right" else turn,
            )
        )
    if len(curves) == 2 and curves[0].lower_end >= curves[1].upper_end:
        at = order.index(curves[1].upper_end)
        curves[0] = curves[0].model_copy(update={"lower_end": order[at - 1]})
    return tuple(curves)


def _nearest(order: list[Level], level: Level) -> int:
    return order.index(level) if level in order else min(range(len(order)), key=lambda i: (order[i] < level, i))


def bend(spine: SpinePhantom, curves: tuple[Scoliosis, ...]) -> SpinePhantom:
    """The same spine with coronal curves: lateral wedges of bodies and discs, and axial rotation of discs.

    Args:
        spine: A phantom; lateral wedges and axial rotations that it has are replaced.
        curves: Cranial to caudal; their vertebrae do not overlap.

    Returns:
        The bent record. Its standing Cobb angles are those asked for within 0.1 degrees; where neighbouring discs are
        too thin to open so far, the record's curve carries the smaller angle that was reached.
    """
    levels = [v.level for v in spine.vertebrae]
    n = len(levels)
    traits = FAMILIES[spine.family]
    spans = [(levels.index(c.upper_end), levels.index(c.apex), levels.index(c.lower_end)) for c in curves]
    signed = np.array([c.cobb_deg if c.convex == "right" else -c.cobb_deg for c in curves])
    limits = _limits(spine)
    turns = _turns(n, spans, [c.apical_rotation_deg for c in curves])
    scale, lean = np.ones(len(curves)), 0.0
    neck = levels.index(Level.C7)
    for _ in range(_ROUNDS):
        wedges = np.zeros((n, 2))  # of each body, and of the disc below it
        for k, span in enumerate(spans):
            _spread(wedges, span, float(scale[k] * signed[k]), traits, limits)
        _return_to_level(wedges, spans, signed, limits, lean)
        slopes, places = _slopes_deg(spine, wedges, turns)
        shown = np.array([slopes[upper, 0] - slopes[lower, 1] for upper, _, lower in spans])
        if np.abs(shown - signed).max() < 0.02 and abs(places[neck, 0]) < _BALANCE_MM:
            break
        rise = places[neck] - places[spans[-1][2]]
        lean += 0.8 * math.degrees(places[neck, 0] / rise[2])
        scale = np.clip(scale * np.where(np.abs(shown) > 1e-6, signed / np.where(shown == 0, 1, shown), 1.0), 0.5, 2.0)
    # What the discs could not open to is not claimed: the record holds the angle that the geometry shows.
    curves = tuple(
        curve if abs(angle - wanted) < 0.1 else curve.model_copy(update={"cobb_deg": round(abs(float(angle)), 3)})
        for curve, angle, wanted in zip(curves, shown, signed)
    )
    return _with(spine, curves, wedges, turns)


def _slopes_deg(spine: SpinePhantom, wedges: Array, turns: Array) -> tuple[Array, Array]:
    """(n, 2) coronal inclination of the upper and lower endplate of each vertebra, and (n, 3) its origin, standing."""
    n = len(spine.vertebrae)
    below = np.append(turns[1:], 0.0)
    links: list[Link] = []
    depth = spine.sacrum.endplate_depth_mm
    for i in range(n - 1, 0, -1):
        body, disc = spine.vertebrae[i].body, spine.discs[i - 1]
        if body is None:
            raise LevelError(f"{spine.vertebrae[i].level} has no body", field="vertebrae", cure="only C1 has none")
        half = (body.anterior_height_mm - body.posterior_height_mm) / 2
        upper_deg = math.degrees(math.atan(half / body.upper_depth_mm))
        lower_deg = -math.degrees(math.atan(half / body.lower_depth_mm))
        side = float(wedges[i, 0]) / 2
        links.append(
            Link(
                disc.middle_height_mm,
                disc.wedge_standing_deg,
                float(wedges[i, 1]),
                float(turns[i] - below[i]),
                depth,
                body.lower_depth_mm,
                RimPlane(-body.height_mm / 2, lower_deg, -side),
                RimPlane(body.height_mm / 2, upper_deg, side),
            )
        )
        depth = body.upper_depth_mm
    sacrum = sacral_frame(spine.person.pelvic_incidence_deg - spine.pelvis.tilt_standing_deg)
    result, places = np.zeros((n, 2)), np.zeros((n, 3))
    for i, frame, link in zip(range(n - 1, 0, -1), stack(sacrum, links), links):
        places[i] = frame.origin_mm
        for side_at, plane in enumerate((link.upper, link.lower)):
            normal = endplate_frame(frame, plane).rotation[:, 2]
            result[i, side_at] = math.degrees(math.atan2(-normal[0], normal[2]))
    return result, places


def _limits(spine: SpinePhantom) -> Array:
    """(n, 2) the most a body and the disc below it may be wedged, degrees."""
    result = np.full((len(spine.vertebrae), 2), _BODY_MOST_DEG)
    for i, disc in enumerate(spine.discs, start=1):
        body = spine.vertebrae[i].body
        below = spine.vertebrae[i + 1].body if i + 1 < len(spine.vertebrae) else None
        wide = spine.sacrum.endplate_width_mm if below is None else below.upper_width_mm
        if body is not None:
            wide = max(wide, body.lower_width_mm)
        room = max(disc.middle_height_mm - 1.0, 0.0) / wide
        sagittal = max(abs(disc.wedge_standing_deg), abs(disc.wedge_supine_deg))
        # Both wedges meet at the corner of an oval, not of a box: 0.7 of the sagittal one counts there.
        result[i, 1] = max(1.0, math.degrees(2 * math.asin(min(1.0, room))) - 0.15 * sagittal)
    result[0] = 0.0
    return result


def _spread(wedges: Array, span: tuple[int, int, int], total: float, traits: FamilyTraits, limits: Array) -> None:
    """Wedges of the bodies upper … lower end and the discs between them, summing to `total`, most beside the apex."""
    upper, apex, lower = span
    size = np.array([1.0 - traits.disc_share, traits.disc_share])
    share = np.zeros_like(wedges)
    for i in range(upper, lower + 1):
        for part in (0, 1):
            if part == 1 and i == lower:
                continue
            away = i + 0.5 * part - apex
            reach = (apex - upper if away < 0 else lower - apex) + 1.0
            share[i, part] = size[part] * math.cos(math.pi / 2 * away / reach) ** (2 * traits.apex_sharpness)
    _pour(wedges, share, total, limits)


def _return_to_level(
    wedges: Array, spans: list[tuple[int, int, int]], signed: Array, limits: Array, lean_deg: float
) -> None:
    """Tilt the column below the lowest curve, and back to level above the highest one."""
    n = len(wedges)
    if len(signed) == 1:
        below = -signed[0] / 2
    else:
        below = -signed[1] - math.copysign(float(np.abs(signed).sum()) / 4, float(signed[0]))
    below += lean_deg
    lower = spans[-1][2]
    share = np.zeros_like(wedges)
    share[lower, 1] = 1.0
    share[lower + 1 : min(n, lower + 5)] = 1.0
    most = _RETURN_DEG * share.sum()
    below = float(np.clip(below, -most, most))
    _pour(wedges, share, below, limits)
    tilt = below + float(signed.sum())
    upper = spans[0][0]
    share = np.zeros_like(wedges)
    near = max(2, upper - 6)
    share[near:upper] = (np.arange(near, upper) - near + 1.0)[:, None]  # most beside the curve
    most = _RETURN_DEG * 2 * (upper - near)
    _pour(wedges, share, float(np.clip(-tilt, -most, most)), limits)


def _pour(wedges: Array, share: Array, total: float, limits: Array) -> None:
    """Add `total` to the wedges by share; what one part cannot bear the others do."""
    placed = np.zeros_like(wedges)
    left = total
    for _ in range(8):
        free = share * (np.abs(placed) < limits - 1e-9)
        if abs(left) < 1e-9 or not free.any():
            break
        placed = np.clip(placed + free / free.sum() * left, -limits, limits)
        left = total - float(placed.sum())
    wedges += placed


def _turns(n: int, spans: list[tuple[int, int, int]], apical_deg: list[float]) -> Array:
    """(n,) axial rotation of each vertebra against the sacrum: greatest at the apex, none beyond the ends."""
    turns = np.zeros(n)
    for (upper, apex, lower), most in zip(spans, apical_deg):
        for i in range(upper, lower + 1):
            reach = (apex - upper if i < apex else lower - apex) + 1.0
            turns[i] += most * math.cos(math.pi / 2 * (i - apex) / reach) ** 2
    return turns


def _with(spine: SpinePhantom, curves: tuple[Scoliosis, ...], wedges: Array, turns: Array) -> SpinePhantom:
    vertebrae = tuple(
        v
        if v.body is None
        else v.model_copy(
            update={"body": v.body.model_copy(update={"lateral_wedge_deg": round(float(wedges[i, 0]), 6)})}
        )
        for i, v in enumerate(spine.vertebrae)
    )
    below = np.append(turns[1:], 0.0)
    discs = tuple(
        disc.model_copy(
            update={
                "lateral_wedge_deg": round(float(wedges[i, 1]), 6),
                "axial_rotation_deg": round(float(turns[i] - below[i]), 6),
            }
        )
        for i, disc in enumerate(spine.discs, start=1)
    )
    return spine.model_copy(update={"vertebrae": vertebrae, "discs": discs, "scoliosis": curves})
