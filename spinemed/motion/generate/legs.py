"""Legs that reach their feet, and a pelvis that keeps the body in balance over them.

Convention: millimetres and radians on our axes, ground at z = 0; sides are right, then left. A leg is two bars: the
knee follows from the distance between hip and ankle by the law of cosines, and bends in the plane that holds the foot's
direction. Balance puts the centre of mass (masses: `tables/body_masses.csv`) over a point of the ground.

The trap: limits of the joints are imposed afterwards; a foot that asks for more than the ankle gives lifts by
millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.keypoints import keypoint_markers
from spinemed.motion.kinematics import forward, place_points
from spinemed.motion.model import BodyModel, MarkerSet
from spinemed.motion.rotations import elementary, rotation_zyx, xyz_angles
from spinemed.motion.tables import read_table

__all__ = ["SIDES", "LegSizes", "leg_sizes", "pelvis_height_mm", "set_legs", "stand", "upper_mass"]

Array = NDArray[np.float64]

SIDES = ("right", "left")

# A knee never locks: a leg ends softly, over 1.5 mm, at this share of its length; an ankle beyond is not reached.
_REACH, _SOFT_MM = 0.9993, 1.5


@dataclass(frozen=True)
class LegSizes:
    """Of one subject: hips [2, 3] in the pelvis, thigh and shank length, the sole's depth under the ankle."""

    hips_mm: Array
    thigh_mm: float
    shank_mm: float
    sole_mm: float
    heel_mm: float
    toe_mm: float

    def distance_mm(self, knee_rad: Array) -> Array:
        """Hip to ankle for a knee flexion."""
        return np.sqrt(self.thigh_mm**2 + self.shank_mm**2 + 2 * self.thigh_mm * self.shank_mm * np.cos(knee_rad))


def leg_sizes(model: BodyModel) -> LegSizes:
    """Lengths of a model's legs."""
    hips = np.array([model.offset_mm[model.body(f"{side}_thigh")] for side in SIDES])
    feet = keypoint_markers(model, ["right_big_toe", "right_heel"]).local_mm
    return LegSizes(
        hips_mm=hips,
        thigh_mm=float(-model.offset_mm[model.body("right_shank")][2]),
        shank_mm=float(-model.offset_mm[model.body("right_foot")][2]),
        sole_mm=float(-feet[0, 2]),
        heel_mm=float(feet[1, 1]),
        toe_mm=float(feet[0, 1]),
    )


def _unit(v: Array) -> Array:
    unit: Array = v / np.linalg.norm(v, axis=-1, keepdims=True)
    return unit


def _knee(sizes: LegSizes, hip: Array, ankle: Array, ahead: Array) -> tuple[Array, Array, Array]:
    """Knee flexion [T], thigh axes [T, 3, 3] and knee place [T, 3]."""
    line = ankle - hip
    spare = _REACH * (sizes.thigh_mm + sizes.shank_mm) - np.linalg.norm(line, axis=-1)
    length = _REACH * (sizes.thigh_mm + sizes.shank_mm) - _SOFT_MM * np.logaddexp(0.0, spare / _SOFT_MM)
    down = _unit(line)
    cosine = (length**2 - sizes.thigh_mm**2 - sizes.shank_mm**2) / (2 * sizes.thigh_mm * sizes.shank_mm)
    knee = np.arccos(np.clip(cosine, -1.0, 1.0))
    alpha = np.arctan2(sizes.shank_mm * np.sin(knee), sizes.thigh_mm + sizes.shank_mm * np.cos(knee))[:, None]
    # A knee's axis that is square to the foot's direction leaves the ankle nothing to turn about the shin.
    x = _unit(np.cross(ahead, -down))
    up = np.cos(alpha) * -down - np.sin(alpha) * np.cross(-down, x)
    axes = np.stack([x, np.cross(up, x), up], axis=-1)
    return knee, axes, hip - sizes.thigh_mm * up


def set_legs(model: BodyModel, sizes: LegSizes, q: Array, ankles_mm: Array, feet: Array) -> None:
    """Fill the legs' angles of poses q [T, n] so that ankles [2, T, 3] and foot axes [2, T, 3, 3] are met; in place."""
    turn = _pelvis_axes(model, q)
    for number, side in enumerate(SIDES):
        hip = q[:, :3] + turn @ sizes.hips_mm[number]
        knee, thigh, _ = _knee(sizes, hip, ankles_mm[number], feet[number][:, :, 1])
        shank = thigh @ elementary(0, -knee)
        at_hip = xyz_angles(np.swapaxes(turn, 1, 2) @ thigh)
        at_ankle = xyz_angles(np.swapaxes(shank, 1, 2) @ feet[number])
        for name, angle in (
            ("thigh.flexion", at_hip[:, 0]), ("thigh.abduction", at_hip[:, 1]),
            ("thigh.external_rotation", at_hip[:, 2]), ("shank.flexion", -knee),
            ("foot.dorsiflexion", at_ankle[:, 0]), ("foot.inversion", at_ankle[:, 1]),
        ):  # fmt: skip
            column = model.freedom(f"{side}_{name}")
            q[:, column] = model.sign[column] * angle


