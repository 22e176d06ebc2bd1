"""`generate_clip`: one clip of one subject, from a motion's name and a seed to poses, labels and views.

Convention: ground at z = 0, the studio's middle at the origin; a heading is drawn, so cameras see people from all
sides. Poses are smooth and within the model's limits. float64 poses, float32 labels.

The trap: labels are simulated. What is learned or measured on them says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.cameras import Camera
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.records import LEVELS, SimulatedClip
from spinemed.motion.generate.gait import set_walk
from spinemed.motion.generate.legs import SIDES, LegSizes, leg_sizes, set_legs, stand
from spinemed.motion.generate.motions import MOTIONS, plan_motion
from spinemed.motion.generate.plans import Plan, regional_deg, trunk_tilts
from spinemed.motion.generate.spine import soft_limit, spine_angles_deg
from spinemed.motion.generate.subjects import CLIP_STREAM, Subject, draw_subject
from spinemed.motion.generate.timing import wobble
from spinemed.motion.generate.views import DetectorNoise, detect, view
from spinemed.motion.keypoints import centroid_markers, keypoint_markers
from spinemed.motion.kinematics import forward, place_points
from spinemed.motion.model import BodyModel
from spinemed.motion.rotations import elementary

__all__ = ["generate_clip", "perform"]

Array = NDArray[np.float64]

# A body's mass in kg, for what a load in the hands weighs against it; 70 kg at 1.70 m, by the square of stature.
_BODY_KG = 70.0

# Heels leave the ground at this share of the ankle's dorsiflexion.
_HEEL_PART = 0.9


def generate_clip(
    motion: str,
    *,
    seed: int = 0,
    subject: Subject | int = 0,
    seconds: float = 6.0,
    rate_hz: float = 50.0,
    cameras: Sequence[Camera] = (),
    noise: DetectorNoise | None = None,
    split: str = "train",
    clip_id: str | None = None,
    number: int = 0,
) -> SimulatedClip:
    """One clip.

    Args:
        motion: One of `MOTIONS`.
        seed: Of the data set.
        subject: A subject, or the number of one that `draw_subject(seed, number)` draws.
        seconds, rate_hz: Length and frames per second.
        cameras: Views; without any there are no pixels.
        noise: A detector's errors; None leaves `detected` out.
        split, clip_id: For the record; the name is "<subject>_<motion>_<number>" unless given.
        number: Of the clip among those of the subject: another one is another draw.

    Raises:
        MotionError: an unknown motion, or a clip shorter than two frames.
    """
    if motion not in MOTIONS:
        raise MotionError(f"{motion!r} is no motion", field="motion", cure=f"use one of {', '.join(MOTIONS)}")
    frames = round(seconds * rate_hz) if seconds > 0 and rate_hz > 0 else 0
    if frames < 2:
        raise MotionError(
            f"{seconds:g} s at {rate_hz:g} Hz are {frames} frames", field="seconds", cure="ask for two frames or more"
        )
    who = draw_subject(seed, subject) if isinstance(subject, int) else subject
    own = [CLIP_STREAM, seed, crc32(who.name.encode()), crc32(motion.encode()), number]
    rng = np.random.default_rng(own)
    t = np.arange(frames) / rate_hz
    model = who.model
    q = perform(who, plan_motion(motion, model, t, rng), t, rng)
    placement = forward(model, q)
    keypoints = place_points(placement, keypoint_markers(model))
    centroids = place_points(placement, centroid_markers(model))[:, : -len(LEVELS) - 1 : -1]
    pixels = view(cameras, keypoints) if cameras else None
    seen = detect(pixels, cameras, noise, rng, rate_hz) if pixels is not None and noise is not None else (None, None)
    return SimulatedClip(
        clip_id=clip_id or f"{who.name}_{motion}_{number:03d}",
        subject=who.name,
        motion=motion,
        split=split,
        rate_hz=float(rate_hz),
        sex=who.sex,
        stature_mm=who.stature_mm,
        pelvic_incidence_deg=who.pelvic_incidence_deg,
        rhythm=who.rhythm,
        seed=seed,
        q=q,
        angles_deg=model.spine_angles_deg(q).astype(np.float32),
        keypoints_mm=keypoints.astype(np.float32),
        centroids_mm=np.ascontiguousarray(centroids.astype(np.float32)),
        cameras=tuple(cameras),
        pixels=None if pixels is None else pixels.astype(np.float32),
        detected=seen[0],
        confidence=seen[1],
        age_years=who.age_years,
        kyphosis_deg=who.kyphosis_deg,
        cervical_lordosis_deg=who.cervical_lordosis_deg,
        scale=who.scale,
    )


def perform(subject: Subject, plan: Plan, t: Array, rng: np.random.Generator) -> Array:
    """Poses [T, n] of a subject that follows a plan, within the limits."""
    model, frames = subject.model, len(t)
    zero = np.zeros(frames)
    regional, tilt = regional_deg(plan, subject.prior, frames)
    q = model.with_spine_angles(spine_angles_deg(subject, model, regional, t, rng), model.zero(frames))
    obliquity = plan.channels.get("pelvis_obliquity", zero)
    q[:, 3] = np.radians(plan.channels.get("pelvis_rotation", zero))
    q[:, 4], q[:, 5] = np.radians(obliquity), np.radians(tilt)
    q[:, 3:6] += np.radians(wobble(rng, t, np.array([0.5, 0.3, 0.4]), 0.1, 0.5))
    _set_arms(model, plan, q, *trunk_tilts(regional, tilt, obliquity))
    heading = float(rng.uniform(-np.pi, np.pi))
    if plan.walk is not None:
        set_walk(model, plan.walk, q, t)
    else:
        _set_standing(subject, plan, q, t, rng)
        q[:, :2] += rng.uniform(-350.0, 350.0, 2)
    turn = elementary(2, heading)[:2, :2]
    q[:, :2] = np.einsum("tj,ij->ti", q[:, :2], turn)
    q[:, 3] += heading
    limbs = slice(model.spine.stop, None)
    low, high = (limit[limbs] for limit in model.limits_rad)
    q[:, limbs] = soft_limit(q[:, limbs], low, high, 0.93)
    return q


def _set_arms(model: BodyModel, plan: Plan, q: Array, lean: Array, side_lean: Array) -> None:
    zero = np.zeros(len(q))
    for side, sign in (("right", 1.0), ("left", -1.0)):

        def get(name: str, side: str = side) -> Array:
            return plan.channels.get(f"{side}_{name}", zero)

        hang = get("hang")
        values = {
            "girdle.elevation": get("elevation"),
            "girdle.protraction": get("protraction"),
            "upper_arm.flexion": get("arm_flexion") + hang * lean,
            # On the side that the trunk bends to an arm hangs free; the other one lies on the body and follows half.
            "upper_arm.abduction": get("arm_abduction") + hang * _hanging(sign * side_lean),
            "upper_arm.external_rotation": get("arm_rotation"),
            "forearm.flexion": get("elbow"),
        }  # fmt: skip
        for name, value in values.items():
            q[:, model.freedom(f"{side}_{name}")] = np.radians(value)


def _hanging(lean: Array) -> Array:
    size = 4.0 * (np.logaddexp(0.0, lean / 4.0) + np.logaddexp(0.0, -lean / 4.0) - np.log(4.0))
    return np.asarray(0.75 * lean + 0.25 * size)


def _set_standing(subject: Subject, plan: Plan, q: Array, t: Array, rng: np.random.Generator) -> None:
    """Planted feet: balance when standing, the seat when sitting, and between them a straight way."""
    model, frames = subject.model, len(t)
    sizes = leg_sizes(model)
    sit = plan.channels.get("sit", np.zeros(frames))
    load_kg = plan.channels.get("load_kg", np.zeros(frames))
    ankles, feet = np.empty((2, frames, 3)), np.empty((2, frames, 3, 3))
    for number, side in enumerate((1.0, -1.0)):
        ankles[number] = [side * plan.foot_gap_mm / 2, side * plan.stagger_mm / 2, sizes.sole_mm]
        feet[number] = elementary(2, -side * np.radians(plan.toe_out_deg))
    target = np.array([0.0, plan.ahead_mm]) + wobble(rng, t, np.array([5.0, 6.0]), 0.1, 0.45)
    knee = np.radians(plan.channels.get("knee", np.full(frames, 7.0)))
    load = load_kg / (_BODY_KG * (model.stature_mm / 1700.0) ** 2)
    place = stand(model, sizes, q, ankles, feet, knee, target, load)
    if sit.any():
        # Hip joints lie about 85 mm over the seat; the feet stand a little behind the knees.
        height = plan.seat_mm + 85.0 * model.stature_mm / 1760.0
        shin = np.arcsin(60.0 / sizes.shank_mm)
        knee_z = sizes.sole_mm + sizes.shank_mm * np.cos(shin)
        back = np.sqrt(max(sizes.thigh_mm**2 - (height - knee_z) ** 2, 1.0))
        seat = np.array([0.0, 60.0 - back, height])
        place = place + sit[:, None] * (seat - place)
    q[:, :3] = place
    set_legs(model, sizes, q, ankles, feet)
    _raise_heels(model, sizes, q, ankles, feet)


def _raise_heels(model: BodyModel, sizes: LegSizes, q: Array, ankles: Array, feet: Array) -> None:
    """Where an ankle would bend farther than it can, the foot turns about its toes instead; in place."""
    toe = np.array([0.0, sizes.toe_mm, -sizes.sole_mm])
    columns = [model.freedom(f"{side}_foot.dorsiflexion") for side in SIDES]
    end = _HEEL_PART * model.freedoms[columns[0]].upper_deg
    for _ in range(3):
        lifted = False
        for number, column in enumerate(columns):
            beyond = np.degrees(q[:, column]) - end
            if beyond.max() <= -8.0:
                continue
            # Over 2 degrees, so that no jerk comes from the heel's leaving the ground.
            turned = feet[number] @ elementary(0, -np.radians(2.0 * np.logaddexp(0.0, beyond / 2.0)))
            ankles[number] += (feet[number] - turned) @ toe
            feet[number], lifted = turned, True
        if not lifted:
            return
        set_legs(model, sizes, q, ankles, feet)
