"""What is drawn follows from the record: bodies, discs, slips, narrowings, added solids, and the healthy twin."""

import math
from itertools import pairwise

import numpy as np
import pytest

from spinemed.anatomy import Disc, Level
from spinemed.errors import SpineMedError
from spinemed.phantom.pathology import (
    canal_narrowing,
    displacements,
    effective_bodies,
    effective_discs,
    extra_primitives,
    foramen_narrowing,
    healthy_twin,
    without,
)
from spinemed.phantom.pathology.fields import band_mean, healthy_height, node_uv
from spinemed.phantom.pathology.grades import axial_zone, disc_displacement
from spinemed.phantom.pathology.mimics import NORMAL_VARIANTS, scheuermann_wedge_deg
from spinemed.phantom.pathology.records import (
    Cage,
    CanalStenosis,
    DiscDegeneration,
    ForaminalStenosis,
    Fracture,
    Herniation,
    Lesion,
    Mimic,
    ModicChange,
    Osteophyte,
    SchmorlNode,
    Screws,
    Slip,
)
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.records import Posture

L45 = Disc(Level.L4, Level.L5)
FRACTURE = Fracture(
    level=Level.T12,
    shape="wedge",
    anterior_loss_percent=38,
    middle_loss_percent=24,
    posterior_loss_percent=4,
    retropulsion_mm=2.0,
)


@pytest.fixture(scope="module")
def healthy():
    return draw_spine(20, 1)


def ill(spine, *pathologies):
    return spine.model_copy(update={"pathologies": pathologies})


def body_of(spine, level):
    return next(vertebra.body for vertebra in spine.vertebrae if vertebra.level == level)


def test_a_healthy_spine_is_drawn_as_it_is(healthy):
    bodies, discs = effective_bodies(healthy), effective_discs(healthy)
    assert list(bodies) == [vertebra.level for vertebra in healthy.vertebrae if vertebra.body is not None]
    for level, body in bodies.items():
        assert body.shape == body_of(healthy, level)
        assert not body.upper_offset_mm.any()
        assert not body.lower_offset_mm.any()
        assert body.upper_offset_mm.dtype == np.float32
    assert [disc.middle_height_mm for disc in discs.values()] == [shape.middle_height_mm for shape in healthy.discs]
    assert all(disc.degeneration == 1 and not disc.herniations for disc in discs.values())
    assert not extra_primitives(healthy)
    assert not displacements(healthy)
    assert not canal_narrowing(healthy)
    assert not foramen_narrowing(healthy)


def test_a_fracture_changes_its_own_body_and_no_other(healthy):
    before, after = effective_bodies(healthy), effective_bodies(ill(healthy, FRACTURE))
    assert [level for level in after if after[level].fractured] == [Level.T12]
    body = after[Level.T12]
    shape = body_of(healthy, Level.T12)
    assert body.shape == shape
    lost = band_mean(body.lower_offset_mm - body.upper_offset_mm, "anterior")
    assert 100 * lost / band_mean(healthy_height(shape, *node_uv()), "anterior") == pytest.approx(38, abs=0.1)
    assert body.anterior_height_mm < 0.7 * shape.anterior_height_mm
    assert body.upper_plane.tilt_deg < before[Level.T12].upper_plane.tilt_deg - 5  # the front has sunk: kyphosis
    assert body.base_upper_plane == before[Level.T12].upper_plane
    assert body.retropulsion_mm == 2.0
    for level in set(after) - {Level.T12}:
        assert not after[level].upper_offset_mm.any()


def test_planes_meet_the_rims_that_heights_are_measured_at(healthy):
    body = effective_bodies(ill(healthy, FRACTURE))[Level.T12]
    depth = body.shape.upper_depth_mm / 2, body.shape.lower_depth_mm / 2
    upper, lower = body.upper_plane, body.lower_plane
    front = upper.centre_mm + math.tan(math.radians(upper.tilt_deg)) * depth[0]
    front -= lower.centre_mm + math.tan(math.radians(lower.tilt_deg)) * depth[1]
    assert front == pytest.approx(body.anterior_height_mm, abs=1e-3)
    back = upper.centre_mm - math.tan(math.radians(upper.tilt_deg)) * depth[0]
    back -= lower.centre_mm - math.tan(math.radians(lower.tilt_deg)) * depth[1]
    assert back == pytest.approx(body.posterior_height_mm, abs=1e-3)


