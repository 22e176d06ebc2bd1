"""What a page or a picture of a moving spine shows: a subject, its poses, its doubts, from a fit or a data set.

Convention: millimetres on our axes; `SHAPES` are bodies' outlines in their own frames, drawn from the tables' sizes.
The trap: these blocks are sizes of an average adult, scaled; they are drawings of a model and no image of the person.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spinemed.motion.checks import Flag
from spinemed.motion.conventions import MotionError
from spinemed.motion.curves import sagittal_curves_deg
from spinemed.motion.keypoints import SKELETON, SPINETRACK_37, keypoint_markers, laboratory_markers
from spinemed.motion.kinematics import Placement, forward, place_points
from spinemed.motion.model import BodyModel
from spinemed.motion.tables import read_table

__all__ = ["Scene", "read_scene"]


@dataclass(frozen=True)
class Scene:
    """A clip to be shown.

    Attributes:
        title: Name of the clip.
        subtitle: What it is, in one sentence.
        model: The subject; q [T, n] its poses.
        rate_hz: Frames per second.
        flags: Doubts.
        angle_sd_deg: [T, 25, 3], or None.
        seen_mm: [T, M, 3] measured markers, or None; seen_body [M] the bodies that carry them.
    """

    title: str
    subtitle: str
    model: BodyModel
    q: NDArray[np.float64]
    rate_hz: float
    flags: tuple[Flag, ...] = ()
    angle_sd_deg: NDArray[np.float64] | None = None
    seen_mm: NDArray[np.float64] | None = None
    seen_body: NDArray[np.int64] | None = None

    @cached_property
    def placement(self) -> Placement:
        """Where every body is in every frame."""
        return forward(self.model, self.q)

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """[T, 25, 3] flexion, lateral bending, axial rotation of the segments."""
        return self.model.spine_angles_deg(self.q)

    @property
    def curves_deg(self) -> dict[str, NDArray[np.float64]]:
        """Lordosis and kyphosis [T] by name."""
        return sagittal_curves_deg(self.model, self.q)

    @property
    def limits_deg(self) -> NDArray[np.float64]:
        """[25, 3, 2] lower and upper limit of each angle."""
        low, high = self.model.limits_rad
        both = np.degrees(np.stack([low[self.model.spine], high[self.model.spine]], axis=-1))
        return np.asarray(both.reshape(-1, 3, 2))

    def blocks_mm(self, rows: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """[T, 24, 11, 3] corners of each vertebra, L5 first: eight of the body, then neck, tip and root of the spine.

        The bodies' corners are lower right front, right back, left back, left front, then the same above.
        """
        placement = self.placement
        origin, turn = placement.origins_mm[:, 1:25], placement.rotations[:, 1:25]
        if rows is not None:
            origin, turn = origin[rows], turn[rows]
        return np.asarray(origin[:, :, None] + np.einsum("tvij,vkj->tvki", turn, self.shapes_mm))

    @cached_property
    def shapes_mm(self) -> NDArray[np.float64]:
        """[24, 11, 3] the same corners in each vertebra's frame."""
        sizes = {row["level"]: row for row in read_table("vertebrae")}
        shapes = []
        for vertebra, centre in zip(self.model.vertebrae, self.model.centroid_mm, strict=True):
            row = sizes[str(vertebra.level)]
            grow = vertebra.depth_mm / float(row["depth_mm"])
            w, d, h = vertebra.width_mm / 2, vertebra.depth_mm / 2, vertebra.height_mm / 2
            ring = np.array([[w, d, 0], [w, -d, 0], [-w, -d, 0], [-w, d, 0]])
            rise = np.array([0.0, 0.0, h])
            tip = np.array([0.0, -float(row["spinous_behind_mm"]) * grow, float(row["spinous_up_mm"]) * grow])
            corners = [*(ring - rise), *(ring + rise), [0, -d, 0.4 * h], tip, [0, -d, -0.4 * h]]
            shapes.append(np.array(corners) + centre)
        return np.array(shapes)

    def frame_mm(self) -> tuple[NDArray[np.float64], list[tuple[int, int]]]:
        """Pelvis, head and limbs as points [T, P, 3] and edges between their numbers.

        A limb or head that no measured marker sits on, nor on what hangs from it, is not drawn: its pose is a guess.
        """
        names = list(keypoint_markers(self.model).names)
        surface = place_points(self.placement, keypoint_markers(self.model))
        rim = laboratory_markers(self.model, ("LASI", "RASI", "RPSI", "LPSI"))
        points = np.concatenate([surface, place_points(self.placement, rim), self._sacrum()], axis=1)
        left, right, behind, beside = range(len(names), len(names) + 4)
        sacrum = len(names) + 4
        edges = [(left, right), (right, behind), (behind, sacrum), (sacrum, beside), (beside, left)]
        hip = [names.index("left_hip"), names.index("right_hip")]
        edges += [(left, hip[0]), (beside, hip[0]), (right, hip[1]), (behind, hip[1]), (hip[0], hip[1])]
        skin = {"hip", "neck", "neck_02", "neck_03", *(f"spine_0{k}" for k in range(1, 6))}
        skin |= {f"{side}_{part}" for side in ("left", "right") for part in ("latissimus",)}
        for a, b in SKELETON:
            one, two = SPINETRACK_37[a], SPINETRACK_37[b]
            if one in names and two in names and not {one, two} & skin:
                edges.append((names.index(one), names.index(two)))
        if "left_shoulder" in names:
            edges.append((names.index("left_clavicle"), names.index("right_clavicle")))
        for ear in ("left_ear", "right_ear"):
            edges += [(names.index(ear), names.index(end)) for end in ("head", "nose")]
        shown = self._shown()
        body = [*keypoint_markers(self.model).body.tolist(), 0, 0, 0, 0, 0]
        for number in hip:
            body[number] = 0  # the joint's centre is a point of the pelvis as well
        edges = [(a, b) for a, b in edges if body[a] in shown and body[b] in shown]
        used = sorted({number for edge in edges for number in edge})
        new = {number: k for k, number in enumerate(used)}
        return points[:, used], [(new[a], new[b]) for a, b in edges]

    def _shown(self) -> set[int]:
        """Bodies that markers speak of: pelvis and vertebrae always."""
        if self.seen_body is None:
            return set(range(len(self.model.bodies)))
        shown = set(range(25))
        for number in self.seen_body.tolist():
            while number >= 0:
                shown.add(number)
                number = int(self.model.parent[number])
        return shown

    def _sacrum(self) -> NDArray[np.float64]:
        place = self.placement
        return np.asarray(place.origins_mm[:, :1] + (place.rotations[:, 0] @ self.model.sacrum_mm)[:, None])


