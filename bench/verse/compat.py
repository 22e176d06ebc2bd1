"""The published evaluation of VerSe, bit for bit, with a warning for each of its defects that changes this case.

The rule, as published in code (repository of the challenge, `eval_utilities.py`; the text differs in places):

- a scan is two tables of 28 rows (label - 1) and 3 columns; a row whose first value is NaN is absent;
- only labels in both tables are looked at, in rows (predictions) and columns (reference) alike;
- a label is a hit if no other such column is nearer to its prediction (the first minimum wins a tie) and its own
  distance is not above 20; hits / labels of the reference is the identification rate;
- Dice is 2|A and B| / (|A| + |B|) of everything that is not zero, whatever the label; two empty masks have 1.0.

Units: the published notebook compares voxel indices of the original scan, because the rescaling to millimetres uses the
header of a mask that was rescaled before. :func:`compat_score` does the same where it is given the grid.

What it is for: to reproduce numbers that were made with that code. What it is not for: comparing algorithms; use
:mod:`bench.verse.labelling`.

Trap: a rate of 1.0 here can stand beside a precision of 0.2. Read the warnings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import VolumeError
from spinemed.geometry import world_to_voxel
from spinemed.labelling import CentroidSet, LabelMask
from spinemed.volume import Volume

__all__ = [
    "ROWS",
    "CompatScore",
    "CompatWarning",
    "Defect",
    "centroid_table",
    "compat_dice",
    "compat_score",
    "dice_warnings",
    "official_hits",
    "table_warnings",
]

Array = NDArray[np.float64]
Defect = Literal[
    "common labels only",
    "extra labels ignored",
    "voxels taken for millimetres",
    "20 counts as below 20",
    "tie goes to the lower label",
    "half a coordinate counts",
    "no reference",
    "Dice ignores labels",
    "fill values are foreground",
    "nothing is perfect",
]

ROWS = 28
_LIMIT = 20.0


@dataclass(frozen=True)
class CompatWarning:
    """One defect of the published rule that changes this case.

    Args:
        defect: Its name.
        effect: What the published rule gives and what the case is without this defect, in words and numbers.
    """

    defect: Defect
    effect: str

    def __str__(self) -> str:
        return f"{self.defect}: {self.effect}"


@dataclass(frozen=True)
class CompatScore:
    """What the published code reports for one scan.

    Args:
        hits: Identified labels.
        reference: Labels in the reference.
        rate: hits / reference; None where the reference is empty, where the published code divides by zero.
        identified: Levels that are hits, head to foot.
        warnings: Defects that change this case.
    """

    hits: int
    reference: int
    rate: float | None
    identified: tuple[Level, ...]
    warnings: tuple[CompatWarning, ...]


def centroid_table(centroids: CentroidSet, grid: Volume | LabelMask | None = None) -> Array:
    """The centroids as the published code takes them: (28, 3), row = VerSe label - 1, NaN where absent.

    Args:
        centroids: World mm.
        grid: Give voxel indices of this scan, as the published notebook does; world mm without it.
    """
    table = np.full((ROWS, 3), np.nan)
    if len(centroids):
        points = centroids.points.values if grid is None else world_to_voxel(centroids.points, grid.affine).values
        table[[level.verse_label - 1 for level in centroids.levels]] = points
    return table


def official_hits(reference: Array, prediction: Array) -> tuple[int, Array]:
    """The published identification rule on two tables.

    Args:
        reference, prediction: (n, 3) coordinates, row = label - 1; a row is absent if its first value is NaN.

    Returns:
        Number of hits; and per row 1 (hit), 0 (in the reference, no hit) or NaN (not in the reference).

    Raises:
        VolumeError: the tables differ in shape, or are not (n, 3).
    """
    return _hits(reference, prediction)


def compat_score(
    reference: CentroidSet, prediction: CentroidSet, *, grid: Volume | LabelMask | None = None
) -> CompatScore:
    """Score one scan by the published rule, and say where the rule is at fault.

    Args:
        reference: True centroids, world mm.
        prediction: Predicted centroids, world mm.
        grid: The scan. Given it, distances are in its voxels, as in the published notebook; else in mm.
    """
    true, guess = centroid_table(reference, grid), centroid_table(prediction, grid)
    hits, rows = _hits(true, guess)
    warnings = table_warnings(true, guess)
    if grid is not None:
        mm, _ = _hits(centroid_table(reference), centroid_table(prediction))
        if mm != hits:
            size = " x ".join(f"{value:.3g}" for value in grid.spacing_mm)
            warnings.append(
                CompatWarning(
                    "voxels taken for millimetres", f"{hits} hits in voxels of {size} mm, {mm} in millimetres"
                )
            )
    rate = None if not len(reference) else hits / len(reference)
    identified = tuple(level for level in reference.levels if rows[level.verse_label - 1] == 1)
    return CompatScore(hits, len(reference), rate, identified, tuple(warnings))


def table_warnings(reference: Array, prediction: Array) -> list[CompatWarning]:
    """The defects of the identification rule that change this pair of tables."""
    hits, _ = _hits(reference, prediction)
    true, guess = _present(reference), _present(prediction)
    found: list[CompatWarning] = []
    if not true.any():
        found.append(CompatWarning("no reference", "the published code divides by zero; no rate is given"))
    every, _ = _hits(reference, prediction, candidates="all")
    if every != hits:
        found.append(
            CompatWarning("common labels only", f"{hits} hits, {every} with every reference vertebra as a candidate")
        )
    extra = int((guess & ~true).sum())
    if extra:
        total = int(guess.sum())
        found.append(
            CompatWarning(
                "extra labels ignored",
                f"{extra} of {total} predicted labels are not in the reference and cost nothing; "
                f"the precision is {every / total:.3f}",
            )
        )
    below, _ = _hits(reference, prediction, limit="below")
    if below != hits:
        found.append(CompatWarning("20 counts as below 20", f"{hits} hits, {below} strictly below 20"))
    own, _ = _hits(reference, prediction, ties="own")
    if own != hits:
        found.append(
            CompatWarning("tie goes to the lower label", f"{hits} hits, {own} where a tie goes to the label itself")
        )
    half = [
        int(row) + 1
        for table in (reference, prediction)
        for row in np.nonzero(_present(table) != np.isfinite(table).all(axis=1))[0]
    ]
    if half:
        whole, _ = _hits(_whole_rows(reference), _whole_rows(prediction))
        found.append(
            CompatWarning(
                "half a coordinate counts",
                f"presence is judged by the first coordinate (labels {', '.join(map(str, sorted(set(half))))}): "
                f"{hits} hits, {whole} where half a coordinate is none",
            )
        )
    return found


def compat_dice(reference: NDArray[Any], prediction: NDArray[Any]) -> float:
    """The published Dice of two whole volumes: everything that is not zero is foreground; two empty ones have 1.0.

    Raises:
        VolumeError: the shapes differ.
    """
    if reference.shape != prediction.shape:
        raise VolumeError(
            f"the volumes have the shapes {reference.shape} and {prediction.shape}",
            field="shape",
            cure="bring the prediction onto the grid of the reference",
        )
    here, there = prediction != 0, reference != 0
    total = int(np.count_nonzero(here)) + int(np.count_nonzero(there))
    if total == 0:
        return 1.0
    return 2.0 * int(np.count_nonzero(here & there)) / total


def dice_warnings(
    reference: NDArray[Any], prediction: NDArray[Any], per_label: Sequence[float] | None = None
) -> list[CompatWarning]:
    """The defects of the published Dice that change this pair of volumes.

    Args:
        reference, prediction: The volumes as they were read, fill values included.
        per_label: Dice of each reference label, misses as 0, if it was computed; otherwise it is computed here.
    """
    value = compat_dice(reference, prediction)
    found: list[CompatWarning] = []
    if min(reference.min(initial=0), prediction.min(initial=0)) < 0:
        cleaned = compat_dice(np.maximum(reference, 0), np.maximum(prediction, 0))
        if cleaned != value:
            found.append(
                CompatWarning(
                    "fill values are foreground", f"Dice {value:.4f}, {cleaned:.4f} without the negative voxels"
                )
            )
    if not reference.any() and not prediction.any():
        found.append(
            CompatWarning("nothing is perfect", "two empty volumes have Dice 1; there is no vertebra to score")
        )
    scores = _label_dice(reference, prediction) if per_label is None else list(per_label)
    if scores and abs(float(np.mean(scores)) - value) >= 5e-5:
        found.append(
            CompatWarning(
                "Dice ignores labels",
                f"Dice {value:.4f} of everything together, {float(np.mean(scores)):.4f} as the mean over the "
                f"{len(scores)} labels of the reference",
            )
        )
    return found


def _label_dice(reference: NDArray[Any], prediction: NDArray[Any]) -> list[float]:
    labels = [label for label in np.unique(reference) if label > 0]
    scores = []
    for label in labels:
        here, there = prediction == label, reference == label
        total = int(np.count_nonzero(here)) + int(np.count_nonzero(there))
        scores.append(2.0 * int(np.count_nonzero(here & there)) / total)
    return scores


def _present(table: Array) -> NDArray[np.bool_]:
    return np.asarray(~np.isnan(table[:, 0]))


def _whole_rows(table: Array) -> Array:
    kept = table.copy()
    kept[~np.isfinite(table).all(axis=1)] = np.nan
    return kept


def _hits(
    reference: Array,
    prediction: Array,
    *,
    candidates: Literal["common", "all"] = "common",
    limit: Literal["up to", "below"] = "up to",
    ties: Literal["first", "own"] = "first",
) -> tuple[int, Array]:
    """The rule with one of its choices made otherwise; as published by default."""
    if reference.shape != prediction.shape or reference.ndim != 2 or reference.shape[1] != 3:
        raise VolumeError(
            f"centroid tables of the shapes {reference.shape} and {prediction.shape}",
            cure="give two tables of one row per label and three columns",
        )
    true, guess = _present(reference), _present(prediction)
    listed = np.where(true, 0.0, np.nan)
    rows = np.nonzero(true & guess)[0]
    columns = rows if candidates == "common" else np.nonzero(true)[0]
    if not len(rows):
        return 0, listed
    dx, dy, dz = (prediction[rows, axis, None] - reference[None, columns, axis] for axis in range(3))
    # Summed in this order, so that ties and distances at the limit fall as they do in the published code.
    apart = np.sqrt((dx * dx + dy * dy) + dz * dz)
    own = np.searchsorted(columns, rows)
    at = np.arange(len(rows))
    # argmin takes the first NaN for a minimum, and a NaN is not above 20 either: both as published.
    nearest = apart.argmin(axis=1) == own
    if ties == "own":
        nearest |= apart[at, own] == apart.min(axis=1)
    mine = apart[at, own]
    close = ~(mine > _LIMIT) if limit == "up to" else mine < _LIMIT
    hit = nearest & close & ~np.isnan(mine)
    listed[rows[hit]] = 1.0
    return int(hit.sum()), listed