def test_a_pit_leaves_the_rim_plane_where_it_is(healthy):
    node = SchmorlNode(level=Level.L2, endplate="lower", depth_mm=5, radius_mm=6, y_share=-0.2)
    body = effective_bodies(ill(healthy, node))[Level.L2]
    assert body.lower_plane == effective_bodies(healthy)[Level.L2].lower_plane
    assert body.lower_offset_mm.max() == pytest.approx(5, abs=0.3)
    assert not body.upper_offset_mm.any()


def test_a_disc_loses_height_signal_and_outline(healthy):
    worn = effective_discs(
        ill(
            healthy,
            DiscDegeneration(disc=L45, pfirrmann=5, height_loss_percent=60),
            Herniation(disc=L45, type="bulge", zone="central", depth_mm=3, base_mm=60),
        )
    )[L45]
    sound = effective_discs(healthy)[L45]
    assert worn.middle_height_mm == pytest.approx(0.4 * sound.middle_height_mm)
    assert worn.nucleus_signal < 0.2 * sound.nucleus_signal
    assert worn.bulge_mm == 3
    assert worn.vacuum
    assert not sound.vacuum


def test_a_collapsed_disc_never_lets_its_rims_touch():
    curved = draw_spine(2, 3, SpineConfig(scoliosis_share=1.0))
    spine = ill(curved, *(DiscDegeneration(disc=s.disc, pfirrmann=5, height_loss_percent=90) for s in curved.discs))
    for disc in effective_discs(spine).values():
        body = body_of(curved, disc.disc.upper)
        wedges = [(disc.wedge_deg(posture), body.lower_depth_mm) for posture in Posture]
        for wedge, across in (*wedges, (disc.lateral_wedge_deg, body.lower_width_mm)):
            assert disc.middle_height_mm - abs(math.sin(math.radians(wedge / 2))) * across > 0


def test_a_healthy_disc_keeps_its_wedges():
    curved = draw_spine(2, 3, SpineConfig(scoliosis_share=1.0))
    for shape, disc in zip(curved.discs, effective_discs(curved).values()):
        assert (disc.wedge_standing_deg, disc.wedge_supine_deg) == (shape.wedge_standing_deg, shape.wedge_supine_deg)
        assert disc.lateral_wedge_deg == shape.lateral_wedge_deg


@pytest.mark.parametrize(("percent", "direction", "sign"), [(30.0, "anterior", 1), (12.0, "posterior", -1)])
def test_a_slip_is_a_share_of_the_endplate_below(healthy, percent, direction, sign):
    moved = displacements(ill(healthy, Slip(level=Level.L4, percent=percent, direction=direction)))
    depth = body_of(healthy, Level.L5).upper_depth_mm
    assert moved == {Level.L4: (0.0, pytest.approx(sign * percent / 100 * depth), 0.0)}
    last = healthy.vertebrae[-1].level
    on_sacrum = displacements(ill(healthy, Slip(level=last, percent=40, type="isthmic")))
    assert on_sacrum[last][1] == pytest.approx(0.4 * healthy.sacrum.endplate_depth_mm)


def test_narrowings_are_shares_of_an_area(healthy):
    spine = ill(
        healthy,
        CanalStenosis(disc=L45, schizas="C", area_loss_percent=70),
        ForaminalStenosis(disc=L45, side="left", lee=2, area_loss_percent=55),
    )
    assert canal_narrowing(spine) == {L45: 0.7}
    assert foramen_narrowing(spine) == {(L45, "left"): 0.55}


def test_the_twin_is_the_same_person_without_disease(healthy):
    wedge = Mimic(level=Level.L1, type="physiological_wedging", amount=0.4)
    spine = ill(healthy, FRACTURE, wedge, Mimic(level=Level.L4, type="limbus"), Slip(level=Level.L4, percent=20))
    twin = healthy_twin(spine)
    assert twin.pathologies == (wedge,)
    assert healthy_twin(twin) == twin
    assert twin.model_copy(update={"pathologies": ()}) == healthy
    before = without(spine, "fracture")
    assert [item.kind for item in before.pathologies] == ["mimic", "mimic", "slip"]
    with pytest.raises(SpineMedError, match="unknown kind 'break'"):
        without(spine, "break")


