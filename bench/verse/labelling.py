"""Strict scoring of vertebra labels: which vertebrae got their right name, and what happened to the others.

The rule, in millimetres of world space:

- a predicted centroid *belongs* to the nearest of ALL reference centroids (a tie goes to its own level), if it lies
  strictly closer than 20 mm;
- it is a **hit** if it belongs to the reference vertebra of its own level;
- a reference vertebra without a hit to which another level's centroid belongs is a **wrong level** (the nearest one
  counts), with its offset in steps of the reference's own spine, positive towards the feet;
- a reference vertebra to which nothing belongs is **missed**;
- every other predicted centroid is **extra**. It is *excused* where the reference could not hold it: more than 8 mm
  beyond the last annotated vertebra, within `edge_mm` of the head or foot face of the volume, with a name that may
  follow there (the annotators leave cut vertebrae out); or where the reference lists that level without coordinates.

Recall (the identification rate) is hits / reference vertebrae, precision is hits / predicted ones without the excused,
F1 their harmonic mean. Degenerate cases: an empty prediction scores 0; an empty reference scores 1 with nothing
predicted (or only excused ones) and 0 otherwise, for all three. No value is ever NaN.

A **shift** is one event: at least two vertebrae were found, and at least 80 % of the found ones carry the same offset,
which is not zero. Runs of neighbours with the same offset are listed too: above a missing T12 a counter from the sacrum
names everything one too low, and the lumbar part right.

Localisation error: from each reference centroid to the predicted centroid of the same level, wherever that lies.
`matched_mm` is the mean over levels that both hold, `hits_mm` over hits; `penalised_mm` is the mean over all reference
levels where one that was not predicted counts 1000 mm, as in the challenge, and none counts more.

Source: identification rate after Glocker 2013 as used by VerSe (Sekuboyina 2021, doi 10.1016/j.media.2021.102166), with
all reference vertebrae as candidates; the published code takes the common ones only (see :mod:`bench.verse.compat`).

Trap: a label that is one level off may still be a "hit" for a careless rule wherever vertebrae lie closer than 20 mm,
as they do in the neck. Here it is none, because its own place is not the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.verse.numbering import column_of, is_possible_neighbour, renamed, steps_between
from spinemed.anatomy import Level
from spinemed.geometry import axis_codes
from spinemed.labelling import CentroidSet, LabelMask
from spinemed.volume import Volume

__all__ = [
    "EDGE_MM",
    "HIT_MM",
    "PENALTY_MM",
    "AdmissibleScore",
    "ExtraCentroid",
    "LabellingScore",
    "LevelScore",
    "ShiftRun",
    "common_shift",
    "score_labelling",
]

Array = NDArray[np.float64]
Excuse = Literal["", "cut at the edge", "listed without coordinates"]

HIT_MM = 20.0
PENALTY_MM = 1000.0
EDGE_MM = 30.0
"""A vertebra whose body's centre is farther from the face than this is whole: half a lumbar body, and a process."""
_SHIFT_SHARE = 0.8
_BEYOND_MM = 8.0  # nearer than any two neighbours: a second name for one vertebra is no neighbour of it


@dataclass(frozen=True)
class LevelScore:
    """One reference vertebra.

    Args:
        level: Its true name.
        identified: Whether the prediction of this level is a hit.
        called: The level that the prediction gives it; its own for a hit, None if missed.
        offset: Steps from `level` to `called`, positive towards the feet; None if missed.
        called_mm: Distance to the centroid that names it; None if missed.
        distance_mm: Distance to the predicted centroid of the same level, wherever it lies; None if not predicted.
        penalised_mm: The same, with 1000 mm where it is not predicted, and never more.
    """

    level: Level
    identified: bool
    called: Level | None
    offset: int | None
    called_mm: float | None
    distance_mm: float | None
    penalised_mm: float


@dataclass(frozen=True)
class ExtraCentroid:
    """A predicted centroid that names no reference vertebra.

    Args:
        level: Its predicted name.
        nearest: The nearest reference vertebra; None if there is none.
        distance_mm: How far that is; None if there is none.
        excuse: Why it does not count against the prediction; "" if it does.
    """

    level: Level
    nearest: Level | None
    distance_mm: float | None
    excuse: Excuse = ""


@dataclass(frozen=True)
class ShiftRun:
    """Neighbouring vertebrae that are all called the same number of levels too low (positive) or too high."""

    first: Level
    last: Level
    offset: int
    vertebrae: int


@dataclass(frozen=True)
class AdmissibleScore:
    """The best score over the numberings that the field of view admits.

    Args:
        numberings: How many were tried, the reference's own among them.
        names: The best one: own level to the admitted name.
        score: Against the reference under those names.
    """

    numberings: int
    names: Mapping[Level, Level]
    score: LabellingScore


