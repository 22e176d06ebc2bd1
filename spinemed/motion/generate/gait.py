"""Walking: normative hip, knee and ankle angles move the body over its standing foot; a turn bends the path.

Convention: the path starts along +y; phase 0 is the right foot's contact. First a stride is worked out in the sagittal
plane on a periodic grid (angles -> feet relative to the hip -> the pelvis goes where the standing foot does not slip
and the lowest point touches the ground), then feet and pelvis are laid along a circle or a line, and the legs reach the
feet exactly (`legs.set_legs`). So a standing foot stays where it is even in a turn.

The trap: speed is not set; it follows from stride time and leg length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.generate.legs import LegSizes, leg_sizes, set_legs
from spinemed.motion.generate.norms import draw, gait_curves
from spinemed.motion.generate.timing import minimum_jerk
from spinemed.motion.model import BodyModel
from spinemed.motion.rotations import elementary

__all__ = ["Stride", "Walk", "draw_walk", "set_walk", "walk_channels"]

Array = NDArray[np.float64]
_GRID = 200
_TURN = 2 * np.pi
# Length of double support in strides, and over how many millimetres the lowest point of a foot passes to another one.
_DOUBLE, _SOFT_MM = 0.12, 6.0
# A swinging foot clears the ground by this much at least.
_CLEARANCE_MM = 14.0
# Who walks farther than this leaves the views of a studio of 4.5 m radius, and turns instead.
_WALKWAY_MM = 4200.0


@dataclass(frozen=True)
class Stride:
    """One stride on a grid of phases: pelvis' advance [G] beyond mean speed and height, feet of both sides [2, G].

    `ankle_mm` [2, G, 2] is (ahead of the pelvis' origin, above the ground), `pitch_rad` toes up.
    """

    length_mm: float
    ahead_mm: Array
    height_mm: Array
    ankle_mm: Array
    pitch_rad: Array


@dataclass(frozen=True)
class Walk:
    """What was drawn for a walk."""

    stride_s: float
    phase: float
    turn_mm: float
    values: dict[str, float]
    stride: Stride


def draw_walk(model: BodyModel, rng: np.random.Generator, seconds: float, *, straight: float = 0.35) -> Walk:
    """Draw a walk; `straight` is the share of walks along a line, if the studio is long enough for one."""
    names = (
        "swing_factor", "pelvis_obliquity", "pelvis_rotation", "pelvis_tilt", "lateral_sway", "step_width", "toe_out",
        "lumbar_flexion", "lumbar_bending", "lumbar_rotation", "thoracic_bending", "thoracic_rotation", "trunk_lean",
        "arm_swing", "elbow_swing",
    )  # fmt: skip
    values = {name: draw(rng, "gait", name) for name in names}
    stride_s = draw(rng, "gait", "stride")
    jitter = np.array([[draw(rng, "gait", "joint_jitter") for _ in range(4)] for _ in range(2)])
    line = rng.random() < straight
    radius = draw(rng, "gait", "turn_radius") * (1.0 if rng.random() < 0.5 else -1.0)
    stride = _stride(leg_sizes(model), values, jitter)
    line &= stride.length_mm * seconds / stride_s < _WALKWAY_MM
    return Walk(stride_s, float(rng.random()), float("inf") if line else radius, values, stride)


def _smooth(values: Array, harmonics: int) -> Array:
    spectrum = np.fft.rfft(values)
    spectrum[harmonics + 1 :] = 0.0
    return np.fft.irfft(spectrum, len(values))


def _stride(sizes: LegSizes, values: dict[str, float], jitter: Array) -> Stride:
    phase = np.arange(_GRID) / _GRID
    hip, knee, ankle = gait_curves(_GRID).T
    pitch = hip - knee + ankle
    first, second = np.stack([np.cos(_TURN * phase), np.cos(2 * _TURN * phase)]), np.sin(_TURN * phase)
    hip = values["swing_factor"] * hip + jitter[0, :2] @ first + jitter[0, 2] * second
    knee = np.maximum(values["swing_factor"] * knee, 2.5) + np.abs(jitter[1, 0]) * (1 + first[0]) / 2
    pitch = np.where(np.abs(pitch) > 2.0, values["swing_factor"], 1.0) * pitch
    thigh, shank, pitch = np.radians(hip), np.radians(hip - knee), np.radians(_smooth(pitch, 12))
    ahead = sizes.thigh_mm * np.sin(thigh) + sizes.shank_mm * np.sin(shank)
    below = -sizes.thigh_mm * np.cos(thigh) - sizes.shank_mm * np.cos(shank)
    turn = np.radians(values["pelvis_rotation"]) * np.cos(_TURN * phase)
    drop = -np.radians(values["pelvis_obliquity"]) * np.cos(_TURN * (phase - 0.15))
    feet = []
    for side, shift in ((1.0, 0), (-1.0, _GRID // 2)):
        half = side * sizes.hips_mm[0, 0]
        # Turning to the left brings the right hip forward; obliquity lowers the right hip.
        y = np.roll(ahead, shift) + half * np.sin(turn)
        z = np.roll(below, shift) - half * np.sin(drop)
        feet.append((y, z, np.roll(pitch, shift)))
    # The load passes from foot to foot during double support, the eighth after each contact.
    loads = minimum_jerk(phase / _DOUBLE) - minimum_jerk((phase - 0.5) / _DOUBLE)
    height, step = np.zeros(_GRID), np.zeros(_GRID)
    for number, (y, z, tilt) in enumerate(feet):
        load = np.roll(loads, number * _GRID // 2)
        ends = [
            (y + along * np.cos(tilt) + sizes.sole_mm * np.sin(tilt),
             z + along * np.sin(tilt) - sizes.sole_mm * np.cos(tilt))
            for along in (0.9 * sizes.heel_mm, 0.95 * sizes.toe_mm)
        ]  # fmt: skip
        low = np.stack([end[1] for end in ends])
        ground = -_SOFT_MM * np.logaddexp.reduce(-low / _SOFT_MM, axis=0)
        height -= load * ground
        # The pelvis moves against the end of the foot that is the lower one.
        weights = np.exp(-(low - ground) / _SOFT_MM)
        speeds = np.stack([np.gradient(np.concatenate([e[0][-2:], e[0], e[0][:2]]))[2:-2] for e in ends])
        step -= load * (weights * speeds).sum(axis=0) / weights.sum(axis=0)
    height, step = _smooth(height, 6), _smooth(step, 6)
    length = float(step.sum())
    travelled = np.concatenate([[0.0], np.cumsum((step + np.roll(step, -1)) / 2)[:-1]])
    return Stride(
        length_mm=length,
        ahead_mm=travelled - length * phase,
        height_mm=height,
        ankle_mm=np.stack(
            [
                np.stack([y, _cleared(sizes, z + height, tilt, swing)], axis=-1)
                for (y, z, tilt), swing in zip(feet, (phase, (phase + 0.5) % 1.0), strict=True)
            ]
        ),
        pitch_rad=np.stack([tilt for _, _, tilt in feet]),
    )


def _cleared(sizes: LegSizes, z: Array, pitch: Array, phase: Array) -> Array:
    """Ankle heights with the foot raised so far that its sole stays on the ground, and clears it in mid-swing."""
    ends = [z + a * np.sin(pitch) - sizes.sole_mm * np.cos(pitch) for a in (sizes.heel_mm, sizes.toe_mm)]
    wanted = _CLEARANCE_MM * (minimum_jerk((phase - 0.62) / 0.14) - minimum_jerk((phase - 0.80) / 0.18))
    lift = 3.0 * np.logaddexp(0.0, (wanted - np.minimum(*ends)) / 3.0)
    return np.asarray(z + _smooth(lift, 12))


def walk_channels(walk: Walk, t: Array) -> dict[str, Array]:
    """Pelvis, trunk and arms over time [T], in degrees, by the names of `motions`."""
    phase = _TURN * (walk.phase + t / walk.stride_s)
    v = walk.values
    rotation = v["pelvis_rotation"] * np.cos(phase)
    obliquity = -v["pelvis_obliquity"] * np.cos(phase - 0.15 * _TURN)
    bending = v["lumbar_bending"] * np.cos(phase - 0.15 * _TURN)
    side = v["thoracic_bending"] * np.cos(phase - 0.2 * _TURN)
    lumbar, thoracic = (-v[name] * np.cos(phase - 0.04 * _TURN) for name in ("lumbar_rotation", "thoracic_rotation"))
    # In a turn people look some degrees ahead along the path.
    ahead = 0.0 if np.isinf(walk.turn_mm) else -np.degrees(400.0 / walk.turn_mm)
    flexion = v["lumbar_flexion"] * np.cos(2 * phase - 0.1 * _TURN) + 0.5 * v["trunk_lean"]
    found = {
        "pelvis_rotation": rotation, "pelvis_obliquity": obliquity,
        "pelvis_tilt": v["pelvis_tilt"] * np.cos(2 * phase - 0.3 * _TURN) + 0.4 * v["trunk_lean"],
        "lumbar_flexion": flexion, "lumbar_bending": bending, "lumbar_rotation": lumbar,
        "thoracic_flexion": 0.3 * flexion, "thoracic_bending": side, "thoracic_rotation": thoracic,
        "cervical_flexion": -0.6 * flexion, "cervical_bending": -0.8 * (obliquity + bending + side),
        "cervical_rotation": -0.85 * (rotation + lumbar + thoracic) + ahead,
    }  # fmt: skip
    for name, sign in (("right", -1.0), ("left", 1.0)):
        swing = sign * np.cos(phase)
        found[f"{name}_arm_flexion"] = v["arm_swing"] * swing
        found[f"{name}_elbow"] = 6.0 + v["elbow_swing"] * (1 + swing)
        found[f"{name}_protraction"] = 4.0 * swing
    return found


def set_walk(model: BodyModel, walk: Walk, q: Array, t: Array) -> None:
    """Fill the pelvis' place and the legs of poses q [T, n] whose pelvis angles stand; in place."""
    sizes, stride = leg_sizes(model), walk.stride
    strides = walk.phase + t / walk.stride_s
    phase = strides % 1.0
    speed = stride.length_mm
    middle = speed * (strides[0] + strides[-1]) / 2
    # A line is walked through the middle of the studio.
    travelled = speed * strides + _periodic(stride.ahead_mm, phase) - (middle if np.isinf(walk.turn_mm) else 0.0)
    sway = walk.values["lateral_sway"] * np.cos(_TURN * (phase - 0.30))
    place, heading = _lay(walk.turn_mm, travelled, sway)
    q[:, :2], q[:, 2] = place, _periodic(stride.height_mm, phase) - 2.0
    q[:, 3] += heading
    ankles, feet = np.empty((2, len(t), 3)), np.empty((2, len(t), 3, 3))
    for number, side in enumerate((1.0, -1.0)):
        ahead = travelled + _periodic(stride.ankle_mm[number, :, 0], phase)
        at, turn = _lay(walk.turn_mm, ahead, np.full(len(t), side * walk.values["step_width"] / 2))
        ankles[number, :, :2], ankles[number, :, 2] = at, _periodic(stride.ankle_mm[number, :, 1], phase)
        out = elementary(2, turn - side * np.radians(walk.values["toe_out"]))
        feet[number] = out @ elementary(0, _periodic(stride.pitch_rad[number], phase))
    set_legs(model, sizes, q, ankles, feet)


def _periodic(values: Array, phase: Array) -> Array:
    """Values on the grid at phases in [0, 1), by their Fourier series: smooth at any rate."""
    spectrum = np.fft.rfft(values)[:13] / len(values)
    spectrum[1:] *= 2
    waves = np.exp(1j * _TURN * phase[:, None] * np.arange(len(spectrum)))
    return np.asarray(np.einsum("tk,k->t", waves, spectrum).real)


def _lay(turn_mm: float, along: Array, right: Array) -> tuple[Array, Array]:
    """Place [T, 2] and heading [T] (rad, to the left) of a point along a circle about the origin, or along y."""
    if np.isinf(turn_mm):
        return np.stack([right, along], axis=-1), np.zeros(len(along))
    heading = -along / turn_mm
    out = right - turn_mm
    return np.stack([out * np.cos(heading), out * np.sin(heading)], axis=-1), heading
