"""NIfTI in and out, grids, windows and slices, on the bundled real volumes and on analytic ones."""

from __future__ import annotations

import gzip
import hashlib
import io
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinemed.errors import ReadError, SpineMedError, VolumeError
from spinemed.geometry import VoxelPoints, WorldPoints, label_centroids_mm, voxel_to_world, world_to_voxel
from spinemed.volume import (
    WINDOWS,
    Volume,
    Window,
    grid_difference,
    midsagittal_position_mm,
    percentile_window,
    read_mask,
    read_nifti,
    reorient_volume,
    require_same_grid,
    resample_like,
    same_grid,
    slice_image,
    to_uint8,
    write_nifti,
)

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
CT = SAMPLES / "ct/totalsegmentator_lumbar/example_ct.nii.gz"
CT_MASK = SAMPLES / "ct/totalsegmentator_lumbar/example_seg_fast_force_split.nii.gz"
L3 = SAMPLES / "ct/tptbox_L3_crop/sub-ct_label-22_ct.nii.gz"
L3_MASK = SAMPLES / "ct/tptbox_L3_crop/sub-ct_seg-vert_label-22_msk.nii.gz"
MR = SAMPLES / "mr/sct_t2_lumbar/t2_lumbar.nii.gz"
PAM50 = SAMPLES / "mr/pam50_small/PAM50_small_t2.nii.gz"
PAM50_DISCS = SAMPLES / "mr/pam50_small/PAM50_small_label_disc.nii.gz"
IMAGES = [CT, L3, MR, PAM50]
# Lumbar vertebrae and T12 in the CT mask's own label map, foot to head.
L5_TO_T12 = [27, 28, 29, 30, 31, 32]


def nifti(path: Path, data: np.ndarray, **fields: object) -> Path:
    """A NIfTI file whose header fields are set as told, e.g. `scl_slope=2` or `sform_code=0`."""
    image = nib.Nifti1Image(data, np.eye(4))
    image.header.set_sform(np.eye(4), code=1)
    image.header.set_qform(np.eye(4), code=1)
    content = bytearray(image.to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]), check=False)
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content), mtime=0) if path.name.endswith(".gz") else bytes(content))
    return path


# --- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", IMAGES, ids=lambda p: p.name)
def test_real_volumes_read_as_nibabel_reads_them(path: Path) -> None:
    volume = read_nifti(path)
    image = nib.load(path)
    assert np.array_equal(volume.data, np.asanyarray(image.dataobj))
    assert np.array_equal(volume.affine, image.affine)
    assert volume.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert volume.source == str(path)
    assert volume.codes == "".join(nib.aff2axcodes(image.affine))
    assert volume.flags == ()


def test_a_volume_is_read_only() -> None:
    volume = read_nifti(L3, unit="HU")
    with pytest.raises(ValueError, match="read-only"):
        volume.data[0, 0, 0] = 1
    with pytest.raises(ValueError, match="read-only"):
        volume.affine[0, 0] = 1


def test_a_rescaled_integer_ct_stays_integer(tmp_path: Path) -> None:
    stored = np.array([0, 24, 1024, 4095], dtype=np.uint16).reshape(2, 2, 1)
    volume = read_nifti(nifti(tmp_path / "ct.nii", stored, scl_slope=1, scl_inter=-1024), unit="HU")
    assert volume.data.dtype == np.int16
    assert volume.data.ravel().tolist() == [-1024, -1000, 0, 3071]


def test_a_fractional_slope_is_applied(tmp_path: Path) -> None:
    volume = read_nifti(nifti(tmp_path / "mr.nii.gz", np.full((2, 2, 2), 3, np.int16), scl_slope=0.5, scl_inter=0.25))
    assert volume.data.dtype == np.float32
    assert (volume.data == 1.75).all()


def test_the_qform_is_used_when_there_is_no_sform(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), None)
    turned = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.1, 0.3) * [1.0, 2.0, 3.0], [5, 6, 7])
    image.header.set_qform(turned, code=1)
    image.header.set_sform(None, code=0)
    (tmp_path / "q.nii").write_bytes(image.to_bytes())
    np.testing.assert_allclose(read_nifti(tmp_path / "q.nii").affine, turned, atol=1e-5)


