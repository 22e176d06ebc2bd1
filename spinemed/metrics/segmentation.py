"""Segmentation metrics of label volumes: every label of a scan from one reading of both volumes.

Convention: two integer volumes of one grid, 0 is background, labels 1 to 255; spacing in mm along the array axes of the
volumes as given. A border voxel has one of its 6 neighbours outside its label, and outside the volume counts as
background; components are joined over 26 neighbours. Distances are between voxel centres of border voxels, exact
(equal to scipy's exact Euclidean distance transform). R and P are the border voxels of a label in reference and
prediction, d(r, P) the distance from r to the nearest of P:

- `hd_mm`: Hausdorff distance, the largest of all d(r, P) and d(p, R) (Huttenlocher 1993, doi 10.1109/34.232073)
- `hd95_pooled_mm`: 95th percentile over both directions pooled (as in MedPy and panoptica)
- `hd95_max_mm`: the larger of the two directed 95th percentiles (as in MONAI and Metrics Reloaded)
- `assd_mm`: mean over both directions pooled (Heimann 2009, doi 10.1109/TMI.2009.2013851)
- `masd_mm`: mean of the two directed means (Metrics Reloaded, doi 10.1038/s41592-023-02151-z; panoptica calls it ASSD)
- `surface_dice`: share of R and P together within the tolerance (normalised surface Dice after Nikolov 2021,
  doi 10.2196/26151, counted in border voxels, not weighted by area)
- `hd_largest_mm`: `hd_mm` of the largest component of each side, so that an island shows as a difference to `hd_mm`

Percentiles interpolate linearly, as `numpy.percentile` does by default. Dice 2|A∩B|/(|A|+|B|) and IoU |A∩B|/|A∪B|.

Empty cases, by `status`:

- "scored": in both; everything has a value.
- "missing": in the reference only. Dice, IoU and surface Dice 0; distances None, with `reason` "missing".
- "extra": in the prediction only. The same with `reason` "extra"; `relative_volume_error` None (divided by nothing).
- "absent": asked for through `labels`, in neither. Everything None, not scored, counted in `counts`.

:meth:`LabelComparison.mean` holds every mean to this: a missed label enters as 0 (overlap) or as the penalty
(distances), never falls out of the mean, and no value is NaN.

Trap: the spacing belongs to the array axes as passed. Reversed spacing gives plausible, wrong distances.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import MetricError
from spinemed.metrics.nearest import distances_to_border, largest_distance, near_offsets
from spinemed.metrics.pairs import Layout, check_spacing, paired_views
from spinemed.metrics.runs import border_points, joint_counts, read_runs, run_components

__all__ = ["DISTANCES", "OVERLAPS", "LabelComparison", "LabelScore", "MetricMean", "Status", "compare_labels"]

Status = Literal["scored", "missing", "extra", "absent"]
"""What became of a label: in both masks, in the reference alone, in the prediction alone, in neither."""

OVERLAPS = ("dice", "iou", "surface_dice")
"""Metrics from 0 to 1; a missed label has 0."""
DISTANCES = ("hd_mm", "hd95_pooled_mm", "hd95_max_mm", "assd_mm", "masd_mm", "hd_largest_mm")
"""Metrics in mm; a missed label has None, and the penalty in a mean."""

Point = tuple[float, float, float]


@dataclass(frozen=True)
class LabelScore:
    """One label of a pair; see the module for every definition and empty case."""

    label: int
    status: Status
    reason: str | None
    """Why distances are None: "missing", "extra" or "absent"; None where they have values."""
    dice: float | None
    iou: float | None
    surface_dice: float | None
    hd_mm: float | None
    hd95_pooled_mm: float | None
    hd95_max_mm: float | None
    assd_mm: float | None
    masd_mm: float | None
    hd_largest_mm: float | None
    penalty_mm: float
    """What each distance counts as in a mean where it is None, and its cap where it is not."""
    reference_voxels: int
    prediction_voxels: int
    overlap_voxels: int
    reference_volume_mm3: float
    prediction_volume_mm3: float
    volume_error_mm3: float
    """Prediction minus reference."""
    relative_volume_error: float | None
    """Volume error over reference volume; None without reference."""
    reference_centroid: Point | None
    """Mean voxel index along the array axes of the volumes as given; None where the label is not."""
    prediction_centroid: Point | None
    reference_components: int
    prediction_components: int
    reference_largest_share: float | None
    """Share of the label's voxels in its largest component; None where the label is not."""
    prediction_largest_share: float | None
    reference_border_voxels: int
    prediction_border_voxels: int

    def penalised(self, metric: str) -> float | None:
        """A metric as it enters a mean: distances capped at the penalty, and the penalty where one side is empty.

        None for an absent label only.

        Raises:
            MetricError: no such metric.
        """
        _check_metric(metric)
        value: float | None = getattr(self, metric)
        if self.status == "absent" or metric in OVERLAPS:
            return value
        return self.penalty_mm if value is None else min(value, self.penalty_mm)


