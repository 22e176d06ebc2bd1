"""Geometry and kinematics: sizes and shape as published, derivatives, and the real OpenSim on the same joints."""

from __future__ import annotations

import os

import numpy as np
import pytest

from spinemed.motion import (
    Alignment,
    BodyModel,
    MotionError,
    build_model,
    centroid_markers,
    forward,
    keypoint_markers,
    laboratory_markers,
    marker_jacobian,
    marker_points,
    sagittal_curves_deg,
    trunk_angles_deg,
)
from spinemed.motion.conventions import (
    from_opensim,
    from_up_axis,
    opensim_rotation,
    spine_angles_from_opensim,
    spine_angles_to_opensim,
    to_millimetres,
    to_opensim,
    to_up_axis,
)
from spinemed.motion.kernels import sines
from spinemed.motion.keypoints import CENTROIDS, SIMSPINE_15, SPINE_CHAIN, SPINETRACK_37
from spinemed.motion.rotations import rigid_fit, rotation_xyz, rotation_zyx, xyz_angles, zyx_angles


def random_poses(model: BodyModel, frames: int, seed: int = 0) -> np.ndarray:
    """Anywhere within the limits, and any place and heading."""
    rng = np.random.default_rng(seed)
    low, high = model.limits_rad
    q = rng.uniform(np.where(np.isfinite(low), low, -0.6), np.where(np.isfinite(high), high, 0.6), (frames, model.size))
    q[:, :3] *= 1000
    return q


def test_pelvic_incidence_drives_the_standing_spine() -> None:
    low, high = Alignment(pelvic_incidence_deg=35), Alignment(pelvic_incidence_deg=65)
    for shape in (low, high):
        assert shape.pelvic_tilt + shape.sacral_slope == pytest.approx(shape.pelvic_incidence_deg)
        lumbar = [angle for segment, angle in shape.segment_angles().items() if segment.region.value == "lumbar"]
        assert sum(lumbar) == pytest.approx(shape.lordosis)
        assert list(shape.tilts().values())[-1] == pytest.approx(0), "the head looks straight ahead"
    assert high.lordosis > low.lordosis + 10
    assert high.sacral_slope > low.sacral_slope + 10


@pytest.mark.parametrize("sex", ["male", "female"])
def test_sizes_are_those_of_people(sex: str) -> None:
    model = build_model(sex)
    points = dict(zip(CENTROIDS, marker_points(model, model.zero(), centroid_markers(model))[0], strict=True))
    shown = dict(zip(SPINETRACK_37, marker_points(model, model.zero(), keypoint_markers(model))[0], strict=True))
    stature = shown["head"][2] - shown["left_big_toe"][2]
    assert stature == pytest.approx(model.stature_mm, rel=0.03)
    assert abs(points["C7"][1] - points["sacrum"][1]) < 50, "C7 plumb line"
    assert points["L3"][1] > max(points["L5"][1], points["T12"][1]) - 15
    assert points["T7"][1] < points["T1"][1] - 30, "kyphosis"
    steps = np.linalg.norm(np.diff([points[name] for name in CENTROIDS[1:]], axis=0), axis=1)
    assert steps.min() > 12
    assert steps.max() < 40


def test_surface_points_belong_to_their_own_vertebra() -> None:
    model = build_model()
    markers = keypoint_markers(model)
    carrier = {name: model.bodies[body] for name, body in zip(markers.names, markers.body, strict=True)}
    assert [carrier[SPINETRACK_37[i]] for i in SPINE_CHAIN] == [
        "pelvis",
        "L5",
        "L3",
        "L1",
        "T8",
        "T3",
        "C7",
        "C3",
        "C1",
    ]
    assert set(SIMSPINE_15) <= set(SPINETRACK_37)
    rest = model.zero()
    nod = model.zero()
    for name in ("C7/T1", "C6/7", "C5/6", "C4/5", "C3/4", "C2/3"):
        nod[:, model.freedom(f"{name}.flexion")] = np.radians(8)
    moved = np.linalg.norm(marker_points(model, nod, markers) - marker_points(model, rest, markers), axis=-1)[0]
    by_name = dict(zip(markers.names, moved, strict=True))
    assert by_name["neck_03"] > 30
    assert by_name["neck_03"] > by_name["neck_02"] > by_name["neck"] > 3
    assert by_name["spine_05"] == 0


