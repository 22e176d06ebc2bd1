"""Every quantity of the fracture benchmark, and how those are computed that are no mean over vertebrae.

Convention: a vertebra that the grader did not grade (refused, not listed, no file) is wrong wherever its true grade is
asked for: in accuracy, recall, sensitivity and specificity. It is no one's false positive. Precision is over what was
given that grade; kappa over graded vertebrae only, and `graded` says how many those are.

Macro means run over the grades that the reference holds in the rows at hand; a grade that is never predicted has
precision 0. Quadratic kappa: 1 - Σ w o / Σ w e with w = (i - j)², o observed and e expected from the margins
(Cohen 1968, Psychol Bull 70:213); None where all read and all predicted grades are one and the same, or nothing is
graded.

Trap: specificity and false-positive rate do not sum to 100 % where healthy vertebrae are left ungraded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bench.fracture.records import GradedPair
from bench.fracture.reference import GRADES

__all__ = ["METRICS", "TABLED", "Metric", "confusion", "metric", "table_values"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """One quantity.

    Attributes:
        name: Its key in summaries.
        title: How people call it.
        unit: "%" for shares, "" for coefficients.
        better: Which way is up.
        read: Its value for one vertebra, None where it does not enter; None for quantities read from the table.
    """

    name: str
    title: str
    unit: Literal["%", ""]
    better: Literal["higher", "lower"]
    read: Callable[[GradedPair], float | None] | None = None


def _of(asked: Callable[[GradedPair], bool], met: Callable[[GradedPair], bool]) -> Callable[[GradedPair], float | None]:
    return lambda pair: float(met(pair)) if asked(pair) else None


def _at_least(value: int | None, least: int) -> bool:
    return value is not None and value >= least


def _below(value: int | None, limit: int) -> bool:
    return value is not None and value < limit


def _recall(grade: int) -> Callable[[GradedPair], float | None]:
    return _of(lambda pair: pair.grade == grade, lambda pair: pair.predicted == grade)


def _precision(grade: int) -> Callable[[GradedPair], float | None]:
    return _of(lambda pair: pair.predicted == grade, lambda pair: pair.grade == grade)


def _any(pair: GradedPair) -> bool:
    return True


METRICS: tuple[Metric, ...] = (
    Metric("macro_precision", "macro precision", "", "higher"),
    Metric("macro_recall", "macro recall", "", "higher"),
    Metric("macro_f1", "macro F1", "", "higher"),
    Metric("kappa", "quadratic kappa, graded only", "", "higher"),
    Metric("accuracy", "right grade", "%", "higher", _of(_any, lambda p: p.predicted == p.grade)),
    Metric("within_one", "at most one grade off", "%", "higher",
           _of(_any, lambda p: p.predicted is not None and abs(p.predicted - p.grade) <= 1)),
    Metric("graded", "graded", "%", "higher", _of(_any, lambda p: p.predicted is not None)),
    Metric("sensitivity", "sensitivity, grade 1 and more", "%", "higher",
           _of(lambda p: p.grade >= 1, lambda p: _at_least(p.predicted, 1))),
    Metric("specificity", "specificity, grade 0", "%", "higher",
           _of(lambda p: p.grade == 0, lambda p: p.predicted == 0)),
    Metric("false_positive", "false positives among grade 0", "%", "lower",
           _of(lambda p: p.grade == 0, lambda p: _at_least(p.predicted, 1))),
    Metric("sensitivity_2", "sensitivity, grade 2 and more", "%", "higher",
           _of(lambda p: p.grade >= 2, lambda p: _at_least(p.predicted, 2))),
    Metric("specificity_2", "specificity, below grade 2", "%", "higher",
           _of(lambda p: p.grade < 2, lambda p: _below(p.predicted, 2))),
    *(Metric(f"precision_{g}", f"precision, grade {g}", "", "higher", _precision(g)) for g in GRADES),
    *(Metric(f"recall_{g}", f"recall, grade {g}", "", "higher", _recall(g)) for g in GRADES),
    *(Metric(f"f1_{g}", f"F1, grade {g}", "", "higher") for g in GRADES),
    Metric("shape", "right shape, fractures whose shape was read", "%", "higher",
           _of(lambda p: p.grade >= 1 and p.shape not in (None, "none"), lambda p: p.predicted_shape == p.shape)),
    Metric("look_again", "marked \"look again\", of graded", "%", "lower",
           _of(lambda p: p.predicted is not None, lambda p: p.look_again)),
)  # fmt: skip
"""Every quantity, in the order of tables."""

TABLED = tuple(each.name for each in METRICS if each.read is None)
"""Those that come from the table of counts."""


@cache
def _by_name() -> dict[str, Metric]:
    return {each.name: each for each in METRICS}


def metric(name: str) -> Metric:
    """A quantity by name. A KeyError if there is none."""
    return _by_name()[name]


def confusion(pairs: list[GradedPair], owners: NDArray[np.int64] | None = None, count: int = 1) -> Array:
    """(count, 4, 5) vertebrae by read grade and predicted grade, the last column for those not graded.

    Args:
        pairs: Vertebrae.
        owners: (n,) Whose each is, 0 to count - 1; all are one's if not given.
        count: How many owners.
    """
    place = np.zeros(len(pairs), np.int64) if owners is None else owners
    read = np.array([pair.grade for pair in pairs], np.int64)
    said = np.array([4 if pair.predicted is None else pair.predicted for pair in pairs], np.int64)
    found = np.bincount(place * 20 + read * 5 + said, minlength=20 * count)
    return found.reshape(count, 4, 5).astype(np.float64)


def table_values(counts: Array) -> dict[str, Array]:
    """The quantities of `TABLED` from counts (..., 4, 5); NaN where one does not exist."""
    graded = counts[..., :4]
    right = np.diagonal(graded, axis1=-2, axis2=-1)
    read, said = counts.sum(axis=-1), graded.sum(axis=-2)
    there = read > 0
    classes = there.sum(axis=-1)

    def macro(values: Array) -> Array:
        total = np.where(there, values, 0.0).sum(axis=-1)
        return np.divide(total, classes, out=np.full(classes.shape, np.nan), where=classes > 0)

    precision = np.divide(right, said, out=np.zeros_like(right), where=said > 0)
    recall = np.divide(right, read, out=np.zeros_like(right), where=there)
    both = read + said
    f1 = np.divide(2 * right, both, out=np.zeros_like(right), where=both > 0)
    found = {"macro_precision": macro(precision), "macro_recall": macro(recall), "macro_f1": macro(f1)}
    found["kappa"] = _kappa(graded)
    return found | {f"f1_{g}": np.where(there[..., g], f1[..., g], np.nan) for g in GRADES}


def _kappa(graded: Array) -> Array:
    grades = np.arange(4)
    weight = (grades[:, None] - grades[None, :]) ** 2.0
    total = graded.sum(axis=(-2, -1))
    expected = graded.sum(axis=-1)[..., :, None] * graded.sum(axis=-2)[..., None, :]
    scaled = (weight * expected).sum(axis=(-2, -1))
    seen = (weight * graded).sum(axis=(-2, -1)) * total
    ratio = np.divide(seen, scaled, out=np.full(total.shape, np.nan), where=scaled > 0)
    return np.asarray(1.0 - ratio)
