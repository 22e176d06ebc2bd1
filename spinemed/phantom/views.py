"""What one image of a set covers: a field of view as configured, or one that leaves something undecided.

Convention: a `ViewDraw` is drawn first and rendered later. Kinds: "whole" the configured field; "no_anchor" a stretch
from which neither C2, the last rib nor the sacrum can be seen; "artefact" some levels hidden; "level_outside" the field
ends before a pathological level. The truth of an image is read from what was rendered, not from what was asked for.

The trap: a stretch shows parts of the vertebrae beyond its ends. A stretch that ends at the last lumbar vertebra shows
the sacrum, so "no_anchor" stays one vertebra away from every anchor.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import Level, Region
from spinemed.geometry import check_codes
from spinemed.phantom.imaging.grid import VoxelGrid
from spinemed.phantom.pathology.findings import FieldOfView
from spinemed.phantom.set_config import SetField, What
from spinemed.phantom.shape.scene import Scene
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.phantom.spine.truth import VertebraMarks, landmarks
from spinemed.records import Record

__all__ = ["ViewDraw", "box_grid", "draw_views", "field_of_view", "field_of_view_of_points", "stretch_box", "z_range"]

Array = NDArray[np.float64]
ViewKind = Literal["whole", "no_anchor", "artefact", "level_outside"]
_UNDECIDED: tuple[ViewKind, ...] = ("no_anchor", "artefact", "level_outside")
_LEAST = 3
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
    kind: ViewKind = "whole"
    levels: tuple[Level, ...] = ()
    """First to last level wholly in view; empty: the configured field."""
    artefact_levels: tuple[Level, ...] = ()


def draw_views(
    spine: SpinePhantom, what: tuple[What, ...], field: SetField, share: float, rng: np.random.Generator
) -> tuple[ViewDraw, ...]:
    """The view of each kind of image; one kind of doubt for all images of a spine."""
    kind: ViewKind = "whole"
    if rng.random() < share:
        kind = _UNDECIDED[int(rng.integers(len(_UNDECIDED)))]
    return tuple(_draw_view(spine, one, kind, field, rng) for one in what)


def _draw_view(spine: SpinePhantom, what: What, kind: ViewKind, field: SetField, rng: np.random.Generator) -> ViewDraw:
    order = [*(v.level for v in spine.vertebrae), Level.S1]
    covered = [level for level in order if _ENDS[field][0] <= level <= _ENDS[field][1]]
    touched = sorted({level for item in spine.pathologies for level in _levels(item)} & set(covered))
    if kind == "no_anchor":
        return ViewDraw(what=what, kind=kind, levels=_unanchored(order, what, rng))
    if kind == "artefact":
        middle = covered.index(touched[int(rng.integers(len(touched)))] if touched else covered[len(covered) // 2])
        reach = int(rng.integers(0, 2))
        return ViewDraw(
            what=what, kind=kind, artefact_levels=tuple(covered[max(middle - reach, 0) : middle + reach + 1])
        )
    if kind == "level_outside":
        inner = [level for level in covered if level is not Level.S1]
        parts = [
            part
            for level in touched
            if level in inner
            for part in (inner[: inner.index(level)], inner[inner.index(level) + 1 :])
            if len(part) >= _LEAST
        ]
        if parts:
            return ViewDraw(what=what, kind=kind, levels=tuple(parts[int(rng.integers(len(parts)))]))
    return ViewDraw(what=what)


def _unanchored(order: list[Level], what: What, rng: np.random.Generator) -> tuple[Level, ...]:
    """A stretch away from C2, the sacrum, and (where ribs are seen) the last rib."""
    presacral = order[:-1]
    thoracic = [level for level in presacral if level.region is Region.THORACIC]
    lumbar = [level for level in presacral if level.region is Region.LUMBAR]
    if what == "mr":  # a narrow stack shows no ribs
        stretches = [[level for level in presacral[:-1] if level > Level.C5]]
    else:
        stretches = [thoracic[2:-1]]
        if len(lumbar) >= _LEAST + 2:
            stretches.append(lumbar[1:-1])
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


def field_of_view(scene: Scene, grid: VoxelGrid, visible: tuple[Level, ...], hidden: tuple[Level, ...]) -> FieldOfView:
    """The field of view of a CT: the longest unbroken run of whole vertebrae, and S1 where its endplate is inside."""

    def inside(points: Array) -> bool:
        index = (points - grid.affine[:3, 3]) @ np.linalg.inv(grid.affine[:3, :3]).T
        return bool(((index >= 0) & (index <= np.array(grid.shape) - 1)).all())

    marks = landmarks(scene.posed)
    levels = list(visible)
    if inside(_plate_points(marks[Level.S1])):
        levels.append(Level.S1)
    return _field(scene, levels, hidden, ribs=True, hips=inside(scene.posed.hips_mm))


def field_of_view_of_points(
    scene: Scene, inside: dict[Level, bool], hidden: tuple[Level, ...], *, ribs: bool, hips: bool
) -> FieldOfView:
    """The field of view of a radiograph or MR, whose levels are in view where all corners of their bodies are."""
    return _field(scene, [level for level, seen in inside.items() if seen], hidden, ribs=ribs, hips=hips)


def _plate_points(marks: VertebraMarks) -> Array:
    plate = marks.upper
    assert plate is not None
    return np.array([plate.anterior_mm, plate.posterior_mm, plate.left_mm, plate.right_mm])


def _field(scene: Scene, levels: list[Level], hidden: tuple[Level, ...], *, ribs: bool, hips: bool) -> FieldOfView:
    order = [*(v.level for v in scene.spine.vertebrae), Level.S1]
    places = sorted(order.index(level) for level in levels)
    runs: list[list[int]] = [[places[0]]] if places else []
    for before, place in pairwise(places):
        if place == before + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    run = max(runs, key=len) if runs else [len(order) - 1]
    shown = tuple(order[place] for place in run)
    return FieldOfView(
        levels=shown,
        ribs_visible=ribs,
        hips_visible=hips,
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
