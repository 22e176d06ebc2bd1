"""`Scene`: every solid of a posed spine, packed for the kernels. Built once, rendered on any grid.

Convention: each bone holds its own frame; its solids are in that frame. Soft tissue is in world mm. The number of a
bone in the vertebra mask is VerSe's (26 sacrum, 27 coccyx); ribs, hip bones and femora have 0: bone without a label.

The trap: a scene is posed. The same spine standing is another scene.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Disc, Level, Region
from spinemed.phantom.pathology import (
    EffectiveDisc,
    Primitive,
    canal_narrowing,
    extra_primitives,
    foramen_narrowing,
)
from spinemed.phantom.pathology.records import Side
from spinemed.phantom.shape.arch import COSTAL, ArchSolids, Joint, arch_solids, atlas_solids, joint_between, spinous_tip
from spinemed.phantom.shape.blobs import Blob, PackedBlobs, capsule, ellipsoid, pack, pack_groups
from spinemed.phantom.shape.body import PackedBody, pack_body, pack_sacral_body
from spinemed.phantom.shape.materials import Tissue
from spinemed.phantom.shape.pelvis import (
    acetabulum_holes,
    coccyx_blobs,
    femur_blobs,
    ilium_blobs,
    rib_blobs,
    sacrum_solids,
)
from spinemed.phantom.shape.soft import Station, canal_blobs, soft_blobs, torso_table
from spinemed.phantom.spine.frames import Frame
from spinemed.phantom.spine.pose import PosedSpine, pose_spine
from spinemed.phantom.spine.records import Posture, SpinePhantom, Vertebra

__all__ = ["COCCYX_LABEL", "SACRUM_LABEL", "Bone", "Scene", "build_scene"]

Array = NDArray[np.float64]

SACRUM_LABEL, COCCYX_LABEL = 26, 27
"""Numbers of sacrum and coccyx in VerSe's masks."""


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone in its own frame.

    Attributes:
        name: Level, or "sacrum", "coccyx", "rib T7", "hip bones", "femora".
        label: Number in the vertebra mask, 0 for none.
        frame: Its own frame.
        body: The body's numbers, None for bones without.
        shell: Numbers of the lamina shell (ARCH_PARAMETERS).
        blobs, holes: Solids, and solids that are cut out.
        reach: (2, 3) box in the own frame that holds the bone.
        trabecular_hu, arch_hu: Marrow of the body and of everything else.
        cortical_hu: Of its cortex.
        blend_mm: How softly its parts run into each other.
    """

    name: str
    label: int
    frame: Frame
    body: PackedBody | None
    shell: Array
    blobs: PackedBlobs
    holes: PackedBlobs
    reach: Array
    trabecular_hu: float
    arch_hu: float
    cortical_hu: float
    blend_mm: float


@dataclass(frozen=True, eq=False)
class _Draft:
    """A bone before its solids are packed."""

    name: str
    label: int
    frame: Frame
    body: PackedBody | None
    solids: ArchSolids
    trabecular_hu: float
    arch_hu: float
    cortical_hu: float
    blend_mm: float


@dataclass(frozen=True, eq=False)
class DiscSolid:
    """A disc between the bodies of two bones, by their positions in `Scene.bones`."""

    disc: Disc
    upper: int
    lower: int
    effective: EffectiveDisc


@dataclass(frozen=True, eq=False)
class Scene:
    """Everything that is drawn.

    Attributes:
        spine, posture, posed: What it was built from.
        bones: Head to foot, then pelvis and ribs.
        discs: Head to foot.
        canal, sac, cord: Chains in world mm.
        soft: Muscles, vessels, organs in world mm, in painting order.
        torso, torso_z_mm: Outline of the trunk over world z.
        extras: What pathology adds, with frames resolved.
        stations: Frames and sizes that soft tissue was placed by.
    """

    spine: SpinePhantom
    posture: Posture
    posed: PosedSpine
    bones: tuple[Bone, ...]
    discs: tuple[DiscSolid, ...]
    canal: PackedBlobs
    sac: PackedBlobs
    cord: PackedBlobs
    soft: PackedBlobs
    torso: Array
    torso_z_mm: float
    extras: tuple[tuple[Primitive, int, PackedBlobs], ...]
    stations: tuple[Station, ...] = field(default=())

    def bone(self, level: Level) -> Bone:
        """The bone of a presacral level."""
        return next(bone for bone in self.bones if bone.name == str(level))


def build_scene(spine: SpinePhantom, posture: Posture = Posture.SUPINE) -> Scene:
    """Every solid of a spine in a posture.

    Raises:
        SpineMedError: a pathology names a level or disc that the spine lacks.
    """
    posed = pose_spine(spine, posture)
    joints = _joints(posed)
    extras = extra_primitives(spine)
    drafts = [_vertebra(posed, vertebra, joints, extras) for vertebra in spine.vertebrae]
    discs = tuple(
        DiscSolid(posed.discs[above.level].disc, index, index + 1, posed.discs[above.level])
        for index, above in enumerate(spine.vertebrae)
        if above.level in posed.discs
    )
    drafts.append(_sacrum(posed, joints[spine.vertebrae[-1].level]))
    drafts.append(_plain("coccyx", COCCYX_LABEL, posed.sacrum, coccyx_blobs(spine.sacrum), 80.0, 3.0))
    person, pelvis = spine.person, spine.pelvis
    marrow = spine.sacrum.trabecular_hu
    hip, sockets = ilium_blobs(person, pelvis, spine.sacrum), acetabulum_holes(person, pelvis)
    drafts.append(_plain("hip bones", 0, posed.sacrum, hip, 0.8 * marrow, 7.0, sockets))
    drafts.append(_plain("femora", 0, posed.sacrum, femur_blobs(person, pelvis), 1.2 * marrow, 6.0))
    thoracic = [v for v in spine.vertebrae if v.ribs is not None]
    chest = [v for v in thoracic if v.level.region is Region.THORACIC]
    for vertebra in thoracic:
        place = (chest.index(vertebra) / max(len(chest) - 1, 1)) if vertebra in chest else 1.0
        for side, blobs in zip(("right", "left"), rib_blobs(vertebra, place)):
            if blobs:
                frame = posed.frame(vertebra.level)
                drafts.append(_plain(f"{side} rib {vertebra.level}", 0, frame, blobs, 120.0, 1.5))
    bones = _packed(drafts)
    stations = _stations(posed)
    middle = posed.hips_mm.mean(axis=0)
    narrowing = canal_narrowing(spine)
    canal, sac, cord = canal_blobs(stations, narrowing, spine.family)
    soft = soft_blobs(stations, middle, spine.family)
    soft += _foramina(stations, foramen_narrowing(spine))
    # A girth from the record alone: no random number is drawn while rendering.
    fat = 17.0 + 6.0 * math.sin(spine.seed * 12.9898 + spine.index * 78.233) + (2.0 if person.sex == "female" else 0.0)
    table, z_first = torso_table(stations, middle, person.stature_mm, fat)
    names = {bone.name: position for position, bone in enumerate(bones)}
    resolved = []
    for item in extras:
        if not item.in_mask:
            host = names[str(item.host)] if item.host is not Level.S1 else names["sacrum"]
            resolved.append((item, host, pack([_primitive_blob(item, posed)])))
    chains = pack_groups([canal, sac, cord, soft])
    return Scene(
        spine=spine,
        posture=posture,
        posed=posed,
        bones=tuple(bones),
        discs=discs,
        canal=chains[0],
        sac=chains[1],
        cord=chains[2],
        soft=chains[3],
        torso=table,
        torso_z_mm=z_first,
        extras=tuple(resolved),
        stations=tuple(stations),
    )


def _joints(posed: PosedSpine) -> dict[Level, Joint]:
    """The facet joints below each level from C2 down."""
    spine = posed.spine
    joints: dict[Level, Joint] = {}
    for upper, lower in pairwise(spine.vertebrae):
        if upper.body is not None:
            joints[upper.level] = joint_between(upper, lower.arch, posed.discs[upper.level].middle_height_mm)
    last = spine.vertebrae[-1]
    joints[last.level] = joint_between(last, last.arch, posed.discs[last.level].middle_height_mm)
    return joints


def _joint_centre(posed: PosedSpine, upper: Vertebra, joint: Joint) -> Array:
    """Middle of the right joint below a vertebra in that vertebra's frame, placed by the bone below."""
    levels = [vertebra.level for vertebra in posed.spine.vertebrae]
    at = levels.index(upper.level) + 1
    if at == len(levels):
        depth, height, frame = posed.spine.sacrum.endplate_depth_mm, 0.0, posed.sacrum
    else:
        body = posed.spine.vertebrae[at].body
        assert body is not None  # only C1 has none
        depth, height = (body.upper_depth_mm + body.lower_depth_mm) / 2, body.height_mm
        frame = posed.frames[levels[at]]
    there = (0.0, -depth / 2 - joint.behind_mm, height / 2 + joint.gap_mm / 2 - joint.drop_mm)
    middle = posed.frame(upper.level).to_own(frame.to_world(np.array(there)))
    return np.array([joint.half_spread_mm, middle[1], middle[2]])  # both sides are built alike


