"""Poses under OpenSim's coordinate names and signs, and back.

Convention: degrees and metres on OpenSim's axes (x anterior, y up, z right). Spine joints are named in the manner of
the full-body lumbar models: L5_S1_Flex_Ext (flexion negative), L5_S1_Lat_Bending, L5_S1_axial_rotation; the joint
between T12 and L1 is L1_T12 there, and all further joints follow the upper-lower manner (T11_T12, C7_T1, C0_C1). The
pelvis is tilt (z), list (x), rotation (y), in that order of turning; its place is the midpoint of the hip joints. Limbs
have the signs of the Rajagopal body: flexion of hip, knee, shoulder and elbow, dorsiflexion, inversion, adduction and
internal rotation are positive on both sides.

`SIMSPINE_AXES` are the 62 names of SIMSPINE's files. Its body has one rigid block from T12 to the shoulders and one
neck joint: here neck_* is the head's turn relative to T12 since standing, so thoracic and cervical motion are summed.
Axes that our body does not have (toes, forearm and wrist turns, abdomen, knee_angle_*_beta) are NaN, never 0.

The traps: angles add only joint by joint, so a neck of 30 degrees here is not 30 degrees between C7 and C0; and the
older gait models (gait2354, gait2392) count flexion of the knee negative.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spinemed.motion.conventions import MotionError, from_opensim, from_up_axis, opensim_rotation, to_opensim
from spinemed.motion.kinematics import forward
from spinemed.motion.model import BodyModel

__all__ = ["SIMSPINE_AXES", "osim_names", "osim_values", "poses_from_osim"]

_KINDS = ("Flex_Ext", "Lat_Bending", "axial_rotation")
_LUMBAR = ("L5_S1", "L4_L5", "L3_L4", "L2_L3", "L1_L2", "L1_T12")
_PELVIS = ("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz")
_NECK = ("neck_flexion", "neck_bending", "neck_rotation")


def _leg(side: str) -> tuple[str, ...]:
    return tuple(
        f"{name}_{side}" if "beta" not in name else f"knee_angle_{side}_beta"
        for name in ("hip_flexion", "hip_adduction", "hip_rotation", "knee_angle", "beta", "ankle_angle",
                     "subtalar_angle", "mtp_angle")
    )  # fmt: skip


def _arm(side: str) -> tuple[str, ...]:
    return tuple(
        f"{name}_{side}"
        for name in ("arm_flex", "arm_add", "arm_rot", "elbow_flex", "pro_sup", "wrist_flex", "wrist_dev")
    )


SIMSPINE_AXES = (
    *_PELVIS, *_leg("r"), *_leg("l"), *(f"{joint}_{kind}" for joint in _LUMBAR for kind in _KINDS),
    "Abs_r3", "Abs_r2", "Abs_r1", "Abs_t1", "Abs_t2", *_NECK, *_arm("r"), *_arm("l"),
)  # fmt: skip
"""The 62 axes of SIMSPINE's files, in their order."""

_LIMBS = {
    "thigh.flexion": ("hip_flexion", 1.0), "thigh.abduction": ("hip_adduction", -1.0),
    "thigh.external_rotation": ("hip_rotation", -1.0), "shank.flexion": ("knee_angle", 1.0),
    "foot.dorsiflexion": ("ankle_angle", 1.0), "foot.inversion": ("subtalar_angle", 1.0),
    "upper_arm.flexion": ("arm_flex", 1.0), "upper_arm.abduction": ("arm_add", -1.0),
    "upper_arm.external_rotation": ("arm_rot", -1.0), "forearm.flexion": ("elbow_flex", 1.0),
}  # fmt: skip
"""Our limb freedoms, OpenSim's names and the sign between them."""


def _columns(model: BodyModel) -> list[tuple[str, int, float]]:
    """OpenSim name, freedom and sign of every angle of spine and limbs."""
    found = []
    for number, segment in enumerate(model.segments):
        joint = "L1_T12" if str(segment) == "T12/L1" else "_".join(map(str, (segment.upper, segment.lower)))
        for k, kind in enumerate(_KINDS):
            found.append((f"{joint}_{kind}", model.spine.start + 3 * number + k, -1.0 if k == 0 else 1.0))
    for number in range(model.spine.stop, model.size):
        side, _, own = model.names[number].partition("_")
        if own in _LIMBS:
            name, sign = _LIMBS[own]
            found.append((f"{name}_{side[0]}", number, sign))
        else:
            found.append((model.names[number].replace(".", "_"), number, 1.0))  # shoulder girdles: no OpenSim name
    return found