def test_a_level_that_the_spine_lacks_is_refused(healthy):
    with pytest.raises(SpineMedError, match="at L6, which this spine does not have"):
        effective_bodies(ill(healthy, FRACTURE.model_copy(update={"level": Level.L6})))
    with pytest.raises(SpineMedError, match="at L6/S1"):
        effective_discs(ill(healthy, DiscDegeneration(disc=Disc(Level.L6, Level.S1), pfirrmann=3)))


# --- mimics ----------------------------------------------------------------------------------------------------------


def test_variants_keep_whole_endplates_and_stay_below_a_fracture(healthy):
    for kind in ("physiological_wedging", "short_height"):
        assert kind in NORMAL_VARIANTS
        for amount in (0.0, 1.0):
            body = effective_bodies(ill(healthy, Mimic(level=Level.T12, type=kind, amount=amount)))[Level.T12]
            sound = body_of(healthy, Level.T12)
            assert not body.upper_offset_mm.any()
            assert 0 < 1 - body.anterior_height_mm / sound.anterior_height_mm < 0.2


def test_scheuermann_is_three_neighbours_wedged_by_more_than_five_degrees(healthy):
    levels = (Level.T7, Level.T8, Level.T9)
    bodies = effective_bodies(ill(healthy, *(Mimic(level=x, type="scheuermann", amount=0.0) for x in levels)))
    for level in levels:
        body = bodies[level]
        wedge = body.lower_plane.tilt_deg - body.upper_plane.tilt_deg
        assert wedge == pytest.approx(scheuermann_wedge_deg(0.0), abs=0.4)
        assert wedge > 5
        assert np.ptp(body.upper_offset_mm) > 0.3  # irregular endplates
    assert scheuermann_wedge_deg(1.0) == 15


def test_cupids_bow_is_two_hollows_behind_in_the_lower_endplate(healthy):
    body = effective_bodies(ill(healthy, Mimic(level=Level.L4, type="cupids_bow", amount=1.0)))[Level.L4]
    assert not body.upper_offset_mm.any()
    v, left, right = slice(4, 16), slice(4, 14), slice(19, 29)
    hollow = body.lower_offset_mm
    assert hollow[v, left].max() == pytest.approx(4, abs=0.2)
    assert hollow[v, right].max() == pytest.approx(4, abs=0.2)
    assert hollow[v, 16].max() < 1.0  # a ridge between them
    assert hollow[26:].max() == 0


def test_a_limbus_vertebra_has_a_cut_corner_and_a_loose_piece(healthy):
    spine = ill(healthy, Mimic(level=Level.L2, type="limbus", amount=0.5))
    body = effective_bodies(spine)[Level.L2]
    assert body.upper_offset_mm[-1, 16] == pytest.approx(-4)
    assert not body.upper_offset_mm[:20].any()
    (piece,) = extra_primitives(spine)
    assert not piece.in_mask
    assert piece.centre_mm[1] > body.shape.upper_depth_mm / 2


def test_remodelling_flattens_widens_and_brings_spurs(healthy):
    spine = ill(healthy, Mimic(level=Level.T10, type="degenerative_remodelling", amount=1.0))
    body, sound = effective_bodies(spine)[Level.T10], body_of(healthy, Level.T10)
    assert body.shape.upper_depth_mm > sound.upper_depth_mm
    assert body.shape.anterior_height_mm == pytest.approx(0.9 * sound.anterior_height_mm)
    assert [spur.in_mask for spur in extra_primitives(spine)] == [True, True]


def test_a_block_vertebra_loses_its_disc(healthy):
    spine = ill(healthy, Mimic(level=Level.L2, type="block_vertebra", amount=0.8))
    disc = effective_discs(spine)[Disc(Level.L2, Level.L3)]
    assert disc.middle_height_mm == pytest.approx(0.2 * effective_discs(healthy)[disc.disc].middle_height_mm)
    assert disc.fused_share > 0.8
    bodies = effective_bodies(spine)
    assert bodies[Level.L2].shape.lower_depth_mm < body_of(healthy, Level.L2).lower_depth_mm
    assert bodies[Level.L3].shape.upper_depth_mm < body_of(healthy, Level.L3).upper_depth_mm
    assert [solid.tissue for solid in extra_primitives(spine)] == ["bone"]


