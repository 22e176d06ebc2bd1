"""The parts of the motion benchmark that need no peer: its clips, its twin's description, its turns and verdicts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from spinemed.motion import build_model, keypoint_markers, marker_points
from spinemed.motion.limits import violations


@pytest.fixture(scope="module")
def benchmark(root: Path, load_script: Callable[[Path], ModuleType]) -> ModuleType:
    """`benchmarks/motion.py`."""
    return load_script(root / "benchmarks" / "motion.py")


def test_its_motion_moves_every_region_within_the_limits(benchmark: ModuleType) -> None:
    model = build_model(limbs=False)
    q = benchmark.natural_poses(model, 400, np.random.default_rng(0))
    assert violations(model, q) == 0.0
    assert np.ptp(model.spine_angles_deg(q), axis=0).min() > 0.1
    assert np.ptp(model.spine_angles_deg(q)[:, :5, 0].sum(axis=1)) > 10.0
    again = benchmark.natural_poses(model, 400, np.random.default_rng(0))
    assert np.array_equal(q, again)


def test_a_twin_locks_the_limbs_and_nothing_else(benchmark: ModuleType) -> None:
    model = build_model()
    told = benchmark.tree(model, keypoint_markers(model))
    locked = [str(name) for name in told["freedoms"][told["locked"]]]
    assert len(locked) == model.size - 81
    assert all(name.startswith(("left_", "right_")) for name in locked)


def test_a_turn_gives_answers_and_rates(benchmark: ModuleType, tmp_path: Path) -> None:
    model = build_model()
    markers = keypoint_markers(model)
    q = benchmark.natural_poses(model, 12, np.random.default_rng(1))
    given = {**benchmark.tree(model, markers), "task": "place", "q": q, "points": True}
    entry = benchmark.Entry("spinemed", "ours", given, 2)
    (row,) = benchmark.contest([entry], tmp_path, 2)
    np.testing.assert_allclose(entry.answer["points_mm"], marker_points(model, q, markers), atol=1e-9)
    assert row["repeats"] == 4
    assert row["frames"] == 12
    assert row["per_second"] > 0
    assert row["per_cpu_second"] > 0


def test_rates_are_medians_and_differing_answers_are_named(benchmark: ModuleType) -> None:
    entry = benchmark.Entry("spinemed", "ours", {}, 1)
    entry.facts = {
        "name": "n", "version": "1", "frames": 10, "wall_seconds": [1.0, 2.0, 100.0], "cpu_seconds": [1.0, 1.0, 5.0],
    }  # fmt: skip
    row = entry.row()
    assert row["per_second"] == 5.0
    assert row["per_cpu_second"] == 10.0
    good, bad = {**row, "equal": True}, {**row, "title": "theirs", "equal": False}
    found = {"fit": [{"rows": [row, good]}], "place": {"rows": [bad]}, "lift": {"rows": []}}
    assert benchmark.unequal(found) == ["theirs"]


def test_a_missing_peer_says_how_to_get_it(
    benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "PEERS", tmp_path)
    with pytest.raises(SystemExit, match="make peer NAME=pinocchio"):
        benchmark.python_of("pinocchio")