@dataclass(frozen=True)
class MetricMean:
    """A mean over labels that says what it counted."""

    metric: str
    value: float | None
    """Over scored and missed labels (and extra ones if asked); misses as 0 or as the penalty. None without a label."""
    matched_only: float | None
    """Over scored labels alone, uncapped. Never report it without `missing`."""
    scored: int
    missing: int
    extra: int
    absent: int


@dataclass(frozen=True)
class LabelComparison:
    """All labels of a pair of volumes."""

    per_label: dict[int, LabelScore]
    """One entry per label, ascending: those asked for, or all that either volume holds."""
    confusion_labels: tuple[int, ...]
    """Rows and columns of `confusion`: 0, then every label in either volume or asked for."""
    confusion: NDArray[np.int64]
    """Voxels (k, k) with a label in the reference (row) and in the prediction (column). Sums to the volume."""
    counts: dict[str, int]
    """Labels per status: "scored", "missing", "extra", "absent"."""
    spacing_mm: tuple[float, float, float]
    tolerance_mm: float
    penalty_mm: float

    def mean(self, metric: str, *, extras: bool = False) -> MetricMean:
        """Mean of a metric over labels. Missed labels always count; extra ones if `extras`.

        Raises:
            MetricError: no such metric.
        """
        _check_metric(metric)
        counted = {"scored", "missing", "extra"} if extras else {"scored", "missing"}
        scores = self.per_label.values()
        values = [score.penalised(metric) for score in scores if score.status in counted]
        matched = [getattr(score, metric) for score in scores if score.status == "scored"]
        return MetricMean(
            metric=metric,
            value=_mean(cast(list[float], values)),
            matched_only=_mean(matched),
            **self.counts,
        )

    def called(self, label: int) -> int | None:
        """The label that covers most of a reference label's voxels (0: mostly background); the lowest of equals.

        None where the reference does not hold the label.
        """
        if label not in self.confusion_labels or label == 0:
            return None
        row = self.confusion[self.confusion_labels.index(label)]
        return self.confusion_labels[int(row.argmax())] if row.any() else None


@dataclass(frozen=True)
class _Side:
    """What one reading of a volume gave."""

    flat: NDArray[np.uint8]
    bits: NDArray[np.uint8]
    runs: NDArray[np.int32]
    counts: NDArray[np.int64]
    sums: NDArray[np.int64]
    points: NDArray[np.int32]
    largest: NDArray[np.uint8]
    first: NDArray[np.int64]

    def border(self, label: int) -> NDArray[np.int32]:
        return self.points[self.first[label] : self.first[label + 1]]

    def main(self, label: int) -> NDArray[np.bool_]:
        """Which border voxels belong to the label's largest component."""
        kept: NDArray[np.bool_] = self.largest[self.first[label] : self.first[label + 1]] == 1
        return kept


