"""Keypoint files of detectors: what each format means, what is guessed and said, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spinemed.errors import SpineMedError
from spinemed.motion import build_model, keypoint_markers, marker_points
from spinemed.motion.cameras import camera_ring, project
from spinemed.motion.io.keypoints import LAYOUTS, keypoint_clip, read_keypoints, to_spinetrack
from spinemed.motion.io.views import find_views, read_views
from spinemed.motion.keypoints import SPINETRACK_37
from spinemed.motion.triangulate import triangulate


def points_mm(frames: int = 4) -> np.ndarray:
    model = build_model()
    q = model.zero(frames)
    q[:, 1] = 20.0 * np.arange(frames)
    q[:, 2] = 950.0
    return marker_points(model, q, keypoint_markers(model))


def names_of(file: Path) -> set[str]:
    return {flag.name for flag in read_keypoints(file).flags}


def test_layouts_have_their_published_lengths() -> None:
    assert {name: len(points) for name, points in LAYOUTS.items()} == {
        "coco17": 17, "halpe26": 26, "h36m17": 17, "spinetrack37": 37, "simspine15": 15,
    }  # fmt: skip
    assert all(len(set(points)) == len(points) for points in LAYOUTS.values())


def test_arrays_in_metres_become_millimetres_and_say_so(tmp_path: Path) -> None:
    true = points_mm()
    np.save(tmp_path / "a.npy", true / 1000)
    clip = read_keypoints(tmp_path / "a.npy")
    assert clip.layout == "spinetrack37"
    assert "unit_assumed" in {flag.name for flag in clip.flags}
    np.testing.assert_allclose(clip.points, true)
    declared = read_keypoints(tmp_path / "a.npy", unit="m", kind="3d", rate_hz=50)
    assert declared.flags == ()
    assert declared.rate_hz == 50
    np.savez(tmp_path / "b.npz", points=true[:, :17], names=np.array(SPINETRACK_37[:17]), rate_hz=25.0)
    named = read_keypoints(tmp_path / "b.npz", unit="mm")
    assert (named.layout, named.rate_hz) == ("coco17", 25.0)


def test_seventeen_points_in_space_are_human36m_unless_told(tmp_path: Path) -> None:
    cloud = np.random.default_rng(0).uniform(-800, 800, (5, 17, 3))
    np.save(tmp_path / "a.npy", cloud)
    clip = read_keypoints(tmp_path / "a.npy", kind="3d", unit="mm")
    assert clip.layout == "h36m17"
    assert [flag.name for flag in clip.flags] == ["layout_assumed"]
    assert read_keypoints(tmp_path / "a.npy", kind="3d", unit="mm", layout="coco17").names[0] == "nose"
    inside = to_spinetrack(clip)
    shown = {name for name, gone in zip(inside.names, np.isnan(inside.points[0, :, 0]), strict=True) if not gone}
    assert "left_knee" in shown
    assert not shown & {"neck", "hip", "spine_04"}, "joints inside the body are no skin points"


def test_three_columns_of_pixels_and_scores_are_told_from_space(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = np.concatenate([rng.uniform(0, 900, (6, 26, 2)), rng.uniform(0.2, 1, (6, 26, 1))], axis=-1)
    clip = keypoint_clip(flat)
    assert clip.flat
    assert clip.layout == "halpe26"
    np.testing.assert_allclose(clip.confidence, flat[..., 2])
    assert [flag.name for flag in clip.flags] == ["kind_assumed"]


def coco(frames: int, keypoints: int = 17) -> dict[str, object]:
    rows = [
        {"image_id": f"cam1_{9 - i:06d}.jpg", "bbox": [0, 0, 9, 9], "keypoints": [float(i), 2.0, 2] * keypoints}
        for i in range(frames)
    ]
    return {"info": {"rate_hz": 30}, "annotations": rows}


def test_coco_files_are_ordered_by_image_and_invisible_points_are_missing(tmp_path: Path) -> None:
    value = coco(3)
    value["annotations"][0]["keypoints"][2] = 0  # type: ignore[index]
    file = tmp_path / "coco.json"
    file.write_text(json.dumps(value))
    clip = read_keypoints(file)
    assert clip.frame_ids == (7, 8, 9)
    assert clip.points[:, 5, 0].tolist() == [2, 1, 0]
    assert np.isnan(clip.points[2, 0]).all()
    assert clip.confidence[2, 0] == 0
    assert clip.rate_hz == 30


def test_openpose_folders_give_a_frame_each_and_an_empty_frame_is_missing(tmp_path: Path) -> None:
    for number in range(3):
        people = [] if number == 1 else [{"pose_keypoints_2d": [10.0 + number, 5.0, 0.9] * 26}]
        (tmp_path / f"cam_{number:012d}_keypoints.json").write_text(json.dumps({"people": people}))
    clip = read_keypoints(tmp_path, kind="2d")
    assert clip.frame_ids == (0, 1, 2)
    assert np.isnan(clip.points[1]).all()
    assert clip.points[2, 0].tolist() == [12.0, 5.0]


def test_parquet_columns_name_their_points(tmp_path: Path) -> None:
    columns = {f"{name}_{axis}": np.arange(4) * 100.0 + k for k, name in enumerate(("C1", "L5")) for axis in "xy"}
    pq.write_table(pa.table({"frame": [3, 4, 5, 6], **columns}), tmp_path / "a.parquet")
    clip = read_keypoints(tmp_path / "a.parquet")
    assert clip.names == ("C1", "L5")
    assert clip.frame_ids == (3, 4, 5, 6)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.npy", b"", "is empty"),
        ("a.npy", b"\x93NUMPY nothing", "cannot be read"),
        ("a.npz", b"PK\x03\x04 cut", "cannot be read"),
        ("a.json", b"", "is empty"),
        ("a.json", b'{"annotations": [', "cut off"),
        ("a.json", b'{"annotations": []}', "no annotation"),
        ("a.json", b'{"some": 1}', "neither COCO"),
        ("a.json", b'[{"image_id": 1, "keypoints": [1, 2]}]', "no triples"),
        ("a.json", b'{"people": [{}, {}]}', "2 people"),
        ("a.parquet", b"PAR1 cut", "no complete Parquet"),
        ("a.csv", b"1,2", "no kind of keypoint file"),
    ],
)
def test_unreadable_files_are_named_with_a_cure(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpineMedError, match=words) as caught:
        read_keypoints(tmp_path / name)
    assert name in str(caught.value)
    assert caught.value.cure


def test_pickles_two_people_and_nothing_visible_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SpineMedError, match="pickled"):
        read_keypoints(tmp_path / "p.npy")
    value = coco(2)
    value["annotations"][1]["image_id"] = value["annotations"][0]["image_id"]  # type: ignore[index]
    (tmp_path / "two.json").write_text(json.dumps(value))
    with pytest.raises(SpineMedError, match="two people"):
        read_keypoints(tmp_path / "two.json")
    for bad, words in (
        (np.full((3, 37, 3), np.nan), "visible"), (np.zeros((3, 9, 2)), "no layout has 9"),
        (np.ones((3, 37, 3)) * 1e-9, "no unit"), (np.ones((3, 37)), "no layout|holds no keypoints|columns"),
    ):  # fmt: skip
        with pytest.raises(SpineMedError, match=words):
            keypoint_clip(bad, kind=None if bad.ndim == 2 else "3d" if bad.shape[-1] == 3 else "2d")


def test_cameras_are_matched_by_name_and_frame_and_triangulate(tmp_path: Path) -> None:
    cameras, true = camera_ring(4), points_mm(6)
    pixels = project(cameras, true)
    for camera, own in zip(cameras, pixels, strict=True):
        np.savez(tmp_path / f"{camera.name}.npz", keypoints=own, confidence=np.ones(own.shape[:2]))
    views = read_views(find_views(tmp_path, cameras), cameras)
    assert views.pixels.shape == (4, 6, 37, 2)
    assert views.flags == ()
    found = triangulate(views.cameras, views.pixels, views.confidence).points_mm
    assert np.abs(found - true).max() < 0.1
    with pytest.raises(SpineMedError, match="1 camera"):
        read_views({cameras[0].name: tmp_path / "cam_01.npz"}, cameras)
    with pytest.raises(SpineMedError, match="not calibrated"):
        read_views({"other": tmp_path / "cam_01.npz"}, cameras)
    (tmp_path / "cam_02.npz").unlink()
    with pytest.raises(SpineMedError, match="no keypoints of camera 'cam_02'"):
        find_views(tmp_path, cameras)
    fewer = [camera for camera in cameras if camera.name != "cam_02"]
    left = read_views(find_views(tmp_path, fewer), cameras)
    assert [flag.name for flag in left.flags] == ["cameras_unused"]


def test_cameras_that_show_different_frames_are_aligned_by_number_and_flagged(tmp_path: Path) -> None:
    cameras = camera_ring(2)
    for camera, numbers in zip(cameras, (range(5), range(2, 7)), strict=True):
        rows = [{"image_id": i, "keypoints": [float(i), 1.0, 2] * 37} for i in numbers]
        (tmp_path / f"{camera.name}.json").write_text(json.dumps(rows))
    views = read_views(find_views(tmp_path, cameras), cameras)
    assert views.frame_ids == tuple(range(7))
    assert np.isnan(views.pixels[1, 0]).all()
    assert views.pixels[0, 3, 0, 0] == views.pixels[1, 3, 0, 0] == 3
    assert [flag.name for flag in views.flags] == ["frames_differ"]
