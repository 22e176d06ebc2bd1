"""Points of interest as TPTBox and SPINEPS write them, to the entries of a centroid file.

Convention: only body centres (TPTBox's subregion 50, `Vertebra_Corpus`) are taken; every other point of a vertebra is
left out. The first entry holds `direction`, as in VerSe, and may state `zoom` and `shape` of the grid; the format is

- "docker": `{"label": 50 * 256 + vertebra, "X", "Y", "Z"}` (plain VerSe entries are this with subregion 0), or
- "POI": one more entry, `{"L1": {"Vertebra_Corpus": [x, y, z], ...}, ...}`, where names may be numbers.

Source: TPTBox, `core/poi_fun/save_load.py` (read 2026-11; no file written by it lies in the samples).

Trap: the file may have been saved on a resampled grid. Then its `zoom` and `shape` differ from the scan's and the
indices mean other places: that is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spinemed.anatomy import Level
from spinemed.errors import ReadError, VolumeError
from spinemed.labelling.masks import COCCYX, SACRUM

__all__ = ["is_poi", "plain_entries", "require_stated_grid"]

_CORPUS = 50
_CORPUS_NAMES = {"50", "vertebra_corpus"}
_SUBREGIONS = 256
_CURE = "save it in TPTBox's formats 'POI' or 'docker' on the grid of the scan, or leave it away and use the mask"
_SACRAL_NAMES = {f"S{number}": SACRUM for number in range(1, 7)} | {"COCC": COCCYX}
_LABELS = {
    level.value: level.verse_label for level in Level if level is not Level.COCCYX and level.value[0] in "CTL"
    and level is not Level.C0
} | _SACRAL_NAMES  # fmt: skip


def is_poi(content: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a list of entries is TPTBox's, by the format it states or by a nested entry."""
    if not content or "direction" not in content[0]:
        return False
    return "format" in content[0] or any(isinstance(part, Mapping) for item in content[1:] for part in item.values())


def plain_entries(content: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The body centres as VerSe's entries: label, X, Y, Z.

    Raises:
        ReadError: a format that is not read here, an unknown vertebra, a point without three coordinates, or no body
            centre at all.
    """
    stated = content[0].get("format")
    if stated not in (None, "POI", "docker"):
        raise ReadError(f"points in the format '{stated}'", file=path, field="format", cure=_CURE)
    found: list[dict[str, Any]] = []
    points = 0
    for item in content[1:]:
        if "label" in item:
            points += 1
            label = item["label"]
            region, vertebra = divmod(label, _SUBREGIONS) if isinstance(label, int) else (0, label)
            if region in (0, _CORPUS):
                found.append({**item, "label": vertebra})
            continue
        for name, parts in item.items():
            label = _label(name, path)
            for part, place in dict(parts).items() if isinstance(parts, Mapping) else ():
                points += 1
                if str(part).lower() in _CORPUS_NAMES:
                    if not isinstance(place, Sequence) or isinstance(place, str) or len(place) != 3:
                        raise ReadError(f"the point {name} {part} is {place!r}", file=path, field=name, cure=_CURE)
                    found.append({"label": label, **dict(zip("XYZ", place, strict=True))})
    if points and not found:
        raise ReadError(f"none of its {points} points is a body centre", file=path, field="Vertebra_Corpus", cure=_CURE)
    return found


def _label(name: str, path: str | os.PathLike[str]) -> int:
    if name.isdecimal() and len(name) < 9:
        return int(name)
    if name.upper() in _LABELS:
        return _LABELS[name.upper()]
    raise ReadError(f"'{name}' is no vertebra", file=path, field=name, cure=_CURE)


def require_stated_grid(
    header: Mapping[str, Any], shape: Sequence[int], spacing_mm: Sequence[float], path: str | os.PathLike[str]
) -> None:
    """Do nothing if the grid stated in the first entry is that of the scan, or none is stated.

    Args:
        header: The first entry.
        shape, spacing_mm: Of the scan, turned to the stated direction.
        path: The file, for the message.

    Raises:
        VolumeError: they differ.
    """
    for field, expected, tolerance in (("shape", shape, 0.5), ("zoom", spacing_mm, 1e-2)):
        stated = header.get(field)
        if stated is None:
            continue
        numbers = isinstance(stated, Sequence) and all(
            isinstance(value, int | float) and math.isfinite(value) for value in stated
        )
        if not numbers or len(stated) != 3 or not np.allclose(stated, expected, rtol=0, atol=tolerance):
            raise VolumeError(
                f"its {field} is {stated}, that of the scan {[round(float(value), 4) for value in expected]}",
                file=path,
                field=field,
                cure="use the points that were saved on the grid of this scan, or leave the file away and use the mask",
            )
