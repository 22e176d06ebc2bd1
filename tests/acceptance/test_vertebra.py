"""The full figures of vertebra: the estimated reference against the healthy twin and the neighbours' mean, and grades.

Phantoms only: thoracolumbar spines of both families with one to three fractures, 1 mm body masks. Each phantom is one
file in the work folder, so that a run that was killed goes on. `SPINEMED_VERTEBRA_PHANTOMS` makes a smaller run, whose
figures are printed and not recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import VolumeError
from spinemed.labelling.masks import LabelMask
from spinemed.measure import Body, fit_body, genant_grade, genant_shape
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
from spinemed.statistics import Clusters, generator_for, mean_interval
from spinemed.tables import write_json
from spinemed.vertebra.estimated import estimated_loss
from spinemed.vertebra.grading import grade_vertebra
from spinemed.vertebra.paper import paper_rhlv, paper_straighten
from spinemed.vertebra.reference import LevelCurve, NeighbourMean
from spinemed.vertebra.rhlv import HeightLoss, height_loss
from spinemed.vertebra.spine import grade_spine, spine_bodies

pytestmark = pytest.mark.acceptance

ISSUE = "Vertebra"
COMMAND = "pytest -m acceptance tests/acceptance/test_vertebra.py"
Record = Callable[..., None]
Array = NDArray[np.float64]
Rows = list[dict[str, Any]]

SEED = 731  # no phantom of this seed was looked at when the estimators' numbers were set (seeds 501 and 601)
FULL = 100
BROKEN_PERCENT = 15.0  # a neighbour that lost so much misleads
MIMICS: tuple[MimicType, ...] = get_args(MimicType)
BORDERS = (20.0, 25.0, 40.0)
NOT_PATIENTS = "phantoms, whose sizes are drawn from the table that gives the norm: a lower bound of patients' errors"


def count() -> int:
    return int(os.environ.get("SPINEMED_VERTEBRA_PHANTOMS", str(FULL)))


def spine_of(index: int) -> SpinePhantom:
    config = SpineConfig(family="ab"[index % 2], variant_shares={}, transition_share=0.0)  # type: ignore[arg-type]
    wanted = healthy_config(fracture_share=1.0, fracture_adjacent_share=0.5, fracture_multiple_share=0.3)
    return draw_pathologies(draw_spine(SEED, index, config), wanted, generator_for(SEED, str(index), "fractures"))


def matrix(frame: Frame) -> Array:
    placed = np.eye(4)
    placed[:3, :3], placed[:3, 3] = frame.rotation, frame.origin_mm
    return placed


def rendered(scene: Scene, field: Field = "thoracolumbar") -> tuple[TissueVolume, VoxelGrid]:
    grid = field_grid(scene, field, spacing_mm=1.0, width_mm=100.0)
    return render_tissues(scene, grid), grid


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


def paper_percents(now: LabelMask, before: LabelMask, levels: Sequence[Level]) -> dict[Level, float]:
    """Largest of the three RHLV by the published rule, percent, with the healthy twin as the synthesis.

    Both masks are straightened by the published rule, each along its own spine; a level without a crop has no value.
    """
    verse, found = LABEL_MAPS["verse"], {}
    crops = [paper_straighten(mask.volume) for mask in (now, before)]
    for level in levels:
        label = verse.to_label(level)
        if all(label in each for each in crops):
            own, healthy = (each[label].labels == label for each in crops)
            told = paper_rhlv(healthy, own)
            found[level] = 100 * max(told.anterior, told.middle, told.posterior)
    return found


def rows_of(index: int) -> Rows:
    """One row per vertebra of a phantom that its masks hold whole."""
    spine = spine_of(index)
    broken = {item.level: item for item in spine.pathologies if isinstance(item, Fracture)}
    scene, twin = build_scene(spine), build_scene(healthy_twin(spine))
    (masks, grid), (before, twin_grid) = rendered(scene), rendered(twin)
    now_mask, twin_mask = LabelMask(masks.vertebrae, grid.affine), LabelMask(before.vertebrae, twin_grid.affine)
    found = spine_bodies(now_mask, LabelMask(masks.bodies, grid.affine))
    heights = found.heights
    paper = paper_percents(now_mask, twin_mask, list(found.bodies))
    rows: Rows = [
        {"phantom": index, "level": str(level), "left_out": why, "true": lost(broken.get(level))}
        for level, why in found.left_out.items()
        if "edge" not in why
    ]
    order = list(found.bodies)
    for at, level in enumerate(order):
        axes = twin.posed.frames[level].rotation
        healthy = before.bodies == LABEL_MAPS["verse"].to_label(level)
        try:
            shape = fit_body(healthy, twin_grid.affine, anterior_hint=axes[:, 1], up_hint=axes[:, 2])
            motion = matrix(scene.posed.frames[level]) @ np.linalg.inv(matrix(twin.posed.frames[level]))
            now = masks.bodies == LABEL_MAPS["verse"].to_label(level)
            oracle = height_loss(now, grid.affine, shape, motion=motion)
        except VolumeError as error:
            rows.append(
                {"phantom": index, "level": str(level), "left_out": error.problem, "true": lost(broken.get(level))}
            )
            continue
        whole = np.array([each.reference_mm for each in oracle.thirds])
        beside = [worst(broken.get(order[n])) for n in (at - 1, at + 1) if 0 <= n < len(order)]
        row: dict[str, Any] = {
            "phantom": index,
            "family": spine.family,
            "level": str(level),
            "inner": 0 < at < len(order) - 1,
            "true": lost(broken.get(level)),
            "beside": max(beside, default=0.0),
            "oracle": thirds(oracle),
            "oracle_grade": grade_vertebra(level, oracle).grade,
            "paper": paper.get(level),
            "own_ratio": own_ratio_percent(found.bodies[level]),
        }
        for name, estimator in (("curve", LevelCurve()), ("mean", NeighbourMean())):
            loss, reference = estimated_loss(found.bodies[level], level, heights, estimator)
            record = grade_vertebra(level, loss, reference)
            row[name] = {
                "loss": thirds(loss),
                "off": (100 * (np.array(reference.thirds) / whole - 1)).tolist(),
                "grade": record.grade,
                "ungated": genant_grade(*(each.percent for each in loss.thirds)),
                "shape": genant_shape([each.percent for each in loss.thirds]),
                "probabilities": record.probabilities,
                "look_again": record.look_again,
                "state": reference.state,
            }
        rows.append(row)
    return rows


def mimic_rows_of(index: int) -> Rows:
    """One row per vertebra of a phantom without a fracture: which mimic it bears, if any, and its grade."""
    kind = MIMICS[index % len(MIMICS)]
    config = SpineConfig(family="ab"[index // len(MIMICS) % 2], variant_shares={}, transition_share=0.0)  # type: ignore[arg-type]
    wanted = healthy_config(mimic_shares={kind: 1.0})
    spine = draw_pathologies(draw_spine(SEED + 1, index, config), wanted, generator_for(SEED, str(index), "mimics"))
    bears = {item.level: item.type for item in spine.pathologies if isinstance(item, Mimic)}
    masks, grid = rendered(build_scene(spine), "lumbar" if kind == "cupids_bow" else "thoracolumbar")
    report = grade_spine(LabelMask(masks.vertebrae, grid.affine), LabelMask(masks.bodies, grid.affine))
    return [
        {"phantom": index, "level": str(each.level), "mimic": bears.get(each.level), "grade": each.grade}
        for each in report.vertebrae
        if each.anterior is not None
    ]


def lost(item: Fracture | None) -> list[float]:
    if item is None:
        return [0.0, 0.0, 0.0]
    return [item.anterior_loss_percent, item.middle_loss_percent, item.posterior_loss_percent]


def worst(item: Fracture | None) -> float:
    return max(lost(item))


def fingerprint(root: Path) -> str:
    """Of everything that a row depends on, so that no figure mixes two versions."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for package in ("vertebra", "measure", "phantom"):
        for path in sorted((root / "spinemed" / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@pytest.fixture(scope="session")
def rows(root: Path, work: Path) -> Rows:
    """All vertebrae; a phantom that this very code has done is read back."""
    return resumed(work / f"vertebra-{SEED}-{fingerprint(root)}", rows_of, count())


@pytest.fixture(scope="session")
def mimic_rows(root: Path, work: Path) -> Rows:
    """Vertebrae of phantoms with mimics and no fracture."""
    return resumed(work / f"vertebra-{SEED}-{fingerprint(root)}-mimics", mimic_rows_of, count() * 7 // 10)


def resumed(folder: Path, make: Callable[[int], Rows], wanted: int) -> Rows:
    folder.mkdir(exist_ok=True)
    found: Rows = []
    for index in range(wanted):
        path = folder / f"{index:04d}.json"
        if not path.is_file():
            write_json(path, {"rows": make(index)})
        found += json.loads(path.read_bytes())["rows"]
    return found


@pytest.fixture(scope="session")
def note(record: Record) -> Callable[..., None]:
    """Record a figure of the full run; only print one of a smaller run."""

    def say(order: int, name: str, **facts: Any) -> None:
        sys.stdout.write(f"{name} | {facts['asked']} | {facts['measured']} | {facts['met']}\n")
        if count() >= FULL:
            record(ISSUE, order, name, command=COMMAND, **facts)

    return say


def measured(rows: Rows) -> Rows:
    return [row for row in rows if "left_out" not in row]


def errors(rows: Rows, name: str) -> Array:
    """(N,) mean absolute error of the three expected heights, percent of the twin's."""
    return np.array([np.abs(row[name]["off"]).mean() for row in rows])


def test_estimated_reference_beats_the_mean_of_neighbours(rows: Rows, note: Callable[..., None]) -> None:
    inner = [row for row in measured(rows) if row["inner"]]
    groups = (
        ("a neighbour is fractured", [row for row in inner if row["beside"] >= BROKEN_PERCENT]),
        ("no neighbour is fractured", [row for row in inner if row["beside"] < BROKEN_PERCENT]),
        ("family a", [row for row in inner if row["family"] == "a"]),
        ("family b", [row for row in inner if row["family"] == "b"]),
    )
    for order, (name, group) in enumerate(groups, start=30):
        curve, mean = errors(group, "curve"), errors(group, "mean")
        clusters = Clusters.of([str(row["phantom"]) for row in group])
        gap = mean_interval(mean - curve, clusters, np.random.default_rng(SEED))
        assert gap.low is not None
        note(
            order, f"estimated reference against the healthy twin: {name}",
            asked="less error than the mean of neighbours, paired interval", met=gap.low > 0,
            measured=f"{curve.mean():.2f} % of the height against {mean.mean():.2f} % (mean absolute); paired gain "
            f"{gap.value:.2f} points ({gap.low:.2f} to {gap.high:.2f}); {len(group)} vertebrae, "
            f"{clusters.count} phantoms",
            note=NOT_PATIENTS,
        )  # fmt: skip
        assert gap.low > 0, name


def test_height_loss_and_its_interval(rows: Rows, note: Callable[..., None]) -> None:
    kept = measured(rows)
    true = np.array([row["true"] for row in kept])
    for order, name, asked in ((10, "oracle", "mean absolute ≤ 2 points, 95 % ≤ 4"), (11, "estimated", "reported")):
        told = np.array([row["oracle"] if name == "oracle" else row["curve"]["loss"] for row in kept])
        off = np.abs(told[:, :, 0] - true)
        held = (told[:, :, 1] <= true) & (true <= told[:, :, 2])
        mean, p95, cover = float(off.mean()), float(np.percentile(off, 95)), 100 * float(held.mean())
        broken = true.max(axis=1) > 0
        met = mean <= 2 and p95 <= 4 and 90 <= cover <= 98 if name == "oracle" else None
        note(
            order, f"height loss by thirds, {name} reference, 1 mm", asked=asked + "; intervals hold 90 to 98 %",
            measured=f"mean absolute {mean:.2f}, 95 % {p95:.2f} points; of fractured {off[broken].mean():.2f}; "
            f"95 % intervals hold {cover:.1f} %; {off.size} thirds", met=met, note=NOT_PATIENTS,
        )  # fmt: skip
        if name == "oracle":
            assert mean <= 2
            assert p95 <= 4


def test_grades(rows: Rows, note: Callable[..., None]) -> None:
    from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

    kept = measured(rows)
    true = np.array([genant_grade(*row["true"]) for row in kept])
    near = np.array([min(abs(max(row["true"]) - border) for border in BORDERS) <= 2 for row in kept])
    given = {
        "oracle": [row["oracle_grade"] for row in kept],
        "estimated": [row["curve"]["grade"] for row in kept],
        "mean of neighbours": [row["mean"]["ungated"] for row in kept],
        "paper mode (twin straightened along its own spine), Genant's borders": [
            None if row["paper"] is None else genant_grade(row["paper"]) for row in kept
        ],
        "own ratio, as TotalSegmentator's spine report": [genant_grade(row["own_ratio"]) for row in kept],
    }
    bounds = {"oracle": (0.80, 0.92), "estimated": (0.65, 0.85)}
    score: dict[str, float] = {}
    for order, (name, grades) in enumerate(given.items(), start=50):
        none = np.array([grade is None for grade in grades])
        told = np.array([4 if grade is None else grade for grade in grades])  # without a grade: wrong for F1
        f1 = score[name] = float(f1_score(true, told, labels=[0, 1, 2, 3], average="macro", zero_division=0))
        kappa = float(cohen_kappa_score(true[~none], told[~none], weights="quadratic"))
        bound = bounds.get(name)
        right = told == true
        table = confusion_matrix(true, told, labels=[0, 1, 2, 3, 4])[:4].tolist()
        left = sum("left_out" in row for row in rows)
        note(
            order, f"Genant grade from 1 mm masks, {name}",
            asked=f"macro-F1 ≥ {bound[0]:.2f}, quadratic kappa ≥ {bound[1]:.2f}" if bound else "reported",
            measured=f"macro-F1 {f1:.3f}, kappa {kappa:.3f}; within 2 points of a border "
            f"{right[near].mean():.2f} right of {near.sum()}, else {right[~near].mean():.3f}; "
            f"{len(kept)} vertebrae, {none.sum()} without a grade, {left} not measurable; "
            f"rows true, columns told 0-3 and none {table}",
            met=f1 >= bound[0] and kappa >= bound[1] if bound else None, note=NOT_PATIENTS,
        )  # fmt: skip
        if bound and count() >= FULL:
            assert f1 >= bound[0]
            assert kappa >= bound[1]
    if count() >= FULL:
        assert len(kept) >= 400
        assert score["estimated"] > max(score[name] for name in given if name not in bounds)


def test_probabilities_and_shapes(rows: Rows, note: Callable[..., None]) -> None:
    kept = [row for row in measured(rows) if row["curve"]["probabilities"] is not None]
    true = np.array([genant_grade(*row["true"]) for row in kept])
    shares = np.array([row["curve"]["probabilities"] for row in kept])
    brier = float(((shares - np.eye(4)[true]) ** 2).sum(axis=1).mean())
    told = np.array([row["curve"]["grade"] for row in kept])
    again = np.array([row["curve"]["look_again"] for row in kept])
    wrong = told != true
    note(
        60, "probability of each grade, and the flag to look again (estimated reference)", asked="reported", met=None,
        measured=f"Brier score {brier:.3f}, mean probability of the given grade "
        f"{shares[np.arange(len(told)), told].mean():.3f} with {1 - wrong.mean():.3f} right; "
        f"flagged {again.mean():.3f}, of wrong grades {again[wrong].sum()} of {wrong.sum()}",
        note=NOT_PATIENTS,
    )  # fmt: skip
    broken = [row for row in kept if max(row["true"]) >= BORDERS[0]]
    same = [row["curve"]["shape"] == genant_shape(row["true"]) for row in broken]
    note(
        61, "shape (wedge, biconcave, crush) of fractures from 20 %", asked="reported", met=None,
        measured=f"{sum(same)} of {len(same)} as drawn", note=NOT_PATIENTS,
    )  # fmt: skip
    assert len(kept) > 0


def test_mimics_are_not_told_from_fractures_by_height(mimic_rows: Rows, note: Callable[..., None]) -> None:
    graded = [row for row in mimic_rows if row["grade"] is not None]
    found = []
    for kind in (*MIMICS, None):
        own = [row["grade"] >= 1 for row in graded if row["mimic"] == kind]
        found.append(f"{(kind or 'no mimic').replace('_', ' ')} {sum(own)} of {len(own)}")
    plain = [row["grade"] >= 1 for row in graded if row["mimic"] is None]
    note(
        62, "grade 1 or more where nothing is broken (estimated reference)", asked="reported", met=None,
        measured=f"{'; '.join(found)}; {len(mimic_rows) - len(graded)} without a grade",
        note="height loss alone is not a fracture: mimics are wedged or short by design; " + NOT_PATIENTS,
    )  # fmt: skip
    assert np.mean(plain) < 0.05
