"""VerSe folders, masks and centroids as users have them: both releases, other tools, and damaged files."""

from __future__ import annotations

import gzip
import json
import math
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from spinemed.anatomy import Level
from spinemed.errors import LevelError, ReadError, SpineMedError, VolumeError
from spinemed.geometry import label_centroids_mm
from spinemed.labelling import (
    CentroidSet,
    LabelMask,
    labels_at_border,
    read_case_centroids,
    read_centroids,
    read_label_mask,
    read_verse_folder,
    write_centroids,
)
from spinemed.labelling.masks import read_nnunet_labels
from spinemed.volume import Volume, read_mask, reorient_volume, resample_like, write_nifti


def oblique(spacing: tuple[float, float, float] = (0.5, 1.5, 2.0)) -> np.ndarray:
    """A grid turned by some degrees about two axes, head first along the third axis."""
    a, b = np.radians(6.0), np.radians(-4.0)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(spacing)
    affine[:3, 3] = (-20.0, 30.0, 400.0)
    return affine


def blocks(labels: tuple[int, ...] = (20, 21, 22), affine: np.ndarray | None = None) -> LabelMask:
    """Boxes of 8 x 8 x 8 voxels, one below the other."""
    data = np.zeros((24, 20, 14 * len(labels) + 4), np.uint8, order="F")
    for at, label in enumerate(reversed(labels)):
        data[8:16, 6:14, 3 + 14 * at : 11 + 14 * at] = label
    return LabelMask(data, oblique() if affine is None else affine)


