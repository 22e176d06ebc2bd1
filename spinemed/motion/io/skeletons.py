"""BVH and ASF/AMC: skeletons with rotations, as character animation keeps them.

Convention: y points up; joints' places are computed here. BVH names no unit: the one among m, cm, inch and mm that
makes a person is taken, and flagged "unit_assumed" unless given. ASF lengths are inches divided by its length unit
(CMU's 0.45), as CMU's pages state; AMC names no frame rate: 120 Hz unless given, and flagged.

The trap: BVH rotations turn about the joint's own axes in the order in which the channels are listed (R = R1 R2 R3);
ASF bones turn in axes of their own (R = C M C^-1 with M = Rz Ry Rx).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spinemed.errors import ReadError
from spinemed.motion.checks import Flag
from spinemed.motion.conventions import MotionError, from_up_axis
from spinemed.motion.io.clips import SkeletonClip, read_text_lines

__all__ = ["read_amc", "read_bvh"]

_UNITS = {"m": 1000.0, "cm": 10.0, "inch": 25.4, "mm": 1.0}
_RATE_HZ = 120.0


@dataclass
class _Joint:
    name: str
    parent: int
    offset: NDArray[np.float64]
    channels: list[str] = field(default_factory=list)


def read_bvh(path: str | os.PathLike[str], *, unit: str | None = None, up: str = "y") -> SkeletonClip:
    """Read a BVH file.

    Args:
        path: The file.
        unit: "m", "cm", "inch" or "mm"; None takes the one that makes a person of 0.8 to 2.4 m at rest.
        up: Which axis points up.

    Raises:
        ReadError: missing, empty, no BVH, a row that does not fit the channels, or fewer frames than declared.
        MotionError: an unknown unit, no plausible unit, or NaN.
    """
    lines = read_text_lines(path, "BVH")
    words = [(word, number) for number, line in enumerate(lines, 1) for word in line.split()]
    joints, at = _hierarchy(words, path)
    if at + 1 >= len(words) or words[at][0] != "MOTION" or words[at + 1][0] != "Frames:":
        raise ReadError("has no MOTION section", file=path, cure="export the clip again")
    try:
        frames = int(words[at + 2][0])
        if [words[at + 3][0], words[at + 4][0]] != ["Frame", "Time:"]:
            raise ValueError("no frame time")
        step = float(words[at + 5][0])
    except (ValueError, IndexError) as error:
        raise ReadError(f"its MOTION header is damaged ({error})", file=path, cure="export it again") from error
    if not step > 0 or frames < 1:
        raise ReadError(f"{frames} frames of {step} s", file=path, field="Frame Time", cure="export the clip again")
    width = sum(len(joint.channels) for joint in joints)
    found = words[at + 6 :]
    if len(found) != frames * width:
        raise ReadError(
            f"{len(found)} values, expected {frames} frames of {width}", file=path, field="Frames",
            line=found[-1][1] if found else None, cure="the file is cut off or damaged: export it again",
        )  # fmt: skip
    try:
        values = np.array([float(word) for word, _ in found]).reshape(frames, width)
    except ValueError as error:
        raise ReadError(f"holds what is no number ({error})", file=path, cure="export it again") from error
    if not np.isfinite(values).all():
        raise MotionError("holds NaN or infinity", file=path, field="MOTION", cure="export the clip again")
    points, rotations = _pose_bvh(joints, values)
    scale, name, flags = _person(points, unit, path)
    turn = from_up_axis(np.eye(3), up).T
    return SkeletonClip(
        tuple(joint.name for joint in joints), tuple(joint.parent for joint in joints),
        from_up_axis(points * scale, up), turn @ rotations, 1.0 / step, name, up, tuple(flags), os.fspath(path),
    )  # fmt: skip


def _hierarchy(words: list[tuple[str, int]], path: str | os.PathLike[str]) -> tuple[list[_Joint], int]:
    if not words or words[0][0] != "HIERARCHY":
        raise ReadError("does not begin with HIERARCHY", file=path, cure="give a BVH file")
    joints: list[_Joint] = []
    stack: list[int] = []
    i, current = 1, -1
    try:
        while i < len(words):
            word, line = words[i]
            if word in ("ROOT", "JOINT"):
                joints.append(_Joint(words[i + 1][0], stack[-1] if stack else -1, np.zeros(3)))
                current, i = len(joints) - 1, i + 2
            elif word == "End":
                parent = stack[-1]
                joints.append(_Joint(joints[parent].name + "_end", parent, np.zeros(3)))
                current, i = len(joints) - 1, i + 2
            elif word == "{":
                stack.append(current)
                i += 1
            elif word == "}":
                stack.pop()
                i += 1
            elif word == "OFFSET":
                joints[current].offset = np.array([float(words[i + k][0]) for k in (1, 2, 3)])
                i += 4
            elif word == "CHANNELS":
                count = int(words[i + 1][0])
                channels = [words[i + 2 + k][0] for k in range(count)]
                if any(c[1:] not in ("position", "rotation") or c[0] not in "XYZ" for c in channels):
                    raise ReadError(f"unknown channels {channels}", file=path, line=line, cure="export it again")
                joints[current].channels = channels
                i += 2 + count
            elif word == "MOTION":
                break
            else:
                raise ReadError(f"{word!r} is not expected here", file=path, line=line, cure="export it again")
    except (IndexError, ValueError) as error:
        raise ReadError("its hierarchy is damaged or cut off", file=path, cure="export the clip again") from error
    if stack or not joints:
        raise ReadError("its hierarchy is cut off", file=path, cure="export the clip again")
    return joints, i


def _turn(axis: str, degrees: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right-handed rotations [T, 3, 3] about x, y or z."""
    angle = np.radians(degrees)
    c, s = np.cos(angle), np.sin(angle)
    i = "XYZ".index(axis.upper())
    j, k = (i + 1) % 3, (i + 2) % 3
    out = np.zeros((len(angle), 3, 3))
    out[:, i, i] = 1.0
    out[:, j, j] = out[:, k, k] = c
    out[:, j, k], out[:, k, j] = -s, s
    return out


