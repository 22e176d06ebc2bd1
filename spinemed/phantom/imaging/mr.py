"""`render_mr`: a phantom as a sagittal or axial T1 or T2 stack, with its masks.

Convention: signals are in arbitrary units with CSF on T2 near 950; they stand in `tables/mr_signals.csv`, each row with
its source and mark. Order of a rendering: tissues with partial volume (each slice is the mean of thinner ones), the
voids of metal, in-plane blur, the coil's bias field, then Rician noise. Sagittal stacks run from left to right in RAS;
axial ones lie parallel to their disc, with axes left, posterior, cranial.

The trap: a table of signals is no simulation of relaxation. Contrasts are in the right order, their sizes are not those
of any scanner; do not measure T1 or T2 on them.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from spinemed.anatomy import Disc, Level
from spinemed.errors import LevelError, RecordError, VolumeError
from spinemed.phantom.imaging.grid import Field, VoxelGrid, field_grid
from spinemed.phantom.imaging.tissues import Palette, TissueVolume, paint
from spinemed.phantom.pathology import Primitive
from spinemed.phantom.shape.materials import Tissue
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine.records import Posture, SpinePhantom
from spinemed.phantom.spine.truth import landmarks
from spinemed.records import Record
from spinemed.volume import Volume

__all__ = [
    "MrLook",
    "MrPhantom",
    "MrPlane",
    "MrSequence",
    "MrTruth",
    "axial_grid",
    "levels_inside",
    "mr_look_of",
    "mr_palette",
    "mr_signals",
    "render_mr",
    "sagittal_stack",
]

Array = NDArray[np.float64]
MrSequence = Literal["T1", "T2"]
MrPlane = Literal["sagittal", "axial"]

_TABLE = Path(__file__).resolve().parents[1] / "tables" / "mr_signals.csv"
_VOID_MM, _VOID_EDGE_MM = 3.0, 4.0
"""How far from metal the signal is lost, and over which distance it returns."""
_YOUNG, _OLD = 25.0, 85.0


class Signal(NamedTuple):
    """One row of the table."""

    T1: float
    T2: float
    source: str
    mark: str


class MrLook(Record):
    """How a scanner shows tissues. Lengths mm, signals as in the table."""

    blur_mm: float = Limits(default=0.45, ge=0)
    """Standard deviation of the point spread within a slice."""
    noise_sd: float = Limits(default=16.0, ge=0)
    """Of each of the two channels of the Rician noise."""
    bias: float = Limits(default=0.22, ge=0, lt=0.8)
    """How much the signal falls from the coil under the back to the front, and varies along the stack."""
    bias_mm: float = Limits(default=130.0, gt=0)
    """Distance over which the coil's signal falls."""
    fat_gain: float = Limits(default=1.0, gt=0)
    """Factor on the signal of fat."""
    marrow_gain: float = Limits(default=1.0, gt=0)
    """Factor on the signal of marrow."""
    fluid_gain: float = Limits(default=1.0, gt=0)
    """Of CSF and nucleus on T2, as a longer echo time raises it."""
    texture_sd: float = Limits(default=22.0, ge=0)
    """Standard deviation of the marrow's texture."""
    texture_mm: float = Limits(default=1.1, gt=0)
    """Its grain."""


_LOOKS: Mapping[str, MrLook] = {
    "a": MrLook(),
    "b": MrLook(
        blur_mm=0.6, noise_sd=26.0, bias=0.34, bias_mm=90.0, fat_gain=0.82, marrow_gain=1.12, fluid_gain=0.9,
        texture_sd=34.0, texture_mm=0.9,
    ),
}  # fmt: skip


def mr_look_of(family: str) -> MrLook:
    """The look of a generator family: "b" has another contrast, coil, noise and sharpness."""
    return _LOOKS[family]


@dataclass(frozen=True, eq=False)
class MrTruth:
    """What is true of a stack beyond its masks.

    Attributes:
        sequence, plane: Of the stack.
        visible: Levels whose body's corners in the median plane lie in the stack; of an axial stack, its disc's levels.
        hidden: Levels in an artefact.
        disc: Of an axial stack.
        look: How it was rendered.
        noise_seed: Seed of noise, texture and bias.
    """

    sequence: MrSequence
    plane: MrPlane
    visible: tuple[Level, ...]
    hidden: tuple[Level, ...]
    disc: Disc | None
    look: MrLook
    noise_seed: int


