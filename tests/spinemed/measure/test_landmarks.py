"""Angles, slips, balance and lengths from marked points, on figures that can be checked with a ruler."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spinemed.errors import SpineMedError
from spinemed.measure import (
    Endplate,
    body_heights,
    canal_from_points,
    cobb_deg,
    disc_heights,
    distance_mm,
    inclination_deg,
    kyphosis_deg,
    listhesis,
    lordosis_deg,
    pelvic_parameters,
    sva_mm,
    wedge_deg,
)


def plate(slope_deg: float, centre: tuple[float, float] = (0.0, 0.0), length: float = 30.0, x: float = 0.0) -> Endplate:
    """A sagittal endplate; positive slopes lift the front edge."""
    dy, dz = np.cos(np.radians(slope_deg)) * length / 2, np.sin(np.radians(slope_deg)) * length / 2
    y, z = centre
    return Endplate.from_sagittal((x, y + dy, z + dz), (x, y - dy, z - dz))


def test_inclination_is_positive_where_the_front_or_the_right_is_higher() -> None:
    assert inclination_deg(plate(12), "sagittal") == pytest.approx(12)
    assert inclination_deg(plate(-40), "sagittal") == pytest.approx(-40)
    tilted = Endplate.from_coronal((20, 0, 5), (-20, 0, -5))
    assert inclination_deg(tilted, "coronal") == pytest.approx(math.degrees(math.atan(0.25)))
    assert tilted.width_mm == pytest.approx(math.hypot(40, 10))
    assert tilted.depth_mm is None


def test_lordosis_and_kyphosis_are_positive_as_named() -> None:
    l1, s1, t4, t12 = plate(15), plate(-38), plate(-20), plate(18)
    assert lordosis_deg(l1, s1) == pytest.approx(53)
    assert kyphosis_deg(t4, t12) == pytest.approx(38)
    assert cobb_deg(l1, s1, "sagittal") == pytest.approx(53)


def test_coronal_cobb_is_positive_for_a_curve_convex_to_the_right() -> None:
    # Bodies bulge to the right between two ends: above them the spine leans left, so the right side is the higher one.
    upper = Endplate.from_coronal((20, 0, 104), (-20, 0, 96))
    lower = Endplate.from_coronal((20, 0, -4), (-20, 0, 4))
    assert cobb_deg(upper, lower, "coronal") == pytest.approx(2 * math.degrees(math.atan(0.2)))
    assert cobb_deg(lower, upper, "coronal") < 0


def test_a_turned_vertebra_is_wedged_in_its_own_plane() -> None:
    turned = np.array([np.sin(np.radians(40)), np.cos(np.radians(40)), 0.0])
    right = np.array([turned[1], -turned[0], 0])
    front_up = np.array([0, 0, 4.0])
    upper = Endplate.from_points(15 * turned + front_up, -15 * turned - front_up, 20 * right, -20 * right)
    lower = Endplate.from_points(15 * turned, -15 * turned, 20 * right, -20 * right)
    own = 2 * math.degrees(math.atan(4 / 15)) / 2
    assert wedge_deg(upper, lower, turned) == pytest.approx(own, abs=1e-6)
    assert wedge_deg(upper, lower) < own - 2


def test_slip_is_measured_along_the_endplate_below() -> None:
    below = plate(-30, (0, 0), 36)
    along = np.array([0, np.cos(np.radians(-30)), np.sin(np.radians(-30))])
    across = np.array([0, np.sin(np.radians(30)), np.cos(np.radians(30))])
    assert below.posterior_mm is not None
    corner = below.posterior_mm + 12 * along + 9 * across
    above = Endplate.from_sagittal(corner + 34 * along, corner)
    slip = listhesis(above, below)
    assert slip.slip_mm == pytest.approx(12)
    assert slip.percent == pytest.approx(100 / 3)
    assert (slip.direction, slip.grade) == ("anterior", "II")
    corner = below.posterior_mm - 5 * along + 9 * across
    back = listhesis(Endplate.from_sagittal(corner + 34 * along, corner), below, least_mm=2)
    assert (round(back.slip_mm, 6), back.direction, back.grade) == (-5, "posterior", "0")


def test_incidence_is_tilt_plus_slope_and_does_not_change_with_posture() -> None:
    sacrum = plate(-40, (0, 0), 33)
    hips = np.array([[85.0, 35.0, -95.0], [-85.0, 35.0, -95.0]])
    standing = pelvic_parameters(sacrum, *hips)
    assert standing.slope_deg == pytest.approx(40)
    assert standing.tilt_deg == pytest.approx(math.degrees(math.atan2(35, 95)))
    assert standing.incidence_deg == pytest.approx(standing.slope_deg + standing.tilt_deg, abs=1e-12)
    # Definition by Legaye: the angle between the endplate's perpendicular and the line to the hip axis.
    line = hips.mean(axis=0) - sacrum.centre_mm
    cosine = -line @ sacrum.normal / np.linalg.norm(line)
    assert standing.incidence_deg == pytest.approx(math.degrees(math.acos(cosine)))
    back = np.radians(-17)  # the pelvis rolls back as in lying down
    roll = np.array([[1, 0, 0], [0, np.cos(back), np.sin(back)], [0, -np.sin(back), np.cos(back)]])
    assert sacrum.anterior_mm is not None
    assert sacrum.posterior_mm is not None
    rolled = Endplate.from_sagittal(roll @ sacrum.anterior_mm, roll @ sacrum.posterior_mm)
    lying = pelvic_parameters(rolled, *(hips @ roll.T))
    assert lying.incidence_deg == pytest.approx(standing.incidence_deg)
    assert abs(lying.tilt_deg - standing.tilt_deg) == pytest.approx(17)


def test_the_plumb_line_is_read_against_the_posterior_corner() -> None:
    sacrum = Endplate.from_sagittal((0, 30, -10), (0, -3, 10))
    assert sva_mm((4, 22, 400), sacrum) == pytest.approx(25)


def test_heights_widths_and_disc_heights_come_from_corners() -> None:
    heights = body_heights([[0, 15, 26], [0, 0, 24], [0, -15, 28]], [[0, 15, 0], [0, 0, 1], [0, -15, 0]])
    assert (heights.anterior_mm, heights.middle_mm, heights.posterior_mm) == (26, 23, 28)
    assert heights.wedge_ratio == pytest.approx(26 / 28)
    assert heights.biconcavity_ratio == pytest.approx(23 / 28)
    assert distance_mm((0, 0, 0), (3, 4, 0)) == 5
    disc = disc_heights(plate(5, (0, 10)), plate(-5, (0, 0)))
    rise = 15 * math.sin(math.radians(5))
    assert disc.anterior_mm == pytest.approx(10 + 2 * rise, abs=1e-4)
    assert disc.middle_mm == pytest.approx(10)
    assert disc.posterior_mm == pytest.approx(10 - 2 * rise, abs=1e-4)


def test_tilt_and_slip_do_not_change_a_disc_height() -> None:
    straight = disc_heights(plate(0, (0, 8)), plate(0))
    turned = disc_heights(plate(-35, (8 * math.sin(math.radians(35)), 8 * math.cos(math.radians(35)))), plate(-35))
    assert turned.middle_mm == pytest.approx(straight.middle_mm, abs=1e-4)
    assert turned.anterior_mm == pytest.approx(8, abs=1e-4)


def test_canal_diameters_and_area_from_an_outline() -> None:
    angle = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    outline = np.stack([12 * np.cos(angle), 8 * np.sin(angle), 0.3 * 8 * np.sin(angle)], axis=1)
    canal = canal_from_points(outline, (0, 8, 2.4), (0, -8, -2.4))
    tilt = math.hypot(1, 0.3)
    assert canal.ap_mm == pytest.approx(16 * tilt, abs=1e-3)
    assert canal.transverse_mm == pytest.approx(24, abs=1e-2)
    assert canal.area_mm2 == pytest.approx(math.pi * 12 * 8 * tilt, rel=1e-3)


def test_points_that_say_nothing_are_one_clear_error() -> None:
    with pytest.raises(SpineMedError, match="coincide"):
        Endplate.from_sagittal((0, 1, 2), (0, 1, 2))
    with pytest.raises(SpineMedError, match="three finite numbers"):
        Endplate.from_sagittal((0, 1, math.nan), (0, 1, 2))
    with pytest.raises(SpineMedError, match="both corners"):
        listhesis(Endplate.from_coronal((1, 0, 0), (-1, 0, 0)), plate(0))
    with pytest.raises(SpineMedError, match="no inclination"):
        inclination_deg(Endplate.from_sagittal((0, 0, 10), (0, 0, -10)), "coronal") and inclination_deg(
            Endplate(np.zeros(3), np.array([0.0, 1.0, 0.0])), "coronal"
        )
    with pytest.raises(SpineMedError, match="posterior corner"):
        sva_mm((0, 0, 0), Endplate.from_coronal((1, 0, 0), (-1, 0, 0)))
    with pytest.raises(SpineMedError, match="three points"):
        body_heights([[0, 0, 0]], [[0, 0, 0]])
    with pytest.raises(SpineMedError, match="outline"):
        canal_from_points([[0, 0, 0], [1, 0, 0]], (0, 1, 0), (0, -1, 0))
