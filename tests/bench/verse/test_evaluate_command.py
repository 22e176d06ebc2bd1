"""`spinemed verse evaluate`: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.verse.records import read_scores
from spinemed.cli import main

FEW = 100  # bootstrap samples: intervals are not the matter here
GOOD: dict[str, Any] = {}


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def command(*arguments: object) -> int:
    """Exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as stopped:
        main([str(each) for each in arguments])
    return int(stopped.value.code or 0)


def test_the_command_names_what_failed_and_its_exit_code_tells(
    folders: Callable[..., tuple[Path, Path]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, prediction = folders({"sub-a": GOOD, "sub-b": GOOD})
    arguments = ("verse", "evaluate", "--reference", reference, "--prediction", prediction, "--resamples", FEW)
    assert command(*arguments, "--out", tmp_path / "good", "--published") == 0
    shown = capsys.readouterr().out
    assert "Payer C." in shown
    assert re.search(r"Payer C. +│ 0.691 │ public +│ +95.65 │ +4.27 │ 0.909 │ +6.35 ", shown)
    assert "Other data, other implementation: not ranked together" in shown
    cut_short(prediction / "sub-b.nii.gz")
    assert command(*arguments, "--out", tmp_path / "bad") == 1
    shown = capsys.readouterr().out
    assert "sub-b: unusable prediction: ReadError: PREDICTION/sub-b.nii.gz: truncated" in shown
    assert read_scores(tmp_path / "bad").cases[0].means["dice"] == 1
    assert command(*arguments, "--out", tmp_path / "none", "--mode", "lenient") == 2
    assert "--mode" in capsys.readouterr().err
    assert command(*arguments, "--out", reference / "derivatives" / "sub-a" / "sub-a_seg-vert_msk.nii.gz") == 2
    assert "give another --out" in capsys.readouterr().err


def test_the_bundled_pair_is_shifted_by_one(samples: Path, tmp_path: Path, spinemed: Any) -> None:
    pair = samples / "masks" / "panoptica_spine" / "unmatched_instance"
    for name in ("ref", "pred"):
        (tmp_path / name).mkdir()
        shutil.copy(pair / f"{name}.nii.gz", tmp_path / name / "pair.nii.gz")
    schemes = ["--labels", "tptbox", "--reference-labels", "tptbox", "--centroids", "mask"]
    done = spinemed(
        "verse", "evaluate", "--reference", tmp_path / "ref", "--prediction", tmp_path / "pred",
        "--out", tmp_path / "out", *schemes,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "shift +1" in done.stdout
    scores = read_scores(tmp_path / "out")
    assert scores.row("vertebra").values["identified"].value == 0
    assert scores.row("vertebra").values["dice_any_name"].value > 0.94
    assert "shift +1" in (tmp_path / "out" / "report.html").read_text()
