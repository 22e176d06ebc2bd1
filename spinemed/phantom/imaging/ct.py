"""`render_ct`: a phantom as CT in Hounsfield units, with every mask it implies.

Convention: HU at 120 kV. Values of tissues are in `CtLook`; where they come from is said at each field. Order of a
rendering: tissues with partial volume, then noise, then the scanner's blur over both (so noise has the kernel's
texture), then streaks, then rounding to int16.

The trap: the true cortex is 0.4 mm thin and never seen as such; what looks like a 1 mm cortex of 500 HU is its partial
volume. Measure densities away from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.phantom.imaging.grid import Field, VoxelGrid, field_grid
from spinemed.phantom.imaging.tissues import Palette, TissueVolume, paint
from spinemed.phantom.pathology import Primitive
from spinemed.phantom.shape.materials import Tissue
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine.records import Posture, SpinePhantom
from spinemed.records import Record
from spinemed.volume import Volume

__all__ = ["CtLook", "CtPhantom", "CtTruth", "ct_palette", "look_of", "render_ct", "render_ct_slice"]

Array = NDArray[np.float64]


class CtLook(Record):
    """How a scanner shows tissues. Lengths mm, values HU.

    Tissue values are those of abdominal and spinal CT at 120 kV (muscle 34-39 and fat about -56 to -100 as measured on
    inserts and patients, the others as commonly quoted), then compared with the bundled real crops.
    """

    blur_mm: float = Limits(default=0.55, ge=0)
    """Standard deviation of the point spread; it also correlates the noise."""
    noise_sd: float = Limits(default=16.0, ge=0)
    """Standard deviation of the noise."""
    texture_sd: float = Limits(default=34.0, ge=0)
    """Of the marrow, at 150 HU."""
    texture_mm: float = Limits(default=0.65, gt=0)
    """Grain of the marrow's texture."""
    cortex_mm: float = Limits(default=0.55, gt=0)
    """Of the bodies, as it matches the real crops; the true shell is 0.3-0.6."""
    arch_cortex_mm: float = Limits(default=1.05, gt=0)
    """Of pedicles, laminae and processes."""
    anterior_fall: float = 0.12
    """Marrow at the front of a body is lower, at the back higher, by this share."""
    marrow_scale: float = 1.0
    """Factor on the record's trabecular HU."""
    marrow_offset: float = 0.0
    """Added to the marrow."""
    cortical_scale: float = 1.45
    """True cortex against the record's cortical HU, which is what a scan shows of it."""
    arch_cortical_scale: float = 1.5
    """The same of the arch."""
    arch_marrow_scale: float = 0.75
    """Marrow of pedicles, laminae and processes against the record's."""
    fat: float = -102.0
    """Of fat."""
    muscle: float = 50.0
    """Of the muscles beside the spine's own."""
    paraspinal: float = 41.0
    """Of the muscles along the spine."""
    viscera: float = 34.0
    """Of bowel and other soft organs."""
    liver: float = 58.0
    """Of the liver."""
    kidney: float = 36.0
    """Of the kidneys."""
    lung: float = -850.0
    """Of the lungs."""
    vessel: float = 42.0
    """150-350 where contrast was given."""
    epidural_fat: float = -78.0
    """Of fat in the canal."""
    csf: float = 12.0
    """Of cerebrospinal fluid."""
    cord: float = 36.0
    """Of the spinal cord."""
    ligament: float = 88.0
    """Of ligaments."""
    annulus: float = 92.0
    """Of the discs' rims."""
    nucleus: float = 74.0
    """Of the discs' cores."""
    muscle_spread: float = 14.0
    """How far fat between the fibres varies muscle."""
    offset: float = 0.0
    """Of everything but air: a scanner's calibration."""
    streaks: float = Limits(default=0.0, ge=0)
    """Strength of metal streaks, HU near the metal; 0 draws none."""


