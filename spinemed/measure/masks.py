"""Measure a whole spine on label masks: vertebrae, discs, canal, angles; every number or the reason why there is none.

In: a mask of vertebrae (labels of any map in :data:`spinemed.anatomy.LABEL_MAPS`), and, if there are, masks of the
bodies (same labels), the canal and the discs, all on one grid. Out: :class:`SpineMeasurements`.

The trap: without a body mask the bodies are cut out of the vertebrae here, which adds an error of its own (see the
package's README) and is flagged; a vertebra that the volume cuts is not measured, because a cut looks like an endplate.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, LabelMap, Level, Region
from spinemed.errors import LevelError, SpineMedError, VolumeError
from spinemed.measure.alignment import angles_of, curves_of, sva_of
from spinemed.measure.arch import front_direction, separate_body
from spinemed.measure.assemble import COARSE_MM, disc_records, vector, vertebra_record
from spinemed.measure.body import fit_body
from spinemed.measure.discs import fit_sacrum
from spinemed.measure.field import field_of
from spinemed.measure.parts import Found, Part, cut_sides, parts_of, touches, union_of
from spinemed.measure.records import Flag, FlagCode, SpineMeasurements
from spinemed.volume import Volume, require_same_grid

__all__ = ["measure_masks"]

Array = NDArray[np.float64]

_C2_BODY_MM = 14.0  # below the dens and its neck in every adult: C2 is 36 to 39 mm high with it (Panjabi 1991)


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
    whole = parts_of(vertebrae)
    body_parts = {} if bodies is None else parts_of(bodies)
    found = _levels(whole, body_parts, label_map, bodies is not None, flags)
    if not found:
        raise VolumeError(
            f"no vertebra of the map '{label_map.name}' is in the mask",
            file=vertebrae.source or None,
            field="labels",
            cure="give the label map that the mask was written with",
        )
    canal_part = None if canal is None else union_of(canal)
    canal_field = None if canal_part is None else field_of(canal_part.mask, canal_part.affine)
    ups = _up_hints(found)
    for each, up in zip(found, ups, strict=True):
        if each.level.region is not Region.SACRAL:
            _fit(each, up, vertebrae, canal_part)
    _fit_sacral(found)
    disc_parts = {} if discs is None else parts_of(discs)
    between = tuple(disc_records(found, disc_parts, canal_field))
    if posture != "standing":
        flags.append(
            Flag(
                code="posture",
                text=f"posture {posture}: lordosis and kyphosis are not standing values, and there is no sagittal axis",
            )
        )
    records = tuple(vertebra_record(each, canal_field) for each in found)
    return SpineMeasurements(
        vertebrae=records,
        discs=between,
        angles=angles_of(records),
        curves=curves_of(records),
        sva_mm=sva_of(records) if posture == "standing" else None,
        posture=posture,
        canal_kind=None if canal is None else canal_kind,
        spacing_mm=vector(np.array(vertebrae.spacing_mm)),
        source=vertebrae.source,
        sha256=vertebrae.sha256,
        flags=tuple(flags),
    )


# --- finding ---------------------------------------------------------------------------------------------------------


def _levels(
    whole: dict[int, Part], bodies: dict[int, Part], label_map: LabelMap, given: bool, flags: list[Flag]
) -> list[Found]:
    """The levels of the labels, head to foot; the sacrum as S1."""
    found: dict[Level, Found] = {}
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
        each = Found(level, part, own, [])
        if given and own is None and not sacral:
            each.flags.append(Flag(code="estimated_body", text=f"the body mask holds no {level}"))
        found[level] = each
    return [found[level] for level in sorted(found)]


def _up_hints(found: list[Found]) -> list[Array]:
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


def _fit(each: Found, up: Array, vertebrae: Volume, canal: Part | None) -> None:
    """Fit the body of one free vertebra; on failure a flag says why."""
    if each.level is Level.C1:
        each.flags.append(Flag(code="not_measurable", text="C1 has no body"))
        return
    try:
        anterior: Array = np.array([0.0, 1.0, 0.0])
        mask, affine = (each.body_part or each.whole).mask, (each.body_part or each.whole).affine
        if each.body_part is None:
            if each.level is Level.C2:
                each.flags.append(Flag(code="body_not_separable", text="C2 is measured on a body mask only"))
                return
            separated = separate_body(each.whole.mask, each.whole.affine, anterior_hint=anterior, up_hint=up)
            mask, affine, anterior = separated.mask, separated.affine, separated.anterior
            each.source = "estimated"
            if not any(flag.code == "estimated_body" for flag in each.flags):
                text = "no body mask was given: the body was cut out of the vertebra"
                if each.level.region is Region.CERVICAL:
                    text += "; in the neck its endplates may be several degrees off"
                each.flags.append(Flag(code="estimated_body", text=text))
        else:
            each.source = "mask"
            behind = _behind(each, canal, up)
            if behind is not None:
                anterior = front_direction(each.body_part.centre, behind, up)
        mask = _largest(mask, each)
        if each.level is Level.C2:
            mask = _below_dens(mask, affine, up)
        each.body = fit_body(mask, affine, anterior_hint=anterior, up_hint=up)
        each.cut = cut_sides(mask, affine, each.body, vertebrae)
    except SpineMedError as error:
        separable = "told from the arch" not in error.problem
        code: FlagCode = "not_measurable" if separable else "body_not_separable"
        each.flags.append(Flag(code=code, text=error.problem))
        if touches(each.whole.box, vertebrae):
            each.flags.append(Flag(code="cut", text=f"the edge of the volume cuts {each.level}"))
        return
    each.whole_cut = touches(each.whole.box, vertebrae)
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


def _below_dens(mask: NDArray[np.bool_], affine: Array, up: Array) -> NDArray[np.bool_]:
    """The lowest 14 mm of C2 along the spine: the dens and its neck would be taken for an endplate."""
    where = np.argwhere(mask)
    height = where @ (affine[:3, :3].T @ up)
    kept = np.zeros_like(mask)
    kept[tuple(where[height <= height.min() + _C2_BODY_MM].T)] = True
    return kept


def _behind(each: Found, canal: Part | None, up: Array) -> Array | None:
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


def _largest(mask: NDArray[np.bool_], each: Found) -> NDArray[np.bool_]:
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


def _fit_sacral(found: list[Found]) -> None:
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
