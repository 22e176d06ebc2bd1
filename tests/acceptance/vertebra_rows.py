"""Rows of the vertebra figures: phantoms drawn, rendered, measured, one row per vertebra, one file per phantom.

Convention: thoracolumbar spines of both families with one to three fractures (wedge, biconcave, crush; 8 to 68 % lost),
body masks at 1 mm. Every set draws its own spines; a set differs from "upright" in one thing only:

===========  =========================================================================================================
upright      1 mm isotropic, along the scanner's axes
tilted       the patient lies up to 30° askew in the scanner, mostly forwards or backwards
scoliotic    every spine has a coronal curve of 10 to 45°
anisotropic  0.7 mm across, 1.25 mm along the spine
thick        1 mm across, 3 mm along the spine: losses with intervals, no grades
===========  =========================================================================================================

Beside every measurement stand the paper's: masks straightened and RHLV taken by the published rules. The synthesis is
the healthy twin's vertebra, moved rigidly to where the patient's own lies and straightened along the patient's own
curve, so that nothing but the rule itself is at fault; and, as a synthesis that has not seen the twin, a copy of the
patient's next vertebra above (below at the top).

The trap: a row is kept as long as the code that it depends on is the same (`fingerprint`); what only judges rows lies
in the test modules, so that it may change without a new run.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import VolumeError
from spinemed.labelling.masks import LabelMask
from spinemed.measure import Body, fit_body
from spinemed.measure.parts import parts_of
from spinemed.phantom.imaging.grid import Field, VoxelGrid, field_grid
from spinemed.phantom.imaging.tissues import TissueVolume, render_tissues
from spinemed.phantom.pathology import healthy_twin
from spinemed.phantom.pathology.config import healthy_config
from spinemed.phantom.pathology.draw import draw_pathologies
from spinemed.phantom.pathology.mimics import MimicType
from spinemed.phantom.pathology.records import Fracture, Mimic
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.frames import Frame
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.statistics import generator_for
from spinemed.tables import write_json
from spinemed.vertebra.beside import canal_depths_mm, measure_beside
from spinemed.vertebra.estimated import estimated_loss
from spinemed.vertebra.grading import grade_vertebra
from spinemed.vertebra.paper import PaperRhlv, paper_centroids, paper_rhlv, paper_straighten
from spinemed.vertebra.reference import LevelCurve, NeighbourMean
from spinemed.vertebra.rhlv import HeightLoss, height_loss
from spinemed.vertebra.spine import SpineBodies, grade_spine, spine_bodies
from spinemed.volume import Volume

Array = NDArray[np.float64]
Rows = list[dict[str, Any]]

SETS = ("upright", "tilted", "scoliotic", "anisotropic", "thick")
SPACING_MM: dict[str, tuple[float, float, float]] = {"anisotropic": (0.7, 0.7, 1.25), "thick": (1.0, 1.0, 3.0)}
TILT_DEG = (30.0, 10.0)  # largest about the right-left axis, and about the front-back one
MIMICS: tuple[MimicType, ...] = get_args(MimicType)
VERSE = LABEL_MAPS["verse"]


def spine_of(seed: int, name: str, index: int) -> SpinePhantom:
    config = SpineConfig(
        family="ab"[index % 2], variant_shares={}, transition_share=0.0,  # type: ignore[arg-type]
        scoliosis_share=1.0 if name == "scoliotic" else 0.15,
    )  # fmt: skip
    wanted = healthy_config(fracture_share=1.0, fracture_adjacent_share=0.5, fracture_multiple_share=0.3)
    key = index if name == "upright" else 1000 * (1 + SETS.index(name)) + index
    return draw_pathologies(draw_spine(seed, key, config), wanted, generator_for(seed, str(key), "fractures"))


def matrix(frame: Frame) -> Array:
    placed = np.eye(4)
    placed[:3, :3], placed[:3, 3] = frame.rotation, frame.origin_mm
    return placed


class Scan:
    """A rendered spine as the scanner holds it: masks along the scanner's axes, frames turned with the patient."""

    def __init__(
        self, spine: SpinePhantom, name: str, tilt: tuple[float, float, float], shift: Sequence[float] = (0.0, 0.0, 0.0)
    ) -> None:
        self.scene = build_scene(spine)
        grid, tissues = rendered(self.scene, name, tilt, shift)
        # The grid was turned about the patient; now the patient is turned in the scanner instead.
        turn = np.eye(4)
        turn[:3, :3] = np.linalg.inv(grid.affine[:3, :3] / np.array(grid.spacing_mm))
        affine = turn @ grid.affine
        self.whole, self.bodies = LabelMask(tissues.vertebrae, affine), LabelMask(tissues.bodies, affine)
        self.frames = {level: turn @ matrix(frame) for level, frame in self.scene.posed.frames.items()}