def test_a_contradiction_of_sform_and_qform_is_flagged(tmp_path: Path) -> None:
    volume = read_nifti(nifti(tmp_path / "x.nii", np.zeros((3, 3, 3), np.int16), qoffset_x=12.0))
    assert volume.affine[0, 3] == 0
    assert volume.flags == ("sform and qform differ by up to 12 mm; the sform was used",)


def test_metres_become_millimetres(tmp_path: Path) -> None:
    volume = read_nifti(nifti(tmp_path / "x.nii", np.zeros((3, 3, 3), np.int16), xyzt_units=1, qform_code=0))
    assert volume.spacing_mm == (1000.0, 1000.0, 1000.0)


def test_big_endian_and_nifti2_files_are_read(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    (tmp_path / "big.nii").write_bytes(
        nib.Nifti1Image(values.astype(">i2"), affine, nib.Nifti1Header(endianness=">")).to_bytes()
    )
    (tmp_path / "two.nii").write_bytes(nib.Nifti2Image(values, affine).to_bytes())
    for name in ("big.nii", "two.nii"):
        volume = read_nifti(tmp_path / name)
        assert np.array_equal(volume.data, values), name
        assert volume.data.dtype.isnative, name
        assert np.array_equal(volume.affine, affine), name


def test_a_trailing_axis_of_one_is_dropped_and_a_time_series_refused(tmp_path: Path) -> None:
    assert read_nifti(nifti(tmp_path / "one.nii", np.zeros((2, 3, 4, 1), np.int16))).shape == (2, 3, 4)
    with pytest.raises(VolumeError, match="4 dimensions \\(2x3x4x5\\), not 3"):
        read_nifti(nifti(tmp_path / "bold.nii", np.zeros((2, 3, 4, 5), np.int16)))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"sform_code": 0, "qform_code": 0}, "no orientation"),
        ({"srow_x": [np.nan, 0, 0, 0]}, "not finite"),
        ({"srow_x": [0, 0, 0, 0]}, "do not span"),
        ({"sform_code": 0, "quatern_b": 3.0}, "no rotation"),
        ({"dim": [3, 0, 3, 3, 1, 1, 1, 1]}, "empty"),
        ({"datatype": 128, "bitpix": 24}, "not numbers"),
        ({"scl_slope": 2.0, "scl_inter": np.inf}, "rescale intercept"),
    ],
)
def test_an_unusable_volume_is_refused_with_file_and_cure(tmp_path: Path, fields: dict, complaint: str) -> None:
    path = nifti(tmp_path / "bad.nii.gz", np.zeros((3, 3, 3), np.int16), **fields)
    with pytest.raises(VolumeError, match=complaint) as caught:
        read_nifti(path)
    assert "bad.nii.gz" in str(caught.value)
    assert "Cure:" in str(caught.value)


