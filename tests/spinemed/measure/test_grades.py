"""Grades of a number follow the published borders, and refuse what is no number."""

from __future__ import annotations

import math

import pytest

from spinemed.errors import SpineMedError
from spinemed.measure import genant_grade, genant_shape, height_loss_percent, meyerding_grade, slip_direction


@pytest.mark.parametrize(
    ("loss", "grade"),
    [(-5.0, 0), (0.0, 0), (19.9, 0), (20.0, 1), (24.9, 1), (25.0, 2), (39.9, 2), (40.0, 3), (90.0, 3)],
)
def test_genant_grades_follow_the_published_borders(loss: float, grade: int) -> None:
    assert genant_grade(loss) == grade


def test_genant_takes_the_worst_of_the_three_heights() -> None:
    losses = [height_loss_percent(height, 25) for height in (18, 20, 24)]
    assert losses == pytest.approx([28, 20, 4])
    assert genant_grade(*losses) == 2
    assert genant_shape(losses) == "wedge"


@pytest.mark.parametrize(
    ("losses", "shape"),
    [
        ((0, 0, 0), "none"),
        ((19, 19, 19), "none"),
        ((30, 10, 5), "wedge"),
        ((21, 40, 5), "biconcave"),
        ((30, 30, 30), "crush"),
        ((0, 0, 20), "crush"),
    ],
)
def test_shape_is_told_by_which_heights_are_lost(losses: tuple[float, float, float], shape: str) -> None:
    assert genant_shape(losses) == shape


@pytest.mark.parametrize(
    ("slip", "grade"),
    [
        (-30.0, "0"),
        (0.0, "0"),
        (0.1, "I"),
        (25.0, "I"),
        (25.1, "II"),
        (100 * 12 / 36, "II"),
        (50.0, "II"),
        (75.0, "III"),
        (100.0, "IV"),
        (100 * 40 / 36, "V"),
    ],
)
def test_meyerding_grades_anterior_slips_by_quarters(slip: float, grade: str) -> None:
    assert meyerding_grade(slip) == grade


def test_a_slip_within_the_noise_has_no_direction_and_no_grade() -> None:
    assert slip_direction(1.9, least_mm=2) == "none"
    assert slip_direction(2.1, least_mm=2) == "anterior"
    assert slip_direction(-2.1, least_mm=2) == "posterior"
    assert meyerding_grade(5.0, least_percent=6) == "0"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_was_not_measured_has_no_grade(value: float) -> None:
    for grade in (genant_grade, meyerding_grade, slip_direction):
        with pytest.raises(SpineMedError, match="Cure"):
            grade(value)
    with pytest.raises(SpineMedError, match="at least one"):
        genant_grade()
    with pytest.raises(SpineMedError, match="reference"):
        height_loss_percent(20, 0)
    with pytest.raises(SpineMedError, match="height"):
        height_loss_percent(value, 20)
