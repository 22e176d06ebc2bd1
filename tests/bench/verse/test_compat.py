"""The compat mode against the published rule, written down a second time as plain loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from bench.verse.compat import (
    ROWS,
    centroid_table,
    compat_dice,
    compat_score,
    dice_warnings,
    official_hits,
    table_warnings,
)
from spinemed.anatomy import REGULAR, Level
from spinemed.errors import VolumeError
from spinemed.labelling import CentroidSet, LabelMask

THORACIC = REGULAR.between(Level.T1, Level.L5)


@pytest.fixture(scope="module")
def published_rule(load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """The rule written down a second time, beside this file."""
    return load_script(Path(__file__).with_name("published_rule.py"))


def test_equals_the_published_rule_on_random_centroids_with_ties_and_nan(published_rule: ModuleType) -> None:
    assert published_rule.compare(1000, seed=4) > 500


def column(levels: tuple[Level, ...], step_mm: float = 25.0) -> CentroidSet:
    return CentroidSet.of({level: (0.0, 0.0, -step_mm * at) for at, level in enumerate(levels)})


def names(warnings: object) -> set[str]:
    return {warning.defect for warning in warnings}  # type: ignore[attr-defined]


def test_a_faultless_prediction_carries_no_warning() -> None:
    score = compat_score(column(THORACIC), column(THORACIC))
    assert (score.hits, score.reference, score.rate, score.warnings) == (17, 17, 1.0, ())
    assert score.identified == THORACIC


def test_a_label_on_its_neighbour_is_a_hit_and_the_warning_says_what_strict_gives() -> None:
    reference = column((Level.C3, Level.C4, Level.C5), 17.0)
    prediction = CentroidSet.of({Level.C4: reference[Level.C5]})
    score = compat_score(reference, prediction)
    assert score.hits == 1
    (warning,) = score.warnings
    assert warning.defect == "common labels only"
    assert "0 with every reference vertebra as a candidate" in warning.effect


def test_invented_labels_cost_nothing_and_the_warning_tells_the_precision() -> None:
    reference = column(THORACIC[:3])
    invented = {level: (500.0, 0.0, 100.0 * at) for at, level in enumerate(THORACIC[3:15])}
    prediction = CentroidSet.of({**dict(reference.items()), **invented})
    score = compat_score(reference, prediction)
    assert score.rate == 1.0
    assert names(score.warnings) == {"extra labels ignored"}
    assert "precision is 0.200" in str(score.warnings[0])


def test_voxels_taken_for_millimetres() -> None:
    """A shift of 10 mm is 34 voxels of 0.29 mm: no hit in the published notebook, every vertebra in millimetres."""
    reference = column(THORACIC)
    prediction = CentroidSet.of({level: point + np.array([10.0, 0, 0]) for level, point in reference.items()})
    grid = LabelMask(np.zeros((4, 4, 4), np.uint8), np.diag([0.29, 0.29, 1.25, 1.0]))
    score = compat_score(reference, prediction, grid=grid)
    assert score.hits == 0
    assert names(score.warnings) == {"voxels taken for millimetres"}
    assert "17 in millimetres" in str(score.warnings[0])
    assert compat_score(reference, prediction).hits == 17


def test_exactly_twenty_counts_and_is_warned_of() -> None:
    reference = column(THORACIC[:3], 60.0)
    prediction = CentroidSet.of({level: point + np.array([20.0, 0, 0]) for level, point in reference.items()})
    score = compat_score(reference, prediction)
    assert score.hits == 3
    assert names(score.warnings) == {"20 counts as below 20"}


def test_a_tie_goes_to_the_lower_label_and_is_warned_of() -> None:
    reference = column((Level.T1, Level.T2), 20.0)
    prediction = CentroidSet.of({Level.T1: reference[Level.T1], Level.T2: (0.0, 0.0, -10.0)})
    score = compat_score(reference, prediction)
    assert score.identified == (Level.T1,)
    assert names(score.warnings) == {"tie goes to the lower label"}


def test_presence_is_judged_by_the_first_coordinate() -> None:
    reference = centroid_table(column(THORACIC[:4]))
    prediction = reference.copy()
    reference[8, 2] = np.nan  # T2: still a column, and its NaN is everybody's minimum
    assert official_hits(reference, prediction)[0] == 0
    (warning,) = table_warnings(reference, prediction)
    assert warning.defect == "half a coordinate counts"
    assert "labels 9" in warning.effect
    assert "3 where half a coordinate is none" in warning.effect


def test_an_empty_prediction_scores_nothing_and_an_empty_reference_has_no_rate() -> None:
    nothing = CentroidSet.of({})
    assert compat_score(column(THORACIC), nothing).rate == 0.0
    score = compat_score(nothing, column(THORACIC))
    assert score.rate is None
    assert names(score.warnings) == {"no reference", "extra labels ignored"}


def test_t13_has_the_last_row() -> None:
    table = centroid_table(column((Level.T12, Level.T13, Level.L1)))
    assert [row for row in range(ROWS) if not np.isnan(table[row, 0])] == [18, 19, 27]


def test_dice_is_blind_to_labels() -> None:
    reference = np.zeros((10, 10, 30), np.uint8)
    reference[2:8, 2:8, 1:9], reference[2:8, 2:8, 11:19], reference[2:8, 2:8, 21:29] = 20, 21, 22
    shifted = np.where(reference > 0, reference + 1, 0).astype(np.uint8)
    assert compat_dice(reference, shifted) == 1.0
    (warning,) = dice_warnings(reference, shifted)
    assert warning.defect == "Dice ignores labels"
    assert "0.0000 as the mean over the 3 labels" in warning.effect
    assert dice_warnings(reference, reference) == []


def test_dice_of_nothing_and_of_fill_values() -> None:
    empty = np.zeros((5, 5, 5), np.int16)
    assert compat_dice(empty, empty) == 1.0
    assert names(dice_warnings(empty, empty)) == {"nothing is perfect"}
    reference, filled = empty.copy(), empty.copy()
    reference[0, 0, 0], filled[4] = 20, -1024
    reference[4] = -1024
    assert compat_dice(reference, filled) == 2 * 25 / 51
    assert "fill values are foreground" in names(dice_warnings(reference, filled))


def test_shapes_must_agree() -> None:
    with pytest.raises(VolumeError, match="shapes"):
        compat_dice(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))
    with pytest.raises(VolumeError, match="one row per label"):
        official_hits(np.zeros((28, 3)), np.zeros((27, 3)))
