"""`spinemed case report`: one patient through the whole chain, scored only where truth is known.

The whole chain runs in the acceptance tier; its steps, its page and its refusals here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from spinemed.anatomy import Level
from spinemed.config import load_config
from spinemed.errors import ReadError
from spinemed.records import Prediction, Sample
from spinemed.resources import configs_dir
from spinemed.tables import read_jsonl
from spinemed.workflows.case import CaseConfig, CaseInputs, Places, plan_case
from spinemed.workflows.case.inputs import prepare_case
from spinemed.workflows.case.steps import find_levels

NAME = "Mustermann_Erika_19480317"


def run_case(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "spinemed", "case", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def told(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Places, str]:
    """A phantom after the whole chain, killed once on the way, and what the command said at its end."""
    folder = tmp_path_factory.mktemp("case") / "run"
    line = ["report", "--phantom", "3", "--out", str(folder), "--set", "phantom_spacing_mm=1.5"]
    first = subprocess.Popen([sys.executable, "-m", "spinemed", "case", *line], stderr=subprocess.PIPE, text=True)
    assert first.stderr is not None
    for said in first.stderr:
        if "Synthesis" in said:
            first.kill()
            break
    first.wait()
    first.stderr.close()
    done = run_case(*line)
    assert done.returncode == 0, done.stderr[-3000:]
    return Places(folder), done.stdout


@pytest.mark.acceptance
def test_losses_grades_and_heights_stand_beside_the_truth(computed: tuple[Places, str]) -> None:
    places, said = computed
    score = told(places.score)
    truth = {each["level"]: each for each in told(places.truth)["vertebrae"]}
    assert {"L1", "L4"} <= {level for level, each in truth.items() if each["shape"] == "wedge"}
    assert score["grades_given"] >= 5
    assert score["grades_right"] >= score["grades_given"] - 1
    assert score["loss_error_points"] < 4
    assert score["height_error_mm"] < 0.5
    assert score["levels"] == {"scored": False, "why": "the exact mask was given"}
    assert f"grades right: {score['grades_right']} of {score['grades_given']}" in said
    assert "no reference" not in said


@pytest.mark.acceptance
def test_findings_say_where_they_stem_from_and_become_a_report(computed: tuple[Places, str]) -> None:
    places, _ = computed
    stems = told(places.findings / "stems.json")
    assert any(stem["finding"].startswith("L1: fracture wedge") for stem in stems)
    assert all((places.root / stem["file"]).is_file() for stem in stems)
    import pandas as pd

    (shard,) = (places.drafted / "outputs" / "release" / "data").glob("test*.parquet")
    rows = pd.read_parquet(shard)
    reports = rows[rows.task == "report"]
    assert len(reports) >= 1
    assert "L1" in reports.iloc[0].messages[-1]["content"]


@pytest.mark.acceptance
def test_a_model_is_asked_and_tools_are_called(computed: tuple[Places, str]) -> None:
    places, _ = computed
    asked = {each.id: each for each in read_jsonl(places.named / "samples.jsonl", Sample)}
    replies = list(read_jsonl(next(places.served.rglob("predictions.jsonl")), Prediction))
    assert {each.sample_id for each in replies} == set(asked)
    assert all([call.name for call in each.calls] == ["list_images", "grade"] for each in replies)
    right = [each.text == asked[each.sample_id].answer for each in replies if "L1" in each.sample_id]
    assert right == [True, True]
    own = list(read_jsonl(places.answers / "model" / "predictions.jsonl", Prediction))
    assert own
    assert not any(each.calls for each in own), "the nano base calls no tools"
    assert (places.scores / "summary.json").is_file()


@pytest.mark.acceptance
def test_the_page_is_there_and_the_same_command_changes_nothing(computed: tuple[Places, str]) -> None:
    places, _ = computed
    before = places.page.read_bytes()
    assert b"esearch use only" in before
    done = run_case("step", "page", "--out", str(places.root))
    assert done.returncode == 0, done.stderr
    assert places.page.read_bytes() == before


def test_a_person_s_ct_is_copied_without_names_and_says_what_it_forbids(tmp_path: Path, samples: Path) -> None:
    place = samples / "ct" / "totalsegmentator_lumbar"
    image = nib.load(place / "example_ct.nii.gz")
    image.header["descrip"] = NAME.encode()
    nib.save(image, tmp_path / f"{NAME}.nii.gz")
    mask = place / "example_seg_fast_force_split.nii.gz"
    inputs = CaseInputs(image=tmp_path / f"{NAME}.nii.gz", mask=mask, scheme="totalsegmentator")
    places, config = Places(tmp_path / "run"), load_config(configs_dir() / "case.yaml", CaseConfig)
    inputs.check()
    prepare_case(places, inputs)
    find_levels(places, config)
    levels = told(places.levels)
    assert levels["levels"] == ["T11", "T12", "L1", "L2", "L3", "L4", "L5"]
    assert "T11" in levels["cut"]
    assert any("no grade is given above 1.5 mm" in limit for limit in levels["limits"])
    written = [path for path in places.root.rglob("*") if path.is_file()]
    assert all(NAME.encode() not in path.read_bytes() and NAME not in path.name for path in written)
    assert NAME.encode() not in nib.load(places.ct).header.structarr.tobytes()
    assert NAME not in str(inputs.facts())
    stages = plan_case(config, inputs, places)
    assert not any("score" in stage.arguments for stage in stages), "there is no truth to score against"
    assert not any(NAME in word for stage in stages for word in stage.arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((), "--phantom"),
        (("--image", "CT.nii.gz"), "--labeller"),
        (("--phantom", "1", "--image", "CT.nii.gz"), "--image"),
        (("--image", "CT.nii.gz", "--mask", "M.nii.gz", "--tool", "spineps"), "--mask"),
        (("--phantom", "1", "--url", "http://127.0.0.1:1"), "--served-model"),
    ],
)
def test_what_cannot_be_run_is_refused_by_name(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    from typer.testing import CliRunner

    from spinemed.errors import SpineMedError
    from spinemed.workflows.case.cli import app

    done = CliRunner().invoke(app, ["report", *arguments, "--out", str(tmp_path / "run")])
    assert isinstance(done.exception, SpineMedError)
    assert named in str(done.exception)
    assert not (tmp_path / "run").exists()


def test_a_mask_of_another_grid_is_refused(tmp_path: Path, samples: Path) -> None:
    place = samples / "ct" / "totalsegmentator_lumbar"
    other = np.zeros((10, 10, 10), np.uint8)
    other[3:6, 3:6, 3:6] = Level.L1.verse_label
    nib.save(nib.Nifti1Image(other, np.eye(4)), tmp_path / f"{NAME}.nii.gz")
    line = ("--image", str(place / "example_ct.nii.gz"), "--mask", str(tmp_path / f"{NAME}.nii.gz"))
    done = run_case("report", *line, "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "another grid" in done.stderr
    assert "Cure: " in done.stderr
    assert not (tmp_path / "run" / "case" / "case.json").exists(), "the same command must not go on without a mask"


def test_a_mask_of_the_same_voxels_along_other_axes_is_turned(tmp_path: Path, samples: Path) -> None:
    place = samples / "ct" / "totalsegmentator_lumbar"
    own = nib.load(place / "example_seg_fast_force_split.nii.gz")
    turned = own.as_reoriented(nib.orientations.axcodes2ornt("LSP")[[0, 1, 2]])
    assert turned.shape != own.shape
    nib.save(nib.Nifti1Image(np.asarray(turned.dataobj).astype(np.float32), turned.affine), tmp_path / "turned.nii.gz")
    written = []
    for mask in (place / "example_seg_fast_force_split.nii.gz", tmp_path / "turned.nii.gz"):
        places = Places(tmp_path / f"run of {mask.name}")
        prepare_case(places, CaseInputs(place / "example_ct.nii.gz", mask=mask, scheme="totalsegmentator"))
        written.append(places.mask.read_bytes())
    assert written[0] == written[1]


def test_a_file_that_cannot_be_read_is_named_on_the_terminal_and_nowhere_else(tmp_path: Path, samples: Path) -> None:
    mask = samples / "ct" / "totalsegmentator_lumbar" / "example_seg_fast_force_split.nii.gz"
    image = tmp_path / f"{NAME}.nii.gz"
    image.write_bytes(b"no NIfTI at all")
    for _ in range(2):
        done = run_case("report", "--image", str(image), "--mask", str(mask), "--out", str(tmp_path / "run"))
        assert done.returncode == 2
        assert NAME in done.stderr
        assert "Traceback" not in done.stderr
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert written
    assert all(NAME.encode() not in path.read_bytes() and NAME not in path.name for path in written)


def test_a_folder_of_masks_under_other_levels_is_another_run(tmp_path: Path) -> None:
    def facts(level: str) -> dict[str, str]:
        folder = tmp_path / level
        folder.mkdir()
        (folder / f"vertebrae_{level}.nii.gz").write_bytes(b"the same voxels")
        return CaseInputs(phantom=1, mask=folder).facts()

    assert facts("L1") != facts("L2")


def test_too_few_whole_vertebrae_are_refused_before_anything_long(tmp_path: Path) -> None:
    data = np.zeros((40, 40, 60), np.uint8)
    data[10:30, 10:30, 20:40] = Level.L3.verse_label
    nib.save(nib.Nifti1Image(data.astype(np.int16), np.eye(4)), tmp_path / "ct.nii.gz")
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "m.nii.gz")
    places = Places(tmp_path / "run")
    prepare_case(places, CaseInputs(image=tmp_path / "ct.nii.gz", mask=tmp_path / "m.nii.gz"))
    with pytest.raises(ReadError, match="1 whole vertebrae between T1 and L6"):
        find_levels(places, load_config(configs_dir() / "case.yaml", CaseConfig))
