"""Up to 25 slices of a volume, chosen by anatomy: which plane, where, and why.

Convention: what decides comes first: the middle sagittal layer, then a slice for every finding, then a place at every
level, then both sides' foramina and the coronal layer through the bodies. Without labels the planes share the tissue
evenly and say so. The list is data: it is written down, can be edited by hand (`slices.yaml`), and is then taken as
given.

Trap: two choices that fall on one layer are one slice; the reasons are joined. A volume of three layers has three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import yaml
from pydantic import Field, ValidationError

from spinemed.anatomy import Level
from spinemed.errors import ConfigError, VolumeError
from spinemed.records import Finding, Record
from spinemed.volume import Volume, slice_image
from spinemed.volume.slices import Plane

__all__ = ["MOST_SLICES", "SliceChoice", "choose_slices", "read_choices"]

MOST_SLICES = 25
_FEWEST_PIXELS = 8
_FORAMEN_MM = 14.0
"""From the middle to the foramina: about half the distance between the pedicles of a lumbar vertebra."""


class SliceChoice(Record):
    """One slice."""

    plane: Plane
    """Of the slice."""
    index: int = Field(ge=0)
    """Layer along the volume's own array axis."""
    position_mm: float
    """World coordinate, for people."""
    reasons: tuple[str, ...]
    """Why it was taken."""


def choose_slices(
    volume: Volume,
    levels: Mapping[Level, np.ndarray] | None = None,
    findings: Sequence[Finding] = (),
    *,
    most: int = MOST_SLICES,
) -> tuple[SliceChoice, ...]:
    """Choose slices.

    Args:
        volume: The image.
        levels: Centre of each vertebral body, world mm; None or empty where nothing is labelled.
        findings: What is known; those with a level or a disc get a slice of their own.
        most: At most so many.

    Returns:
        Choices in the order of their weight, each layer once.
    """
    wanted = _by_anatomy(levels, findings) if levels else _by_extent(volume, most)
    merged: dict[tuple[str, int], SliceChoice] = {}
    for plane, place, reason in wanted:
        try:
            found = slice_image(volume, plane, position_mm=place)
        except VolumeError:
            continue  # outside the field: an edited or foreign label
        if min(found.pixels.shape) < _FEWEST_PIXELS:
            continue  # a thin stack seen from its side is a line, not a picture
        key = (plane, found.index)
        if key in merged:
            reasons = tuple(dict.fromkeys((*merged[key].reasons, reason)))
            merged[key] = merged[key].model_copy(update={"reasons": reasons})
        elif len(merged) < most:
            merged[key] = SliceChoice(
                plane=plane, index=found.index, position_mm=round(found.position_mm, 3), reasons=(reason,)
            )
    return tuple(merged.values())


Wanted = tuple[Plane, float, str]


def _by_anatomy(levels: Mapping[Level, np.ndarray], findings: Sequence[Finding]) -> list[Wanted]:
    order = sorted(levels)
    middle = float(np.mean([levels[level][0] for level in order]))
    wanted: list[Wanted] = [("sagittal", middle, "middle of the spine")]
    for finding in findings:
        places = [finding.level] if finding.level else [finding.disc.upper, finding.disc.lower] if finding.disc else []
        known = [levels[level] for level in places if level in levels]
        if not known:
            continue
        point = np.mean(known, axis=0)
        name = str(finding.level.value if finding.level else finding.disc)
        wanted.append(("axial", float(point[2]), f"{finding.kind} at {name}"))
        wanted.append(("sagittal", float(point[0]), f"{finding.kind} at {name}"))
        if finding.side:
            away = _FORAMEN_MM if finding.side == "right" else -_FORAMEN_MM
            wanted.append(("sagittal", float(point[0]) + away, f"{finding.side} side at {name}"))
    for level in order:
        wanted.append(("axial", float(levels[level][2]), f"body of {level.value}"))
    for upper, lower in pairwise(order):
        wanted.append(("axial", float((levels[upper][2] + levels[lower][2]) / 2), f"disc {upper.value}-{lower.value}"))
    wanted.append(("sagittal", middle + _FORAMEN_MM, "right foramina"))
    wanted.append(("sagittal", middle - _FORAMEN_MM, "left foramina"))
    wanted.append(("coronal", float(np.mean([levels[level][1] for level in order])), "through the bodies"))
    return wanted


def _by_extent(volume: Volume, most: int) -> list[Wanted]:
    """Even shares of the box that holds the tissue: nothing is labelled."""
    threshold = -300.0 if volume.unit == "HU" else 0.1 * float(np.percentile(volume.data, 99))
    step = max(1, round((volume.data.size / 4e6) ** (1 / 3)))  # a look at every few voxels finds the box
    inside = np.argwhere(volume.data[::step, ::step, ::step] > threshold) * step
    if len(inside) == 0:
        inside = np.array([[0, 0, 0], np.array(volume.shape) - 1])
    low, high = np.percentile(inside, [5, 95], axis=0)
    corners = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    world = corners @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    first, last = world.min(axis=0), world.max(axis=0)
    shares: tuple[tuple[Plane, int, int], ...] = (
        ("sagittal", 0, math.ceil(most * 0.4)),
        ("axial", 2, math.ceil(most * 0.4)),
        ("coronal", 1, max(1, most - 2 * math.ceil(most * 0.4))),
    )
    columns = []
    for plane, axis, count in shares:
        places = [first[axis] + (last[axis] - first[axis]) * (k + 0.5) / count for k in range(count)]
        middle = (first[axis] + last[axis]) / 2
        places.sort(key=lambda place: abs(place - middle))
        columns.append([(plane, float(place), "even share, nothing is labelled") for place in places])
    return [column[k] for k in range(max(map(len, columns))) for column in columns if k < len(column)]


def read_choices(path: Path, volume: Volume) -> tuple[SliceChoice, ...]:
    """Choices edited by hand: a YAML list of `{plane, index, reasons}`.

    Raises:
        ConfigError: It is no such list, or a layer lies outside the volume.
    """
    cure = "write a list of {plane: sagittal, index: 12, reasons: [..]}"
    try:
        rows = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError("cannot be read as YAML", file=path, cure=cure) from error
    if not isinstance(rows, list) or not rows:
        raise ConfigError("is no list of slices", file=path, cure=cure)
    choices = []
    for number, row in enumerate(rows):
        try:
            found = slice_image(volume, row["plane"], index=row["index"])
            values = {"position_mm": round(found.position_mm, 3), "reasons": ("edited",), **row}
            choices.append(SliceChoice.model_validate(values))
        except (KeyError, TypeError, ValidationError, VolumeError) as error:
            raise ConfigError("is no slice of this volume", file=path, field=f"[{number}]", cure=cure) from error
    return tuple(choices)
