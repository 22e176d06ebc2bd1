"""Measure a whole spine on label masks: vertebrae, discs, canal, angles; every number or the reason why there is none.

In: a mask of vertebrae (labels of any map in :data:`spinemed.anatomy.LABEL_MAPS`), and, if there are, masks of the
bodies (same labels), the canal and the discs, all on one grid. Out: :class:`SpineMeasurements`.

The trap: without a body mask the bodies are cut out of the vertebrae here, which adds an error of its own (see the
package's README) and is flagged; a vertebra that the volume cuts is not measured, because a cut looks like an endplate.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Disc, LabelMap, Level, Region
from spinemed.errors import LevelError, SpineMedError, VolumeError
from spinemed.measure.alignment import angles_of, curves_of, sva_of
from spinemed.measure.arch import front_direction, separate_body
from spinemed.measure.body import Body, BodyFrame, Field, field_of, fit_body
from spinemed.measure.discs import (
    DiscSpace,
    Sacrum,
    canal_section,
    fit_sacrum,
    mask_thickness,
    measure_disc_space,
)
from spinemed.measure.endplates import Endplate, inclination_deg, listhesis, wedge_deg
from spinemed.measure.records import (
    CanalSection,
    DiscMeasurement,
    EndplateRecord,
    Flag,
    FlagCode,
    Frame,
    Heights,
    SlipRecord,
    SpineMeasurements,
    VertebraMeasurement,
    rounded,
)
from spinemed.volume import Volume, require_same_grid

__all__ = ["COARSE_MM", "SLIP_NOISE_MM", "measure_masks"]

Array = NDArray[np.float64]
Box = tuple[slice, slice, slice]

COARSE_MM = 1.6
"""Voxel layers along the body that are farther apart than this cannot carry a Genant grade: half a layer is 3 % of a
26 mm body, and grade 1 is 5 points wide."""

TOO_COARSE_MM = 4.0
"""Above this no height is given at all."""

SLIP_NOISE_MM = 2.0
"""Slips up to this size are within the error of two posterior corners on 1 mm masks and are called no slip."""

_LEAST_SHARE = 0.7  # of the shared endplate area of a disc must show both bone surfaces


@dataclass(frozen=True)
class _Part:
    """One label: its box in the volume, voxels, and where its middle lies."""

    label: int
    box: Box
    mask: NDArray[np.bool_]
    affine: Array
    centre: Array

    @property
    def volume_mm3(self) -> float:
        return float(np.count_nonzero(self.mask)) * abs(float(np.linalg.det(self.affine[:3, :3])))


@dataclass
class _Found:
    """What is known of one level while measuring."""

    level: Level
    whole: _Part
    body_part: _Part | None
    flags: list[Flag]
    body: Body | None = None
    sacrum: Sacrum | None = None
    source: Literal["mask", "estimated"] | None = None
    cut: frozenset[str] = frozenset()
    whole_cut: bool = False


def measure_masks(
    vertebrae: Volume,
    *,
    bodies: Volume | None = None,
    canal: Volume | None = None,
    discs: Volume | None = None,
    label_map: LabelMap = LABEL_MAPS["verse"],
    posture: Literal["standing", "supine", "unknown"] = "unknown",
    canal_kind: Literal["bony canal", "dural sac"] = "bony canal",
) -> SpineMeasurements:
    """Measure every vertebra, disc and angle that the masks hold.

    Args:
        vertebrae: Labels of whole vertebrae (or of bodies alone: give the same volume as `bodies`).
        bodies: Labels of the bodies, same numbers. Without it the arch is cut off here, less exactly.
        canal: Spinal canal or dural sac, any label above 0.
        discs: Discs, labelled with the number of the vertebra above, or with that number plus 100.
        label_map: What the numbers of `vertebrae` and `bodies` mean. Other numbers are flagged and left out.
        posture: How the patient was imaged; alignment in any other posture than standing is flagged.
        canal_kind: What `canal` holds.

    Raises:
        VolumeError: a volume is not a mask, or lies on another grid than the vertebrae, or no vertebra is in it.
    """
    given = [volume for volume in (vertebrae, bodies, canal, discs) if volume is not None]
    for volume in given:
        if volume.unit != "label":
            raise VolumeError(
                f"measuring needs masks, found unit '{volume.unit}'",
                file=volume.source or None,
                cure="read masks with read_mask",
            )
        require_same_grid(vertebrae, volume)
    flags: list[Flag] = []
    whole = _parts(vertebrae)
    body_parts = {} if bodies is None else _parts(bodies)
    found = _levels(whole, body_parts, label_map, bodies is not None, flags)
    if not found:
        raise VolumeError(
            f"no vertebra of the map '{label_map.name}' is in the mask",
            file=vertebrae.source or None,
            field="labels",
            cure="give the label map that the mask was written with",
        )
    canal_part = None if canal is None else _union(canal)
    canal_field = None if canal_part is None else field_of(canal_part.mask, canal_part.affine)
    ups = _up_hints(found)
    for each, up in zip(found, ups, strict=True):
        if each.level.region is not Region.SACRAL:
            _fit(each, up, vertebrae, canal_part)
    _fit_sacral(found)
    disc_parts = {} if discs is None else _parts(discs)
    disc_records = tuple(_disc_records(found, disc_parts, canal_field, label_map))
    if posture != "standing":
        flags.append(
            Flag(
                code="posture",
                text=f"posture {posture}: lordosis and kyphosis are not standing values, and there is no sagittal axis",
            )
        )
    records = tuple(_vertebra(each, canal_field) for each in found)
    return SpineMeasurements(
        vertebrae=records,
        discs=disc_records,
        angles=angles_of(records),
        curves=curves_of(records),
        sva_mm=sva_of(records) if posture == "standing" else None,
        posture=posture,
        canal_kind=None if canal is None else canal_kind,
        spacing_mm=_vector(np.array(vertebrae.spacing_mm)),
        source=vertebrae.source,
        sha256=vertebrae.sha256,
        flags=tuple(flags),
    )


# --- finding ---------------------------------------------------------------------------------------------------------


def _parts(volume: Volume) -> dict[int, _Part]:
    """Every label of a mask with its box, in one pass over the volume."""
    from scipy.ndimage import find_objects

    data = volume.data.view(np.uint8) if volume.data.dtype.kind == "b" else volume.data
    boxes = find_objects(np.asarray(data))
    return {
        number + 1: _part(number + 1, data[box] == number + 1, box, volume)
        for number, box in enumerate(boxes)
        if box is not None
    }


def _part(label: int, mask: NDArray[np.bool_], box: tuple[Any, ...], volume: Volume) -> _Part:
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.array([part.start for part in box])
    places = [np.average(np.arange(n), weights=mask.sum(axis=_others(a))) for a, n in enumerate(mask.shape)]
    centre = affine[:3, :3] @ np.array(places) + affine[:3, 3]
    return _Part(label, (box[0], box[1], box[2]), mask, affine, centre)


def _union(volume: Volume) -> _Part | None:
    """Everything above 0 as one part; None if there is nothing."""
    solid = volume.data != 0
    box = []
    for axis in range(3):
        there = np.flatnonzero(solid.any(axis=_others(axis)))
        if not len(there):
            return None
        box.append(slice(int(there[0]), int(there[-1]) + 1))
    return _part(0, solid[tuple(box)], tuple(box), volume)


def _others(axis: int) -> tuple[int, int]:
    return ((1, 2), (0, 2), (0, 1))[axis]


def _levels(
    whole: dict[int, _Part], bodies: dict[int, _Part], label_map: LabelMap, given: bool, flags: list[Flag]
) -> list[_Found]:
    """The levels of the labels, head to foot; the sacrum as S1."""
    found: dict[Level, _Found] = {}
    for label, part in whole.items():
        try:
            region = label_map.to_region(label)
            sacral = region is Region.SACRAL
            level = Level.S1 if sacral and label in label_map.regions else label_map.to_level(label)
        except LevelError:
            flags.append(Flag(code="not_in_spine", text=f"label {label} is no vertebra in the map '{label_map.name}'"))
            continue
        if region is Region.COCCYGEAL or (sacral and level is not Level.S1) or level is Level.C0:
            continue
        if level in found:  # a map that labels the sacrum as a whole and S1 beside it: S1 alone is the better one
            if label in label_map.regions:
                continue
            found.pop(level)
        own = bodies.get(label)
        each = _Found(level, part, own, [])
        if given and own is None and not sacral:
            each.flags.append(Flag(code="estimated_body", text=f"the body mask holds no {level}"))
        found[level] = each
    return [found[level] for level in sorted(found)]


def _up_hints(found: list[_Found]) -> list[Array]:
    """Cranial direction at each level, from the middles of its neighbours."""
    centres = [(each.body_part or each.whole).centre for each in found]
    free = [i for i, each in enumerate(found) if each.level.region is not Region.SACRAL]
    hints = []
    for i in range(len(found)):
        if i not in free or len(free) < 2:
            hints.append(np.array([0.0, 0.0, 1.0]))
            continue
        at = free.index(i)
        high, low = centres[free[max(0, at - 1)]], centres[free[min(len(free) - 1, at + 1)]]
        hints.append((high - low) / np.linalg.norm(high - low))
    return hints


# --- fitting ---------------------------------------------------------------------------------------------------------


def _fit(each: _Found, up: Array, vertebrae: Volume, canal: _Part | None) -> None:
    """Fit the body of one free vertebra; on failure a flag says why."""
    if each.level is Level.C1:
        each.flags.append(Flag(code="not_measurable", text="C1 has no body"))
        return
    try:
        anterior: Array = np.array([0.0, 1.0, 0.0])
        mask, affine = (each.body_part or each.whole).mask, (each.body_part or each.whole).affine
        if each.body_part is None:
            separated = separate_body(each.whole.mask, each.whole.affine, anterior_hint=anterior, up_hint=up)
            mask, affine, anterior = separated.mask, separated.affine, separated.anterior
            each.source = "estimated"
            if not any(flag.code == "estimated_body" for flag in each.flags):
                each.flags.append(
                    Flag(code="estimated_body", text="no body mask was given: the body was cut out of the vertebra")
                )
        else:
            each.source = "mask"
            behind = _behind(each, canal, up)
            if behind is not None:
                anterior = front_direction(each.body_part.centre, behind, up)
        mask = _largest(mask, each)
        each.body = fit_body(mask, affine, anterior_hint=anterior, up_hint=up)
        each.cut = _cut(mask, affine, each.body, vertebrae)
    except SpineMedError as error:
        separable = "told from the arch" not in error.problem
        code: FlagCode = "not_measurable" if separable else "body_not_separable"
        each.flags.append(Flag(code=code, text=error.problem))
        return
    each.whole_cut = _touches(each.whole.box, vertebrae)
    if each.cut:
        each.flags.append(
            Flag(code="cut", text=f"the edge of the volume cuts {each.level} ({', '.join(sorted(each.cut))})")
        )
    if not each.body.settled:
        each.flags.append(
            Flag(code="unsettled", text="the endplates are not flat enough for a stable axis; angles are less exact")
        )
    if each.body.resolution_mm > COARSE_MM:
        each.flags.append(
            Flag(
                code="coarse",
                text=f"voxel layers {each.body.resolution_mm:.1f} mm apart along the body: a height is known to about "
                f"{each.body.resolution_mm / 2:.1f} mm, too little for a grade",
            )
        )


def _behind(each: _Found, canal: _Part | None, up: Array) -> Array | None:
    """Centre of the arch (whole vertebra without body), else of the canal at this level, else None."""
    assert each.body_part is not None
    body, whole = each.body_part, each.whole
    whole_count, body_count = np.count_nonzero(whole.mask), np.count_nonzero(body.mask)
    rest = whole_count - body_count
    if rest > 0.15 * body_count:
        arch: Array = (whole.centre * whole_count - body.centre * body_count) / rest
        return arch
    if canal is None:
        return None
    world = np.argwhere(canal.mask) @ canal.affine[:3, :3].T + canal.affine[:3, 3] - body.centre
    use = (np.abs(world @ up) < 8.0) & (np.linalg.norm(world, axis=1) < 60.0)
    return body.centre + world[use].mean(axis=0) if use.sum() >= 20 else None


def _largest(mask: NDArray[np.bool_], each: _Found) -> NDArray[np.bool_]:
    """The largest piece of a mask; a flag if others hold more than 1 % of it."""
    from scipy.ndimage import label

    parts, count = label(mask)
    if count <= 1:
        return mask
    sizes = np.bincount(parts.ravel())[1:]
    lost = 1.0 - sizes.max() / sizes.sum()
    if lost > 0.01:
        each.flags.append(
            Flag(code="several_parts", text=f"{count} pieces; the largest was measured, {100 * lost:.0f} % left out")
        )
    return np.asarray(parts == int(np.argmax(sizes)) + 1)


def _touches(box: Box, volume: Volume) -> bool:
    return any(part.start == 0 or part.stop == n for part, n in zip(box, volume.shape, strict=True))


def _cut(mask: NDArray[np.bool_], affine: Array, body: Body, volume: Volume) -> frozenset[str]:
    """Sides on which the body touches the edge of the volume: "height", "depth", "width"."""
    pull = np.linalg.inv(volume.affine[:3, :3])
    corner = np.rint(pull @ (affine[:3, 3] - volume.affine[:3, 3])).astype(int)
    sides = set()
    for axis in range(3):
        there = np.flatnonzero(mask.any(axis=_others(axis))) + corner[axis]
        if there[0] > 0 and there[-1] < volume.shape[axis] - 1:
            continue
        share = np.abs(body.frame.axes @ (pull[axis] / np.linalg.norm(pull[axis])))
        sides |= {name for name, size in zip(("width", "depth", "height"), share, strict=True) if size > 0.5}
    return frozenset(sides)


def _fit_sacral(found: list[_Found]) -> None:
    """Fit the sacral endplate under the lowest free vertebra, if that is the sacrum's neighbour."""
    sacral = next((each for each in found if each.level is Level.S1), None)
    if sacral is None:
        return
    free = [each for each in found if each.level.region is Region.LUMBAR and each.body is not None]
    above = free[-1] if free else None
    if above is None or above.body is None or "height" in above.cut or found[found.index(sacral) - 1] is not above:
        sacral.flags.append(
            Flag(
                code="missing_neighbour", text="no measured lumbar vertebra above, under which to look for the endplate"
            )
        )
        return
    part = sacral.body_part or sacral.whole
    try:
        sacral.sacrum = fit_sacrum(part.mask, part.affine, above.body)
    except SpineMedError as error:
        sacral.flags.append(Flag(code="not_measurable", text=error.problem))


