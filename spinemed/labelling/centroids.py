"""Vertebral centroids: `CentroidSet`, VerSe's centroid files in and out, and centroids measured on masks.

Convention: whatever the file says, a :class:`CentroidSet` holds world millimetres (RAS+). VerSe's files come in three
kinds, told apart by their name and first entry:

===============  ============================  ========================================================================
kind             file                          coordinates
===============  ============================  ========================================================================
`subject`        `*_seg-subreg_ctd.json`       voxel indices along the axes named by the entry `direction`, in the
                 (first entry `direction`)     image's own voxel size
`miccai2020`     `*_iso-ctd.json`              millimetres on a 1 mm grid whose X grows A to P, Y S to I, Z L to R
`miccai2019`     `*_ctd.json`                  millimetres on a 1 mm grid whose X grows S to I, Y A to P, Z R to L
===============  ============================  ========================================================================

Sources: README of the VerSe repository; OSF wikis 4skx2 (subject) and b2wxj (2020); data page of the 2019 challenge.
The 1 mm grids cover the field of view of the image turned to those axes; index c of an axis with voxels of s mm lies at
c * s there. The pages do not say whether the grids share the outer faces instead, so that a MICCAI centroid is certain
to half a voxel only.

Points that TPTBox or SPINEPS saved as JSON are read as the subject kind; see :mod:`spinemed.labelling.poi`.

Trap: VerSe's centroid is that of the vertebral BODY. The centre of mass of a whole vertebra lies 10-11.5 mm behind it,
so a perfect mask scored by its centre of mass is 10 mm off: use :func:`body_centroids` for masks.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.anatomy import Level
from spinemed.errors import ReadError, VolumeError
from spinemed.geometry import (
    VoxelPoints,
    WorldPoints,
    check_codes,
    reorient,
    voxel_spacing,
    voxel_to_world,
    world_to_voxel,
)
from spinemed.labelling.masks import COCCYX, SACRUM, LabelMask, vertebra_of_label
from spinemed.labelling.poi import is_poi, plain_entries, require_stated_grid
from spinemed.tables import parse_json, write_text
from spinemed.volume import Volume, read_nifti

__all__ = ["CentroidKind", "CentroidSet", "read_centroids", "write_centroids"]

Array = NDArray[np.float64]
CentroidKind = Literal["subject", "miccai2019", "miccai2020"]
"""Which of VerSe's layouts a file of centroids has."""
Source = Literal["file", "mask_body", "mask_whole", "computed"]

_CURE = "give a VerSe centroid file, or derive centroids from the mask"
_MICCAI_AXES = {"miccai2019": "IPL", "miccai2020": "PIR"}
_FAR_OUTSIDE_MM = 10.0


@dataclass(frozen=True, eq=False)
class CentroidSet:
    """Named vertebral centroids of one scan.

    Args:
        levels: The vertebrae, head to foot, each once (C1 to L6, T13).
        points: Their centroids, one row each, world mm.
        missing: Levels that the file lists with NaN coordinates: known to be there, without a place.
        direction: Axis codes the file was written in; "" if computed.
        source: Where the points come from; `mask_body` and `mask_whole` are measured on a mask.
        file: The file; "" if computed.
        others: Labels of the file that are no vertebra (26 sacrum, 27 coccyx); they are not scored.
        flags: Sentences about doubtful things.

    Raises:
        VolumeError: levels out of order, twice, or not as many as points.
    """

    levels: tuple[Level, ...]
    points: WorldPoints
    missing: tuple[Level, ...] = ()
    direction: str = ""
    source: Source = "computed"
    file: str = ""
    others: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.points):
            raise VolumeError(
                f"{len(self.levels)} levels and {len(self.points)} centroids",
                file=self.file or None,
                cure="give one point per level",
            )
        if list(self.levels) != sorted(set(self.levels)):
            raise VolumeError(
                "the levels of a centroid set are not in order, or one occurs twice",
                file=self.file or None,
                cure="build it with CentroidSet.of, which sorts",
            )

    @classmethod
    def of(cls, centroids: Mapping[Level, ArrayLike], **facts: Any) -> CentroidSet:
        """A set from level → (3,) world mm, in any order; `facts` are the other fields."""
        levels = tuple(sorted(centroids))
        values = np.array([np.asarray(centroids[level], dtype=np.float64) for level in levels]).reshape(-1, 3)
        return cls(levels, WorldPoints(values), **facts)

    def __len__(self) -> int:
        return len(self.levels)

    def __contains__(self, level: object) -> bool:
        return level in self.levels

    def __getitem__(self, level: Level) -> Array:
        """The centroid (3,) of a level, world mm. KeyError if it is not in the set."""
        try:
            centroid: Array = self.points.values[self.levels.index(level)]
            return centroid
        except ValueError:
            raise KeyError(level) from None

    def items(self) -> Iterator[tuple[Level, Array]]:
        """Level and centroid (3,), head to foot."""
        return iter(zip(self.levels, self.points.values, strict=True))