# --- added solids ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", ["central", "subarticular", "foraminal", "extraforaminal"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_herniation_lies_in_its_zone_on_its_side_behind_the_disc(healthy, zone, side):
    side = None if zone == "central" else side
    item = Herniation(disc=L45, type="protrusion", zone=zone, side=side, depth_mm=5, base_mm=10)
    (solid,) = extra_primitives(ill(healthy, item))
    arch = next(vertebra.arch for vertebra in healthy.vertebrae if vertebra.level == Level.L5)
    inner = arch.canal_width_mm / 2
    found = axial_zone(
        solid.centre_mm[0],
        facet_mm=0.5 * inner,
        pedicle_inner_mm=inner,
        pedicle_outer_mm=inner + arch.pedicle_width_mm,
    )
    assert found == zone
    assert np.sign(solid.centre_mm[0]) == {None: 0, "left": -1, "right": 1}[side]
    assert solid.centre_mm[1] < 0
    assert solid.host is Level.L5
    assert solid.centre_mm[2] > effective_bodies(healthy)[Level.L5].upper_plane.centre_mm - 2
    assert not solid.in_mask


@pytest.mark.parametrize("kind", ["protrusion", "extrusion", "sequestration"])
def test_a_drawn_displacement_deserves_its_name(healthy, kind):
    moved = 0.0 if kind == "protrusion" else -9.0
    item = Herniation(disc=L45, type=kind, zone="central", depth_mm=7, base_mm=8, migration_mm=moved)
    solids = extra_primitives(ill(healthy, item))
    base, dome = 2 * solids[0].half_sizes_mm[0], 2 * solids[-1].half_sizes_mm[0]
    gaps = [low.centre_mm[2] + low.half_sizes_mm[2] - high.centre_mm[2] + high.half_sizes_mm[2]
            for high, low in pairwise(solids)]  # fmt: skip
    continuous = kind != "sequestration"
    assert all(gap > 0 for gap in gaps)  # dome and neck hang together
    if continuous:
        assert base == pytest.approx(8)
    assert disc_displacement(arc_deg=30, base_mm=8, dome_mm=dome, continuous=continuous) == kind
    if kind == "sequestration":
        disc = effective_discs(healthy)[L45].middle_height_mm
        assert moved + solids[0].half_sizes_mm[2] < -disc / 2  # clear of the disc space


def test_screws_run_through_the_pedicles_into_the_body_and_rods_join_them(healthy):
    spine = ill(
        healthy, Screws(levels=(Level.L3, Level.L4), diameter_mm=6, length_mm=45), Cage(disc=Disc(Level.L3, Level.L4))
    )
    solids = extra_primitives(spine)
    shanks = [s for s in solids if s.solid == "capsule" and s.end_host is None and s.half_sizes_mm[0] == 3]
    rods = [s for s in solids if s.end_host is not None]
    assert len(shanks) == 4
    assert [(rod.host, rod.end_host) for rod in rods] == [(Level.L3, Level.L4)] * 2
    for shank in shanks:
        body = body_of(healthy, shank.host)
        x, y, z = shank.end_mm
        assert -body.upper_depth_mm / 2 < y < body.upper_depth_mm / 2
        assert abs(x) < body.upper_width_mm / 2
        assert abs(z) < body.height_mm / 2
        assert shank.centre_mm[1] < -body.upper_depth_mm / 2
    assert {s.hu for s in solids} == {3000.0}


def test_a_lesion_and_a_modic_change_stay_in_the_bone(healthy):
    spine = ill(
        healthy,
        Lesion(level=Level.T9, type="lytic", radius_mm=6, x_share=0.2),
        Lesion(level=Level.L1, type="blastic", radius_mm=6),
        ModicChange(disc=L45, type=2, height_mm=8),
        ModicChange(disc=healthy.discs[-1].disc, type=1, height_mm=8),
        Osteophyte(level=Level.L3, endplate="upper", where="right", length_mm=4),
    )
    lytic, blastic, above, below, *sacral, spur = extra_primitives(spine)
    assert (lytic.hu_mode, blastic.hu_mode) == ("set", "add")
    assert {solid.clip for solid in (lytic, blastic, above, below)} == {"body"}
    assert (above.host, below.host) == (Level.L4, Level.L5)
    assert above.centre_mm[2] < 0 < below.centre_mm[2]
    assert [solid.host for solid in sacral] == [healthy.vertebrae[-1].level, Level.S1]
    assert spur.in_mask
    assert spur.centre_mm[0] > 0
    assert [solid.source for solid in (lytic, blastic, above, below, spur)] == [0, 1, 2, 2, 4]
