"""A small data set of simulated motion, and predictions that are right but for what a test changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spinemed.motion.dataset import SEGMENTS, MotionDataset, read_dataset
from spinemed.motion.dataset.config import CameraConfig, SimulateConfig
from spinemed.motion.dataset.predictions import POINT_NAMES, MotionPrediction, write_prediction
from spinemed.motion.dataset.produce import simulate

Arrays = dict[str, Any]


@pytest.fixture(scope="session")
def motion_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven subjects, two motions, 20 frames, two cameras."""
    out = tmp_path_factory.mktemp("motion") / "ds"  # a short name: it must not be mistaken for a part of a word
    simulate(
        SimulateConfig(
            subjects=7, motions=("bend", "twist"), seconds=1.0, rate_hz=20.0, cameras=CameraConfig(count=2), seed=3,
            val_share=0.2, test_share=0.3,
        ),
        out,
    )  # fmt: skip
    return out


@pytest.fixture(scope="session")
def motion_dataset(motion_folder: Path) -> MotionDataset:
    return read_dataset(motion_folder)


@pytest.fixture(scope="session")
def predict(motion_dataset: MotionDataset) -> Callable[..., Path]:
    """Write predictions of all clips; `change(clip_id, arrays)` may alter the true arrays, or give None for no file."""

    def write(folder: Path, change: Callable[[str, Arrays], Arrays | None] | None = None) -> Path:
        for row in motion_dataset.rows:
            clip = motion_dataset.clip(row.clip_id)
            pixels = np.full((len(clip.cameras), clip.frames, len(POINT_NAMES), 2), np.nan)
            assert clip.pixels is not None
            pixels[:, :, :37] = clip.pixels
            arrays: Arrays | None = {
                "names": POINT_NAMES,
                "points_mm": np.concatenate([clip.keypoints_mm, clip.centroids_mm], axis=1).astype(float),
                "angles_deg": clip.angles_deg.astype(float),
                "segments": SEGMENTS,
                "angles_sd_deg": np.full(clip.angles_deg.shape, 1.0),
                "pixels": pixels,
                "confidence": np.ones(pixels.shape[:3]),
            }
            assert arrays is not None
            arrays = arrays if change is None else change(row.clip_id, arrays)
            if arrays is not None:
                write_prediction(folder, row.clip_id, MotionPrediction(**arrays))
        return folder

    return write


@pytest.fixture(scope="session")
def perfect(predict: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions that equal the truth."""
    return predict(tmp_path_factory.mktemp("perfect"))


@pytest.fixture(scope="session")
def noisy(predict: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 mm and 1 degree of noise, 5 % of the points missing; standard deviations as they are."""
    rng = np.random.default_rng(0)

    def change(clip_id: str, arrays: Arrays) -> Arrays:
        points = arrays["points_mm"] + rng.normal(scale=20.0, size=arrays["points_mm"].shape)
        points[rng.random(points.shape[:2]) < 0.05] = np.nan
        angles = arrays["angles_deg"] + rng.normal(scale=1.0, size=arrays["angles_deg"].shape)
        pixels = arrays["pixels"] + rng.normal(scale=4.0, size=arrays["pixels"].shape)
        return {**arrays, "points_mm": points, "angles_deg": angles, "pixels": pixels}

    return predict(tmp_path_factory.mktemp("noisy"), change)
