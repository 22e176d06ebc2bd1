"""Cameras and triangulation: exact where projections are exact, honest where they are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from spinemed.errors import SpineMedError
from spinemed.motion.cameras import camera_ring, project, read_calibration, undistort, write_calibration
from spinemed.motion.triangulate import triangulate


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.random.default_rng(0).uniform([-500, -500, 200], [500, 500, 1800], (40, 5, 3))


def test_pixels_are_opencvs(points: np.ndarray) -> None:
    camera = camera_ring()[1]
    expected, _ = cv2.projectPoints(
        points.reshape(-1, 3),
        cv2.Rodrigues(camera.rotation)[0],
        camera.translation_mm,
        camera.matrix,
        camera.distortion,
    )
    np.testing.assert_allclose(camera.project(points).reshape(-1, 2), expected.reshape(-1, 2), atol=1e-6)
    # Camera coordinates are R X + t: their third entry is the depth along the optical axis.
    assert (camera.to_camera(points)[..., 2] > 0).all()
    np.testing.assert_allclose(camera.to_world(camera.to_camera(points)), points, atol=1e-6)


def test_exact_projections_through_real_lenses_give_the_points_back(points: np.ndarray) -> None:
    cameras = camera_ring(4)
    for method in ("dlt", "robust"):
        found = triangulate(cameras, project(cameras, points), method=method)
        assert np.abs(found.points_mm - points).max() < 0.1
    flat = undistort(cameras, project(cameras, points))
    assert np.isfinite(flat).all()


def test_one_wrong_camera_is_left_out(points: np.ndarray) -> None:
    cameras = camera_ring(4)
    pixels = project(cameras, points)
    pixels[2, :, 1] += 60.0
    found = triangulate(cameras, pixels)
    assert np.abs(found.points_mm - points).max() < 0.5
    assert not found.used[2, :, 1].any()
    assert found.used[2, :, 0].all()


def test_the_covariance_tells_how_far_noise_carries(points: np.ndarray) -> None:
    cameras = camera_ring(4)
    noisy = project(cameras, points) + np.random.default_rng(1).normal(0, 3.0, (4, 40, 5, 2))
    found = triangulate(cameras, noisy, sigma_px=3.0, method="robust")
    error = (found.points_mm - points).reshape(-1, 3)
    spread = found.covariance_mm2.reshape(-1, 3, 3)
    distance = np.einsum("ni,nij,nj->n", error, np.linalg.inv(spread), error)
    assert 2.3 < distance.mean() < 3.9  # three degrees of freedom


def test_what_one_camera_sees_is_no_point(points: np.ndarray) -> None:
    cameras = camera_ring(4)
    with pytest.raises(SpineMedError, match="camera"):
        triangulate(cameras[:1], project(cameras[:1], points))
    pixels = project(cameras, points)
    pixels[1:, 3, 2] = np.nan
    found = triangulate(cameras, pixels)
    assert np.isnan(found.points_mm[3, 2]).all()
    assert found.unseen == 1
    assert np.isfinite(np.delete(found.points_mm.reshape(-1, 3), 3 * 5 + 2, axis=0)).all()


def test_a_calibration_comes_back_and_its_faults_are_named(points: np.ndarray, tmp_path: Path) -> None:
    cameras = camera_ring(3)
    path = tmp_path / "rig.toml"
    write_calibration(path, cameras)
    again = read_calibration(path)
    np.testing.assert_allclose(project(again, points), project(cameras, points), atol=1e-4)
    path.write_text(path.read_text().replace("distortions", "distrotions", 1))
    with pytest.raises(SpineMedError, match=r"rig\.toml.*distortions.*Cure"):
        read_calibration(path)
    path.write_text("[metadata]\nerror = 0.1\n")
    with pytest.raises(SpineMedError, match="no camera"):
        read_calibration(path)
