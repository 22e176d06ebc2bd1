"""A posed spine obeys its geometry: pelvis, postures, walls in line, fractures and slips."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from spinemed.anatomy import Level
from spinemed.errors import LevelError
from spinemed.measure import Endplate, cobb_deg, kyphosis_deg, listhesis, lordosis_deg, pelvic_parameters, sva_mm
from spinemed.phantom.pathology.records import Fracture, Slip
from spinemed.phantom.spine import (
    Posture,
    SpineConfig,
    SpinePhantom,
    alignment_truth,
    draw_spine,
    landmarks,
    pose_spine,
)
from spinemed.phantom.spine.frames import Frame, RimPlane, endplate_frame, plane_turn

CONFIG = SpineConfig(scoliosis_share=0.0, variant_shares={}, transition_share=0.0)


def endplate(marks) -> Endplate:
    return Endplate.from_points(marks.anterior_mm, marks.posterior_mm, marks.right_mm, marks.left_mm)


def broken(spine: SpinePhantom, level: Level = Level.L1, **loss: float) -> SpinePhantom:
    values = {"anterior_loss_percent": 40.0, "middle_loss_percent": 25.0, "posterior_loss_percent": 5.0, **loss}
    return spine.model_copy(update={"pathologies": (Fracture(level=level, shape="wedge", **values),)})


@pytest.mark.parametrize("posture", Posture)
def test_incidence_is_tilt_plus_slope_in_the_geometry(posture) -> None:
    for index in range(30):
        spine = draw_spine(1, index)
        truth = alignment_truth(spine, posture)
        assert truth.pelvic_incidence_deg == pytest.approx(spine.person.pelvic_incidence_deg, abs=1e-9)
        assert truth.pelvic_tilt_deg + truth.sacral_slope_deg == pytest.approx(truth.pelvic_incidence_deg, abs=1e-9)
        posed = pose_spine(spine, posture)
        sacrum = landmarks(posed)[Level.S1].upper
        seen = pelvic_parameters(endplate(sacrum), posed.hips_mm[0], posed.hips_mm[1])
        assert seen.incidence_deg == pytest.approx(spine.person.pelvic_incidence_deg, abs=1e-9)
        assert np.linalg.norm(posed.hips_mm.mean(axis=0)) == pytest.approx(spine.pelvis.hip_distance_mm)


def test_posture_leaves_bodies_and_pelvis_as_they_are_and_moves_the_discs() -> None:
    spine = draw_spine(3, 1, CONFIG)
    standing, supine = pose_spine(spine, Posture.STANDING), pose_spine(spine, Posture.SUPINE)
    for level, body in standing.bodies.items():
        assert body.shape == supine.bodies[level].shape
        own = [
            p.frames[level].to_own(landmarks(p)[level].upper.anterior_mm)
            - p.frames[level].to_own(landmarks(p)[level].lower.left_mm)
            for p in (standing, supine)
        ]
        np.testing.assert_allclose(own[0], own[1], atol=1e-9)
    first, second = alignment_truth(standing), alignment_truth(supine)
    assert first.pelvic_incidence_deg == pytest.approx(second.pelvic_incidence_deg, abs=1e-9)
    assert first.lordosis_l1_s1_deg != pytest.approx(second.lordosis_l1_s1_deg, abs=0.5)


def test_frames_turn_without_stretching_and_the_world_starts_in_s1() -> None:
    posed = pose_spine(draw_spine(5, 2, SpineConfig(scoliosis_share=1.0)), Posture.STANDING)
    for frame in (*posed.frames.values(), posed.sacrum, posed.skull_base):
        np.testing.assert_allclose(frame.rotation.T @ frame.rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(frame.rotation) == pytest.approx(1)
        points = np.array([[1.0, 2.0, 3.0], [-4.0, 0.0, 9.0]])
        np.testing.assert_allclose(frame.to_own(frame.to_world(points)), points, atol=1e-10)
    np.testing.assert_array_equal(posed.sacrum.origin_mm, np.zeros(3))
    assert posed.frame(Level.S1) is posed.sacrum
    assert posed.frame(Level.C0) is posed.skull_base
    with pytest.raises(LevelError, match="no L6"):
        posed.frame(Level.L6)


def test_angles_are_those_that_the_measure_package_reads_from_the_landmarks() -> None:
    for index in range(10):
        posed = pose_spine(draw_spine(2, index, SpineConfig(scoliosis_share=1.0)), Posture.STANDING)
        marks, truth = landmarks(posed), alignment_truth(posed)
        last = Level.T12 if Level.T12 in marks else Level.T11
        top = {level: endplate(m.upper) for level, m in marks.items() if m.upper is not None}
        low = {level: endplate(m.lower) for level, m in marks.items() if m.lower is not None}
        assert lordosis_deg(top[Level.L1], top[Level.S1]) == pytest.approx(truth.lordosis_l1_s1_deg, abs=1e-6)
        assert lordosis_deg(top[last], top[Level.S1]) == pytest.approx(truth.lordosis_t12_s1_deg, abs=1e-6)
        assert lordosis_deg(top[Level.L4], top[Level.S1]) == pytest.approx(truth.lordosis_l4_s1_deg, abs=1e-6)
        assert kyphosis_deg(top[Level.T4], low[last]) == pytest.approx(truth.kyphosis_t4_t12_deg, abs=1e-6)
        assert sva_mm(marks[Level.C7].body_mm, top[Level.S1]) == pytest.approx(truth.sva_mm, abs=1e-6)
        for cobb in truth.cobbs:
            seen = cobb_deg(top[cobb.upper_end], low[cobb.lower_end], "coronal")
            assert seen == pytest.approx(cobb.measured_deg, abs=1e-6)


def test_without_scoliosis_the_curve_is_the_sum_of_its_wedges() -> None:
    spine = draw_spine(9, 4, CONFIG)
    for posture in Posture:
        posed, total = pose_spine(spine, posture), 0.0
        for vertebra in spine.vertebrae:
            if vertebra.level >= Level.L1:
                plates = posed.bodies[vertebra.level]
                total += plates.upper_plane.tilt_deg - plates.lower_plane.tilt_deg + posed.wedges_deg[vertebra.level]
        assert alignment_truth(posed).lordosis_l1_s1_deg == pytest.approx(total, abs=1e-9)
        assert all(abs(frame.origin_mm[0]) < 1e-9 for frame in posed.frames.values())


@pytest.mark.parametrize("posture", Posture)
def test_neighbours_never_touch_at_their_rims_and_a_healthy_spine_has_no_slip(posture) -> None:
    for index in range(15):
        for share in (0.0, 1.0):
            spine = draw_spine(9, index, SpineConfig(scoliosis_share=share))
            marks = list(landmarks(spine, posture).values())[1:]
            for above, below in pairwise(marks):
                normal = above.lower.normal + below.upper.normal
                normal = normal / np.linalg.norm(normal)
                for side in ("anterior_mm", "posterior_mm", "left_mm", "right_mm"):
                    gap = (getattr(above.lower, side) - getattr(below.upper, side)) @ normal
                    assert gap > 0.7, (above.level, side)
                if share == 0.0:
                    slip = listhesis(endplate(above.lower), endplate(below.upper))
                    assert abs(slip.percent) < 0.5, (above.level, slip)


@pytest.mark.parametrize(("percent", "direction"), [(18.0, "anterior"), (60.0, "anterior"), (12.0, "posterior")])
def test_a_slip_is_measured_as_the_percent_in_the_record(percent, direction) -> None:
    spine = draw_spine(4, 0, CONFIG)
    slipped = spine.model_copy(update={"pathologies": (Slip(level=Level.L4, percent=percent, direction=direction),)})
    marks = landmarks(slipped, Posture.STANDING)
    seen = listhesis(endplate(marks[Level.L4].lower), endplate(marks[Level.L5].upper))
    assert abs(seen.percent) == pytest.approx(percent, abs=0.5)
    assert seen.direction == direction
    healthy = landmarks(spine, Posture.STANDING)
    moved = marks[Level.T1].body_mm - healthy[Level.T1].body_mm
    assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(marks[Level.L4].body_mm - healthy[Level.L4].body_mm))


def test_a_fracture_leaves_what_is_below_adds_kyphosis_and_lowers_what_is_above() -> None:
    spine = draw_spine(6, 0, CONFIG).model_copy(update={"fracture_compensation": 0.0})
    before, after = pose_spine(spine, Posture.STANDING), pose_spine(broken(spine), Posture.STANDING)
    for level in (Level.L2, Level.L5):
        np.testing.assert_array_equal(after.frames[level].origin_mm, before.frames[level].origin_mm)
    marks = landmarks(after)
    assert marks[Level.C7].body_mm[2] < landmarks(before)[Level.C7].body_mm[2] - 3
    lost = alignment_truth(before).lordosis_l1_s1_deg - alignment_truth(after).lordosis_l1_s1_deg
    body = after.bodies[Level.L1]
    wedge = body.upper_plane.tilt_deg - body.lower_plane.tilt_deg
    healthy = body.base_upper_plane.tilt_deg - body.base_lower_plane.tilt_deg
    assert lost == pytest.approx(healthy - wedge, abs=1e-6)
    assert lost > 10
    assert alignment_truth(after).sva_mm > alignment_truth(before).sva_mm + 20
    assert body.shape == before.bodies[Level.L1].shape  # in its own frame only the offsets differ


def test_neighbouring_discs_take_back_the_share_that_the_record_says() -> None:
    spine = draw_spine(6, 0, CONFIG)
    lost = []
    for share in (0.0, 0.3):
        fractured = broken(spine.model_copy(update={"fracture_compensation": share}), anterior_loss_percent=25.0)
        posed = pose_spine(fractured, Posture.STANDING)
        lost.append(alignment_truth(spine, Posture.STANDING).t1_slope_deg - alignment_truth(posed).t1_slope_deg)
    assert lost[1] == pytest.approx(0.7 * lost[0], rel=0.02)


def test_a_rim_plane_turns_as_its_tilts_say() -> None:
    turned = plane_turn(10.0, 0.0)
    np.testing.assert_allclose(turned[:, 1], [0, np.cos(np.radians(10)), np.sin(np.radians(10))], atol=1e-12)
    frame = endplate_frame(Frame(np.array([1.0, 2.0, 3.0]), np.eye(3)), RimPlane(5.0, 7.0, -4.0))
    np.testing.assert_allclose(frame.origin_mm, [1, 2, 8])
    for x, y in ((3.0, 0.0), (0.0, 4.0), (2.0, -5.0)):
        z = 5 + y * np.tan(np.radians(7)) + x * np.tan(np.radians(-4))
        on_plane = np.array([1 + x, 2 + y, 3 + z])
        assert (on_plane - frame.origin_mm) @ frame.rotation[:, 2] == pytest.approx(0, abs=1e-12)


def test_the_atlas_surrounds_the_dens_and_the_canal_runs_behind_the_bodies() -> None:
    spine = draw_spine(2, 6, CONFIG)
    posed = pose_spine(spine, Posture.SUPINE)
    marks = landmarks(posed)
    axis = spine.vertebrae[1]
    place = posed.frames[Level.C2].to_own(posed.frames[Level.C1].origin_mm)
    assert axis.body.height_mm / 2 < place[2] < axis.body.height_mm / 2 + axis.dens_height_mm
    for vertebra in spine.vertebrae[1:]:
        own = posed.frames[vertebra.level].to_own(marks[vertebra.level].canal_mm)
        assert own[1] < -vertebra.body.upper_depth_mm / 2 + 2
        assert marks[vertebra.level].spinous_tip_mm[1] < marks[vertebra.level].canal_mm[1]
    with pytest.raises(TypeError, match="posture"):
        landmarks(spine)