def _pelvis_axes(model: BodyModel, q: Array) -> Array:
    return rotation_zyx(q[:, 3:6] * model.sign[3:6])


def pelvis_height_mm(sizes: LegSizes, turn: Array, place: Array, ankles_mm: Array, knee_rad: Array) -> Array:
    """Height [T] of the pelvis above which the straighter knee would be straighter than told.

    A smooth minimum over the two legs (scale 4 mm), so that no jerk comes from changing sides.
    """
    heights = []
    for number in range(2):
        arm = turn @ sizes.hips_mm[number]
        aside = place[:, :2] + arm[:, :2] - ankles_mm[number][:, :2]
        rise = np.sqrt(np.maximum(sizes.distance_mm(knee_rad) ** 2 - (aside**2).sum(axis=1), 1.0))
        heights.append(ankles_mm[number][:, 2] + rise - arm[:, 2])
    return np.asarray(-np.logaddexp(-heights[0] / 4.0, -heights[1] / 4.0) * 4.0)


def upper_mass(model: BodyModel, q: Array, load: Array) -> tuple[Array, Array]:
    """Centre of mass [T, 3] of trunk, head and arms relative to the pelvis' origin, and its share [T] of the body.

    Args:
        model: The body.
        q: Poses whose legs and place do not matter.
        load: [T] what the hands hold, as a share of the body's mass.
    """
    markers, masses = _mass_points(model)
    still = q.copy()
    still[:, :3] = 0.0
    points = place_points(forward(model, still), markers)
    weights = np.tile(masses, (len(q), 1))
    wrists = [i for i, name in enumerate(markers.names) if name.endswith("wrist")]
    weights[:, wrists] += load[:, None] / len(wrists)
    total = weights.sum(axis=1)
    return np.asarray(np.einsum("tk,tki->ti", weights, points) / total[:, None]), total


def _mass_points(model: BodyModel) -> tuple[MarkerSet, Array]:
    names: list[str] = []
    bodies: list[int] = []
    places: list[Array] = []
    masses: list[float] = []
    wrist = keypoint_markers(model, ["right_wrist"]).local_mm[0]
    depth = 45.0 * model.stature_mm / 1760.0  # the trunk's mass lies before its vertebrae (assumed)
    for row in read_table("body_masses"):
        limb = row["part"] in ("upper_arm", "forearm_hand")
        if row["part"] in ("thigh", "shank", "foot"):
            continue
        for side in SIDES if limb else ("",):
            body = model.body(f"{side}_{row['body']}" if limb else row["body"])
            fraction = float(row["fraction"])
            if row["toward"] == "wrist":
                place = fraction * wrist
            elif limb:
                place = fraction * model.offset_mm[model.body(f"{side}_{row['toward']}")]
            elif row["body"] == "pelvis":
                place = fraction * model.sacrum_mm
            elif row["body"] == "C0":
                place = np.array([0.0, 20.0, 50.0])
            else:
                place = model.centroid_mm[body - 1] + np.array([0.0, depth, 0.0])
            names.append(f"{side}{row['part']}")
            bodies.append(body)
            places.append(place)
            masses.append(float(row["share"]))
    for side in SIDES:
        names.append(f"{side}_wrist")
        bodies.append(model.body(f"{side}_forearm"))
        places.append(wrist)
        masses.append(0.0)
    return MarkerSet(tuple(names), np.array(bodies, dtype=np.int64), np.array(places)), np.array(masses)


def stand(
    model: BodyModel,
    sizes: LegSizes,
    q: Array,
    ankles_mm: Array,
    feet: Array,
    knee_rad: Array,
    target_mm: Array,
    load: Array,
) -> Array:
    """Where the pelvis must be [T, 3] so that planted feet carry a balanced body; q gives everything but the legs.

    Args:
        model, sizes: The body.
        q: [T, n]; legs and place are not looked at.
        ankles_mm, feet: [2, T, 3] and [2, T, 3, 3].
        knee_rad: [T] flexion of the straighter knee.
        target_mm: [T, 2] over which point of the ground the centre of mass lies.
        load: [T] what the hands hold, as a share of the body's mass.
    """
    turn = _pelvis_axes(model, q)
    above, share = upper_mass(model, q, load)
    parts = {row["part"]: (float(row["fraction"]), float(row["share"])) for row in read_table("body_masses")}
    place = np.zeros((len(q), 3))
    place[:, :2] = target_mm
    for _ in range(6):
        place[:, 2] = pelvis_height_mm(sizes, turn, place, ankles_mm, knee_rad)
        moment, mass = share[:, None] * (place + above), share.copy()
        for number in range(2):
            hip = place + turn @ sizes.hips_mm[number]
            _, _, knee = _knee(sizes, hip, ankles_mm[number], feet[number][:, :, 1])
            ankle = ankles_mm[number]
            for part, near, far in (("thigh", hip, knee), ("shank", knee, ankle), ("foot", ankle, ankle)):
                fraction, own = parts[part]
                moment = moment + own * (near + fraction * (far - near))
                mass = mass + own
        place[:, :2] -= 1.2 * (moment[:, :2] / mass[:, None] - target_mm)
    place[:, 2] = pelvis_height_mm(sizes, turn, place, ankles_mm, knee_rad)
    return place
