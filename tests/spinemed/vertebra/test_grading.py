"""Grades, their doubt, and what gets no grade."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.config import load_config
from spinemed.errors import VolumeError
from spinemed.labelling.masks import LabelMask
from spinemed.measure import fit_body
from spinemed.phantom.case import draw_case
from spinemed.phantom.imaging.grid import field_grid
from spinemed.phantom.imaging.tissues import render_tissues
from spinemed.phantom.set_config import PhantomSetConfig
from spinemed.phantom.shape.scene import build_scene
from spinemed.resources import configs_dir
from spinemed.vertebra.estimated import estimated_loss
from spinemed.vertebra.grading import GradeReport, esq_grade, grade_probabilities, grade_vertebra
from spinemed.vertebra.norms import norm_thirds_mm
from spinemed.vertebra.reference import BodyHeights, LevelCurve
from spinemed.vertebra.rhlv import HeightLoss, Quality, ThirdLoss
from spinemed.vertebra.spine import grade_spine, spine_bodies


def third(percent: float, half: float = 2.0) -> ThirdLoss:
    return ThirdLoss(percent, percent - half, percent + half, 27 * (1 - percent / 100), 27.0)


def loss(*percents: float, half: float = 2.0, layer_mm: float = 1.0, reference: Quality = "estimated") -> HeightLoss:
    one, two, three = (third(percent, half) for percent in percents)
    return HeightLoss(one, two, three, layer_mm, reference)


@pytest.mark.parametrize(
    ("percents", "grade", "extended", "shape"),
    [
        ((5.0, 8.0, 2.0), 0, "below mild", "none"),
        ((20.0, 10.0, 0.0), 1, "mild", "wedge"),
        ((12.0, 25.0, 5.0), 2, "moderate", "biconcave"),
        ((36.0, 34.0, 30.0), 2, "moderately severe", "crush"),
        ((40.0, 20.0, 2.0), 3, "severe", "wedge"),
        ((70.0, 69.0, 60.0), 3, "collapsed", "crush"),
        ((-6.0, -3.0, -5.0), 0, "below mild", "none"),
    ],
)
def test_grade_extended_grade_and_shape_of_the_largest_loss(
    percents: tuple[float, float, float], grade: int, extended: str, shape: str
) -> None:
    found = grade_vertebra(Level.L1, loss(*percents))
    assert (found.grade, found.extended, found.shape) == (grade, extended, shape)
    assert found.label == 20


def test_extended_borders_never_contradict_the_grade() -> None:
    for percent in np.arange(-5.0, 95.0, 0.25):
        found = grade_vertebra(Level.L1, loss(float(percent), 0.0, 0.0))
        order = ("below mild", "mild", "moderate", "moderately severe", "severe", "collapsed")
        assert found.grade == (0, 1, 2, 2, 3, 3)[order.index(esq_grade(float(percent)))]


def test_an_interval_across_a_border_asks_to_look_again() -> None:
    sure, unsure = (grade_vertebra(Level.T12, loss(28.0, 12.0, 2.0, half=half)) for half in (2.0, 5.0))
    assert not sure.look_again
    assert unsure.look_again
    assert any("crosses 25 %" in flag for flag in unsure.flags)
    assert sure.probabilities is not None
    assert unsure.probabilities is not None
    assert sure.probabilities[2] > 0.99 > unsure.probabilities[2] > 0.5


def test_probabilities_add_up_and_follow_the_interval() -> None:
    shares = grade_probabilities(third(25.0, 6.0))
    assert sum(shares) == pytest.approx(1.0)
    assert shares[0] + shares[1] == pytest.approx(0.5)
    assert grade_probabilities(third(5.0, 2.0))[0] == pytest.approx(1.0)


@pytest.mark.parametrize("given", [loss(45.0, 30.0, 2.0, layer_mm=3.0), loss(45.0, 30.0, 2.0, reference="unreliable")])
def test_losses_without_a_grade(given: HeightLoss) -> None:
    found = grade_vertebra(Level.L1, given)
    assert (found.grade, found.probabilities, found.shape) == (None, None, None)
    assert found.anterior is not None
    assert found.anterior.percent == 45.0


def test_levels_outside_the_rule_are_flagged_and_necks_not_graded() -> None:
    for level in (Level.T3, Level.L5, Level.L6, Level.T13):
        found = grade_vertebra(level, loss(30.0, 10.0, 2.0))
        assert found.grade == 2
        assert any("outside T4 to L4" in flag for flag in found.flags)
    assert grade_vertebra(Level.C5, loss(30.0, 10.0, 2.0)).grade is None
    assert grade_vertebra(Level.T4, loss(30.0, 10.0, 2.0)).flags == ()


# --- a whole mask -----------------------------------------------------------------------------------------------------


def blocks(spacing: float = 1.0, wedge: Level = Level.L1, front_percent: float = 45.0) -> LabelMask:
    """Seven bodies T10 to L4 in a straight line, each as high as its norm, one wedged."""
    levels = [Level(name) for name in ("T10", "T11", "T12", "L1", "L2", "L3", "L4")]
    size = (int(48 / 1.0), int(40 / 1.0), int(262 / spacing))
    affine = np.diag([1.0, 1.0, spacing, 1.0])
    x, y, z = np.meshgrid(*(np.arange(n) * s for n, s in zip(size, (1.0, 1.0, spacing), strict=True)), indexing="ij")
    data = np.zeros(size, np.uint8)
    inside = ((x - 24) / 20) ** 4 + ((y - 20) / 16) ** 4 <= 1
    low = 4.3
    for level in reversed(levels):
        front, _, back = (float(height) for height in norm_thirds_mm(level))
        share = (y - 4) / 32
        top = back + (front - back) * (share - 1 / 6) * 1.5
        if level is wedge:
            top = top * (1 - front_percent / 100 * share)
        data[inside & (z >= low) & (z <= low + top)] = LABEL_MAPS["verse"].to_label(level)
        low += max(front, back) + 6
    return LabelMask(data, affine)


def test_a_mask_becomes_grades_and_goes_to_json_and_back() -> None:
    mask = blocks()
    report = grade_spine(mask, mask)
    assert [each.level for each in report.vertebrae] == sorted(each.level for each in report.vertebrae)
    by = {each.level: each for each in report.vertebrae}
    assert by[Level.L1].grade in (2, 3)
    assert by[Level.L1].shape == "wedge"
    assert [each.grade for level, each in by.items() if level is not Level.L1] == [0] * 6
    assert GradeReport.model_validate_json(report.model_dump_json()) == report
    told = json.loads(report.model_dump_json())
    assert told["use"] == "research use only"
    assert told["note"] == "height loss alone is not a fracture"
    assert told["trained_on"].startswith("nothing: rules")
    assert "phantoms" in told["trained_on"]


def test_coarse_layers_and_uncertain_levels_leave_every_grade_open() -> None:
    coarse = blocks(spacing=3.0)
    report = grade_spine(coarse, coarse)
    assert all(each.grade is None for each in report.vertebrae)
    assert any("too coarse" in flag for each in report.vertebrae for flag in each.flags)
    fine = blocks()
    unnumbered = grade_spine(fine, fine, numbered=False)
    assert all(each.grade is None for each in unnumbered.vertebrae)


def test_a_single_or_cut_vertebra_is_named_and_not_graded() -> None:
    mask = blocks()
    one = LabelMask(np.where(mask.data == 20, 20, 0).astype(np.uint8), mask.affine)
    (only,) = grade_spine(one, one).vertebrae
    assert only.grade is None
    assert any("no other body" in flag for flag in only.flags)
    low = int(np.argwhere(mask.data == 23)[:, 2].mean())
    cut = LabelMask(np.ascontiguousarray(mask.data[:, :, low:]), mask.affine)
    found = spine_bodies(cut, cut)
    assert found.left_out == {Level.L4: "the edge of the volume cuts it"}
    assert any("cuts it" in flag for flag in grade_spine(cut, cut).vertebrae[-1].flags)
    with pytest.raises(VolumeError, match="no vertebra"):
        spine_bodies(LabelMask(np.full((8, 8, 8), 3, np.uint8), np.eye(4)))


def test_a_body_that_two_axes_fit_is_not_graded_without_a_doubt() -> None:
    # A severe wedge of L2 whose own axis and its diagonal both rest: along the diagonal it reads as a crush.
    config = load_config(configs_dir() / "phantom_lumbar.yaml", PhantomSetConfig, ["seed=2026"])
    scene = build_scene(draw_case(config, 2).spine)
    bodies = {}
    for level in (Level.L1, Level.L2, Level.L3):
        grid = field_grid(scene, "level", level=level, width_mm=70)
        bodies[level] = fit_body(render_tissues(scene, grid).bodies == level.verse_label, grid.affine)
    heights = [BodyHeights.of(level, body) for level, body in bodies.items()]
    doubted = {
        level: [flag for flag in estimated_loss(body, level, heights, LevelCurve())[0].flags if "another axis" in flag]
        for level, body in bodies.items()
    }
    assert {level: len(flags) for level, flags in doubted.items()} == {Level.L1: 0, Level.L2: 1, Level.L3: 0}