@dataclass(frozen=True)
class LabellingScore:
    """How one scan was labelled; see the module docstring for every term.

    Args:
        levels: One entry per reference vertebra, head to foot.
        extra: Predicted centroids that name none, head to foot.
        hits: Number of hits.
        predicted: Number of predicted centroids, without the excused.
        precision, recall, f1: See the module docstring; recall is the identification rate.
        shift: The one offset of the whole spine; None if there is none.
        runs: Neighbours with one offset.
        matched_mm: Mean localisation error over the levels both hold; None if they share none.
        hits_mm: The same over hits; None without a hit.
        penalised_mm: The same over all reference levels with the penalty; 0 for an empty reference.
        admissible: Against the numberings the field of view admits; None if they were not given.
    """

    levels: tuple[LevelScore, ...]
    extra: tuple[ExtraCentroid, ...]
    hits: int
    predicted: int
    precision: float
    recall: float
    f1: float
    shift: int | None
    runs: tuple[ShiftRun, ...]
    matched_mm: float | None
    hits_mm: float | None
    penalised_mm: float
    admissible: AdmissibleScore | None = None

    @property
    def missed(self) -> tuple[Level, ...]:
        """Reference vertebrae that no prediction names."""
        return tuple(one.level for one in self.levels if one.called is None)

    @property
    def wrong(self) -> tuple[LevelScore, ...]:
        """Reference vertebrae that were found and called by another name."""
        return tuple(one for one in self.levels if one.called is not None and not one.identified)

    @property
    def excused(self) -> tuple[ExtraCentroid, ...]:
        """Extra predictions that are counted and not held against it."""
        return tuple(one for one in self.extra if one.excuse)

    @property
    def shift_text(self) -> str:
        """`shift +1` and the like; "" without one."""
        return "" if self.shift is None else f"shift {self.shift:+d}"


def score_labelling(
    reference: CentroidSet,
    prediction: CentroidSet,
    *,
    field_of_view: Volume | LabelMask | None = None,
    edge_mm: float = EDGE_MM,
    admissible: Sequence[Mapping[Level, Level]] | None = None,
) -> LabellingScore:
    """Score the labels of one scan.

    Args:
        reference: True centroids, world mm.
        prediction: Predicted centroids, world mm.
        field_of_view: The volume that was imaged (its grid only); without it nothing is excused at the edge.
        edge_mm: How near to the head or foot face a cut vertebra's body may lie.
        admissible: For a crop without an anchor, the numberings it admits, each a map from own level to admitted name
            (see :func:`bench.verse.numbering.admissible_numberings`). The plain score stays as it is; the best of these
            stands beside it.
    """
    plain = _score(reference, prediction, field_of_view, edge_mm)
    if not admissible:
        return plain
    own = {level: level for level in reference.levels}
    tried = [dict(own), *(dict(names) for names in admissible if dict(names) != own)]
    scores = [_score(renamed(reference, names), prediction, field_of_view, edge_mm) for names in tried]
    best = max(range(len(tried)), key=lambda n: (scores[n].hits, scores[n].f1, -n))
    return replace(plain, admissible=AdmissibleScore(len(tried), tried[best], scores[best]))


def _score(
    reference: CentroidSet, prediction: CentroidSet, view: Volume | LabelMask | None, edge_mm: float
) -> LabellingScore:
    there, here = reference.points.values, prediction.points.values
    apart = np.linalg.norm(here[:, None] - there[None], axis=-1)  # predictions x references
    owners: dict[int, list[int]] = {}
    stray: list[int] = []
    for row in range(len(prediction)):
        column = _nearest(apart[row], reference.levels, prediction.levels[row])
        if column >= 0 and apart[row, column] < HIT_MM:
            owners.setdefault(column, []).append(row)
        else:
            stray.append(row)
    levels: list[LevelScore] = []
    spare: list[int] = []
    for column, level in enumerate(reference.levels):
        rows = owners.get(column, [])
        naming = next((row for row in rows if prediction.levels[row] is level), None)
        if naming is None and rows:
            naming = min(rows, key=lambda row: apart[row, column])
        spare += [row for row in rows if row != naming]
        same = prediction.levels.index(level) if level in prediction else None
        distance = None if same is None else float(apart[same, column])
        called = None if naming is None else prediction.levels[naming]
        levels.append(
            LevelScore(
                level,
                called is level,
                called,
                None if called is None else steps_between(reference.levels, level, called),
                None if naming is None else float(apart[naming, column]),
                distance,
                PENALTY_MM if distance is None else min(distance, PENALTY_MM),
            )
        )
    excuses = _excuses(reference, prediction, sorted([*spare, *stray]), view, edge_mm)
    extra = [
        ExtraCentroid(
            prediction.levels[row],
            reference.levels[int(apart[row].argmin())] if len(reference) else None,
            float(apart[row].min()) if len(reference) else None,
            excuses.get(row, ""),
        )
        for row in sorted([*spare, *stray])
    ]
    hits = sum(one.identified for one in levels)
    counted = len(prediction) - len(excuses)
    matched = [one.distance_mm for one in levels if one.distance_mm is not None]
    hit_mm = [one.distance_mm for one in levels if one.identified and one.distance_mm is not None]
    return LabellingScore(
        tuple(levels),
        tuple(extra),
        hits,
        counted,
        *_rates(hits, len(levels), counted),
        common_shift([one.offset for one in levels if one.offset is not None]),
        _runs(levels),
        float(np.mean(matched)) if matched else None,
        float(np.mean(hit_mm)) if hit_mm else None,
        float(np.mean([one.penalised_mm for one in levels])) if levels else 0.0,
    )


