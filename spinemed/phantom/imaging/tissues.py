"""`render_tissues`: what each voxel is (vertebra, sub-region, disc, canal, tissue), and painting with any palette.

Convention: a label belongs to a voxel whose centre is inside. Numbers:

===============  ======================================================================================================
`vertebrae`      VerSe: 1-7 C1-C7, 8-19 T1-T12, 20-25 L1-L6, 26 sacrum, 27 coccyx, 28 T13
`subregions`     TPTBox and SPINEPS: 41 arch, 42 spinous process, 43/44 costal (transverse) process left/right, 45/46
                 superior and 47/48 inferior articular process left/right, 49 body within 2.5 mm of its surface, 50 body
                 deeper than that, 51 dens. In the sacrum 41 is everything but S1's body
`discs`          100 + VerSe number of the vertebra above, as in SPINEPS
`canal`          60 cord, 61 the rest of the canal
`tissue`         `Tissue`
`bone`           share of the voxel covered by bone, 0-255
===============  ======================================================================================================

Values are mixed at surfaces by coverage, so that any palette (Hounsfield units, an MR contrast) gets the same partial
volume. An axis coarser than 1.25 mm and than the others is rendered finer and averaged: a thick slice is a mean.

The trap: on grids coarser than the laminae (about 3 mm) a vertebra may fall apart; the largest piece keeps the label
and what was dropped is counted in `dropped_voxels`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spinemed.phantom.imaging.grid import VoxelGrid
from spinemed.phantom.pathology import Primitive
from spinemed.phantom.shape.blobs import PackedBlobs
from spinemed.phantom.shape.materials import TISSUES, Tissue
from spinemed.phantom.shape.scene import Bone, Scene, build_scene
from spinemed.phantom.shape.surfaces import empty_offsets
from spinemed.phantom.spine.frames import Frame
from spinemed.phantom.spine.records import Posture, SpinePhantom

__all__ = [
    "BODY_PARTS",
    "CANAL_LABEL",
    "CORD_LABEL",
    "Palette",
    "TissueVolume",
    "noise_tile",
    "paint",
    "render_tissues",
]

Array = NDArray[np.float64]
Mask = NDArray[np.uint8]

BODY_PARTS = (49, 50)
CORD_LABEL, CANAL_LABEL = 60, 61
_FINE_MM = 1.25
_GAP_MM = 1.3
_TEXTURE_CELLS = 96


@dataclass(frozen=True, eq=False)
class Palette:
    """What tissues look like in one modality.

    Attributes:
        values: Value of each tissue that is painted as such; others 0.
        spread: How much a tissue varies from place to place (muscle with fat, viscera).
        trabecular: (bones, 2) marrow of the body and of the rest, in the order of `Scene.bones`.
        cortical: (bones, 2) value of the cortex of the body and of the rest.
        cortex_mm: Thickness of the cortex of bodies and of the rest.
        part_cortex: Thickness of a sub-region's cortex as a share of that; 1 where none is named.
        discs: (discs, 3) annulus, nucleus and gas, in the order of `Scene.discs`.
        extra: Value of an added solid and whether it is added to what was there.
        anterior_fall: Marrow at the front of a body is lower by this share, at the back higher.
        texture_gain: Standard deviation of the marrow's texture.
        texture_mm: Its correlation length.
    """

    values: Mapping[Tissue, float]
    spread: Mapping[Tissue, float]
    trabecular: Array
    cortical: Array
    cortex_mm: tuple[float, float]
    discs: Array
    extra: Callable[[Primitive], tuple[float, bool]]
    part_cortex: Mapping[int, float] = field(default_factory=dict)
    anterior_fall: float = 0.0
    texture_gain: float = 0.0
    texture_mm: float = 0.6


@dataclass(frozen=True, eq=False)
class TissueVolume:
    """Labels and tissues on a grid; see the module for the numbers. `value` is what the palette gave, float32."""

    grid: VoxelGrid
    vertebrae: Mask
    subregions: Mask
    discs: Mask
    canal: Mask
    tissue: Mask
    bone: Mask
    value: NDArray[np.float32]
    dropped_voxels: Mapping[int, int]

    @property
    def bodies(self) -> Mask:
        """The vertebra numbers within vertebral bodies only."""
        inside = (self.subregions == BODY_PARTS[0]) | (self.subregions == BODY_PARTS[1])
        return np.where(inside, self.vertebrae, 0).astype(np.uint8)


def render_tissues(spine: SpinePhantom | Scene, grid: VoxelGrid, *, posture: Posture = Posture.SUPINE) -> TissueVolume:
    """Labels and tissues of a spine on a grid; `value` is the share of bone.

    Args:
        spine: The record, or a scene that was built from it (then `posture` is the scene's).
        grid: The voxels.
        posture: How the person lies or stands.
    """
    scene = spine if isinstance(spine, Scene) else build_scene(spine, posture)
    n = len(scene.bones)
    palette = Palette(
        values={},
        spread={},
        trabecular=np.ones((n, 2)),
        cortical=np.ones((n, 2)),
        cortex_mm=(0.4, 0.5),
        discs=np.zeros((len(scene.discs), 3)),
        extra=lambda item: (1.0 if item.tissue in ("bone", "metal") else 0.0, False),
    )
    return paint(scene, grid, palette)


def paint(
    scene: Scene, grid: VoxelGrid, palette: Palette, *, texture_offset: tuple[int, int, int] = (0, 0, 0)
) -> TissueVolume:
    """Paint a scene with a palette: labels and values in one pass.

    Args:
        scene: What to paint.
        grid: The voxels.
        palette: Values of the modality.
        texture_offset: Start of the marrow's texture; draw it from the case's generator.
    """
    least = max(_FINE_MM, 1.3 * min(grid.spacing_mm))  # thick slices, not coarse cubes: those are mixed at once
    factors = [int(np.ceil(size / least - 1e-9)) for size in grid.spacing_mm]
    factors = [f + 1 - f % 2 for f in factors]  # odd: then the middle part's centre is the voxel's centre
    if max(factors) == 1:
        return _paint(scene, grid, palette, texture_offset)
    fine = _paint(scene, grid.finer(factors), palette, texture_offset, tidy=False)
    shape = [size for n, f in zip(grid.shape, factors) for size in (n, f)]
    middle = tuple(slice(f // 2, None, f) for f in factors)

    def centre(mask: Mask) -> Mask:
        return np.ascontiguousarray(mask[middle])

    value = fine.value.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)
    bone = fine.bone.reshape(shape).mean(axis=(1, 3, 5), dtype=np.float32)
    vertebrae, subregions = centre(fine.vertebrae), centre(fine.subregions)
    dropped = _one_piece(vertebrae, subregions, grid.affine)
    return TissueVolume(
        grid, vertebrae, subregions, centre(fine.discs), centre(fine.canal), centre(fine.tissue),
        np.rint(bone).astype(np.uint8), value, dropped,
    )  # fmt: skip


@lru_cache(maxsize=8)
def noise_tile(size: int, sigma_cells: float, seed: int) -> NDArray[np.float32]:
    """A periodic tile (size, size, size) of Gaussian noise, mean 0 and standard deviation 1, smoothed over cells."""
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(seed).standard_normal((size, size, size), dtype=np.float32)
    smooth = gaussian_filter(white, sigma_cells, mode="wrap") if sigma_cells > 0 else white
    tile: NDArray[np.float32] = ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)
    tile.setflags(write=False)
    return tile


def _pull(frame: Frame | None, affine: Array) -> Array:
    """(3, 4) from voxel indices to a frame, or to the world."""
    if frame is None:
        return np.array(affine[:3])
    rows = frame.rotation.T
    return np.concatenate([rows @ affine[:3, :3], (rows @ (affine[:3, 3] - frame.origin_mm))[:, None]], axis=1)


def _boxes(pull: Array, low: Array, high: Array, margin: float, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """(N, 6) first voxel and one past the last of boxes given in the frames that `pull` (N, 3, 4) leads to."""
    inverse = np.linalg.inv(pull[:, :, :3])
    centre = np.einsum("nij,nj->ni", inverse, (low + high) / 2 - pull[:, :, 3])
    half = np.einsum("nij,nj->ni", np.abs(inverse), (high - low) / 2 + margin)
    size = np.array(shape)
    first = np.clip(np.ceil(centre - half), 0, size).astype(np.int64)
    last = np.clip(np.floor(centre + half) + 1, 0, size).astype(np.int64)
    result = np.empty((len(pull), 6), dtype=np.int64)
    result[:, 0::2], result[:, 1::2] = first, np.maximum(last, first)
    return result


_OnGrid = tuple[Array, Array, NDArray[np.int64]]


def _on_grid(blobs: PackedBlobs, pull: Array, margin: float, shape: tuple[int, int, int]) -> _OnGrid:
    """Numbers, voxel-to-blob matrices and voxel boxes of the blobs that touch the grid."""
    (found,) = _on_grid_each([blobs], [pull], margin, shape)
    return found


def _on_grid_each(
    groups: Sequence[PackedBlobs], pulls: Sequence[Array], margin: float, shape: tuple[int, int, int]
) -> list[_OnGrid]:
    """`_on_grid` of many groups of blobs, each with its own matrix from voxels to its frame, in one go."""
    counts = [len(group) for group in groups]
    if not sum(counts):
        return [(np.zeros((0, 9)), np.zeros((0, 3, 4)), np.zeros((0, 6), dtype=np.int64)) for _ in groups]
    pull = np.repeat(np.stack(pulls), counts, axis=0)
    own = np.concatenate([group.pull for group in groups])
    limits = np.concatenate([group.box for group in groups])
    rows = own[:, :, :3]
    matrix = np.concatenate([rows @ pull[:, :, :3], rows @ pull[:, :, 3:] + own[:, :, 3:]], axis=2)
    boxes = _boxes(matrix, limits[:, 0], limits[:, 1], margin, shape)
    seen = (boxes[:, 1] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 2]) & (boxes[:, 5] > boxes[:, 4])
    numbers, matrix, boxes = np.concatenate([group.numbers for group in groups])[seen], matrix[seen], boxes[seen]
    ends = np.concatenate([[0], np.cumsum(seen)])[np.cumsum([0, *counts])].tolist()
    return [(numbers[a:b], matrix[a:b], boxes[a:b]) for a, b in pairwise(ends)]


def _paint(
    scene: Scene, grid: VoxelGrid, palette: Palette, texture_offset: tuple[int, int, int], *, tidy: bool = True
) -> TissueVolume:
    from spinemed.phantom.imaging import paint, raster

    shape, affine = grid.shape, np.array(grid.affine)
    spacing = np.array(grid.spacing_mm)
    edge = float(spacing.mean())
    reach = 0.6 * float(spacing.sum()) + 0.4
    values, spread = np.zeros(TISSUES, dtype=np.float64), np.zeros(TISSUES, dtype=np.float64)
    for tissue, number in palette.values.items():
        values[tissue] = number
    for tissue, number in palette.spread.items():
        spread[tissue] = number
    value = np.zeros(shape, dtype=np.float32)
    tissue_map = np.zeros(shape, dtype=np.uint8)
    discs = np.zeros(shape, dtype=np.uint8)
    canal = np.zeros(shape, dtype=np.uint8)
    coarse = noise_tile(24, 0.9, 7)
    paint.paint_torso(value, tissue_map, affine, scene.torso, scene.torso_z_mm, 4.0, values, spread, coarse)
    world = affine[:3]
    for blobs, label in ((scene.soft, 0), (scene.canal, CANAL_LABEL), (scene.sac, 0), (scene.cord, CORD_LABEL)):
        numbers, pull, boxes = _on_grid(blobs, world, 0.6 * edge, shape)
        paint.paint_blobs(value, tissue_map, affine, numbers, pull, boxes, values, spread, coarse, edge)
        if label:
            paint.mark_blobs(canal, numbers, pull, boxes, label)
    _paint_discs(paint, scene, palette, grid, value, tissue_map, discs, edge)
    for item, host, blobs in scene.extras:
        if item.clip == "outside_bone":
            _paint_extra(paint, scene, item, host, blobs, palette, grid, value, tissue_map, edge)
            if item.tissue == "disc":
                frame_pull = _pull(scene.bones[host].frame, affine)
                numbers, pull, boxes = _on_grid(blobs, frame_pull, 0.6 * edge, shape)
                paint.mark_blobs(discs, numbers, pull, boxes, 100 + _label_above(scene, host))
    best = np.full(shape, raster.FAR_MM, dtype=np.float32)
    second = np.full(shape, raster.FAR_MM, dtype=np.float32)
    owner, part = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
    front = np.zeros((len(scene.bones), 4))
    pulls = _raster_bones(raster, scene.bones, affine, shape, reach, best, second, owner, part)
    for index, bone in enumerate(scene.bones):
        if bone.body is not None:
            front[index] = pulls[index, 1] / (0.25 * (bone.body.numbers[1] + bone.body.numbers[3]))
    vertebrae, subregions = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
    bone_share = np.zeros(shape, dtype=np.uint8)
    texture = _texture(palette, spacing)
    shift = -np.array(texture_offset, dtype=np.int64) % _TEXTURE_CELLS
    n = len(scene.bones)
    cortex = np.broadcast_to(np.array(palette.cortex_mm), (n, 2))
    part_cortex = np.ones(64)
    for number, share in palette.part_cortex.items():
        part_cortex[number] = share
    raster.compose_bone(
        value, tissue_map, bone_share, best, second, owner, part,
        np.array([b.label for b in scene.bones], dtype=np.uint8), np.ascontiguousarray(palette.trabecular),
        np.ascontiguousarray(palette.cortical), np.ascontiguousarray(cortex), part_cortex,
        _GAP_MM, front, palette.anterior_fall, texture, shift, palette.texture_gain, spacing, vertebrae, subregions,
    )  # fmt: skip
    for item, host, blobs in scene.extras:
        if item.clip != "outside_bone":
            _paint_extra(
                paint,
                scene,
                item,
                host,
                blobs,
                palette,
                grid,
                value,
                tissue_map,
                edge,
                owner=owner,
                part=part,
                best=best,
            )
    raster.clear_where_bone(discs, canal, bone_share)
    dropped = _one_piece(vertebrae, subregions, grid.affine) if tidy else {}
    return TissueVolume(grid, vertebrae, subregions, discs, canal, tissue_map, bone_share, value, dropped)


def _label_above(scene: Scene, host: int) -> int:
    """Mask number of the vertebra above a host, by which a disc is named."""
    return next((scene.bones[d.upper].label for d in scene.discs if d.lower == host), scene.bones[host].label)


def _texture(palette: Palette, spacing: Array) -> NDArray[np.float32]:
    sigma = round(palette.texture_mm / float(np.exp(np.log(spacing).mean())), 2)
    return noise_tile(_TEXTURE_CELLS, min(sigma, 6.0), 11)


def _raster_bones(
    raster: Any, bones: Sequence[Bone], affine: Array, shape: tuple[int, int, int], reach: float, best: Any,
    second: Any, owner: Mask, part: Mask,
) -> Array:  # fmt: skip
    """Put every bone into the distance fields; returns the (N, 3, 4) matrices from voxels to the bones' frames.

    The boxes of all bones and of all their blobs are found in one call each: there are some sixty bones, and on a slice
    that costs more than painting them.
    """
    margin = max(reach, _GAP_MM + 0.7)
    pulls = np.stack([_pull(bone.frame, affine) for bone in bones])
    extent = np.stack([bone.reach for bone in bones])
    boxes = _boxes(pulls, extent[:, 0], extent[:, 1], margin, shape)
    near = np.flatnonzero((boxes[:, 1::2] > boxes[:, 0::2]).all(axis=1)).tolist()
    solids = [each for n in near for each in (bones[n].blobs, bones[n].holes)]
    found = _on_grid_each(solids, [pulls[n] for n in near for _ in range(2)], margin, shape)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    far = max(6.0, reach + 2.5 * float(spacing.max()))
    for n, blobs, holes in zip(near, found[0::2], found[1::2], strict=True):
        bone, box = bones[n], boxes[n]
        if bone.body is None and bone.shell[12] < 0.5:  # nothing but blobs: a rib's box is mostly empty
            if not len(blobs[0]):
                continue
            box = box.copy()
            box[0::2] = np.maximum(box[0::2], blobs[2][:, 0::2].min(axis=0))
            box[1::2] = np.minimum(box[1::2], blobs[2][:, 1::2].max(axis=0))
        body = bone.body.numbers if bone.body is not None else np.zeros(20)
        offsets = bone.body.offsets if bone.body is not None else empty_offsets()
        raster.raster_bone(
            best, second, owner, part, np.uint8(n), box, pulls[n], body, bone.body is not None,
            offsets, bone.shell, *blobs, *holes, bone.blend_mm, far,
        )  # fmt: skip
    return pulls


def _paint_discs(
    paint: Any, scene: Scene, palette: Palette, grid: VoxelGrid, value: Any, tissue: Mask, discs: Mask, edge: float
) -> None:
    affine = np.array(grid.affine)
    n = len(scene.discs)
    if n == 0:
        return
    bodies = np.stack([b.body.numbers if b.body is not None else np.zeros(20) for b in scene.bones])
    offsets = np.stack([b.body.offsets if b.body is not None else empty_offsets() for b in scene.bones])
    upper = np.stack([_pull(scene.bones[d.upper].frame, affine) for d in scene.discs])
    lower = np.stack([_pull(scene.bones[d.lower].frame, affine) for d in scene.discs])
    up = bodies[[d.upper for d in scene.discs]]
    wide = 0.5 * np.maximum(up[:, 0], up[:, 2]) + 4.0
    deep = 0.5 * np.maximum(up[:, 1], up[:, 3]) * 1.15 + 5.0
    bulge = np.array([d.effective.bulge_mm for d in scene.discs])
    thick = np.array([d.effective.middle_height_mm for d in scene.discs])
    sunk = np.array([np.abs(offsets[d.upper]).max() + np.abs(offsets[d.lower]).max() for d in scene.discs])
    tilt = np.abs(up[:, 8]) * deep + np.abs(up[:, 9]) * wide
    low = np.stack([-wide - bulge, -deep - bulge, up[:, 7] - 1.8 * thick - tilt - 5.0 - sunk], axis=1)
    high = np.stack([wide + bulge, deep + bulge, up[:, 7] + up[:, 11] + tilt + 2.0 + sunk], axis=1)
    boxes = _boxes(upper, low, high, edge, grid.shape)
    paint.paint_discs(
        value, tissue, discs, boxes, np.stack([low - 6.0, high + 6.0], axis=1), upper, lower, bodies, offsets,
        np.array([(d.upper, d.lower) for d in scene.discs], dtype=np.int64),
        np.array([100 + scene.bones[d.upper].label for d in scene.discs], dtype=np.uint8),
        np.stack([bulge, [float(d.effective.vacuum) for d in scene.discs], np.zeros(n), np.full(n, 0.62)], axis=1),
        np.ascontiguousarray(palette.discs, dtype=np.float64), edge,
    )  # fmt: skip


def _paint_extra(
    paint: Any, scene: Scene, item: Primitive, host: int, blobs: PackedBlobs, palette: Palette, grid: VoxelGrid,
    value: Any, tissue: Mask, edge: float, *, owner: Mask | None = None, part: Mask | None = None, best: Any = None,
) -> None:  # fmt: skip
    numbers, pull, boxes = _on_grid(
        blobs, _pull(scene.bones[host].frame, np.array(grid.affine)), 0.6 * edge, grid.shape
    )
    number, added = palette.extra(item)
    inside = item.clip == "body" and owner is not None
    dummy = tissue if owner is None else owner
    paint.paint_extra(
        value, tissue, numbers, pull, boxes, float(number), added, inside, np.uint8(host), dummy,
        tissue if part is None else part, edge, value if best is None else best,
    )  # fmt: skip


def _one_piece(vertebrae: Mask, subregions: Mask, affine: NDArray[np.float64]) -> dict[int, int]:
    """Keep the largest 6-connected piece of each label; returns how many voxels of each label were dropped.

    Of pieces of one size (both tips of a vertebra that the field cuts) the one farthest to the patient's right, front
    and top is kept, in that order: in every orientation the same.
    """
    from scipy.ndimage import find_objects, label

    dropped: dict[int, int] = {}
    if min(vertebrae.shape) == 1:
        return dropped  # in a slice a vertebra is in pieces by nature
    for number, where in enumerate(find_objects(vertebrae), start=1):
        if where is None:
            continue
        inside = vertebrae[where] == number
        pieces, count = label(inside)
        if count < 2:
            continue
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        tied = np.flatnonzero(sizes == sizes.max())
        kept = tied[0]
        if len(tied) > 1:
            middles = [np.argwhere(pieces == piece).mean(axis=0) + [part.start for part in where] for piece in tied]
            world = [tuple(np.round(affine[:3, :3] @ middle + affine[:3, 3], 6).tolist()) for middle in middles]
            kept = tied[max(range(len(tied)), key=world.__getitem__)]
        loose = inside & (pieces != kept)
        vertebrae[where][loose] = 0
        subregions[where][loose] = 0
        dropped[number] = int(loose.sum())
    return dropped