@dataclass(frozen=True, eq=False)
class MrPhantom:
    """A stack with its masks, all on one grid. Numbers of the masks: `spinemed.phantom.imaging.tissues`.

    Attributes:
        volume: int16, arbitrary units.
        vertebrae, discs, canal: Masks.
        tissue: `Tissue` of each voxel's centre.
        scene: What it was rendered from.
        truth: What else is true.
    """

    volume: Volume
    vertebrae: Volume
    discs: Volume
    canal: Volume
    tissue: Volume
    scene: Scene
    truth: MrTruth


@cache
def mr_signals() -> Mapping[str, Signal]:
    """The packaged table: signal of each tissue on T1 and T2, with its source and mark.

    Raises:
        RecordError: a row without source, with an unknown mark, or named twice.
    """
    table: dict[str, Signal] = {}
    with _TABLE.open(encoding="utf-8", newline="") as stream:
        for line, row in enumerate(csv.DictReader(stream), start=2):
            if not row["source"] or row["mark"] not in ("verified", "recalled", "derived") or row["tissue"] in table:
                raise RecordError(
                    f"the row of '{row['tissue']}' has no source, an unknown mark or a double",
                    file=_TABLE,
                    line=line,
                    field="tissue",
                    cure="give each tissue one row with source and mark",
                )
            table[row["tissue"]] = Signal(float(row["T1"]), float(row["T2"]), row["source"], row["mark"])
    return table


def mr_palette(scene: Scene, look: MrLook, sequence: MrSequence) -> Palette:
    """Signals of a scene's tissues."""
    table = mr_signals()
    fluid = look.fluid_gain if sequence == "T2" else 1.0

    def signal(name: str) -> float:
        value = float(getattr(table[name], sequence))
        gain = {"fat": look.fat_gain, "epidural_fat": look.fat_gain, "csf": fluid}.get(name, 1.0)
        return value * (fluid if name.startswith("nucleus") else gain)

    painted = ("air", "fat", "muscle", "paraspinal", "viscera", "lung", "vessel", "epidural_fat", "csf", "cord",
               "ligament", "kidney", "liver")  # fmt: skip
    age = float(np.clip(scene.spine.person.age_years, _YOUNG, _OLD))
    share = (age - _YOUNG) / (_OLD - _YOUNG)
    marrow = look.marrow_gain * ((1 - share) * signal("marrow_25") + share * signal("marrow_85"))
    discs = [
        (signal("annulus"), signal(f"nucleus_{max(1, disc.effective.degeneration)}"), signal("gas"))
        for disc in scene.discs
    ]

    def extra(item: Primitive) -> tuple[float, bool]:
        return signal(item.tissue), False

    n = len(scene.bones)
    return Palette(
        values={Tissue[name.upper()]: signal(name) for name in painted},
        spread={Tissue.MUSCLE: 20.0, Tissue.PARASPINAL: 24.0, Tissue.VISCERA: 60.0},
        trabecular=np.full((n, 2), marrow) * np.array([1.0, 0.95]),
        cortical=np.full((n, 2), signal("cortical")),
        cortex_mm=(0.6, 0.9),
        discs=np.array(discs, dtype=np.float64).reshape(-1, 3),
        extra=extra,
        texture_gain=look.texture_sd,
        texture_mm=look.texture_mm,
    )


def sagittal_stack(
    scene: Scene,
    field: Field = "lumbar",
    *,
    pixel_mm: float = 0.7,
    slice_mm: float = 4.0,
    slices: int = 13,
    box_mm: tuple[Array, Array] | None = None,
) -> VoxelGrid:
    """Sagittal slices (slices, A, S) in RAS about the mean of the canal's midline over the field.

    Args:
        scene: The posed spine.
        field: Field of view (`field_grid`), or `box_mm`, of which y and z are taken.
        pixel_mm, slice_mm: Pixel size and distance of the slices, which have no gaps.
        slices: How many.
        box_mm: World box (low, high).

    Raises:
        VolumeError: an unknown field, a bad size or no slice.
    """
    if slices < 1 or not pixel_mm > 0 or not slice_mm > 0:
        raise VolumeError(
            f"{slices} slices of {slice_mm} mm with pixels of {pixel_mm} mm",
            field="slices",
            cure="give one slice or more, and millimetres > 0",
        )
    if box_mm is None:
        # As wide in front and behind as a stack of the back is: fat and organs are in it.
        whole = field_grid(scene, field, spacing_mm=1.0, codes="RAS")
        low = whole.affine[:3, 3] - 0.5 - np.array([0.0, 12.0, 0.0])
        high = low + np.array(whole.shape) + np.array([0.0, 36.0, 0.0])
    else:
        low, high = np.array(box_mm[0], dtype=np.float64), np.array(box_mm[1], dtype=np.float64)
    inside = [s.at(0.0, -s.half_depth)[0] for s in scene.stations if low[2] <= s.origin[2] <= high[2]]
    middle = float(np.mean(inside)) if inside else float(scene.posed.sacrum.origin_mm[0])
    rows = np.maximum(np.round((high[1:] - low[1:]) / pixel_mm).astype(int), 1)
    affine = np.diag([slice_mm, pixel_mm, pixel_mm, 1.0])
    affine[0, 3] = middle - slice_mm * (slices - 1) / 2
    affine[1:3, 3] = (low[1:] + high[1:]) / 2 - pixel_mm * (rows - 1) / 2
    return VoxelGrid((slices, int(rows[0]), int(rows[1])), affine)