def _vertebra(
    posed: PosedSpine, vertebra: Vertebra, joints: dict[Level, Joint], extras: tuple[Primitive, ...]
) -> _Draft:
    label = LABEL_MAPS["verse"].to_label(vertebra.level)
    frame = posed.frame(vertebra.level)
    packed: PackedBody | None = None
    if vertebra.body is None:
        solids = atlas_solids(vertebra)
    else:
        packed = pack_body(posed.bodies[vertebra.level])
        order = [v.level for v in posed.spine.vertebrae]
        above = order[order.index(vertebra.level) - 1]
        below = joints.get(vertebra.level)
        centre = None if below is None else _joint_centre(posed, vertebra, below)
        solids = arch_solids(vertebra, vertebra.body, joints.get(above), below, below_centre_mm=centre)
        if vertebra.transition != "none":
            solids = _transitional(solids, vertebra, posed)
    marrow = vertebra.trabecular_hu
    cortical = vertebra.cortical_hu
    blend = 2.2 if packed is not None else 0.9
    spurs = [_own_blob(item, part=50) for item in extras if item.in_mask and item.host is vertebra.level]
    if spurs:  # what pathology adds to the vertebra's mask
        solids = ArchSolids(solids.shell, [*solids.blobs, *spurs], solids.holes)
    return _Draft(str(vertebra.level), label, frame, packed, solids, marrow, 1.35 * marrow + 60.0, cortical, blend)


