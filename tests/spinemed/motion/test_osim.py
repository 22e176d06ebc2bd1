"""OpenSim's names and signs: poses go out and come back, and the real OpenSim turns the limbs the way we say."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.motion import MotionError, build_model, forward
from spinemed.motion.conventions import opensim_rotation
from spinemed.motion.io.osim import SIMSPINE_AXES, osim_names, osim_values, poses_from_osim


def poses(frames: int = 20) -> tuple[object, np.ndarray]:
    model = build_model()
    rng = np.random.default_rng(0)
    low, high = model.limits_rad
    q = model.zero(frames)
    q[:, 6:] = rng.uniform(0.9 * np.maximum(low[6:], -1.2), 0.9 * np.minimum(high[6:], 1.2), (frames, model.size - 6))
    q[:, :3] = rng.normal(0, 500, (frames, 3))
    q[:, 3:6] = rng.normal(0, 0.3, (frames, 3))
    return model, q


def test_poses_come_back_from_opensim_names() -> None:
    model, q = poses()
    again = poses_from_osim(model, osim_names(model), osim_values(model, q))
    np.testing.assert_allclose(again, q, atol=1e-12)


def test_the_published_axes_are_62_and_what_the_body_lacks_is_missing() -> None:
    model, q = poses(3)
    table = osim_values(model, q, SIMSPINE_AXES)
    assert table.shape == (3, 62)
    gone = {name for name, column in zip(SIMSPINE_AXES, table.T, strict=True) if np.isnan(column).all()}
    assert {"mtp_angle_r", "knee_angle_l_beta", "wrist_flex_r", "Abs_r1"} <= gone
    assert not gone & {"pelvis_tx", "L5_S1_Flex_Ext", "L1_T12_axial_rotation", "hip_flexion_r", "neck_flexion"}


def test_a_spine_that_bends_forward_is_negative_and_a_neck_block_cannot_come_back() -> None:
    model = build_model(limbs=False)
    q = model.zero()
    q[0, model.freedom("L5/S1.flexion")] = np.radians(10)
    q[0, model.freedom("C5/6.flexion")] = np.radians(15)
    assert osim_values(model, q, ["L5_S1_Flex_Ext"])[0, 0] == pytest.approx(-10)
    assert osim_values(model, q, ["neck_flexion"])[0, 0] == pytest.approx(-15, abs=1e-6)
    with pytest.raises(MotionError, match="neck_flexion"):
        poses_from_osim(model, ["neck_flexion"], [[5.0]])
    with pytest.raises(MotionError, match="the pelvis lacks"):
        poses_from_osim(model, ["pelvis_tilt"], [[5.0]])
    with pytest.raises(MotionError, match="gaps"):
        poses_from_osim(model, ["L5_S1_Flex_Ext"], [[5.0], [np.nan]])
    with pytest.raises(MotionError, match="unknown coordinate"):
        osim_values(model, q, ["elbow_of_the_other"])


# Axes of the Rajagopal body on OpenSim's axes (x anterior, y up, z right), in the order in which they turn.
RIGHT = {
    "hip": [("hip_flexion", (0, 0, 1)), ("hip_adduction", (1, 0, 0)), ("hip_rotation", (0, 1, 0))],
    "knee": [("knee_angle", (0, 0, -1))],
    "ankle": [("ankle_angle", (0, 0, 1)), ("subtalar_angle", (1, 0, 0))],
    "shoulder": [("arm_flex", (0, 0, 1)), ("arm_add", (1, 0, 0)), ("arm_rot", (0, 1, 0))],
    "elbow": [("elbow_flex", (0, 0, 1))],
}
BODIES = {"hip": "thigh", "knee": "shank", "ankle": "foot", "shoulder": "upper_arm", "elbow": "forearm"}


@pytest.mark.parametrize("side", ["right", "left"])
def test_limbs_and_pelvis_turn_in_opensim_as_named(side: str) -> None:
    """A body of the Rajagopal joints' axes takes our columns; its segments must lie along ours."""
    opensim = pytest.importorskip("opensim", reason="OpenSim is the oracle of this test; pip install opensim")
    model, q = poses(4)
    q[:, model.spine] = 0.0  # the trunk is one body there
    for name in model.names:
        if "girdle" in name:
            q[:, model.freedom(name)] = 0.0
    twin = opensim.Model()

    def joint(name: str, parent: object, turns: list[tuple[str, tuple[float, float, float]]]) -> object:
        body = opensim.Body(name, 1.0, opensim.Vec3(0), opensim.Inertia(1, 1, 1))
        twin.addBody(body)
        transform = opensim.SpatialTransform()
        places = (transform.upd_rotation1(), transform.upd_rotation2(), transform.upd_rotation3())
        spare = [a for a in ((0, 0, 1), (1, 0, 0), (0, 1, 0)) if all(abs(np.dot(a, own)) < 0.5 for _, own in turns)]
        for place, (coordinate, axis) in zip(places, turns, strict=False):
            place.setCoordinateNames(opensim.ArrayStr(coordinate, 1))
            place.setAxis(opensim.Vec3(*map(float, axis)))
            place.set_function(opensim.LinearFunction())
        for place, axis in zip(places[len(turns) :], spare, strict=False):
            place.setAxis(opensim.Vec3(*map(float, axis)))
        none = opensim.Vec3(0)
        twin.addJoint(opensim.CustomJoint(f"{name}_joint", parent, none, none, body, none, none, transform))
        return body

    end = side[0]
    mirrored = {"hip_adduction", "hip_rotation", "subtalar_angle", "arm_add", "arm_rot"}

    def turned(joint_name: str) -> list[tuple[str, tuple[float, float, float]]]:
        sign = -1.0 if side == "left" else 1.0
        return [
            (f"{name}_{end}", tuple(sign * a if name in mirrored else a for a in axis))
            for name, axis in RIGHT[joint_name]
        ]

    pelvis = joint(
        "pelvis", twin.getGround(),
        [("pelvis_tilt", (0, 0, 1)), ("pelvis_list", (1, 0, 0)), ("pelvis_rotation", (0, 1, 0))],
    )  # fmt: skip
    parts = {"pelvis": pelvis}
    for name, carrier in (("hip", "pelvis"), ("knee", "hip"), ("ankle", "knee"), ("shoulder", "pelvis")):
        parts[name] = joint(name, parts[carrier], turned(name))
    parts["elbow"] = joint("elbow", parts["shoulder"], turned("elbow"))
    twin.finalizeConnections()
    state = twin.initSystem()
    names = [coordinate.getName() for coordinate in twin.getCoordinateSet()]
    values = np.radians(osim_values(model, q, names))
    placed = forward(model, q)
    rest = forward(model, model.zero())
    for frame, row in enumerate(values):
        for name, value in zip(names, row, strict=True):
            twin.getCoordinateSet().get(name).setValue(state, float(value), False)
        twin.realizePosition(state)
        for part, body in parts.items():
            number = model.body("pelvis" if part == "pelvis" else f"{side}_{BODIES[part]}")
            matrix = body.getTransformInGround(state).R().asMat33()
            found = np.array([[matrix.get(i, j) for j in range(3)] for i in range(3)])
            # The shoulder's parts stand on the upright trunk, whatever the tilt of the vertebra that carries them.
            ours = opensim_rotation(placed.rotations[frame, number] @ rest.rotations[0, number].T)
            assert np.abs(found - ours).max() < 1e-9, f"{part} of the {side} side"
