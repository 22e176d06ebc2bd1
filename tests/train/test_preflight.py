"""Preflight: every process is measured, the slow one is named, and it runs as the job will."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from spinemed.errors import RunError
from train.preflight import Measured, measure, slow_ones


def processes(count: int) -> list[Measured]:
    return [Measured(rank, f"node{rank}", 900.0 + rank, 500.0, 2000.0, 1000.0, 0.1) for rank in range(count)]


def test_the_slow_one_is_named_with_its_figure() -> None:
    even = processes(4)
    assert slow_ones(even) == []
    uneven = [*even[:2], replace(even[2], write=20.0), replace(even[3], link=300.0)]
    assert slow_ones(uneven) == [
        "node2, process 2: disk write 20 MB/s, others 500",
        "node3, process 3: best link 300 MB/s, others 1000",
    ]
    assert len(slow_ones([even[0], replace(even[1], multiply=100.0)])) == 1


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be made a folder"):
        measure(tmp_path / "file" / "run", megabytes=1)
    assert [one.link for one in measure(tmp_path / "run", megabytes=1)] == [0.0]
    assert list((tmp_path / "run").iterdir()) == []


def test_two_processes_under_torchrun_measure_each_other(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    done = subprocess.run(
        [*command, "-m", "spinemed", "train", "preflight", str(tmp_path / "run"), "--megabytes", "1"],
        cwd=root, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "one reduction of 1 MB over all" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert len(rows) == 2
    assert all(float(row.split("│")[-2]) > 0 for row in rows)


def test_each_process_takes_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    steps: list[object] = []

    def start(backend: str, **_: object) -> None:
        steps.append(backend)
        raise RuntimeError("nobody answers")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", steps.append)
    monkeypatch.setattr(torch.distributed, "init_process_group", start)
    with pytest.raises(RunError, match="nobody answers"):
        measure(tmp_path / "run", megabytes=1)
    assert steps == [torch.device("cuda", 1), "nccl"]
