"""Bad input through the commands: a named error or a flagged result, never a number that looks fine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

Command = Callable[..., tuple[int, str, str]]
Blocks = Callable[..., tuple[NDArray[np.uint8], NDArray[np.float64]]]
Save = Callable[..., Path]


@pytest.fixture
def graded(command: Command, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """The contents of grades.json."""

    def run(mask: Path, *arguments: str | Path) -> dict[str, Any]:
        code, _, wrong = command("grade", "--mask", mask, "--out", tmp_path / "graded", *arguments)
        assert code == 0, wrong
        assert (tmp_path / "graded" / "report.html").is_file()
        return dict(json.loads((tmp_path / "graded" / "grades.json").read_bytes()))

    return run


@pytest.mark.parametrize("verb", ["grade", "straighten"])
def test_image_and_mask_on_two_grids(command: Command, blocks: Blocks, save: Save, verb: str) -> None:
    data, affine = blocks(labels=(19, 20))
    mask = save("s_msk.nii.gz", data, affine)
    moved = affine.copy()
    moved[2, 3] += 7
    image = save("s_ct.nii.gz", np.where(data > 0, 400, -100).astype(np.int16), moved, "HU")
    code, _, wrong = command(verb, "--mask", mask, "--image", image, "--out", mask.parent / "out")
    assert code == 2
    assert "another grid" in wrong
    assert "7 mm" in wrong
    written = [path.name for path in (mask.parent / "out").rglob("*") if path.is_file()]
    assert sorted(written) == [".lock", f"s.{verb}.json"]


def test_two_masks_on_two_grids(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(20,))
    mask, twin = save("s_20_vb.nii.gz", data, affine), save("s_20_body.nii.gz", data[:-1], affine)
    code, _, wrong = command("rhlv", "--mask", mask, "--synthetic", twin)
    assert code == 2
    assert "another grid" in wrong


def test_missing_neighbours_give_no_grade(graded: Callable[..., dict[str, Any]], blocks: Blocks, save: Save) -> None:
    data, affine = blocks()
    data[~np.isin(data, (0, 18, 24))] = 0
    found = graded(save("s_msk.nii.gz", data, affine))
    assert [each["grade"] for each in found["vertebrae"]] == [None, None]
    assert all("reference unreliable" in " ".join(each["flags"]) for each in found["vertebrae"])


def test_one_vertebra_is_not_measured(
    graded: Callable[..., dict[str, Any]], command: Command, blocks: Blocks, save: Save
) -> None:
    mask = save("s_msk.nii.gz", *blocks(labels=(21,)))
    (only,) = graded(mask)["vertebrae"]
    assert only["grade"] is None
    assert only["anterior"] is None
    assert "no other body" in only["flags"][0]
    code, told, _ = command("straighten", "--mask", mask, "--out", mask.parent / "out", "--json")
    assert code == 0
    assert "one whole vertebra" in json.loads(told)["flags"][0]
    code, _, wrong = command("synthesise", "--mask", mask, "--model", "neighbours", "--out", mask.parent / "out")
    assert code == 2
    assert "no other body" in wrong


@pytest.mark.parametrize("verb", ["grade", "straighten", "synthesise"])
def test_an_empty_mask_is_refused(command: Command, blocks: Blocks, save: Save, verb: str) -> None:
    data, affine = blocks(labels=(20,))
    mask = save("s_msk.nii.gz", np.zeros_like(data), affine)
    extra = ("--model", "neighbours") if verb == "synthesise" else ()
    code, _, wrong = command(verb, "--mask", mask, "--out", mask.parent / "out", *extra)
    assert code == 2
    assert "holds no vertebra" in wrong


def test_a_label_that_does_not_occur(command: Command, blocks: Blocks, save: Save) -> None:
    mask = save("s_msk.nii.gz", *blocks(labels=(19, 20)))
    for mode in ("robust", "paper"):
        code, _, wrong = command(
            "straighten", "--mask", mask, "--labels", "8", "--mode", mode, "--out", mask.parent / "o"
        )
        assert code == 2
        assert "T1 is not in the mask" in wrong or "label 8 has no centre" in wrong
    code, _, wrong = command("rhlv", "--mask", mask, "--synthetic", mask, "--label", "8")
    assert code == 2
    assert "does not occur, only 19, 20" in wrong


def test_a_mask_of_zero_and_255(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20))
    mask = save("s_msk.nii.gz", np.where(data > 0, 255, 0).astype(np.uint8), affine)
    code, _, wrong = command("grade", "--mask", mask, "--out", mask.parent / "out")
    assert code == 2
    assert "label 255" in wrong
    assert "name the scheme" in wrong


@pytest.mark.parametrize("labels", [(31, 30, 29, 28, 27, 25), (28, 27, 25), (28, 27, 26)])
def test_numbers_of_totalsegmentator_without_its_scheme(
    command: Command, blocks: Blocks, save: Save, labels: tuple[int, ...]
) -> None:
    mask = save("s.nii.gz", *blocks(labels=labels))
    code, _, wrong = command("grade", "--mask", mask, "--out", mask.parent / "out")
    assert code == 2
    assert "--scheme" in wrong or "name the scheme" in wrong
    if len(labels) == 6:
        code, told, _ = command(
            "grade", "--mask", mask, "--scheme", "totalsegmentator", "--out", mask.parent / "out", "--json"
        )
        assert code == 0
        assert [each["level"] for each in json.loads(told)["vertebrae"]] == ["L1", "L2", "L3", "L4", "L5"]


def test_a_mask_upside_down_is_refused(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks()
    mask = save("s_msk.nii.gz", np.ascontiguousarray(data[:, :, ::-1]), affine)
    code, _, wrong = command("grade", "--mask", mask, "--out", mask.parent / "out")
    assert code == 2
    assert "lies above" in wrong


def test_numbers_too_far_apart_give_no_grade(graded: Callable[..., dict[str, Any]], blocks: Blocks, save: Save) -> None:
    found = graded(save("s_msk.nii.gz", *blocks(labels=(10, 18, 19, 20, 21, 22))))
    assert "too near for their numbers" in " ".join(found["flags"])
    assert {each["grade"] for each in found["vertebrae"]} == {None}
    assert all("levels are not certain" in " ".join(each["flags"]) for each in found["vertebrae"])


def test_an_unscaled_ct_is_flagged_and_refused_where_units_count(
    graded: Callable[..., dict[str, Any]], command: Command, blocks: Blocks, save: Save
) -> None:
    data, affine = blocks(labels=(19, 20, 21, 22))
    mask = save("s_msk.nii.gz", data, affine)
    stored = np.random.default_rng(3).integers(0, 1200, data.shape)
    image = save("s_ct.nii.gz", np.where(data > 0, 2200, stored).astype(np.int16), affine, "HU")
    found = graded(mask, "--image", image)
    assert any("not in Hounsfield units" in flag for flag in found["flags"])
    code, _, wrong = command(
        "straighten", "--mask", mask, "--image", image, "--mode", "paper", "--out", mask.parent / "o"
    )
    assert code == 2
    assert "not in Hounsfield units" in wrong
    code, told, _ = command("straighten", "--mask", mask, "--image", image, "--out", mask.parent / "o", "--json")
    assert code == 0
    told_file = json.loads(told)
    assert any("not in Hounsfield units" in flag for flag in told_file["flags"])
    assert {name for crop in told_file["crops"] for name in crop["files"]} == {"label", "vb", "image"}


def test_coarse_layers_give_intervals_and_no_grade(
    graded: Callable[..., dict[str, Any]], blocks: Blocks, save: Save
) -> None:
    found = graded(save("s_msk.nii.gz", *blocks(labels=(19, 20, 21, 22), spacing=(1.0, 1.0, 3.0))))
    for each in found["vertebrae"]:
        assert each["grade"] is None
        assert "resolution too coarse" in each["flags"][0]
        assert each["anterior"]["high"] - each["anterior"]["low"] > 3
        assert each["layer_mm"] == pytest.approx(3.0, abs=0.05)


def test_a_cut_gzip_and_no_orientation(command: Command, blocks: Blocks, save: Save) -> None:
    mask = save("s_msk.nii.gz", *blocks(labels=(19, 20)))
    mask.write_bytes(mask.read_bytes()[:-200])
    for verb in ("grade", "straighten"):
        code, _, wrong = command(verb, "--mask", mask, "--out", mask.parent / "out")
        assert code == 2
        assert "truncated" in wrong
        assert "s_msk.nii.gz" in wrong


def test_paper_mode_counts_only_millimetre_voxels(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(20,), spacing=(1.0, 1.0, 2.0))
    mask = save("s_20_vb.nii.gz", data, affine)
    code, _, wrong = command("rhlv", "--mask", mask, "--synthetic", mask, "--mode", "paper")
    assert code == 2
    assert "voxels of 1 mm" in wrong


def test_twins_that_do_not_touch(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(20,))
    mask = save("s_20_vb.nii.gz", np.where(np.arange(data.shape[2]) < 24, data, 0).astype(np.uint8), affine)
    twin = save("s_20_body.nii.gz", np.where(np.arange(data.shape[2]) < 24, 0, data).astype(np.uint8), affine)
    code, _, wrong = command("rhlv", "--mask", mask, "--synthetic", twin)
    assert code == 2
    assert "do not touch" in wrong


def test_a_twin_far_too_low_is_no_reference(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(20,))
    low = np.where(np.arange(data.shape[2]) < 30, data, 0).astype(np.uint8)  # 19 of 26 mm
    mask, twin = save("s_20_vb.nii.gz", data, affine), save("s_20_body.nii.gz", low, affine)
    code, told, wrong = command("rhlv", "--mask", mask, "--synthetic", twin, "--json")
    assert code == 0, wrong
    found = json.loads(told)
    assert found["robust"]["gradable"] is False
    assert found["robust"]["reference"] == "unreliable"
    assert any("taller than its twin" in flag for flag in found["flags"])


def test_a_body_is_no_twin_of_its_own(command: Command, blocks: Blocks, save: Save) -> None:
    crop = save("crops/s_20_vb.nii.gz", *blocks(labels=(20,)))
    folder = crop.parent
    code, _, wrong = command("rhlv", "--mask", folder, "--synthetic", folder.parent / "crops" / ".." / "crops")
    assert code == 2
    assert "no twin" in wrong
    code, told, _ = command("rhlv", "--mask", crop, "--synthetic", crop)
    assert code == 0
    assert "mask and twin hold the same body" in told


def test_a_mask_of_which_nothing_is_made(command: Command, blocks: Blocks, save: Save, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from spinemed.tables import write_json
    from spinemed.vertebra.synthesis.completer_net import CompleterConfig, CompleterNet
    from spinemed.vertebra.synthesis.store import write_card

    model = tmp_path / "model"
    model.mkdir()
    write_json(model / "config.json", {"components": 4, "hidden": 8, "dropout": 0.1})
    save_file(CompleterNet(CompleterConfig(components=4, hidden=8)).state_dict(), model / "completer.safetensors")
    write_card(model, "completer", {"origin": "nothing", "note": "a test", "height_sd_share": [0.03, 0.03, 0.03]})
    mask = save("neck_msk.nii.gz", *blocks(labels=(3, 4, 5)))
    code, _, wrong = command("synthesise", "--mask", mask, "--model", model, "--out", tmp_path / "out")
    assert code == 2
    assert "holds no vertebra that this synthesiser makes" in wrong


def test_a_body_mask_with_other_numbers(command: Command, blocks: Blocks, save: Save) -> None:
    data, affine = blocks(labels=(19, 20))
    mask = save("s_msk.nii.gz", data, affine)
    bodies = save("b.nii.gz", np.where(data > 0, data + 1, 0).astype(np.uint8), affine)
    code, _, wrong = command("grade", "--mask", mask, "--subregions", bodies, "--out", mask.parent / "out")
    assert code == 2
    assert "another number" in wrong


def test_a_folder_without_images_of_its_scans(command: Command, blocks: Blocks, save: Save) -> None:
    folder = save("in/a_msk.nii.gz", *blocks(labels=(19, 20))).parent
    (folder.parent / "images").mkdir()
    code, _, wrong = command(
        "grade", "--mask", folder, "--image", folder.parent / "images", "--out", folder.parent / "o"
    )
    assert code == 2
    assert "holds nothing for any of the 1 scans" in wrong


def test_a_cut_body_has_no_loss_and_a_lost_one_does_not_stop_the_others(
    command: Command, blocks: Blocks, save: Save
) -> None:
    data, affine = blocks(labels=(18, 19, 20, 21))
    low = affine.copy()
    low[2, 3] += 25
    mask = save("s_msk.nii.gz", np.ascontiguousarray(data[:, :, 25:]), low)  # the lowest body loses its lower half
    code, told, _ = command(
        "synthesise", "--mask", mask, "--model", "neighbours", "--out", mask.parent / "out", "--json"
    )
    assert code == 0
    made = {body["level"]: body for body in json.loads(told)["bodies"]}
    assert made["L2"]["loss"] is None
    assert any("the edge of the volume cuts" in flag for flag in made["L2"]["flags"])
    assert abs(made["T12"]["loss"]["anterior"]["percent"]) < 5
    assert any("not how far such a synthesis is off" in flag for flag in made["T12"]["flags"])