def _nearest(distances: Array, levels: Sequence[Level], own: Level) -> int:
    """Column of the nearest reference vertebra, -1 without one; a tie goes to the vertebra of the same name."""
    if not levels:
        return -1
    if own in levels and distances[levels.index(own)] == distances.min():
        return levels.index(own)
    return int(distances.argmin())


def _rates(hits: int, true: int, predicted: int) -> tuple[float, float, float]:
    """Precision, recall and F1."""
    if not true:
        value = 0.0 if predicted else 1.0
        return value, value, value
    return hits / predicted if predicted else 0.0, hits / true, 2 * hits / (true + predicted)


def common_shift(offsets: Sequence[int]) -> int | None:
    """The one offset of a whole spine, see the module docstring; None if there is none.

    Args:
        offsets: Of every vertebra that was found, 0 where it has its right name.
    """
    for offset in sorted(set(offsets)):
        if offset and len(offsets) >= 2 and offsets.count(offset) >= _SHIFT_SHARE * len(offsets):
            return offset
    return None


def _runs(levels: Sequence[LevelScore]) -> tuple[ShiftRun, ...]:
    runs: list[ShiftRun] = []
    before: int | None = None
    for one in levels:
        if one.offset and one.offset == before:
            runs[-1] = replace(runs[-1], last=one.level, vertebrae=runs[-1].vertebrae + 1)
        elif one.offset:
            runs.append(ShiftRun(one.level, one.level, one.offset, 1))
        before = one.offset
    return tuple(runs)


def _excuses(
    reference: CentroidSet,
    prediction: CentroidSet,
    extra: Sequence[int],
    view: Volume | LabelMask | None,
    edge_mm: float,
) -> dict[int, Excuse]:
    """Rows of predictions that the reference could not hold, with the reason."""
    found: dict[int, Excuse] = {
        row: "listed without coordinates" for row in extra if prediction.levels[row] in reference.missing
    }
    if view is None or not len(reference):
        return found
    axis = _long_axis(view)
    heights = prediction.points.values @ axis
    ends = reference.points.values @ axis
    faces = _face_heights(view, axis)
    spine = column_of(reference.levels)
    for towards, face, last in ((1.0, faces[1], int(ends.argmax())), (-1.0, faces[0], int(ends.argmin()))):
        end, level = float(ends[last]), reference.levels[last]
        rows = [row for row in extra if row not in found and (heights[row] - end) * towards > _BEYOND_MM]
        # Outwards, one after the other: where two are cut, the second follows the first.
        for row in sorted(rows, key=lambda row: heights[row] * towards):
            near = abs(float(heights[row]) - face) <= edge_mm
            if near and is_possible_neighbour(spine, level, prediction.levels[row], below=towards < 0):
                found[row] = "cut at the edge"
                level = prediction.levels[row]
    return found


def _long_axis(view: Volume | LabelMask) -> Array:
    """Unit normal, towards the head, of the faces at the head and foot end of the volume."""
    directions = np.linalg.inv(view.affine[:3, :3])  # its rows are normal to the faces of each array axis
    codes = axis_codes(view.affine)
    axis = next(a for a, code in enumerate(codes) if code in "IS")
    normal = directions[axis] / np.linalg.norm(directions[axis])
    return np.asarray(normal if codes[axis] == "S" else -normal)


def _face_heights(view: Volume | LabelMask, axis: Array) -> tuple[float, float]:
    """Heights of the foot face and the head face along the axis."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * np.array(view.shape) - 0.5
    heights = (corners @ view.affine[:3, :3].T + view.affine[:3, 3]) @ axis
    return float(heights.min()), float(heights.max())
