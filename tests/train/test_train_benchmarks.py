"""The training benchmarks' own promises: the GPU script's path on a CPU, and a mixture that is what it says."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")


def script(root: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", root / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # where a dataclass looks its annotations up
    spec.loader.exec_module(module)
    return module


def test_the_gpu_table_dry_runs_on_a_cpu(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    options = argparse.Namespace(
        dry_run=True, shape="3B", rows=32, steps=1, capacity=2048, mixture="paper", attention="auto",
        checkpointing=False,
    )  # fmt: skip
    found = script(root, "train_gpu", monkeypatch).run(options)
    rows = {row["mode"]: row for row in found["table"]}
    assert set(rows) == {"padded", "grouped", "packed_all_logits", "packed", "packed_text", "packed_cached"}
    assert rows["packed"]["padding_percent"] == 0 < rows["padded"]["padding_percent"]
    assert rows["packed"]["answers"] == rows["packed_all_logits"]["answers"]
    assert rows["packed_cached"]["patches"] == 0 < rows["packed"]["patches"]
    assert not any(key.startswith("mfu") for row in found["table"] for key in row)  # a CPU has none
    assert "packed = alone" in found["isolation"]


def test_the_mixture_has_the_published_shares(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixture = script(root, "train_mixture", monkeypatch)
    rows, sizes = mixture.draw_rows(4479, "paper", 0)
    assert Counter(row.kind for row in rows) == {
        "multiple choice": 2490, "open question": 1970, "consultation": 11, "report": 8
    }  # fmt: skip
    assert mixture.draw_rows(4479, "paper", 0) == (rows, sizes)
    uses = Counter(picture for row in rows for picture in row.pictures)
    assert max(uses.values()) == 3
    assert len(uses) == len(sizes)
