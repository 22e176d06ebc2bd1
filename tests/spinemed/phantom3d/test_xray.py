"""Phantom radiographs: standing, and landmarks where the bodies are."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from spinemed.anatomy import Level
from spinemed.phantom.imaging import projection
from spinemed.phantom.imaging.ct import CtLook
from spinemed.phantom.imaging.projection import attenuation_per_cm
from spinemed.phantom.imaging.tissues import Palette
from spinemed.phantom.imaging.xray import XrayLook, _exposed, render_xray, xray_look_of
from spinemed.phantom.shape.materials import Tissue
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine.config import SpineConfig
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


def without_mineral(scene: Scene) -> Scene:
    """The same person with vertebrae that attenuate as muscle does."""
    soft = {"trabecular_hu": 45.0, "arch_hu": 60.0, "cortical_hu": 30.0}
    return replace(scene, bones=tuple(replace(bone, **soft) if bone.label else bone for bone in scene.bones))


@pytest.mark.parametrize(("index", "family"), [(5, "a"), (6, "a"), (7, "b")])
def test_what_bone_adds_lies_within_the_landmarks(index: int, family: str) -> None:
    """Of the whole picture a place in front of a body may be the brighter one: the trunk is thicker there."""
    spine = draw_spine(1, index, SpineConfig(family=family, variant_shares={}, scoliosis_share=0.0))  # type: ignore[arg-type]
    scene = build_scene(spine, Posture.STANDING)
    made = render_xray(scene, pixel_mm=1.5)
    truth = made.truth
    added = made.attenuation - render_xray(without_mineral(scene), pixel_mm=1.5).attenuation

    def at(point: tuple[float, float]) -> float:
        u, v = round(point[0]), round(point[1])
        return float(added[v - 1 : v + 2, u - 1 : u + 2].mean())

    for level in (Level.L1, Level.L2, Level.L3, Level.L4):
        assert level in truth.visible
        own = truth.points[level.value]
        front = np.mean([own["upper_anterior"], own["lower_anterior"]], axis=0)
        body = np.array(own["body"])
        before = front + 5.0 / 1.5 * (front - body) / np.linalg.norm(front - body)
        assert at(own["body"]) > 0.04 > 0.02 > at(tuple(before)), level


@pytest.mark.parametrize("beam", ["parallel", "divergent"])
def test_the_beam_law_holds_through_a_slab_of_water(beam: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything as water: each ray crosses the same thickness, wherever fine and coarse voxels share the picture."""
    scene = build_scene(draw_spine(1, 5), Posture.STANDING)

    def water(scene: Scene, look: CtLook) -> Palette:
        n = len(scene.bones)
        zero = np.zeros((n, 2))
        return Palette(
            values=dict.fromkeys(Tissue, 0.0),
            spread={},
            trabecular=zero,
            cortical=zero,
            cortex_mm=(0.5, 1.0),
            discs=np.zeros((len(scene.discs), 3)),
            extra=lambda item: (0.0, False),
        )

    monkeypatch.setattr(projection, "ct_palette", water)
    found = {}
    for energy in (50.0, 80.0):
        look = XrayLook(energy_kev=energy, gas_pockets=0, beam=beam)  # type: ignore[arg-type]
        path = render_xray(scene, pixel_mm=2.0, look=look).attenuation
        assert np.ptp(path) < 0.02 * path.mean()
        found[energy] = float(path.mean()) / attenuation_per_cm(energy)[0]
    assert found[50.0] == pytest.approx(found[80.0], rel=5e-3)  # cm of water, whatever the energy
    assert 30.0 < found[80.0] < 60.0
    assert found[80.0] / 0.4 == pytest.approx(round(found[80.0] / 0.4), abs=0.35)  # slices of 4 mm


def test_the_detector_reads_the_primary_by_beer_and_lambert() -> None:
    look = XrayLook(scatter_share=0.0, blur_mm=0.0, quanta_per_mm2=1e9)
    rng = np.random.default_rng(0)
    thin, thick = (_exposed(np.full((64, 64), path, dtype=np.float32), look, 1.0, rng) for path in (2.0, 5.0))
    assert float(thick.mean() - thin.mean()) == pytest.approx(3.0, abs=1e-3)
    few = XrayLook(scatter_share=0.0, blur_mm=0.0, quanta_per_mm2=1e4)
    noisy = _exposed(np.full((256, 256), 2.0, dtype=np.float32), few, 1.0, rng)
    assert float(noisy.std()) == pytest.approx((1e4 * np.exp(-2.0)) ** -0.5, rel=0.05)  # Poisson's, of a logarithm


@pytest.mark.parametrize("side", ["L", "R"])
def test_a_side_marker_lies_on_its_own_side_of_the_patient(side: Literal["L", "R"]) -> None:
    spine = draw_spine(1, 5)
    frontal = render_xray(spine, projection="frontal", pixel_mm=2.0, marker=side)
    own = frontal.truth.points["L3"]
    assert own["upper_right"][0] < own["upper_left"][0]
    assert frontal.truth.marker_at is not None
    right = frontal.truth.marker_at[0] < own["body"][0]
    assert right == (side == "R")
    for faces in ("left", "right"):
        look = xray_look_of("a").model_copy(update={"faces": faces})
        lateral = render_xray(spine, pixel_mm=2.0, marker=side, look=look)
        bare = render_xray(spine, pixel_mm=2.0, look=look)
        rows, columns = np.nonzero(lateral.image != bare.image)
        assert (lateral.image[rows, columns] > bare.image[rows, columns]).all()
        own = lateral.truth.points["L3"]
        ahead = own["upper_anterior"][0] < own["upper_posterior"][0]
        assert ahead == (faces == "left")
        assert (columns.mean() < own["body"][0]) == ahead  # in front of the patient
