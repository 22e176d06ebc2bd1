"""Spines measured on their masks beside the tables they are drawn from.

Twenty spines are a small sample: with a spread of 7 % their mean of one size at one level is off by 1.7 % on average,
and of some hundred sizes a few are off by more than 5 % whatever the measure does. The spines are therefore chosen:
from a hundred of each sex those that together keep the tables best (`typical_spines`). Measured means are then set
beside the table and beside the means of the spines' own drawn parameters; the second difference is the error of
rendering and measuring.

Convention: millimetres and degrees; supine, as masks are rendered. The trap: a chosen sample says nothing about how a
drawn population spreads; 200 spines of each sex do (`spinemed.phantom.spine.table`).
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.measure import SpineMeasurements, measure_masks
from spinemed.phantom.imaging.grid import field_grid
from spinemed.phantom.imaging.tissues import render_tissues
from spinemed.phantom.shape.scene import build_scene
from spinemed.phantom.spine.records import Posture, Sex, SpinePhantom
from spinemed.phantom.spine.table import population
from spinemed.phantom.spine.truth import alignment_truth
from spinemed.phantom.tables.morphometry import alignment, morphometry
from spinemed.volume import Volume

__all__ = ["MeasuredRow", "measured_rows", "measured_text", "typical_spines"]

Array = NDArray[np.float64]

SIZES = (
    "upper_width", "upper_depth", "lower_width", "lower_depth", "anterior_height", "posterior_height", "canal_width",
    "canal_depth", "disc_height",
)  # fmt: skip
ANGLES = {
    "lordosis_t12_s1": ("T12-S1", "lordosis_t12_s1_deg"),
    "kyphosis_t4_t12": ("T4-T12", "kyphosis_t4_t12_deg"),
    "cervical_lordosis_c2_c7": ("C2-C7", "cervical_lordosis_deg"),
}
"""By the table's name: the measure's name, and the field of the true alignment."""
_POOL, _SWAPS, _SEED = 100, 6000, 61
_SIZE_STEP, _ANGLE_STEP = 5.0, 3.0  # percent and degrees: what is asked

Key = tuple[str, str, str]  # quantity, level ("" for angles), sex or "both"


class MeasuredRow(NamedTuple):
    """One cell of a table, the chosen spines' drawn mean and their measured mean."""

    quantity: str
    level: str
    sex: str
    table: float
    drawn: float
    measured: float
    spines: int
    unit: str

    @property
    def off(self) -> float:
        """Measured against table: percent for sizes, degrees for angles."""
        return self._off(self.table)

    @property
    def off_drawn(self) -> float:
        """Measured against the same spines' parameters."""
        return self._off(self.drawn)

    @property
    def within(self) -> bool:
        """Whether the measured mean keeps the table: 5 % or 3°."""
        return abs(self.off) <= (_SIZE_STEP if self.unit == "mm" else _ANGLE_STEP)

    def _off(self, against: float) -> float:
        difference = self.measured - against
        return 100.0 * difference / against if self.unit == "mm" else difference


def _cells() -> dict[Key, float]:
    """Every cell that can be measured on a mask, C3 and below: T11 to L5 by sex, the sexes pooled elsewhere."""
    found: dict[Key, float] = {}
    for cell in morphometry():
        if cell.use == "compare" or cell.level is None or cell.quantity not in SIZES or cell.level < Level.C3:
            continue
        found[(cell.quantity, str(cell.level), cell.sex)] = cell.mean
    for quantity, level, sex in list(found):
        if sex == Sex.FEMALE.value and not Level.T11 <= Level(level) <= Level.L5:
            parts = [found.pop((quantity, level, each.value)) for each in Sex]
            found[(quantity, level, "both")] = float(np.mean(parts))
    for name in ANGLES:
        found[(name, "", "both")] = alignment(name, "supine").mean
    return found


def _drawn(spine: SpinePhantom) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], float] = {}
    for vertebra in spine.vertebrae:
        for part in (vertebra.body, vertebra.arch):
            for name in SIZES if part is not None else ():
                if hasattr(part, f"{name}_mm"):
                    values[(name, str(vertebra.level))] = getattr(part, f"{name}_mm")
    for disc in spine.discs:
        values[("disc_height", str(disc.disc.upper))] = disc.middle_height_mm
    truth = alignment_truth(spine, Posture.SUPINE)
    for name, (_, field) in ANGLES.items():
        values[(name, "")] = getattr(truth, field)
    return values


def _measured(found: SpineMeasurements) -> dict[tuple[str, str], float]:
    values: dict[tuple[str, str], float | None] = {}
    for vertebra in found.vertebrae:
        level = str(vertebra.level)
        for side, plate in (("upper", vertebra.upper), ("lower", vertebra.lower)):
            values[(f"{side}_width", level)] = None if plate is None else plate.width_mm
            values[(f"{side}_depth", level)] = None if plate is None else plate.depth_mm
        corners = vertebra.heights_at_corners
        values[("anterior_height", level)] = None if corners is None else corners.anterior_mm
        values[("posterior_height", level)] = None if corners is None else corners.posterior_mm
        values[("canal_width", level)] = None if vertebra.canal is None else vertebra.canal.transverse_mm
        values[("canal_depth", level)] = None if vertebra.canal is None else vertebra.canal.ap_mm
    by_level = {vertebra.level: vertebra for vertebra in found.vertebrae}
    for disc in found.discs:
        over, under = by_level[disc.disc.upper].lower, by_level[disc.disc.lower].upper
        if over is not None and under is not None:  # between the middles of the rim planes, as the parameter is
            up = np.array(over.normal) + np.array(under.normal)
            rise = (np.array(over.centre_mm) - np.array(under.centre_mm)) @ up / np.linalg.norm(up)
            values[("disc_height", str(disc.disc.upper))] = float(rise)
    angles = {angle.name: angle.angle_deg for angle in found.angles}
    for name, (measure, _) in ANGLES.items():
        values[(name, "")] = angles.get(measure)
    return {key: value for key, value in values.items() if value is not None}