def read_centroids(
    path: str | os.PathLike[str],
    *,
    image_or_mask: Volume | LabelMask | str | os.PathLike[str] | None = None,
    kind: CentroidKind | None = None,
) -> CentroidSet:
    """Read a VerSe centroid file into world millimetres.

    Args:
        path: The JSON file.
        image_or_mask: The scan the coordinates refer to, or its mask: a volume, or a NIfTI file. Needed by every kind,
            because none of them stores the affine.
        kind: How to read the coordinates, where neither the name nor a `direction` entry tells.

    Returns:
        The set; entries with NaN are skipped and listed in `missing`, labels 26 and 27 in `others`.

    Raises:
        ReadError: missing, no JSON, no VerSe centroid list, a label that is unknown or occurs twice, or a kind that
            cannot be told.
        VolumeError: no image was given, or most centroids lie outside it (the sign of another convention).
    """
    entries, direction, header = _entries(path)
    chosen = kind or _kind(path, direction)
    if image_or_mask is None:
        raise VolumeError(
            "centroids in a file refer to the voxels of a scan, and none was given",
            file=path,
            cure="give the image or the mask of the scan (image_or_mask=)",
        )
    volume = _volume(image_or_mask)
    if chosen == "subject":
        if direction is None:
            raise ReadError("states no direction", file=path, field="direction", cure=_CURE)
        axes = direction
    else:
        axes = _MICCAI_AXES[chosen]
    # Only the grid is turned, not the voxels.
    blank = np.broadcast_to(np.uint8(0), volume.shape)
    turned, affine = reorient(blank, volume.affine, axes)
    require_stated_grid(header, turned.shape, voxel_spacing(affine), path)
    coordinates: dict[Level, Array] = {}
    missing: list[Level] = []
    others: list[int] = []
    for label, values in entries:
        level = vertebra_of_label(label)
        if level is None:
            others.append(label)
        elif np.isnan(values).any():
            missing.append(level)
        else:
            coordinates[level] = values
    levels = tuple(sorted(coordinates))
    indices = np.array([coordinates[level] for level in levels]).reshape(-1, 3)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if chosen != "subject":
        indices = indices / spacing
    _require_inside(indices, turned.shape, spacing, path, chosen)
    flags = []
    if missing:
        flags.append(f"{len(missing)} entries without coordinates were skipped: {', '.join(sorted(missing))}")
    if not levels:
        flags.append("the file holds no centroid of a vertebra")
    return CentroidSet(
        levels,
        voxel_to_world(VoxelPoints(indices), affine),
        tuple(sorted(missing)),
        axes,
        "file",
        os.fspath(path),
        tuple(sorted(others)),
        tuple(flags),
    )


def write_centroids(
    path: str | os.PathLike[str],
    centroids: CentroidSet,
    image_or_mask: Volume | LabelMask,
    *,
    direction: str | None = None,
    decimals: int = 3,
) -> None:
    """Write a centroid file of the `subject` kind: the direction, then label and voxel indices of each level.

    Args:
        path: The JSON file; name it `<case>_seg-subreg_ctd.json`.
        centroids: World mm.
        image_or_mask: The scan whose voxels the indices count.
        direction: Axis codes to write in; by default those of the scan.
        decimals: VerSe writes 1; 3 keeps 0.001 voxel.

    Raises:
        VolumeError: `direction` is no orientation.
    """
    volume = _volume(image_or_mask)
    axes = check_codes(direction) if direction else volume.codes
    _, affine = reorient(np.broadcast_to(np.uint8(0), volume.shape), volume.affine, axes)
    indices = world_to_voxel(centroids.points, affine).values
    rows: list[dict[str, Any]] = [{"direction": list(axes)}]
    for level, index in zip(centroids.levels, indices, strict=True):
        # + 0.0 so that a rounded -0.0 is written as 0.0
        x, y, z = (round(float(value), decimals) + 0.0 for value in index)
        rows.append({"label": level.verse_label, "X": x, "Y": y, "Z": z})
    write_text(path, json.dumps(rows) + "\n")


def _volume(image_or_mask: Volume | LabelMask | str | os.PathLike[str]) -> Volume:
    if isinstance(image_or_mask, Volume):
        return image_or_mask
    if isinstance(image_or_mask, LabelMask):
        return image_or_mask.volume
    return read_nifti(image_or_mask)