# --- records ---------------------------------------------------------------------------------------------------------


def _vector(values: Array) -> tuple[float, float, float]:
    x, y, z = (rounded(value) for value in values)
    return x, y, z


def _point(values: Array | None) -> tuple[float, float, float] | None:
    return None if values is None else _vector(values)


def _endplate_record(endplate: Endplate, *, width: bool = True) -> EndplateRecord:
    return EndplateRecord(
        centre_mm=_vector(endplate.centre_mm),
        normal=_vector(endplate.normal),
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
    section = None if field is None else canal_section(field, frame)
    if section is None:
        return None
    return CanalSection(
        ap_mm=rounded(section.ap_mm), transverse_mm=rounded(section.transverse_mm), area_mm2=rounded(section.area_mm2)
    )


def _vertebra(each: _Found, canal: Field | None) -> VertebraMeasurement:
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
    return VertebraMeasurement(
        level=each.level,
        frame=Frame(
            centre_mm=_vector(body.frame.centre_mm),
            right=_vector(body.frame.axes[0]),
            anterior=_vector(body.frame.axes[1]),
            up=_vector(body.frame.axes[2]),
        ),
        heights_at_rims=None if blind else _heights(body.heights_at_rims_mm()),
        heights_of_thirds=None if blind else _heights(body.heights_of_thirds_mm()),
        wedge_deg=None if blind else rounded(wedge_deg(body.upper, body.lower, body.frame.axes[1])),
        upper=None if axis_only else _endplate_record(body.upper, width=whole),
        lower=_endplate_record(body.lower, width=whole),
        body_volume_mm3=rounded(body.volume_mm3) if whole else None,
        vertebra_volume_mm3=rounded(each.whole.volume_mm3) if whole and not each.whole_cut else None,
        body_source=each.source,
        resolution_mm=rounded(body.resolution_mm),
        canal=_canal(canal, body.frame),
        flags=flags,
    )


def _disc_records(
    found: list[_Found], parts: dict[int, _Part], canal: Field | None, label_map: LabelMap
) -> list[DiscMeasurement]:
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
        result.append(_disc(disc, upper, lower, parts, canal, label_map))
    return result


def _skipped(upper: _Found, lower: _Found) -> bool:
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
    upper: _Found,
    lower: _Found,
    parts: dict[int, _Part],
    canal: Field | None,
    label_map: LabelMap,
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


def _disc_part(parts: dict[int, _Part], label: int) -> _Part | None:
    """The disc mask under a vertebra: labelled as the vertebra above it, or that plus 100 (SPINEPS, TPTBox)."""
    return parts.get(label + 100) or parts.get(label)


def _mask_height(part: _Part | None, space: DiscSpace) -> float | None:
    height = None if part is None else mask_thickness(part.mask, part.affine, space.frame, space.half_mm)
    return None if height is None else rounded(height)
