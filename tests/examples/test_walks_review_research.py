"""The clinicians' and the researcher's walk, each run as a newcomer runs it, judged by what it leaves behind."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def walk(root: Path, name: str, out: Path, *, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """One script in a process and a folder of its own."""
    out.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, str(root / "examples" / f"{name}.py"), "--out", str(out)],
        cwd=out.parent, env={**os.environ, **({} if path is None else {"PATH": path})},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_research_prints_three_results_with_units(root: Path, tmp_path: Path) -> None:
    done = walk(root, "research_in_ten_lines", tmp_path / "research")
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "research" / "numbers.json").read_bytes())

    verse = numbers["verse"]  # outlines are right, every name is one off: no name is found, and overlap by name is nil
    assert (verse["vertebrae"], verse["levels_shifted_by"], verse["identification_rate"]) == (7, 1, 0.0)
    assert verse["dice"] < 0.01
    assert verse["dice_under_any_name"] == pytest.approx(0.9615, abs=5e-4)
    assert "under any name 0.962" in done.stdout

    loss = numbers["height_loss"]  # half of its height, and no grade: too few bodies of this spine stand
    low, high = loss["l1_interval_percent"]
    assert low < loss["l1_middle_loss_percent"] < high
    assert loss["l1_middle_loss_percent"] == pytest.approx(51.8, abs=0.5)
    assert loss["l1_grade"] is None
    assert "fewer than 3" in loss["why"][0]
    assert loss["rhlv_middle_against_t12_percent"] == pytest.approx(41.2, abs=0.5)
    assert "middle third 51.8 % (95 % interval" in done.stdout

    motion = numbers["motion"]  # 3 mm of noise on the skin, and the bones are nearer than that
    assert motion["points_seen"] == 37
    assert 0 < motion["mpjpe_mm"] < 3
    assert 0 < motion["largest_angle_error_deg"] < 8
    assert f"{motion['mpjpe_mm']:.2f} mm" in done.stdout


@pytest.mark.acceptance
def test_clinicians_decide_and_the_release_obeys(root: Path, tmp_path: Path) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("Chromium is not installed: no program `chromium`")
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("Playwright is not installed")
    out = tmp_path / "curated"
    done = walk(root, "curate_a_case_as_clinicians", out)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]

    (exported,) = (out / "run" / "review" / "exports").iterdir()
    verdicts = {one["instance_id"]: one for one in rows(exported / "verdicts.jsonl")}
    approved = {name for name, one in verdicts.items() if one["decision"] == "approved"}
    rejected = {name for name, one in verdicts.items() if one["decision"] == "rejected"}
    settled = [one for one in verdicts.values() if one["adjudicator"]]
    assert len(verdicts) >= 5
    assert approved | rejected == set(verdicts)
    assert len(rejected) == 1
    assert [(one["decision"], one["adjudicator"]) for one in settled] == [("approved", "surgeon-03")]
    assert {tuple(one["reviewers"]) for one in verdicts.values()} == {("radiologist-02", "surgeon-01")}

    released = {one["id"] for one in rows(out / "run" / "outputs" / "release" / "index.jsonl")}
    assert released == approved
    assert "Left out of it: {'rejected by reviewers': 1}" in done.stdout
    assert "the log is whole" in done.stdout
    log = rows(exported / "audit.jsonl")
    assert [one["actor"] for one in log if one["action"] == "sign"] == [
        "surgeon-01", "radiologist-02", "surgeon-03", "manager-01",
    ]  # fmt: skip

    printed = [line for line in done.stdout.splitlines() if line.startswith("$ spinemed ")]
    assert printed[0].startswith("$ spinemed data run ")
    assert any("--reviews" in line for line in printed)
    for name in ("item_of_surgeon-01", "disagreement", "agreement"):
        with Image.open(out / f"{name}.png") as picture:
            assert picture.size == (1280, 720)
            assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 100  # a page, not an empty window

    # A row that somebody alters afterwards is found by the same command.
    head = exported / "head.json"
    log[3]["actor"] = "somebody else"
    forged = tmp_path / "audit.jsonl"
    forged.write_text("".join(json.dumps(one) + "\n" for one in log), encoding="utf-8")
    checked = subprocess.run(
        [sys.executable, "-m", "spinemed", "review", "verify-log", "--exported", str(forged), "--head", str(head)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 1, checked.stdout + checked.stderr


def test_a_missing_program_is_said_before_anything_is_written(root: Path, tmp_path: Path) -> None:
    done = walk(root, "curate_a_case_as_clinicians", tmp_path / "curated", path=str(tmp_path))
    assert done.returncode == 1
    assert "the program chromium" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "curated").exists()


def test_a_folder_of_something_else_is_left_alone(root: Path, tmp_path: Path) -> None:
    if shutil.which("chromium") is None or importlib.util.find_spec("playwright") is None:
        pytest.skip("Chromium or Playwright is not installed")
    kept = tmp_path / "mine" / "run" / "thesis.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("years of work")
    done = walk(root, "curate_a_case_as_clinicians", tmp_path / "mine")
    assert done.returncode == 1
    assert "give another --out" in done.stderr
    assert kept.read_text() == "years of work"


def test_the_research_walk_is_three_functions_of_about_ten_lines(root: Path) -> None:
    tree = ast.parse((root / "examples" / "research_in_ten_lines.py").read_bytes())
    bodies = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name != "main"}
    assert list(bodies) == ["verse_metrics", "height_loss", "motion"]
    for name, node in bodies.items():
        lines = (node.end_lineno or 0) - node.lineno - 1  # without its own line and its docstring
        assert lines <= 12, f"{name} has {lines} lines"