def rendered(
    scene: Scene, name: str, tilt: tuple[float, float, float], shift: Sequence[float]
) -> tuple[VoxelGrid, TissueVolume]:
    """Tissues on a grid that lies by shares of a voxel aside."""
    field: Field = "thoracolumbar"
    wide = 140.0 if name == "scoliotic" else 100.0
    grid = field_grid(
        scene, field, spacing_mm=SPACING_MM.get(name, (1.0, 1.0, 1.0)), width_mm=wide, tilt_deg=tilt,
        margin_mm=20.0 if name == "tilted" else 0.0,
    )  # fmt: skip
    affine = np.array(grid.affine)
    affine[:3, 3] += affine[:3, :3] @ np.array(shift)
    moved = VoxelGrid(grid.shape, affine)
    return moved, render_tissues(scene, moved)


def lost(item: Fracture | None) -> list[float]:
    if item is None:
        return [0.0, 0.0, 0.0]
    return [item.anterior_loss_percent, item.middle_loss_percent, item.posterior_loss_percent]


def thirds(loss: HeightLoss) -> list[list[float]]:
    return [[each.percent, each.low, each.high] for each in loss.thirds]


def own_ratio_percent(body: Body) -> float:
    """TotalSegmentator's spine report: lowest over highest of the body's own heights at 15, 50 and 85 % of its depth.

    Restated from its description (spine_report of TotalSegmentator 2.18, Apache-2.0): a fracture below 0.8.
    """
    y, upper, lower = body.profile()
    back, front = body.wall_mm
    heights = np.interp(back + np.array([0.15, 0.5, 0.85]) * (front - back), y, upper - lower)
    return float(100 * (1 - heights.min() / heights.max()))


def percents(told: PaperRhlv) -> list[float]:
    return [100 * told.anterior, 100 * told.middle, 100 * told.posterior]


def paper_rows(now: LabelMask, twin: LabelMask, motions: Mapping[Level, Array]) -> dict[Level, dict[str, list[float]]]:
    """RHLV by the published rules, percent: by the twin (sagittal and coronal), and by a copy of a neighbour.

    Levels for which the published rule yields no crop have no entry. The twin's vertebrae are moved to the patient's in
    two turns, every second one each, so that healthy neighbours never overlap.
    """
    try:
        centres = paper_centroids(now.volume)
        own = paper_straighten(now.volume, centroids=centres)
    except VolumeError:
        return {}
    order = [level for level in motions if VERSE.to_label(level) in own]
    twins: dict[int, NDArray[np.bool_]] = {}
    for turn in (0, 1):
        levels = order[turn::2]
        if not levels:
            continue
        there = np.zeros(now.volume.shape, np.uint8)
        for level in levels:
            put(there, now.affine, twin, motions[level], VERSE.to_label(level))
        labels = [VERSE.to_label(level) for level in levels if (there == VERSE.to_label(level)).any()]
        moved = Volume(there, now.affine, "label")
        twins |= {k: v.labels == k for k, v in paper_straighten(moved, labels, centroids=centres).items()}
    found: dict[Level, dict[str, list[float]]] = {}
    for at, level in enumerate(order):
        label = VERSE.to_label(level)
        real = own[label].labels == label
        if label not in twins or not twins[label].any() or not real.any() or len(order) < 2:
            continue
        near = VERSE.to_label(order[at - 1 if at else at + 1])
        found[level] = {
            "twin": percents(paper_rhlv(twins[label], real)),
            "coronal": percents(paper_rhlv(twins[label], real, plane="coronal")),
            "copy": percents(paper_rhlv(laid_on(own[near].labels == near, real), real)),
        }
    return found


