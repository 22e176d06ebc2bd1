"""What a population of drawn spines measures, beside what the tables say: `python -m spinemed.phantom.spine.table`.

Convention: one row per cell of `morphometry.csv` that spines are drawn from, over regular spines without scoliosis; a
cell of one sex is compared with that sex, a pooled cell with the mean of both sexes' means. Alignment is measured on
the posed geometry, never read from the parameters.

The trap: agreement here says that the generator keeps its tables, not that the tables are right; the mark beside each
cell says how far that is known. These are phantoms, no patients.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.records import Family, Posture, Sex, SpinePhantom
from spinemed.phantom.spine.sizes import FAMILIES
from spinemed.phantom.spine.truth import alignment_truth
from spinemed.phantom.tables.morphometry import alignment, morphometry

__all__ = ["AlignmentRow", "SizeRow", "alignment_table", "population", "size_table", "tables_text"]

Array = NDArray[np.float64]

_ANGLES = {
    "pelvic_incidence": ("pelvic_incidence_deg", ("standing", "supine")),
    "lordosis_t12_s1": ("lordosis_t12_s1_deg", ("standing", "supine")),
    "lordosis_l4_s1": ("lordosis_l4_s1_deg", ("standing",)),
    "kyphosis_t4_t12": ("kyphosis_t4_t12_deg", ("standing", "supine")),
    "cervical_lordosis_c2_c7": ("cervical_lordosis_deg", ("standing", "supine")),
    "t1_slope": ("t1_slope_deg", ("standing",)),
    "sva": ("sva_mm", ("standing", "supine")),
}
_SACRUM = {
    "sacrum_endplate_width": "endplate_width_mm",
    "sacrum_endplate_depth": "endplate_depth_mm",
    "sacrum_width": "width_mm",
    "sacrum_length": "length_mm",
    "sacrum_curvature": "curvature_deg",
}
_PELVIS = {name: f"{name}_mm" for name in ("hip_distance", "hip_width", "iliac_width", "iliac_height")}
_FREE = ("spinous_droop", "transverse_sweep")
"""Angles that families set apart on purpose."""


class SizeRow(NamedTuple):
    """One cell of the table and the drawn spines' mean."""

    level: str
    sex: str
    quantity: str
    table: float
    drawn: float
    sd: float
    unit: str
    mark: str

    @property
    def off_percent(self) -> float:
        """Drawn against table."""
        return 100.0 * (self.drawn / self.table - 1.0)


class AlignmentRow(NamedTuple):
    """One angle in one posture."""

    quantity: str
    posture: str
    table: float
    table_sd: float
    drawn: float
    sd: float
    unit: str
    mark: str


def population(sex: Sex, n: int = 200, family: Family = "a", seed: int = 11) -> tuple[SpinePhantom, ...]:
    """`n` regular spines of a sex, without scoliosis or transition."""
    config = SpineConfig(
        family=family, sex=sex, variant_shares={}, transition_share=0.0, rib_stub_share=0.0, scoliosis_share=0.0
    )
    start = 0 if sex is Sex.FEMALE else n  # other people, not the same ones as the other sex
    return tuple(draw_spine(seed, start + index, config) for index in range(n))


def size_table(spines: Sequence[SpinePhantom]) -> list[SizeRow]:
    """Every size of the drawn spines beside its cell. Cells of the cord and of ratios between sexes are no sizes drawn.

    Args:
        spines: Regular spines of both sexes.
    """
    rows: list[SizeRow] = []
    values: dict[tuple[str, Level, Sex], list[float]] = {}
    for spine in spines:
        for key, value in _sizes(spine).items():
            values.setdefault((*key, spine.person.sex), []).append(value)
    for cell in morphometry():
        sexes = [Sex(cell.sex)] if cell.sex != "both" else list(Sex)
        if cell.use == "compare" or cell.level is None or cell.quantity in _FREE:
            continue
        found = [values.get((cell.quantity, cell.level, sex)) for sex in sexes]
        drawn = [np.asarray(x) for x in found if x is not None]
        if len(drawn) < len(sexes):
            continue
        mean, sd = float(np.mean([x.mean() for x in drawn])), float(np.mean([x.std(ddof=1) for x in drawn]))
        rows.append(SizeRow(str(cell.level), cell.sex, cell.quantity, cell.mean, mean, sd, cell.unit, cell.mark))
    return rows