def store(mask: LabelMask, path: Path, kind: type = np.uint8) -> Path:
    image = nib.Nifti1Image(mask.data.astype(kind), mask.affine)
    image.set_sform(mask.affine, code=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def whole(mask: LabelMask) -> CentroidSet:
    found = label_centroids_mm(mask.data, mask.affine)
    return CentroidSet.of({level: found[level.verse_label] for level in mask.levels})


def subject(root: Path, name: str, mask: LabelMask, *, centroids: bool = True) -> None:
    patient = name.split("_")[0]
    write_nifti(
        Volume(np.zeros(mask.shape, np.int16), mask.affine, "HU"), root / "rawdata" / patient / f"{name}_ct.nii.gz"
    )
    (root / "rawdata" / patient / f"{name}_ct.json").write_text("{}")
    store(mask, root / "derivatives" / patient / f"{name}_seg-vert_msk.nii.gz")
    if centroids:
        write_centroids(root / "derivatives" / patient / f"{name}_seg-subreg_ctd.json", whole(mask), mask)


# --- folders ---------------------------------------------------------------------------------------------------------


def test_the_subject_based_release_with_two_series_of_one_patient(tmp_path: Path) -> None:
    mask = blocks()
    for name in ("sub-verse400_split-verse090", "sub-verse400_split-verse155", "sub-gl003_dir-ax", "sub-verse010"):
        subject(tmp_path / "dataset-verse19training", name, mask, centroids=name != "sub-verse010")
    cases = read_verse_folder(tmp_path)
    assert [(case.name, case.patient, case.release) for case in cases] == [
        ("sub-gl003_dir-ax", "sub-gl003", "subject"),
        ("sub-verse010", "sub-verse010", "subject"),
        ("sub-verse400_split-verse090", "sub-verse400", "subject"),
        ("sub-verse400_split-verse155", "sub-verse400", "subject"),
    ]
    assert [case.flags for case in cases] == [(), ("no centroid file",), (), ()]
    assert all(case.image is not None and case.mask is not None for case in cases)


def test_the_miccai_release_of_both_years(tmp_path: Path) -> None:
    for name in (
        "verse014.nii.gz", "verse014_seg.nii.gz", "verse014_ctd.json", "verse014_snapshot.png",
        "GL003/GL003_CT_ax.nii.gz", "GL003/GL003_CT_ax_seg.nii.gz", "GL003/GL003_CT_ax-iso-ctd.json",
        "GL124/GL124_CT-ax.nii.gz", "GL124/GL124_CT-ax_seg.nii.gz", "GL124/GL124_CT_ax_iso-ctd.json",
        "verse400_verse090_CT-iso.nii.gz", "verse400_verse090_CT-iso_seg.nii.gz",
        "verse400_verse155_CT-iso.nii.gz", "verse400_verse155_CT-iso_seg.nii.gz",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    cases = read_verse_folder(tmp_path)
    assert {case.release for case in cases} == {"miccai"}
    assert {case.name: case.patient for case in cases} == {
        "verse014": "verse014",
        "GL003_CT_ax": "GL003",
        "GL124_CT-ax": "GL124",
        "verse400_verse090_CT-iso": "verse400",
        "verse400_verse155_CT-iso": "verse400",
    }
    (tmp_path / "GL124/GL124_CT-ax.nii.gz").unlink()
    assert "GL124_CT-ax" in {case.name for case in read_verse_folder(tmp_path)}  # the mask decides, then the centroids
    assert [case.name for case in cases if case.centroids is None] == [
        "verse400_verse090_CT-iso",
        "verse400_verse155_CT-iso",
    ]


def test_a_flat_folder_and_an_nnunet_data_set(tmp_path: Path) -> None:
    for name in ("flat/a.nii.gz", "flat/b.nii.gz", "flat/dataset.json", "flat/plans.json", "flat/b.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    cases = read_verse_folder(tmp_path / "flat")
    assert [(case.name, case.mask is not None, case.centroids is not None) for case in cases] == [
        ("a", True, False),
        ("b", True, True),
    ]
    for name in ("nn/imagesTr/x_0000.nii.gz", "nn/labelsTr/x.nii.gz", "nn/dataset.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (case,) = read_verse_folder(tmp_path / "nn")
    assert (case.name, case.release) == ("x", "flat")
    assert case.image == tmp_path / "nn/imagesTr/x_0000.nii.gz"
    assert case.mask == tmp_path / "nn/labelsTr/x.nii.gz"


def test_names_without_an_id_of_a_patient_are_patients_of_their_own(tmp_path: Path) -> None:
    for name in ("case_001.nii.gz", "case_002.nii.gz", "GL018-GL016.nii.gz", "GL018-GL017.nii.gz"):
        (tmp_path / name).touch()
    assert [case.patient for case in read_verse_folder(tmp_path)] == ["GL018", "GL018", "case_001", "case_002"]


def test_mixed_releases_doubles_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such folder"):
        read_verse_folder(tmp_path / "none")
    with pytest.raises(ReadError, match="holds no scan"):
        read_verse_folder(tmp_path)
    (tmp_path / "sub-verse010_ct.nii.gz").touch()
    (tmp_path / "verse010_seg.nii.gz").touch()
    with pytest.raises(ReadError, match="mixes the subject-based release"):
        read_verse_folder(tmp_path)
    (tmp_path / "verse010_seg.nii.gz").unlink()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "sub-verse010_ct.nii.gz").touch()
    with pytest.raises(ReadError, match="a second image of the case sub-verse010"):
        read_verse_folder(tmp_path)


def test_a_missing_centroid_file_is_named_and_derived_on_request_only(tmp_path: Path) -> None:
    mask = blocks()
    subject(tmp_path, "sub-verse010", mask, centroids=False)
    (case,) = read_verse_folder(tmp_path)
    with pytest.raises(ReadError, match="sub-verse010 has no centroid file"):
        read_case_centroids(case, mask=mask)
    derived = read_case_centroids(case, mask=mask, derive=True)
    assert derived.source == "mask_body"
    assert "no centroid file: derived from the mask" in derived.flags[0]
    # A box is its own body.
    np.testing.assert_allclose(derived.points.values, whole(mask).points.values, atol=0.6)


# --- centroids -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["RAS", "PIR", "LPS", "ASL", "SRA"])
def test_voxel_centroids_in_any_direction_and_on_an_oblique_grid(tmp_path: Path, direction: str) -> None:
    """Truth: the centre of mass of each box, measured on the mask after it was turned to that direction."""
    mask = blocks()
    turned = reorient_volume(mask.volume, direction)
    rows: list[dict[str, object]] = [{"direction": list(direction)}]
    for label in (22, 20, 21):
        x, y, z = (float(axis.mean()) for axis in np.nonzero(turned.data == label))
        rows.append({"label": label, "X": x, "Y": y, "Z": z})
    path = tmp_path / "sub-a_seg-subreg_ctd.json"
    path.write_text(json.dumps(rows))
    found = read_centroids(path, image_or_mask=mask)
    assert found.levels == (Level.L1, Level.L2, Level.L3)
    assert found.direction == direction
    np.testing.assert_allclose(found.points.values, whole(mask).points.values, atol=1e-9)
    again = tmp_path / "again_seg-subreg_ctd.json"
    write_centroids(again, found, mask, direction=direction)
    back = read_centroids(again, image_or_mask=turned)
    np.testing.assert_allclose(back.points.values, found.points.values, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "axes"), [("x_iso-ctd.json", "PIR"), ("x-iso-ctd.json", "PIR"), ("verse014_ctd.json", "IPL")]
)
def test_miccai_centroids_are_millimetres_on_a_turned_grid(tmp_path: Path, name: str, axes: str) -> None:
    """Truth: the mask is turned to the axes that the data pages state, and its voxel sizes give the millimetres."""
    mask = blocks()
    turned = reorient_volume(mask.volume, axes)
    rows = []
    for label in (20, 21, 22):
        mm = [float(axis.mean()) * size for axis, size in zip(np.nonzero(turned.data == label), turned.spacing_mm)]
        rows.append({"label": label, **dict(zip("XYZ", mm, strict=True))})
    (tmp_path / name).write_text(json.dumps(rows))
    found = read_centroids(tmp_path / name, image_or_mask=mask)
    np.testing.assert_allclose(found.points.values, whole(mask).points.values, atol=1e-9)


def test_nan_entries_are_skipped_and_counted_and_the_sacrum_is_not_scored(tmp_path: Path) -> None:
    path = tmp_path / "a_seg-subreg_ctd.json"
    path.write_text(
        '[{"direction": ["R", "A", "S"]}, {"label": 20, "X": 11.5, "Y": 9.5, "Z": 34.0},'
        ' {"label": 21, "X": NaN, "Y": NaN, "Z": NaN}, {"label": 22, "X": null, "Y": null, "Z": null},'
        ' {"label": 26, "X": 1, "Y": 2, "Z": 3}, {"label": 28.0, "X": 11.5, "Y": 9.5, "Z": 20.0}]'
    )
    found = read_centroids(path, image_or_mask=blocks())
    assert found.levels == (Level.T13, Level.L1)
    assert found.missing == (Level.L2, Level.L3)
    assert found.others == (26,)
    assert "2 entries without coordinates" in found.flags[0]
    with pytest.raises(KeyError):
        found[Level.L2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "is not JSON"),
        ('{"label": 20}', "no list of centroids"),
        ('[{"direction": ["P", "I", "S"]}]', "is no orientation"),
        ('[{"direction": 5}]', "the direction is 5"),
        ('[{"label": 20, "X": 1, "Y": 1, "Z": 1}]', "neither the name nor a direction"),
        ('[{"direction": ["R","A","S"]}, {"label": 0, "X": 1, "Y": 1, "Z": 1}]', "label 0, which is no VerSe label"),
        ('[{"direction": ["R","A","S"]}, {"label": 29, "X": 1, "Y": 1, "Z": 1}]', "label 29, which is no VerSe label"),
        ('[{"direction": ["R","A","S"]}, {"label": 2.5, "X": 1, "Y": 1, "Z": 1}]', "label 2.5, which is no"),
        ('[{"direction": ["R","A","S"]}, {"label": "L1", "X": 1, "Y": 1, "Z": 1}]', "label 'L1', which is no"),
        ('[{"direction": ["R","A","S"]}, {"label": 20, "X": 1, "Y": 1}]', "entry 2 has Z = None"),
        ('[{"direction": ["R","A","S"]}, {"label": 20, "X": "1", "Y": 1, "Z": 1}]', "entry 2 has X = '1'"),
        ('[{"direction": ["R","A","S"]}, {"label": 20, "X": 1, "Y": 1, "Z": Infinity}]', "entry 2 has Z = inf"),
        (
            '[{"direction": ["R","A","S"]}, {"label": 20, "X": 1, "Y": 1, "Z": 1},'
            ' {"label": 20, "X": 2, "Y": 1, "Z": 1}]',
            "label 20 occurs 2 times",
        ),
        ('[{"direction": ["R","A","S"]}, {"label": 20, "X": 400, "Y": 1, "Z": 1}]', "outside the volume"),
    ],
)
def test_damaged_centroid_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "sub-a_seg-subreg_ctd.json"
    path.write_text(content)
    with pytest.raises(SpineMedError, match=message) as caught:
        read_centroids(path, image_or_mask=blocks())
    assert caught.value.file == str(path)
    assert caught.value.cure


