"""Levels put right: rename one, renumber all from one, state T13, L6 or a missing T12, move a centroid.

Convention: a :class:`Labelling` is a mask in VerSe's numbers with the centroids of its bodies. A correction gives a new
one and leaves the old as it is; :func:`write_version` writes it into a folder of its own, `<case>_seg-vert_msk.nii.gz`
and `<case>_seg-subreg_ctd.json`, as VerSe's subject release lays them out. Nothing is ever overwritten.

Renumbering needs one vertebra whose name is certain (the anchor) and the column it stands in (how many T and L): every
other vertebra keeps its distance from the anchor. Shifting by one, T13, L6 and a missing T12 are all this one step:

=====================  ==========================================  ======================================
what was wrong         anchor                                      column
=====================  ==========================================  ======================================
all one too high       any vertebra, under the name below          as it was
T13 called L1          L1 becomes T13                              13 thoracic
L6 called L5           L5 becomes L6 (those above follow)          6 lumbar
T12 does not exist     L1 stays L1 (T12 becomes T11, ...)          11 thoracic
=====================  ==========================================  ======================================

Trap: a name that is possible for one vertebra can be impossible beside the others. Every result is held against the
rules of :class:`spinemed.anatomy.Spine`, must name each vertebra once, run from head to foot, and have no new gap.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.anatomy import Level, Region, Spine
from spinemed.errors import LevelError, RunError, VolumeError
from spinemed.geometry import WorldPoints, world_to_voxel
from spinemed.labelling import CentroidSet, LabelMask, body_centroids, write_centroids
from spinemed.labelling.masks import SACRUM
from spinemed.tables import atomic_folder, file_sha256, write_json
from spinemed.volume import Volume, write_nifti

__all__ = [
    "Labelling",
    "check_labelling",
    "labelling_of",
    "move_centroid",
    "rename_level",
    "renumber",
    "spine_of",
    "write_version",
]

_NAMED = (Region.CERVICAL, Region.THORACIC, Region.LUMBAR)
_FAR_MM = 40.0
"""A body's centroid that far from every voxel of its vertebra belongs to another one."""
_CASE = re.compile(r"^sub-[A-Za-z0-9]+(?:_[A-Za-z0-9]+-[A-Za-z0-9-]+)*$")


@dataclass(frozen=True, eq=False)
class Labelling:
    """What a scan's vertebrae are called.

    Args:
        mask: Labels in VerSe's numbers.
        centroids: Centres of the bodies, world mm, one for each vertebra of the mask.
        spine: The column that was stated; None while it is read off the names.
    """

    mask: LabelMask
    centroids: CentroidSet
    spine: Spine | None = None

    @property
    def levels(self) -> tuple[Level, ...]:
        """The vertebrae, head to foot, without sacrum and coccyx."""
        return self.centroids.levels


def labelling_of(mask: LabelMask, centroids: CentroidSet | None = None, subregions: Volume | None = None) -> Labelling:
    """A labelling from a mask; centroids that are not given are estimated from the shape of the bodies.

    Raises:
        VolumeError: the mask names no vertebra.
    """
    found = body_centroids(mask, subregions)
    if not len(found):
        raise VolumeError("the mask names no vertebra", file=mask.source or None, cure="check the label map")
    if centroids is not None:
        places = {level: found[level] for level in found.levels}
        places |= {level: point for level, point in centroids.items() if level in found}
        found = CentroidSet.of(places, source=centroids.source, file=centroids.file, flags=centroids.flags)
    return Labelling(mask, found)


def spine_of(labelling: Labelling) -> Spine:
    """The column: as stated, else the nearest to the regular one that explains the names.

    Raises:
        LevelError: no column has these names together.
    """
    return labelling.spine or Spine.of(_with_sacrum(labelling.levels, labelling.mask))


def rename_level(labelling: Labelling, old: Level, new: Level) -> Labelling:
    """Give one vertebra another name.

    Raises:
        LevelError: `old` is not there, `new` is taken, or the result breaks a rule (see :func:`check_labelling`).
    """
    _require_present(labelling, old)
    if new == old:
        raise LevelError(f"{old} is its name already", field="new", cure="choose another name")
    if new in labelling.levels:
        raise LevelError(
            f"{new} is the name of another vertebra of this scan",
            field="new",
            cure="shift all by one, or rename the other first",
        )
    return _renamed(labelling, {old: new}, None)


def renumber(labelling: Labelling, anchor: Level, name: Level, spine: Spine) -> Labelling:
    """Give the anchor a name, and every other vertebra the name at its distance from it in the column.

    Args:
        labelling: As it is.
        anchor: The vertebra that is certain, by its present name.
        name: What it is called from now on; may be the same.
        spine: The column, with its T13, L6 or without T12.

    Raises:
        LevelError: the anchor is not there, the column has no such name, or a name would leave the mobile spine.
    """
    _require_present(labelling, anchor)
    present = spine_of(labelling)
    names: dict[Level, Level] = {}
    for level in labelling.levels:
        new = spine.shift(name, present.offset(anchor, level))
        if new.region not in _NAMED or new is Level.C0:
            raise LevelError(
                f"{level} would become {new}, which is no vertebra above the sacrum",
                field="name",
                cure="state one vertebra more or less in the column, or rename single ones",
            )
        names[level] = new
    return _renamed(labelling, names, spine)