@pytest.mark.parametrize("keep", [0, 2, 15, 200, 10_000, -9, -1])
def test_a_truncated_gzip_is_named_at_every_cut(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(L3.read_bytes()[:keep])
    with pytest.raises(ReadError) as caught:
        read_nifti(path)
    assert caught.value.file == str(path)


def test_damaged_files_never_end_in_a_traceback(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    plain = bytearray(gzip.decompress(L3_MASK.read_bytes())[:60_000])
    path = tmp_path / "noise.nii"
    for _ in range(150):
        content = bytearray(plain)
        for place in rng.integers(0, 352, rng.integers(1, 6)):
            content[place] = rng.integers(256)
        path.write_bytes(content)
        with pytest.raises(SpineMedError):
            read_mask(path)  # cut short on purpose: whatever the header says, it must be refused


def test_a_header_that_promises_more_than_the_file_can_hold_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = nifti(tmp_path / "bomb.nii.gz", np.zeros((3, 3, 3), np.int16), dim=[3, 30000, 30000, 30000, 1, 1, 1, 1])
    with pytest.raises(ReadError, match="more than"):
        read_nifti(path)


def test_what_is_no_nifti_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "note.nii").write_text("see attached")
    with pytest.raises(ReadError, match="not a NIfTI file"):
        read_nifti(tmp_path / "note.nii")
    with pytest.raises(ReadError, match="No such file"):
        read_nifti(tmp_path / "absent.nii.gz")


# --- masks ---------------------------------------------------------------------------------------------------------


def test_a_float_mask_becomes_integers(tmp_path: Path) -> None:
    stored = np.zeros((3, 3, 3), np.float64)
    stored[1, 1, 1] = 28
    mask = read_mask(nifti(tmp_path / "m.nii.gz", stored))
    assert mask.data.dtype == np.uint8
    assert mask.unit == "label"
    assert mask.data[1, 1, 1] == 28
    assert read_mask(PAM50_DISCS).data.dtype == np.uint8  # stored as float32


@pytest.mark.parametrize(
    ("value", "complaint"),
    [(2.5, "not integers, e.g. 2.5"), (np.nan, "not integers"), (-1024.0, "negative, e.g. -1024")],
)
def test_a_mask_that_holds_no_labels_is_refused(tmp_path: Path, value: float, complaint: str) -> None:
    stored = np.zeros((3, 3, 3), np.float32)
    stored[0, 2, 1] = value
    with pytest.raises(VolumeError, match=f"1 of 27 mask values are {complaint}"):
        read_mask(nifti(tmp_path / "prob.nii.gz", stored))


def test_a_real_image_is_no_mask() -> None:
    with pytest.raises(VolumeError, match="negative"):
        read_mask(CT)


# --- grids ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "mask"), [(CT, CT_MASK), (L3, L3_MASK), (PAM50, PAM50_DISCS)], ids=["ct", "l3", "pam50"]
)
def test_the_real_masks_lie_on_their_images(image: Path, mask: Path) -> None:
    require_same_grid(read_nifti(image), read_mask(mask))


def test_a_mask_of_another_image_is_refused_and_both_are_named() -> None:
    with pytest.raises(VolumeError) as caught:
        require_same_grid(read_nifti(CT), read_mask(L3_MASK))
    message = str(caught.value)
    for part in (str(CT), str(L3_MASK), "shape 73x47x73 against 122x101x112", "Cure:"):
        assert part in message


