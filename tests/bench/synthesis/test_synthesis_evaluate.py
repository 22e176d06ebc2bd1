"""The synthesis benchmark: what is right is right, what is missing is counted, and the page shows it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.synthesis.compare import compare_scores
from bench.synthesis.evaluate import evaluate_folder
from bench.synthesis.metrics import CAP_POINTS, METRICS
from bench.synthesis.published import synthesis_tables
from bench.synthesis.records import Scores, VertebraScore, read_scores
from spinemed.anatomy import Level
from spinemed.errors import ReadError, RecordError
from spinemed.metrics.pictures import psnr, ssim
from spinemed.volume import Volume, read_mask, write_nifti

Blocks = Callable[..., NDArray[np.bool_]]
Put = Callable[..., Path]


@pytest.fixture(scope="module")
def scores(spine_folders: tuple[Path, Path]) -> Scores:
    return evaluate_folder(*spine_folders, resamples=200)


def one(scores: Scores, case: str, level: Level) -> VertebraScore:
    return next(each for each in scores.vertebrae if (each.case, each.level) == (case, level))


def test_a_body_too_tall_reads_as_a_loss_of_that_much(scores: Scores, blocks: Blocks) -> None:
    made, own = blocks(-1.0), blocks()
    tall = one(scores, "p00", Level.L1)
    assert tall.hidden
    assert tall.values["dice"] == pytest.approx(2 * (made & own).sum() / (made.sum() + own.sum()))
    assert tall.values["iou"] == pytest.approx((made & own).sum() / (made | own).sum())
    assert tall.values["volume_error_percent"] == pytest.approx(100 * (made.sum() / own.sum() - 1))
    assert tall.values["rhdr_percent"] == pytest.approx(100 / 26)  # one row of 26
    assert tall.truth == (0.0, 0.0, 0.0)
    assert tall.values["loss_bias"] == pytest.approx(100 / 27, abs=0.5)
    assert tall.values["same_grade"] == 1.0


def test_a_broken_body_is_read_against_twin_and_synthesis(scores: Scores) -> None:
    broken = one(scores, "p03", Level.L2)
    assert not broken.hidden
    assert broken.truth == pytest.approx((30.0,) * 3, abs=1.5)
    assert broken.found == pytest.approx((100 * (1 - 18.2 / 22),) * 3, abs=2.0)
    for truth, found, name in zip(broken.truth or (), broken.found or (), ("anterior", "middle", "posterior")):
        assert broken.values[f"loss_{name}"] == pytest.approx(abs(found - truth))
    assert broken.values["same_grade"] == 0.0  # grade 2 against 0


def test_pictures_are_scored_slice_by_slice(scores: Scores, spine_folders: tuple[Path, Path]) -> None:
    import nibabel as nib

    truth, made = spine_folders
    a = np.asarray(nib.load(made / "p00_20_synthetic-ct.nii.gz").dataobj, np.float64)
    b = np.asarray(nib.load(truth / "p00_20_ct.nii.gz").dataobj, np.float64)
    body = np.asarray(nib.load(truth / "p00_20_vb.nii.gz").dataobj) > 0
    found = one(scores, "p00", Level.L1)
    width = np.flatnonzero(body.any(axis=(1, 2)))
    layers = [k for k in width if abs(k - width.mean()) <= 0.4 * len(width) and body[k].sum() > 400]
    assert found.layers == len(layers)
    a, b = np.clip(a, -300, 800), np.clip(b, -300, 800)
    whole = [psnr(a[k], b[k], data_range=1100.0).value for k in layers]
    assert found.values["psnr_db"] == pytest.approx(np.mean(whole))
    part = np.zeros(a.shape[1:], bool)
    part[:, 9:35] = True  # 26 rows
    assert body[layers[0]].any(axis=0).sum() == 26
    target = [ssim(a[k], b[k], data_range=1100.0, mask=part).value for k in layers]
    assert found.values["ssim_target"] == pytest.approx(np.mean(target))


def test_groups_and_intervals_go_by_patient(scores: Scores) -> None:
    assert scores.row().vertebrae == 14
    assert scores.row("grade", "2").vertebrae == 7
    assert scores.row("shape", "crush").vertebrae == 7
    assert scores.row("neighbourhood", "beside a fracture").values["dice"].value == pytest.approx(
        np.mean([one(scores, f"p{i:02d}", Level.L1).values["dice"] for i in range(7)])
    )
    rhdr = scores.row("level", "L1").values["loss_mae"]
    assert rhdr.clusters == 7
    assert rhdr.low is not None
    assert rhdr.high is not None
    assert rhdr.value is not None
    assert rhdr.low < rhdr.value < rhdr.high


@pytest.fixture
def folders(spine_folders: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    """A copy of two patients that a test may spoil."""
    for source, name in zip(spine_folders, ("ref", "made"), strict=True):
        (tmp_path / name).mkdir()
        for path in [*source.glob("p00*"), *source.glob("p01*")]:
            shutil.copy(path, tmp_path / name)
    return tmp_path / "ref", tmp_path / "made"


def test_what_is_missing_or_broken_counts_as_the_worst(folders: tuple[Path, Path], blocks: Blocks, put: Put) -> None:
    truth, made = folders
    (made / "p00_20_body.nii.gz").unlink()
    (made / "p00_21_body.nii.gz").write_bytes(b"not a volume")
    (made / "p01_20_synthetic-ct.nii.gz").unlink()
    ball = np.zeros(blocks().shape, bool)
    ball[28:30, 21:23, 21:23] = True
    put(made, "p01", Level.L2, "body", ball)
    put(made, "p09", Level.L3, "body", blocks())
    scores = evaluate_folder(truth, made, resamples=100)
    worst = {each.name: each.worst for each in METRICS if each.worst is not None}
    assert one(scores, "p00", Level.L1).status == "no prediction"
    assert one(scores, "p00", Level.L1).values == worst
    assert one(scores, "p00", Level.L2).status == "unusable prediction"
    assert one(scores, "p00", Level.L2).values == worst
    assert "PREDICTION" in (one(scores, "p00", Level.L2).errors[0].file or "")
    lacks_picture = one(scores, "p01", Level.L1)
    assert lacks_picture.status == "scored"
    assert (lacks_picture.values["ssim"], lacks_picture.values["psnr_target_db"]) == (0.0, 0.0)
    no_endplates = one(scores, "p01", Level.L2)
    assert no_endplates.values["loss_mae_capped"] == CAP_POINTS
    assert "loss_mae" not in no_endplates.values
    assert no_endplates.errors[0].part == "height loss"
    assert scores.extra == ("p09 L3",)
    row = scores.row()
    assert (row.vertebrae, row.missed, row.values["dice"].n) == (4, 2, 4)


def test_a_faulty_reference_is_left_out_and_counted(folders: tuple[Path, Path]) -> None:
    truth, made = folders
    (truth / "p00_20_vb.nii.gz").write_bytes(b"not a volume")
    scores = evaluate_folder(truth, made, resamples=100)
    assert scores.counts["unusable_reference"] == 1
    assert scores.row().vertebrae == 3
    assert len(scores.vertebrae) == 4


def test_the_patient_s_own_crop_is_no_synthesis(folders: tuple[Path, Path]) -> None:
    truth, made = folders
    for name in ("p00_20_vb.nii.gz", "p00_20_ct.nii.gz"):  # as straighten leaves them beside what synthesise makes
        shutil.copy(truth / name, made / name)
    (made / "p00_20_body.nii.gz").unlink()
    assert one(evaluate_folder(truth, made, resamples=100), "p00", Level.L1).status == "no prediction"
    for path in made.glob("*_synthetic-ct.nii.gz"):
        path.unlink()
    assert "image" not in evaluate_folder(truth, made, resamples=100).families
    (truth / "p00_20_vb.nii.gz").rename(truth / "p00_20_body.nii.gz")
    with pytest.raises(RecordError, match="for the healthy body and for its synthesis"):
        evaluate_folder(truth, truth)


def test_a_mask_of_several_vertebrae_is_no_body(folders: tuple[Path, Path], blocks: Blocks, put: Put) -> None:
    truth, made = folders
    several = np.where(blocks(), 20, 0).astype(np.uint8)
    several[:, :, :3] = 21
    path = made / "p00_20_body.nii.gz"
    write_nifti(Volume(several, read_mask(path).affine, "label"), path)
    found = one(evaluate_folder(truth, made, resamples=100), "p00", Level.L1)
    assert found.status == "unusable prediction"
    assert "2 labels" in found.errors[0].text


def test_a_synthesis_on_another_grid_is_brought_over_and_said_so(
    folders: tuple[Path, Path], blocks: Blocks, put: Put
) -> None:
    truth, made = folders
    put(made, "p00", Level.L1, "body", blocks(spacing=0.8), 0.8)
    (made / "p00_20_synthetic-ct.nii.gz").unlink()
    found = one(evaluate_folder(truth, made, resamples=100), "p00", Level.L1)
    assert found.resampled
    assert found.values["dice"] > 0.97
    assert abs(found.values["loss_bias"]) < 2.5


def test_equal_inputs_give_equal_bytes_and_a_page(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        evaluate_folder(*folders, tmp_path / name, resamples=100, published=True)
    for file in ("scores.json", "report.html"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert read_scores(tmp_path / "a").counts["vertebrae"] == 4
    page = (tmp_path / "a" / "report.html").read_text()
    for words in ("Research use only", 'data-group="L2"', "second-hand", "data:image/png", "p00 L2"):
        assert words in page
    assert str(tmp_path) not in page


def test_the_command_scores_and_tells_of_misses(
    folders: tuple[Path, Path], tmp_path: Path, spinemed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    truth, made = folders
    (made / "p00_20_body.nii.gz").unlink()
    done = spinemed(
        "synthesis", "evaluate", "--reference", truth, "--prediction", made, "--out", tmp_path / "out", "--published",
        "--resamples", "100",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "3 of 4 vertebrae scored" in done.stdout
    assert "0.905" in done.stdout
    assert json.loads((tmp_path / "out" / "scores.json").read_bytes())["kind"] == "synthesis scores"


def test_folders_that_share_nothing_are_an_error(folders: tuple[Path, Path], tmp_path: Path, put: Put) -> None:
    truth, made = folders
    other = tmp_path / "other"
    put(other, "q", Level.L1, "body", np.ones((12, 12, 12), bool))
    with pytest.raises(ReadError, match=r"none of the reference's 4"):
        evaluate_folder(truth, other)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="holds no body"):
        evaluate_folder(truth, tmp_path / "empty")
    (made / "twice").mkdir()
    shutil.copy(made / "p00_20_body.nii.gz", made / "twice")
    with pytest.raises(RecordError, match="same part"):
        evaluate_folder(truth, made)


def test_published_numbers_say_how_far_they_were_checked() -> None:
    tables = synthesis_tables().tables
    assert tables[0].mark == "c"
    assert tables[0].rows[0].values == {"psnr": 28.5, "ssim": 0.92, "dice": 0.905, "rhdr": 5.60}
    known = {each.name for each in METRICS}
    assert all(set(table.own.values()) <= known for table in tables)


def better(scores: Scores, only: Level | None) -> Scores:
    """The same scores with all loss errors at one level (or everywhere) a point smaller."""
    vertebrae = [
        one.model_copy(update={"values": one.values | {"loss_mae_capped": one.values["loss_mae_capped"] - 1.0}})
        if only in (None, one.level)
        else one
        for one in scores.vertebrae
    ]
    return scores.model_copy(update={"vertebrae": tuple(vertebrae), "name": "better"})


def test_comparison_pairs_vertebrae_and_can_go_by_group(scores: Scores) -> None:
    entries = {"better": better(scores, None), "made": scores}
    (test,) = compare_scores(entries, quantities=("loss_mae_capped",), resamples=500).tests
    assert test.difference == pytest.approx(-1.0)
    assert (test.n, test.patients, test.unpaired) == (14, 7, 0)
    assert test.winner == "better"  # every patient agrees: p = 2 / 2^7
    assert test.p == pytest.approx(2 / 2**7, abs=0.01)
    entries["better"] = better(scores, Level.L1)
    found = compare_scores(entries, quantities=("loss_mae_capped",), by="neighbourhood", resamples=200).tests
    assert {test.group: test.difference for test in found} == {
        "beside a fracture": pytest.approx(-1.0), "not beside one": 0.0,
    }  # fmt: skip


def test_comparison_refuses_what_cannot_be_compared(scores: Scores) -> None:
    with pytest.raises(RecordError, match="two or more"):
        compare_scores({"a": scores})
    with pytest.raises(RecordError, match="no way to group"):
        compare_scores({"a": scores, "b": scores}, by="colour")
    with pytest.raises(RecordError, match="has no value in all"):
        compare_scores({"a": scores, "b": scores}, quantities=("beauty",))
    fewer = scores.model_copy(update={"vertebrae": scores.vertebrae[:-1]})
    with pytest.raises(RecordError, match="same vertebrae"):
        compare_scores({"a": scores, "b": fewer})


def test_the_comparison_s_command_and_page(
    folders: tuple[Path, Path], tmp_path: Path, spinemed: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    for name in ("one", "two"):
        evaluate_folder(*folders, tmp_path / name, name=name, resamples=100, page=False)
    done = spinemed(
        "synthesis", "compare", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "cmp", "--by", "level",
        "--resamples", "100",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "loss_mae_capped" in done.stdout
    page = (tmp_path / "cmp" / "comparison.html").read_text()
    assert 'data-quantity="loss_mae_capped"' in page
    assert "Research use only" in page