def axial_grid(
    scene: Scene, disc: Disc, *, pixel_mm: float = 0.6, slice_mm: float = 4.0, slices: int = 3, size_mm: float = 150.0
) -> VoxelGrid:
    """Slices parallel to a disc and centred on it, (left, posterior, cranial).

    Raises:
        LevelError: the spine has no such disc.
        VolumeError: a bad size or no slice.
    """
    if slices < 1 or not pixel_mm > 0 or not slice_mm > 0 or not size_mm > 0:
        raise VolumeError(f"{slices} slices of {slice_mm} mm", field="slices", cure="give one or more, and sizes > 0")
    if disc not in {one.disc for one in scene.discs}:
        raise LevelError(f"this spine has no disc {disc}", field="disc", cure="use one of its discs")
    marks = landmarks(scene.posed)
    above, below = marks[disc.upper].lower, marks[disc.lower].upper
    assert above is not None
    assert below is not None
    up = above.normal + below.normal
    up = up / np.linalg.norm(up)
    left = np.array([-1.0, 0.0, 0.0]) + up[0] * up
    left = left / np.linalg.norm(left)
    back = np.cross(up, left)
    count = max(1, round(size_mm / pixel_mm))
    affine = np.eye(4)
    affine[:3, :3] = np.stack([left * pixel_mm, back * pixel_mm, up * slice_mm], axis=1)
    # A little behind the disc's centre, so that canal and joints are well inside.
    centre = (above.centre_mm + below.centre_mm) / 2 + 18.0 * back
    affine[:3, 3] = centre - affine[:3, :3] @ (np.array([count - 1, count - 1, slices - 1]) / 2)
    return VoxelGrid((count, count, slices), affine)


def render_mr(
    spine: SpinePhantom | Scene,
    *,
    sequence: MrSequence,
    plane: MrPlane = "sagittal",
    field: Field = "lumbar",
    disc: Disc | None = None,
    pixel_mm: float | None = None,
    slice_mm: float = 4.0,
    slices: int | None = None,
    posture: Posture = Posture.SUPINE,
    look: MrLook | None = None,
    hidden: tuple[Level, ...] = (),
    noise_seed: int | None = None,
    grid: VoxelGrid | None = None,
) -> MrPhantom:
    """Render one stack. T1 and T2 with the same numbers lie on the same voxels and have the same marrow texture.

    Args:
        spine: The record, or a scene built from it (then `posture` is the scene's).
        sequence: "T1" or "T2".
        plane: "sagittal" over a field, or "axial" through `disc`.
        field: Of sagittal stacks.
        disc: Of axial stacks.
        pixel_mm: By default 0.7 in sagittal and 0.6 in axial stacks.
        slice_mm: Distance and thickness of slices.
        slices: By default 13 sagittal or 3 axial ones.
        posture: MR is taken supine.
        look: How the scanner shows it; by default that of the spine's family.
        hidden: Levels in the void of a metal object.
        noise_seed: Of noise, texture and bias; by default from the record's seed and index.
        grid: Render on these voxels instead.

    Raises:
        VolumeError: an unknown sequence or plane, an axial stack without a disc, or bad sizes.
        LevelError: a disc that the spine lacks.
    """
    if sequence not in get_args(MrSequence) or plane not in get_args(MrPlane):
        raise VolumeError(
            f"no {plane} {sequence} is known", field="sequence", cure="use T1 or T2, and sagittal or axial"
        )
    if plane == "axial" and disc is None:
        raise VolumeError("axial slices through no disc", field="disc", cure="name the disc")
    scene = spine if isinstance(spine, Scene) else build_scene(spine, posture)
    if grid is None and plane == "axial" and disc is not None:
        grid = axial_grid(scene, disc, pixel_mm=pixel_mm or 0.6, slice_mm=slice_mm, slices=slices or 3)
    elif grid is None:
        grid = sagittal_stack(scene, field, pixel_mm=pixel_mm or 0.7, slice_mm=slice_mm, slices=slices or 13)
    record = scene.spine
    chosen = mr_look_of(record.family) if look is None else look
    if noise_seed is None:
        noise_seed = int(np.random.SeedSequence([record.seed, record.index, 7]).generate_state(1)[0])
    common = np.random.default_rng(np.random.SeedSequence(noise_seed, spawn_key=(0,)))
    own = np.random.default_rng(np.random.SeedSequence(noise_seed, spawn_key=(1, int(sequence[1]), plane == "axial")))
    a, b, c = (int(v) for v in common.integers(0, 96, size=3))
    tissues = paint(scene, grid, mr_palette(scene, chosen, sequence), texture_offset=(a, b, c))
    signal = _acquired(tissues, scene, chosen, hidden, common, own)
    seen = (disc.upper, disc.lower) if plane == "axial" and disc is not None else levels_inside(scene, grid)
    truth = MrTruth(sequence, plane, seen, hidden, disc if plane == "axial" else None, chosen, noise_seed)

    def mask(data: NDArray[np.uint8]) -> Volume:
        return Volume(data, tissues.grid.affine, "label")

    return MrPhantom(
        volume=Volume(signal, grid.affine),
        vertebrae=mask(tissues.vertebrae),
        discs=mask(tissues.discs),
        canal=mask(tissues.canal),
        tissue=mask(tissues.tissue),
        scene=scene,
        truth=truth,
    )