def compare_labels(
    reference: NDArray[Any],
    prediction: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    *,
    labels: Sequence[int] | None = None,
    tolerance_mm: float = 1.0,
    penalty_mm: float = 100.0,
    threads: int = 1,
) -> LabelComparison:
    """Compare two label volumes of one grid, every label at once.

    Args:
        reference: (I, J, K) labels 0 to 255, of any integer type, bool, or floats that are whole numbers. uint8 in C or
            Fortran order is read in place; other types are copied to uint8 once, after their range was checked.
        prediction: The same shape.
        spacing_mm: Voxel sizes along the axes I, J, K.
        labels: Labels to score, 1 to 255; all that either volume holds if None. `confusion` always holds all.
        tolerance_mm: Tolerance of `surface_dice`; a distance equal to it (within 1e-9 mm) is inside.
        penalty_mm: What a distance to nothing counts as in a mean; caps the others there. The VerSe challenge's
            customary 100 mm by default.
        threads: Worker threads; the result is the same for any number.

    Raises:
        MetricError: shapes differ or are not three-dimensional, a value is negative, above 255, not finite or not
            whole, spacing, tolerance or penalty not positive, or a label outside 1 to 255.
    """
    spacing = check_spacing(spacing_mm)
    for name, number in (("tolerance_mm", tolerance_mm), ("penalty_mm", penalty_mm)):
        if not (np.isfinite(number) and number >= 0):
            raise MetricError(f"{name} is {number}", field=name, cure="give a distance in mm, 0 or more")
    if threads < 1:
        raise MetricError(f"threads is {threads}", field="threads", cure="give 1 or more")
    asked = _check_labels(labels)
    layout, views = paired_views(reference, prediction)
    shape = views[0].shape
    inner = (spacing[layout.axes[0]], spacing[layout.axes[1]], spacing[layout.axes[2]])
    with ThreadPoolExecutor(threads) as pool:
        ours, theirs = (pool.map if threads > 1 else map)(_read_side, views)
        joint = joint_counts(ours.runs, theirs.runs)
        joint[:, 0] = ours.counts[:, 0] - joint.sum(axis=1)
        joint[0, :] = theirs.counts[:, 0] - joint.sum(axis=0)
        joint[0, 0] = 0
        joint[0, 0] = views[0].size - joint.sum()
        present = np.flatnonzero(ours.counts[:, 0] + theirs.counts[:, 0]).tolist()
        wanted = sorted(set(present) if asked is None else asked)
        near = near_offsets(shape, inner)

        def score(label: int) -> LabelScore:
            return _score(
                label, ours, theirs, int(joint[label, label]), shape, inner, near, layout, tolerance_mm, penalty_mm
            )

        scores = list((pool.map if threads > 1 else map)(score, wanted))
    named = (0, *sorted(set(present) | set(wanted)))
    return LabelComparison(
        per_label={score.label: score for score in scores},
        confusion_labels=named,
        confusion=joint[np.ix_(named, named)],
        counts={status: sum(score.status == status for score in scores) for status in get_args(Status)},
        spacing_mm=spacing,
        tolerance_mm=float(tolerance_mm),
        penalty_mm=float(penalty_mm),
    )


