"""The published identification rule as plain loops, and the random centroid sets it is compared on.

Nothing of the implementation is used here, so that agreement means something. Loaded by path: it is no test itself.
"""

from __future__ import annotations

import math

import numpy as np

from bench.verse.compat import ROWS, official_hits


def rule(reference: np.ndarray, prediction: np.ndarray) -> tuple[int, list[float]]:
    """The published rule, label by label: nothing of the implementation is used."""
    listed = [math.nan] * len(reference)
    common = []
    for row in range(len(reference)):
        if not math.isnan(reference[row][0]):
            listed[row] = 0.0
            if not math.isnan(prediction[row][0]):
                common.append(row)
    hits = 0
    for own in common:
        best, best_distance, own_distance = -1, math.inf, math.nan
        for other in common:
            x, y, z = (float(prediction[own][axis]) - float(reference[other][axis]) for axis in range(3))
            distance = math.sqrt(x * x + y * y + z * z)
            if other == own:
                own_distance = distance
            if best < 0 or distance < best_distance:  # the first minimum wins
                best, best_distance = other, distance
        if best == own and not own_distance > 20.0:
            hits += 1
            listed[own] = 1.0
    return hits, listed


def random_pair(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two tables: real-looking columns, coarse lattices with ties and distances of exactly 20, pure noise; NaN rows."""
    kind = generator.integers(4)
    if kind == 0:  # a column with jitter, sometimes shifted by a level
        reference = np.zeros((ROWS, 3))
        reference[:, 2] = -np.cumsum(generator.uniform(12, 36, ROWS))
        prediction = np.roll(reference, int(generator.integers(-1, 2)), axis=0)
        prediction = prediction + generator.normal(0, 6, prediction.shape)
    elif kind == 1:  # a lattice: many equal distances, many of exactly 20
        reference = generator.integers(-2, 3, (ROWS, 3)) * 10.0
        prediction = generator.integers(-2, 3, (ROWS, 3)) * 10.0
    elif kind == 2:  # moved by exactly 20 along one axis, neighbours 40 apart: the limit and ties at once
        reference = np.zeros((ROWS, 3))
        reference[:, 0] = np.arange(ROWS) * 40.0
        prediction = reference + np.array([20.0, 0, 0]) * generator.integers(-1, 2, (ROWS, 1))
    else:
        reference, prediction = generator.uniform(0, 80, (2, ROWS, 3))
    for table in (reference, prediction):
        share = generator.choice([0.0, 0.3, 0.7, 1.0], p=[0.1, 0.5, 0.35, 0.05])
        table[generator.random(ROWS) < share] = np.nan
    return reference, prediction


def compare(count: int, seed: int) -> int:
    """Compare on that many pairs; how many of them held a hit."""
    generator = np.random.default_rng(seed)
    with_hits = 0
    for _ in range(count):
        reference, prediction = random_pair(generator)
        hits, listed = official_hits(reference, prediction)
        expected, expected_list = rule(reference, prediction)
        assert hits == expected
        np.testing.assert_array_equal(listed, expected_list)
        with_hits += hits > 0
    return with_hits