def test_a_kind_that_cannot_be_told_is_refused_and_may_be_stated(tmp_path: Path) -> None:
    path = tmp_path / "x_iso-ctd.json"
    path.write_text('[{"direction": ["R","A","S"]}, {"label": 20, "X": 11.5, "Y": 9.5, "Z": 34}]')
    with pytest.raises(ReadError, match="1 mm coordinates but the file states a direction"):
        read_centroids(path, image_or_mask=blocks())
    assert len(read_centroids(path, image_or_mask=blocks(), kind="subject")) == 1
    with pytest.raises(VolumeError, match="none was given"):
        read_centroids(path, kind="subject")
    with pytest.raises(ReadError, match="cannot be read"):
        read_centroids(tmp_path / "none_ctd.json", image_or_mask=blocks())


def test_the_other_release_s_centroids_are_noticed(tmp_path: Path) -> None:
    """Voxels of 0.3 mm read as millimetres leave the volume: the commonest mistake with these data."""
    affine = np.diag([0.3, 0.3, 1.0, 1.0])
    data = np.zeros((400, 400, 60), np.uint8, order="F")
    data[300:340, 320:360, 20:40] = 20
    mask = LabelMask(data, affine)
    path = tmp_path / "verse_iso-ctd.json"  # voxel indices under the name of the millimetre kind
    path.write_text('[{"label": 20, "X": 339.5, "Y": 29.5, "Z": 319.5}]')
    with pytest.raises(VolumeError, match="more than 10 mm outside the volume when read as 'miccai2020'"):
        read_centroids(path, image_or_mask=mask)