def _sizes(spine: SpinePhantom) -> dict[tuple[str, Level], float]:
    sizes: dict[tuple[str, Level], float] = {}
    for vertebra in spine.vertebrae:
        level = vertebra.level
        for part in (vertebra.body, vertebra.arch):
            if part is not None:
                for name in type(part).model_fields:
                    if name.endswith("_mm"):
                        sizes[(name.removesuffix("_mm"), level)] = getattr(part, name)
        if vertebra.body is not None:
            sizes[("wedge_ratio", level)] = vertebra.body.anterior_height_mm / vertebra.body.posterior_height_mm
        if vertebra.dens_height_mm:
            sizes[("dens_height", level)] = vertebra.dens_height_mm
        if vertebra.ribs is not None:
            sizes[("rib_length", level)] = (vertebra.ribs.right_length_mm + vertebra.ribs.left_length_mm) / 2
    for disc in spine.discs:
        sizes[("disc_height", disc.disc.upper)] = disc.middle_height_mm
    for name, field in _SACRUM.items():
        sizes[(name, Level.S1)] = getattr(spine.sacrum, field)
    for name, field in _PELVIS.items():
        sizes[(name, Level.S1)] = getattr(spine.pelvis, field)
    return sizes


def alignment_table(spines: Sequence[SpinePhantom]) -> list[AlignmentRow]:
    """Alignment of the posed spines beside the published means and spreads."""
    rows: list[AlignmentRow] = []
    truths = {posture: [alignment_truth(spine, posture) for spine in spines] for posture in Posture}
    for quantity, (field, postures) in _ANGLES.items():
        for posture in postures:
            cell = alignment(quantity, "any" if quantity == "pelvic_incidence" else posture)  # type: ignore[arg-type]
            found = np.array([getattr(truth, field) for truth in truths[Posture(posture)]])
            mean, sd = float(found.mean()), float(found.std(ddof=1))
            rows.append(AlignmentRow(quantity, posture, cell.mean, cell.sd, mean, sd, cell.unit, cell.mark))
    return rows


def tables_text(sizes: Sequence[SizeRow], angles: Sequence[AlignmentRow], title: str) -> str:
    """Both tables as text."""
    out = [f"{title}: drawn mean (sd) beside the table. Phantoms, no patients."]
    out.append(f"{'level':5} {'sex':6} {'quantity':22} {'table':>8} {'drawn':>8} {'sd':>7} {'off %':>6} unit mark")
    for row in sizes:
        out.append(
            f"{row.level:5} {row.sex:6} {row.quantity:22} {row.table:8.2f} {row.drawn:8.2f} {row.sd:7.2f} "
            f"{row.off_percent:6.1f} {row.unit:4} {row.mark}"
        )
    out.append(f"{'alignment':24} {'posture':8} {'table':>14} {'drawn':>14} unit mark")
    for angle in angles:
        out.append(
            f"{angle.quantity:24} {angle.posture:8} {angle.table:6.1f} +- {angle.table_sd:4.1f} "
            f"{angle.drawn:6.1f} +- {angle.sd:4.1f} {angle.unit:4} {angle.mark}"
        )
    return "\n".join(out)


if __name__ == "__main__":
    for family in FAMILIES:
        drawn = [spine for sex in Sex for spine in population(sex, 200, family)]
        sys.stdout.write(
            tables_text(size_table(drawn), alignment_table(drawn), f"Family {family}, 200 spines of each sex")
        )
        sys.stdout.write("\n")