def test_each_kind_of_difference_is_told_apart() -> None:
    base = Volume(np.zeros((5, 5, 5), np.uint8), np.diag([1.0, 1.0, 2.0, 1.0]), "label")

    def with_affine(change: np.ndarray) -> Volume:
        return replace(base, affine=change)

    shifted = base.affine.copy()
    shifted[2, 3] = 2.0
    flipped = base.affine @ np.diag([-1.0, 1, 1, 1])
    thicker = np.diag([1.0, 1.0, 2.5, 1.0])
    cos, sin = np.cos(0.1), np.sin(0.1)
    rotated = np.array([[cos, -sin, 0, 0], [sin, cos, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) @ base.affine
    rounded = base.affine + 1e-4
    rounded[3] = (0, 0, 0, 1)
    assert grid_difference(base, with_affine(shifted)) == "origin shifted by 2 mm"
    assert grid_difference(base, with_affine(flipped)) == "orientation RAS against LAS"
    assert grid_difference(base, with_affine(thicker)) == "voxels 1x1x2 mm against 1x1x2.5 mm"
    assert "axes rotated" in (grid_difference(base, with_affine(rotated)) or "")
    assert same_grid(base, with_affine(rounded))


def test_a_mask_moved_onto_the_image_by_resampling_is_on_its_grid() -> None:
    image, mask = read_nifti(L3, unit="HU"), read_mask(L3_MASK)
    elsewhere = reorient_volume(mask, "RAS")
    assert not same_grid(image, elsewhere)
    back = resample_like(elsewhere, image, fill=0)
    require_same_grid(image, back)
    assert np.array_equal(back.data, mask.data)


# --- round trips on real volumes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [*IMAGES, CT_MASK], ids=lambda p: p.name)
@pytest.mark.parametrize("codes", ["PIR", "LPS", "ASL"])
def test_reorientation_there_and_back_gives_the_same_bytes_and_moves_no_point(path: Path, codes: str) -> None:
    volume = read_nifti(path)
    turned = reorient_volume(volume, codes)
    back = reorient_volume(turned, volume.codes)
    assert turned.codes == codes
    assert back.data.tobytes() == volume.data.tobytes()
    np.testing.assert_allclose(back.affine, volume.affine, atol=1e-9)
    # The brightest voxel is the same place in the body.
    here = np.argwhere(volume.data == volume.data.max())
    there = np.argwhere(turned.data == turned.data.max())
    world = [voxel_to_world(VoxelPoints(p), a).values for p, a in ((here, volume.affine), (there, turned.affine))]
    np.testing.assert_allclose(np.sort(world[0], axis=0), np.sort(world[1], axis=0), atol=1e-6)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
@pytest.mark.parametrize("path", [CT, L3, PAM50], ids=lambda p: p.name)
def test_written_and_read_again_is_the_same_volume(tmp_path: Path, path: Path, name: str) -> None:
    volume = reorient_volume(read_nifti(path, unit="HU"), "PIR")
    write_nifti(volume, tmp_path / name)
    again = read_nifti(tmp_path / name, unit="HU")
    assert again.data.dtype == volume.data.dtype
    assert np.array_equal(again.data, volume.data)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)
    assert again.flags == ()
    assert np.array_equal(np.asanyarray(nib.load(tmp_path / name).dataobj), volume.data)
    first = (tmp_path / name).read_bytes()
    write_nifti(volume, tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


def test_an_oblique_and_a_sheared_affine_survive_writing(tmp_path: Path) -> None:
    turned = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.1, 0.3) * [1.0, 2.0, 3.0], [5, 6, 7])
    sheared = turned.copy()
    sheared[:3, 2] += 0.4 * turned[:3, 1]
    for affine, code in ((turned, 1), (sheared, 0)):
        write_nifti(Volume(np.zeros((3, 4, 5), np.int16), affine), tmp_path / "x.nii.gz")
        again = read_nifti(tmp_path / "x.nii.gz")
        np.testing.assert_allclose(again.affine, affine, atol=1e-5)
        assert again.flags == ()
        assert nib.load(tmp_path / "x.nii.gz").header["qform_code"] == code


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    volume = Volume(np.full((2, 2, 2), 2**40), np.eye(4), "label")
    with pytest.raises(VolumeError, match="64 bits"):
        write_nifti(volume, tmp_path / "x.nii.gz")
    with pytest.raises(VolumeError, match="not a NIfTI file name"):
        write_nifti(volume, tmp_path / "x.mha")
    assert list(tmp_path.iterdir()) == []


# --- windows -------------------------------------------------------------------------------------------------------


def test_a_window_maps_its_ends_to_black_and_white() -> None:
    values = np.array([-10_000, -500, 400, 1300, 5000, np.nan, np.inf])
    assert to_uint8(values, WINDOWS["bone"]).tolist() == [0, 0, 128, 255, 255, 0, 0]
    assert to_uint8(np.arange(256), Window(127.5, 255)).tolist() == list(range(256))


@pytest.mark.parametrize(("level", "width"), [(0, 0), (0, -1), (np.nan, 10), (0, np.inf)])
def test_an_impossible_window_is_refused(level: float, width: float) -> None:
    with pytest.raises(VolumeError, match="window"):
        Window(level, width)


def test_the_percentile_window_ignores_outliers_and_voxels_without_value() -> None:
    values = np.concatenate([np.linspace(0, 100, 10_001), [1e6, np.nan, np.inf]])
    window = percentile_window(values, 1, 99)
    assert window.level == pytest.approx(50, abs=0.1)
    assert window.width == pytest.approx(98, abs=0.1)
    assert percentile_window(np.full(5, 3)) == Window(3, 1)
    with pytest.raises(VolumeError, match="no finite value"):
        percentile_window(np.full(3, np.nan))
    with pytest.raises(VolumeError, match="not in order"):
        percentile_window(values, 99, 1)


# --- slices --------------------------------------------------------------------------------------------------------


def landmark(codes: str) -> Volume:
    """A body with one bright voxel that lies right, anterior and superior of the middle, stored in any orientation."""
    data = np.zeros((9, 11, 13), np.int16)
    data[6, 9, 10] = 1000
    return reorient_volume(Volume(data, np.diag([1.0, 1.0, 1.0, 1.0]), "HU"), codes)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "ILA"])
