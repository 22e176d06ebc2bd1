"""Folders of predicted motion to scores: truth scores perfectly, and whatever is wrong is named and counted."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.motion.evaluate import evaluate_folder
from bench.motion.groups import GROUPS, LENGTHS, SIDES
from bench.motion.records import Scores, Settings, read_scores
from spinemed.errors import ReadError, RecordError
from spinemed.motion.dataset import MotionDataset
from spinemed.motion.dataset.predictions import POINT_NAMES

Predict = Callable[..., Path]
QUICK = {"resamples": 200}


def value(scores: Scores, key: str) -> float:
    found = scores.row().values[key].value
    assert found is not None
    return found


def test_the_truth_scores_perfectly(motion_folder: Path, perfect: Path) -> None:
    scores = evaluate_folder(motion_folder, perfect, **QUICK)
    assert scores.counts["scored"] == scores.counts["clips"] == 14
    assert not scores.failed
    assert scores.families == ("points", "angles", "pictures")
    assert scores.groups == tuple(group.name for group in GROUPS)
    for group in scores.groups:
        for name in ("mpjpe_mm", "root_mpjpe_mm", "n_mpjpe_mm", "p_mpjpe_mm"):
            assert value(scores, f"{group}/{name}") == pytest.approx(0.0, abs=1e-3)
        assert value(scores, f"{group}/pck50") == 1.0
        assert value(scores, f"{group}/auc150") == pytest.approx(0.95)
    assert value(scores, "all/angle_mae_deg") == pytest.approx(0.0, abs=1e-5)
    assert value(scores, "all/coverage90") == 1.0
    assert value(scores, "spine/oks") == pytest.approx(1.0)
    assert value(scores, "all/beyond_limits") == value(scores, "all/beyond_limits_reference")
    assert value(scores, "rigid parts/length_cv_percent") == pytest.approx(0.0, abs=1e-3)
    for one in scores.pictures:
        assert (one.ap, one.ar, one.undetected) == (pytest.approx(1.0), 1.0, 0)
    slopes = [level.slope for level in scores.levels if level.slope is not None]
    assert slopes
    assert slopes == pytest.approx([1.0] * len(slopes), abs=1e-4)
    assert [level.segment for level in scores.levels[:4]] == ["C0/1", "C0/1", "C0/1", "C1/2"]
    assert len(scores.levels) == 28 * 3
    assert len(scores.points) == 61


def test_noise_is_measured_as_it_was_put_in(motion_folder: Path, noisy: Path) -> None:
    scores = evaluate_folder(motion_folder, noisy, **QUICK)
    mean_of_three = 20.0 * np.sqrt(8 / np.pi)  # of a Maxwell distribution
    assert value(scores, "all/mpjpe_mm") == pytest.approx(mean_of_three, rel=0.02)
    assert value(scores, "all/angle_mae_deg") == pytest.approx(np.sqrt(2 / np.pi), rel=0.02)
    assert value(scores, "all/coverage90") == pytest.approx(0.9, abs=0.01)
    assert value(scores, "all/coverage50") == pytest.approx(0.5, abs=0.01)
    missed = scores.counts["points_missed"] / scores.counts["points_labelled"]
    assert missed == pytest.approx(0.05, abs=0.01)
    assert sum(point.missed for point in scores.points) == scores.counts["points_missed"]
    capped = (1 - missed) * mean_of_three + missed * 500.0
    assert value(scores, "all/mpjpe_capped_mm") == pytest.approx(capped, rel=0.05)
    one = scores.row().values["spine/p_mpjpe_mm"]
    assert one.low is not None
    assert one.value is not None
    assert one.low < one.value < (one.high or 0)
    assert one.clusters == 7


def test_a_frozen_spine_has_slope_zero(motion_folder: Path, predict: Predict, tmp_path: Path) -> None:
    def freeze(clip_id: str, arrays: dict[str, Any]) -> dict[str, Any]:
        angles = arrays["angles_deg"].copy()
        angles[:, :5] *= 0.25  # L5/S1 ... L1/2
        return {**arrays, "angles_deg": angles}

    scores = evaluate_folder(motion_folder, predict(tmp_path, freeze), **QUICK)
    slope = {(level.segment, level.direction): level.slope for level in scores.levels}
    assert slope["lumbar", "flexion"] == pytest.approx(0.25, abs=1e-4)
    assert slope["thoracic", "flexion"] == pytest.approx(1.0, abs=1e-4)


def test_the_order_of_names_does_not_matter(motion_folder: Path, noisy: Path, tmp_path: Path) -> None:
    from spinemed.motion.dataset.predictions import MotionPrediction, read_prediction, write_prediction

    for path in noisy.glob("*.npz"):
        given = read_prediction(path)
        assert given.points_mm is not None
        assert given.angles_deg is not None
        write_prediction(
            tmp_path,
            path.stem,
            MotionPrediction(
                names=given.names[::-1], points_mm=given.points_mm[:, ::-1], segments=given.segments[::-1],
                angles_deg=given.angles_deg[:, ::-1],
            ),
        )  # fmt: skip
    one, other = (evaluate_folder(motion_folder, each, **QUICK) for each in (noisy, tmp_path))
    for key in ("all/p_mpjpe_mm", "spine/root_mpjpe_mm", "vertebrae/mpjpe_mm", "lumbar/flexion_mae_deg"):
        assert value(one, key) == pytest.approx(value(other, key), abs=1e-6)
    assert other.families == ("points", "angles")


@pytest.fixture
def broken(noisy: Path, tmp_path: Path, motion_dataset: MotionDataset) -> tuple[Path, list[str]]:
    """The noisy predictions, with one fault in each of the first nine clips."""
    from dataclasses import replace

    from spinemed.motion.dataset.predictions import read_prediction, write_prediction

    folder = tmp_path / "mine"
    shutil.copytree(noisy, folder)
    names = [row.clip_id for row in motion_dataset.rows]
    (folder / f"{names[0]}.npz").unlink()
    (folder / f"{names[1]}.npz").write_bytes(b"")
    nothing = {"angles_deg": None, "angles_sd_deg": None, "pixels": None, "confidence": None}
    changes: dict[int, Callable[[Any], dict[str, Any]]] = {
        2: lambda p: {"points_mm": p.points_mm / 1000},
        3: lambda p: {**nothing, "points_mm": p.points_mm[:-3]},
        4: lambda p: {"points_mm": p.points_mm[:, SIDES]},
        5: lambda p: {**nothing, "points_mm": np.full_like(p.points_mm, np.nan)},
        6: lambda p: {"angles_deg": np.radians(p.angles_deg)},
        7: lambda p: {"pixels": p.pixels[:1], "confidence": p.confidence[:1]},
    }
    for place, change in changes.items():
        given = read_prediction(folder / f"{names[place]}.npz")
        write_prediction(folder, names[place], replace(given, **change(given)))
    np.savez(folder / f"{names[8]}.npz", names=np.array(["left_elbow", "tail"]), points_mm=np.zeros((20, 2, 3)))
    return folder, names


def test_every_fault_is_named_and_the_other_clips_are_scored(
    motion_folder: Path, noisy: Path, broken: tuple[Path, list[str]]
) -> None:
    folder, names = broken
    scores, whole = evaluate_folder(motion_folder, folder, **QUICK), evaluate_folder(motion_folder, noisy, **QUICK)
    clips = {clip.clip: clip for clip in scores.clips}
    assert clips[names[0]].status == "no prediction"
    words = {1: "is empty", 2: "look like m", 3: "holds 17 frames, the clip has 20", 5: "all values are NaN",
             6: "radians", 7: "holds 1 views, the clip has 2", 8: "'tail'"}  # fmt: skip
    for place, text in words.items():
        clip = clips[names[place]]
        assert clip.status == "unusable prediction"
        assert text in clip.errors[0].text
        assert "Cure" in clip.errors[0].text
        assert clip.errors[0].file == f"PREDICTION/{names[place]}.npz"
        assert clip.values["spine/mpjpe_capped_mm"] == 500.0
        assert clip.values["spine/oks"] == clip.values["all/pck50"] == 0.0
        assert "spine/mpjpe_mm" not in clip.values
    assert [flag.name for flag in clips[names[4]].flags] == ["sides_swapped"]
    assert clips[names[4]].status == "scored"
    for clip in whole.clips[9:]:
        assert clips[clip.clip] == clip  # nothing of theirs has changed
    assert scores.row().missed == 8
    assert scores.row().values["spine/mpjpe_mm"].n == 6
    assert scores.row().values["spine/mpjpe_capped_mm"].n == 14
    spine = next(one for one in scores.pictures if one.group == "spine")
    assert spine.undetected >= 8 * 2 * 20
    assert spine.ap is not None
    assert spine.ap < 0.5


def test_exit_codes_and_the_terminal(
    spinemed: Callable[..., subprocess.CompletedProcess[str]], motion_folder: Path, broken: tuple[Path, list[str]],
    tmp_path: Path,
) -> None:  # fmt: skip
    folder, names = broken
    out = tmp_path / "out"
    done = spinemed("motion", "evaluate", "--reference", motion_folder, "--prediction", folder, "--out", out,
                    "--published", "--resamples", 200)  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert f"{names[2]}: unusable prediction: MotionError" in done.stdout
    assert "simulated motion" in done.stdout
    assert "SpinePose-l with SIMSPINE" in done.stdout
    assert "left and right look exchanged in 20 of 20 frames" in done.stdout
    assert read_scores(out).name == "mine"
    page = (out / "report.html").read_text()
    assert "holds 17 frames" in page
    assert "Simulated data" in page
    for nowhere in (motion_folder, folder):
        assert str(nowhere) not in page
    wrong = spinemed("motion", "evaluate", "--reference", folder, "--prediction", folder, "--out", tmp_path / "none")
    assert wrong.returncode == 2
    assert "no finished data set" in wrong.stderr
    assert not (tmp_path / "none").exists()


def test_nothing_to_score_is_an_error(motion_folder: Path, perfect: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="is no folder"):
        evaluate_folder(motion_folder, tmp_path / "absent")
    (tmp_path / "other.npz").write_bytes(b"")
    with pytest.raises(ReadError, match="holds no NPZ named after one of the 14 clips"):
        evaluate_folder(motion_folder, tmp_path)
    with pytest.raises(ReadError, match="data set"):
        evaluate_folder(tmp_path, perfect)


def test_only_the_split_asked_for(
    motion_folder: Path, perfect: Path, motion_dataset: MotionDataset, tmp_path: Path
) -> None:
    test = [row.clip_id for row in motion_dataset.rows if row.split == "test"]
    for name in test:
        shutil.copy(perfect / f"{name}.npz", tmp_path)
    scores = evaluate_folder(motion_folder, tmp_path, settings=Settings(split="test"), **QUICK)
    assert [clip.clip for clip in scores.clips] == test
    assert not scores.failed
    everything = evaluate_folder(motion_folder, tmp_path, **QUICK)
    assert everything.counts["no_prediction"] == 14 - len(test)
    assert any("--split" in warning for warning in everything.warnings)
    (tmp_path / "s9999_bend_000.npz").write_bytes(b"")
    again = evaluate_folder(motion_folder, tmp_path, settings=Settings(split="test"), **QUICK)
    assert again.unmatched_predictions == ("s9999_bend_000",)


def test_a_group_is_scored_only_if_all_its_points_are_named(
    motion_folder: Path, predict: Predict, tmp_path: Path
) -> None:
    kept = [name for name in POINT_NAMES[:37] if name not in ("left_wrist", "right_heel")]

    def fewer(clip_id: str, arrays: dict[str, Any]) -> dict[str, Any]:
        columns = [POINT_NAMES.index(name) for name in kept]
        return {"names": tuple(kept), "points_mm": arrays["points_mm"][:, columns]}

    scores = evaluate_folder(motion_folder, predict(tmp_path, fewer), **QUICK)
    assert scores.groups == ("spine", "simspine_15")
    assert scores.groups_left_out == {"all": 2, "body": 1, "feet": 1, "vertebrae": 24}
    assert len(scores.points) == 35
    assert not scores.levels
    assert not scores.pictures
    assert "all/mpjpe_mm" not in scores.row().values


def test_a_damaged_reference_clip_is_left_out_and_counted(motion_folder: Path, perfect: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ds"
    shutil.copytree(motion_folder, folder)
    for shard in sorted((folder / "shards").iterdir())[:1]:
        shard.write_bytes(b"not HDF5")
    scores = evaluate_folder(folder, perfect, **QUICK)
    bad = [clip for clip in scores.clips if clip.status == "unusable reference"]
    assert bad
    assert bad[0].errors[0].part == "reference"
    assert bad[0].errors[0].file is not None
    assert bad[0].errors[0].file.startswith("REFERENCE/")
    assert len(scores.failed) == len(bad)
    if scores.summary:
        assert scores.row().clips == scores.counts["clips"] - len(bad)


def test_equal_inputs_give_equal_bytes_and_a_safe_page(motion_folder: Path, noisy: Path, tmp_path: Path) -> None:
    pages = []
    for place, published in (("one", True), ("two", True), ("three", False)):
        out = tmp_path / place
        evaluate_folder(motion_folder, noisy, out, name="<b>mine</b> $x$", published=published, **QUICK)
        pages.append((out / "report.html").read_text())
        assert (out / "scores.json").read_bytes() == (tmp_path / "one" / "scores.json").read_bytes()
    assert read_scores(tmp_path / "one").name == "<b>mine</b> $x$"
    assert pages[0] == pages[1]
    assert "<b>mine" not in pages[0]
    assert "<script" not in pages[0]
    assert "http" not in pages[0].replace("http-equiv", "")
    assert "Research use only" in pages[0]
    assert "no person was measured" in pages[0]
    assert "Published results" in pages[0]
    assert "Published results" not in pages[2]
    assert pages[0].count("data:image/png;base64,") == 3 + 6  # levels, coverage, points; six strips


def test_scores_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="cannot be read"):
        read_scores(tmp_path)
    (tmp_path / "scores.json").write_text(json.dumps({"kind": "verse scores"}))
    with pytest.raises(RecordError, match="motion scores"):
        read_scores(tmp_path)


def test_rigid_lengths_of_the_reference_hardly_change(motion_dataset: MotionDataset) -> None:
    from bench.motion.scoring import reference_points
    from spinemed.metrics.motion import segment_variation_percent

    for row in motion_dataset.rows[:4]:
        points = reference_points(motion_dataset.clip(row.clip_id))
        assert segment_variation_percent(points, LENGTHS["rigid parts"]).max() < 1e-3
        assert segment_variation_percent(points, LENGTHS["neighbouring vertebrae"]).max() < 3.0