def _means(values: Sequence[dict[tuple[str, str], float]], sexes: Sequence[Sex], key: Key) -> tuple[float, int]:
    """Mean of a cell over its sex, or the mean of both sexes' means; NaN where a sex has no value."""
    quantity, level, sex = key
    parts = [
        [
            each[(quantity, level)]
            for each, own in zip(values, sexes, strict=True)
            if own is s and (quantity, level) in each
        ]
        for s in ([Sex(sex)] if sex != "both" else list(Sex))
    ]
    if not all(parts):
        return float("nan"), 0
    return float(np.mean([np.mean(part) for part in parts])), sum(len(part) for part in parts)


def typical_spines(count: int = 20) -> list[SpinePhantom]:
    """`count` spines, half of them of each sex, whose own parameters keep the tables together.

    From a hundred of each sex a set is drawn and improved by exchanging one spine at a time (6,000 tries, one seed), so
    that no size and no angle of the set's mean is far from its cell, in units of what is asked (5 % and 3°).
    """
    pools = {sex: list(population(sex, _POOL)) for sex in Sex}
    cells = _cells()
    drawn = {sex: [_drawn(spine) for spine in pool] for sex, pool in pools.items()}
    keys = [key for key in cells if all((key[0], key[1]) in each for pool in drawn.values() for each in pool)]
    table = np.array([cells[key] for key in keys])
    step = np.array([_ANGLE_STEP if key[0] in ANGLES else _SIZE_STEP / 100 * cells[key] for key in keys])
    matrix = {sex: np.array([[each[(k[0], k[1])] for k in keys] for each in pool]) for sex, pool in drawn.items()}
    weight = {sex: np.array([0.5 if k[2] == "both" else float(k[2] == sex.value) for k in keys]) for sex in Sex}
    rng = np.random.default_rng(_SEED)
    chosen = {sex: rng.permutation(_POOL)[: count // 2] for sex in Sex}

    def cost(sets: dict[Sex, NDArray[np.int64]]) -> float:
        mean = sum((weight[sex] * matrix[sex][sets[sex]].mean(axis=0) for sex in Sex), np.zeros(len(keys)))
        return float((np.abs((mean - table) / step) ** 6).sum())

    best = cost(chosen)
    sexes = list(Sex)
    for _ in range(_SWAPS):
        sex = sexes[int(rng.integers(len(sexes)))]
        other = chosen[sex].copy()
        new = int(rng.integers(_POOL))
        if new in other:
            continue
        other[int(rng.integers(len(other)))] = new
        tried = cost({**chosen, sex: other})
        if tried < best:
            best, chosen = tried, {**chosen, sex: other}
    return [pools[sex][int(n)] for sex in Sex for n in sorted(chosen[sex])]


def _measure(spine: SpinePhantom) -> dict[tuple[str, str], float]:
    scene = build_scene(spine)
    grid = field_grid(scene, "full", spacing_mm=1.0)
    masks = render_tissues(scene, grid)
    vertebrae, bodies = (Volume(data, grid.affine, "label") for data in (masks.vertebrae, masks.bodies))
    return _measured(measure_masks(vertebrae, bodies=bodies, posture="supine"))


def measured_rows(spines: Sequence[SpinePhantom], *, workers: int = 1) -> list[MeasuredRow]:
    """One row per cell of the tables that can be measured on the 1 mm masks of these spines.

    Args:
        spines: Of both sexes.
        workers: Processes; each runs on one core.
    """
    if workers <= 1:
        measured = [_measure(spine) for spine in spines]
    else:
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            measured = list(pool.map(_measure, spines))
    drawn, sexes = [_drawn(spine) for spine in spines], [spine.person.sex for spine in spines]
    rows = []
    for key, table in _cells().items():
        (mean, count), (own, _) = _means(measured, sexes, key), _means(drawn, sexes, key)
        if count and np.isfinite(own):
            unit = "deg" if key[0] in ANGLES else "mm"
            rows.append(MeasuredRow(key[0], key[1], key[2], table, own, mean, count, unit))
    return rows


def measured_text(rows: Sequence[MeasuredRow], title: str) -> str:
    """The rows as text."""
    out = [f"{title}: measured mean beside the table and the spines' own parameters. Phantoms, no patients."]
    out.append(
        f"{'quantity':24} {'level':5} {'sex':6} {'table':>7} {'drawn':>7} {'measured':>8} {'off':>6} {'of drawn':>8}"
    )
    out += [
        f"{row.quantity:24} {row.level:5} {row.sex:6} {row.table:7.2f} {row.drawn:7.2f} {row.measured:8.2f} "
        f"{row.off:6.1f} {row.off_drawn:8.1f}{'' if row.within else '  off'}"
        for row in rows
    ]
    return "\n".join(out)