def test_signs_are_those_of_the_table() -> None:
    model = build_model()
    head = keypoint_markers(model, ["nose", "head"])

    def moved(freedom: str) -> np.ndarray:
        q = model.zero()
        q[0, model.freedom(freedom)] = 0.1
        return (marker_points(model, q, head) - marker_points(model, model.zero(), head))[0]

    assert moved("L3/4.flexion")[1, 1] > 10
    assert moved("L3/4.lateral_bending")[1, 0] > 10
    assert moved("L3/4.axial_rotation")[0, 0] < -10
    assert moved("pelvis.tilt")[1, 1] > 10
    feet = keypoint_markers(model, ["left_big_toe", "right_big_toe", "left_wrist", "right_wrist"])
    for side, toe, wrist, outward in (("left", 0, 2, -1), ("right", 1, 3, 1)):
        q = model.zero()
        q[0, model.freedom(f"{side}_thigh.abduction")] = 0.2
        q[0, model.freedom(f"{side}_upper_arm.flexion")] = 0.2
        step = (marker_points(model, q, feet) - marker_points(model, model.zero(), feet))[0]
        assert step[toe, 0] * outward > 50
        assert step[wrist, 1] > 50


def test_jacobian_is_the_derivative() -> None:
    model = build_model()
    markers = keypoint_markers(model)
    q = random_poses(model, 3)
    points, jacobian = marker_jacobian(model, q, markers)
    assert np.array_equal(points, marker_points(model, q, markers))
    worst = 0.0
    for i in range(model.size):
        # Metres and radians: a scale on which 1e-7 means the same for places and angles.
        step = 1e-2 if i < 3 else 1e-5
        ahead, behind = q.copy(), q.copy()
        ahead[:, i] += step
        behind[:, i] -= step
        numeric = (marker_points(model, ahead, markers) - marker_points(model, behind, markers)) / (2 * step)
        worst = max(worst, float(np.abs(numeric - jacobian[..., i]).max()) / 1000)
    assert worst < 1e-7


def test_a_rigid_body_stays_rigid_in_any_pose() -> None:
    model = build_model()
    markers = laboratory_markers(model, ["LASI", "RASI", "LPSI", "SACR"])
    points = marker_points(model, random_poses(model, 20), markers)
    lengths = np.linalg.norm(points[:, 1:] - points[:, :1], axis=-1)
    assert np.ptp(lengths, axis=0).max() < 1e-9


def test_sines_are_exact_in_every_quadrant_and_far_out() -> None:
    quarters = np.arange(-40, 41) * np.pi / 4
    angles = np.concatenate([quarters, quarters + 1e-9, np.random.default_rng(4).uniform(-3000, 3000, 500), [np.nan]])
    sine, cosine = np.empty_like(angles), np.empty_like(angles)
    sines(angles, sine, cosine)
    np.testing.assert_allclose(sine, np.sin(angles), rtol=0, atol=4e-16)
    np.testing.assert_allclose(cosine, np.cos(angles), rtol=0, atol=4e-16)


def test_rotations_return_their_angles_and_rigid_fit_finds_the_motion() -> None:
    rng = np.random.default_rng(1)
    angles = rng.uniform(-1.4, 1.4, (50, 3))
    np.testing.assert_allclose(xyz_angles(rotation_xyz(angles)), angles, atol=1e-12)
    np.testing.assert_allclose(zyx_angles(rotation_zyx(angles)), angles, atol=1e-12)
    points = rng.normal(size=(6, 3))
    turned = np.einsum("tij,kj->tki", rotation_zyx(angles), points) + 5
    turned[0, :4] = np.nan
    turn, shift, enough = rigid_fit(points, turned, np.ones(6))
    assert not enough[0]
    assert enough[1:].all()
    np.testing.assert_allclose(turn[1:], rotation_zyx(angles)[1:], atol=1e-12)
    np.testing.assert_allclose(shift[1:], 5, atol=1e-12)