def _acquired(
    tissues: TissueVolume,
    scene: Scene,
    look: MrLook,
    hidden: tuple[Level, ...],
    common: np.random.Generator,
    own: np.random.Generator,
) -> NDArray[np.int16]:
    from spinemed.phantom.imaging.artefacts import void_band
    from spinemed.phantom.imaging.filters import blur

    grid, value = tissues.grid, np.maximum(tissues.value, 0.0)
    metal = tissues.tissue == Tissue.METAL
    if metal.any():
        from scipy.ndimage import distance_transform_edt

        away = distance_transform_edt(~metal, sampling=grid.spacing_mm)
        value *= np.clip((away - _VOID_MM) / _VOID_EDGE_MM, 0.0, 1.0).astype(np.float32)
    for level in hidden:
        marks = landmarks(scene.posed)[level]
        centre = marks.canal_mm if marks.body_mm is None else marks.body_mm
        void_band(value, grid.affine, np.asarray(centre), 26.0, common)
    blur(value, grid.spacing_mm, look.blur_mm)
    value *= _bias(grid, look, common)
    value += look.noise_sd * own.standard_normal(value.shape, dtype=np.float32)
    other = look.noise_sd * own.standard_normal(value.shape, dtype=np.float32)
    whole: NDArray[np.int16] = np.rint(np.clip(np.hypot(value, other), 0.0, 32767.0)).astype(np.int16)
    return whole


def _bias(grid: VoxelGrid, look: MrLook, rng: np.random.Generator) -> NDArray[np.float32]:
    """Coil sensitivity: falls from back to front and varies slowly from head to foot; mean about 1."""
    phase = rng.uniform(0.0, 2 * np.pi, size=2)
    axes = [np.arange(n, dtype=np.float64) - (n - 1) / 2 for n in grid.shape]

    def along(row: int) -> Array:
        """World coordinate against the grid's centre."""
        a, b, c = grid.affine[row, :3]
        return np.asarray(a * axes[0][:, None, None] + b * axes[1][None, :, None] + c * axes[2][None, None, :])

    front = np.tanh(along(1) / look.bias_mm)
    waves = 0.3 * np.sin(along(2) / look.bias_mm + phase[0]) + 0.15 * np.sin(along(0) / look.bias_mm + phase[1])
    return np.asarray(1.0 + look.bias * (waves - front), dtype=np.float32)


def levels_inside(scene: Scene, grid: VoxelGrid) -> tuple[Level, ...]:
    """Levels whose endplates' front, middle and back (C1: the canal's centre) lie in the grid, head to foot."""
    inverse = np.linalg.inv(grid.affine[:3, :3])
    seen = []
    for level, marks in landmarks(scene.posed).items():
        points = [
            p for plate in (marks.upper, marks.lower) if plate is not None
            for p in (plate.anterior_mm, plate.centre_mm, plate.posterior_mm)
        ] or [marks.canal_mm]  # fmt: skip
        index = (np.array(points) - grid.affine[:3, 3]) @ inverse.T
        if ((index >= -0.5) & (index <= np.array(grid.shape) - 0.5)).all():
            seen.append(level)
    return tuple(seen)
