"""Lifters and what they must beat: inputs mean what they say, training repeats and resumes, bad data is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from spinemed.config import load_config
from spinemed.errors import ModelError, RunError
from spinemed.motion import MotionError
from spinemed.motion.cameras import Camera, camera_ring, look_at, write_calibration
from spinemed.motion.dataset import SimulatedClip, read_dataset
from spinemed.motion.dataset.config import SimulateConfig
from spinemed.motion.dataset.predictions import MotionPrediction, read_prediction, write_prediction
from spinemed.motion.dataset.produce import simulate
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.tables import write_json
from train.lifting.baselines import fit_linear, lay_in, rest_body, similar_to_truth
from train.lifting.inputs import (
    POINTS,
    ROOT,
    SPINE_KEYPOINTS,
    Material,
    clip_points,
    flip_features,
    flip_points,
    gather,
    normalise,
    to_answer,
    to_world,
)
from train.lifting.lifter import LifterJob, run_lifter
from train.lifting.networks import apply_lifter, build_lifter, load_lifter
from train.lifting.pose_prior import fit_pose_prior, refine
from train.lifting.predict import lift_dataset, lift_keypoints
from train.lifting.scores import aligned, compare, root_relative_errors, score
from train.lifting.views import reconstruct

SMALL = SimulateConfig(
    subjects=6, motions=("bend", "look"), seconds=1.6, rate_hz=25, val_share=0.17, test_share=0.17, clips_per_shard=50,
    cameras={"kind": "ring", "count": 3},
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six bodies that bend and look about before three cameras."""
    folder = tmp_path_factory.mktemp("motion") / "data"
    simulate(SMALL, folder)
    return folder


@pytest.fixture(scope="module")
def clip(data: Path) -> SimulatedClip:
    """One of its test clips."""
    return next(read_dataset(data).iterate("test"))


