"""Sagittal curves of one person, standing and supine, and the wedges of bodies and discs that make them.

Convention: lordosis positive for wedges (anterior opening), so kyphosis is the negative sum of wedges over the thorax.
Lordosis runs from the upper endplate of T12 (or the last thoracic vertebra) to S1, kyphosis from the upper endplate of
T4 to the lower of T12, cervical lordosis from the lower endplate of C2 to the lower of C7. Bodies are the same in both
postures; the discs' wedges make up the difference.

The trap: angles drawn freely would not balance. Lordosis follows incidence (r² 0.3), tilt follows incidence and
age, and kyphosis is then drawn around the value that brings C7 over the sacrum: people do stand upright. Its mean is
thereby a result, which the tests hold to the table.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level, Region
from spinemed.phantom.spine.sizes import FamilyTraits, Sizes
from spinemed.phantom.tables.morphometry import alignment

__all__ = ["Curves", "draw_curves"]

Array = NDArray[np.float64]
PostureName = Literal["standing", "supine"]

_LEAST_GAP_MM = 1.2
_LEAST_CERVICAL_GAP_MM = 0.9
_SIXTH = (3.0, 0.15)
"""Wedge and share of the disc L1/2 where six lumbar vertebrae leave it a place of its own (recalled)."""
_THIRTEENTH = (0.2, 0.02)
"""The same of the disc T12/13."""
_TILT_TIE = -0.57
"""Degrees of pelvic tilt per degree of lordosis beyond what incidence predicts: flat backs stand with the pelvis turned
back (recalled)."""
_KYPHOSIS_TIE = 0.65
"""Share of the kyphosis that balance asks for, against the mean of people."""
_STOOP_DEG = 5.0
"""The published means of incidence, lordosis and kyphosis do not balance exactly: with C7 straight over the sacrum the
other two ask for some 27 degrees of kyphosis, people have 35-41. Meeting half way leaves C7 about 1 cm further forward.
"""
_LYING_TIE = 0.3
_LYING_STANDING = 0.5
"""The same lying, and how much of a person's standing departure stays."""


class Curves(NamedTuple):
    """Drawn curves; arrays run over the vertebrae C1 … last lumbar, discs named by the vertebra above."""

    body_wedge_deg: Array
    standing_deg: Array
    supine_deg: Array
    tilt_standing_deg: float
    tilt_supine_deg: float


class _Column(NamedTuple):
    """What the balance of a column depends on."""

    levels: tuple[Level, ...]
    heights: Array
    discs: Array
    depths: Array
    kyphotic: Array
    lordotic: Array
    cervical: Array


def draw_curves(
    rng: np.random.Generator,
    levels: tuple[Level, ...],
    sizes: Sizes,
    incidence_deg: float,
    age_years: float,
    sacral_depth_mm: float,
    traits: FamilyTraits,
) -> Curves:
    """Draw pelvic tilt and all sagittal wedges of a person.

    Source: `alignment.csv` (n=642 for incidence and tilt, n=627 for lordosis), see its marks.

    Args:
        rng: Source of chance.
        levels: C1 … the last lumbar vertebra.
        sizes: Of the person.
        incidence_deg: Pelvic incidence.
        age_years: Age.
        sacral_depth_mm: Of the S1 endplate.
        traits: Of the family.
    """
    column = _column(levels, sizes, sacral_depth_mm)
    z = rng.standard_normal(12)
    noise = rng.standard_normal((3, len(levels)))

    incidence = alignment("pelvic_incidence")
    standing, supine = alignment("lordosis_t12_s1", "standing"), alignment("lordosis_t12_s1", "supine")
    explained = alignment("lordosis_r2_incidence", "standing").mean
    lordosis_z = math.sqrt(explained) * (incidence_deg - incidence.mean) / incidence.sd
    own_z = math.sqrt(1 - explained) * _clip(z[0])
    lordosis = standing.mean + standing.sd * (lordosis_z + own_z)
    tie = alignment("lordosis_correlation").mean
    lying = supine.mean + supine.sd * (tie * (lordosis_z + own_z) + math.sqrt(1 - tie * tie) * _clip(z[1]))
    own_tilt = _TILT_TIE * own_z * standing.sd
    scatter = alignment("pelvic_tilt_residual", "standing").sd
    tilt = (
        alignment("pelvic_tilt_constant", "standing").mean
        + alignment("pelvic_tilt_per_incidence", "standing").mean * incidence_deg
        + alignment("pelvic_tilt_per_year", "standing").mean * age_years
        + own_tilt
        + math.sqrt(scatter**2 - (1 - explained) * (_TILT_TIE * standing.sd) ** 2) * _clip(z[2])
    )
    change = alignment("pelvic_tilt_change", "supine")
    flatter = (lordosis - standing.mean) - (lying - supine.mean)
    tilt_supine = tilt + change.mean - _TILT_TIE * flatter + change.sd * _clip(z[3])

    bodies = _lumbar_bodies(column, sizes, noise[0], traits.body_share * (lordosis - standing.mean))
    tk, tk_supine = alignment("kyphosis_t4_t12", "standing"), alignment("kyphosis_t4_t12", "supine")
    needed = _balancing_kyphosis(column, bodies, lordosis, incidence_deg - tilt, "standing", z[4])
    kyphosis = tk.mean + _KYPHOSIS_TIE * (needed + _STOOP_DEG - tk.mean) + 0.3 * tk.sd * _clip(z[5])
    kyphosis = float(np.clip(kyphosis, 8.0, 75.0))
    bodies = bodies - column.kyphotic * (traits.body_share * 1.5 * (kyphosis - tk.mean) / column.kyphotic.sum())
    needed = _balancing_kyphosis(column, bodies, lying, incidence_deg - tilt_supine, "supine", z[11])
    kyphosis_lying = tk_supine.mean + _LYING_TIE * (needed + _STOOP_DEG - tk_supine.mean)
    kyphosis_lying += tk_supine.sd * (_LYING_STANDING * (kyphosis - tk.mean) / tk.sd + 0.3 * _clip(z[6]))
    kyphosis_lying = float(np.clip(kyphosis_lying, 5.0, 70.0))
    twelfth = int(np.flatnonzero(column.lordotic)[0])
    upper = [i for i, x in enumerate(levels) if x in (Level.T1, Level.T2, Level.T3)]
    junction = bodies[upper].sum() + sum(_junction()[levels[i]] for i in upper)
    slope = incidence_deg - tilt - lordosis + kyphosis + bodies[twelfth] - junction  # of T1
    neck, neck_lying = _neck(z[7:10], slope)
    exchange = 5.5 * _clip(z[10])
    return Curves(
        bodies,
        _discs(column, bodies, lordosis, kyphosis, neck, exchange, noise[1]),
        _discs(column, bodies, lying, kyphosis_lying, neck_lying, exchange, 0.8 * noise[1] + 0.6 * noise[2]),
        tilt,
        tilt_supine,
    )