def _sacrum(posed: PosedSpine, joint: Joint) -> _Draft:
    spine = posed.spine
    arch = spine.vertebrae[-1].arch
    solids = sacrum_solids(spine.sacrum, joint, arch.canal_width_mm, arch.canal_depth_mm)
    hu, cortical = spine.sacrum.trabecular_hu, spine.vertebrae[-1].cortical_hu
    return _Draft(
        "sacrum", SACRUM_LABEL, posed.sacrum, pack_sacral_body(spine.sacrum), solids, hu, 0.75 * hu, cortical, 4.0
    )


def _plain(
    name: str, label: int, frame: Frame, blobs: list[Blob], marrow: float, blend: float, holes: list[Blob] | None = None
) -> _Draft:
    """A bone of blobs only."""
    return _Draft(name, label, frame, None, ArchSolids(np.zeros(13), blobs, holes or []), marrow, marrow, 850.0, blend)


def _packed(drafts: list[_Draft]) -> list[Bone]:
    """The bones with their solids as arrays, packed in one go."""
    sets = [d.solids.blobs for d in drafts] + [d.solids.holes for d in drafts]
    groups = pack_groups(sets)
    n = len(drafts)
    boxes = _reaches(groups[:n])
    return [
        Bone(
            d.name,
            d.label,
            d.frame,
            d.body,
            d.solids.shell,
            blobs,
            holes,
            _extent(d, box),
            d.trabecular_hu,
            d.arch_hu,
            d.cortical_hu,
            d.blend_mm,
        )
        for d, blobs, holes, box in zip(drafts, groups[:n], groups[n:], boxes, strict=True)
    ]