def job(data: Path, steps: int, **more: object) -> LifterJob:
    values = {
        "data": data,
        "network": {"width": 64, "blocks": 1, "dropout": 0.0},
        "schedule": {
            "steps": steps, "batch_size": 64, "learning_rate": 3e-3, "warmup_steps": 5, "log_every": 10,
            "save_every": max(1, steps // 2),
        },
        "linear_offsets": [-2, 0, 2],
        "prior_components": 3,
        "threads": 1,
        **more,
    }  # fmt: skip
    return LifterJob.model_validate(values)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has seen its few clips often."""
    out = tmp_path_factory.mktemp("lifter") / "run"
    run_lifter(job(data, 400), out)
    return out


# --- inputs and answers ----------------------------------------------------------------------------------------------


def test_lens_and_zoom_leave_no_trace_in_the_features(clip: SimulatedClip) -> None:
    camera = clip.cameras[0]
    points = clip.keypoints_mm.astype(float)
    wide = replace(camera, matrix=np.array([[600.0, 0, 310], [0, 620.0, 240], [0, 0, 1]]), distortion=np.zeros(0))
    told = normalise(camera, camera.project(points)).features
    assert np.abs(told - normalise(wide, wide.project(points)).features).max() < 1e-4


def test_a_mirrored_person_before_a_mirrored_camera(clip: SimulatedClip) -> None:
    """Flipping features and answers is what mirroring the world does."""
    rotation, place = look_at([900.0, -4000.0, 1500.0], [0.0, 0.0, 1000.0])
    camera = Camera("c", np.array([[1000.0, 0, 500], [0, 1000, 500], [0, 0, 1]]), np.zeros(0), rotation, place, (1, 1))
    points = clip_points(clip)
    other = rotation.copy()
    other[0] *= -1  # the mirrored world's right is the camera's left
    swap = [POINTS.index({"l": "right", "r": "left"}[n[0]] + n[n.index("_") :]) if n.startswith(("left_", "right_"))
            else i for i, n in enumerate(POINTS)]  # fmt: skip
    mirrored = (camera.to_camera(points) * [-1, 1, 1])[:, swap]
    seen = camera.to_world(mirrored)
    one, two = normalise(camera, camera.project(points[:, :37])), normalise(camera, camera.project(seen[:, :37]))
    assert np.abs(flip_features(one.features) - two.features).max() < 1e-4
    answers = to_answer(camera, one, points).astype(np.float32)
    assert np.abs(flip_points(answers) - to_answer(camera, two, seen)).max() < 1e-2


def test_a_right_answer_becomes_the_right_place_in_the_world(clip: SimulatedClip) -> None:
    for camera, pixels in zip(clip.cameras, clip.pixels, strict=True):
        look = normalise(camera, pixels)
        world = to_world(camera, look, to_answer(camera, look, clip_points(clip)))
        assert np.abs(world - clip_points(clip)).max() < 0.05


def test_frames_that_show_too_little_are_not_answered(clip: SimulatedClip) -> None:
    pixels = np.array(clip.pixels[0])
    pixels[3, 5:] = np.nan
    look = normalise(clip.cameras[0], pixels)
    assert look.usable.sum() == clip.frames - 1
    world = to_world(clip.cameras[0], look, to_answer(clip.cameras[0], look, clip_points(clip)))
    assert np.isnan(world[3]).all()
    assert np.isfinite(np.delete(world, 3, axis=0)).all()


@pytest.mark.parametrize("fault", ["coco", "nan", "negative", "confidences"])
def test_keypoints_that_cannot_be_lifted_are_named(clip: SimulatedClip, fault: str) -> None:
    pixels, sure = np.array(clip.pixels[0]), np.array(clip.confidence[0])
    if fault == "coco":
        pixels, told = pixels[:, :17], "37 of SpineTrack"
    elif fault == "nan":
        pixels, told = pixels * np.nan, "no frame shows"
    elif fault == "negative":
        sure[0, 0], told = -0.5, "negative or no number"
    else:
        sure, told = sure[:, :5], "confidences of shape"
    with pytest.raises(MotionError, match=told) as caught:
        normalise(clip.cameras[0], pixels, sure)
    assert caught.value.cure


# --- what must be beaten ---------------------------------------------------------------------------------------------


def test_the_resting_body_is_laid_in_where_it_stands() -> None:
    body = rest_body([("male", 1760.0), ("female", 1640.0)])
    (camera,) = camera_ring(1)
    turns = np.radians(np.arange(0, 360, 30))
    cos, sin, zero, one = np.cos(turns), np.sin(turns), 0 * turns, 0 * turns + 1
    about = np.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], axis=-1).reshape(-1, 3, 3)
    points = np.einsum("tij,kj->tki", about, body) + np.array([100.0, -200.0, 950.0])
    look = normalise(camera, camera.project(points[:, :37]))
    assert root_relative_errors(lay_in(body, look.features), to_answer(camera, look, points)).max() < 1.0
    half = similar_to_truth(body, 0.5 * to_answer(camera, look, points))
    assert root_relative_errors(half, 0.5 * to_answer(camera, look, points)).max() < 1e-6


def toy(rng: np.random.Generator, late: int) -> Material:
    """Answers are a linear map of the features `late` frames before."""
    features = rng.normal(size=(400, 114)).astype(np.float32)
    weights = np.random.default_rng(9).normal(size=(114, 183))
    bounds = np.array([0, 150, 400])
    before = np.concatenate([np.maximum(np.arange(low, high) - late, low) for low, high in ((0, 150), (150, 400))])
    targets = (features[before] @ weights).reshape(-1, 61, 3).astype(np.float32)
    return Material(features, targets, np.ones(400, bool), bounds, ("a", "b"), ("s", "s"), ("m", "m"), (0, 1))


def test_regression_finds_a_linear_law_and_looks_around_only_where_told() -> None:
    rng = np.random.default_rng(0)
    learned, judged = toy(rng, late=2), toy(rng, late=2)
    around = fit_linear(learned, judged, offsets=(-2, 0))
    alone = fit_linear(learned, judged)
    wrong = [np.abs(one(judged.features, judged.bounds) - judged.targets).mean() for one in (around, alone)]
    assert wrong[0] < 0.05
    assert wrong[1] > 5.0


def test_scores_are_root_relative_and_clustered(data: Path) -> None:
    material = gather(read_dataset(data).iterate())
    moved = material.targets + np.array([30.0, 0, 0], dtype=np.float32)
    assert score(material, moved)["all_mm"].max() < 1e-3  # the root moved along
    off = material.targets.copy()
    off[:, SPINE_KEYPOINTS[0]] += np.array([0, 0, 8.0], dtype=np.float32)
    assert score(material, off)["spine_mm"] == pytest.approx(1.0, abs=1e-3)
    assert score(material, off)["centroids_mm"].max() < 1e-3
    assert np.abs(aligned(2.0 * moved, material.targets) - material.targets).max() < 0.1
    scores = {"lifter": score(material, material.targets), "other": score(material, off)}
    table = compare(material, scores, first="lifter", seed=0, group=range(len(material.clips)))
    assert table["subjects"] == 6
    assert table["methods"]["other"]["spine_mm_minus_lifter"]["clusters"] == 6
    assert table["methods"]["other"]["spine_mm_minus_lifter"]["value"] == pytest.approx(1.0, abs=1e-3)


# --- training --------------------------------------------------------------------------------------------------------


def test_a_lifter_learns_its_few_clips_by_heart(data: Path, trained: Path) -> None:
    network, about = load_lifter(trained / "outputs/model")
    material = gather(read_dataset(data).iterate("train"))
    errors = score(material, apply_lifter(network, material.features, material.bounds))
    body = rest_body([("male", 1760.0), ("female", 1640.0)])
    assert errors["spine_mm"].mean() < 0.5 * score(material, lay_in(body, material.features))["spine_mm"].mean()
    assert errors["spine_mm"].mean() < 20.0
    assert about["motions"] == ["bend", "look"]
    assert "Research use only" in about["note"]
    report = json.loads((trained / "outputs/report/report.json").read_bytes())
    assert set(report["tables"]["detected/held_out_subjects"]["methods"]) == {
        "lifter", "linear", "linear_window", "rest", "rest_told_the_truth",
    }  # fmt: skip
    assert "exact/motion_look" in report["tables"]


@pytest.mark.parametrize("kind", ["simple", "temporal"])
def test_a_killed_run_ends_with_the_same_bytes(
    kind: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = {"steps": 6, "batch_size": 4, "learning_rate": 1e-3, "save_every": 2, "log_every": 2}
    network = {"kind": kind, "width": 16, "blocks": 1, "dilations": [1, 2]}
    settings = job(data, 6, network=network, schedule=schedule, window=60, hold_out_motions=["look"])
    whole = run_lifter(settings, tmp_path / "whole")
    manifest = json.loads((whole / "manifest.json").read_bytes())
    assert manifest["motions"] == ["bend"]
    tables = json.loads((tmp_path / "whole/outputs/report/report.json").read_bytes())["tables"]
    assert {name for name in tables if name.startswith("detected")} == {
        "detected/held_out_subjects", "detected/held_out_motions", "detected/motion_bend", "detected/motion_look",
    }  # fmt: skip

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("train.lifting.lifter.save_lifter", killed)
        with pytest.raises(KeyboardInterrupt):
            run_lifter(settings, tmp_path / "cut")
    assert not (tmp_path / "cut/outputs/model").exists()
    shutil.rmtree(tmp_path / "cut/scratch/lifter/checkpoint-6")  # as if the kill had come in between
    run_lifter(settings, tmp_path / "cut")
    events = [json.loads(line) for line in (tmp_path / "cut/journal.jsonl").read_text().splitlines()]
    assert [event["checkpoint"] for event in events if event["event"] == "resumed"] == ["checkpoint-4"]
    for step in ("baselines", "model", "report"):
        names = {path.name for path in (tmp_path / "whole/outputs" / step).iterdir()}
        for name in names:
            one, two = (tmp_path / run / "outputs" / step / name for run in ("whole", "cut"))
            assert one.read_bytes() == two.read_bytes(), f"{step}/{name}"


def test_a_temporal_lifter_sees_as_far_as_it_says() -> None:
    import torch

    from train.lifting.networks import LifterConfig

    config = LifterConfig(kind="temporal", width=16, dilations=(1, 3))
    torch.manual_seed(0)
    network = build_lifter(config).eval()
    features = np.random.default_rng(0).normal(size=(40, 114)).astype(np.float32)
    bounds = np.array([0, 40])
    changed = features.copy()
    changed[20] += 1.0
    moved = np.abs(apply_lifter(network, features, bounds) - apply_lifter(network, changed, bounds)).max(axis=(1, 2))
    assert config.reach == 4
    assert np.flatnonzero(moved > 1e-4).tolist() == list(range(16, 25))


def test_unusable_data_sets_are_named(data: Path, tmp_path: Path) -> None:
    blind = tmp_path / "blind"
    simulate(SMALL.model_copy(update={"cameras": SMALL.cameras.model_copy(update={"kind": "none"})}), blind)
    with pytest.raises(MotionError, match="no cameras") as caught:
        run_lifter(job(blind, 2), tmp_path / "run1")
    assert caught.value.file == str(blind)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    info = json.loads((other / "dataset.json").read_bytes())
    write_json(other / "dataset.json", {**info, "keypoints": info["keypoints"][:17]})
    with pytest.raises(MotionError, match="other keypoints"):
        run_lifter(job(other, 2), tmp_path / "run2")
    with pytest.raises(MotionError, match="no clip to learn from"):
        run_lifter(job(data, 2, hold_out_motions=["bend", "look"]), tmp_path / "run3")
    assert not list(tmp_path.glob("run*/outputs/*"))
    one = next(read_dataset(data).iterate("train"))
    torn = one.centroids_mm.copy()
    torn[2, 3] = np.nan
    with pytest.raises(MotionError, match="no numbers"):
        gather([replace(one, centroids_mm=torn)])


@pytest.mark.parametrize("name", ["lifter_simple", "lifter_temporal"])
def test_shipped_configs_hold_motions_out_and_build_their_networks(name: str, root: Path) -> None:
    told = load_config(root / "configs" / f"{name}.yaml", LifterJob)
    assert told.simulate is not None
    assert set(told.hold_out_motions) < set(told.simulate.motions)
    assert sum(weight.numel() for weight in build_lifter(told.network).parameters()) > 1_000_000


# --- several views and two dimensions --------------------------------------------------------------------------------


def test_the_prior_brings_detections_nearer_and_fills_gaps(data: Path, clip: SimulatedClip) -> None:
    prior = fit_pose_prior(read_dataset(data).iterate("train"), 3)
    before, after = [], []
    for view, camera in enumerate(clip.cameras):
        told, sure = clip.detected[view].astype(float), clip.confidence[view].astype(float)
        told[5, 8] += 120.0  # one detection far off
        told[6, 3], sure[6, 3] = np.nan, 0.0
        at, now = refine(prior, camera, told, sure)
        error = np.linalg.norm(at - clip.pixels[view], axis=-1)
        assert np.isfinite(at).all()
        assert error[6, 3] < 25.0
        assert error[5, 8] < 60.0
        assert now.max() <= 1.0
        seen = np.isfinite(clip.detected[view]).all(axis=-1)
        before.append(np.linalg.norm(clip.detected[view] - clip.pixels[view], axis=-1)[seen].mean())
        after.append(error[seen].mean())
    assert np.mean(after) < 0.95 * np.mean(before)


def test_the_anatomical_fit_beats_bare_triangulation(clip: SimulatedClip) -> None:
    seen, sure = clip.detected.astype(float), clip.confidence.astype(float)
    bare = reconstruct(clip, seen, sure, fitted=False)
    whole = reconstruct(clip, seen, sure)
    assert np.isnan(bare.points_mm[:, 37:]).all()
    wrong = [np.linalg.norm(one.points_mm - clip_points(clip), axis=-1) for one in (bare, whole)]
    spine = list(SPINE_KEYPOINTS)
    assert wrong[1][:, spine].mean() < 0.8 * np.nanmean(wrong[0][:, spine])
    assert wrong[1][:, 37:].mean() < 30.0
    assert whole.angles_deg.shape == (clip.frames, 25, 3)
    one = replace(clip, cameras=clip.cameras[:1], pixels=clip.pixels[:1], detected=None, confidence=None)
    with pytest.raises(MotionError, match="1 cameras"):
        reconstruct(one, seen[:1], sure[:1])


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["lifter", "linear_window", "rest", "refine"])
def test_predictions_are_files_of_the_contract(
    method: str, data: Path, trained: Path, clip: SimulatedClip, tmp_path: Path
) -> None:
    about = lift_dataset(data, tmp_path / "out", run=trained, method=method)
    assert (about["written"], about["failed"]) == (2, {})
    made = read_prediction(tmp_path / "out" / f"{clip.clip_id}.npz")
    spine = list(SPINE_KEYPOINTS)
    wrong = np.linalg.norm(made.points_mm - clip_points(clip)[:, : len(made.names)], axis=-1)[:, spine]
    if method == "refine":
        assert made.names == SPINETRACK_37
        assert made.pixels.shape == (3, clip.frames, 37, 2)
        assert np.nanmean(wrong) < 60.0
    else:
        assert made.names == POINTS
        assert np.linalg.norm(made.points_mm[:, ROOT] - clip_points(clip)[:, ROOT], axis=-1).mean() < 1500.0
        own = np.linalg.norm(
            (made.points_mm - made.points_mm[:, ROOT : ROOT + 1])
            - (clip_points(clip) - clip_points(clip)[:, ROOT : ROOT + 1]),
            axis=-1,
        )
        assert own[:, spine].mean() < 150.0
    with pytest.raises(RunError, match="not empty"):
        lift_dataset(data, tmp_path / "out", run=trained, method=method)


def test_a_detectors_files_take_the_place_of_the_data_sets(
    data: Path, trained: Path, clip: SimulatedClip, tmp_path: Path
) -> None:
    turned = SPINETRACK_37[::-1]
    for one in read_dataset(data).iterate("test"):
        pixels = one.detected[:, :, ::-1].astype(float)
        write_prediction(
            tmp_path / "seen", one.clip_id,
            MotionPrediction(names=turned, pixels=pixels, confidence=one.confidence[:, :, ::-1]),
        )  # fmt: skip
    lift_dataset(data, tmp_path / "own", run=trained)
    lift_dataset(data, tmp_path / "files", run=trained, detections=tmp_path / "seen")
    name = f"{clip.clip_id}.npz"
    assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()
    (tmp_path / "seen" / name).unlink()
    about = lift_dataset(data, tmp_path / "fewer", run=trained, detections=tmp_path / "seen")
    assert about["written"] == 1
    assert "has no detections" in about["failed"][clip.clip_id]


def test_a_clip_of_ones_own_is_lifted_by_command(trained: Path, clip: SimulatedClip, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from train.cli import app

    np.savez(
        tmp_path / "walk.npz", keypoints=clip.detected[1].astype(float), confidence=clip.confidence[1].astype(float),
        names=np.array(SPINETRACK_37),
    )  # fmt: skip
    write_calibration(tmp_path / "cameras.toml", clip.cameras)
    own = ["--keypoints", tmp_path / "walk.npz", "--calibration", tmp_path / "cameras.toml", "--out", tmp_path / "out"]
    asked = CliRunner().invoke(app, ["lift", str(trained), *map(str, own), "--camera", clip.cameras[1].name])
    assert asked.exit_code == 0, asked.output
    made = read_prediction(tmp_path / "out/walk.npz")
    assert made.points_mm.shape == (clip.frames, 61, 3)
    np.savez(tmp_path / "coco.npz", keypoints=clip.detected[1, :, :17].astype(float))
    with pytest.raises(MotionError, match="not in the layout coco17"):
        lift_keypoints(tmp_path / "coco.npz", tmp_path / "cameras.toml", tmp_path / "x", run=trained, camera="cam_01")
    with pytest.raises(MotionError, match="holds 3 cameras"):
        lift_keypoints(tmp_path / "walk.npz", tmp_path / "cameras.toml", tmp_path / "x", run=trained)
    with pytest.raises(ModelError, match="no finished lifter"):
        lift_keypoints(tmp_path / "walk.npz", tmp_path / "cameras.toml", tmp_path / "x", run=tmp_path)
    assert not (tmp_path / "x").exists()
