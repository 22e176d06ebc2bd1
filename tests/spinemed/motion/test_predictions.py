"""Prediction files: what goes in comes out, and what is wrong is named with its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spinemed.errors import ReadError, SpineMedError
from spinemed.motion.conventions import MotionError
from spinemed.motion.dataset.predictions import (
    POINT_NAMES,
    MotionPrediction,
    prediction_file,
    read_prediction,
    write_prediction,
)


def some(frames: int = 4) -> MotionPrediction:
    rng = np.random.default_rng(0)
    points = rng.normal(scale=500.0, size=(frames, 3, 3))
    points[1, 2] = np.nan
    return MotionPrediction(
        names=("hip", "L5", "neck_03"),
        points_mm=points,
        angles_deg=rng.normal(size=(frames, 2, 3)),
        segments=("L5/S1", "C0/1"),
        angles_sd_deg=np.ones((frames, 2, 3)),
        pixels=rng.uniform(0, 900, size=(2, frames, 3, 2)),
        confidence=rng.random((2, frames, 3)),
    )


def test_what_is_written_comes_back_and_equal_arrays_give_equal_bytes(tmp_path: Path) -> None:
    wanted = some()
    path = write_prediction(tmp_path, "s0000_bend_000", wanted)
    assert path == prediction_file(tmp_path, "s0000_bend_000")
    found = read_prediction(path)
    assert (found.names, found.segments, found.frames) == (wanted.names, wanted.segments, 4)
    for name in ("points_mm", "angles_deg", "angles_sd_deg", "pixels", "confidence"):
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), rtol=1e-6)
    first = path.read_bytes()
    write_prediction(tmp_path, "s0000_bend_000", some())
    assert path.read_bytes() == first
    assert len(POINT_NAMES) == 61


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"points_mm": np.zeros((4, 2, 3))}, "expected \\(4, 3, 3\\)"),
        ({"names": ("hip", "L5", "belly_button")}, "'belly_button'"),
        ({"names": ("hip", "hip", "L5")}, "named twice"),
        ({"segments": ("L5/S1", "L4")}, "'L4'"),
        ({"points_mm": np.full((4, 3, 3), np.inf)}, "infinities"),
        ({"angles_sd_deg": -np.ones((4, 2, 3))}, "negative"),
        ({"angles_deg": None}, "stands without angles_deg"),
        ({"pixels": None}, "stands without pixels"),
        ({"confidence": np.ones((2, 5, 3))}, "confidence"),
    ],
)
def test_what_does_not_belong_together_is_refused(fields: dict[str, object], words: str) -> None:
    given = {name: getattr(some(), name) for name in MotionPrediction.__dataclass_fields__}
    with pytest.raises(MotionError, match=words):
        MotionPrediction(**{**given, **fields})  # type: ignore[arg-type]


def test_nothing_predicted_is_refused() -> None:
    with pytest.raises(MotionError, match="predicts nothing"):
        MotionPrediction(names=("hip",))
    with pytest.raises(MotionError, match="no frame"):
        MotionPrediction(names=("hip",), points_mm=np.zeros((0, 1, 3)))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.npz"
    with pytest.raises(ReadError, match="no such file"):
        read_prediction(path)
    path.write_bytes(b"")
    with pytest.raises(ReadError, match="is empty"):
        read_prediction(path)
    path.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ReadError, match="no readable NPZ"):
        read_prediction(path)
    whole = write_prediction(tmp_path, "other", some()).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReadError, match="no readable NPZ"):
        read_prediction(path)
    np.savez(path, names=np.array(["hip"]), joints=np.zeros((2, 1, 3)))
    with pytest.raises(ReadError, match="joints"):
        read_prediction(path)
    np.savez(path, names=np.array([1]), points_mm=np.zeros((2, 1, 3)))
    with pytest.raises(ReadError, match="names"):
        read_prediction(path)
    np.savez(path, names=np.array([["hip"]], dtype=object), points_mm=np.zeros((2, 1, 3)))
    with pytest.raises(ReadError, match="no readable NPZ"):
        read_prediction(path)  # objects would be executed
    np.savez(path, names=np.array(["nobody"]), points_mm=np.zeros((2, 1, 3)))
    with pytest.raises(MotionError, match=r"clip\.npz.*'nobody'"):
        read_prediction(path)


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b"])
def test_a_clip_cannot_name_a_file_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(SpineMedError, match="clip_id"):
        prediction_file(tmp_path, name)