def test_points_of_tptbox_and_spineps(tmp_path: Path) -> None:
    """Truth: the boxes of the mask. Only body centres are taken from the many points of a vertebra."""
    mask = blocks((20, 28))
    turned = reorient_volume(mask.volume, "PIR")
    places = {label: [float(axis.mean()) for axis in np.nonzero(turned.data == label)] for label in (20, 28)}
    header = {"direction": ["P", "I", "R"], "zoom": list(turned.spacing_mm), "shape": list(turned.shape)}
    path = tmp_path / "sub-a_mod-ct_seg-spine_ctd.json"
    nested = {
        "T13": {"Vertebra_Corpus": places[28], "Spinosus_Process": [0, 0, 0]},
        "20": {"50": places[20], "42": [1, 1, 1]},
        "S1": {"Vertebra_Corpus": [1.0, 1.0, 1.0]},
    }
    path.write_text(json.dumps([{**header, "format": "POI"}, nested]))
    found = read_centroids(path, image_or_mask=mask)
    assert (found.levels, found.others) == ((Level.T13, Level.L1), (26,))
    np.testing.assert_allclose(found.points.values, whole(mask).points.values, atol=1e-9)
    docker = [{"label": 50 * 256 + label, **dict(zip("XYZ", place, strict=True))} for label, place in places.items()]
    path.write_text(
        json.dumps([{**header, "format": "docker"}, *docker, {"label": 42 * 256 + 20, "X": 0, "Y": 0, "Z": 0}])
    )
    np.testing.assert_allclose(read_centroids(path, image_or_mask=mask).points.values, found.points.values, atol=1e-9)


@pytest.mark.parametrize(
    ("header", "points", "message"),
    [
        ({"format": "POI_GLOBAL"}, {"L1": {"50": [1, 1, 1]}}, "points in the format 'POI_GLOBAL'"),
        ({"format": "POI"}, {"liver": {"50": [1, 1, 1]}}, "'liver' is no vertebra"),
        ({"format": "POI"}, {"L1": {"50": [1, 1]}}, "the point L1 50 is"),
        ({"format": "POI"}, {"L1": {"42": [1, 1, 1]}}, "none of its 1 points is a body centre"),
        ({"zoom": [9, 9, 9]}, {"L1": {"50": [1, 1, 1]}}, r"its zoom is \[9, 9, 9\], that of the scan"),
        ({"shape": [1, 2, 3]}, {"L1": {"50": [1, 1, 1]}}, "its shape is"),
    ],
)
def test_points_that_cannot_be_placed_are_named(
    tmp_path: Path, header: dict[str, object], points: dict[str, object], message: str
) -> None:
    path = tmp_path / "a_poi.json"
    path.write_text(json.dumps([{"direction": ["R", "A", "S"], **header}, points]))
    with pytest.raises(SpineMedError, match=message) as caught:
        read_centroids(path, image_or_mask=blocks())
    assert caught.value.file == str(path)


