"""The walks of a model builder, run as a reader runs them: a child process in an own folder; then what came out."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spinemed.records import Prediction
from spinemed.tables import read_jsonl


def _walk(root: Path, name: str, out: Path, *more: str) -> str:
    """What the script prints; from another folder, so nothing depends on where one stands."""
    command = [sys.executable, str(root / "examples" / name), "--out", str(out), *more]
    done = subprocess.run(command, cwd=out.parent, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.acceptance
def test_the_large_job_is_planned_and_its_small_twin_survives_a_kill(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "walk"
    said = _walk(root, "train_on_a_cluster.py", out, "--spines", "8", "--price", "2")

    # The plan of the 7B job: eight times the hours that the plan gives, nothing for a GPU that is too small.
    plan = {stage["name"]: stage for stage in _json(out / "plan_7b.json")["stages"]}
    facts = _json(out / "walk.json")
    assert list(facts["gpu_hours_a_billion_tokens"]) == ["general", "spine", "reports"] == list(plan)
    for name, stage in plan.items():
        for gpu, told in stage["gpus"].items():
            asked = facts["gpu_hours_a_billion_tokens"][name][gpu]
            assert asked == (pytest.approx(8 * told["hours_a_billion_tokens"], abs=0.06) if told["fits"] else None)
    assert "too small" in said
    assert "at 2 a GPU hour" in said
    launchers = [word for line in said.splitlines() if line.startswith(("  bash", "  sbatch")) for word in line.split()]
    files = [Path(word) for word in launchers if word.endswith((".sh", ".sbatch", ".yaml"))]
    assert len(files) == 6
    assert all(path.is_file() for path in files)

    # The twin: killed behind its first checkpoint, gone on from there, every stage to its last step.
    train = f"$ spinemed train run {out / 'spinegpt_nano_small.yaml'} --out {out / 'nano'}"
    assert said.count(train) == 2
    assert "killed after general/checkpoint-" in said
    # Usually checkpoint-2; on a busy machine the next one may have been finished before the kill arrived.
    assert facts["resumed"] in ([["general", "checkpoint-2"]], [["general", "checkpoint-4"]])
    ledger = [json.loads(line) for line in (out / "nano" / "ledger.jsonl").read_text().splitlines()]
    assert [(stage["stage"], stage["steps"]) for stage in ledger] == [("general", 4), ("spine", 4), ("constructs", 4)]
    assert facts["loss"]["general"]["last"] < facts["loss"]["general"]["first"]
    for made in ("nano/report.md", "nano/loss.png", "nano/outputs/model/model.safetensors"):
        assert (out / made).stat().st_size > 0, made
    card = (out / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "research-use-only" in card
    assert "phantom" in card


@pytest.mark.acceptance
def test_a_served_model_is_asked_compared_declared_and_published(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "walk"
    said = _walk(root, "bring_a_model_to_the_leaderboard.py", out, "--questions", "20")

    # Over HTTP and in this process the same weights say the same, and are cut at the same questions.
    asked = out / "run" / "outputs" / "predictions"
    over_http, here = (
        {one.sample_id: one for one in read_jsonl(asked / name / "predictions.jsonl", Prediction)}
        for name in ("served", "local")
    )
    assert len(over_http) == 20
    assert {key: (one.outcome, one.text) for key, one in over_http.items()} == {
        key: (one.outcome, one.text) for key, one in here.items()
    }
    assert "--url http://127.0.0.1:" in said
    rows = _json(out / "comparison.json")["rows"]
    assert [row["difference"] for row in rows] == [0.0] * len(rows)

    assert "served: 20 questions under full" in said
    page = (out / "board" / "board.html").read_text(encoding="utf-8")
    for shown in ("served", "local", "majority", "random", "SpineMed&#39;s own walk", "not patients"):
        assert shown in page, shown
    assert "nobody@example.org" not in page
    assert (out / "board.png").exists() == any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))


def test_a_line_that_fails_ends_the_walk_and_is_said_again(root: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(root / "examples" / "bring_a_model_to_the_leaderboard.py"), "--questions", "3"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "walk")], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "ended with exit code 2:\n$ spinemed bench live" in done.stderr
    assert "--count 3" in done.stderr
