"""What is measured on a phantom's 1 mm masks agrees with its parameters; a value that is withheld is counted."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.phantom.agreement.cases import agreement_cases
from spinemed.phantom.agreement.compare import Row, agreement_text, summarise
from spinemed.phantom.agreement.run import measure_case


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    cases = agreement_cases(healthy=0, curved=0, slipped=2, broken=2, tilted=1)
    chosen = [case for case in cases if case.name in ("tilted 0", "slipped 1", "broken 1")]
    return [row for case in chosen for row in measure_case(case)]


def errors(rows: list[Row], *quantities: str) -> np.ndarray:
    found = np.array([row.error for row in rows if row.quantity in quantities and row.clear])
    assert found.size
    return np.abs(found)


def test_slips_are_found(rows: list[Row]) -> None:
    slips = [row for row in rows if row.quantity == "slip" and row.group == "tilted"]
    assert errors(slips, "slip").max() <= 1.0
    (slipped,) = [row for row in rows if row.quantity == "slip" and abs(row.true) > 1.0]
    assert slipped.true > 15.0
    assert abs(slipped.error) <= 1.0


def test_height_losses_are_within_three_points_even_where_no_endplate_can_be_fitted(rows: list[Row]) -> None:
    losses = errors(rows, "loss_anterior", "loss_middle", "loss_posterior")
    assert losses.size == 3
    assert losses.max() <= 3.0
    assert max(row.true for row in rows if row.quantity == "loss_middle") == 60.0


def test_alignment_and_heights_of_unbroken_spines(rows: list[Row]) -> None:
    whole = [row for row in rows if row.group != "broken"]
    assert errors(whole, "lordosis", "kyphosis").max() <= 2.0
    parts = [f"height_{part}_third" for part in ("anterior", "middle", "posterior")]
    assert errors(whole, *parts).max() <= 1.0
    assert errors(whole, "body_volume").max() <= 3.0


def test_the_canal_is_as_wide_and_deep_as_the_record_says_beside_a_slip_too(rows: list[Row]) -> None:
    assert errors(rows, "canal_width").max() <= 1.0
    assert errors(rows, "canal_depth").max() <= 1.0
    cases = {case.name: case for case in agreement_cases(healthy=0, curved=0, slipped=2, broken=2, tilted=1)}
    whole = [row for row in rows if row.quantity == "canal_depth" and row.group != "broken"]
    assert len(whole) >= 12
    for row in whole:
        (vertebra,) = (each for each in cases[row.case].spine.vertebrae if str(each.level) == row.place)
        assert row.true == pytest.approx(
            vertebra.arch.canal_depth_mm, abs=0.25
        )  # ends of a wedge, looked along its axis


def test_a_flagged_value_is_counted_apart_from_the_errors() -> None:
    made = [
        Row("one", "g", "slip", "L4-L5", 5.0, 5.5, "mm"),
        Row("one", "g", "slip", "L5-S1", 5.0, 50.0, "mm", ("cut",)),
        Row("two", "g", "slip", "L5-S1", 5.0, None, "mm"),
        Row("two", "g", "body_volume", "L5", 200.0, 190.0, "mm3"),
    ]
    slip, volume = summarise(made)
    assert (slip.measured, slip.withheld, slip.worst, slip.within) == (1, 2, 0.5, 1.0)
    assert (volume.worst, volume.within, volume.worst_at) == (5.0, 0.0, "two L5")
    assert "one L4-L5" in agreement_text(made, "Two")
