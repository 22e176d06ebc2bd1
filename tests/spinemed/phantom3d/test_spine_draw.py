"""A drawn spine is a record: the same one every time, in anatomical order, with what the config asks for."""

from __future__ import annotations

import time

import pytest
from pydantic import ValidationError

from spinemed.anatomy import Level, Region, Spine
from spinemed.errors import ConfigError
from spinemed.phantom.pathology import effective_bodies, effective_discs, healthy_twin
from spinemed.phantom.spine import Posture, SpineConfig, SpinePhantom, alignment_truth, draw_spine, landmarks
from spinemed.phantom.spine.draw import RIB_RULE_MM
from spinemed.phantom.spine.records import Scoliosis
from spinemed.phantom.spine.scoliosis import bend


def test_the_same_seed_and_index_are_the_same_spine_whatever_was_drawn_before() -> None:
    config = SpineConfig(scoliosis_share=0.5)
    first = [draw_spine(4, index, config) for index in range(6)]
    assert draw_spine(4, 5, config) == first[5]
    assert len({spine.model_dump_json() for spine in first}) == 6
    assert draw_spine(5, 0, config) != first[0]


def test_a_record_survives_its_line_of_json() -> None:
    for index in range(5):
        spine = draw_spine(2, index, SpineConfig(scoliosis_share=1.0, transition_share=1.0))
        again = SpinePhantom.model_validate_json(spine.model_dump_json())
        assert again == spine
        assert again.model_dump_json() == spine.model_dump_json()


@pytest.mark.parametrize(
    ("variant", "counts"),
    [("T13", (13, 5)), ("eleven_thoracic", (11, 5)), ("L6", (12, 6)), ("four_lumbar", (12, 4)), (None, (12, 5))],
)
@pytest.mark.parametrize("family", ["a", "b"])
def test_counting_variants_keep_anatomical_order(variant, counts, family) -> None:
    shares = {} if variant is None else {variant: 1.0}
    for index in range(4):
        spine = draw_spine(1, index, SpineConfig(variant_shares=shares, scoliosis_share=0.5, family=family))
        column = Spine(*counts)
        assert (spine.thoracic, spine.lumbar) == counts
        assert tuple(v.level for v in spine.vertebrae) == column.presacral
        assert tuple(d.disc for d in spine.discs) == column.discs
        for posture in Posture:
            marks = landmarks(spine, posture)
            heights = [marks[level].canal_mm[2] for level in (*column.presacral, Level.S1)]
            assert heights == sorted(heights, reverse=True), (variant, posture)


def test_the_last_rib_names_the_last_thoracic_vertebra() -> None:
    config = SpineConfig(variant_shares={"T13": 0.3, "eleven_thoracic": 0.3}, rib_stub_share=0.5, transition_share=0.0)
    stubs = one_sided = 0
    for index in range(150):
        spine = draw_spine(8, index, config)
        with_ribs = [v for v in spine.vertebrae if v.ribs is not None]
        thoracic = [v for v in with_ribs if v.level.region is Region.THORACIC]
        assert len(thoracic) == spine.thoracic
        longest = [max(v.ribs.right_length_mm, v.ribs.left_length_mm) for v in thoracic]
        assert min(longest) > RIB_RULE_MM
        one_sided += min(thoracic[-1].ribs.right_length_mm, thoracic[-1].ribs.left_length_mm) < RIB_RULE_MM
        for other in with_ribs:
            if other.level.region is not Region.THORACIC:
                stubs += 1
                assert other.level is Level.L1
                assert 0 < max(other.ribs.right_length_mm, other.ribs.left_length_mm) < RIB_RULE_MM
    assert 40 < stubs < 110
    assert one_sided > 0


def test_shares_of_the_config_are_met() -> None:
    config = SpineConfig(
        variant_shares={"L6": 0.25, "T13": 0.1}, transition_share=0.4, scoliosis_share=0.3, female_share=0.7
    )
    spines = [draw_spine(21, index, config) for index in range(400)]

    def share(of) -> float:
        return sum(map(of, spines)) / len(spines)

    assert share(lambda s: s.lumbar == 6) == pytest.approx(0.25, abs=0.07)
    assert share(lambda s: s.thoracic == 13) == pytest.approx(0.1, abs=0.05)
    assert share(lambda s: s.person.sex == "female") == pytest.approx(0.7, abs=0.08)
    assert share(lambda s: bool(s.scoliosis)) == pytest.approx(0.3, abs=0.08)
    assert share(lambda s: s.vertebrae[-1].transition != "none") == pytest.approx(0.4, abs=0.08)
    kinds = {(s.vertebrae[-1].transition, s.vertebrae[-1].transition_side) for s in spines}
    assert {kind for kind, _ in kinds} == {"none", *(f"castellvi_{k}" for k in (1, 2, 3, 4))}
    assert all((kind == "none") == (side == "none") for kind, side in kinds)
    assert ("castellvi_4", "both") not in kinds, "type 4 differs between its sides"
    assert all(v.transition == "none" for s in spines for v in s.vertebrae[:-1])


