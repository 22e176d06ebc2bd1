"""Predictions of other tools find their case by name, and only by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from spinemed.errors import ReadError
from spinemed.labelling import VerseCase, match_predictions, prediction_scheme
from spinemed.labelling.predictions import match_key

CASES = tuple(
    VerseCase(name, name, None, Path(f"{name}_seg-vert_msk.nii.gz"), None, "subject")
    for name in ("sub-gl003_dir-ax", "sub-verse010", "sub-verse400_split-verse090")
)


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("sub-verse010.nii.gz", "sub-verse010.nii.gz"),
        ("verse010.nii.gz", "verse010.nii.gz"),
        ("deep/er/sub-verse010_seg.nii.gz", "deep/er/sub-verse010_seg.nii.gz"),
        ("sub-verse010_ct.nii.gz", "sub-verse010_ct.nii.gz"),
        ("sub-verse010_0000.nii.gz", "sub-verse010_0000.nii.gz"),
        ("sub-verse010_mod-ct_seg-vert_msk.nii.gz", "sub-verse010_mod-ct_seg-vert_msk.nii.gz"),
        ("sub-verse010/vertebrae_L1.nii.gz", "sub-verse010"),
        ("sub-verse010/segmentations/vertebrae_L1.nii.gz", "sub-verse010/segmentations"),
        ("sub-verse010/segmentation.nii.gz", "sub-verse010/segmentation.nii.gz"),
        ("SUB-VERSE010.nii", "SUB-VERSE010.nii"),
    ],
)
def test_names_that_belong_to_a_case(tmp_path: Path, name: str, mask: str) -> None:
    found = match_predictions(touch(tmp_path, name), CASES)
    assert [(one.case, one.mask) for one in found.found] == [("sub-verse010", tmp_path / mask)]
    assert found.missing == ("sub-gl003_dir-ax", "sub-verse400_split-verse090")
    assert found.surplus == ()


def test_spineps_writes_more_than_vertebrae(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "derivatives_seg/sub-verse010_mod-ct_seg-vert_msk.nii.gz",
        "derivatives_seg/sub-verse010_mod-ct_seg-spine_msk.nii.gz",
        "derivatives_seg/sub-verse010_mod-ct_seg-subreg_msk.nii.gz",
        "derivatives_seg/sub-verse010_mod-ct_snp.png",
        "derivatives_seg/sub-verse010_mod-ct_seg-spine_ctd.json",
        "derivatives_seg/sub-verse010_mod-ct_seg-vert_poi.json",
        "rawdata/sub-verse010_ct.nii.gz",
    )
    found = match_predictions(tmp_path, CASES)
    assert found.of("sub-verse010") is not None
    assert [one.mask.name for one in found.found if one.mask] == ["sub-verse010_mod-ct_seg-vert_msk.nii.gz"]
    assert [one.centroids.name for one in found.found if one.centroids] == ["sub-verse010_mod-ct_seg-spine_ctd.json"]
    assert found.surplus == ()


def test_a_folder_of_structures_is_one_prediction_with_its_organs(tmp_path: Path) -> None:
    touch(tmp_path, *(f"verse010/{name}.nii.gz" for name in ("vertebrae_L1", "vertebrae_L2", "liver", "sacrum")))
    found = match_predictions(tmp_path, CASES)
    assert [(one.case, one.mask) for one in found.found] == [("sub-verse010", tmp_path / "verse010")]
    assert found.surplus == ()


def test_centroid_files_and_reports(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-verse010_seg-subreg_ctd.json",
        "sub-verse400_split-verse090.json",
        "sub-verse400_split-verse090.nii.gz",
        "dataset.json",
        "run.json",
    )
    found = match_predictions(tmp_path, CASES)
    assert [(one.case, one.mask is not None, one.centroids is not None) for one in found.found] == [
        ("sub-verse010", False, True),
        ("sub-verse400_split-verse090", True, True),
    ]
    assert found.surplus == ()


def test_what_fits_no_case_is_listed_and_nothing_is_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "sub-verse010.nii.gz", "sub-verse01.nii.gz", "sub-verse0100.nii.gz", "sub-gl003.nii.gz")
    found = match_predictions(tmp_path, CASES)
    assert [one.case for one in found.found] == ["sub-verse010"]
    assert sorted(path.name for path in found.surplus) == [
        "sub-gl003.nii.gz",
        "sub-verse01.nii.gz",
        "sub-verse0100.nii.gz",
    ]


def test_two_predictions_of_one_case_or_none_at_all_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/sub-verse010.nii.gz", "b/sub-verse010.nii.gz")
    with pytest.raises(ReadError, match="a second prediction for the case sub-verse010"):
        match_predictions(tmp_path, CASES)
    other = touch(tmp_path / "other", "else.nii.gz")
    with pytest.raises(ReadError, match=r"no prediction for any of the 3 cases \(1 files fit none.*else.nii.gz"):
        match_predictions(other, CASES)
    with pytest.raises(ReadError, match="no such folder"):
        match_predictions(tmp_path / "none", CASES)
    with pytest.raises(ReadError, match="have the same name for predictions"):
        match_predictions(other, (CASES[1], VerseCase("verse010", "verse010", None, None, None, "flat")))


def test_names_of_the_miccai_release() -> None:
    assert match_key("GL003_CT_ax_seg") == match_key("GL003_CT-ax") != match_key("GL003_CT_sag")
    assert match_key("verse400_verse090_CT-iso") != match_key("verse400_verse155_CT-iso")


def test_the_nnunet_scheme_is_read_from_the_prediction_folder(tmp_path: Path) -> None:
    assert prediction_scheme(tmp_path, "spineps") == "spineps"
    with pytest.raises(ReadError, match="cannot be read"):
        prediction_scheme(tmp_path, "nnunet")
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "L1": 1}}')
    table = prediction_scheme(tmp_path, "nnunet")
    assert not isinstance(table, str)
    assert table.to_level(1) == "L1"
