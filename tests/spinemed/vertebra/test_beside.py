"""Local kyphosis, retropulsion and canal compromise beside a grade, on a phantom whose burst is known."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.anatomy import Level
from spinemed.labelling.masks import LabelMask
from spinemed.phantom.imaging.grid import field_grid
from spinemed.phantom.imaging.tissues import render_tissues
from spinemed.phantom.pathology.records import Fracture
from spinemed.phantom.shape.scene import build_scene
from spinemed.phantom.spine import SpineConfig, draw_spine
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.vertebra.grading import GradedVertebra
from spinemed.vertebra.spine import grade_spine

BURST_MM = 5.0


Graded = dict[Level, GradedVertebra]


def graded(spine: SpinePhantom) -> Graded:
    scene = build_scene(spine)
    grid = field_grid(scene, "lumbar", width_mm=90.0)
    masks = render_tissues(scene, grid)
    report = grade_spine(LabelMask(masks.vertebrae, grid.affine), LabelMask(masks.bodies, grid.affine))
    return {each.level: each for each in report.vertebrae}


@pytest.fixture(scope="module")
def spines() -> tuple[SpinePhantom, SpinePhantom]:
    healthy = draw_spine(433, 3, SpineConfig(variant_shares={}, transition_share=0.0, scoliosis_share=0.0))
    wedge = Fracture(
        level=Level.L1, shape="wedge", anterior_loss_percent=45, middle_loss_percent=25, posterior_loss_percent=5
    )
    burst = Fracture(
        level=Level.L4, shape="crush", anterior_loss_percent=32, middle_loss_percent=31, posterior_loss_percent=30,
        retropulsion_mm=BURST_MM,
    )  # fmt: skip
    return healthy, healthy.model_copy(update={"pathologies": (wedge, burst)})


@pytest.fixture(scope="module")
def before_and_after(
    spines: tuple[SpinePhantom, SpinePhantom],
) -> tuple[Graded, Graded]:
    return graded(spines[0]), graded(spines[1])


def test_a_burst_wall_passes_the_line_and_narrows_the_canal(
    spines: tuple[SpinePhantom, SpinePhantom], before_and_after: tuple[Graded, Graded]
) -> None:
    before, after = (each[Level.L4] for each in before_and_after)
    assert before.retropulsion_mm is not None
    assert after.retropulsion_mm is not None
    assert abs(before.retropulsion_mm) < 1.0
    # The bulge stands on a waisted wall, so that less than all of it passes the line of the corners.
    assert BURST_MM - 1.8 < after.retropulsion_mm - before.retropulsion_mm < BURST_MM + 0.5
    depth = next(v.arch.canal_depth_mm for v in spines[0].vertebrae if v.level is Level.L4)
    assert after.canal_compromise_percent is not None
    assert before.canal_compromise_percent is not None
    narrowed = after.canal_compromise_percent - before.canal_compromise_percent
    assert narrowed == pytest.approx(100 * BURST_MM / depth, abs=10)


def test_a_wedge_bends_the_spine_as_the_phantom_was_posed(
    spines: tuple[SpinePhantom, SpinePhantom], before_and_after: tuple[Graded, Graded]
) -> None:
    before, after = (each[Level.L1] for each in before_and_after)
    lean = []
    for spine in spines:
        frames = build_scene(spine).posed.frames
        up = [frames[level].rotation[:, 2] for level in (Level.T12, Level.L2)]
        lean.append([np.degrees(np.arctan2(-axis[1], axis[2])) for axis in up])
    bent = (lean[1][1] - lean[1][0]) - (lean[0][1] - lean[0][0])
    assert bent > 8
    assert after.local_kyphosis_deg is not None
    assert before.local_kyphosis_deg is not None
    assert after.local_kyphosis_deg - before.local_kyphosis_deg == pytest.approx(bent, abs=2)
    assert after.wedge_deg is not None
    assert before.wedge_deg is not None
    assert after.wedge_deg - before.wedge_deg > bent - 2  # the discs beside it take a part of the wedge back


def test_what_cannot_be_measured_has_a_reason(
    before_and_after: tuple[Graded, Graded],
) -> None:
    last = before_and_after[0][Level.L5]  # the sacrum is no neighbour
    assert last.wedge_deg is not None
    assert (last.local_kyphosis_deg, last.retropulsion_mm, last.canal_compromise_percent) == (None, None, None)
    assert any("no vertebra below in the mask" in why for why in last.unmeasured)
    assert any("canal" in why for why in last.unmeasured)


def test_bodies_alone_give_no_canal(spines: tuple[SpinePhantom, SpinePhantom]) -> None:
    scene = build_scene(spines[0])
    grid = field_grid(scene, "lumbar", width_mm=90.0)
    bodies = LabelMask(render_tissues(scene, grid).bodies, grid.affine)
    found = {each.level: each for each in grade_spine(bodies, bodies).vertebrae}[Level.L2]
    assert found.canal_compromise_percent is None
    assert found.retropulsion_mm is not None
    assert any("ring" in why for why in found.unmeasured)