def test_bone_thins_with_age_and_taller_people_have_taller_spines() -> None:
    young = [draw_spine(3, i, SpineConfig(sex="female", age_years=(20, 30))) for i in range(60)]
    old = [draw_spine(3, i, SpineConfig(sex="female", age_years=(80, 90))) for i in range(60)]

    def lumbar(spine: SpinePhantom) -> float:
        return next(v.trabecular_hu for v in spine.vertebrae if v.level is Level.L1)

    mean_young, mean_old = (sum(map(lumbar, spines)) / 60 for spines in (young, old))
    assert mean_young == pytest.approx(250, abs=20)
    assert mean_old == pytest.approx(79, abs=16)
    spines = sorted(young + old, key=lambda s: s.person.stature_mm)
    small, large = spines[:40], spines[-40:]

    def tall(spine: SpinePhantom) -> float:
        return sum(v.body.height_mm for v in spine.vertebrae if v.body is not None)

    assert sum(map(tall, large)) / 40 > 1.04 * sum(map(tall, small)) / 40


def test_a_healthy_spine_is_its_own_twin_and_no_disc_is_too_thin_for_its_wedge() -> None:
    for index in range(10):
        spine = draw_spine(6, index, SpineConfig(scoliosis_share=0.5))
        assert healthy_twin(spine) == spine
        for shape in spine.discs:
            seen = effective_discs(spine)[shape.disc]
            assert seen.wedge_standing_deg == shape.wedge_standing_deg
            assert seen.wedge_supine_deg == shape.wedge_supine_deg
            assert seen.lateral_wedge_deg == shape.lateral_wedge_deg
        assert all(not body.fractured for body in effective_bodies(spine).values())


@pytest.mark.parametrize("family", ["a", "b"])
def test_a_true_cobb_angle_is_the_one_in_the_record(family) -> None:
    curves = 0
    for index in range(60):
        spine = draw_spine(7, index, SpineConfig(scoliosis_share=1.0, family=family))
        truth = alignment_truth(spine, Posture.STANDING)
        assert spine.scoliosis
        for curve, shown in zip(spine.scoliosis, truth.cobbs):
            sign = 1 if curve.convex == "right" else -1
            assert shown.measured_deg * sign == pytest.approx(curve.cobb_deg, abs=0.5)
            assert curve.apical_rotation_deg * sign < 0, "bodies turn towards the convexity"
            curves += 1
        marks = landmarks(spine, Posture.STANDING)
        assert abs(marks[Level.C7].body_mm[0]) < 60, "the head stands over the pelvis"
    assert curves >= 60


def test_a_cobb_angle_that_is_asked_for_is_built() -> None:
    straight = draw_spine(1, 3, SpineConfig(scoliosis_share=0.0, variant_shares={}))
    for asked in (12.0, 25.0, 40.0):
        curve = Scoliosis(
            upper_end=Level.T5,
            apex=Level.T8,
            lower_end=Level.T11,
            cobb_deg=asked,
            convex="left",
            apical_rotation_deg=8.0,
        )
        bent = bend(straight, (curve,))
        assert bent.scoliosis[0].cobb_deg == asked
        assert alignment_truth(bent, Posture.STANDING).cobbs[0].measured_deg == pytest.approx(-asked, abs=0.5)
        marks = landmarks(bent, Posture.STANDING)
        assert marks[Level.T8].body_mm[0] < marks[Level.T5].body_mm[0]  # the apex lies on the convex side
        assert marks[Level.T8].body_mm[0] < marks[Level.T11].body_mm[0]


def test_wrong_configs_are_refused() -> None:
    with pytest.raises(ConfigError, match="count from 0"):
        draw_spine(-1, 0)
    with pytest.raises(ConfigError, match="index"):
        draw_spine(0, -1)
    with pytest.raises(ValidationError, match="more than 1"):
        SpineConfig(variant_shares={"L6": 0.7, "T13": 0.7})
    with pytest.raises(ValidationError, match="within 18 to 100"):
        SpineConfig(age_years=(5, 90))
    with pytest.raises(ValidationError):
        SpineConfig(fractures=1)


def test_drawing_and_posing_are_fast_enough_to_be_done_on_the_fly() -> None:
    draw_spine(0, 0)
    start = time.process_time()
    for index in range(40):
        alignment_truth(draw_spine(1, index), Posture.SUPINE)
    assert (time.process_time() - start) / 40 < 0.05  # some 6 ms on an idle core