_LOOKS: Mapping[tuple[str, str], CtLook] = {
    ("a", "soft"): CtLook(),
    ("a", "bone"): CtLook(blur_mm=0.32, noise_sd=55.0, texture_sd=55.0),
    ("b", "soft"): CtLook(
        blur_mm=0.75, noise_sd=11.0, texture_sd=26.0, texture_mm=0.9, cortex_mm=0.62, arch_cortex_mm=1.2,
        cortical_scale=1.6, marrow_scale=0.94, marrow_offset=6.0, anterior_fall=0.06, fat=-92.0, muscle=60.0,
        paraspinal=50.0, viscera=42.0, vessel=165.0, annulus=84.0, nucleus=80.0, csf=6.0, offset=3.0, muscle_spread=9.0,
    ),
    ("b", "bone"): CtLook(
        blur_mm=0.42, noise_sd=70.0, texture_sd=30.0, texture_mm=0.9, cortex_mm=0.62, arch_cortex_mm=1.2,
        cortical_scale=1.65, marrow_scale=0.96, marrow_offset=8.0, anterior_fall=0.06, fat=-92.0, muscle=60.0,
        paraspinal=50.0, viscera=42.0, vessel=165.0, annulus=84.0, nucleus=80.0, csf=6.0, offset=3.0, muscle_spread=9.0,
    ),
}  # fmt: skip

_PART_CORTEX = {42: 0.85, 43: 0.4, 44: 0.4, 45: 1.1, 46: 1.1, 47: 1.35, 48: 1.35}
"""Spinous and transverse processes have a thinner cortex than laminae, facets a thicker one."""


def look_of(family: str, kernel: Literal["soft", "bone"] = "soft") -> CtLook:
    """The look of a generator family: "b" is another scanner (other kernel, offsets, texture, blooming cortex)."""
    return _LOOKS[family, kernel]


@dataclass(frozen=True, eq=False)
class CtTruth:
    """What is true of a rendering beyond its masks.

    Attributes:
        visible: Levels whose whole vertebra lies inside the volume, head to foot.
        cut: Levels that the volume's border cuts.
        sacrum_cut: Whether the border cuts the sacrum (or it is out of view).
        dropped_voxels: Voxels per label that fell off a vertebra on a coarse grid and were left out.
        look: How it was rendered.
        noise_seed: Seed of noise and texture.
    """

    visible: tuple[Level, ...]
    cut: tuple[Level, ...]
    sacrum_cut: bool
    dropped_voxels: Mapping[int, int]
    look: CtLook
    noise_seed: int


@dataclass(frozen=True, eq=False)
class CtPhantom:
    """A CT with its masks, all on one grid. Numbers of the masks: `spinemed.phantom.imaging.tissues`.

    Attributes:
        volume: int16 HU.
        vertebrae: VerSe numbers of everything in view, cut vertebrae included.
        bodies: The same within vertebral bodies.
        subregions, discs, canal: As in the tissues module.
        tissue: `Tissue` of each voxel.
        centroids: Body centroids of the wholly visible vertebrae, world mm (C1: the middle of its ring's masses).
        scene: The solids it was rendered from.
        truth: What else is true.
    """

    volume: Volume
    vertebrae: Volume
    bodies: Volume
    subregions: Volume
    discs: Volume
    canal: Volume
    tissue: Volume
    centroids: Mapping[Level, Array]
    scene: Scene
    truth: CtTruth