def test_conversions_return() -> None:
    points = np.random.default_rng(2).normal(size=(4, 3))
    np.testing.assert_allclose(from_opensim(to_opensim(points)), points)
    np.testing.assert_allclose(to_up_axis(from_up_axis(points, "y"), "y"), points)
    np.testing.assert_allclose(to_opensim([[1.0, 2.0, 3.0]]), [[0.002, 0.003, 0.001]])
    np.testing.assert_allclose(from_up_axis([1.0, 2.0, 3.0], "y"), [3.0, 1.0, 2.0])
    assert spine_angles_to_opensim([10.0, 5.0, 3.0]).tolist() == [-10.0, 5.0, 3.0]
    assert spine_angles_from_opensim(spine_angles_to_opensim([1.0, 2.0, 3.0])).tolist() == [1.0, 2.0, 3.0]
    assert to_millimetres([1.0], "m").tolist() == [1000.0]
    for call in (lambda: to_millimetres([1.0], "inch"), lambda: to_up_axis([0, 0, 1.0], "x")):
        with pytest.raises(MotionError, match="Cure"):
            call()


def test_a_model_says_what_it_cannot_do() -> None:
    model = build_model(limbs=False)
    for call, words in (
        (lambda: build_model("other"), "sex"),
        (lambda: build_model(stature_mm=1.76), "stature_mm"),
        (lambda: Alignment(pelvic_incidence_deg=5), "pelvic_incidence_deg"),
        (lambda: model.scaled({"tail": 1.1}), "tail"),
        (lambda: model.freedom("L4/5.twist"), "L4/5.twist"),
        (lambda: keypoint_markers(model, ["left_ankle"]), "limbs=True"),
        (lambda: keypoint_markers(model, ["tail"]), "tail"),
        (lambda: forward(model, np.zeros((2, 3))), "81"),
    ):
        with pytest.raises(MotionError, match=words):
            call()


def test_scaling_stretches_the_named_parts_only() -> None:
    model = build_model()
    longer = model.scaled({"thigh": 1.1})
    rest = marker_points(model, model.zero(), keypoint_markers(model))[0]
    grown = marker_points(longer, longer.zero(), keypoint_markers(longer))[0]
    at = SPINETRACK_37.index
    assert np.allclose(rest[at("head")], grown[at("head")])
    thigh = np.linalg.norm(grown[at("left_knee")] - grown[at("left_hip")])
    assert thigh == pytest.approx(1.1 * np.linalg.norm(rest[at("left_knee")] - rest[at("left_hip")]))