def _clip(value: float) -> float:
    return float(np.clip(value, -2.6, 2.6))


def _column(levels: tuple[Level, ...], sizes: Sizes, sacral_depth_mm: float) -> _Column:
    values = sizes.values
    last_thoracic = max(x for x in levels if x.region is Region.THORACIC)
    twelfth = min(last_thoracic, Level.T12)
    heights = (values["anterior_height"] + values["posterior_height"]) / 2
    below = np.append(values["upper_depth"][1:], sacral_depth_mm)
    return _Column(
        levels,
        np.nan_to_num(heights),
        np.nan_to_num(values["disc_height"]),
        np.fmax(values["lower_depth"], below),
        np.array([Level.T4 <= x <= twelfth for x in levels]),
        np.array([x >= twelfth for x in levels]),
        np.array([Level.C3 <= x <= Level.C7 for x in levels]),
    )


def _lumbar_bodies(column: _Column, sizes: Sizes, noise: Array, extra_deg: float) -> Array:
    """Body wedges with scatter of their own and the lumbar bodies' part of the person's lordosis."""
    lumbar = np.array([x.region is Region.LUMBAR for x in column.levels])
    weight = lumbar * np.linspace(0.0, 1.0, len(lumbar)) ** 4  # the lower the more: L5 is the most variable
    result: Array = sizes.wedge_deg + 0.9 * noise + weight / weight.sum() * extra_deg
    result[0] = 0.0
    return result


def _balancing_kyphosis(
    column: _Column, bodies: Array, lordosis: float, slope: float, posture: PostureName, wanted_z: float
) -> float:
    """The kyphosis that puts C7 at a drawn distance before the sacrum's back corner; linear in two trials."""
    cell, sva = alignment("kyphosis_t4_t12", posture), alignment("sva", posture)
    zero = np.zeros(len(bodies))
    trial = (cell.mean - 8.0, cell.mean + 8.0)
    low, high = (
        _c7_forward_mm(column, bodies, _discs(column, bodies, lordosis, t, 15.0, 0.0, zero, limited=False), slope)
        for t in trial
    )
    back_corner = -column.depths[-1] / 2 * math.cos(math.radians(slope))
    target = sva.mean + 0.6 * sva.sd * _clip(wanted_z) + back_corner
    kyphosis: float = trial[0] + (target - low) * (trial[1] - trial[0]) / (high - low)
    return kyphosis


def _c7_forward_mm(column: _Column, bodies: Array, discs: Array, slope: float) -> float:
    """How far the middle of C7 lies before the middle of the S1 endplate, all endplates being flat."""
    at = column.levels.index(Level.C7)
    turns = np.stack([discs[at:], bodies[at:]], axis=1)[::-1].ravel()  # disc, body, disc, body … upwards
    lengths = np.stack([column.discs[at:], column.heights[at:]], axis=1)[::-1].ravel()
    lengths[-1] /= 2
    middle = -slope + np.cumsum(turns) - turns / 2
    return float(-(lengths * np.sin(np.radians(middle))).sum())


