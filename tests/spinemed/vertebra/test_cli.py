"""The commands as a user runs them: files in, files out, the same bytes twice, and an exit code that tells."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from spinemed.volume import read_mask, reorient_volume, write_nifti

Command = Callable[..., tuple[int, str, str]]
Blocks = Callable[..., tuple[NDArray[np.uint8], NDArray[np.float64]]]
Save = Callable[..., Path]

# SHA-256 of two published crops' voxels, as in test_paper.py.
PUBLISHED = {
    18: "167b6e015e3032674c7bc85e212be5e479b0ee8a6780399e02b616023749c12a",
    20: "a6126872665c61bfa7388b2142ebc06c597da473a60ef22ac5e0a5de711f4f82",
}


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_paper_mode_writes_the_published_crops(command: Command, samples: Path, tmp_path: Path) -> None:
    mask = samples / "masks" / "healthivert_0007" / "0007_msk.nii.gz"
    arguments = ("straighten", "--mask", mask, "--labels", "18,L1", "--mode", "paper", "--out", tmp_path)
    code, told, _ = command(*arguments)
    assert code == 0
    assert "1 done" in told
    for label, sha256 in PUBLISHED.items():
        crop = np.asarray(nib.load(tmp_path / f"0007_{label}_label.nii.gz").dataobj)
        assert hashlib.sha256(np.ascontiguousarray(crop, dtype=np.uint8).tobytes()).hexdigest() == sha256
    file = json.loads((tmp_path / "0007_straight.json").read_bytes())
    assert [crop["label"] for crop in file["crops"]] == [18, 20]
    assert file["inputs"]["mask"]["name"] == "0007_msk.nii.gz"
    assert "1 kept" in command(*arguments)[1]


def test_robust_crops_carry_body_image_and_the_way_back(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20, 21))
    mask = save("one_msk.nii.gz", data, affine)
    image = save("one_ct.nii.gz", np.where(data > 0, 400, -100).astype(np.int16), affine, "HU")
    out = mask.parent / "out"
    code, told, _ = command("straighten", "--mask", mask, "--image", image, "--labels", "20", "--out", out, "--json")
    assert code == 0
    file = json.loads(told)
    (crop,) = file["crops"]
    assert sorted(crop["files"]) == ["ct", "label", "vb"]
    body = read_mask(out / crop["files"]["vb"])
    whole = read_mask(out / crop["files"]["label"])
    assert set(np.unique(body.data)) == {0, 20}
    assert set(np.unique(whole.data)) >= {0, 19, 20, 21}
    assert body.data.sum() / 20 == pytest.approx(np.pi * 21 * 16 * 25, rel=0.08)
    picture = np.asarray(nib.load(out / crop["files"]["ct"]).dataobj)
    assert picture[np.asarray(body.data) > 0].mean() > 350
    assert len(file["curve_points_mm"]) == 3
    assert file["curve_sha256"]


def test_a_synthetic_body_is_a_layer_of_its_own(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20, 21), wedges={20: 0.4})
    mask = save("one_msk.nii.gz", data, affine)
    before, out = mask.read_bytes(), mask.parent / "out"
    arguments = ("--mask", mask, "--model", "neighbours", "--labels", "20", "--out", out)
    code, told, _ = command("synthesise", *arguments, "--json")
    assert code == 0
    (made,) = json.loads(told)["bodies"]
    assert mask.read_bytes() == before
    overlay = read_mask(out / made["files"]["overlay"])
    assert overlay.shape == data.shape
    assert set(np.unique(overlay.data)) == {0, 20}
    assert made["volume_mm3"] > 1.1 * made["patient_volume_mm3"]
    assert made["overlap_mm3"] == {}
    assert made["loss"]["anterior"]["percent"] == pytest.approx(100 * 0.4 * 5 / 6, abs=6)
    # The very files that were written give the same loss again, in the patient and in words.
    code, told, _ = command(
        "rhlv", "--mask", mask, "--synthetic", out / made["files"]["overlay"], "--label", "20", "--json"
    )
    assert code == 0
    again = json.loads(told)
    assert again["robust"]["anterior"]["percent"] == pytest.approx(made["loss"]["anterior"]["percent"], abs=2)
    pair = ("--mask", mask, "--synthetic", out / made["files"]["overlay"], "--label", "20")
    assert "lost anterior" in command("rhlv", *pair, "--map", out / "loss.png")[1]
    assert (out / "loss.png").read_bytes()[:4] == b"\x89PNG"
    assert command("rhlv", *pair, "--map", out / "loss.png", "--mode", "paper")[0] == 2
    # And two folders of crops are matched by name.
    command("straighten", "--mask", mask, "--labels", "20", "--out", out)
    code, told, _ = command("rhlv", "--mask", out, "--synthetic", out, "--json")
    assert code == 0
    assert json.loads(told)["label"] == 20


def test_an_overlap_with_a_neighbour_is_counted_and_left(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20, 21))
    squeezed = np.zeros_like(data)  # the middle one lost its lower 12 mm, and the one below moved up into the gap
    squeezed[data == 19] = 19
    kept = np.argwhere(data == 20)
    kept = kept[kept[:, 2] >= 59]
    squeezed[tuple(kept.T)] = 20
    below = np.argwhere(data == 21) + np.array([0, 0, 20])
    squeezed[tuple(below.T)] = 21
    mask = save("one_msk.nii.gz", squeezed, affine)
    code, told, _ = command(
        "synthesise", "--mask", mask, "--model", "neighbours", "--labels", "20", "--out", mask.parent / "out", "--json"
    )
    assert code == 0
    (made,) = json.loads(told)["bodies"]
    assert made["overlap_mm3"]["L2"] > 100
    layer = read_mask(mask.parent / "out" / made["files"]["overlay"])
    counted = np.count_nonzero((layer.data == 20) & (squeezed == 21))
    assert made["overlap_mm3"]["L2"] == pytest.approx(counted, abs=1)


def test_rhlv_in_paper_mode_is_the_published_formula(command: Command, blocks: Blocks, save: Save) -> None:
    from spinemed.vertebra.paper import paper_rhlv

    now, affine = blocks(labels=(20,), wedges={20: 0.4})
    healthy, _ = blocks(labels=(20,))
    mask, twin = save("a_20_vb.nii.gz", now, affine), save("b_20_body.nii.gz", healthy, affine)
    code, told, _ = command("rhlv", "--mask", mask, "--synthetic", twin, "--mode", "paper", "--json")
    assert code == 0
    found = json.loads(told)
    turned = [reorient_volume(read_mask(path), "IPL").data == 20 for path in (twin, mask)]
    wanted = paper_rhlv(turned[0], turned[1])
    assert found["level"] == "L1"
    assert found["paper"]["anterior"] == pytest.approx(wanted.anterior, abs=1e-12)
    assert "RHLV as published" in command("rhlv", "--mask", mask, "--synthetic", twin, "--mode", "paper")[1]


def test_grades_and_page_are_the_same_bytes_twice(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(wedges={21: 0.5})
    mask = save("sub-x_seg-vert_msk.nii.gz", data, affine)
    image = save("sub-x_ct.nii.gz", np.where(data > 0, 400, -100).astype(np.int16), affine, "HU")
    first, second = mask.parent / "first", mask.parent / "second"
    for out in (first, second):
        assert command("grade", "--mask", mask, "--image", image, "--out", out)[0] == 0
    assert tree(first) == tree(second)
    report = json.loads((first / "grades.json").read_bytes())
    grades = {each["level"]: each["grade"] for each in report["vertebrae"]}
    assert grades["L2"] >= 2
    assert grades["T12"] == grades["L1"] == 0
    assert report["sha256"] == hashlib.sha256(mask.read_bytes()).hexdigest()
    assert report["trained_on"]
    page = (first / "report.html").read_text()
    assert "Research use only" in page
    assert report["sha256"] in page
    assert hashlib.sha256(image.read_bytes()).hexdigest() in page
    assert str(mask.parent) not in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    for row in re.findall(r'<tr data-level="(\w+)">', page):
        assert row in grades
    assert page.count('class="map"') == 7
    assert 'class="body-outline b0"' in page
    assert re.search(r'class="body-outline b[23]"', page)


def test_a_folder_goes_on_past_a_broken_scan_and_resumes(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20, 21, 22))
    folder = save("in/a_msk.nii.gz", data, affine).parent
    save("in/b_msk.nii.gz", data, affine)
    (folder / "b_msk.nii.gz").write_bytes((folder / "a_msk.nii.gz").read_bytes()[:2000])
    out = folder.parent / "out"
    code, told, wrong = command("grade", "--mask", folder, "--out", out)
    assert code == 1
    assert "1 done, 0 kept, 1 failed" in told
    assert "b_msk.nii.gz" in wrong
    assert "truncated" in wrong
    assert (out / "a" / "report.html").is_file()
    assert not (out / "b").exists()
    assert json.loads((out / "cases" / "b.grade.json").read_bytes())["status"] == "failed"
    held = tree(out)
    assert "0 done, 1 kept, 1 failed" in command("grade", "--mask", folder, "--out", out)[1]
    assert tree(out) == held
    # A page that was lost is made again, a mended scan is done, and nothing else.
    (out / "a" / "report.html").unlink()
    data[data == 22] = 0
    save("in/b_msk.nii.gz", data, affine)
    code, told, _ = command("grade", "--mask", folder, "--out", out, "--json")
    assert code == 0
    assert sorted(json.loads(line)["case"] for line in told.splitlines()) == ["a", "b"]
    assert {name: sha256 for name, sha256 in tree(out).items() if "a" in name.split("/")[0]}.items() >= {
        name: sha256 for name, sha256 in held.items() if name.startswith("a/")
    }.items()
    # With every scan broken nothing was done.
    for path in folder.iterdir():
        path.write_bytes(b"no mask")
    assert command("grade", "--mask", folder, "--out", out)[0] == 2
    assert not (out / "a" / "grades.json").exists()


def test_bodies_may_come_as_numbers_as_one_mask_or_as_subregions(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20, 21, 22))
    mask = save("s_msk.nii.gz", data, affine)
    x, y = np.meshgrid(np.arange(60) - 30.0, np.arange(84) - 60.0, indexing="ij")
    inside = ((x / 21) ** 2 + (y / 16) ** 2 <= 1)[..., None] & (data > 0)
    forms = {
        "own": np.where(inside, data, 0).astype(np.uint8),
        "one": inside.astype(np.uint8),
        "parts": np.where(inside, 49, np.where(data > 0, 41, 0)).astype(np.uint8),
    }
    found = []
    for name, form in forms.items():
        bodies = save(f"{name}.nii.gz", form, affine)
        out = mask.parent / name
        assert command("grade", "--mask", mask, "--subregions", bodies, "--out", out)[0] == 0
        report = json.loads((out / "grades.json").read_bytes())
        assert not any("cut out of whole" in flag for flag in report["flags"])
        found.append(report["vertebrae"])
    assert found[0] == found[1] == found[2]


def test_orientation_changes_no_grade(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20, 21, 22), wedges={21: 0.4})
    mask = save("s_msk.nii.gz", data, affine)
    turned = mask.parent / "t_msk.nii.gz"
    write_nifti(reorient_volume(read_mask(mask), "PIL"), turned)
    records = []
    for path in (mask, turned):
        code, told, _ = command("grade", "--mask", path, "--out", mask.parent / path.stem, "--json")
        assert code == 0
        records.append(json.loads(told)["vertebrae"])
    for one, two in zip(*records, strict=True):
        assert one["grade"] == two["grade"]
        for third in ("anterior", "middle", "posterior"):
            assert one[third]["percent"] == pytest.approx(two[third]["percent"], abs=0.1)


def test_options_that_contradict_are_named(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20))
    mask = save("s_msk.nii.gz", data, affine)
    out = mask.parent / "out"
    for arguments, said in (
        (("straighten", "--mask", mask, "--mode", "loose", "--out", out), "--mode"),
        (("straighten", "--mask", mask, "--mode", "paper", "--spacing", "0.5", "--out", out), "--spacing"),
        (("straighten", "--mask", mask, "--spacing", "nan", "--out", out), "--spacing"),
        (("straighten", "--mask", mask, "--labels", "Q7", "--out", out), "names no vertebra"),
        (("grade", "--mask", mask, "--scheme", "mine", "--out", out), "--scheme"),
        (("grade", "--mask", mask, "--sex", "x", "--out", out), "--sex"),
        (("grade", "--mask", mask.parent / "absent", "--out", out), "no such file or folder"),
        (("synthesise", "--mask", mask, "--model", mask.parent / "absent", "--out", out), "synthesiser"),
        (("rhlv", "--mask", mask, "--synthetic", mask), "--label"),
    ):
        code, _, wrong = command(*arguments)
        assert code == 2
        assert said in wrong
        assert wrong.count("\n") == 1
    assert not (out / "grades.json").exists()