def read_scene(path: str | os.PathLike[str], clip: str | None = None) -> Scene:
    """The scene of a fit's folder, or of one clip of a data set's folder.

    Raises:
        ReadError: neither.
        MotionError: a clip is named where there is only one, none where there are several, or one that is not there.
    """
    root = Path(path)
    if (root / "dataset.json").is_file():
        return _simulated(root, clip)
    from spinemed.motion.fitting import read_clip_fit

    found = read_clip_fit(root)
    if clip is not None and clip != found.clip_id:
        raise MotionError(f"the fit is of {found.clip_id!r}", file=root, field="clip", cure="leave --clip out")
    flags = tuple(Flag(f["name"], f["message"], tuple(f["markers"])) for f in found.report["flags"])
    text = (
        f"Fitted to {found.report['kind']}: {len(found.names)} markers, {found.report['rms_mm']:.1f} mm RMS. Angles of "
        "single levels are what a prior makes of them."
    )
    return Scene(
        found.clip_id, text, found.model, found.q, found.rate_hz, flags, found.angle_sd_deg, found.points_mm,
        found.body,
    )  # fmt: skip


def _simulated(root: Path, name: str | None) -> Scene:
    from spinemed.motion.dataset.read import read_dataset

    dataset = read_dataset(root)
    names = list(dataset.clips["clip_id"])
    if name is None and len(names) > 1:
        raise MotionError(
            f"holds {len(names)} clips ({', '.join(names[:4])} ...)",
            file=root,
            field="clip",
            cure="name one with --clip",
        )
    if name is not None and name not in names:
        raise MotionError(
            f"holds no clip {name!r}", file=root, field="clip", cure=f"use one of {', '.join(names[:8])} ..."
        )
    clip = dataset.clip(name or names[0])
    whom = f"{clip.motion} of subject {clip.subject} ({clip.sex}, {clip.stature_mm:.0f} mm)"
    text = f"Simulated: {whom}. Nobody was measured."
    return Scene(clip.clip_id, text, clip.model(), clip.q, clip.rate_hz)
