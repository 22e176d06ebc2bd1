"""Phantom radiographs: standing, and landmarks where the bodies are."""

from __future__ import annotations

import numpy as np

from spinemed.anatomy import Level
from spinemed.phantom.imaging.projection import attenuation_per_cm
from spinemed.phantom.imaging.xray import render_xray
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.records import Posture


def test_a_standing_lateral_radiograph_has_denser_bodies_than_discs_at_its_landmarks() -> None:
    made = render_xray(draw_spine(1, 5), field="level", level=Level.L3, pixel_mm=1.5)
    assert made.truth.posture is Posture.STANDING
    assert made.image.dtype == np.uint16
    assert Level.L3 in made.truth.visible
    own = made.truth.points["L3"]
    (u, v), (_, top), (_, bottom) = own["body"], own["upper_centre"], own["lower_centre"]
    assert top < v < bottom
    assert min(own["upper_anterior"][0], own["upper_posterior"][0]) < u
    assert u < max(own["upper_anterior"][0], own["upper_posterior"][0])


def test_bone_attenuates_more_than_water_and_both_less_at_higher_energy() -> None:
    soft, hard = attenuation_per_cm(50.0), attenuation_per_cm(80.0)
    assert soft[1] > hard[1] > hard[0]
    assert abs(hard[0] - 0.1837) < 1e-4


def test_bodies_attenuate_more_than_what_lies_in_front_of_them() -> None:
    """The landmarks lie on the projected bodies: the line integral drops just in front of each anterior rim."""
    made = render_xray(draw_spine(1, 5), pixel_mm=1.5)
    for level in ("L2", "L3", "L4"):
        own = made.truth.points[level]
        u, v = own["body"]
        front = (own["upper_anterior"][0] + own["lower_anterior"][0]) / 2
        away = np.sign(front - u) * 4.0 / 1.5
        rows = slice(round(v) - 2, round(v) + 3)
        inside = made.attenuation[rows, round(front - away - 1) : round(front - away + 2)].mean()
        outside = made.attenuation[rows, round(front + away - 1) : round(front + away + 2)].mean()
        assert inside > outside + 0.05, level