# --- masks -----------------------------------------------------------------------------------------------------------


def test_float_masks_are_read_and_stay_in_file_order(tmp_path: Path) -> None:
    for kind in (np.uint8, np.uint16, np.int32, np.float32, np.float64):
        mask = read_label_mask(store(blocks((19, 28, 20)), tmp_path / "m.nii.gz", kind))
        assert mask.data.dtype == np.uint8
        assert mask.data.flags.f_contiguous
        assert mask.levels == (Level.T12, Level.T13, Level.L1)
        assert mask.counts == {19: 512, 20: 512, 28: 512}
        np.testing.assert_array_equal(mask.data, blocks((19, 28, 20)).data)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (-1024, np.int16, "1 of .* mask values are negative, e.g. -1024"),
        (-1024, np.float64, "1 of .* mask values are negative, e.g. -1024"),
        (math.nan, np.float32, "1 of .* mask values are not integers, e.g. nan"),
        (20.5, np.float32, "1 of .* mask values are not integers, e.g. 20.5"),
        (29, np.uint8, r"the label 29 \(1 voxels\) names nothing in the scheme 'verse'"),
        (300, np.int16, r"the label 300 \(1 voxels\) names nothing"),
    ],
)
def test_values_that_are_no_label_are_named(tmp_path: Path, value: float, kind: type, message: str) -> None:
    mask = blocks()
    data = mask.data.astype(kind)
    data[0, 0, 0] = value
    path = tmp_path / "m.nii.gz"
    nib.save(nib.Nifti1Image(data, mask.affine), path)
    with pytest.raises(VolumeError, match=message) as caught:
        read_label_mask(path)
    assert caught.value.file == str(path)


def test_resampling_a_mask_with_the_fill_of_a_ct_is_noticed(tmp_path: Path) -> None:
    """The published tool fills masks with -1024 where the new grid leaves the scan; then empty is no longer empty."""
    mask = blocks()
    wide = np.eye(4)
    wide[:3, 3] = (-60, 0, 380)
    grid = Volume(np.zeros((90, 80, 120), np.uint8), wide, "label")
    signed = Volume(mask.data.astype(np.int16), mask.affine, "label")
    broken = resample_like(signed, grid, fill=-1024)
    nib.save(nib.Nifti1Image(np.asarray(broken.data), broken.affine), tmp_path / "m.nii.gz")
    with pytest.raises(VolumeError, match="negative, e.g. -1024.*resample masks with the nearest voxel and fill 0"):
        read_label_mask(tmp_path / "m.nii.gz")


def test_a_gzip_file_that_was_cut_short(tmp_path: Path) -> None:
    path = store(blocks(), tmp_path / "m.nii.gz")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ReadError, match="truncated or damaged gzip"):
        read_label_mask(path)
    path.write_bytes(gzip.compress(gzip.decompress(content)[:2000]))
    with pytest.raises(ReadError, match="truncated"):
        read_label_mask(path)


def test_totalsegmentator_in_one_file(samples: Path) -> None:
    mask = read_label_mask(
        samples / "ct/totalsegmentator_lumbar/example_seg_fast_force_split.nii.gz", scheme="totalsegmentator"
    )
    assert mask.levels == (Level.T11, Level.T12, Level.L1, Level.L2, Level.L3, Level.L4, Level.L5)
    assert mask.counts[20] == 2220  # its label 31
    assert mask.counts[26] == 5884 + 1796  # sacrum and S1
    assert mask.ignored[20] == 59968  # an organ, not L1
    stored = read_mask(mask.source).data
    assert sum(mask.ignored.values()) + sum(mask.counts.values()) == np.count_nonzero(stored)  # nothing is lost
    assert labels_at_border(mask) == {18: "S", 19: "S"}
    with pytest.raises(VolumeError, match="names nothing in the scheme 'verse'"):
        read_label_mask(samples / "ct/totalsegmentator_lumbar/example_seg_fast_force_split.nii.gz")


