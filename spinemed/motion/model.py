"""The body that moves: pelvis, 24 presacral vertebrae, head and limbs, as a tree of rigid bodies.

Convention: RAS-like axes in mm (see `conventions`). The pelvis frame starts midway between the hip joints and stands
level at rest; a vertebra's frame starts at the centre of rotation of the joint below it. Bodies are numbered parents
first: pelvis, L5 ... C1, C0 (the head), then limbs.

The trap: a vertebra's origin is not its centroid; `BodyModel.centroid_mm` tells where the centroid lies in the frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level, Segment
from spinemed.motion.alignment import Alignment
from spinemed.motion.conventions import DIRECTIONS, MotionError
from spinemed.motion.joints import LIMIT_FACTOR, ROOT_MOTIONS, Freedom, limb_freedoms, spine_freedoms
from spinemed.motion.rotations import elementary
from spinemed.motion.tables import MOBILE_SEGMENTS, read_table

__all__ = ["SCALE_GROUPS", "BodyModel", "MarkerSet", "Vertebra", "build_model", "model_of"]

SCALE_GROUPS = (
    "pelvis", "trunk", "neck", "head", "shoulder", "upper_arm", "forearm", "thigh", "shank", "foot",
)  # fmt: skip
"""Parts that a subject's proportions may stretch, left and right together."""

# Middle of the S1 endplate from the hip axis in the reference adult.
_PELVIC_RADIUS_MM = 105.0


@dataclass(frozen=True)
class Vertebra:
    """Sizes of one body, in mm of the model's subject, for drawing and for the joints."""

    level: Level
    height_mm: float
    depth_mm: float
    width_mm: float
    disc_below_mm: float


@dataclass(frozen=True)
class MarkerSet:
    """Points fixed in bodies.

    Attributes:
        names: One per marker.
        body: [K] body numbers.
        local_mm: [K, 3] in the body's frame.
    """

    names: tuple[str, ...]
    body: NDArray[np.int64]
    local_mm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.names)

    def select(self, names: Sequence[str]) -> MarkerSet:
        """The named markers, in the given order.

        Raises:
            MotionError: if one is not in the set.
        """
        at = {name: i for i, name in enumerate(self.names)}
        missing = [name for name in names if name not in at]
        if missing:
            raise MotionError(
                f"unknown markers {', '.join(map(repr, missing))}", field="names",
                cure=f"use names among {', '.join(self.names)}",
            )  # fmt: skip
        index = [at[name] for name in names]
        return MarkerSet(tuple(names), self.body[index], self.local_mm[index])


