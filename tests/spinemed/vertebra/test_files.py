"""Which files belong to one scan, in the layouts that people have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.anatomy import Level
from spinemed.errors import LevelError, ReadError
from spinemed.vertebra.files import find_scans, read_scan, scan_stem, wanted_levels

Blocks = Callable[..., tuple[NDArray[np.uint8], NDArray[np.float64]]]
Save = Callable[..., Path]


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_a_verse_folder_gives_masks_images_and_bodies(tmp_path: Path) -> None:
    root = touch(
        tmp_path, "rawdata/sub-a/sub-a_ct.nii.gz", "rawdata/sub-b/sub-b_ct.nii.gz",
        "derivatives/sub-a/sub-a_seg-vert_msk.nii.gz", "derivatives/sub-a/sub-a_seg-subreg_msk.nii.gz",
        "derivatives/sub-b/sub-b_seg-vert_msk.nii.gz", "derivatives/.hidden/sub-c_seg-vert_msk.nii.gz",
    )  # fmt: skip
    scans, many = find_scans(root, root, root)
    assert many
    assert [(scan.name, scan.image and scan.image.name, scan.bodies and scan.bodies.name) for scan in scans] == [
        ("sub-a", "sub-a_ct.nii.gz", "sub-a_seg-subreg_msk.nii.gz"),
        ("sub-b", "sub-b_ct.nii.gz", None),
    ]


def test_challenge_names_and_plain_names(tmp_path: Path) -> None:
    root = touch(tmp_path / "one", "verse004.nii.gz", "verse004_seg.nii.gz", "verse005_seg.nii.gz")
    assert [(scan.name, bool(scan.image)) for scan in find_scans(root, root)[0]] == [
        ("verse004", True), ("verse005", False)
    ]  # fmt: skip
    root = touch(tmp_path / "two", "a.nii.gz", "b.nii", "a_ct.nii.gz")
    assert [scan.name for scan in find_scans(root)[0]] == ["a", "b"]


def test_one_mask_a_structure_is_one_scan(blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20, 21))
    names = {19: "T12", 20: "L1", 21: "L2"}
    for label, name in names.items():
        path = save(f"pat/segmentations/vertebrae_{name}.nii.gz", (data == label).astype(np.uint8), affine)
    save("pat/segmentations/liver.nii.gz", np.zeros_like(data), affine)
    ((scan,), many) = find_scans(path.parent)
    assert not many
    assert scan.name == "pat"
    assert scan_stem(path.parent) == "pat"
    assert [str(level) for level in read_scan(scan).mask.levels] == ["T12", "L1", "L2"]
    ((again,), many) = find_scans(path.parent.parent.parent)  # and a folder of such folders is a folder of scans
    assert many
    assert again.name == "pat"
    assert len(again.hashes()["mask"]) == 64


def test_two_files_for_one_scan_are_refused(tmp_path: Path) -> None:
    root = touch(tmp_path, "x/a_msk.nii.gz", "y/a_msk.nii.gz")
    with pytest.raises(ReadError, match="same scan's name"):
        find_scans(root)
    root = touch(tmp_path / "z", "m/a_msk.nii.gz", "i/a_ct.nii.gz", "i/a.nii.gz")
    with pytest.raises(ReadError, match="fits the same scan"):
        find_scans(root / "m", root / "i")
    with pytest.raises(ReadError, match="holds no mask"):
        find_scans(touch(tmp_path / "w", "a_ct.nii.gz"))
    with pytest.raises(ReadError, match="is no folder"):
        find_scans(root / "m", root / "i" / "a_ct.nii.gz")


def test_labels_are_numbers_or_names() -> None:
    assert wanted_levels(None) is None
    assert wanted_levels("20, T12,L1,28") == (Level.T12, Level.T13, Level.L1)
    for text in ("26", "31", "L4/5", "", ","):
        with pytest.raises(LevelError):
            wanted_levels(text)
