"""The solids of a phantom: true heights and volumes, blobs that end where they say, a scene that keeps the record."""

from __future__ import annotations

import numpy as np
import pytest

from spinemed.anatomy import Disc, Level
from spinemed.phantom.pathology.records import Fracture, Osteophyte
from spinemed.phantom.shape.arch import arch_solids, lamina_line
from spinemed.phantom.shape.blobs import capsule, ellipsoid, mirrored, pack, pack_groups, to_tip
from spinemed.phantom.shape.body import body_height_mm, pack_body, true_body_measurements, true_height_losses
from spinemed.phantom.shape.pelvis import rib_blobs
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.shape.surfaces import blob_distance, body_distance, body_norms, canal_distance
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.records import SpinePhantom


@pytest.fixture(scope="module")
def spine() -> SpinePhantom:
    return draw_spine(1, 5)


@pytest.fixture(scope="module")
def scene(spine: SpinePhantom) -> Scene:
    return build_scene(spine)


def test_healthy_body_measures_what_the_record_says(scene: Scene, spine: SpinePhantom) -> None:
    for vertebra in spine.vertebrae:
        if vertebra.body is None:
            continue
        measured = true_body_measurements(scene.posed.bodies[vertebra.level], step_mm=0.8)
        if vertebra.level.region != "cervical":  # there the lips beside the disc stand above the rim plane
            assert measured.anterior_rim_height_mm == pytest.approx(vertebra.body.anterior_height_mm, abs=1e-6)
            assert measured.posterior_rim_height_mm == pytest.approx(vertebra.body.posterior_height_mm, abs=1e-6)
        deep = vertebra.body.upper_concavity_mm + vertebra.body.lower_concavity_mm
        middle = vertebra.body.height_mm - deep
        assert measured.middle_line_height_mm == pytest.approx(middle, abs=1e-6)


@pytest.mark.parametrize(
    ("shape", "losses"),
    [("wedge", (40.0, 25.0, 5.0)), ("biconcave", (10.0, 35.0, 10.0)), ("crush", (55.0, 55.0, 50.0))],
)
def test_drawn_losses_are_the_stated_ones(
    spine: SpinePhantom, scene: Scene, shape: str, losses: tuple[float, float, float]
) -> None:
    fracture = Fracture.model_validate(
        {
            "level": "L1",
            "shape": shape,
            "anterior_loss_percent": losses[0],
            "middle_loss_percent": losses[1],
            "posterior_loss_percent": losses[2],
        }
    )
    broken = build_scene(spine.model_copy(update={"pathologies": (fracture,)}))
    found = true_height_losses(broken.posed.bodies[Level.L1], scene.posed.bodies[Level.L1])
    for name, loss in zip(("anterior", "middle", "posterior"), losses, strict=True):
        assert found[name] == pytest.approx(loss, abs=0.1)


def test_volume_does_not_depend_on_the_quadrature(scene: Scene) -> None:
    body = scene.posed.bodies[Level.L3]
    coarse, fine = (true_body_measurements(body, step_mm=step).volume_mm3 for step in (0.8, 0.4))
    assert coarse == pytest.approx(fine, rel=2e-3)
    box = body.shape.upper_width_mm * body.shape.upper_depth_mm * body.shape.height_mm
    assert 0.6 * box < fine < 0.95 * box


def test_height_is_a_function_of_the_place(scene: Scene) -> None:
    packed = pack_body(scene.posed.bodies[Level.L3])
    heights = body_height_mm(packed, [0.0, 15.0], [0.0, 0.0])
    assert heights.shape == (2,)
    assert heights[0] < heights[1]  # endplates are hollow


def test_distance_to_a_sphere_and_a_capsule_is_exact_on_the_axes() -> None:
    blobs = pack([ellipsoid((0, 0, 0), 5.0, 5.0, 5.0), capsule((0, 0, 0), (0, 0, 10), 3.0)])
    assert blob_distance(7.0, 0.0, 0.0, blobs.numbers[0]) == pytest.approx(2.0)
    assert blob_distance(0.0, 4.0, 0.0, blobs.numbers[0]) == pytest.approx(-1.0)
    assert blob_distance(3.5, 0.0, 5.0, blobs.numbers[1]) == pytest.approx(0.5)
    assert blob_distance(0.0, 0.0, 14.0, blobs.numbers[1]) == pytest.approx(1.0)