def ct_palette(scene: Scene, look: CtLook) -> Palette:
    """Hounsfield units of a scene's tissues."""

    def soft(value: float) -> float:
        return value + look.offset

    values = {
        Tissue.AIR: -1000.0,
        Tissue.FAT: soft(look.fat),
        Tissue.MUSCLE: soft(look.muscle),
        Tissue.VISCERA: soft(look.viscera),
        Tissue.LUNG: look.lung,
        Tissue.VESSEL: soft(look.vessel),
        Tissue.EPIDURAL_FAT: soft(look.epidural_fat),
        Tissue.CSF: soft(look.csf),
        Tissue.CORD: soft(look.cord),
        Tissue.LIGAMENT: soft(look.ligament),
        Tissue.KIDNEY: soft(look.kidney),
        Tissue.LIVER: soft(look.liver),
        Tissue.PARASPINAL: soft(look.paraspinal),
    }
    spread = {
        Tissue.MUSCLE: 0.6 * look.muscle_spread,
        Tissue.PARASPINAL: look.muscle_spread,
        Tissue.VISCERA: 22.0,
        Tissue.LUNG: 40.0,
        Tissue.LIVER: 4.0,
    }
    marrow = np.array([[bone.trabecular_hu, bone.arch_hu * look.arch_marrow_scale] for bone in scene.bones])
    cortical = np.array([bone.cortical_hu for bone in scene.bones])
    discs = np.array(
        [
            # A worn disc loses its nucleus: both parts become alike.
            (soft(look.annulus), soft(look.nucleus + (disc.effective.degeneration - 1) * 4.0), -800.0)
            for disc in scene.discs
        ]
    ).reshape(-1, 3)

    def extra(item: Primitive) -> tuple[float, bool]:
        return item.hu, item.hu_mode == "add"

    return Palette(
        values=values,
        spread=spread,
        trabecular=marrow * look.marrow_scale + look.marrow_offset,
        cortical=np.outer(cortical, [look.cortical_scale, look.arch_cortical_scale]),
        part_cortex=_PART_CORTEX,
        cortex_mm=(look.cortex_mm, look.arch_cortex_mm),
        discs=discs,
        extra=extra,
        anterior_fall=look.anterior_fall,
        texture_gain=look.texture_sd,
        texture_mm=look.texture_mm,
    )


def render_ct(
    spine: SpinePhantom | Scene,
    *,
    spacing_mm: float | Sequence[float] = (1.0, 1.0, 1.0),
    codes: str = "PIR",
    field: Field = "lumbar",
    level: Level | None = None,
    posture: Posture = Posture.SUPINE,
    look: CtLook | None = None,
    noise_seed: int | None = None,
    grid: VoxelGrid | None = None,
) -> CtPhantom:
    """Render a CT.

    Args:
        spine: The record, or a scene built from it (then `posture` is the scene's).
        spacing_mm: Voxel size along each array axis.
        codes: Orientation of the array axes.
        field: Field of view (`field_grid`); `level` names the one for field "level".
        posture: CT is taken supine.
        look: How the scanner shows it; by default that of the spine's family with a soft kernel.
        noise_seed: Of noise and texture; by default the record's seed and index, so that the same record gives the same
            bytes. A healthy twin with the same numbers has the same noise.
        grid: Render on these voxels instead (for twins, oblique grids, any crop).

    Raises:
        VolumeError: a bad spacing, orientation or field.
    """
    scene = spine if isinstance(spine, Scene) else build_scene(spine, posture)
    if grid is None:
        grid = field_grid(scene, field, spacing_mm=spacing_mm, codes=codes, level=level)
    record = scene.spine
    chosen = look_of(record.family) if look is None else look
    seed = _case_seed(record) if noise_seed is None else noise_seed
    tissues, hu = _hounsfield(scene, grid, chosen, seed)
    visible, cut, sacrum_cut = _in_view(tissues.vertebrae, record)
    centroids = _centroids(tissues, scene, grid, visible)
    truth = CtTruth(visible, cut, sacrum_cut, tissues.dropped_voxels, chosen, seed)
    affine = grid.affine

    def mask(data: NDArray[np.uint8]) -> Volume:
        return Volume(data, affine, "label")

    return CtPhantom(
        volume=Volume(hu, affine, "HU"),
        vertebrae=mask(tissues.vertebrae),
        bodies=mask(tissues.bodies),
        subregions=mask(tissues.subregions),
        discs=mask(tissues.discs),
        canal=mask(tissues.canal),
        tissue=mask(tissues.tissue),
        centroids=centroids,
        scene=scene,
        truth=truth,
    )


def render_ct_slice(
    scene: Scene, grid: VoxelGrid, *, look: CtLook | None = None, noise_seed: int | None = None
) -> tuple[NDArray[np.int16], TissueVolume]:
    """HU and tissues on a thin grid such as `sagittal_grid`: the fast way to single slices with their masks."""
    record = scene.spine
    chosen = look_of(record.family) if look is None else look
    tissues, hu = _hounsfield(scene, grid, chosen, _case_seed(record) if noise_seed is None else noise_seed)
    return hu, tissues