def test_the_same_joints_in_opensim_put_points_in_the_same_place() -> None:
    opensim = pytest.importorskip("opensim", reason="OpenSim is the oracle of this test; pip install opensim")
    model = build_model()
    centroids, keypoints = centroid_markers(model), keypoint_markers(model)
    names = [f"q{i}" for i in range(model.size)]
    turn = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    twin = opensim.Model()
    bodies = []
    for b, name in enumerate(model.bodies):
        body = opensim.Body(name, 1.0, opensim.Vec3(0), opensim.Inertia(1, 1, 1))
        twin.addBody(body)
        parent = twin.getGround() if model.parent[b] < 0 else bodies[model.parent[b]]
        own = range(model.first[b], model.first[b] + model.count[b])
        transform = opensim.SpatialTransform()
        slides = [d for d in own if model.slide[d]]
        turns = [d for d in own if not model.slide[d]]
        axis_of = [
            [transform.upd_rotation1(), transform.upd_rotation2(), transform.upd_rotation3()],
            [transform.upd_translation1(), transform.upd_translation2(), transform.upd_translation3()],
        ]
        used = []
        for group, places in ((turns, axis_of[0]), (slides, axis_of[1])):
            for d, place in zip(group, places, strict=False):
                direction = model.sign[d] * turn[:, model.axis[d]]
                place.setCoordinateNames(opensim.ArrayStr(names[d], 1))
                place.setAxis(opensim.Vec3(*map(float, direction)))
                place.set_function(opensim.LinearFunction())
                used.append(direction)
            # OpenSim wants three independent axes even where nothing turns about them.
            if group is turns:
                spare = [turn[:, k] for k in range(3) if all(abs(turn[:, k] @ u) < 0.5 for u in used)]
                for place, direction in zip(places[len(group) :], spare, strict=False):
                    place.setAxis(opensim.Vec3(*map(float, direction)))
        rest = opensim_rotation(model.rest[b])
        frame = opensim.Rotation(opensim.Mat33(*map(float, rest.ravel())))
        joint = opensim.CustomJoint(
            f"{name}_joint", parent, opensim.Vec3(*map(float, to_opensim(model.offset_mm[b]))),
            frame.convertRotationToBodyFixedXYZ(), body, opensim.Vec3(0), opensim.Vec3(0), transform,
        )  # fmt: skip
        twin.addJoint(joint)
        bodies.append(body)
    twin.finalizeConnections()
    state = twin.initSystem()
    coordinates = [twin.getCoordinateSet().get(name) for name in names]
    worst = 0.0
    poses = int(os.environ.get("SPINEMED_OPENSIM_POSES", "5"))
    for q in random_poses(model, poses, seed=3):
        for coordinate, value, slide in zip(coordinates, q, model.slide, strict=True):
            coordinate.setValue(state, float(value / 1000 if slide else value), False)
        twin.realizePosition(state)
        placement = forward(model, q)
        centres = to_opensim(placement.origins_mm[0])
        for b, body in enumerate(bodies):
            found = body.getPositionInGround(state)
            worst = max(worst, float(np.abs([found[i] - centres[b, i] for i in range(3)]).max()))
        for markers in (centroids, keypoints):
            here = to_opensim(marker_points(model, q, markers)[0])
            for k in range(len(markers)):
                local = opensim.Vec3(*map(float, to_opensim(markers.local_mm[k])))
                found = bodies[markers.body[k]].findStationLocationInGround(state, local)
                worst = max(worst, float(np.abs([found[i] - here[k, i] for i in range(3)]).max()))
    print(f"OpenSim {opensim.GetVersion()}: {worst:.1e} metres at most, {poses} random poses")
    assert worst < 1e-9


def test_curves_follow_the_levels_between_their_ends() -> None:
    model = build_model()
    rest = sagittal_curves_deg(model, model.zero())
    assert rest["lordosis_l1_s1"][0] == pytest.approx(model.alignment.lordosis)
    assert rest["kyphosis_t4_t12"][0] == pytest.approx(model.alignment.kyphosis_deg)
    assert rest["lordosis_c2_c7"][0] == pytest.approx(model.alignment.cervical_lordosis_deg)
    bent = model.zero()
    for segment in ("L5/S1", "L1/2", "T12/L1", "T11/12", "C2/3"):
        bent[0, model.freedom(f"{segment}.flexion")] = np.radians(5)
    moved = sagittal_curves_deg(model, bent)
    assert moved["lordosis_l1_s1"] == pytest.approx(rest["lordosis_l1_s1"] - 10)
    assert moved["kyphosis_t4_t12"] == pytest.approx(rest["kyphosis_t4_t12"] + 5)
    assert moved["lordosis_c2_c7"] == pytest.approx(rest["lordosis_c2_c7"] - 5)


def test_the_trunk_as_one_body_turns_by_what_its_levels_turn() -> None:
    model = build_model()
    q = np.zeros((3, model.size))
    q[0, model.freedom("L3/4.flexion")] = np.radians(20)
    q[1, model.freedom("L3/4.lateral_bending")] = np.radians(10)
    q[2, model.freedom("L3/4.axial_rotation")] = np.radians(8)
    q[:, 3] = 1.0
    turned = trunk_angles_deg(model, q)
    assert turned[0] == pytest.approx([20, 0, 0], abs=1e-6)
    # The joint's own axis leans with the vertebra, so pure bending shows some rotation against the pelvis.
    assert turned[1, 1] == pytest.approx(10, abs=0.5)
    assert turned[2, 2] == pytest.approx(8, abs=0.5)
