"""How long the two walks of a model builder take from nothing on this machine, and what came out of them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spinemed.records import Prediction
from spinemed.tables import read_jsonl

pytestmark = pytest.mark.acceptance

ISSUE = "One product"
Record = Callable[..., None]
Measured = Callable[..., dict[str, Any]]


def walked(root: Path, work: Path, measured_run: Measured, name: str) -> tuple[str, Path]:
    """A walk from nothing: what it cost, in words, and its folder."""
    place = work / "walks"
    place.mkdir(parents=True, exist_ok=True)
    out, log = place / name, place / f"{name}.log"
    shutil.rmtree(out, ignore_errors=True)
    words = [sys.executable, str(root / "examples" / f"{name}.py"), "--out", str(out)]
    cost = measured_run(words, place, log)
    assert cost["exit_code"] == 0, log.read_text(encoding="utf-8")[-3000:]
    return f"{cost['seconds']:.0f} s, {cost['peak_gib']:.1f} GiB", out


def test_a_large_job_is_planned_and_its_twin_trained(
    root: Path, work: Path, record: Record, measured_run: Measured
) -> None:
    cost, out = walked(root, work, measured_run, "train_on_a_cluster")
    facts = json.loads((out / "walk.json").read_text("utf-8"))
    hours = facts["gpu_hours_a_billion_tokens"]["spine"]
    resumed = [f"{stage} from {checkpoint}" for stage, checkpoint in facts["resumed"]]
    met = len(resumed) == 1 and (out / "nano/outputs/model/model.safetensors").is_file()
    record(
        ISSUE, 20, "walk: a 7B job planned, its three stages trained on the nano base through a kill",
        asked="one kill, one resume, three stages, a merged model and its card",
        measured=f"7B, stage spine, predicted: {hours['A100-80']:.1f} GPU hours a billion tokens on A100-80,"
        f" {hours['H100-80']:.1f} on H100-80; nano resumed {', '.join(resumed)}; {cost}",
        met=met, command="python examples/train_on_a_cluster.py --out runs/walk_train",
        note=f"one-minute load average at the end: {os.getloadavg()[0]:.1f}; 4 steps a stage teach nothing",
    )  # fmt: skip
    assert met


def test_a_served_model_comes_to_the_leaderboard(
    root: Path, work: Path, record: Record, measured_run: Measured
) -> None:
    cost, out = walked(root, work, measured_run, "bring_a_model_to_the_leaderboard")
    served, local = (
        {
            one.sample_id: (one.outcome, one.text)
            for one in read_jsonl(out / "run/outputs/predictions" / name / "predictions.jsonl", Prediction)
        }
        for name in ("served", "local")
    )
    equal = sum(served[key] == said for key, said in local.items())
    met = equal == len(served) == len(local) and (out / "board" / "board.html").is_file()
    record(
        ISSUE, 21, "walk: a model served over HTTP, asked, compared, declared, published",
        asked="the same weights say the same over HTTP and in process; a valid submission; a static board",
        measured=f"{equal} of {len(served)} replies equal; {cost}",
        met=met, command="python examples/bring_a_model_to_the_leaderboard.py --out runs/walk_board",
        note=f"one-minute load average at the end: {os.getloadavg()[0]:.1f}; nano base, computed spines",
    )  # fmt: skip
    assert met