def laid_on(other: NDArray[np.bool_], real: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A vertebra shifted, front to back and sideways, on to the middle of another; its height does not matter."""
    shift = []
    for axis in (1, 2):
        middles = []
        for solid in (real, other):
            count = np.count_nonzero(solid, axis=(0, 3 - axis))
            middles.append(float((count * np.arange(len(count))).sum() / count.sum()))
        shift.append(round(middles[0] - middles[1]))
    return np.roll(other, shift, axis=(1, 2))


def put(there: NDArray[np.uint8], affine: Array, twin: LabelMask, motion: Array, label: int) -> None:
    """Write the twin's vertebra, moved, into an array on the patient's grid; its surface between the voxels."""
    from scipy.ndimage import affine_transform

    where = np.argwhere(twin.data == label)
    if not len(where):
        return
    low, high = where.min(axis=0) - 2, where.max(axis=0) + 3
    box = tuple(slice(max(0, a), b) for a, b in zip(low, high, strict=True))
    solid = (twin.data[box] == label).astype(np.float32)
    first = np.array([part.start for part in box])
    pull = np.linalg.inv(twin.affine) @ np.linalg.inv(motion) @ affine  # patient's voxel to the twin's
    push = np.linalg.inv(pull)
    corners = np.array(np.meshgrid(*[[a - 1, b + 1] for a, b in zip(low, high, strict=True)], indexing="ij"))
    ends = push[:3, :3] @ corners.reshape(3, -1) + push[:3, 3:]
    start = np.clip(np.floor(ends.min(axis=1)).astype(int), 0, there.shape)
    stop = np.clip(np.ceil(ends.max(axis=1)).astype(int) + 1, 0, there.shape)
    if (stop <= start).any():
        return
    offset = pull[:3, :3] @ start + pull[:3, 3] - first
    share = affine_transform(solid, pull[:3, :3], offset, output_shape=tuple(stop - start), order=1, prefilter=False)
    part = there[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    part[share >= 0.5] = label


def fitted_twin(scan: Scan, levels: Sequence[Level]) -> tuple[dict[Level, Body], dict[Level, str]]:
    """Healthy bodies with the true front and upward directions as hints, and why others failed."""
    found, failed = {}, {}
    for level in levels:
        axes = scan.frames[level][:3, :3]
        solid = scan.bodies.data == VERSE.to_label(level)
        try:
            found[level] = fit_body(solid, scan.bodies.affine, anterior_hint=axes[:, 1], up_hint=axes[:, 2])
        except VolumeError as error:
            failed[level] = error.problem
    return found, failed


def besides(found: SpineBodies, levels: Sequence[Level]) -> dict[Level, dict[str, float | None]]:
    kept = [level for level in levels if level in found.bodies]
    depths = canal_depths_mm({level: found.bodies[level] for level in kept}, found.whole)
    told = {level: measure_beside(level, found.bodies, found.whole, depths) for level in kept}
    return {
        level: {
            "wedge": each.wedge_deg, "kyphosis": each.local_kyphosis_deg, "retropulsion": each.retropulsion_mm,
            "canal": each.canal_compromise_percent,
        }
        for level, each in told.items()
    }  # fmt: skip


def inclination_deg(frame: Array) -> float:
    """How far a vertebra leans in the sagittal plane, front up positive."""
    return float(np.degrees(np.arctan2(-frame[1, 2], frame[2, 2])))


def rows_of(seed: int, name: str, index: int) -> Rows:
    """One row per vertebra of a phantom that its masks hold whole."""
    spine = spine_of(seed, name, index)
    rng = generator_for(seed, f"{name}-{index}", "tilt")
    tilt = (0.0, 0.0, 0.0)
    if name == "tilted":
        tilt = (float(rng.uniform(-TILT_DEG[0], TILT_DEG[0])), float(rng.uniform(-TILT_DEG[1], TILT_DEG[1])), 0.0)
    broken = {item.level: item for item in spine.pathologies if isinstance(item, Fracture)}
    # The twin lies otherwise on its voxels: two scans never share them, and shared ones would share their errors.
    now, twin = Scan(spine, name, tilt), Scan(healthy_twin(spine), name, tilt, rng.uniform(-0.5, 0.5, 3).tolist())
    found = spine_bodies(now.whole, now.bodies)
    heights = found.heights
    motions = {level: now.frames[level] @ np.linalg.inv(twin.frames[level]) for level in found.bodies}
    paper = paper_rows(now.whole, twin.whole, motions)
    healthy, failed = fitted_twin(twin, list(found.bodies))
    rows: Rows = [
        {"phantom": index, "level": str(level), "left_out": why, "true": lost(broken.get(level))}
        for level, why in {**found.left_out, **failed}.items()
        if "edge" not in why
    ]
    order = list(found.bodies)
    for at, level in enumerate(order):
        if level not in healthy:
            continue
        base = {"phantom": index, "level": str(level), "true": lost(broken.get(level))}
        mask = now.bodies.data == VERSE.to_label(level)
        try:
            oracle = height_loss(mask, now.bodies.affine, healthy[level], motion=motions[level])
        except VolumeError as error:
            rows.append({**base, "left_out": error.problem})
            continue
        whole = np.array([each.reference_mm for each in oracle.thirds])
        near = [order[n] for n in (at - 1, at + 1) if 0 <= n < len(order)]
        row: dict[str, Any] = {
            **base,
            "family": spine.family,
            "inner": 0 < at < len(order) - 1,
            "drawn_shape": broken[level].shape if level in broken else "none",
            "beside": max((max(lost(broken.get(each))) for each in near), default=0.0),
            "oracle": thirds(oracle),
            "oracle_grade": grade_vertebra(level, oracle).grade,
            "layer_mm": oracle.layer_mm,
            "paper": paper.get(level),
            "own_ratio": own_ratio_percent(found.bodies[level]),
        }
        for key, estimator in (("curve", LevelCurve()), ("mean", NeighbourMean())):
            loss, reference = estimated_loss(found.bodies[level], level, heights, estimator)
            record = grade_vertebra(level, loss, reference)
            row[key] = {
                "loss": thirds(loss),
                "off": (100 * (np.array(reference.thirds) / whole - 1)).tolist(),
                "grade": record.grade,
                "probabilities": record.probabilities,
                "look_again": record.look_again,
                "state": reference.state,
            }
        rows.append(row)
    if name == "upright":
        parts = {VERSE.to_level(number): part for number, part in parts_of(twin.whole.volume).items()}
        before = SpineBodies(bodies=healthy, whole=parts)
        places = [order.index(each) for each in broken if each in order]
        near = [each for at, each in enumerate(order) if any(abs(at - place) < 2 for place in places)]
        more = [besides(each, near) for each in (found, before)]
        for row in rows:
            if max(row["true"]) > 0 and "left_out" not in row:
                row["more"] = beside_row(spine, Level(row["level"]), order, more, (now, twin))
    return rows


def beside_row(
    spine: SpinePhantom,
    level: Level,
    order: Sequence[Level],
    more: Sequence[dict[Level, dict[str, float | None]]],
    scans: Sequence[Scan],
) -> dict[str, Any]:
    """What stands beside the grade of a fracture, in the patient and in the healthy twin, and how it was drawn."""
    fractures = {each.level: each for each in spine.pathologies if isinstance(each, Fracture)}
    at, gain = order.index(level), None
    near = [order[n] for n in (at - 1, at + 1) if 0 <= n < len(order)]
    if len(near) == 2 and not fractures.keys() & set(near):  # between whole neighbours the frames tell the true angle
        lean = [inclination_deg(scan.frames[near[1]]) - inclination_deg(scan.frames[near[0]]) for scan in scans]
        gain = lean[0] - lean[1]
    depth = next(each.arch.canal_depth_mm for each in spine.vertebrae if each.level is level)
    return {
        "retropulsion_mm": fractures[level].retropulsion_mm, "canal_mm": depth, "kyphosis_gain_deg": gain,
        "now": more[0].get(level), "before": more[1].get(level),
    }  # fmt: skip


def mimic_rows_of(seed: int, _name: str, index: int) -> Rows:
    """One row per vertebra of a phantom without a fracture: which mimic it bears, its grade, and what is beside it."""
    kind = MIMICS[index % len(MIMICS)]
    config = SpineConfig(family="ab"[index // len(MIMICS) % 2], variant_shares={}, transition_share=0.0)  # type: ignore[arg-type]
    wanted = healthy_config(mimic_shares={kind: 1.0})
    spine = draw_pathologies(draw_spine(seed + 1, index, config), wanted, generator_for(seed, str(index), "mimics"))
    bears = {item.level: item.type for item in spine.pathologies if isinstance(item, Mimic)}
    scene = build_scene(spine)
    field: Field = "lumbar" if kind == "cupids_bow" else "thoracolumbar"
    grid = field_grid(scene, field, spacing_mm=1.0, width_mm=100.0)
    masks = render_tissues(scene, grid)
    report = grade_spine(LabelMask(masks.vertebrae, grid.affine), LabelMask(masks.bodies, grid.affine))
    return [
        {
            "phantom": index, "level": str(each.level), "mimic": bears.get(each.level), "grade": each.grade,
            "wedge": each.wedge_deg, "kyphosis": each.local_kyphosis_deg, "retropulsion": each.retropulsion_mm,
            "canal": each.canal_compromise_percent,
        }
        for each in report.vertebrae
        if each.anterior is not None
    ]  # fmt: skip


def fingerprint(root: Path) -> str:
    """Of this file and of every module of vertebra, measure and phantom that it reaches by imports, however nested.

    Modules that nothing here calls (commands, pages, synthesis, trained graders) may change without a new run.
    """
    rooms = ("spinemed.vertebra", "spinemed.measure", "spinemed.phantom")
    waiting, seen = [Path(__file__)], set[Path]()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
            elif isinstance(node, ast.Import):
                names = [each.name for each in node.names]
            for name in names:
                if name.startswith(rooms):
                    base = root / Path(*name.split("."))
                    waiting += [each for each in (base.with_suffix(".py"), base / "__init__.py") if each.is_file()]
    digest = hashlib.sha256()
    for path in sorted(seen):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def resumed(folder: Path, make: Callable[[int, str, int], Rows], seed: int, name: str, wanted: int) -> Rows:
    """Rows of so many phantoms; what the folder holds already is read back."""
    folder.mkdir(parents=True, exist_ok=True)
    found: Rows = []
    for index in range(wanted):
        path = folder / f"{index:04d}.json"
        if not path.is_file():
            write_json(path, {"rows": make(seed, name, index)})
        found += json.loads(path.read_bytes())["rows"]
    return found
