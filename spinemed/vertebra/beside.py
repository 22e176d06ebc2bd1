"""What stands beside a grade: local kyphosis, a posterior wall that bulges backwards, and a canal that it narrows.

Height loss alone is not a fracture and no indication; surgeons look at these three as well. All come from masks:

- `wedge_deg`: the body's own endplates, positive where the front is the lower side (kyphotic).
- `local_kyphosis_deg`: sagittal Cobb angle from the upper endplate of the vertebra above to the lower endplate of the
  one below, positive for kyphosis (Keynan 2006, Spine 31:E156).
- `retropulsion_mm`: how far the posterior wall, mean over the middle 6 mm, stands at its rearmost place behind the line
  from the posterior-inferior corner of the vertebra above to the posterior-superior corner of the one below; negative
  where it stays in front of it.
- `canal_compromise_percent`: 100 (1 - d / mean of d above and below), d the midsagittal depth of the bony canal that
  the vertebra's ring leaves open (Mumford 1993, Spine 18:955), negative where it is wider.

Each is None with a reason where it cannot be measured: without both neighbours, without a whole ring.

The traps: neighbours stand for what the level was. Where one of them is broken, slipped or narrow itself the number is
wrong, and nothing here says so. The wall of a healthy body lies up to a millimetre off the line (the spine is bent,
bodies are waisted); healthy neighbours' canals differ by some 8 % (one sd, on phantoms); and a bony ring is not the
dural sac: discs and ligaments narrow the canal unseen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import SpineMedError
from spinemed.measure import Body, foramen_section, kyphosis_deg, wedge_deg
from spinemed.measure.field import field_of, known_mean, outlines
from spinemed.measure.parts import Part

__all__ = ["Beside", "canal_depths_mm", "measure_beside", "retropulsion_mm"]

Array = NDArray[np.float64]

_HALF_BAND_MM = 3.0
_STEP_MM = 0.5
_INSET = 0.05  # of the body's height, where the corners are rounded
_AROUND = 2  # levels whose bodies tell how high this one was
_LEAST_ARCH = 1.15  # of the body's volume: below it there is no ring


@dataclass(frozen=True)
class Beside:
    """The four numbers (see the module), each None where it could not be measured, and why."""

    wedge_deg: float | None = None
    local_kyphosis_deg: float | None = None
    retropulsion_mm: float | None = None
    canal_compromise_percent: float | None = None
    unmeasured: tuple[str, ...] = ()


def measure_beside(
    level: Level, bodies: Mapping[Level, Body], whole: Mapping[Level, Part], depths: Mapping[Level, float | None]
) -> Beside:
    """Everything beside the grade of one level.

    Args:
        level: Which; it is among `bodies`.
        bodies: All fitted bodies.
        whole: All vertebrae that the mask holds, arch included; those without a fitted body tell which neighbour lacks.
        depths: Depth of the canal by level (:func:`canal_depths_mm`), None where the ring is open or cut.
    """
    own = bodies[level]
    why: list[str] = []
    wedge: float | None = None
    try:
        wedge = -wedge_deg(own.upper, own.lower, own.frame.axes[1])
    except SpineMedError as error:
        why.append(f"wedge: {error.problem}")
    above, below = _neighbour(level, whole, -1), _neighbour(level, whole, +1)
    missing = [
        f"no vertebra {side} in the mask" if near is None else f"{near} is not measured"
        for near, side in ((above, "above"), (below, "below"))
        if near is None or near not in bodies
    ]
    kyphosis = beyond = None
    if missing or above is None or below is None:
        why.append("local kyphosis and retropulsion: " + " and ".join(missing))
    else:
        upper, lower = bodies[above], bodies[below]
        try:
            kyphosis = kyphosis_deg(upper.upper, lower.lower)
        except SpineMedError as error:
            why.append(f"local kyphosis: {error.problem}")
        try:
            beyond = retropulsion_mm(own, upper, lower)
        except SpineMedError as error:
            why.append(f"retropulsion: {error.problem}")
    compromise: float | None = None
    known = {each: depths.get(each) for each in (level, above, below) if each is not None}
    narrow, sides = known.get(level), [known.get(each) for each in (above, below) if each is not None]
    if narrow is None:
        why.append("canal: the ring of this vertebra is open, or not in the mask")
    elif len(sides) < 2 or any(side is None for side in sides):
        why.append("canal: no closed ring above and below to compare with")
    else:
        compromise = 100.0 * (1.0 - narrow / (sum(side or 0.0 for side in sides) / 2))
    return Beside(wedge, kyphosis, beyond, compromise, tuple(why))


def retropulsion_mm(body: Body, above: Body, below: Body) -> float:
    """How far a posterior wall stands behind the line of its neighbours' corners, mm; negative in front of it.

    Args:
        body: Whose wall.
        above, below: Its neighbours.

    Raises:
        SpineMedError: a neighbour lacks its posterior corner, or the wall is not seen.
    """
    start, end = above.lower.posterior_mm, below.upper.posterior_mm
    if start is None or end is None:
        raise SpineMedError(
            "a neighbour has no posterior corner", field="endplates", cure="give masks of whole neighbours"
        )
    along = (start - end) / float(np.linalg.norm(start - end))
    behind = -body.frame.axes[1]
    behind = behind - (behind @ along) * along
    behind = behind / float(np.linalg.norm(behind))
    _, upper, lower = body.profile()
    rise = float(np.nanmean(upper) - np.nanmean(lower))
    low, high = float(np.nanmean(lower)) + _INSET * rise, float(np.nanmean(upper)) - _INSET * rise
    x = np.arange(-_HALF_BAND_MM, _HALF_BAND_MM + _STEP_MM, _STEP_MM)
    y = np.arange(-1.2 * body.depth_mm, 0.3 * body.depth_mm, _STEP_MM)
    z = np.linspace(low, high, max(2, int((high - low) / _STEP_MM)))
    gx, gy, gz = np.meshgrid(x, y, z, indexing="ij")
    values = body.field_.at(body.frame.to_world(np.stack([gx, gy, gz], axis=-1)))
    lines = np.moveaxis(values, 1, 0).reshape(len(y), -1)
    wall = known_mean(outlines(lines, y, -1, anywhere=True).reshape(len(x), len(z)))
    seen = np.isfinite(wall)
    if not seen.any():
        raise SpineMedError("the posterior wall is not seen", field="mask", cure="check that the mask is one body")
    local = np.stack([np.zeros(int(seen.sum())), wall[seen], z[seen]], axis=1)
    return float(((body.frame.to_world(local) - end) @ behind).max())


def canal_depths_mm(bodies: Mapping[Level, Body], whole: Mapping[Level, Part]) -> dict[Level, float | None]:
    """Midsagittal depth of the bony canal inside each vertebra's ring; None where the ring is not closed.

    Source: :func:`spinemed.measure.foramen_section` (Panjabi 1992, read looking down through the vertebra, over a share
    of the body's height). An arch keeps its height when its body sinks: the height is that of the bodies around, where
    it is larger. Processes that the volume cuts do not matter; a ring that it cuts is not closed.

    Args:
        bodies: The fitted bodies.
        whole: The vertebrae with their arches.
    """
    tall = {each: float(np.linalg.norm(body.upper.centre_mm - body.lower.centre_mm)) for each, body in bodies.items()}
    found: dict[Level, float | None] = {}
    for level, body in bodies.items():
        found[level] = None
        part = whole.get(level)
        if part is None or part.volume_mm3 < _LEAST_ARCH * body.volume_mm3:
            continue
        around = float(np.median([tall[each] for each in tall if abs(each.ordinal - level.ordinal) <= _AROUND]))
        section = foramen_section(
            field_of(part.mask, part.affine), body.frame, body.wall_mm[0], max(tall[level], around)
        )
        found[level] = None if section is None else section.ap_mm
    return found


def _neighbour(level: Level, present: Mapping[Level, Part], step: int) -> Level | None:
    """The next level in a direction if the mask holds it; T13 counts only where it is."""
    order = [each for each in Level if Level.T1 <= each <= Level.L6 and (each is not Level.T13 or each in present)]
    at = order.index(level) + step
    return order[at] if 0 <= at < len(order) and order[at] in present else None
