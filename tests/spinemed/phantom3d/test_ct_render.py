"""Phantom CT: masks that mean what they say, Hounsfield units that a scanner could show, VerSe folders to be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinemed.anatomy import LABEL_MAPS, Level
from spinemed.errors import LevelError, SpineMedError, VolumeError
from spinemed.geometry import reorient
from spinemed.labelling.centroids import read_centroids
from spinemed.phantom.imaging.ct import CtLook, CtPhantom, look_of, render_ct, render_ct_slice
from spinemed.phantom.imaging.grid import VoxelGrid, field_grid, sagittal_grid
from spinemed.phantom.imaging.tissues import render_tissues
from spinemed.phantom.imaging.verse_folder import verse_mask, write_verse_case
from spinemed.phantom.pathology.records import Fracture, Lesion, Screws
from spinemed.phantom.shape.body import true_body_measurements
from spinemed.phantom.shape.materials import Tissue
from spinemed.phantom.shape.scene import Scene, build_scene
from spinemed.phantom.spine.config import SpineConfig
from spinemed.phantom.spine.draw import draw_spine
from spinemed.phantom.spine.records import SpinePhantom
from spinemed.volume import read_mask, read_nifti

QUIET = CtLook(noise_sd=0.0, texture_sd=0.0, blur_mm=0.0)


@pytest.fixture(scope="module")
def spine() -> SpinePhantom:
    return draw_spine(1, 5)


@pytest.fixture(scope="module")
def scene(spine: SpinePhantom) -> Scene:
    return build_scene(spine)


@pytest.fixture(scope="module")
def lumbar(scene: Scene) -> CtPhantom:
    return render_ct(scene, field="lumbar", spacing_mm=1.0, codes="RAS")


@pytest.fixture(scope="module")
def whole(scene: Scene) -> CtPhantom:
    return render_ct(scene, field="full", spacing_mm=1.5, codes="RAS")


def label(level: Level) -> int:
    return LABEL_MAPS["verse"].to_label(level)


def test_every_vertebra_is_one_piece(whole: CtPhantom, lumbar: CtPhantom) -> None:
    from scipy.ndimage import label as components

    for phantom in (whole, lumbar):
        for number in np.unique(phantom.vertebrae.data)[1:]:
            _, count = components(phantom.vertebrae.data == number)
            assert count == 1, number


def test_little_is_dropped_to_keep_one_piece(lumbar: CtPhantom) -> None:
    dropped = {number: n for number, n in lumbar.truth.dropped_voxels.items() if number < 26}
    visible = {label(level) for level in lumbar.truth.visible}
    assert all(n < 60 for number, n in dropped.items() if number in visible), dropped


def test_the_whole_spine_is_there_and_in_order(whole: CtPhantom, spine: SpinePhantom) -> None:
    assert whole.truth.visible == tuple(v.level for v in spine.vertebrae)
    heights = [whole.centroids[level][2] for level in whole.truth.visible]
    assert heights == sorted(heights, reverse=True)
    discs = np.unique(whole.discs.data)[1:]
    assert len(discs) == len(spine.discs)


@pytest.mark.parametrize("variant", ["T13", "eleven_thoracic", "L6", "four_lumbar"])
def test_odd_columns_keep_their_numbers_and_order(variant: str) -> None:
    config = SpineConfig.model_validate({"variant_shares": {variant: 1.0}})
    odd = draw_spine(3, 2, config)
    phantom = render_ct(odd, field="full", spacing_mm=2.0, codes="RAS", look=QUIET)
    names = tuple(v.level for v in odd.vertebrae)
    assert phantom.truth.visible == names
    assert (28 in phantom.vertebrae.data) == (Level.T13 in names)
    heights = [phantom.centroids[level][2] for level in names]
    assert heights == sorted(heights, reverse=True)


def test_body_volume_and_centroid_agree_with_the_truth(lumbar: CtPhantom, scene: Scene) -> None:
    for level in lumbar.truth.visible:
        truth = true_body_measurements(scene.posed.bodies[level])
        voxels = int((lumbar.bodies.data == label(level)).sum())
        assert voxels == pytest.approx(truth.volume_mm3, rel=0.03)
        centre = scene.posed.frame(level).to_world(np.array(truth.centroid_mm))
        assert lumbar.centroids[level] == pytest.approx(centre, abs=0.3)


def test_height_loss_measured_on_the_mask_agrees(spine: SpinePhantom, scene: Scene) -> None:
    wanted = (45.0, 28.0, 6.0)
    fracture = Fracture(
        level=Level.L2,
        shape="wedge",
        anterior_loss_percent=wanted[0],
        middle_loss_percent=wanted[1],
        posterior_loss_percent=wanted[2],
    )
    broken = build_scene(spine.model_copy(update={"pathologies": (fracture,)}))
    heights = []
    for one in (broken, scene):
        # A grid along the vertebra's own axes: a column of voxels is a height.
        frame = one.posed.frame(Level.L2)
        affine = np.eye(4)
        size = (80, 60, 60)
        affine[:3, :3] = frame.rotation * (1.0, 1.0, 1.0)
        affine[:3, 3] = frame.origin_mm - affine[:3, :3] @ ((np.array(size) - 1) / 2)
        tissues = render_tissues(one, VoxelGrid(size, affine))
        columns = (tissues.bodies == label(Level.L2)).sum(axis=2).astype(float)
        shape = one.posed.bodies[Level.L2].shape
        y = np.arange(size[1]) - (size[1] - 1) / 2
        v = y / ((shape.upper_depth_mm + shape.lower_depth_mm) / 4)
        x = np.arange(size[0]) - (size[0] - 1) / 2
        band = np.abs(x) < shape.upper_width_mm / 6
        thirds = [(v > low) & (v < high) for low, high in ((1 / 3, 0.9), (-1 / 3, 1 / 3), (-0.9, -1 / 3))]
        heights.append([columns[np.ix_(band, third)].mean() for third in thirds])
    losses = 100 * (1 - np.array(heights[0]) / np.array(heights[1]))
    assert losses == pytest.approx(wanted, abs=3.0)


def test_transverse_span_and_spinous_length_are_those_of_the_record(lumbar: CtPhantom, scene: Scene) -> None:
    for level in (Level.L2, Level.L3, Level.L4):
        vertebra = next(v for v in scene.spine.vertebrae if v.level is level)
        assert vertebra.body is not None
        voxels = np.argwhere(lumbar.vertebrae.data == label(level))
        world = voxels @ lumbar.volume.affine[:3, :3].T + lumbar.volume.affine[:3, 3]
        own = scene.posed.frame(level).to_own(world)
        assert np.ptp(own[:, 0]) == pytest.approx(vertebra.arch.transverse_span_mm, abs=2.0)
        body = vertebra.body
        rim = np.array([0.0, -body.upper_depth_mm / 2, body.height_mm / 2])
        behind = own[(own[:, 1] < -body.upper_depth_mm / 2) & (np.abs(own[:, 0]) < 4)]
        assert np.linalg.norm(behind - rim, axis=1).max() == pytest.approx(vertebra.arch.spinous_length_mm, rel=0.16)


def test_canal_is_open_at_every_vertebra(whole: CtPhantom, scene: Scene) -> None:
    inverse = np.linalg.inv(whole.volume.affine)
    for station in scene.stations[1:-1]:
        middle = station.at(0.0, -station.half_depth - station.canal_depth / 2)
        i, j, k = np.rint(inverse[:3, :3] @ middle + inverse[:3, 3]).astype(int)
        assert whole.canal.data[i, j, k] in (60, 61), station.level
        assert whole.vertebrae.data[i, j, k] == 0


def test_facets_of_neighbours_are_parted(lumbar: CtPhantom) -> None:
    """Bone of two vertebrae nowhere touches face to face at 1 mm except by single voxels."""
    mask = np.where(lumbar.vertebrae.data > 25, 0, lumbar.vertebrae.data)
    touching = 0
    for axis in range(3):
        one, other = np.moveaxis(mask, axis, 0)[:-1], np.moveaxis(mask, axis, 0)[1:]
        touching += int(((one != other) & (one > 0) & (other > 0)).sum())
    assert touching < 60


def test_subregions_have_a_right_and_a_left(lumbar: CtPhantom, scene: Scene) -> None:
    origin = scene.posed.frame(Level.L3).origin_mm
    for right, left in ((44, 43), (46, 45), (48, 47)):
        for part, sign in ((right, 1.0), (left, -1.0)):
            voxels = np.argwhere((lumbar.subregions.data == part) & (lumbar.vertebrae.data == label(Level.L3)))
            world = voxels @ lumbar.volume.affine[:3, :3].T + lumbar.volume.affine[:3, 3]
            assert sign * (world[:, 0].mean() - origin[0]) > 5.0


def test_same_record_gives_the_same_bytes_and_another_seed_does_not(scene: Scene) -> None:
    one, again = (render_ct(scene, field="level", level=Level.L3, spacing_mm=2.0) for _ in range(2))
    other = render_ct(scene, field="level", level=Level.L3, spacing_mm=2.0, noise_seed=1)
    assert one.volume.data.tobytes() == again.volume.data.tobytes()
    assert one.volume.data.tobytes() != other.volume.data.tobytes()
    assert one.vertebrae.data.tobytes() == other.vertebrae.data.tobytes()


@pytest.mark.parametrize("codes", ["PIR", "LPS", "ASL"])
def test_orientation_moves_no_voxel(scene: Scene, codes: str) -> None:
    straight = render_ct(scene, field="level", level=Level.T8, spacing_mm=2.0, codes="RAS", look=QUIET)
    turned = render_ct(scene, field="level", level=Level.T8, spacing_mm=2.0, codes=codes, look=QUIET)
    assert turned.volume.codes == codes
    data, affine = reorient(turned.vertebrae.data, turned.vertebrae.affine, "RAS")
    assert affine == pytest.approx(straight.vertebrae.affine, abs=1e-9)
    assert np.array_equal(data, straight.vertebrae.data)


def test_an_oblique_grid_shows_the_same_bodies(scene: Scene) -> None:
    grid = field_grid(scene, "level", level=Level.L3, spacing_mm=1.5, codes="RAS", tilt_deg=(12.0, -7.0, 5.0))
    straight = field_grid(scene, "level", level=Level.L3, spacing_mm=1.5, codes="RAS")
    tilted, level = (render_ct(scene, grid=one, look=QUIET) for one in (grid, straight))
    assert tilted.centroids[Level.L3] == pytest.approx(level.centroids[Level.L3], abs=0.2)


def test_a_thick_slice_is_the_mean_of_thin_ones(scene: Scene) -> None:
    thin = field_grid(scene, "level", level=Level.L3, spacing_mm=(1.0, 1.0, 1.0), codes="RAS")
    i, j, k = thin.shape
    thin = VoxelGrid((i, j, k // 5 * 5), thin.affine)
    affine = np.array(thin.affine)
    affine[:3, 3] += 2 * affine[:3, 2]
    affine[:3, 2] *= 5
    thick = VoxelGrid((i, j, k // 5), affine)
    fine, coarse = (render_ct_slice(scene, grid, look=QUIET)[0].astype(float) for grid in (thin, thick))
    averaged = fine.reshape(i, j, k // 5, 5).mean(axis=3)
    assert np.abs(averaged - coarse).mean() < 4.0


def test_a_slice_shows_what_the_volume_shows_there(scene: Scene, whole: CtPhantom) -> None:
    i = whole.volume.shape[0] // 2
    affine = np.array(whole.volume.affine)
    affine[:3, 3] += i * affine[:3, 0]
    hu, tissues = render_ct_slice(scene, VoxelGrid((1, *whole.volume.shape[1:]), affine), look=QUIET)
    difference = tissues.vertebrae[0] != whole.vertebrae.data[i]
    assert difference.sum() <= sum(whole.truth.dropped_voxels.values())
    assert hu.shape == (1, *whole.volume.shape[1:])


def test_hounsfield_units_are_those_of_the_tissues(lumbar: CtPhantom, spine: SpinePhantom) -> None:
    look = lumbar.truth.look
    hu, tissue = lumbar.volume.data, lumbar.tissue.data
    for kind, value, within in (
        (Tissue.AIR, -1000, 5),
        (Tissue.FAT, look.fat, 8),
        (Tissue.PARASPINAL, look.paraspinal, 12),
        (Tissue.NUCLEUS, look.nucleus, 10),
        (Tissue.ANNULUS, look.annulus, 12),
    ):
        assert np.median(hu[tissue == kind]) == pytest.approx(value, abs=within), kind
    marrow = hu[(lumbar.subregions.data == 50) & (lumbar.vertebrae.data == label(Level.L3))]
    stated = next(v for v in spine.vertebrae if v.level is Level.L3).trabecular_hu
    assert np.median(marrow) == pytest.approx(stated, rel=0.08)


def test_noise_is_the_stated_noise_after_the_kernel(scene: Scene) -> None:
    for kernel in ("soft", "bone"):
        look = look_of("a", kernel)  # type: ignore[arg-type]
        noisy = render_ct(scene, field="level", level=Level.L3, look=look)
        clean = render_ct(scene, field="level", level=Level.L3, look=look.model_copy(update={"noise_sd": 0.0}))
        difference = noisy.volume.data.astype(float) - clean.volume.data
        inner = difference[4:-4, 4:-4, 4:-4][clean.volume.data[4:-4, 4:-4, 4:-4] > -900]
        assert inner.std() == pytest.approx(look.noise_sd, rel=0.05)


def test_families_look_different(scene: Scene) -> None:
    one, other = (render_ct(scene, field="level", level=Level.L3, spacing_mm=2.0, look=look_of(f)) for f in "ab")
    assert np.array_equal(one.vertebrae.data, other.vertebrae.data)
    vessel = one.tissue.data == Tissue.VESSEL
    assert np.median(other.volume.data[vessel]) - np.median(one.volume.data[vessel]) > 60


def test_a_lesion_changes_density_and_no_label(spine: SpinePhantom, scene: Scene) -> None:
    sick = spine.model_copy(update={"pathologies": (Lesion(level=Level.L3, type="lytic", radius_mm=7.0),)})
    before = render_ct(scene, field="level", level=Level.L3, look=QUIET)
    after = render_ct(
        sick, field="level", level=Level.L3, look=QUIET, grid=VoxelGrid(before.volume.shape, before.volume.affine)
    )
    assert np.array_equal(before.vertebrae.data, after.vertebrae.data)
    hole = after.tissue.data == Tissue.LYTIC
    assert hole.sum() > 800
    assert np.median(after.volume.data[hole]) < np.median(before.volume.data[hole]) - 50


def test_screws_are_metal_outside_the_mask_rule_and_streak_when_asked(spine: SpinePhantom) -> None:
    fixed = build_scene(spine.model_copy(update={"pathologies": (Screws(levels=(Level.L4, Level.L5)),)}))
    plain = render_ct(fixed, field="level", level=Level.L4, spacing_mm=1.5, look=QUIET)
    streaked = render_ct(
        fixed, field="level", level=Level.L4, spacing_mm=1.5, look=QUIET.model_copy(update={"streaks": 300.0})
    )
    assert (plain.tissue.data == Tissue.METAL).sum() > 300
    assert plain.volume.data.max() > 2500
    changed = np.abs(streaked.volume.data.astype(int) - plain.volume.data)
    assert changed.max() > 80
    assert np.array_equal(plain.vertebrae.data, streaked.vertebrae.data)


def test_cut_vertebrae_follow_the_rule_of_verse(lumbar: CtPhantom) -> None:
    assert Level.T11 in lumbar.truth.cut
    numbers = set(np.unique(verse_mask(lumbar).data).tolist())
    assert numbers == {0} | {label(level) for level in lumbar.truth.visible}
    kept = set(np.unique(verse_mask(lumbar, keep_cut=True, sacrum=True).data).tolist())
    assert {label(Level.T11), 26} <= kept
    edges = verse_mask(lumbar).data
    assert not any(np.take(edges, end, axis=axis).any() for axis in range(3) for end in (0, -1))


def test_verse_folder_is_read_by_nibabel_and_by_us(tmp_path: Path, scene: Scene) -> None:
    import nibabel

    phantom = render_ct(scene, field="lumbar", spacing_mm=1.5, codes="PIR")
    files = write_verse_case(phantom, tmp_path, "p001")
    assert files["ct"] == tmp_path / "rawdata" / "sub-p001" / "sub-p001_ct.nii.gz"
    assert files["mask"].name == "sub-p001_seg-vert_msk.nii.gz"
    image, mask = nibabel.load(files["ct"]), nibabel.load(files["mask"])
    assert image.get_data_dtype() == np.int16
    assert mask.get_data_dtype() == np.uint8
    assert np.array_equal(image.affine, mask.affine)
    ours = read_mask(files["mask"])
    assert ours.codes == "PIR"
    assert np.array_equal(read_nifti(files["ct"], unit="HU").data, phantom.volume.data)
    centroids = read_centroids(files["centroids"], image_or_mask=ours)
    assert centroids.levels == phantom.truth.visible
    for level, point in centroids.items():
        assert point == pytest.approx(phantom.centroids[level], abs=0.1)
        i, j, k = np.rint(np.linalg.solve(ours.affine[:3, :3], point - ours.affine[:3, 3])).astype(int)
        assert ours.data[i, j, k] == label(level)
    again = write_verse_case(phantom, tmp_path / "again", "p001")
    assert all(files[name].read_bytes() == again[name].read_bytes() for name in files)


def test_bad_input_is_refused_in_words(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="field"):
        field_grid(scene, "pelvis")  # type: ignore[arg-type]
    with pytest.raises(VolumeError, match="level"):
        field_grid(scene, "level")
    with pytest.raises(LevelError):
        field_grid(scene, "level", level=Level.T13)
    with pytest.raises(VolumeError, match="spacing"):
        field_grid(scene, "lumbar", spacing_mm=0.0)
    with pytest.raises(VolumeError, match="orientation"):
        field_grid(scene, "lumbar", codes="RAR")
    with pytest.raises(VolumeError, match="voxels"):
        field_grid(scene, "full", spacing_mm=0.1)
    with pytest.raises(SpineMedError, match="BIDS"):
        write_verse_case(render_ct(scene, field="level", level=Level.L3, spacing_mm=3.0), tmp_path, "a_b")


def test_a_sagittal_grid_is_one_voxel_thick(scene: Scene) -> None:
    grid = sagittal_grid(scene, "lumbar", spacing_mm=0.8, thickness_mm=1.0)
    assert grid.shape[0] == 1
    assert grid.spacing_mm == pytest.approx((1.0, 0.8, 0.8))