def test_totalsegmentator_as_a_folder_of_structures(tmp_path: Path) -> None:
    mask = blocks((19, 20, 26))
    for label, name in ((19, "vertebrae_T12"), (20, "vertebrae_L1"), (26, "sacrum")):
        binary = LabelMask((mask.data == label).astype(np.uint8), mask.affine)
        store(binary, tmp_path / "ts" / f"{name}.nii.gz")
    store(LabelMask(np.zeros(mask.shape, np.uint8), mask.affine), tmp_path / "ts" / "liver.nii.gz")
    joined = read_label_mask(tmp_path / "ts")
    np.testing.assert_array_equal(joined.data, mask.data)
    assert joined.flags == ("1 masks of other structures in the folder were not read",)
    shutil.copy(tmp_path / "ts" / "vertebrae_L1.nii.gz", tmp_path / "ts" / "vertebrae_L2.nii.gz")
    with pytest.raises(VolumeError, match="512 voxels also belong to label 20"):
        read_label_mask(tmp_path / "ts")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="holds no mask of a vertebra"):
        read_label_mask(tmp_path / "empty")


def test_spineps_masks_leave_discs_and_end_plates_out(samples: Path) -> None:
    mask = read_label_mask(samples / "mr/tptbox_crop/sub-mri_seg-vert_label-6_msk.nii.gz", scheme="spineps")
    assert set(mask.counts) == {5, 6, 7}
    assert set(mask.ignored) >= {105, 106, 205, 206}
    assert set(np.unique(mask.data)) == {0, 5, 6, 7}


def test_ribs_and_a_sixth_sacral_piece_of_tptbox(tmp_path: Path) -> None:
    numbers = np.zeros(256, np.uint8)
    numbers[[24, 1, 2, 3]] = (24, 33, 40, 33)
    path = tmp_path / "m.nii.gz"
    nib.save(nib.Nifti1Image(numbers[blocks((24, 1, 2, 3)).data], oblique()), path)
    mask = read_label_mask(path, scheme="tptbox")
    assert (mask.counts, mask.ignored) == ({24: 512, 26: 1024}, {40: 512})


def test_other_numberings_of_totalsegmentator(tmp_path: Path) -> None:
    third = store(LabelMask(blocks((1,)).data * 26, oblique()), tmp_path / "v3.nii.gz")
    assert read_label_mask(third, scheme="totalsegmentator_v3").levels == (Level.L6,)
    assert read_label_mask(third, scheme="totalsegmentator").levels == ()
    assert read_label_mask(third, scheme="tptbox").has_sacrum
    plus = store(blocks((1, 24)), tmp_path / "pp.nii.gz")
    assert read_label_mask(plus, scheme="vertebrae_pp").levels == (Level.C1, Level.L5)
    with pytest.raises(VolumeError, match="the label 26"):
        read_label_mask(third, scheme="vertebrae_pp")
    with pytest.raises(VolumeError, match="unknown label scheme 'nonsense'"):
        read_label_mask(third, scheme="nonsense")


def test_nnunet_labels_by_name(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": {"background": 0, "L1": 1, "vertebrae_T12": 2, "T13": 3, "sacrum": 4}}))
    table = read_nnunet_labels(path)
    assert table.to_level(3) is Level.T13
    mask = read_label_mask(store(blocks((2, 3, 1, 4)), tmp_path / "m.nii.gz"), scheme=table)
    assert mask.counts == {19: 512, 20: 512, 26: 512, 28: 512}
    path.write_text(json.dumps({"labels": {"0": "background", "1": "L1"}}))  # nnU-Net v1
    assert read_nnunet_labels(path).to_level(1) is Level.L1
    path.write_text(json.dumps({"labels": {"liver": 1}}))
    with pytest.raises(LevelError, match="'liver' is no vertebra"):
        read_nnunet_labels(path)
    path.write_text("{}")
    with pytest.raises(ReadError, match="names no labels"):
        read_nnunet_labels(path)
