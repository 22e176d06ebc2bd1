"""Every thoracic and lumbar body of a mask fitted, and each one graded against the rest of its spine: masks only.

Convention: bodies come from a body mask with the vertebrae's numbers where there is one, else they are cut out of the
whole vertebrae. The cranial direction of each is that of its neighbours' middles, the front that away from its arch.

The trap: a vertebra that the volume cuts looks whole to every fit; it is left out, with that reason, and tells nothing
of its neighbours either.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import VolumeError
from spinemed.labelling.masks import LabelMask
from spinemed.measure import Body, fit_body, separate_body
from spinemed.measure.arch import front_direction
from spinemed.measure.parts import Part, cut_sides, parts_of, touches
from spinemed.vertebra.beside import canal_depths_mm, measure_beside
from spinemed.vertebra.estimated import estimated_loss
from spinemed.vertebra.grading import GradedVertebra, GradeReport, grade_vertebra, not_graded
from spinemed.vertebra.norms import NORM_LEVELS, Sex
from spinemed.vertebra.reference import BodyHeights, LevelCurve, ReferenceEstimator
from spinemed.volume import require_same_grid

__all__ = ["SpineBodies", "grade_spine", "spine_bodies"]

Array = NDArray[np.float64]

_CUT = "the edge of the volume cuts it"


@dataclass(frozen=True, eq=False)
class SpineBodies:
    """The fitted bodies of a spine, head to foot, and why each other one of T1 to L6 in the mask is not among them.

    Attributes:
        bodies: Fitted, by level.
        left_out: Why the others are not.
        whole: Every vertebra in the mask, arch included.
    """

    bodies: dict[Level, Body] = field(default_factory=dict)
    left_out: dict[Level, str] = field(default_factory=dict)
    whole: dict[Level, Part] = field(default_factory=dict)

    @property
    def heights(self) -> list[BodyHeights]:
        """What each body tells of the others."""
        return [BodyHeights.of(level, body) for level, body in self.bodies.items()]


def spine_bodies(vertebrae: LabelMask, bodies: LabelMask | None = None) -> SpineBodies:
    """Fit every body from T1 to L6.

    Args:
        vertebrae: Whole vertebrae.
        bodies: Their bodies alone, same numbers, same grid.

    Raises:
        VolumeError: no vertebra from T1 to L6, or two grids.
    """
    if bodies is not None:
        require_same_grid(vertebrae.volume, bodies.volume)
    whole = _by_level(vertebrae)
    if not whole:
        raise VolumeError(
            "the mask holds no vertebra from T1 to L6", file=vertebrae.source or None, field="label",
            cure="give a thoracic or lumbar mask (or name its numbering)",
        )  # fmt: skip
    alone = None if bodies is None else _by_level(bodies)
    found = SpineBodies(whole=whole)
    centres = {level: (alone or {}).get(level, part).centre for level, part in whole.items()}
    for level, part in whole.items():
        up = _up(level, centres)
        try:
            body = _fit(level, part, alone, up, vertebrae)
            BodyHeights.of(level, body)
        except VolumeError as error:
            cut = error.problem != _CUT and touches(part.box, vertebrae.volume)
            found.left_out[level] = f"{error.problem}; the vertebra reaches the volume's edge" if cut else error.problem
        else:
            found.bodies[level] = body
    return found


def _by_level(mask: LabelMask) -> dict[Level, Part]:
    parts = parts_of(mask.volume)
    verse = LABEL_MAPS["verse"]
    return {level: parts[verse.to_label(level)] for level in NORM_LEVELS if verse.to_label(level) in parts}


def _up(level: Level, centres: dict[Level, Array]) -> Array:
    """Cranial direction from the middles of the neighbours; the scanner's where the vertebra is alone."""
    order = list(centres)
    at = order.index(level)
    high, low = centres[order[max(0, at - 1)]], centres[order[min(len(order) - 1, at + 1)]]
    reach = float(np.linalg.norm(high - low))
    return (high - low) / reach if reach > 0 else np.array([0.0, 0.0, 1.0])


def _fit(level: Level, part: Part, alone: dict[Level, Part] | None, up: Array, vertebrae: LabelMask) -> Body:
    front: Array = np.array([0.0, 1.0, 0.0])
    if alone is None:
        apart = separate_body(part.mask, part.affine, anterior_hint=front, up_hint=up)
        mask, affine, front = apart.mask, apart.affine, apart.anterior
    elif level in alone:
        own = alone[level]
        mask, affine = own.mask, own.affine
        rest = np.count_nonzero(part.mask) - np.count_nonzero(mask)
        if rest > 0.15 * np.count_nonzero(mask):  # an arch is there, and tells where behind is
            behind = (part.centre * np.count_nonzero(part.mask) - own.centre * np.count_nonzero(mask)) / rest
            front = front_direction(own.centre, behind, up)
    else:
        raise VolumeError(f"the body mask holds no {level}", field="label", cure="give the body of every vertebra")
    body = fit_body(mask, affine, anterior_hint=front, up_hint=up)
    if cut_sides(mask, affine, body, vertebrae.volume):
        raise VolumeError(_CUT, field="mask", cure="give a larger field of view")
    return body


def grade_spine(
    vertebrae: LabelMask,
    bodies: LabelMask | None = None,
    *,
    estimator: ReferenceEstimator | None = None,
    sex: Sex | None = None,
    numbered: bool = True,
    found: SpineBodies | None = None,
) -> GradeReport:
    """Grade every vertebra from T1 to L6 against the heights that the rest of its spine leads to expect.

    Args:
        vertebrae, bodies: As for :func:`spine_bodies`.
        estimator: How to expect heights; the level curve if not given.
        sex: Of the patient, if known.
        numbered: Whether the levels are certain.
        found: What :func:`spine_bodies` gave for these masks, where it is known already.

    Raises:
        VolumeError: no vertebra from T1 to L6, or two grids.
    """
    found = spine_bodies(vertebrae, bodies) if found is None else found
    heights = found.heights
    depths = canal_depths_mm(found.bodies, found.whole)
    records: list[GradedVertebra] = []
    for level in sorted([*found.bodies, *found.left_out]):
        if level in found.left_out:
            records.append(not_graded(level, found.left_out[level]))
            continue
        try:
            loss, reference = estimated_loss(
                found.bodies[level], level, heights, estimator or LevelCurve(), sex=sex, numbered=numbered
            )
        except VolumeError as error:
            records.append(not_graded(level, error.problem))
        else:
            beside = measure_beside(level, found.bodies, found.whole, depths)
            records.append(grade_vertebra(level, loss, reference, beside))
    flags = () if bodies is not None else ("no body mask: bodies were cut out of whole vertebrae, less exactly",)
    return GradeReport(vertebrae=tuple(records), source=vertebrae.source, sha256=vertebrae.sha256, flags=flags)