def _kind(path: str | os.PathLike[str], direction: str | None) -> CentroidKind:
    """How the coordinates are meant, from the name and the first entry.

    Raises:
        ReadError: they do not tell, or contradict each other.
    """
    name = Path(path).name.lower()
    isotropic = name.endswith(("_iso-ctd.json", "-iso-ctd.json"))
    if direction is not None and not isotropic:
        return "subject"
    if isotropic and direction is None:
        return "miccai2020"
    if name.endswith("_ctd.json") and not name.startswith("sub-") and "_seg-" not in name:
        return "miccai2019"
    found = (
        "the name says 1 mm coordinates but the file states a direction, as voxel coordinates do"
        if isotropic
        else "neither the name nor a direction tells in which coordinates the centroids are"
    )
    raise ReadError(
        found,
        file=path,
        field="direction",
        cure="name it as VerSe does (*_seg-subreg_ctd.json, *_iso-ctd.json, *_ctd.json) or state the kind "
        "(subject, miccai2020, miccai2019)",
    )


def _entries(path: str | os.PathLike[str]) -> tuple[list[tuple[int, Array]], str | None, dict[str, Any]]:
    """Label and coordinates (NaN kept) of each entry, the direction if one is stated, and all of the first entry."""
    try:
        content = parse_json(Path(path).read_bytes(), parse_int=_whole)
    except OSError as error:
        raise ReadError(
            f"cannot be read ({error.strerror})", file=path, cure="check the path, or derive centroids from the mask"
        ) from error
    except ValueError as error:
        raise ReadError(f"is not JSON ({error})", file=path, cure=_CURE) from error
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise ReadError("is no list of centroids", file=path, cure=_CURE)
    direction: str | None = None
    header: dict[str, Any] = content[0] if content and "direction" in content[0] else {}
    if is_poi(content):
        content = [header, *plain_entries(content, path)]
    entries: list[tuple[int, Array]] = []
    for number, item in enumerate(content, 1):
        if "direction" in item:
            if number != 1:
                raise ReadError(f"entry {number} states a direction; only the first may", file=path, cure=_CURE)
            letters = item["direction"]
            if not isinstance(letters, list | str) or not all(isinstance(letter, str) for letter in letters):
                raise ReadError(f"the direction is {letters!r}", file=path, field="direction", cure=_CURE)
            try:
                direction = check_codes("".join(letters))
            except VolumeError as error:
                raise ReadError(error.problem, file=path, field="direction", cure=error.cure) from error
            continue
        entries.append((_label(item, number, path), _coordinates(item, number, path)))
    labels = [label for label, _ in entries]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise ReadError(
            f"the label {twice[0]} occurs {labels.count(twice[0])} times",
            file=path,
            field="label",
            cure="keep one centroid per vertebra",
        )
    return entries, direction, header


def _whole(digits: str) -> int | float:
    """A whole number of JSON; with more digits than a label or coordinate has it becomes a float, at worst infinite."""
    return int(digits) if len(digits) < 16 else float(digits)


def _label(item: Mapping[str, Any], number: int, path: str | os.PathLike[str]) -> int:
    value: Any = item.get("label")
    number_given = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if number_given and (vertebra_of_label(value) is not None or value in (SACRUM, COCCYX)) and value == int(value):
        return int(value)
    raise ReadError(
        f"entry {number} has the label {value!r}, which is no VerSe label",
        file=path,
        field="label",
        cure="use 1-25, 28 for T13 (26 and 27 are read and not scored)",
    )


def _coordinates(item: Mapping[str, Any], number: int, path: str | os.PathLike[str]) -> Array:
    values = [item.get(axis) for axis in ("X", "Y", "Z")]
    for axis, value in zip("XYZ", values, strict=True):
        # null is how strict JSON writers say NaN
        if value is None and axis in item:
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or math.isinf(value):
            raise ReadError(f"entry {number} has {axis} = {value!r}", file=path, field=axis, cure=_CURE)
    return np.array([math.nan if value is None else float(value) for value in values])


def _require_inside(
    indices: Array, shape: tuple[int, ...], spacing: Array, path: str | os.PathLike[str], kind: str
) -> None:
    """Most centroids lie in the volume, or the coordinates are of another kind than was taken."""
    if not len(indices):
        return
    below = -(indices + 0.5) * spacing
    above = (indices - (np.array(shape) - 0.5)) * spacing
    outside = np.maximum(below, above).max(axis=1) > _FAR_OUTSIDE_MM
    if outside.sum() * 2 > len(indices):
        raise VolumeError(
            f"{int(outside.sum())} of {len(indices)} centroids lie more than {_FAR_OUTSIDE_MM:g} mm outside the volume "
            f"when read as '{kind}' coordinates",
            file=path,
            cure="use the centroid file that belongs to this scan and release; the subject-based and the MICCAI "
            "release of VerSe write coordinates differently",
        )
