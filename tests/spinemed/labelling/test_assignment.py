"""Naming a row of vertebrae: sums agree with plain enumeration, anchors decide, and nothing is guessed."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from spinemed.anatomy import Level, Spine
from spinemed.errors import LevelError
from spinemed.labelling.assignment import (
    CLASSES,
    KIND_OF,
    AssignmentModel,
    assign_levels,
    likelihood_of_kinds,
)


def _seen(levels: list[Level], sure: float = 0.999) -> np.ndarray:
    return likelihood_of_kinds([{KIND_OF[level]: sure} for level in levels], floor=(1 - sure) / 5)


def _row(thoracic: int, lumbar: int, first: Level, last: Level) -> list[Level]:
    names = (*Spine(thoracic, lumbar).presacral, Level.S1)
    return list(names[names.index(first) : names.index(last) + 1])


def _enumerate(scores: np.ndarray, model: AssignmentModel) -> tuple[float, np.ndarray]:
    """The stated weight summed over every column, every subset of false detections and every rising row."""
    n = len(scores)
    total, marginals = 0.0, np.zeros_like(scores)
    norm = sum(model.columns.values())
    left_out = np.exp(scores).mean(axis=1) * model.false
    for (thoracic, lumbar), weight in model.columns.items():
        names = [CLASSES.index(level) for level in (*Spine(thoracic, lumbar).presacral, Level.S1)]
        m = len(names)
        for count in range(n + 1):
            for kept in combinations(range(n), count):
                base = weight / norm * np.prod([left_out[i] for i in range(n) if i not in kept])
                if not kept:
                    total += base
                    continue
                for places in combinations(range(m), count):
                    w = base / m
                    for i, p in zip(kept, places, strict=True):
                        w *= np.exp(scores[i, names[p]]) * (1 - model.false)
                    for one, two in pairwise(places):
                        w *= model.missed ** (two - one - 1) * (1 - model.missed)
                    total += w
                    for i, p in zip(kept, places, strict=True):
                        marginals[i, names[p]] += w
    return total, marginals / total


def test_sums_agree_with_plain_enumeration() -> None:
    generator = np.random.default_rng(3)
    model = AssignmentModel(columns={(12, 5): 0.7, (11, 5): 0.1, (12, 6): 0.2}, missed=0.2, false=0.1)
    scores = generator.normal(size=(3, len(CLASSES)))
    got = assign_levels(scores, model, keep=50)
    _, expected = _enumerate(scores, model)
    np.testing.assert_allclose(got.marginals, expected, atol=1e-12)
    assert sum(got.columns.values()) == pytest.approx(1.0)
    assert all(0 < naming.probability < 1 for naming in got.namings)


def test_probabilities_of_all_namings_sum_to_one() -> None:
    scores = np.random.default_rng(0).normal(size=(1, len(CLASSES)))
    got = assign_levels(scores, keep=100)
    assert sum(naming.probability for naming in got.namings) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("thoracic", "lumbar", "first", "last"),
    [
        (12, 5, Level.C1, Level.S1),
        (12, 5, Level.T9, Level.S1),
        (12, 5, Level.C2, Level.T4),
        (13, 5, Level.C2, Level.S1),
        (11, 5, Level.C2, Level.S1),
        (12, 6, Level.T8, Level.S1),
        (12, 4, Level.T8, Level.S1),
    ],
)
def test_anchored_rows_are_named_exactly(thoracic: int, lumbar: int, first: Level, last: Level) -> None:
    row = _row(thoracic, lumbar, first, last)
    got = assign_levels(_seen(row))
    assert got.best.levels == tuple(row)
    assert got.determinable
    assert got.best.missed == ()


@pytest.mark.parametrize(("first", "last"), [(Level.T4, Level.T9), (Level.L2, Level.L4), (Level.C4, Level.C6)])
def test_a_crop_without_an_anchor_is_not_determinable(first: Level, last: Level) -> None:
    got = assign_levels(_seen(_row(12, 5, first, last)))
    assert not got.determinable
    assert len(got.namings) > 1


def test_a_missed_vertebra_is_stepped_over_where_both_ends_are_anchored() -> None:
    row = _row(12, 5, Level.C2, Level.S1)
    row.remove(Level.L3)
    got = assign_levels(_seen(row, 0.999), AssignmentModel(missed=0.02))
    # Four lumbar vertebrae or one of five missed: which, the kinds alone cannot tell.
    assert got.columns[(12, 4)] > 0.2
    near = np.zeros((len(row), len(row), 4))
    at = row.index(Level.L2)
    near[:] = np.log([0.97, 0.01, 0.01, 0.01])
    near[at, at + 1] = np.log([0.01, 0.97, 0.01, 0.01])
    spaced = assign_levels(_seen(row, 0.999), AssignmentModel(missed=0.05), skip=near)
    assert spaced.best.levels == tuple(row)
    assert spaced.best.missed == (Level.L3,)


def test_a_false_detection_is_left_out() -> None:
    row = _row(12, 5, Level.T9, Level.S1)
    lumbar = _seen([Level.L3], 0.999)
    scores = np.vstack([_seen(row[:2], 0.999), lumbar, _seen(row[2:], 0.999)])
    got = assign_levels(scores, AssignmentModel(false=0.01))
    assert got.best.levels == (*row[:2], None, *row[2:])
    assert got.spurious[2] > 0.9


def test_bad_likelihoods_are_named() -> None:
    with pytest.raises(LevelError, match="log_likelihood"):
        assign_levels(np.zeros((2, 3)))
    with pytest.raises(LevelError, match="finite"):
        assign_levels(np.full((1, len(CLASSES)), -np.inf))
    with pytest.raises(LevelError, match="skip"):
        assign_levels(np.zeros((3, len(CLASSES))), skip=np.zeros((2, 4)))
    with pytest.raises(LevelError, match="missed"):
        AssignmentModel(missed=0.0)