@dataclass(frozen=True)
class BodyModel:
    """A tree of rigid bodies with its freedoms, limits and sizes. Build one with `build_model`.

    Attributes:
        bodies: Names, parents first; `parent` [B] their numbers (-1 for the pelvis).
        offset_mm: [B, 3] where a body's joint lies in its parent's frame; `rest` [B, 3, 3] the resting rotation.
        freedoms: The n degrees of freedom; `first` and `count` [B] say which belong to a body; `axis`, `sign`, `slide`
            [n] what they do.
        centroid_mm: [24, 3] vertebral centroids in their frames, L5 first, C1 last.
        sacrum_mm: [3] the middle of the S1 endplate in the pelvis frame, and `sacrum_rest` [3, 3] its resting axes.
        vertebrae: Sizes, L5 first, C1 last.
        group: [B] number in `SCALE_GROUPS` of each body; `scale` the factors already applied.
        sex, stature_mm, alignment: What it was built from.
    """

    bodies: tuple[str, ...]
    parent: NDArray[np.int64]
    offset_mm: NDArray[np.float64]
    rest: NDArray[np.float64]
    freedoms: tuple[Freedom, ...]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    axis: NDArray[np.int64]
    sign: NDArray[np.float64]
    slide: NDArray[np.bool_]
    centroid_mm: NDArray[np.float64]
    sacrum_mm: NDArray[np.float64]
    sacrum_rest: NDArray[np.float64]
    vertebrae: tuple[Vertebra, ...]
    group: NDArray[np.int64]
    scale: tuple[float, ...]
    sex: str
    stature_mm: float
    alignment: Alignment

    @property
    def size(self) -> int:
        """Number of freedoms: 6 of the pelvis, 75 of the spine, 24 of the limbs if the model has them."""
        return len(self.freedoms)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the freedoms, in order."""
        return tuple(freedom.name for freedom in self.freedoms)

    def body(self, name: str | Level) -> int:
        """The number of a body.

        Raises:
            MotionError: if the model lacks it.
        """
        if str(name) not in self.bodies:
            raise MotionError(
                f"the model has no body {str(name)!r}", field="body", cure=f"use one of {', '.join(self.bodies)}"
            )
        return self.bodies.index(str(name))

    def freedom(self, name: str) -> int:
        """The number of a freedom, such as "L4/5.flexion".

        Raises:
            MotionError: if the model lacks it.
        """
        names = self.names
        if name not in names:
            raise MotionError(
                f"the model has no freedom {name!r}", field="freedom",
                cure='name a joint and a motion, such as "L4/5.flexion" or "pelvis.tilt"',
            )  # fmt: skip
        return names.index(name)

    @property
    def spine(self) -> slice:
        """The 75 freedoms of the spine in a pose: segments caudal to cranial, three directions each."""
        return slice(len(ROOT_MOTIONS), len(ROOT_MOTIONS) + 3 * len(MOBILE_SEGMENTS))

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The 25 segments, caudal to cranial: the order of spine angles."""
        return MOBILE_SEGMENTS

    @property
    def limits_rad(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper limits [n] in rad; the pelvis has none (infinite)."""
        low = np.radians([freedom.lower_deg for freedom in self.freedoms])
        high = np.radians([freedom.upper_deg for freedom in self.freedoms])
        return low, high

    def zero(self, frames: int = 1) -> NDArray[np.float64]:
        """Resting poses [frames, n]: standing, the midpoint of the hips at the origin, facing +y."""
        return np.zeros((frames, self.size))

    def spine_angles_deg(self, q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Angles [..., 25, 3] of the spine in degrees (flexion, lateral bending, axial rotation) of poses [..., n]."""
        part = np.asarray(q)[..., self.spine]
        return np.degrees(part).reshape(*part.shape[:-1], len(MOBILE_SEGMENTS), len(DIRECTIONS))

    def with_spine_angles(self, angles_deg: NDArray[np.float64], q: NDArray[np.float64]) -> NDArray[np.float64]:
        """Poses [..., n] with the spine's angles [..., 25, 3] put in; the inverse of `spine_angles_deg`."""
        out = np.array(q, dtype=np.float64)
        out[..., self.spine] = np.radians(angles_deg).reshape(*out.shape[:-1], -1)
        return out

    def scaled(self, factors: Mapping[str, float]) -> BodyModel:
        """The same body with parts stretched by factors, keys from `SCALE_GROUPS`; markers must be taken anew.

        Raises:
            MotionError: for an unknown part or a factor that is not positive.
        """
        step = np.ones(len(SCALE_GROUPS))
        for name, factor in factors.items():
            if name not in SCALE_GROUPS or not (np.isfinite(factor) and factor > 0):
                raise MotionError(
                    f"cannot scale {name!r} by {factor}", field="scale",
                    cure=f"give positive factors for {', '.join(SCALE_GROUPS)}",
                )  # fmt: skip
            step[SCALE_GROUPS.index(name)] = factor
        of_body = step[self.group]
        of_parent = np.where(self.parent >= 0, of_body[np.maximum(self.parent, 0)], 1.0)
        return replace(
            self,
            offset_mm=self.offset_mm * of_parent[:, None],
            centroid_mm=self.centroid_mm * of_body[1 : 1 + len(self.vertebrae), None],
            sacrum_mm=self.sacrum_mm * of_body[0],
            vertebrae=tuple(
                Vertebra(v.level, *(size * factor for size in (v.height_mm, v.depth_mm, v.width_mm, v.disc_below_mm)))
                for v, factor in zip(self.vertebrae, of_body[1:], strict=False)
            ),
            scale=tuple(float(old * new) for old, new in zip(self.scale, step, strict=True)),
        )


class _Subject(Protocol):
    """What a simulated subject's body is built from; `scale` in the order of `SCALE_GROUPS`."""

    @property
    def sex(self) -> str: ...
    @property
    def stature_mm(self) -> float: ...
    @property
    def pelvic_incidence_deg(self) -> float: ...
    @property
    def age_years(self) -> float: ...
    @property
    def kyphosis_deg(self) -> float: ...
    @property
    def cervical_lordosis_deg(self) -> float: ...
    @property
    def scale(self) -> tuple[float, ...]: ...


def model_of(subject: _Subject) -> BodyModel:
    """The body of a simulated subject: its alignment, stature and the factors of its parts.

    Raises:
        MotionError: as :func:`build_model` and :meth:`BodyModel.scaled`.
    """
    alignment = Alignment(
        pelvic_incidence_deg=subject.pelvic_incidence_deg,
        age_years=subject.age_years,
        kyphosis_deg=subject.kyphosis_deg,
        cervical_lordosis_deg=subject.cervical_lordosis_deg,
    )
    model = build_model(subject.sex, subject.stature_mm, alignment)
    return model.scaled(dict(zip(SCALE_GROUPS, subject.scale, strict=True)))


def build_model(
    sex: str = "male",
    stature_mm: float | None = None,
    alignment: Alignment | None = None,
    *,
    limbs: bool = True,
    limit_factor: float = LIMIT_FACTOR,
) -> BodyModel:
    """A body of given sex, stature and sagittal alignment. Sources: the tables of this package.

    Args:
        sex: "male" or "female".
        stature_mm: Standing height; None takes the sex's mean.
        alignment: Resting shape of the spine; None takes the population's mean.
        limbs: Whether arms and legs are added (24 freedoms).
        limit_factor: Times the representative range of motion.

    Raises:
        MotionError: for another sex, or a stature outside 1,000 to 2,300 mm.
    """
    sexes = {row["sex"]: row for row in read_table("sexes")}
    if sex not in sexes:
        raise MotionError(f"{sex!r} has no table", field="sex", cure=f"use one of {', '.join(sexes)}")
    mean = float(sexes[sex]["stature_mm"])
    stature = mean if stature_mm is None else float(stature_mm)
    if not 1000.0 <= stature <= 2300.0:
        raise MotionError(f"{stature:g} mm is no adult's height", field="stature_mm", cure="give millimetres")
    alignment = alignment or Alignment()
    grow = stature / mean
    build = _Build(alignment, limit_factor)
    build.spine(sex, grow * float(sexes[sex]["vertebra_factor"]), grow * float(sexes[sex]["pelvis_factor"]))
    if limbs:
        for side in ("right", "left"):
            # Limb lengths are fractions of stature, tabled for the male reference.
            build.limbs(side, stature / float(sexes["male"]["stature_mm"]))
    return build.model(sex, stature)


class _Build:
    """Collects bodies and freedoms in order."""

    def __init__(self, alignment: Alignment, limit_factor: float) -> None:
        self.alignment, self.limit_factor = alignment, limit_factor
        self.names: list[str] = []
        self.parents: list[int] = []
        self.offsets: list[NDArray[np.float64]] = []
        self.rests: list[NDArray[np.float64]] = []
        self.groups: list[int] = []
        self.freedoms: list[Freedom] = []
        self.counts: list[int] = []
        self.centroids: dict[str, NDArray[np.float64]] = {}
        self.vertebrae: list[Vertebra] = []

    def add(
        self, name: str, parent: int, offset: NDArray[np.float64], rest: NDArray[np.float64], group: str,
        freedoms: list[Freedom],
    ) -> None:  # fmt: skip
        self.names.append(name)
        self.parents.append(parent)
        self.offsets.append(offset)
        self.rests.append(rest)
        self.groups.append(SCALE_GROUPS.index(group))
        self.freedoms += freedoms
        self.counts.append(len(freedoms))

    def spine(self, sex: str, grow: float, pelvis_grow: float) -> None:
        """Walk up the resting spine in the sagittal plane: disc, body, disc, ... and put each joint's centre."""
        infinite = float("inf")
        root = [(0, 1.0), (1, 1.0), (2, 1.0), (2, 1.0), (1, 1.0), (0, -1.0)]
        self.add(
            "pelvis", -1, np.zeros(3), np.eye(3), "pelvis",
            [Freedom(f"pelvis.{motion}", "pelvis", axis, sign, -infinite, infinite, infinite)
             for motion, (axis, sign) in zip(ROOT_MOTIONS, root, strict=True)],
        )  # fmt: skip
        tilt = np.radians(self.alignment.pelvic_tilt)
        self.sacrum = _PELVIC_RADIUS_MM * pelvis_grow * np.array([0.0, -np.sin(tilt), np.cos(tilt)])
        slope = np.radians(self.alignment.sacral_slope)
        self.sacrum_rest = elementary(0, -slope)
        rows = {row["level"]: row for row in read_table("vertebrae")}
        freedoms = spine_freedoms(self.limit_factor)
        frame, top, joint = np.eye(3), self.sacrum, np.zeros(3)  # of the body below: axes, upper endplate, origin
        below_tilt, depth = slope, float(rows["L5"]["depth_mm"])
        for number, (segment, degrees) in enumerate(self.alignment.tilts().items()):
            level = segment.upper
            row, here = rows[str(level)], np.radians(degrees)
            height = float(row["body_height_mm"]) * grow
            disc = float(row[f"disc_below_{sex}_mm"]) * grow
            up_below, up_here = _up(below_tilt), _up(here)
            behind = float(row["centre_behind_fraction"]) * depth * grow
            back = np.array([0.0, -up_below[2], up_below[1]])  # backwards along the endplate below
            centre = top + behind * back - float(row["centre_below_mm"]) * grow * up_below
            axes = elementary(0, -here)
            middle = top + disc * _up((below_tilt + here) / 2) + height / 2 * up_here
            group = "head" if level is Level.C0 else "neck" if level.region.value == "cervical" else "trunk"
            self.add(
                str(level), number, frame.T @ (centre - joint), frame.T @ axes, group,
                freedoms[3 * number : 3 * number + 3],
            )  # fmt: skip
            if level is not Level.C0:
                self.centroids[str(level)] = axes.T @ (middle - centre)
                width = float(row["width_mm"]) * grow
                self.vertebrae.append(Vertebra(level, height, float(row["depth_mm"]) * grow, width, disc))
            frame, joint, top = axes, centre, middle + height / 2 * up_here
            below_tilt, depth = here, float(row["depth_mm"])

    def limbs(self, side: str, grow: float) -> None:
        """Add girdle, upper arm, forearm, thigh, shank and foot of one side."""
        mirror = np.array([1.0 if side == "right" else -1.0, 1.0, 1.0])
        for row in read_table("limbs"):
            parent = row["parent"] if row["parent"] in self.names else f"{side}_{row['parent']}"
            number = self.names.index(parent)
            offset = mirror * grow * np.array([float(row[k]) for k in ("right_mm", "anterior_mm", "up_mm")])
            rest = np.eye(3)
            if row["frame"] == "centroid":
                # The chest's parts hang upright at rest, whatever the tilt of the vertebra that carries them.
                tilt = np.radians(self.alignment.tilts()[self._segment(parent)])
                rest = elementary(0, -tilt).T
                offset = self.centroids[parent] + offset
            self.add(f"{side}_{row['body']}", number, offset, rest, row["group"], limb_freedoms(row["body"], side))

    @staticmethod
    def _segment(level: str) -> Segment:
        return next(segment for segment in MOBILE_SEGMENTS if segment.upper == Level(level))

    def model(self, sex: str, stature: float) -> BodyModel:
        counts = np.array(self.counts, dtype=np.int64)
        axes = [freedom.axis for freedom in self.freedoms]
        slide = np.zeros(len(self.freedoms), dtype=np.bool_)
        slide[:3] = True
        return BodyModel(
            bodies=tuple(self.names),
            parent=np.array(self.parents, dtype=np.int64),
            offset_mm=np.array(self.offsets),
            rest=np.array(self.rests),
            freedoms=tuple(self.freedoms),
            first=np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int64),
            count=counts,
            axis=np.array(axes, dtype=np.int64),
            sign=np.array([freedom.sign for freedom in self.freedoms], dtype=np.float64),
            slide=slide,
            centroid_mm=np.array(list(self.centroids.values())),
            sacrum_mm=self.sacrum,
            sacrum_rest=self.sacrum_rest,
            vertebrae=tuple(self.vertebrae),
            group=np.array(self.groups, dtype=np.int64),
            scale=(1.0,) * len(SCALE_GROUPS),
            sex=sex,
            stature_mm=stature,
            alignment=self.alignment,
        )


def _up(tilt_rad: float) -> NDArray[np.float64]:
    """The long axis of a body that leans forward by a tilt."""
    return np.array([0.0, np.sin(tilt_rad), np.cos(tilt_rad)])
