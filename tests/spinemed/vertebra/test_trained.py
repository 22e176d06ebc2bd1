"""Graders that learn: what they may see, what they give, and how their grades are scored."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.errors import SpineMedError
from spinemed.measure import genant_grade
from spinemed.vertebra.scores import grade_scores
from spinemed.vertebra.trained import Model, cross_validated, train_grader

Array = NDArray[np.float64]


def fractures(patients: int = 24, each: int = 8, noise: float = 1.0) -> tuple[Array, NDArray[np.int64], list[str]]:
    """Wedges, biconcave and crush losses with reading noise; half of the vertebrae are whole."""
    rng = np.random.default_rng(11)
    worst = np.where(rng.random(patients * each) < 0.5, 0.0, rng.uniform(0, 60, patients * each))
    kinds = np.array([[1.0, 0.6, 0.1], [0.5, 1.0, 0.2], [1.0, 0.95, 0.9]])[rng.integers(0, 3, len(worst))]
    true = worst[:, None] * kinds
    grades = np.array([genant_grade(*row) for row in true])
    return true + rng.normal(0, noise, true.shape), grades, [f"p{n // each}" for n in range(len(worst))]


@pytest.mark.parametrize("model", ["svm", "ordinal"])
def test_left_out_patients_are_graded_well_and_with_honest_probabilities(model: Model) -> None:
    losses, grades, patients = fractures()
    found = cross_validated(losses, grades, patients, model, seed=3)
    right = found.grades == grades
    assert right.mean() > (0.85 if model == "ordinal" else 0.75)
    assert found.probabilities.sum(axis=1) == pytest.approx(1.0)
    own = found.probabilities[np.arange(len(grades)), grades]
    sure = found.probabilities.max(axis=1) > 0.9
    likely = found.probabilities.argmax(axis=1) == grades
    assert likely[sure].mean() > 0.85
    assert own.mean() > 0.6
    # Each patient is left out as a whole.
    for name in set(patients):
        assert len({int(found.fold[n]) for n, each in enumerate(patients) if each == name}) == 1


def test_the_same_seed_gives_the_same_machine() -> None:
    losses, grades, patients = fractures()
    one, two = (train_grader(losses, grades, patients, "svm", seed=5) for _ in range(2))
    assert one.cost == two.cost
    assert np.array_equal(one.probabilities(losses), two.probabilities(losses))


def test_grades_of_a_patient_do_not_leak_through_a_feature_that_names_him() -> None:
    # A feature that tells the patient, and patients of one grade each: it must be of no use to a left-out patient.
    rng = np.random.default_rng(2)
    patients = [f"p{n // 6:02d}" for n in range(180)]
    of_patient = rng.permutation(np.repeat([0, 1, 2], 10))
    grades = np.repeat(of_patient, 6)
    named = np.stack([np.repeat(rng.permutation(30), 6), rng.normal(size=180), rng.normal(size=180)], axis=1)
    found = cross_validated(named, grades, patients, "svm", seed=1)
    assert (found.grades == grades).mean() < 0.6


def test_only_grades_that_were_seen_are_given() -> None:
    losses, grades, patients = fractures()
    few = grades != 1
    grader = train_grader(losses[few], grades[few], np.array(patients)[few].tolist(), "ordinal", seed=3)
    assert grader.grades == (0, 2, 3)
    assert set(grader.grade(losses)) <= {0, 2, 3}
    assert (grader.probabilities(losses)[:, 1] == 0).all()
    assert (grader.vertebrae, grader.patients) == (int(few.sum()), len(set(np.array(patients)[few])))


def test_six_features_are_taken_and_bad_ones_named() -> None:
    losses, grades, patients = fractures()
    six = np.concatenate([losses, losses], axis=1)
    grader = train_grader(six, grades, patients, "svm", seed=3)
    with pytest.raises(SpineMedError, match="features"):
        grader.grade(losses)
    with pytest.raises(SpineMedError, match="one grade"):
        train_grader(losses, np.zeros(len(grades)), patients, "svm")
    with pytest.raises(SpineMedError, match="1 patients for 3 folds"):
        train_grader(losses, grades, ["p"] * len(grades), "svm")
    broken = losses.copy()
    broken[0, 0] = np.nan
    with pytest.raises(SpineMedError, match="finite"):
        train_grader(broken, grades, patients, "svm")


def test_scores_agree_with_scikit_learn_and_a_missing_grade_is_a_miss() -> None:
    from sklearn.metrics import cohen_kappa_score, f1_score, precision_score, recall_score

    rng = np.random.default_rng(4)
    true = rng.integers(0, 4, 300)
    told = np.where(rng.random(300) < 0.7, true, rng.integers(0, 4, 300))
    patients = [f"p{n // 6}" for n in range(300)]
    given: list[int | None] = [None if n % 25 == 0 else int(grade) for n, grade in enumerate(told)]
    coded = np.array([4 if grade is None else grade for grade in given])
    found = grade_scores(true.tolist(), given, patients, np.random.default_rng(0))
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        wanted = score(true, coded, labels=[0, 1, 2, 3], average=None, zero_division=0)
        assert [each.value for each in getattr(found, name)] == pytest.approx(wanted.tolist())
    assert found.macro_f1.value == pytest.approx(f1_score(true, coded, labels=[0, 1, 2, 3], average="macro"))
    graded = coded < 4
    assert found.kappa.value == pytest.approx(cohen_kappa_score(true[graded], coded[graded], weights="quadratic"))
    assert found.macro_f1.low is not None
    assert found.macro_f1.high is not None
    assert found.macro_f1.low < (found.macro_f1.value or 0) < found.macro_f1.high
    assert sum(row[4] for row in found.table) == 12


def test_scores_of_few_patients_have_no_interval() -> None:
    found = grade_scores([0, 1, 2], [0, 1, 1], ["a", "b", "c"], np.random.default_rng(0))
    assert found.macro_f1.low is None
    assert found.f1[3].value is None  # neither true nor given
    assert found.recall[2].value == 0.0
    with pytest.raises(SpineMedError, match="one of each"):
        grade_scores([0, 1], [0], ["a", "b"], np.random.default_rng(0))