@pytest.mark.parametrize(
    ("plane", "position", "shape", "pixel"),
    [
        ("sagittal", 6.0, (13, 11), (2, 1)),  # head up, anterior left
        ("coronal", 9.0, (13, 9), (2, 2)),  # head up, the patient's right on the left
        ("axial", 10.0, (11, 9), (1, 2)),  # anterior up, the patient's right on the left
    ],
)
def test_a_slice_is_hung_radiologically_whatever_the_storage(codes, plane, position, shape, pixel) -> None:
    picture = slice_image(landmark(codes), plane, position_mm=position)
    assert picture.pixels.shape == shape
    assert picture.pixels.dtype == np.uint8
    assert np.argwhere(picture.pixels == picture.pixels.max()).tolist() == [list(pixel)]
    assert picture.position_mm == position
    np.testing.assert_allclose(picture.to_world([pixel]).values, [[6, 9, 10]], atol=1e-9)
    np.testing.assert_allclose(picture.to_pixels(WorldPoints(np.array([6.0, 9, 10]))), [[*pixel, 0]], atol=1e-9)


def test_the_real_ct_shows_its_vertebrae_in_order_head_up_and_the_arch_behind() -> None:
    ct, mask = read_nifti(CT, unit="HU"), read_mask(CT_MASK)
    position = midsagittal_position_mm(mask, L5_TO_T12)
    picture, labels = (slice_image(v, "sagittal", position_mm=position) for v in (ct, mask))
    assert picture.pixels.shape == labels.pixels.shape
    assert np.array_equal(picture.affine, labels.affine)
    rows = [np.argwhere(labels.pixels == label)[:, 0].mean() for label in L5_TO_T12]
    assert rows == sorted(rows, reverse=True)  # L5 lowest, T12 highest
    inside = picture.pixels[np.isin(labels.pixels, L5_TO_T12)].mean()
    assert inside > picture.pixels[labels.pixels == 0].mean() + 20  # bone is brighter than what surrounds it
    # The sacrum (25) bends backwards: its columns lie to the right of those of L5.
    assert np.argwhere(labels.pixels == 25)[:, 1].mean() > np.argwhere(labels.pixels == 27)[:, 1].mean()
    assert abs(picture.position_mm - position) <= 1.5


def test_the_real_mr_shows_body_canal_and_spinous_process_from_front_to_back() -> None:
    regions = read_mask(SAMPLES / "mr/tptbox_crop/sub-mri_seg-subreg_label-6_msk.nii.gz")
    labels = slice_image(regions, position_mm=midsagittal_position_mm(regions, [49]))
    columns = [np.argwhere(labels.pixels == label)[:, 1].mean() for label in (49, 61, 42)]
    assert columns == sorted(columns)


def test_pixels_are_square_where_voxels_are_not() -> None:
    template = read_nifti(PAM50)
    discs = read_mask(PAM50_DISCS)
    assert template.spacing_mm == pytest.approx((1, 1, 2))
    picture = slice_image(template, "sagittal")
    assert picture.pixels.shape == (550, 70)
    assert picture.pixel_mm == pytest.approx(1.0)
    places = label_centroids_mm(discs.data, discs.affine)
    seen = [picture.to_pixels(WorldPoints(places[label]))[0] for label in sorted(places)]
    rows = [row for row, _, _ in seen]
    assert rows == sorted(rows)  # discs are numbered from the head down
    assert all(0 <= row < 550 and 0 <= column < 70 for row, column, _ in seen)


def test_linear_grey_values_stay_linear_when_pixels_are_made_square() -> None:
    shape, affine = (5, 20, 12), np.diag([4.0, 0.8, 2.4, 1.0])
    i, j, k = np.indices(shape)
    world = 4.0 * i * 0.1 + 0.8 * j * 1.0 + 2.4 * k * 2.0
    picture = slice_image(Volume(world, affine), "sagittal", index=2, window=Window(50, 200))
    assert picture.pixels.shape == (36, 20)
    r, c = np.meshgrid(np.arange(2, 34), np.arange(20), indexing="ij")
    places = picture.to_world(np.column_stack([r.ravel(), c.ravel()])).values
    expected = to_uint8(places @ [0.1, 1.0, 2.0], Window(50, 200))
    np.testing.assert_allclose(picture.pixels[2:34].ravel().astype(int), expected.astype(int), atol=1)


