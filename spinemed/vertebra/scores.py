"""How well grades agree with the true ones: per grade, macro, kappa, with intervals over patients.

Convention: grades 0 to 3; a vertebra without a grade counts as missed in recall and F1, and does not enter kappa, which
says how many it rests on. Intervals draw whole patients with replacement
(:mod:`spinemed.statistics.intervals`); from fewer than six patients there is none.

Definitions: F1 of a grade is 2 TP / (2 TP + FP + FN), and counts 0 in the macro mean where it is not defined;
quadratic kappa is Cohen 1968 (Psychol Bull 70:213) with weights (i - j)² / 9.

The trap: macro-F1 weighs the few vertebrae of a rare grade as much as all whole ones; read its interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import SpineMedError
from spinemed.statistics import Clusters, Interval
from spinemed.statistics.intervals import FEWEST_CLUSTERS, cluster_draws, percentile_bounds

__all__ = ["GradeScores", "grade_scores"]

Array = NDArray[np.float64]

_COUNT = 4
_RESAMPLES = 2000


@dataclass(frozen=True)
class GradeScores:
    """Scores with 95 % intervals.

    Attributes:
        precision, recall, f1: One interval per grade, 0 to 3.
        macro_f1, kappa: Over all grades; kappa is None where it is not defined.
        table: Rows true 0 to 3, columns given 0 to 3 and none.
    """

    precision: tuple[Interval, ...]
    recall: tuple[Interval, ...]
    f1: tuple[Interval, ...]
    macro_f1: Interval
    kappa: Interval
    table: tuple[tuple[int, ...], ...]


def grade_scores(
    true: Sequence[int], given: Sequence[int | None], patients: Sequence[str], rng: np.random.Generator
) -> GradeScores:
    """Score grades against the true ones.

    Args:
        true: N grades.
        given: N grades, None for a vertebra without one.
        patients: N names, by which intervals are clustered.
        rng: Of the bootstrap.

    Raises:
        SpineMedError: sequences of different lengths, none at all, or a value that is no grade.
    """
    told = np.array([_COUNT if grade is None else grade for grade in given], dtype=np.int64)
    truth = np.array(true, dtype=np.int64)
    if not len(truth) or len({len(truth), len(told), len(patients)}) > 1:
        raise SpineMedError(
            f"{len(truth)} true grades, {len(told)} given, {len(patients)} patients", field="grades",
            cure="give one of each for every vertebra",
        )  # fmt: skip
    if not np.isin(truth, range(_COUNT)).all() or not np.isin(told, range(_COUNT + 1)).all():
        raise SpineMedError("a grade is not 0 to 3", field="grades", cure="give 0, 1, 2 or 3")
    clusters = Clusters.of(patients)
    each = np.zeros((clusters.count, _COUNT, _COUNT + 1))
    np.add.at(each, (clusters.index, truth, told), 1)
    whole = each.sum(axis=0)
    point = _scores(whole[None])[0]
    if clusters.count < FEWEST_CLUSTERS:
        found = [_interval(float(value), None, clusters) for value in point]
    else:
        drawn = [
            _scores((block @ each.reshape(clusters.count, -1)).reshape(-1, _COUNT, _COUNT + 1))
            for block in cluster_draws(clusters.count, rng, _RESAMPLES)
        ]
        samples = np.concatenate(drawn)
        found = [_interval(float(v), samples[:, at], clusters) for at, v in enumerate(point)]
    table = tuple(tuple(int(count) for count in row) for row in whole)
    return GradeScores(tuple(found[:4]), tuple(found[4:8]), tuple(found[8:12]), found[12], found[13], table)


def _interval(value: float, samples: Array | None, clusters: Clusters) -> Interval:
    known = None if np.isnan(value) else value
    if samples is None or known is None:
        why = f"fewer than {FEWEST_CLUSTERS} clusters" if samples is None else "not defined"
        return Interval(known, None, None, clusters.size, clusters.count, why)
    usable = samples[np.isfinite(samples)]
    if len(usable) < 0.9 * len(samples) or np.ptp(usable) == 0:
        return Interval(known, None, None, clusters.size, clusters.count, "no variance")
    low, high = percentile_bounds(usable, clusters.count)
    return Interval(known, low, high, clusters.size, clusters.count, "cluster bootstrap")


def _scores(tables: Array) -> Array:
    """(B, 14): precision, recall and F1 of the four grades, macro-F1, kappa; NaN where a ratio is not defined."""
    hit = np.diagonal(tables[:, :, :_COUNT], axis1=1, axis2=2)
    true, told = tables.sum(axis=2), tables[:, :, :_COUNT].sum(axis=1)
    precision, recall, f1 = _ratio(hit, told), _ratio(hit, true), _ratio(2 * hit, true + told)
    graded = tables[:, :, :_COUNT]
    n = graded.sum(axis=(1, 2))
    cost = (np.arange(_COUNT)[:, None] - np.arange(_COUNT)[None, :]) ** 2.0
    chance = graded.sum(axis=2)[:, :, None] * graded.sum(axis=1)[:, None, :] / np.maximum(n, 1)[:, None, None]
    kappa = 1.0 - _ratio((cost * graded).sum(axis=(1, 2)), (cost * chance).sum(axis=(1, 2)))
    macro = np.nan_to_num(f1).mean(axis=1)
    return np.concatenate([precision, recall, f1, macro[:, None], kappa[:, None]], axis=1)


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)