def osim_names(model: BodyModel) -> tuple[str, ...]:
    """All coordinates that describe a pose of the model: six of the pelvis, 75 of the spine, those of the limbs."""
    return (*_PELVIS, *(name for name, _, _ in _columns(model)))


def osim_values(model: BodyModel, q: ArrayLike, names: Sequence[str] | None = None) -> NDArray[np.float64]:
    """[T, C] degrees and metres of poses [T, n] for the named coordinates (None: `osim_names`).

    Names of `SIMSPINE_AXES` that the body does not have give NaN.

    Raises:
        MotionError: an unknown name, or poses that do not fit.
    """
    placed = forward(model, q)
    poses = np.atleast_2d(np.asarray(q, dtype=np.float64))
    table: dict[str, NDArray[np.float64]] = {name: np.full(len(poses), np.nan) for name in SIMSPINE_AXES}
    for name, number, sign in _columns(model):
        table[name] = sign * np.degrees(poses[:, number])
    turns = _zxy(opensim_rotation(placed.rotations[:, 0]))
    place = to_opensim(placed.origins_mm[:, 0])
    table.update(zip(_PELVIS, [*turns.T, *place.T], strict=True))
    chest, head = model.body("T12"), model.body("C0")
    rest = forward(model, model.zero())
    still = rest.rotations[0, chest].T @ rest.rotations[0, head]
    moved = placed.rotations[:, chest].transpose(0, 2, 1) @ placed.rotations[:, head]
    table.update(zip(_NECK, _zxy(opensim_rotation(moved @ still.T)).T, strict=True))
    wanted = osim_names(model) if names is None else tuple(names)
    unknown = [name for name in wanted if name not in table]
    if unknown:
        raise MotionError(
            f"unknown coordinate {unknown[0]!r}", field="names", cure=f"use names among {', '.join(table)}"
        )
    return np.stack([table[name] for name in wanted], axis=1)


def _zxy(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Angles [T, 3] in degrees of R = Rz(a) Rx(b) Ry(c); the first is unwrapped over time."""
    b = np.arcsin(np.clip(rotation[:, 2, 1], -1.0, 1.0))
    a = np.arctan2(-rotation[:, 0, 1], rotation[:, 1, 1])
    c = np.arctan2(-rotation[:, 2, 0], rotation[:, 2, 2])
    return np.asarray(np.degrees(np.stack([np.unwrap(a), b, np.unwrap(c)], axis=1)))


def poses_from_osim(model: BodyModel, names: Sequence[str], values_deg: ArrayLike) -> NDArray[np.float64]:
    """Poses [T, n] from columns [T, C] in degrees and metres; freedoms that no column names rest at 0.

    Pelvis columns count only if all six are there. The block's neck axes (`neck_*`) say nothing about single joints and
    are refused, so that they are not lost unnoticed; NaN columns are passed over.

    Raises:
        MotionError: shapes that do not match, an unknown name, a neck axis, or gaps within a column.
    """
    from scipy.spatial.transform import Rotation

    table = np.asarray(values_deg, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise MotionError(
            f"values of shape {table.shape} for {len(names)} names", field="values_deg", cure="one column per name"
        )
    own = {name: (number, sign) for name, number, sign in _columns(model)}
    q = model.zero(len(table))
    kept = {}
    for name, column in zip(names, table.T, strict=True):
        if np.isnan(column).all():
            continue
        if not np.isfinite(column).all():
            raise MotionError(f"{name!r} has gaps", field=name, cure="fill or cut them first")
        if name in _PELVIS:
            kept[name] = column
        elif name in own:
            number, sign = own[name]
            q[:, number] = sign * np.radians(column)
        else:
            raise MotionError(
                f"no freedom of the model is called {name!r}", field=name,
                cure="leave the column out; a neck joint of one block cannot be shared among seven",
            )  # fmt: skip
    if kept and len(kept) < 6:
        raise MotionError(
            f"the pelvis lacks {', '.join(sorted(set(_PELVIS) - set(kept)))}", field="pelvis",
            cure="give all six or none",
        )  # fmt: skip
    if kept:
        turn = Rotation.from_euler("ZXY", np.stack([kept[name] for name in _PELVIS[:3]], axis=1), degrees=True)
        ours = from_up_axis(np.eye(3), "y").T  # columns are OpenSim's axes on ours
        matrix = ours @ turn.as_matrix() @ ours.T
        q[:, :3] = from_opensim(np.stack([kept[name] for name in _PELVIS[3:]], axis=1))
        # Our pelvis turns as Rz(rotation) Ry(obliquity) Rx(tilt), each with the sign of its freedom.
        angles = Rotation.from_matrix(matrix).as_euler("ZYX")
        q[:, 3:6] = np.unwrap(angles, axis=0) / model.sign[3:6]
    return q