def _pose_bvh(joints: list[_Joint], values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    frames = len(values)
    points = np.zeros((frames, len(joints), 3))
    rotations = np.zeros((frames, len(joints), 3, 3))
    column = 0
    for number, joint in enumerate(joints):
        place = np.repeat(joint.offset[None], frames, axis=0)
        turn = np.repeat(np.eye(3)[None], frames, axis=0)
        moved = False
        for channel in joint.channels:
            value = values[:, column]
            column += 1
            if channel.endswith("position"):
                if not moved:  # positions replace the offset, as most software reads them
                    place, moved = np.zeros((frames, 3)), True
                place[:, "XYZ".index(channel[0])] = value
            else:
                turn = turn @ _turn(channel[0], value)
        if joint.parent < 0:
            points[:, number], rotations[:, number] = place, turn
        else:
            above = rotations[:, joint.parent]
            points[:, number] = points[:, joint.parent] + np.einsum("tij,tj->ti", above, place)
            rotations[:, number] = above @ turn
    return points, rotations


def _person(
    points: NDArray[np.float64], unit: str | None, path: str | os.PathLike[str]
) -> tuple[float, str, list[Flag]]:
    if unit is not None:
        if unit not in _UNITS:
            raise MotionError(f"the unit {unit!r} is unknown", field="unit", cure=f"use one of {', '.join(_UNITS)}")
        return _UNITS[unit], unit, []
    size = float(np.median((points.max(axis=1) - points.min(axis=1)).max(axis=1)))
    fitting = [name for name, mm in _UNITS.items() if 800 <= size * mm <= 2400]
    if not fitting:
        raise MotionError(
            f"the skeleton spans {size:.4g}, which no unit turns into a person", file=path, field="unit",
            cure=f"give the unit yourself: {', '.join(_UNITS)}",
        )  # fmt: skip
    best = min(fitting, key=lambda name: abs(np.log(size * _UNITS[name] / 1650.0)))
    message = f"the file names no unit; {best} makes a person of {size * _UNITS[best]:.0f} mm"
    return _UNITS[best], best, [Flag("unit_assumed", message)]


# --- ASF/AMC ------------------------------------------------------------------------------------------------------


@dataclass
class _Bone:
    name: str
    direction: NDArray[np.float64] = field(default_factory=lambda: np.zeros(3))
    length: float = 0.0
    axis: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    freedoms: list[str] = field(default_factory=list)
    parent: str = "root"


def read_amc(
    path: str | os.PathLike[str],
    skeleton: str | os.PathLike[str],
    *,
    rate_hz: float | None = None,
    up: str = "y",
) -> SkeletonClip:
    """Read an AMC motion with its ASF skeleton. A bone is named by, and placed at, its far end.

    Args:
        path: The AMC file.
        skeleton: The ASF file.
        rate_hz: Frames per second; None assumes 120 and flags it.
        up: Which axis points up.

    Raises:
        ReadError: missing, empty, damaged, or a bone that the skeleton lacks.
        MotionError: a rate that is none.
    """
    if rate_hz is not None and not rate_hz > 0:
        raise MotionError(f"{rate_hz} frames per second", field="rate_hz", cure="give a positive number")
    bones, length_unit, degrees, order = _read_asf(skeleton)
    values, frames = _read_amc_values(path, bones, order)
    to_deg = 1.0 if degrees else 180.0 / np.pi
    scale = 25.4 / length_unit
    names = ["root", *bones]
    parents = [-1, *(names.index(bone.parent) for bone in bones.values())]
    points, rotations = np.zeros((frames, len(names), 3)), np.zeros((frames, len(names), 3, 3))
    root = {key: values["root"][:, i] for i, key in enumerate(order)}
    points[:, 0] = np.stack([root[key] for key in ("TX", "TY", "TZ")], axis=1) * scale
    rotations[:, 0] = _turns({key.lower(): root[key] * to_deg for key in ("RX", "RY", "RZ")}, frames)
    for number, bone in enumerate(bones.values(), 1):
        own = {name: values[bone.name][:, i] * to_deg for i, name in enumerate(bone.freedoms)}
        turn = bone.axis @ _turns(own, frames) @ bone.axis.T
        rotations[:, number] = rotations[:, parents[number]] @ turn
        reach = bone.direction * bone.length * scale
        points[:, number] = points[:, parents[number]] + rotations[:, number] @ reach
    flags = []
    if rate_hz is None:
        flags.append(Flag("rate_assumed", f"AMC names no frame rate: {_RATE_HZ:g} Hz assumed"))
    turned = from_up_axis(np.eye(3), up).T
    return SkeletonClip(
        tuple(names), tuple(parents), from_up_axis(points, up), turned @ rotations, rate_hz or _RATE_HZ, "inch", up,
        tuple(flags), os.fspath(path),
    )  # fmt: skip


def _turns(angles_deg: dict[str, NDArray[np.float64]], frames: int) -> NDArray[np.float64]:
    """Rz Ry Rx of the given angles, absent ones 0."""
    turn = np.repeat(np.eye(3)[None], frames, axis=0)
    for axis in "xyz":
        if f"r{axis}" in angles_deg:
            turn = _turn(axis, angles_deg[f"r{axis}"]) @ turn
    return turn


def _read_asf(path: str | os.PathLike[str]) -> tuple[dict[str, _Bone], float, bool, list[str]]:
    lines = read_text_lines(path, "ASF")
    section, bones, bone = "", {}, None
    length, degrees, order = 1.0, True, ["TX", "TY", "TZ", "RX", "RY", "RZ"]
    axis: tuple[list[float], str] | None = None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0].startswith(":"):
            section = words[0]
            continue
        try:
            if section == ":units":
                if words[0] == "length":
                    length = float(words[1])
                if words[0] == "angle":
                    degrees = words[1].startswith("deg")
            elif section == ":root" and words[0] == "order":
                order = [word.upper() for word in words[1:]]
            elif section == ":bonedata":
                if words[0] == "begin":
                    bone, axis = _Bone(""), None
                elif words[0] == "end" and bone is not None:
                    if axis is not None:
                        by = {f"r{name}": np.array([value]) for name, value in zip(axis[1].lower(), axis[0])}
                        bone.axis = _turns({k: v if degrees else np.degrees(v) for k, v in by.items()}, 1)[0]
                    bones[bone.name] = bone
                    bone = None
                elif bone is not None:
                    if words[0] == "name":
                        bone.name = words[1]
                    elif words[0] == "direction":
                        x, y, z = (float(word) for word in words[1:4])
                        bone.direction = np.array([x, y, z])
                    elif words[0] == "length":
                        bone.length = float(words[1])
                    elif words[0] == "axis":
                        axis = ([float(word) for word in words[1:4]], words[4])
                    elif words[0] == "dof":
                        bone.freedoms = [word.lower() for word in words[1:]]
            elif section == ":hierarchy" and words[0] not in ("begin", "end"):
                for child in words[1:]:
                    bones[child].parent = words[0]
        except (ValueError, IndexError, KeyError) as error:
            raise ReadError(f"is damaged ({error})", file=path, line=number, cure="give the whole ASF file") from error
    if not bones or length <= 0:
        raise ReadError("holds no bone", file=path, cure="give an ASF skeleton")
    if set(order) != {"TX", "TY", "TZ", "RX", "RY", "RZ"}:
        raise ReadError(f"a root of {order}", file=path, field="order", cure="give a root of six freedoms")
    ordered: dict[str, _Bone] = {}
    while len(ordered) < len(bones):
        ready = [b for b in bones.values() if b.name not in ordered and (b.parent == "root" or b.parent in ordered)]
        if not ready:
            raise ReadError("its hierarchy is no tree", file=path, field=":hierarchy", cure="give the whole ASF file")
        ordered.update({b.name: b for b in ready})
    return ordered, length, degrees, order


