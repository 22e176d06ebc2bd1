"""Data sets of motion: same bytes whatever the workers and interruptions, read back whole, and in formats of others."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from spinemed.config import load_config
from spinemed.errors import ConfigError, MissingPartError, ReadError, RunError
from spinemed.motion.cameras import read_calibration
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset import LEVELS, SEGMENTS, SimulatedClip, read_dataset
from spinemed.motion.dataset.config import SimulateConfig, plan_clips
from spinemed.motion.dataset.formats import FORMATS, parse_formats, write_formats
from spinemed.motion.dataset.produce import generate_planned, simulate
from spinemed.motion.io.mot import read_mot
from spinemed.motion.io.trc import read_trc
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.resources import configs_dir

SMALL: dict[str, Any] = {
    "subjects": 4, "motions": ["bend", "gait"], "seconds": 0.5, "clips_per_shard": 3, "val_share": 0.25,
    "test_share": 0.25, "seed": 5, "cameras": {"kind": "ring", "count": 2},
}  # fmt: skip


def config(**changes: Any) -> SimulateConfig:
    return SimulateConfig.model_validate({**SMALL, **changes})


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("motion") / "set"
    assert simulate(config(), folder) == {"clips": 8, "frames": 200, "shards": 3, "kept": 0}
    return folder


def test_workers_and_interruptions_leave_no_trace(made: Path, tmp_path: Path) -> None:
    """Two processes; a shard that was cut, one that is missing, and one left over half-written."""
    other = tmp_path / "other"
    simulate(config(), other)
    (other / "dataset.json").unlink()
    shards = other / "shards"
    whole = (shards / "shard_00001.h5").read_bytes()
    (shards / "shard_00001.h5").write_bytes(whole[: len(whole) // 2])
    (shards / "shard_00002.h5").unlink()
    (shards / ".shard_00002.h5.tmp").write_bytes(b"half")
    assert simulate(config(), other, workers=2)["kept"] == 1
    assert digests(other) == digests(made)
    assert simulate(config(), other)["kept"] == 3


def test_a_folder_holds_one_data_set(made: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="another config"):
        simulate(config(seed=6), made)
    (tmp_path / "letter.txt").write_text("not mine")
    with pytest.raises(RunError, match="not empty"):
        simulate(config(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(RunError, match="workers"):
        simulate(config(), tmp_path / "new", workers=0)


def test_clips_come_back_as_they_were_made(made: Path) -> None:
    data = read_dataset(made)
    assert len(data) == 8
    planned = plan_clips(config())
    for row, plan in zip(data.rows, planned, strict=True):
        found, truth = data.clip(row.clip_id), generate_planned(config(), plan)
        for name in ("q", "angles_deg", "keypoints_mm", "centroids_mm", "pixels", "detected", "confidence"):
            np.testing.assert_array_equal(getattr(found, name), getattr(truth, name), err_msg=name)
        assert found.model().stature_mm == truth.model().stature_mm
        assert found.scale == truth.scale
        np.testing.assert_array_equal(found.cameras[1].matrix, truth.cameras[1].matrix)
        np.testing.assert_allclose(found.model().spine_angles_deg(found.q), found.angles_deg, atol=1e-4)
    table = data.clips
    assert list(table["clip_id"]) == [row.clip_id for row in data.rows]
    assert table.groupby("subject")["split"].nunique().max() == 1, "a subject is in two splits"
    assert set(table["split"]) == {"train", "val", "test"}
    found = [clip.clip_id for split in ("train", "val", "test") for clip in data.iterate(split)]
    assert sorted(found) == sorted(table["clip_id"])
    assert len(list(data.iterate())) == 8


def test_the_folder_explains_itself(made: Path) -> None:
    info = json.loads((made / "dataset.json").read_text())
    assert info["schema"] == "spinemed-motion-1"
    assert info["keypoints"] == list(SPINETRACK_37)
    assert info["segments"] == list(SEGMENTS)
    assert info["levels"][0] == "C1"
    assert info["counts"]["frames"] == 200
    assert "simulated" in info["note"]
    with h5py.File(made / "shards" / "shard_00000.h5") as file:
        assert file["pixels"].shape == (75, 2, 37, 2)
        assert file["angles_deg"].shape == (75, 25, 3)
    cameras = read_calibration(made / "cameras.toml")
    clip = read_dataset(made).clip("s0000_bend_000")
    assert [camera.name for camera in cameras] == [camera.name for camera in clip.cameras]
    np.testing.assert_allclose(cameras[0].translation_mm, clip.cameras[0].translation_mm, atol=1e-6)


def test_wrong_and_damaged_folders_are_named(made: Path, tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"dataset\.json"):
        read_dataset(tmp_path)
    (tmp_path / "dataset.json").write_text('{"schema": "other"}')
    with pytest.raises(ReadError, match="other"):
        read_dataset(tmp_path)
    data = read_dataset(made)
    with pytest.raises(MotionError, match="s0000_bend_000"):
        data.clip("nobody")
    with pytest.raises(MotionError, match="train"):
        list(data.iterate("all"))
    copy = tmp_path / "copy"
    simulate(config(subjects=1, val_share=0, test_share=0), copy)
    (copy / "shards" / "shard_00000.h5").write_bytes(b"no HDF5")
    with pytest.raises(ReadError, match="no whole shard") as broken:
        read_dataset(copy).clip("s0000_bend_000")
    assert "shard_00000.h5" in str(broken.value)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"motions": ["dance"]}, "gait"),
        ({"rhythms": {"rom": 0}}, "weights"),
        ({"test_share": 0.6, "val_share": 0.5}, "training"),
        ({"seconds": 0.01}, "two frames"),
        ({"cameras": {"kind": "drone"}}, "ring"),
        ({"subject": 3}, "subjects"),
    ],
)
def test_impossible_configs_are_refused(change: dict[str, Any], word: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps({**SMALL, **change}))
    with pytest.raises(ConfigError, match=word):
        load_config(path, SimulateConfig)


def test_the_bundled_config_is_valid() -> None:
    job = load_config(configs_dir() / "motion_simspine.yaml", SimulateConfig)
    assert job.clips * job.frames == 60_000


def test_cameras_may_differ_by_subject_or_clip_or_be_absent(tmp_path: Path) -> None:
    def clips(kind: str) -> list[SimulatedClip]:
        job = config(cameras={"kind": kind, "count": 2}, subjects=2, seconds=0.1)
        return [generate_planned(job, plan) for plan in plan_clips(job)]

    jittered = [clip.cameras[0].place_mm.tolist() for clip in clips("jittered")]
    assert jittered[0] == jittered[1]
    assert jittered[0] != jittered[2]
    drawn = [clip.cameras[0].place_mm.tolist() for clip in clips("random")]
    assert drawn[0] != drawn[1]
    bare = clips("none")
    assert bare[0].pixels is None
    simulate(config(cameras={"kind": "none"}, subjects=2, seconds=0.1, compression="gzip"), tmp_path / "bare")
    again = read_dataset(tmp_path / "bare").clip("s0001_gait_000")
    np.testing.assert_array_equal(again.q, bare[3].q)
    assert again.cameras == ()
    with pytest.raises(ConfigError, match="views"):
        write_formats(tmp_path / "bare", ("coco",))


def test_other_programs_formats_hold_the_same_motion(made: Path) -> None:
    counts = write_formats(made, FORMATS)
    assert counts == {"npz": 8, "coco": 3, "parquet": 3, "trc": 8, "mot": 8}
    clip = read_dataset(made).clip("s0001_gait_000")
    trc = read_trc(made / "trc" / "s0001_gait_000.trc")
    assert trc.names == (*SPINETRACK_37, *(str(level) for level in LEVELS))
    np.testing.assert_allclose(trc.points_mm[:, :37], clip.keypoints_mm, atol=1e-4)
    mot = read_mot(made / "mot" / "s0001_gait_000.mot")
    lumbar = mot.values[:, mot.names.index("L4_L5_Flex_Ext")]
    np.testing.assert_allclose(lumbar, -clip.angles_deg[:, 1, 0], atol=1e-4)
    with np.load(made / "npz" / "s0001_gait_000.npz") as arrays:
        np.testing.assert_array_equal(arrays["q"], clip.q)
        assert arrays["camera_matrix"].shape == (2, 3, 3)
    import pyarrow.parquet as pq

    table = pq.read_table(made / "parquet" / "shard_00001.parquet").to_pandas()
    own = table[table["clip_id"] == "s0001_gait_000"]
    np.testing.assert_array_equal(own["L4/5.flexion_deg"], clip.angles_deg[:, 1, 0])
    np.testing.assert_array_equal(own["C1.z_mm"], clip.centroids_mm[:, 0, 2])


def test_coco_is_what_coco_readers_expect(made: Path) -> None:
    write_formats(made, ("coco",))
    data = read_dataset(made)
    coco = json.loads((made / "coco" / "test.json").read_text())
    (category,) = coco["categories"]
    assert len(category["keypoints"]) == len(category["sigmas"]) == 37
    assert max(max(edge) for edge in category["skeleton"]) <= 37
    assert min(min(edge) for edge in category["skeleton"]) >= 1
    clips = list(data.iterate("test"))
    assert len(coco["images"]) == len(coco["annotations"]) == len(clips) * 2 * 5
    image = coco["images"][-1]
    annotation = next(a for a in coco["annotations"] if a["image_id"] == image["id"])
    clip = next(c for c in clips if c.clip_id == image["clip_id"])
    view = [camera.name for camera in clip.cameras].index(image["camera"])
    assert clip.pixels is not None
    truth = clip.pixels[view, image["frame"]]
    at = np.array(annotation["keypoints"]).reshape(37, 3)
    seen = np.isfinite(truth).all(axis=1)
    np.testing.assert_array_equal(at[:, 2], np.where(seen, 2, 0))
    np.testing.assert_allclose(at[seen, :2], truth[seen], atol=0.01)
    assert annotation["num_keypoints"] == seen.sum()
    x, y, width, height = annotation["bbox"]
    assert (at[seen, 0] <= x + width + 0.02).all()
    assert (at[seen, 1] >= y).all()
    assert height > 0


def test_unknown_formats_and_a_missing_ray_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fbx"):
        parse_formats("npz,fbx")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPartError, match=r"spinemed\[ray\]"):
        simulate(config(), tmp_path / "set", ray_address="auto")
    assert not (tmp_path / "set").exists()


def test_the_command_says_what_it_made(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from spinemed.motion.cli import app

    arguments = [
        "simulate", "--out", str(tmp_path / "set"), "--subjects", "2", "--motions", "twist,sit", "--seconds", "0.2",
        "--set", "cameras.kind=none", "--format", "trc",
    ]  # fmt: skip
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    report = json.loads(done.stdout.strip().splitlines()[-1])
    assert (report["clips"], report["frames"], report["files"]) == (4, 40, {"trc": 4})
    assert report["poses_per_s"] > 0
    assert len(read_dataset(tmp_path / "set")) == 4