def _case_seed(record: SpinePhantom) -> int:
    return int(np.random.SeedSequence([record.seed, record.index, 3]).generate_state(1)[0])


def _hounsfield(scene: Scene, grid: VoxelGrid, look: CtLook, seed: int) -> tuple[TissueVolume, NDArray[np.int16]]:
    from spinemed.phantom.imaging.filters import blur, blur_gain

    rng = np.random.default_rng(seed)
    a, b, c = (int(v) for v in rng.integers(0, 96, size=3))
    tissues = paint(scene, grid, ct_palette(scene, look), texture_offset=(a, b, c))
    value = tissues.value
    if look.noise_sd > 0:
        noise = rng.standard_normal(value.shape, dtype=np.float32)
        noise *= look.noise_sd / blur_gain(grid.shape, grid.spacing_mm, look.blur_mm)
        value += noise
    blur(value, grid.spacing_mm, look.blur_mm)
    if look.streaks > 0:
        _streaks(value, scene, grid, look.streaks, rng)
    np.clip(value, -1024.0, 3071.0, out=value)
    return tissues, np.rint(value, out=value).astype(np.int16)


def _streaks(
    value: NDArray[np.float32], scene: Scene, grid: VoxelGrid, strength: float, rng: np.random.Generator
) -> None:
    from spinemed.phantom.imaging.filters import add_streaks

    sources = []
    for item, host, _ in scene.extras:
        if item.tissue != "metal" or item.end_host is not None:
            continue
        frame = scene.bones[host].frame
        ends = [np.array(item.centre_mm)] + ([np.array(item.end_mm)] if item.end_mm is not None else [])
        world = frame.to_world(np.array(ends))
        half = max(abs(float(np.ptp(world[:, 2]))) / 2, 0.0) + item.half_sizes_mm[0]
        sources.append([*world.mean(axis=0), half])
    if sources:
        phases = rng.uniform(0, 2 * np.pi, size=(len(sources), 3))
        add_streaks(value, np.ascontiguousarray(grid.affine[:3]), np.array(sources, dtype=np.float64), phases, strength)


def _in_view(vertebrae: NDArray[np.uint8], record: SpinePhantom) -> tuple[tuple[Level, ...], tuple[Level, ...], bool]:
    """Levels wholly inside, levels that touch the volume's border, and whether the sacrum does (or is missing)."""
    counts = np.bincount(vertebrae.ravel(), minlength=32)
    touching: set[int] = set()
    for axis in range(3):
        if vertebrae.shape[axis] > 1:
            for end in (0, -1):
                touching |= set(np.unique(np.take(vertebrae, end, axis=axis)).tolist())
    labels = LABEL_MAPS["verse"]
    present = [v.level for v in record.vertebrae if counts[labels.to_label(v.level)] > 0]
    visible = tuple(level for level in present if labels.to_label(level) not in touching)
    cut = tuple(level for level in present if labels.to_label(level) in touching)
    return visible, cut, bool(counts[26] == 0 or 26 in touching)


def _centroids(tissues: TissueVolume, scene: Scene, grid: VoxelGrid, visible: tuple[Level, ...]) -> dict[Level, Array]:
    """Centre of mass of each visible body, from the voxels."""
    from scipy.ndimage import center_of_mass

    labels = LABEL_MAPS["verse"]
    bodies = tissues.bodies
    counts = np.bincount(bodies.ravel(), minlength=32)  # on coarse grids a body may hold no voxel's centre
    wanted = [level for level in visible if level is not Level.C1 and counts[labels.to_label(level)] > 0]
    result: dict[Level, Array] = {}
    if Level.C1 in visible:
        result[Level.C1] = np.array(scene.posed.frame(Level.C1).origin_mm)
    if wanted:
        numbers = [labels.to_label(level) for level in wanted]
        found = np.array(center_of_mass(bodies > 0, bodies, numbers))
        for level, index in zip(wanted, found, strict=True):
            result[level] = grid.affine[:3, :3] @ index + grid.affine[:3, 3]
    return result
