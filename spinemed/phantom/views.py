"""What one image of a set covers: a field of view as configured, or one that leaves something undecided.

Convention: a `ViewDraw` is drawn first and rendered later. Kinds: "whole" the configured field; "no_anchor" a stretch
from which neither C2, the last rib nor the sacrum can be seen; "artefact" some levels hidden; "level_outside" the field
ends before a pathological level. The truth of an image is read from what was rendered, not from what was asked for.

The trap: a stretch shows parts of the vertebrae beyond its ends. A stretch that ends at the last lumbar vertebra shows
the sacrum, so "no_anchor" stays one vertebra away from every anchor. A divergent radiograph of a long stretch may hold
the level that "level_outside" was to leave out; whether it does stands in its description.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level, Region
from spinemed.geometry import check_codes
from spinemed.phantom.imaging.grid import VoxelGrid
from spinemed.phantom.pathology.findings import FieldOfView
from spinemed.phantom.set_config import SetField, What
from spinemed.phantom.shape.scene import SACRUM_LABEL, Scene
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.phantom.spine.truth import VertebraMarks, landmarks
from spinemed.records import Record

if TYPE_CHECKING:
    from spinemed.phantom.imaging.mr import MrPhantom

__all__ = [
    "ViewDraw",
    "box_grid",
    "draw_views",
    "field_of_view",
    "field_of_view_of_points",
    "shows_an_end",
    "stretch_box",
    "z_range",
]

Array = NDArray[np.float64]
ViewKind = Literal["whole", "no_anchor", "artefact", "level_outside"]
_UNDECIDED: tuple[ViewKind, ...] = ("no_anchor", "artefact", "level_outside")
_LEAST = 3
_BESIDE_MM, _WING_MM2, _ATLAS_MM2 = 5.0, 200.0, 100.0
"""How far beside the endplate a wing of the sacrum begins, and how much of it (of the atlas) one slice must show."""
_ENDS: dict[SetField, tuple[Level, Level]] = {
    "full": (Level.C1, Level.S1),
    "cervical": (Level.C1, Level.T2),
    "thoracic": (Level.C7, Level.L1),
    "thoracolumbar": (Level.T6, Level.L3),
    "lumbar": (Level.T12, Level.S1),
}


class ViewDraw(Record):
    """What one kind of image covers."""

    what: What
    """Kind of image."""
    kind: ViewKind = "whole"
    """Whether it shows all that was asked for, or leaves something undecided."""
    levels: tuple[Level, ...] = ()
    """First to last level wholly in view; empty: the configured field."""
    artefact_levels: tuple[Level, ...] = ()
    """Levels that an artefact hides."""


def draw_views(
    spine: SpinePhantom, what: tuple[What, ...], field: SetField, share: float, rng: np.random.Generator
) -> tuple[ViewDraw, ...]:
    """The view of each kind of image: one draw of doubt for all images of a spine, with the same levels.

    A kind of doubt that the spine cannot have (no pathological level to leave out of the field) is not drawn, so the
    share of undecided views is the one asked for.
    """
    kind: ViewKind = "whole"
    levels: tuple[Level, ...] = ()
    hidden: tuple[Level, ...] = ()
    if rng.random() < share:
        order = [*(v.level for v in spine.vertebrae), Level.S1]
        covered = [level for level in order if _ENDS[field][0] <= level <= _ENDS[field][1]]
        touched = sorted({level for item in spine.pathologies for level in _levels(item)} & set(covered))
        beside = _parts_beside([level for level in covered if level is not Level.S1], touched)
        kinds = [one for one in _UNDECIDED if beside or one != "level_outside"]
        kind = kinds[int(rng.integers(len(kinds)))]
        if kind == "no_anchor":
            levels = _unanchored(order, covered, what, rng)
        elif kind == "level_outside":
            levels = tuple(beside[int(rng.integers(len(beside)))])
        else:
            middle = covered.index(touched[int(rng.integers(len(touched)))] if touched else covered[len(covered) // 2])
            reach = int(rng.integers(0, 2))
            hidden = tuple(covered[max(middle - reach, 0) : middle + reach + 1])
    return tuple(ViewDraw(what=one, kind=kind, levels=levels, artefact_levels=hidden) for one in what)


def _parts_beside(levels: list[Level], touched: list[Level]) -> list[list[Level]]:
    """Stretches that end before a pathological level and are long enough to show."""
    return [
        part
        for level in touched
        if level in levels
        for part in (levels[: levels.index(level)], levels[levels.index(level) + 1 :])
        if len(part) >= _LEAST
    ]


def _unanchored(
    order: list[Level], covered: list[Level], what: tuple[What, ...], rng: np.random.Generator
) -> tuple[Level, ...]:
    """A stretch away from C2, the sacrum, and (where ribs are seen) the last rib; in the set's own field if it fits."""
    presacral = order[:-1]
    thoracic = [level for level in presacral if level.region is Region.THORACIC]
    lumbar = [level for level in presacral if level.region is Region.LUMBAR]
    if set(what) == {"mr"}:  # a narrow stack shows no ribs
        stretches = [[level for level in presacral[:-1] if level > Level.C5]]
    else:
        stretches = [thoracic[2:-1], lumbar[1:-1]]
    own = [[level for level in stretch if level in covered] for stretch in stretches]
    stretches = [stretch for stretch in own if len(stretch) >= _LEAST] or [
        stretch for stretch in stretches if len(stretch) >= _LEAST
    ]
    chosen = stretches[int(rng.integers(len(stretches)))]
    count = int(rng.integers(_LEAST, min(7, len(chosen)) + 1))
    start = int(rng.integers(0, len(chosen) - count + 1))
    return tuple(chosen[start : start + count])


