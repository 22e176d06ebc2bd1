"""Render one case's masks, measure them, and set every value beside the true one.

The whole table: `python -m spinemed.phantom.agreement.run`.

The trap: bodies are measured with the body mask (as a reader or a network with sub-regions gives it); masks of whole
vertebrae alone are another, less exact way in (`bodies=False`), whose values `spinemed.measure` flags.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import VolumeError
from spinemed.measure import Body, body_field, fit_body, height_losses, measure_masks
from spinemed.phantom.agreement.cases import Case, agreement_cases
from spinemed.phantom.agreement.compare import Row, agreement_text, compare
from spinemed.phantom.agreement.truth import true_values
from spinemed.phantom.imaging.grid import VoxelGrid, field_grid
from spinemed.phantom.imaging.tissues import TissueVolume, render_tissues
from spinemed.phantom.pathology import without
from spinemed.phantom.pathology.records import Fracture
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine.frames import Frame
from spinemed.volume import Volume

__all__ = ["measure_case", "measure_cases"]

Array = NDArray[np.float64]

_THIRDS = ("anterior", "middle", "posterior")


def measure_case(case: Case, *, spacing_mm: float = 1.0, bodies: bool = True) -> list[Row]:
    """Rows of one case: everything measured, and the height losses of its fractures against the twin, rendered on
    the same lattice.

    Args:
        case: The phantom.
        spacing_mm: Voxel size of the masks.
        bodies: Whether the body mask is given to the measurement.
    """
    scene = build_scene(case.spine)
    grid = field_grid(scene, case.field, spacing_mm=spacing_mm, tilt_deg=case.tilt_deg)
    masks = render_tissues(scene, grid)
    found = measure_masks(
        Volume(masks.vertebrae, grid.affine, "label"),
        bodies=Volume(masks.bodies, grid.affine, "label") if bodies else None,
        discs=Volume(masks.discs, grid.affine, "label"),
        posture="supine",
    )
    curves = [f"{curve.upper_end}-{curve.lower_end}" for curve in case.spine.scoliosis]
    rows = compare(case.name, case.group, true_values(scene.posed), found, curves)
    return rows + _losses(case, scene, grid, masks, spacing_mm)


def measure_cases(cases: Sequence[Case], *, workers: int = 1) -> list[Row]:
    """Rows of many cases at 1 mm, in their order whatever the number of processes.

    Args:
        cases: The phantoms.
        workers: Processes; each runs on one core.
    """
    if workers <= 1:
        return [row for case in cases for row in measure_case(case)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return [row for rows in pool.map(measure_case, cases) for row in rows]


def _losses(case: Case, scene: Scene, grid: VoxelGrid, masks: TissueVolume, spacing_mm: float) -> list[Row]:
    broken = [item for item in case.spine.pathologies if isinstance(item, Fracture)]
    if not broken:
        return []
    twin = build_scene(without(case.spine, "fracture"))
    rows = []
    for item in broken:
        around = field_grid(twin, "level", spacing_mm=spacing_mm, level=item.level, tilt_deg=case.tilt_deg)
        place = _same_lattice(around, grid)
        before = _fit(render_tissues(twin, place), place, twin, item.level)
        inside = masks.bodies == LABEL_MAPS["verse"].to_label(item.level)
        flags = ("cut",) if _at_border(inside) else ()
        motion = _matrix(scene.posed.frames[item.level]) @ np.linalg.inv(_matrix(twin.posed.frames[item.level]))
        shared = height_losses(body_field(inside, grid.affine), before, motion=motion).percent
        for third, asked, one, other in zip(
            _THIRDS, _true(item), shared, _apart(masks, grid, scene, item.level, before), strict=True
        ):
            for name, value in ((f"loss_{third}", one), (f"loss_{third}_each_own_axis", other)):
                rows.append(Row(case.name, case.group, name, str(item.level), asked, value, "points", flags))
    return rows


def _same_lattice(place: VoxelGrid, grid: VoxelGrid) -> VoxelGrid:
    """The grid moved by less than a voxel, so that its voxels are voxels of the other.

    A vertebra restored in place lies on the lattice of its scan; an endplate along the layers, which is known to half a
    voxel only, then reads alike before and after where it did not break.
    """
    turn, origin = grid.affine[:3, :3], grid.affine[:3, 3]
    steps = np.round(np.linalg.solve(turn, place.affine[:3, 3] - origin))
    affine = np.array(grid.affine)
    affine[:3, 3] = origin + turn @ steps
    return VoxelGrid(place.shape, affine)


def _apart(masks: TissueVolume, grid: VoxelGrid, scene: Scene, level: Level, before: Body) -> tuple[float | None, ...]:
    """Losses with each body along its own axis; None where no endplates can be fitted to what is left."""
    try:
        now = _fit(masks, grid, scene, level)
    except VolumeError:
        return None, None, None
    pairs = zip(now.heights_of_thirds_mm(), before.heights_of_thirds_mm(), strict=True)
    return tuple(100.0 * (1.0 - after / healthy) for after, healthy in pairs)


def _true(item: Fracture) -> tuple[float, float, float]:
    return item.anterior_loss_percent, item.middle_loss_percent, item.posterior_loss_percent


def _fit(masks: TissueVolume, grid: VoxelGrid, scene: Scene, level: Level) -> Body:
    axes = scene.posed.frames[level].rotation
    inside = masks.bodies == LABEL_MAPS["verse"].to_label(level)
    return fit_body(inside, grid.affine, anterior_hint=axes[:, 1], up_hint=axes[:, 2])


def _at_border(inside: NDArray[np.bool_]) -> bool:
    return any(bool(np.take(inside, end, axis=axis).any()) for axis in range(3) for end in (0, -1))


def _matrix(frame: Frame) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = frame.rotation, frame.origin_mm
    return matrix


if __name__ == "__main__":
    chosen = agreement_cases()
    sys.stdout.write(agreement_text(measure_cases(chosen, workers=2), f"{len(chosen)} phantoms, 1 mm masks") + "\n")