def _extent(draft: _Draft, blobs: Array | None) -> Array:
    """Box of a bone in its own frame (2, 3); `blobs` is that of its blobs, if it has any."""
    boxes = [] if blobs is None else [blobs]
    if draft.body is not None:
        p = draft.body.numbers.tolist()
        wide, deep = max(p[0], p[2]) / 2, max(p[1], p[3]) * 0.56 + p[17]
        lift = max(abs(p[5]), abs(p[8])) * deep + max(abs(p[6]), abs(p[9])) * wide + p[16]
        top = float(draft.body.offsets[0].max()) if p[19] else 0.0
        bottom = float(draft.body.offsets[1].min()) if p[19] else 0.0
        boxes.append(
            np.array([[-wide, -deep, p[7] - lift + min(bottom, 0.0)], [wide, deep, p[4] + lift + max(top, 0.0)]])
        )
    a = draft.solids.shell.tolist()
    if a[12] > 0.5:
        boxes.append(
            np.array(
                [
                    [-a[0] - a[5], a[2] - a[1] - a[5] - a[9] * abs(a[10]) - 2.0, a[7] - a[9]],
                    [a[0] + a[5], a[2] + a[1] + 6.0, max(a[6] + a[8], a[7] + a[9])],
                ]
            )
        )
    if len(boxes) == 1:
        return boxes[0]
    every = np.array(boxes)
    return np.stack([every[:, 0].min(axis=0), every[:, 1].max(axis=0)])


def _reaches(groups: list[PackedBlobs]) -> list[Array | None]:
    """Box (2, 3) of each group of blobs in the frame they are in; None for an empty group."""
    full = [group for group in groups if len(group)]
    pull, box = np.concatenate([g.pull for g in full]), np.concatenate([g.box for g in full])
    rows, shift = pull[:, :, :3], pull[:, :, 3]
    middle = np.einsum("nji,nj->ni", rows, box.mean(axis=1) - shift)
    spread = np.einsum("nji,nj->ni", np.abs(rows), (box[:, 1] - box[:, 0]) / 2)
    starts = np.cumsum([0, *(len(g) for g in full[:-1])])
    low = np.minimum.reduceat(middle - spread, starts, axis=0)
    high = np.maximum.reduceat(middle + spread, starts, axis=0)
    found = iter(np.stack([low, high], axis=1))
    return [next(found) if len(group) else None for group in groups]


def _transitional(solids: ArchSolids, vertebra: Vertebra, posed: PosedSpine) -> ArchSolids:
    """Broad transverse processes that reach the sacrum: touching it (Castellvi 2) or grown together with it (3)."""
    assert vertebra.body is not None
    kind = vertebra.transition
    sides = {"right": (1.0,), "left": (-1.0,), "both": (1.0, -1.0), "none": ()}[vertebra.transition_side]
    blobs = list(solids.blobs)
    own, sacrum = posed.frame(vertebra.level), posed.sacrum
    for order, sign in enumerate(sides):
        part = COSTAL if sign > 0 else COSTAL - 1
        root = np.array(
            [
                sign * (vertebra.arch.canal_width_mm / 2 + vertebra.arch.pedicle_width_mm * 0.7),
                -(vertebra.body.upper_depth_mm + vertebra.body.lower_depth_mm) / 4 - 2.0,
                0.0,
            ]
        )
        wing = own.to_own(sacrum.to_world(np.array([sign * 0.38 * posed.spine.sacrum.width_mm, -12.0, -6.0])))
        # Castellvi 4: joined on the right, only touching on the left.
        joined = kind == "castellvi_3" or (kind == "castellvi_4" and order == 0)
        share = {"castellvi_1": 0.62, "castellvi_2": 0.95}.get(kind, 1.12 if joined else 0.95)
        end = root + (wing - root) * share
        blobs.append(
            capsule(
                root,
                end,
                (7.0, 8.0),
                (9.5, 13.0 if kind == "castellvi_1" else 12.0),
                end_mm=3.0,
                side_axis=(0.0, 1.0, 0.0),
                part=part,
            )
        )
    return ArchSolids(solids.shell, blobs, solids.holes)


_MATERIALS = {
    "bone": Tissue.LOOSE_BONE,
    "disc": Tissue.DISPLACED_DISC,
    "lytic": Tissue.LYTIC,
    "blastic": Tissue.BLASTIC,
    "modic_1": Tissue.MODIC_1,
    "modic_2": Tissue.MODIC_2,
    "modic_3": Tissue.MODIC_3,
    "metal": Tissue.METAL,
    "peek": Tissue.PEEK,
}