def _neck(z: Array, slope: float) -> tuple[float, float]:
    """Cervical lordosis standing and supine: half of it follows the slope below the neck."""
    standing, supine = alignment("cervical_lordosis_c2_c7", "standing"), alignment("cervical_lordosis_c2_c7", "supine")
    t1 = alignment("t1_slope", "standing")
    own = 0.5 * (slope - t1.mean) / t1.sd
    first = float(np.clip(own, -1.2, 1.2)) + 0.95 * _clip(z[0])
    tie = alignment("cervical_correlation").mean
    second = tie * first + math.sqrt(1 - tie * tie) * _clip(z[1])
    return standing.mean + standing.sd * first, supine.mean + supine.sd * second


def _discs(
    column: _Column,
    bodies: Array,
    lordosis: float,
    kyphosis: float,
    neck: float,
    exchange: float,
    noise: Array,
    *,
    limited: bool = True,
) -> Array:
    """Wedge of the disc below each vertebra such that the three curves are met, as far as the discs can open."""
    levels = column.levels
    n = len(levels)
    result = np.zeros(n)
    least = np.where([x < Level.C7 for x in levels], _LEAST_CERVICAL_GAP_MM, _LEAST_GAP_MM)
    room = np.clip((column.discs - least) / np.maximum(column.depths, 1e-9), 0.0, 0.9)
    most = np.degrees(2 * np.arcsin(room)) if limited else np.full(n, 90.0)

    low = np.flatnonzero(column.lordotic)  # T12 … last lumbar: the discs below each
    lumbar = [i for i in low if levels[i].region is Region.LUMBAR]
    base, share = _lordotic(len(low) - len(lumbar), len(lumbar))
    swap = np.zeros(len(low))
    swap[-2:] = 0.5
    swap[-5:-2] = -1.0 / 3.0 if len(low) >= 5 else 0.0
    own = 1.2 * noise[low] + exchange * swap
    result[low] = _meet(lordosis - bodies[low].sum(), base, share, own, most[low])

    chest = np.flatnonzero(column.kyphotic)
    between = chest[:-1]
    base, weight = (column_of[: len(between)] for column_of in _thoracic())
    total = -kyphosis - bodies[chest].sum()
    result[between] = _meet(total, base, weight, 0.8 * noise[between], most[between])

    throat = np.flatnonzero(column.cervical)
    above = throat - 1  # the discs C2/3 … C6/7
    result[above] = _meet(
        neck - bodies[throat].sum(), np.zeros(len(above)), np.ones(len(above)), noise[above], most[above]
    )

    for i, level in enumerate(levels):
        if level in _junction():
            result[i] = min(max(_junction()[level] + 0.6 * noise[i], -most[i]), most[i])
    return result


@cache
def _lordotic(thoracic: int, lumbar: int) -> tuple[Array, Array]:
    """Mean wedge and share of the discs below T12 (and T13) and each lumbar vertebra, cranial to caudal.

    They go by their place above the sacrum: L4/S1 in a spine of four lumbar vertebrae is as wedged as L5/S1 in others.
    """
    names = ("l5_s1", "l4_l5", "l3_l4", "l2_l3", "l1_l2")
    cells = [(alignment(f"disc_wedge_{x}", "standing").mean, alignment(f"curve_share_{x}").mean) for x in names]
    cells = [*cells, _SIXTH][:lumbar]
    cells.append((alignment("disc_wedge_t12_l1", "standing").mean, alignment("curve_share_t12_l1").mean))
    cells += [_THIRTEENTH] * (thoracic - 1)
    columns = np.array(cells[::-1])
    return columns[:, 0], columns[:, 1]


@cache
def _thoracic() -> tuple[Array, Array]:
    """Mean wedge and share of the discs T4/5 … T11/12."""
    names = [f"t{i}_t{i + 1}" for i in range(4, 12)]
    wedges = [alignment(f"disc_wedge_{x}").mean for x in names]
    return np.array(wedges), np.array([alignment(f"curve_share_{x}").mean for x in names])


@cache
def _junction() -> dict[Level, float]:
    """Mean wedge of the discs between neck and thoracic curve, by the level above."""
    names = {Level.C7: "c7_t1", Level.T1: "t1_t2", Level.T2: "t2_t3", Level.T3: "t3_t4"}
    return {level: alignment(f"disc_wedge_{x}").mean for level, x in names.items()}


def _meet(total: float, base: Array, share: Array, noise: Array, most: Array) -> Array:
    """Wedges that sum to `total`: the base, the rest by share, scatter that cancels; what one cannot bear others do."""
    share = share / share.sum()
    wedges = base + share * (total - base.sum()) + noise - noise.mean()
    for _ in range(6):
        wedges = np.minimum(np.maximum(wedges, -most), most)  # `np.clip` looks its types up anew each time
        missing = total - wedges.sum()
        if abs(missing) < 1e-9:
            break
        free = share * ((wedges < most) if missing > 0 else (wedges > -most))
        if not free.any():
            break
        wedges = wedges + free / free.sum() * missing
    result: Array = np.minimum(np.maximum(wedges, -most), most)
    return result