def test_pixel_and_world_agree_on_an_oblique_volume() -> None:
    turned = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.2, -0.1, 0.3) * [3.0, 0.9, 1.7], [5, 6, 7])
    data = np.zeros((9, 30, 40), np.uint8)
    data[4, 10:14, 20:23] = 5
    volume = Volume(data, turned, "label")
    centre = label_centroids_mm(volume.data, volume.affine)[5]
    picture = slice_image(volume, "sagittal", index=4, pixel_mm=0.1)
    assert set(np.unique(picture.pixels)) == {0, 5}
    place = picture.to_world(np.argwhere(picture.pixels == 5).mean(axis=0)).values[0]
    np.testing.assert_allclose(place, centre, atol=0.06)
    assert abs(picture.to_pixels(WorldPoints(centre))[0, 2]) < 1e-9  # it lies in the layer
    index = world_to_voxel(WorldPoints(place), turned).values[0]
    assert index[0] == pytest.approx(4, abs=1e-6)


def test_a_sheared_volume_is_drawn_without_shear() -> None:
    affine = np.diag([2.0, 1.0, 1.0, 1.0])
    affine[1, 2] = 0.5  # each layer upwards is shifted to the front
    data = np.zeros((3, 20, 20), np.uint8)
    data[1, 10, :] = 1  # a line that leans forward in the body
    picture = slice_image(Volume(data, affine, "label"), "sagittal", index=1)
    where = np.argwhere(picture.pixels == 1)
    slope = np.polyfit(where[:, 0], where[:, 1], 1)[0]
    assert slope == pytest.approx(0.5, abs=0.05)  # further down, further back (right)
    np.testing.assert_allclose(np.abs(np.linalg.det(picture.affine[:3, :3])), 1, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"plane": "oblique"}, "unknown plane"),
        ({"index": 9}, "no layer 9, the volume has 9"),
        ({"index": -1}, "no layer -1"),
        ({"position_mm": 8.6}, "outside the volume"),
        ({"position_mm": float("nan")}, "outside the volume"),
        ({"index": 1, "position_mm": 1.0}, "both"),
        ({"pixel_mm": 0.0}, "not positive"),
        ({"pixel_mm": 1e-4}, "larger pixels"),
    ],
)
def test_an_impossible_slice_is_refused(arguments: dict, complaint: str) -> None:
    with pytest.raises(VolumeError, match=complaint):
        slice_image(landmark("RAS"), **arguments)


def test_labels_take_no_window_and_make_no_picture() -> None:
    mask = read_mask(L3_MASK)
    with pytest.raises(VolumeError, match="window for labels"):
        slice_image(mask, window=WINDOWS["bone"])
    with pytest.raises(VolumeError, match="no picture"):
        slice_image(mask).png()


def test_a_slice_becomes_a_png_with_the_same_pixels() -> None:
    from PIL import Image

    picture = slice_image(read_nifti(L3, unit="HU"))
    assert picture.window == WINDOWS["bone"]
    content = picture.png()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), picture.pixels)
    assert content == slice_image(read_nifti(L3, unit="HU")).png()


def test_the_midsagittal_position_needs_a_label_that_occurs() -> None:
    with pytest.raises(VolumeError, match="none of the labels"):
        midsagittal_position_mm(read_mask(L3_MASK), [5])


@pytest.mark.parametrize(
    ("data", "unit", "complaint"),
    [
        (np.zeros((2, 2)), "a.u.", "2 dimensions"),
        (np.zeros((2, 0, 2)), "a.u.", "empty"),
        (np.zeros((2, 2, 2), complex), "a.u.", "not numbers"),
        (np.zeros((2, 2, 2)), "label", "holds integers"),
        (np.zeros((2, 2, 2)), "mGy", "unknown unit"),
    ],
)
def test_a_volume_that_breaks_its_contract_cannot_be_made(data: np.ndarray, unit: str, complaint: str) -> None:
    with pytest.raises(VolumeError, match=complaint):
        Volume(data, np.eye(4), unit)  # type: ignore[arg-type]