def _read_amc_values(
    path: str | os.PathLike[str], bones: dict[str, _Bone], order: list[str]
) -> tuple[dict[str, NDArray[np.float64]], int]:
    expected = {"root": len(order), **{bone.name: len(bone.freedoms) for bone in bones.values() if bone.freedoms}}
    found: list[dict[str, list[float]]] = []
    for number, line in enumerate(read_text_lines(path, "AMC"), 1):
        words = line.split()
        if not words or words[0][0] in "#:":
            continue
        if len(words) == 1 and words[0].isdecimal():
            found.append({})
            continue
        if not found or words[0] not in expected:
            raise ReadError(f"{words[0]!r} is no bone of the skeleton", file=path, line=number, cure="check both files")
        try:
            values = [float(word) for word in words[1:]]
        except ValueError as error:
            raise ReadError(f"holds what is no number ({error})", file=path, line=number, cure="mend it") from error
        if len(values) != expected[words[0]] or not np.isfinite(values).all():
            raise ReadError(
                f"{len(values)} values of {words[0]!r}, expected {expected[words[0]]} finite ones", file=path,
                line=number, cure="the file is cut off or damaged here",
            )  # fmt: skip
        found[-1][words[0]] = values
    if not found:
        raise ReadError("holds no frame", file=path, cure="give an AMC motion")
    for number, frame in enumerate(found, 1):
        gone = sorted(set(expected) - set(frame))
        if gone:
            raise ReadError(
                f"frame {number} lacks {gone[0]!r}", file=path, field=gone[0], cure="the file is cut off or damaged"
            )
    table = {name: np.array([frame[name] for frame in found]) for name in expected}
    table.update({name: np.zeros((len(found), 0)) for name in bones if name not in table})
    return table, len(found)
