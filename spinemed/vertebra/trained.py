"""Graders that learn from graded vertebrae: the paper's linear support vector machine, and an ordinal model.

Convention: features are height losses in percent, one row per vertebra: three (anterior, middle, posterior) or, in the
2.5D variant, six (the same of the sagittal, then left, centre and right of the coronal plane, as
`spinemed.vertebra.paper.paper_rhlv` yields them). Grades are 0 to 3, and every row names its patient.

Two models:

- "svm": standardised features, linear kernel, classes weighted by their rarity; as published (Zhang 2025,
  HealthiVert-GAN, doi 10.1109/JBHI.2025.3572458), but for what was wrong there: the scaler sees the training part only,
  and the cost C is chosen instead of fixed at 1. Probabilities are calibrated by Platt's sigmoid on parts left out.
- "ordinal": the chance to reach at least grade 1, 2 and 3, one regularised logistic regression each (Frank and Hall
  2001, A simple approach to ordinal classification, ECML); the grade is the median. The largest of the losses, by which
  Genant's grade is defined and which no linear model can express, is added as a feature. Plain cumulative logit has no
  finite solution where losses separate the grades, as they nearly do.

:func:`cross_validated` grades every vertebra by a model that saw no vertebra of its patient: outer folds hold patients
out, inner folds (grouped alike) choose C by macro-F1.

The trap: a model inherits its training data's shares of grades, readers and scanners, and phantoms have none of these.
Nothing trained is shipped; `grades.json` says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.errors import SpineMedError

__all__ = ["CrossValidated", "TrainedGrader", "cross_validated", "train_grader"]

Array = NDArray[np.float64]
Grades = NDArray[np.int64]
Model = Literal["svm", "ordinal"]

COSTS = (0.03, 0.3, 3.0, 30.0)
"""Values of C to choose from, an order of magnitude apart."""
GRADES = (0, 1, 2, 3)


@dataclass(frozen=True, eq=False)
class TrainedGrader:
    """A fitted model.

    Attributes:
        model: Which.
        cost: The C that was chosen.
        grades: Grades that the training set held; no other is ever given.
        vertebrae, patients: Size of the training set.
    """

    model: Model
    cost: float
    grades: tuple[int, ...]
    vertebrae: int
    patients: int
    _fitted: Any

    def probabilities(self, features: ArrayLike) -> Array:
        """(N, 4) calibrated probability of each grade.

        Raises:
            SpineMedError: features of another number, or not finite.
        """
        shares = np.zeros((len(np.asarray(features)), len(GRADES)))
        rows = _checked(features, self._fitted.n_features_in_)
        shares[:, list(self.grades)] = self._fitted.predict_proba(rows)
        return shares

    def grade(self, features: ArrayLike) -> Grades:
        """(N,) grades.

        Raises:
            SpineMedError: as :meth:`probabilities`.
        """
        return np.asarray(self._fitted.predict(_checked(features, self._fitted.n_features_in_)), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class CrossValidated:
    """What left-out vertebrae were given.

    Attributes:
        grades: (N,) Grades.
        probabilities: (N, 4) Of each grade.
        costs: The C chosen in each outer fold.
        fold: (N,) The outer fold that a vertebra was left out in.
    """

    grades: Grades
    probabilities: Array
    costs: tuple[float, ...]
    fold: Grades


def train_grader(
    features: ArrayLike, grades: ArrayLike, patients: Sequence[str], model: Model, *, seed: int = 0, folds: int = 3
) -> TrainedGrader:
    """Fit a model, its C chosen by macro-F1 over folds of whole patients.

    Args:
        features: (N, F) losses in percent.
        grades: (N,) 0 to 3.
        patients: N names; a patient's vertebrae are never on both sides.
        model: "svm" or "ordinal".
        seed: Of the folds.
        folds: How many.

    Raises:
        SpineMedError: values that are missing or not finite, a single grade, or fewer patients than folds.
    """
    rows, told, groups = _data(features, grades, patients, folds)
    cost = _chosen(rows, told, groups, model, seed, folds)
    fitted = _fit(rows, told, groups, model, cost, seed, folds)
    known = tuple(int(each) for each in np.unique(told))
    return TrainedGrader(model, cost, known, len(told), len(np.unique(groups)), fitted)


def cross_validated(
    features: ArrayLike,
    grades: ArrayLike,
    patients: Sequence[str],
    model: Model,
    *,
    seed: int = 0,
    outer: int = 5,
    inner: int = 3,
) -> CrossValidated:
    """Grade every vertebra by a model that saw none of its patient: nested, grouped cross-validation.

    Args:
        features, grades, patients, model, seed: As for :func:`train_grader`.
        outer: Folds that are left out in turn.
        inner: Folds within the rest that choose C.

    Raises:
        SpineMedError: as :func:`train_grader`.
    """
    rows, told, groups = _data(features, grades, patients, outer)
    given, shares = np.zeros(len(told), np.int64), np.zeros((len(told), len(GRADES)))
    fold, costs = np.zeros(len(told), np.int64), []
    for number, (train, test) in enumerate(_folds(rows, told, groups, outer, seed)):
        grader = train_grader(rows[train], told[train], groups[train].tolist(), model, seed=seed, folds=inner)
        given[test], shares[test] = grader.grade(rows[test]), grader.probabilities(rows[test])
        fold[test] = number
        costs.append(grader.cost)
    return CrossValidated(given, shares, tuple(costs), fold)


def _checked(features: ArrayLike, wanted: int) -> Array:
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != wanted or not np.isfinite(rows).all():
        raise SpineMedError(
            f"features of shape {rows.shape}, or not finite, for a grader of {wanted}", field="features",
            cure="give one row per vertebra with the losses it was trained on, and leave out what was not measured",
        )  # fmt: skip
    return rows


def _data(
    features: ArrayLike, grades: ArrayLike, patients: Sequence[str], folds: int
) -> tuple[Array, Grades, NDArray[np.str_]]:
    rows = np.asarray(features, dtype=np.float64)
    rows = _checked(rows, rows.shape[1] if rows.ndim == 2 else 0)
    told, groups = np.asarray(grades), np.asarray(patients, dtype=str)
    if told.shape != (len(rows),) or groups.shape != (len(rows),) or not np.isin(told, GRADES).all():
        raise SpineMedError(
            f"{len(rows)} vertebrae with grades of shape {told.shape} and patients of shape {groups.shape}",
            field="grades", cure="give one grade from 0 to 3 and one patient for each vertebra",
        )  # fmt: skip
    if len(np.unique(told)) < 2:
        raise SpineMedError("all vertebrae have one grade", field="grades", cure="train on several grades")
    if len(np.unique(groups)) < folds:
        raise SpineMedError(
            f"{len(np.unique(groups))} patients for {folds} folds", field="patients",
            cure="give more patients or fewer folds",
        )  # fmt: skip
    return rows, told.astype(np.int64), groups


def _folds(rows: Array, told: Grades, groups: NDArray[np.str_], count: int, seed: int) -> list[tuple[Any, Any]]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(n_splits=count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():  # a grade rarer than the folds is missing from some: it then scores nothing there
        warnings.filterwarnings("ignore", message="The least populated class")
        return list(splitter.split(rows, told, groups))


def _chosen(rows: Array, told: Grades, groups: NDArray[np.str_], model: Model, seed: int, folds: int) -> float:
    from sklearn.metrics import f1_score

    scores = np.zeros(len(COSTS))
    for train, test in _folds(rows, told, groups, folds, seed):
        if len(np.unique(told[train])) < 2:
            continue
        for number, cost in enumerate(COSTS):
            given = _machine(model, cost).fit(rows[train], told[train]).predict(rows[test])
            scores[number] += f1_score(told[test], given, labels=GRADES, average="macro", zero_division=0)
    return COSTS[int(np.argmax(scores))]


def _machine(model: Model, cost: float) -> Any:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if model == "ordinal":
        return _Ordinal(cost)
    return make_pipeline(StandardScaler(), SVC(kernel="linear", class_weight="balanced", C=cost))


def _fit(rows: Array, told: Grades, groups: NDArray[np.str_], model: Model, cost: float, seed: int, folds: int) -> Any:
    machine = _machine(model, cost)
    if model == "ordinal":
        return machine.fit(rows, told)
    from sklearn.calibration import CalibratedClassifierCV

    left_out = [(a, b) for a, b in _folds(rows, told, groups, folds, seed) if set(told[a]) == set(told)]
    fitted = machine.fit(rows, told)
    if not left_out:  # a grade that one patient alone bears: nothing to calibrate on
        raise SpineMedError(
            "a grade occurs in too few patients to calibrate probabilities", field="grades",
            cure="give more patients with each grade, or leave the grade out",
        )  # fmt: skip
    calibrated = CalibratedClassifierCV(_machine(model, cost), method="sigmoid", cv=left_out).fit(rows, told)
    return _Calibrated(fitted, calibrated)


class _Calibrated:
    """Grades of the machine itself, as published, and probabilities calibrated beside it."""

    def __init__(self, machine: Any, calibrated: Any) -> None:
        self.machine, self.calibrated = machine, calibrated
        self.n_features_in_ = int(machine.n_features_in_)

    def predict(self, rows: Array) -> Any:
        return self.machine.predict(rows)

    def predict_proba(self, rows: Array) -> Any:
        return self.calibrated.predict_proba(rows)


class _Ordinal:
    """Chances to reach each grade; see the module docstring."""

    def __init__(self, cost: float) -> None:
        self.cost = cost
        self.n_features_in_ = 0
        self.classes_: Grades = np.zeros(0, np.int64)
        self.steps_: list[Any] = []

    def fit(self, rows: Array, told: Grades) -> _Ordinal:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self.n_features_in_ = rows.shape[1]
        self.classes_ = np.unique(told)
        self.steps_ = [
            make_pipeline(StandardScaler(), LogisticRegression(C=self.cost, max_iter=2000)).fit(
                _with_largest(rows), told >= grade
            )
            for grade in self.classes_[1:]
        ]
        return self

    def _reached(self, rows: Array) -> Array:
        """(N, K) chance of at least each grade from the lowest on; never rising."""
        wide = _with_largest(rows)
        reached = np.stack([np.ones(len(rows)), *(step.predict_proba(wide)[:, 1] for step in self.steps_)], axis=1)
        return np.minimum.accumulate(reached, axis=1)

    def predict(self, rows: Array) -> Any:
        return self.classes_[(self._reached(rows)[:, 1:] >= 0.5).sum(axis=1)]

    def predict_proba(self, rows: Array) -> Array:
        reached = self._reached(rows)
        shares: Array = reached - np.concatenate([reached[:, 1:], np.zeros((len(rows), 1))], axis=1)
        return shares


def _with_largest(rows: Array) -> Array:
    return np.concatenate([rows, rows.max(axis=1, keepdims=True)], axis=1)