def _own_blob(item: Primitive, part: int = 0) -> Blob:
    material = int(_MATERIALS[item.tissue])
    a, b, c = item.half_sizes_mm
    if item.solid == "capsule":
        assert item.end_mm is not None
        return capsule(item.centre_mm, item.end_mm, a, part=part, material=material)
    return ellipsoid(
        item.centre_mm,
        a,
        b,
        c,
        side_axis=item.axes[0],
        axis=item.axes[2],
        power=4 if item.solid == "box" else 2,
        part=part,
        material=material,
    )


def _primitive_blob(item: Primitive, posed: PosedSpine) -> Blob:
    """The blob in its host's frame; a rod's far end is brought over from the next vertebra's frame."""
    if item.end_host is not None and item.end_mm is not None:
        end = posed.frame(item.host).to_own(posed.frame(item.end_host).to_world(np.array(item.end_mm)))
        item = replace(item, end_mm=(float(end[0]), float(end[1]), float(end[2])))
    return _own_blob(item)


def _stations(posed: PosedSpine) -> list[Station]:
    spine = posed.spine
    stations = []
    for vertebra in spine.vertebrae:
        frame, arch, body = posed.frame(vertebra.level), vertebra.arch, vertebra.body
        if body is None:
            tip = np.array([0.0, 9.0 - arch.canal_depth_mm - 8.0, -1.0])
            # C1: the canal lies behind the dens.
            stations.append(
                Station(vertebra.level, frame.origin_mm, frame.rotation, 8.0, 6.5, 8.0, 0.8 * arch.canal_width_mm,
                        arch.canal_depth_mm - 14.0, tip)
            )  # fmt: skip
            continue
        depth = (body.upper_depth_mm + body.lower_depth_mm) / 4
        _, end = spinous_tip(vertebra, body)
        stations.append(
            Station(
                vertebra.level,
                frame.origin_mm,
                frame.rotation,
                (body.upper_width_mm + body.lower_width_mm) / 4,
                depth,
                body.height_mm / 2,
                arch.canal_width_mm,
                arch.canal_depth_mm,
                end,
            )
        )
    arch, sacrum = spine.vertebrae[-1].arch, spine.sacrum
    stations.append(
        Station(
            Level.S1,
            posed.sacrum.origin_mm,
            posed.sacrum.rotation,
            sacrum.endplate_width_mm / 2,
            sacrum.endplate_depth_mm / 2,
            8.0,
            arch.canal_width_mm,
            arch.canal_depth_mm,
            np.array([0.0, -sacrum.endplate_depth_mm / 2 - arch.canal_depth_mm - 12.0, -20.0]),
        )
    )
    return stations


def _foramina(stations: list[Station], narrowing: Mapping[tuple[Disc, Side], float]) -> list[Blob]:
    """Nerve root with fat in each foramen; a narrowed one has less fat around it and ligament in its place."""
    blobs: list[Blob] = []
    for one, _ in pairwise(stations):
        if one.level < Level.C2:
            continue
        for side, sign in (("right", 1.0), ("left", -1.0)):
            lost = next((s for (disc, where), s in narrowing.items() if disc.upper == one.level and where == side), 0.0)
            x = one.canal_width / 2
            z = -one.half_height * (0.45 if one.level.region is not Region.CERVICAL else 0.95)
            start = one.at(sign * (x - 2.0), -one.half_depth - 0.35 * one.canal_depth, z)
            end = one.at(sign * (x + 11.0), -one.half_depth + 1.0, z - 3.0)
            room = math.sqrt(max(1.0 - lost, 0.05))
            big = 6.0 if one.level.region is Region.LUMBAR else 4.0
            if lost > 0.0:
                blobs.append(capsule(start, end, 0.9 * big, 1.2 * big, material=Tissue.LIGAMENT))
            blobs.append(capsule(start, end, 0.75 * big * room, 1.1 * big * room, material=Tissue.EPIDURAL_FAT))
            blobs.append(capsule(start, end, 0.36 * big * max(room, 0.6), material=Tissue.MUSCLE))
    return blobs