def _read_side(view: NDArray[np.uint8]) -> _Side:
    """Read one volume: runs, border, components, sums."""
    n0, n1, n2 = view.shape
    flat = view.reshape(-1)
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    bits = np.zeros((flat.size + 7) // 8, np.uint8)
    runs, border = read_runs(flat, words, n0, n1, n2, bits)
    component, counts, sums = run_components(runs, n0, n1)
    points, largest, first = border_points(runs, border, component, counts, n1)
    return _Side(flat, bits, runs, counts, sums, points, largest, first)


def _score(
    label: int,
    ours: _Side,
    theirs: _Side,
    overlap: int,
    shape: tuple[int, int, int],
    inner: Point,
    near: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], float],
    layout: Layout,
    tolerance_mm: float,
    penalty_mm: float,
) -> LabelScore:
    a, b = int(ours.counts[label, 0]), int(theirs.counts[label, 0])
    status: Status = "scored" if a and b else "missing" if a else "extra" if b else "absent"
    voxel_mm3 = float(np.prod(inner))
    border, other = ours.border(label), theirs.border(label)
    overlaps: dict[str, float | None] = dict.fromkeys(OVERLAPS, None if status == "absent" else 0.0)
    distances: dict[str, float | None] = dict.fromkeys(DISTANCES)
    if status == "scored":
        (n0, n1, n2), (offsets, lengths, starts, radius), (s0, s1, s2) = shape, near, inner
        there = distances_to_border(
            border, other, label, theirs.flat, theirs.bits, n0, n1, n2, offsets, lengths, starts, radius, s0, s1, s2
        )
        back = distances_to_border(
            other, border, label, ours.flat, ours.bits, n0, n1, n2, offsets, lengths, starts, radius, s0, s1, s2
        )
        distances = dict(_summary(there, back))
        within = int((there <= tolerance_mm + 1e-9).sum() + (back <= tolerance_mm + 1e-9).sum())
        overlaps = {
            "dice": 2 * overlap / (a + b),
            "iou": overlap / (a + b - overlap),
            "surface_dice": within / (there.size + back.size),
        }
        main, other_main = ours.main(label), theirs.main(label)
        directed = [float(there[main].max()), float(back[other_main].max())]
        # An island on the other side may have stood nearer than its largest component.
        if not other_main.all():
            directed[0] = largest_distance(border[main], there[main], other[other_main], other[~other_main], *inner)
        if not main.all():
            directed[1] = largest_distance(other[other_main], back[other_main], border[main], border[~main], *inner)
        distances["hd_largest_mm"] = max(directed)
    return LabelScore(
        label=label,
        status=status,
        reason=None if status == "scored" else status,
        **overlaps,
        **distances,
        penalty_mm=float(penalty_mm),
        reference_voxels=a,
        prediction_voxels=b,
        overlap_voxels=overlap,
        reference_volume_mm3=a * voxel_mm3,
        prediction_volume_mm3=b * voxel_mm3,
        volume_error_mm3=(b - a) * voxel_mm3,
        relative_volume_error=(b - a) / a if a else None,
        reference_centroid=layout.outer_point(ours.sums[label] / a) if a else None,
        prediction_centroid=layout.outer_point(theirs.sums[label] / b) if b else None,
        reference_components=int(ours.counts[label, 1]),
        prediction_components=int(theirs.counts[label, 1]),
        reference_largest_share=int(ours.counts[label, 2]) / a if a else None,
        prediction_largest_share=int(theirs.counts[label, 2]) / b if b else None,
        reference_border_voxels=len(border),
        prediction_border_voxels=len(other),
    )


def _summary(there: NDArray[np.float64], back: NDArray[np.float64]) -> dict[str, float | None]:
    """The distances of a label from both directed sets of distances."""
    there, back = np.sort(there), np.sort(back)
    count = there.size + back.size
    # The pooled percentile lies in the upper tail, which the two sorted tails hold.
    tail = count - int(0.95 * (count - 1))
    upper = np.sort(np.concatenate([there[-tail:], back[-tail:]]))
    sums = there.sum(), back.sum()
    return {
        "hd_mm": float(max(there[-1], back[-1])),
        "hd95_pooled_mm": _percentile95(upper, count),
        "hd95_max_mm": max(_percentile95(there, there.size), _percentile95(back, back.size)),
        "assd_mm": float((sums[0] + sums[1]) / count),
        "masd_mm": float((sums[0] / there.size + sums[1] / back.size) / 2),
    }


def _percentile95(upper: NDArray[np.float64], count: int) -> float:
    """95th percentile of `count` values, linear between neighbours, of which the largest stand sorted in `upper`."""
    place = 0.95 * (count - 1)
    low = int(place)
    above = min(low + 1, count - 1)
    a, b = upper[low - count], upper[above - count]
    return float(a + (b - a) * (place - low))


def _mean(values: list[float]) -> float | None:
    # A sum, and not numpy: None among the values would be a bug of ours, and raises here instead of turning to NaN.
    return math.fsum(values) / len(values) if values else None


def _check_labels(labels: Sequence[int] | None) -> set[int] | None:
    if labels is None:
        return None
    for label in labels:
        if isinstance(label, bool | float) or not 1 <= int(label) <= 255:
            raise MetricError(f"{label!r} is no label", field="labels", cure="give whole numbers from 1 to 255")
    return {int(label) for label in labels}


def _check_metric(metric: str) -> None:
    if metric not in OVERLAPS + DISTANCES:
        raise MetricError(f"no metric '{metric}'", field="metric", cure=f"use one of {', '.join(OVERLAPS + DISTANCES)}")
