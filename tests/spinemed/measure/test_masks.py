"""A whole lumbar spine on masks: the numbers come back, and what cannot be measured is flagged instead of guessed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spinemed.anatomy import LABEL_MAPS, Disc, Level
from spinemed.errors import SpineMedError, VolumeError
from spinemed.measure import SpineMeasurements, measure_masks
from spinemed.volume import Volume, reorient_volume

LUMBAR = [Level(name) for name in ("L1", "L2", "L3", "L4", "L5")]


@pytest.fixture(scope="module")
def plain(spine: Callable[..., Any], solid: Any) -> Any:
    """Five lumbar vertebrae on a turned 1 mm grid: L2 a wedge fracture, L4 slipped by 8 mm."""
    turn = np.linalg.qr(np.array([[1, 0.12, -0.05], [-0.1, 1, 0.16], [0.06, -0.15, 1]]))[0]
    turn = turn * np.sign(np.diag(turn))
    broken = solid(anterior=15.0, posterior=27.0)
    return spine(turn=turn, solids={"L2": broken}, slip_mm={"L4": 8.0}, size_mm=(110, 165, 240))


@pytest.fixture(scope="module")
def with_bodies(plain: Any) -> SpineMeasurements:
    return measure_masks(plain.whole, bodies=plain.bodies, canal=plain.canal, discs=plain.discs, posture="standing")


@pytest.fixture(scope="module")
def whole_only(plain: Any) -> SpineMeasurements:
    return measure_masks(plain.whole, posture="standing")


def codes(record: Any) -> set[str]:
    return {flag.code for flag in record.flags}


def without(volume: Volume, *levels: str) -> Volume:
    data = volume.data.copy()
    data[np.isin(data, [26 if name == "S1" else Level(name).verse_label for name in levels])] = 0
    return replace(volume, data=data)


@pytest.mark.parametrize("source", ["with_bodies", "whole_only"])
def test_every_vertebra_comes_back_from_body_masks_and_from_whole_vertebrae(
    plain: Any, source: str, request: pytest.FixtureRequest
) -> None:
    measured = request.getfixturevalue(source)
    assert [each.level for each in measured.vertebrae] == [*LUMBAR, Level.S1]
    for level, solid in plain.solids.items():
        found = measured.vertebra(level)
        rims, thirds = found.heights_at_rims, found.heights_of_thirds
        for heights, true in ((rims, solid.rims()), (thirds, solid.thirds())):
            measures = (heights.anterior_mm, heights.middle_mm, heights.posterior_mm)
            assert measures == pytest.approx(true, abs=0.7), level
        assert found.wedge_deg == pytest.approx(solid.wedge_deg, abs=1.0)
        assert found.upper.depth_mm == pytest.approx(solid.depth, abs=1.3)
        assert found.lower.width_mm == pytest.approx(solid.width, abs=1.3)
        for record, normal in ((found.upper, plain.upper[level]), (found.lower, plain.lower[level])):
            assert record.sagittal_deg == pytest.approx(plain.sagittal(normal), abs=1.0)
            assert record.coronal_deg == pytest.approx(plain.coronal(normal), abs=1.0)
        assert np.linalg.norm(np.array(found.frame.centre_mm) - plain.centres[level]) < 0.5
        turned = np.degrees(np.arccos(min(1.0, float(np.array(found.frame.anterior) @ plain.axes[level][:, 1]))))
        assert turned < 2.0
        assert found.body_source == ("mask" if source == "with_bodies" else "estimated")
        assert ("estimated_body" in codes(found)) == (source == "whole_only")
        assert found.vertebra_volume_mm3 > 1.2 * found.body_volume_mm3


def test_a_body_cut_out_of_a_vertebra_has_the_volume_of_the_body(
    with_bodies: SpineMeasurements, whole_only: SpineMeasurements
) -> None:
    for level in LUMBAR:
        true, cut = with_bodies.vertebra(level), whole_only.vertebra(level)
        assert cut.body_volume_mm3 == pytest.approx(true.body_volume_mm3, rel=0.03)


def test_angles_of_the_spine_are_those_it_was_built_with(plain: Any, with_bodies: SpineMeasurements) -> None:
    named = {angle.name: angle for angle in with_bodies.angles}
    s1 = plain.sagittal(plain.upper[Level.S1])
    assert s1 == pytest.approx(-40)
    for name, top in (("L1-S1", Level.L1), ("L4-S1", Level.L4)):
        assert named[name].angle_deg == pytest.approx(plain.sagittal(plain.upper[top]) - s1, abs=1.5)
        assert named[name].flags == ()
    kyphosis = plain.sagittal(plain.lower[Level.L2]) - plain.sagittal(plain.upper[Level.L1])
    assert -with_bodies.cobb_deg(Level.L1, Level.L2, "sagittal") == pytest.approx(kyphosis, abs=1.5)
    assert named["T12-S1"].angle_deg is None
    assert "T12 is not in the masks" in named["T12-S1"].flags[0].text
    with pytest.raises(SpineMedError, match="T12 was not measured"):
        with_bodies.cobb_deg(Level.T12, Level.S1)


@pytest.mark.parametrize("source", ["with_bodies", "whole_only"])
def test_discs_and_the_slip_come_back(source: str, request: pytest.FixtureRequest) -> None:
    measured = request.getfixturevalue(source)
    assert [str(each.disc) for each in measured.discs] == ["L1/2", "L2/3", "L3/4", "L4/5", "L5/S1"]
    for each in measured.discs:
        assert each.wedge_deg == pytest.approx(10, abs=1.5)
        # 9 mm from rim plane to rim plane, and at mid-depth both bowls (1 mm each, none on the sacrum) on top of it.
        middle = 10 if each.disc == Disc.from_text("L5/S1") else 11
        if each.disc == Disc.from_text("L4/5"):
            middle = 10  # slipped by 8 mm: the bowls no longer face each other, and the wedge is thinner behind
        assert each.heights_at_rims.middle_mm == pytest.approx(middle, abs=0.6)
        front, back = each.heights_at_rims.anterior_mm, each.heights_at_rims.posterior_mm
        assert front - back == pytest.approx(0.8 * 33 * np.tan(np.radians(10)), abs=1.7)
    slipped = measured.disc(Disc.from_text("L4/5")).slip
    assert slipped.slip_mm == pytest.approx(8 - 9 * np.sin(np.radians(5)) + 0.25, abs=1.0)
    assert slipped.percent == pytest.approx(100 * slipped.slip_mm / 33, abs=2.5)
    assert (slipped.direction, slipped.grade) == ("anterior", "I")
    assert {each.slip.grade for each in measured.discs if str(each.disc) != "L4/5"} == {"0"}


def test_canal_and_disc_masks_are_measured_where_given(
    with_bodies: SpineMeasurements, whole_only: SpineMeasurements
) -> None:
    for level in LUMBAR:
        canal = with_bodies.vertebra(level).canal
        assert canal.ap_mm == pytest.approx(16, abs=1)
        assert canal.transverse_mm == pytest.approx(24, abs=1)
        assert canal.area_mm2 == pytest.approx(np.pi * 12 * 8, rel=0.04)
        assert canal.source == "mask"
        ring = whole_only.vertebra(level).canal
        assert ring.source == "arch"
        # Between the rims of the body and the laminae, and between the pedicles.
        assert ring.ap_mm == pytest.approx(17.4, abs=1)
        assert ring.transverse_mm == pytest.approx(23.5, abs=1)
    assert with_bodies.canal_kind == "bony canal"
    assert whole_only.canal_kind is None
    for each in with_bodies.discs:
        assert each.mask_height_mm == pytest.approx(each.mean_mm, abs=0.5)
        assert each.mask_volume_mm3 > 8000


def test_the_record_goes_to_json_and_back(with_bodies: SpineMeasurements) -> None:
    text = with_bodies.model_dump_json()
    assert SpineMeasurements.model_validate_json(text) == with_bodies
    assert '"research use only"' in text


def test_stored_on_other_axes_the_spine_measures_the_same(plain: Any, with_bodies: SpineMeasurements) -> None:
    volumes = [reorient_volume(volume, "PIR") for volume in (plain.whole, plain.bodies)]
    turned = measure_masks(volumes[0], bodies=volumes[1], posture="standing")
    for one, other in zip(with_bodies.vertebrae, turned.vertebrae, strict=True):
        if one.heights_at_rims is None:
            continue
        assert other.heights_at_rims.anterior_mm == pytest.approx(one.heights_at_rims.anterior_mm, abs=0.1)
        assert other.upper.sagittal_deg == pytest.approx(one.upper.sagittal_deg, abs=0.2)
        assert other.frame.centre_mm == pytest.approx(one.frame.centre_mm, abs=0.1)


def test_a_scoliosis_has_its_cobb_angle_and_side(spine: Callable[..., Any]) -> None:
    built = spine(side_deg={"L4": 12.0, "L3": 9.0, "L2": -2.0}, size_mm=(140, 160, 235), shift=(20, 5, 65))
    measured = measure_masks(built.whole, bodies=built.bodies)
    true = built.coronal(built.upper[Level.L3]) - built.coronal(built.lower[Level.L5])
    assert abs(true) > 15
    (curve,) = [each for each in measured.curves if each.cobb_deg > 15]
    assert curve.cobb_deg == pytest.approx(abs(true), abs=2)
    assert curve.convex == ("right" if true > 0 else "left")
    # The side can be seen without any formula: the middle of the curve lies on it.
    line = built.centres[Level.L5][0] + built.centres[Level.L1][0]
    assert curve.upper <= Level.L3
    assert (built.centres[Level.L4][0] > line / 2) == (curve.convex == "right")


def test_a_missing_vertebra_is_no_neighbour(plain: Any) -> None:
    measured = measure_masks(without(plain.whole, "L3"), bodies=without(plain.bodies, "L3"))
    assert measured.vertebra(Level.L3) is None
    assert [str(each.disc) for each in measured.discs] == ["L1/2", "L4/5", "L5/S1"]
    assert "missing_neighbour" in codes(measured.vertebra(Level.L2))


def test_four_lumbar_vertebrae_and_a_lost_fifth_are_told_apart(plain: Any, spine: Callable[..., Any]) -> None:
    lost = measure_masks(without(plain.whole, "L5"), bodies=without(plain.bodies, "L5"))
    assert not any(str(each.disc) == "L4/S1" for each in lost.discs)
    assert "missing_neighbour" in codes(lost.vertebra(Level.L4))
    built = spine(levels=("L4", "L3"), size_mm=(100, 150, 150), shift=(0, 5, 30))
    four = measure_masks(built.whole, bodies=built.bodies)
    assert [str(each.disc) for each in four.discs] == ["L3/4", "L4/S1"]
    assert four.discs[1].wedge_deg == pytest.approx(10, abs=1.5)


def test_without_the_vertebra_above_there_is_no_sacral_endplate(plain: Any) -> None:
    alone = measure_masks(without(plain.whole, "L1", "L2", "L3", "L4", "L5"))
    assert alone.vertebra(Level.S1).upper is None
    assert codes(alone.vertebra(Level.S1)) == {"missing_neighbour"}


def test_a_cut_vertebra_is_not_measured(plain: Any) -> None:
    whole, bodies = plain.whole, plain.bodies
    top = np.argwhere(whole.data == Level.L1.verse_label)[:, 2]
    half = int((top.min() + top.max()) / 2)
    cut = measure_masks(
        replace(whole, data=np.ascontiguousarray(whole.data[:, :, :half])),
        bodies=replace(bodies, data=np.ascontiguousarray(bodies.data[:, :, :half])),
    )
    found = cut.vertebra(Level.L1)
    assert found.heights_at_rims is None
    assert found.upper is None
    assert "cut" in codes(found)
    assert cut.disc(Disc.from_text("L1/2")).mean_mm is None
    assert next(angle for angle in cut.angles if angle.name == "L1-S1").angle_deg is None
    assert cut.vertebra(Level.L2).heights_at_rims is not None


def test_thick_slices_are_flagged_and_very_thick_ones_give_no_height(spine: Callable[..., Any]) -> None:
    built = spine(spacing=(1, 1, 3), levels=("L5", "L4", "L3"), size_mm=(100, 150, 170), shift=(0, 5, 40))
    flagged = measure_masks(built.whole, bodies=built.bodies).vertebra(Level.L3)
    assert "coarse" in codes(flagged)
    assert flagged.heights_of_thirds.middle_mm == pytest.approx(built.solids[Level.L3].thirds()[1], abs=1.5)
    built = spine(spacing=(1, 1, 5), levels=("L5", "L4", "L3"), size_mm=(100, 150, 170), shift=(0, 5, 40))
    blind = measure_masks(built.whole, bodies=built.bodies).vertebra(Level.L3)
    assert blind.heights_at_rims is None
    assert "coarse" in codes(blind)


def test_a_block_of_bone_is_not_separated_by_guess(plain: Any) -> None:
    data = plain.whole.data.copy()
    level = Level.L3.verse_label
    where = np.argwhere(data == level)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    data[box][(data[box] == 0)] = level
    found = measure_masks(replace(plain.whole, data=data)).vertebra(Level.L3)
    assert found.heights_at_rims is None
    assert codes(found) & {"body_not_separable", "not_measurable"}


def test_loose_pieces_are_left_out_and_counted(plain: Any) -> None:
    data = plain.bodies.data.copy()
    spare = np.argwhere(plain.whole.data == 0)
    corner = spare[spare.sum(axis=1).argmin()]
    data[corner[0] : corner[0] + 12, corner[1] : corner[1] + 12, corner[2] : corner[2] + 12] = Level.L3.verse_label
    found = measure_masks(plain.whole, bodies=replace(plain.bodies, data=data)).vertebra(Level.L3)
    assert "several_parts" in codes(found)
    assert found.heights_at_rims.middle_mm == pytest.approx(plain.solids[Level.L3].rims()[1], abs=0.7)


def test_posture_is_said_beside_alignment(plain: Any, with_bodies: SpineMeasurements) -> None:
    assert "posture" not in codes(with_bodies)
    lying = measure_masks(without(plain.whole, "L1", "L2", "L3"), posture="supine")
    assert "posture" in codes(lying)
    assert lying.sva_mm is None


def test_another_label_map_gives_the_same_levels(plain: Any, with_bodies: SpineMeasurements) -> None:
    table = np.zeros(256, np.uint8)
    for level in LUMBAR:
        table[level.verse_label] = LABEL_MAPS["totalsegmentator"].to_label(level)
    table[26] = 25
    volumes = [replace(volume, data=table[volume.data]) for volume in (plain.whole, plain.bodies)]
    other = measure_masks(volumes[0], bodies=volumes[1], label_map=LABEL_MAPS["totalsegmentator"])
    assert [each.level for each in other.vertebrae] == [each.level for each in with_bodies.vertebrae]
    assert other.vertebra(Level.L3).heights_at_rims == with_bodies.vertebra(Level.L3).heights_at_rims


def test_in_the_neck_only_a_body_mask_gives_widths_and_c2(spine: Callable[..., Any]) -> None:
    built = spine(levels=("C4", "C3", "C2"), size_mm=(100, 150, 170), shift=(0, 5, 40))
    cut_out, given = measure_masks(built.whole), measure_masks(built.whole, bodies=built.bodies)
    assert cut_out.vertebra(Level.C3).heights_at_rims is not None
    assert cut_out.vertebra(Level.C3).upper.width_mm is None
    assert {"estimated_body", "not_measurable"} <= codes(cut_out.vertebra(Level.C3))
    assert cut_out.vertebra(Level.C2).lower is None
    assert "body_not_separable" in codes(cut_out.vertebra(Level.C2))
    assert given.vertebra(Level.C3).upper.width_mm == pytest.approx(44, abs=1.3)
    axis = given.vertebra(Level.C2)
    assert axis.lower.sagittal_deg == pytest.approx(built.sagittal(built.lower[Level.C2]), abs=1.0)
    assert (axis.upper, axis.heights_at_rims, axis.body_volume_mm3) == (None, None, None)
    assert given.disc(Disc.from_text("C2/3")).wedge_deg == pytest.approx(10, abs=1.5)


def test_the_same_masks_give_the_same_record(plain: Any) -> None:
    small = without(plain.whole, "L1", "L2", "L3")
    assert measure_masks(small).model_dump_json() == measure_masks(small).model_dump_json()


def test_unusable_input_is_one_clear_error(plain: Any) -> None:
    with pytest.raises(VolumeError, match="needs masks"):
        measure_masks(replace(plain.whole, unit="HU"))
    with pytest.raises(VolumeError, match="another grid"):
        measure_masks(plain.whole, bodies=replace(plain.bodies, data=plain.bodies.data[1:]))
    with pytest.raises(VolumeError, match="no vertebra of the map 'verse'"):
        measure_masks(replace(plain.whole, data=np.zeros((4, 4, 4), np.uint8)))
    with pytest.raises(VolumeError, match="value -1, which is no label"):
        measure_masks(replace(plain.whole, data=np.full((4, 4, 4), -1, np.int16)))
    strange = plain.whole.data.copy()
    strange[0, 0, 0] = 99
    measured = measure_masks(without(replace(plain.whole, data=strange), "L1", "L2", "L3", "L4"))
    assert "label 99" in measured.flags[0].text


def test_a_lumbar_mask_takes_less_than_two_seconds(spine: Callable[..., Any]) -> None:
    built = spine(size_mm=(200, 200, 250))
    times = []
    for _ in range(2):
        start = time.process_time()
        measure_masks(built.whole)
        times.append(time.process_time() - start)
    assert min(times) < 2.0