def test_a_capsule_drawn_to_its_tip_ends_there() -> None:
    blob = to_tip(capsule((0, 0, 0), (0, 0, 20), 3.0))
    packed = pack([blob])
    assert blob_distance(0.0, 0.0, 20.0, packed.numbers[0]) == pytest.approx(0.0, abs=1e-9)


def test_mirrored_parts_change_side_and_name() -> None:
    (left,) = mirrored([capsule((1, 2, 3), (4, 5, 6), 1.0, part=44)], {44: 43})
    assert left.start == (-1.0, 2.0, 3.0)
    assert left.part == 43


def test_packing_in_groups_equals_packing_alone() -> None:
    first, second = [ellipsoid((1, 2, 3), 1.0, 2.0, 3.0)], [capsule((0, 0, 0), (1, 1, 1), 2.0)] * 2
    for alone, grouped in zip((pack(first), pack(second)), pack_groups([first, second]), strict=True):
        assert np.array_equal(alone.pull, grouped.pull)
        assert np.array_equal(alone.numbers, grouped.numbers)
    assert len(pack([])) == 0


def test_ribs_are_as_long_as_stated(spine: SpinePhantom) -> None:
    for vertebra in spine.vertebrae:
        if vertebra.ribs is None or vertebra.ribs.right_length_mm <= 0:
            continue
        right, left = rib_blobs(vertebra, 0.5)
        for blobs, stated in ((right, vertebra.ribs.right_length_mm), (left, vertebra.ribs.left_length_mm)):
            length = sum(np.linalg.norm(np.subtract(blob.end, blob.start)) for blob in blobs)
            assert length == pytest.approx(stated, abs=1e-3)


def test_a_spur_joins_its_vertebra_and_nothing_else_changes(spine: SpinePhantom, scene: Scene) -> None:
    spur = Osteophyte(level=Level.L3, endplate="upper", where="anterior", length_mm=8.0)
    grown = build_scene(spine.model_copy(update={"pathologies": (spur,)}))
    for before, after in zip(scene.bones, grown.bones, strict=True):
        assert len(after.blobs) - len(before.blobs) == (1 if before.name == "L3" else 0)


def test_discs_lie_between_the_bones_they_name(scene: Scene) -> None:
    assert scene.discs[0].disc == Disc(Level.C2, Level.C3)
    for disc in scene.discs:
        assert scene.bones[disc.upper].name == str(disc.disc.upper)
        below = scene.bones[disc.lower].name
        assert below == ("sacrum" if disc.disc.lower is Level.S1 else str(disc.disc.lower))


def test_laminae_lean_back_downwards(spine: SpinePhantom) -> None:
    for vertebra in spine.vertebrae:
        if vertebra.body is None:
            continue
        line, shell = lamina_line(vertebra, vertebra.body), arch_solids(vertebra, vertebra.body, None, None).shell
        assert line.lean > 0.1
        for up in (-6.0, 0.0, 6.0):
            there = canal_distance(0.0, line.y_mm + line.lean * up, line.z_mm + up, shell)
            assert there == pytest.approx(0.0, abs=1e-9)


def test_a_body_is_as_far_away_where_its_outline_is_left_out(scene: Scene) -> None:
    rng = np.random.default_rng(3)
    for level in (Level.C5, Level.T6, Level.L4):
        packed = pack_body(scene.posed.bodies[level])
        norms = body_norms(packed.numbers)
        always = (norms[0], norms[1], 1e12, 1e12, 0.0, 0.0)
        assert norms[2] < 1.0
        for x, y, z in rng.uniform(-0.7, 0.7, size=(1500, 3)) * [packed.numbers[0], packed.numbers[1], 34.0]:
            quick = body_distance(x, y, z, packed.numbers, *packed.offsets, norms)
            assert quick == body_distance(x, y, z, packed.numbers, *packed.offsets, always)