def _levels(item: object) -> tuple[Level, ...]:
    disc = getattr(item, "disc", None)
    if disc is not None:
        return disc.upper, disc.lower
    many: tuple[Level, ...] = getattr(item, "levels", ())
    return many or (item.level,)  # type: ignore[attr-defined]


def stretch_box(scene: Scene, levels: tuple[Level, ...]) -> tuple[Array, Array]:
    """World box (low, high) mm that holds the bones of a stretch wholly and cuts those beyond it."""
    corners = []
    for level in levels:
        bone = scene.bone(level)
        low, high = bone.reach
        box = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        corners.append(bone.frame.to_world(box))
    points = np.concatenate(corners)
    return points.min(axis=0) - 2.0, points.max(axis=0) + 2.0


def field_of_view(
    scene: Scene, grid: VoxelGrid, visible: tuple[Level, ...], hidden: tuple[Level, ...]
) -> FieldOfView | None:
    """The field of view of a CT: the longest unbroken run of whole vertebrae, and S1 where its endplate is inside.

    None where nothing is whole: such an image has no level to describe.
    """

    def inside(points: Array) -> bool:
        index = (points - grid.affine[:3, 3]) @ np.linalg.inv(grid.affine[:3, :3]).T
        return bool(((index >= 0) & (index <= np.array(grid.shape) - 1)).all())

    levels = list(visible)
    if inside(_plate_points(landmarks(scene.posed)[Level.S1])):
        levels.append(Level.S1)
    return _field(scene, levels, hidden, ribs=True, hips=inside(scene.posed.hips_mm))


def field_of_view_of_points(
    scene: Scene,
    seen: tuple[Level, ...],
    hidden: tuple[Level, ...],
    *,
    ribs: bool,
    hips: bool,
    ends: bool = True,
) -> FieldOfView | None:
    """The field of view of a radiograph or MR, whose levels are in view where all corners of their bodies are.

    None where no level is in view.
    """
    return _field(scene, list(seen), hidden, ribs=ribs, hips=hips, ends=ends)


def shows_an_end(made: MrPhantom) -> bool:
    """Whether an axial stack shows what the column ends with: the sacrum's wings on both sides, or the atlas.

    Read from the stack's own mask, slice by slice: a few square millimetres of a wing at the edge of a slice name no
    vertebra.
    """
    grid = made.vertebrae
    pixel_mm2 = grid.spacing_mm[0] * grid.spacing_mm[1]
    counts = [int((grid.data[:, :, k] == LABEL_MAPS["verse"].to_label(Level.C1)).sum()) for k in range(grid.shape[2])]
    if max(counts) * pixel_mm2 >= _ATLAS_MM2:
        return True
    spine = made.scene.spine
    index = np.argwhere(grid.data == SACRUM_LABEL)
    own = made.scene.posed.sacrum.to_own(index @ grid.affine[:3, :3].T + grid.affine[:3, 3])
    reach = spine.sacrum.endplate_width_mm / 2 + _BESIDE_MM
    for k in range(grid.shape[2]):
        x = own[index[:, 2] == k, 0]
        if min(int((x > reach).sum()), int((x < -reach).sum())) * pixel_mm2 >= _WING_MM2:
            return True
    return False


def _plate_points(marks: VertebraMarks) -> Array:
    plate = marks.upper
    assert plate is not None
    return np.array([plate.anterior_mm, plate.posterior_mm, plate.left_mm, plate.right_mm])


def _field(
    scene: Scene, levels: list[Level], hidden: tuple[Level, ...], *, ribs: bool, hips: bool, ends: bool = True
) -> FieldOfView | None:
    order = [*(v.level for v in scene.spine.vertebrae), Level.S1]
    places = sorted(order.index(level) for level in levels)
    if not places:
        return None
    runs = [[places[0]]]
    for before, place in pairwise(places):
        if place == before + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    shown = tuple(order[place] for place in max(runs, key=len))
    return FieldOfView(
        levels=shown,
        ribs_visible=ribs,
        hips_visible=hips,
        ends_visible=ends,
        artefact_levels=tuple(level for level in hidden if level in shown),
    )


def box_grid(box: tuple[Array, Array], spacing_mm: tuple[float, float, float], codes: str) -> VoxelGrid:
    """A grid of an orientation over a world box.

    Raises:
        VolumeError: a bad spacing or orientation, or too many voxels.
    """
    low, high = box
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for axis, letter in enumerate(check_codes(codes)):
        world = "RAS".find(letter) if letter in "RAS" else "LPI".find(letter)
        affine[world, axis] = spacing_mm[axis] if letter in "RAS" else -spacing_mm[axis]
    extent = np.abs(affine[:3, :3] / np.array(spacing_mm)).T @ (high - low)
    shape = np.maximum(np.round(extent / np.array(spacing_mm)).astype(int), 1)
    affine[:3, 3] = (low + high) / 2 - affine[:3, :3] @ ((shape - 1) / 2)
    return VoxelGrid((int(shape[0]), int(shape[1]), int(shape[2])), affine)


def z_range(scene: Scene, levels: tuple[Level, ...]) -> tuple[float, float]:
    """World z from the lowest to the highest point of the bodies of some levels, mm."""
    marks = landmarks(scene.posed)
    heights: list[float] = []
    for level in levels:
        for plate in (marks[level].upper, marks[level].lower):
            if plate is not None:
                heights += [float(p[2]) for p in (plate.anterior_mm, plate.posterior_mm, plate.left_mm, plate.right_mm)]
        if marks[level].lower is None:
            heights += [float(marks[level].canal_mm[2]) - 8.0, float(marks[level].canal_mm[2]) + 8.0]
    return min(heights), max(heights)
