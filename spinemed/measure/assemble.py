"""Records out of fits: what could not be measured stays None, and its flag says why.

The trap: every rule about when a number is withheld lives here and in the limits below; a caller that reads the fits
themselves goes round them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Disc, Level, Region
from spinemed.errors import LevelError, SpineMedError
from spinemed.measure.body import Body
from spinemed.measure.canal import Section, canal_section, foramen_section
from spinemed.measure.discs import DiscSpace, mask_thickness, measure_disc_space
from spinemed.measure.endplates import Endplate, inclination_deg, listhesis, wedge_deg
from spinemed.measure.field import BodyFrame, Field, field_of
from spinemed.measure.parts import Found, Part
from spinemed.measure.records import (
    CanalSection,
    DiscMeasurement,
    EndplateRecord,
    Flag,
    Frame,
    Heights,
    SlipRecord,
    VertebraMeasurement,
    rounded,
)

__all__ = ["COARSE_MM", "SLIP_NOISE_MM", "TOO_COARSE_MM", "disc_records", "vector", "vertebra_record"]

Array = NDArray[np.float64]

COARSE_MM = 1.6
"""Voxel layers along the body that are farther apart than this cannot carry a Genant grade: half a layer is 3 % of a
26 mm body, and grade 1 is 5 points wide."""

TOO_COARSE_MM = 4.0
"""Above this no height is given at all."""

SLIP_NOISE_MM = 3.0
"""Slips up to this size are within the error of two posterior corners on 1 mm masks and are called no slip."""

_LEAST_SHARE = 0.7  # of the shared endplate area of a disc must show both bone surfaces


def vector(values: Array) -> tuple[float, float, float]:
    """Three values as stored."""
    x, y, z = (rounded(value) for value in values)
    return x, y, z


def _point(values: Array | None) -> tuple[float, float, float] | None:
    return None if values is None else vector(values)


def _endplate_record(endplate: Endplate, *, width: bool = True) -> EndplateRecord:
    return EndplateRecord(
        centre_mm=vector(endplate.centre_mm),
        normal=vector(endplate.normal),
        anterior_mm=_point(endplate.anterior_mm),
        posterior_mm=_point(endplate.posterior_mm),
        right_mm=_point(endplate.right_mm) if width else None,
        left_mm=_point(endplate.left_mm) if width else None,
        depth_mm=None if endplate.depth_mm is None else rounded(endplate.depth_mm),
        width_mm=rounded(endplate.width_mm) if width and endplate.width_mm is not None else None,
        sagittal_deg=rounded(inclination_deg(endplate, "sagittal")),
        coronal_deg=rounded(inclination_deg(endplate, "coronal")),
    )


def _heights(values: tuple[float, float, float]) -> Heights:
    anterior, middle, posterior = (rounded(value) if np.isfinite(value) else None for value in values)
    return Heights(anterior_mm=anterior, middle_mm=middle, posterior_mm=posterior)


def _canal(field: Field | None, frame: BodyFrame) -> CanalSection | None:
    return None if field is None else _section(canal_section(field, frame), "mask")


def _section(section: Section | None, source: Literal["mask", "arch"]) -> CanalSection | None:
    if section is None:
        return None
    return CanalSection(
        ap_mm=rounded(section.ap_mm),
        transverse_mm=rounded(section.transverse_mm),
        area_mm2=rounded(section.area_mm2),
        source=source,
    )


def _foramen(each: Found, body: Body) -> CanalSection | None:
    """The canal inside the ring of a vertebra that is whole; None if the mask is a body alone or the ring is open."""
    if each.whole_cut or each.whole.volume_mm3 < 1.15 * body.volume_mm3:
        return None
    height = float(np.linalg.norm(body.upper.centre_mm - body.lower.centre_mm))
    field = field_of(each.whole.mask, each.whole.affine)
    return _section(foramen_section(field, body.frame, body.wall_mm[0], height), "arch")


def vertebra_record(each: Found, canal: Field | None) -> VertebraMeasurement:
    """The record of one level; what could not be measured stays None and is flagged."""
    flags = tuple(each.flags)
    if each.sacrum is not None:
        return VertebraMeasurement(
            level=each.level,
            upper=_endplate_record(each.sacrum.upper),
            resolution_mm=rounded(each.sacrum.resolution_mm),
            flags=flags,
        )
    body = each.body
    if body is None or each.cut & {"height", "depth"}:
        return VertebraMeasurement(level=each.level, flags=flags)
    axis_only = each.level is Level.C2
    if axis_only:
        flags = (*flags, Flag(code="not_measurable", text="C2 has the dens instead of an upper endplate; no heights"))
    blind = body.resolution_mm > TOO_COARSE_MM or axis_only
    whole = "width" not in each.cut
    wide = whole and not (each.source == "estimated" and each.level.region is Region.CERVICAL)
    if whole and not wide:
        flags = (
            *flags,
            Flag(
                code="not_measurable", text="no width: a neck body's sides need a body mask to be told from processes"
            ),
        )
    return VertebraMeasurement(
        level=each.level,
        frame=Frame(
            centre_mm=vector(body.frame.centre_mm),
            right=vector(body.frame.axes[0]),
            anterior=vector(body.frame.axes[1]),
            up=vector(body.frame.axes[2]),
        ),
        heights_at_corners=None if blind else _heights(body.heights_at_corners_mm()),
        heights_at_rims=None if blind else _heights(body.heights_at_rims_mm()),
        heights_of_thirds=None if blind else _heights(body.heights_of_thirds_mm()),
        wedge_deg=None if blind else rounded(wedge_deg(body.upper, body.lower, body.frame.axes[1])),
        upper=None if axis_only else _endplate_record(body.upper, width=wide),
        lower=_endplate_record(body.lower, width=wide),
        body_volume_mm3=rounded(body.volume_mm3) if wide and not axis_only else None,
        vertebra_volume_mm3=rounded(each.whole.volume_mm3) if whole and not each.whole_cut else None,
        body_source=each.source,
        resolution_mm=rounded(body.resolution_mm),
        canal=_foramen(each, body) if canal is None else _canal(canal, body.frame),
        flags=flags,
    )


def disc_records(found: list[Found], parts: dict[int, Part], canal: Field | None) -> list[DiscMeasurement]:
    """One record per pair of neighbours; a gap in the levels is flagged on the vertebra above it."""
    result = []
    for upper, lower in pairwise(found):
        if upper.level is Level.C1:
            continue
        try:
            disc = Disc(upper.level, lower.level)
        except LevelError:
            upper.flags.append(
                Flag(code="missing_neighbour", text=f"the next level below {upper.level} in the masks is {lower.level}")
            )
            continue
        if upper.body is not None and _skipped(upper, lower):
            upper.flags.append(
                Flag(
                    code="missing_neighbour",
                    text=f"{lower.level} lies too far below {upper.level} to be its neighbour: a vertebra between is "
                    "missing from the masks",
                )
            )
            continue
        result.append(_disc(disc, upper, lower, parts, canal))
    return result


def _skipped(upper: Found, lower: Found) -> bool:
    """Whether two levels that may be neighbours (T11 and L1, L4 and S1, T12 and L1) lie a vertebra apart."""
    regular = {(Level.T12, Level.L1), (Level.L5, Level.S1)}
    if upper.level.ordinal + 1 == lower.level.ordinal or (upper.level, lower.level) in regular:
        return False
    assert upper.body is not None
    below = lower.sacrum.upper if lower.sacrum else lower.body.upper if lower.body else None
    if below is None:
        return True
    gap = float(np.linalg.norm(below.centre_mm - upper.body.lower.centre_mm))
    height = float(np.linalg.norm(upper.body.upper.centre_mm - upper.body.lower.centre_mm))
    return gap > 0.9 * height


def _disc(
    disc: Disc,
    upper: Found,
    lower: Found,
    parts: dict[int, Part],
    canal: Field | None,
) -> DiscMeasurement:
    flags = []
    under = lower.sacrum or lower.body
    for each, fitted in ((upper, upper.body), (lower, under)):
        if fitted is None or each.cut & {"height", "depth"}:
            flags.append(Flag(code="missing_neighbour", text=f"{each.level} was not measured; see its flags"))
    if upper.body is None or under is None or flags:
        return DiscMeasurement(disc=disc, flags=tuple(flags))
    try:
        space = measure_disc_space(upper.body, under)
    except SpineMedError as error:
        return DiscMeasurement(disc=disc, flags=(Flag(code="not_measurable", text=error.problem),))
    for each, fitted in ((upper, upper.body), (lower, lower.body)):
        if fitted is not None and not fitted.settled:
            flags.append(Flag(code="unsettled", text=f"the endplates of {each.level} have no stable axis"))
    resolution = max(upper.body.resolution_mm, under.resolution_mm)
    if resolution > COARSE_MM:
        flags.append(
            Flag(code="coarse", text=f"layers {resolution:.1f} mm apart: heights to about {resolution / 2:.1f} mm")
        )
    known = space.share >= _LEAST_SHARE and resolution <= TOO_COARSE_MM
    if space.share < _LEAST_SHARE:
        flags.append(
            Flag(
                code="not_measurable",
                text=f"both surfaces were found in {100 * space.share:.0f} % of the disc space only",
            )
        )
    slip = listhesis(upper.body.lower, under.upper, least_mm=SLIP_NOISE_MM)
    part = _disc_part(parts, upper.whole.label)
    return DiscMeasurement(
        disc=disc,
        heights_at_rims=_heights(space.rims_mm) if known else None,
        heights_of_thirds=_heights(space.thirds_mm) if known else None,
        mean_mm=rounded(space.mean_mm) if known else None,
        wedge_deg=rounded(wedge_deg(upper.body.lower, under.upper, space.frame.axes[1])),
        slip=SlipRecord(
            slip_mm=rounded(slip.slip_mm), percent=rounded(slip.percent), direction=slip.direction, grade=slip.grade
        ),
        mask_height_mm=_mask_height(part, space),
        mask_volume_mm3=None if part is None else rounded(part.volume_mm3),
        canal=_canal(canal, space.frame),
        flags=tuple(flags),
    )


def _disc_part(parts: dict[int, Part], label: int) -> Part | None:
    """The disc mask under a vertebra: labelled as the vertebra above it, or that plus 100 (SPINEPS, TPTBox)."""
    return parts.get(label + 100) or parts.get(label)


def _mask_height(part: Part | None, space: DiscSpace) -> float | None:
    height = None if part is None else mask_thickness(part.mask, part.affine, space.frame, space.half_mm)
    return None if height is None else rounded(height)