def move_centroid(labelling: Labelling, level: Level, point_mm: ArrayLike) -> Labelling:
    """Put the centroid of one body elsewhere; the mask stays.

    Args:
        labelling: As it is.
        level: The vertebra.
        point_mm: (3,) world mm.

    Raises:
        LevelError: the vertebra is not there, or the centroids no longer run from head to foot.
        VolumeError: the point lies outside the volume or 40 mm and more from the vertebra.
    """
    _require_present(labelling, level)
    point = np.asarray(point_mm, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise VolumeError("a point needs three finite numbers", field="point_mm", cure="click into the body")
    mask = labelling.mask
    index = world_to_voxel(WorldPoints(point), mask.affine).values[0]
    if (index < -0.5).any() or (index > np.array(mask.shape) - 0.5).any():
        raise VolumeError("the point lies outside the volume", field="point_mm", cure="click into the body")
    voxels = np.argwhere(mask.data == level.verse_label)
    near = float(np.linalg.norm((voxels - index) @ mask.affine[:3, :3].T, axis=1).min())
    if near >= _FAR_MM:
        raise VolumeError(
            f"the point lies {near:.0f} mm from {level}", field="point_mm", cure=f"click into the body of {level}"
        )
    places = {each: labelling.centroids[each] for each in labelling.levels} | {level: point}
    return _checked(replace(labelling, centroids=CentroidSet.of(places)), labelling)


def check_labelling(labelling: Labelling) -> Spine:
    """Hold a labelling against the rules; returns its column.

    Raises:
        LevelError: names that no column has together, a vertebra that the stated column lacks, or centroids that do
            not run from head to foot in the order of the names.
    """
    spine = spine_of(labelling)
    for level in _with_sacrum(labelling.levels, labelling.mask):
        spine.index(level)
    heights = [float(point[2]) for _, point in labelling.centroids.items()]
    for (upper, lower), (high, low) in zip(pairwise(labelling.levels), pairwise(heights), strict=True):
        if high <= low:
            raise LevelError(
                f"{upper} lies below {lower} in the scan",
                field="levels",
                cure="names must run from head to foot: rename the other, or shift all by one",
            )
    return spine


def write_version(
    labelling: Labelling, folder: str | os.PathLike[str], case: str, facts: Mapping[str, Any]
) -> dict[str, str]:
    """Write a labelling as a new version in VerSe's layout.

    Args:
        labelling: What to write; checked first.
        folder: A folder that does not exist yet.
        case: VerSe's name of the case, `sub-...`.
        facts: What else `correction.json` says (the step, the version it starts from, who by pseudonym).

    Returns:
        File name to SHA-256 of mask, centroids and `correction.json`.

    Raises:
        RunError: the folder exists: versions are never overwritten.
        LevelError: see :func:`check_labelling`.
        VolumeError: a name that is none of VerSe's.
    """
    target = Path(folder)
    if target.exists():
        raise RunError("this version exists already", file=target, cure="load the latest version and correct that one")
    if not _CASE.match(case):
        raise VolumeError(f"'{case}' is no case name of VerSe's layout", field="case", cure="use sub-<letters, digits>")
    spine = check_labelling(labelling)
    names = (f"{case}_seg-vert_msk.nii.gz", f"{case}_seg-subreg_ctd.json", "correction.json")
    with atomic_folder(target) as made:
        write_nifti(labelling.mask.volume, made / names[0])
        write_centroids(made / names[1], labelling.centroids, labelling.mask)
        column = {"thoracic": spine.thoracic, "lumbar": spine.lumbar}
        write_json(made / names[2], {**facts, "levels": list(labelling.levels), "column": column})
        return {name: file_sha256(made / name) for name in names}


def _require_present(labelling: Labelling, level: Level) -> None:
    if level not in labelling.levels:
        raise LevelError(
            f"{level} is not marked in this scan",
            field="level",
            cure=f"choose one of {', '.join(labelling.levels)}",
        )


def _with_sacrum(levels: tuple[Level, ...], mask: LabelMask) -> tuple[Level, ...]:
    return (*levels, Level.S1) if mask.counts.get(SACRUM) else levels


def _renamed(labelling: Labelling, names: Mapping[Level, Level], spine: Spine | None) -> Labelling:
    table = np.arange(256, dtype=np.uint8)
    for old, new in names.items():
        table[old.verse_label] = new.verse_label
    data: NDArray[np.uint8] = table[labelling.mask.data]
    mask = LabelMask(data, labelling.mask.affine, scheme="verse", flags=labelling.mask.flags)
    places = {names.get(level, level): point for level, point in labelling.centroids.items()}
    return _checked(Labelling(mask, CentroidSet.of(places), spine), labelling)


def _checked(new: Labelling, old: Labelling) -> Labelling:
    spine = check_labelling(new)
    gaps = _gaps(_with_sacrum(new.levels, new.mask), spine)
    if len(gaps) > len(_gaps(_with_sacrum(old.levels, old.mask), spine_of(old))):
        upper, lower = gaps[0]
        raise LevelError(
            f"{upper} and {lower} follow each other in the scan, and not in a column with {spine.thoracic} thoracic "
            f"and {spine.lumbar} lumbar vertebrae",
            field="levels",
            cure="shift all by one, or state T13, L6 or the missing vertebra",
        )
    return new


def _gaps(levels: tuple[Level, ...], spine: Spine) -> list[tuple[Level, Level]]:
    return [(upper, lower) for upper, lower in pairwise(levels) if not spine.adjacent(upper, lower)]
